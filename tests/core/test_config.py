"""Presets, overrides, where values come from, and one clear sentence for every mistake."""

import json
import math
from typing import Any

import pytest
import yaml

from conftest import ROOT
from sparsecycle import RunConfig
from sparsecycle.config import PRESETS, check_notebook_parameters, configure, load_preset, parse_setting
from sparsecycle.controllers import CONTROLLERS, controller_parameters
from sparsecycle.errors import InputError


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", CONTROLLERS)
def test_every_preset_and_method_make_a_configuration_that_survives_json(preset: str, method: str) -> None:
    extra = {"keep_ratio": 0.5} if method == "fixed" else {}
    config = RunConfig(preset=preset, method=method, **extra)
    again = RunConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert again.digest() == config.digest()
    assert config.overrides() == {}


def test_preset_values_are_taken_and_overridden() -> None:
    assert RunConfig(preset="paper", method="dense").depth == 28
    changed = RunConfig(preset="paper", method="plateau", depth=10, tolerance=0.5)
    assert (changed.depth, changed.width, changed.tolerance) == (10, 4, 0.5)
    assert changed.overrides() == {"depth": 10, "tolerance": 0.5}


def test_parameters_of_other_methods_stay_none() -> None:
    config = RunConfig(preset="quick", method="geometric")
    assert config.decay is not None and config.floor is not None
    assert config.tolerance is None and config.patience is None and config.keep_ratio is None


def test_controller_defaults_appear_in_the_resolved_configuration() -> None:
    config = RunConfig(preset="classroom", method="plateau")
    preset = load_preset("classroom")
    for name, default in controller_parameters("plateau").items():
        if name != "warmup":
            assert getattr(config, name) == preset.get(name, default)


def test_sources_name_the_paper_only_where_it_speaks() -> None:
    sources = RunConfig(preset="paper", method="dense").sources()
    assert {name for name, tag in sources.items() if tag == "paper"} == {
        "method", "dataset", "train_images", "test_images", "augmentation", "depth", "width", "selection",
    }  # fmt: skip
    assert RunConfig(preset="quick", method="dense").sources()["depth"] == "ours"
    assert RunConfig(preset="paper", method="loss_gated").sources()["method"] == "ours"


def test_steps_and_periods_are_counted() -> None:
    """50 images fitted in batches of 20: two batches an epoch; half-epoch periods of one step; 3 epochs."""
    config = RunConfig(
        preset="smoke", method="plateau", train_images=60, holdout_images=10, batch_size=20, epochs=3,
        period_epochs=0.5, warmup_epochs=0,
    )  # fmt: skip
    assert (config.fitted_images, config.steps_per_epoch, config.steps) == (50, 2, 6)
    assert (config.steps_per_period, config.periods) == (1, 6)
    uneven = RunConfig(preset="smoke", method="plateau", epochs=7, period_epochs=2)
    assert uneven.periods == 4


BAD: list[tuple[dict[str, Any], str]] = [
    ({"preset": "quik"}, "preset is 'quik', but should be 'smoke', 'quick', 'ablation', 'classroom' or 'paper'"),
    ({"method": "dens"}, "method is 'dens', but should be 'dense', 'loss_gated'"),
    ({"sede": 3}, "unknown field 'sede': did you mean 'seed'"),
    ({"seed": "3"}, "seed is '3', but should be a valid integer"),
    ({"seed": -1}, "seed is -1, but should be greater than or equal to 0"),
    ({"method": "fixed", "keep_ratio": 0}, r"keep_ratio is 0, but must lie in \(0, 1\]"),
    ({"method": "fixed"}, "keep_ratio must be given for method 'fixed'"),
    ({"method": "dense", "floor": 0.2}, "floor does not apply to method 'dense', only to loss_gated, plateau"),
    ({"method": "dense", "final_dense_periods": 1}, "do not apply to method 'dense'"),
    ({"floor": 0.5, "reset_to": 0.2}, "floor is 0.5, but must not exceed reset_to"),
    ({"decay": 1.5}, "decay is 1.5"),
    ({"learning_rate": math.nan}, "learning_rate is nan, but should be a finite number"),
    ({"learning_rate": True}, "learning_rate is True"),
    ({"depth": 11}, "depth is 11, but must be 6n [+] 4"),
    ({"budgets": [0.5]}, "headline_budget is 1.0, but must be one of budgets"),
    ({"train_images": 55}, "train_images is 55, but must be a multiple of 10"),
    ({"batch_size": 10_000}, "batch_size is 10000, but there are"),
    ({"warmup_epochs": 1000.0}, "warmup_epochs is 1000.0, but must be below epochs"),
    ({"warmup_periods": 1000}, "exceed the run's"),
    ({"holdout_images": 5000}, "holdout_images is 5000, but must be below train_images"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[next(reversed(fields)) for fields, _ in BAD])
def test_a_mistake_gets_one_sentence(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        RunConfig(**({"preset": "quick", "method": "plateau"} | fields))
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_settings_are_read_as_people_mean_them() -> None:
    assert parse_setting("learning_rate=1e-3") == ("learning_rate", 0.001)
    assert parse_setting("clip_norm=null") == ("clip_norm", None)
    assert parse_setting("norm=batch") == ("norm", "batch")
    assert parse_setting("budgets=[1.0, 0.5]") == ("budgets", [1.0, 0.5])
    with pytest.raises(InputError, match="FIELD=VALUE"):
        parse_setting("learning_rate")
    with pytest.raises(InputError, match="not a number"):
        parse_setting("a=[")


def test_overrides_must_be_a_dict_of_other_fields() -> None:
    with pytest.raises(InputError, match="overrides is 'x'"):
        configure("quick", "dense", 0, "x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="overrides cannot set seed"):
        configure("quick", "dense", 0, {"seed": 3})


def test_a_misspelled_notebook_parameter_is_found() -> None:
    check_notebook_parameters({"preset": "quick", "_i": "", "In": [], "Path": object}, ["preset"])
    with pytest.raises(InputError, match="unknown parameter 'prest': the notebook takes preset"):
        check_notebook_parameters({"preset": "quick", "prest": "paper"}, ["preset"])


def test_every_choice_has_exactly_one_row_in_the_assumption_ledger() -> None:
    rows = yaml.safe_load((ROOT / "book/ledger.yaml").read_text(encoding="utf-8"))
    named = [field for row in rows for field in row["fields"]]
    assert sorted(named) == sorted(set(RunConfig.model_fields) - {"preset", "seed", "holdout_images"})
