"""The numbers of a record that follow from its other files: accuracies of the looks, and the path of the keep-ratio."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsecycle.config import RunConfig
from sparsecycle.controllers import Decision
from sparsecycle.evaluation.accuracy import budget_area
from sparsecycle.evaluation.reporting import as_reported, clean_accuracy

ACTIVE = 0.57  # at initialization about this share of all values is positive: above it the constraint removes little


def look_metrics(dense: NDArray[np.bool_], sparse: NDArray[np.bool_]) -> dict[str, float]:
    """Return the accuracies of a run by its looks at the test images; NaN where there is no image.

    Args:
        dense: bool (looks, n), whether each image is right at keep 1.0.
        sparse: the same at the keep-ratio in force.
    """
    looked = dense.size > 0
    last, last_sparse = (float(correct[-1].mean()) if looked else math.nan for correct in (dense, sparse))
    best = as_reported(dense)
    return {
        "last_accuracy": last,
        "best_accuracy": best,
        "clean_accuracy": clean_accuracy(dense),
        "last_sparse_accuracy": last_sparse,
        "best_sparse_accuracy": as_reported(sparse),
        "drop_from_best": best - last,
    }


def budget_metrics(budgets: Mapping[float, NDArray[np.bool_]]) -> dict[str, float]:
    """Return the area under the accuracy-budget curve of the final network; NaN where there is no image."""
    if not budgets or not all(correct.size for correct in budgets.values()):
        return {"budget_area": math.nan}
    return {"budget_area": budget_area(list(budgets), [float(correct.mean()) for correct in budgets.values()])}


def path_metrics(decisions: pd.DataFrame, config: RunConfig, steps: int) -> dict[str, float]:
    """Return what the controller did.

    decisions counts them; resets are those found at a keep-ratio below 1, idle_resets the ones of them at `ACTIVE` or
    above, cycles those that came from below it and went above it. lowest_keep_ratio and mean_keep_ratio (geometric)
    are over the steps trained.

    Args:
        decisions: as in `decisions.parquet`.
        config: of the run.
        steps: trained.
    """
    after = decisions["keep_ratio"].to_numpy(dtype=float)
    before = np.concatenate([[first_keep_ratio(config)], after])  # in force before each decision, and at the end
    reset = decisions["reset"].to_numpy(dtype=bool) & (before[:-1] < 1)
    idle = reset & (before[:-1] >= ACTIVE)
    ends = np.concatenate([decisions["step"].to_numpy(dtype=int), [steps]])
    lengths = np.diff(ends, prepend=0)
    in_force = before[lengths > 0]
    logarithm = float((lengths * np.log(before)).sum() / max(1, steps))
    return {
        "decisions": float(len(after)),
        "resets": float(reset.sum()),
        "idle_resets": float(idle.sum()),
        "cycles": float((reset & ~idle & (after >= ACTIVE)).sum()),
        "lowest_keep_ratio": float(in_force.min()) if len(in_force) else float(before[0]),
        "mean_keep_ratio": math.exp(logarithm),
    }


def first_keep_ratio(config: RunConfig) -> float:
    """Return the keep-ratio of a run's first step."""
    return 1.0 if config.keep_ratio is None else config.keep_ratio


def decision_table(decisions: Sequence[Decision]) -> pd.DataFrame:
    """Return one row a decision: step, average and best (NaN without feedback), keep_ratio, reset."""
    columns: dict[str, Any] = {
        name: pd.Series([getattr(one, name) for one in decisions], dtype=kind)
        for name, kind in (("step", "int64"), ("average", float), ("best", float), ("keep_ratio", float))
    }
    return pd.DataFrame(columns | {"reset": pd.Series([one.reset for one in decisions], dtype=bool)})
