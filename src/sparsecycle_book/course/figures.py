"""The figures of the course that the book does not have: numbers in, a matplotlib `Figure` out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
from matplotlib.figure import Figure

from sparsecycle_book.figures import styled

COLOURS = ("#0f83c9", "#d55e00", "#009e73")


@styled
def training_steps(budgets: Sequence[float], runs: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Loss and gradient norm of each training step, a line a run; the budget's changes are marked.

    Args:
        budgets: of each step.
        runs: by name, (loss in nats, norm of the gradient before clipping) of each step.
    """
    figure = Figure(figsize=(8, 3.4))
    loss_axes, norm_axes = figure.subplots(1, 2)
    steps = range(1, len(budgets) + 1)
    changes = [step for step in range(1, len(budgets)) if budgets[step] != budgets[step - 1]]
    said = []
    for (name, values), colour in zip(runs.items(), COLOURS, strict=False):
        losses, norms = zip(*values, strict=True)
        loss_axes.plot(steps, losses, color=colour, label=name)
        norm_axes.plot(steps, norms, color=colour)
        said.append(f"{name} ends at a loss of {losses[-1]:.2f}, its largest gradient norm is {max(norms):.0f}")
    for axes, title in ((loss_axes, "training loss (nats)"), (norm_axes, "norm of the gradient")):
        for step in changes:
            axes.axvline(step + 0.5, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
        axes.set_xlabel("step")
        axes.set_ylabel(title)
    norm_axes.set_yscale("log")
    for first, step in zip([0, *changes], [*changes, len(budgets)], strict=True):
        loss_axes.annotate(
            f"{budgets[first]:g}", ((first + step + 1) / 2, 1.0), xycoords=("data", "axes fraction"), ha="center"
        )
    figure.legend(loc="outside upper center", ncols=len(runs))
    figure.set_label(
        f"{len(budgets)} training steps, the budget changing {len(changes)} times: " + "; ".join(said) + "."
    )
    return figure


@styled
def budget_steps(losses: Sequence[float], paths: Mapping[str, Sequence[float]]) -> Figure:
    """The budgets that rules choose from the same losses, a line a rule, the losses below."""
    figure = Figure(figsize=(7, 4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    periods = range(1, len(losses) + 1)
    said = []
    for (name, budgets), colour in zip(paths.items(), COLOURS, strict=False):
        above.step(periods, budgets, where="mid", color=colour, label=name)
        resets = sum(after > before for before, after in pairwise(budgets))
        said.append(f"{name} resets {resets} times, its mean budget is {sum(budgets) / len(budgets):.2f}")
    above.set_yscale("log")
    above.set_ylabel("budget")
    below.plot(periods, losses, color=mpl.rcParams["text.color"])
    below.set_ylabel("loss (nats)")
    below.set_xlabel("period")
    figure.legend(loc="outside upper center", ncols=len(paths))
    figure.set_label(f"Budgets over {len(losses)} periods: " + "; ".join(said) + ".")
    return figure
