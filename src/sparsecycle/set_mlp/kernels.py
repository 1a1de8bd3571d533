"""Products with a matrix of which only the connections are stored, and the step of SGD on it, compiled by numba.

The matrix (outputs, inputs) is in compressed rows: the connections of output o are those from `starts[o]` to
`starts[o + 1]`, each with its input and its weight. Activations are (neurons, samples), so that the innermost loop runs
over neighbours in memory. Gradients are never stored: a weight takes its step as soon as its gradient is known, so that
one pass over the connections does all that follows the forward pass. One thread, so the same bits each time.

Batches of two have loops of their own: a loop over two samples costs several times what it does.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
_index = np.uint64  # for which no code is needed for negative ones
_FIRST, _SECOND = _index(0), _index(1)
_log = logging.getLogger("sparsecycle")
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc"}, "nogil": True}
_anew: dict[Any, Any] = {}  # compiled without the cache, because it was damaged


def run(function: Any, *arguments: Any) -> None:
    """Call a function of this module; where numba's cache fails it is compiled anew, and one line says so."""
    try:
        _anew.get(function, function)(*arguments)
    except Exception as error:
        if function in _anew:
            raise
        _log.warning(
            "numba's cache cannot be used (%s): %s is compiled anew", error or type(error).__name__, function.__name__
        )
        _anew[function] = numba.njit(**_OPTIONS)(function.py_func)
        _anew[function](*arguments)


def _compiled(function: Callable[..., None]) -> Any:
    """Compile at first use, with a cache on the disk where there is a place for one."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(**_OPTIONS)(function)


@_compiled
def product(starts: Integers, inputs: Integers, weights: Floats, biases: Floats, x: Floats, out: Floats) -> None:
    """out = W x + b: (outputs, samples) from (inputs, samples)."""
    if x.shape[1] == 2:
        for o in range(out.shape[0]):
            first = second = biases[o]
            for c in range(_index(starts[o]), _index(starts[o + 1])):
                weight, i = weights[c], _index(inputs[c])
                first += weight * x[i, _FIRST]
                second += weight * x[i, _SECOND]
            out[o, 0], out[o, 1] = first, second
        return
    for o in range(out.shape[0]):
        row = out[o]
        row[:] = biases[o]
        for c in range(_index(starts[o]), _index(starts[o + 1])):
            weight, values = weights[c], x[_index(inputs[c])]
            for n in range(row.size):
                row[n] += weight * values[n]


@_compiled
def descend(
    starts: Integers, inputs: Integers, weights: Floats, velocities: Floats,
    slope: Floats, x: Floats, to_x: Floats, sgd: Floats,
) -> None:  # fmt: skip
    """Add W' slope to `to_x` (unless it is empty), then take a step: v = momentum v - rate g, w = w - decay w + v.

    The gradient g of a connection is the sum over samples of `slope` (outputs, samples) times `x` (inputs, samples);
    `sgd` holds rate, momentum and decay.
    """
    rate, momentum, kept, passed_on = sgd[0], sgd[1], sgd.dtype.type(1) - sgd[2], to_x.size > 0
    for o in range(slope.shape[0]):
        begin, end, row = _index(starts[o]), _index(starts[o + 1]), slope[o]
        if passed_on:  # in a loop of its own, which is faster
            for c in range(begin, end):
                weight, values = weights[c], to_x[_index(inputs[c])]
                for n in range(row.size):
                    values[n] += weight * row[n]
        for c in range(begin, end):
            values = x[_index(inputs[c])]
            gradient = weights[c] * 0
            for n in range(row.size):
                gradient += row[n] * values[n]
            velocities[c] = momentum * velocities[c] - rate * gradient
            weights[c] = kept * weights[c] + velocities[c]


@_compiled
def descend_of_two(
    starts: Integers, inputs: Integers, weights: Floats, velocities: Floats,
    slope: Floats, x: Floats, to_x: Floats, sgd: Floats,
) -> None:  # fmt: skip
    """As `descend`, of two samples, in one pass."""
    rate, momentum, kept, passed_on = sgd[0], sgd[1], sgd.dtype.type(1) - sgd[2], to_x.size > 0
    for o in range(slope.shape[0]):
        begin, end, first, second = _index(starts[o]), _index(starts[o + 1]), slope[o, 0], slope[o, 1]
        if first == 0 and second == 0:  # the neuron is off, as about half of them are
            for c in range(begin, end):
                velocities[c] *= momentum
                weights[c] = kept * weights[c] + velocities[c]
            continue
        for c in range(begin, end):
            weight, i = weights[c], _index(inputs[c])
            gradient = first * x[i, _FIRST] + second * x[i, _SECOND]
            if passed_on:
                to_x[i, _FIRST] += weight * first
                to_x[i, _SECOND] += weight * second
            velocities[c] = momentum * velocities[c] - rate * gradient
            weights[c] = kept * weight + velocities[c]


@_compiled
def dense_descend_of_two(
    weights: Floats, velocities: Floats, slope: Floats, x: Floats, to_x: Floats, sgd: Floats
) -> None:
    """As `descend`, of a full matrix and two samples; `x` and `to_x` are (2, inputs)."""
    rate, momentum, kept, passed_on = sgd[0], sgd[1], sgd.dtype.type(1) - sgd[2], to_x.size > 0
    first_x, second_x = x[0], x[1]
    for o in range(slope.shape[0]):
        row, velocity = weights[o], velocities[o]
        first, second = slope[o, 0], slope[o, 1]
        if first == 0 and second == 0:
            for i in range(row.size):
                velocity[i] *= momentum
                row[i] = kept * row[i] + velocity[i]
            continue
        if passed_on:
            first_to, second_to = to_x[0], to_x[1]
            for i in range(row.size):
                first_to[i] += row[i] * first
                second_to[i] += row[i] * second
        first, second = rate * first, rate * second
        for i in range(row.size):
            velocity[i] = momentum * velocity[i] - (first * first_x[i] + second * second_x[i])
            row[i] = kept * row[i] + velocity[i]


@_compiled
def descend_along(weights: Floats, velocities: Floats, gradient: Floats, sgd: Floats) -> None:
    """The same step along a gradient that is known, of arrays of one dimension."""
    rate, momentum, kept = sgd[0], sgd[1], sgd.dtype.type(1) - sgd[2]
    for i in range(weights.size):
        velocities[i] = momentum * velocities[i] - rate * gradient[i]
        weights[i] = kept * weights[i] + velocities[i]
