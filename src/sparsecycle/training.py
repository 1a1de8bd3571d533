"""The one training loop: periods of SGD at the budget that the controller sets, recorded and resumable.

Nothing random depends on what was done before a resume: the order of the images in an epoch is a function of seed and
epoch, and the generators' states travel in the checkpoint. So a run that was killed and resumed ends, on one machine's
CPU with the same number of threads, with the same numbers as one left alone, bit for bit.
"""

import io
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sparsecycle.atomic import write_atomically
from sparsecycle.config import RunConfig
from sparsecycle.controllers import Controller, PeriodStats, make_controller
from sparsecycle.data import Cifar10, load_cifar10, normalize
from sparsecycle.errors import InputError
from sparsecycle.evaluation import Evaluation, budget_area, evaluate, layer_activity
from sparsecycle.records import (
    CHECKOUT,
    BudgetResult,
    Provenance,
    RunRecord,
    environment,
    file_digests,
    now,
    peak_memory_mib,
    run_folder,
    run_identity,
    write_epochs,
    write_predictions,
)
from sparsecycle.topk import set_keep_ratio
from sparsecycle.torchvision_import import import_torchvision
from sparsecycle.wrn import WideResNet

CHECKPOINT = "checkpoint.pt"


def train(
    config: RunConfig,
    *,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    device: str = "auto",
    progress: bool = True,
) -> RunRecord:
    """Train one network as configured, or go on where an interrupted call stopped, or return the finished record.

    Writes `<output_dir>/<preset>/<method>-seed<k>/`: `epochs.parquet` (one row a period), `predictions.npz`,
    `model.safetensors` and, last, `record.json`. A checkpoint is kept there from period to period until then.

    Args:
        config: what to do.
        data_dir: folder of the images (see `data_folder`).
        output_dir: folder of runs.
        device: "cpu", "cuda" or "auto" (the GPU where there is one).
        progress: show a bar with loss, accuracy, budget and the time left.

    Returns:
        The record; `status` is "diverged" where the training loss stopped being finite.

    Raises:
        InputError: unknown device, missing data, an output folder that cannot be written or that holds another run.
    """
    chosen = resolve_device(device)
    data = load_images(config, data_dir)
    identity = run_identity(config, data.digest)
    folder = run_folder(config, Path(output_dir))
    if (folder / "record.json").exists():
        return _finished(folder, identity)
    _prepare(folder)
    with deterministic():
        run = _start(config, data, chosen)
        if (folder / CHECKPOINT).exists():
            _load_checkpoint(folder / CHECKPOINT, run, identity)
        _train_periods(run, folder, identity, progress)
        return _finish(run, folder, identity)


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda"; "auto" is the GPU where torch sees one.

    Raises:
        InputError: another name, or "cuda" where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is {device!r}, but must be 'auto', 'cpu' or 'cuda'")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("device is 'cuda', but torch sees no GPU here: use 'cpu' or 'auto'")
    return "cuda" if available and device != "cpu" else "cpu"


def load_model(folder: str | Path, config: RunConfig) -> WideResNet:
    """The trained network of a run's folder, on the CPU, in evaluation mode at budget 1.0.

    Args:
        folder: the run's folder, or a `.safetensors` file.
        config: of that run.

    Raises:
        InputError: no such file, or weights that do not fit the configuration.
    """
    path = Path(folder)
    path = path if path.suffix == ".safetensors" else path / "model.safetensors"
    model = _network(config)
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: weights stay with the machine that trained them; run again") from None
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} does not fit the configuration ({str(error).splitlines()[0]})") from None
    return model.eval()


def load_trained(preset: str, method: str, seed: int = 0) -> tuple[WideResNet, RunConfig]:
    """A small network that ships with the book (`data/checkpoints`), and the configuration that it was trained with.

    Raises:
        InputError: no such network ships, or it is damaged.
    """
    data = CHECKOUT / "data"
    name = f"{preset}/{method}-seed{seed}"
    config = RunConfig(**RunRecord.read(data / "runs" / name).config)
    return load_model(data / "checkpoints" / f"{name}.safetensors", config), config


@dataclass
class _Run:
    """All that changes while a run goes on."""

    config: RunConfig
    data: Cifar10
    device: str
    model: WideResNet
    forward: Callable[[Tensor], Tensor]  # the model, compiled where the configuration says so
    optimizer: torch.optim.SGD
    scheduler: torch.optim.lr_scheduler.LambdaLR
    controller: Controller
    history: list[dict[str, float]]
    started: str
    training_seconds: float = 0.0
    wall_seconds: float = 0.0
    resumes: int = 0

    @property
    def diverged(self) -> bool:
        return bool(self.history) and not math.isfinite(self.history[-1]["train_loss"])


def load_images(config: RunConfig, data_dir: str | Path | None = None) -> Cifar10:
    """The images that a run with this configuration trains on and is evaluated on.

    Raises:
        InputError: images missing or altered, or fewer than the configuration asks for.
    """
    data = load_cifar10("embedded" if config.dataset == "cifar10-mini" else "auto", data_dir)
    data = data.take(train=config.train_images, test=config.test_images)
    return data.hold_out(config.holdout_images) if config.holdout_images else data


def _prepare(folder: Path) -> None:
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"output folder {folder} cannot be written ({reason}): choose another output_dir") from None


def _finished(folder: Path, identity: str) -> RunRecord:
    record = RunRecord.read(folder)
    if record.identity != identity:
        raise InputError(
            f"{folder} holds the record of another configuration, source or data: "
            "choose another output_dir, or move that folder away"
        )
    return record


def _start(config: RunConfig, data: Cifar10, device: str) -> _Run:
    torch.manual_seed(config.seed)
    model = _network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, config)
    return _Run(
        config=config,
        data=data.to(device),
        device=device,
        model=model,
        forward=torch.compile(model) if config.compile else model,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, _rate_factor(config)),
        controller=make_controller(config.method, **config.controller_parameters()),
        history=[],
        started=now(),
    )


def _network(config: RunConfig) -> WideResNet:
    return WideResNet(config.depth, config.width, norm=config.norm, scope=config.scope, norm_eps=config.norm_eps)


def _optimizer(model: nn.Module, config: RunConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; gains and biases, the parameters of one dimension, are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    free = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=nesterov, fused=True)


def _rate_factor(config: RunConfig) -> Callable[[int], float]:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine that ends at zero."""
    warmup = round(config.warmup_epochs * config.steps_per_epoch)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))

    return factor


def _train_periods(run: _Run, folder: Path, identity: str, progress: bool) -> None:
    config = run.config
    done = int(run.history[-1]["step"]) if run.history else 0
    title = f"{config.preset} {config.method} seed {config.seed}"
    bar: tqdm[Any] = tqdm(
        total=config.steps, initial=done, desc=title, unit="step", mininterval=0.5, disable=not progress
    )
    with bar:
        while len(run.history) < config.periods and not run.diverged:
            begin = time.perf_counter()
            row = _train_period(run, bar)
            run.history.append(row)
            run.training_seconds += row["seconds"]
            run.wall_seconds += time.perf_counter() - begin
            bar.set_postfix(
                loss=f"{row['train_loss']:.3f}",
                acc=f"{row['train_accuracy']:.3f}",
                budget=f"{row['keep_ratio']:.2f}",
                refresh=False,
            )
            write_epochs(folder, run.history)
            _save_checkpoint(folder / CHECKPOINT, run, identity)


def _train_period(run: _Run, bar: "tqdm[Any]") -> dict[str, float]:
    """Train one period at the controller's budget, tell the controller, and measure the test images."""
    config, period = run.config, len(run.history)
    final_dense = period >= config.periods - config.final_dense_periods
    budget = 1.0 if final_dense else run.controller.keep_ratio
    set_keep_ratio(run.model, budget)
    run.model.train()
    begin = time.perf_counter()
    first = period * config.steps_per_period
    last = min(first + config.steps_per_period, config.steps)
    total_loss, correct, norms = (torch.zeros((), device=run.device, dtype=torch.float64) for _ in range(3))
    for images, labels in _batches(run, first, last):
        with torch.autocast(run.device, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = run.forward(images)
        loss = F.cross_entropy(logits.float(), labels)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norms += nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm or math.inf)
        run.optimizer.step()
        run.scheduler.step()
        total_loss += loss.detach()
        correct += (logits.argmax(dim=1) == labels).sum()
        bar.update()
    steps = last - first
    train_loss, train_accuracy = total_loss.item() / steps, correct.item() / (steps * config.batch_size)
    seconds = time.perf_counter() - begin
    if not final_dense:
        run.controller.update(PeriodStats(loss=train_loss, accuracy=train_accuracy))
    test = evaluate(run.model, run.data.test_images, run.data.test_labels, config.headline_budget)
    return {
        "period": period,
        "epoch": last / config.steps_per_epoch,
        "step": last,
        "keep_ratio": budget,
        "learning_rate": float(run.scheduler.get_last_lr()[0]),
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "gradient_norm": norms.item() / steps,
        "seconds": seconds,
    }


def _batches(run: _Run, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of steps first..last-1: images (N, 3, 32, 32) and labels, in the epoch's shuffled order."""
    config, count = run.config, len(run.data.train_images)
    augment = _augmentation(config)
    order, shuffled_epoch = torch.empty(0), -1
    for step in range(first, last):
        epoch, place = divmod(step, config.steps_per_epoch)
        if epoch != shuffled_epoch:
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order, shuffled_epoch = torch.randperm(count, generator=generator).to(run.device), epoch
        chosen = order[place * config.batch_size : (place + 1) * config.batch_size]
        images = augment(run.data.train_images[chosen])
        yield normalize(images).contiguous(memory_format=torch.channels_last), run.data.train_labels[chosen]


def _augmentation(config: RunConfig) -> Callable[[Tensor], Tensor]:
    """The identity, or torchvision's pad-crop-flip, each image on its own."""
    if config.augmentation == "none":
        return lambda images: images
    import_torchvision()
    from torchvision.transforms import v2

    each = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    return lambda images: torch.stack([each(image) for image in images])


def _save_checkpoint(path: Path, run: _Run, identity: str) -> None:
    buffer = io.BytesIO()
    state = {
        "identity": identity,
        "threads": torch.get_num_threads(),
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "controller": run.controller.state_dict(),
        "history": run.history,
        "started": run.started,
        "training_seconds": run.training_seconds,
        "wall_seconds": run.wall_seconds,
        "resumes": run.resumes,
        "generator": torch.get_rng_state(),
        "cuda_generator": torch.cuda.get_rng_state() if run.device == "cuda" else None,
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def _load_checkpoint(path: Path, run: _Run, identity: str) -> None:
    try:
        state: dict[str, Any] = torch.load(path, map_location=run.device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}): delete it to begin this run again") from None
    if state["identity"] != identity:
        raise InputError(
            f"{path} was written with another configuration, source or data: "
            "finish it with those, choose another output_dir, or delete it to begin again"
        )
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.scheduler.load_state_dict(state["scheduler"])
    run.controller.load_state_dict(state["controller"])
    run.history = state["history"]
    run.started = state["started"]
    run.training_seconds = state["training_seconds"]
    run.wall_seconds = state["wall_seconds"]
    run.resumes = state["resumes"] + 1
    torch.set_rng_state(state["generator"].cpu())
    if run.device == "cuda":
        torch.cuda.set_rng_state(state["cuda_generator"].cpu())


def _finish(run: _Run, folder: Path, identity: str) -> RunRecord:
    begin = time.perf_counter()
    config = run.config
    results = [] if run.diverged else _measure_budgets(run)
    active = [] if run.diverged else _measure_activity(run)
    layers = active[config.budgets.index(config.headline_budget)] if active else []
    metrics = _metrics(run, results)
    predictions = {result.keep_ratio: result.predictions.numpy() for result in results}
    write_predictions(folder, predictions)
    weights = {name: value.contiguous().cpu() for name, value in run.model.state_dict().items()}
    write_atomically(folder / "model.safetensors", safetensors.torch.save(weights))
    run.wall_seconds += time.perf_counter() - begin
    steps = int(run.history[-1]["step"])
    record = RunRecord(
        identity=identity,
        status="diverged" if run.diverged else "complete",
        evaluated_on="validation" if config.holdout_images else "test",
        config=config.model_dump(mode="json"),
        sources=config.sources(),
        overrides=config.overrides(),
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        metrics=metrics,
        budgets=[
            BudgetResult(
                keep_ratio=result.keep_ratio,
                accuracy=result.accuracy,
                loss=result.loss,
                active_fraction=float(np.mean([layer["active_fraction"] for layer in activity])),
            )
            for result, activity in zip(results, active, strict=True)
        ],
        layers=layers,
        files=file_digests(folder, ("epochs.parquet", "predictions.npz", "model.safetensors")),
        provenance=Provenance(
            **environment(run.device, config.precision, deterministic=True),
            data=run.data.name,
            data_sha256=run.data.digest,
            started=run.started,
            ended=now(),
            wall_seconds=run.wall_seconds,
            training_seconds=run.training_seconds,
            images_per_second=steps * config.batch_size / run.training_seconds,
            peak_memory_mib=peak_memory_mib(run.device),
            resumes=run.resumes,
        ),
    )
    record.write(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


def _measure_budgets(run: _Run) -> list[Evaluation]:
    data = run.data
    return [evaluate(run.model, data.test_images, data.test_labels, budget) for budget in run.config.budgets]


def _measure_activity(run: _Run) -> list[list[dict[str, Any]]]:
    """Activity by layer at every budget, on the first 500 test images: a share needs no more."""
    images = run.data.test_images[:500]
    return [[vars(layer) for layer in layer_activity(run.model, images, budget)] for budget in run.config.budgets]


def _metrics(run: _Run, results: list[Evaluation]) -> dict[str, float | None]:
    names: tuple[str, ...] = ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "gap")
    names += ("best_test_accuracy", "drop_from_best", "budget_area")
    if run.diverged:
        return dict.fromkeys(names)
    config, data = run.config, run.data
    test = results[config.budgets.index(config.headline_budget)]
    fitted = evaluate(run.model, data.train_images, data.train_labels, config.headline_budget)
    best = max(row["test_accuracy"] for row in run.history)
    area = budget_area(config.budgets, [result.accuracy for result in results])
    values: tuple[float, ...] = (
        test.accuracy,
        test.loss,
        fitted.accuracy,
        fitted.loss,
        fitted.accuracy - test.accuracy,
    )
    values += (best, best - test.accuracy, area)
    return dict(zip(names, values, strict=True))


@contextmanager
def deterministic() -> Iterator[None]:
    """Only operations whose result does not depend on timing, for the length of a run."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # must be there before CUDA starts
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # every operation here writes all of its output
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
