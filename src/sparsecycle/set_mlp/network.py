"""`MLP`: the multilayer perceptron of the study, of sparse or of fully connected layers."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.evolution import Start, erdos_renyi, starting_weights
from sparsecycle.set_mlp.layer import SparseLinear

Activation = Literal["relu", "all_relu"]
SLOPE = 0.6  # of All-ReLU on the negative side (Curci, Mocanu and Pechenizkiy, arXiv 2102.01732)


class MLP(nn.Module):
    """Layers with an activation and, in training, dropout after each but the last: logits.

    Args:
        layers: at least one; each takes as many features as the one before gives.
        activation: "relu", or "all_relu", whose negative side has the slope -0.6 after even layers and 0.6 after odd
            ones (counted from 1).
        dropout: share of hidden activations that are zeroed in training.

    Raises:
        InputError: layers that do not fit together, or an unknown activation.
    """

    def __init__(
        self,
        layers: Iterable[SparseLinear | nn.Linear],
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        sizes = [(layer.in_features, layer.out_features) for layer in self.layers]
        if not sizes or any(before[1] != after[0] for before, after in pairwise(sizes)):
            raise InputError(f"layers are of sizes {sizes}, but each must take what the one before gives")
        if activation not in ("relu", "all_relu"):
            raise InputError(f"activation is {activation!r}, but must be 'relu' or 'all_relu'")
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(samples, features) -> (samples, classes)."""
        *hidden, last = list(self.layers)
        for number, layer in enumerate(hidden, start=1):
            x = layer(x)
            if self.activation == "relu":
                x = torch.relu(x)
            else:
                x = nn.functional.leaky_relu(x, SLOPE if number % 2 else -SLOPE)
            x = self.dropout(x)
        logits: Tensor = last(x)
        return logits

    def sparse_layers(self) -> list[SparseLinear]:
        """All layers of a sparse network.

        Raises:
            InputError: a layer is fully connected.
        """
        layers = [layer for layer in self.layers if isinstance(layer, SparseLinear)]
        if len(layers) < len(self.layers):
            raise InputError("the network has fully connected layers: connections can be changed in sparse ones only")
        return layers

    def connections(self) -> list[int]:
        """Number of weights of each layer."""
        return [layer.get_parameter("weight").numel() for layer in self.layers]

    def flops(self) -> int:
        """Floating-point operations of training on one sample.

        Two for each connection forward and four backward, of the first layer two, because no gradient of the features
        is computed. Biases, activations, optimizer and evolution are left out.
        """
        connections = self.connections()
        return 6 * sum(connections) - 2 * connections[0]


def sparse_mlp(
    sizes: Iterable[int],
    epsilon: float,
    rng: np.random.Generator,
    *,
    start: Start = "he",
    activation: Activation = "relu",
    dropout: float = 0.0,
) -> MLP:
    """An MLP of `SparseLinear` layers; `sizes` are neurons from the features to the classes."""
    layers = [erdos_renyi(before, after, epsilon, rng, start=start) for before, after in pairwise(sizes)]
    return MLP(layers, activation, dropout)


def dense_mlp(
    sizes: Iterable[int],
    rng: np.random.Generator,
    *,
    start: Start = "he",
    activation: Activation = "relu",
    dropout: float = 0.0,
) -> MLP:
    """A fully connected MLP of the same sizes, its weights drawn by the same rule."""
    layers = []
    for before, after in pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, before, after)  # type: ignore[no-untyped-call]
        weights = starting_weights(before * after, before, start, rng).reshape(after, before)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights))
            layer.bias.zero_()
        layers.append(layer)
    return MLP(layers, activation, dropout)
