"""What is right in the exercises of the lessons, where the check needs more than one call of the library.

Kept out of the notebooks, so that a student's form does not show the solution in the cell that checks it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sparsecycle.controllers import Decision, make_controller
from sparsecycle.runs.metrics import ACTIVE


def kept(total: int, keep_ratios: Sequence[float]) -> list[int]:
    """Return how many of `total` values each keep-ratio keeps."""
    return [max(1, math.floor(total * ratio)) for ratio in keep_ratios]


def share_above_zero(maps: Any) -> float:
    """Return the share of the values of a tensor that are positive."""
    return float((maps > 0).double().mean())


def averages(accuracies: Sequence[float]) -> list[float]:
    """Return the published rule's average after each step."""
    controller: Any = make_controller("accuracy_gated")
    found = []
    for accuracy in accuracies:
        controller.update([accuracy])
        found.append(controller.average)
    return found


def average_deviation(accuracy: float, batch: int) -> float:
    """Return the standard deviation of the average with weight one half, when each batch is right with `accuracy`."""
    return batch_deviation(accuracy, batch) / math.sqrt(3)  # sum of the squares of 1/2, 1/4, 1/8, ...: 1/3


def batch_deviation(accuracy: float, batch: int) -> float:
    """Return the standard deviation of the share of right answers among `batch` images."""
    return math.sqrt(accuracy * (1 - accuracy) / batch)


def decide(keep_ratio: float, average: float, best: float, cooldown_left: int) -> tuple[float, int]:
    """Return keep-ratio and cooldown after one decision of the published rule."""
    controller: Any = make_controller("accuracy_gated", decision_steps=1)
    state = {"step": 0, "keep_ratio": keep_ratio, "average": average, "best": best, "cooldown_left": cooldown_left}
    controller.load_state_dict(state)
    controller.update([average])  # the average of an average and itself is the same
    return controller.keep_ratio, controller.cooldown_left


def idle_resets(decisions: Sequence[Decision]) -> int:
    """Return how many decisions reset a keep-ratio below 1 that removed almost nothing."""
    found = [1.0, *(one.keep_ratio for one in decisions)]
    return sum(one.reset and ACTIVE <= before < 1 for one, before in zip(decisions, found, strict=False))


def fails_at(curve: Mapping[float, float]) -> set[float]:
    """Return the budgets at which a network has less than three quarters of its accuracy at budget 1."""
    return {budget for budget, accuracy in curve.items() if accuracy < 0.75 * curve[1.0]}
