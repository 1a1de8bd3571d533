"""Normalization and constraint as one operator, where a backend has one kernel for both."""

from typing import Any

import torch
from torch import Tensor, nn

from sparsecycle.kernels import autocast_dtype, fused
from sparsecycle.network import RMSNorm2d
from sparsecycle.topk import GlobalTopK


def normed_topk(norm: nn.Module, topk: GlobalTopK, x: Tensor) -> Tensor:
    """`topk(norm(x))`, by the fused operator where one serves these two modules and `x`.

    Fused and plain normalization add in another order, so they differ by rounding. Modules with hooks are called one by
    one; so they are under autocast, and in compiled code, where the compiler fuses what plain torch says.
    """
    if isinstance(norm, RMSNorm2d) and _fuses(norm, topk, x):
        fast: Tensor = rms_norm_topk(x, norm.weight, norm.eps, topk.budget)
        return fast
    constrained: Tensor = topk(norm(x))
    return constrained


def _fuses(norm: RMSNorm2d, topk: GlobalTopK, x: Tensor) -> bool:
    if type(topk) is not GlobalTopK or _hooked(norm) or _hooked(topk):
        return False
    if norm.over != "position" or topk.scope != "sample":
        return False
    if torch.compiler.is_compiling() or autocast_dtype(x.device.type):
        return False
    return fused(x, norm.weight, topk.backend) is not None


def _hooked(module: nn.Module) -> bool:
    forward, backward = module._forward_hooks or module._forward_pre_hooks, module._backward_hooks
    return bool(forward or backward or module._backward_pre_hooks)


@torch.library.custom_op("sparsecycle::rms_norm_topk", mutates_args=())
def rms_norm_topk(x: Tensor, weight: Tensor, eps: float, keep_ratio: Tensor) -> Tensor:
    """RMSNorm over channels, ReLU, and the k largest of each sample, of what `fused` serves.

    Args:
        x: float32 (N, C, H, W) in channels_last.
        weight: float32 (C,).
        keep_ratio: float64, no dimensions; 1.0 keeps all.
    """
    out: Tensor = _kernels(x, weight).rms_norm_topk(x, weight, eps, keep_ratio)
    return out


@torch.library.custom_op("sparsecycle::rms_norm_topk_backward", mutates_args=())
def rms_norm_topk_backward(
    gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients for x and weight."""
    gradients: tuple[Tensor, Tensor] = _kernels(x, weight).rms_norm_topk_backward(gradient, output, x, weight, eps)
    return gradients


def _kernels(x: Tensor, weight: Tensor) -> Any:
    return fused(x, weight, "numba")


@rms_norm_topk.register_fake
def _(x: Tensor, weight: Tensor, eps: float, keep_ratio: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@rms_norm_topk_backward.register_fake
def _(gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.channels_last), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.eps, _ = inputs
    ctx.save_for_backward(output, x, weight)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    to_x, to_weight = rms_norm_topk_backward(gradient, *ctx.saved_tensors, ctx.eps)
    return to_x, to_weight, None, None


rms_norm_topk.register_autograd(_gradients, setup_context=_save)
