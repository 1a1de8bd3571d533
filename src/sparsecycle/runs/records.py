"""What a run leaves behind, and how it is read.

A run is one folder, `<output_dir>/<preset>/<method>-seed<k>[-overrides]/`, with

- `epochs.parquet`: one row a look at the test images, see `load_epochs`;
- `decisions.parquet`: one row a decision of the controller: step, average, best, keep_ratio, reset;
- `correct.npz`: which test images were right at every look, see `Correct`;
- `model.safetensors`: the trained weights;
- `record.json`, written last: everything else.

A run's identity is the hash of configuration, source, images and, for `replay`, the path that it followed, so that a
record answers for exactly one thing. No path and no host name is ever written.
"""

import hashlib
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from sparsecycle.config import LATER, RunConfig
from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.folders import files_below, plain
from sparsecycle.runs.measures import Condition, Measures
from sparsecycle.runs.provenance import Provenance, git_state
from sparsecycle.runs.source import CHECKOUT, same_source, source_digest
from sparsecycle.runs.versioned import read_versioned, write_versioned

SCHEMA_VERSION = 2
_log = logging.getLogger("sparsecycle")
BESIDE = ("epochs.parquet", "decisions.parquet", "correct.npz", "model.safetensors")
FILES = ("record.json", *BESIDE)
LABELS = ("preset", "method", "seed", "variant")
METRICS = (  # of every record: see `metrics`
    *("last_accuracy", "best_accuracy", "clean_accuracy", "last_sparse_accuracy", "best_sparse_accuracy"),
    *("drop_from_best", "budget_area", "test_loss", "train_accuracy", "train_loss", "gap"),
    *("decisions", "resets", "idle_resets", "cycles", "lowest_keep_ratio", "mean_keep_ratio"),
)
REMEDY = "restore it, or delete the folder and run again"
OWN_RUNS = CHECKOUT / "runs"


class BudgetResult(BaseModel):
    """Test accuracy, loss (nats) and active fraction (mean over layers) of the trained network at one keep-ratio."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    keep_ratio: float
    accuracy: float
    loss: float
    active_fraction: float


class RunRecord(BaseModel):
    """The record of one run.

    Attributes:
        identity: SHA-256 of configuration, source, images and the path of `replay`.
        status: "complete", or "diverged" where the training loss stopped being finite; such a run ends there, and
            counts with what it scores.
        evaluated_on: "test"; "validation" where training images were held out; "nothing" where no image was looked at.
        config, sources, overrides: every field's value, where it comes from, and what differs from the preset.
        metrics: see `execute` and `metrics`; None where there is nothing to tell, or no finite number.
        budgets: accuracy and loss of the final network at every keep-ratio of `config.budgets`.
        layers: share of non-zero activations and of dead channels by layer at keep 1.0.
        files: SHA-256 of the files beside the record.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = SCHEMA_VERSION
    identity: str
    status: Literal["complete", "diverged"]
    evaluated_on: Literal["test", "validation", "nothing"]
    config: dict[str, Any]
    sources: dict[str, str]
    overrides: dict[str, Any]
    parameters: int
    metrics: dict[str, float | None]
    budgets: list[BudgetResult]
    layers: list[dict[str, Any]]
    files: dict[str, str]
    provenance: Provenance

    @model_validator(mode="after")
    def _has_what_is_read_by_name(self) -> Self:
        needed = (("config", self.config, ("preset", "method", "seed", "budgets")), ("metrics", self.metrics, METRICS))
        for field, given, names in needed:
            if missing := [name for name in names if name not in given]:
                raise ValueError(f"{field} lacks {', '.join(missing)}")
        return self

    def write(self, folder: Path) -> None:
        """Write `record.json` whole or not at all."""
        write_versioned(folder / "record.json", self, indent=1)

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read `record.json` of a run's folder.

        Raises:
            InputError: missing, damaged, or of another schema version.
        """
        record = read_versioned(folder / "record.json", cls, SCHEMA_VERSION, REMEDY)
        if record is None:
            raise InputError(f"{folder} holds no record.json: give the folder of a finished run")
        return record

    def summary(self) -> str:
        """Return one line for people: what was trained, for how long, and how well it does."""
        made = self.provenance
        told = f"{self.config['preset']} {self.config['method']} seed {self.config['seed']}"
        variant = variant_of(self.config, self.overrides)
        told += f" ({variant})" if variant else ""
        if self.status == "diverged":
            return f"{told}: diverged, the training loss stopped being finite (recorded as such)"
        last, best, train = (self.metrics[name] for name in ("last_accuracy", "best_accuracy", "train_accuracy"))
        scores = [] if last is None else [f"{self.evaluated_on} accuracy {last:.4f} (best {best:.4f})"]
        scores += [] if train is None else [f"training accuracy {train:.4f}"]
        scores += [f"{made.training_seconds:.0f} s, {made.images_per_second:.0f} images/s"]
        return f"{told}: {', '.join(scores)}"

    def results(self) -> dict[str, Any]:
        """Return what must be the same when the run is repeated: all but provenance and the files, which hold times."""
        told: dict[str, Any] = json.loads(self.model_dump_json(exclude={"provenance", "files"}))  # NaN is like NaN
        return told


@dataclass(frozen=True)
class Correct:
    """Which of the n test images a run classified rightly.

    Attributes:
        dense: bool (looks, n), at keep 1.0 at every look.
        sparse: bool (looks, n), at the keep-ratio in force at every look.
        budgets: by keep-ratio, bool (n,), the final network.
    """

    dense: NDArray[np.bool_]
    sparse: NDArray[np.bool_]
    budgets: dict[float, NDArray[np.bool_]]


def run_identity(config: RunConfig, data_digest: str, path_digest: str | None = None) -> str:
    """Return the SHA-256 of configuration, source, images and the path of `replay`."""
    git_state()  # a run is identified when it begins: what is committed later did not make it
    return identity_of(config.digest(), source_digest(), data_digest, path_digest)


def identity_of(configuration: str, source: str, data: str, path: str | None = None) -> str:
    """Return the SHA-256 of three or four digests."""
    parts = [configuration, source, data, *([path] if path else [])]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def finished_record(
    folder: Path, config: RunConfig, data_digest: str, path_digest: str | None = None
) -> RunRecord | None:
    """Return the record of this very run, if the folder holds it.

    Raises:
        InputError: it holds another's, and in what they differ.
    """
    if not (folder / "record.json").exists():
        return None
    record = RunRecord.read(folder)
    made, now = record.provenance, config.model_dump(mode="json")
    differ = [name for name in now if now[name] != record.config.get(name, LATER.get(name))]
    differ += [] if same_source(made.source_sha256, source_digest()) else ["source"]
    differ += [] if made.data_sha256 == data_digest else ["images"]
    differ += [] if made.path_sha256 == path_digest else ["the path that is followed"]
    if not differ and record.identity != identity_of(config.digest(), made.source_sha256, data_digest, path_digest):
        differ = ["identity"]
    if differ:
        raise InputError(
            f"{folder} holds the record of another run ({', '.join(differ)}): "
            "choose another output_dir, or move that folder away"
        )
    return record


def load_runs(*folders: str | Path) -> pd.DataFrame:
    """Return all finished runs below the given folders (default: `data/runs` of the checkout), one row a run.

    Columns: preset, method, seed, variant (overrides as text; "" for the plain preset), status, evaluated_on,
    the metrics (shares, losses in nats), accuracy_at_<keep>, active_at_<keep>, parameters, training_seconds,
    wall_seconds, images_per_second, peak_memory_mib, device, cpu, threads, torch, git_revision, git_clean, identity,
    started, resumes, and run (the folder below the one that was given); of runs that were measured also the metrics of
    `Measures`.

    Raises:
        InputError: a folder that does not exist, or a damaged record.
    """
    rows = [_row(record, name) | _measured(path, record) for path, record, name in find_records(*folders)]
    columns = ["preset", "method", "seed", "variant", "status"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def load_own_runs() -> pd.DataFrame:
    """As `load_runs`, of the folder `runs` of the checkout, where `make book` puts the reader's own; may be empty."""
    return load_runs(OWN_RUNS) if OWN_RUNS.is_dir() else pd.DataFrame()


def load_epochs(*folders: str | Path) -> pd.DataFrame:
    """Return the rows of `epochs.parquet` of all finished runs, one a look, with preset, method, seed, variant and run.

    Columns besides: step, epoch (passed), keep_ratio (in force), learning_rate, train_loss (nats) and train_accuracy
    (means over the steps since the last look), test_loss and test_accuracy (at keep 1.0), sparse_loss and
    sparse_accuracy (at the keep-ratio in force), gradient_norm (before clipping; NaN without), seconds (of training).
    """
    return _stacked(read_epochs, folders)


def load_decisions(*folders: str | Path) -> pd.DataFrame:
    """Return the rows of `decisions.parquet` of all finished runs, with preset, method, seed, variant and run.

    Columns besides: step (trained before it), average and best (training accuracy; NaN for rules without feedback),
    keep_ratio (in force from the next step on), reset.
    """
    return _stacked(read_decisions, folders)


def _stacked(read: Any, folders: Sequence[str | Path]) -> pd.DataFrame:
    frames = [read(path).assign(**_labels(record), run=name) for path, record, name in find_records(*folders)]
    frames = [frame for frame in frames if not frame.empty] or frames[:1]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def load_configurations(*folders: str | Path) -> pd.DataFrame:
    """Return every field of the configuration of all finished runs, one row a run, with its identity."""
    return pd.DataFrame(
        [record.config | {"identity": record.identity, "run": name} for _, record, name in find_records(*folders)]
    )


def load_measures(*folders: str | Path) -> pd.DataFrame:
    """Return every condition of all runs that were measured, one a row, with preset, method, seed, variant and run.

    Columns besides: those of `measures.Condition`.
    """
    rows = []
    for path, record, name in find_records(*folders):
        measured = _measures_of(path, record)
        labels = _labels(record) | {"run": name, "evaluated_on": record.evaluated_on}
        rows += [labels | one.model_dump() for one in measured.conditions] if measured else []
    columns = [*LABELS, "run", "evaluated_on", *Condition.model_fields]
    return pd.DataFrame(rows, columns=columns)


def load_layers(*folders: str | Path) -> pd.DataFrame:
    """Return every layer at every keep-ratio of all runs that were measured, one a row, with preset, method and so on.

    Columns besides: keep_ratio, layer, active_fraction, dead_channels, cka (with the layer at keep 1.0).
    """
    rows = []
    for path, record, _ in find_records(*folders):
        measured = _measures_of(path, record)
        rows += [_labels(record) | layer for layer in measured.layers] if measured else []
    columns = [*LABELS, "keep_ratio", "layer", "active_fraction", "dead_channels", "cka"]
    return pd.DataFrame(rows, columns=columns)


def read_epochs(folder: Path) -> pd.DataFrame:
    """Return `epochs.parquet` of one run.

    Raises:
        InputError: missing or damaged.
    """
    return _read_table(folder, "epochs.parquet")


def read_decisions(folder: Path) -> pd.DataFrame:
    """Return `decisions.parquet` of one run.

    Raises:
        InputError: missing or damaged.
    """
    return _read_table(folder, "decisions.parquet")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as parquet, whole or not at all."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())


def write_correct(folder: Path, correct: Correct, keep_ratios: Sequence[float]) -> None:
    """Write `correct.npz`: eight images a byte, and of each look only what differs from the one before.

    Args:
        keep_ratios: of the configuration, in the order in which `budgets` are stored.
    """
    images = correct.dense.shape[1]
    budgets = [correct.budgets[keep] for keep in keep_ratios] if correct.budgets else []
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        dense=_packed(np.diff(correct.dense, axis=0, prepend=False)),
        sparse=_packed(np.logical_xor(correct.sparse, correct.dense)),  # nothing where the keep-ratio is 1
        budgets=_packed(np.array(budgets, dtype=bool).reshape(len(budgets), images)),
        images=np.int64(images),
    )
    write_atomically(folder / "correct.npz", buffer.getvalue())


def read_correct(folder: Path) -> Correct:
    """Return what `write_correct` wrote.

    Raises:
        InputError: missing or damaged.
    """
    content = _checked(folder, "correct.npz")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            images = int(stored["images"])
            dense = np.logical_xor.accumulate(_unpacked(stored["dense"], images), axis=0)
            sparse = np.logical_xor(_unpacked(stored["sparse"], images), dense)
            budgets = _unpacked(stored["budgets"], images)
    except Exception as error:  # numpy raises OSError, ValueError, zlib.error, BadZipFile by where the damage is
        raise InputError(f"{folder / 'correct.npz'} cannot be read ({str(error).splitlines()[0]}): {REMEDY}") from None
    keep_ratios = RunRecord.read(folder).config["budgets"] if len(budgets) else []
    return Correct(dense, sparse, dict(zip(map(float, keep_ratios), budgets, strict=True)))


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(bits, axis=1)


def _unpacked(stored: NDArray[np.uint8], images: int) -> NDArray[np.bool_]:
    if stored.ndim != 2 or stored.shape[1] != -(-images // 8):
        raise ValueError(f"shape {stored.shape} for {images} images")
    return np.unpackbits(stored, axis=1, count=images).astype(bool)


def file_digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of files of a run's folder."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    return _table(folder, name, _stamp(folder / name), _stamp(folder / "record.json")).copy()


@lru_cache(maxsize=4096)
def _table(folder: Path, name: str, _made: tuple[int, int], _recorded: tuple[int, int]) -> pd.DataFrame:
    """Read a table once a process, for as long as it and the record stay as they are."""
    content = _checked(folder, name)
    try:
        return pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / name} cannot be read ({str(error).splitlines()[0]}): {REMEDY}") from None


@lru_cache(maxsize=4096)
def _record(folder: Path, _made: tuple[int, int]) -> RunRecord:
    return RunRecord.read(folder)


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _checked(folder: Path, name: str) -> bytes:
    """Return the file's content; where the run is finished, it must be what the record says."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {REMEDY}") from None
    if (folder / "record.json").exists():
        expected = _record(folder, _stamp(folder / "record.json")).files.get(name)
        if expected != hashlib.sha256(content).hexdigest():
            raise InputError(f"{path} is not the file that record.json was written with: {REMEDY}")
    return content


def find_records(*folders: str | Path) -> list[tuple[Path, RunRecord, str]]:
    """Return every finished run below the folders (default: `data/runs` of the checkout): folder, record and name.

    A run that was recorded more than once counts once; where two such records disagree, a warning names the second.

    Raises:
        InputError: a folder that does not exist, or a damaged record.
    """
    found: list[tuple[Path, RunRecord, str]] = []
    known: dict[str, RunRecord] = {}
    for path, name in files_below("record.json", *folders):
        record = _record(path.parent, _stamp(path))
        twin = known.get(record.identity)
        if twin is None:
            known[record.identity] = record
            found.append((path.parent, record, name))
        elif twin.results() != record.results():
            _log.warning("%s is left out: another record of the same run, read before, has other numbers", name)
    return found


def _measures_of(folder: Path, record: RunRecord) -> Measures | None:
    """Return what was measured on this very run, if anything was."""
    found = Measures.read(folder)
    return found if found and found.identity == record.identity else None


def _measured(folder: Path, record: RunRecord) -> dict[str, Any]:
    found = _measures_of(folder, record)
    return {**found.metrics} if found else {}


def variant_of(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> str:
    """Return what a configuration changes as text, "" for the plain preset.

    It tells two keep-ratios of `fixed` apart ("keep_ratio=0.48"), and a shuffled path ("shuffled=true") from `replay`.
    """
    changed = dict(overrides)
    if config.get("shuffled"):
        changed["shuffled"] = True
    if config.get("method") == "fixed":
        changed["keep_ratio"] = config["keep_ratio"]
    return ", ".join(f"{name}={plain(value)}" for name, value in sorted(changed.items()))


def _labels(record: RunRecord) -> dict[str, Any]:
    return {
        "preset": record.config["preset"],
        "method": record.config["method"],
        "seed": record.config["seed"],
        "variant": variant_of(record.config, record.overrides),
    }


def _row(record: RunRecord, name: str) -> dict[str, Any]:
    metrics = {key: math.nan if value is None else value for key, value in record.metrics.items()}
    at_budget = {f"accuracy_at_{result.keep_ratio}": result.accuracy for result in record.budgets}
    active = {f"active_at_{result.keep_ratio}": result.active_fraction for result in record.budgets}
    shown = {"training_seconds", "wall_seconds", "images_per_second", "peak_memory_mib", "device", "cpu", "threads"}
    shown |= {"at_once", "torch", "git_revision", "git_clean", "started", "resumes"}
    return {
        **_labels(record),
        "status": record.status,
        "evaluated_on": record.evaluated_on,
        **metrics,
        **at_budget,
        **active,
        "parameters": record.parameters,
        **record.provenance.model_dump(include=shown),
        "identity": record.identity,
        "run": name,
    }
