"""RMSNorm of feature maps, in plain torch or by one fused kernel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.kernels import autocast_dtype, fused_norm


@torch.library.custom_op("sparsecycle::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the channels of what `fused_norm` serves: float32 (N, C, H, W) in channels_last."""
    normed: Tensor = fused_norm(x, weight).rms_norm(x, weight, eps)  # type: ignore[union-attr]
    return normed


@torch.library.custom_op("sparsecycle::rms_norm_backward", mutates_args=())
def rms_norm_backward(gradient: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Gradients for x and weight."""
    gradients: tuple[Tensor, Tensor] = fused_norm(x, weight).rms_norm_backward(gradient, x, weight, eps)  # type: ignore[union-attr]
    return gradients


@rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@rms_norm_backward.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.channels_last), torch.empty_like(weight)


def _save_input(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.eps = inputs[2]


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    to_x, to_weight = rms_norm_backward(gradient, *ctx.saved_tensors, ctx.eps)
    return to_x, to_weight, None


rms_norm.register_autograd(_gradients, setup_context=_save_input)


class RMSNorm2d(nn.Module):
    """Root-mean-square normalization of feature maps (Zhang and Sennrich, arXiv 1910.07467), gain per channel, no bias.

    Args:
        channels: C of the input (N, C, H, W), any floating dtype; computed in float32, and rounded to the input's
            dtype except under autocast, where the float32 values go on to the constraint.
        over: "position" averages the squares over the C channels at each position, as RMSNorm does over the features
            of a token; "sample" averages over all C*H*W values of a sample.
        eps: added to the mean square. An all-zero position has a gradient of the order of 1 / sqrt(eps).
    """

    def __init__(self, channels: int, over: str = "position", eps: float = 1e-5) -> None:
        super().__init__()
        if over not in ("position", "sample"):
            raise ValueError(f"over is {over!r}, but must be 'position' or 'sample'")
        self.over = over
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        normed = self._normalize(x.float())
        return normed if autocast_dtype(x.device.type) else normed.to(x.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        normed: Tensor
        if self.over == "sample":
            normed = F.rms_norm(x, x.shape[1:], eps=self.eps) * self.weight[:, None, None]
            return normed
        if not torch.compiler.is_compiling() and fused_norm(x, self.weight):  # a compiler fuses the plain form
            normed = rms_norm(x, self.weight, self.eps)
            return normed
        last = x.permute(0, 2, 3, 1)  # (N, H, W, C): a view, contiguous where x is channels_last
        normed = F.rms_norm(last, (last.shape[-1],), self.weight, self.eps).permute(0, 3, 1, 2)
        return normed

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, over={self.over!r}, eps={self.eps:g}"
