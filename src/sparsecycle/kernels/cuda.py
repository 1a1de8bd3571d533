"""Exact selection on a GPU with Triton: one program a group, counting passes over a row that stays in the caches.

The search is that of `cpu.py`: bit patterns as integers, counts at two keys a pass, a sample that tells where to begin,
interpolation between the counts, and the same search over the indices of equal values. The first pass reads the row
from memory; the later ones are meant to find it in the caches of the chip, which no GPU has been there to show.

The same kernel serves RMSNorm, ReLU and selection at once: instead of loading an activation, a pass makes it anew from
the layer's input, so that nothing but input and output travels through memory. All passes make it by the same two
operations, a product and a fused multiply-add, and so find the same bits.

The budget is a value on the device: k is computed by the kernel, so that another budget, 1.0 too, neither waits for the
GPU nor compiles or captures anything anew.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsecycle.kernels.layout import restore, rows_of

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BLOCK = 8192  # values that a program looks at together
SAMPLE = 2048  # values that the search begins with, at most a quarter of the row
RUN = 32  # of them that lie side by side, which memory delivers together
TILE = 2048  # values of one turn of the kernels that sum over channels
SHARES = 8  # programs a sample in the backward pass
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
    rows = rows_of(x, scope)
    out = torch.empty_like(rows.values, dtype=_stored(x.dtype, dtype))
    _select(rows.values, out, keep_ratio, rows.channels, rows.positions, relu=True)
    return restore(out.to(dtype), rows, x)


def topk_mask(x: Tensor, keep_ratio: Tensor, scope: str) -> Tensor:
    """Boolean mask of the k largest of each group of `x`, in the shape and memory format of `x`."""
    rows = rows_of(x, scope)
    out = torch.empty_like(rows.values, dtype=torch.bool)
    _select(rows.values, out.view(torch.uint8), keep_ratio, rows.channels, rows.positions, relu=False)
    return restore(out, rows, x)


def rms_norm_topk(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, keep_ratio: Tensor, dtype: torch.dtype
) -> Tensor:
    """The k largest of each sample of relu(x / sqrt(mean(x^2 over C) + eps) * weight + bias), the rest zero.

    Computed and selected in float32, then rounded to `dtype`. x: (N, C, H, W) in channels_last; weight, bias: float32
    (C,).
    """
    samples, channels, height, width = x.shape
    positions = height * width
    scales = torch.empty(samples * positions, device=x.device)
    tile = _tile(channels)
    with torch.cuda.device_of(x):
        _scales[(triton.cdiv(samples * positions, tile),)](
            *(x, scales, samples * positions, eps),
            **dict(CHANNELS=channels, WIDE=triton.next_power_of_2(channels), TILE=tile, num_warps=8),
        )
    out = torch.empty_like(x, dtype=_stored(torch.float32, dtype), memory_format=torch.channels_last)
    flat, kept = (tensor.permute(0, 2, 3, 1).view(samples, -1) for tensor in (x, out))
    _select(flat, kept, keep_ratio, channels, positions, relu=True, norm=(scales, weight, bias))
    return out.to(dtype)


def rms_norm_topk_backward(
    gradient: Tensor, output: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for x, in channels_last, for weight and for bias. A value passes where the output is positive."""
    samples, channels, height, width = x.shape
    upstream = gradient.contiguous(memory_format=torch.channels_last)
    to_x = torch.empty_like(x, dtype=_stored(torch.float32, x.dtype), memory_format=torch.channels_last)
    sums = torch.empty(2, samples * SHARES, channels, device=x.device)  # added up in one order, whatever runs first
    with torch.cuda.device_of(x):
        _backward[(samples, SHARES)](
            *(x, output, upstream, weight, to_x, sums, height * width, eps),
            **dict(CHANNELS=channels, WIDE=triton.next_power_of_2(channels), TILE=_tile(channels)),
            **dict(SHARES=SHARES, num_warps=8),
        )
    return to_x.to(x.dtype), sums[0].sum(dim=0), sums[1].sum(dim=0)


def _stored(computed: torch.dtype, dtype: torch.dtype) -> torch.dtype:
    """What a kernel stores: the interpreter truncates where a GPU rounds."""
    return computed if INTERPRETED else dtype


def _tile(channels: int) -> int:
    """Positions of one turn."""
    return max(1, TILE // int(triton.next_power_of_2(channels)))


def _select(
    rows: Tensor,
    out: Tensor,
    keep_ratio: Tensor,
    channels: int,
    positions: int,
    relu: bool,
    norm: tuple[Tensor, Tensor, Tensor] | None = None,
) -> None:
    """Select in `rows` (groups, n), normalized first where `norm` has scales, weight and bias, and store in `out`."""
    groups, n = rows.shape
    block = min(BLOCK, max(32, triton.next_power_of_2(n)))
    with torch.cuda.device_of(rows):
        _select_rows[(groups,)](
            *(rows, *(norm or (rows, rows, rows)), out, keep_ratio.to(rows.device, non_blocking=True), n),
            CHANNELS=channels,
            POSITIONS=positions,
            RELU=relu,
            NORM=norm is not None,
            SAMPLE=min(SAMPLE, triton.next_power_of_2(n) // 4) if n >= 4 * RUN else 0,
            RUN=RUN,
            BLOCK=block,
            num_warps=min(32, max(1, block // 256)),
        )


@triton.jit
def _ranks(
    row,
    scales,
    weight,
    bias,
    i,
    n,
    t,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    RELU: tl.constexpr,
    NORM: tl.constexpr,
    TIES: tl.constexpr,
):
    """The values of a row at `i`, and what is searched over: keys that order like them or, of those equal to t, n less
    the index.
    """
    values = tl.load(row + i, mask=i < n, other=0.0)
    if NORM:
        scale = tl.load(scales + i // CHANNELS, mask=i < n, other=0.0)
        gain = tl.load(weight + i % CHANNELS)
        shift = tl.load(bias + i % CHANNELS)
        values = tl.math.fma(values.to(tl.float32) * scale, gain, shift)
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
    return values, tl.where(i < n, ranks, -0x80000000)


@triton.jit
def _count(
    row,
    scales,
    weight,
    bias,
    n,
    t,
    a,
    b,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    RELU: tl.constexpr,
    NORM: tl.constexpr,
    TIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """How many ranks are at least a, and how many at least b, a <= b."""
    counts = tl.zeros([BLOCK], tl.int32)  # at a in the lower 16 bits, at b in the upper
    first, second = a.to(tl.int32), b.to(tl.int32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        _, ranks = _ranks(row, scales, weight, bias, i, n, t, CHANNELS, POSITIONS, RELU, NORM, TIES)
        counts += tl.where(ranks >= second, 0x10001, (ranks >= first).to(tl.int32))
    return tl.sum(counts & 0xFFFF, 0), tl.sum(counts >> 16, 0)


@triton.jit
def _guess(
    row,
    scales,
    weight,
    bias,
    n,
    k,
    low,
    high,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    RELU: tl.constexpr,
    NORM: tl.constexpr,
    SAMPLE: tl.constexpr,
    RUN: tl.constexpr,
):
    """Two keys between which the k-th largest probably is: order statistics of runs of keys from all over the row.

    The distance of two runs is an odd number of runs, so that they begin at all channels.
    """
    j = tl.arange(0, SAMPLE)
    apart = tl.maximum(n // SAMPLE - 1, 0) | 1
    i = (j // RUN) * (apart * RUN) + j % RUN
    _, ranks = _ranks(row, scales, weight, bias, i, n, 0, CHANNELS, POSITIONS, RELU, NORM, False)
    share = k.to(tl.float32) / n
    spread = 3.0 * tl.sqrt(SAMPLE * share * (1 - share)) + 1.0  # values of one run are alike, and the spread is wide
    at_least = (SAMPLE * share + spread).to(tl.int32)
    at_most = tl.maximum(SAMPLE * share - spread, 0.0).to(tl.int32)
    a, a_end, b, b_end = low, high, low, high  # count(a) >= at_least > count(a_end), and the same of b with at_most
    for _ in range(12):  # halves the range of keys: a coarse guess is enough
        middle_a, middle_b = a + (a_end - a) // 2, b + (b_end - b) // 2
        counts = tl.where(ranks >= middle_a.to(tl.int32), 1, 0) + tl.where(ranks >= middle_b.to(tl.int32), 0x10000, 0)
        both = tl.sum(counts, 0)
        if (both & 0xFFFF) >= at_least:
            a = middle_a
        else:
            a_end = middle_a
        if (both >> 16) > at_most:
            b = middle_b
        else:
            b_end = middle_b
    return a, b_end


@triton.jit
def _search(
    row,
    scales,
    weight,
    bias,
    n,
    k,
    low,
    high,
    t,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    RELU: tl.constexpr,
    NORM: tl.constexpr,
    TIES: tl.constexpr,
    SAMPLE: tl.constexpr,
    RUN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """As `_search` in cpu.py: the rank whose count is k or the smallest above it, and the surplus over k.

    No rank is `high` or larger.
    """
    a, b = low, high
    if SAMPLE > 0:
        a, b = _guess(row, scales, weight, bias, n, k, low, high, CHANNELS, POSITIONS, RELU, NORM, SAMPLE, RUN)
    below, above = _count(row, scales, weight, bias, n, t, a, b, CHANNELS, POSITIONS, RELU, NORM, TIES, BLOCK)
    if below < k:  # the guess was too high, or there are fewer than k ranks
        high, above = a, below
        a = low
        below, _ = _count(row, scales, weight, bias, n, t, a, a, CHANNELS, POSITIONS, RELU, NORM, TIES, BLOCK)
    elif above >= k:  # too low
        a, below = b, above
        above = 0
    else:
        high = b
    low = a
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
        at_a, at_b = _count(row, scales, weight, bias, n, t, a, b, CHANNELS, POSITIONS, RELU, NORM, TIES, BLOCK)
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
    rows,
    scales,
    weight,
    bias,
    out_rows,
    keep_ratio,
    n,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    RELU: tl.constexpr,
    NORM: tl.constexpr,
    SAMPLE: tl.constexpr,
    RUN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Of the row of this program the k largest, as `kept_values` in topk.py says, or the mask of them."""
    place = tl.program_id(0).to(tl.int64)
    row = rows + place * n
    out = out_rows + place * n
    if NORM:
        scales += place * POSITIONS
    k = tl.maximum(tl.floor(tl.load(keep_ratio) * n).to(tl.int32), 1)  # the product is in float64
    infinity = 0x7F800000
    if rows.dtype.element_ty == tl.bfloat16 and not NORM:
        infinity = 0x7F80
    elif rows.dtype.element_ty == tl.float16 and not NORM:
        infinity = 0x7C00
    low = tl.full([], 1, tl.int64)
    if not RELU:
        low = low - 1 - infinity
    high = tl.full([], 1, tl.int64) + infinity
    t = low
    last = tl.zeros([], tl.int64)
    if k < n:
        t, surplus = _search(
            row, scales, weight, bias, n, k, low, high, 0, CHANNELS, POSITIONS, RELU, NORM, False, SAMPLE, RUN, BLOCK
        )
        if surplus > 0:
            ones = tl.full([], 1, tl.int64)
            tie = t.to(tl.int32)
            tied, _ = _count(
                row, scales, weight, bias, n, tie, ones, ones, CHANNELS, POSITIONS, RELU, NORM, True, BLOCK
            )
            places = tied - surplus
            last, _ = _search(
                row,
                scales,
                weight,
                bias,
                n,
                places,
                ones,
                ones + n,
                tie,
                CHANNELS,
                POSITIONS,
                RELU,
                NORM,
                True,
                0,
                RUN,
                BLOCK,
            )
    key = t.to(tl.int32)
    last_rank = last.to(tl.int32)
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        values, keys = _ranks(row, scales, weight, bias, i, n, 0, CHANNELS, POSITIONS, RELU, NORM, False)
        index = i
        if POSITIONS > 1:
            index = (i % CHANNELS) * POSITIONS + i // CHANNELS
        kept = (keys > key) | ((keys == key) & (n - index >= last_rank))
        if RELU:
            kept = kept | (values != values)  # NaN goes through, as it does through ReLU
            result = tl.where(kept, values, 0.0)
            tl.store(out + i, result.to(out.dtype.element_ty), mask=i < n)
        else:
            tl.store(out + i, kept.to(out.dtype.element_ty), mask=i < n)


@triton.jit
def _scales(x, scales, rows, eps, CHANNELS: tl.constexpr, WIDE: tl.constexpr, TILE: tl.constexpr):
    """One over the root mean square of each of `rows` positions."""
    row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    channel = tl.arange(0, WIDE)
    inside = (row < rows)[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(x + row[:, None] * CHANNELS + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt_rn(tl.sum(values * values, 1) / CHANNELS + eps)
    tl.store(scales + row, scale, mask=row < rows)


@triton.jit
def _backward(
    x,
    output,
    upstream,
    weight,
    to_x,
    sums,
    positions,
    eps,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
    TILE: tl.constexpr,
    SHARES: tl.constexpr,
):
    """Gradients of a share of the positions of one sample: for the input, and summed for weight and bias."""
    sample = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, WIDE)
    gain = tl.load(weight + channel, mask=channel < CHANNELS, other=0.0)
    to_weight = tl.zeros([TILE, WIDE], tl.float32)
    to_bias = tl.zeros([TILE, WIDE], tl.float32)
    for start in range(tl.program_id(1) * TILE, positions, SHARES * TILE):
        position = start + tl.arange(0, TILE)
        inside = (position < positions)[:, None] & (channel < CHANNELS)[None, :]
        i = (sample * positions + position)[:, None] * CHANNELS + channel[None, :]
        values = tl.load(x + i, mask=inside, other=0.0).to(tl.float32)
        active = tl.load(output + i, mask=inside, other=0.0) > 0
        passed = tl.where(active, tl.load(upstream + i, mask=inside, other=0.0).to(tl.float32), 0.0)
        scale = 1.0 / tl.sqrt_rn(tl.sum(values * values, 1) / CHANNELS + eps)
        pulled = passed * gain[None, :]
        pull = tl.sum(pulled * values, 1) * scale * scale / CHANNELS
        result = scale[:, None] * (pulled - values * pull[:, None])
        tl.store(to_x + i, result.to(to_x.dtype.element_ty), mask=inside)
        to_weight += passed * values * scale[:, None]
        to_bias += passed
    row = sums + (sample * SHARES + tl.program_id(1)) * CHANNELS + channel
    tl.store(row, tl.sum(to_weight, 0), mask=channel < CHANNELS)
    tl.store(row + tl.num_programs(0) * SHARES * CHANNELS, tl.sum(to_bias, 0), mask=channel < CHANNELS)
