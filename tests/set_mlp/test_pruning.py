"""Neuron pruning: the score by hand, and that a pruned neuron is gone and stays at zero."""

import numpy as np
import pytest
import torch
from torch import nn

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import MLP, SparseLinear, dense_mlp, evolve, prune_neurons, sparse_mlp
from sparsecycle.set_mlp.pruning import living_neurons, neuron_strength, weakest_neurons


def small() -> MLP:
    """Two features, three hidden neurons, two classes.

    Into the hidden neurons: (1, -2), (3, .), (., .); out of them: (., 4), (-5, .), (6, 7).
    """
    first = SparseLinear(2, 3, np.array([0, 1, 2]), np.array([1.0, -2.0, 3.0]))
    second = SparseLinear(3, 2, np.array([1, 2, 3, 5]), np.array([-5.0, 6.0, 4.0, 7.0]))
    return MLP([first, second])


def test_strength_by_hand() -> None:
    assert neuron_strength(small(), 0, "incoming").tolist() == [3, 3, 0]
    assert neuron_strength(small(), 0, "outgoing").tolist() == [4, 5, 13]
    assert neuron_strength(small(), 0, "both").tolist() == [7, 8, 13]
    assert living_neurons(small())[0].tolist() == [True, True, False]


def test_the_weakest_neurons() -> None:
    strength, everyone = np.array([3.0, 1.0, 1.0, 2.0]), np.ones(4, dtype=bool)
    assert weakest_neurons(strength, everyone, 2).tolist() == [False, True, True, False]
    assert weakest_neurons(strength, everyone, 1).tolist() == [False, True, False, False]
    assert weakest_neurons(strength, np.array([True, False, False, True]), 3).tolist() == [True, False, False, True]
    assert not weakest_neurons(strength, everyone, 0).any()


def test_pruning_by_hand() -> None:
    network = small()
    assert prune_neurons(network, 0, np.array([True, False, False])) == 3
    first, second = network.sparse_layers()
    assert first.dense_weight().tolist() == [[0, 0], [3, 0], [0, 0]]
    assert second.dense_weight().tolist() == [[0, -5, 6], [0, 0, 7]]
    assert living_neurons(network)[0].tolist() == [False, True, False]


@pytest.mark.parametrize("activation", ["relu", "all_relu"])
def test_a_pruned_neuron_stays_at_zero_while_the_rest_trains(activation: str) -> None:
    rng = np.random.default_rng(0)
    network = sparse_mlp((10, 30, 30, 3), 3, rng, activation=activation)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    x, y = torch.randn(24, 10, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()

    train(5)
    assert (network.layers[0].bias != 0).all()
    pruned = [
        weakest_neurons(neuron_strength(network, hidden), living, 15)
        for hidden, living in enumerate(living_neurons(network))
    ]
    total = sum(network.connections())
    freed = sum(prune_neurons(network, hidden, neurons, optimizer) for hidden, neurons in enumerate(pruned))
    assert sum(network.connections()) == total - freed < total
    barred = [~neurons for neurons in pruned]
    for _ in range(3):
        train(5)
        for layer, inputs, outputs in zip(network.sparse_layers(), [None, *barred], [*barred, None], strict=True):
            evolve(layer, 0.3, rng, optimizer=optimizer, inputs=inputs, outputs=outputs)
    assert sum(network.connections()) == total - freed
    hidden = x
    for layer, neurons in zip(network.sparse_layers(), pruned, strict=False):
        hidden = layer(hidden)
        assert (hidden[:, neurons] == 0).all() and (hidden[:, ~neurons] != 0).any()
        hidden = torch.relu(hidden)
    assert not any((living & neurons).any() for living, neurons in zip(living_neurons(network), pruned, strict=True))


def test_what_cannot_be_pruned_is_refused() -> None:
    with pytest.raises(InputError, match="score is 'size', but must be 'incoming', 'outgoing', 'both', or 'random'"):
        neuron_strength(small(), 0, "size")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="hidden is 1, but the network has the hidden layers 0 to 0"):
        neuron_strength(small(), 1)
    with pytest.raises(InputError, match=r"score is 'random', but must be .* with an rng"):
        neuron_strength(small(), 0, "random")
    with pytest.raises(InputError, match="hidden is -1, but"):
        prune_neurons(small(), -1, np.ones(3, dtype=bool))
    for mask in (np.ones(2, dtype=bool), np.ones(3, dtype=int)):
        with pytest.raises(InputError, match=r"neurons is .* but must be bool of shape \(3,\)"):
            prune_neurons(small(), 0, mask)
    with pytest.raises(InputError, match="fully connected"):
        neuron_strength(dense_mlp((2, 3, 2), np.random.default_rng(0)), 0)


def test_all_relu_alternates_its_slope() -> None:
    one = [nn.Linear(1, 1) for _ in range(3)]
    for layer in one:
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    network = MLP(one, "all_relu")
    assert network(torch.tensor([[-1.0]])).item() == pytest.approx(-1 * 0.6 * -0.6)
    assert network(torch.tensor([[2.0]])).item() == 2.0
