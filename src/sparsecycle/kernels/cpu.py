"""Exact selection on the CPU with numba: counting passes over a row that stays in the cache.

The bit patterns of non-negative floats, read as integers ("keys"), order like the floats, and all negative floats are
negative integers. So the k-th largest is found by a search for the key t with count(keys >= t) = k: each pass counts at
two keys with vector instructions, and interpolates between the counts. A few keys from all over the row tell where to
begin. The passes run at the speed of the cache; a histogram or a sort touches each value in scalar code.

Where several values are equal to the k-th largest and not all have a place, the same search finds the last index that
has one.

The second half fuses RMSNorm over channels, ReLU and selection into one pass over memory each way: a sample is
normalized into the output, and selected there while it is still in the cache. It is in this file because numba's cache
of compiled functions watches only the file that a function stands in.
"""

import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from numba.core import event
from torch import Tensor

from sparsecycle.kernels.layout import Rows, restore, rows_of
from sparsecycle.topk import kept_values

KEYS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
INFINITY = {torch.float32: 0x7F800000, torch.bfloat16: 0x7F80, torch.float16: 0x7C00}  # above it is NaN

SAMPLE = 64  # keys that the search begins with
BLOCK = 2**14  # keys that 16 bits can count

_lock = threading.Lock()  # not every threading layer of numba can be entered twice at a time
_log = logging.getLogger("sparsecycle")


_used = _unusable = False  # OpenMP ends a process that was forked from one in which it had been used


def _after_fork() -> None:
    global _unusable
    _unusable = _used


os.register_at_fork(after_in_child=_after_fork)


def serves(x: Tensor, scope: str) -> bool:
    """CPU tensors of float32, bfloat16 or float16 whose values 32 bits can count; any scope.

    Not in a process forked from one that used these kernels, such as a worker of a DataLoader.
    """
    return x.device.type == "cpu" and x.dtype in KEYS and x.numel() < 2**31 and not _unusable


def probe() -> None:
    """Raise where nothing can be compiled and run: a missing threading layer, a cache that cannot be used."""
    if numba.config.DISABLE_JIT:  # plain Python would do every step, for hours
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    relu_topk(torch.ones(1, 32), torch.full((), 0.5, dtype=torch.float64), "sample", torch.float32)


def relu_topk(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype) -> Tensor:
    """The k largest of each group of relu(x), the rest zero, rounded to `dtype`; shape and memory format of `x`."""
    rows = rows_of(x, scope)
    out = torch.empty_like(rows.values)
    _run(_relu_topk, rows, out.view(KEYS[x.dtype]), keep_ratio, INFINITY[x.dtype])
    return restore(out.to(dtype), rows, x)


def topk_mask(x: Tensor, keep_ratio: Tensor, scope: str) -> Tensor:
    """Boolean mask of the k largest of each group of `x`, in the shape and memory format of `x`."""
    rows = rows_of(x, scope)
    out = torch.empty_like(rows.values, dtype=torch.bool)
    _run(_topk_mask, rows, out, keep_ratio)
    return restore(out, rows, x)


def _run(kernel: Any, rows: Rows, out: Tensor, keep_ratio: Tensor, *more: int) -> None:
    k = kept_values(keep_ratio.item(), rows.values.shape[1])
    keys = rows.values.detach().view(KEYS[rows.values.dtype]).numpy()
    with all_threads():
        kernel(keys, out.numpy(), k, rows.channels, rows.positions, np.iinfo(keys.dtype).max, *more)


@contextmanager
def all_threads() -> Iterator[None]:
    """As many threads as torch uses, and one caller at a time.

    When numba's pool starts, it sets the number of threads of torch's OpenMP too, to that of cores: it is put back.
    """
    global _used
    with _lock:
        _used = True
        threads = torch.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


class _SayWhatIsWaitedFor(event.Listener):
    """Compiling takes seconds, once for each machine and version of the source."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith(__package__):
            _log.warning("compiling the CPU kernels: once, for this machine and this version of them")
            type(self).said = True

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _SayWhatIsWaitedFor())

Keys = npt.NDArray[Any]


@numba.njit(cache=True)
def _count(keys: Keys, a: Any, b: Any) -> tuple[Any, Any]:
    """How many keys are at least `a`, and how many at least `b`; counters as narrow as keys fill vector registers."""
    first, second = keys.dtype.type(a), keys.dtype.type(b)
    at_a = at_b = np.int64(0)
    for start in range(0, keys.size, BLOCK):
        block = keys[start : start + BLOCK]
        in_a = in_b = keys.dtype.type(0)
        for i in range(block.size):
            in_a = keys.dtype.type(in_a + keys.dtype.type(block[i] >= first))
            in_b = keys.dtype.type(in_b + keys.dtype.type(block[i] >= second))
        at_a += np.int64(in_a)
        at_b += np.int64(in_b)
    return at_a, at_b


@numba.njit(cache=True)
def _guess(keys: Keys, k: int, low: Any) -> tuple[Any, Any]:
    """Two keys between which the k-th largest probably is: order statistics of a few keys from all over the row."""
    size = max(1, min(SAMPLE, keys.size // 16))
    stride = keys.size // size
    stride -= 1 - stride % 2  # odd, so that in channels_last the sample is of all channels
    descending = np.empty(size, keys.dtype)
    for i in range(size):
        key, place = keys[i * stride], i
        while place > 0 and descending[place - 1] < key:
            descending[place] = descending[place - 1]
            place -= 1
        descending[place] = key
    share = k / keys.size
    spread = 1.5 * math.sqrt(size * share * (1 - share)) + 0.5
    upper, lower = math.floor(size * share - spread), math.floor(size * share + spread)
    a = np.int64(descending[lower]) if lower < size else low + 1
    b = np.int64(descending[upper]) if upper >= 0 else np.int64(keys.max())
    return a, b


@numba.njit(cache=True)
def _search(keys: Keys, k: int, low: Any) -> tuple[Any, Any]:
    """The key t and the surplus, count(keys >= t) - k, of the smallest count that is at least k, among t >= `low`.

    A positive surplus means that several keys are equal to t. Fewer than k keys from `low` on: all, surplus 0.
    """
    high = np.int64(np.iinfo(keys.dtype).max) + 1
    above: Any = np.int64(0)  # the count at high, less than k
    below: Any = np.int64(-1)  # the count at low, more than k; -1: not counted yet
    width = np.int64(0)
    a, b = _guess(keys, k, low)
    while True:
        a = min(max(a, low + 1), high - 1)
        b = min(max(b, a), high - 1)
        at_a, at_b = _count(keys, a, b)
        if at_a == k or at_b == k:
            return (a if at_a == k else b), 0
        if at_a < k:
            high, above = a, at_a
            if below < 0:
                below = _count(keys, low, low)[0]
                if below <= k:
                    return low, 0
        elif at_b > k:
            low, below = b, at_b
        else:
            low, below, high, above = a, at_a, b, at_b
        if high - low <= 1:
            return low, below - k
        slow = width > 0 and 4 * (high - low) > width  # than a quarter of the bracket: cut it in three, come what may
        width = high - low
        if slow:
            a, b = low + width // 3, high - width // 3
        else:  # the place by interpolation, a standard deviation of an order statistic to both sides
            between = below - above
            share = (below - k) / between
            spread = math.sqrt(share * (1 - share) / between) + 0.5 / between
            a, b = low + np.int64(width * (share - spread)), low + np.int64(width * (share + spread))


@numba.njit(cache=True)
def _rank_ties(keys: Keys, t: int, channels: int, positions: int) -> npt.NDArray[np.int32]:
    """n less its index in the order of ties for each key that equals t, 0 for the others."""
    n = keys.size
    key = keys.dtype.type(t)
    ranks = np.empty(n, np.int32)
    for block in range(n // (channels * positions)):
        for position in range(positions):
            start = (block * positions + position) * channels
            first = np.int32(n - block * channels * positions - position)
            for channel in range(channels):
                rank = np.int32(first - np.int32(channel * positions))
                ranks[start + channel] = rank if keys[start + channel] == key else np.int32(0)
    return ranks


@numba.njit(cache=True)
def select(keys: Keys, kept: Keys, k: int, channels: int, positions: int, magnitude: int, infinity: int) -> None:
    """The k largest positive keys of a row, and NaN, which goes through as it does through ReLU; the rest zero.

    `kept` may be the memory of `keys`.
    """
    t, surplus = _search(keys, k, 1)
    if surplus > 0:
        ranks = _rank_ties(keys, t, channels, positions)
    least, unsigned, largest = keys.dtype.type(t), keys.dtype.type(magnitude), keys.dtype.type(infinity)
    for i in range(keys.size):
        stays = keys[i] >= least or keys.dtype.type(keys[i] & unsigned) > largest
        kept[i] = keys[i] if stays else keys.dtype.type(0)
    if surplus > 0:
        last = _search(ranks, np.count_nonzero(ranks) - surplus, 1)[0] if least <= largest else 0
        for i in range(keys.size):
            kept[i] = keys.dtype.type(0) if 0 < ranks[i] < last else kept[i]


@numba.njit(cache=True, parallel=True)
def _relu_topk(rows: Keys, out: Keys, k: int, channels: int, positions: int, magnitude: int, infinity: int) -> None:
    for group in numba.prange(rows.shape[0]):
        select(rows[group], out[group], k, channels, positions, magnitude, infinity)


@numba.njit(cache=True, parallel=True)
def _topk_mask(rows: Keys, out: npt.NDArray[np.bool_], k: int, channels: int, positions: int, magnitude: int) -> None:
    for group in numba.prange(rows.shape[0]):
        keys, kept = np.empty_like(rows[group]), out[group]
        negative, unsigned = keys.dtype.type(0), keys.dtype.type(magnitude)
        for i in range(keys.size):  # in two's complement the more negative float has the smaller key; -0.0 equals 0.0
            key = rows[group, i]
            keys[i] = keys.dtype.type(key if key >= negative else -(key & unsigned))
        t, surplus = _search(keys, k, keys.min())
        least = keys.dtype.type(t)
        for i in range(keys.size):
            kept[i] = keys[i] >= least
        if surplus > 0:
            ranks = _rank_ties(keys, t, channels, positions)
            last = _search(ranks, np.count_nonzero(ranks) - surplus, 1)[0]
            for i in range(keys.size):
                kept[i] = kept[i] and (ranks[i] == 0 or ranks[i] >= last)


Maps = npt.NDArray[np.float32]  # (N, H*W, C)
Map = npt.NDArray[np.float32]  # (H*W, C)
Channels = npt.NDArray[np.float32]
ROUNDING = {"reassoc", "contract"}  # what lets sums fill the vector registers; NaN and infinity keep their meaning
MAGNITUDE = int(np.iinfo(np.int32).max)
LARGEST = INFINITY[torch.float32]


def rms_norm_topk(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, keep_ratio: Tensor, dtype: torch.dtype
) -> Tensor:
    """The k largest of each sample of relu(x / sqrt(mean(x^2 over C) + eps) * weight + bias), the rest zero.

    Computed and selected in float32. x: (N, C, H, W) in channels_last, float32 or bfloat16 as is `dtype`; weight, bias:
    (C,).
    """
    out = torch.empty_like(x, memory_format=torch.channels_last)
    k = kept_values(keep_ratio.item(), x[0].numel())
    gain, shift = weight.detach().contiguous().numpy(), bias.detach().contiguous().numpy()
    forward = _forward if x.dtype == torch.float32 else _forward_16
    with all_threads():
        forward(_maps(x), gain, shift, np.float32(eps), _maps(out), k)
    return out


def rms_norm_topk_backward(
    gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for x, in channels_last, for weight and for bias. A value passes where the output is positive."""
    upstream = gradient.contiguous(memory_format=torch.channels_last)
    to_x = torch.empty_like(x, memory_format=torch.channels_last)
    sums = torch.empty(2, *x.shape[:2])  # a row a sample: the sum does not depend on the number of threads
    gain = weight.detach().contiguous().numpy()
    backward = _backward if x.dtype == torch.float32 else _backward_16
    with all_threads():
        backward(
            *(_maps(x), gain, np.float32(eps), _maps(upstream), _maps(output), _maps(to_x)),
            *(sums[0].numpy(), sums[1].numpy()),
        )
    to_weight, to_bias = sums.sum(dim=1)
    return to_x, to_weight.clone(), to_bias.clone()


def _maps(x: Tensor) -> npt.NDArray[Any]:
    """(N, H*W, C) of a tensor in channels_last; NumPy has no bfloat16, so that comes as the bits of int16."""
    n, channels = x.shape[:2]
    numbers = x.detach() if x.dtype == torch.float32 else x.detach().view(torch.int16)
    maps: npt.NDArray[Any] = numbers.permute(0, 2, 3, 1).reshape(n, -1, channels).numpy()
    return maps


@numba.njit(cache=True, fastmath=ROUNDING)
def _forward_sample(x: Map, weight: Channels, bias: Channels, eps: np.float32, out: Map, k: int) -> None:
    positions, channels = x.shape
    for p in range(positions):
        squares = np.float32(0)
        for c in range(channels):
            squares += x[p, c] * x[p, c]
        scale = np.float32(1) / np.sqrt(squares / np.float32(channels) + eps)
        for c in range(channels):
            normed = x[p, c] * scale * weight[c] + bias[c]
            out[p, c] = np.float32(0) if normed <= 0 else normed
    if k < positions * channels:
        keys = out.reshape(positions * channels).view(np.int32)
        select(keys, keys, k, channels, positions, MAGNITUDE, LARGEST)


@numba.njit(cache=True, fastmath=ROUNDING)
def _backward_sample(
    x: Map, weight: Channels, eps: np.float32, upstream: Map, output: Map, to_x: Map, to_weight: Map, to_bias: Map
) -> None:
    positions, channels = x.shape
    for c in range(channels):
        to_weight[c] = 0
        to_bias[c] = 0
    for p in range(positions):
        squares, product = np.float32(0), np.float32(0)
        for c in range(channels):
            passed = np.float32(0) if output[p, c] <= 0 else upstream[p, c]
            squares += x[p, c] * x[p, c]
            product += passed * weight[c] * x[p, c]
        scale = np.float32(1) / np.sqrt(squares / np.float32(channels) + eps)
        pull = product * scale * scale / np.float32(channels)
        for c in range(channels):
            passed = np.float32(0) if output[p, c] <= 0 else upstream[p, c]
            to_weight[c] += passed * x[p, c] * scale
            to_bias[c] += passed
            to_x[p, c] = scale * (passed * weight[c] - x[p, c] * pull)


@numba.njit(cache=True, parallel=True)
def _forward(x: Maps, weight: Channels, bias: Channels, eps: np.float32, out: Maps, k: int) -> None:
    for n in numba.prange(x.shape[0]):
        _forward_sample(x[n], weight, bias, eps, out[n], k)


@numba.njit(cache=True, parallel=True)
def _backward(
    x: Maps, weight: Channels, eps: np.float32, upstream: Maps, output: Maps, to_x: Maps, to_weight: Maps, to_bias: Maps
) -> None:
    for n in numba.prange(x.shape[0]):
        _backward_sample(x[n], weight, eps, upstream[n], output[n], to_x[n], to_weight[n], to_bias[n])


# bfloat16 is the upper half of float32. A sample is widened into the cache, treated there as above, and rounded back.


@numba.njit(cache=True)
def _widen(bits: Keys) -> Map:
    wide = np.empty(bits.shape, np.int32)
    for p in range(bits.shape[0]):
        for c in range(bits.shape[1]):
            wide[p, c] = np.int32(bits[p, c]) << 16
    return wide.view(np.float32)


@numba.njit(cache=True)
def _round(wide: Map, bits: Keys) -> None:
    """To the nearest, ties to even, as torch does; NaN stays NaN."""
    whole = wide.view(np.uint32)
    for p in range(whole.shape[0]):
        for c in range(whole.shape[1]):
            u = whole[p, c]
            half = (u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            nan = (u & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
            bits[p, c] = np.int16(0x7FC0) if nan else np.int16(half)


@numba.njit(cache=True, parallel=True)
def _forward_16(x: Keys, weight: Channels, bias: Channels, eps: np.float32, out: Keys, k: int) -> None:
    for n in numba.prange(x.shape[0]):
        kept = np.empty(x.shape[1:], np.float32)
        _forward_sample(_widen(x[n]), weight, bias, eps, kept, k)
        _round(kept, out[n])


@numba.njit(cache=True, parallel=True)
def _backward_16(
    x: Keys, weight: Channels, eps: np.float32, upstream: Keys, output: Keys, to_x: Keys, to_weight: Maps, to_bias: Maps
) -> None:
    for n in numba.prange(x.shape[0]):
        wide = np.empty(x.shape[1:], np.float32)
        given, kept = _widen(upstream[n]), _widen(output[n])
        _backward_sample(_widen(x[n]), weight, eps, given, kept, wide, to_weight[n], to_bias[n])
        _round(wide, to_x[n])
