"""Neuron pruning: hidden neurons lose all their connections, incoming and outgoing.

Publicly known is only that, and that about half of the hidden neurons end up zeroed. The score, the time, and that a
pruned neuron stays away are reconstructions. The nearest that is public is the "importance pruning" in the authors'
later code: the sum of the sizes of a neuron's incoming weights.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparsecycle.set_mlp.layer import Mask, SparseLayer
from sparsecycle.set_mlp.network import Network

Score = Literal["incoming", "random"]


def neuron_strength(layer: SparseLayer) -> npt.NDArray[np.float64]:
    """(out_features,): the sum of the sizes of the weights that come into each neuron after the layer."""
    outputs = np.repeat(np.arange(layer.out_features), layer.incoming())
    return np.bincount(outputs, np.abs(layer.weight), layer.out_features).astype(np.float64)


def weakest_neurons(strength: npt.NDArray[np.float64], candidates: Mask, count: int) -> Mask:
    """(neurons,): the `count` candidates of least strength; of equals the first; all, where there are not as many."""
    order = np.argsort(np.where(candidates, strength, np.inf), kind="stable")
    chosen = np.zeros(len(strength), dtype=bool)
    chosen[order[: min(max(count, 0), int(candidates.sum()))]] = True
    return chosen


def prune_neurons(network: Network, hidden: int, neurons: Mask) -> int:
    """Remove all connections of these neurons (bool) of a hidden layer, from 0, and set their biases to zero.

    The momentum of these connections and biases goes too, so that a pruned neuron stays at zero. Returns how many
    connections were removed.
    """
    before, after = network.sparse_layers()[hidden : hidden + 2]
    incoming, outgoing = np.repeat(neurons, before.incoming()), neurons[after.inputs]
    nothing = np.empty(0, dtype=np.int64)
    before.rewire(~incoming, nothing, np.empty(0))
    after.rewire(~outgoing, nothing, np.empty(0))
    before.bias[neurons] = before.bias_velocity[neurons] = 0
    return int(incoming.sum() + outgoing.sum())


def living_neurons(network: Network) -> list[Mask]:
    """For each hidden layer (neurons,) bool: a connection comes in and one goes out."""
    return [(before.incoming() > 0) & (after.outgoing() > 0) for before, after in pairwise(network.sparse_layers())]
