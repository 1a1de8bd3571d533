"""What the lessons look at: recorded runs, and a study in which the truth is known because it is made up."""

import random
from typing import Any

import pandas as pd

from sparsecycle.runs.records import load_decisions, load_layers, load_runs

PRESET = "classroom"
BUDGETS = [1.0, 0.5, 0.25, 0.1, 0.05, 0.02]
METHODS = ["dense", "accuracy_gated"]


def recorded_runs() -> pd.DataFrame:
    """Return the recorded dense runs and those of the published rule that the lessons speak of."""
    return _plain_ones(load_runs())


def curves(runs: pd.DataFrame) -> dict[str, list[float]]:
    """Return the mean test accuracy of each method at each of `BUDGETS`, to three digits."""
    columns = [f"accuracy_at_{budget}" for budget in BUDGETS]
    means = runs.groupby("method")[columns].mean().round(3)
    return {method: [float(one) for one in means.loc[method].to_numpy()] for method in METHODS}


def positive_shares(seed: int = 0) -> dict[str, float]:
    """Return the share of values above zero that ReLU leaves in each layer of a dense network, to three digits."""
    layers = _plain_ones(load_layers())
    dense = layers[(layers["method"] == "dense") & (layers["seed"] == seed) & (layers["keep_ratio"] == 1.0)]
    return {
        str(name): round(float(share), 3) for name, share in zip(dense["layer"], dense["active_fraction"], strict=True)
    }


def decisions_of(seed: int = 0) -> pd.DataFrame:
    """Return the decisions of one recorded run of the published rule, in order."""
    decisions = _plain_ones(load_decisions())
    return decisions[(decisions["method"] == "accuracy_gated") & (decisions["seed"] == seed)].sort_values("step")


def pairs(decisions: pd.DataFrame) -> list[list[Any]]:
    """Return each decision as the keep-ratio after it, to three digits, and whether it was a reset."""
    kept = [round(float(one), 3) for one in decisions["keep_ratio"]]
    return [[keep, bool(reset)] for keep, reset in zip(kept, decisions["reset"], strict=True)]


def made_up_study(
    methods: dict[str, float], seeds: int = 15, looks: int = 30, images: int = 1000, accuracy: float = 0.8
) -> dict[str, list[list[list[int]]]]:
    """Return `seeds` networks of each method, all with the same true accuracy on average.

    A network is a list of looks, a look a list with 1 for each test image that was classified rightly and 0 otherwise.

    Args:
        methods: by name, the standard deviation of the true accuracy from one look to the next.
        seeds, looks, images: how many.
        accuracy: the mean of the true accuracy at every look, in (0, 1).
    """
    generator = random.Random(0)

    def look(deviation: float) -> list[int]:
        true = min(max(generator.gauss(accuracy, deviation), 0.0), 1.0)
        return [int(generator.random() < true) for _ in range(images)]

    return {
        method: [[look(deviation) for _ in range(looks)] for _ in range(seeds)] for method, deviation in methods.items()
    }


def _plain_ones(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["preset"] == PRESET) & (rows["variant"] == "") & rows["method"].isin(METHODS)]
