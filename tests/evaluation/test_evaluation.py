"""What is measured: against plain loops, and without leaving traces on the network."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsecycle import GlobalTopK, WideResNet, set_keep_ratio
from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import budget_area, budget_response, capture_activations, evaluate, layer_activity
from sparsecycle.trainer import normalize


@pytest.fixture(scope="module")
def network() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (7, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_evaluate_equals_a_plain_forward_pass_whatever_the_batch_size(network, images):
    labels = torch.arange(7)
    set_keep_ratio(network, 0.3)
    with torch.no_grad():
        logits = network.eval()(normalize(images))
    set_keep_ratio(network, 1.0)
    for batch_size in (2, 7, 100):
        result = evaluate(network, images, labels, 0.3, batch_size)
        assert result.correct.tolist() == (logits.argmax(1) == labels).tolist()
        assert result.accuracy == result.correct.double().mean().item()
        assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)  # float32 sums


def test_measuring_leaves_budget_mode_and_hooks_as_they_were(network, images):
    set_keep_ratio(network, 0.7)
    network.train()
    evaluate(network, images, torch.zeros(7, dtype=torch.int64), 0.1)
    layer_activity(network, images, 0.1)
    with pytest.raises(InputError, match="layer is 'no such layer', but must be one of"):
        capture_activations(network, images, "no such layer", 0.1)
    layers = [module for module in network.modules() if isinstance(module, GlobalTopK)]
    assert network.training
    assert all(layer.keep_ratio == 0.7 and not layer._forward_hooks for layer in layers)


@pytest.mark.parametrize("keep_ratio", [1.0, 0.25, 0.02])
def test_activity_never_exceeds_the_budget_and_equals_a_count(network, images, keep_ratio):
    for layer in layer_activity(network, images, keep_ratio, batch_size=3):
        output = capture_activations(network, images, layer.layer, keep_ratio)
        assert layer.active_fraction == pytest.approx((output != 0).double().mean().item())
        assert layer.dead_channels == pytest.approx((output == 0).all(0).all(1).all(1).double().mean().item())
        assert layer.active_fraction <= keep_ratio  # k is rounded down


def test_budget_response_is_one_at_budget_one(network, images):
    assert budget_response(network, images, [1.0, 0.1])[0] == 1.0


def test_budget_area_by_hand():
    """Over log 1/4..1 the curve 0.2, 0.4, 0.8 has two trapezoids of equal width: (0.3 + 0.6) / 2."""
    assert budget_area([1.0, 0.25, 0.5], [0.8, 0.2, 0.4]) == pytest.approx(0.45)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8, unique=True), st.floats(0, 1))
def test_budget_area_of_a_flat_curve_is_its_height(budgets, height):
    assert budget_area(budgets, [height] * len(budgets)) == pytest.approx(height, abs=1e-9)
