"""The network against torch's autograd, and dropout in both forms by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.evolution import erdos_renyi
from sparsecycle.set_mlp.layer import DenseLayer, SparseLayer
from sparsecycle.set_mlp.network import Network, dense_network, sparse_network
from sparsecycle.set_mlp.pruning import prune_neurons

RATE, MOMENTUM, DECAY = 0.05, 0.9, 1e-3


def plain_loss(outputs: torch.Tensor, labels: torch.Tensor, loss: str) -> torch.Tensor:
    if loss == "cross_entropy":
        return torch.nn.functional.cross_entropy(outputs, labels)
    targets = torch.nn.functional.one_hot(labels, outputs.shape[1])
    return (torch.sigmoid(outputs) - targets).square().sum() / 2 / len(labels)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("size", [2, 5])
def test_it_trains_as_autograd_says(kind, loss, size):
    """Thirty steps of three layers in float64, with masks in place of the missing connections."""
    rng = np.random.default_rng(1)
    sizes = ((10, 8), (8, 8), (8, 3))
    if kind == "sparse":
        layers = [erdos_renyi(*pair, 1.5, rng, dtype=np.float64) for pair in sizes]
    else:
        layers = [DenseLayer(rng.normal(size=pair[::-1]) / 3) for pair in sizes]
    network = Network(layers, loss=loss)
    weights, masks = [], []
    for layer in network.layers:
        full = layer.matrix() if isinstance(layer, SparseLayer) else layer.weight.copy()
        weights.append([torch.tensor(full, requires_grad=True), torch.zeros(len(full), dtype=torch.float64)])
        weights[-1][1].requires_grad_()
        masks.append(torch.tensor(full != 0))
    velocities = [[torch.zeros_like(one) for one in pair] for pair in weights]
    for _ in range(30):
        x, labels = rng.normal(size=(size, 10)), rng.integers(3, size=size)
        hidden = torch.tensor(x)
        for number, (weight, bias) in enumerate(weights):
            hidden = (torch.relu(hidden) if number else hidden) @ (weight * masks[number]).T + bias
        expected = plain_loss(hidden, torch.tensor(labels), loss)
        expected.backward()
        assert network.train(x, labels, np.array([RATE, MOMENTUM, DECAY]), rng) == pytest.approx(expected.item())
        with torch.no_grad():
            for pair, speeds in zip(weights, velocities, strict=True):
                for value, velocity in zip(pair, speeds, strict=True):
                    velocity.mul_(MOMENTUM).sub_(RATE * value.grad)
                    value.mul_(1 - DECAY).add_(velocity)
                    value.grad = None
    for layer, (weight, bias) in zip(network.layers, weights, strict=True):
        found = layer.matrix() if isinstance(layer, SparseLayer) else layer.weight
        np.testing.assert_allclose(found, weight.detach(), atol=1e-9)
        np.testing.assert_allclose(layer.bias, bias.detach(), atol=1e-9)


def chain(scaling: Any, dropout: float) -> Network:
    """One neuron a layer: 2 x + 1, then 3 a + 4, then (5 b + 6, 0)."""
    found = [DenseLayer(np.array([[2.0]])), DenseLayer(np.array([[3.0]])), DenseLayer(np.array([[5.0], [0.0]]))]
    for layer, bias in zip(found, ([1.0], [4.0], [6.0, 0.0]), strict=True):
        layer.bias[:] = bias
    return Network(found, dropout=dropout, scaling=scaling)


def test_in_testing_the_authors_scale_pre_activations_of_all_layers_but_the_first():
    """At 1 the first layer gives 3, the second 0.7 (9 + 4) = 9.1, the third 0.7 (45.5 + 6) = 36.05."""
    assert chain("testing", 0.3).outputs(np.array([[1.0]]))[0].tolist() == pytest.approx([36.05, 0.0])
    assert chain("training", 0.3).outputs(np.array([[1.0]]))[0].tolist() == pytest.approx([5 * 13 + 6, 0.0])


class Drawn:
    """A generator that drops the second sample's hidden neurons."""

    def random(self, shape: tuple[int, int], dtype: Any) -> np.ndarray:
        return np.tile(np.array([0.9, 0.1], dtype), (shape[0], 1))


@pytest.mark.parametrize(("scaling", "kept"), [("testing", 1.0), ("training", 1 / 0.7)])
def test_in_training_a_mask_drops_hidden_activations_and_their_gradients(scaling, kept):
    network = chain(scaling, 0.3)
    first, _, last = (layer.weight.copy() for layer in network.layers)
    loss = network.train(np.array([[1.0], [1.0]]), np.array([1, 1]), np.array([0.1, 0.0, 0.0]), Drawn())
    hidden = (3 * 3 * kept + 4) * kept
    outputs = np.array([5 * hidden + 6, 6.0])  # of the sample that is kept, and of the one that is dropped
    assert loss == pytest.approx(np.log1p(np.exp(outputs)).mean())
    probability = 1 / (1 + np.exp(-outputs))
    slope = probability[0] / 2  # of the kept sample alone, along its first output
    assert last[0, 0] - network.layers[2].weight[0, 0] == pytest.approx(0.1 * slope * hidden)
    assert first[0, 0] - network.layers[0].weight[0, 0] == pytest.approx(0.1 * slope * 5 * kept * 3 * kept)


def test_an_output_that_is_not_finite_is_never_right():
    network = chain("training", 0.0)
    network.layers[2].bias[:] = np.nan
    loss, right = network.test(np.array([[1.0]]), np.array([0]))
    assert np.isnan(loss) and not right.any()


def test_sizes_are_checked_and_only_sparse_networks_can_be_pruned():
    rng = np.random.default_rng(0)
    assert sparse_network((4, 6, 3), 1.0, rng).connections() == [10, 9]
    with pytest.raises(InputError, match=r"layers are of sizes \[\(4, 3\), \(2, 2\)\], but each must take"):
        Network([erdos_renyi(4, 3, 1.0, rng), erdos_renyi(2, 2, 1.0, rng)])
    with pytest.raises(InputError, match="fully connected"):
        prune_neurons(dense_network((2, 3, 2), rng), 0, np.ones(3, dtype=bool))
