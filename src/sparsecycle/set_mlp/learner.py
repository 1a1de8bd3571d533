"""`Learner`: a network while it learns, and how its connections and neurons come and go between epochs."""

import math
from typing import Any

import numpy as np

from sparsecycle.set_mlp.config import EVOLVING, SetConfig
from sparsecycle.set_mlp.datasets import Split
from sparsecycle.set_mlp.evolution import evolve
from sparsecycle.set_mlp.layer import Floats, Mask
from sparsecycle.set_mlp.network import Network, dense_network, sparse_network
from sparsecycle.set_mlp.pruning import living_neurons, neuron_strength, prune_neurons, weakest_neurons


class Learner:
    """A network, the settings of its steps, and the hidden neurons that pruning has zeroed.

    Rate and dropout are chosen where the configuration leaves them open; `key` seeds all that is drawn.
    """

    def __init__(
        self,
        config: SetConfig,
        split: Split,
        classes: int,
        *,
        learning_rate: float,
        dropout: float,
        key: tuple[int, ...],
        batch_size: int,
    ) -> None:
        self.config, self.split, self.key = config, split, key
        self.rng = np.random.default_rng(key)
        sizes = (split.train_features.shape[1], *config.hidden, classes)
        look: dict[str, Any] = {"loss": config.loss, "dropout": dropout, "scaling": config.dropout_scaling}
        self.network: Network = (
            dense_network(sizes, self.rng, start=config.start, **look)
            if config.method == "dense"
            else sparse_network(sizes, config.epsilon, self.rng, start=config.start, **look)
        )
        self.pruned: list[Mask] = [np.zeros(size, dtype=bool) for size in config.hidden]
        self.batch_size = min(batch_size, len(split.train_labels))
        # The loss divides the gradient by the batch size; to divide it again is to divide the rate.
        rate = learning_rate / self.batch_size if config.divided_twice else learning_rate
        self.sgd: Floats = np.array([rate, config.momentum, config.weight_decay], np.float32)

    def learn(self, epoch: int) -> float:
        """Train on every sample once in whole batches, and leave out the rest of the shuffle; the mean loss."""
        features, labels, size = self.split.train_features, self.split.train_labels, self.batch_size
        order = np.random.default_rng([*self.key, epoch]).permutation(len(labels))
        batches = order[: len(order) // size * size].reshape(-1, size)
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # of a network that diverges
            for batch in batches:
                total += self.network.train(features[batch], labels[batch], self.sgd, self.rng)
                if not math.isfinite(total):
                    break
        return total / len(batches)

    def adapt(self, epoch: int) -> None:
        """Prune and evolve as due after `epoch` (from 1) epochs: not after the last."""
        if epoch >= self.config.epochs:
            return
        if share := self.config.pruned_by(epoch):
            self._prune(share)
        if self.config.method in EVOLVING:
            self._evolve()

    def _prune(self, share: float) -> None:
        """Zero hidden neurons until `share` of each layer is without connections."""
        for hidden, size in enumerate(self.config.hidden):
            layer, gone = self.network.sparse_layers()[hidden], self.pruned[hidden]
            strength = self.rng.random(size) if self.config.prune_score == "random" else neuron_strength(layer)
            chosen = weakest_neurons(strength, ~gone, round(share * size) - int(gone.sum()))
            if chosen.any():
                prune_neurons(self.network, hidden, chosen)
                gone |= chosen

    def _evolve(self) -> None:
        """Replace the weakest connections; a pruned neuron gets none."""
        config, layers = self.config, self.network.sparse_layers()
        left = [~gone if gone.any() else None for gone in self.pruned]
        neighbours = zip(layers, [None, *left], [*left, None], strict=True)
        for layer, before, after in list(neighbours)[: None if config.evolve_output else -1]:
            evolve(layer, config.zeta, self.rng, growth=config.growth, inputs=before, outputs=after)

    def neurons_left(self) -> list[int]:
        """Hidden neurons by layer that a connection comes into and one goes out of."""
        if self.config.method == "dense":
            return list(self.config.hidden)
        return [int(living.sum()) for living in living_neurons(self.network)]

    def test(self) -> tuple[float, Mask]:
        """The mean loss on the test part of the split, and which of its samples are classified rightly."""
        return self.network.test(self.split.test_features, self.split.test_labels)

    def state(self) -> dict[str, Any]:
        """All that learning changes, but the generator: arrays by name."""
        found = {f"pruned.{number}": gone for number, gone in enumerate(self.pruned)}
        for number, layer in enumerate(self.network.layers):
            found |= {f"layer.{number}.{name}": array for name, array in layer.state().items()}
        return found

    def load(self, state: dict[str, Any], generator: dict[str, Any]) -> None:
        """Go on from `state` and the state of the generator."""
        self.pruned = [state[f"pruned.{number}"] for number in range(len(self.pruned))]
        for number, layer in enumerate(self.network.layers):
            layer.load({name: state[f"layer.{number}.{name}"] for name in layer.arrays})
        self.rng.bit_generator.state = generator
