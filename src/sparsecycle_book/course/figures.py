"""The figure of the lessons that the book does not have: numbers in, a matplotlib `Figure` out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from sparsecycle_book.figures import METHODS, WIDTH, styled

MARKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


@styled
def keep_ratio_steps(accuracies: Sequence[float], paths: Mapping[str, Sequence[float]]) -> Figure:
    """The keep-ratios that rules choose from the same training accuracies, a line a rule, the accuracies below.

    Args:
        accuracies: of each step, in [0, 1].
        paths: keep-ratio of each step by the rule's name; at least one.
    """
    figure = Figure(figsize=(WIDTH, 4.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    steps = range(1, len(accuracies) + 1)
    looks = [METHODS["accuracy_gated"], METHODS["epoch_gated"], METHODS["geometric"]]
    said = []
    for (name, path), look in zip(paths.items(), looks, strict=False):
        above.plot(steps, path, look.line, color=look.colour, label=name, drawstyle="steps-mid")
        raised = sum(after > before for before, after in pairwise(path))
        said.append(f"{name} raises the keep-ratio {raised} times and goes down to {min(path):.2g}")
    lowest = min(min(path) for path in paths.values())
    above.set_yscale("log")
    above.yaxis.set_major_locator(FixedLocator([mark for mark in MARKS if mark >= min(lowest, 0.5)]))
    above.yaxis.set_minor_locator(NullLocator())
    above.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    above.set_ylabel("keep-ratio")
    below.plot(steps, accuracies, color=mpl.rcParams["text.color"], linewidth=0.8)
    below.set_ylabel("accuracy")
    below.set_xlabel("step")
    figure.legend(loc="outside upper center", ncols=len(paths))
    figure.set_label(f"Keep-ratio over {len(accuracies)} steps: " + "; ".join(said) + ".")
    return figure
