"""Figures of one network of the companion study, and of what a step does to its connections: a record or layers in, a
matplotlib `Figure` out, its label the alternative text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from sparsecycle.set_mlp.layer import Places, SparseLinear
from sparsecycle.set_mlp.record import SetRecord
from sparsecycle_book.figures import styled
from sparsecycle_book.set_mlp.styles import METHODS, add_legend


@styled
def run_curves(records: Sequence[SetRecord]) -> Figure:
    """Accuracy on both parts, connections, and neurons left against epoch: a line a run, one run a method.

    Args:
        records: of one dataset.
    """
    figure = Figure(figsize=(8, 3.2))
    accuracy, connections, neurons = figure.subplots(1, 3)
    ends = []
    for record in records:
        method, history = record.config["method"], record.history
        colour, _, line = METHODS[method]
        accuracy.plot(history["epoch"], history["train_accuracy"], color=colour, linewidth=0.8, alpha=0.6)
        accuracy.plot(history["epoch"], history["test_accuracy"], line, color=colour, label=method)
        connections.plot(history["epoch"], history["connections"], line, color=colour)
        neurons.plot(history["epoch"], history["neurons_left"], line, color=colour)
        ends.append(
            f"{method} test accuracy {history['test_accuracy'][-1]:.2f} with {history['connections'][-1]} connections "
            f"and {history['neurons_left'][-1]} hidden neurons"
        )
    accuracy.set_ylabel("accuracy (thin: training part)")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    connections.set_ylabel("connections")
    connections.set_yscale("log")
    neurons.set_ylabel("hidden neurons left")
    neurons.set_ylim(bottom=0)
    for axes in (accuracy, connections, neurons):
        axes.set_xlabel("epoch")
    add_legend(figure, [record.config["method"] for record in records])
    figure.set_label("Training against epoch, at the end: " + "; ".join(ends) + ".")
    return figure


@styled
def neurons_by_layer(records: Sequence[SetRecord]) -> Figure:
    """Neurons left in each hidden layer against epoch, those with connections on both sides: a panel a layer.

    Args:
        records: of networks with as many hidden layers, one run a method.
    """
    layers = len(records[0].neurons)
    figure = Figure(figsize=(8, 3.0))
    panels = np.atleast_1d(figure.subplots(1, layers, sharey=True))
    for layer, axes in enumerate(panels, start=1):
        for record in records:
            colour, _, line = METHODS[record.config["method"]]
            axes.plot(record.history["epoch"], record.history[f"neurons_left_{layer}"], line, color=colour)
        axes.set_title(f"hidden layer {layer}", fontsize=11)
        axes.set_xlabel("epoch")
    panels[0].set_ylabel("neurons left")
    panels[0].set_ylim(bottom=0)
    add_legend(figure, [record.config["method"] for record in records])
    ends = (f"{record.config['method']} {', '.join(map(str, record.neurons_left))}" for record in records)
    figure.set_label(f"Neurons left in hidden layers 1 to {layers}, at the end: {'; '.join(ends)}.")
    return figure


@styled
def degree_distribution(record: SetRecord) -> Figure:
    """How many connections the hidden neurons have, both sides: a line for each epoch that was noted.

    Raises:
        ValueError: a fully connected network, whose neurons all have all.
    """
    counts = {
        epoch: np.sum([np.pad(layer, (0, max(map(len, layers)) - len(layer))) for layer in layers], axis=0)
        for epoch, layers in record.degrees.items()
        if layers
    }
    if not counts:
        raise ValueError("the neurons of a fully connected network have all connections: there is nothing to draw")
    figure = Figure(figsize=(7, 3.4))
    axes = figure.subplots()
    colour = METHODS[record.config["method"]][0]
    said = []
    for place, (epoch, count) in enumerate(counts.items(), start=1):
        degrees, living = np.arange(1, len(count)), count[1:]
        without = count[0] / count.sum()
        mean = (degrees * living).sum() / living.sum()
        spread = np.sqrt(((degrees - mean) ** 2 * living).sum() / living.sum())
        strength = place / len(counts)
        look: dict[str, Any] = {"color": colour, "alpha": 0.25 + 0.75 * strength, "linewidth": 0.8 + strength}
        axes.plot(degrees, living / living.sum(), label=f"epoch {epoch} ({without:.0%} have none)", **look)
        said.append(f"epoch {epoch} mean {mean:.0f}, standard deviation {spread:.0f}, {without:.0%} have none")
    axes.set_xlabel("connections of a hidden neuron, both sides")
    axes.set_ylabel("share of neurons that have any")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    figure.set_label("Connections of hidden neurons: " + "; ".join(said) + ".")
    return figure


@styled
def feature_connections(record: SetRecord, shape: tuple[int, int] | None = None, *, by_columns: bool = False) -> Figure:
    """Connections of each input feature at the end: as a picture where the features are one, else sorted.

    Args:
        shape: rows and columns of the picture.
        by_columns: the features are the picture's columns one after the other, as in files from MATLAB.
    """
    counts = np.asarray(record.feature_connections)
    figure = Figure(figsize=(4.2, 3.4) if shape else (7, 3.2))
    axes = figure.subplots()
    if shape:
        image = axes.imshow(counts.reshape(shape, order="F" if by_columns else "C"), cmap="cividis")
        figure.colorbar(image, label="connections")
        axes.grid(visible=False)
        axes.set_xlabel("column")
        axes.set_ylabel("row")
    else:
        axes.plot(np.arange(1, len(counts) + 1), np.sort(counts)[::-1], color=METHODS[record.config["method"]][0])
        axes.set_xlabel("input features, sorted")
        axes.set_ylabel("connections")
    figure.set_label(
        f"Connections of {len(counts)} input features after training: from {counts.min()} to {counts.max()}, "
        f"mean {counts.mean():.0f}."
    )
    return figure


@styled
def rewiring(before: SparseLinear, after: SparseLinear, titles: tuple[str, str] = ("before", "after")) -> Figure:
    """The weights of a small layer before and after a step: crossed out where one went, framed where one is new.

    A place whose weight was replaced is both.

    Args:
        before, after: of one shape.
    """
    gone, new = _changed(before, after), _changed(after, before)
    figure = Figure(figsize=(8, 0.7 + 0.5 * before.out_features))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, layer, title in zip(panels, (before, after), titles, strict=True):
        _matrix(axes, layer)
        axes.set_title(f"{title}: {layer.connections} connections", fontsize=11)
    for row, column in gone:
        panels[0].plot([column - 0.42, column + 0.42], [row + 0.42, row - 0.42], color="black", linewidth=1.6)
    for row, column in new:
        panels[1].add_patch(
            Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, edgecolor="black", linewidth=2)
        )
    panels[0].set_ylabel("neuron after the layer")
    figure.set_label(
        f"A layer of {before.in_features} by {before.out_features} neurons, {titles[0]} with {before.connections} "
        f"connections and {titles[1]} with {after.connections}: {len(gone)} went, {len(new)} are new."
    )
    return figure


def _changed(layer: SparseLinear, other: SparseLinear) -> list[tuple[int, int]]:
    """(row, column) of connections that the other layer has not, or with another weight."""
    mine, others = _weights(layer), _weights(other)
    return [divmod(place, layer.in_features) for place, value in mine.items() if others.get(place) != value]


def _weights(layer: SparseLinear) -> dict[int, float]:
    return dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))


def _matrix(axes: Axes, layer: SparseLinear) -> None:
    """Every connection as a coloured cell with its weight."""
    shape = (layer.out_features, layer.in_features)
    places: Places = layer.places()
    cells = np.full(shape, np.nan)
    cells.flat[places] = layer.weight.tolist()
    limit = max(1.0, float(np.nanmax(np.abs(cells), initial=0)))
    axes.imshow(cells, cmap="PuOr_r", vmin=-1.6 * limit, vmax=1.6 * limit)
    for row, column in zip(*np.nonzero(~np.isnan(cells)), strict=True):
        axes.text(column, row, f"{cells[row, column]:+z.1f}", ha="center", va="center", fontsize=9, color="black")
    axes.set_xticks(range(shape[1]), [str(number) for number in range(1, shape[1] + 1)])
    axes.set_yticks(range(shape[0]), [str(number) for number in range(1, shape[0] + 1)])
    axes.set_xlabel("neuron before the layer")
    axes.grid(visible=False)
