"""Sentences on the companion study say what its rows say."""

import shlex

import pandas as pd

from conftest import ROOT
from sparsecycle.config import parse_setting
from sparsecycle.set_mlp.ablations import set_ablation_table
from sparsecycle.set_mlp.claims import CLAIMS, LINEAR, set_verdict_table
from sparsecycle.set_mlp.config import METHODS, configure_set
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.search import load_search
from sparsecycle.set_mlp.study import SetStudies
from sparsecycle_book.benchmarks.record import BenchmarkRecord, Measurement
from sparsecycle_book.set_mlp.report import (
    SLOWER,
    SPLITS,
    ablations_sentence,
    as_they_stand,
    divergence_sentence,
    exponent_rule,
    exponent_sentence,
    readable_set_ablations,
    readable_set_verdicts,
    set_answer,
    set_run_command,
    set_run_list,
    slower_sentence,
    speed_sentences,
    study_sentence,
)


def runs(seeds: int = SPLITS, **gains: float) -> pd.DataFrame:
    """All methods on all datasets; a method's accuracy is 0.8 plus its gain, alternating by a hundredth."""
    return pd.DataFrame(
        {
            "dataset": name,
            "method": method,
            "seed": seed,
            "variant": "",
            "status": "complete",
            "test_accuracy": 0.8 + gains.get(method, 0.0) + (0.01 if place % 2 and method != "dense" else 0.0),
            "gap": 0.2 - gains.get(method, 0.0),
            "neurons_left": 0.5 if method == "set_pruned" else 1.0,
        }
        for place, name in enumerate(study_datasets())
        for method in METHODS
        for seed in range(seeds)
    )


def benchmark() -> BenchmarkRecord:
    def one(suite: str, case: str, side: str, value: float, unit: str = "ms") -> Measurement:
        return Measurement.model_validate(
            {"suite": suite, "case": case, "side": side}
            | ({"milliseconds": [value]} if unit == "ms" else {"value": value, "unit": unit})
        )

    measurements = []
    for neurons in (10_000, 100_000, 1_000_000):
        case = f"{neurons} neurons"
        measurements += [
            one("set scaling", case, "parameters", 100.0 * neurons, "parameters"),
            one("set scaling", case, "peak memory", 2048.0, "MiB"),
            one("set scaling", case, "step", 1500.0),
        ]
    for suite, plain in (("set epoch", 6000.0), ("set evolution", 9000.0)):
        measurements += [one(suite, "3-4-2", "kernels", 500.0), one(suite, "3-4-2", "scipy", plain)]
    return BenchmarkRecord(started="", ended="", environment={}, left_out=[], measurements=measurements)


def test_the_number_of_planned_runs_is_that_of_the_study() -> None:
    declared = SetStudies.read(ROOT / "workflow" / "set.yaml").configurations("study")
    assert len(declared) == len(study_datasets()) * len(METHODS) * SPLITS


def test_missing_and_diverged_runs_are_told() -> None:
    frame = runs(seeds=2)
    frame.loc[0, "status"] = "diverged"
    text = study_sentence(frame)
    assert text.startswith("120 recorded runs on 15 datasets. Diverged: `dense` 1.")
    assert "180 of its 300 runs are not recorded yet" in text
    assert "under way" not in study_sentence(runs())
    assert "No run" in study_sentence(frame.iloc[:0])


def test_runs_with_overrides_or_on_other_datasets_do_not_speak_for_the_claims() -> None:
    frame = pd.concat([runs(), runs().assign(variant="zeta=0.1"), runs().assign(dataset="digits")])
    assert len(as_they_stand(frame)) == len(runs())


def test_the_answer_names_each_claim_with_its_interval() -> None:
    text = set_answer(runs(set=0.05, set_pruned=0.02), benchmark())
    assert (
        "**D1**, SET generalizes better than fully connected: `set` against `dense`, test accuracy: +5.5 points" in text
    )
    assert "train-test gap: +5.0 points (95 % interval +5.0 to +5.0, 15 datasets) (a smaller gap is positive)" in text
    assert "`set_pruned` with 50% of the hidden neurons left against `set`, test accuracy: -3.0 points" in text
    assert text.count("*replicated*") == 3
    assert "*reversed*" in text


def test_what_diverged_runs_do_to_a_claim_is_told_beside_it() -> None:
    frame = runs(set=0.05, set_pruned=0.05)
    frame.loc[(frame["dataset"] == study_datasets()[0]) & frame["method"].isin(["set", "set_pruned"]), "status"] = (
        "diverged"
    )
    told = [divergence_sentence(frame, claim) for claim in CLAIMS]
    lost = f"`set` on {study_datasets()[0]}. Over the other 14 datasets the difference is +5.5 points"
    assert lost in told[0] and told[1] == "", "the gap leaves such runs out anyway"
    assert f"`set_pruned` and `set` on {study_datasets()[0]}." in told[2] and "+0.0 points" in told[2]
    assert set_answer(frame, None).count("count as zero") == 2
    assert "count as zero" not in set_answer(runs(), None)


def test_the_arm_with_the_smaller_rate_is_compared_with_dense_as_it_stands() -> None:
    slower = runs(seeds=2, set=0.03).query("method == 'set'").assign(variant=SLOWER)
    assert [slower_sentence(runs(), claim) for claim in CLAIMS] == ["", "", ""]
    told = [slower_sentence(pd.concat([runs(), slower]), claim) for claim in CLAIMS]
    assert f"With `{SLOWER}`" in told[0] and "it is +3.5 points" in told[0] and "0 of 30 runs with it" in told[0]
    assert told[0] in set_answer(pd.concat([runs(), slower]), None) and told[1] == "", "the claim, not the gap"


def test_pruning_at_the_smaller_rate_is_compared_with_set_at_that_rate() -> None:
    slower = runs(set=0.03, set_pruned=0.02).query("method in ['set', 'set_pruned']").assign(variant=SLOWER)
    told = slower_sentence(pd.concat([runs(set=0.09), slower]), CLAIMS[2])
    assert "it is -1.0 points (-1.0 to -1.0, 15 datasets; 0 of 150 runs with it diverged)" in told


def test_changes_are_shown_over_all_datasets_and_over_those_where_no_run_diverged() -> None:
    frame = runs(seeds=1).query("method == 'set'").assign(parameters=100)
    varied = frame.assign(variant="zeta=0.1", test_accuracy=frame["test_accuracy"] - 0.0004)
    frame.loc[frame["dataset"] == study_datasets()[0], "status"] = "diverged"
    table = set_ablation_table(pd.concat([frame, varied]))
    [row] = readable_set_ablations(table).to_dict("records")
    assert (row["elsewhere"], row["on"]) == ("+0.0 (+0.0 to +0.0)", 14)
    assert row["change"].startswith("+5.3 (") and row["diverged"] == "0 / 1"
    told = ablations_sentence(table)
    assert told.startswith("1 variants. ") and "above zero for none, below for 1 (`set` with `zeta=0.1`)." in told
    assert "less often than as the method stands with 1 of them, more often with 0." in told


def test_the_smaller_rate_is_that_of_the_search_below_the_one_that_it_chose() -> None:
    rates = sorted(set(load_search(ROOT / "data/search/set")["learning_rate"]))
    chosen = {configure_set("digits", method, 0, {}).learning_rate for method in ("set", "set_pruned")}
    assert chosen == {rates[rates.index(float(SLOWER.split("=")[1])) + 1]}


def test_the_rule_for_the_exponent_is_told_with_the_bounds_of_the_code() -> None:
    assert f"within {LINEAR[0]:g} and {LINEAR[1]:g}, else *not replicated*" in exponent_rule()


def test_the_exponent_and_the_largest_network_are_told() -> None:
    text = exponent_sentence(benchmark())
    assert text.startswith("the exponent is 1.000 (1.000 to 1.000, 3 networks): *replicated*.")
    assert "1,000,000 hidden neurons a network has 100,000,000 parameters and trains in 2.0 GiB, 1.5 s a step" in text


def test_speed_is_told_as_ratios() -> None:
    assert speed_sentences(benchmark()) == [
        "`3-4-2`: an epoch 15 times as fast (1.00 s), training 12 times as fast (0.50 s), "
        "evolution 18 times as fast (0.50 s)."
    ]


def test_the_readable_table_keeps_every_claim() -> None:
    table = readable_set_verdicts(set_verdict_table(runs(set=0.05)))
    assert list(table.index) == ["D1", "D1", "D2"]
    assert table.iloc[0]["ours"] == "+5.5"
    assert table.iloc[2]["neurons left"] == "50%"


def test_without_runs_nothing_is_claimed() -> None:
    table = readable_set_verdicts(set_verdict_table(runs().iloc[:0]))
    assert (table["verdict"] == "not measured").all()
    assert (table["ours"] == "").all() and (table["p (Wilcoxon)"] == "").all()


def test_a_run_is_listed_with_the_command_that_makes_it() -> None:
    made = {"train_accuracy": 1.0, "wall_seconds": 12.34, "git_revision": "0123456789abcdef"}
    two = runs(seeds=1).assign(**made).head(2).assign(variant=["", "hidden=[30,30,30]"], run=["set/a", "set/b"])
    listed = set_run_list(two)
    assert listed.index.tolist() == ["set/a", "set/b"]
    assert listed["seconds"].tolist() == ["12", "12"]
    words = shlex.split(listed["command"].iloc[1])
    settings = dict(parse_setting(text) for text in words[words.index("--set") + 1 :])
    assert configure_set(study_datasets()[0], METHODS[1], 0, settings).hidden == (30, 30, 30)
    assert set_run_command("Yale", "set", 3) == ".venv/bin/sparsecycle set run --dataset Yale --method set --seed 3"
