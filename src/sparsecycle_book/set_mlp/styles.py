"""How the methods of the companion study look in its figures."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

METHODS: dict[str, tuple[str, str, Any]] = {  # method: (colour, marker, line style)
    "dense": ("#7d8590", "o", "-"),
    "static": ("#009e73", "^", "--"),
    "set": ("#0f83c9", "s", "-"),
    "set_pruned": ("#d55e00", "D", "-"),
}


def add_legend(figure: Figure, methods: Sequence[str]) -> None:
    """One for the whole figure, above it."""
    handles = [
        mpl.lines.Line2D([], [], color=colour, marker=marker, linestyle=line, label=method)
        for method, (colour, marker, line) in METHODS.items()
        if method in methods
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
