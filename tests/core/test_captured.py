"""Recorded steps: on a CPU, where nothing is recorded, the same work from fixed places gives the same bits."""

from typing import Any

import pytest
import torch

from core.test_trainer import carried, data, same_numbers, small_config, steps_later
from sparsecycle.captured import CapturedTrainer, can_capture, make_trainer
from sparsecycle.runs.execute import must_record
from sparsecycle.trainer import Trainer

SETTINGS: dict[str, dict[str, Any]] = {
    "the rule": {},
    "bfloat16": {"precision": "bfloat16"},
    "clipping and decay": {"clip_norm": 1.0, "weight_decay": 5e-4},
    "no momentum": {"momentum": 0.0},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_steps_from_fixed_places_are_those_of_the_plain_trainer(setting):
    config = small_config(**SETTINGS[setting])
    plain, fixed = Trainer(config, *data(config)), CapturedTrainer(config, *data(config))
    parts = [[trainer.train(until) for until in (3, 5, 12)] for trainer in (plain, fixed)]
    assert repr(parts[0]) == repr(parts[1])  # a NaN equals no NaN
    assert plain.decisions == fixed.decisions
    assert same_numbers(plain, fixed)


def test_a_state_is_carried_between_both_trainers():
    config = small_config()
    whole = Trainer(config, *data(config))
    parts = [whole.train(12)]
    trainer: Trainer = CapturedTrainer(config, *data(config))
    for kind in (Trainer, CapturedTrainer, CapturedTrainer):
        assert trainer.train(12, after_step=steps_later(trainer, 2)) is None
        trainer = carried(trainer, kind=kind)
    assert repr([trainer.train(12)]) == repr(parts)
    assert same_numbers(trainer, whole)


def test_a_cpu_trains_step_by_step():
    config = small_config()
    assert not can_capture(config, "cpu")
    assert type(make_trainer(config, *data(config))) is Trainer


def test_where_a_step_must_be_recorded_and_cannot_be_nothing_is_trained(monkeypatch):
    config = small_config()
    must_record(Trainer(config, *data(config)))
    must_record(CapturedTrainer(config, *data(config)))  # on a CPU nothing is recorded
    trainer = CapturedTrainer(config, *data(config))
    monkeypatch.setattr(trainer, "prepare", lambda: None)
    trainer.device = "cuda"
    with pytest.raises(RuntimeError, match="cannot be recorded as a graph"):
        must_record(trainer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recorded_steps_agree_with_eager_ones_to_within_rounding(precision):
    config = small_config(precision=precision, learning_rate=0.01)
    plain = Trainer(config, *data(config), device="cuda")
    recorded = CapturedTrainer(config, *data(config), device="cuda")
    losses = [[trainer.train(until).loss for until in (1, 2, 12)] for trainer in (plain, recorded)]
    assert recorded.captured
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0.02)
