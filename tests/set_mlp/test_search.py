"""The choice of constants: the highest mean over the datasets of the search, of which nothing may be missing."""

import shlex
from pathlib import Path

import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle.config import parse_setting
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import METHODS, SetConfig, configure_set
from sparsecycle.set_mlp.datasets import search_datasets, study_datasets
from sparsecycle.set_mlp.records import find_set_records
from sparsecycle.set_mlp.search import SEARCHED, best_constants, load_search, search_table
from sparsecycle.set_mlp.training import train_set
from sparsecycle_book.set_mlp.report import set_search_list


def runs(accuracies: dict[tuple[str, float, float], float]) -> pd.DataFrame:
    """A run on each dataset with the same accuracy; keys are method, rate and dropout."""
    return pd.DataFrame(
        {
            "dataset": name,
            "seed": 0,
            "method": method,
            "learning_rate": rate,
            "dropout": dropout,
            "test_accuracy": accuracy,
        }
        for name in search_datasets()
        for (method, rate, dropout), accuracy in accuracies.items()
    )


def test_each_method_gets_the_configuration_with_its_highest_mean() -> None:
    table = search_table(
        runs({("set", 0.01, 0.0): 0.7, ("set", 0.03, 0.3): 0.8, ("dense", 0.01, 0.0): 0.9, ("dense", 0.03, 0.3): 0.8})
    )
    assert best_constants(table) == {
        "dense": {"learning_rate": 0.01, "dropout": 0.0},
        "set": {"learning_rate": 0.03, "dropout": 0.3},
    }


def test_of_equals_the_smaller_rate_and_then_less_dropout_is_chosen() -> None:
    equal = {("set", 0.03, 0.0): 0.8, ("set", 0.01, 0.3): 0.8, ("set", 0.01, 0.0): 0.8}
    assert best_constants(search_table(runs(equal)))["set"] == {"learning_rate": 0.01, "dropout": 0.0}


def test_the_mean_is_over_datasets() -> None:
    frame = runs({("set", 0.01, 0.0): 0.5})
    frame.loc[0, "test_accuracy"] = 1.0
    datasets = len(search_datasets())
    assert search_table(frame).loc[(0.01, 0.0), "set"] == pytest.approx((0.5 * (datasets - 1) + 1) / datasets)


def test_a_configuration_that_lacks_a_dataset_is_no_candidate() -> None:
    with pytest.raises(InputError, match=r"1 configurations of the search lack runs.*0\.01"):
        search_table(runs({("set", 0.01, 0.0): 0.8}).iloc[1:])


def test_a_configuration_that_lacks_a_split_is_no_candidate() -> None:
    both = runs({("set", 0.01, 0.0): 0.8, ("set", 0.03, 0.0): 0.7})
    search_table(pd.concat([both, both.assign(seed=1)]))
    with pytest.raises(InputError, match=r"1 configurations of the search lack runs.*0\.03"):
        search_table(pd.concat([both, both.assign(seed=1).iloc[:-1]]))


def test_a_run_that_diverged_counts_as_zero(tmp_path: Path) -> None:
    for rate in (0.01, 1e6):
        config = SetConfig(dataset="digits", method="dense", hidden=(8,), epochs=1, learning_rate=rate)
        train_set(config, output_dir=tmp_path, progress=False)
    found = load_search(tmp_path).set_index("learning_rate")
    assert found.loc[1e6, "status"] == "diverged"
    assert found.loc[1e6, "test_accuracy"] == 0
    assert found.loc[0.01, "test_accuracy"] > 0


RECORDED = ROOT / "data" / "search" / "set"


def test_the_constants_are_those_that_the_recorded_search_chose() -> None:
    chosen = best_constants(search_table(load_search(RECORDED)))
    assert chosen.keys() == set(METHODS)
    for method, constants in chosen.items():
        config = SetConfig(dataset="digits", method=method)
        assert {name: getattr(config, name) for name in SEARCHED} == constants


def test_no_method_is_best_at_an_end_of_the_rates() -> None:
    rates = sorted(set(load_search(RECORDED)["learning_rate"]))
    for method in METHODS:
        assert rates[0] < SetConfig(dataset="digits", method=method).learning_rate < rates[-1]


def test_the_recorded_search_is_the_same_for_all_methods_and_apart_from_the_study() -> None:
    runs = load_search(RECORDED)
    tried = {
        method: group.drop(columns=["method", "status", "test_accuracy"]) for method, group in runs.groupby("method")
    }
    columns = ["dataset", "seed", *SEARCHED]
    first, *others = (frame.sort_values(columns).reset_index(drop=True) for frame in tried.values())
    assert len(others) == len(METHODS) - 1 and all(first.equals(other) for other in others)
    assert set(runs["dataset"]) == set(search_datasets()) and not set(search_datasets()) & set(study_datasets())


def test_the_commands_of_the_recorded_search_make_its_runs() -> None:
    commands = set_search_list(RECORDED)["command"]
    records = {record.name(): record for record in find_set_records(RECORDED)}
    assert set(commands.index) == set(records)
    for name, command in commands.items():
        words = shlex.split(command)[3:]
        pairs = list(zip(words[::2], words[1::2], strict=True))
        given, settings = dict(pairs), dict(parse_setting(value) for flag, value in pairs if flag == "--set")
        config = configure_set(given["--dataset"], given["--method"], int(given["--seed"]), settings)
        assert config.model_dump(mode="json") == records[str(name)].config
