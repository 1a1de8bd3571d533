"""What a run of the companion study leaves behind: one file, `set.json`, and how all of them are read.

A run is one folder, `<output_dir>/set/<dataset>/<method>-seed<k>/`. Its identity is the hash of configuration, source
and data. No path and no host name is ever written.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from sparsecycle.errors import InputError
from sparsecycle.runs.folders import plain, suffix
from sparsecycle.runs.provenance import CHECKOUT, Provenance, git_state, source_digest
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.runs.versioned import read_versioned, write_versioned

SCHEMA_VERSION = 1
FILE = "set.json"
# The files whose text decides a run's numbers; reading, drawing and the command line are not among them.
SOURCES = tuple(
    f"set_mlp/{name}"
    for name in (
        *("config", "connectivity", "datasets", "evolution", "kernels", "layer", "network", "pruning", "run_state"),
        "training",
    )
)
METRICS = ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "gap", "best_test_accuracy", "neurons_left")


class SetRecord(BaseModel):
    """The record of one run.

    Attributes:
        identity: SHA-256 of configuration, source and data.
        status: "complete", or "diverged" where the loss stopped being finite (metrics are then None).
        metrics: of the last epoch: test_accuracy, train_accuracy, gap (train less test), best_test_accuracy and
            neurons_left as fractions, test_loss and train_loss in nats.
        neurons: hidden neurons by layer; neurons_left: of them with connections in and out at the end.
        connections_at_start, connections: by layer, at the start and at the end.
        parameters: weights and biases at the end, without the biases of neurons that have no connections.
        flops: floating-point operations of training, all epochs, see `MLP.flops`.
        batch_size, train_samples: samples of a batch, and of the training part.
        labels, predictions: class of every evaluated sample, and the one that the network gives at the end.
        history: by name a value an epoch: epoch, train_loss and test_loss (nats), train_accuracy, test_accuracy,
            connections, neurons_left (a number), samples, flops, replaced (connections), adapted_loss (train_loss after
            connections and neurons changed), seconds, evolution_seconds; and by layer, from 1: connections_1, ...,
            weight_scale_1, ... (root mean square), neurons_left_1, ....
        feature_connections: connections of each input feature at the end.
        degrees: for epochs of the run, by hidden layer how many neurons have 0, 1, 2, ... connections, both sides.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = SCHEMA_VERSION
    identity: str
    status: Literal["complete", "diverged"]
    config: dict[str, Any]
    overrides: dict[str, Any]
    metrics: dict[str, float | None]
    neurons: list[int]
    neurons_left: list[int]
    connections_at_start: list[int]
    connections: list[int]
    parameters: int
    flops: int
    batch_size: int
    train_samples: int
    labels: list[int]
    predictions: list[int]
    history: dict[str, list[float | int]]
    feature_connections: list[int]
    degrees: dict[int, list[list[int]]]
    provenance: Provenance

    def write(self, folder: Path) -> None:
        """Write `set.json` whole or not at all."""
        write_versioned(folder / FILE, self)

    @classmethod
    def read(cls, folder: Path) -> "SetRecord | None":
        """`set.json` of a run's folder, None where there is none.

        Raises:
            InputError: damaged, or of another schema version.
        """
        return read_versioned(folder / FILE, cls, SCHEMA_VERSION, "restore it, or delete the folder and run again")

    def name(self) -> str:
        """The run's folder below the folder of runs when it was made, with `/`."""
        config = self.config
        return f"set/{config['dataset']}/{config['method']}-seed{config['seed']}{suffix(self.overrides)}"

    def summary(self) -> str:
        """One line for people."""
        config = self.config
        name = f"{config['dataset']} {config['method']} seed {config['seed']}"
        if self.status == "diverged":
            return f"{name}: diverged, the training loss stopped being finite (recorded as such)"
        return (
            f"{name}: test accuracy {self.metrics['test_accuracy']:.4f}, train accuracy "
            f"{self.metrics['train_accuracy']:.4f}, {sum(self.neurons_left)} of {sum(self.neurons)} hidden neurons, "
            f"{self.parameters} parameters, {self.provenance.wall_seconds:.0f} s"
        )

    def results(self) -> dict[str, Any]:
        """What must be the same when the run is repeated: all but provenance and times."""
        timed = {"seconds", "evolution_seconds"}
        results = self.model_dump(exclude={"provenance", "history"})
        return results | {"history": {name: column for name, column in self.history.items() if name not in timed}}


def set_run_name(config: SetConfig) -> str:
    """The run's folder below the folder of runs, with `/`."""
    return f"set/{config.dataset}/{config.method}-seed{config.seed}{suffix(config.overrides())}"


def set_identity(config: SetConfig, data_digest: str) -> str:
    """SHA-256 of configuration, source and data."""
    git_state()  # a run is identified when it begins: what is committed later did not make it
    return hashlib.sha256(f"{config.digest()} {source_digest(SOURCES)} {data_digest}".encode()).hexdigest()


def find_set_records(*folders: str | Path) -> Iterator[tuple[Path, SetRecord]]:
    """Every finished run of the companion study below the folders (default: `data/runs` of the checkout).

    Raises:
        InputError: a folder that does not exist, or a damaged record.
    """
    for root in [Path(folder) for folder in folders] or [CHECKOUT / "data" / "runs"]:
        if not root.is_dir():
            raise InputError(f"folder {str(root)!r} does not exist: give a folder of runs")
        for path in sorted(root.rglob(FILE)):
            record = SetRecord.read(path.parent)
            if record:
                yield path.parent, record


def load_set_runs(*folders: str | Path) -> pd.DataFrame:
    """All finished runs of the companion study, one row a run.

    Columns: dataset, method, seed, variant (overrides as text; "" for the study's values), status, the
    metrics, neurons, neurons_at_end, connections_at_start, connections, parameters, flops, training_seconds,
    wall_seconds, peak_memory_mib, device, cpu, threads, torch, resumes, git_revision, git_clean, identity, run (name).
    """
    rows = [_row(record) for _, record in find_set_records(*folders)]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["dataset", "method", "seed", "variant", "status"])


def _row(record: SetRecord) -> dict[str, Any]:
    made = record.provenance
    return {
        **{name: record.config[name] for name in ("dataset", "method", "seed")},
        "variant": ", ".join(f"{name}={plain(value)}" for name, value in sorted(record.overrides.items())),
        "status": record.status,
        **{name: math.nan if value is None else value for name, value in record.metrics.items()},
        "neurons": sum(record.neurons),
        "neurons_at_end": sum(record.neurons_left),
        "connections_at_start": sum(record.connections_at_start),
        "connections": sum(record.connections),
        "parameters": record.parameters,
        "flops": record.flops,
        **{name: getattr(made, name) for name in ("training_seconds", "wall_seconds", "peak_memory_mib")},
        **{name: getattr(made, name) for name in ("device", "cpu", "threads", "torch", "resumes")},
        **{name: getattr(made, name) for name in ("git_revision", "git_clean")},
        "identity": record.identity,
        "run": record.name(),
    }
