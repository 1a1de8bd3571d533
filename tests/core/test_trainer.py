"""The training loop: what happens in a step and when, and that pauses change no bit.

That a step is the author's is shown in `test_vectors.py`.
"""

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsecycle import RunConfig, make_controller, set_keep_ratio
from sparsecycle.controllers import keep_ratio_path
from sparsecycle.trainer import Part, Trainer, epoch_order, learning_rate, make_optimizer, normalize


def small_config(method: str = "accuracy_gated", **fields: Any) -> RunConfig:
    """Return WRN-10-1 on 70 images in batches of 20: three steps an epoch, ten images left out; 12 steps."""
    needed = {"path_from": "a-run", "shuffled": False} if method == "replay" else {}
    values = {"train_images": 70, "batch_size": 20, "epochs": 4} | needed
    if method in ("accuracy_gated", "random", "geometric", "replay"):
        values["decision_steps"] = 2
    if method in ("accuracy_gated", "geometric"):
        values["tighten"] = 0.4
    return RunConfig(preset="smoke", method=method, **(values | fields))


def data(config: RunConfig) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (config.fitted_images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (config.fitted_images,), generator=generator)


class Watched(Trainer):
    """Writes down what each step was given and gave."""

    def __init__(self, config: RunConfig, **more: Any) -> None:
        super().__init__(config, *data(config), **more)
        self.batches: list[tuple[Tensor, Tensor]] = []
        self.accuracies: list[float] = []
        self.rates: list[float] = []
        self.ratios: list[float] = []  # of the last layer, as the network saw them
        self.model.topk.register_forward_hook(lambda layer, *_: self.ratios.append(layer.keep_ratio))

    def train_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.batches.append((images, labels))
        self.rates += {group["lr"] for group in self.optimizer.param_groups}
        loss, accuracy = super().train_step(images, labels)
        self.accuracies.append(accuracy.item())
        return loss, accuracy


def same_numbers(one: Trainer, other: Trainer) -> bool:
    mine, theirs = one.state(), other.state()
    assert mine[0].keys() == theirs[0].keys()
    return mine[1] == theirs[1] and all(torch.equal(mine[0][name], theirs[0][name]) for name in mine[0])


def test_images_are_normalized_by_the_script_s_constants():
    grey = torch.full((1, 3, 1, 1), 128, dtype=torch.uint8)
    wanted = [
        (128 / 255 - mean) / deviation
        for mean, deviation in zip((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True)
    ]
    found = normalize(grey)
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-6)  # some roundings of float32


def test_the_order_of_images_is_a_function_of_seed_and_epoch_alone():
    config = small_config(seed=3)
    torch.manual_seed(0)
    orders = [epoch_order(config, epoch) for epoch in range(4)]
    torch.manual_seed(1)
    assert all(torch.equal(order, epoch_order(config, epoch)) for epoch, order in enumerate(orders))
    assert all(torch.equal(order.sort().values, torch.arange(70)) for order in orders)
    others = [*orders, *(epoch_order(small_config(seed=4), epoch) for epoch in range(4))]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(others, 2))
    other_recipe = small_config("fixed", keep_ratio=0.5, seed=3, epochs=9, learning_rate=0.2)
    assert torch.equal(epoch_order(other_recipe, 2), orders[2])  # methods of one seed see the same batches


def test_each_step_sees_the_next_whole_batch_of_the_epoch_s_order():
    config = small_config()
    trainer = Watched(config)
    trainer.train(5)
    images, labels = data(config)
    for step, (given, answers) in enumerate(trainer.batches):
        epoch, place = divmod(step, 3)
        chosen = epoch_order(config, epoch)[20 * place : 20 * (place + 1)]
        assert torch.equal(given, normalize(images[chosen])) and torch.equal(answers, labels[chosen])
    assert len(trainer.batches) == trainer.step == 5


def test_the_rate_is_a_cosine_that_changes_once_an_epoch():
    config = small_config(learning_rate=0.08)
    by_epoch = [learning_rate(config, epoch) for epoch in range(4)]
    assert by_epoch == pytest.approx([0.04 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)])
    assert by_epoch[0] == 0.08 and by_epoch[-1] > 0
    trainer = Watched(config)
    trainer.train(5)
    trainer.train(12)
    assert trainer.rates == [rate for rate in by_epoch for _ in range(3)]


def test_gains_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Linear(2, 2))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, small_config(weight_decay=0.1, learning_rate=0.5)).step()
    for parameter in model.parameters():
        assert (parameter == 1).all() if parameter.dim() == 1 else (parameter < 1).all()


def test_a_part_has_the_means_of_its_steps():
    trainer = Watched(small_config(clip_norm=0.5))
    losses: list[float] = []
    step = trainer.train_step

    def noted(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, accuracy = step(images, labels)
        losses.append(loss.item())
        return loss, accuracy

    trainer.train_step = noted
    parts = [trainer.train(until) for until in (3, 4, 9)]
    for part, (start, end) in zip(parts, ((0, 3), (3, 4), (4, 9)), strict=True):
        assert part is not None and part.steps == end - start
        assert part.loss == pytest.approx(sum(losses[start:end]) / part.steps, rel=1e-6)
        assert part.accuracy == pytest.approx(sum(trainer.accuracies[start:end]) / part.steps)
        assert part.gradient_norm > 0


def test_without_clipping_no_gradient_norm_is_claimed():
    part = Trainer(small_config(), *data(small_config())).train(2)
    assert part is not None and math.isnan(part.gradient_norm)


def test_clipped_gradients_move_the_weights_by_the_norm_allowed_at_most():
    config = small_config(clip_norm=0.01, momentum=0.0, learning_rate=0.1)
    trainer = Trainer(config, *data(config))
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    part = trainer.train(1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(trainer.model.parameters(), before, strict=True)]).norm()
    assert part is not None and part.gradient_norm > 0.01
    assert moved.item() == pytest.approx(0.1 * 0.01, rel=1e-3)  # clip_grad_norm_ divides by the norm plus 1e-6


SETTINGS: dict[str, dict[str, Any]] = {
    "published rule": {},
    "clipping, decay and dropout": {"clip_norm": 1.0, "weight_decay": 0.01, "dropout": 0.2},
    "random survivors": {"method": "geometric", "selection": "random"},
    "one budget for the network": {"method": "random", "scope": "network"},
    "a shuffled path": {"method": "replay", "shuffled": True},
    "bfloat16": {"precision": "bfloat16"},
}


def carried(trainer: Trainer, path: list[float] | None = None, kind: type[Trainer] = Trainer) -> Trainer:
    """Return a new trainer that has the state of another, as a file would keep it."""
    tensors, rest = trainer.state()
    kept = {name: value.clone() for name, value in tensors.items()}
    torch.manual_seed(99)  # another process
    again = kind(trainer.config, *data(trainer.config), path=path)
    again.restore(kept, json.loads(json.dumps(rest)))
    return again


def steps_later(trainer: Trainer, steps: int) -> Callable[[], bool]:
    end = trainer.step + steps
    return lambda: trainer.step >= end


@pytest.mark.parametrize("setting", SETTINGS)
def test_pauses_and_restores_at_any_step_change_no_bit(setting):
    """Three parts at a stretch, and the same paused every few steps, its state carried to a new trainer."""
    config = small_config(**SETTINGS[setting])
    path = [0.9, 0.5, 0.2, 1.0, 0.4, 0.3] if config.method == "replay" else None
    whole = Trainer(config, *data(config), path=path)
    parts = [whole.train(until) for until in (3, 5, 9)]
    trainer, again = Trainer(config, *data(config), path=path), []
    lengths = itertools.cycle((1, 2, 1, 1, 3))
    for until in (3, 5, 9):
        part: Part | None = None
        while part is None:
            part = trainer.train(until, after_step=steps_later(trainer, next(lengths)))
            trainer = carried(trainer, path)
        again.append(part)
    assert repr(again) == repr(parts)  # a NaN equals no NaN
    assert trainer.decisions == whole.decisions
    assert same_numbers(trainer, whole)


def test_float16_trains_with_a_gradient_scaler_whose_state_is_carried_on():
    """One image a step: a CPU has no fast convolutions in float16."""
    config = small_config(precision="float16", batch_size=1, learning_rate=0.001)
    whole = Trainer(config, *data(config))
    part = whole.train(3)
    assert part is not None and math.isfinite(part.loss)
    assert all(parameter.isfinite().all() for parameter in whole.model.parameters())  # a skipped step leaves nothing
    assert whole.state()[1]["scaler"]["scale"] > 1
    trainer = Trainer(config, *data(config))
    trainer.train(3, after_step=steps_later(trainer, 1))
    trainer = carried(trainer)
    assert repr(trainer.train(3)) == repr(part)
    assert same_numbers(trainer, whole)


def test_seeds_set_weights_and_the_run_and_trainers_do_not_disturb_each_other():
    config = small_config()
    one, other, third = Watched(config), Watched(config), Watched(small_config(seed=1))
    assert not torch.equal(one.model.stem.weight, third.model.stem.weight)
    one.train(6)
    for until in (1, 2, 4, 5, 6):  # in other parts, in turn with another one
        other.train(until)
        third.train(until)
    assert one.accuracies == other.accuracies != third.accuracies
    assert (one.ratios, one.decisions) == (other.ratios, other.decisions)
    assert same_numbers(one, other)


def test_looking_at_other_keep_ratios_between_parts_leaves_no_trace_when_the_one_in_force_is_put_back():
    config = small_config()
    plain, looked_at = Trainer(config, *data(config)), Trainer(config, *data(config))
    for until in (3, 6, 12):
        plain.train(until)
        looked_at.train(until)
        looked_at.model.eval()
        with torch.no_grad():
            for keep_ratio in (1.0, 0.1, looked_at.keep_ratio):
                set_keep_ratio(looked_at.model, keep_ratio)
                looked_at.model(normalize(data(config)[0][:10]))
    assert same_numbers(plain, looked_at)


def test_a_state_of_another_network_is_refused():
    config = small_config()
    tensors, rest = Trainer(small_config(width=2), *data(config)).state()
    with pytest.raises((KeyError, TypeError, ValueError, RuntimeError)):
        Trainer(config, *data(config)).restore(tensors, rest)


@pytest.mark.parametrize("method", ["accuracy_gated", "geometric", "random"])
def test_decisions_are_those_of_the_rule_and_hold_from_the_next_step(method):
    config = small_config(method)
    trainer = Watched(config)
    for until in (1, 5, 12):
        trainer.train(until)
    rule = make_controller(method, **config.controller_parameters())
    assert trainer.decisions == rule.update(trainer.accuracies)
    assert [decision.step for decision in trainer.decisions] == [2, 4, 6, 8, 10, 12]
    simulated = make_controller(method, **config.controller_parameters())
    assert trainer.ratios == keep_ratio_path(simulated, trainer.accuracies)
    assert len(set(trainer.ratios)) > 1
    assert trainer.keep_ratio == trainer.decisions[-1].keep_ratio == trainer.controller.keep_ratio


def test_the_rule_hears_the_accuracy_before_the_update():
    config = small_config("dense")
    trainer = Watched(config)
    images, labels = data(config)
    chosen = epoch_order(config, 0)[:20]
    with torch.no_grad():
        guesses = trainer.model(normalize(images[chosen]).contiguous(memory_format=torch.channels_last)).argmax(1)
    trainer.train(1)
    assert trainer.accuracies == [(guesses == labels[chosen]).double().mean().item()]


@pytest.mark.parametrize(("method", "fields", "ratio"), [("dense", {}, 1.0), ("fixed", {"keep_ratio": 0.25}, 0.25)])
def test_a_constant_keep_ratio_is_in_force_from_the_first_step(method, fields, ratio):
    trainer = Watched(small_config(method, **fields))
    trainer.train(2)
    assert trainer.ratios == [ratio] * 2
    assert trainer.decisions == []
    assert trainer.keep_ratio == ratio


def test_replay_without_a_path_is_refused():
    config = small_config("replay")
    with pytest.raises(ValueError, match="path"):
        Trainer(config, *data(config))
