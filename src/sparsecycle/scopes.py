"""The groups of values of which the k largest are kept: the readings of "global"."""

from typing import Literal

Scope = Literal["sample", "batch", "channel", "position"]
