"""What happens to connections and neurons between epochs, as configured: pruning, then evolution."""

from itertools import pairwise

import numpy as np
import torch

from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.evolution import Mask, evolve, grow
from sparsecycle.set_mlp.network import MLP
from sparsecycle.set_mlp.pruning import living_neurons, neuron_strength, prune_neurons, weakest_neurons


class Connectivity:
    """Rewires a network; `pruned` are the hidden neurons, by layer, that pruning has zeroed."""

    def __init__(
        self, config: SetConfig, network: MLP, optimizer: torch.optim.Optimizer, rng: np.random.Generator
    ) -> None:
        self.config, self.network, self.optimizer, self.rng = config, network, optimizer, rng
        self.pruned: list[Mask] = [np.zeros(size, dtype=bool) for size in config.hidden]

    def adapt(self, epoch: int) -> int:
        """Prune and evolve as due after `epoch` (from 1) epochs; how many connections evolution replaced."""
        share = self.config.pruned_by(epoch)
        # What evolution revives after the last pruning stays: else each epoch would take away what it has just grown.
        due = share > self.config.pruned_by(epoch - 1) if self.config.prune_revival else share > 0
        if epoch < self.config.epochs and due:
            self._prune(share)
        return self._evolve() if self.config.evolves_after(epoch) else 0

    def _prune(self, share: float) -> None:
        """Zero hidden neurons until `share` of each layer is without connections."""
        config, network = self.config, self.network
        before = network.connections()
        for hidden, size in enumerate(config.hidden):
            dead = ~living_neurons(network)[hidden] if config.prune_revival else self.pruned[hidden]
            strength = neuron_strength(network, hidden, config.prune_score, self.rng)
            chosen = weakest_neurons(strength, ~dead, round(share * size) - int(dead.sum()))
            if chosen.any():
                prune_neurons(network, hidden, chosen, self.optimizer)
                self.pruned[hidden] |= chosen
        if config.prune_refill:
            self._refill(before)

    def _refill(self, before: list[int]) -> None:
        """Grow as many connections as pruning freed in each layer, as far as there are places for them."""
        for number, layer in enumerate(self.network.sparse_layers()):
            inputs, outputs = self._open(number)
            places = (layer.in_features if inputs is None else int(inputs.sum())) * (
                layer.out_features if outputs is None else int(outputs.sum())
            )
            count = min(before[number], places) - layer.connections
            if count > 0:
                grow(
                    *(layer, count, self.rng),
                    growth=self.config.growth,
                    optimizer=self.optimizer,
                    inputs=inputs,
                    outputs=outputs,
                )

    def _evolve(self) -> int:
        config, layers = self.config, self.network.sparse_layers()
        replaced = 0
        for number, layer in enumerate(layers if config.evolve_output else layers[:-1]):
            inputs, outputs = self._open(number)
            replaced += evolve(
                *(layer, config.zeta, self.rng),
                growth=config.growth,
                optimizer=self.optimizer,
                reset_momentum=config.reset_momentum,
                inputs=inputs,
                outputs=outputs,
            )
        return replaced

    def _open(self, number: int) -> tuple[Mask | None, Mask | None]:
        """The neurons before and after a layer that may get connections; None: all."""
        if self.config.method != "set_pruned" or self.config.prune_revival:
            return None, None
        barred = [None, *self.pruned, None]
        before, after = barred[number], barred[number + 1]
        return (None if before is None else ~before), (None if after is None else ~after)

    def neurons_left(self) -> list[int]:
        """Hidden neurons by layer that a connection comes into and one goes out of."""
        if self.config.method == "dense":
            return list(self.config.hidden)
        return [int(living.sum()) for living in living_neurons(self.network)]

    def weight_scales(self) -> list[float]:
        """By layer the root mean square of the weights, four digits."""
        weights = [one.detach() for name, one in self.network.named_parameters() if name.endswith("weight")]
        return [round(float(one.square().mean().sqrt()), 4) if one.numel() else 0.0 for one in weights]

    def degrees(self) -> list[list[int]]:
        """By hidden layer how many neurons have 0, 1, 2, ... connections, both sides; empty where all have all."""
        if self.config.method == "dense":
            return []
        layers = self.network.sparse_layers()
        return [np.bincount(before.incoming() + after.outgoing()).tolist() for before, after in pairwise(layers)]
