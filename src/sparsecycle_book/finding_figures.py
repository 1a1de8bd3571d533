"""Figures of what was measured on finished runs: resets, the number of test evaluations, compression, corruption."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from sparsecycle.analysis.verdicts import PAPER_EFFECT
from sparsecycle.runs.metrics import ACTIVE
from sparsecycle_book.figures import METHODS, PALETTE, WIDTH, accuracy_axis, add_legend, methods_of, styled, with_found

BIN = 0.05  # width of a bar, in powers of ten
BEFORE, AFTER = 10, 20  # decisions that are shown around a reset
DEEP = 0.2  # below it, a reset ends a cycle that went deep
KINDS = {  # of `Condition`: what a panel is called, and its axis
    "pruning": ("the smallest weights set to zero", "share of the weights"),
    "noise": ("noise on the image", "standard deviation (pixels reach from 0 to 1)"),
    "blur": ("blurred image", "standard deviation (pixels)"),
    "contrast": ("less contrast", "share of the contrast that is left"),
    "removal": ("channels removed", "share of each layer's channels"),
}
DASHES: dict[str, Any] = {"-": "", "--": (4, 1.5), ":": (1, 1), "-.": (3, 1, 1, 1)}  # as seaborn calls line styles


@styled
def reset_places(decisions: pd.DataFrame) -> Figure:
    """At which keep-ratio resets came; above `ACTIVE`, which is shaded, the constraint removes almost nothing.

    Args:
        decisions: rows of `load_decisions` of rules with feedback.
    """
    found = with_found(decisions)
    found = found[found["reset"]]
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots()
    methods = methods_of(found)
    least = math.floor(math.log10(found["found"].min()) / BIN) * BIN
    sns.histplot(
        found, x="found", hue="method", hue_order=methods, palette=PALETTE, multiple="stack", log_scale=True,
        binwidth=BIN, binrange=(least, 0.0), legend=False, ax=axes,
    )  # fmt: skip
    axes.axvspan(ACTIVE, 1.0, color=mpl.rcParams["text.color"], alpha=0.08, linewidth=0)
    axes.annotate("idle", (ACTIVE**0.5, 0.98), xycoords=("data", "axes fraction"), ha="center", va="top")
    marks = [mark for mark in (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) if mark >= axes.get_xlim()[0]]
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="keep-ratio that the reset found", ylabel="resets")
    add_legend(figure, {method: METHODS[method] for method in methods})
    places = found.groupby("method")["found"]
    told = "; ".join(
        f"{name} {len(own)} reset{'s' if len(own) > 1 else ''}, {100 * (own >= ACTIVE).mean():.0f} % of them at "
        f"{ACTIVE:g} or more, median {own.median():.2g}"
        for name, own in ((name, places.get_group(name)) for name in methods)
    )
    figure.set_label(
        f"Keep-ratios that resets found: {told}. From {ACTIVE:g} on the constraint removes almost nothing."
    )
    return figure


def around_resets(decisions: pd.DataFrame) -> pd.DataFrame:
    """The average that the rule follows around each reset: reset, its step, kind, decision (0 at the reset), accuracy.

    Kinds: "idle"; "first" and "later" of a run's resets from a keep-ratio below `DEEP`; "between".

    Args:
        decisions: rows of `load_decisions` of rules with feedback.
    """
    rows = []
    for name, averages in with_found(decisions).groupby("run"):
        deep = "first"
        for place in np.flatnonzero(averages["reset"]).tolist():
            found, step = averages["found"].iloc[place], averages["step"].iloc[place]
            kind = "idle" if found >= ACTIVE else deep if found < DEEP else "between"
            deep = "later" if found < DEEP else deep
            around = averages["average"].iloc[max(0, place - BEFORE) : place + AFTER + 1]
            rows += [
                {"reset": f"{name} {place}", "step": step, "kind": kind, "decision": number, "accuracy": accuracy}
                for number, accuracy in enumerate(around, start=-min(place, BEFORE))
            ]
    return pd.DataFrame(rows, columns=["reset", "step", "kind", "decision", "accuracy"])


@styled
def reset_response(decisions: pd.DataFrame) -> Figure:
    """The average that the rule follows around its resets, by their kind; bands hold the middle half.

    Args:
        decisions: rows of `load_decisions` of rules with feedback.
    """
    frame = around_resets(decisions)
    looks: dict[str, tuple[str, str, Any]] = {
        "first": (f"the first from below {DEEP:g}", METHODS["accuracy_gated"].colour, "-"),
        "later": (f"later ones from below {DEEP:g}", METHODS["epoch_gated"].colour, "-."),
        "between": ("others", METHODS["replay"].colour, ":"),
        "idle": ("idle", METHODS["dense"].colour, "--"),
    }
    counts = frame.groupby("kind")["reset"].nunique()
    figure = Figure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    lines, told = [], []
    for kind, (words, colour, style) in looks.items():
        own = frame[frame["kind"] == kind]
        if own.empty:
            continue
        sns.lineplot(
            own, x="decision", y="accuracy", color=colour, linestyle=style, errorbar=("pi", 50), legend=False, ax=axes
        )
        lines.append(Line2D([], [], color=colour, linestyle=style, label=f"{words} ({counts[kind]})"))
        means = own.groupby("decision")["accuracy"].mean()
        told.append(f"{words} {means[0]:.2f} at the reset, {means[means.index > 0].min():.2f} at least after it")
    axes.axvline(0, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
    axes.set(xlabel="decisions after the reset", ylabel="training accuracy (average)")
    accuracy_axis(axes)
    figure.legend(handles=lines, loc="outside upper center", ncols=2)
    figure.set_label("Training accuracy around resets, means: " + "; ".join(told) + ".")
    return figure


@styled
def best_by_looks(table: pd.DataFrame) -> Figure:
    """How far the best accuracy lies above the clean one: dots are runs, lines are means.

    Args:
        table: of `placebo.best_by_looks`.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots()
    points = table.assign(points=100 * table["above_clean"])
    methods = methods_of(points)
    sns.lineplot(
        points, x="looks", y="points", hue="method", hue_order=methods, style="method", style_order=methods,
        palette=PALETTE, markers=[METHODS[name].marker for name in methods], dashes=False, errorbar=None,
        legend=False, ax=axes,
    )  # fmt: skip
    for name in methods:
        own = points[points["method"] == name]
        axes.plot(own["looks"], own["points"], ".", color=PALETTE[name], markersize=4, alpha=0.5)
    axes.axhline(0, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    counts = sorted(points["looks"].unique())
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set(xlabel="test evaluations, evenly spaced", ylabel="best above clean (points)")
    add_legend(figure, {method: METHODS[method] for method in methods})
    means = points.groupby(["method", "looks"], sort=False)["points"].mean()
    few, many = counts[0], counts[-1]
    told = [
        f"{name} {means[name, few]:+.2f} points with {few} and {means[name, many]:+.2f} with {many}" for name in methods
    ]
    figure.set_label(f"Best test accuracy above the clean one, by test evaluations, means: {'; '.join(told)}.")
    return figure


@styled
def gain_by_pairs(pairs: pd.DataFrame) -> Figure:
    """The gain of each pair, and the mean of the pairs so far with its 95 % interval.

    Args:
        pairs: of `first_pairs`.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots()
    ink, colour = mpl.rcParams["text.color"], METHODS["accuracy_gated"].colour
    points = pairs.assign(**{name: 100 * pairs[name] for name in ("difference", "mean", "low", "high")})
    paper = 100 * PAPER_EFFECT
    axes.plot(points["pairs"], points["difference"], "o", color=colour, markersize=4, alpha=0.7, label="a pair")
    axes.plot(points["pairs"], points["mean"], color=colour, label="mean so far")
    axes.fill_between(points["pairs"], points["low"], points["high"], color=colour, alpha=0.2, label="95 % interval")
    axes.axhline(0, color=ink, linewidth=1)
    axes.axhline(paper, color=ink, linewidth=1, linestyle=":", label="the smaller of the paper's gains")
    reach = 1.1 * max(points["difference"].abs().max(), paper)  # two or three pairs have intervals far beyond it
    axes.set_ylim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="pairs, in the order of their seeds", ylabel="gain (percentage points)")
    figure.legend(loc="outside upper center", ncols=2)
    last = points.iloc[-1]
    figure.set_label(
        f"Gain of the published rule as reported, by the number of pairs: a single pair gives "
        f"{points['difference'].min():+z.2f} to {points['difference'].max():+z.2f} points; the mean of all "
        f"{len(points)} is {last['mean']:+z.2f} (95 % interval {last['low']:+z.2f} to {last['high']:+z.2f})."
    )
    return figure


@styled
def your_runs(own: pd.DataFrame, recorded: pd.DataFrame) -> Figure:
    """Test accuracy at keep-ratio 1 of your runs among the recorded ones of the same preset: a panel a method.

    Args:
        own: rows of `load_epochs` of your runs, of one preset.
        recorded: rows of `load_epochs`.
    """
    methods = methods_of(own)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.0 * len(methods)))
    told = []
    for axes, method in zip(figure.subplots(len(methods), 1, sharex=True, squeeze=False)[:, 0], methods, strict=True):
        others = recorded[recorded["preset"].isin(own["preset"]) & (recorded["method"] == method)]
        for _, run in others.groupby("run"):
            axes.plot(run["epoch"], run["test_accuracy"], color=mpl.rcParams["text.color"], linewidth=0.8, alpha=0.45)
        mine = own[own["method"] == method]
        for _, run in mine.groupby("run"):
            axes.plot(run["epoch"], run["test_accuracy"], color=PALETTE[method], linewidth=2.2)
        axes.set_title(f"{method} (grey: {others['run'].nunique()} recorded)", loc="left")
        axes.set_ylabel("test accuracy")
        accuracy_axis(axes)
        lasts = [frame.groupby("run")["test_accuracy"].last().mean() for frame in (mine, others)]
        told.append(f"{method} {lasts[0]:.2f}" + (f", recorded {lasts[1]:.2f}" if len(others) else ""))
    axes.set_xlabel("epoch")
    figure.set_label("Your runs among the recorded ones, mean test accuracy at the end: " + "; ".join(told) + ".")
    return figure


@styled
def conditions(measures: pd.DataFrame, kinds: Sequence[str]) -> Figure:
    """Test accuracy under one disturbance or compression after the other, a panel each; bands are one deviation.

    Args:
        measures: rows of `load_measures`.
        kinds: keys of `KINDS`.
    """
    figure = Figure(figsize=(WIDTH, 0.6 + 2.2 * len(kinds)))
    methods = methods_of(measures)
    told = []
    for axes, kind in zip(figure.subplots(len(kinds), 1, squeeze=False)[:, 0], kinds, strict=True):
        own = measures[measures["kind"] == kind]
        sns.lineplot(
            own, x="strength", y="accuracy", hue="method", hue_order=methods, style="method", style_order=methods,
            palette=PALETTE, markers=[METHODS[name].marker for name in methods],
            dashes=[DASHES[METHODS[name].line] for name in methods], errorbar="sd", legend=False, ax=axes,
        )  # fmt: skip
        title, strength = KINDS[kind]
        axes.set_title(title, loc="left")
        axes.set(xlabel=strength, ylabel="test accuracy")
        accuracy_axis(axes, "left")
        if kind == "contrast":
            axes.invert_xaxis()  # the stronger disturbance is on the right of each panel
        worst = own["strength"].min() if kind == "contrast" else own["strength"].max()
        means = own[own["strength"] == worst].groupby("method")["accuracy"].mean()
        told.append(f"{title}, {worst:g}: " + ", ".join(f"{name} {means[name]:.2f}" for name in methods))
    add_legend(figure, {method: METHODS[method] for method in methods})
    figure.set_label("Test accuracy of the final networks, means at the strongest: " + "; ".join(told) + ".")
    return figure
