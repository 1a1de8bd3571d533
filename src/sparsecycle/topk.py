"""The constraint: of each group of activations only the k largest survive ("global top-k").

The paper (arXiv 2603.03131) says *global top-k* and no more. What "global" ranges over, how k is rounded and how ties
are broken are reconstructions: the first is the argument `scope`, the other two are fixed here, once, so that every
backend can be held to them bit for bit.

`reference_mask` is the whole method in plain torch. `kernels/` has faster backends with the same result. Both are
called through two torch operators, so that torch.compile, autocast and checkpointing see one operation. `GlobalTopK` is
the layer: ReLU, then the constraint.
"""

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.kernels import autocast_dtype, check_backend, choose
from sparsecycle.kernels.layout import kept_values
from sparsecycle.topk import Scope

SCOPES: tuple[str, ...] = get_args(Scope)


def global_topk(x: Tensor, keep_ratio: float, *, scope: str = "sample", backend: str = "auto") -> Tensor:
    """Keep the k largest values of each group and set the rest to exactly zero.

    Args:
        x: activations, shape (N, C, H, W), or (N, C) and (N, C, ...) in general; any floating dtype, memory format
            and device. N is the batch.
        keep_ratio: share of values kept, in (0, 1]; k = max(1, ceil(keep_ratio * n)) of each group of n values.
        scope: what a group is. "sample": all C*H*W values of one sample; "batch": all values of the tensor;
            "channel": H*W values of one sample and channel; "position": C values at one sample and position.
        backend: "auto", "reference", "numba" or "triton" (see `kernels.choose`); the result is the same.

    Returns:
        A tensor of the shape, dtype and memory format of `x`. Exactly k values of each group are kept: ties at the
        threshold go to the lowest flat index in (N, C, H, W) order. The gradient is that of multiplying by the mask.

    Raises:
        ValueError: keep_ratio outside (0, 1], unknown scope or backend, integer dtype, fewer dimensions than the scope
            needs, or NaN in `x`.

    Source: arXiv 2603.03131 (abstract) for "global top-k"; scope, rounding and ties are reconstructions.
    """
    check_constraint(keep_ratio, scope)
    check_backend(backend)
    if not x.is_floating_point():
        raise ValueError(f"global_topk needs floating-point activations, got dtype {x.dtype}")
    if x.dim() < (3 if scope == "channel" else 2):
        raise ValueError(f"scope {scope!r} does not fit a tensor of shape {tuple(x.shape)}: give (N, C, H, W)")
    if bool(x.isnan().any()):
        raise ValueError("global_topk got NaN among the activations: a NaN has no rank; check the loss and the input")
    if keep_ratio == 1.0 or x.numel() == 0:
        return x.clone()
    budget = torch.full((), keep_ratio, dtype=torch.float64, device=x.device)
    mask = topk_mask(x.detach(), budget, scope, backend)
    return torch.where(mask, x, 0.0)


def check_constraint(keep_ratio: float, scope: str) -> None:
    """Raise ValueError unless keep_ratio lies in (0, 1] and scope is one of `SCOPES`."""
    if not 0.0 < keep_ratio <= 1.0:
        raise ValueError(f"keep_ratio is {keep_ratio}, but must lie in (0, 1]: the share of activations kept")
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}, but must be one of {', '.join(SCOPES)}")


@torch.library.custom_op("sparsecycle::topk_mask", mutates_args=())
def topk_mask(x: Tensor, keep_ratio: Tensor, scope: str, backend: str) -> Tensor:
    """Boolean mask of the k largest of each group of `x`, by the backend that serves it.

    Args:
        x: (N, C, ...), floating, without NaN.
        keep_ratio: float64, no dimensions, on the device of `x`: another budget recompiles nothing.
    """
    module = choose(x, scope, backend)
    if module is None:
        return reference_mask(x, keep_ratio.item(), scope)
    mask: Tensor = module.topk_mask(x, keep_ratio, scope)
    return mask


@torch.library.custom_op("sparsecycle::relu_topk", mutates_args=())
def relu_topk(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype, backend: str) -> Tensor:
    """The k largest of each group of relu(x), the rest zero, by the backend that serves it; as `topk_mask`.

    Selected in the dtype of `x`, then rounded to `dtype`. NaN goes through, as it does through ReLU.
    """
    module = None if x.numel() == 0 else choose(x, scope, backend)
    if module is None:
        active = F.relu(x)
        mask = reference_mask(active, keep_ratio.item(), scope, zeros_are_free=True) if x.numel() else active.bool()
        return torch.where(mask | active.isnan(), active, 0.0).to(dtype)
    constrained: Tensor = module.relu_topk(x, keep_ratio, scope, dtype)
    return constrained


@topk_mask.register_fake
def _(x: Tensor, keep_ratio: Tensor, scope: str, backend: str) -> Tensor:
    return torch.empty_like(x, dtype=torch.bool)


@relu_topk.register_fake
def _(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype, backend: str) -> Tensor:
    return torch.empty_like(x, dtype=dtype)


def _save_output(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)
    ctx.dtype = inputs[0].dtype


def _where_positive(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """A value was kept and is not zero where the output is positive: the mask needs no memory of its own."""
    (output,) = ctx.saved_tensors
    passed = torch.ops.aten.threshold_backward(gradient, output, 0)
    return passed.to(ctx.dtype), None, None, None, None


relu_topk.register_autograd(_where_positive, setup_context=_save_output)


def reference_mask(x: Tensor, keep_ratio: float, scope: str, *, zeros_are_free: bool = False) -> Tensor:
    """Boolean mask of the k largest of each group of `x`, in the shape and memory format of `x`.

    `zeros_are_free` skips the tie-break among zeros, which the output after a ReLU cannot show.
    """
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
        backend: "auto", "reference", "numba" or "triton" (see `kernels.choose`); the result is the same.

    Input and output have shape (N, C, ...), any floating dtype; under autocast the output is rounded to autocast's
    dtype, after selection. NaN is not looked for here but goes through, as it does through ReLU: the training loop
    checks the loss. Compiled, the layer has two graphs, dense and constrained; budgets below 1.0 share one.

    Raises:
        ValueError: keep_ratio outside (0, 1], an unknown scope or backend.
    """

    budget: Tensor

    def __init__(self, keep_ratio: float = 1.0, scope: str = "sample", backend: str = "auto") -> None:
        super().__init__()
        check_backend(backend)
        self.scope = scope
        self.backend = backend
        self.register_buffer("budget", torch.ones((), dtype=torch.float64), persistent=False)
        self.keep_ratio = keep_ratio

    @property
    def keep_ratio(self) -> float:
        return self._keep_ratio

    @keep_ratio.setter
    def keep_ratio(self, value: float) -> None:
        check_constraint(value, self.scope)
        self._keep_ratio = float(value)
        self.dense = value == 1.0
        self.budget.fill_(value)  # on a GPU: queued, nothing waits

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """`model.bfloat16()` and the like move the budget but never round it."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.budget = torch.full((), self._keep_ratio, dtype=torch.float64, device=self.budget.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        dtype = autocast_dtype(x.device.type) or x.dtype
        if self.dense:
            return F.relu(x).to(dtype)
        constrained: Tensor = relu_topk(x, self.budget, self.scope, dtype, self.backend)
        return constrained

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
