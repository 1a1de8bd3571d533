"""A run from start to record: the trainer with folders, images to look at, checkpoints, a progress bar and a record.

Nothing random depends on what was done before a resume: the order of the images in an epoch is a function of seed and
epoch, and the generator's state travels in the checkpoint. So a run that was killed and resumed ends, on one machine's
CPU with the same number of threads, with the same numbers as one left alone, bit for bit.
"""

import hashlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from sparsecycle.captured import CapturedTrainer, make_trainer
from sparsecycle.config import RunConfig
from sparsecycle.data.cifar10 import Cifar10, load_images
from sparsecycle.errors import InputError, shown
from sparsecycle.evaluation.accuracy import Evaluation, evaluate, layer_activity
from sparsecycle.files import write_atomically
from sparsecycle.kernels import VARIABLE, backend_asked_for, served_by
from sparsecycle.progress import progress_bar
from sparsecycle.runs.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    checkpoint_files,
    load_newest,
    remove_checkpoints,
)
from sparsecycle.runs.folders import folder_of, run_folder, run_name
from sparsecycle.runs.metrics import budget_metrics, decision_table, look_metrics, path_metrics
from sparsecycle.runs.provenance import HARMLESS, Provenance, environment, git_state, now, peak_memory_mib
from sparsecycle.runs.records import (
    BESIDE,
    BudgetResult,
    Correct,
    RunRecord,
    file_digests,
    finished_record,
    read_decisions,
    run_identity,
    write_correct,
    write_table,
)
from sparsecycle.runs.source import same_source, source_digest
from sparsecycle.runs.state import RunState
from sparsecycle.runs.stopping import Stopped, StopRequest, stop_requests
from sparsecycle.runs.writing import sole_writer
from sparsecycle.trainer import Part, Trainer, learning_rate

CHECKPOINT_MINUTES = 5.0
TOLD_SECONDS = 30.0  # between two lines on how far a run is, where there is no bar
ACTIVITY_IMAGES = 500  # test images on which the activity of layers is measured: a share needs no more
COLUMNS = (
    *("step", "epoch", "keep_ratio", "learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
    *("sparse_loss", "sparse_accuracy", "gradient_norm", "seconds"),
)
_log = logging.getLogger("sparsecycle")
_training = threading.Lock()
# Noted when the code is loaded: what is edited later does not make the runs of this process.
source_digest()
git_state()


def train(
    config: RunConfig,
    *,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    device: str = "auto",
    progress: bool | Callable[[float], None] = True,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
) -> RunRecord:
    """Train one network as configured, or go on where an interrupted call stopped, or return the finished record.

    Writes the folder of the run, see `records`; its `record.json` comes last. Until then the last two checkpoints are
    kept there. Ctrl-C and SIGTERM save where the run is before they end it.

    Args:
        config: what to do.
        data_dir: folder of the images (see `data_folder`).
        output_dir: folder of runs.
        device: "cpu", "cuda" or "auto" (the GPU where there is one).
        progress: show a bar with loss, accuracy, keep-ratio and the time left, or a function that is told the share of
            the steps done.
        checkpoint_minutes: the time between two checkpoints.

    Returns:
        The record; `status` is "diverged" where the training loss stopped being finite.

    Raises:
        InputError: a parameter of another type, unknown device, missing data, an output folder that cannot be written,
            that holds another run or that another process is writing to, or another run in this process.
        Stopped: by a signal, which makes it a KeyboardInterrupt.
    """
    if isinstance(checkpoint_minutes, bool) or not isinstance(checkpoint_minutes, int | float):
        raise InputError(f"checkpoint_minutes is {shown(checkpoint_minutes)}, but must be a number above 0")
    if not checkpoint_minutes > 0:
        raise InputError(f"checkpoint_minutes is {checkpoint_minutes}, but must be above 0")
    chosen = _checked_device(device)
    ahead = _Ahead.of(config, data_dir, output_dir)
    found = ahead.finished()
    if found and not checkpoint_files(ahead.folder):
        return found  # also from a folder that cannot be written
    if config.precision == "float16" and chosen == "cpu":
        _log.warning("float16 is slow on a CPU, seconds a step: it is made for a GPU; here take precision=float32")
    with deterministic(), sole_writer(ahead.folder), _enough_memory(config, chosen):
        found = ahead.finished()
        if found:
            remove_checkpoints(ahead.folder)  # of a process that was killed after it wrote the record
            return found
        run = _Run(ahead, chosen, checkpoint_minutes)
        run.resume()
        with stop_requests() as stop:
            run.train(progress, stop)
            if stop.number is not None:  # it came after the last step
                raise Stopped(stop.number)
        return run.finish()


def train_together(
    configs: Sequence[RunConfig],
    stop: StopRequest,
    *,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    device: str = "auto",
    checkpoint_minutes: float = 1.0,
    say: Callable[[str], None] = lambda line: None,
) -> list[RunRecord]:
    """Train several networks at once in this process: on a GPU each on a stream of its own, on a CPU in a thread.

    Numbers are those of `train`. A GPU that one network leaves idle between small layers does more in all.

    Args:
        configs: of runs that draw nothing at random while they train, because the generator belongs to the process.
        stop: when it is due, all runs save where they are.
        checkpoint_minutes: the time between two checkpoints of a run.
        say: is told in a line which run begins or goes on, and every half minute how far each is.

    Returns:
        The records of the runs that are finished, in the order of `configs`.

    Raises:
        InputError: as `train`, or dropout or a selection at random.
    """
    for config in configs:
        if config.dropout or config.selection != "largest":
            raise InputError(f"{run_name(config)} draws at random while it trains: train it alone")
    chosen = _checked_device(device)
    with deterministic(), ExitStack() as locks, ThreadPoolExecutor(max(1, len(configs))) as threads:
        records: list[RunRecord | None] = []
        ready: list[tuple[int, _Run, Any]] = []
        for place, config in enumerate(configs):
            ahead = _Ahead.of(config, data_dir, output_dir)
            locks.enter_context(sole_writer(ahead.folder))
            records.append(ahead.finished())
            if records[-1]:
                continue
            stream: Any = torch.cuda.Stream() if chosen == "cuda" else None  # type: ignore[no-untyped-call]
            with _enough_memory(config, chosen), torch.cuda.stream(stream):
                run = _Run(ahead, chosen, checkpoint_minutes)
                run.resume()
                must_record(run.trainer)  # before any of them trains: nothing else may run meanwhile
            ready.append((place, run, stream))
        under_way: dict[int, Future[RunRecord | None]] = {}
        for place, run, stream in ready:
            run.beside = len(ready) if len(ready) > 1 else None
            say(f"trains {run_name(run.config)}")
            under_way[place] = threads.submit(_in_thread, run, stream, stop, say)
        for place, future in under_way.items():
            records[place] = future.result()
    return [record for record in records if record is not None]


def must_record(trainer: Trainer) -> None:
    """Prepare a trainer; raise RuntimeError where its steps were to be recorded and cannot be.

    Rented minutes are not spent on slow steps in the place of fast ones.
    """
    trainer.prepare()
    if isinstance(trainer, CapturedTrainer) and trainer.device == "cuda" and not trainer.captured:
        raise RuntimeError("a step cannot be recorded as a graph")


def _in_thread(run: "_Run", stream: Any, stop: StopRequest, say: Callable[[str], None]) -> RunRecord | None:
    """Train a run in a thread of its own, and finish it unless it was stopped."""
    with torch.cuda.stream(stream):
        try:
            run.train(_told_now_and_then(run, stop, say), stop)
        except Stopped:
            return None
        return run.finish()


def _told_now_and_then(run: "_Run", stop: StopRequest, say: Callable[[str], None]) -> Callable[[float], None]:
    """Return what is called after each step, and says every `TOLD_SECONDS` how far the run is."""
    config, first = run.config, run.trainer.step
    begin = last = time.monotonic()

    def progress(_: float) -> None:
        nonlocal last
        moment, step = time.monotonic(), run.trainer.step
        if moment - last < TOLD_SECONDS:
            return
        last = moment
        left = (moment - begin) / (step - first) * (config.steps - step)
        row = run.state.history[-1] if run.state.history else None
        seen = f"accuracy {row['train_accuracy']:.3f}, in the test {row['test_accuracy']:.3f}" if row else "no look yet"
        until = max(0.0, stop.deadline - moment)
        stopped = f", but it is stopped in {until:.0f} s" if until < left else ""
        say(
            f"{run_name(config)}: epoch {step // config.steps_per_epoch} of {config.epochs}, {seen}, "
            f"about {left:.0f} s left{stopped}"
        )

    return progress


def _checked_device(device: str) -> str:
    """Return "cpu" or "cuda".

    Raises:
        InputError: as `resolve_device`, an unknown backend, or a GPU that only the reference would serve.
    """
    chosen = resolve_device(device)
    if backend_asked_for() != "reference" and chosen == "cuda" and served_by(chosen) == "reference":
        raise InputError(
            f"training on a GPU needs Triton, which is not available here: install it, or set {VARIABLE}=reference to "
            "train with the reference, many times slower"
        )
    return chosen


@dataclass(frozen=True)
class _Ahead:
    """A run that is to be made: its images, its folder, and the keep-ratios that it follows, if it follows any."""

    config: RunConfig
    data: Cifar10
    folder: Path
    path: list[float] | None
    path_digest: str | None

    @classmethod
    def of(cls, config: RunConfig, data_dir: str | Path | None, output_dir: str | Path) -> "_Ahead":
        if not isinstance(config, RunConfig):
            raise InputError(f"config is {shown(config)}, but must be a RunConfig")
        runs = folder_of("output_dir", output_dir)
        data = load_images(config, None if data_dir is None else folder_of("data_dir", data_dir))
        folder = run_folder(config, runs)
        return cls(config, data, folder, *_path_to_follow(config, folder))

    def finished(self) -> RunRecord | None:
        return finished_record(self.folder, self.config, self.data.digest, self.path_digest)


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda"; "auto" is the GPU where torch sees one.

    Raises:
        InputError: another name, or "cuda" where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is {shown(device)}, but must be 'auto', 'cpu' or 'cuda'")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("device is 'cuda', but torch sees no GPU here: use 'cpu' or 'auto'")
    return "cuda" if available and device != "cpu" else "cpu"


def _path_to_follow(config: RunConfig, own: Path) -> tuple[list[float] | None, str | None]:
    """Return the keep-ratio after each decision of the run that `replay` follows, and the digest of that path.

    Where the run in the folder `own` is finished, it does not need the other one any more.

    Raises:
        InputError: the other run is not finished, or made no decision.
    """
    if config.path_from is None:
        return None, None
    folder = own.parent / config.path_from
    if not (folder / "record.json").exists():
        if (own / "record.json").exists():
            return None, RunRecord.read(own).provenance.path_sha256
        raise InputError(f"path_from is {config.path_from!r}, but {folder} holds no finished run: make that run first")
    path = [float(value) for value in read_decisions(folder)["keep_ratio"]]
    if not path:
        raise InputError(f"path_from is {config.path_from!r}, but that run made no decision: name an adaptive one")
    return path, hashlib.sha256(json.dumps(path).encode()).hexdigest()


class _State(RunState):
    """Where a run is.

    Attributes:
        part_seconds: training time since the last look.
        trainer: see `Trainer.state`.
    """

    part_seconds: float = 0.0
    trainer: dict[str, Any] = Field(default_factory=dict)


class _Run:
    """One run under way: the trainer, what was seen at the looks, and the state that checkpoints hold."""

    def __init__(self, ahead: _Ahead, device: str, checkpoint_minutes: float) -> None:
        config, data, path = ahead.config, ahead.data, ahead.path
        self.config, self.device, self.folder, self.path_digest = config, device, ahead.folder, ahead.path_digest
        self.digest = data.digest
        self.data = data.to(device)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()  # of whatever this process did before
        self.trainer = make_trainer(config, self.data.train_images, self.data.train_labels, device=device, path=path)
        self.beside: int | None = None  # how many networks this process trains at once, itself included
        self.state = _State(conditions=self._conditions(), started=now())
        self.dense: list[NDArray[np.bool_]] = []  # of each look, which test images are right at keep 1.0
        self.sparse: list[NDArray[np.bool_]] = []  # and at the keep-ratio in force
        self.origin: Path | None = None
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.begin = time.perf_counter()

    def _conditions(self) -> dict[str, Any]:
        here = environment(self.device, self.config.precision, deterministic=True)
        sources = {"source": here["source_sha256"], "data": self.digest, "path": self.path_digest}
        return self.config.model_dump(mode="json") | sources | {name: here[name] for name in HARMLESS}

    @property
    def diverged(self) -> bool:
        history = self.state.history
        return bool(history) and not math.isfinite(history[-1]["train_loss"])

    @property
    def wall_seconds(self) -> float:
        return time.perf_counter() - self.begin

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one."""
        found = load_newest(self.folder)
        if found is None:
            return
        path, checkpoint = found
        try:
            before = _State.of(checkpoint.rest)
            here = self.state.conditions
            if same_source(str(before.conditions.get("source")), str(here["source"])):
                before.conditions["source"] = here["source"]
            differences = before.differences(here)
            told = [f"{name} ({before}, then {now})" for name, (before, now) in differences.items()]
            if not differences.keys() <= set(HARMLESS):
                raise InputError(
                    f"{self.folder} holds a run under way with another {', '.join(told)}: finish it with those, "
                    "choose another output_dir, or delete that folder"
                )
            self._restore(before.resumed(here), checkpoint.tensors)
        except (LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, InputError) or _is_out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"{path} does not fit this run ({reason}): delete it to begin the run again") from None
        if told:
            _log.warning("resumed with another %s: numbers may differ from those of a run left alone", ", ".join(told))
        self.origin = path

    def _restore(self, state: _State, tensors: dict[str, Tensor]) -> None:
        looks, done = self.config.looks, len(state.history)
        if done > len(looks) or any(set(row) != set(COLUMNS) for row in state.history):
            raise ValueError("its history is not that of this run")
        self.trainer.restore(tensors, state.trainer)
        first, last = ((0, *looks)[i] * self.config.steps_per_epoch for i in (done, min(done + 1, len(looks))))
        if not first <= self.trainer.step <= last:
            raise ValueError(f"step {self.trainer.step} is not after look {done}")
        for name, found in (("dense", self.dense), ("sparse", self.sparse)):
            bits = np.unpackbits(tensors[f"correct.{name}"].numpy(), axis=1, count=len(self.data.test_labels))
            if len(bits) != done:
                raise ValueError(f"{len(bits)} looks at the test images, but {done} rows")
            found += list(bits.astype(bool))
        self.state = state
        self.begin -= state.wall_seconds

    def _checkpoint(self) -> Checkpoint:
        tensors, self.state.trainer = self.trainer.state()
        self.state.wall_seconds = self.wall_seconds
        correct = {"correct.dense": self._looks(self.dense), "correct.sparse": self._looks(self.sparse)}
        packed = {name: torch.from_numpy(np.packbits(looks, axis=1)) for name, looks in correct.items()}
        return Checkpoint(self.trainer.step, tensors | packed, self.state.model_dump(mode="json"))

    def _looks(self, found: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        return np.array(found, dtype=bool).reshape(len(found), len(self.data.test_labels))

    def train(self, progress: bool | Callable[[float], None], stop: StopRequest) -> None:
        """Do all steps and looks that are left.

        Raises:
            Stopped: on request; where the run is has been saved.
        """
        config, trainer = self.config, self.trainer
        bar = progress_bar(
            shown=progress is True,
            total=config.steps,
            initial=trainer.step,
            desc=f"{config.preset} {config.method} seed {config.seed}",
            unit="step",
        )
        with bar, CheckpointWriter(self.folder, self.origin) as writer:
            save = _Saver(writer, stop, self.checkpoint_seconds)

            def after_step() -> bool:
                bar.update()
                if callable(progress):
                    progress(trainer.step / config.steps)
                return save.due

            left = [] if self.diverged else config.looks[len(self.state.history) :]
            for look in left:
                if self.diverged:
                    break
                part = None
                while part is None:
                    begin = time.perf_counter()
                    part = trainer.train(look * config.steps_per_epoch, after_step)
                    self.state.part_seconds += time.perf_counter() - begin
                    if part is None:
                        save(self._checkpoint)
                self._look(look, part)
                row = self.state.history[-1]
                bar.set_postfix(
                    loss=f"{row['train_loss']:.3f}",
                    acc=f"{row['train_accuracy']:.3f}",
                    test=f"{row['test_accuracy']:.3f}",
                    keep=f"{row['keep_ratio']:.3g}",
                    refresh=False,
                )
                if save.due:
                    save(self._checkpoint)
            if left and checkpoint_files(self.folder) and not save.just_saved:  # measuring it may take long, too
                save(self._checkpoint)

    def _look(self, epoch: int, part: Part) -> None:
        """Look at the test images, at keep 1.0 and at the keep-ratio in force, and note a row."""
        config, keep_ratio = self.config, self.trainer.keep_ratio
        dense = self._evaluate(1.0)
        sparse = dense if keep_ratio == 1.0 else self._evaluate(keep_ratio)
        self.dense.append(dense.correct.numpy())
        self.sparse.append(sparse.correct.numpy())
        values = (
            *(self.trainer.step, float(epoch), keep_ratio, learning_rate(config, epoch - 1), part.loss, part.accuracy),
            *(dense.loss, dense.accuracy, sparse.loss, sparse.accuracy, part.gradient_norm, self.state.part_seconds),
        )
        self.state.history.append(dict(zip(COLUMNS, values, strict=True)))
        self.state.part_seconds = 0.0

    def _evaluate(self, keep_ratio: float) -> Evaluation:
        if not len(self.data.test_labels):
            return Evaluation(keep_ratio, math.nan, math.nan, torch.zeros(0, dtype=torch.bool))
        return evaluate(self.trainer.model, self.data.test_images, self.data.test_labels, keep_ratio)

    def finish(self) -> RunRecord:
        """Measure the trained network, and write the files and the record."""
        config, state, trainer = self.config, self.state, self.trainer
        budgets = [self._evaluate(keep) for keep in config.budgets] if len(self.data.test_labels) else []
        fitted = evaluate(trainer.model, self.data.train_images, self.data.train_labels, 1.0)
        images = self.data.test_images[:ACTIVITY_IMAGES]
        activity = [[vars(layer) for layer in layer_activity(trainer.model, images, one.keep_ratio)] for one in budgets]
        correct = Correct(
            self._looks(self.dense),
            self._looks(self.sparse),
            {one.keep_ratio: one.correct.numpy() for one in budgets},
        )
        decisions = decision_table(trainer.decisions)
        metrics = look_metrics(correct.dense, correct.sparse) | budget_metrics(correct.budgets)
        metrics |= {
            "test_loss": state.history[-1]["test_loss"],
            "train_accuracy": fitted.accuracy,
            "train_loss": fitted.loss,
            "gap": fitted.accuracy - metrics["last_accuracy"],
        }
        metrics |= path_metrics(decisions, config, trainer.step)
        types = dict.fromkeys(COLUMNS, "float64") | {"step": "int64"}
        epochs = pd.DataFrame(state.history, columns=list(COLUMNS)).astype(types)
        write_table(self.folder / "epochs.parquet", epochs)
        write_table(self.folder / "decisions.parquet", decisions)
        write_correct(self.folder, correct, config.budgets)
        weights = {name: value.contiguous().cpu() for name, value in trainer.model.state_dict().items()}
        write_atomically(self.folder / "model.safetensors", safetensors.torch.save(weights))
        training_seconds = sum(row["seconds"] for row in state.history)
        made = environment(self.device, config.precision, deterministic=True)
        made["at_once"] = self.beside or made["at_once"]
        evaluated_on = "validation" if config.holdout_images else "test" if config.test_images else "nothing"
        record = RunRecord(
            identity=run_identity(config, self.digest, self.path_digest),
            status="diverged" if self.diverged else "complete",
            evaluated_on=evaluated_on,
            config=config.model_dump(mode="json"),
            sources=config.sources(),
            overrides=config.overrides(),
            parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
            metrics={name: value if math.isfinite(value) else None for name, value in metrics.items()},
            budgets=[
                BudgetResult(
                    keep_ratio=one.keep_ratio,
                    accuracy=one.accuracy,
                    loss=one.loss,
                    active_fraction=float(np.mean([layer["active_fraction"] for layer in layers])),
                )
                for one, layers in zip(budgets, activity, strict=True)
            ],
            layers=activity[config.budgets.index(1.0)] if activity else [],
            files=file_digests(self.folder, BESIDE),
            provenance=Provenance(
                **made,
                data=config.dataset,
                data_sha256=self.digest,
                path_sha256=self.path_digest,
                started=state.started,
                ended=now(),
                wall_seconds=self.wall_seconds,
                training_seconds=training_seconds,
                images_per_second=trainer.step * config.batch_size / max(training_seconds, 1e-9),
                peak_memory_mib=peak_memory_mib(self.device),
                resumes=state.resumes,
                changed=state.changed,
            ),
        )
        record.write(self.folder)
        remove_checkpoints(self.folder)
        return record


class _Saver:
    """Saves a checkpoint, and stops the run after it where a signal has asked for that."""

    def __init__(self, writer: CheckpointWriter, stop: StopRequest, seconds: float) -> None:
        self._writer, self._stop, self._seconds = writer, stop, seconds
        self._last = time.monotonic()
        self.just_saved = False

    @property
    def due(self) -> bool:
        self.just_saved = False
        return self._stop.due or time.monotonic() - self._last >= self._seconds

    def __call__(self, take: Callable[[], Checkpoint]) -> None:
        stop = self._stop.due
        self._writer.save(take())
        self._last = time.monotonic()
        self.just_saved = True
        if stop:
            self._writer.wait()
            raise Stopped(self._stop.number)


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
            f"{where} out of memory for {network} with batch_size {config.batch_size}: "
            "use a smaller batch_size or train fewer runs at once"
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ended: for a GPU torch has an exception, for a CPU there is but the text."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


@contextmanager
def deterministic() -> Iterator[None]:
    """Use only operations whose result does not depend on timing; afterwards torch is as it was, its generators too.

    Raises:
        InputError: another thread of this process is within it: what it sets belongs to the process.
    """
    if not _training.acquire(blocking=False):
        raise InputError("another run is under way in this process: wait for it, or start this one in its own process")
    try:
        if not os.environ.get("CUBLAS_WORKSPACE_CONFIG"):
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # must be there before CUDA starts
        memory: Any = torch.utils.deterministic
        before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
        only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # every operation here writes all of its output
        tried_out, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True  # the fastest that is exact
        try:
            with torch.random.fork_rng():
                yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=only_warned)
            memory.fill_uninitialized_memory = before[1]
            torch.backends.cudnn.benchmark = tried_out
    finally:
        _training.release()
