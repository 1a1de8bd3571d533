"""The rules for verdicts on studies in which the truth is known, and the table of claims on made-up runs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecycle import RunConfig
from sparsecycle.analysis.selection import arms, shown_tier, tier, varied, why_left_out
from sparsecycle.analysis.statistics import Comparison, compare_pairs, holm, student_interval
from sparsecycle.analysis.verdicts import (
    CLAIMS,
    NOT_JUDGED,
    NOT_MEASURED,
    PAPER_EFFECT,
    control_verdict,
    effects,
    first_pairs,
    gain_verdict,
    property_verdict,
    readable_verdicts,
    verdict_table,
)
from sparsecycle.errors import InputError
from sparsecycle.runs.records import variant_of


def interval(low: float, high: float, low_90: float, high_90: float, pairs: int = 10) -> Comparison:
    """A comparison of which only what the rules read is set."""
    one = compare_pairs(("gated", "dense", "accuracy"), dict.fromkeys(range(pairs), 0.0))
    return replace(one, mean=(low + high) / 2, low=low, high=high, low_90=low_90, high_90=high_90)


numbers = st.one_of(st.floats(-0.03, 0.03), st.sampled_from([0.0, 0.005, -0.005, PAPER_EFFECT, math.inf, -math.inf]))
comparisons = st.builds(interval, numbers, numbers, numbers, numbers, st.integers(0, 12))


@given(comparisons, comparisons)
def test_of_the_plans_conditions_the_first_that_holds_decides_for_any_numbers(reported, clean):
    both = (reported, clean)
    inside = [one.low_90 > -0.005 and one.high_90 < 0.005 for one in both]
    plan = [
        (min(len(one.pairs) for one in both) < 4, "not judged: described"),
        (all(one.low > 0 for one in both) and not clean.high < PAPER_EFFECT, "replicated"),
        (all(one.low > 0 for one in both) and clean.high < PAPER_EFFECT, "replicated, smaller"),
        (reported.low > 0 and inside[1], "an artifact of reporting"),
        (all(inside), "no effect"),
        (all(one.high < 0 for one in both), "reversed"),
        (True, "undecided"),
    ]
    assert PAPER_EFFECT == 0.0107
    expected = next(verdict for holds, verdict in plan if holds)
    assert gain_verdict(reported, clean) == expected


def test_without_an_effect_at_most_one_study_in_twenty_replicates():
    """20,000 studies of 15 pairs: both measures with a standard deviation of 0.8 points and a correlation of 0.7.

    Were the measures one, 2.5 % would lie above zero; two of them do less often. Four standard errors are 0.5 %.
    """
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(20_000, 15))
    measures = []
    for _ in range(2):
        values = 0.008 * (math.sqrt(0.7) * shared + math.sqrt(0.3) * rng.normal(size=shared.shape))
        measures.append([*student_interval(values), *student_interval(values, 0.90)])
    empty = interval(0, 0, 0, 0, pairs=15)
    verdicts = [
        gain_verdict(
            *(replace(empty, **dict(zip(("low", "high", "low_90", "high_90"), bounds, strict=True))) for bounds in both)
        )
        for both in zip(*(np.stack(one, axis=-1) for one in measures), strict=True)
    ]
    assert 0 < np.mean([verdict.startswith("replicated") for verdict in verdicts]) < 0.025 + 0.005
    assert np.mean([verdict == "no effect" for verdict in verdicts]) > 0.3


def made_up(rng: np.random.Generator, effect: float, deviation: float, pairs: int) -> Comparison:
    """A study in which the true effect is known."""
    differences = rng.normal(effect, deviation, pairs).tolist()
    return compare_pairs(("gated", "other", "accuracy"), dict(enumerate(differences)))


PAPERS, NARROW, WIDE = PAPER_EFFECT, 0.0025, 0.02  # an effect, and two standard deviations of differences
TRUTHS: dict[str, dict[str, tuple[Any, float]]] = {  # by rule and verdict: effect (of a gain both), deviation
    "gain": {
        "replicated": ((PAPERS, PAPERS), NARROW),
        "replicated, smaller": ((0.0055, 0.0055), NARROW),
        "an artifact of reporting": ((PAPERS, 0.0), NARROW),
        "no effect": ((0.0, 0.0), NARROW),
        "reversed": ((-PAPERS, -PAPERS), NARROW),
        "undecided": ((0.002, 0.002), WIDE),
    },
    "property": {
        "supported": (PAPERS, NARROW),
        "contradicted": (-PAPERS, NARROW),
        "no effect": (0.0, NARROW),
        "undecided": (0.002, WIDE),
    },
    "control": {
        "equivalent": (0.0, NARROW),
        "better": (PAPERS, NARROW),
        "worse": (-PAPERS, NARROW),
        "undecided": (0.002, WIDE),
    },
}


@pytest.mark.parametrize("pairs", [15, 8, 5])
@pytest.mark.parametrize(("rule", "truth"), [(rule, verdict) for rule in TRUTHS for verdict in TRUTHS[rule]])
def test_most_studies_reach_the_verdict_that_is_true(rule, truth, pairs):
    """Of 40 studies each. Those of a property correct for the nine other measures of C3 to C6, without effect."""
    rng = np.random.default_rng(0)
    effect, deviation = TRUTHS[rule][truth]
    found = []
    for _ in range(40):
        if rule == "gain":
            found.append(gain_verdict(*(made_up(rng, one, deviation, pairs) for one in effect)))
            continue
        one = made_up(rng, effect, deviation, pairs)
        if rule == "property":
            found.append(property_verdict(one, holm([one.p_value, *rng.uniform(size=9)])[0]))
        else:
            found.append(control_verdict(one))
    assert found.count(truth) > 0.6 * len(found), Counter(found)


def test_three_pairs_are_never_judged_and_what_was_found_comes_before_the_margin():
    rng = np.random.default_rng(0)
    few, inside = made_up(rng, 0.01, 1e-4, 3), made_up(rng, 0.003, 1e-4, 8)
    assert {gain_verdict(few, few), property_verdict(few, 0.001), control_verdict(few)} == {NOT_JUDGED}
    assert gain_verdict(inside, inside) == "replicated, smaller"
    assert property_verdict(inside, 0.049) == "supported" and property_verdict(inside, 0.05) == "no effect"
    assert control_verdict(inside) == "equivalent", "also where it lies above zero"


def study(arms: Mapping[str, Sequence[float]], preset: str = "classroom", **columns: object) -> pd.DataFrame:
    """One run for each arm ("method variant") and clean accuracy; everything else follows from it."""
    rows = []
    for arm, values in arms.items():
        method, _, variant = arm.partition(" ")
        for seed, value in enumerate(values):
            rows.append({"method": method, "variant": variant, "seed": seed, "clean_accuracy": value})
    runs = pd.DataFrame(rows).assign(preset=preset, status="complete", evaluated_on="test", git_clean=True)
    accuracy = runs["clean_accuracy"]
    runs = runs.assign(best_accuracy=accuracy + 0.004, last_accuracy=accuracy, budget_area=accuracy - 0.2)
    return runs.assign(**({"gap": 1 - accuracy, "drop_from_best": 0.004, "training_seconds": 100.0} | columns))


def full_study(seeds: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    gains = {"dense": 0.0, "accuracy_gated": 0.02, "epoch_gated": 0.0, "replay": 0.02, "fixed": 0.01}
    return study({arm: 0.869 + gain + rng.normal(0, 0.001, seeds) for arm, gain in gains.items()})


def row(table: pd.DataFrame, claim: str, measure: str, baseline: str = "dense") -> "pd.Series[object]":
    return table.set_index(["claim", "measure", "baseline"]).loc[(claim, measure, baseline)]


def test_a_synthetic_study_gets_the_verdicts_built_into_it():
    runs = full_study()
    table = verdict_table(runs.assign(variant=runs["variant"].mask(runs["method"] == "fixed", "keep_ratio=0.48")))
    assert set(table["preset"]) == {"classroom"}
    for measure in ("best_accuracy", "clean_accuracy"):
        assert row(table, "C1", measure)["verdict"] == "replicated"
        assert row(table, "C2", measure)["verdict"] == "no effect"
    assert row(table, "C1", "last_accuracy")["verdict"] == "measured"
    assert row(table, "C3", "budget_area")["verdict"] == "supported"
    assert row(table, "C4", "gap")["verdict"] == "supported", "a smaller gap is an improvement"
    assert row(table, "C4", "drop_from_best")["verdict"] == "no effect"
    assert row(table, "C5", "pruned_area")["verdict"] == NOT_MEASURED
    assert row(table, "C7", "training_seconds")["mean"] == 1.0
    assert row(table, "C8", "clean_accuracy", "replay")["verdict"] == "equivalent"
    assert row(table, "C8", "clean_accuracy", "fixed")["verdict"] == "better"
    assert row(table, "C8", "clean_accuracy", "shuffled")["verdict"] == NOT_MEASURED
    assert not table["preliminary"].any()
    assert set(effects(full_study())["claim"]) == {"C1", "C2"}


def test_the_first_pairs_say_what_a_study_of_them_alone_would_say():
    rng = np.random.default_rng(2)
    gains = np.concatenate([rng.normal(0.02, 0.002, 5), rng.normal(-0.01, 0.01, 5)])
    runs = study({"dense": [0.869] * 10, "accuracy_gated": 0.869 + gains})
    found = first_pairs(verdict_table(runs))
    assert found["pairs"].tolist() == list(range(1, 11)) and found["verdict"].nunique() > 2
    for one in found.to_dict("records"):
        alone = row(verdict_table(runs[runs["seed"] < one["pairs"]], "classroom"), "C1", "best_accuracy")
        assert one["verdict"] == alone["verdict"] and one["difference"] == alone["differences"][-1]
        for name in ("mean", "low", "high"):
            assert one[name] == pytest.approx(alone[name], nan_ok=True)
    assert first_pairs(verdict_table(pd.DataFrame())).empty


@pytest.mark.parametrize(("seeds", "judged", "preliminary"), [(3, False, False), (4, True, True), (8, True, False)])
def test_few_pairs_are_described_or_preliminary(seeds, judged, preliminary):
    one = row(verdict_table(full_study(seeds), "classroom"), "C1", "clean_accuracy")
    assert (one["verdict"] != NOT_JUDGED, one["preliminary"]) == (judged, preliminary)
    shown = readable_verdicts(verdict_table(full_study(seeds), "classroom")).loc["C1", "verdict"].iloc[0]
    assert shown.endswith(" (preliminary)") == preliminary


@pytest.mark.parametrize("runs", [pd.DataFrame(), full_study().iloc[:0], full_study().assign(evaluated_on="nothing")])
def test_without_runs_that_count_every_claim_is_not_measured(runs):
    table = verdict_table(runs)
    assert list(dict.fromkeys(table["claim"])) == [f"C{number}" for number in range(1, 9)]
    assert (table["verdict"] == NOT_MEASURED).all() and (table["pairs"] == 0).all()
    assert len(readable_verdicts(table)) == len(CLAIMS)


def test_one_claim_and_measure_is_one_row_and_no_strategy_is_set_against_the_other():
    assert len({(one.id, one.treatment, one.baseline, one.measure) for one in CLAIMS}) == len(CLAIMS)
    strategies = {"accuracy_gated", "epoch_gated"}
    assert not [one for one in CLAIMS if {one.treatment, one.baseline} <= strategies]


def test_holm_corrects_c3_to_c6_as_one_family_and_nothing_else():
    runs = full_study()
    table = verdict_table(
        runs.assign(pruned_area=runs["clean_accuracy"] + np.tile([-0.001, 0.001, -0.0005, 0.0005, 0.0], len(runs) // 5))
    )
    family = table[table["claim"].isin(["C3", "C4", "C5", "C6"]) & (table["pairs"] > 0)]
    assert len(family) == 4
    assert family["p_holm"].tolist() == pytest.approx(holm(family["p_value"].tolist()))
    assert table.drop(family.index)["p_holm"].isna().all()


def test_a_ratio_is_a_geometric_mean_without_an_interval():
    runs = full_study(2)
    gated = runs["method"] == "accuracy_gated"
    runs.loc[gated, "training_seconds"] = [100.0, 400.0]
    one = row(verdict_table(runs, "classroom"), "C7", "training_seconds")
    assert one["mean"] == pytest.approx(2.0) and one["verdict"] == "measured" and math.isnan(float(str(one["low"])))


def test_a_diverged_run_counts_with_what_it_scores_and_with_chance_where_nothing_was_recorded():
    runs = full_study()
    fallen = (runs["method"] == "accuracy_gated") & (runs["seed"] == 0)
    runs.loc[fallen, ["status", "clean_accuracy", "best_accuracy", "gap"]] = ["diverged", math.nan, 0.5, math.nan]
    table = verdict_table(runs)
    assert row(table, "C1", "clean_accuracy")["differences"][0] == pytest.approx(
        0.1 - runs.loc[(runs["method"] == "dense") & (runs["seed"] == 0), "clean_accuracy"].item()
    )
    assert row(table, "C1", "best_accuracy")["pairs"] == row(table, "C1", "clean_accuracy")["pairs"] == 10
    gap = row(table, "C4", "gap")
    assert 0 not in gap["seeds"] and len(gap["seeds"]) == gap["pairs"]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("variant", "dropout=0.1", "it has overrides"),
        ("git_clean", False, "its source had uncommitted changes"),
        ("git_clean", None, ""),  # a copy without git history, as on a GPU node
        ("git_clean", math.nan, ""),
        ("evaluated_on", "validation", "it was not evaluated on the test images"),
        ("evaluated_on", "nothing", "it was not evaluated on the test images"),
        ("status", "diverged", ""),
        ("status", "running", "it was not finished"),
    ],
)
def test_which_runs_count(column, value, reason):
    runs = full_study(1)
    runs[column] = runs[column].astype(object)
    runs.at[0, column] = value
    assert why_left_out(runs).tolist() == [reason, *[""] * (len(runs) - 1)]
    assert len(tier(runs, "classroom")) == len(runs) - bool(reason)
    assert len(arms(runs, "classroom")) == len(runs) - bool(reason and column != "variant")
    with pytest.raises(InputError, match=f"no column '{column}'"):
        verdict_table(runs.drop(columns=column), "classroom")


def test_only_the_presets_own_runs_count():
    runs = full_study()
    others = pd.concat([runs.assign(preset="quick"), runs.assign(variant="width=2")]).assign(clean_accuracy=0.1)
    pd.testing.assert_frame_equal(verdict_table(pd.concat([others, runs])), verdict_table(runs))


def test_runs_of_another_precision_are_another_arm():
    given = RunConfig(preset="paper100", method="dense", precision="float16")
    variant = variant_of(given.model_dump(mode="json"), given.overrides())
    assert variant == "precision=float16"
    runs = full_study().assign(preset="paper100")
    others = runs.assign(variant=variant, clean_accuracy=0.1)
    pd.testing.assert_frame_equal(verdict_table(pd.concat([others, runs])), verdict_table(runs))
    assert set(verdict_table(others, "paper100")["verdict"]) == {NOT_MEASURED}
    own = runs[runs["method"] == "dense"]
    assert set(verdict_table(pd.concat([own, others[others["method"] != "dense"]]))["pairs"]) == {0}


def test_two_runs_of_one_arm_and_seed_are_refused():
    with pytest.raises(InputError, match="more than one run of seed 0"):
        verdict_table(pd.concat([full_study(), full_study(1)]))


def test_the_largest_preset_with_four_pairs_speaks():
    small, large = full_study(), full_study(3).assign(preset="paper")
    assert shown_tier(pd.DataFrame()) == "quick"
    assert shown_tier(pd.concat([small, large])) == "classroom"
    assert shown_tier(pd.concat([small, full_study(4).assign(preset="paper")])) == "paper"


def test_overrides_are_read_back_by_name():
    assert varied("") == {}
    assert varied("budgets=[1.0,0.5], dropout=0.3") == {"budgets": "[1.0,0.5]", "dropout": "0.3"}
