"""The figures over all datasets of the companion study: tables in, a matplotlib `Figure` out, its label the alternative
text."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sparsecycle_book.figures import WIDTH, Look, add_legend, styled
from sparsecycle_book.set_mlp.styles import METHODS


@styled
def gains_by_dataset(table: pd.DataFrame) -> Figure:
    """What the treatment gains over the baseline on each dataset, and the mean with its interval: a panel a comparison.

    Args:
        table: rows of `set_verdict_table`; those that were not measured are left out.
    """
    rows = table[table["datasets"] > 0].to_dict("records")
    if not rows:
        raise ValueError("none of these comparisons was measured: there is nothing to draw")
    names = sorted({name for row in rows for name in row["differences"]}, key=str.lower, reverse=True)
    lines = -(-len(rows) // 2)
    figure = Figure(figsize=(WIDTH, 0.5 + lines * (0.9 + 0.22 * len(names))))
    figure.set_layout_engine("constrained", h_pad=0.08)  # inches, between a panel's ticks and the next one's title
    panels = np.atleast_2d(figure.subplots(lines, min(2, len(rows)), sharey=True))
    for axes in panels.flat[len(rows) :]:
        axes.set_axis_off()
    said = []
    for axes, row in zip(panels.flat, rows, strict=False):
        colour, marker, _ = METHODS[row["treatment"]]
        baseline = row["baseline"].replace(" learning_rate=", ",\nrate ")
        if np.isfinite(row["low"]):
            axes.axvspan(100 * row["low"], 100 * row["high"], color=colour, alpha=0.18, linewidth=0)
        axes.axvline(100 * row["mean"], color=colour)
        axes.axvline(0, color=mpl.rcParams["text.color"], linewidth=1)
        for name, value in row["differences"].items():
            axes.plot(100 * value, names.index(name), marker=marker, color=colour, markersize=5)
        axes.set_title(f"{row['arm']}:\n{row['treatment']} - {baseline}", fontsize=10)
        said.append(
            f"{row['arm']}, {row['treatment']} - {row['baseline']}: {100 * row['mean']:+z.1f} points (95 % interval "
            f"{100 * row['low']:+z.1f} to {100 * row['high']:+z.1f}, {row['datasets']} datasets)"
        )
    panels[0, 0].set_yticks(range(len(names)), names)
    figure.supxlabel("gain in last test accuracy (percentage points)", fontsize=11)
    figure.set_label("Gains in test accuracy by dataset and in the mean: " + "; ".join(said) + ".")
    return figure


@styled
def accuracy_against_parameters(runs: pd.DataFrame) -> Figure:
    """Mean test accuracy against mean number of parameters, a point a dataset and method; lines join a dataset's.

    Args:
        runs: of `study_runs`, of one arm, on splits that all methods have; those that diverged are left out.
    """
    means = runs.groupby(["dataset", "method"])[["parameters", "last_accuracy"]].mean()
    figure = Figure(figsize=(WIDTH, 4))
    axes = figure.subplots()
    for dataset in sorted(set(runs["dataset"])):
        group = means.loc[dataset].reindex([name for name in METHODS if name in means.loc[dataset].index])
        axes.plot(group["parameters"], group["last_accuracy"], color=mpl.rcParams["text.color"], alpha=0.2, linewidth=1)
    said = []
    for method, (colour, marker, _) in METHODS.items():
        if method in set(runs["method"]):
            group = means.xs(method, level="method")
            axes.plot(group["parameters"], group["last_accuracy"], marker, color=colour, markersize=6)
            said.append(
                f"{method} {group['last_accuracy'].mean():.2f} with {group['parameters'].median():,.0f} parameters"
            )
    axes.set_xscale("log")
    axes.set_xlabel("parameters at the end")
    axes.set_ylabel("last test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    add_legend(figure, {name: look for name, look in METHODS.items() if name in set(runs["method"])})
    figure.set_label("Test accuracy, mean over datasets, and median parameters: " + "; ".join(said) + ".")
    return figure


@styled
def scaling(table: pd.DataFrame) -> Figure:
    """Parameters, seconds of a step and of evolution, and peak memory against hidden neurons.

    Args:
        table: of `report.scaling_table`.
    """
    shown = {"sparse": METHODS["set"], "fully connected": METHODS["dense"]}
    shown |= {"step": METHODS["set"], "evolution": Look(mpl.rcParams["text.color"], "^", "--")}
    panels = (
        ("parameters", {"parameters": "sparse", "fully connected": "fully connected"}),
        ("seconds", {"step (s)": "step", "evolution (s)": "evolution"}),
        ("peak memory (GiB)", {"memory (GiB)": "sparse"}),
    )
    figure = Figure(figsize=(WIDTH, 6))
    said = []
    for axes, (title, columns) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        for column, word in columns.items():
            colour, marker, line = shown[word]
            axes.plot(table.index, table[column], line, color=colour, marker=marker, label=word)
            said.append(f"{column} {table[column].iloc[-1]:.3g}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylabel(title)
        if len(columns) > 1:
            axes.legend()
    axes.set_xlabel("hidden neurons")
    figure.set_label(f"Growth with the number of hidden neurons; at {table.index[-1]:,}: {', '.join(said)}.")
    return figure
