"""Ablations of the companion study and their ledger: hand-worked, from rows as `load_set_runs` gives them."""

import re
from typing import Any

import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle.set_mlp.ablations import set_ablation_table
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.study import SetStudies
from sparsecycle_book.ledger import read_ledger
from sparsecycle_book.set_mlp.ledger import set_ledger_markdown, set_ledger_sentence

LEDGER = ROOT / "book" / "set_ledger.yaml"


def row(dataset: str, variant: str, accuracy: float, **changed: object) -> dict[str, object]:
    plain = {"method": "set", "seed": 0, "status": "complete", "neurons_left": 1.0, "parameters": 100}
    return {"dataset": dataset, "variant": variant, "test_accuracy": accuracy} | plain | changed


def test_a_change_is_the_mean_over_datasets_against_the_method_as_it_stands() -> None:
    runs = pd.DataFrame(
        [
            *(row("a", "", 0.5), row("a", "zeta=0.1", 0.6, parameters=50, neurons_left=0.5)),
            *(row("b", "", 0.7), row("b", "zeta=0.1", 0.9, parameters=50, neurons_left=0.5)),
            row("c", "", 0.1),  # has no such run, so it does not count
        ]
    )
    table = set_ablation_table(runs)
    assert len(table) == 1
    found = table.iloc[0]
    assert (found["method"], found["variant"], found["datasets"], found["left_out"]) == ("set", "zeta=0.1", 2, 0)
    assert found["change"] == pytest.approx(0.15)
    assert found["low"] < 0.15 < found["high"]
    assert (found["parameters"], found["neurons_left"], found["diverged"]) == (0.5, 0.5, 0)


def test_only_seeds_count_that_both_have_and_a_diverged_run_is_right_on_no_sample() -> None:
    runs = pd.DataFrame(
        [
            *(row("a", "", 0.5), row("a", "", 0.9, seed=1), row("a", "epsilon=5", 0.6)),
            *(row("b", "", 0.5), row("b", "epsilon=5", float("nan"), status="diverged")),
        ]
    )
    found = set_ablation_table(runs).iloc[0]
    assert found["change"] == pytest.approx((0.1 - 0.5) / 2)
    assert (found["datasets"], found["left_out"], found["diverged"], found["diverged_as_it_stands"]) == (2, 0, 1, 0)
    assert (found["change_stable"], found["stable"]) == (pytest.approx(0.1), 1)


def test_a_dataset_without_divergence_is_one_where_neither_diverged_on_a_split_that_counts() -> None:
    lost: dict[str, Any] = {"accuracy": float("nan"), "status": "diverged"}
    runs = pd.DataFrame(
        [
            *(row("a", "", 0.5), row("a", "", seed=1, **lost), row("a", "epsilon=5", 0.6)),
            *(row("b", "", **lost), row("b", "epsilon=5", 0.8)),
            *(row("c", "", 0.5), row("c", "epsilon=5", 0.7)),
        ]
    )
    found = set_ablation_table(runs).iloc[0]
    assert found["change"] == pytest.approx((0.1 + 0.8 + 0.2) / 3)
    assert (found["change_stable"], found["stable"]) == (pytest.approx(0.15), 2)
    assert (found["diverged"], found["diverged_as_it_stands"]) == (0, 1)
    text = set_ledger_markdown(LEDGER, set_ablation_table(runs))
    assert "3 datasets); 0 runs diverged, 1 as it stands; +15.0 (" in text and "the 2 datasets where none did)" in text


def test_without_runs_there_is_no_table() -> None:
    assert set_ablation_table(pd.DataFrame({"method": [], "variant": []})).empty


def test_the_ledger_shows_values_and_effects() -> None:
    runs = [row(name, "", 0.5) for name in "abc"] + [row(name, "zeta=0.1", 0.52) for name in "abc"]
    ablations = set_ablation_table(pd.DataFrame(runs))
    text = set_ledger_markdown(LEDGER, ablations)
    assert "`set` with `zeta=0.1`: +2.0 (+2.0 to +2.0, 3 datasets)" in text
    assert f"`zeta` is {SetConfig(dataset='digits', method='set').zeta}" in text
    assert text.count("- **") == len(read_ledger(LEDGER))
    assert re.search(r"1 of them were varied", set_ledger_sentence(LEDGER, ablations))


def test_every_variant_of_the_study_has_its_row_in_the_ledger() -> None:
    configurations = SetStudies.read(ROOT / "workflow" / "set.yaml").configurations("ablation")
    rows = [set(one["fields"]) for one in read_ledger(LEDGER)]
    for config in configurations:
        assert any(config.overrides().keys() <= fields for fields in rows), config.overrides()


def test_every_choice_that_can_be_varied_is() -> None:
    configurations = SetStudies.read(ROOT / "workflow" / "set.yaml").configurations("ablation")
    varied = [set(config.overrides()) for config in configurations]
    for one in read_ledger(LEDGER):
        if one["fields"] and "not_varied" not in one:
            assert any(fields <= set(one["fields"]) for fields in varied), one["choice"]
