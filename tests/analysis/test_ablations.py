"""Gains with one choice varied, on runs made up for it."""

import math

import pandas as pd
import pytest

from sparsecycle.analysis.ablations import ablation_table, dense_choices, specification_sentence, specifications, varied
from sparsecycle.analysis.statistics import baseline_table


def runs(rows: list[tuple[str, str, list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        {"preset": "ablation", "method": method, "variant": variant, "seed": seed, "status": "complete",
         "evaluated_on": "test", "test_accuracy": value, "accuracy_at_1.0": value, "accuracy_at_0.25": value / 2,
         "train_accuracy": 1.0, "gap": 1 - value, "budget_area": value}
        for method, variant, values in rows
        for seed, value in enumerate(values)
    )  # fmt: skip


PLAIN = [("dense", "", [0.50, 0.51, 0.52]), ("plateau", "", [0.51, 0.52, 0.53])]


def test_a_variant_as_text_and_back() -> None:
    assert varied("") == {}
    assert varied("budgets=[1.0, 0.5], floor=0.1, scope=batch") == {
        "budgets": "[1.0, 0.5]", "floor": "0.1", "scope": "batch",
    }  # fmt: skip


def test_a_choice_that_dense_training_does_not_see_is_compared_with_it_as_it_stands() -> None:
    table = ablation_table(runs([*PLAIN, ("plateau", "floor=0.1", [0.53, 0.55, 0.54])]), "ablation")
    row = table.set_index("variant").loc["floor=0.1"]
    assert row["gain"] == pytest.approx((0.03 + 0.04 + 0.02) / 3)
    assert row["change"] == pytest.approx((0.02 + 0.03 + 0.01) / 3)  # hand-worked: gains were 0.01 each
    assert row["change_low"] < row["change"] < row["change_high"]
    assert row["choice"] == "floor"
    assert row["seeds"] == 3


def test_a_choice_that_dense_training_sees_needs_dense_runs_of_its_own() -> None:
    alone = runs([*PLAIN, ("plateau", "norm=batch", [0.6, 0.6, 0.6])])
    assert "norm=batch" not in set(ablation_table(alone, "ablation")["variant"])
    both = pd.concat([alone, runs([("dense", "norm=batch", [0.6, 0.61, 0.62])])])
    row = ablation_table(both, "ablation").set_index("variant").loc["norm=batch"]
    assert row["gain"] == pytest.approx(-0.01)
    assert row["change"] == pytest.approx(-0.02)


def test_a_choice_that_harms_dense_training_is_seen_against_dense_training_as_it_stands() -> None:
    rows = [*PLAIN, ("dense", "learning_rate=0.4", [0.40, 0.41, 0.42]), ("plateau", "learning_rate=0.4", [0.45] * 3)]
    table = ablation_table(runs(rows), "ablation")
    row = table.set_index("variant").loc["learning_rate=0.4"]
    assert row["gain"] == pytest.approx(0.04) and row["over_plain"] == pytest.approx(-0.06)
    assert "Of the 2, 1 also lie above dense training as it stands" in specification_sentence(table)
    dense = dense_choices(runs(rows), "ablation").set_index("variant")
    assert dense.loc["learning_rate=0.4", "gain"] == pytest.approx(-0.1) and dense.loc["", "seeds"] == 3
    assert math.isnan(dense.loc["", "gain"]) and dense_choices(pd.DataFrame(), "ablation").empty


def test_several_overrides_are_counted_from_the_one_variant_that_lacks_one_of_them() -> None:
    held = [("plateau", "max_hold=8", [0.53] * 3), ("plateau", "max_hold=8, patience=2", [0.55] * 3)]
    table = ablation_table(runs([*PLAIN, *held]), "ablation").set_index("variant")
    row = table.loc["max_hold=8, patience=2"]
    assert (row["against"], row["change"]) == ("max_hold=8", pytest.approx(0.02))
    two = [("plateau", name, [0.53] * 3) for name in ("decay=0.5", "floor=0.1", "decay=0.5, floor=0.1")]
    table = ablation_table(runs([*PLAIN, *two]), "ablation").set_index("variant")
    assert table.loc["decay=0.5, floor=0.1", "against"] == "", "two lack one: none is the reference"
    assert table.loc["decay=0.5", "against"] == ""
    same = [("plateau", name, [0.53] * 3) for name in ("max_hold=8", "max_hold=8, tolerance=0.5")]
    table = ablation_table(runs([*PLAIN, *same]), "ablation").set_index("variant")
    assert table.loc["max_hold=8, tolerance=0.5", "same_runs"] and not table.loc["max_hold=8", "same_runs"]


def test_the_budget_of_the_evaluation_needs_no_runs_of_its_own() -> None:
    table = ablation_table(runs(PLAIN), "ablation").set_index("variant")
    assert list(table.index) == ["", "headline_budget=0.25", "headline_budget=0.25 (dense at 1)"]
    assert table.loc["headline_budget=0.25", "gain"] == pytest.approx(0.005)
    assert table.loc["headline_budget=0.25 (dense at 1)", "gain"] == pytest.approx(0.52 / 2 - 0.51)
    assert set(table["verdict"].iloc[1:]) == {""}
    assert math.isnan(table.loc["", "change"])


def test_the_best_epoch_on_test_images_needs_no_runs_of_its_own() -> None:
    frame = runs(PLAIN).assign(best_test_accuracy=lambda rows: rows["test_accuracy"] + 0.02 * (rows["seed"] == 1))
    frame.loc[frame["method"] == "dense", "best_test_accuracy"] += 0.03
    row = ablation_table(frame, "ablation").set_index("variant").loc["epoch=best"]
    assert row["gain"] == pytest.approx(0.01 - 0.03) and row["change"] == pytest.approx(-0.03)
    assert row["evaluation"] and row["verdict"] == "" and row["choice"] == "epoch"


def test_batch_normalization_is_no_reading_of_a_paper_that_names_another() -> None:
    rows = [*PLAIN, *((method, "norm=batch", [0.5] * 3) for method in ("dense", "plateau"))]
    table = ablation_table(runs(rows), "ablation")
    assert "norm=batch" in set(table["variant"]) and "norm=batch" not in set(specifications(table)["variant"])


def test_a_diverged_seed_is_left_out() -> None:
    frame = runs([*PLAIN, ("plateau", "floor=0.1", [0.53, 0.55, 0.54])])
    frame.loc[(frame["variant"] == "floor=0.1") & (frame["seed"] == 1), "status"] = "diverged"
    row = ablation_table(frame, "ablation").set_index("variant").loc["floor=0.1"]
    assert row["seeds"] == 2 and row["verdict"] == "inconclusive"


def test_the_sentence_counts_readings_of_the_paper_and_each_once() -> None:
    rows = [*PLAIN, ("plateau", "decay=0.5", [0.40, 0.41, 0.42]), ("plateau", "floor=0.1", [0.55, 0.56, 0.57])]
    rows += [("plateau", "tolerance=0.5", [0.51, 0.52, 0.53])]  # the same runs as the plain ones
    rows += [("plateau", "selection=random", [0.9, 0.9, 0.9])]  # a control, no reading
    table = ablation_table(runs(rows), "ablation")
    sentence = specification_sentence(table)
    assert sentence.startswith(
        "3 reconstructions, each strategy counted: 2 gain over dense on average, 2 of them *repl"
    )
    assert "1 *reversed*" in sentence
    assert "about 0.1 of 3 intervals would still lie above zero" in sentence  # 0.025 of each
    assert "from -10.0 to +5.0 points." in sentence and "diverged" not in sentence
    assert table.set_index("variant")["same_runs"].to_dict()["tolerance=0.5"]


def test_a_reconstruction_that_diverges_in_every_seed_stays_in_the_table_and_supports_nothing() -> None:
    frame = runs([*PLAIN, ("plateau", "clip_norm=null", [0.5] * 3), ("dense", "clip_norm=null", [0.5] * 3)])
    frame.loc[(frame["variant"] == "clip_norm=null") & (frame["method"] == "plateau"), "status"] = "diverged"
    table = ablation_table(frame, "ablation")
    row = table.set_index("variant").loc["clip_norm=null"]
    assert (row["seeds"], row["excluded"], row["verdict"]) == (0, 3, "inconclusive")
    assert math.isnan(row["gain"]) and math.isnan(row["change"])
    sentence = specification_sentence(table)
    assert "1 have no pair left, because training diverged: they support nothing." in sentence
    assert "about 0.0 of 1 intervals would still lie above zero" in sentence, "the other has none"


def test_a_reconstruction_with_two_seeds_left_counts_as_neither_and_is_said_to_have_lost_one() -> None:
    frame = runs([*PLAIN, ("plateau", "floor=0.1", [0.55, 0.56, 0.57])])
    frame.loc[(frame["variant"] == "floor=0.1") & (frame["seed"] == 1), "status"] = "diverged"
    sentence = specification_sentence(ablation_table(frame, "ablation"))
    assert "1 of them *replicated*" in sentence, "the preset as it stands; two seeds are inconclusive by the rule"
    assert "In 1 a run of the strategy diverged" in sentence


def test_what_was_resumed_with_another_source_counts_nowhere() -> None:
    mixed = [("plateau", "resumed with another source", [0.9] * 3), ("dense", "resumed with another source", [0.9] * 3)]
    frame = runs([*PLAIN, *mixed, ("plateau", "floor=0.1, resumed with another source", [0.9] * 3)])
    evaluated = {"headline_budget=0.25", "headline_budget=0.25 (dense at 1)"}
    assert set(ablation_table(frame, "ablation")["variant"]) == {""} | evaluated
    assert baseline_table(frame, "ablation").empty


def test_without_runs_there_is_no_table() -> None:
    assert ablation_table(pd.DataFrame(), "ablation").empty
    assert ablation_table(runs(PLAIN), "quick").empty
    assert baseline_table(pd.DataFrame(), "quick").empty


def test_baselines_of_reviewers_are_compared_with_both_strategies() -> None:
    rows = [*PLAIN, ("loss_gated", "", [0.5, 0.5, 0.5]), ("dense", "dropout=0.1", [0.49, 0.50, 0.52])]
    rows += [("plateau", "selection=random", [0.4, 0.41, 0.43]), ("fixed", "keep_ratio=0.1", [0.5, 0.5, 0.5])]
    rows += [("geometric", "", [0.5, 0.5, 0.5]), ("geometric", "selection=random", [0.4, 0.4, 0.4])]
    rows += [("fixed", "", [0.5, 0.5, 0.5]), ("plateau", "max_hold=4", [0.52, 0.53, 0.54])]
    rows += [("fixed", "keep_ratio=0.1, selection=random", [0.3, 0.3, 0.3])]
    table = baseline_table(runs(rows), "ablation").set_index("comparison")
    assert set(table.index) == {
        "loss_gated - dense dropout=0.1", "plateau - dense dropout=0.1", "plateau - plateau selection=random",
        "loss_gated - fixed keep_ratio=0.1", "plateau - fixed keep_ratio=0.1", "geometric - geometric selection=random",
        "plateau - plateau max_hold=4", "plateau max_hold=4 - dense", "dense dropout=0.1 - dense",
        "plateau - fixed keep_ratio=0.1, selection=random",
        "loss_gated - fixed keep_ratio=0.1, selection=random",
        "fixed keep_ratio=0.1 - fixed keep_ratio=0.1, selection=random",
    }  # fmt: skip
    assert table.loc["plateau - dense dropout=0.1", "differences"] == pytest.approx((0.02, 0.02, 0.01))
    assert table.loc["plateau max_hold=4 - dense", "differences"] == pytest.approx((0.02, 0.02, 0.02))
    assert "replicated" not in "".join(table["verdict"])
    tested = table[table["verdict"] != "same runs"]
    assert len(tested) == 11 and (tested["p_holm"] >= tested["p_value"]).all()
    held_out = runs(rows).assign(evaluated_on="validation")
    assert baseline_table(held_out, "ablation").empty
