"""Learning rate and dropout by inner cross-validation on a training part, the same grid for every method.

An inner run leaves no record of its own: how many validation samples it classified rightly is all that is kept.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from sklearn.model_selection import StratifiedKFold

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import Split, standardized
from sparsecycle.set_mlp.learner import Learner

RATES = (0.0001, 0.0004, 0.0016, 0.006, 0.025)
DROPOUTS = (0.0, 0.3)
FOLDS = 3
_INNER = 10_000  # apart from the numbers of epochs, which seed the orders of a run


class Trial(BaseModel):
    """One inner run: how many of the validation samples of a fold it classified rightly, and its mean loss on them.

    Both are None if it diverged. epochs: learned; train_loss: of the last of them, None where it is not finite.
    """

    model_config = ConfigDict(extra="forbid")

    learning_rate: float
    dropout: float
    fold: int
    samples: int
    right: int | None
    loss: float | None
    epochs: int
    train_loss: float | None


class Choice(NamedTuple):
    """What a run trains with."""

    learning_rate: float
    dropout: float


def candidates(config: SetConfig) -> list[Choice]:
    """Return the grid of what the configuration leaves open."""
    rates = RATES if config.learning_rate is None else (config.learning_rate,)
    dropouts = DROPOUTS if config.dropout is None else (config.dropout,)
    return [Choice(*pair) for pair in product(rates, dropouts)]


def inner_count(config: SetConfig) -> int:
    """Return how many inner runs it takes to choose."""
    return FOLDS * len(candidates(config)) if config.is_tuned else 0


def choose(config: SetConfig, trials: Sequence[Trial], classes: int) -> Choice:
    """Return the candidate with the largest share of right validation samples over all folds.

    A run that diverged scores chance, one in `classes`. Of equals, as are many on few samples, the one of least loss.
    """
    options = candidates(config)
    if len(options) == 1:
        return options[0]

    def score(option: Choice) -> tuple[float, float]:
        own = [one for one in trials if (one.learning_rate, one.dropout) == option]
        right = sum(one.samples / classes if one.right is None else one.right for one in own)
        return right, -sum(math.inf if one.loss is None else one.samples * one.loss for one in own)

    return max(options, key=score)


def inner_runs(config: SetConfig, split: Split, classes: int, batch_size: int, done: int) -> Iterator[Trial | None]:
    """Make the inner runs of a training part after the first `done`: yield None after each epoch, then the trial.

    InputError where a class has too few samples for every fold to hold one.
    """
    if done == inner_count(config):
        return
    if np.bincount(split.train_labels, minlength=classes).min() < FOLDS:
        raise InputError(
            f"{config.dataset} has a class with fewer than {FOLDS} samples in the training part, too few to choose "
            "learning rate and dropout by cross-validation: give both, or take another arm"
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=config.seed)
    parts = list(folds.split(split.train_features, split.train_labels))
    for option, fold in list(product(candidates(config), range(FOLDS)))[done:]:
        known, unknown = parts[fold]
        inner = standardized(split.train_features, split.train_labels, known, unknown, config.added_to_scale)
        learner = Learner(
            config, inner, classes, **option._asdict(), key=(config.seed, _INNER + fold), batch_size=batch_size
        )
        right = test_loss = None
        for epoch in range(1, config.epochs + 1):
            loss = learner.learn(epoch)  # of before each step: the last one may have lost the weights
            if not math.isfinite(loss) or any(np.isnan(layer.weight).any() for layer in learner.network.layers):
                break
            learner.adapt(epoch)
            yield None
        else:
            found, correct = learner.test()
            if math.isfinite(found):
                right, test_loss = int(correct.sum()), found
        last = {"epochs": epoch, "train_loss": loss if math.isfinite(loss) else None}
        yield Trial(**option._asdict(), fold=fold, samples=len(unknown), right=right, loss=test_loss, **last)
