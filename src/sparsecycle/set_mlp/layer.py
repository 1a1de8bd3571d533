"""The two kinds of layers, with their momentum: a sparse one, which has its connections only, and a dense one.

A layer computes W x + b for activations (neurons, samples) and takes its own step of SGD when it is told the slope of
the loss along its outputs, so that no gradient of a sparse matrix is ever stored.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import kernels

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class Layer:
    """What both kinds share: sizes, biases, and momentum.

    Attributes:
        in_features, out_features: neurons before and after.
        weight, velocity: one value a connection, and its momentum.
        bias, bias_velocity: (out_features,), zero at the start.
    """

    arrays: tuple[str, ...] = ("weight", "velocity", "bias", "bias_velocity")

    def __init__(self, in_features: int, out_features: int, weight: Floats) -> None:
        if in_features < 1 or out_features < 1:
            raise InputError(f"in_features is {in_features} and out_features {out_features}, but both must be positive")
        self.in_features, self.out_features = in_features, out_features
        self.weight, self.velocity = weight, np.zeros_like(weight)
        self.bias, self.bias_velocity = np.zeros((2, out_features), weight.dtype)

    def forward(self, x: Floats) -> Floats:
        """(in_features, samples) -> (out_features, samples)."""
        raise NotImplementedError

    def descend(self, x: Floats, slope: Floats, sgd: Floats, *, pass_on: bool = True) -> Floats:
        """Take one step, and return the slope of the loss along `x` at the weights before it.

        For weights and biases alike v = momentum v - rate g, then w = w - decay w + v: decay acts outside of momentum.

        Args:
            x, slope: what `forward` was given, and the slope of the loss along what it returned.
            sgd: rate, momentum and decay, of the weights' dtype.
            pass_on: False for the first layer, before which nothing is trained; nothing is then returned.
        """
        to_x = self._descend(x, np.ascontiguousarray(slope), sgd, pass_on)
        kernels.run(kernels.descend_along, self.bias, self.bias_velocity, slope.sum(axis=1), sgd)
        return to_x

    def _descend(self, x: Floats, slope: Floats, sgd: Floats, pass_on: bool) -> Floats:
        raise NotImplementedError

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that training changes, by name."""
        return {name: getattr(self, name) for name in self.arrays}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `state` gave."""
        for name in self.arrays:
            setattr(self, name, np.ascontiguousarray(state[name]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features}, {self.out_features}, connections={self.weight.size})"


class SparseLayer(Layer):
    """W is zero but at its connections, which are stored in compressed rows.

    Memory and work are proportional to the number of connections. A place is the flat index of a connection in the
    (out_features, in_features) matrix; places are kept in ascending order, and so are the weights.

    Args:
        in_features, out_features: neurons before and after.
        places: int64, ascending and different, in [0, out_features * in_features).
        weights: a weight for each place, float32 or float64.

    Attributes:
        starts: (out_features + 1,) int64, where the connections of each output begin.
        inputs: (connections,) int32, the input of each connection.

    InputError for sizes below 1, places that are not ascending or not in the matrix, and another number of weights.

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired
    by network science", Nature Communications 9, 2018; how it is stored and computed is ours.
    """

    arrays = ("starts", "inputs", *Layer.arrays)
    starts: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.int32]

    def __init__(self, in_features: int, out_features: int, places: Places, weights: Floats) -> None:
        super().__init__(in_features, out_features, np.empty(0, np.asarray(weights).dtype))
        self.starts, self.inputs = np.zeros(out_features + 1, np.int64), np.empty(0, np.int32)
        self.rewire(np.empty(0, dtype=bool), places, weights)

    def forward(self, x: Floats) -> Floats:
        x = np.ascontiguousarray(x)
        if x.ndim != 2 or x.shape[0] != self.in_features or x.dtype != self.weight.dtype:
            expected = f"{self.weight.dtype} of shape ({self.in_features}, samples)"
            raise InputError(f"x is {x.dtype} of shape {x.shape}, but must be {expected}")
        out = np.empty((self.out_features, x.shape[1]), x.dtype)
        kernels.run(kernels.product, self.starts, self.inputs, self.weight, self.bias, x, out)
        return out

    def _descend(self, x: Floats, slope: Floats, sgd: Floats, pass_on: bool) -> Floats:
        to_x = np.zeros(x.shape if pass_on else (0, 0), x.dtype)
        connections = (self.starts, self.inputs, self.weight, self.velocity)
        kernel = kernels.descend_of_two if x.shape[1] == 2 else kernels.descend
        kernels.run(kernel, *connections, slope, np.ascontiguousarray(x), to_x, sgd)
        return to_x

    def places(self) -> Places:
        """Return (connections,) int64, ascending: the flat indices of the connections in the full matrix."""
        outputs = np.repeat(np.arange(self.out_features), self.incoming())
        places: Places = outputs * self.in_features + self.inputs
        return places

    def incoming(self) -> npt.NDArray[np.int64]:
        """Return (out_features,): connections into each output neuron."""
        return np.diff(self.starts)

    def outgoing(self) -> npt.NDArray[np.int64]:
        """Return (in_features,): connections from each input neuron."""
        return np.bincount(self.inputs, minlength=self.in_features)

    def matrix(self) -> Floats:
        """Return (out_features, in_features): W with its zeros."""
        full = np.zeros(self.out_features * self.in_features, self.weight.dtype)
        full[self.places()] = self.weight
        return full.reshape(self.out_features, self.in_features)

    def rewire(self, keep: Mask, places: Places, weights: Floats) -> None:
        """Drop the connections that are not in `keep` (bool) and add new ones at free places, ascending.

        Momentum is kept, and zero for the new. InputError for lengths that do not match, or places that are not free.
        """
        if keep.shape != self.weight.shape or keep.dtype != bool:
            raise InputError(f"keep is {keep.dtype} of shape {keep.shape}, but must be bool, one a connection")
        if len(weights) != len(places):
            raise InputError(f"there are {len(weights)} weights for {len(places)} places, but each place takes one")
        together = np.concatenate([self.places()[keep], places])
        order = np.argsort(together, kind="stable")
        together, size = together[order], self.in_features * self.out_features
        if len(together) and (together[0] < 0 or together[-1] >= size or (np.diff(together) <= 0).any()):
            raise InputError(f"places must be ascending, different, and from 0 to {size - 1}")
        dtype = self.weight.dtype
        self.weight = np.concatenate([self.weight[keep], np.asarray(weights, dtype)])[order]
        self.velocity = np.concatenate([self.velocity[keep], np.zeros(len(places), dtype)])[order]
        outputs, inputs = np.divmod(together, self.in_features)
        self.inputs = inputs.astype(np.int32)
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(outputs, minlength=self.out_features))])


class DenseLayer(Layer):
    """W with all its connections, (out_features, in_features), for comparison."""

    def __init__(self, weights: Floats) -> None:
        super().__init__(weights.shape[1], weights.shape[0], np.array(weights))

    def forward(self, x: Floats) -> Floats:
        if x.shape[1] == 2:  # a product with a thin matrix on the right takes many times as long
            given = (torch.from_numpy(np.ascontiguousarray(one)) for one in (x.T, self.weight, self.bias))
            return np.ascontiguousarray(torch.nn.functional.linear(*given).numpy().T)
        return _matmul(self.weight, x) + self.bias[:, None]

    def _descend(self, x: Floats, slope: Floats, sgd: Floats, pass_on: bool) -> Floats:
        if x.shape[1] == 2:  # matrix products would mostly wait for memory
            across = np.ascontiguousarray(x.T)
            to_across = np.zeros(across.shape if pass_on else (0, 0), x.dtype)
            kernels.run(kernels.dense_descend_of_two, self.weight, self.velocity, slope, across, to_across, sgd)
            return to_across.T
        to_x = _matmul(self.weight.T, slope) if pass_on else np.zeros((0, 0), x.dtype)
        gradient = _matmul(slope, x.T)
        kernels.run(kernels.descend_along, self.weight.ravel(), self.velocity.ravel(), gradient.ravel(), sgd)
        return to_x


def _matmul(first: Floats, second: Floats) -> Floats:
    """Return a matrix product by torch, whose number of threads is the one that runs record."""
    product: Floats = (torch.from_numpy(first) @ torch.from_numpy(second)).numpy()
    return product
