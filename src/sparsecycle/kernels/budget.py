"""What a layer asks about its keep-ratio, which is a tensor that others may swap, average or write into."""

from typing import Any

import torch
from torch import Tensor


def real_device(device: torch.device) -> torch.device:
    """Return where the keep-ratio can be: no weights that are loaded bring one for a model made on `meta`."""
    return torch.device("cpu") if device.type == "meta" else device


def state_of(budget: Tensor) -> tuple[int, int | None]:
    """Return which tensor it is, and how often it was written, as far as torch counts that."""
    return id(budget), None if budget.is_inference() else budget._version


def as_number(keep_ratio: Any) -> float:
    """Return a keep-ratio as Python's number, which texts and truth values are not.

    Raises:
        ValueError: it is no single number.
    """
    try:
        if isinstance(keep_ratio, str | bytes | bool):
            raise TypeError
        return float(keep_ratio)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"keep_ratio is {keep_ratio!r}, but must be a number in (0, 1]") from None
