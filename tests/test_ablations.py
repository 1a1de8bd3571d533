"""Gains with one choice varied, on runs made up for it."""

import math

import pandas as pd
import pytest

from sparsecycle.ablations import ablation_table, specification_sentence, varied
from sparsecycle.statistics import baseline_table


def runs(rows: list[tuple[str, str, list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        {"preset": "ablation", "method": method, "variant": variant, "seed": seed, "status": "complete",
         "evaluated_on": "test", "test_accuracy": value, "accuracy_at_1.0": value, "accuracy_at_0.25": value / 2}
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


def test_the_budget_of_the_evaluation_needs_no_runs_of_its_own() -> None:
    table = ablation_table(runs(PLAIN), "ablation").set_index("variant")
    assert list(table.index) == ["", "headline_budget=0.25"]
    assert table.loc["headline_budget=0.25", "gain"] == pytest.approx(0.005)
    assert math.isnan(table.loc["", "change"])


def test_a_diverged_seed_is_left_out() -> None:
    frame = runs([*PLAIN, ("plateau", "floor=0.1", [0.53, 0.55, 0.54])])
    frame.loc[(frame["variant"] == "floor=0.1") & (frame["seed"] == 1), "status"] = "diverged"
    row = ablation_table(frame, "ablation").set_index("variant").loc["floor=0.1"]
    assert row["seeds"] == 2 and row["verdict"] == "inconclusive"


def test_the_sentence_counts_what_the_table_holds() -> None:
    rows = [*PLAIN, ("plateau", "decay=0.5", [0.40, 0.41, 0.42]), ("plateau", "floor=0.1", [0.55, 0.56, 0.57])]
    table = ablation_table(runs(rows), "ablation")
    sentence = specification_sentence(table)
    assert sentence.startswith("4 reconstructions, each strategy counted: 3 gain over dense on average, 3 of them")
    assert "1 lose with an interval below zero" in sentence
    assert "from -10.0 to +5.0 points" in sentence


def test_without_runs_there_is_no_table() -> None:
    assert ablation_table(pd.DataFrame(), "ablation").empty
    assert ablation_table(runs(PLAIN), "quick").empty
    assert baseline_table(pd.DataFrame(), "quick").empty


def test_baselines_of_reviewers_are_compared_with_both_strategies() -> None:
    rows = [*PLAIN, ("loss_gated", "", [0.5, 0.5, 0.5]), ("dense", "dropout=0.1", [0.49, 0.50, 0.52])]
    rows += [("plateau", "selection=random", [0.4, 0.41, 0.43]), ("fixed", "keep_ratio=0.1", [0.5, 0.5, 0.5])]
    table = baseline_table(runs(rows), "ablation").set_index("comparison")
    assert set(table.index) == {
        "loss_gated - dense dropout=0.1", "plateau - dense dropout=0.1", "plateau - plateau selection=random",
        "loss_gated - fixed keep_ratio=0.1", "plateau - fixed keep_ratio=0.1",
    }  # fmt: skip
    assert table.loc["plateau - dense dropout=0.1", "differences"] == pytest.approx((0.02, 0.02, 0.01))
    assert "replicated" not in "".join(table["verdict"])
    assert (table["p_holm"] >= table["p_value"]).all()
