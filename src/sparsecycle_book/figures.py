"""One function a figure: a DataFrame in, a matplotlib `Figure` out, its label the alternative text.

Each method has one colour, one marker and one line style throughout the book (colours: Okabe and Ito, distinguishable
with any colour vision; markers and lines carry the same information in print).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from sparsecycle_book.display import STYLE
from sparsecycle.analysis.statistics import RATIO

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
MEASURES = {
    "test_accuracy": "test accuracy",
    "budget_area": "area under the accuracy-budget curve",
    "gap": "smaller train-test gap",
    "drop_from_best": "smaller drop from the best epoch",
    "pruned_area": "accuracy after pruning",
    "int8_accuracy": "accuracy with int8 weights",
    "robustness_area": "accuracy when disturbed",
    "training_seconds": "training time",
}


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw with the book's style, whatever the caller has set; the figure's `gid` says what drew it."""

    @wraps(draw)
    def styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        figure.set_gid(f"{draw.__module__}.{draw.__name__}")
        return figure

    return styled


@styled
def paired_effects(verdicts: pd.DataFrame) -> Figure:
    """What a treatment gains over its baseline: every seed, the mean with its 95 % interval, and the paper's figure.

    Args:
        verdicts: rows of `verdict_table` or `baseline_table` of one unit; those without a pair are left out.

    Raises:
        ValueError: no row has a pair.
    """
    rows = verdicts[verdicts["seeds"] > 0].to_dict("records")
    if not rows:
        raise ValueError("none of these comparisons was measured: there is nothing to draw")
    figure = Figure(figsize=(8, 1.0 + 0.62 * len(rows)))
    axes = figure.subplots()
    ratio = rows[0]["unit"] == RATIO
    scale, neutral = (1, 1) if ratio else (100, 0)
    sentences, labels = [], _comparison_labels(rows)
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        colour, marker, _ = METHODS[row["comparison"].split()[0]]
        points = scale * np.asarray(row["differences"])
        mean, low, high, paper = (scale * row[key] for key in ("mean", "low", "high", "paper"))
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(mean, place, marker=marker, color=colour, markersize=9)
        axes.plot(points, np.full(len(points), place - 0.25), "o", color=colour, markersize=4, alpha=0.7)
        axes.plot(paper, place, marker="*", color="none", markeredgecolor=mpl.rcParams["text.color"], markersize=13)
        sentences.append(_effect_sentence(label, (mean, low, high, paper), len(points), ratio))
    axes.axvline(neutral, color=mpl.rcParams["text.color"], linewidth=1)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.45, -0.6)
    measure = MEASURES.get(rows[0]["measure"], rows[0]["measure"])
    several = len({row["measure"] for row in rows}) > 1
    amount = "factor" if ratio else "gain" if several else f"gain: {measure}"
    axes.set_xlabel(f"{amount} ({measure})" if ratio else f"{amount} (percentage points)")
    axes.grid(axis="y", visible=False)
    ink = mpl.rcParams["text.color"]
    mean_label = "ours: geometric mean" if ratio else "ours: mean, 95 % interval"
    keys = [
        Line2D([], [], marker="s", color=ink, linewidth=0 if ratio else 2.5, markersize=7, label=mean_label),
        Line2D([], [], marker="o", color=ink, linewidth=0, markersize=4, label="one seed"),
    ]
    if any(np.isfinite(row["paper"]) for row in rows):
        star = {"marker": "*", "color": "none", "markeredgecolor": ink, "markersize": 12}
        keys.append(Line2D([], [], label="paper, one run", **star))
    figure.legend(handles=keys, loc="outside upper center", ncols=3, fontsize=9.5)
    figure.set_label(f"{'Factor' if ratio else 'Gain'}, every seed and the mean: " + "; ".join(sentences) + ".")
    return figure


def _comparison_labels(rows: list[dict[Any, Any]]) -> list[str]:
    """The treatment, with the baseline where it is not dense and with the measure where there are several."""
    several = len({row["measure"] for row in rows}) > 1
    labels = []
    for row in rows:
        treatment, baseline = re.split(" [-/] ", row["comparison"])
        label = treatment if baseline == "dense" else f"{treatment}\nagainst {baseline}"
        labels.append(f"{label}\n{MEASURES.get(row['measure'], row['measure'])}" if several else label)
    return labels


def _effect_sentence(label: str, numbers: tuple[float, float, float, float], seeds: int, ratio: bool) -> str:
    mean, low, high, paper = numbers
    what = label.replace("\n", ", ")
    if ratio:
        return f"{what} takes {mean:.2f} times as long ({seeds} seeds)"
    interval = f"95 % interval {low:+z.2f} to {high:+z.2f}, " if np.isfinite(low) else ""
    reported = f"; the paper reports {paper:+z.2f}" if np.isfinite(paper) else ""
    return f"{what} gains {mean:+z.2f} points ({interval}{seeds} seeds{reported})"


@styled
def learning_curves(epochs: pd.DataFrame) -> Figure:
    """Training and test accuracy against epoch: thin lines are seeds, thick ones means, bands a standard deviation.

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
                axes.plot(run["epoch"], run[column], color=colour, linewidth=0.5, alpha=0.3)
            by_epoch = runs.groupby("epoch")[column]
            mean, spread = by_epoch.mean(), by_epoch.std().fillna(0)
            axes.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
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
def disturbance_curves(measures: pd.DataFrame, start: pd.Series, kinds: Mapping[str, str]) -> Figure:
    """Accuracy against the strength of what is done to a network or its images: a panel a kind, dots are seeds.

    Args:
        measures: rows of `load_measures`: method, seed, kind, strength, accuracy (fraction).
        start: the accuracy of the untouched network, by (method, seed): the left end of each line.
        kinds: for each kind to show, the label of its axis. A strength of "contrast" is what is left of it.
    """
    figure = Figure(figsize=(8, 2.9 * ((len(kinds) + 1) // 2)))
    panels = np.ravel(figure.subplots((len(kinds) + 1) // 2, min(2, len(kinds)), sharey=True, squeeze=False))
    sentences = []
    for axes in panels[len(kinds) :]:
        axes.set_visible(False)
    for axes, (kind, title) in zip(panels, kinds.items(), strict=False):
        rows = measures[measures["kind"] == kind]
        for method, group in _by_method(rows):
            table = group.pivot(index="seed", columns="strength", values="accuracy")
            untouched = 1.0 if kind == "contrast" else 0.0
            table[untouched] = start[method].reindex(table.index)
            table = table[sorted(table.columns, reverse=kind == "contrast")]
            colour, marker, line = METHODS[method]
            for values in table.to_numpy():
                axes.plot(table.columns, values, ".", color=colour, markersize=4, alpha=0.45)
            axes.plot(table.columns, table.mean(), line, color=colour, marker=marker, markersize=5)
            sentences.append(f"{method} {table.iloc[:, -1].mean():.2f} at the strongest {kind}")
        axes.set_xlabel(title)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if kind == "contrast":
            axes.invert_xaxis()
    for axes in panels[:: min(2, len(kinds))]:
        axes.set_ylabel("test accuracy")
    _method_legend(figure, measures)
    figure.set_label("Test accuracy against the strength of a disturbance, means: " + "; ".join(sentences) + ".")
    return figure


@styled
def measures_by_budget(measures: pd.DataFrame) -> Figure:
    """Loss and calibration error of each network at every budget: a line for the mean, a dot a seed.

    Args:
        measures: rows of `load_measures`: method, seed, kind, strength (the budget), loss (nats), calibration_error.
    """
    rows = measures[measures["kind"] == "budget"]
    figure = Figure(figsize=(8, 3.2))
    sentences = []
    titles = {"loss": "test loss (nats)", "calibration_error": "expected calibration error"}
    for axes, (column, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for method, group in _by_method(rows):
            colour, marker, line = METHODS[method]
            axes.plot(group["strength"], group[column], ".", color=colour, markersize=4, alpha=0.45)
            mean = group.groupby("strength")[column].mean().sort_index(ascending=False)
            axes.plot(mean.index, mean, line, color=colour, marker=marker, markersize=5)
            sentences.append(
                f"{method} {title} {mean.iloc[0]:.2f} at {mean.index[0]:g}, {mean.iloc[-1]:.2f} at the least"
            )
        budgets = sorted(rows["strength"].unique(), reverse=True)
        _budget_axis(axes.xaxis, axes.set_xscale, budgets)
        axes.set_xlim(1.15, budgets[-1] / 1.15)
        axes.set_xlabel("budget (share kept)")
        axes.set_ylabel(title)
    _method_legend(figure, rows)
    figure.set_label("Loss and calibration against the budget, means: " + "; ".join(sentences) + ".")
    return figure


@styled
def similarity_by_layer(layers: pd.DataFrame) -> Figure:
    """Linear CKA of each layer at a budget with itself at budget 1: a panel a budget, the mean over seeds a line.

    Args:
        layers: rows of `load_layers`: method, seed, layer, keep_ratio, cka.
    """
    budgets = sorted((budget for budget in layers["keep_ratio"].unique() if budget < 1), reverse=True)[:4]
    figure = Figure(figsize=(8, 3.0))
    panels = np.atleast_1d(figure.subplots(1, len(budgets), sharey=True))
    sentences = []
    for axes, budget in zip(panels, budgets, strict=True):
        for method, group in _by_method(layers[layers["keep_ratio"] == budget]):
            colour, marker, line = METHODS[method]
            mean = group.groupby("layer", sort=False)["cka"].mean()
            places = range(1, len(mean) + 1)
            for _, run in group.groupby("seed"):
                axes.plot(places, run["cka"], ".", color=colour, markersize=4, alpha=0.45)
            axes.plot(places, mean, line, color=colour, marker=marker, markersize=5)
            sentences.append(f"{method} {mean.mean():.2f} at budget {budget:g}")
        axes.set_title(f"budget {budget:g}", fontsize=11)
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("linear CKA with budget 1")
    _method_legend(figure, layers)
    figure.set_label("Similarity of representations to those at budget 1, means over layers: " + "; ".join(sentences))
    return figure


@styled
def specification_curve(table: pd.DataFrame) -> Figure:
    """Every reconstruction's gain over dense, sorted, and which choice was varied in it.

    Args:
        table: rows of `ablation_table`: method, variant, choice, gain, gain_low, gain_high (fractions).
    """
    rows = table.dropna(subset="gain").sort_values("gain", kind="stable").reset_index(drop=True)
    choices = list(dict.fromkeys(rows["choice"].sort_values()))
    figure = Figure(figsize=(8, 3.2 + 0.19 * len(choices)))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 0.19 * len(choices) + 0.3])
    places = np.arange(len(rows))
    for method, group in _by_method(rows):
        colour, marker, _ = METHODS[method]
        spread = 100 * np.stack([group["gain"] - group["gain_low"], group["gain_high"] - group["gain"]])
        top.errorbar(
            group.index, 100 * group["gain"], np.nan_to_num(spread), fmt=marker, color=colour, markersize=4, linewidth=1
        )
        below.scatter(group.index, [choices.index(one) for one in group["choice"]], s=14, color=colour, marker=marker)
    top.axhline(0, color=mpl.rcParams["text.color"], linewidth=1)
    top.set_ylabel("gain over dense\n(percentage points)")
    below.set_yticks(range(len(choices)), choices, fontsize=9)
    below.set_ylim(len(choices) - 0.5, -0.5)
    below.set_xlim(-1, len(places))
    below.set_xlabel("reconstructions, sorted by gain")
    below.set_ylabel("choice varied")
    below.tick_params(axis="x", labelbottom=False)
    _method_legend(figure, rows)
    above = int((rows["gain_low"] > 0).sum())
    figure.set_label(
        f"Gain over dense of {len(rows)} reconstructions, from {100 * rows['gain'].min():+z.1f} to "
        f"{100 * rows['gain'].max():+z.1f} points; {int((rows['gain'] > 0).sum())} are positive, {above} with an "
        "interval above zero."
    )
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
            sentences.append(f"{method} changes by {jumps.mean():+z.2f} nats on average in the period after a reset")
    axes.set_xlabel("epoch (triangles: first period after a reset)")
    axes.set_ylabel("training loss (nats)")
    _method_legend(figure, epochs)
    figure.set_label("Training loss against epoch; " + ("; ".join(sentences) or "0 resets") + ".")
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
    "MEASURES",
    "METHODS",
    "accuracy_by_budget",
    "controller_paths",
    "disturbance_curves",
    "feature_maps",
    "gap_and_drop",
    "keep_ratio_path",
    "layer_activity",
    "learning_curves",
    "loss_around_resets",
    "measures_by_budget",
    "paired_effects",
    "similarity_by_layer",
    "specification_curve",
]
