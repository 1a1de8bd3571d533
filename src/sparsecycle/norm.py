"""RMSNorm of feature maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.kernels import autocast_dtype


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
        last = x.permute(0, 2, 3, 1)  # (N, H, W, C): a view, contiguous where x is channels_last
        normed = F.rms_norm(last, (last.shape[-1],), self.weight, self.eps).permute(0, 3, 1, 2)
        return normed

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, over={self.over!r}, eps={self.eps:g}"
