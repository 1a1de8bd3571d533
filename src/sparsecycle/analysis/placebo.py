"""What selection on test images gives by itself: the best accuracy of a run by how often it was looked at.

The author's script reports the best test accuracy of all looks. The largest of many numbers that scatter lies above
their mean, the more so the more there are, whatever the method does.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsecycle.analysis.statistics import Comparison, compare_pairs
from sparsecycle.errors import InputError
from sparsecycle.evaluation.reporting import as_reported


def counts(looks: int) -> list[int]:
    """Return the numbers of looks that are compared: all, a half, a quarter, a sixteenth, and the last one alone."""
    return sorted({max(1, looks // part) for part in (1, 2, 4, 16)} | {1})


def best_of(correct: NDArray[np.bool_], count: int) -> float:
    """Return the largest accuracy over `count` of the looks, evenly spaced among them, the last one included.

    Args:
        correct: bool (looks, n), whether each of the n test images was classified rightly at each look.
        count: from 1 to the number of looks, which is the number that the script reports.

    Raises:
        InputError: more or fewer than there are.
    """
    looks = len(correct)
    if not 1 <= count <= looks:
        raise InputError(f"count is {count}, but must be from 1 to the {looks} looks of the run")
    return as_reported(correct[(np.arange(1, count + 1) * looks) // count - 1])


def best_by_looks(runs: pd.DataFrame, correct: Mapping[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Return the best accuracy of each run for some numbers of looks: method, seed, looks, best, and above_clean.

    Args:
        runs: rows of `load_runs`: run, method, seed, clean_accuracy.
        correct: of each run, as for `best_of`.
    """
    rows = [
        {"method": run["method"], "seed": run["seed"], "looks": count, "best": best_of(correct[run["run"]], count)}
        | {"above_clean": best_of(correct[run["run"]], count) - run["clean_accuracy"]}
        for run in runs.to_dict("records")
        for count in counts(len(correct[run["run"]]))
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "looks", "best", "above_clean"])


def placebo(table: pd.DataFrame, method: str, more: int, fewer: int) -> Comparison:
    """Return what a method gains over itself: the best of each run's `more` looks minus the best of `fewer` of them.

    Compared with runs of other seeds, each once, the mean would be the same, and it would scatter more.

    Args:
        table: of `best_by_looks`.
    """
    own = table[table["method"] == method].pivot(index="seed", columns="looks", values="best")
    gains = own[more] - own[fewer] if {more, fewer} <= set(own.columns) else pd.Series(dtype=float)
    differences = {int(str(seed)): float(gain) for seed, gain in gains.items()}
    return compare_pairs((f"{method}, {more} looks", f"{method}, {fewer} looks", "best_accuracy"), differences)
