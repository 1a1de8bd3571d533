"""The plain baseline of the companion study's benchmark: the same network and steps with scipy.sparse and numpy.

It is what one writes first, in the manner of the public code for SET: compressed matrices for the products, gathers for
the gradients of the connections, and dictionaries with rejection sampling for the evolution.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparsecycle.set_mlp.network import Network

Floats = npt.NDArray[np.float32]


class ScipyMLP:
    """A copy of a sparse network with ReLU, trained by SGD with momentum on the cross-entropy."""

    def __init__(self, network: Network, learning_rate: float, momentum: float, weight_decay: float) -> None:
        self.weights: list[Any] = [sparse.csr_array(layer.matrix().T) for layer in network.sparse_layers()]
        self.biases = [layer.bias.copy() for layer in network.sparse_layers()]
        self.velocities = [np.zeros_like(matrix.data) for matrix in self.weights]
        self.bias_velocities = [np.zeros_like(bias) for bias in self.biases]
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay

    def logits(self, x: Floats) -> list[Floats]:
        """The activations of every layer, the features first and the logits last."""
        activations = [x]
        for number, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            z = activations[-1] @ matrix + bias
            activations.append(z if number == len(self.weights) else np.maximum(z, 0))
        return activations

    def step(self, x: Floats, labels: npt.NDArray[np.int64]) -> None:
        """One step on a batch, (samples, features) and (samples,)."""
        activations = self.logits(x)
        slope = np.exp(activations[-1] - activations[-1].max(axis=1, keepdims=True))
        slope /= slope.sum(axis=1, keepdims=True)
        slope[np.arange(len(labels)), labels] -= 1
        slope /= len(labels)
        for number in reversed(range(len(self.weights))):
            matrix, before = self.weights[number], activations[number]
            inputs, outputs = matrix.tocoo().coords
            gradient = (before[:, inputs] * slope[:, outputs]).sum(axis=0)
            bias_gradient = slope.sum(axis=0)
            if number:
                slope = (slope @ matrix.T) * (before > 0)
            self._update(matrix.data, self.velocities[number], gradient)
            self._update(self.biases[number], self.bias_velocities[number], bias_gradient)

    def _update(self, values: Floats, velocity: Floats, gradient: Floats) -> None:
        velocity *= self.momentum
        velocity -= self.learning_rate * gradient
        values *= 1 - self.weight_decay
        values += velocity

    def evolve(self, zeta: float, rng: np.random.Generator) -> None:
        """One step of SET in every layer."""
        for number, matrix in enumerate(self.weights):
            rows, columns = matrix.shape
            positive, negative = np.sort(matrix.data[matrix.data >= 0]), np.sort(-matrix.data[matrix.data < 0])
            least = positive[int(zeta * len(positive))] if len(positive) else 0.0
            most = negative[int(zeta * len(negative))] if len(negative) else 0.0
            kept, velocity = sparse.dok_array(matrix.shape, dtype=np.float32), {}
            for (row, column), weight, speed in zip(
                zip(*matrix.tocoo().coords, strict=True), matrix.data, self.velocities[number], strict=True
            ):
                if weight >= least or weight <= -most:
                    kept[row, column] = weight
                    velocity[row, column] = speed
            spread = np.sqrt(2 / (matrix.nnz / columns))
            for _ in range(matrix.nnz - kept.nnz):
                row, column = rng.integers(rows), rng.integers(columns)
                while (row, column) in velocity:
                    row, column = rng.integers(rows), rng.integers(columns)
                kept[row, column] = rng.normal(0, spread)
                velocity[row, column] = 0.0
            self.weights[number] = kept.tocsr()
            order = self.weights[number].tocoo().coords
            self.velocities[number] = np.array(
                [velocity[place] for place in zip(*order, strict=True)], dtype=np.float32
            )
