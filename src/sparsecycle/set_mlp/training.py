"""The training loop of the companion study: epochs of SGD, between which connections and neurons come and go.

Resumable: a run that was killed and resumed ends with the same numbers as one left alone, bit for bit.
"""

import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sparsecycle.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    generator_states,
    load_newest,
    remove_checkpoints,
    restore_generators,
)
from sparsecycle.errors import InputError
from sparsecycle.provenance import Provenance, environment, now, peak_memory_mib, source_digest
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import Dataset, load_dataset, split_dataset
from sparsecycle.set_mlp.evolution import Mask, evolve, grow
from sparsecycle.set_mlp.layer import SparseLinear
from sparsecycle.set_mlp.network import MLP, dense_mlp, sparse_mlp
from sparsecycle.set_mlp.pruning import living_neurons, neuron_strength, prune_neurons, weakest_neurons
from sparsecycle.set_mlp.records import FILE, METRICS, SOURCES, SetRecord, degree_counts, set_identity, set_run_name
from sparsecycle.stopping import Stopped, stop_requests
from sparsecycle.training import deterministic
from sparsecycle.writing import sole_writer

CHECKPOINT_SECONDS = 20.0
SNAPSHOTS = 5  # epochs at which degrees are noted, first and last among them


def train_set(
    config: SetConfig,
    *,
    data_dir: str | Path | None = None,
    output_dir: str | Path = "runs",
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SetRecord:
    """Train one network as configured, or go on where an interrupted call stopped, or return the finished record.

    Writes `<output_dir>/set/<dataset>/<method>-seed<k>/set.json`. Ctrl-C and SIGTERM end the epoch under way and save
    where the run is before they end it. On the CPU.

    Args:
        config: what to do.
        data_dir: folder that holds the folder `feature_selection`.
        output_dir: folder of runs.
        progress: show a bar with loss, accuracy, neurons left and the time left.
        checkpoint_seconds: the longest time without a checkpoint, which is written at the end of an epoch.

    Raises:
        InputError: missing data, or a folder that cannot be written, that holds another run or that another process
            is writing to.
        Stopped: by a signal, which makes it a KeyboardInterrupt.
    """
    dataset = load_dataset(config.dataset, data_dir)
    folder = Path(output_dir) / set_run_name(config)
    found = _finished(folder, config, dataset)
    if found:
        return found
    with sole_writer(folder, FILE), deterministic():
        found = _finished(folder, config, dataset)
        if found:
            return found
        run = _Training(config, dataset, folder)
        run.resume()
        run.train(progress, checkpoint_seconds)
        record = run.record()
        record.write(folder)
        remove_checkpoints(folder)
    return record


def _finished(folder: Path, config: SetConfig, dataset: Dataset) -> SetRecord | None:
    record = SetRecord.read(folder)
    if record and record.identity != set_identity(config, dataset.sha256):
        raise InputError(
            f"{folder} holds the record of a run with another configuration, source or data: "
            "choose another output_dir, or move that folder away"
        )
    return record


class _Training:
    """One run under way."""

    def __init__(self, config: SetConfig, dataset: Dataset, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.dataset, self.folder = config, dataset, folder
        self.split = split_dataset(dataset, config.seed, validation=config.validation)
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
            weight_decay=config.weight_decay,
        )
        self.pruned: list[Mask] = [np.zeros(size, dtype=bool) for size in config.hidden]
        self.connections_at_start = self.network.connections()
        self.history: list[dict[str, float | int]] = []
        self.degrees: dict[int, list[list[int]]] = {}
        self.started, self.resumes, self.wall_before = now(), 0, 0.0
        self.begin = time.perf_counter()

    @property
    def diverged(self) -> bool:
        return bool(self.history) and not math.isfinite(self.history[-1]["train_loss"])

    @property
    def wall_seconds(self) -> float:
        return self.wall_before + time.perf_counter() - self.begin

    def train(self, progress: bool, checkpoint_seconds: float) -> None:
        """All epochs that are left."""
        config = self.config
        title = f"{config.dataset} {config.method} seed {config.seed}"
        bar: tqdm[Any] = tqdm(
            total=config.epochs,
            initial=len(self.history),
            desc=title,
            unit="epoch",
            mininterval=0.5,
            disable=not progress,
        )
        saved = time.monotonic()
        with bar, stop_requests() as stop, CheckpointWriter(self.folder) as writer:
            while len(self.history) < config.epochs and not self.diverged:
                row = self._epoch()
                self.history.append(row)
                bar.update()
                bar.set_postfix(
                    loss=f"{row['train_loss']:.3f}",
                    acc=f"{row['train_accuracy']:.3f}",
                    neurons=row["neurons_left"],
                    refresh=False,
                )
                stopped_by = stop.number
                if stopped_by is not None or time.monotonic() - saved >= checkpoint_seconds:
                    writer.save(self._checkpoint())
                    saved = time.monotonic()
                if stopped_by is not None:
                    writer.wait()
                    raise Stopped(stopped_by)

    def _epoch(self) -> dict[str, float | int]:
        """Train on every sample once, measure, then prune and evolve unless it was the last epoch."""
        config, number = self.config, len(self.history) + 1
        begin = time.perf_counter()
        samples = self._train_once(number)
        seconds = time.perf_counter() - begin
        train_loss, train_accuracy, _ = evaluate(self.network, self.split.train_features, self.split.train_labels)
        test_loss, test_accuracy, _ = evaluate(self.network, self.split.test_features, self.split.test_labels)
        row: dict[str, float | int] = {
            "epoch": number,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "connections": sum(self.network.connections()),
            "neurons_left": sum(self._neurons_left()),
            "flops": samples * self.network.flops(),
            "replaced": 0,
            "seconds": seconds,
        }
        if number in {round(part) for part in np.linspace(1, config.epochs, SNAPSHOTS)}:
            self.degrees[number] = self._degrees()
        begin = time.perf_counter()
        if number < config.epochs and math.isfinite(train_loss) and config.method in ("set", "set_pruned"):
            self._prune(config.pruned_by(number))
            row["replaced"] = self._evolve()
        row["evolution_seconds"] = time.perf_counter() - begin
        return row

    def _train_once(self, number: int) -> int:
        """One epoch in whole batches; the rest of the shuffle is left out. Returns the samples that were used."""
        features, labels = self.split.train_features, self.split.train_labels
        size = min(self.config.batch_size, len(labels))
        order = torch.from_numpy(np.random.default_rng([self.config.seed, number]).permutation(len(labels)))
        batches = order[: len(order) // size * size].view(-1, size)
        self.network.train()
        for batch in batches:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(features[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return batches.numel()

    def _prune(self, share: float) -> None:
        """Zero hidden neurons until `share` of each layer is without connections."""
        config, network = self.config, self.network
        before = network.connections()
        for hidden, size in enumerate(config.hidden):
            dead = ~living_neurons(network)[hidden] if config.prune_revival else self.pruned[hidden]
            strength = neuron_strength(network, hidden, config.prune_score)
            chosen = weakest_neurons(strength, ~dead, round(share * size) - int(dead.sum()))
            if chosen.any():
                prune_neurons(network, hidden, chosen, self.optimizer)
                self.pruned[hidden] |= chosen
        if config.prune_refill:
            for number, layer in enumerate(network.sparse_layers()):
                inputs, outputs = self._open(number)
                open_inputs = layer.in_features if inputs is None else int(inputs.sum())
                open_outputs = layer.out_features if outputs is None else int(outputs.sum())
                count = min(before[number], open_inputs * open_outputs) - layer.connections
                if count > 0:
                    grow(
                        layer,
                        count,
                        self.rng,
                        start=config.start,
                        optimizer=self.optimizer,
                        inputs=inputs,
                        outputs=outputs,
                    )

    def _evolve(self) -> int:
        """One step of SET in every layer that evolves; how many connections were replaced."""
        config, layers = self.config, self.network.sparse_layers()
        replaced = 0
        for number, layer in enumerate(layers if config.evolve_output else layers[:-1]):
            inputs, outputs = self._open(number)
            replaced += evolve(
                layer,
                config.zeta,
                self.rng,
                start=config.start,
                optimizer=self.optimizer,
                inputs=inputs,
                outputs=outputs,
            )
        return replaced

    def _open(self, number: int) -> tuple[Mask | None, Mask | None]:
        """The neurons before and after a layer that may get connections; None: all."""
        if self.config.method != "set_pruned" or self.config.prune_revival:
            return None, None
        barred = [None, *self.pruned, None]
        before, after = barred[number], barred[number + 1]
        return (None if before is None else ~before), (None if after is None else ~after)

    def _neurons_left(self) -> list[int]:
        if self.config.method == "dense":
            return list(self.config.hidden)
        return [int(living.sum()) for living in living_neurons(self.network)]

    def _degrees(self) -> list[list[int]]:
        if self.config.method == "dense":
            return []
        layers = self.network.sparse_layers()
        return [degree_counts(before.incoming() + after.outgoing()) for before, after in pairwise(layers)]

    def _checkpoint(self) -> Checkpoint:
        tensors = generator_states("cpu")
        for number, layer in enumerate(self.network.layers):
            tensors |= {f"{number}.{name}": value for name, value in layer.state_dict().items()}
            for name, parameter in layer.named_parameters():
                tensors[f"{number}.momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        tensors |= {f"pruned.{hidden}": torch.from_numpy(mask) for hidden, mask in enumerate(self.pruned)}
        rest = {
            "identity": set_identity(self.config, self.dataset.sha256),
            "history": self.history,
            "degrees": self.degrees,
            "rng": self.rng.bit_generator.state,
            "started": self.started,
            "resumes": self.resumes,
            "wall_seconds": self.wall_seconds,
        }
        return Checkpoint(len(self.history), tensors, rest)

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one."""
        found = load_newest(self.folder)
        if found is None:
            return
        path, checkpoint = found
        tensors, rest = checkpoint.tensors, checkpoint.rest
        try:
            if rest["identity"] != set_identity(self.config, self.dataset.sha256):
                raise InputError(
                    f"{self.folder} holds a run under way with another configuration, source or data: "
                    "choose another output_dir, or delete its checkpoints"
                )
            for number, layer in enumerate(self.network.layers):
                if isinstance(layer, SparseLinear):
                    layer.resize(tensors[f"{number}.starts"], tensors[f"{number}.inputs"])
                layer.load_state_dict({name: tensors[f"{number}.{name}"] for name in layer.state_dict()})
                for name, parameter in layer.named_parameters():
                    self.optimizer.state[parameter] = {"momentum_buffer": tensors[f"{number}.momentum.{name}"]}
            self.pruned = [tensors[f"pruned.{hidden}"].numpy() for hidden in range(len(self.pruned))]
            restore_generators(tensors, "cpu")
            self.rng.bit_generator.state = rest["rng"]
            self.history = rest["history"]
            self.degrees = {int(epoch): counts for epoch, counts in rest["degrees"].items()}
            self.started, self.wall_before = rest["started"], rest["wall_seconds"]
            self.resumes = rest["resumes"] + 1
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} does not fit this run ({reason}): delete it to begin the run again") from None

    def record(self) -> SetRecord:
        """What is recorded of the finished run."""
        config, network, split = self.config, self.network, self.split
        loss, accuracy, predictions = evaluate(network, split.test_features, split.test_labels)
        neurons_left, last = self._neurons_left(), self.history[-1]
        values = (
            *(accuracy, loss, last["train_accuracy"], last["train_loss"], last["train_accuracy"] - accuracy),
            *(max(row["test_accuracy"] for row in self.history), sum(neurons_left) / sum(config.hidden)),
        )
        names = list(self.history[0])
        seconds = sum(row["seconds"] + row["evolution_seconds"] for row in self.history)
        samples = len(self.history) * (len(split.train_labels) // config.batch_size * config.batch_size)
        first = network.layers[0]
        return SetRecord(
            identity=set_identity(config, self.dataset.sha256),
            status="diverged" if self.diverged else "complete",
            evaluated_on="validation" if config.validation else "test",
            config=config.model_dump(mode="json"),
            overrides=config.overrides(),
            metrics=dict.fromkeys(METRICS) if self.diverged else dict(zip(METRICS, values, strict=True)),
            neurons=list(config.hidden),
            neurons_left=neurons_left,
            connections_at_start=self.connections_at_start,
            connections=network.connections(),
            parameters=network.parameters_to_train(),
            flops=int(sum(row["flops"] for row in self.history)),
            labels=split.test_labels.tolist(),
            predictions=predictions.tolist(),
            history={name: [row[name] for row in self.history] for name in names},
            feature_connections=first.outgoing().tolist() if isinstance(first, SparseLinear) else [],
            degrees=self.degrees,
            provenance=Provenance(
                **environment("cpu", "float32", deterministic=True)
                | {"source_sha256": source_digest(SOURCES), "backend": "numba"},
                data=self.dataset.name,
                data_sha256=self.dataset.sha256,
                started=self.started,
                ended=now(),
                wall_seconds=self.wall_seconds,
                training_seconds=seconds,
                images_per_second=samples / seconds,
                peak_memory_mib=peak_memory_mib("cpu"),
                resumes=self.resumes,
            ),
        )


@torch.no_grad()
def evaluate(network: MLP, features: Tensor, labels: Tensor) -> tuple[float, float, Tensor]:
    """Mean loss in nats, accuracy, and the predicted class of each sample."""
    network.eval()
    logits = network(features)
    predictions = logits.argmax(dim=1)
    return F.cross_entropy(logits, labels).item(), (predictions == labels).double().mean().item(), predictions
