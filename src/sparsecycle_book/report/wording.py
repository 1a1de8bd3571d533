"""Comparisons in words: differences of accuracies as points, intervals, seeds."""

from collections.abc import Hashable
from typing import Any

from sparsecycle.analysis.statistics import Comparison

Row = dict[Hashable, Any]

ROLES = {"dense": "baseline", "loss_gated": "strategy 1", "plateau": "strategy 2"}


def treatment(row: Row) -> str:
    """The method that is compared with another."""
    return str(row["comparison"]).split(" - ")[0]


def bounds(row: Row) -> str:
    """The 95 % interval in points; a row of one seed has none."""
    return f"{100 * row['low']:+z.1f} to {100 * row['high']:+z.1f}"


def effect(one: Comparison) -> str:
    """The difference in points with its interval."""
    return f"{100 * one.mean:+z.1f} ({100 * one.low:+z.1f} to {100 * one.high:+z.1f})"


def gain(row: Row) -> str:
    """The difference in points with its interval and seeds."""
    return f"{100 * row['mean']:+z.1f} ({bounds(row)}, {row['seeds']} seeds)"
