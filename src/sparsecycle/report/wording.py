"""A row of a table of comparisons in words: accuracies as points, intervals, seeds."""

from collections.abc import Hashable
from typing import Any

Row = dict[Hashable, Any]

ROLES = {"dense": "baseline", "loss_gated": "strategy 1", "plateau": "strategy 2"}


def treatment(row: Row) -> str:
    """The method that is compared with another."""
    return str(row["comparison"]).split(" - ")[0]


def bounds(row: Row) -> str:
    """The 95 % interval in points; a row of one seed has none."""
    return f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"


def gain(row: Row) -> str:
    """The difference in points with its interval and seeds."""
    return f"{100 * row['mean']:+.1f} ({bounds(row)}, {row['seeds']} seeds)"
