"""The check for the exercise of the course that designs a controller."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sparsecycle_book.course.checks import NO_VALUE, OPEN, RIGHT, unwritten
from sparsecycle.errors import shown

Rule = Callable[[float, float, float, float], Any]
Losses = np.ndarray[Any, Any]
HIGHEST = 3.0  # of the losses that are numbers, in nats


def check_rule(rule: Rule, floors: Sequence[float], *, patience: int = 50) -> None:
    """Print whether a rule for the next budget is a controller that cannot go wrong.

    It keeps the bounds, never grows but by a reset to 1, and resets at last, whatever the losses. It compresses, and
    which budgets it chooses depends on the losses.

    Args:
        rule: takes the budget, the loss of the period just trained at it, that of the last dense period, and the floor;
            returns the next budget.
        floors: smallest budgets that are allowed, tried one after the other.
        patience: periods within which a reset must come, whatever the losses.
    """
    told = (_told(rule, floor, patience) for floor in floors)
    print(next((sentence for sentence in told if sentence != RIGHT), RIGHT))


def _told(rule: Rule, floor: float, patience: int) -> str:
    paths = []
    for losses in _sequences():
        found = _followed(rule, losses, floor, patience)
        if isinstance(found, str):
            return found
        if np.isfinite(losses).all():
            paths.append(found)
    if all(budget == 1 for path in paths for budget in path):
        return "Not yet. It never compresses: the next budget is always 1."
    if all(path == paths[0] for path in paths):
        return f"Not yet. Losses from 0 to {HIGHEST:g} all lead to the same budgets: a controller looks at the loss."
    return RIGHT


def _followed(rule: Rule, losses: Losses, floor: float, patience: int) -> list[float] | str:
    """The budgets that a rule sets when it is told these losses, or what is wrong with one."""
    budget, dense_loss, since_reset = 1.0, math.nan, 0
    path: list[float] = []
    for loss in losses.tolist():
        if budget == 1:
            dense_loss = loss
        told = f"With budget {budget:.3g}, loss {loss:.3g}, dense loss {dense_loss:.3g} and floor {floor:g}"
        try:
            found = rule(budget, loss, dense_loss, floor)
        except Exception as error:
            return f"Not yet. {told} it stops: {shown(error)}"
        if unwritten(rule, found):
            return OPEN
        if found is None:
            return f"Not yet. {told} {NO_VALUE}"
        if not isinstance(found, int | float | np.number):
            return f"Not yet. {told} it gives {shown(found)}, which is no number."
        if not floor <= found <= 1:
            return f"Not yet. {told} it gives {found!r}, which is not from {floor} to 1."
        if budget < found < 1:
            return f"Not yet. {told} it grows to {found:.3g}; the only way up is a reset to 1."
        since_reset = 0 if found == 1 else since_reset + 1
        if since_reset > patience:
            return f"Not yet. There was no reset for {patience} periods, the last with budget {budget:.3g}."
        budget = float(found)
        path.append(budget)
    return path


def _sequences() -> list[Losses]:
    """Losses that a rule must bear: usual ones, and those of a training that breaks."""
    rng, periods = np.random.default_rng(0), np.arange(200)
    found = [rng.uniform(0, HIGHEST, 200), np.full(200, 1.0)]
    found += [np.linspace(HIGHEST, 0, 200), np.linspace(0, HIGHEST, 200), np.full(200, math.nan)]
    for bad in (math.nan, math.inf, -math.inf):
        found += [np.where(periods < 3, 1.0, bad), np.where(periods % 2, bad, 1.0)]
    return found
