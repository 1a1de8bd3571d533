"""The constraint: of each group of activations only the k largest survive ("global top-k").

The paper (arXiv 2603.03131) says *global top-k* and no more. What "global" ranges over, how k is rounded and how ties
are broken are reconstructions: the first is the argument `scope`, the other two are fixed here, once, so that every
backend can be held to them bit for bit.

`constrain` is the whole method in plain torch; `GlobalTopK` puts a ReLU in front of it.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Scope = Literal["sample", "batch", "channel", "position"]
SCOPES: tuple[str, ...] = get_args(Scope)


def kept_values(keep_ratio: float, n: int) -> int:
    """Number of values that survive in a group of `n`: k = max(1, ceil(keep_ratio * n)). Rounding: reconstruction.

    The product is rounded to nine digits first, so that 0.07 * 100 keeps 7 and not 8.
    """
    return max(1, math.ceil(round(keep_ratio * n, 9)))


def global_topk(x: Tensor, keep_ratio: float, *, scope: str = "sample") -> Tensor:
    """Keep the k largest values of each group and set the rest to exactly zero.

    Args:
        x: activations, shape (N, C, H, W), or (N, C) and (N, C, ...) in general; any floating dtype, memory format
            and device. N is the batch.
        keep_ratio: share of values kept, in (0, 1]; k = max(1, ceil(keep_ratio * n)) of each group of n values.
        scope: what a group is. "sample": all C*H*W values of one sample; "batch": all values of the tensor;
            "channel": H*W values of one sample and channel; "position": C values at one sample and position.

    Returns:
        A tensor of the shape, dtype and memory format of `x`. Exactly k values of each group are kept: ties at the
        threshold go to the lowest flat index in (N, C, H, W) order. The gradient is that of multiplying by the mask.

    Raises:
        ValueError: keep_ratio outside (0, 1], unknown scope, integer dtype, fewer dimensions than the scope needs, or
            NaN in `x`.

    Source: arXiv 2603.03131 (abstract) for "global top-k"; scope, rounding and ties are reconstructions.
    """
    check_constraint(keep_ratio, scope)
    if not x.is_floating_point():
        raise ValueError(f"global_topk needs floating-point activations, got dtype {x.dtype}")
    if x.dim() < (3 if scope == "channel" else 2):
        raise ValueError(f"scope {scope!r} does not fit a tensor of shape {tuple(x.shape)}: give (N, C, H, W)")
    if bool(x.isnan().any()):
        raise ValueError("global_topk got NaN among the activations: a NaN has no rank; check the loss and the input")
    return constrain(x, keep_ratio, scope)


def check_constraint(keep_ratio: float, scope: str) -> None:
    """Raise ValueError unless keep_ratio lies in (0, 1] and scope is one of `SCOPES`."""
    if not 0.0 < keep_ratio <= 1.0:
        raise ValueError(f"keep_ratio is {keep_ratio}, but must lie in (0, 1]: the share of activations kept")
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}, but must be one of {', '.join(SCOPES)}")


def constrain(x: Tensor, keep_ratio: float, scope: str, *, zeros_are_free: bool = False) -> Tensor:
    """`global_topk` without its checks. `zeros_are_free` skips the tie-break among zeros, which no output can show."""
    if keep_ratio == 1.0 or x.numel() == 0:
        return x.clone()
    mask = topk_mask(x.detach(), keep_ratio, scope, zeros_are_free=zeros_are_free)
    return torch.where(mask, x, 0.0)


def topk_mask(x: Tensor, keep_ratio: float, scope: str, *, zeros_are_free: bool = False) -> Tensor:
    """Boolean mask of the k largest of each group of `x`, in the shape and memory format of `x`."""
    dims = {
        "batch": tuple(range(x.dim())),
        "sample": tuple(range(1, x.dim())),
        "channel": tuple(range(2, x.dim())),
        "position": (1,),
    }[scope]
    k = kept_values(keep_ratio, math.prod(x.shape[dim] for dim in dims))
    in_memory_order = sorted(dims, key=x.stride, reverse=True)  # rank needs no order: spare the copy
    largest = _rows(x, in_memory_order).topk(k, dim=1, sorted=False).values
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
    """Of the values tied at the threshold, those with no place left: the last `surplus` in (N, C, H, W) order."""
    rows = _rows(tied, dims)  # (G, n)
    candidates = rows[crowded]
    places = candidates.sum(dim=1, keepdim=True) - surplus.flatten()[crowded, None]
    late = torch.zeros_like(rows)
    late[crowded] = candidates & (candidates.cumsum(dim=1) > places)
    others = [dim for dim in range(tied.dim()) if dim not in dims]
    order = [*others, *dims]
    return late.view([tied.shape[dim] for dim in order]).permute([order.index(dim) for dim in range(tied.dim())])


def _rows(x: Tensor, dims: Sequence[int]) -> Tensor:
    """The groups of `x` as rows (G, n): `dims` flattened in the order given, all others before them."""
    others = [dim for dim in range(x.dim()) if dim not in dims]
    n = math.prod(x.shape[dim] for dim in dims)
    return x.permute(*others, *dims).reshape(-1, n)


class GlobalTopK(nn.Module):
    """ReLU, then the constraint. At keep_ratio 1.0 it is exactly ReLU and costs what ReLU costs.

    Args:
        keep_ratio: share of the n activations of a group that may stay non-zero, in (0, 1]. Set it at any time
            (`set_keep_ratio` for a whole model); training and inference use the same budget.
        scope: "sample", "batch", "channel" or "position" (see `global_topk`).

    Input and output have shape (N, C, ...), any floating dtype. NaN is not looked for here: the training loop checks
    the loss instead.

    Raises:
        ValueError: keep_ratio outside (0, 1] or an unknown scope.
    """

    def __init__(self, keep_ratio: float = 1.0, scope: str = "sample") -> None:
        super().__init__()
        self.scope = scope
        self.keep_ratio = keep_ratio

    @property
    def keep_ratio(self) -> float:
        return self._keep_ratio

    @keep_ratio.setter
    def keep_ratio(self, value: float) -> None:
        check_constraint(value, self.scope)
        self._keep_ratio = float(value)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if self._keep_ratio == 1.0:
            return x
        return constrain(x, self._keep_ratio, self.scope, zeros_are_free=True)

    def extra_repr(self) -> str:
        return f"keep_ratio={self._keep_ratio:g}, scope={self.scope!r}"


def set_keep_ratio(model: nn.Module, keep_ratio: float) -> int:
    """Set the budget of every `GlobalTopK` in `model` and return how many there are.

    Raises:
        ValueError: keep_ratio outside (0, 1].
    """
    layers = [module for module in model.modules() if isinstance(module, GlobalTopK)]
    for layer in layers:
        layer.keep_ratio = keep_ratio
    return len(layers)
