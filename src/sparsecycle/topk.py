"""The constraint: of each group of activations only the k largest survive ("global top-k").

k = max(1, floor(keep_ratio * n)) of the n values of a group, and a group is everything one layer computes for one image
(author's script of arXiv 2603.03131). Ties at the threshold go to the lowest index, a rule of ours, so that exactly k
values survive on every machine.

This file says what is kept, in plain torch; `layer.py` is the layer that does it, `kernels/` does the same faster.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Scope = Literal["sample", "batch", "channel", "position"]
SCOPES: tuple[str, ...] = get_args(Scope)


def kept_values(keep_ratio: float, n: int) -> int:
    """Return k = max(1, floor(keep_ratio * n)), the product in double precision (author's script)."""
    return max(1, math.floor(keep_ratio * n))


def group_size(x: Tensor, scope: str) -> int:
    """Return the number n of values in each group of `x` (N, C, ...) for a scope."""
    return {
        "sample": math.prod(x.shape[1:]),
        "batch": x.numel(),
        "channel": math.prod(x.shape[2:]),
        "position": x.shape[1],
    }[scope]


def check_constraint(keep_ratio: float, scope: str) -> None:
    """Raise ValueError unless keep_ratio lies in (0, 1] and scope is one of `SCOPES`."""
    if not 0.0 < keep_ratio <= 1.0:
        raise ValueError(f"keep_ratio is {keep_ratio}, but must lie in (0, 1]: the share of activations kept")
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}, but must be one of {', '.join(SCOPES)}")


def check_activations(x: Tensor, scope: str) -> None:
    """Raise ValueError unless `x` is floating and has the dimensions that the scope needs."""
    if not x.is_floating_point():
        raise ValueError(f"the constraint needs floating-point activations, got dtype {x.dtype}")
    if x.dim() < (3 if scope == "channel" else 2):
        raise ValueError(f"scope {scope!r} does not fit a tensor of shape {tuple(x.shape)}: give (N, C, H, W)")


def reference_mask(x: Tensor, keep_ratio: float, scope: str, *, zeros_are_free: bool = False) -> Tensor:
    """Return the mask of the k largest of each group of `x`; every faster backend is held to it, value by value.

    Args:
        x: (N, C, ...), floating, without NaN.
        keep_ratio: in (0, 1].
        scope: one of `SCOPES`.
        zeros_are_free: skip the tie-break among zeros, which the output after a ReLU cannot show.

    Returns:
        Boolean, in the shape and memory format of `x`.
    """
    dims = {
        "batch": tuple(range(x.dim())),
        "sample": tuple(range(1, x.dim())),
        "channel": tuple(range(2, x.dim())),
        "position": (1,),
    }[scope]
    k = kept_values(keep_ratio, math.prod(x.shape[dim] for dim in dims))
    in_memory_order = sorted(dims, key=x.stride, reverse=True)  # rank needs no order: spare the copy
    largest = _rows(x, in_memory_order).topk(k, dim=1, sorted=False).values  # (groups, k)
    threshold = largest.amin(dim=1).view([1 if dim in dims else size for dim, size in enumerate(x.shape)])
    mask = x >= threshold
    surplus = mask.sum(dim=dims, keepdim=True) - k
    if zeros_are_free:
        surplus = surplus.where(threshold != 0, 0)
    crowded = surplus.flatten().nonzero()[:, 0]
    if len(crowded):
        mask = mask.logical_and(~_late_ties(x == threshold, surplus, crowded, dims))
    return mask


def _late_ties(tied: Tensor, surplus: Tensor, crowded: Tensor, dims: Sequence[int]) -> Tensor:
    """Mark, of the values tied at the threshold, those without a place: the last `surplus` in (N, C, H, W) order."""
    rows = _rows(tied, dims)  # (groups, n)
    candidates = rows[crowded]
    places = candidates.sum(dim=1, keepdim=True) - surplus.flatten()[crowded, None]
    late = torch.zeros_like(rows)
    late[crowded] = candidates & (candidates.cumsum(dim=1) > places)
    others = [dim for dim in range(tied.dim()) if dim not in dims]
    order = [*others, *dims]
    return late.view([tied.shape[dim] for dim in order]).permute([order.index(dim) for dim in range(tied.dim())])


def _rows(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the groups of `x` as rows (groups, n): `dims` flattened in the order given, all others before them."""
    others = [dim for dim in range(x.dim()) if dim not in dims]
    n = math.prod(x.shape[dim] for dim in dims)
    return x.permute(*others, *dims).reshape(-1, n)
