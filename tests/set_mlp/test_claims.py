"""Claims of the companion study: which runs count, how diverged ones score, verdicts, and D3's arithmetic."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from set_mlp.frames import fallen, made_up, none
from sparsecycle.analysis.statistics import compare_pairs
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.claims import (
    CLAIMS,
    RESTS,
    SCORINGS,
    SLOWER,
    compare_claim,
    mean_accuracies,
    parameters,
    scored,
    set_verdict_table,
    study_runs,
)
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.network import dense_network, sparse_network

D1, D2 = (next(claim for claim in CLAIMS if claim.id == name) for name in ("D1", "D2"))


def row(
    runs: pd.DataFrame, claim: str = "D1", arm: str = "authors", measure: str = "last_accuracy", **more: Any
) -> Any:
    baseline = more.pop("baseline", "set" if claim == "D2" else "dense")
    wanted = {"claim": claim, "arm": arm, "measure": measure, "baseline": baseline}
    return set_verdict_table(runs, **more).set_index(list(wanted)).loc[tuple(wanted.values())]


def test_means_over_splits_are_compared_over_datasets_as_in_the_main_study():
    runs = pd.concat([made_up("set", gain=0.02), made_up("dense")])
    by_split = runs.pivot(index=["dataset", "seed"], columns="method", values="last_accuracy")
    means = (by_split["set"] - by_split["dense"]).groupby("dataset").mean()
    means = means.sort_index(key=lambda index: index.str.lower())
    expected = compare_pairs(("set", "dense", "last_accuracy"), means.to_dict())
    found = compare_claim(study_runs(runs), D1)
    assert found == expected and len(found.pairs) == 15


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, "supported"), (-0.02, "contradicted"), (0.0, "no effect")])
def test_d1_is_judged_as_a_property(gain, verdict):
    runs = pd.concat([made_up("set", gain=gain), made_up("dense")])
    found = row(runs)
    assert found["verdict"] == verdict and found["mean"] == pytest.approx(gain, abs=0.002) and not found["preliminary"]
    assert row(runs, measure="best_accuracy")["verdict"] == verdict
    assert row(runs, measure="gap")["verdict"] == verdict, "a smaller gap is better"
    assert row(runs, arm="tuned")["verdict"] == "not measured"


@pytest.mark.parametrize(
    ("gain", "verdict"), [(-0.005, "equivalent"), (0.03, "better"), (-0.03, "worse"), (-0.01, "worse")]
)
def test_d2_is_judged_as_equivalence_within_one_point(gain, verdict):
    runs = pd.concat([made_up("set"), made_up("set_pruned", gain=gain)])
    assert row(runs, "D2")["verdict"] == verdict


def test_few_datasets_are_described_and_seven_are_preliminary():
    runs = pd.concat([made_up("set", gain=0.02), made_up("dense")])
    for count, verdict, preliminary in ((3, "not judged: described", False), (7, "supported", True)):
        found = row(runs[runs["dataset"].isin(study_datasets()[:count])])
        assert (found["verdict"], found["preliminary"], found["datasets"]) == (verdict, preliminary, count)
    assert set(set_verdict_table(none())["verdict"]) == {"not measured"}


def test_a_run_that_diverged_scores_the_majority_class_zero_or_nothing():
    runs = fallen(made_up("set"), "colon")
    found = {scoring: scored(runs, scoring).set_index(["dataset", "seed"]) for scoring in SCORINGS}
    columns = ["last_accuracy", "best_accuracy", "train_accuracy", "gap"]
    assert found["majority"].loc[("colon", 0), columns].tolist() == pytest.approx([0.5, 0.5, 0.6, 0.1])
    assert found["zero"].loc[("colon", 0), columns].tolist() == [0, 0, 0, 0]
    assert "colon" not in found["complete"].index and len(found["complete"]) == len(runs) - 2
    untouched = made_up("set")
    assert scored(untouched, "complete").equals(untouched)


def test_no_verdict_rests_on_runs_that_diverged():
    """SET is better where it trains; that it diverges on four datasets would hide it."""
    lost = study_datasets()[:4]
    runs = pd.concat([fallen(made_up("set", gain=0.02), *lost), made_up("dense")])
    assert row(runs)["verdict"] == RESTS and row(runs)["mean"] < -0.05
    assert row(runs, scoring="complete")["mean"] == pytest.approx(0.02, abs=0.002)
    baseline = pd.concat([made_up("set"), fallen(made_up("dense", gain=0.02), *lost)])
    assert row(baseline)["verdict"] == RESTS, "nor on that of the fully connected network"
    everywhere = pd.concat([made_up("set"), fallen(made_up("dense"), *study_datasets())])
    assert row(everywhere)["verdict"] == RESTS, "without a complete pair"


def test_a_verdict_that_only_the_size_of_the_family_changes_rests_on_no_divergence():
    """Three tests against a baseline that diverged everywhere are no tests where such runs are left out."""
    names = study_datasets()
    wave = pd.Series(dict(zip(names, [(-1) ** i * 0.02 + 0.0137 for i in range(len(names))], strict=True)))
    slower = made_up("dense", variant="learning_rate=0.001")
    treated = made_up("set", last_accuracy=slower["last_accuracy"] + slower["dataset"].map(wave))
    treated = treated.assign(best_accuracy=treated["last_accuracy"] + 0.01, gap=1 - treated["last_accuracy"])
    lost = fallen(made_up("dense"), *names)
    lost = lost.assign(majority_train_accuracy=0.7 + 5 * lost["dataset"].map(wave - wave.mean()))
    found = row(pd.concat([treated, slower, lost]), baseline=SLOWER)
    assert 0.05 / 4 < found["p_value"] < 0.05 / 3 and found["p_holm"] > 0.05
    assert row(pd.concat([treated, slower, lost]), baseline=SLOWER, scoring="complete")["p_holm"] < 0.05
    assert found["verdict"] == "undecided"


def test_splits_on_which_both_failed_count_for_d1_and_not_for_d2():
    runs = pd.concat([fallen(made_up(method), "colon", "Yale") for method in ("set", "set_pruned", "dense")])
    first, second = (compare_claim(study_runs(runs), claim) for claim in (D1, D2))
    assert len(first.pairs) == 15 and first.differences[first.pairs.index("colon")] == 0
    assert len(second.pairs) == 13 and not {"Yale", "colon"} & set(second.pairs)
    one = pd.concat([fallen(made_up("set"), "colon"), made_up("set_pruned")])
    assert len(compare_claim(study_runs(one), D2).pairs) == 15


def test_only_splits_that_both_have_count():
    treated, untreated = made_up("set"), made_up("dense")
    untreated = untreated[(untreated["seed"] == 0) | (untreated["dataset"] != "colon")]
    untreated.loc[untreated["dataset"] == "Yale", "seed"] += 10
    found = compare_claim(study_runs(pd.concat([treated, untreated])), D1)
    assert "Yale" not in found.pairs and len(found.pairs) == 14
    first = treated[(treated["dataset"] == "colon") & (treated["seed"] == 0)]["last_accuracy"].item()
    other = untreated[untreated["dataset"] == "colon"]["last_accuracy"].item()
    assert found.differences[found.pairs.index("colon")] == pytest.approx(first - other)
    with pytest.raises(InputError, match="there are two records of one run, made by different sources"):
        compare_claim(study_runs(pd.concat([treated, treated, untreated])), D1)


def test_runs_of_unclean_sources_other_datasets_and_variants_do_not_speak_for_a_claim():
    base = pd.concat([made_up("set"), made_up("dense")])
    foreign = made_up("set", gain=0.5).assign(dataset="digits")
    unclean = made_up("set", gain=0.5, git_clean=False).assign(seed=7)
    slower = made_up("dense", gain=0.01, variant="learning_rate=0.001")
    found = study_runs(pd.concat([base, foreign, unclean, slower]))
    assert len(found) == len(base) + len(slower) and set(found["group"]) == {"set", "dense", SLOWER}
    assert row(pd.concat([base, foreign.iloc[:0], slower]))["mean"] == pytest.approx(0, abs=0.002)
    assert row(pd.concat([base, slower]), baseline=SLOWER)["mean"] == pytest.approx(-0.01, abs=0.002)


def test_the_averages_of_a_table_are_over_the_same_datasets_and_splits():
    runs = pd.concat([made_up("set"), made_up("set_pruned"), made_up("dense")])
    runs = runs[(runs["method"] != "dense") | ((runs["seed"] == 0) & (runs["dataset"] != "colon"))]
    means = mean_accuracies(runs, "authors")
    assert list(means.columns) == ["dense", "set", "set_pruned", "splits"]
    assert len(means) == 14 and "colon" not in means.index and set(means["splits"]) == {1}
    [alone] = runs.query("dataset == 'Yale' and method == 'set' and seed == 0")["last_accuracy"]
    assert means.at["Yale", "set"] == alone
    assert mean_accuracies(runs, "tuned").empty
    runs = runs.assign(status=runs["status"].mask(runs["method"] == "dense", "diverged"))
    means = mean_accuracies(runs, "authors")
    assert "dense" not in means and set(means["splits"]) == {2}, "a method that never trained hides no split of others"
    assert mean_accuracies(runs[runs["method"] == "dense"], "authors").empty


def test_d3_is_the_count_of_real_networks_and_linear_in_the_neurons():
    rng = np.random.default_rng(0)
    for sizes in ((70, 30, 30, 4), (70, 90, 4)):
        for network, epsilon in ((sparse_network(sizes, 2.0, rng), 2.0), (dense_network(sizes, rng), None)):
            counted = sum(layer.weight.size + layer.bias.size for layer in network.layers)
            assert parameters(sizes, epsilon) == counted
    counts = [parameters((100, n, n, n, 10), 20) for n in (1000, 2000, 3000)]
    assert counts[2] - counts[1] == counts[1] - counts[0] == 1000 * (20 * 5 + 10 + 3), "the last layer is full"
    assert math.isclose(parameters((100, 2000, 2000, 10)) / parameters((100, 1000, 1000, 10)), 4, rel_tol=0.1)
