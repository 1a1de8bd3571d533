"""The network: a pre-activation wide ResNet in which a global top-k follows every ReLU.

WRN-28-4 has 25 such places: two in each of its twelve blocks, and one before the last pooling (author's script of arXiv
2603.03131; the family is that of Zagoruyko and Komodakis, "Wide Residual Networks", arXiv 1605.07146). Where a block
changes the shape of its input, the shortcut is a 1x1 convolution of the *raw* input, before norm and constraint: an
unconstrained path leads from the image to the last norm.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

from sparsecycle.kernels import autocast_dtype, fused
from sparsecycle.kernels.operators import is_transformed, rms_norm_topk
from sparsecycle.layer import GlobalTopK


class RMSNorm2d(nn.Module):
    """Divide by the root mean square over the channels at each position, times a gain, plus a bias.

    y = weight * x / sqrt(mean(x^2 over C) + eps) + bias, with weight and bias of each channel, 1 and 0 at first (Zhang
    and Sennrich, arXiv 1910.07467, have no bias; the author's script has one).

    Args:
        channels: C of the input (N, C, H, W), any floating dtype; computed in float32 or better, and rounded to the
            input's dtype except under autocast, where the float32 values go on to the constraint.
        eps: added to the mean square. An all-zero position has a gradient of the order of 1 / sqrt(eps).
    """

    def __init__(self, channels: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()  # (N, C, H, W)
        last = wide.permute(0, 2, 3, 1)  # (N, H, W, C): a view, contiguous where x is channels_last
        weight, bias = self.weight.to(wide.dtype), self.bias.to(wide.dtype)
        normed = (F.rms_norm(last, weight.shape, weight, self.eps) + bias).permute(0, 3, 1, 2)
        return normed if autocast_dtype(x.device.type) else normed.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps:g}"


class Block(nn.Module):
    """norm, top-k, 3x3 convolution, norm, top-k, 3x3 convolution; added to the shortcut.

    Dropout, where there is any, stands after the first convolution; the published recipe has none.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        norm_eps: float,
        dropout: float,
        constraint: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.norm1 = RMSNorm2d(inputs, norm_eps)
        self.topk1 = constraint()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.norm2 = RMSNorm2d(outputs, norm_eps)
        self.topk2 = constraint()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(normed_topk(self.norm1, self.topk1, x))
        if self.dropout is not None:
            inner = self.dropout(inner)
        inner = self.conv2(normed_topk(self.norm2, self.topk2, inner))
        joined: Tensor = inner + (x if self.shortcut is None else self.shortcut(x))
        return joined


class WideResNet(nn.Module):
    """WRN-depth-width for images of 32 x 32 pixels; (N, 3, H, W) float in, (N, num_classes) logits out.

    Args:
        depth: 6n + 4 for n blocks in each of the three groups; 28 has 25 constrained layers.
        width: multiplier of the channels 16, 32, 64.
        num_classes: size of the output.
        norm_eps: the normalization's epsilon.
        dropout: share of the activations of each block that dropout sets to zero in training, in [0, 1).
        constraint, block: make the layer that follows each norm, and a block, where `variants.py` has others.

    Raises:
        ValueError: depth not of the form 6n + 4 with n >= 1, width < 1, dropout outside [0, 1).

    Source: author's script of arXiv 2603.03131, the initialization too; WRN-28-4 has 5,849,050 parameters.
    """

    def __init__(
        self,
        depth: int = 28,
        width: int = 4,
        *,
        num_classes: int = 10,
        norm_eps: float = 1e-8,
        dropout: float = 0.0,
        constraint: Callable[[], nn.Module] = GlobalTopK,
        block: Callable[..., nn.Module] = Block,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is {depth}, but must be 6n + 4 with n >= 1: 10, 16, 22, 28, ...")
        if width < 1:
            raise ValueError(f"width is {width}, but must be a whole number from 1")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout is {dropout}, but must lie in [0, 1)")
        blocks: list[nn.Module] = []
        channels = 16
        for group, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            for index in range((depth - 4) // 6):
                stride = 2 if group > 0 and index == 0 else 1
                blocks.append(block(channels, outputs, stride, norm_eps, dropout, constraint))
                channels = outputs
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.norm = RMSNorm2d(channels, norm_eps)
        self.topk = constraint()
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)  # (N, 16, 32, 32)
        x = self.blocks(x)  # (N, 64 * width, 8, 8)
        x = normed_topk(self.norm, self.topk, x).mean(dim=(2, 3))  # (N, 64 * width)
        logits: Tensor = self.head(x)
        return logits


def normed_topk(norm: nn.Module, topk: nn.Module, x: Tensor) -> Tensor:
    """Return `topk(norm(x))`, in one kernel where that is safe.

    It is not where somebody has subclassed, hooked or patched a module. Under torch.compile and torch.func the two
    modules are called in turn as well; a compiler fuses them by itself. One kernel adds in another order than two, so
    the results differ by rounding.
    """
    untouched = _untouched(norm, RMSNorm2d, _NORM_FORWARD) and _untouched(topk, GlobalTopK, _TOPK_FORWARD)
    if untouched and _fuses(norm, topk, x):
        dtype = autocast_dtype(x.device.type) or x.dtype
        fast: Tensor = rms_norm_topk(x, norm.weight, norm.bias, norm.eps, topk.budget, dtype, topk.backend)
        return fast
    constrained: Tensor = topk(norm(x))
    return constrained


_CALL, _NORM_FORWARD, _TOPK_FORWARD = nn.Module.__call__, RMSNorm2d.forward, GlobalTopK.forward


def _untouched(module: nn.Module, kind: type[nn.Module], forward: Callable[..., Any]) -> bool:
    """Whether the module does what its class was written to do."""
    hooks = (
        *(module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks),
        *(nn_module._global_forward_hooks, nn_module._global_forward_pre_hooks),
        *(nn_module._global_backward_hooks, nn_module._global_backward_pre_hooks),
    )
    same = type(module) is kind and kind.__call__ is _CALL and kind.forward is forward
    patched = "forward" in vars(module) or "_constrain" in vars(module) or module._compiled_call_impl is not None
    return same and not patched and not any(hooks)


def _fuses(norm: Any, topk: Any, x: Tensor) -> bool:
    if topk.scope != "sample" or norm.eps is None or torch.compiler.is_compiling():
        return False
    if topk.budget.device != x.device:
        return False  # of weights that were assigned to a model made elsewhere: the layer copes
    if any(is_transformed(one) for one in (x, norm.weight, norm.bias)):
        return False
    return fused(x, norm.weight, norm.bias, autocast_dtype(x.device.type), topk.backend) is not None
