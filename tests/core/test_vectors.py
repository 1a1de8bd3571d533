"""The library against numbers that the author's script computed (see `vectors/README.md`)."""

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.inputs import BACKENDS, FORMATS
from sparsecycle import GlobalTopK, RunConfig, WideResNet, global_topk, make_controller, set_keep_ratio
from sparsecycle.network import RMSNorm2d
from sparsecycle.trainer import Trainer, learning_rate

VECTORS = Path(__file__).parent / "vectors"


@cache
def vectors(name: str) -> Mapping[str, Any]:
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file}


def tensor(name: str, key: str) -> Tensor:
    return torch.from_numpy(vectors(name)[key].copy())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of float32 depend on how threads divide them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("case", vectors("topk")["cases"])
def test_topk_and_its_gradient_are_the_script_s_exactly(case, memory_format, backend):
    x, upstream = tensor("topk", f"{case}.x"), tensor("topk", f"{case}.upstream")
    for i, keep_ratio in enumerate(vectors("topk")["keep_ratios"].tolist()):
        out, grad = tensor("topk", f"{case}.out{i}"), tensor("topk", f"{case}.grad{i}")
        given = x.contiguous(memory_format=memory_format).requires_grad_()
        for found in (
            GlobalTopK(keep_ratio, backend=backend)(given),
            global_topk(given.relu(), keep_ratio, backend=backend),
        ):
            assert torch.equal(found, out)
            assert torch.equal(torch.autograd.grad(found, given, upstream)[0], grad)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", range(6))
def test_norm_is_the_script_s_where_the_epsilon_shows(scale, dtype, memory_format):
    """To 1e-12 in float64, so it computes in its input's precision; in float32 to roundings of the largest value."""
    suffix, tolerance = ("_float64", 1e-12) if dtype == torch.float64 else ("", 2e-6)
    norm = RMSNorm2d(5)
    with torch.no_grad():
        norm.weight.copy_(tensor("norm", "gain"))
        norm.bias.copy_(tensor("norm", "bias"))
    norm = norm.to(dtype)
    x = tensor("norm", f"x{scale}").to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    upstream = tensor("norm", "upstream").to(dtype)
    out = norm(x)
    grads = torch.autograd.grad(out, (x, norm.weight, norm.bias), upstream)
    assert out.dtype == dtype
    for found, key in zip((out, *grads), ("out", "grad_x", "grad_gain", "grad_bias"), strict=True):
        wanted = tensor("norm", f"{key}{scale}{suffix}").to(dtype)
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * max(1.0, wanted.abs().max().item()))


def library_name(name: str) -> str:
    """Return the name in `WideResNet(10, ...)` of a parameter as the vectors call it: one block in each group."""
    name = name.replace("final_norm.", "norm.").replace(".gain", ".weight")
    for group in (1, 2, 3):
        name = name.replace(f"group{group}.block0.", f"blocks.{group - 1}.")
    return name


def load_parameters(model: nn.Module, name: str, prefix: str) -> None:
    """Load the parameters whose keys are `prefix` and a name; not one more or less."""
    groups = ("stem", "group", "final_norm", "head")
    keys = [key for key in vectors(name) if key.startswith(tuple(f"{prefix}{group}" for group in groups))]
    model.load_state_dict({library_name(key.removeprefix(prefix)): tensor(name, key) for key in keys})


GRADIENTS = (
    "stem.weight",
    "group1.block0.norm1.bias",
    "group2.block0.shortcut.weight",
    "final_norm.gain",
    "final_norm.bias",
    "head.bias",
)


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("place", range(3))
def test_network_has_the_script_s_logits_loss_and_gradients(place, memory_format, backend, monkeypatch):
    """Within 1e-5: float32 and float64 differ by 4e-7, and no value stands closer to its threshold than 5e-5 of it."""
    monkeypatch.setenv("SPARSECYCLE_BACKEND", backend)
    model = WideResNet(10, 1)
    load_parameters(model, "network", "wrn10_1.")
    model.to(memory_format=memory_format)
    set_keep_ratio(model, vectors("network")["keep_ratios"][place].item())
    logits = model(tensor("network", "wrn10_1.images").contiguous(memory_format=memory_format))
    loss = F.cross_entropy(logits, tensor("network", "wrn10_1.labels"))
    loss.backward()
    torch.testing.assert_close(logits, tensor("network", f"wrn10_1.logits{place}"), rtol=0, atol=1e-5)
    assert loss.item() == pytest.approx(vectors("network")[f"wrn10_1.loss{place}"].item(), abs=1e-5)
    parameters = dict(model.named_parameters())
    for name in GRADIENTS:
        found, wanted = parameters[library_name(name)].grad, tensor("network", f"wrn10_1.grad{place}.{name}")
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("place", range(3))
def test_network_in_float64_is_the_script_s_in_float64(place):
    model = WideResNet(10, 1)
    load_parameters(model, "network", "wrn10_1.")
    set_keep_ratio(model.double(), vectors("network")["keep_ratios"][place].item())
    logits = model(tensor("network", "wrn10_1.images").double())
    loss = F.cross_entropy(logits, tensor("network", "wrn10_1.labels"))
    loss.backward()
    torch.testing.assert_close(logits, tensor("network", f"wrn10_1.logits{place}_float64"), rtol=0, atol=1e-12)
    assert loss.item() == pytest.approx(vectors("network")[f"wrn10_1.loss{place}_float64"].item(), abs=1e-12)
    wanted = tensor("network", f"wrn10_1.grad{place}.stem.weight_float64")
    torch.testing.assert_close(model.stem.weight.grad, wanted, rtol=0, atol=1e-12 * wanted.abs().max().item())


CONTROLLERS = json.loads((VECTORS / "controllers.json").read_text(encoding="utf-8"))
TRACES = CONTROLLERS["traces"]


def published_rule(settings: dict[str, float]) -> dict[str, Any]:
    """Return the settings of a trace as parameters of `accuracy_gated`, where it can express them.

    A raise grows with the fall of accuracy from `relax_step` on, up to `max_relax_jump`: where the two are equal, or
    the keep-ratio is full either way, the growth never shows.
    """
    assert settings["keep_init"] == settings["keep_max"] == 1.0
    assert settings["relax_step"] in (1.0, settings["max_relax_jump"])
    return {
        "decision_steps": settings["every"],
        "tighten": settings["tighten"],
        "tolerance": settings["drop_tol"],
        "smoothing": settings["ema_beta"],
        "relax": settings["relax_step"],
        "cooldown": settings["cooldown"],
        "floor": settings["keep_min"],
    }


@cache
def stream(name: str) -> tuple[float, ...]:
    """Return the accuracies of a stream, made by the formula that the file states and checked against its sum."""
    given = CONTROLLERS["streams"][name]
    if given["kind"] == "explicit":
        return tuple(given["values"])
    rng = random.Random(given["seed"])
    knots, values = given["knots"], []
    for t in range(given["length"]):
        base = knots[0][1] if t < knots[0][0] else knots[-1][1]
        for (t0, v0), (t1, v1) in itertools.pairwise(knots):
            if t0 <= t <= t1:  # the last segment that begins at t or before
                base = v0 + (v1 - v0) * (t - t0) / (t1 - t0)
        u = rng.random() + rng.random() + rng.random() - 1.5
        values.append(round(min(1.0, max(0.0, base + given["noise"] * u)), 6))
    text = ",".join(f"{value:.6f}" for value in values)
    assert hashlib.sha256(text.encode()).hexdigest() == given["sha256"]
    return tuple(values)


def test_no_trace_of_the_controller_is_missing():
    assert len(TRACES) == 41
    assert all(trace["decisions"] == len(trace["keep_after_decision"]) for trace in TRACES)
    assert sum(trace["decisions"] for trace in TRACES) > 5000


@pytest.mark.parametrize("how", ["at once", "in groups, with a restart"])
@pytest.mark.parametrize("trace", TRACES, ids=[f"{trace['settings']}-{trace['stream']}" for trace in TRACES])
def test_controller_decides_as_the_script_bit_for_bit(trace, how):
    parameters = published_rule(CONTROLLERS["settings"][trace["settings"]])
    accuracies = stream(trace["stream"])
    controller = make_controller("accuracy_gated", **parameters)
    if how == "at once":
        decisions = controller.update(accuracies)
    else:
        decisions, told, rng = [], 0, random.Random(trace["stream"])
        while told < len(accuracies):
            size = rng.choice((1, 2, 5, parameters["decision_steps"], rng.randrange(1, 1000)))
            decisions += controller.update(accuracies[told : told + size])
            told += size
            if rng.random() < 0.1:
                state = json.loads(json.dumps(controller.state_dict()))
                controller = make_controller("accuracy_gated", **parameters)
                controller.load_state_dict(state)
    every, final = parameters["decision_steps"], trace["final"]
    assert [decision.keep_ratio for decision in decisions] == trace["keep_after_decision"]
    assert [decision.step for decision in decisions] == [every * (i + 1) for i in range(trace["decisions"])]
    assert (controller.keep_ratio, controller.step) == (final["keep"], final["batches"])
    state = controller.state_dict()
    assert (state["average"], state["best"]) == (final["ema"], final["best_ema"])
    assert state["cooldown_left"] == final["cooldown_left"]


def trainer_of_trace(trace: str) -> Trainer:
    """Return a trainer at the settings of a trace, its network at the trace's initial parameters.

    Batches come from the trace, so the images that it is made with are of no account.
    """
    settings = {"a": {"tighten": 0.018, "cooldown": 3}, "b": {"tighten": 0.3, "cooldown": 1}}[trace]
    config = RunConfig(
        preset="smoke", method="accuracy_gated", depth=10, width=1, train_images=200, batch_size=64, epochs=10,
        learning_rate=0.05, momentum=0.9, weight_decay=0.0, clip_norm=None, decision_steps=2, tolerance=0.12,
        smoothing=0.5, relax=1.0, floor=0.0, **settings,
    )  # fmt: skip
    images = torch.zeros(config.train_images, 3, 32, 32, dtype=torch.uint8)
    trainer = Trainer(config, images, torch.zeros(config.train_images, dtype=torch.int64))
    load_parameters(trainer.model, "training", "initial.")
    return trainer


def rate_of(trainer: Trainer, trace: str, step: int) -> float:
    """Four steps are an epoch; trace b has the cosine over ten of them."""
    rate = 0.05 if trace == "a" else learning_rate(trainer.config, step // 4)
    assert rate == pytest.approx(vectors("training")[f"{trace}.learning_rate"][step], rel=1e-12)
    return rate


def batch_of(step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    chosen = tensor("training", "batch_order")[step].long()
    images, labels = everything(dtype)
    return images[chosen], labels[chosen]


def everything(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return (tensor("training", "pixels").to(dtype) - 128) / 64, tensor("training", "labels").long()


@torch.no_grad()
def loss_and_accuracy(model: nn.Module, keep_ratio: float) -> tuple[float, float]:
    images, labels = everything(torch.float64)
    set_keep_ratio(model, keep_ratio)
    logits = model(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).double().mean().item()


@pytest.mark.parametrize("trace", ["a", pytest.param("b", marks=pytest.mark.slow)])
def test_training_in_float64_follows_the_script_for_all_40_steps(trace):
    """Losses within 1e-9, while rounding alone gives 2e-15; accuracies and keep-ratios equal.

    All images are looked at after epoch 4, where the keep-ratio of b is smallest. Float64 has no fast convolutions:
    contiguous memory is the least slow.
    """
    expected = {key.removeprefix(f"{trace}."): value for key, value in vectors("training").items()}
    trainer = trainer_of_trace(trace)
    trainer.model.double().to(memory_format=torch.contiguous_format)
    for step in range(40):
        trainer.set_learning_rate(rate_of(trainer, trace, step))
        assert trainer.keep_ratio == expected["keep_used_float64"][step]
        loss, accuracy = trainer.train_step(*batch_of(step, torch.float64))
        assert float(loss) == pytest.approx(expected["loss_float64"][step], abs=1e-9)
        assert float(accuracy) == expected["accuracy_float64"][step]
        if step % 2:  # told before each decision
            state = trainer.controller.state_dict()
            assert trainer.keep_ratio == expected["keep_after_float64"][step]
            assert state["average"] == expected["ema_float64"][step]
            assert state["best"] == expected["best_ema_float64"][step]
            assert state["cooldown_left"] == expected["cooldown_left_float64"][step]
        if step == 15:
            for name, keep_ratio in (("dense", 1.0), ("sparse", trainer.keep_ratio)):  # leaves the keep-ratio in force
                seen = loss_and_accuracy(trainer.model, keep_ratio)
                assert seen == pytest.approx(tuple(expected[f"{name}_eval_float64"][step // 4]), abs=1e-9)
    assert len(trainer.decisions) == 20
    assert any(decision.reset for decision in trainer.decisions)


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize(("trace", "first", "steps"), [("a", 0, 5), ("b", 0, 5), ("b", 16, 4)])
def test_training_in_float32_follows_the_script_for_some_steps(trace, first, steps, backend, one_thread, monkeypatch):
    """Losses within 1e-4: rounding grows several times a step, and a value may change sides at its threshold."""
    monkeypatch.setenv("SPARSECYCLE_BACKEND", backend)
    trainer = trainer_of_trace(trace)
    if first:
        restart(trainer, f"{trace}.before{first}.")
    for step in range(first, first + steps):
        trainer.set_learning_rate(rate_of(trainer, trace, step))
        assert trainer.keep_ratio == vectors("training")[f"{trace}.keep_used"][step]
        images, labels = batch_of(step, torch.float32)
        loss, accuracy = trainer.train_step(images.contiguous(memory_format=torch.channels_last), labels)
        assert float(loss) == pytest.approx(vectors("training")[f"{trace}.loss"][step], abs=1e-4)
        assert float(accuracy) == vectors("training")[f"{trace}.accuracy"][step]


def restart(trainer: Trainer, prefix: str) -> None:
    """Put network, optimizer and controller into the state that the trace had there."""
    load_parameters(trainer.model, "training", f"{prefix}weight.")
    momentum = {library_name(key.removeprefix(f"{prefix}momentum.")): key for key in vectors("training")}
    for name, parameter in trainer.model.named_parameters():
        buffer = torch.empty_like(parameter, requires_grad=False).copy_(tensor("training", momentum[name]))
        trainer.optimizer.state[parameter]["momentum_buffer"] = buffer
    keep, average, best, cooldown_left, step = vectors("training")[f"{prefix}controller"].tolist()
    trainer.controller.load_state_dict(
        {"step": int(step), "keep_ratio": keep, "average": average, "best": best, "cooldown_left": int(cooldown_left)}
    )
    set_keep_ratio(trainer.model, keep)
