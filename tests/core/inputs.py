"""Activations for the tests of the core, and what it means to keep the largest of them, written out one by one."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from sparsecycle import kernels
from sparsecycle.kernels.operators import relu_topk, topk_mask

needs_numba = pytest.mark.skipif(kernels.load("numba") is None, reason="numba is not installed")
BACKENDS = ["reference", pytest.param("numba", marks=needs_numba)]
DTYPES = (torch.float32, torch.bfloat16)
FORMATS = (torch.contiguous_format, torch.channels_last)


def brute_force_mask(x: Tensor, keep_ratio: float, scope: str) -> Tensor:
    """Sort each group by (value descending, index ascending) and keep the first k."""
    apart = {"sample": (0,), "batch": (), "channel": (0, 1), "position": (0, 2, 3)}[scope]
    groups = defaultdict(list)
    for index in itertools.product(*map(range, x.shape)):  # in (N, C, H, W) order
        groups[tuple(index[dim] for dim in apart)].append(index)
    mask = torch.zeros(x.shape, dtype=torch.bool)
    for group in groups.values():
        k = max(1, math.floor(keep_ratio * len(group)))
        for index in sorted(group, key=lambda index: -x[index].item())[:k]:  # stable, so ties stay in their order
            mask[index] = True
    return mask


@st.composite
def activations(draw: st.DrawFn) -> Tensor:
    """Draw small maps, full of ties, zeros, negative values and infinities, in either dtype and memory format."""
    shape = tuple(draw(st.integers(1, size)) for size in (3, 4, 4, 4))
    kinds = [st.integers(-2, 2).map(float), st.floats(-3, 3, width=16), st.just(0.0), st.floats(-5, -1, width=16)]
    kinds += [st.sampled_from([-0.0, 0.0, 1.0, math.inf, -math.inf])]
    value = draw(st.sampled_from(kinds))
    values = draw(st.lists(value, min_size=math.prod(shape), max_size=math.prod(shape)))
    x = torch.tensor(values, dtype=draw(st.sampled_from(DTYPES))).reshape(shape)
    return x.contiguous(memory_format=draw(st.sampled_from(FORMATS)))


def rows_of_kinds(generator: torch.Generator) -> Iterator[Tensor]:
    """Yield samples as networks make them, and those that defeat interpolation, (4, 16, 24, 24)."""
    shape = (4, 16, 24, 24)
    normal = torch.randn(shape, generator=generator)
    yield normal
    yield normal.exp() ** 4  # heavy tail: a bracket from the counts alone closes slowly
    yield torch.where(torch.rand(shape, generator=generator) < 0.999, 1e-38 * normal, 1e30 * normal)
    yield (8 * normal).round() / 8  # a few dozen different values
    yield torch.full(shape, 0.7)  # all tied
    yield normal.abs().sort(dim=1, descending=True).values  # ordered in memory
    yield torch.nextafter(torch.ones(shape), torch.tensor(2.0)) - (normal > 0).float() * 2**-23  # neighbours


def same_as_reference(x: Tensor, keep_ratio: float, scope: str, backend: str) -> None:
    """Assert that a backend gives the reference's mask and output, bit for bit, in the memory format of `x`."""
    budget = torch.tensor(keep_ratio, dtype=torch.float64, device=x.device)
    assert torch.equal(topk_mask(x, budget, scope, backend), topk_mask(x, budget, scope, "reference"))
    fast = relu_topk(x, budget, scope, x.dtype, backend)
    plain = relu_topk(x, budget, scope, x.dtype, "reference")
    assert torch.equal(fast, plain)
    assert fast.stride() == torch.empty_like(x).stride()
