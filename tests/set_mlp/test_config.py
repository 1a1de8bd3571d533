"""Configurations of the companion study: what is refused, arms, the schedule of pruning, names."""

import pytest

from conftest import ROOT
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import ARMS, METHODS, SetConfig, configure_set
from sparsecycle.set_mlp.records import set_run_name
from sparsecycle_book.ledger import read_ledger
from sparsecycle_book.set_mlp.ledger import set_ledger_table


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "iris"}, "dataset is 'iris', but must be one of breast_cancer, digits, "),
        ({"method": "sparse"}, "method is 'sparse', but should be 'dense', 'static', 'set' or 'set_pruned'"),
        ({"arm": "ours"}, "arm is 'ours', but should be 'authors', 'authors_2018' or 'tuned'"),
        ({"zetta": 0.3}, "unknown field 'zetta': did you mean 'zeta'?"),
        ({"zeta": 1.5}, "zeta is 1.5, but should be less than or equal to 1"),
        ({"hidden": []}, "hidden is "),
        ({"hidden": [10, 0]}, "hidden.1 is 0, but should be greater than or equal to 1"),
        ({"epochs": "ten"}, "epochs is 'ten', but should be a valid integer"),
        ({"method": "set_pruned", "prune_from": 0.6, "prune_until": 0.5}, "prune_until is 0.5, but must not be below"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but should be a finite number"),
        ({"method": "static", "zeta": 0.2}, "zeta does not apply to method 'static', only to set, set_pruned"),
        ({"prune_share": 0.4}, "prune_share does not apply to method 'set', only to set_pruned"),
        ({"method": "dense", "epsilon": 5.0}, "epsilon does not apply to method 'dense', only to static, set, set_p"),
        ({"method": "set_pruned", "prune_until": 1.0}, "prune_until is 1.0, but of 100 epochs pruning must end before"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(values, message):
    given: dict[str, object] = {"dataset": "digits", "method": "set"} | values
    with pytest.raises(InputError) as caught:
        SetConfig(**given)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_names_and_texts_are_read_as_people_mean_them():
    with pytest.raises(InputError, match="method is missing"):
        SetConfig(dataset="digits")
    with pytest.raises(InputError, match="overrides cannot set seed"):
        configure_set("digits", "set", "authors", 0, {"seed": 1})
    for given in ({"learning_rate": "1e-3", "epochs": "010"}, "{learning_rate: 1e-3, epochs: 010}"):
        config = configure_set("folder/own data.mat", "set", "tuned", 0, given)
        assert (config.learning_rate, config.epochs, config.dataset) == (0.001, 10, "own data.mat")
    assert set_run_name(config) == "set/own data.mat/tuned-set-seed0-epochs=10-learning_rate=0.001"
    assert set_run_name(SetConfig(dataset="Yale", method="dense", seed=3)) == "set/Yale/authors-dense-seed3"


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("method", METHODS)
def test_an_arm_as_it_stands_has_no_overrides(arm, method):
    config = SetConfig(dataset="digits", method=method, arm=arm)
    assert config.overrides() == {} and config.is_tuned == (arm == "tuned")
    assert SetConfig(**config.model_dump(mode="json")) == config


def test_neurons_are_pruned_linearly_between_two_shares_of_the_epochs():
    config = SetConfig(dataset="digits", method="set_pruned", epochs=8)
    assert [config.pruned_by(epoch) for epoch in range(9)] == [0, 0, 0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    at_once = SetConfig(dataset="digits", method="set_pruned", epochs=8, prune_from=0.5, prune_until=0.5)
    assert [at_once.pruned_by(epoch) for epoch in (3, 4)] == [0, 0.5]


def test_batches_of_the_tuned_arm_are_small_on_small_data():
    config = SetConfig(dataset="digits", method="set", arm="tuned")
    assert (config.batch(299), config.batch(300), config.batch(1)) == (2, 32, 1)


def test_the_ledger_names_every_setting_once_with_its_value():
    rows = read_ledger(ROOT / "book/set_ledger.yaml")
    named = [field for row in rows for field in row["fields"]]
    assert sorted(named) == sorted(set(SetConfig.model_fields) - {"dataset", "method", "arm", "seed"})
    table = set_ledger_table(ROOT / "book/set_ledger.yaml").set_index("choice")
    assert "`learning_rate` 0.01" in table.at["**Optimization**", "authors' arm"]
    assert "`learning_rate` chosen" in table.at["**Optimization**", "tuned arm"]
    assert table.at["**Initial weights**", "authors' arm"] == "`start` normal, he for `dense`"
    assert "not public" in table.at["**Neuron pruning**", "what is known"]
