"""Paired differences, their intervals and tests: hand-worked numbers, simulated studies, scipy."""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsecycle.analysis.statistics import (
    Comparison,
    equivalence_test,
    holm,
    paired_difference,
    student_interval,
    student_test,
)
from sparsecycle.errors import InputError

# Measures are shares of at most 50,000 images, so a rounding error of a float sum is ten orders below a step.
ROUNDING = 1e-12
shares = st.integers(0, 10_000).map(lambda correct: correct / 10_000)
pairs = st.lists(st.tuples(shares, shares), min_size=2, max_size=8)


def study(values: Mapping[str, Sequence[float]], measure: str = "accuracy") -> pd.DataFrame:
    """One run for each method and value; the seeds count from 0."""
    rows = [
        {"method": method, "seed": seed, measure: value}
        for method, outcomes in values.items()
        for seed, value in enumerate(outcomes)
    ]
    return pd.DataFrame(rows, columns=["method", "seed", measure])


def against_zero(differences: Sequence[float]) -> Comparison:
    runs = study({"gated": differences, "dense": [0.0] * len(differences)})
    return paired_difference(runs, "gated", "dense", "accuracy")


def test_a_comparison_of_three_seeds_worked_by_hand():
    """Differences 0.01, 0.02, 0.03: mean 0.02, standard error 0.01 / sqrt(3); t(0.975, 2) = 4.302653, t(0.95, 2) =
    2.919986; t = 3.4641, whose two-sided p with 2 degrees of freedom is 1 - t / sqrt(t^2 + 2) = 0.0741799."""
    result = paired_difference(study({"gated": [0.88, 0.89, 0.9], "dense": [0.87] * 3}), "gated", "dense", "accuracy")
    assert result.pairs == (0, 1, 2)
    assert result.differences == pytest.approx((0.01, 0.02, 0.03), abs=ROUNDING)
    for low, high, t in ((result.low, result.high, 4.302653), (result.low_90, result.high_90, 2.919986)):
        assert (low, high) == pytest.approx((0.02 - t * 0.01 / math.sqrt(3), 0.02 + t * 0.01 / math.sqrt(3)), abs=1e-8)
    assert result.p_value == pytest.approx(0.0741799, abs=1e-7)


@given(pairs)
def test_swapping_treatment_and_baseline_negates_mean_and_interval(values):
    runs = study({"gated": [one for one, _ in values], "dense": [other for _, other in values]})
    forward = paired_difference(runs, "gated", "dense", "accuracy")
    for backward in (
        paired_difference(runs, "dense", "gated", "accuracy"),
        paired_difference(runs, "gated", "dense", "accuracy", larger_is_better=False),
    ):
        assert (backward.mean, backward.low, backward.high, backward.low_90, backward.high_90) == pytest.approx(
            (-forward.mean, -forward.high, -forward.low, -forward.high_90, -forward.low_90), abs=ROUNDING
        )
    assert forward.low <= forward.low_90 <= forward.mean <= forward.high_90 <= forward.high


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3))
def test_the_p_value_is_that_of_scipy_and_agrees_with_the_interval(values):
    assert student_test(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-9)
    low, high = student_interval(values)
    if abs(student_test(values) - 0.05) > 1e-9:
        assert (student_test(values) < 0.05) == (low > 0 or high < 0)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(1e-3, 1))
def test_equivalence_is_a_90_percent_interval_inside_the_margin(values, margin):
    low, high = student_interval(values, 0.90)
    p = equivalence_test(values, margin)
    assert 0 <= p <= 1
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (-margin < low and high < margin)


def test_equivalence_is_the_larger_of_two_one_sided_tests():
    values = [0.001, 0.004, -0.002, 0.003]
    below = stats.ttest_1samp(values, 0.005, alternative="less").pvalue
    above = stats.ttest_1samp(values, -0.005, alternative="greater").pvalue
    assert equivalence_test(values, 0.005) == pytest.approx(max(below, above), abs=ROUNDING)


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(values, random):
    runs = study({"gated": [one for one, _ in values], "dense": [other for _, other in values]})
    order = list(range(len(runs)))
    random.shuffle(order)
    comparisons = [paired_difference(one, "gated", "dense", "accuracy") for one in (runs, runs.iloc[order])]
    assert comparisons[0] == comparisons[1]


def test_seeds_without_a_partner_or_a_number_are_left_out():
    runs = study({"gated": [0.9, 0.9, 0.9, 0.9], "dense": [0.8, math.nan, 0.8, 0.8, 0.8]})
    runs = runs[(runs["method"] != "dense") | (runs["seed"] != 2)]
    assert paired_difference(runs, "gated", "dense", "accuracy").pairs == (0, 3)


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_pairs_there_is_no_interval_and_no_test(n):
    runs = pd.concat([study({"gated": [0.9] * n, "dense": [0.8] * n}), study({"gated": [0.9]}).assign(seed=100)])
    runs = pd.concat([runs, study({"dense": [0.8]}).assign(seed=200)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = paired_difference(runs, "gated", "dense", "accuracy")
    assert len(result.pairs) == n and math.isnan(result.mean) == (n == 0)
    numbers = (result.low, result.high, result.low_90, result.p_value, result.smallest_detectable_effect)
    assert all(map(math.isnan, numbers))


@pytest.mark.parametrize(("differences", "p"), [([0.01] * 5, 0.0), ([0.0, 0.0], 1.0)])
def test_equal_differences_give_an_interval_without_width_and_no_warning(differences, p):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = against_zero(differences)
        tests = equivalence_test(differences, 0.005)
    assert result.low == result.high == result.mean == pytest.approx(differences[0], abs=ROUNDING)
    assert result.p_value == p and tests == float(differences[0] > 0.005)


def test_a_repeated_run_and_an_unknown_name_are_refused():
    runs = study({"gated": [0.9, 0.9], "dense": [0.8, 0.8]})
    with pytest.raises(InputError, match="'dense' has more than one run of seed 0, 1;"):
        paired_difference(pd.concat([runs, runs[runs["method"] == "dense"]]), "gated", "dense", "accuracy")
    with pytest.raises(InputError, match=r"no column 'loss'; given: .*accuracy"):
        paired_difference(runs, "gated", "dense", "loss")
    with pytest.raises(InputError, match="no run of method 'plateau'; with runs: dense, gated"):
        paired_difference(runs, "plateau", "dense", "accuracy")


@pytest.mark.parametrize("deviation", [0.006, 0.010])  # what the plan expects of differences of accuracies
@pytest.mark.parametrize(("n", "detectable"), [(15, 0.78), (8, 1.16), (5, 1.68)])
def test_at_the_planned_sizes_intervals_cover_and_tests_have_the_power_that_is_said(n, detectable, deviation):
    """Of 20,000 studies with an effect of the smallest detectable size: within four standard errors.

    That size, in standard deviations, is what a noncentral t finds; the plan said 0.5 to 0.75 points for 15 pairs.
    """
    shape = np.linspace(-1, 1, n)
    effect = against_zero((deviation * shape / shape.std(ddof=1)).tolist()).smallest_detectable_effect
    assert effect / deviation == pytest.approx(detectable, abs=0.01)
    values = np.random.default_rng(n).normal(effect, deviation, size=(20_000, n))
    for level in (0.95, 0.90):
        low, high = student_interval(values, level)
        error = math.sqrt(level * (1 - level) / len(values))
        assert np.mean((low <= effect) & (effect <= high)) == pytest.approx(level, abs=4 * error)
    assert np.mean(student_interval(values)[0] > 0) == pytest.approx(0.80, abs=0.012)


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values):
    adjusted = holm(values)
    made = sorted((p, q) for p, q in zip(values, adjusted, strict=True) if not math.isnan(p))
    assert all(p <= q <= min(1.0, len(made) * p) + ROUNDING for p, q in made)
    assert [q for _, q in made] == sorted(q for _, q in made)
    assert [math.isnan(p) for p in values] == [math.isnan(q) for q in adjusted]


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.04 times 3, 2, 1 is 0.03, 0.04, 0.04."""
    assert holm([0.04, 0.01, math.nan, 0.02]) == pytest.approx([0.04, 0.03, math.nan, 0.04], nan_ok=True)
    with pytest.raises(InputError, match=r"p-value is 1\.5"):
        holm([1.5])
