"""Sparse Evolutionary Training (SET): where connections begin, which ones go, and where new ones grow.

The steps follow what is known of the authors' public code. How places are drawn is ours: uniformly and without
rejection, so that a nearly full layer costs no more than an empty one.
"""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.layer import Floats, Mask, Places, SparseLayer

Start = Literal["normal", "he"]
Growth = Literal["normal", "he_inputs"]


def erdos_renyi(
    in_features: int,
    out_features: int,
    epsilon: float,
    rng: np.random.Generator,
    *,
    start: Start = "normal",
    dtype: npt.DTypeLike = np.float32,
) -> SparseLayer:
    """A layer whose `epsilon * (in_features + out_features)` connections are at random places; all, where that is more.

    The number is exact (the authors' code draws with repetition, and so gets a few less).
    """
    count = connections_at_start(in_features, out_features, epsilon)
    places = np.sort(rng.choice(in_features * out_features, count, replace=False, shuffle=False))
    weights = starting_weights(count, count / out_features, start, rng)
    return SparseLayer(in_features, out_features, places, weights.astype(dtype))


def connections_at_start(in_features: int, out_features: int, epsilon: float) -> int:
    """How many connections `erdos_renyi` makes."""
    return min(in_features * out_features, max(1, round(epsilon * (in_features + out_features))))


def starting_weights(count: int, fan_in: float, rule: Start | Growth, rng: np.random.Generator) -> Floats:
    """Normal weights, float32, with standard deviation 0.1 ("normal", the authors'), or sqrt(2 / fan_in).

    `fan_in` is at least 1: for "he" (He et al., 2015) the mean number of connections into a neuron of the layer, for
    "he_inputs" the number of neurons before the layer, connected or not.
    """
    spread = 0.1 if rule == "normal" else math.sqrt(2 / max(1.0, fan_in))
    weights = rng.standard_normal(count, np.float32)
    weights *= np.float32(spread)
    return weights


def weakest_connections(weights: npt.NDArray[Any], zeta: float) -> Mask:
    """The share `zeta` of the positive weights that are smallest, and of the negative ones that are largest.

    Both numbers are rounded down; of equal weights the first ones go; zero counts as positive. (connections,) to bool;
    InputError for `zeta` outside [0, 1], or a weight that is NaN.
    """
    if not 0 <= zeta <= 1:
        raise InputError(f"zeta is {zeta}, but must be in [0, 1]: the share of connections that are replaced")
    if np.isnan(weights).any():
        raise InputError("a weight is NaN: there is no weakest connection")
    removed = np.zeros(len(weights), dtype=bool)
    for sign in (np.flatnonzero(weights >= 0), np.flatnonzero(weights < 0)):
        count = math.floor(zeta * len(sign))
        if count:
            strength = np.abs(weights[sign])
            limit = np.partition(strength, count - 1)[count - 1]  # faster than to sort them all
            removed[sign[strength < limit]] = True
            ties = sign[strength == limit]
            removed[ties[: count - int((strength < limit).sum())]] = True
    return removed


def free_places(
    taken: Places,
    in_features: int,
    out_features: int,
    count: int,
    rng: np.random.Generator,
    *,
    inputs: Mask | None = None,
    outputs: Mask | None = None,
) -> Places:
    """`count` different places of a layer that are not taken, uniformly at random, ascending.

    `inputs` and `outputs` are the neurons that may get connections, by default all. InputError if too few are free.
    """
    columns = np.arange(in_features) if inputs is None else np.flatnonzero(inputs)
    rows = np.arange(out_features) if outputs is None else np.flatnonzero(outputs)
    if inputs is not None or outputs is not None:  # the same among the chosen rows and columns only
        row, column = np.divmod(taken, in_features)
        inside = np.isin(row, rows) & np.isin(column, columns)
        taken = np.searchsorted(rows, row[inside]) * len(columns) + np.searchsorted(columns, column[inside])
    free = len(rows) * len(columns) - len(taken)
    if count > free:
        raise InputError(f"{count} connections are to grow, but only {free} places are free")
    ranks = np.sort(rng.choice(free, count, replace=False, shuffle=False)) if count else np.empty(0, dtype=np.int64)
    # Before the taken place t there are t - (its number among the taken) free ones.
    places = ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")
    row, column = np.divmod(places, max(1, len(columns)))
    grown: Places = rows[row] * in_features + columns[column]
    return grown


def evolve(
    layer: SparseLayer,
    zeta: float,
    rng: np.random.Generator,
    *,
    growth: Growth = "normal",
    inputs: Mask | None = None,
    outputs: Mask | None = None,
) -> int:
    """One step of SET: remove the weakest connections, grow as many at random free places; how many were replaced.

    The number of connections stays. A place that has just become free may be taken again. Momentum stays with the
    survivors and is zero for the new.

    Args:
        zeta: share of the connections that are replaced, of each sign.
        growth: how new weights are drawn, see `starting_weights`.
        inputs, outputs: as of `free_places`.
    """
    removed = weakest_connections(layer.weight, zeta)
    count = int(removed.sum())
    places = free_places(
        *(layer.places()[~removed], layer.in_features, layer.out_features, count, rng), inputs=inputs, outputs=outputs
    )
    layer.rewire(~removed, places, starting_weights(count, layer.in_features, growth, rng))
    return count
