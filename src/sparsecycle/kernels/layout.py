"""The groups of a tensor as rows in the order of memory, and back, with a copy only where memory asks for it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SLACK_OF_K = 1e-6  # a product above a whole number by less than this is that number: 0.07 * 100 keeps 7, not 8


class Rows(NamedTuple):
    """Groups of a tensor as rows.

    Attributes:
        values: (groups, n), contiguous; a view of the tensor where its memory allows.
        channels, positions: a row is blocks of `positions` times `channels` values, channels innermost, while ties are
            broken in the order of blocks of `channels` times `positions`. Where both orders agree, `positions` is 1.
        order: the tensor's dimensions from the outermost in memory to the innermost.
    """

    values: Tensor
    channels: int
    positions: int
    order: tuple[int, ...]


def kept_values(keep_ratio: float, n: int) -> int:
    """Number of values that survive in a group of `n`: k = max(1, ceil(keep_ratio * n)). Rounding: reconstruction.

    The product is lowered by `SLACK_OF_K` first: a rule that a GPU can follow to the same k.
    """
    return max(1, math.ceil(keep_ratio * n - SLACK_OF_K))


def group_size(x: Tensor, scope: str) -> int:
    """Number of values in a group of `x` (N, C, ...) for a scope."""
    return {
        "sample": math.prod(x.shape[1:]),
        "batch": x.numel(),
        "channel": math.prod(x.shape[2:]),
        "position": x.shape[1],
    }[scope]


def rows_of(x: Tensor, scope: str) -> Rows:
    """The groups of `x` (N, C, ...) for a scope."""
    plain = tuple(range(x.dim()))
    last = (0, *plain[2:], 1)
    in_last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    order = last if scope == "position" or (scope in ("sample", "batch") and in_last) else plain
    n = group_size(x, scope)
    values = x.permute(order).reshape(-1, n).contiguous()
    if order == plain or scope == "position":
        return Rows(values, n, 1, order)
    return Rows(values, x.shape[1], math.prod(x.shape[2:]), order)


def restore(values: Tensor, rows: Rows, like: Tensor) -> Tensor:
    """Rows of results (groups, n) in the shape and memory format of `like`."""
    inverse = [rows.order.index(dim) for dim in range(like.dim())]
    shaped = values.view([like.shape[dim] for dim in rows.order]).permute(inverse)
    out = torch.empty_like(like, dtype=values.dtype)
    return shaped if shaped.stride() == out.stride() else out.copy_(shaped)
