"""The recorded studies: one configuration a name, constants as the search chose them, measures of one version."""

import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle import RunConfig, load_runs
from sparsecycle.config import load_preset
from sparsecycle.runs.measures import Measures
from sparsecycle.runs.records import find_records, load_configurations

RECORDS = find_records(ROOT / "data" / "runs") + find_records(ROOT / "data" / "search")


def test_every_record_says_what_differs_from_the_preset_as_it_stands() -> None:
    """So that no run of an older preset is pooled with those of the present one."""
    shipped = find_records(ROOT / "data" / "runs")
    stale = [name for _, record, name in shipped if RunConfig(**record.config).overrides() != record.overrides]
    assert stale == []


def test_records_come_from_clean_trees_and_one_backend() -> None:
    assert all(record.provenance.git_clean and record.provenance.git_revision for _, record, _ in RECORDS)
    assert len({record.provenance.backend for _, record, _ in find_records(ROOT / "data" / "runs")}) == 1


def test_measures_belong_to_their_runs_and_to_one_version() -> None:
    measured = [(record, Measures.read(folder)) for folder, record, _ in find_records(ROOT / "data" / "runs")]
    found = [(record, measures) for record, measures in measured if measures]
    assert found and all(measures.identity == record.identity for record, measures in found)
    assert all(measures.git_clean for _, measures in found)
    assert len({measures.source_sha256 for _, measures in found}) == 1
    assert len({measures.torchvision for _, measures in found}) == 1


@pytest.fixture(scope="module")
def search() -> pd.DataFrame:
    folder = ROOT / "data" / "search"
    accuracy = load_runs(folder)[["identity", "test_accuracy"]]
    found = accuracy.merge(load_configurations(folder), on="identity")
    return found[found["preset"] == "classroom"]


def test_the_rates_are_those_where_dense_training_did_best(search: pd.DataFrame) -> None:
    plain = search[(search["method"] == "dense") & (search["dropout"] == 0) & (search["epochs"] == 50)]
    best = plain.loc[plain["test_accuracy"].idxmax()]
    for preset in ("classroom", "ablation"):
        assert {name: load_preset(preset)[name] for name in ("learning_rate", "weight_decay")} == {
            "learning_rate": best["learning_rate"],
            "weight_decay": best["weight_decay"],
        }


def test_the_cycle_is_the_one_where_both_strategies_did_best_on_average(search: pd.DataFrame) -> None:
    shared = ["decay", "floor", "final_dense_periods"]
    plain = search[
        ((search["method"] == "loss_gated") & (search["tolerance"] == 0.2))
        | ((search["method"] == "plateau") & (search["max_hold"] == 4))
    ]
    table = plain.pivot(index=shared, columns="method", values="test_accuracy")
    best = dict(zip(shared, table.mean(axis=1, skipna=False).idxmax(), strict=True))
    for preset in ("classroom", "ablation"):
        assert {name: load_preset(preset)[name] for name in shared} == best


def test_max_hold_and_tolerance_are_changed_where_their_strategy_did_better(search: pd.DataFrame) -> None:
    before = search[(search["floor"] == 0.2) & (search["decay"] == 0.7) & (search["final_dense_periods"] == 0)]
    gated = before[before["method"] == "loss_gated"].set_index("tolerance")["test_accuracy"]
    held = before[before["method"] == "plateau"].set_index("max_hold")["test_accuracy"]
    preset = load_preset("classroom")
    assert held[2] > held[4] and preset["max_hold"] == 2
    assert gated[0.05] <= gated[0.2] and "tolerance" not in preset


def test_the_reviewers_dense_baselines_are_the_best_of_the_search(search: pd.DataFrame) -> None:
    arms = load_runs()
    arms = arms[(arms["preset"] == "classroom") & (arms["method"] == "dense")]["variant"]
    for field in ("dropout", "epochs"):
        plain = {"dropout": 0.0, "epochs": 50}
        tried = search[(search["method"] == "dense") & (search[field] != plain[field])]
        best = tried.loc[tried["test_accuracy"].idxmax(), field]
        used = {variant for variant in arms if variant.startswith(f"{field}=")} - {"epochs=54"}
        assert used <= {f"{field}={best:g}"}
