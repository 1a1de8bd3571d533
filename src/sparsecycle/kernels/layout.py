"""The groups of a tensor as rows in the order of memory, and back, with a copy only where memory asks for it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecycle.topk import group_size


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
