"""The figures over all datasets of the companion study: tables in, a matplotlib `Figure` out, its label the alternative
text."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sparsecycle_book.benchmarks.record import BenchmarkRecord
from sparsecycle_book.figures import add_legend, styled
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
    figure = Figure(figsize=(8, 1.8 + 0.24 * len(names)))
    panels = np.atleast_1d(figure.subplots(1, len(rows), sharey=True))
    said = []
    for axes, row in zip(panels, rows, strict=True):
        colour, marker, _ = METHODS[row["treatment"]]
        baseline = row["baseline"].replace(" learning_rate=", ",\nrate ")
        if np.isfinite(row["low"]):
            axes.axvspan(100 * row["low"], 100 * row["high"], color=colour, alpha=0.18, linewidth=0)
        axes.axvline(100 * row["mean"], color=colour)
        axes.axvline(0, color=mpl.rcParams["text.color"], linewidth=1)
        for name, value in row["differences"].items():
            axes.plot(100 * value, names.index(name), marker=marker, color=colour, markersize=5)
        axes.set_xlabel("gain in test accuracy\n(percentage points)", fontsize=10)
        axes.set_title(f"{row['arm']}:\n{row['treatment']} - {baseline}", fontsize=10)
        said.append(
            f"{row['arm']}, {row['treatment']} - {row['baseline']}: {100 * row['mean']:+z.1f} points (95 % interval "
            f"{100 * row['low']:+z.1f} to {100 * row['high']:+z.1f}, {row['datasets']} datasets)"
        )
    panels[0].set_yticks(range(len(names)), names)
    figure.set_label("Gains in test accuracy by dataset and in the mean: " + "; ".join(said) + ".")
    return figure


@styled
def accuracy_against_parameters(runs: pd.DataFrame) -> Figure:
    """Mean test accuracy against mean number of parameters, a point a dataset and method; lines join a dataset's.

    Args:
        runs: of `study_runs`, of one arm, on splits that all methods have; those that diverged are left out.
    """
    means = runs.groupby(["dataset", "method"])[["parameters", "last_accuracy"]].mean()
    figure = Figure(figsize=(7, 4))
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
def scaling(record: BenchmarkRecord) -> Figure:
    """Parameters, time of a step and of evolution, and memory against hidden neurons, from `benchmarks.set_mlp`."""
    table = record.table().query("suite == 'set scaling'")
    table = table.assign(neurons=table["case"].str.split().str[0].astype(int)).sort_values("neurons")
    panels: tuple[tuple[str, tuple[str, ...], float, str], ...] = (
        ("parameters", ("parameters",), 1, ""),
        ("seconds", ("step", "evolution"), 1e-3, " s"),
        ("peak memory (GiB)", ("peak memory",), 2**-10, " GiB"),
    )
    figure = Figure(figsize=(8, 3.0))
    said = []
    for axes, (title, sides, unit, word) in zip(figure.subplots(1, 3), panels, strict=True):
        for side, (colour, marker, line) in zip(sides, (METHODS["set"], METHODS["static"]), strict=False):
            rows = table[table["side"] == side]
            axes.plot(rows["neurons"], unit * rows["median"], line, color=colour, marker=marker, label=side)
            last = rows.iloc[-1]
            said.append(f"{side} {unit * last['median']:.3g}{word}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("hidden neurons")
        axes.set_ylabel(title)
        if len(sides) > 1:
            axes.legend()
    neurons = int(table["neurons"].max())
    figure.set_label(f"Growth with the number of hidden neurons; at {neurons:,}: " + ", ".join(said) + ".")
    return figure
