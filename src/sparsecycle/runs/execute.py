"""The one training loop: periods of SGD at the budget that the controller sets, recorded and resumable.

Nothing random depends on what was done before a resume: the order of the images in an epoch is a function of seed and
epoch, and the generators' states travel in the checkpoint. So a run that was killed and resumed ends, on one machine's
CPU with the same number of threads, with the same numbers as one left alone, bit for bit.
"""

import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sparsecycle.files import write_atomically
from sparsecycle.trainer import batches, load_images
from sparsecycle.runs.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    checkpoint_files,
    generator_states,
    load_newest,
    remove_checkpoints,
    restore_generators,
)
from sparsecycle.config import RunConfig
from sparsecycle.controllers import PeriodStats, make_controller
from sparsecycle.data.cifar10 import Cifar10
from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import Evaluation, budget_area, evaluate, layer_activity
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.networks import make_network
from sparsecycle.trainer import learning_rate, make_optimizer, momentum_buffers, restore_momentum
from sparsecycle.runs.provenance import HARMLESS, Provenance, environment, now, peak_memory_mib
from sparsecycle.runs.records import (
    BudgetResult,
    RunRecord,
    file_digests,
    finished_record,
    run_identity,
    write_epochs,
    write_predictions,
)
from sparsecycle.runs.state import RunState
from sparsecycle.runs.stopping import Stopped, StopRequest, stop_requests
from sparsecycle.topk import set_keep_ratio
from sparsecycle.runs.writing import sole_writer

CHECKPOINT_MINUTES = 5.0
_log = logging.getLogger("sparsecycle")


def train(
    config: RunConfig,
    *,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    device: str = "auto",
    progress: bool = True,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    resume_changed: bool = False,
) -> RunRecord:
    """Train one network as configured, or go on where an interrupted call stopped, or return the finished record.

    Writes `<output_dir>/<preset>/<method>-seed<k>/`: `epochs.parquet` (one row a period), `predictions.npz`,
    `model.safetensors` and, last, `record.json`. Until then the last two checkpoints are kept there. Ctrl-C and SIGTERM
    save where the run is before they end it.

    Args:
        config: what to do.
        data_dir: folder of the images (see `data_folder`).
        output_dir: folder of runs.
        device: "cpu", "cuda" or "auto" (the GPU where there is one).
        progress: show a bar with loss, accuracy, budget and the time left.
        checkpoint_minutes: the longest time between two checkpoints; there is one after each period besides.
        resume_changed: go on from a checkpoint of another configuration, source or data; the record then says so, and
            counts for no claim.

    Returns:
        The record; `status` is "diverged" where the training loss stopped being finite.

    Raises:
        InputError: unknown device, missing data, an output folder that cannot be written, that holds another run or
            that another process is writing to.
        Stopped: by a signal, which makes it a KeyboardInterrupt.
    """
    if not checkpoint_minutes > 0:
        raise InputError(f"checkpoint_minutes is {checkpoint_minutes}, but must be above 0")
    chosen = resolve_device(device)
    data = load_images(config, data_dir)
    folder = run_folder(config, Path(output_dir))
    found = finished_record(folder, config, data.digest)
    if found and not checkpoint_files(folder):
        return found  # also from a folder that cannot be written
    with sole_writer(folder), deterministic(), _enough_memory(config, chosen):
        found = finished_record(folder, config, data.digest)
        if found:
            remove_checkpoints(folder)  # of a process that was killed after it wrote the record
            return found
        run = _Training(config, data, chosen, folder, checkpoint_minutes)
        run.resume(resume_changed)
        run.train(progress)
        return run.finish()


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


class _Training:
    """One run under way: the network, its optimizer, the controller, and the state that checkpoints hold."""

    def __init__(self, config: RunConfig, data: Cifar10, device: str, folder: Path, checkpoint_minutes: float) -> None:
        random.seed(config.seed)
        np.random.seed(config.seed)  # noqa: NPY002
        torch.manual_seed(config.seed)
        self.config, self.data, self.device, self.folder = config, data.to(device), device, folder
        self.model = make_network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.model) if config.compile else self.model
        self.optimizer = make_optimizer(self.model, config)
        self.controller = make_controller(config.method, **config.controller_parameters())
        self.sums = torch.zeros(3, device=device, dtype=torch.float64)  # of loss, correct and gradient norm
        self.state = RunState.begin(config, data.digest, device)
        self.origin: Path | None = None
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.begin = time.perf_counter()

    @property
    def diverged(self) -> bool:
        history = self.state.history
        return bool(history) and not math.isfinite(history[-1]["train_loss"])

    @property
    def wall_seconds(self) -> float:
        return time.perf_counter() - self.begin

    def resume(self, resume_changed: bool) -> None:
        """Go on from the newest sound checkpoint, if there is one."""
        found = load_newest(self.folder)
        if found is None:
            return
        path, checkpoint = found
        try:
            before = RunState.of(checkpoint.rest)
            differences = before.differences(self.state.conditions)
            told = [f"{name} ({before}, then {now})" for name, (before, now) in differences.items()]
            if not (resume_changed or differences.keys() <= set(HARMLESS)):
                raise InputError(
                    f"{self.folder} holds a run under way with another {', '.join(told)}: finish it with those, "
                    "choose another output_dir, or go on all the same with resume_changed (--resume-changed)"
                )
            self._restore(before.resumed(self.state.conditions), checkpoint.tensors)
        except (LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, InputError) or _is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} does not fit this run ({reason}): delete it to begin the run again") from None
        if told:
            _log.warning("resumed with another %s: numbers may differ from those of a run left alone", ", ".join(told))
        self.origin = path

    def _restore(self, state: RunState, tensors: dict[str, Tensor]) -> None:
        begun = len(state.history) * self.config.steps_per_period
        if not begun <= state.step <= min(begun + self.config.steps_per_period, self.config.steps):
            raise ValueError(f"step {state.step} is not in period {len(state.history)}")
        weights = {name: tensors[f"model.{name}"] for name in self.model.state_dict()}
        self.model.load_state_dict(weights)
        restore_momentum(self.optimizer, [tensors[name] for name in sorted(tensors) if name.startswith("momentum.")])
        self.sums.copy_(tensors["sums"])
        self.controller.load_state_dict(state.controller)
        restore_generators(tensors, self.device)
        state.restore_generators()
        self.state = state
        self.begin -= state.wall_seconds

    def _checkpoint(self) -> Checkpoint:
        self.state.controller = self.controller.state_dict()
        self.state.wall_seconds = self.wall_seconds
        self.state.take_generators()
        momentum = {f"momentum.{i:04d}": buffer for i, buffer in enumerate(momentum_buffers(self.optimizer))}
        weights = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors = weights | momentum | generator_states(self.device) | {"sums": self.sums}
        return Checkpoint(self.state.step, tensors, self.state.model_dump(mode="json"))

    def train(self, progress: bool) -> None:
        """All periods that are left.

        Raises:
            Stopped: by a signal; where the run is has been saved.
        """
        config, state = self.config, self.state
        title = f"{config.preset} {config.method} seed {config.seed}"
        bar: tqdm[Any] = tqdm(
            total=config.steps, initial=state.step, desc=title, unit="step", mininterval=0.5, disable=not progress
        )
        with bar, stop_requests() as stop, CheckpointWriter(self.folder, self.origin) as writer:
            save = _Saver(writer, stop, self.checkpoint_seconds)
            while state.step < config.steps and not self.diverged:
                row = self._train_period(bar, save)
                state.history.append(row)
                self.sums.zero_()
                state.period_seconds = 0.0
                bar.set_postfix(
                    loss=f"{row['train_loss']:.3f}",
                    acc=f"{row['train_accuracy']:.3f}",
                    budget=f"{row['keep_ratio']:.2f}",
                    refresh=False,
                )
                write_epochs(self.folder, state.history)
                save(self._checkpoint)
        if stop.number is not None:  # it came after the last step
            raise Stopped(stop.number)

    def _train_period(self, bar: "tqdm[Any]", save: "_Saver") -> dict[str, float]:
        """Train what is left of a period at the controller's budget, tell the controller, measure the test images."""
        config, state, period = self.config, self.state, len(self.state.history)
        final_dense = period >= config.periods - config.final_dense_periods
        budget = 1.0 if final_dense else self.controller.keep_ratio
        set_keep_ratio(self.model, budget)
        self.model.train()
        first = period * config.steps_per_period
        last = min(first + config.steps_per_period, config.steps)
        begin = time.perf_counter() - state.period_seconds
        for images, labels in batches(config, self.data, state.step, last):
            self._step(images, labels)
            state.step += 1
            bar.update()
            if state.step < last and save.due:
                state.period_seconds = time.perf_counter() - begin
                save(self._checkpoint)
        train_loss, correct, norm = (self.sums / (last - first)).tolist()
        train_accuracy = correct / config.batch_size
        seconds = time.perf_counter() - begin
        if not final_dense:
            self.controller.update(PeriodStats(loss=train_loss, accuracy=train_accuracy))
        test = evaluate(self.model, self.data.test_images, self.data.test_labels, config.headline_budget)
        return {
            "period": period,
            "epoch": last / config.steps_per_epoch,
            "step": last,
            "keep_ratio": budget,
            "learning_rate": learning_rate(config, last),
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "gradient_norm": norm,
            "seconds": seconds,
        }

    def _step(self, images: Tensor, labels: Tensor) -> None:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.state.step)
        with torch.autocast(self.device, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = self.forward(images)
        loss = F.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm or math.inf)
        self.optimizer.step()
        correct = (logits.argmax(dim=1) == labels).sum()
        self.sums += torch.stack([loss.detach().double(), correct.double(), norm.double()])

    def finish(self) -> RunRecord:
        """Measure the trained network, and write the record."""
        config, state = self.config, self.state
        results = [] if self.diverged else self._measure_budgets()
        active = [] if self.diverged else self._measure_activity()
        layers = active[config.budgets.index(config.headline_budget)] if active else []
        metrics = self._metrics(results)
        write_epochs(self.folder, state.history)
        write_predictions(self.folder, {result.keep_ratio: result.predictions.numpy() for result in results})
        weights = {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        write_atomically(self.folder / "model.safetensors", safetensors.torch.save(weights))
        training_seconds = sum(row["seconds"] for row in state.history)
        record = RunRecord(
            identity=run_identity(config, self.data.digest),
            status="diverged" if self.diverged else "complete",
            evaluated_on="validation" if config.holdout_images else "test",
            config=config.model_dump(mode="json"),
            sources=config.sources(),
            overrides=config.overrides(),
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
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
            files=file_digests(self.folder, ("epochs.parquet", "predictions.npz", "model.safetensors")),
            provenance=Provenance(
                **environment(self.device, config.precision, deterministic=True),
                data=self.data.name,
                data_sha256=self.data.digest,
                started=state.started,
                ended=now(),
                wall_seconds=self.wall_seconds,
                training_seconds=training_seconds,
                images_per_second=state.step * config.batch_size / training_seconds,
                peak_memory_mib=peak_memory_mib(self.device),
                resumes=state.resumes,
                changed=state.changed,
            ),
        )
        record.write(self.folder)
        remove_checkpoints(self.folder)
        return record

    def _measure_budgets(self) -> list[Evaluation]:
        data = self.data
        return [evaluate(self.model, data.test_images, data.test_labels, budget) for budget in self.config.budgets]

    def _measure_activity(self) -> list[list[dict[str, Any]]]:
        """Activity by layer at every budget, on the first 500 test images: a share needs no more."""
        images = self.data.test_images[:500]
        return [[vars(layer) for layer in layer_activity(self.model, images, budget)] for budget in self.config.budgets]

    def _metrics(self, results: list[Evaluation]) -> dict[str, float | None]:
        names: tuple[str, ...] = ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "gap")
        names += ("best_test_accuracy", "drop_from_best", "budget_area")
        if self.diverged:
            return dict.fromkeys(names)
        config, data = self.config, self.data
        test = results[config.budgets.index(config.headline_budget)]
        fitted = evaluate(self.model, data.train_images, data.train_labels, config.headline_budget)
        best = max(row["test_accuracy"] for row in self.state.history)
        area = budget_area(config.budgets, [result.accuracy for result in results])
        gap = fitted.accuracy - test.accuracy
        values: tuple[float, ...] = (test.accuracy, test.loss, fitted.accuracy, fitted.loss, gap)
        values += (best, best - test.accuracy, area)
        return dict(zip(names, values, strict=True))


class _Saver:
    """Saves a checkpoint, and stops the run after it where a signal has asked for that."""

    def __init__(self, writer: CheckpointWriter, stop: StopRequest, seconds: float) -> None:
        self._writer, self._stop, self._seconds = writer, stop, seconds
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        return self._stop.number is not None or time.monotonic() - self._last >= self._seconds

    def __call__(self, take: Callable[[], Checkpoint]) -> None:
        stopped_by = self._stop.number
        self._writer.save(take())
        self._last = time.monotonic()
        if stopped_by is not None:
            self._writer.wait()
            raise Stopped(stopped_by)


@contextmanager
def _enough_memory(config: RunConfig, device: str) -> Iterator[None]:
    """Say in one sentence where memory ends."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        where, network = "GPU" if device == "cuda" else "machine", f"WRN-{config.depth}-{config.width}"
        raise InputError(
            f"memory of the {where} is not enough for {network} with batch_size {config.batch_size}: "
            "take a smaller one, or fewer runs side by side"
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has an exception of its own for a GPU only; of the CPU's allocator there is but the text."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


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
