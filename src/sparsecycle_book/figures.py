"""One function a figure: a DataFrame in, a matplotlib `Figure` out, its label the alternative text.

Each method has one colour, one marker and one line style throughout the book (`METHODS`). Figures are 5.6 inches wide,
with panels one below the other, so that their text can still be read on a phone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import cycle
from textwrap import wrap
from typing import Any, Literal, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from sparsecycle.analysis.selection import CHANCE
from sparsecycle.controllers import CONTROLLERS
from sparsecycle_book.display import book_style

Parameters = ParamSpec("Parameters")
WIDTH = 5.6  # inches
LABEL = 36  # characters in a line of a label beside an axis


class Look(NamedTuple):
    """How a method is drawn: the marker and the line carry in print what the colour carries on a screen."""

    colour: str
    marker: str
    line: Any


_LOOKS = (  # colours of Okabe and Ito, distinguishable with any colour vision, on light and on dark pages
    Look("#7d8590", "o", "-"),
    Look("#0f83c9", "s", "-"),
    Look("#d55e00", "D", "-"),
    Look("#009e73", "^", "--"),
    Look("#cc79a7", "v", "--"),
    Look("#b58900", "P", ":"),
    Look("#7b61c9", "X", "-."),
)
METHODS: dict[str, Look] = dict(zip(CONTROLLERS, cycle(_LOOKS), strict=False))  # every controller, in their order
PALETTE = {name: look.colour for name, look in METHODS.items()}
ARMS_IN_WORDS = {
    "dense": "dense training",
    "accuracy_gated": "the published rule",
    "epoch_gated": "the reconstructed second strategy",
    "replay": "training with another seed's keep-ratios",
    "shuffled": "training with its keep-ratios in random order",
    "fixed": "training at a fixed keep-ratio",
    "dense, tuned": "dense training with dropout",
    "dense with dropout": "dense training with dropout",
    "accuracy_gated with dropout": "the published rule with dropout",
    "dense, 20 % wrong labels": "dense training",
    "accuracy_gated, 20 % wrong labels": "the published rule",
    "accuracy_gated tolerance=0.06": "the published rule with half the tolerance",
    "accuracy_gated tolerance=0.24": "the published rule with twice the tolerance",
    "accuracy_gated tolerance=1.0": "the published rule without resets",
}
MEASURES = {
    "best_accuracy": "test accuracy as reported",
    "clean_accuracy": "clean test accuracy",
    "last_accuracy": "last test accuracy",
    "budget_area": "mean accuracy over all keep-ratios",
    "gap": "smaller train-test gap",
    "drop_from_best": "smaller drop from best",
    "pruned_area": "accuracy after pruning",
    "int8_accuracy": "accuracy with int8 weights",
    "noise_accuracy": "accuracy under noise",
    "blur_accuracy": "accuracy under blur",
    "contrast_accuracy": "accuracy at less contrast",
    "removal_accuracy": "accuracy without some channels",
    "training_seconds": "training time on a shared machine",
}
ACCURACIES = {  # columns of `load_epochs`, and what a panel is called
    "train_accuracy": "training images, at the keep-ratio in force",
    "test_accuracy": "test images, at keep-ratio 1",
    "sparse_accuracy": "test images, at the keep-ratio in force",
}


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw with the book's style, whatever the caller has set; the figure's `gid` says what drew it."""

    @wraps(draw)
    def styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with book_style():
            figure = draw(*args, **kwargs)
        figure.set_gid(f"{draw.__module__}.{draw.__name__}")
        return figure

    return styled


@styled
def effects(verdicts: pd.DataFrame) -> Figure:
    """What a treatment gains over its baseline: every pair, the mean with its 95 % interval, and the paper's gain.

    Args:
        verdicts: rows of `verdict_table` or `compare_arms` with a pair, none of a ratio.
    """
    rows = verdicts.to_dict("records")
    ink = mpl.rcParams["text.color"]
    figure = Figure()
    axes = figure.subplots()
    sentences, labels = [], []
    for place, row in enumerate(rows):
        look = METHODS[row["treatment"].replace(",", " ").split()[0]]  # an arm's name begins with its method
        points = 100 * np.asarray(row["differences"])
        mean, low, high, paper = (100 * row[key] for key in ("mean", "low", "high", "paper"))
        axes.plot([low, high], [place, place], color=look.colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(mean, place, marker=look.marker, color=look.colour, markersize=9)
        axes.plot(points, np.full(len(points), place - 0.25), "o", color=look.colour, markersize=4, alpha=0.7)
        axes.plot(paper, place, marker="*", color="none", markeredgecolor=ink, markersize=13)
        measure = MEASURES[row["measure"]]
        treatment, baseline = ARMS_IN_WORDS[row["treatment"]], ARMS_IN_WORDS[row["baseline"]]
        lines = [treatment, *wrap(f"over {baseline}:", LABEL, break_on_hyphens=False), measure]
        labels.append("\n".join(lines))
        interval = f"95 % interval {low:+z.2f} to {high:+z.2f}, " if np.isfinite(low) else ""
        reported = f"; the paper reports at least {paper:+z.2f}" if np.isfinite(paper) else ""
        sentences.append(
            f"{treatment} over {baseline}, {measure}: {mean:+z.2f} points ({interval}pairs: {row['pairs']}{reported})"
        )
    most = max(label.count("\n") for label in labels) + 1
    figure.set_size_inches(WIDTH, 1.2 + (0.15 + 0.2 * most) * len(rows))
    axes.axvline(0, color=ink, linewidth=1)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.45, -0.6)
    axes.set_xlabel("gain (percentage points)")
    axes.grid(axis="y", visible=False)
    keys = [
        Line2D([], [], marker="s", color=ink, linewidth=2.5, markersize=7, label="mean, 95 % interval"),
        Line2D([], [], marker="o", color=ink, linewidth=0, markersize=4, label="a pair"),
    ]
    if any(np.isfinite(row["paper"]) for row in rows):
        star: dict[str, Any] = {"marker": "*", "color": "none", "markeredgecolor": ink, "markersize": 12}
        keys.append(Line2D([], [], label="the paper's run", **star))
    figure.legend(handles=keys, loc="outside upper center", ncols=3)
    figure.set_label("Gain, every pair and the mean. " + "; ".join(sentences) + ".")
    return figure


@styled
def learning_curves(epochs: pd.DataFrame) -> Figure:
    """Accuracy against epoch, a panel each for training images, test images dense, and test images at the keep-ratio.

    Thin lines are seeds, thick ones means, bands a standard deviation. What was never measured has no panel.

    Args:
        epochs: rows of `load_epochs`: method, seed, epoch, and the columns of `ACCURACIES` (fractions).
    """
    shown = [name for name in ACCURACIES if epochs[name].notna().any()]
    figure = Figure(figsize=(WIDTH, 0.7 + 2.0 * len(shown)))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    ends = []
    for axes, column in zip(panels, shown, strict=True):
        measured = epochs.dropna(subset=column)
        for method in methods_of(measured):
            look, runs = METHODS[method], measured[measured["method"] == method]
            for _, run in runs.groupby("seed"):
                axes.plot(run["epoch"], run[column], color=look.colour, linewidth=0.5, alpha=0.3)
            by_epoch = runs.groupby("epoch")[column]
            mean, spread = by_epoch.mean(), by_epoch.std().fillna(0)
            axes.fill_between(mean.index, mean - spread, mean + spread, color=look.colour, alpha=0.18, linewidth=0)
            axes.plot(mean.index, mean, look.line, color=look.colour)
            ends.append(f"{method} {mean.iloc[-1]:.2f} ({ACCURACIES[column]})")
        axes.set_title(ACCURACIES[column], loc="left")
        axes.set_ylabel("accuracy")
        accuracy_axis(axes)
    panels[-1].set_xlabel("epoch")
    add_legend(figure, {method: METHODS[method] for method in methods_of(epochs)})
    figure.set_label("Accuracy against epoch. Mean at the last test evaluation: " + ", ".join(ends) + ".")
    return figure


@styled
def keep_ratio_path(decisions: pd.DataFrame, steps_per_epoch: "int | pd.Series[int]", by: str = "method") -> Figure:
    """The keep-ratio over a run with its resets marked: a panel for each method, of its lowest seed.

    Args:
        decisions: rows of `load_decisions`: method, seed, step, keep_ratio, reset.
        steps_per_epoch: of these runs, or of each row.
        by: the column that has a panel for each of its values.
    """
    frame = decisions.assign(epoch=decisions["step"] / steps_per_epoch)
    ordered = pd.concat([frame[frame["method"] == method] for method in methods_of(frame)])
    groups = list(ordered.groupby(by, sort=False))
    figure = Figure(figsize=(WIDTH, 0.8 + 1.4 * len(groups)))
    panels = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    told = []
    for axes, (title, runs) in zip(panels, groups, strict=True):
        run = runs[runs["seed"] == runs["seed"].min()].sort_values("step")
        _draw_path(axes, run, METHODS[run["method"].iloc[0]].colour, frame["keep_ratio"].min())
        axes.set_title(str(title), loc="left", pad=3)
        least, resets = run["keep_ratio"].min(), int(resets_of(run).sum())
        told.append(f"{title} goes down to {least:.2g}, resets: {resets}")
    panels[-1].set_xlabel("epoch (triangles: resets)")
    figure.supylabel("keep-ratio", fontsize=11)
    figure.set_label("Keep-ratio against epoch: " + "; ".join(told) + ".")
    return figure


def _draw_path(axes: Axes, run: pd.DataFrame, colour: str, least: float) -> None:
    """The keep-ratio of one run as a stair: 1 until the first decision, then each decision's until the next one."""
    epochs, keep_ratios = run["epoch"].to_numpy(), run["keep_ratio"].to_numpy()
    ends = [0.0, *epochs, np.ceil(epochs[-1])]  # a run ends with an epoch
    axes.stairs([1.0, *keep_ratios], ends, color=colour, linewidth=2, baseline=None)
    resets = resets_of(run)
    axes.plot(epochs[resets], keep_ratios[resets], "v", color=colour, markersize=6)
    marks = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01] if least > 0.008 else [10.0**-power for power in range(12)]
    log_axis(axes.yaxis, axes.set_yscale, [mark for mark in marks if mark >= 0.9 * least or mark >= 0.5])
    axes.set_ylim(min(0.4, 0.7 * least), 1.6)


@styled
def decisions(run: pd.DataFrame, steps_per_epoch: int, tolerance: float) -> Figure:
    """What a gated run decided: smoothed training accuracy, its best, the line where it resets; below the keep-ratio.

    Args:
        run: rows of `load_decisions` of one run: method, step, average, best (fractions), keep_ratio, reset.
        steps_per_epoch: of the run.
        tolerance: fall of the average that is borne.
    """
    rows = run.assign(epoch=run["step"] / steps_per_epoch).sort_values("step")
    method = str(rows["method"].iloc[0])
    figure = Figure(figsize=(WIDTH, 4.4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    epochs, ink, colour = rows["epoch"], mpl.rcParams["text.color"], METHODS[method].colour
    above.plot(epochs, rows["average"], color=colour, linewidth=1.2, label="average")
    above.plot(epochs, rows["best"], color=ink, linewidth=1, label="best")
    above.plot(epochs, rows["best"] - tolerance, color=ink, linewidth=1, linestyle=":", label="reset below")
    resets = resets_of(rows)
    above.plot(epochs[resets], rows["average"][resets], "v", color=colour, markersize=6)
    above.set_ylabel("training accuracy")
    above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _draw_path(below, rows, colour, rows["keep_ratio"].min())
    below.set_ylabel("keep-ratio")
    below.set_xlabel("epoch (triangles: resets)")
    figure.legend(loc="outside upper center", ncols=3)
    figure.set_label(
        f"{len(rows)} decisions of {method}: the average ends at {rows['average'].iloc[-1]:.2f} with its best at "
        f"{rows['best'].iloc[-1]:.2f}; resets: {int(resets.sum())}; the keep-ratio goes down to "
        f"{rows['keep_ratio'].min():.2g}."
    )
    return figure


@styled
def accuracy_by_budget(runs: pd.DataFrame, budgets: Sequence[float]) -> Figure:
    """Test accuracy of each trained network measured at every keep-ratio: a dot a seed, a line for the mean.

    Args:
        runs: rows of `load_runs`: method, seed, accuracy_at_<keep-ratio> (fractions).
        budgets: keep-ratios in (0, 1].
    """
    figure, axes, told = _by_budget(runs, "accuracy", budgets)
    axes.set_xlabel("keep-ratio at which accuracy is measured")
    axes.set_ylabel("test accuracy")
    accuracy_axis(axes, "left")
    figure.set_label(f"Test accuracy against the keep-ratio at evaluation, means: {told}.")
    return figure


@styled
def similarity_by_budget(similarity: pd.DataFrame, budgets: Sequence[float]) -> Figure:
    """How like its own output at keep-ratio 1 the last layer's output is at every keep-ratio; drawn like accuracy.

    Args:
        similarity: of `report.budgets.last_layer_similarity`: method, seed, similarity_at_<keep-ratio> (linear CKA).
        budgets: keep-ratios in (0, 1].
    """
    figure, axes, told = _by_budget(similarity, "similarity", budgets)
    axes.set_xlabel("keep-ratio")
    axes.set_ylabel("linear CKA with keep-ratio 1")
    axes.set_ylim(0, 1.03)
    figure.set_label(f"Linear CKA of the last layer with itself at keep-ratio 1, means: {told}.")
    return figure


def _by_budget(rows: pd.DataFrame, measure: str, budgets: Sequence[float]) -> tuple[Figure, Axes, str]:
    """Draw the columns <measure>_at_<keep-ratio> by method, and tell both ends of each mean."""
    figure = Figure(figsize=(WIDTH, 3.8))
    axes = figure.subplots()
    columns = [f"{measure}_at_{float(budget)}" for budget in budgets]
    sentences = []
    methods = methods_of(rows)
    for method in methods:
        look, group = METHODS[method], rows[rows["method"] == method]
        mean = group[columns].mean().to_numpy()
        axes.plot(budgets, mean, look.line, color=look.colour, marker=look.marker, markersize=6)
        for values in group[columns].to_numpy():
            axes.plot(budgets, values, ".", color=look.colour, markersize=4, alpha=0.5)
        sentences.append(f"{method} {mean[0]:.2f} at {budgets[0]:g} and {mean[-1]:.2f} at {budgets[-1]:g}")
    log_axis(axes.xaxis, axes.set_xscale, budgets)
    axes.set_xlim(1.15 * max(budgets), min(budgets) / 1.15)
    add_legend(figure, {method: METHODS[method] for method in methods})
    return figure, axes, "; ".join(sentences)


@styled
def layer_activity(activity: pd.DataFrame) -> Figure:
    """Share of non-zero activations in each layer, a line for each series, a panel for each keep-ratio.

    Args:
        activity: rows with series (a method or a label), keep_ratio, layer, active_fraction.
    """
    budgets = sorted(activity["keep_ratio"].unique(), reverse=True)
    figure = Figure(figsize=(WIDTH, 0.8 + 1.7 * len(budgets)))
    panels = figure.subplots(len(budgets), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    sentences = []
    for axes, budget in zip(panels, budgets, strict=True):
        at_budget = activity[activity["keep_ratio"] == budget]
        for place, (series, rows) in enumerate(at_budget.groupby("series", sort=False)):
            look = METHODS.get(str(series), _LOOKS[3 + place % 4])
            values = rows["active_fraction"].to_numpy()
            places = range(1, len(values) + 1)
            axes.plot(places, values, look.line, color=look.colour, marker=look.marker, markersize=5, label=str(series))
            sentences.append(f"{series} at keep-ratio {budget:g} {values.mean():.2f}")
        axes.axhline(budget, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
        axes.set_title(f"keep-ratio {budget:g}", loc="left")
        axes.set_ylim(0, 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlabel("layer")
    figure.supylabel("active fraction", fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    figure.set_label("Active fraction by layer (dotted: the keep-ratio); means: " + "; ".join(sentences) + ".")
    return figure


@styled
def feature_maps(image: NDArray[Any], maps: Mapping[float, NDArray[Any]], title: str) -> Figure:
    """An image and, for each keep-ratio, channel maps that the constraint leaves. Zero is blank, a small value is not.

    Args:
        image: uint8 (H, W, 3).
        maps: for each keep-ratio, activations (channels, H, W), the same channels at each.
        title: what the image shows.
    """
    budgets = list(maps)
    channels = len(maps[budgets[0]])
    figure = Figure(figsize=(WIDTH, 0.95 * channels + 0.6))
    grid = figure.subplots(channels, 1 + len(budgets), squeeze=False)
    top = max(float(values.max()) for values in maps.values())
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(image, interpolation="none")
    grid[0, 0].set_title(title)
    shares = []
    for column, budget in enumerate(budgets, start=1):
        grid[0, column].set_title(f"keep {budget:g}")
        for line in range(channels):
            axes = grid[line, column]
            values = np.ma.masked_equal(maps[budget][line], 0)
            axes.imshow(values, cmap="viridis", vmin=0, vmax=top, interpolation="none")
            axes.set_axis_on()
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(True)
        shares.append(f"{100 * (maps[budget] > 0).mean():.0f} % at keep-ratio {budget:g}")
    figure.set_label(f"Feature maps of {title}: non-zero in the channels shown: {', '.join(shares)}.")
    return figure


def with_found(decisions: pd.DataFrame) -> pd.DataFrame:
    """Rows of `load_decisions` in the order of their steps, and "found": the keep-ratio that each decision found.

    "reset" is as in the records: not where the keep-ratio stood at 1 already.
    """
    ordered = decisions.sort_values(["run", "step"])
    found = ordered.groupby("run")["keep_ratio"].shift(fill_value=1.0)
    return ordered.assign(found=found, reset=ordered["reset"] & (found < 1))


def resets_of(run: pd.DataFrame) -> NDArray[np.bool_]:
    """Where a run's keep-ratio was reset: as in the records, not where it stood at 1 already."""
    below = run["keep_ratio"].shift(fill_value=1.0) < 1
    return np.asarray(run["reset"] & below, dtype=bool)


def methods_of(frame: pd.DataFrame) -> list[str]:
    """The methods of a frame in the book's order."""
    return [method for method in METHODS if (frame["method"] == method).any()]


def add_legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    """One for the whole figure, above it: the looks by what they stand for."""
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, label=name)
        for name, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(3, len(handles)))


def accuracy_axis(axes: Axes, word_at: Literal["left", "right"] = "right") -> None:
    """In percent, with a line for guessing among ten classes, whose word stands at one of its ends."""
    axes.axhline(CHANCE, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
    place = (float(word_at == "right"), CHANCE)
    axes.annotate("chance", place, xycoords=("axes fraction", "data"), ha=word_at, va="bottom", fontsize=10)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(bottom=0)


def log_axis(axis: Any, set_scale: Callable[[str], Any], marks: Sequence[float], unit: float = 1.0) -> None:
    """A logarithmic axis with these marks, told in this unit."""
    set_scale("log")
    axis.set_major_locator(FixedLocator(list(marks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value / unit:.2g}")
