"""Intervals, p-values and verdicts on hand-worked numbers, simulated studies and synthetic runs."""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparsecycle.errors import InputError
from sparsecycle.analysis.statistics import (
    CLAIMS,
    Comparison,
    holm,
    mean_interval,
    paired_difference,
    verdict,
    verdict_table,
)

# Metrics are shares of at most 50,000 images, so a rounding error of a float sum is ten orders below a step.
ROUNDING = 1e-12


def study(values: Mapping[str, Sequence[float]], metric: str = "test_accuracy", **columns: object) -> pd.DataFrame:
    """One complete run of the preset "paper" for each method and value; the seeds count from 0."""
    rows = [
        {
            "preset": "paper",
            "variant": "",
            "method": method,
            "seed": seed,
            "status": "complete",
            metric: value,
        }
        for method, outcomes in values.items()
        for seed, value in enumerate(outcomes)
    ]
    return pd.DataFrame(rows).assign(**columns)


def against_zero(differences: Sequence[float]) -> Comparison:
    runs = study({"plateau": differences, "dense": [0.0] * len(differences)})
    return paired_difference(runs, "plateau", "dense", "test_accuracy")


def interval(low: float, high: float, seeds: int = 10) -> Comparison:
    """A comparison of which only what the verdict reads is set."""
    spread = (0.0,) * seeds
    return Comparison(
        "plateau",
        "dense",
        "test_accuracy",
        tuple(range(seeds)),
        spread,
        (low + high) / 2,
        low,
        high,
        1.0,
        0.0,
    )


accuracies = st.lists(st.integers(0, 10_000).map(lambda correct: correct / 10_000), min_size=2, max_size=6)
pairs = st.integers(2, 6).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 10_000), min_size=n, max_size=n)] * 2)
)  # correct images of 10,000: treatment, baseline


def test_a_hand_worked_comparison_of_three_seeds() -> None:
    runs = study({"plateau": [0.88, 0.89, 0.90], "dense": [0.87, 0.87, 0.87]})
    result = paired_difference(runs, "plateau", "dense", "test_accuracy")
    assert result.pairs == (0, 1, 2)
    assert result.differences == pytest.approx((0.01, 0.02, 0.03), abs=ROUNDING)
    assert result.mean == pytest.approx(0.02, abs=ROUNDING)
    # An extreme resample has probability 1/27 > 2.5 %, so the percentile interval is the range 0.02 +- 0.01,
    # widened by 4.302653 / 1.959964 * sqrt(3/2) = 2.688647 (tables of seven digits).
    assert result.low == pytest.approx(0.02 - 0.02688647, abs=1e-8)
    assert result.high == pytest.approx(0.02 + 0.02688647, abs=1e-8)
    assert result.p_value == pytest.approx(2 / 8, abs=ROUNDING)  # only +++ and --- are as extreme
    assert (result.excluded, result.reasons) == ((), ())


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.01, 0.02, 0.03, 0.04, 0.05], 2 / 32),
        ([0.01, 0.02, -0.03], 8 / 8),  # the sum is 0: every flip is as extreme
        ([0.01, 0.02, 0.03, -0.01], 6 / 16),  # the sum is 5; 7 arises once, 5 twice, and both mirrored
        ([0.01, 0.01], 2 / 4),
        ([0.02], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
    ],
)
def test_the_p_value_is_the_share_of_flips_as_extreme(differences: list[float], p: float) -> None:
    assert against_zero(differences).p_value == pytest.approx(p, abs=ROUNDING)


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_the_p_value_is_that_of_a_plain_enumeration(tenths_of_permille: list[int]) -> None:
    n, observed = len(tenths_of_permille), abs(sum(tenths_of_permille))
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    extreme = np.mean(np.abs(signs @ np.array(tenths_of_permille)) >= observed)
    # The two one-sided p-values are equal by symmetry and their sum is cut at 1.
    assert against_zero([d / 10_000 for d in tenths_of_permille]).p_value == pytest.approx(extreme, abs=ROUNDING)


def test_random_flips_take_over_beyond_sixteen_pairs() -> None:
    differences = np.random.default_rng(3).normal(0.0004, 0.001, size=20)
    p = against_zero(differences.tolist()).p_value
    # Close to the t-test for normal differences; four standard errors of 65,536 flips are 0.008 at most.
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert p == against_zero(differences.tolist()).p_value


@given(pairs)
@settings(max_examples=30, deadline=None)
def test_swapping_the_two_methods_negates_mean_and_interval(counts: tuple[list[int], list[int]]) -> None:
    runs = study({"plateau": np.array(counts[0]) / 1e4, "dense": np.array(counts[1]) / 1e4})
    forward = paired_difference(runs, "plateau", "dense", "test_accuracy")
    for backward in (
        paired_difference(runs, "dense", "plateau", "test_accuracy"),
        paired_difference(runs, "plateau", "dense", "test_accuracy", larger_is_better=False),
    ):
        assert (backward.mean, backward.low, backward.high) == pytest.approx(
            (-forward.mean, -forward.high, -forward.low), abs=ROUNDING
        )
        assert backward.p_value == pytest.approx(forward.p_value, abs=ROUNDING)
        assert backward.smallest_detectable_effect == pytest.approx(forward.smallest_detectable_effect, abs=ROUNDING)
    assert forward.low - ROUNDING <= forward.mean <= forward.high + ROUNDING


@given(pairs, st.integers(-5000, 5000))
@settings(max_examples=30, deadline=None)
def test_a_constant_gain_moves_mean_and_interval_by_itself(counts: tuple[list[int], list[int]], gain: int) -> None:
    differences = (np.array(counts[0]) - np.array(counts[1])) / 1e4
    before, after = against_zero(differences.tolist()), against_zero((differences + gain / 1e4).tolist())
    assert (after.mean, after.low, after.high) == pytest.approx(
        (before.mean + gain / 1e4, before.low + gain / 1e4, before.high + gain / 1e4), abs=ROUNDING
    )
    assert after.smallest_detectable_effect == pytest.approx(before.smallest_detectable_effect, abs=ROUNDING)


@given(pairs, st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_rows_does_not_matter(counts: tuple[list[int], list[int]], random: Random) -> None:
    runs = study({"plateau": np.array(counts[0]) / 1e4, "dense": np.array(counts[1]) / 1e4})
    order = list(range(len(runs)))
    random.shuffle(order)
    shuffled = runs.iloc[order]
    # repr, because NaN differs from itself
    assert repr(paired_difference(shuffled, "plateau", "dense", "test_accuracy")) == repr(
        paired_difference(runs, "plateau", "dense", "test_accuracy")
    )
    pd.testing.assert_frame_equal(verdict_table(shuffled, "paper"), verdict_table(runs, "paper"))


def test_seeds_without_a_complete_partner_are_left_out_and_named() -> None:
    runs = study({"plateau": [0.9, 0.9, math.nan, 0.9, 0.9], "dense": [0.8, 0.8, 0.8, math.nan, 0.8, 0.8]})
    runs.loc[(runs["method"] == "plateau") & (runs["seed"] == 2), "status"] = "diverged"
    result = paired_difference(runs, "plateau", "dense", "test_accuracy")
    assert result.pairs == (0, 1, 4)
    assert result.excluded == (2, 3, 5)
    assert result.reasons == ("plateau diverged", "test_accuracy of dense is not finite", "no plateau run")


def test_a_diverged_run_is_left_out_even_with_a_number() -> None:
    runs = study({"plateau": [0.1, 0.9], "dense": [0.8, 0.8]})
    runs.loc[0, "status"] = "diverged"
    assert paired_difference(runs, "plateau", "dense", "test_accuracy").pairs == (1,)


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_pairs_there_is_no_interval(n: int) -> None:
    runs = study({"plateau": [0.9] * n, "dense": [0.8] * n})
    extra = study({"plateau": [0.9], "dense": [0.8]})
    extra["seed"] = [100, 200]  # two runs that have no partner
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = paired_difference(pd.concat([runs, extra]), "plateau", "dense", "test_accuracy")
    assert len(result.pairs) == n
    assert all(map(math.isnan, (result.low, result.high, result.smallest_detectable_effect)))
    assert math.isnan(result.p_value) == math.isnan(result.mean) == (n == 0)


@pytest.mark.parametrize("differences", [[0.01, 0.01], [0.01] * 5, [0.0, 0.0], [-0.02, 0.03]])
def test_degenerate_differences_give_finite_numbers_without_warnings(differences: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = against_zero(differences)
    assert all(map(math.isfinite, (result.low, result.high, result.p_value, result.smallest_detectable_effect)))
    if len(set(differences)) == 1:
        assert result.low == pytest.approx(result.mean, abs=ROUNDING)
        assert result.high == pytest.approx(result.mean, abs=ROUNDING)


@given(st.sets(st.integers(0, 5), min_size=1))
@settings(max_examples=15, deadline=None)
def test_repeated_runs_are_refused_by_name(repeated: set[int]) -> None:
    runs = study({"plateau": [0.9] * 6, "dense": [0.8] * 6})
    again = runs[(runs["method"] == "dense") & runs["seed"].isin(repeated)]
    seeds = ", ".join(map(str, sorted(repeated)))
    with pytest.raises(InputError, match=f"'dense' has more than one run of seed {seeds};"):
        paired_difference(pd.concat([runs, again]), "plateau", "dense", "test_accuracy")
    with pytest.raises(InputError, match="more than one run"):
        verdict_table(pd.concat([runs, again]), "paper")


def test_an_unknown_metric_or_method_is_named_with_what_there_is() -> None:
    runs = study({"plateau": [0.9], "dense": [0.8]})
    with pytest.raises(InputError, match=r"no column 'accuracy'; given: .*test_accuracy"):
        paired_difference(runs, "plateau", "dense", "accuracy")
    with pytest.raises(InputError, match=r"no run of method 'plato'; methods with runs: dense, plateau"):
        paired_difference(runs, "plato", "dense", "test_accuracy")
    with pytest.raises(InputError, match=r"no column 'method'; given: none"):
        paired_difference(pd.DataFrame(), "plateau", "dense", "test_accuracy")
    with pytest.raises(InputError, match=r"methods with runs: none"):
        paired_difference(runs.iloc[:0], "plateau", "dense", "test_accuracy")


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_true_mean_in_about_95_percent_of_studies(n: int) -> None:
    """4,000 studies with a spread of 0.3 points and a true gain of 1.07 points.

    Of 20,000 studies, 0.94 to 0.96 were covered and the standard error of 4,000 is 0.0035, so 0.92
    and 0.98 are out of chance's reach. A plain percentile interval (0.75, 0.84, 0.90) fails each case.
    """
    truth = 0.0107
    studies = np.random.default_rng(n).normal(truth, 0.003, size=(4000, n))
    low, high = mean_interval(studies)
    assert 0.92 <= np.mean((low <= truth) & (truth <= high)) <= 0.98
    # Were the truth zero, these would be called replicated or reversed: 2.5 % each; at most 2.9 %
    # was seen in 20,000 studies, and four standard errors are 1.1 %.
    assert np.mean(low > truth) < 0.04
    assert np.mean(high < truth) < 0.04


def test_many_studies_at_once_get_the_interval_of_each_alone() -> None:
    studies = np.random.default_rng(0).normal(size=(4, 5))
    low, high = mean_interval(studies)
    for row, alone in enumerate(map(against_zero, studies.tolist())):
        assert (alone.low, alone.high) == pytest.approx((low[row], high[row]), abs=ROUNDING)


@given(accuracies)
@settings(max_examples=20, deadline=None)
def test_the_interval_is_as_wide_as_that_of_scipy_times_the_factor(values: list[float]) -> None:
    n = len(values)
    plain = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, batch=500, rng=np.random.default_rng(0)
    ).confidence_interval
    low, high = mean_interval(np.array(values))
    factor = stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * math.sqrt(n / (n - 1))
    assert high - low == pytest.approx(factor * (plain.high - plain.low), abs=ROUNDING)


@pytest.mark.parametrize(("n", "standard_deviations"), [(3, 3.2640), (5, 1.6820), (10, 0.9960), (30, 0.5292)])
def test_the_smallest_detectable_effect_is_the_tabulated_one(n: int, standard_deviations: float) -> None:
    """Paired t-test, two-sided 5 %, power 0.80, to the four digits of power tables (n = 10: d = 0.996)."""
    values = np.random.default_rng(n).normal(0.01, 0.003, size=n)
    detectable = against_zero(values.tolist()).smallest_detectable_effect
    assert detectable / np.std(values, ddof=1) == pytest.approx(standard_deviations, abs=5e-5)


@pytest.mark.parametrize("n", [3, 6])
def test_a_t_test_finds_the_smallest_detectable_effect_in_80_percent_of_studies(n: int) -> None:
    values = stats.zscore(np.arange(n, dtype=float), ddof=1)  # standard deviation 1
    effect = against_zero(values.tolist()).smallest_detectable_effect
    studies = np.random.default_rng(n).normal(effect, 1.0, size=(20_000, n))
    found = np.mean(stats.ttest_1samp(studies, 0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.80, abs=0.012)  # four standard errors of 20,000 studies


def test_holm_on_four_p_values_worked_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04; the last rises to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=ROUNDING)


def test_holm_lets_tests_that_were_not_made_through_and_does_not_count_them() -> None:
    adjusted = holm([math.nan, 0.02, 0.9, math.nan])
    assert adjusted[1:3] == pytest.approx([0.04, 0.9], abs=ROUNDING)
    assert math.isnan(adjusted[0]) and math.isnan(adjusted[3])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    bonferroni = [min(1.0, len(p_values) * p) for p in p_values]
    assert all(p <= a <= b for p, a, b in zip(p_values, adjusted, bonferroni, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.inf])
def test_holm_refuses_what_is_no_probability(bad: float) -> None:
    with pytest.raises(InputError, match="allowed: 0 to 1"):
        holm([0.5, bad])


@pytest.mark.parametrize(
    ("low", "high", "paper", "word"),
    [
        (0.008, 0.013, 0.0107, "replicated"),  # inside
        (0.012, 0.020, 0.0107, "replicated"),  # below
        (0.002, 0.020, None, "replicated"),
        (0.002, 0.0107, 0.0107, "replicated"),  # on the border
        (0.004, 0.009, 0.0107, "replicated, smaller"),
        (0.001, 0.002, 0.0107, "replicated, smaller"),  # above zero comes before the band
        (-0.002, 0.002, 0.0107, "no effect"),
        (-0.002, -0.001, 0.0107, "no effect"),  # the band comes before below zero
        (0.0, 0.002, None, "no effect"),
        (-0.003, 0.002, None, "inconclusive"),  # the band's border is outside
        (-0.002, 0.003, None, "inconclusive"),
        (-0.020, -0.001, 0.0107, "reversed"),
        (-0.020, 0.0, None, "inconclusive"),
        (-0.020, 0.030, 0.0107, "inconclusive"),
    ],
)
@pytest.mark.parametrize(
    ("seeds", "prefix"), [(6, ""), (30, ""), (5, "preliminary: "), (3, "preliminary: "), (2, None), (0, None)]
)
def test_each_interval_has_the_verdict_of_the_rule(
    low: float, high: float, paper: float | None, word: str, seeds: int, prefix: str | None
) -> None:
    expected = "inconclusive" if prefix is None else prefix + word
    assert verdict(interval(low, high, seeds), paper_effect=paper) == expected


def test_a_verdict_on_no_pairs_is_inconclusive() -> None:
    assert verdict(dataclasses.replace(interval(math.nan, math.nan), pairs=())) == "inconclusive"


SPREAD = np.array([-0.001, 0.001, -0.0005, 0.0005, -0.0008, 0.0008])  # six seeds, mean zero


@pytest.mark.parametrize(
    ("gain", "scale", "seeds", "word"),
    [
        (0.0107, 1, 6, "replicated"),
        (0.005, 1, 6, "replicated, smaller"),
        (0.0, 1, 6, "no effect"),
        (-0.01, 1, 6, "reversed"),
        (0.0, 20, 6, "inconclusive"),
        (0.0107, 1, 4, "preliminary: replicated"),
        (0.0, 20, 4, "preliminary: inconclusive"),
        (0.0107, 1, 2, "inconclusive"),
    ],
)
def test_a_synthetic_study_gets_the_verdict_built_into_it(gain: float, scale: float, seeds: int, word: str) -> None:
    dense = np.linspace(0.866, 0.872, seeds)
    runs = study({"loss_gated": dense + gain + scale * SPREAD[:seeds], "dense": dense})
    row = verdict_table(runs, "paper").query("claim == 'C1'").iloc[0]
    assert row["verdict"] == word
    assert row["mean"] == pytest.approx(gain, abs=ROUNDING)
    assert row["seeds"] == seeds


def full_study(seeds: int = 8) -> pd.DataFrame:
    """All six methods with every recorded metric, made so that the adaptive ones gain a point."""
    rng = np.random.default_rng(1)
    gains = {
        "dense": 0.0,
        "loss_gated": 0.01,
        "plateau": 0.01,
        "geometric": 0.002,
        "fixed": 0.0,
        "random": -0.01,
    }
    runs = study({method: 0.869 + gain + rng.normal(0, 0.001, seeds) for method, gain in gains.items()})
    return runs.assign(
        budget_area=runs["test_accuracy"] - 0.2,
        gap=1 - runs["test_accuracy"],
        drop_from_best=0.001,
        training_seconds=np.where(runs["method"] == "dense", 100.0, 130.0),
    )


def test_the_table_has_every_claim_and_never_ranks_the_strategies() -> None:
    table = verdict_table(full_study(), "paper")
    assert list(dict.fromkeys(table["claim"])) == [f"C{i}" for i in range(1, 9)]
    for claim in CLAIMS:
        assert not set(claim.baselines) & {"loss_gated", "plateau"}
    for comparison in table["comparison"]:
        assert not ("loss_gated" in comparison and "plateau" in comparison)
    assert not table.duplicated(["claim", "comparison", "measure"]).any()
    papers = table.set_index("claim")["paper"]
    assert papers["C1"] == pytest.approx(0.0107, abs=ROUNDING)
    assert papers["C2"] == pytest.approx(0.0112, abs=ROUNDING)
    assert papers.drop(["C1", "C2"]).isna().all()


def test_what_was_not_recorded_stands_in_the_table_as_not_measured() -> None:
    table = verdict_table(full_study(), "paper").set_index("claim")
    missing = table.loc[["C5", "C6"]]
    assert (missing["verdict"] == "not measured").all()
    assert (missing["seeds"] == 0).all()
    assert missing[["mean", "low", "high", "p_value"]].isna().all(axis=None)
    assert (table.drop(["C5", "C6"])["verdict"] != "not measured").all()


def test_smaller_is_better_turns_a_smaller_gap_into_an_improvement() -> None:
    row = verdict_table(full_study(), "paper").query("measure == 'gap'").iloc[0]
    assert row["mean"] > 0
    assert row["unit"] == "reduction, fraction"
    assert row["verdict"] == "supported", "no number of the paper's is known"


def test_time_is_a_geometric_mean_ratio_without_a_verdict() -> None:
    runs = study({"plateau": [100.0, 400.0], "dense": [100.0, 100.0]}, metric="training_seconds")
    row = verdict_table(runs, "paper").query("comparison == 'plateau / dense'").iloc[0]
    assert row["mean"] == pytest.approx(2.0, rel=ROUNDING)  # sqrt(1 * 4)
    assert math.isnan(row["low"]) and math.isnan(row["high"]), (
        "times differ by the load of the machine, not by the seed"
    )
    assert row["verdict"] == "measured"
    runs.loc[0, "training_seconds"] = 0.0  # a time that cannot be
    row = verdict_table(runs, "paper").query("comparison == 'plateau / dense'").iloc[0]
    assert (row["seeds"], row["excluded"]) == (1, 1)


def test_holm_corrects_the_six_comparisons_of_c8_and_nothing_else() -> None:
    table = verdict_table(full_study(), "paper")
    family = table[table["claim"] == "C8"]
    assert len(family) == 6
    assert family["p_holm"].tolist() == pytest.approx(holm(family["p_value"].tolist()), abs=ROUNDING)
    assert family["p_holm"].min() == pytest.approx(6 * 2 / 2**8, abs=ROUNDING)  # what eight seeds can reach
    assert table.loc[table["claim"] != "C8", "p_holm"].isna().all()


def test_only_the_presets_own_runs_count() -> None:
    runs = full_study()
    others = pd.concat([runs.assign(preset="quick"), runs.assign(variant="norm=batch")])
    others["test_accuracy"] = 0.1
    both = verdict_table(pd.concat([others, runs]), "paper")
    pd.testing.assert_frame_equal(both, verdict_table(runs, "paper"))


def test_runs_left_out_are_counted_beside_the_verdict() -> None:
    runs = full_study()
    diverged = (runs["method"] == "plateau") & (runs["seed"] < 5)
    runs.loc[diverged, "status"] = "diverged"
    runs.loc[diverged, "test_accuracy"] = math.nan
    row = verdict_table(runs, "paper").query("claim == 'C2'").iloc[0]
    assert (row["seeds"], row["excluded"]) == (3, 5)
    assert row["verdict"].startswith("preliminary: ")
    runs.loc[runs["method"] == "plateau", "status"] = "diverged"
    row = verdict_table(runs, "paper").query("claim == 'C2'").iloc[0]
    assert (row["seeds"], row["excluded"], row["verdict"]) == (0, 8, "not measured")


@pytest.mark.parametrize("runs", [pd.DataFrame(), full_study().iloc[:0], full_study().assign(preset="quick")])
def test_without_runs_every_claim_is_not_measured(runs: pd.DataFrame) -> None:
    table = verdict_table(runs, "paper")
    assert set(table["claim"]) == {f"C{i}" for i in range(1, 9)}
    assert (table["verdict"] == "not measured").all()
    assert (table["seeds"] == 0).all()
    assert table[["mean", "low", "high", "p_value", "p_holm"]].isna().all(axis=None)


def test_runs_without_a_needed_column_are_refused() -> None:
    with pytest.raises(InputError, match="no column 'variant'"):
        verdict_table(full_study().drop(columns="variant"), "paper")
