"""Statistics over datasets: a published example, hand-worked cases, and the rule for verdicts."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.claims import (
    CLAIMS,
    average_ranks,
    by_dataset,
    compare_over_datasets,
    exponent,
    set_verdict,
    set_verdict_table,
    signed_rank_test,
)
from sparsecycle.set_mlp.comparison import compare_pairs
from sparsecycle.set_mlp.records import load_set_runs

# The table of Demsar (Journal of Machine Learning Research 7, 2006): AUC of four classifiers on 14 datasets.
DEMSAR = {
    "a": (0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957),
    "b": (0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978),
    "c": (0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946),
    "d": (0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970),
}


def runs(values: dict[str, dict[str, list[float]]], metric: str = "test_accuracy") -> pd.DataFrame:
    """Complete runs from {method: {dataset: a value a seed}}."""
    rows = [
        {
            "method": method,
            "dataset": dataset,
            "seed": seed,
            "status": "complete",
            "variant": "",
            metric: value,
            "neurons_left": 0.5 if method == "set_pruned" else 1.0,
        }
        for method, datasets in values.items()
        for dataset, seeds in datasets.items()
        for seed, value in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def test_ranks_of_a_published_example() -> None:
    """Average ranks 3.143, 2.000, 2.893, 1.964; Friedman's chi-square 9.28; a critical difference of 1.25."""
    table = runs({name: {f"{i:02d}": [value] for i, value in enumerate(column)} for name, column in DEMSAR.items()})
    ranks = average_ranks(table)
    assert {name: round(rank, 3) for name, rank in ranks.average.items()} == {
        "a": 3.143,
        "b": 2.0,
        "c": 2.893,
        "d": 1.964,
    }
    assert ranks.critical_difference == pytest.approx(1.25, abs=0.005) and ranks.datasets == 14
    # The paper's chi-square does not correct for ties, scipy's does: the p-value is a little smaller.
    assert ranks.p_value < stats.chi2.sf(9.28, 3) < 2 * ranks.p_value


def test_means_use_the_seeds_that_all_methods_have_and_failing_on_a_split_is_no_way_to_leave_it_out() -> None:
    table = runs({"set": {"x": [0.5, 0.7, 0.9], "y": [0.4]}, "dense": {"x": [0.1, 0.3], "z": [0.2]}})
    assert by_dataset(table, "test_accuracy").to_dict() == {"dense": {"x": 0.2}, "set": {"x": 0.6}}
    broken = (table["method"] == "dense") & (table["seed"] == 1)
    table.loc[broken, "status"] = "diverged"
    table.loc[broken, ["test_accuracy", "gap"]] = float("nan")
    means = by_dataset(table.assign(gap=0.25), "test_accuracy")
    assert means.loc["x"].to_dict() == {"dense": 0.05, "set": 0.6}, "a diverged run is right on no sample"
    gaps = by_dataset(table.assign(gap=table["test_accuracy"]), "gap")
    assert gaps.loc["x"].to_dict() == {"dense": 0.1, "set": 0.5}, "and has no gap"
    with pytest.raises(InputError, match="two runs of one dataset, method and seed"):
        by_dataset(pd.concat([table, table]), "test_accuracy")


def test_a_comparison_by_hand() -> None:
    """Differences of the datasets' means: 0.1, 0.2, 0.3, 0.6; all positive, so Wilcoxon's exact p is 2 / 2^4."""
    gains = {"p": 0.1, "q": 0.2, "r": 0.3, "s": 0.6}
    table = runs(
        {
            "set": {name: [0.3 + gain, 0.1 + gain] for name, gain in gains.items()},
            "dense": {name: [0.3, 0.1] for name in gains} | {"t": [0.5]},
        }
    )
    comparison, p_value = compare_over_datasets(table, CLAIMS[0])
    assert comparison.pairs == ("p", "q", "r", "s") and comparison.excluded == ("t",)
    assert comparison.differences == pytest.approx((0.1, 0.2, 0.3, 0.6)) and comparison.mean == pytest.approx(0.3)
    assert p_value == pytest.approx(2 / 16)
    gap = CLAIMS[1]
    worse, _ = compare_over_datasets(table.rename(columns={"test_accuracy": "gap"}), gap)
    assert worse.mean == pytest.approx(-0.3), "a larger gap is worse"
    nothing, p_value = compare_over_datasets(table[table["method"] == "set"], CLAIMS[0])
    assert nothing.pairs == () and math.isnan(p_value)


@settings(max_examples=30, deadline=None)  # the first call of 14 is slow
@given(st.lists(st.floats(-1, 1).filter(bool), min_size=2, max_size=14, unique_by=abs))
def test_the_signed_rank_test_is_scipy_s_where_no_differences_are_equal(differences: list[float]) -> None:
    assert signed_rank_test(np.array(differences)) == pytest.approx(stats.wilcoxon(differences).pvalue)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9).filter(any))
def test_the_signed_rank_test_is_exact_also_where_some_are_equal_or_zero(differences: list[int]) -> None:
    values = np.array(differences, dtype=np.float64)
    exact = stats.wilcoxon(values, method=stats.PermutationMethod()).pvalue
    assert signed_rank_test(values) == pytest.approx(exact)


@pytest.mark.parametrize(
    ("differences", "margin", "word"),
    [
        ([0.02, 0.03, 0.025, 0.02, 0.03, 0.025], None, "replicated"),
        ([-0.02, -0.03, -0.025, -0.02, -0.03, -0.025], None, "reversed"),
        ([-0.002, -0.004, -0.003, -0.002, -0.004, -0.003], 0.01, "replicated"),
        ([-0.02, -0.03, -0.025, -0.02, -0.03, -0.025], 0.01, "reversed"),
        ([-0.05, 0.05, -0.04, 0.04, 0.0, 0.01], 0.01, "inconclusive"),
        ([0.02, 0.03, 0.025], 0.01, "preliminary: replicated"),
        ([0.02, 0.03], 0.01, "inconclusive"),
    ],
)
def test_verdicts_by_rule(differences: list[float], margin: float | None, word: str) -> None:
    pairs = {f"{i}": value for i, value in enumerate(differences)}
    comparison = compare_pairs(("set_pruned", "set", "test_accuracy"), pairs, {})
    claim = next(claim for claim in CLAIMS if claim.margin == margin)
    assert set_verdict(comparison, claim) == word


def test_the_table_counts_the_study_s_own_runs_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {
        method: {f"{i}": list(level + 0.001 * rng.normal(size=2)) for i in range(6)}
        for method, level in {"dense": 0.6, "set": 0.7, "set_pruned": 0.698}.items()
    }
    table = runs(values)
    other = table.assign(variant="zeta=0.1", test_accuracy=0.0)
    verdicts = set_verdict_table(pd.concat([table.assign(gap=0.1), other]))
    assert verdicts["claim"].tolist() == ["D1", "D1", "D2"]
    assert verdicts["datasets"].tolist() == [6, 6, 6]
    assert verdicts["mean"].round(2).tolist() == [0.10, 0.0, 0.0]
    assert verdicts["verdict"].tolist() == ["replicated", "no effect", "replicated"]
    assert verdicts["neurons_left"].tolist() == [1.0, 1.0, 0.5]
    empty = set_verdict_table(load_set_runs(tmp_path))
    assert set(empty["verdict"]) == {"not measured"}


def test_exponent_of_a_power_law() -> None:
    neurons = [1e4, 1e5, 1e6]
    assert exponent(neurons, [7 * n for n in neurons]) == pytest.approx((1, 1, 1))
    slope, low, high = exponent(neurons, [n**2 + 50 * n for n in neurons])
    assert low < slope < high and slope == pytest.approx(2, abs=0.01)
