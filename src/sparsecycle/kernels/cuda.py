"""Exact selection on a GPU with Triton: one program a group, counting passes over a row that stays in the caches.

The search is that of `cpu.py`, begun from the whole range of keys: bit patterns as integers, counts at two keys a pass,
interpolation between the counts, and the same search over the indices of equal values. The first pass reads the row
from memory; the later ones are meant to find it in the caches of the chip, which no GPU has been there to show.

The budget is a value on the device: k is computed by the kernel, so that another budget neither waits for the GPU nor
compiles or captures anything anew.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsecycle.kernels.layout import restore, rows_of

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BLOCK = 8192
INTERPRETED = bool(triton.knobs.runtime.interpret)


def serves(x: Tensor, scope: str) -> bool:
    """GPU tensors of float32, bfloat16 or float16; not the scope "batch", which is one row for the whole GPU.

    Triton's interpreter (TRITON_INTERPRET=1) also takes tensors on the CPU.
    """
    return (x.is_cuda or INTERPRETED) and x.dtype in DTYPES and scope != "batch"


def probe() -> None:
    """Raise where a kernel cannot be compiled and run: no compiler in the system, or a GPU unknown to Triton."""
    if not INTERPRETED:
        budget = torch.ones((), dtype=torch.float64, device="cuda")
        relu_topk(torch.ones(1, 32, device="cuda"), budget, "sample", torch.float32)


def relu_topk(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype) -> Tensor:
    """The k largest of each group of relu(x), the rest zero, rounded to `dtype`; shape and memory format of `x`."""
    return _run(x, keep_ratio, scope, dtype, relu=True)


def topk_mask(x: Tensor, keep_ratio: Tensor, scope: str) -> Tensor:
    """Boolean mask of the k largest of each group of `x`, in the shape and memory format of `x`."""
    return _run(x, keep_ratio, scope, torch.bool, relu=False)


def _run(x: Tensor, keep_ratio: Tensor, scope: str, dtype: torch.dtype, relu: bool) -> Tensor:
    rows = rows_of(x, scope)
    groups, n = rows.values.shape
    stored = x.dtype if INTERPRETED and relu else dtype  # the interpreter truncates where a GPU rounds
    out = torch.empty_like(rows.values, dtype=stored)
    block = min(BLOCK, max(32, triton.next_power_of_2(n)))
    with torch.cuda.device_of(x):
        _select_rows[(groups,)](
            rows.values,
            out if relu else out.view(torch.uint8),
            keep_ratio.to(x.device, non_blocking=True),
            n,
            CHANNELS=rows.channels,
            POSITIONS=rows.positions,
            RELU=relu,
            BLOCK=block,
            num_warps=min(16, max(1, block // 512)),
        )
    return restore(out.to(dtype), rows, x)


@triton.jit
def _ranks(
    values,
    i,
    n,
    t,
    CHANNELS: tl.constexpr,  # noqa: N803
    POSITIONS: tl.constexpr,  # noqa: N803
    RELU: tl.constexpr,  # noqa: N803
    TIES: tl.constexpr,  # noqa: N803
):
    """What is searched over: keys that order like the values or, of those equal to t, n less the index."""
    if values.dtype == tl.float32:
        bits = values.to(tl.int32, bitcast=True)
        unsigned = bits & 0x7FFFFFFF
    else:
        bits = values.to(tl.int16, bitcast=True).to(tl.int32)
        unsigned = bits & 0x7FFF
    ranks = bits
    if not RELU:
        ranks = tl.where(bits < 0, -unsigned, bits)  # -0.0 equals 0.0
    if TIES:
        index = i
        if POSITIONS > 1:
            index = (i % CHANNELS) * POSITIONS + i // CHANNELS
        ranks = tl.where(ranks == t, n - index, 0)
    return tl.where(i < n, ranks, -0x80000000)


@triton.jit
def _count(
    x,
    n,
    t,
    a,
    b,
    CHANNELS: tl.constexpr,  # noqa: N803
    POSITIONS: tl.constexpr,  # noqa: N803
    RELU: tl.constexpr,  # noqa: N803
    TIES: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """How many ranks are at least a, and how many at least b."""
    at_a = tl.zeros([BLOCK], tl.int32)
    at_b = tl.zeros([BLOCK], tl.int32)
    first, second = a.to(tl.int32), b.to(tl.int32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        values = tl.load(x + i, mask=i < n, other=0.0)
        ranks = _ranks(values, i, n, t, CHANNELS, POSITIONS, RELU, TIES)
        at_a += (ranks >= first).to(tl.int32)
        at_b += (ranks >= second).to(tl.int32)
    return tl.sum(at_a, 0), tl.sum(at_b, 0)


@triton.jit
def _search(
    x,
    n,
    k,
    low,
    high,
    t,
    CHANNELS: tl.constexpr,  # noqa: N803
    POSITIONS: tl.constexpr,  # noqa: N803
    RELU: tl.constexpr,  # noqa: N803
    TIES: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """As `_search` in cpu.py: the rank whose count is k or the smallest above it, and the surplus over k."""
    below, above = _count(x, n, t, low, high, CHANNELS, POSITIONS, RELU, TIES, BLOCK)
    if below <= k:
        below = k
        high = low + 1
    width = 8 * (high - low)
    while high - low > 1:
        slow = 4 * (high - low) > width
        width = high - low
        between = (below - above).to(tl.float32)
        share = (below - k).to(tl.float32) / between
        spread = tl.sqrt(share * (1 - share) / between) + 0.5 / between
        a = low + (width.to(tl.float32) * (share - spread)).to(tl.int64)
        b = low + (width.to(tl.float32) * (share + spread)).to(tl.int64)
        if slow:
            a = low + width // 3
            b = high - width // 3
        a = tl.minimum(tl.maximum(a, low + 1), high - 1)
        b = tl.minimum(tl.maximum(b, a), high - 1)
        at_a, at_b = _count(x, n, t, a, b, CHANNELS, POSITIONS, RELU, TIES, BLOCK)
        if at_b >= k:
            low, below = b, at_b
        elif at_a >= k:
            low, below = a, at_a
        if at_a < k:
            high, above = a, at_a
        elif at_b < k:
            high, above = b, at_b
        if below == k:
            high = low + 1
    return low, below - k


@triton.jit
def _select_rows(
    x_rows,
    out_rows,
    keep_ratio,
    n,
    CHANNELS: tl.constexpr,  # noqa: N803
    POSITIONS: tl.constexpr,  # noqa: N803
    RELU: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Of the row of this program the k largest, as `kept_values` in topk.py says, or the mask of them."""
    x = x_rows + tl.program_id(0).to(tl.int64) * n
    out = out_rows + tl.program_id(0).to(tl.int64) * n
    k = tl.maximum(tl.floor(tl.load(keep_ratio) * n).to(tl.int32), 1)  # the product is in float64
    infinity = 0x7F800000
    if x.dtype.element_ty == tl.bfloat16:
        infinity = 0x7F80
    elif x.dtype.element_ty == tl.float16:
        infinity = 0x7C00
    low = tl.full([], 1, tl.int64)
    if not RELU:
        low = low - 1 - infinity
    high = tl.full([], 1, tl.int64) + infinity
    t, surplus = _search(x, n, k, low, high, 0, CHANNELS, POSITIONS, RELU, False, BLOCK)
    key = t.to(tl.int32)
    last = tl.zeros([], tl.int64)
    if surplus > 0:
        ones = tl.full([], 1, tl.int64)
        tied, _ = _count(x, n, key, ones, ones, CHANNELS, POSITIONS, RELU, True, BLOCK)
        last, _ = _search(x, n, tied - surplus, ones, ones + n, key, CHANNELS, POSITIONS, RELU, True, BLOCK)
    last_rank = last.to(tl.int32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        values = tl.load(x + i, mask=i < n, other=0.0)
        keys = _ranks(values, i, n, 0, CHANNELS, POSITIONS, RELU, False)
        ties = _ranks(values, i, n, key, CHANNELS, POSITIONS, RELU, True)
        kept = (keys > key) | ((keys == key) & (ties >= last_rank))
        if RELU:
            kept = kept | (values != values)  # NaN goes through, as it does through ReLU
            result = tl.where(kept, values, 0.0)
            tl.store(out + i, result.to(out.dtype.element_ty), mask=i < n)
        else:
            tl.store(out + i, kept.to(out.dtype.element_ty), mask=i < n)
