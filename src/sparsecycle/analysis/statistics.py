"""Paired differences with Student's intervals, Holm's correction, and two one-sided tests for equivalence.

Runs are paired by seed: the runs of one seed start from the same weights and see the same order of images, so what
differs within a pair is the method. Effects are fractions of the images (0.01 is one point), and a positive one means
that the treatment is better.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from sparsecycle.errors import InputError

POWER = 0.80
Pair = TypeVar("Pair", int, str)


@dataclass(frozen=True)
class Comparison:
    """A treatment against a baseline over pairs.

    Attributes:
        pairs: seeds; in the companion study datasets.
        differences: one a pair, positive where the treatment is better.
        mean: of the differences; NaN without a pair.
        low, high: bounds of the 95 % interval of the mean; NaN for fewer than two pairs.
        low_90, high_90: bounds of the 90 % interval.
        p_value: two-sided, for a mean of zero.
        smallest_detectable_effect: the mean that a two-sided 5 % t-test finds with 80 % power, given as many pairs and
            this standard deviation; by luck a smaller one is found too.
    """

    treatment: str
    baseline: str
    measure: str
    pairs: tuple[int, ...] | tuple[str, ...]
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    low_90: float
    high_90: float
    p_value: float
    smallest_detectable_effect: float


def student_interval(differences: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both bounds of Student's interval of the mean over the last axis, (..., n) to (...); NaN for n < 2."""
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    if n < 2:
        nothing = np.full(values.shape[:-1], np.nan)
        return nothing, nothing
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(axis=-1, ddof=1) / math.sqrt(n)
    mean = values.mean(axis=-1)
    return mean - half, mean + half


def student_test(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Student's test that the true mean is zero; NaN for fewer than two differences.

    Where all differences are equal it is 1 if they are zero, else 0.
    """
    n = len(differences)
    if n < 2:
        return math.nan
    mean, error = np.mean(differences), np.std(differences, ddof=1) / math.sqrt(n)
    if not error:
        return float(mean == 0)
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))


def equivalence_test(differences: Sequence[float], margin: float) -> float:
    """Return the p-value of two one-sided tests that the true mean lies inside +-margin; NaN for fewer than two.

    It is below 5 % exactly where the 90 % interval lies inside the margin (Schuirmann, Journal of Pharmacokinetics and
    Biopharmaceutics 15, 1987).
    """
    n = len(differences)
    if n < 2:
        return math.nan
    room, error = margin - abs(np.mean(differences)), np.std(differences, ddof=1) / math.sqrt(n)
    if not error:
        return float(room <= 0)
    return float(stats.t.sf(room / error, n - 1))  # the larger of the two tests' p-values


def compare_pairs(names: tuple[str, str, str], differences: Mapping[Pair, float]) -> Comparison:
    """Return the comparison of (treatment, baseline, measure); differences are by seed or by dataset."""
    values = tuple(map(float, differences.values()))
    n = len(values)
    low, high = student_interval(values)
    low_90, high_90 = student_interval(values, 0.90)
    detectable = math.nan
    if n > 1:
        # The noncentral t with this power above the critical value; below its negative lies less than 1e-6.
        shift = special.nctdtrinc(n - 1, 1 - POWER, stats.t.ppf(0.975, n - 1))
        detectable = shift * np.std(values, ddof=1) / math.sqrt(n)
    return Comparison(
        *names,
        pairs=tuple(differences),
        differences=values,
        mean=float(np.mean(values)) if n else math.nan,
        low=float(low),
        high=float(high),
        low_90=float(low_90),
        high_90=float(high_90),
        p_value=student_test(values),
        smallest_detectable_effect=float(detectable),
    )


def paired_difference(
    runs: pd.DataFrame,
    treatment: str,
    baseline: str,
    measure: str,
    *,
    larger_is_better: bool = True,
    by: str = "method",
) -> Comparison:
    """Compare two arms on the seeds of which both have a finite measure, however their runs ended.

    Args:
        runs: one row a run, with the columns seed, the measure, and the one that names the arms.
        treatment: an arm.
        baseline: another one.
        measure: a column of numbers.
        larger_is_better: whether a larger measure is an improvement.
        by: the column that names the arms.

    Raises:
        InputError: a column or an arm that the runs lack, and two runs of one arm and seed.
    """
    require(runs, "seed", by, measure)
    treated, untreated = (_by_seed(runs, arm, measure, by) for arm in (treatment, baseline))
    both = {seed: treated[seed] - untreated[seed] for seed in sorted(treated.keys() & untreated.keys())}
    sign = 1 if larger_is_better else -1
    differences = {seed: sign * difference for seed, difference in both.items() if math.isfinite(difference)}
    return compare_pairs((treatment, baseline, measure), differences)


def _by_seed(runs: pd.DataFrame, arm: str, measure: str, by: str) -> dict[int, float]:
    chosen = runs[runs[by] == arm]
    if chosen.empty:
        known = ", ".join(sorted(set(runs[by]))) or "none"
        raise InputError(f"no run of {by} {arm!r}; with runs: {known}")
    if repeated := sorted(int(seed) for seed, count in Counter(chosen["seed"]).items() if count > 1):
        raise InputError(
            f"{by} {arm!r} has more than one run of seed {', '.join(map(str, repeated))}; "
            "allowed: one a seed (select one preset and one variant)"
        )
    values = pd.to_numeric(chosen[measure], errors="coerce")
    return {int(seed): float(value) for seed, value in zip(chosen["seed"], values, strict=True)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the adjusted p-values in the given order (Holm, Scandinavian Journal of Statistics 6, 1979).

    NaN, a test that was not made, stays NaN and does not count.

    Raises:
        InputError: a value outside [0, 1].
    """
    if bad := [p for p in p_values if p < 0 or p > 1]:
        raise InputError(f"p-value is {bad[0]}, but must lie in [0, 1], or be NaN for a test that was not made")
    every = pd.Series(p_values, dtype=float)
    made = every.dropna().sort_values(kind="stable")
    adjusted = (made * np.arange(len(made), 0, -1)).clip(upper=1.0).cummax()
    return adjusted.reindex(every.index).tolist()


def require(runs: pd.DataFrame, *columns: str) -> None:
    """Raise InputError unless the frame has these columns."""
    given = list(map(str, runs.columns))
    if missing := [name for name in columns if name not in given]:
        raise InputError(f"the runs have no column {missing[0]!r}; given: {', '.join(given) or 'none'}")
