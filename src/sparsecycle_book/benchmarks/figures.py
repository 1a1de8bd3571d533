"""The figures of the chapter on costs, in the style of the others."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsecycle_book.benchmarks.record import BenchmarkRecord, over_dense
from sparsecycle_book.figures import METHODS, WIDTH, log_axis, styled

SIDES: dict[str, tuple[str, str, str, str]] = {  # side: (name, colour, marker, line style)
    "sort": ("sort", "#009e73", "^", "--"),
    "kthvalue": ("kthvalue", "#cc79a7", "v", "--"),
    "topk": ("torch.topk", "#d55e00", "D", "-"),
    "kernel": ("this library", "#0f83c9", "s", "-"),
    "relu": ("ReLU alone", "#7d8590", "o", "-"),
    "copy": ("copy: memory's limit", "#b58900", "", ":"),
}
MANNERS = {"plain": "plain torch", "torch": "channels_last", "kernels": "this library", "compiled": "and torch.compile"}


@styled
def layer_cost(record: BenchmarkRecord, case: str, sizes: list[str], keep_ratio: float) -> Figure:
    """Milliseconds of ReLU, selection and mask: against the keep-ratio at one size, and the size at one keep-ratio.

    Args:
        case: "64 x 65536 float32", as in the record.
        sizes: cases of one dtype, ascending, for the second panel.
    """
    table = record.table().query("suite == 'selection'")
    figure = Figure(figsize=(WIDTH, 6.4))
    by_budget, by_size = figure.subplots(2, 1, sharey=True)
    values = [int(size.split()[0]) * int(size.split()[2]) for size in sizes]
    said = []
    for side, (name, colour, marker, line) in SIDES.items():
        rows = table[(table["case"] == case) & (table["side"] == side)].sort_values("keep_ratio")
        if rows.empty:
            continue
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5}
        _with_spread(by_budget, rows["keep_ratio"], rows, style, name)
        at_size = table[(table["side"] == side) & (table["keep_ratio"] == keep_ratio)].set_index("case").loc[sizes]
        _with_spread(by_size, np.array(values), at_size, style, None)
        at_budget = rows[rows["keep_ratio"] == keep_ratio]
        said.append(f"{name} {at_budget['median'].iloc[0]:.2g} ms")
    log_axis(by_budget.xaxis, by_budget.set_xscale, sorted(table["keep_ratio"].unique()))
    by_budget.set_xlabel("keep-ratio")
    by_budget.set_title(case, loc="left")
    log_axis(by_size.xaxis, by_size.set_xscale, sorted(set(values)), unit=1e6)
    by_size.set_xlabel("values in all (millions)")
    by_size.set_title(f"keep-ratio {keep_ratio:g}", loc="left")
    for axes in (by_budget, by_size):
        axes.set_ylabel("time (milliseconds)")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(loc="outside upper center", ncols=3)
    figure.set_label(f"Time of ReLU, selection and mask for {case} at keep-ratio {keep_ratio:g}: {', '.join(said)}.")
    return figure


def _with_spread(axes: Axes, x: Any, rows: pd.DataFrame, style: dict[str, Any], name: str | None) -> None:
    axes.plot(x, rows["median"], label=name, **style)
    axes.fill_between(x, rows["low"], rows["high"], color=style["color"], alpha=0.2, linewidth=0)


@styled
def step_cost(record: BenchmarkRecord) -> Figure:
    """Milliseconds of a training step, dense and at 0.1, in each manner, beside what the convolutions need at best."""
    table, case = record.table(), record.step_case()
    steps = table[(table["suite"] == "step") & (table["case"] == case) & table["keep_ratio"].isin([1.0, 0.1])]
    manners = [manner for manner in MANNERS if manner in set(steps["side"])]
    figure = Figure(figsize=(WIDTH, 1.5 + 0.6 * len(manners)))
    axes = figure.subplots()
    said = []
    dense, gated = METHODS["dense"].colour, METHODS["accuracy_gated"].colour
    for offset, keep_ratio, name, colour in ((-0.19, 1.0, "dense", dense), (0.19, 0.1, "keep-ratio 0.1", gated)):
        rows = steps[steps["keep_ratio"] == keep_ratio].set_index("side").reindex(manners)
        places = np.arange(len(manners)) + offset
        spread = np.abs(rows[["low", "high"]].to_numpy().T - rows["median"].to_numpy())
        axes.barh(places, rows["median"], 0.36, color=colour, label=name)
        ink = mpl.rcParams["text.color"]
        axes.errorbar(rows["median"], places, xerr=spread, fmt="none", ecolor=ink, elinewidth=1)
        said += [
            f"{MANNERS[manner]} {name} {value:.0f} ms" for manner, value in zip(manners, rows["median"], strict=True)
        ]
    limits = table[(table["suite"] == "limit") & (table["case"] == case)].set_index("side")["median"]
    least = 1000 * limits["work"] / limits["matrix product"]
    axes.axvline(least, color="#b58900", linestyle=":", label="lower bound from convolutions")
    axes.set_yticks(range(len(manners)), [MANNERS[manner] for manner in manners])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("time of a training step (milliseconds)")
    axes.set_ylabel("implementation")
    figure.legend(loc="outside upper center", ncols=3)
    figure.set_label(f"Time of a training step of {case}: {', '.join(said)}; the least {least:.0f} ms.")
    return figure


@styled
def relative_cost(record: BenchmarkRecord) -> Figure:
    """Time of a constrained step over a dense one: against the keep-ratio, and at 0.1 for other sizes of network."""
    own, others = over_dense(record, "step"), over_dense(record, "scaling")
    case = record.step_case()
    figure = Figure(figsize=(WIDTH, 1.6 + 0.35 * (len(own) + len(others))))
    by_budget, by_size = figure.subplots(2, 1, sharex=True, height_ratios=[len(own), len(others)])
    style: dict[str, Any] = {"color": METHODS["accuracy_gated"].colour, "marker": "s", "markersize": 6}
    style |= {"linewidth": 0, "elinewidth": 1.5}
    widest = max(1.25, *(1.02 * frame["high"].max() for frame in (own, others)))
    least = min(0.95, *(0.98 * frame["low"].min() for frame in (own, others)))
    for axes, rows in ((by_budget, own), (by_size, others)):
        places = np.arange(len(rows))
        spread = np.abs(rows[["low", "high"]].to_numpy().T - rows["median"].to_numpy())
        axes.errorbar(rows["median"], places, xerr=spread, **style)
        axes.axvline(1, color=mpl.rcParams["text.color"], linewidth=1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(least, widest)
        axes.set_xlabel("time over dense")
    by_budget.set_yticks(range(len(own)), [f"{value:g}" for value in own["keep_ratio"]])
    by_budget.set_ylabel("keep-ratio")
    by_budget.set_title(case, loc="left")
    by_size.set_yticks(range(len(others)), [name.removesuffix(f" {case.split()[-1]}") for name in others["case"]])
    by_size.set_ylabel("network")
    by_size.set_title("keep-ratio 0.1", loc="left")
    said = [f"{row.case} {row.median:.2f}" for row in others.itertuples()]
    figure.set_label(
        f"Time of a constrained step over a dense one, {case}: "
        + ", ".join(f"{row.median:.2f} at {row.keep_ratio:g}" for row in own.itertuples())
        + f"; other networks at 0.1: {', '.join(said)}."
    )
    return figure
