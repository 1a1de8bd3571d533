"""The sparse layer against a dense one with a mask: outputs, gradients, training, rewiring."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import MLP, SparseLinear, erdos_renyi


class MaskedLinear(nn.Module):
    """The plain reference: a dense matrix, multiplied by a mask each time."""

    def __init__(self, layer: SparseLinear) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.dense_weight())
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.mask = torch.zeros(self.weight.numel(), dtype=self.weight.dtype)
        self.mask[torch.from_numpy(layer.places())] = 1
        self.mask = self.mask.view_as(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


@st.composite
def layers(draw: st.DrawFn) -> SparseLinear:
    inputs, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    places = sorted(draw(st.sets(st.integers(0, inputs * outputs - 1), max_size=60)))
    weights = np.random.default_rng(draw(st.integers(0, 99))).normal(size=len(places))
    return SparseLinear(inputs, outputs, np.array(places, dtype=np.int64), weights)


@given(layer=layers(), samples=st.integers(0, 19), transposed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_outputs_and_gradients_are_those_of_a_masked_dense_layer(
    layer: SparseLinear, samples: int, transposed: bool
) -> None:
    rng = torch.Generator().manual_seed(samples)
    shape = (layer.in_features, samples) if transposed else (samples, layer.in_features)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    x = (x.t() if transposed else x).requires_grad_()
    slope = torch.randn(samples, layer.out_features, generator=rng, dtype=torch.float64)
    reference, twin = MaskedLinear(layer), x.detach().clone().requires_grad_()
    out, expected = layer(x), reference(twin)
    out.backward(slope)
    expected.backward(slope)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(layer.bias.grad, reference.bias.grad)
    assert layer.weight.grad is not None and reference.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, reference.weight.grad.flatten()[torch.from_numpy(layer.places())])


def test_gradients_by_finite_differences() -> None:
    layer = erdos_renyi(7, 5, 1.0, np.random.default_rng(0), dtype=np.float64)
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(layer, {"weight": weight}, x), (x, layer.weight)
    )


def test_a_worked_example() -> None:
    """W = [[0, 2, 0], [3, 0, -1]], b = (1, 0): (1, 2, 3) becomes (2*2 + 1, 3*1 - 1*3)."""
    layer = SparseLinear(3, 2, np.array([1, 3, 5]), np.array([2.0, 3.0, -1.0], dtype=np.float32))
    with torch.no_grad():
        layer.bias[0] = 1
    assert layer(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[5.0, 0.0]]
    assert layer.dense_weight().tolist() == [[0, 2, 0], [3, 0, -1]]
    assert layer.incoming().tolist() == [1, 2] and layer.outgoing().tolist() == [1, 1, 1]


def test_a_network_trains_like_its_masked_twin() -> None:
    """Twenty steps of SGD with momentum, three layers: the same weights, and zeros stay zero."""
    rng = np.random.default_rng(1)
    sparse = MLP([erdos_renyi(a, b, 1.5, rng, dtype=np.float64) for a, b in ((10, 8), (8, 8), (8, 3))])
    masked = MLP([MaskedLinear(layer) for layer in sparse.sparse_layers()])  # type: ignore[misc]
    x, y = torch.randn(20, 10, dtype=torch.float64), torch.arange(20) % 3
    for network in (sparse, masked):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    for layer, twin in zip(sparse.sparse_layers(), masked.layers, strict=True):
        torch.testing.assert_close(layer.dense_weight(), (twin.weight * twin.mask).detach())
    assert sparse.flops() == 6 * sum(layer.connections for layer in sparse.sparse_layers())


def test_no_dense_matrix_is_ever_made() -> None:
    """A layer of 10^12 places: its memory is that of its connections."""
    layer = erdos_renyi(10**6, 10**6, 0.5, np.random.default_rng(0))
    assert layer.connections == 10**6
    layer(torch.randn(2, 10**6, requires_grad=True)).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.shape == (10**6,)


@given(layer=layers(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_rewiring_keeps_what_stays_and_its_momentum(layer: SparseLinear, data: st.DataObject) -> None:
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(2, layer.in_features, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    places, size = layer.places(), layer.in_features * layer.out_features
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(places), max_size=len(places))), dtype=bool)
    free = sorted(set(range(size)) - set(places[keep].tolist()))
    new = np.array(sorted(data.draw(st.sets(st.sampled_from(free), max_size=9)) if free else []), dtype=np.int64)
    momentum = optimizer.state[layer.weight]["momentum_buffer"]
    expected = {
        int(place): (weight, remembered)
        for place, weight, remembered in zip(
            places[keep], layer.weight.detach()[keep].tolist(), momentum[keep].tolist(), strict=True
        )
    }
    expected |= {int(place): (7.0, 0.0) for place in new}
    layer.rewire(keep, new, np.full(len(new), 7.0), optimizer)
    assert layer.places().tolist() == sorted(expected)
    assert layer.connections == keep.sum() + len(new)
    remembered = optimizer.state[layer.weight]["momentum_buffer"].tolist()
    assert list(zip(layer.weight.tolist(), remembered, strict=True)) == [expected[p] for p in sorted(expected)]
    optimizer.zero_grad()
    layer(torch.ones(2, layer.in_features, dtype=torch.float64)).square().sum().backward()
    optimizer.step()  # the optimizer goes on with the new connections
    assert len(layer.weight) == len(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2, [1, 1], [1.0, 2.0]), "places must be ascending, different, and from 0 to 5"),
        ((3, 2, [4, 6], [1.0, 2.0]), "places must be ascending, different, and from 0 to 5"),
        ((3, 2, [-1], [1.0]), "places must be ascending, different, and from 0 to 5"),
        ((3, 2, [1], [1.0, 2.0]), "there are 2 weights for 1 places"),
        ((0, 2, [], []), "in_features is 0 and out_features 2, but both must be positive"),
    ],
)
def test_what_is_no_layer_is_refused(arguments: tuple[int, int, list[int], list[float]], message: str) -> None:
    inputs, outputs, places, weights = arguments
    with pytest.raises(InputError, match=message):
        SparseLinear(inputs, outputs, np.array(places, dtype=np.int64), np.array(weights))


def test_wrong_inputs_are_refused() -> None:
    layer = erdos_renyi(4, 3, 1.0, np.random.default_rng(0))
    for x in (torch.ones(2, 5), torch.ones(4), torch.ones(2, 4, dtype=torch.float64)):
        with pytest.raises(InputError, match=r"must be torch.float32 of shape \(samples, 4\) on cpu"):
            layer(x)
    for epsilon in (0, -1, math.inf, math.nan):
        with pytest.raises(InputError, match=r"epsilon is .* but must be positive"):
            erdos_renyi(4, 3, epsilon, np.random.default_rng(0))
