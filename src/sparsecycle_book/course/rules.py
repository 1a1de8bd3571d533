"""The check for the exercise of the course that designs a controller. Pure Python: it also runs in a page."""

import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from sparsecycle.errors import shown
from sparsecycle_book.course.checks import NO_VALUE, OPEN, RIGHT, WRONG, tell, unwritten

Rule = Callable[[float, list[float], dict[str, Any]], Any]
STEPS = 8  # between two decisions, in the streams of the check
DECISIONS = 200
HIGH, CHANCE = 0.95, 0.1


def check_rule(rule: Rule, *, patience: int = 50) -> None:
    """Print whether a rule for the next keep-ratio is safe to train with.

    It stays in (0, 1], compresses while accuracy is high, sets different keep-ratios for different accuracies, and
    returns to 1 when accuracy has broken down, at once or little by little, and stays there while it is at chance. What
    it remembers survives being written as JSON.

    Args:
        rule: takes the keep-ratio in force, the training accuracies of the steps since the last decision, and a dict,
            empty at first, in which it may keep what it wants to remember; returns the next keep-ratio.
        patience: decisions within which it must be back at 1.
    """
    tell({"name": rule.__name__, "rule": {"patience": patience}}, rule)


def follow(rule: Rule, accuracies: Sequence[float], steps: int) -> list[float]:
    """Return the keep-ratio of each step under a rule that decides after every so many steps."""
    keep_ratio, memory, path = 1.0, dict[str, Any](), list[float]()
    for start in range(0, len(accuracies), steps):
        told = list(accuracies[start : start + steps])
        path += [keep_ratio] * len(told)
        if len(told) == steps:
            keep_ratio = float(rule(keep_ratio, told, memory) or keep_ratio)
    return path


def verdict_on_rule(rule: Any, patience: int) -> str:
    """Return what to say of a rule: right, not answered yet, or what it does wrong."""
    if rule is ...:
        return OPEN
    paths = {}
    for name, decisions in _streams().items():
        found = _followed(rule, decisions)
        if isinstance(found, str):
            return found
        paths[name] = found
    if all(keep_ratio == 1 for path in paths.values() for keep_ratio in path):
        return f"{WRONG} It never compresses: the next keep-ratio is always 1."
    if all(one[: len(other)] == other[: len(one)] for one, other in combinations(paths.values(), 2)):
        return f"{WRONG} All accuracies lead to the same keep-ratios: a controller looks at the accuracy."
    if min(paths["steady"]) > 0.5:
        high = f"{DECISIONS} decisions with an accuracy of {HIGH}"
        return f"{WRONG} After {high} the keep-ratio is still above one half."
    ends = {"breaks down to chance": paths["breaks"], "slides down little by little": paths["slides"]}
    for what, path in ends.items():
        if max(path[-DECISIONS:][:patience]) < 1:
            return f"{WRONG} Where the accuracy {what} it is not back at 1 within {patience} decisions."
    for what, path in ends.items():
        if min(path[-DECISIONS:][patience:]) < 1:
            return f"{WRONG} Where the accuracy {what} it does not stay at 1, though the accuracy stays at chance."
    return RIGHT


def _followed(rule: Rule, decisions: list[list[float]]) -> list[float] | str:
    """Return the keep-ratios that a rule sets when it is told these accuracies, or what is wrong with one."""
    keep_ratio, memory = 1.0, dict[str, Any]()
    path: list[float] = []
    for accuracies in decisions:
        told = f"With keep-ratio {keep_ratio:.3g} and accuracies around {sum(accuracies) / STEPS:.2f}"
        try:
            found = rule(keep_ratio, list(accuracies), memory)
        except Exception as error:
            return f"{WRONG} {told} it stops: {shown(error)}"
        if unwritten(rule, found):
            return OPEN
        if found is None:
            return f"{WRONG} {told} {NO_VALUE}"
        if isinstance(found, bool) or not isinstance(found, int | float):
            return f"{WRONG} {told} it gives {shown(found)}, which is no number."
        if not 0 < found <= 1:
            return f"{WRONG} {told} it gives {found!r}, but a keep-ratio is above 0 and at most 1."
        try:
            memory = json.loads(json.dumps(memory, allow_nan=False))
        except (TypeError, ValueError):
            names = ", ".join(map(str, memory))
            return f"{WRONG} What it remembers as {names} cannot be saved: only numbers, texts, lists and dicts can."
        keep_ratio = float(found)
        path.append(keep_ratio)
    return path


def _streams() -> dict[str, list[list[float]]]:
    """Return the training accuracies that a rule must bear, by decision; in the last two the end is at chance."""
    generator = random.Random(0)
    numbers = range(DECISIONS)
    climbing = [HIGH - (HIGH - CHANCE) * math.exp(-number / 10) for number in numbers]
    sliding = [HIGH + (CHANCE - HIGH) * number / (DECISIONS - 1) for number in numbers]
    true = {
        "steady": [HIGH] * DECISIONS,
        "climbs": climbing,
        "waves": [0.6 + 0.3 * math.sin(number / 5) for number in numbers],
        "zero": [0.0] * DECISIONS,
        "one": [1.0] * DECISIONS,
        "breaks": climbing + [CHANCE] * DECISIONS,
        "slides": climbing + sliding + [CHANCE] * DECISIONS,
    }

    def noisy(name: str, accuracy: float) -> float:
        return min(max(accuracy + generator.gauss(0.0, 0.0 if name in ("zero", "one") else 0.02), 0.0), 1.0)

    return {name: [[noisy(name, one) for _ in range(STEPS)] for one in values] for name, values in true.items()}
