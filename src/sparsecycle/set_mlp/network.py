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
    """

    def __init__(
        self,
        layers: Iterable[SparseLinear | nn.Linear],
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
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

    def parameters_to_train(self) -> int:
        """Weights and biases."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops(self) -> int:
        """Floating-point operations of training on one sample: two for each connection forward, four backward."""
        return 6 * sum(self.connections())


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
        layer = nn.Linear(before, after)
        weights = starting_weights(before * after, before, start, rng).reshape(after, before)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights))
            layer.bias.zero_()
        layers.append(layer)
    return MLP(layers, activation, dropout)
