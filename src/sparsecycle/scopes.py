"""Readings of "global top-k": the groups of values of which k are kept, which k, and how k is rounded."""

from typing import Literal, get_args

Scope = Literal["sample", "batch", "channel", "position"]
Reading = Scope | Literal["network"]  # of a whole network: one budget over all its layers, approximately
Selection = Literal["largest", "random"]
Rounding = Literal["up", "down", "nearest"]


def check_reading(scope: str, selection: str, rounding: str) -> None:
    """Raise ValueError for unknown names, and for more than one departure from the default layer at once."""
    for name, value, kind in (
        ("scope", scope, (*get_args(Scope), "network")),
        ("selection", selection, get_args(Selection)),
        ("rounding", rounding, get_args(Rounding)),
    ):
        if value not in kind:
            raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(kind)}")
    if (scope == "network") + (selection != "largest") + (rounding != "up") > 1:
        raise ValueError("of scope 'network', selection 'random' and rounding other than 'up' only one can be had")
