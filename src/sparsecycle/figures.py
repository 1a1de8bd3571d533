"""One function a figure: a DataFrame in, a matplotlib `Figure` out, its label the alternative text.

Each method has one colour, one marker and one line style throughout the book (colours: Okabe and Ito, distinguishable
with any colour vision; markers and lines carry the same information in print).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from sparsecycle.display import STYLE

Parameters = ParamSpec("Parameters")

METHODS: dict[str, tuple[str, str, Any]] = {  # method: (colour, marker, line style)
    "dense": ("#7d8590", "o", "-"),
    "loss_gated": ("#0f83c9", "s", "-"),
    "plateau": ("#d55e00", "D", "-"),
    "geometric": ("#009e73", "^", "--"),
    "fixed": ("#cc79a7", "v", "--"),
    "random": ("#b58900", "P", ":"),
}
CYCLING = ("loss_gated", "plateau", "geometric")


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw with the book's style, whatever the caller has set."""

    @wraps(draw)
    def styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


@styled
def paired_effects(verdicts: pd.DataFrame, differences: Mapping[str, Sequence[float]]) -> Figure:
    """Gain in test accuracy over dense: every seed, the mean with its 95 % interval, and the paper's figure.

    Args:
        verdicts: rows of `verdict_table` for C1 and C2: comparison, mean, low, high, paper (fractions), seeds, verdict.
        differences: for each comparison, every seed's difference.
    """
    figure = Figure(figsize=(7, 0.9 + 0.75 * len(verdicts)))
    axes = figure.subplots()
    sentences = []
    for place, row in enumerate(verdicts.to_dict("records")):
        method = row["comparison"].split(" - ")[0]
        colour, marker, _ = METHODS[method]
        points = 100 * np.asarray(differences[row["comparison"]])
        mean, low, high, paper = (100 * row[key] for key in ("mean", "low", "high", "paper"))
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(mean, place, marker=marker, color=colour, markersize=9)
        axes.plot(points, np.full(len(points), place - 0.22), "o", color=colour, markersize=4, alpha=0.7)
        axes.plot(paper, place, marker="*", color="none", markeredgecolor=mpl.rcParams["text.color"], markersize=13)
        interval = f"95 % interval {low:+.2f} to {high:+.2f}, " if np.isfinite(low) else ""
        sentences.append(
            f"{method} gains {mean:+.2f} points ({interval}{len(points)} seeds; the paper reports {paper:+.2f})"
        )
    axes.axvline(0, color=mpl.rcParams["text.color"], linewidth=1)
    axes.set_yticks(range(len(verdicts)), [str(name).split(" - ")[0] for name in verdicts["comparison"]])
    axes.set_ylim(len(verdicts) - 0.45, -0.6)
    axes.set_xlabel("gain in test accuracy over dense (percentage points)")
    axes.grid(axis="y", visible=False)
    ink = mpl.rcParams["text.color"]
    keys = [
        Line2D([], [], marker="s", color=ink, linewidth=2.5, markersize=7, label="ours: mean, 95 % interval"),
        Line2D([], [], marker="o", color=ink, linewidth=0, markersize=4, label="one seed"),
        Line2D([], [], marker="*", color="none", markeredgecolor=ink, markersize=12, label="paper, one run"),
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=3, fontsize=9.5)
    figure.set_label("Gain in test accuracy over dense training: " + "; ".join(sentences) + ".")
    return figure


@styled
def learning_curves(epochs: pd.DataFrame) -> Figure:
    """Training and test accuracy against epoch, a thin line a seed and a thick one for the mean of each method.

    Args:
        epochs: rows of `load_epochs`: method, seed, epoch, train_accuracy, test_accuracy (fractions).
    """
    figure = Figure(figsize=(8, 3.4))
    panels = figure.subplots(1, 2, sharey=True)
    ends = []
    for axes, column, title in zip(
        panels,
        ("train_accuracy", "test_accuracy"),
        ("training images, at the period's budget", "test images, at the headline budget"),
        strict=True,
    ):
        for method, runs in _by_method(epochs):
            colour, _, line = METHODS[method]
            for _, run in runs.groupby("seed"):
                axes.plot(run["epoch"], run[column], color=colour, linewidth=0.7, alpha=0.45)
            mean = runs.groupby("epoch")[column].mean()
            axes.plot(mean.index, mean, line, color=colour, label=method)
            ends.append(f"{method} {title.split(',')[0]} {mean.iloc[-1]:.2f}")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylabel("accuracy")
    _method_legend(figure, epochs)
    figure.set_label("Accuracy against epoch. Mean at the last epoch: " + ", ".join(ends) + ".")
    return figure


@styled
def keep_ratio_path(epochs: pd.DataFrame) -> Figure:
    """The budget of each period, resets marked: a panel for each method, of its lowest seed.

    Args:
        epochs: rows of `load_epochs`: method, seed, epoch, keep_ratio.
    """
    methods = list(_by_method(epochs))
    figure = Figure(figsize=(8, 0.7 + 1.15 * len(methods)))
    panels = np.atleast_1d(figure.subplots(len(methods), 1, sharex=True, sharey=True))
    counts = []
    for axes, (method, runs) in zip(panels, methods, strict=True):
        run = runs[runs["seed"] == runs["seed"].min()].sort_values("period")
        budget = run["keep_ratio"].to_numpy()
        ends = run["epoch"].to_numpy()
        axes.stairs(budget, [0, *ends], color=METHODS[method][0], linewidth=2, baseline=None)
        resets = _resets(method, budget)
        axes.plot(ends[resets], budget[resets + 1], "v", color=METHODS[method][0], markersize=6)
        _budget_axis(axes.yaxis, axes.set_yscale, [1, 0.5, 0.25, 0.1])
        axes.set_ylim(min(0.07, 0.8 * epochs["keep_ratio"].min()), 1.5)
        axes.set_title(method, fontsize=11, loc="left", pad=3)
        counts.append(f"{method} resets {len(resets)} times and goes down to {budget.min():.2f}")
    panels[-1].set_xlabel("epoch (triangles: resets)")
    figure.supylabel("budget (share kept)", fontsize=11)
    figure.set_label("Budget against epoch: " + "; ".join(counts) + ".")
    return figure


@styled
def accuracy_by_budget(runs: pd.DataFrame, budgets: Sequence[float]) -> Figure:
    """Test accuracy of each trained network measured at every budget: a dot a seed, a line for the mean.

    Args:
        runs: rows of `load_runs`: method, seed, accuracy_at_<budget> (fractions).
        budgets: in (0, 1].
    """
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    columns = [f"accuracy_at_{float(budget)}" for budget in budgets]
    sentences = []
    for method, group in _by_method(runs):
        colour, marker, line = METHODS[method]
        mean = group[columns].mean().to_numpy()
        axes.plot(budgets, mean, line, color=colour, marker=marker, markersize=6, label=method)
        for values in group[columns].to_numpy():
            axes.plot(budgets, values, ".", color=colour, markersize=4, alpha=0.5)
        sentences.append(f"{method} {mean[0]:.2f} at {budgets[0]:g} and {mean[-1]:.2f} at {budgets[-1]:g}")
    _budget_axis(axes.xaxis, axes.set_xscale, budgets)
    axes.set_xlim(1.15, min(budgets) / 1.15)
    axes.set_xlabel("budget at which accuracy is measured (share kept)")
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _method_legend(figure, runs)
    figure.set_label("Test accuracy against the budget at evaluation, means: " + "; ".join(sentences) + ".")
    return figure


@styled
def gap_and_drop(runs: pd.DataFrame) -> Figure:
    """Overfitting (claim C4): train-test gap and drop from the highest to the last test accuracy, a dot a seed.

    Args:
        runs: rows of `load_runs`: method, seed, gap, drop_from_best (fractions).
    """
    figure = Figure(figsize=(8, 2.9))
    sentences = []
    titles = {"gap": "train minus test accuracy", "drop_from_best": "highest minus last test accuracy"}
    for axes, (column, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        methods = list(_by_method(runs))
        for place, (method, group) in enumerate(methods):
            colour, marker, _ = METHODS[method]
            values = 100 * group[column].to_numpy()
            axes.plot(values, np.full(len(values), place), "o", color=colour, markersize=4, alpha=0.7)
            axes.plot(values.mean(), place, marker=marker, color=colour, markersize=9)
            sentences.append(f"{method} {title} {values.mean():.1f}")
        axes.set_yticks(range(len(methods)), [method for method, _ in methods])
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlabel(f"{title}\n(percentage points)")
        axes.grid(axis="y", visible=False)
    figure.set_label("Overfitting, means in percentage points: " + "; ".join(sentences) + ".")
    return figure


@styled
def controller_paths(
    losses: Mapping[str, Sequence[float]], paths: Mapping[str, Mapping[str, Sequence[float]]]
) -> Figure:
    """Loss curves (top) and what each controller makes of them (below), period by period.

    Args:
        losses: for each scenario, the loss of each period in nats.
        paths: for each method and scenario, the budget of each period.
    """
    figure = Figure(figsize=(8, 1.9 + 1.2 * len(paths)))
    grid = figure.subplots(1 + len(paths), len(losses), sharex=True, sharey="row", squeeze=False)
    ink = mpl.rcParams["text.color"]
    sentences = []
    for column, (scenario, loss) in enumerate(losses.items()):
        grid[0, column].plot(range(1, len(loss) + 1), loss, color=ink)
        grid[0, column].set_title(scenario, fontsize=11)
        for line, (method, scenarios) in enumerate(paths.items(), start=1):
            budget = np.asarray(scenarios[scenario])
            axes = grid[line, column]
            axes.stairs(budget, np.arange(len(budget) + 1) + 0.5, color=METHODS[method][0], linewidth=2, baseline=None)
            _budget_axis(axes.yaxis, axes.set_yscale, [1, 0.5, 0.25, 0.1])
            axes.set_ylim(min(0.07, 0.8 * budget.min()), 1.5)
            grid[line, 0].set_ylabel(f"{method}\nbudget", fontsize=10)
            sentences.append(f"{method} under {scenario!r} resets {int((np.diff(budget) > 0).sum())} times")
        grid[-1, column].set_xlabel("period")
    grid[0, 0].set_ylabel("training loss\n(nats)", fontsize=10)
    figure.set_label("Paths of the budget: " + "; ".join(sentences) + ".")
    return figure


@styled
def layer_activity(activity: pd.DataFrame) -> Figure:
    """Share of non-zero activations in each layer, a line for each series, a panel for each budget.

    Args:
        activity: rows with series (a method or a label), keep_ratio, layer, active_fraction.
    """
    budgets = sorted(activity["keep_ratio"].unique(), reverse=True)
    figure = Figure(figsize=(8, 3.2))
    panels = np.atleast_1d(figure.subplots(1, len(budgets), sharey=True))
    spare = [METHODS[name] for name in ("geometric", "fixed", "random")]
    sentences = []
    for axes, budget in zip(panels, budgets, strict=True):
        at_budget = activity[activity["keep_ratio"] == budget]
        for place, (series, rows) in enumerate(at_budget.groupby("series", sort=False)):
            colour, marker, line = METHODS.get(str(series), spare[place % 3])
            values = rows["active_fraction"].to_numpy()
            axes.plot(
                range(1, len(values) + 1),
                values,
                line,
                color=colour,
                marker=marker,
                markersize=5,
                label=series,
            )
            sentences.append(f"{series} at budget {budget:g} {values.mean():.2f}")
        axes.axhline(budget, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
        axes.set_title(f"budget {budget:g}", fontsize=11)
        axes.set_xlabel("layer")
    panels[0].set_ylabel("active fraction")
    panels[0].set_ylim(0, 1.03)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=10)
    figure.set_label("Active fraction by layer (dotted: the budget); means: " + "; ".join(sentences) + ".")
    return figure


@styled
def feature_maps(image: NDArray[Any], maps: Mapping[float, NDArray[Any]], title: str) -> Figure:
    """An image and, for each budget, the strongest channel maps that the constraint leaves.

    Args:
        image: uint8 (H, W, 3).
        maps: for each budget, activations (channels, H, W), the same channels at each budget.
        title: what the image shows.
    """
    budgets = list(maps)
    channels = len(maps[budgets[0]])
    figure = Figure(figsize=(8, 1.3 * channels + 0.5))
    grid = figure.subplots(channels, 1 + len(budgets), squeeze=False)
    top = max(float(values.max()) for values in maps.values())
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(image, interpolation="none")
    grid[0, 0].set_title(title, fontsize=10)
    shares = []
    for column, budget in enumerate(budgets, start=1):
        grid[0, column].set_title(f"budget {budget:g}", fontsize=10)
        for line in range(channels):
            grid[line, column].imshow(maps[budget][line], cmap="viridis", vmin=0, vmax=top, interpolation="none")
        shares.append(f"{(maps[budget] > 0).mean():.0%} at budget {budget:g}")
    figure.set_label(f"Feature maps of {title}: non-zero in the channels shown: {', '.join(shares)}.")
    return figure


@styled
def loss_around_resets(epochs: pd.DataFrame) -> Figure:
    """Training loss against epoch, coloured by method, with a mark where the budget was reset.

    Args:
        epochs: rows of `load_epochs` of one seed: method, epoch, period, train_loss (nats), keep_ratio.
    """
    figure = Figure(figsize=(7, 3.4))
    axes = figure.subplots()
    sentences = []
    for method, rows in _by_method(epochs):
        run = rows.sort_values("period")
        colour, _, line = METHODS[method]
        axes.plot(run["epoch"], run["train_loss"], line, color=colour, label=method)
        resets = _resets(method, run["keep_ratio"].to_numpy()) + 1
        jumps = run["train_loss"].diff().to_numpy()[resets]
        axes.plot(run["epoch"].to_numpy()[resets], run["train_loss"].to_numpy()[resets], "v", color=colour)
        if len(jumps):
            sentences.append(f"{method} changes by {jumps.mean():+.2f} nats on average in the period after a reset")
    axes.set_xlabel("epoch (triangles: first period after a reset)")
    axes.set_ylabel("training loss (nats)")
    _method_legend(figure, epochs)
    figure.set_label("Training loss against epoch; " + ("; ".join(sentences) or "no resets") + ".")
    return figure


def _resets(method: str, budgets: NDArray[np.float64]) -> NDArray[np.intp]:
    """The periods after which the budget was reset; only cycling methods reset."""
    return np.flatnonzero(np.diff(budgets) > 0) if method in CYCLING else np.array([], dtype=np.intp)


def _by_method(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Groups in the book's order of methods."""
    return [(method, frame[frame["method"] == method]) for method in METHODS if (frame["method"] == method).any()]


def _method_legend(figure: Figure, frame: pd.DataFrame) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=METHODS[method][0],
            linestyle=METHODS[method][2],
            marker=METHODS[method][1],
            label=method,
        )
        for method, _ in _by_method(frame)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=10)


def _budget_axis(axis: Any, set_scale: Callable[[str], Any], budgets: Sequence[float]) -> None:
    set_scale("log")
    axis.set_major_locator(FixedLocator(list(budgets)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")


__all__ = [
    "CYCLING",
    "METHODS",
    "accuracy_by_budget",
    "controller_paths",
    "feature_maps",
    "gap_and_drop",
    "keep_ratio_path",
    "layer_activity",
    "learning_curves",
    "loss_around_resets",
    "paired_effects",
]
