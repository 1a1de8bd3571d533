"""RMSNorm over channels, ReLU and selection on the CPU with numba, in one pass over memory each way.

A sample is normalized into the output, and selected there while it is still in the cache.
"""

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparsecycle.kernels.cpu import INFINITY, KEYS, Keys, all_threads, select
from sparsecycle.kernels.layout import kept_values

Maps = npt.NDArray[np.float32]  # (N, H*W, C)
ROUNDING = {"reassoc", "contract"}  # what lets sums fill the vector registers; NaN and infinity keep their meaning


def rms_norm_topk(x: Tensor, weight: Tensor, eps: float, keep_ratio: Tensor) -> Tensor:
    """The k largest of each sample of relu(x / sqrt(mean(x^2 over C) + eps) * weight), the rest zero.

    x: float32 (N, C, H, W) in channels_last; weight: (C,).
    """
    out = torch.empty_like(x, memory_format=torch.channels_last)
    k = kept_values(keep_ratio.item(), x[0].numel())
    keys = out.view(KEYS[torch.float32]).permute(0, 2, 3, 1).reshape(len(x), -1).numpy()
    with all_threads():
        _forward(_maps(x), weight.detach().numpy(), np.float32(eps), _maps(out), keys, k)
    return out


def rms_norm_topk_backward(
    gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients for x, in channels_last, and for weight. A value passes where the output is not zero."""
    upstream = _maps(gradient.contiguous(memory_format=torch.channels_last))
    to_x = torch.empty_like(x, memory_format=torch.channels_last)
    to_weight = torch.empty(x.shape[:2])  # a row a sample: the sum does not depend on the number of threads
    with all_threads():
        _backward(
            _maps(x), weight.detach().numpy(), np.float32(eps), upstream, _maps(output), _maps(to_x), to_weight.numpy()
        )
    return to_x, to_weight.sum(dim=0)


def _maps(x: Tensor) -> Maps:
    n, channels = x.shape[:2]
    maps: Maps = x.detach().permute(0, 2, 3, 1).reshape(n, -1, channels).numpy()
    return maps


MAGNITUDE = int(np.iinfo(np.int32).max)
LARGEST = INFINITY[torch.float32]


@numba.njit(cache=True, parallel=True, fastmath=ROUNDING)
def _forward(x: Maps, weight: npt.NDArray[np.float32], eps: np.float32, out: Maps, keys: Keys, k: int) -> None:
    samples, positions, channels = x.shape
    for n in numba.prange(samples):
        for p in range(positions):
            squares = np.float32(0)
            for c in range(channels):
                squares += x[n, p, c] * x[n, p, c]
            scale = np.float32(1) / np.sqrt(squares / np.float32(channels) + eps)
            for c in range(channels):
                normed = x[n, p, c] * scale * weight[c]
                out[n, p, c] = np.float32(0) if normed <= 0 else normed
        if k < positions * channels:
            select(keys[n], keys[n], k, channels, positions, MAGNITUDE, LARGEST)


@numba.njit(cache=True, parallel=True, fastmath=ROUNDING)
def _backward(
    x: Maps,
    weight: npt.NDArray[np.float32],
    eps: np.float32,
    upstream: Maps,
    output: Maps,
    to_x: Maps,
    to_weight: npt.NDArray[np.float32],
) -> None:
    samples, positions, channels = x.shape
    for n in numba.prange(samples):
        for c in range(channels):
            to_weight[n, c] = 0
        for p in range(positions):
            squares, product = np.float32(0), np.float32(0)
            for c in range(channels):
                passed = np.float32(0) if output[n, p, c] <= 0 else upstream[n, p, c]
                squares += x[n, p, c] * x[n, p, c]
                product += passed * weight[c] * x[n, p, c]
            scale = np.float32(1) / np.sqrt(squares / np.float32(channels) + eps)
            pull = product * scale * scale / np.float32(channels)
            for c in range(channels):
                passed = np.float32(0) if output[n, p, c] <= 0 else upstream[n, p, c]
                to_weight[n, c] += passed * x[n, p, c] * scale
                to_x[n, p, c] = scale * (passed * weight[c] - x[n, p, c] * pull)
