"""What is right in the exercises of the lessons, where the check needs more than one call of the library.

Kept out of the notebooks, so that a student's form does not show the solution in the cell that checks it.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev
from typing import Any

from sparsecycle.controllers import make_controller
from sparsecycle.runs.metrics import ACTIVE

TOLERANCE = 0.12  # of the published rule
BATCH = 128


def kept(total: int, keep_ratios: Sequence[float]) -> list[int]:
    """Return how many of `total` values each keep-ratio keeps."""
    return [max(1, math.floor(total * ratio)) for ratio in keep_ratios]


def fails_at(budgets: Sequence[float], curve: Sequence[float]) -> list[float]:
    """Return the keep-ratios at which a network has less than three quarters of its first accuracy."""
    return [budget for budget, accuracy in zip(budgets, curve, strict=True) if accuracy < 0.75 * curve[0]]


def layers_changed(shares: Sequence[float], keep_ratio: float) -> int:
    """Return in how many layers a keep-ratio removes something, given the share of values that ReLU leaves in each."""
    return sum(keep_ratio < share for share in shares)


def first_change(shares: Sequence[float]) -> float:
    """Return the keep-ratio below which the first layer changes."""
    return max(shares)


def averages(accuracies: Sequence[float]) -> list[float]:
    """Return the published rule's average after each step."""
    controller: Any = make_controller("accuracy_gated")
    found = []
    for accuracy in accuracies:
        controller.update([accuracy])
        found.append(controller.average)
    return found


def decide(keep_ratio: float, average: float, best: float, cooldown_left: int) -> list[float]:
    """Return keep-ratio and cooldown after one decision of the published rule."""
    controller: Any = make_controller("accuracy_gated", decision_steps=1)
    state = {"step": 0, "keep_ratio": keep_ratio, "average": average, "best": best, "cooldown_left": cooldown_left}
    controller.load_state_dict(state)
    controller.update([average])  # the average of an average and itself is the same
    return [controller.keep_ratio, controller.cooldown_left]


def found_by_resets(decisions: Sequence[Sequence[Any]]) -> list[float]:
    """Return the keep-ratios below 1 that resets found, given pairs of the keep-ratio after a decision and `reset`."""
    before = [1.0, *(keep for keep, _ in decisions)]
    return [found for found, (_, reset) in zip(before, decisions, strict=False) if reset and found < 1]


def idle(found: Sequence[float]) -> int:
    """Return how many of the keep-ratios that resets found removed almost nothing."""
    return sum(one >= ACTIVE for one in found)


def batch_deviation(accuracy: float) -> float:
    """Return the standard deviation of the share of right answers in a batch."""
    return math.sqrt(accuracy * (1 - accuracy) / BATCH)


def average_deviation(accuracy: float) -> float:
    """Return the standard deviation of the average with weight one half."""
    return batch_deviation(accuracy) / math.sqrt(3)  # sum of the squares of 1/2, 1/4, 1/8, ...: 1/3


def chance_of_reset(accuracy: float, best: float) -> float:
    """Return the chance that the average of an accuracy that never changes lies below `best` less the tolerance."""
    return NormalDist(accuracy, average_deviation(accuracy)).cdf(best - TOLERANCE)


def clean(correct: Sequence[Sequence[int]]) -> float:
    """Return the mean of the accuracies on either half of the test images, of the look chosen on the other half."""
    even, odd = ([sum(look[start::2]) / len(look[start::2]) for look in correct] for start in (0, 1))
    return (odd[even.index(max(even))] + even[odd.index(max(odd))]) / 2


def interval(differences: Sequence[float], t: float) -> list[float]:
    """Return the ends of the interval of a mean difference."""
    middle, reach = mean(differences), t * stdev(differences) / math.sqrt(len(differences))
    return [middle - reach, middle + reach]
