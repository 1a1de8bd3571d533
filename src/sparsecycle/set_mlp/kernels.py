"""Products with a matrix of which only the connections are stored, in numba; one thread, so the same bits each time.

The matrix (outputs, inputs) is in compressed rows: the connections of output o are those from `starts[o]` to
`starts[o + 1]`, each with its input and its weight. Activations are (neurons, samples), so that the innermost loop
runs over neighbours in memory. Time is proportional to connections times samples, and nothing is allocated.

Batches of two, which small datasets are trained with, have loops of their own: a loop over two samples costs several
times what it does. Indices are unsigned, so that no code is needed for negative ones.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
_index = np.uint64
_FIRST, _SECOND = _index(0), _index(1)
_log = logging.getLogger("sparsecycle")
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc"}, "nogil": True}
_anew: dict[Any, Any] = {}  # compiled without the cache, because it was damaged


def run(function: Any, *arguments: npt.NDArray[Any]) -> None:
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
def product(starts: Integers, inputs: Integers, weights: Floats, x: Floats, out: Floats) -> None:
    """out = W x: (outputs, samples) from (inputs, samples)."""
    if x.shape[1] == 2:
        for o in range(out.shape[0]):
            first = second = out.dtype.type(0)
            for c in range(_index(starts[o]), _index(starts[o + 1])):
                weight, i = weights[c], _index(inputs[c])
                first += weight * x[i, _FIRST]
                second += weight * x[i, _SECOND]
            out[o, 0], out[o, 1] = first, second
        return
    for o in range(out.shape[0]):
        row = out[o]
        row[:] = 0
        for c in range(_index(starts[o]), _index(starts[o + 1])):
            weight, values = weights[c], x[_index(inputs[c])]
            for n in range(row.size):
                row[n] += weight * values[n]


@_compiled
def transposed_product(starts: Integers, inputs: Integers, weights: Floats, slope: Floats, out: Floats) -> None:
    """out = W' slope: (inputs, samples) from (outputs, samples)."""
    out[:] = 0
    if slope.shape[1] == 2:
        for o in range(slope.shape[0]):
            first, second = slope[o, 0], slope[o, 1]
            for c in range(_index(starts[o]), _index(starts[o + 1])):
                weight, i = weights[c], _index(inputs[c])
                out[i, _FIRST] += weight * first
                out[i, _SECOND] += weight * second
        return
    for o in range(slope.shape[0]):
        row = slope[o]
        for c in range(_index(starts[o]), _index(starts[o + 1])):
            weight, values = weights[c], out[_index(inputs[c])]
            for n in range(row.size):
                values[n] += weight * row[n]


@_compiled
def sampled_product(starts: Integers, inputs: Integers, slope: Floats, x: Floats, out: Floats) -> None:
    """The entries of slope x' where there is a connection: (connections,)."""
    if slope.shape[1] == 2:
        for o in range(slope.shape[0]):
            first, second = slope[o, 0], slope[o, 1]
            for c in range(_index(starts[o]), _index(starts[o + 1])):
                i = _index(inputs[c])
                out[c] = first * x[i, _FIRST] + second * x[i, _SECOND]
        return
    for o in range(slope.shape[0]):
        row = slope[o]
        for c in range(_index(starts[o]), _index(starts[o + 1])):
            values = x[_index(inputs[c])]
            total = out.dtype.type(0)
            for n in range(row.size):
                total += row[n] * values[n]
            out[c] = total
