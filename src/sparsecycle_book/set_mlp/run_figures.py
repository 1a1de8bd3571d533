"""Figures of one network of the companion study, and of what a step does to its connections: a record or layers in, a
matplotlib `Figure` out, its label the alternative text."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from sparsecycle.set_mlp.layer import Places, SparseLayer
from sparsecycle.set_mlp.records import SetRecord
from sparsecycle_book.figures import WIDTH, add_legend, styled
from sparsecycle_book.set_mlp.styles import METHODS


@styled
def run_curves(records: Sequence[SetRecord]) -> Figure:
    """Accuracy on both parts, connections, and neurons left against epoch: a line a run, one run a method.

    Args:
        records: of one dataset.
    """
    figure = Figure(figsize=(WIDTH, 6))
    accuracy, connections, neurons = figure.subplots(3, 1, sharex=True)
    ends = []
    for record in records:
        method, history = record.config["method"], record.history
        colour, _, line = METHODS[method]
        epochs = range(1, len(history["test_right"]) + 1)
        right, samples = history["test_right"], len(record.correct)
        train = [count / record.train_samples for count in history["train_right"]]
        look = {"color": colour, "marker": "o" if len(epochs) == 1 else ""}  # no line joins the one epoch of a run
        accuracy.plot(epochs, train, **look, linewidth=0.8, alpha=0.6)
        accuracy.plot(epochs, [count / samples for count in right], line, **look, label=method)
        connections.plot(epochs, history["connections"], line, **look)
        neurons.plot(epochs, history["neurons_left"], line, **look)
        ends.append(
            f"{method} test accuracy {right[-1] / samples:.2f} with {history['connections'][-1]} connections "
            f"and {history['neurons_left'][-1]} hidden neurons"
        )
    accuracy.axhline(1 / records[0].classes, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
    accuracy.set_ylim(bottom=0)
    accuracy.set_ylabel("accuracy\n(thin: training part;\ndots: chance)")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    connections.set_ylabel("connections")
    connections.set_yscale("log")
    neurons.set_ylabel("hidden neurons left")
    neurons.set_ylim(bottom=0)
    neurons.set_xlabel("epoch")
    made = {record.config["method"] for record in records}
    add_legend(figure, {name: look for name, look in METHODS.items() if name in made})
    figure.set_label("Training against epoch, at the end: " + "; ".join(ends) + ".")
    return figure


@styled
def feature_connections(layer: SparseLayer, shape: tuple[int, int]) -> Figure:
    """Connections of each input feature, where the features are a picture.

    Args:
        layer: the first of a network.
        shape: rows and columns of the picture.
    """
    counts = layer.outgoing()
    figure = Figure(figsize=(4.2, 3.4))
    axes = figure.subplots()
    image = axes.imshow(counts.reshape(shape), cmap="cividis")
    figure.colorbar(image, label="connections")
    axes.grid(visible=False)
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    figure.set_label(
        f"Connections of {len(counts)} input features after training: from {counts.min()} to {counts.max()}, "
        f"mean {counts.mean():.0f}."
    )
    return figure


@styled
def rewiring(before: SparseLayer, after: SparseLayer, titles: tuple[str, str] = ("before", "after")) -> Figure:
    """The weights of a small layer before and after a step: crossed out where one went, framed where one is new.

    A place whose weight was replaced is both.

    Args:
        before, after: of one shape.
    """
    gone, new = _changed(before, after), _changed(after, before)
    figure = Figure(figsize=(WIDTH, 1.6 + before.out_features))
    panels = figure.subplots(2, 1, sharex=True)
    for axes, layer, title in zip(panels, (before, after), titles, strict=True):
        _matrix(axes, layer)
        axes.set_title(f"{title}: {layer.weight.size} connections", fontsize=11)
    for row, column in gone:
        panels[0].plot([column - 0.42, column + 0.42], [row + 0.42, row - 0.42], color="black", linewidth=1.6)
    for row, column in new:
        panels[1].add_patch(
            Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, edgecolor="black", linewidth=2)
        )
    panels[1].set_xlabel("neuron before the layer")
    figure.supylabel("neuron after the layer", fontsize=11)
    figure.set_label(
        f"A layer of {before.in_features} by {before.out_features} neurons, {titles[0]} with {before.weight.size} "
        f"connections and {titles[1]} with {after.weight.size}: {len(gone)} went, {len(new)} are new."
    )
    return figure


def _changed(layer: SparseLayer, other: SparseLayer) -> list[tuple[int, int]]:
    """(row, column) of connections that the other layer has not, or with another weight."""
    mine, others = _weights(layer), _weights(other)
    return [divmod(place, layer.in_features) for place, value in mine.items() if others.get(place) != value]


def _weights(layer: SparseLayer) -> dict[int, float]:
    return dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))


def _matrix(axes: Axes, layer: SparseLayer) -> None:
    """Every connection as a coloured cell with its weight."""
    shape = (layer.out_features, layer.in_features)
    places: Places = layer.places()
    cells = np.full(shape, np.nan)
    cells.flat[places] = layer.weight.tolist()
    limit = max(1.0, float(np.nanmax(np.abs(cells), initial=0)))
    axes.imshow(cells, cmap="PuOr_r", vmin=-1.6 * limit, vmax=1.6 * limit)
    for row, column in zip(*np.nonzero(~np.isnan(cells)), strict=True):
        axes.text(column, row, f"{cells[row, column]:+z.1f}", ha="center", va="center", fontsize=10, color="black")
    axes.set_xticks(range(shape[1]), [str(number) for number in range(1, shape[1] + 1)])
    axes.set_yticks(range(shape[0]), [str(number) for number in range(1, shape[0] + 1)])
    axes.grid(visible=False)
