"""A run of the companion study from its start to its record: inner cross-validation where the arm asks for it, then
epochs of SGD, between which connections and neurons come and go.

Resumable: on one machine, a run that was killed and resumed ends with the same numbers as one left alone, bit for bit.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from sparsecycle.data.tabular import Dataset, load_dataset
from sparsecycle.errors import InputError
from sparsecycle.progress import progress_bar
from sparsecycle.runs.checkpoints import Checkpoint, CheckpointWriter, load_newest, remove_checkpoints
from sparsecycle.runs.folders import folder_of
from sparsecycle.runs.provenance import HARMLESS, Provenance, environment, now, peak_memory_mib
from sparsecycle.runs.source import source_digest
from sparsecycle.runs.state import RunState
from sparsecycle.runs.stopping import Stopped, stop_requests
from sparsecycle.runs.writing import LOCK, sole_writer
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import split_dataset
from sparsecycle.set_mlp.learner import Learner
from sparsecycle.set_mlp.records import SOURCES, SetRecord, add_record, find_record, set_identity, set_run_name
from sparsecycle.set_mlp.tuning import Trial, choose, inner_count, inner_runs

CHECKPOINT_SECONDS = 120.0
Progress = bool | Callable[[float], None]
_log = logging.getLogger("sparsecycle")


class SetState(RunState):
    """As of the main study, with a row of history an epoch, the inner runs that are over, and the generator's state."""

    trials: list[Trial] = Field(default_factory=list)
    generator: dict[str, Any] = Field(default_factory=dict)


def train_set(
    config: SetConfig,
    *,
    dataset: Dataset | None = None,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    progress: Progress = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SetRecord:
    """Train one network as configured, or go on where an interrupted call stopped, or return the finished record.

    The record is a row of `<output_dir>/set/<dataset>/set.parquet`. Ctrl-C and SIGTERM end the epoch under way and save
    where the run is before they end it. On the CPU.

    Args:
        dataset: what to learn from, by default the one that is named by the configuration, below `data_dir`.
        progress: show a bar; or a function that is told the share of the run that is done, after each epoch.
        checkpoint_seconds: the longest time without a checkpoint, which is written at the end of an epoch.

    Raises:
        InputError: missing data, or a folder that cannot be written, holds another run or is being written to.
        Stopped: by a signal, which makes it a KeyboardInterrupt.
    """
    root = folder_of("output_dir", output_dir)
    dataset = load_dataset(config.dataset, data_dir) if dataset is None else dataset
    folder = root / set_run_name(config)
    if record := _finished(root, config, dataset):
        return record
    with sole_writer(folder):
        record = _finished(root, config, dataset)
        if not record:
            run = SetTraining(config, dataset, folder)
            run.resume()
            run.train(progress, checkpoint_seconds)
            record = run.record()
            add_record(root, record)
        remove_checkpoints(folder)
    with suppress(OSError):  # something else lies there, or another process is waiting
        (folder / LOCK).unlink()
        folder.rmdir()
    return record


def _finished(root: Path, config: SetConfig, dataset: Dataset) -> SetRecord | None:
    record = find_record(root, set_run_name(config))
    if record and record.identity != set_identity(config, dataset.sha256):
        fields = config.model_dump(mode="json")
        differ = [name for name in fields if fields[name] != record.config.get(name)] or ["source or data"]
        raise InputError(
            f"{root / record.name()} is recorded by another run ({', '.join(differ)}): choose another output_dir"
        )
    return record


def _made_here() -> dict[str, Any]:
    """The part of the provenance that is known before a run begins."""
    import numba

    made = environment("cpu", "float32", deterministic=True)
    return made | {"source_sha256": source_digest(SOURCES), "backend": f"numba {numba.__version__}"}


class SetTraining:
    """One run under way, with checkpoints in `folder`; `learner` is None while rate and dropout are being chosen."""

    def __init__(self, config: SetConfig, dataset: Dataset, folder: Path) -> None:
        self.config, self.dataset, self.folder = config, dataset, folder
        self.split = split_dataset(
            dataset, config.seed, stratified=config.stratified, added_to_scale=config.added_to_scale
        )
        self.batch_size = config.batch(len(self.split.train_labels))
        here = _made_here()
        conditions = {name: here[name] for name in HARMLESS} | {"source": here["source_sha256"], "data": dataset.sha256}
        self.state = SetState(conditions=conditions | config.model_dump(mode="json"), started=now())
        self.learner: Learner | None = None
        self.correct: list[bool] = []
        self.origin: Path | None = None
        self.begin = time.perf_counter()

    def train(self, progress: Progress = False, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> None:
        """Do all that is left: inner runs, then epochs."""
        total = (inner_count(self.config) + 1) * self.config.epochs
        title = f"{self.config.dataset} {self.config.arm} {self.config.method} seed {self.config.seed}"
        bar = progress_bar(shown=progress is True, total=total, initial=self._done(), desc=title, unit="epoch")
        saved = time.monotonic()
        with bar, stop_requests() as stop, CheckpointWriter(self.folder, self.origin) as writer:

            def after_epoch() -> None:
                nonlocal saved
                bar.update()
                if callable(progress):
                    progress(min(1.0, bar.n / total))
                stopped_by = stop.number
                if stopped_by is not None or time.monotonic() - saved >= checkpoint_seconds:
                    writer.save(self._checkpoint())
                    saved = time.monotonic()
                if stopped_by is not None:
                    writer.wait()
                    raise Stopped(stopped_by)

            trials, classes = self.state.trials, self.dataset.classes
            for trial in inner_runs(self.config, self.split, classes, self.batch_size, len(trials)):
                if trial:
                    trials.append(trial)
                else:
                    after_epoch()
            learner, history = self._learner(), self.state.history
            while len(history) < self.config.epochs and not self.diverged:
                history.append(self._epoch(learner))
                bar.set_postfix(loss=f"{history[-1]['train_loss']:.3f}", refresh=False)
                after_epoch()

    @property
    def diverged(self) -> bool:
        """Whether the training loss has stopped being finite."""
        history = self.state.history
        return bool(history) and not math.isfinite(history[-1]["train_loss"])

    def _done(self) -> int:
        """Epochs that are over, inner ones among them."""
        return len(self.state.trials) * self.config.epochs + len(self.state.history)

    def _learner(self) -> Learner:
        if self.learner is None:
            chosen = choose(self.config, self.state.trials, self.dataset.classes)
            self.learner = Learner(
                *(self.config, self.split, self.dataset.classes),
                **chosen._asdict(),
                key=(self.config.seed,),
                batch_size=self.batch_size,
            )
        return self.learner

    def _epoch(self, learner: Learner) -> dict[str, float | int]:
        """Train on every sample once and test; then connections and neurons change as configured."""
        epoch, begin = len(self.state.history) + 1, time.perf_counter()
        mean_loss = learner.learn(epoch)
        train_loss, train_correct = learner.network.test(self.split.train_features, self.split.train_labels)
        test_loss, test_correct = learner.test()
        self.correct = test_correct.tolist()
        row: dict[str, float | int] = {
            # As the record holds it, so that a resumed run ends the same.
            "train_loss": float(np.float32(train_loss if math.isfinite(mean_loss) else math.nan)),
            "train_right": int(train_correct.sum()),
            "test_loss": float(np.float32(test_loss)),
            "test_right": int(test_correct.sum()),
            "connections": sum(learner.network.connections()),
            "neurons_left": sum(learner.neurons_left()),
        }
        if math.isfinite(row["train_loss"]):
            learner.adapt(epoch)
        return row | {"milliseconds": round(1000 * (time.perf_counter() - begin))}

    def _checkpoint(self) -> Checkpoint:
        state, tensors = self.state, {}
        state.wall_seconds, self.begin = state.wall_seconds + time.perf_counter() - self.begin, time.perf_counter()
        if self.learner:
            state.generator = dict(self.learner.rng.bit_generator.state)
            tensors = {name: torch.from_numpy(array) for name, array in self.learner.state().items()}
            tensors["correct"] = torch.tensor(self.correct)
        return Checkpoint(self._done(), tensors, state.model_dump(mode="json"))

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one."""
        found = load_newest(self.folder)
        if found is None:
            return
        self.origin, checkpoint = found
        try:
            before = SetState.of(checkpoint.rest)
        except ValueError as error:
            raise InputError(f"{self.origin} is none of this run ({error}): delete it to begin again") from None
        differences = before.differences(self.state.conditions)
        told = ", ".join(f"{name} ({then}, then {here})" for name, (then, here) in differences.items())
        if not differences.keys() <= set(HARMLESS):
            raise InputError(
                f"{self.folder} holds a run under way with another {told}: finish it with those, or choose another "
                "output_dir"
            )
        if told:
            _log.warning("resumed with another %s: numbers may differ from those of a run left alone", told)
        self.state = before.resumed(self.state.conditions)
        if checkpoint.tensors:
            arrays = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}
            self.correct = arrays.pop("correct").tolist()
            self._learner().load(arrays, self.state.generator)

    def record(self) -> SetRecord:
        """What is recorded of the finished run."""
        config, state, learner = self.config, self.state, self._learner()
        train, test = self.split.majority()
        layers, seconds = learner.network.layers, sum(row["milliseconds"] for row in state.history) / 1000
        chosen = choose(config, state.trials, self.dataset.classes)
        record = SetRecord(
            identity=set_identity(config, self.dataset.sha256),
            status="diverged" if self.diverged else "complete",
            config=config.model_dump(mode="json"),
            overrides=config.overrides(),
            learning_rate=chosen.learning_rate,
            dropout=chosen.dropout,
            trials=state.trials,
            metrics={"majority_accuracy": test, "majority_train_accuracy": train},
            batch_size=learner.batch_size,
            train_samples=len(self.split.train_labels),
            classes=self.dataset.classes,
            connections=[layer.weight.size for layer in layers],
            neurons_left=learner.neurons_left(),
            correct=self.correct,
            history={name: [row[name] for row in state.history] for name in state.history[0]},
            provenance=Provenance(
                **_made_here(),
                data=self.dataset.name,
                data_sha256=self.dataset.sha256,
                started=state.started,
                ended=now(),
                wall_seconds=round(state.wall_seconds + time.perf_counter() - self.begin, 3),
                training_seconds=round(seconds, 3),
                images_per_second=round(len(state.history) * len(self.split.train_labels) / max(seconds, 0.001), 1),
                peak_memory_mib=peak_memory_mib("cpu"),
                resumes=state.resumes,
                changed=state.changed,
            ),
        )
        record.metrics |= record.recomputed()
        return record
