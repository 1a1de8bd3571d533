"""Presets, overrides, where values come from, and one clear sentence for every mistake."""

import hashlib
import json
import math
from typing import Any

import pytest

from sparsecycle import RunConfig
from sparsecycle.config import (
    LATER,
    PRESETS,
    check_notebook_parameters,
    configure,
    load_preset,
    parse_setting,
    read_overrides,
)
from sparsecycle.controllers import CONTROLLERS, controller_parameters, make_controller
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import SetConfig, configure_set

NEEDED = {"fixed": {"keep_ratio": 0.5}, "replay": {"path_from": "accuracy_gated-seed0", "shuffled": False}}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", CONTROLLERS)
def test_every_preset_and_method_make_a_configuration_that_survives_json(preset, method):
    config = RunConfig(preset=preset, method=method, **NEEDED.get(method, {}))
    again = RunConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert again.digest() == config.digest()
    assert config.overrides() == {}
    assert config.given() == NEEDED.get(method, {})
    assert configure(preset, method, 0, config.given()) == config


def test_the_paper_preset_is_the_published_configuration():
    """But for bfloat16 in the place of float16."""
    config = RunConfig(preset="paper", method="accuracy_gated", precision="float16")
    assert (config.dataset, config.train_images, config.test_images) == ("cifar10", 50_000, 10_000)
    assert (config.depth, config.width, config.norm_eps) == (28, 4, 1e-8)
    assert (config.scope, config.rounding) == ("sample", "down")
    assert (config.epochs, config.batch_size, config.learning_rate, config.momentum) == (500, 128, 0.1, 0.9)
    assert (config.weight_decay, config.clip_norm, config.dropout) == (0.0, None, 0.0)
    assert config.controller_parameters() == dict(controller_parameters("accuracy_gated"))
    assert (config.steps_per_epoch, config.steps, config.steps // config.decision_steps) == (390, 195_000, 1523)
    assert config.looks == tuple(range(1, 501))
    ours = {name for name, tag in config.sources().items() if tag == "ours"}
    assert ours == {
        "preset", "seed", "holdout_images", "subset", "keep_ratio", "path_from", "shuffled", "evaluate_last", "budgets",
    }  # fmt: skip


def test_a_field_that_came_later_leaves_the_identity_of_earlier_runs_alone():
    """The digest of a configuration as it was before `LATER` had a field."""
    plain = RunConfig(preset="smoke", method="dense")
    before = {name: value for name, value in plain.model_dump(mode="json").items() if name not in LATER}
    assert plain.digest() == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    for name, value in LATER.items():
        assert RunConfig.model_fields[name].default == value, "what was done before is the default"
    assert RunConfig(preset="smoke", method="dense", wrong_labels=0.2).digest() != plain.digest()


def test_parameters_of_other_methods_stay_none():
    config = RunConfig(preset="quick", method="geometric")
    assert config.decision_steps is not None and config.tighten is not None and config.floor is not None
    assert config.tolerance is None and config.cooldown is None and config.keep_ratio is None
    assert config.path_from is None and config.shuffled is None


@pytest.mark.parametrize("method", CONTROLLERS)
def test_the_configuration_resolves_the_controller_s_parameters(method):
    config = RunConfig(preset="classroom", method=method, seed=7, **NEEDED.get(method, {}))
    parameters = config.controller_parameters()
    for name, default in controller_parameters(method).items():
        if name == "seed":
            assert parameters[name] == 7
        elif name != "path" and method != "epoch_gated":
            assert parameters[name] == NEEDED.get(method, {}).get(name, load_preset("classroom").get(name, default))
    path = {"path": [0.5]} if method == "replay" else {}
    assert make_controller(method, **parameters, **path).name == method


def test_epoch_gated_decides_once_an_epoch_and_compresses_as_much_in_it():
    for preset in PRESETS:
        rule = RunConfig(preset=preset, method="accuracy_gated")
        by_epoch = RunConfig(preset=preset, method="epoch_gated")
        assert by_epoch.decision_steps == by_epoch.steps_per_epoch
        decisions = rule.steps_per_epoch / rule.decision_steps
        assert 1 - by_epoch.tighten == pytest.approx((1 - rule.tighten) ** decisions)
    other = RunConfig(preset="quick", method="epoch_gated", batch_size=50, tighten=0.5)
    assert (other.decision_steps, other.tighten) == (other.steps_per_epoch, 0.5)


def test_sources_name_the_script_and_the_paper_only_where_they_speak():
    assert RunConfig(preset="quick", method="dense").sources()["depth"] == "ours"
    assert RunConfig(preset="paper", method="dense").sources()["depth"] == "author's script"
    tags = {
        method: RunConfig(preset="paper", method=method, **NEEDED.get(method, {})).sources() for method in CONTROLLERS
    }
    assert {method: tag["method"] for method, tag in tags.items()} == {
        "dense": "paper", "accuracy_gated": "author's script", "epoch_gated": "ours", "replay": "ours", "fixed": "ours",
        "random": "ours", "geometric": "ours",
    }  # fmt: skip
    assert tags["accuracy_gated"]["tighten"] == "author's script"
    assert tags["epoch_gated"]["tolerance"] == "ours"  # the script has no such strategy
    assert tags["geometric"]["tighten"] == "ours"
    assert all(set(tag) == set(RunConfig.model_fields) for tag in tags.values())


def test_a_zero_has_no_sign():
    """It would make another name and identity for the same run."""
    signed = RunConfig(preset="smoke", method="accuracy_gated", floor=-0.0, weight_decay=-0.0)
    assert signed.digest() == RunConfig(preset="smoke", method="accuracy_gated", floor=0.0, weight_decay=0.0).digest()
    signed = SetConfig(dataset="digits", method="set", momentum=-0.0)
    assert signed.digest() == SetConfig(dataset="digits", method="set", momentum=0.0).digest()


def test_steps_and_looks_are_counted():
    """50 images fitted in batches of 20 are two batches an epoch; looks at every third of 7 epochs and the last two."""
    config = RunConfig(
        preset="smoke", method="accuracy_gated", train_images=60, holdout_images=10, batch_size=20, epochs=7,
        evaluate_every=3, evaluate_last=2,
    )  # fmt: skip
    assert (config.fitted_images, config.steps_per_epoch, config.steps) == (50, 2, 14)
    assert config.looks == (3, 6, 7)
    for every, last in ((1, 1), (5, 1), (7, 1), (100, 1), (100, 3), (1, 100)):
        looks = RunConfig(preset="smoke", method="dense", epochs=7, evaluate_every=every, evaluate_last=last).looks
        assert list(looks) == sorted(set(looks)) and looks[-1] == 7 and looks[0] >= 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"preset": "quik"}, "preset is 'quik', but should be 'smoke', 'quick', 'classroom', 'paper100' or 'paper'"),
    ({"preset": ["quick"]}, r"preset is \['quick'\], but should be 'smoke'"),
    ({"preset": "../../etc"}, "preset is '../../etc'"),
    ({"dataset": "../../x"}, "dataset is '../../x'"),
    ({"method": "dense\0"}, "method is 'dense"),
    ({"method": "dens"}, "method is 'dens', but must be one of dense, accuracy_gated"),
    ({"method": ["dense"]}, r"method is \['dense'\], but must be one of dense"),
    ({"method": {}}, "method is {}, but must be one of dense"),
    ({"method": None}, "method is None, but must be one of dense"),
    ({"sede": 3}, "unknown field 'sede': did you mean 'seed'"),
    ({"seed": "3"}, "seed is '3', but should be a valid integer"),
    ({"seed": True}, "seed is True, but should be a valid integer"),
    ({"seed": -1}, "seed is -1, but should be greater than or equal to 0"),
    ({"method": "fixed", "keep_ratio": 0}, r"keep_ratio is 0, but must lie in \(0, 1\]"),
    ({"method": "fixed"}, "keep_ratio must be given for method 'fixed'"),
    ({"method": "replay"}, "path_from must be given for method 'replay'"),
    ({"method": "replay", "path_from": "dense-seed0", "shuffled": None}, "shuffled must be given"),
    ({"method": "replay", "path_from": "../x", "shuffled": False}, "path_from is '../x'"),
    *(
        ({"method": "replay", "path_from": name, "shuffled": False}, "path_from is .*, but must be the name of a run's")
        for name in ("dense\0", "dense\n", "a" * 300)
    ),
    ({"method": "dense", "floor": 0.2}, "floor does not apply to method 'dense', only to accuracy_gated, epoch_gated"),
    ({"shuffled": True}, "shuffled does not apply to method 'accuracy_gated', only to replay"),
    ({"method": "epoch_gated", "decision_steps": 5}, "decision_steps is 5, but method 'epoch_gated' decides once"),
    ({"floor": 2.0}, "floor is 2.0"),
    ({"tighten": 1.5}, "tighten is 1.5"),
    ({"tolerance": None}, "tolerance must be given for method 'accuracy_gated', and cannot be null"),
    ({"decision_steps": 0}, "decision_steps is 0"),
    ({"learning_rate": math.nan}, "learning_rate is nan, but should be a finite number"),
    ({"learning_rate": True}, "learning_rate is True"),
    ({"clip_norm": 0.0}, "clip_norm is 0.0"),
    ({"precision": "float64"}, "precision is 'float64', but should be 'float32', 'bfloat16' or 'float16'"),
    ({"scope": "layer"}, "scope is 'layer', but should be 'sample'"),
    ({"depth": 11}, "depth is 11, but must be 6n [+] 4"),
    ({"depth": "28"}, "depth is '28', but should be a valid integer"),
    ({"budgets": [0.5]}, r"budgets is \(0.5,\), but must contain 1.0"),
    ({"budgets": [1.0, 0.5, 0.5]}, r"budgets is \(1.0, 0.5, 0.5\), but must name each keep-ratio once"),
    ({"train_images": 55}, "train_images is 55, but must be a multiple of 10"),
    ({"train_images": 10**40}, "train_images is 1000.*, but should be less than or equal to"),
    ({"train_images": -10}, "train_images is -10"),
    *(({"method": "epoch_gated", "train_images": images}, "train_images is") for images in (-(10**9), 10**400)),
    ({"epochs": 10**400}, "epochs is 1000"),
    ({"learning_rate": math.inf}, "learning_rate is inf"),
    ({"learning_rate": 10**400}, "learning_rate is 1000"),
    ({"learning_rate": 10**5000}, "learning_rate is"),
    ({"width": "__import__('os')"}, "width is"),
    ({"budgets": [[1.0]]}, "budgets"),
    ({"self": 1}, "unknown field 'self'"),
    ({"scope": [["x" * 1000] * 200] * 200}, "scope is"),
    ({"batch_size": 10_000}, "batch_size is 10000, but there are 5000 images"),
    ({"holdout_images": 5000}, "holdout_images is 5000, but must be below train_images"),
    ({"evaluate_every": 0}, "evaluate_every is 0"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=["-".join(field) for field, _ in BAD])
def test_a_mistake_gets_one_sentence(fields, message):
    given = {"preset": "quick", "method": "accuracy_gated"} | fields
    with pytest.raises(InputError, match=message) as caught:
        RunConfig(**given)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert "should be String should" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_seed_may_be_the_text_of_a_number():
    """papermill's `-r seed 3` gives one."""
    assert configure("smoke", "dense", "3", {}) == configure("smoke", "dense", 3, {})
    assert configure_set("digits", "set", "tuned", "3", {}) == configure_set("digits", "set", "tuned", 3, {})
    for seed in ("three", "3.5", "true", "", ["0"]):
        with pytest.raises(InputError, match="seed is"):
            configure("smoke", "dense", seed, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("epochs=010", 10),  # 8 in YAML 1.1, as other numbers that begin with 0
        ("batch_size=0100", 100),
        ("seed=09", 9),
        ("seed=+5", 5),
        ("learning_rate=1e-3", 0.001),  # a text in YAML 1.1
        ("learning_rate=.5", 0.5),
        ("learning_rate= 0.50 ", 0.5),
        ("clip_norm=null", None),
        ("clip_norm=none", None),
        ("shuffled=true", True),
        ("scope=batch", "batch"),
        ("dataset=cifar10-mini", "cifar10-mini"),
        ("path_from=no", "no"),  # false in YAML 1.1
        ("path_from=2026-11-29", "2026-11-29"),  # a date
        ("budgets=[1.0, 0.5]", [1.0, 0.5]),
    ],
)
def test_settings_are_read_as_people_mean_them(text, value):
    name, read = parse_setting(text)
    assert (name, read, type(read)) == (text.partition("=")[0], value, type(value))
    overrides = read_overrides({name: text.partition("=")[2]})  # of the notebook
    assert overrides == {name: value} and type(overrides[name]) is type(value)


@pytest.mark.parametrize("text", ["1:30", "0x10", "0o17", "ten", "1e1", "10.0", "[10]", "true", "null"])
def test_a_number_of_epochs_that_is_none_is_refused(text):
    name, value = parse_setting(f"epochs={text}")
    for overrides in ({name: value}, {name: text}, f"epochs: {text}"):
        with pytest.raises(InputError, match=r"^epochs is "):
            configure("smoke", "dense", 0, overrides)


def test_a_setting_without_name_or_value_is_refused():
    for text in ("learning_rate", "=3", "learning_rate=", " "):
        with pytest.raises(InputError, match="FIELD=VALUE"):
            parse_setting(text)


@pytest.mark.parametrize("overrides", [{"epochs": 3, "learning_rate": 1e-3}, {"epochs": "3", "learning_rate": "1e-3"}])
def test_overrides_are_a_dict_or_its_text(overrides):
    wanted = RunConfig(preset="quick", method="dense", epochs=3, learning_rate=0.001)
    assert configure("quick", "dense", 0, overrides) == wanted
    assert configure("quick", "dense", 0, json.dumps(overrides)) == wanted
    assert configure("quick", "dense", 0, "epochs: 3\nlearning_rate: 1e-3") == wanted
    assert configure("quick", "dense", 0, "") == configure("quick", "dense", 0, {})


@pytest.mark.parametrize("overrides", ["x", "{", None, [1], {1: 2}, 3])
def test_overrides_that_are_no_dict_get_one_sentence(overrides):
    with pytest.raises(InputError, match=r"overrides is .*, but must be a dict"):
        configure("quick", "dense", 0, overrides)


def test_a_misspelled_notebook_parameter_is_found_and_nothing_else():
    """Only the cell that papermill injected counts: not the notebook's own names, nor what a user's profile sets."""
    run = ['# Parameters\npreset = "quick"\nseed = 3\n', "import os\nat_budget = 1.0"]
    check_notebook_parameters(["", "mine = 3", *run], ["preset", "seed"])
    check_notebook_parameters(["", *run, *run], ["preset", "seed"])
    with pytest.raises(InputError, match="unknown parameter 'prest': the notebook takes preset"):
        check_notebook_parameters(["", '# Parameters\nprest = "paper"'], ["preset"])
