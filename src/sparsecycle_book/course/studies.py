"""A study in which the truth is known, because its networks are made up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Looks:
    """What was seen of one made-up network.

    Attributes:
        accuracy: its true accuracy at each look, (looks,).
        correct: whether each test image was classified rightly at each look, (looks, images).
    """

    accuracy: NDArray[np.float64]
    correct: NDArray[np.bool_]


def made_up_study(
    methods: dict[str, float], seeds: int = 15, looks: int = 30, images: int = 1000, accuracy: float = 0.8
) -> dict[str, list[Looks]]:
    """Return `seeds` networks of each method, all with the same true accuracy on average.

    Args:
        methods: by name, the standard deviation of the true accuracy from one look to the next.
        seeds, looks, images: how many.
        accuracy: the mean of the true accuracy at every look, in (0, 1).
    """
    generator = np.random.default_rng(0)
    study: dict[str, list[Looks]] = {}
    for method, deviation in methods.items():
        study[method] = []
        for _ in range(seeds):
            true = np.clip(generator.normal(accuracy, deviation, looks), 0.0, 1.0)
            study[method].append(Looks(true, generator.random((looks, images)) < true[:, None]))
    return study
