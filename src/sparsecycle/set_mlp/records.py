"""How records of the companion study lie on the disk: `set.parquet`, a row a run, and all values exact.

A run writes a file of one row into its own folder, `set/<dataset>/<method>-seed<k>/`. `collect` moves finished runs
into the file of their dataset, `set/<dataset>/set.parquet`, which is a hundredth of the disk space. What follows from
other columns is not stored: accuracies follow from the number of right samples, sums over layers from the layers.
Damage is noticed by the checksums of Parquet's pages, and nothing is unpickled.
"""

import io
import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.folders import files_below, plain
from sparsecycle.runs.provenance import Provenance
from sparsecycle.runs.writing import sole_writer
from sparsecycle.set_mlp.record import METRICS, SetRecord

FILE = "set.parquet"
VERSION = b"2"  # 1 was a JSON file a run
_FLOATS, _COUNTS = pa.list_(pa.float32()), pa.list_(pa.int32())
_BY_EPOCH = {  # what an epoch has one value of
    "train_loss": _FLOATS,
    "test_loss": _FLOATS,
    "adapted_loss": _FLOATS,  # null where it is train_loss, because nothing changed
    "train_right": _COUNTS,  # samples
    "test_right": _COUNTS,
    "replaced": _COUNTS,
    "milliseconds": _COUNTS,
    "evolution_milliseconds": _COUNTS,
}
_BY_LAYER = {  # layer by layer, in each a value an epoch
    "connections": _COUNTS,
    "neurons_left": _COUNTS,  # of the hidden layers
    "weight_scale": _COUNTS,  # in ten-thousandths, each less the one before; where that makes -1, see the next
    "large_weight_scales": pa.list_(pa.float64()),  # in order, those that ten-thousandths do not hold
}
_SCHEMA = pa.schema(
    {
        "run": pa.string(),
        "identity": pa.string(),
        "status": pa.string(),
        "config": pa.string(),  # JSON
        "overrides": pa.string(),  # JSON
        "metrics": pa.struct({name: pa.float64() for name in METRICS}),
        "parameters": pa.int64(),
        "flops": pa.int64(),
        "batch_size": pa.int32(),
        "train_samples": pa.int32(),
        "test_samples": pa.int32(),
        "correct": pa.binary(),  # a bit a test sample, the first one highest, as of `numpy.packbits`
        **_BY_EPOCH,
        **_BY_LAYER,
        "feature_connections": _COUNTS,
        "degree_epochs": _COUNTS,
        "degrees": pa.list_(_COUNTS),  # epoch by epoch, layer by layer
        "provenance": pa.string(),  # JSON
    },
    metadata={b"set_schema": VERSION},
)
_UNIT, _LARGEST = 10_000, 2**30
_log = logging.getLogger("sparsecycle")


def write_records(path: Path, records: Iterable[SetRecord]) -> None:
    """Write records as one file, whole or not at all."""
    table = pa.Table.from_pylist([_packed(record) for record in records], schema=_SCHEMA)
    # The bytes of numbers in planes of their own and the slowest compression: half of what the defaults give.
    lists = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in (*_BY_EPOCH, *_BY_LAYER, "feature_connections")}
    lists["degrees.list.element.list.element"] = "BYTE_STREAM_SPLIT"
    content = io.BytesIO()
    pq.write_table(
        table, content, compression="brotli", compression_level=11, use_dictionary=False, write_statistics=False,
        column_encoding=lists, write_page_checksum=True,
    )  # fmt: skip
    write_atomically(path, content.getvalue())


def read_records(path: Path, name: str | None = None) -> list[SetRecord]:
    """Return the records of a file, or those of one run by its `name`.

    Raises:
        InputError: damaged, or of another version.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        given = (file.schema_arrow.metadata or {}).get(b"set_schema")
        if given == VERSION:
            if not file.schema_arrow.equals(_SCHEMA):  # no checksum of a page covers the names of columns
                raise ValueError("its columns are not those of a record")
            table = file.read()
            if name is not None:
                table = table.filter(pc.equal(table["run"], name))
            return [_unpacked(row) for row in table.to_pylist()]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise InputError(f"{path} is damaged ({reason}): restore it, or delete it and make its runs again") from None
    raise InputError(
        f"{path} is not of version {VERSION.decode()}, which this library reads: delete it and make its runs again"
    )


def find_record(output_dir: Path, name: str) -> SetRecord | None:
    """Return a finished run from its own folder, or else from the file of its dataset, or None.

    Args:
        output_dir: folder of runs.
        name: of the run, as of `set_run_name`.

    Raises:
        InputError: a damaged file.
    """
    own = output_dir / name / FILE
    for path in (own, own.parents[1] / FILE):
        with suppress(FileNotFoundError):
            if found := read_records(path, name):
                return found[0]
    return None


def find_set_records(*folders: str | Path) -> Iterator[SetRecord]:
    """Yield every finished run of the companion study below the folders (default: `data/runs` of the checkout).

    A run that was recorded more than once counts once; where two such records disagree, a warning names the second.

    Raises:
        InputError: a folder that does not exist, or a damaged file.
    """
    known: dict[str, SetRecord] = {}
    for path, _ in files_below(FILE, *folders):
        if _is_collected(path):
            continue
        for record in read_records(path):
            twin = known.setdefault(record.identity, record)
            if twin is record:
                yield record
            elif repr(twin.results()) != repr(record.results()):  # NaN is like NaN
                told = "a record in %s is left out: another one of the same run, read before, has other numbers"
                _log.warning(told, path)


def load_set_runs(*folders: str | Path) -> pd.DataFrame:
    """Return all finished runs of the companion study below the folders, one row a run.

    Columns: dataset, method, seed, variant (overrides as text; "" for the study's values), status, the
    metrics, neurons, neurons_at_end, connections_at_start, connections, parameters, flops, training_seconds,
    wall_seconds, peak_memory_mib, device, cpu, threads, torch, resumes, git_revision, git_clean, identity, run (name).
    """
    rows = [_row(record) for record in find_set_records(*folders)]
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


def _is_collected(path: Path) -> bool:
    """Whether the file of its dataset beside holds the run as well: collecting it was interrupted."""
    beside = path.absolute().parents[1] / FILE
    if not beside.is_file():
        return False
    try:
        held, own = (pq.read_table(file, columns=["run", "identity"]).to_pylist() for file in (beside, path))
    except (OSError, pa.ArrowException):
        return False  # whoever reads the two says which is damaged
    return bool(own) and own[0] in held


def collect(source: Path, into: Path) -> dict[Path, int]:
    """Move finished runs from their own folders into the files of their datasets; how many, by file.

    A run's own folder goes when the new file has been read back and holds the same. Runs under way are left alone.

    Args:
        source: folder of runs.
        into: folder of runs that gets them; it may be the same, or new.

    Raises:
        InputError: a damaged file, or two different runs of one name; nothing of that dataset is then changed.
    """
    moved = {}
    for dataset in sorted({path.parents[1] for path in source.glob(f"set/*/*/{FILE}")}):
        target = into / "set" / dataset.name / FILE
        with sole_writer(target.parent, FILE):
            held = {one.name(): one for one in read_records(target)} if target.exists() else {}
            found = {path: read_records(path)[0] for path in sorted(dataset.glob(f"*/{FILE}"))}
            own = {path: one for path, one in found.items() if path == source / one.name() / FILE}  # no backups
            if not own:
                continue
            for path, record in own.items():
                other = held.setdefault(record.name(), record)
                if other.identity != record.identity:
                    raise InputError(f"{target} holds another run named {record.name()}: collect {path} elsewhere")
            write_records(target, [held[name] for name in sorted(held)])
            again = {one.name(): one.identity for one in read_records(target)}
            for path, record in own.items():
                if again[record.name()] == record.identity:
                    path.unlink()
                    with suppress(OSError):  # something else lies there
                        path.parent.rmdir()
        moved[target] = len(own)
    return moved


def _packed(record: SetRecord) -> dict[str, Any]:
    history, layers = record.history, len(record.neurons) + 1
    scales = _joined(history, "weight_scale", layers)
    units = np.rint(np.where(np.isfinite(scales), scales, np.inf) * _UNIT)
    fits = (units < _LARGEST) & (units / _UNIT == scales)
    units = np.where(fits, units, -1).astype(np.int64)
    train_loss, adapted_loss = (np.asarray(history[name], np.float32) for name in ("train_loss", "adapted_loss"))
    same = (adapted_loss == train_loss) | (np.isnan(adapted_loss) & np.isnan(train_loss))
    return {
        "run": record.name(),
        "identity": record.identity,
        "status": record.status,
        "config": json.dumps(record.config),
        "overrides": json.dumps(record.overrides),
        "metrics": record.metrics,
        "parameters": record.parameters,
        "flops": record.flops,
        "batch_size": record.batch_size,
        "train_samples": record.train_samples,
        "test_samples": len(record.correct),
        "correct": np.packbits(record.correct).tobytes(),
        "train_loss": train_loss,
        "test_loss": np.asarray(history["test_loss"], np.float32),
        "adapted_loss": pa.array(adapted_loss, mask=same),
        "train_right": _rounded(history["train_accuracy"], record.train_samples),
        "test_right": _rounded(history["test_accuracy"], len(record.correct)),
        "replaced": history["replaced"],
        "milliseconds": _rounded(history["seconds"], 1000),
        "evolution_milliseconds": _rounded(history["evolution_seconds"], 1000),
        "connections": _joined(history, "connections", layers).astype(np.int64),
        "neurons_left": _joined(history, "neurons_left", layers - 1).astype(np.int64),
        "weight_scale": np.diff(units, prepend=0),
        "large_weight_scales": scales[~fits],
        "feature_connections": record.feature_connections,
        "degree_epochs": list(record.degrees),
        "degrees": [counts for by_layer in record.degrees.values() for counts in by_layer],
        "provenance": record.provenance.model_dump_json(exclude_defaults=True),
    }


def _unpacked(row: dict[str, Any]) -> SetRecord:
    config = json.loads(row["config"])
    layers, epochs = len(config["hidden"]) + 1, len(row["train_loss"])
    samples = row["train_samples"] // row["batch_size"] * row["batch_size"]
    connections = np.reshape(row["connections"], (layers, epochs))
    neurons_left = np.reshape(row["neurons_left"], (layers - 1, epochs))
    units = np.cumsum(row["weight_scale"], dtype=np.int64)
    scales = units / _UNIT
    scales[units == -1] = row["large_weight_scales"]
    losses = zip(row["adapted_loss"], row["train_loss"], strict=True)
    adapted_loss = [train_loss if loss is None else loss for loss, train_loss in losses]
    columns: dict[str, NDArray[Any]] = {
        "epoch": np.arange(1, epochs + 1),
        "train_loss": np.asarray(row["train_loss"], np.float64),
        "train_accuracy": np.asarray(row["train_right"]) / row["train_samples"],
        "test_loss": np.asarray(row["test_loss"], np.float64),
        "test_accuracy": np.asarray(row["test_right"]) / row["test_samples"],
        "connections": connections.sum(axis=0),
        "neurons_left": neurons_left.sum(axis=0),
        "samples": np.full(epochs, samples),
        "flops": samples * (6 * connections.sum(axis=0) - 2 * connections[0]),
        "replaced": np.asarray(row["replaced"]),
        "adapted_loss": np.asarray(adapted_loss, np.float64),
        "seconds": np.asarray(row["milliseconds"]) / 1000,
    }
    for number, (counts, scale) in enumerate(
        zip(connections, np.reshape(scales, (layers, epochs)), strict=True), start=1
    ):
        columns |= {f"connections_{number}": counts, f"weight_scale_{number}": scale}
    columns |= {f"neurons_left_{number}": counts for number, counts in enumerate(neurons_left, start=1)}
    columns["evolution_seconds"] = np.asarray(row["evolution_milliseconds"]) / 1000
    by_epoch, degrees = len(row["degrees"]) // max(1, len(row["degree_epochs"])), iter(row["degrees"])
    bits = np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=row["test_samples"])
    return SetRecord(
        **{name: row[name] for name in ("identity", "status", "parameters", "flops", "batch_size", "train_samples")},
        config=config,
        overrides=json.loads(row["overrides"]),
        metrics=row["metrics"],
        correct=bits.astype(bool).tolist(),
        history={name: column.tolist() for name, column in columns.items()},
        feature_connections=row["feature_connections"],
        degrees={epoch: [next(degrees) for _ in range(by_epoch)] for epoch in row["degree_epochs"]},
        provenance=Provenance.model_validate_json(row["provenance"]),
    )


def _joined(history: dict[str, list[float | int]], name: str, layers: int) -> NDArray[np.float64]:
    """(layers * epochs,): a column of every layer, one after the other."""
    return np.concatenate([np.asarray(history[f"{name}_{number}"], np.float64) for number in range(1, layers + 1)])


def _rounded(values: Sequence[float | int], unit: int) -> NDArray[np.int64]:
    return np.rint(np.asarray(values, np.float64) * unit).astype(np.int64)
