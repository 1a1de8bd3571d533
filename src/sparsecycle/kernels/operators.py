"""The constraint as operators that torch sees: one operation for autograd, autocast, compilation and checkpointing.

`topk_mask` and `relu_topk` are called by `layer.py`, `rms_norm_topk` by `network.py`; each asks `choose` which backend
serves a tensor, and the reference of `topk.py` serves where none does.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from sparsecycle.kernels import choose, give_up
from sparsecycle.topk import reference_mask


@torch.library.custom_op("sparsecycle::topk_mask", mutates_args=())
def topk_mask(x: Tensor, keep_ratio: Tensor, scope: str, backend: str) -> Tensor:
    """Return the boolean mask of the k largest of each group of `x`, by the backend that serves it.

    Args:
        x: (N, C, ...), floating, without NaN.
        keep_ratio: float64, no dimensions, on the device of `x`: another keep-ratio recompiles nothing.
    """
    module = choose(x, scope, backend)
    if module is not None:
        try:
            mask: Tensor = module.topk_mask(x, keep_ratio, scope)
            return mask
        except Exception as error:
            give_up(module, backend, error)
    return reference_mask(x, keep_ratio.item(), scope)


@torch.library.custom_op("sparsecycle::relu_topk", mutates_args=())
def relu_topk(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype, backend: str) -> Tensor:
    """Return the k largest of each group of relu(x), the rest zero, by the backend that serves it; as `topk_mask`.

    Selected in the dtype of `x`, then rounded to `dtype`. NaN goes through, as it does through ReLU.
    """
    if not x.numel():
        return F.relu(x).to(dtype)
    module = choose(x, scope, backend)
    if module is not None:
        try:
            constrained: Tensor = module.relu_topk(x, keep_ratio, scope, dtype)
            return constrained
        except Exception as error:
            give_up(module, backend, error)
    active = F.relu(x)
    mask = reference_mask(active, keep_ratio.item(), scope, zeros_are_free=True)
    return torch.where(mask | active.isnan(), active, 0.0).to(dtype)


@torch.library.custom_op("sparsecycle::rms_norm_topk", mutates_args=())
def rms_norm_topk(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, keep_ratio: Tensor, dtype: torch.dtype, backend: str
) -> Tensor:
    """Return RMSNorm over channels, ReLU, and the k largest of each sample, of what `fused` serves.

    Args:
        x: (N, C, H, W) in channels_last; computed and selected in float32.
        weight, bias: float32 (C,).
        keep_ratio: float64, no dimensions, on the device of `x`; 1.0 keeps all.
        dtype: of the result, which is rounded after selection.
    """
    module = choose(x, "sample", backend)
    if module is not None:
        try:
            out: Tensor = module.rms_norm_topk(x, weight, bias, eps, keep_ratio, dtype)
            return out
        except Exception as error:
            give_up(module, backend, error)
    normed = x.float() * _scale(x, eps) * weight[:, None, None] + bias[:, None, None]
    active = F.relu(normed)
    mask = reference_mask(active, keep_ratio.item(), "sample", zeros_are_free=True)
    kept = torch.where(mask | active.isnan(), active, 0.0)
    return kept.to(dtype, memory_format=torch.channels_last)


@torch.library.custom_op("sparsecycle::rms_norm_topk_backward", mutates_args=())
def rms_norm_topk_backward(
    gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients for x, weight and bias."""
    module = choose(x, "sample", backend)
    if module is not None:
        try:
            gradients: tuple[Tensor, Tensor, Tensor] = module.rms_norm_topk_backward(gradient, output, x, weight, eps)
            return gradients
        except Exception as error:
            give_up(module, backend, error)
    to_x, to_weight, to_bias = _gradients(gradient, output, x, weight, eps)
    return to_x.contiguous(memory_format=torch.channels_last), to_weight, to_bias


@topk_mask.register_fake
def _(x: Tensor, keep_ratio: Tensor, scope: str, backend: str) -> Tensor:
    return torch.empty_like(x, dtype=torch.bool)


@relu_topk.register_fake
def _(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype, backend: str) -> Tensor:
    return torch.empty_like(x, dtype=dtype)


@rms_norm_topk.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, keep_ratio: Tensor, dtype: torch.dtype, backend: str
) -> Tensor:
    return torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)


@rms_norm_topk_backward.register_fake
def _(
    gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.channels_last), torch.empty_like(weight), torch.empty_like(weight)


def _save_output(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)
    ctx.dtype = inputs[0].dtype


def _where_positive(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """A value was kept and is not zero where the output is positive: the mask needs no memory of its own."""
    (output,) = ctx.saved_tensors
    passed = torch.ops.aten.threshold_backward(gradient, output, 0)
    return passed.to(ctx.dtype), None, None, None, None


relu_topk.register_autograd(_where_positive, setup_context=_save_output)


def _save_all(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, ctx.eps, _, _, ctx.backend = inputs
    ctx.save_for_backward(output, x, weight)


def _fused_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    output, x, weight = ctx.saved_tensors
    if torch.is_grad_enabled():  # a gradient of this gradient is wanted: say it in operations that torch can derive
        return *_gradients(gradient, output, x, weight, ctx.eps), *[None] * 4
    return *rms_norm_topk_backward(gradient, output, x, weight, ctx.eps, ctx.backend), *[None] * 4


rms_norm_topk.register_autograd(_fused_gradients, setup_context=_save_all)


def _scale(x: Tensor, eps: float) -> Tensor:
    return (x.float().square().mean(dim=1, keepdim=True) + eps).rsqrt()


def _gradients(gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, ...]:
    """The same gradients in plain torch. A value passes where the output is positive."""
    passed = torch.where(output > 0, gradient, 0.0).float()
    normed = x.float() * _scale(x, eps)
    pulled = passed * weight[:, None, None]
    to_x = _scale(x, eps) * (pulled - normed * (pulled * normed).mean(dim=1, keepdim=True))
    return to_x.to(x.dtype), (passed * normed).sum(dim=(0, 2, 3)), passed.sum(dim=(0, 2, 3))


def is_transformed(x: Tensor) -> bool:
    """Whether torch.func or forward-mode differentiation looks at `x`: operators of ours have no rule for either.

    torch has no public question for the first; where the private one is gone, nothing is taken for transformed.
    """
    level = getattr(torch._C._functorch, "maybe_current_level", lambda: None)()
    return level is not None or forward_ad.unpack_dual(x).tangent is not None
