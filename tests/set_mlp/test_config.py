"""Configurations of the companion study: what is refused, the schedule of pruning, names."""

import pytest

from conftest import ROOT
from sparsecycle.errors import InputError
from sparsecycle.set_mlp import config as config_module
from sparsecycle.set_mlp.config import METHODS, SetConfig, configure_set
from sparsecycle.set_mlp.record import set_run_name
from sparsecycle_book.ledger import read_ledger


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "iris"}, "dataset is 'iris', but must be one of breast_cancer, digits, "),
        ({"method": "sparse"}, "method is 'sparse', but should be 'dense', 'static', 'set' or 'set_pruned'"),
        ({"zetta": 0.3}, "unknown field 'zetta': did you mean 'zeta'?"),
        ({"zeta": 1.5}, "zeta is 1.5, but should be less than or equal to 1"),
        ({"hidden": []}, "hidden is "),
        ({"hidden": [10, 0]}, "hidden.1 is 0, but should be greater than or equal to 1"),
        ({"epochs": "ten"}, "epochs is 'ten', but should be a valid integer"),
        (
            {"method": "set_pruned", "prune_from": 0.6, "prune_until": 0.5},
            "prune_until is 0.5, but must not be below",
        ),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but should be a finite number"),
        ({"method": "static", "zeta": 0.2}, "zeta does not apply to method 'static', only to set, set_pruned"),
        ({"prune_share": 0.4}, "prune_share does not apply to method 'set', only to set_pruned"),
        ({"method": "dense", "epsilon": 5.0}, "epsilon does not apply to method 'dense', only to static, set, set_p"),
        ({"method": "set_pruned", "prune_share": 1.0}, "prune_share is 1.0, but should be less than 1"),
        ({"method": "set_pruned", "prune_until": 1.0}, "prune_until is 1.0, but of 100 epochs pruning must end before"),
        (
            {"method": "set_pruned", "epochs": 1},
            "prune_until is 0.75, but of 1 epochs pruning",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(values: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"dataset": "digits", "method": "set"} | values
    with pytest.raises(InputError) as caught:
        SetConfig(**given)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="method is missing"):
        SetConfig(dataset="digits")
    with pytest.raises(InputError, match="overrides cannot set seed"):
        configure_set("digits", "set", 0, {"seed": 1})


def test_overrides_are_a_dict_or_text_and_hold_the_numbers_that_people_mean() -> None:
    for given in (
        {"learning_rate": "1e-3", "epochs": "010"},
        '{"learning_rate": 1e-3, "epochs": 10}',
        "{learning_rate: 1e-3, epochs: 010}",
    ):
        config = configure_set("digits", "set", 0, given)
        assert (config.learning_rate, config.epochs) == (0.001, 10)
    with pytest.raises(InputError, match="overrides is 7, but must be a dict"):
        configure_set("digits", "set", 0, 7)


def test_pruning_rises_linearly_between_its_epochs() -> None:
    config = SetConfig(dataset="digits", method="set_pruned", epochs=40, prune_share=0.5)
    assert [config.pruned_by(epoch) for epoch in (1, 10, 20, 25, 30, 40)] == [0, 0, 0.25, 0.375, 0.5, 0.5]
    once = SetConfig(dataset="digits", method="set_pruned", epochs=40, prune_from=0.5, prune_until=0.5)
    assert [once.pruned_by(epoch) for epoch in (19, 20, 21)] == [0, 0.5, 0.5]
    assert SetConfig(dataset="digits", method="set", epochs=40).pruned_by(40) == 0


def test_small_training_parts_have_small_batches() -> None:
    config = SetConfig(dataset="digits", method="set")
    assert [config.batch(samples) for samples in (40, 299, 300, 2000)] == [2, 2, 32, 32]
    assert [SetConfig(dataset="digits", method="set", batch_size=64).batch(samples) for samples in (40, 300)] == [
        40,
        64,
    ]


def test_evolution_keeps_to_its_schedule() -> None:
    config = SetConfig(dataset="digits", method="set", epochs=10, evolve_every=2, evolve_until=0.6)
    assert [epoch for epoch in range(1, 11) if config.evolves_after(epoch)] == [2, 4, 6]
    always = SetConfig(dataset="digits", method="set_pruned", epochs=10)
    assert [epoch for epoch in range(1, 11) if always.evolves_after(epoch)] == list(range(1, 10))
    assert not SetConfig(dataset="digits", method="static").evolves_after(1)


def test_a_configuration_survives_its_record() -> None:
    for method in METHODS:
        config = SetConfig(dataset="colon", method=method, seed=4, hidden=(30, 20))
        assert SetConfig(**config.model_dump(mode="json")) == config
        assert config.overrides() == {"hidden": [30, 20]}


def test_constants_of_a_method_are_no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "constants", lambda: {"dense": {"learning_rate": 0.003}})
    config_module._as_it_stands.cache_clear()
    try:
        dense, other = (SetConfig(dataset="colon", method=method) for method in ("dense", "set"))
        assert (dense.learning_rate, other.learning_rate) == (0.003, 0.01)
        assert dense.overrides() == other.overrides() == {}
        assert SetConfig(dataset="colon", method="dense", learning_rate=0.01).overrides() == {"learning_rate": 0.01}
    finally:
        config_module._as_it_stands.cache_clear()


def test_every_choice_has_exactly_one_row_in_the_assumption_ledger() -> None:
    rows = read_ledger(ROOT / "book" / "set_ledger.yaml")
    explained = [field for row in rows for field in row["fields"]]
    assert sorted(explained) == sorted(SetConfig.model_fields.keys() - {"dataset", "method", "seed"})
    assert all(row["choice"] and row["known"] and row["why"] and row["alternatives"] for row in rows)


def test_a_run_s_name_tells_what_was_overridden() -> None:
    assert set_run_name(SetConfig(dataset="colon", method="set", seed=2)) == "set/colon/set-seed2"
    changed = configure_set("colon", "set", 2, {"hidden": [30, 20], "zeta": 0.1})
    assert set_run_name(changed) == "set/colon/set-seed2-hidden=[30,20]-zeta=0.1"
    assert changed.overrides() == {"hidden": [30, 20], "zeta": 0.1}
    assert changed.digest() != SetConfig(dataset="colon", method="set", seed=2).digest()
