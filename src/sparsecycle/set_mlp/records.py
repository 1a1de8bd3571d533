"""What is recorded of a run of the companion study, its name and identity, and how records lie on the disk.

`set/<dataset>/set.parquet` has a row a run. What follows from a run's counts is recorded with it and recomputed by
`verify`. No path and no host name is written, nothing is unpickled, and checksums of Parquet's pages show damage.
"""

import io
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.folders import files_below, plain, suffix
from sparsecycle.runs.provenance import Provenance, git_state
from sparsecycle.runs.records import identity_of
from sparsecycle.runs.source import source_digest
from sparsecycle.runs.writing import sole_writer
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.tuning import Trial

FILE = "set.parquet"
VERSION = b"3"  # 1 and 2 were the records of November 2026
# The modules that decide a run's numbers; reading, drawing and the command line are not among them.
_OWN = ("config", "datasets", "evolution", "kernels", "layer", "learner", "network", "pruning", "training", "tuning")
SOURCES = ("data/tabular", *(f"set_mlp/{name}" for name in _OWN))
METRICS = ("last_accuracy", "best_accuracy", "train_accuracy", "gap", "neurons_left", "parameters")
_COUNTS = ("train_right", "test_right", "connections", "neurons_left", "milliseconds")  # a value an epoch
_LOSSES = ("train_loss", "test_loss")
_HISTORY = dict.fromkeys(_LOSSES, pa.list_(pa.float32())) | dict.fromkeys(_COUNTS, pa.list_(pa.int32()))
_SCHEMA = pa.schema(
    {"run": pa.string(), "record": pa.string(), "correct": pa.binary(), **_HISTORY},
    metadata={b"set_schema": VERSION},
)
_log = logging.getLogger("sparsecycle")


class SetRecord(BaseModel):
    """The record of one run.

    Attributes:
        identity: SHA-256 of configuration, source and data.
        status: "complete", or "diverged" where the loss stopped being finite.
        config: every field of `SetConfig`, as JSON values.
        overrides: those that differ from the arm as it stood.
        learning_rate, dropout: what was trained with, chosen or configured.
        trials: the inner runs by which they were chosen, see `tuning`.
        metrics: last_accuracy, best_accuracy (the maximum over the epochs), train_accuracy and gap, at the end;
            neurons_left, a share; parameters, with biases of neurons that have connections; all None where the run
            diverged. majority_accuracy and majority_train_accuracy: of guessing training's most frequent class.
        batch_size, train_samples, classes: samples of a batch and of the training part; classes of the dataset.
        connections: by layer at the end.
        neurons_left: by hidden layer at the end, those with connections in and out.
        correct: for each sample of the test part whether it is classified rightly at the end.
        history: by name a value an epoch: train_loss and test_loss (mean a sample), train_right and test_right
            (samples), connections, neurons_left (sums over layers, before the epoch's changes), milliseconds.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    identity: str
    status: Literal["complete", "diverged"]
    config: dict[str, Any]
    overrides: dict[str, Any]
    learning_rate: float
    dropout: float
    trials: list[Trial]
    metrics: dict[str, float | None]
    batch_size: int
    train_samples: int
    classes: int
    connections: list[int]
    neurons_left: list[int]
    correct: list[bool] = []
    history: dict[str, list[Any]] = {}
    provenance: Provenance

    def recomputed(self) -> dict[str, float | None]:
        """Return the metrics that follow from bits and counts."""
        if self.status == "diverged":
            return dict.fromkeys(METRICS)
        last = sum(self.correct) / len(self.correct)
        train = self.history["train_right"][-1] / self.train_samples
        return {
            "last_accuracy": last,
            "best_accuracy": max(self.history["test_right"]) / len(self.correct),
            "train_accuracy": train,
            "gap": train - last,
            "neurons_left": sum(self.neurons_left) / sum(self.config["hidden"]),
            "parameters": sum(self.connections) + sum(self.neurons_left) + self.classes,
        }

    def name(self) -> str:
        """Return the run's name when it was made, with `/`."""
        return _name(self.config, self.overrides)

    def summary(self) -> str:
        """Return one line for people."""
        config, metrics, seconds = self.config, self.metrics, self.provenance.wall_seconds
        name = f"{config['dataset']} {config['arm']} {config['method']} seed {config['seed']}"
        if self.status == "diverged":
            return f"{name}: diverged, the training loss stopped being finite (recorded as such)"
        chosen = f"rate {self.learning_rate:g} and dropout {self.dropout:g} chosen, " if self.trials else ""
        return (
            f"{name}: {chosen}test accuracy {metrics['last_accuracy']:.4f} (best {metrics['best_accuracy']:.4f}), "
            f"train accuracy {metrics['train_accuracy']:.4f}, "
            f"{sum(self.neurons_left)} of {sum(config['hidden'])} hidden neurons, {seconds:.0f} s"
        )

    def results(self) -> dict[str, Any]:
        """Return what must be the same when the run is repeated: all but provenance and times."""
        told = self.model_dump(mode="json", exclude={"provenance": True, "history": {"milliseconds"}})
        return told | {"history": repr(sorted(told["history"].items()))}  # NaN is like NaN


def set_run_name(config: SetConfig) -> str:
    """Return the run's name, which is also the folder of its checkpoints below the folder of runs, with `/`."""
    return _name(config.model_dump(mode="json"), config.overrides())


def _name(config: dict[str, Any], overrides: dict[str, Any]) -> str:
    label = f"{config['arm']}-{config['method']}-seed{config['seed']}"
    return f"set/{config['dataset']}/{label}{suffix(overrides)}"


def set_identity(config: SetConfig, data_digest: str) -> str:
    """Return the SHA-256 of configuration, today's source and data."""
    git_state()  # a run is identified when it begins: what is committed later did not make it
    return identity_of(config.digest(), source_digest(SOURCES), data_digest)


def add_record(root: Path, record: SetRecord) -> None:
    """Add a record to the file of its dataset below a folder of runs, in place of one of the same name."""
    path = (root / record.name()).parent / FILE
    with sole_writer(path.parent, FILE, patience=60.0):  # others add theirs to the same file: none is to be lost
        held = {one.name(): one for one in read_records(path)} if path.exists() else {}
        held[record.name()] = record
        write_records(path, [held[name] for name in sorted(held)])


def write_records(path: Path, records: Iterable[SetRecord]) -> None:
    """Write records as one file, whole or not at all."""
    table = pa.Table.from_pylist([_packed(record) for record in records], schema=_SCHEMA)
    content, small = io.BytesIO(), {"use_dictionary": False, "write_statistics": False}
    pq.write_table(table, content, compression="brotli", compression_level=9, write_page_checksum=True, **small)
    write_atomically(path, content.getvalue())


def _packed(record: SetRecord) -> dict[str, Any]:
    return {
        "run": record.name(),
        "record": record.model_dump_json(exclude={"correct", "history"}),
        "correct": bytes([len(record.correct) % 8]) + np.packbits(record.correct).tobytes(),
        **record.history,
    }


def _unpacked(row: dict[str, Any]) -> SetRecord:
    rest, bits = row["correct"][0], np.unpackbits(np.frombuffer(row["correct"][1:], np.uint8))
    correct = bits[: len(bits) - (-rest) % 8].astype(bool).tolist()
    record = SetRecord.model_validate_json(row["record"])
    return record.model_copy(update={"correct": correct, "history": {name: row[name] for name in _HISTORY}})


def read_records(path: Path, name: str | None = None) -> list[SetRecord]:
    """Return the records of a file, or the one of a run by its `name`; InputError if damaged, or of another version."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if (file.schema_arrow.metadata or {}).get(b"set_schema") == VERSION:
            if not file.schema_arrow.equals(_SCHEMA):  # no checksum of a page covers the names of columns
                raise ValueError("its columns are not those of a record")
            return [_unpacked(row) for row in file.read().to_pylist() if name in (None, row["run"])]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, LookupError, TypeError, ValidationError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise InputError(f"{path} is damaged ({reason}): restore it, or delete it and make its runs again") from None
    raise InputError(
        f"{path} is not of version {VERSION.decode()}, which this library reads: delete it and make its runs again"
    )


def find_record(output_dir: Path, name: str) -> SetRecord | None:
    """Return a finished run by its name below a folder of runs, or None; InputError for a damaged file."""
    with suppress(FileNotFoundError):
        return next(iter(read_records((output_dir / name).parent / FILE, name)), None)
    return None


def find_set_records(*folders: str | Path) -> Iterator[SetRecord]:
    """Yield every finished run of the companion study below the folders (default: `data/runs` of the checkout), once.

    Raises:
        InputError: a folder that does not exist, or a damaged file.
    """
    known: dict[str, SetRecord] = {}
    for path, _ in files_below(FILE, *folders):
        for record in read_records(path):
            twin = known.setdefault(record.identity, record)
            if twin is record:
                yield record
            elif twin.results() != record.results():
                told = "a record in %s is left out: another one of the same run, read before, has other numbers"
                _log.warning(told, path)


def load_set_runs(*folders: str | Path) -> pd.DataFrame:
    """Return all finished runs of the companion study below the folders, one row a run.

    Columns: dataset, arm, method, seed, variant (overrides; "" for the unchanged arm), status, learning_rate, dropout,
    batch_size, the metrics of `SetRecord`, inner_runs (of the cross-validation) and inner_diverged of them, a part of
    the provenance, identity, run (name).
    """
    rows = [row_of(record) for record in find_set_records(*folders)]
    columns = ("dataset", "arm", "method", "seed", "variant", "status", "git_clean", *METRICS)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))


def row_of(record: SetRecord) -> dict[str, Any]:
    """Return the record's row of `load_set_runs`."""
    made = record.provenance
    return {
        **{name: record.config[name] for name in ("dataset", "arm", "method", "seed")},
        "variant": ", ".join(f"{name}={plain(value)}" for name, value in sorted(record.overrides.items())),
        **{name: getattr(record, name) for name in ("status", "learning_rate", "dropout", "batch_size")},
        **{name: math.nan if value is None else value for name, value in record.metrics.items()},
        "inner_runs": len(record.trials),
        "inner_diverged": sum(one.right is None for one in record.trials),
        **made.model_dump(include={"training_seconds", "wall_seconds", "peak_memory_mib", "device", "cpu", "threads"}),
        **made.model_dump(include={"torch", "resumes", "git_revision", "git_clean"}),
        "identity": record.identity,
        "run": record.name(),
    }
