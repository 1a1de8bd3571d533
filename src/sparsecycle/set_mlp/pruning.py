"""Neuron pruning: hidden neurons lose all their connections, incoming and outgoing.

Publicly known is only that, and that about half of the hidden neurons end up zeroed. The score, the time, whether the
freed connections grow elsewhere, and whether a pruned neuron may come back are reconstructions. The nearest that is
public is the "importance pruning" in the authors' later code: the sum of the sizes of a neuron's incoming weights.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.evolution import Mask
from sparsecycle.set_mlp.layer import SparseLinear
from sparsecycle.set_mlp.network import MLP

Score = Literal["incoming", "outgoing", "both", "random"]


def neuron_strength(
    network: MLP, hidden: int, score: Score = "incoming", rng: np.random.Generator | None = None
) -> npt.NDArray[np.float64]:
    """(neurons,): the sum of the sizes of a hidden neuron's weights. Reconstruction.

    Args:
        hidden: hidden layer, from 0.
        score: weights of the connections that come in, that go out, or of both; "random" is the control, numbers
            from `rng`.

    Raises:
        InputError: an unknown `score`, or a layer that the network does not have.
    """
    before, after = _around(network, hidden)
    if score == "random" and rng is not None:
        return rng.random(before.out_features)
    if score not in ("incoming", "outgoing", "both"):
        raise InputError(f"score is {score!r}, but must be 'incoming', 'outgoing', 'both', or 'random' with an rng")
    total = np.zeros(before.out_features)
    if score != "outgoing":
        outputs = np.repeat(np.arange(before.out_features), before.incoming())
        total += np.bincount(outputs, np.abs(before.weight.detach().numpy()), before.out_features)
    if score != "incoming":
        total += np.bincount(after.inputs.numpy(), np.abs(after.weight.detach().numpy()), before.out_features)
    return total


def weakest_neurons(strength: npt.NDArray[np.float64], candidates: Mask, count: int) -> Mask:
    """The `count` candidates of least strength; of equals the first. All, where there are not as many.

    Args:
        strength: (neurons,).
        candidates: (neurons,) bool.
    """
    order = np.argsort(np.where(candidates, strength, np.inf), kind="stable")
    chosen = np.zeros(len(strength), dtype=bool)
    chosen[order[: min(max(count, 0), int(candidates.sum()))]] = True
    return chosen


def prune_neurons(network: MLP, hidden: int, neurons: Mask, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Remove all connections of these neurons of a hidden layer and set their biases to zero; how many were removed.

    What the optimizer remembers for these connections and biases goes too, so that a pruned neuron stays at zero.

    Args:
        hidden: hidden layer, from 0.
        neurons: (neurons,) bool.

    Raises:
        InputError: a layer that the network does not have, or another mask.
    """
    before, after = _around(network, hidden)
    if neurons.dtype != bool or neurons.shape != (before.out_features,):
        raise InputError(
            f"neurons is {neurons.dtype} of shape {neurons.shape}, but must be bool of shape ({before.out_features},)"
        )
    incoming = np.repeat(neurons, before.incoming())
    outgoing = neurons[after.inputs.numpy()]
    nothing, none = np.empty(0, dtype=np.int64), np.empty(0)
    before.rewire(~incoming, nothing, none, optimizer)
    after.rewire(~outgoing, nothing, none, optimizer)
    pruned = torch.from_numpy(neurons)
    with torch.no_grad():
        before.bias[pruned] = 0
        if optimizer:
            for value in optimizer.state.get(before.bias, {}).values():
                if isinstance(value, torch.Tensor) and value.shape == before.bias.shape:
                    value[pruned] = 0
    return int(incoming.sum() + outgoing.sum())


def living_neurons(network: MLP) -> list[Mask]:
    """For each hidden layer (neurons,) bool: a connection comes in and one goes out."""
    layers = network.sparse_layers()
    return [(before.incoming() > 0) & (after.outgoing() > 0) for before, after in pairwise(layers)]


def _around(network: MLP, hidden: int) -> tuple[SparseLinear, SparseLinear]:
    """The layers before and after a hidden layer."""
    layers = network.sparse_layers()
    if not 0 <= hidden < len(layers) - 1:
        raise InputError(f"hidden is {hidden}, but the network has the hidden layers 0 to {len(layers) - 2}")
    return layers[hidden], layers[hidden + 1]
