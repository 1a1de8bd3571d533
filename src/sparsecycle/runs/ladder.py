"""Ways to train on a GPU, from the fastest down: each is checked on the spot, then timed.

Kernels that were never run on a chip may be wrong or slow on it, and rented minutes are no time to find out by looking.
So before a study begins, each rung is held to the reference, and the fastest that is right is taken.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparsecycle.captured import CAPTURED, can_capture, make_trainer
from sparsecycle.config import RunConfig
from sparsecycle.kernels import FUSED, VARIABLE, fused
from sparsecycle.kernels.operators import relu_topk, rms_norm_topk
from sparsecycle.layer import GlobalTopK, set_keep_ratio
from sparsecycle.network import RMSNorm2d, normed_topk
from sparsecycle.runs.environment import environment
from sparsecycle.runs.execute import deterministic, must_record
from sparsecycle.topk import kept_values
from sparsecycle.trainer import DTYPES, Trainer, make_network, normalize

# What is switched off, by rung. The first is what a GPU takes by itself.
RUNGS: dict[str, dict[str, str]] = {
    "recorded steps, one kernel": {},
    "recorded steps, kernels apart": {FUSED: "0"},
    "eager steps, one kernel": {CAPTURED: "0"},
    "eager steps, kernels apart": {FUSED: "0", CAPTURED: "0"},
}
KEEP_RATIOS = (1.0, 0.5, 0.1, 0.02)
CHECKED_STEPS = 20
TIMED_SECONDS = {"cuda": 1.0, "cpu": 0.1}  # a CPU only rehearses
LOSS_TOLERANCE = 0.1  # nats over `CHECKED_STEPS` steps, in which differences of rounding grow


class Rung(BaseModel):
    """What was seen of one rung.

    Attributes:
        name: one of `RUNGS`.
        faults: what was wrong, none where it may be used.
        loss_difference: largest difference of the loss to eager steps with the reference, in nats.
        recorded_loss_difference: the same of recorded steps to eager ones with the same kernels.
        recorded_masks_differ: how many values are kept after the ones and not after the others, or the other way round,
            in all layers on one batch.
        dense_ms, sparse_ms: a step at keep-ratio 1.0 and 0.1, in milliseconds.
        pair_ms: a step of each of two networks side by side, at 0.1; None where memory does not hold both.
        memory_mib: the most that one network took.
    """

    name: str
    faults: list[str] = []
    loss_difference: float | None = None
    recorded_loss_difference: float | None = None
    recorded_masks_differ: int | None = None
    dense_ms: float | None = None
    sparse_ms: float | None = None
    pair_ms: float | None = None
    memory_mib: float | None = None

    def images_per_second(self, batch: int) -> float:
        """Return that of one network or of two side by side, whichever is more in all; 0 where it must not be used."""
        if self.faults or not self.sparse_ms:
            return 0.0
        return batch * max(1000 / self.sparse_ms, 2000 / self.pair_ms if self.pair_ms else 0.0)

    @property
    def at_once(self) -> int:
        """How many networks side by side train more images a second in all."""
        return 2 if self.pair_ms and self.sparse_ms and self.pair_ms < 2 * self.sparse_ms else 1


def look_at(name: str, config: RunConfig, device: str, *, steps: int = 50) -> Rung:
    """Check a rung with the network and batch of a configuration, and time it where it is right.

    Args:
        steps: how many are timed at most, three times.
    """
    rung = Rung(name=name)
    with deterministic(), only(RUNGS[name]):
        try:
            rung.faults = check_kernels(config, device)
            if not rung.faults:
                rung.loss_difference = _loss_difference(config, device)
                if not rung.loss_difference <= LOSS_TOLERANCE:
                    rung.faults = [f"its loss differs by {rung.loss_difference:.3g} from the reference's"]
                elif _ignores_the_budget(config, device):
                    rung.faults = ["its steps ignore the keep-ratio"]
            if not rung.faults:
                if can_capture(_variant(config, "geometric"), device):
                    rung.recorded_loss_difference, rung.recorded_masks_differ = _against_eager(config, device)
                _time(rung, config, device, steps)
        except RuntimeError as error:  # of a chip or its compiler; a traceback would end the rental
            rung.faults = [*rung.faults, (str(error) or type(error).__name__).splitlines()[0]]
    return rung


def only(switches: dict[str, str]) -> AbstractContextManager[None]:
    """Set these variables, and none other of the switches of `RUNGS`; put all back afterwards."""
    return environment(dict.fromkeys((FUSED, CAPTURED)) | switches)


def check_kernels(config: RunConfig, device: str) -> list[str]:
    """Return what is wrong with selection and gradients in the shapes of a network's layers; on random values and ties.

    Selection is compared with a stable sort, bit for bit; gradients with those of the formula in float64.
    """
    faults = []
    generator = torch.Generator().manual_seed(0)
    for channels, size in _shapes(config):
        for kind in ("random", "tied"):
            x = torch.randn(4, channels, size, size, generator=generator)
            x = ((2 * x).round() / 2 if kind == "tied" else x).to(device, memory_format=torch.channels_last)
            weight, bias = torch.rand(channels, generator=generator) + 0.5, torch.randn(channels, generator=generator)
            for keep_ratio in KEEP_RATIOS:
                for dtype in (torch.bfloat16, torch.float32):  # of training, and of evaluation
                    found = _faults_of(x.to(dtype), weight.to(device), bias.to(device), keep_ratio)
                    where = f"{kind} values in {dtype}, {channels} x {size} x {size}, keep {keep_ratio}"
                    faults += [f"{fault} ({where})" for fault in found]
    return faults


def _shapes(config: RunConfig) -> list[tuple[int, int]]:
    """Channels and side of the inputs of the constrained layers, each once."""
    width = config.width
    return list(dict.fromkeys([(16, 32), (16 * width, 32), (32 * width, 16), (64 * width, 8)]))


def _faults_of(x: Tensor, weight: Tensor, bias: Tensor, keep_ratio: float) -> list[str]:
    """Of one layer: `x` bfloat16 or float32 (N, C, H, W) in channels_last."""
    budget, one = (torch.tensor(value, dtype=torch.float64, device=x.device) for value in (keep_ratio, 1.0))
    backend = os.environ.get(VARIABLE, "triton" if x.is_cuda else "auto")
    faults = []
    plain = x.float()
    if not torch.equal(relu_topk(plain, budget, "sample", torch.float32, backend), _by_sorting(plain, keep_ratio)):
        faults.append("selection is not that of a stable sort")
    wide = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    scale = (wide[0].square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    exact = wide[0] * scale * wide[1][:, None, None] + wide[2][:, None, None]
    dtype = None if x.dtype == torch.float32 else x.dtype  # of autocast
    norm, layer = RMSNorm2d(x.shape[1]).to(x.device), GlobalTopK(keep_ratio, backend=backend).to(x.device)
    norm.load_state_dict({"weight": weight, "bias": bias})
    layer.branch_free = True
    given = (x.clone().requires_grad_(), norm.weight, norm.bias)
    with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
        out = normed_topk(norm, layer, given[0])
    if fused(x, weight, bias, dtype, backend) is not None:
        whole = x if x.is_cuda else plain  # a CPU gives what it takes
        dense = rms_norm_topk(whole, weight, bias, 1e-8, one, torch.float32, backend)
        if not torch.allclose(dense.double(), exact.relu(), rtol=1e-4, atol=1e-4):
            faults.append("normalized values are not those of the formula")
        kept = rms_norm_topk(whole, weight, bias, 1e-8, budget, torch.float32, backend)
        if not torch.equal(kept, _by_sorting(dense, keep_ratio)):
            faults.append("selection of normalized values is not that of a stable sort")
        if not torch.equal(out, kept.to(x.dtype)):
            faults.append("what is stored is not what was selected")
    upstream = torch.where(x.float().abs().amax(dim=1, keepdim=True) > 0.1, torch.randn_like(plain), 0.0).to(x.dtype)
    found = torch.autograd.grad(out, given, upstream)
    wanted = torch.autograd.grad(exact, wide, torch.where(out > 0, upstream, 0.0).double())
    for name, mine, theirs in zip(("input", "gain", "bias"), found, wanted, strict=True):
        error = (mine.double() - theirs).norm() / theirs.norm().clamp(min=1e-9)
        if not error < 0.01:
            faults.append(f"the gradient of the {name} is off by {error:.2g}")
    return faults


def _by_sorting(x: Tensor, keep_ratio: float) -> Tensor:
    """The k largest of each sample of relu(x): a stable sort in (C, H, W) order."""
    rows = x.relu().flatten(1)
    order = rows.argsort(dim=1, descending=True, stable=True)[:, : kept_values(keep_ratio, rows.shape[1])]
    return torch.zeros_like(rows).scatter(1, order, rows.gather(1, order)).view(x.shape)


def _loss_difference(config: RunConfig, device: str) -> float:
    """The largest difference over some steps to eager reference steps; NaN where any loss is."""
    _, found = _some_steps(config, device)
    with only({FUSED: "0", CAPTURED: "0", VARIABLE: "reference"}):
        _, wanted = _some_steps(config, device)
    return float(np.abs(np.subtract(found, wanted)).max())


def _against_eager(config: RunConfig, device: str) -> tuple[float, int]:
    """The same to eager steps with the same kernels, and in how many values the masks differ afterwards."""
    recorded, found = _some_steps(config, device)
    with environment({CAPTURED: "0"}):
        eager, wanted = _some_steps(config, device)
    masks = zip(_masks(recorded), _masks(eager), strict=True)
    differ = sum(int((one != other).sum()) for one, other in masks)
    return float(np.abs(np.subtract(found, wanted)).max()), differ


def _some_steps(config: RunConfig, device: str) -> tuple[Trainer, list[float]]:
    """A trainer after some steps, in which the keep-ratio falls and is reset, and their losses."""
    here = _variant(config, "geometric", decision_steps=3, tighten=0.6, floor=0.05, learning_rate=0.01)
    trainer = make_trainer(here, *_images(config), device=device)
    must_record(trainer)
    parts = [trainer.train(step) for step in range(1, CHECKED_STEPS + 1)]
    return trainer, [part.loss if part else math.nan for part in parts]


def _masks(trainer: Trainer) -> list[Tensor]:
    """What each constrained layer keeps at keep-ratio 0.1, on one batch, by the kernels of a step."""
    set_keep_ratio(trainer.model, 0.1)
    batch = normalize(trainer.images[: trainer.config.batch_size]).contiguous(memory_format=torch.channels_last)
    dtype = DTYPES.get(trainer.config.precision)
    seen: list[Tensor] = []
    with torch.no_grad(), torch.autocast(trainer.device, dtype, enabled=dtype is not None), _Selections(seen):
        trainer.model(batch)
    return seen


class _Selections(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what is selected within it. A hook would not do: with one, norm and selection are not one kernel."""

    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function in (torch.ops.sparsecycle.rms_norm_topk.default, torch.ops.sparsecycle.relu_topk.default):
            self.seen.append(out > 0)
        return out


def _ignores_the_budget(config: RunConfig, device: str) -> bool:
    """Whether steps from the same weights have the same loss at keep-ratios 1.0 and 0.02: a branch was recorded."""
    losses = []
    for keep_ratio in (1.0, 0.02):
        trainer = make_trainer(_variant(config, "fixed", keep_ratio=0.5), *_images(config), device=device)
        must_record(trainer)
        set_keep_ratio(trainer.model, keep_ratio)
        part = trainer.train(1)
        losses.append(part.loss if part else math.nan)
    return losses[0] == losses[1]


def _variant(config: RunConfig, method: str, **fields: Any) -> RunConfig:
    """The same network and batch on few images, with another rule."""
    kept = ("dataset", "depth", "width", "batch_size", "precision", "norm_eps", "clip_norm", "weight_decay", "momentum")
    same = {name: getattr(config, name) for name in kept}
    few = {"train_images": 10 * math.ceil(CHECKED_STEPS * config.batch_size / 10), "test_images": 0, "epochs": 1000}
    return RunConfig(preset=config.preset, method=method, **(same | few | fields))


def _images(config: RunConfig) -> tuple[Tensor, Tensor]:
    n = _variant(config, "dense").fitted_images
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (n,), generator=generator)


def _time(rung: Rung, config: RunConfig, device: str, steps: int) -> None:
    """Fill in the times of a rung; medians of three, because a chip's clock moves."""
    images, labels = _images(config)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    dense = make_trainer(_variant(config, "dense"), images, labels, device=device)
    must_record(dense)
    rung.dense_ms = 1000 * _seconds_a_step([dense], device, steps)
    del dense

    def sparse() -> tuple[Trainer, Any]:
        stream: Any = torch.cuda.Stream() if device == "cuda" else None  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            trainer = make_trainer(_variant(config, "fixed", keep_ratio=0.1), images, labels, device=device)
            must_record(trainer)
        _wait(device)
        return trainer, stream

    one, stream = sparse()
    rung.sparse_ms = 1000 * _seconds_a_step([one], device, steps, [stream])
    rung.memory_mib = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    with suppress(torch.OutOfMemoryError):
        other, another = sparse()
        rung.pair_ms = 1000 * _seconds_a_step([one, other], device, steps, [stream, another])


def _seconds_a_step(trainers: list[Trainer], device: str, steps: int, streams: list[Any] | None = None) -> float:
    def train(trainer: Trainer, stream: Any, count: int) -> None:
        with torch.cuda.stream(stream):
            trainer.train(trainer.step + count)

    def seconds(count: int) -> float:
        _wait(device)
        begin = time.perf_counter()
        list(threads.map(train, trainers, streams or [None] * len(trainers), [count] * len(trainers)))
        _wait(device)
        return (time.perf_counter() - begin) / count

    with ThreadPoolExecutor(len(trainers)) as threads:
        seconds(2)
        count = max(2, min(steps, int(TIMED_SECONDS[device] / seconds(2))))
        return statistics.median(seconds(count) for _ in range(3))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def chip(device: str) -> dict[str, float]:
    """Return the rates that the chip itself reaches: matrix products in TFLOP/s (bfloat16) and copies in TB/s."""
    size, count = (8192, 10) if device == "cuda" else (512, 2)
    one = torch.randn(size, size, device=device).bfloat16()
    place, source = (torch.zeros(2**29 if device == "cuda" else 2**20, device=device) for _ in range(2))

    def seconds(work: Callable[[], Any]) -> float:
        work()
        _wait(device)
        begin = time.perf_counter()
        for _ in range(count):
            work()
        _wait(device)
        return (time.perf_counter() - begin) / count

    products, copies = seconds(lambda: one @ one), seconds(lambda: place.copy_(source))
    return {"tflops": 2 * size**3 / products / 1e12, "tb_per_second": 2 * place.nbytes / copies / 1e12}


def step_tflop(config: RunConfig) -> float:
    """Return the arithmetic of a training step's convolutions and its head, in TFLOP: three times a forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    model = make_network(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    return 3e-12 * int(counter.get_total_flops()) * config.batch_size


def selection_gbyte(config: RunConfig) -> float:
    """Return what norm, ReLU and selection of all layers must move in a forward pass of a batch, in GB.

    Each value is read and written once. A whole step must move three times as much: backward, input, output and
    gradient are read, and a gradient is written.
    """
    model = make_network(config)
    values = 0

    def count(_: Any, inputs: tuple[Tensor, ...]) -> None:
        nonlocal values
        values += inputs[0].numel()

    for module in model.modules():
        if isinstance(module, RMSNorm2d):
            module.register_forward_pre_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    return 2e-9 * DTYPES.get(config.precision, torch.float32).itemsize * values * config.batch_size


def layers_ms(config: RunConfig, device: str, keep_ratio: float, repeats: int = 20) -> float:
    """Return the time of norm, ReLU and selection of all layers, forward, one batch in bfloat16, in milliseconds.

    Recorded as one graph on a GPU, so that only the chip's own work is timed.
    """
    model = make_network(config).to(device)
    set_keep_ratio(model, keep_ratio)
    seen: list[tuple[RMSNorm2d, GlobalTopK, Tensor]] = []
    norms = [module for module in model.modules() if isinstance(module, RMSNorm2d)]
    layers = [module for module in model.modules() if isinstance(module, GlobalTopK)]
    for norm in norms:
        norm.register_forward_pre_hook(lambda module, inputs: seen.append((module, layers[len(seen)], inputs[0])))
    batch = torch.randn(config.batch_size, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        model(batch)
    inputs = [(norm, layer, x.bfloat16().to(memory_format=torch.channels_last)) for norm, layer, x in seen]

    def work() -> None:
        for norm, layer, x in inputs:
            rms_norm_topk(x, norm.weight, norm.bias, norm.eps, layer.budget, torch.bfloat16, "auto")

    with torch.no_grad():
        work()
        if device == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            work = graph.replay
        _wait(device)
        begin = time.perf_counter()
        for _ in range(repeats):
            work()
        _wait(device)
    return 1000 * (time.perf_counter() - begin) / repeats
