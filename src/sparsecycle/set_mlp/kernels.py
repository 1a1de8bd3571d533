"""Products with a matrix of which only the connections are stored, in numba; one thread, so the same bits each time.

The matrix (outputs, inputs) is in compressed rows: the connections of output o are those from `starts[o]` to
`starts[o + 1]`, each with its input and its weight. Activations are (neurons, samples), so that the innermost loop
runs over neighbours in memory. Time is proportional to connections times samples, and nothing is allocated.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, nogil=True)
def product(starts: Integers, inputs: Integers, weights: Floats, x: Floats, out: Floats) -> None:
    """out = W x: (outputs, samples) from (inputs, samples)."""
    for o in range(out.shape[0]):
        row = out[o]
        row[:] = 0
        for c in range(starts[o], starts[o + 1]):
            weight, values = weights[c], x[inputs[c]]
            for n in range(row.size):
                row[n] += weight * values[n]


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, nogil=True)
def transposed_product(starts: Integers, inputs: Integers, weights: Floats, slope: Floats, out: Floats) -> None:
    """out = W' slope: (inputs, samples) from (outputs, samples)."""
    out[:] = 0
    for o in range(slope.shape[0]):
        row = slope[o]
        for c in range(starts[o], starts[o + 1]):
            weight, values = weights[c], out[inputs[c]]
            for n in range(row.size):
                values[n] += weight * row[n]


@numba.njit(cache=True, fastmath={"contract", "reassoc"}, nogil=True)
def sampled_product(starts: Integers, inputs: Integers, slope: Floats, x: Floats, out: Floats) -> None:
    """The entries of slope x' where there is a connection: (connections,)."""
    for o in range(slope.shape[0]):
        row = slope[o]
        for c in range(starts[o], starts[o + 1]):
            values = x[inputs[c]]
            total = out.dtype.type(0)
            for n in range(row.size):
                total += row[n] * values[n]
            out[c] = total
