"""The constraint against a brute-force reference, on any input that hypothesis can make."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.inputs import FORMATS, activations, brute_force_mask
from sparsecycle import GlobalTopK, global_topk
from sparsecycle.topk import SCOPES, kept_values, reference_mask


@settings(max_examples=150, deadline=None)
@given(x=activations(), keep_ratio=st.floats(0.001, 1.0), scope=st.sampled_from(SCOPES))
def test_equals_brute_force_and_gradient_is_the_mask(x, keep_ratio, scope):
    mask = brute_force_mask(x, keep_ratio, scope)
    x.requires_grad_()
    y = global_topk(x, keep_ratio, scope=scope)
    expected = torch.where(mask, x.detach(), 0.0)
    assert y.dtype == x.dtype and y.stride() == torch.empty_like(x).stride()
    assert torch.equal(y.detach(), expected)
    upstream = torch.arange(1, x.numel() + 1).reshape(x.shape).to(x.dtype)
    y.backward(upstream)
    assert torch.equal(x.grad, torch.where(mask, upstream, 0.0))


def test_hand_worked_example():
    """One sample, two channels of 2 x 2: 8 values, keep_ratio 0.5 keeps 4; the fourth place is a tie between 2s."""
    x = torch.tensor([[[[5.0, 2.0], [-1.0, 2.0]], [[2.0, 7.0], [6.0, 0.0]]]])
    expected = torch.tensor([[[[5.0, 2.0], [0.0, 0.0]], [[0.0, 7.0], [6.0, 0.0]]]])
    assert torch.equal(global_topk(x, 0.5), expected)


@pytest.mark.parametrize(
    ("keep_ratio", "n", "k"),
    [
        (0.3, 10, 3),  # the product is exactly 3.0 in double precision
        (0.29, 100, 28),  # 28.999999999999996: the script's floor has no slack
        (0.07, 100, 7),  # 7.000000000000001
        (0.5, 5, 2),
        (0.999, 1000, 999),
        (1.0, 7, 7),
        (1e-9, 100, 1),
        (math.ulp(0.0), 65_536, 1),
    ],
)
def test_k_is_the_floor_of_the_product_in_double_precision(keep_ratio, n, k):
    assert kept_values(keep_ratio, n) == k
    x = torch.arange(1.0, n + 1)[None]
    assert int((global_topk(x, keep_ratio) > 0).sum()) == k
    assert int((GlobalTopK(keep_ratio)(x) > 0).sum()) == k


@settings(max_examples=200)
@given(keep_ratio=st.floats(0, 1, exclude_min=True), n=st.integers(1, 70_000))
def test_k_is_the_same_in_float64_of_a_device(keep_ratio, n):
    on_device = (torch.tensor(keep_ratio, dtype=torch.float64) * n).floor().clamp(min=1)
    assert kept_values(keep_ratio, n) == int(on_device) <= n


@settings(max_examples=100, deadline=None)
@given(x=activations(), keep_ratio=st.floats(0.001, 1.0), scope=st.sampled_from(SCOPES))
def test_the_reference_mask_is_the_brute_force_mask(x, keep_ratio, scope):
    mask = reference_mask(x, keep_ratio, scope)
    assert torch.equal(mask, brute_force_mask(x, keep_ratio, scope))
    assert all(mask.is_contiguous(memory_format=one) for one in FORMATS if x.is_contiguous(memory_format=one))


def test_other_bad_input_is_refused_by_name():
    x = torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"scope is 'layer'.*sample, batch, channel, position"):
        global_topk(x, 0.5, scope="layer")
    with pytest.raises(ValueError, match="NaN"):
        global_topk(torch.tensor([[math.nan, 1.0]]), 0.5)
    with pytest.raises(ValueError, match=r"floating-point.*int64"):
        global_topk(torch.ones(1, 2, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match="does not fit"):
        global_topk(torch.ones(2, 2), 0.5, scope="channel")


def test_empty_batch_stays_empty():
    assert global_topk(torch.empty(0, 3, 4, 4), 0.5).shape == (0, 3, 4, 4)
