"""Comparisons over datasets, fixed before any result: an expanded bootstrap interval, a sign-flip test, and a rule."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparsecycle.analysis import statistics
from sparsecycle.analysis.statistics import Comparison

NO_EFFECT = 0.003  # half-width of the band that counts as "no effect": 0.3 points
RESAMPLES = 9999
SIGN_FLIPS = 2**16  # all flips of up to 16 pairs; of more pairs, as many random ones


def compare_pairs(
    names: tuple[str, str, str], differences: Mapping[str, float], reasons: Mapping[str, str]
) -> Comparison:
    """Return the comparison of (treatment, baseline, measure); differences and reasons are by dataset.

    `low` and `high` are those of `mean_interval`, `p_value` is that of `sign_flip_test`; a 90 % interval is not used.
    """
    values = tuple(map(float, differences.values()))
    low, high, p_value = _inference(values)
    plain = statistics.compare_pairs(names, differences, reasons)
    return replace(plain, low=low, high=high, p_value=p_value, low_90=math.nan, high_90=math.nan)


@cache  # pages, tables and their verification ask for the same comparisons again and again
def _inference(values: tuple[float, ...]) -> tuple[float, float, float]:
    low, high = mean_interval(np.array(values, dtype=np.float64))
    return float(low), float(high), sign_flip_test(values)


def mean_interval(differences: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % bootstrap interval of the mean over the last axis, (..., n) -> two arrays (...); NaN for n < 2.

    The percentile interval of `scipy.stats.bootstrap`, both ends moved away from the mean by the factor
    t(0.975, n-1) / z(0.975) * sqrt(n / (n-1)). A plain bootstrap of few values is too narrow: the variance of
    its resamples is (n-1)/n of the unbiased one, and it acts like a normal quantile where Student's belongs
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015). He
    expands the percentiles' levels to the same end; with 3 seeds that cannot help, because no resample's mean
    leaves the range of the data, so here the distances are expanded (our variant).

    Coverage of the true mean in 20,000 simulated studies of n = 3, 5, 10 normal differences: percentile 0.75,
    0.84, 0.90; BCa 0.72, 0.84, 0.90; expanded levels 0.75, 0.92, 0.95; this one 0.95, 0.95, 0.95. Strongly
    skewed (exponential) differences lower it to 0.89, 0.89, 0.91.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    if n < 2:
        nothing = np.full(values.shape[:-1], np.nan)
        return nothing, nothing
    rng = np.random.default_rng(0)  # fixed: the same runs always give the same interval
    resampled = stats.bootstrap(
        (values,), np.mean, axis=-1, method="percentile", n_resamples=RESAMPLES, batch=500, rng=rng
    )
    low, high = resampled.confidence_interval
    mean = values.mean(axis=-1)
    factor = stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * math.sqrt(n / (n - 1))
    return mean - factor * (mean - low), mean + factor * (high - mean)


@cache
def sign_flip_test(differences: tuple[float, ...]) -> float:
    """The two-sided p-value of a mean difference where every sign could as well be the other one; NaN of none.

    It is exact for up to 16 differences; of more, random flips are drawn, always the same ones.
    """
    if len(differences) < 2:  # of one, both flips are as extreme as what was seen
        return 1.0 if differences else math.nan
    values = np.array(differences, dtype=np.float64)
    rng = np.random.default_rng(0)
    test = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=SIGN_FLIPS, batch=4096, rng=rng
    )
    return float(test.pvalue)


def verdict(comparison: Comparison) -> str:
    """Return the verdict by the rule fixed before the results; the first line that applies decides.

    Fewer than 3 datasets: "inconclusive". Interval above zero: "replicated". Interval inside +-0.3 points: "no effect".
    Below zero: "reversed". Otherwise "inconclusive". With 3 to 5 datasets "preliminary: " stands before it.
    """
    n, low, high = len(comparison.pairs), comparison.low, comparison.high
    if n < 3:
        return "inconclusive"
    if low > 0:
        word = "replicated"
    elif low > -NO_EFFECT and high < NO_EFFECT:
        word = "no effect"
    else:
        word = "reversed" if high < 0 else "inconclusive"
    return f"preliminary: {word}" if n <= 5 else word
