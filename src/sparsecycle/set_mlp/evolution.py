"""Sparse Evolutionary Training (SET): where connections begin, which ones go, and where new ones grow.

The steps follow the authors' public code for SET (Mocanu et al., 2018). How places are drawn is ours: uniformly and
without rejection, so that a nearly full layer costs no more than an empty one.
"""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.layer import Places, SparseLinear

Start = Literal["he", "he_inputs", "normal"]
Growth = Literal["he", "he_inputs", "normal", "zero"]
Mask = npt.NDArray[np.bool_]


def erdos_renyi(
    in_features: int,
    out_features: int,
    epsilon: float,
    rng: np.random.Generator,
    *,
    start: Start = "he",
    dtype: npt.DTypeLike = np.float32,
) -> SparseLinear:
    """A layer whose `epsilon * (in_features + out_features)` connections are at random places; all, where that is more.

    The number is exact (the authors' code draws with repetition, and so gets a few less).

    Raises:
        InputError: `epsilon` is not positive, or an unknown `start`.
    """
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon is {epsilon}, but must be positive: connections for each neuron on either side")
    size = in_features * out_features
    count = min(size, max(1, round(epsilon * (in_features + out_features))))
    places = np.sort(rng.choice(size, count, replace=False, shuffle=False))
    weights = starting_weights(count, _fan_in(start, in_features, count / out_features), start, rng)
    return SparseLinear(in_features, out_features, places, weights.astype(dtype))


def starting_weights(count: int, fan_in: float, start: Growth, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weights for new connections: normal with standard deviation sqrt(2 / fan_in) or 0.1 ("normal"), or zero.

    `fan_in` is at least 1: for "he" (He et al., 2015) the mean number of connections into a neuron of the layer, for
    "he_inputs" the number of neurons before the layer, connected or not, as in later versions of the authors' public
    code for SET. "normal" is their first version, "zero" leaves what the network computes as it is.

    Raises:
        InputError: an unknown `start`.
    """
    if start not in ("he", "he_inputs", "normal", "zero"):
        raise InputError(f"start is {start!r}, but must be 'he', 'he_inputs', 'normal' or 'zero'")
    if start == "zero":
        return np.zeros(count)
    return rng.normal(0.0, 0.1 if start == "normal" else math.sqrt(2 / max(1.0, fan_in)), count)


def _fan_in(rule: Growth, in_features: int, connections_in: float) -> float:
    return in_features if rule == "he_inputs" else connections_in


def weakest_connections(weights: npt.NDArray[Any], zeta: float) -> Mask:
    """The share `zeta` of the positive weights that are smallest, and of the negative ones that are largest.

    Both numbers are rounded down; of equal weights the first ones go; zero counts as positive.

    Args:
        weights: (connections,).
        zeta: in [0, 1].

    Returns:
        (connections,) bool: the ones to remove.

    Raises:
        InputError: `zeta` outside [0, 1], or a weight that is NaN.
    """
    if not 0 <= zeta <= 1:
        raise InputError(f"zeta is {zeta}, but must be in [0, 1]: the share of connections that are replaced")
    if np.isnan(weights).any():
        raise InputError("a weight is NaN: there is no weakest connection")
    removed = np.zeros(len(weights), dtype=bool)
    for sign in (np.flatnonzero(weights >= 0), np.flatnonzero(weights < 0)):
        strength = np.abs(weights[sign])
        removed[sign[np.argsort(strength, kind="stable")[: math.floor(zeta * len(sign))]]] = True
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

    Args:
        taken: int64, ascending.
        inputs, outputs: neurons that may get connections, by default all.

    Raises:
        InputError: fewer than `count` places are free.
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
    layer: SparseLinear,
    zeta: float,
    rng: np.random.Generator,
    *,
    growth: Growth = "he",
    optimizer: torch.optim.Optimizer | None = None,
    reset_momentum: bool = False,
    inputs: Mask | None = None,
    outputs: Mask | None = None,
) -> int:
    """One step of SET: remove the weakest connections, grow as many at random free places; how many were replaced.

    The number of connections stays. A place that has just become free may be taken again. Momentum stays with the
    survivors and is zero for the new.

    Args:
        zeta: share of the connections that are replaced, of each sign.
        growth: how new weights are drawn, see `starting_weights`; its mean is over neurons that may get connections.
        optimizer: that trains the layer.
        reset_momentum: of the survivors, too.
        inputs, outputs: neurons that may get connections, by default all.
    """
    removed = weakest_connections(layer.weight.detach().numpy(), zeta)
    count = int(removed.sum())
    _replace(layer, removed, count, rng, growth, optimizer, reset_momentum, inputs, outputs)
    return count


def grow(
    layer: SparseLinear,
    count: int,
    rng: np.random.Generator,
    *,
    growth: Growth = "he",
    optimizer: torch.optim.Optimizer | None = None,
    inputs: Mask | None = None,
    outputs: Mask | None = None,
) -> None:
    """Add `count` connections at random free places; arguments as of `evolve`.

    Raises:
        InputError: fewer than `count` places are free.
    """
    nothing = np.zeros(layer.connections, dtype=bool)
    _replace(layer, nothing, count, rng, growth, optimizer, False, inputs, outputs)


def _replace(
    layer: SparseLinear,
    removed: Mask,
    count: int,
    rng: np.random.Generator,
    growth: Growth,
    optimizer: torch.optim.Optimizer | None,
    reset_momentum: bool,
    inputs: Mask | None,
    outputs: Mask | None,
) -> None:
    taken = layer.places()[~removed]
    places = free_places(taken, layer.in_features, layer.out_features, count, rng, inputs=inputs, outputs=outputs)
    neurons = layer.out_features if outputs is None else int(outputs.sum())
    fan_in = _fan_in(growth, layer.in_features, (len(taken) + count) / max(1, neurons))
    weights = starting_weights(count, fan_in, growth, rng)
    layer.rewire(~removed, places, weights, optimizer, reset_momentum=reset_momentum)
