"""The choice of constants: the highest mean over the search's datasets, and nothing may be missing."""

from pathlib import Path

import pandas as pd
import pytest

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import search_datasets
from sparsecycle.set_mlp.search import best_constants, load_search, search_table
from sparsecycle.set_mlp.training import train_set


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
