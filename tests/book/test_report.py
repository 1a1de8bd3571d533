"""Sentences and tables that say what the records say."""

import re
import shlex

import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle_book.benchmarks.record import load_benchmarks
from sparsecycle.config import configure, parse_setting
from sparsecycle.runs.grid import Grid
from sparsecycle.runs.records import find_records
from sparsecycle_book.report.answers import answer, feedback_sentence, how_sure, short_answer
from sparsecycle_book.report.comparisons import gate, regularized, with_feedback, without_feedback
from sparsecycle_book.report.cost import compute_sentence, method_lines, step_sentence
from sparsecycle_book.report.findings import (
    against_sentences,
    baseline_sentence,
    condition_table,
    effect_sentences,
    gap_sentences,
    gate_sentence,
    unordered_sentences,
    weighting_sentences,
)
from sparsecycle_book.report.search import gains_by_seed, search_list, search_sentence, search_table
from sparsecycle_book.report.tables import run_command, run_list
from sparsecycle.analysis.statistics import verdict_table


def runs(values: dict[str, list[float]], **columns: object) -> pd.DataFrame:
    plain = {"preset": "classroom", "variant": "", "status": "complete", "evaluated_on": "test", "parameters": 77_610}
    plain |= {"train_accuracy": 1.0, "wall_seconds": 1800.0, "resumes": 0}
    return pd.DataFrame(
        {"method": method, "seed": seed, "test_accuracy": value} | plain | columns
        for method, accuracies in values.items()
        for seed, value in enumerate(accuracies)
    )


def test_a_line_for_each_measured_effect() -> None:
    table = verdict_table(runs({"dense": [0.50, 0.50, 0.50], "plateau": [0.51, 0.52, 0.53]}), "classroom")
    [line] = effect_sentences(table[table["claim"].isin(["C1", "C2"])])
    assert line.startswith("C2 plateau - dense, test accuracy: +2.00 points, 95 % interval -0.69 to +4.69, 3 seeds, ")
    assert "sign-flip p = 0.250: preliminary: inconclusive. At this spread an effect of " in line
    assert line.endswith(" points is found four times in five.")


def test_the_answer_names_what_plain_regularization_does() -> None:
    plain = runs({"dense": [0.50, 0.51, 0.52], "plateau": [0.53, 0.54, 0.55]})
    with_dropout = runs({"dense": [0.59, 0.60, 0.61]}, variant="dropout=0.3")
    text = answer(pd.concat([plain, with_dropout]))
    assert "(`dropout=0.3`, chosen on held-out images) reaches 0.600 over 3 seeds" in text
    assert "against that: `plateau` -6.0 (-6.0 to -6.0)." in text
    assert "with dropout (" not in answer(plain)
    shorter = runs({"dense": [0.55, 0.56, 0.57]}, variant="epochs=25")
    longer = runs({"dense": [0.50, 0.51, 0.52]}, variant="epochs=54")
    text = answer(pd.concat([plain, shorter, longer]))
    assert "Dense training for 25 instead of 50 epochs (`epochs=25`, chosen on held-out images) reaches 0.560" in text
    assert "epochs=54`, chosen" not in text, "longer training is no regularization"
    declared = len(Grid.read(ROOT / "workflow/grid.yaml").configurations("classroom"))
    told = answer(plain)
    assert f"The study is under way: {declared - 6} of its {declared} runs are not recorded yet (" in told
    assert (
        "7 of `dense`, " in told
        and "7 of `plateau`, " in told
        and "5 of `dense dropout=0.3`" in told
        and "5 of `fixed keep_ratio=0.5`" in told
    )


def test_the_short_answer_has_the_gain_over_dense_and_over_plain_regularization() -> None:
    plain = runs({"dense": [0.50, 0.51, 0.52], "plateau": [0.53, 0.54, 0.55]})

    def against(*dropout: float) -> str:
        return short_answer(pd.concat([plain, runs({"dense": list(dropout)}, variant="dropout=0.3")]))

    text = against(0.59, 0.60, 0.61)
    assert "by +3.0 points (95 % interval +3.0 to +3.0, 3 seeds), but they lose against dense training with" in text
    assert ", and they gain over dense training with dropout too." in against(0.49, 0.50, 0.51)
    assert "but they show no gain over dense training with dropout." in against(0.50, 0.54, 0.58)
    regularized = runs({"dense": [0.57, 0.58, 0.59]}, variant="dropout=0.3")
    mixed = short_answer(pd.concat([plain, runs({"loss_gated": [0.60, 0.61, 0.62]}), regularized]))
    assert ", but over dense training with dropout `loss_gated` gains and `plateau` loses." in mixed
    shorter = runs({"dense": [0.50, 0.54, 0.58]}, variant="epochs=25")
    assert "dropout, and they show no gain over dense training for 25 instead of 50 epochs." in short_answer(
        pd.concat([plain, runs({"dense": [0.59, 0.60, 0.61]}, variant="dropout=0.3"), shorter])
    )
    assert "At the paper's own scale there are no runs yet" in text
    assert text.count(". ") == 1, "two sentences"
    assert "with dropout" not in short_answer(plain)


def test_what_stands_behind_the_answer_is_said_point_by_point() -> None:
    plain = runs({"dense": [0.50, 0.51, 0.52], "plateau": [0.53, 0.54, 0.55]})
    text = how_sure(pd.concat([plain, runs({"dense": [0.59, 0.60, 0.61]}, variant="dropout=0.3")]))
    rule, dropout = text.splitlines()
    assert rule.endswith("training alone: C2 (`plateau`) *preliminary: replicated*.")
    assert dropout == (
        "- Over dense training with dropout, in points: `plateau` -6.0 (-6.0 to -6.0, 3 seeds). "
        "That training itself gains +9.0 (+9.0 to +9.0, 3 seeds) over dense training as it stands."
    )


def test_an_open_difference_is_told_with_what_so_few_seeds_would_find() -> None:
    plain = runs({"dense": [0.50, 0.51, 0.52], "plateau": [0.53, 0.54, 0.55]})
    text = how_sure(pd.concat([plain, runs({"dense": [0.50, 0.54, 0.58]}, variant="dropout=0.3")]))
    least = float(re.findall(r"So few seeds find a difference of ([\d.]+) points four times in five", text)[0])
    [row] = regularized(pd.concat([plain, runs({"dense": [0.50, 0.54, 0.58]}, variant="dropout=0.3")]), "classroom")[
        0
    ].rows
    assert least == round(100 * row["smallest_detectable_effect"], 1) > 3


def test_how_far_the_answer_depends_on_reconstructions_is_told_from_the_ablations() -> None:
    plain = runs({"dense": [0.50, 0.51, 0.52], "plateau": [0.53, 0.54, 0.55]}, preset="ablation")
    bare = runs({"plateau": [0.40, 0.41, 0.42]}, preset="ablation", variant="final_dense_periods=0")
    last = how_sure(pd.concat([plain, bare])).splitlines()[-1]
    assert "of 2 ways to fill the gaps" in last and "each tried with 3 seeds on fewer images" in last
    assert "1 gain over dense training on average, 1 of them" in last
    assert last.endswith("Without the dense periods at the end, in points: `plateau` -10.0 (-10.0 to -10.0).")
    assert "depends on choices" not in how_sure(runs({"dense": [0.5], "plateau": [0.5]}))


def test_budgets_in_random_order_are_told_where_they_do_as_much() -> None:
    columns = {"dense": 0.3, "plateau": 0.4, "random": 0.4}
    methods = [runs({name: [0.5, 0.51, 0.52]}, budget_area=area) for name, area in columns.items()]
    methods[-1]["budget_area"] += [0.01, -0.01, 0.0]
    other = runs({"dense": [0.6] * 3}, budget_area=0.35, variant="dropout=0.3")
    assert "in random order do as much: against `random`, `plateau` +0.0 (" in how_sure(pd.concat([*methods, other]))
    methods[-1]["budget_area"] -= 0.05
    assert "in random order" not in how_sure(pd.concat([*methods, other]))
    [line] = unordered_sentences(pd.concat(methods), "classroom", "budget_area")
    assert line.startswith("area under the accuracy-budget curve, against random: plateau +5.0 (")


def test_the_gate_is_said_to_have_acted_where_budgets_differ_from_those_without_feedback() -> None:
    fields = {"decay": 0.5, "floor": 0.2, "reset_to": 1.0, "warmup_periods": 0, "final_dense_periods": 1}
    configurations = pd.DataFrame([fields | {"run": "a"}, fields | {"run": "b"}])

    def run(name: str, budgets: list[float], losses: list[float]) -> pd.DataFrame:
        rows = {"method": "loss_gated", "run": name, "period": range(5), "keep_ratio": budgets, "train_loss": losses}
        return pd.DataFrame(rows)

    blind = run("a", [1.0, 0.5, 0.25, 0.2, 1.0], [2.0, 1.5, 2.5, 1.0, 0.5])  # the last is dense whatever the rule
    early = run("b", [1.0, 0.5, 1.0, 0.5, 1.0], [2.0, 3.0, 2.5, 1.0, 0.5])
    found = gate(pd.concat([blind, early]), configurations)
    assert (found.runs, found.acted, found.below) == (2, 1, 3 / 5)
    assert gate_sentence(found).startswith("In 1 of the 2 recorded runs of `loss_gated`")
    told = gate_sentence(gate(blind, configurations))
    assert told.startswith("In none of the 1 recorded runs of `loss_gated`") and "In 67% of their periods" in told


def test_a_strategy_whose_constants_leave_it_no_choice_is_said_to_have_no_feedback() -> None:
    plain = runs({"dense": [0.50, 0.51, 0.52], "plateau": [0.53, 0.54, 0.55]})
    assert set(without_feedback(plain, "classroom")) == {"plateau"}, "patience 1 and a hold of at most 2"
    assert without_feedback(plain.assign(preset="quick"), "quick") == {}, "a hold of at most 4"
    assert "no budget of theirs depended on the loss" not in how_sure(plain)
    same = {"loss_gated": [0.5, 0.6, 0.7], "geometric": [0.5, 0.6, 0.7]}
    both = pd.concat([plain, runs(same, gap=0.0, budget_area=0.4)])
    assert set(without_feedback(both, "classroom")) == {"plateau", "loss_gated"}
    assert "no budget of theirs depended on the loss in these runs. What feedback adds is open." in how_sure(both)
    longer = pd.concat([both, runs({"plateau": [0.50, 0.52, 0.54]}, variant="max_hold=4")])
    [arm] = with_feedback(longer, "classroom")
    assert (arm.method, arm.variant) == ("plateau", "max_hold=4")
    assert arm.over_dense["mean"] == pytest.approx(0.01) and arm.as_it_stands["mean"] == pytest.approx(0.02)
    told = feedback_sentence(longer, "classroom")
    assert "With `max_hold=4` the loss decides how long `plateau` holds a budget: it gains +1.0 (" in told
    assert "points over dense training, and as it stands +2.0 (" in told
    assert "(`plateau` with `max_hold=4`), the gain over dense training, in points, is +1.0 (" in how_sure(longer)


def test_a_run_is_listed_with_its_command_and_a_diverged_one_as_such() -> None:
    table = runs({"dense": [0.51234]}, run="classroom/dense-seed0", git_revision="0123456789abcdef")
    broken = table.assign(run="classroom/dense-seed1", seed=1, test_accuracy=float("nan"), train_accuracy=float("nan"))
    listed = run_list(pd.concat([table, broken]))
    assert listed.loc["classroom/dense-seed0"].tolist() == [
        "0.5123", "1.0000", "1800", "0123456789",
        ".venv/bin/sparsecycle run --preset classroom --method dense --seed 0",
    ]  # fmt: skip
    assert listed.loc["classroom/dense-seed1", "test accuracy"] == "diverged"


def test_every_claim_is_set_against_regularized_dense_training_too() -> None:
    dense = runs({"dense": [0.5, 0.5, 0.5]}, gap=0.5)
    strategy = runs({"plateau": [0.5, 0.5, 0.5]}, gap=0.3)
    shorter = runs({"dense": [0.5, 0.5, 0.5]}, gap=0.1, variant="epochs=25")
    [line] = against_sentences(pd.concat([dense, strategy, shorter]), "classroom", "C4")
    assert line == (
        "smaller train-test gap, against dense for 25 instead of 50 epochs: plateau -20.0 (-20.0 to -20.0, 3 seeds)"
    )


def test_what_is_kept_at_small_budgets_is_said_only_where_it_holds_against_each_baseline() -> None:
    def told(dropout: float) -> str:
        plain = runs({"dense": [0.5] * 3}, budget_area=0.3)
        strategy = runs({"plateau": [0.5, 0.51, 0.52]}, budget_area=0.4)
        other = runs({"dense": [0.6] * 3}, budget_area=dropout, variant="dropout=0.3")
        return how_sure(pd.concat([plain, strategy, other]))

    assert "over all budgets +5.0 to +5.0 points on average" in told(0.35)
    assert "small budgets" not in told(0.45)


def test_the_baseline_is_compared_with_the_papers() -> None:
    sentence = baseline_sentence(runs({"dense": [0.5, 0.538]}), "classroom")
    assert "0.519 here and 0.869 in the paper, 35 points more" in sentence
    assert "5,000 training images instead of 50,000 and a WRN-10-1 of 77,610 parameters" in sentence


def test_all_recorded_compute_is_counted_diverged_runs_too() -> None:
    final = runs({"dense": [0.5, 0.5], "plateau": [0.5]})
    search = runs({"dense": [0.5]}, status="diverged", resumes=2)
    sentence = compute_sentence(final, search, runs({"dense": [0.5, 0.5]}))
    assert sentence.startswith("6 recorded runs took 3.0 hours")
    assert "1.5 for the 3 final runs and ablations, 0.5 for the 1 runs" in sentence
    assert "1.0 for 2 that this choice made obsolete" in sentence
    assert "1 of them diverged and 1 were interrupted and resumed" in sentence


def test_a_smaller_gap_is_taken_apart() -> None:
    dense = runs({"dense": [0.50, 0.52]}, gap=[0.5, 0.48])
    strategy = runs({"plateau": [0.53, 0.55]}, gap=0.4, train_accuracy=0.94)
    strategy["gap"] = strategy["train_accuracy"] - strategy["test_accuracy"]
    [line] = gap_sentences(pd.concat([dense.assign(gap=1 - dense["test_accuracy"]), strategy]))
    assert line == "plateau: the gap changes by -9.0 points, train accuracy by -6.0, test accuracy by +3.0."


def test_budgets_are_weighted_in_two_other_ways() -> None:
    dense = runs({"dense": [0.5, 0.5]}).assign(
        **{"accuracy_at_1.0": 0.5, "accuracy_at_0.5": 0.3, "accuracy_at_0.25": 0.1}
    )
    strategy = dense.assign(**{"method": "plateau", "accuracy_at_0.25": 0.4})
    equal, linear = weighting_sentences(pd.concat([dense, strategy]))
    assert equal.endswith("plateau +10.0 (+10.0 to +10.0)")  # 0.3 of one budget in three
    assert linear.endswith("plateau +5.0 (+5.0 to +5.0)")  # a triangle of 0.3 over a third of the width, halved


def test_the_cost_of_a_step_is_told_from_measurements_in_turn() -> None:
    [record] = [one for one in load_benchmarks() if one.environment["device"] == "cpu"]
    told = step_sentence(record)
    low, high = map(float, re.findall(r"takes ([\d.]+) to ([\d.]+) times", told)[0])
    assert 0.9 < low <= high < 2 and "a budget of 0.02 to 0.5" in told
    longer = [variant["epochs"] for block in Grid.read(ROOT / "workflow/grid.yaml").studies["classroom"].runs
              for variant in block.variants if variant.get("epochs", 0) > 50]  # fmt: skip
    assert [epochs / 50 for epochs in longer] == pytest.approx([high], abs=0.05), "dense training is as much longer"
    other = [one for one in record.measurements if one.suite != "step"]
    told = step_sentence(record.model_copy(update={"measurements": other}))
    assert told == "The cost of a step on a CPU was not measured."


def test_code_is_counted_without_comments_and_docstrings() -> None:
    lines = method_lines()
    assert set(lines) == {"the layer", "strategy 1", "strategy 2"}
    assert all(20 < count < 100 for count in lines.values())


def test_a_search_lists_what_was_varied_the_best_first() -> None:
    found = runs({"dense": [0.50, 0.52]}).assign(identity=["a", "b"])
    fields = pd.DataFrame({"identity": ["a", "b"], "learning_rate": [0.1, 0.2], "weight_decay": [0.001, 0.001]})
    table = search_table(found, fields)
    assert list(table.columns) == ["learning_rate", "validation accuracy", "train accuracy"]
    assert table["learning_rate"].tolist() == [0.2, 0.1]
    assert search_sentence(found) == "2 runs (2 of `dense`), 1.0 hours, each counted by its own clock."


def test_the_commands_of_the_search_make_the_configurations_that_were_searched() -> None:
    folder = ROOT / "data/search"
    listed = search_list(folder)
    for _, record, name in find_records(folder):
        words = shlex.split(listed.loc[name, "command"])
        given = dict(zip(words[2::2], words[3::2], strict=True))
        settings = [
            parse_setting(text) for option, text in zip(words[2::2], words[3::2], strict=True) if option == "--set"
        ]
        config = configure(given["--preset"], given["--method"], int(given["--seed"]), dict(settings))
        assert {key: config.model_dump(mode="json")[key] for key in record.config} == record.config


def test_gains_of_earlier_runs_are_told_seed_by_seed() -> None:
    earlier = runs({"dense": [0.50, 0.52], "loss_gated": [0.51, 0.50], "plateau": [0.50, 0.53]})
    assert gains_by_seed(earlier) == "`loss_gated` +1.0 and -2.0, `plateau` +0.0 and +1.0"


def test_each_condition_is_paired_by_seed() -> None:
    measures = pd.DataFrame(
        {"method": method, "seed": seed, "kind": kind, "strength": 0.1, "accuracy": base + 0.01 * seed + gain}
        for kind, base in (("noise", 0.4), ("blur", 0.3))
        for method, gain in (("dense", 0.0), ("plateau", 0.02))
        for seed in range(3)
    )
    table = condition_table(measures)
    assert table["condition"].tolist() == ["noise", "blur"]
    assert table["plateau"].tolist() == ["+2.0 (+2.0 to +2.0)"] * 2
    assert "loss_gated" not in table


def test_nothing_measured_gives_no_line() -> None:
    assert effect_sentences(verdict_table(pd.DataFrame(), "paper")) == []
    with pytest.raises(KeyError):
        condition_table(pd.DataFrame())


@pytest.mark.parametrize(
    ("method", "variant", "settings"),
    [
        ("dense", "dropout=0.1", "dropout=0.1"),
        ("fixed", "", "keep_ratio=0.25"),
        ("fixed", "keep_ratio=0.5", "keep_ratio=0.5"),
    ],
)
def test_the_command_of_a_run_makes_its_configuration(method: str, variant: str, settings: str) -> None:
    command = run_command("classroom", method, 3, variant)
    assert command == f".venv/bin/sparsecycle run --preset classroom --method {method} --seed 3 --set {settings}"
    name, value = parse_setting(settings)
    assert configure("classroom", method, 3, {name: value}).seed == 3
