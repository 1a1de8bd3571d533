"""`Network`: the multilayer perceptron of the study, its loss, its step, and how it is tested."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.evolution import Start, erdos_renyi, starting_weights
from sparsecycle.set_mlp.layer import DenseLayer, Floats, Labels, Layer, SparseLayer

Loss = Literal["cross_entropy", "squared_error"]
Scaling = Literal["training", "testing"]
CHUNK = 256  # samples that are tested at a time: their activations fit into the cache


class Network:
    """Layers with ReLU and dropout between them.

    Args:
        layers: at least one; each takes as many features as the one before gives.
        loss: "cross_entropy" of a softmax, or the "squared_error" of sigmoids, half its sum over the classes; both are
            means over samples.
        dropout: share of hidden activations that are zeroed in training.
        scaling: where dropout is made up for. "training": the activations that stay are divided by 1 - dropout.
            "testing", as in the authors' code: the pre-activations of all layers but the first, biases included, are
            multiplied by 1 - dropout when the network is tested.

    InputError for layers that do not fit together.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        loss: Loss = "cross_entropy",
        dropout: float = 0.0,
        scaling: Scaling = "training",
    ) -> None:
        self.layers = list(layers)
        sizes = [(layer.in_features, layer.out_features) for layer in self.layers]
        if not sizes or any(before[1] != after[0] for before, after in pairwise(sizes)):
            raise InputError(f"layers are of sizes {sizes}, but each must take what the one before gives")
        self.loss, self.dropout, self.scaling = loss, dropout, scaling

    def train(self, x: Floats, labels: Labels, sgd: Floats, rng: np.random.Generator) -> float:
        """Take one step on a batch (samples, features) and return its mean loss before; `sgd` as of `Layer.descend`."""
        taken = [np.ascontiguousarray(x.T)]  # what each layer takes in, (neurons, samples)
        for layer in self.layers[:-1]:
            taken.append(self._dropped(np.maximum(layer.forward(taken[-1]), 0), rng))
        loss, slope = self._loss(self.layers[-1].forward(taken[-1]), labels)
        for number in reversed(range(len(self.layers))):
            passed = self.layers[number].descend(taken[number], slope, sgd, pass_on=number > 0)
            if number:
                slope = self._dropped_slope(passed, taken[number])
        return loss

    def _dropped(self, active: Floats, rng: np.random.Generator) -> Floats:
        if self.dropout:
            np.copyto(active, 0, where=rng.random(active.shape, np.float32) < self.dropout)
            if self.scaling == "training":
                active /= active.dtype.type(1 - self.dropout)
        return active

    def _dropped_slope(self, passed: Floats, active: Floats) -> Floats:
        """Through dropout and ReLU: what is zero passes nothing on."""
        passed *= active > 0
        if self.dropout and self.scaling == "training":
            passed /= passed.dtype.type(1 - self.dropout)
        return passed

    def _loss(self, outputs: Floats, labels: Labels) -> tuple[float, Floats]:
        """The mean loss, and its slope along the outputs (classes, samples)."""
        samples = np.arange(len(labels))
        if self.loss == "squared_error":
            sigmoid = np.tanh(outputs / 2) / 2 + outputs.dtype.type(0.5)  # without an overflow
            error = sigmoid.copy()
            error[labels, samples] -= 1
            return float(np.square(error).sum() / 2 / len(labels)), error * sigmoid * (1 - sigmoid) / len(labels)
        shifted = outputs - outputs.max(axis=0)
        softmax = np.exp(shifted)
        total = softmax.sum(axis=0)
        loss = float((np.log(total) - shifted[labels, samples]).mean())
        softmax /= total
        softmax[labels, samples] -= 1
        return loss, softmax / outputs.dtype.type(len(labels))

    def outputs(self, x: Floats) -> Floats:
        """What the last layer gives in testing, before the softmax: (samples, features) -> (samples, classes)."""
        found = [self._outputs(x[begin : begin + CHUNK]) for begin in range(0, len(x), CHUNK)]
        return np.concatenate(found)

    def _outputs(self, x: Floats) -> Floats:
        z = np.ascontiguousarray(x.T)
        for number, layer in enumerate(self.layers):
            z = layer.forward(np.maximum(z, 0) if number else z)
            if number and self.scaling == "testing":
                z *= z.dtype.type(1 - self.dropout)
        return z.T

    def test(self, x: Floats, labels: Labels) -> tuple[float, npt.NDArray[np.bool_]]:
        """The mean loss, and which samples are classified rightly: none whose outputs are not finite."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a network that has diverged
            outputs = self.outputs(x)
            loss, _ = self._loss(outputs.T, labels)
        return loss, (outputs.argmax(axis=1) == labels) & np.isfinite(outputs).all(axis=1)

    def sparse_layers(self) -> list[SparseLayer]:
        """All layers of a sparse network; InputError where one is fully connected."""
        layers = [layer for layer in self.layers if isinstance(layer, SparseLayer)]
        if len(layers) < len(self.layers):
            raise InputError("the network has fully connected layers: connections can be changed in sparse ones only")
        return layers

    def connections(self) -> list[int]:
        """Number of weights of each layer."""
        return [layer.weight.size for layer in self.layers]


def sparse_network(
    sizes: Sequence[int], epsilon: float, rng: np.random.Generator, *, start: Start = "normal", **options: Any
) -> Network:
    """A network of layers by `erdos_renyi`; `sizes` are neurons from the features to the classes."""
    return Network((erdos_renyi(*pair, epsilon, rng, start=start) for pair in pairwise(sizes)), **options)


def dense_network(
    sizes: Sequence[int], rng: np.random.Generator, *, start: Start = "normal", **options: Any
) -> Network:
    """A fully connected network of the same sizes, its weights drawn by the same rule."""
    layers = []
    for before, after in pairwise(sizes):
        weights = starting_weights(before * after, before, start, rng)
        layers.append(DenseLayer(weights.reshape(after, before)))
    return Network(layers, **options)
