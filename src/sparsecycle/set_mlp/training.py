"""The training loop of the companion study: epochs of SGD, between which connections and neurons come and go.

Resumable: on one machine, a run that was killed and resumed ends with the same numbers as one left alone, bit for bit.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecycle.errors import InputError
from sparsecycle.progress import progress_bar
from sparsecycle.runs.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    generator_states,
    load_newest,
    remove_checkpoints,
    restore_generators,
)
from sparsecycle.runs.execute import deterministic
from sparsecycle.runs.folders import folder_of
from sparsecycle.runs.provenance import HARMLESS, Provenance, now, peak_memory_mib
from sparsecycle.runs.stopping import Stopped, stop_requests
from sparsecycle.runs.writing import sole_writer
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.connectivity import Connectivity
from sparsecycle.set_mlp.datasets import Dataset, load_dataset, split_dataset
from sparsecycle.set_mlp.layer import SparseLinear
from sparsecycle.set_mlp.network import MLP, dense_mlp, sparse_mlp
from sparsecycle.set_mlp.record import METRICS, SetRecord, set_identity, set_run_name
from sparsecycle.set_mlp.records import FILE, find_record, write_records
from sparsecycle.set_mlp.run_state import SetState, first_state, made_here

CHECKPOINT_SECONDS = 20.0
SNAPSHOTS = 5  # epochs at which degrees are noted, first and last among them
_log = logging.getLogger("sparsecycle")


def train_set(
    config: SetConfig,
    *,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    progress: bool | Callable[[float], None] = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SetRecord:
    """Train one network as configured, or go on where an interrupted call stopped, or return the finished record.

    Writes `<output_dir>/set/<dataset>/<method>-seed<k>/set.parquet`. Ctrl-C and SIGTERM end the epoch under way and
    save where the run is before they end it. On the CPU.

    Args:
        config: what to do.
        data_dir: folder that holds the folder `feature_selection`.
        output_dir: folder of runs.
        progress: show a bar with loss, accuracy, neurons left and the time left; or a function that is told the share
            of the run that is done, after each epoch.
        checkpoint_seconds: the longest time without a checkpoint, which is written at the end of an epoch.

    Raises:
        InputError: missing data, or a folder that cannot be written, that holds another run or that another process
            is writing to.
        Stopped: by a signal, which makes it a KeyboardInterrupt.
    """
    root = folder_of("output_dir", output_dir)
    dataset = load_dataset(config.dataset, data_dir)
    folder = root / set_run_name(config)
    found = _finished(root, config, dataset)
    if found:
        return found
    with sole_writer(folder, FILE), deterministic(), torch.random.fork_rng(devices=[]):
        found = _finished(root, config, dataset)
        if found:
            remove_checkpoints(folder)  # of a process that was killed after it wrote the record
            return found
        run = _Training(config, dataset, folder)
        run.resume()
        run.train(progress, checkpoint_seconds)
        record = run.record()
        write_records(folder / FILE, [record])
        remove_checkpoints(folder)
    return record


def _finished(root: Path, config: SetConfig, dataset: Dataset) -> SetRecord | None:
    record = find_record(root, set_run_name(config))
    if record and record.identity != set_identity(config, dataset.sha256):
        conditions, made = first_state(config, dataset).conditions, record.provenance
        then = record.config | {"source": made.source_sha256, "data": made.data_sha256}
        differ = [name for name in conditions if name not in HARMLESS and conditions[name] != then.get(name)]
        raise InputError(
            f"{root / record.name()} holds the record of another run ({', '.join(differ) or 'identity'}): "
            "choose another output_dir, or move that folder away"
        )
    return record


class _Training:
    """One run under way."""

    def __init__(self, config: SetConfig, dataset: Dataset, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.dataset, self.folder = config, dataset, folder
        self.split = split_dataset(dataset, config.seed)
        self.rng = np.random.default_rng(config.seed)
        sizes = (dataset.features.shape[1], *config.hidden, dataset.classes)
        look: dict[str, Any] = {"start": config.start, "activation": config.activation, "dropout": config.dropout}
        self.network: MLP = (
            dense_mlp(sizes, self.rng, **look)
            if config.method == "dense"
            else sparse_mlp(sizes, config.epsilon, self.rng, **look)
        )
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=0.0 if config.decoupled_decay else config.weight_decay,
            fused=True,  # one pass over the weights: the step of a large network several times as fast
        )
        self.connectivity = Connectivity(config, self.network, self.optimizer, self.rng)
        self.state = first_state(config, dataset)
        self.origin: Path | None = None
        self.begin = time.perf_counter()

    @property
    def diverged(self) -> bool:
        history = self.state.history
        return bool(history) and not math.isfinite(history[-1]["train_loss"])

    def train(self, progress: bool | Callable[[float], None], checkpoint_seconds: float) -> None:
        """All epochs that are left."""
        config, history = self.config, self.state.history
        title = f"{config.dataset} {config.method} seed {config.seed}"
        bar = progress_bar(shown=progress is True, total=config.epochs, initial=len(history), desc=title, unit="epoch")
        saved = time.monotonic()
        with bar, stop_requests() as stop, CheckpointWriter(self.folder, self.origin) as writer:
            while len(history) < config.epochs and not self.diverged:
                row = self._epoch()
                history.append(row)
                bar.update()
                bar.set_postfix(
                    loss=f"{row['train_loss']:.3f}",
                    acc=f"{row['train_accuracy']:.3f}",
                    neurons=row["neurons_left"],
                    refresh=False,
                )
                if callable(progress):
                    progress(len(history) / config.epochs)
                stopped_by = stop.number
                if stopped_by is not None or time.monotonic() - saved >= checkpoint_seconds:
                    writer.save(self._checkpoint())
                    saved = time.monotonic()
                if stopped_by is not None:
                    writer.wait()
                    raise Stopped(stopped_by)

    def _epoch(self) -> dict[str, float | int]:
        """Train on every sample once and measure; then connections and neurons change as configured."""
        config, epoch = self.config, len(self.state.history) + 1
        begin = time.perf_counter()
        samples = self._train_once(epoch)
        seconds = time.perf_counter() - begin
        train_loss, train_correct = evaluate(self.network, self.split.train_features, self.split.train_labels)
        test_loss, test_correct = evaluate(self.network, self.split.test_features, self.split.test_labels)
        row: dict[str, float | int] = {
            "epoch": epoch,
            "train_loss": train_loss,
            "train_accuracy": _share(train_correct),
            "test_loss": test_loss,
            "test_accuracy": _share(test_correct),
            "connections": sum(self.network.connections()),
            "neurons_left": sum(self.connectivity.neurons_left()),
            "samples": samples,
            "flops": samples * self.network.flops(),
            "replaced": 0,
            "adapted_loss": train_loss,
            "seconds": round(seconds, 3),
        }
        layers = zip(self.network.connections(), self.connectivity.weight_scales(), strict=True)
        for number, (connections, scale) in enumerate(layers, start=1):
            row |= {f"connections_{number}": connections, f"weight_scale_{number}": scale}
        for number, neurons in enumerate(self.connectivity.neurons_left(), start=1):
            row[f"neurons_left_{number}"] = neurons
        if epoch in {round(part) for part in np.linspace(1, config.epochs, SNAPSHOTS)}:
            self.state.degrees[epoch] = self.connectivity.degrees()
        begin = time.perf_counter()
        if math.isfinite(train_loss):
            row["replaced"] = self.connectivity.adapt(epoch)
        row["evolution_seconds"] = round(time.perf_counter() - begin, 3)
        if sum(self.network.connections()) != row["connections"] or row["replaced"]:
            row["adapted_loss"], _ = evaluate(self.network, self.split.train_features, self.split.train_labels)
        return row

    def _train_once(self, epoch: int) -> int:
        """One epoch in whole batches; the rest of the shuffle is left out. Returns the samples that were used."""
        features, labels = self.split.train_features, self.split.train_labels
        size = self.config.batch(len(labels))
        order = torch.from_numpy(np.random.default_rng([self.config.seed, epoch]).permutation(len(labels)))
        batches = order[: len(order) // size * size].view(-1, size)
        self.network.train()
        for batch in batches:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(features[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            self._decay()
            self.optimizer.step()
        return batches.numel()

    @torch.no_grad()
    def _decay(self) -> None:
        if self.config.decoupled_decay and self.config.weight_decay:
            for parameter in self.network.parameters():
                parameter.mul_(1 - self.config.weight_decay)

    def _checkpoint(self) -> Checkpoint:
        state = self.state
        state.generator = dict(self.rng.bit_generator.state)
        state.wall_seconds, self.begin = state.wall_seconds + time.perf_counter() - self.begin, time.perf_counter()
        tensors = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {
            f"momentum.{i:04d}": self.optimizer.state[parameter]["momentum_buffer"]
            for i, parameter in enumerate(self.network.parameters())
            if self.config.momentum
        }
        tensors |= {f"pruned.{i:04d}": torch.from_numpy(mask) for i, mask in enumerate(self.connectivity.pruned)}
        return Checkpoint(len(state.history), tensors | generator_states("cpu"), state.model_dump(mode="json"))

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one."""
        found = load_newest(self.folder)
        if found is None:
            return
        path, checkpoint = found
        try:
            before = SetState.of(checkpoint.rest)
            differences = before.differences(self.state.conditions)
            told = [f"{name} ({then}, then {here})" for name, (then, here) in differences.items()]
            if not differences.keys() <= set(HARMLESS):
                raise InputError(
                    f"{self.folder} holds a run under way with another {', '.join(told)}: finish it with those, "
                    "or choose another output_dir"
                )
            self._restore(before.resumed(self.state.conditions), checkpoint.tensors)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} does not fit this run ({reason}): delete it to begin the run again") from None
        if told:
            _log.warning("resumed with another %s: numbers may differ from those of a run left alone", ", ".join(told))
        self.origin = path

    def _restore(self, state: SetState, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict({name: tensors[f"model.{name}"] for name in self.network.state_dict()})
        if self.config.momentum:
            for i, parameter in enumerate(self.network.parameters()):
                self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{i:04d}"]
        self.connectivity.pruned[:] = [tensors[name].numpy() for name in sorted(tensors) if name.startswith("pruned.")]
        self.rng.bit_generator.state = state.generator
        restore_generators(tensors, "cpu")
        self.state = state

    def record(self) -> SetRecord:
        """What is recorded of the finished run."""
        config, network, split, state = self.config, self.network, self.split, self.state
        loss, correct = evaluate(network, split.test_features, split.test_labels)
        accuracy = _share(correct)
        neurons_left, last = self.connectivity.neurons_left(), state.history[-1]
        values = (
            *(accuracy, loss, last["train_accuracy"], last["train_loss"], last["train_accuracy"] - accuracy),
            *(max(row["test_accuracy"] for row in state.history), sum(neurons_left) / sum(config.hidden)),
        )
        seconds = round(sum(row["seconds"] + row["evolution_seconds"] for row in state.history), 3)
        first = network.layers[0]
        return SetRecord(
            identity=set_identity(config, self.dataset.sha256),
            status="diverged" if self.diverged else "complete",
            config=config.model_dump(mode="json"),
            overrides=config.overrides(),
            metrics=dict.fromkeys(METRICS) if self.diverged else dict(zip(METRICS, values, strict=True)),
            parameters=sum(network.connections()) + sum(neurons_left) + self.dataset.classes,
            flops=int(sum(row["flops"] for row in state.history)),
            batch_size=config.batch(len(split.train_labels)),
            train_samples=len(split.train_labels),
            correct=correct.tolist(),
            history={name: [row[name] for row in state.history] for name in state.history[0]},
            feature_connections=first.outgoing().tolist() if isinstance(first, SparseLinear) else [],
            degrees=state.degrees,
            provenance=Provenance(
                **made_here(config),
                data=self.dataset.name,
                data_sha256=self.dataset.sha256,
                started=state.started,
                ended=now(),
                wall_seconds=round(state.wall_seconds + time.perf_counter() - self.begin, 3),
                training_seconds=seconds,
                images_per_second=round(sum(row["samples"] for row in state.history) / max(seconds, 0.001), 1),
                peak_memory_mib=peak_memory_mib("cpu"),
                resumes=state.resumes,
                changed=state.changed,
            ),
        )


@torch.no_grad()
def evaluate(network: MLP, features: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Return the mean loss in nats, and bool (samples,): which samples are classified rightly."""
    network.eval()
    logits = network(features)
    return F.cross_entropy(logits, labels).item(), logits.argmax(dim=1) == labels


def _share(correct: Tensor) -> float:
    return int(correct.sum()) / len(correct)
