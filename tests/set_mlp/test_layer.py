"""The sparse layer against a dense one with a mask: outputs, gradients, training, rewiring."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import MLP, SparseLinear, dense_mlp, erdos_renyi, evolve, prune_neurons, sparse_mlp


class MaskedLinear(nn.Module):
    """The plain reference: a dense matrix, multiplied by a mask each time."""

    def __init__(self, layer: SparseLinear) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.dense_weight())
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.mask = torch.zeros(self.weight.numel(), dtype=self.weight.dtype)
        self.mask[torch.from_numpy(layer.places())] = 1
        self.mask = self.mask.view_as(self.weight)
        self.in_features, self.out_features = layer.in_features, layer.out_features

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
    x = torch.linspace(-1, 1, 21, dtype=torch.float64).view(3, 7).requires_grad_()
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
    """Twenty steps of SGD with momentum, three layers: the same weights."""
    rng = np.random.default_rng(1)
    sparse = MLP([erdos_renyi(a, b, 1.5, rng, dtype=np.float64) for a, b in ((10, 8), (8, 8), (8, 3))])
    masked = MLP([MaskedLinear(layer) for layer in sparse.sparse_layers()])  # type: ignore[misc]
    x = torch.randn(20, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 3
    for network in (sparse, masked):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    for layer, twin in zip(sparse.sparse_layers(), masked.layers, strict=True):
        torch.testing.assert_close(layer.dense_weight(), (twin.weight * twin.mask).detach())


def test_no_dense_matrix_is_ever_made() -> None:
    """Layers of 10^12 places are trained, evolve and are pruned: their memory is that of their connections."""
    rng = np.random.default_rng(0)
    network = MLP([erdos_renyi(10**6, 10**6, 0.5, rng), erdos_renyi(10**6, 2, 0.2, rng)])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    first = network.sparse_layers()[0]
    assert first.connections == 10**6
    network(torch.ones(2, 10**6)).square().sum().backward()
    optimizer.step()
    assert evolve(first, 0.3, rng, optimizer=optimizer) > 290_000
    half = np.arange(10**6) % 2 == 0
    prune_neurons(network, 0, half, optimizer)
    assert 450_000 < first.connections < 550_000 and (first.incoming()[half] == 0).all()


def test_operations_of_a_step_are_counted() -> None:
    """4 - 3 - 2, fully connected: 24 + 12 forward, as many for the weights backward, 12 for the hidden neurons."""
    assert dense_mlp((4, 3, 2), np.random.default_rng(0)).flops() == 24 + 12 + 24 + 12 + 12


def test_an_evolved_network_is_loaded_into_a_fresh_one() -> None:
    rng = np.random.default_rng(0)
    trained, fresh = (sparse_mlp((6, 9, 9, 3), 1.0, rng) for _ in range(2))
    prune_neurons(trained, 0, np.arange(9) < 4)
    fresh.load_state_dict(trained.state_dict())
    x = torch.ones(2, 6)
    assert torch.equal(fresh(x), trained(x)) and fresh.connections() == trained.connections()
    with pytest.raises(RuntimeError, match="size mismatch"):
        sparse_mlp((6, 8, 9, 3), 1.0, rng).load_state_dict(trained.state_dict())


def test_a_loss_that_is_still_alive_does_not_mind_a_change_of_connections() -> None:
    """The plain loop of a notebook: `loss` keeps the old graph while the next forward runs."""
    rng = np.random.default_rng(0)
    network = sparse_mlp((6, 9, 3), 1.0, rng)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        loss = network(torch.ones(2, 6)).square().sum()
        loss.backward()
        optimizer.step()
        prune_neurons(network, 0, np.arange(9) == step, optimizer)
    assert loss.item() > 0 and network.sparse_layers()[0].incoming()[:3].sum() == 0


def test_layers_must_fit_together() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"layers are of sizes \[\(4, 3\), \(2, 2\)\], but each must take"):
        MLP([erdos_renyi(4, 3, 1.0, rng), erdos_renyi(2, 2, 1.0, rng)])
    with pytest.raises(InputError, match=r"layers are of sizes \[\]"):
        MLP([])
    with pytest.raises(InputError, match="activation is 'tanh', but must be 'relu' or 'all_relu'"):
        MLP([erdos_renyi(4, 3, 1.0, rng)], "tanh")  # type: ignore[arg-type]


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
    nothing, none = np.empty(0, dtype=np.int64), np.empty(0)
    with pytest.raises(InputError, match=r"keep is bool of shape \(3,\), but must be bool, one a connection"):
        layer.rewire(np.ones(3, dtype=bool), nothing, none)
    with pytest.raises(InputError, match="there are 1 weights for 0 places"):
        layer.rewire(np.ones(7, dtype=bool), nothing, np.ones(1))
    for x in (torch.ones(2, 5), torch.ones(4), torch.ones(2, 4, dtype=torch.float64)):
        with pytest.raises(InputError, match=r"must be torch.float32 of shape \(samples, 4\) on cpu"):
            layer(x)
    for epsilon in (0, -1, math.inf, math.nan):
        with pytest.raises(InputError, match=r"epsilon is .* but must be positive"):
            erdos_renyi(4, 3, epsilon, np.random.default_rng(0))


USE = """
import numpy as np, torch, sys
from numba.core.dispatcher import Dispatcher
if sys.argv[1:]:
    def nowhere(self): raise RuntimeError("no locator available")
    Dispatcher.enable_caching = nowhere
from sparsecycle.set_mlp import erdos_renyi
layer = erdos_renyi(6, 5, 2.0, np.random.default_rng(0))
layer(torch.ones(3, 6)).sum().backward()
print(layer.weight.grad.tolist())
"""


def test_a_damaged_cache_and_a_machine_without_a_place_for_one_change_nothing(tmp_path: Path) -> None:
    def use(*arguments: str) -> subprocess.CompletedProcess[str]:
        places = {"NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", USE, *arguments]
        return subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=True)

    whole = use()
    indices = list(tmp_path.rglob("kernels.*.nbi"))
    assert len(indices) >= 2 and not whole.stderr
    for path in indices:
        path.write_bytes(b"")
    damaged = use()
    assert (
        damaged.stdout == whole.stdout
        and "numba's cache cannot be used (Ran out of input): product is compiled anew" in damaged.stderr
    )
    assert use("no place").stdout == whole.stdout
