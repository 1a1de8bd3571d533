"""What a run leaves behind, and how it is read: `record.json`, `epochs.parquet`, `predictions.npz`.

A run is one folder, `<output_dir>/<preset>/<method>-seed<k>/`. Its identity is the hash of configuration, source and
data, so that a record answers for exactly one thing. No path and no host name is ever written.
"""

import hashlib
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from sparsecycle.files import write_atomically
from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.runs.folders import plain
from sparsecycle.runs.measures import Condition, Measures
from sparsecycle.runs.provenance import CHECKOUT, HARMLESS, Provenance, git_state, source_digest
from sparsecycle.runs.versioned import read_versioned, write_versioned

SCHEMA_VERSION = 1
CONTROL_BUDGET = 0.25  # the `fixed` run at this budget is the control of claim C8; others are variants
_log = logging.getLogger("sparsecycle")
FILES = ("record.json", "epochs.parquet", "predictions.npz", "model.safetensors")
LABELS = ("preset", "method", "seed", "variant")
OWN_RUNS = CHECKOUT / "runs"


class BudgetResult(BaseModel):
    """Test accuracy, loss (nats) and active fraction (mean over layers) of the trained network at one budget."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    keep_ratio: float
    accuracy: float
    loss: float
    active_fraction: float


class RunRecord(BaseModel):
    """The record of one run.

    Attributes:
        identity: SHA-256 of configuration, source and data.
        status: "complete", or "diverged" where the loss stopped being finite (metrics are then None).
        evaluated_on: "test", or "validation" where images were held out to choose constants.
        config, sources, overrides: every field's value, where it comes from, and what differs from the preset.
        metrics: of the last epoch at the headline budget: test_accuracy, test_loss, train_accuracy, train_loss, gap,
            best_test_accuracy, drop_from_best, budget_area.
        budgets: accuracy and loss at every budget.
        layers: share of non-zero activations and of dead channels by layer at the headline budget.
        files: SHA-256 of the files beside the record.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = SCHEMA_VERSION
    identity: str
    status: Literal["complete", "diverged"]
    evaluated_on: Literal["test", "validation"]
    config: dict[str, Any]
    sources: dict[str, str]
    overrides: dict[str, Any]
    parameters: int
    metrics: dict[str, float | None]
    budgets: list[BudgetResult]
    layers: list[dict[str, Any]]
    files: dict[str, str]
    provenance: Provenance

    def write(self, folder: Path) -> None:
        """Write `record.json` whole or not at all."""
        write_versioned(folder / "record.json", self, indent=1)

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read `record.json` of a run's folder.

        Raises:
            InputError: missing, damaged, or of another schema version.
        """
        remedy = "restore it, or delete the folder and run again"
        record = read_versioned(folder / "record.json", cls, SCHEMA_VERSION, remedy)
        if record is None:
            raise InputError(f"{folder} holds no record.json: give the folder of a finished run")
        return record

    def summary(self) -> str:
        """One line for people: what was trained, for how long, and how well it does."""
        config, made = self.config, self.provenance
        name = f"{config['preset']} {config['method']} seed {config['seed']}"
        if self.status == "diverged":
            return f"{name}: diverged, the training loss stopped being finite (recorded as such)"
        return (
            f"{name}: {self.evaluated_on} accuracy {self.metrics['test_accuracy']:.4f} at budget "
            f"{config['headline_budget']:g}, train accuracy {self.metrics['train_accuracy']:.4f}, "
            f"{made.wall_seconds:.0f} s, {made.images_per_second:.0f} images/s"
        )

    def results(self) -> dict[str, Any]:
        """What must be the same when the run is repeated: all but provenance and the files, which hold times."""
        return self.model_dump(exclude={"provenance", "files"})


def run_identity(config: RunConfig, data_digest: str) -> str:
    """SHA-256 of configuration, source and data."""
    git_state()  # a run is identified when it begins: what is committed later did not make it
    return identity_of(config.digest(), source_digest(), data_digest)


def identity_of(configuration: str, source: str, data: str) -> str:
    """SHA-256 of three digests."""
    return hashlib.sha256(f"{configuration} {source} {data}".encode()).hexdigest()


def finished_record(folder: Path, config: RunConfig, data_digest: str) -> RunRecord | None:
    """The record of this very run, if the folder holds it.

    Raises:
        InputError: it holds another's, and in what they differ.
    """
    if not (folder / "record.json").exists():
        return None
    record = RunRecord.read(folder)
    if record.identity != run_identity(config, data_digest):
        now = config.model_dump(mode="json")
        differ = [name for name in now if now[name] != record.config.get(name)]
        differ += ["source"] if record.provenance.source_sha256 != source_digest() else []
        differ += ["data"] if record.provenance.data_sha256 != data_digest else []
        raise InputError(
            f"{folder} holds the record of another run ({', '.join(differ) or 'identity'}): "
            "choose another output_dir, or move that folder away"
        )
    return record


def load_runs(*folders: str | Path) -> pd.DataFrame:
    """All finished runs below the given folders (default: `data/runs` of the checkout), one row a run.

    Columns: preset, method, seed, variant (overrides as text; "" for the preset as it stands), status, evaluated_on,
    the metrics (shares, losses in nats), accuracy_at_<budget>, active_at_<budget>, parameters, training_seconds,
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
    """The rows of `epochs.parquet` of all finished runs, one a period, with preset, method, seed and variant.

    Columns besides: period, epoch, step, keep_ratio, learning_rate, train_loss (nats), train_accuracy, test_loss,
    test_accuracy (at the headline budget), gradient_norm, seconds.
    """
    frames = []
    for path, record, name in find_records(*folders):
        frame = read_epochs(path)
        labels = _labels(record) | {"run": name}
        frames.append(frame.assign(**labels))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def load_configurations(*folders: str | Path) -> pd.DataFrame:
    """Every field of the configuration of all finished runs, one row a run, with its identity."""
    return pd.DataFrame(
        [record.config | {"identity": record.identity, "run": name} for _, record, name in find_records(*folders)]
    )


def load_measures(*folders: str | Path) -> pd.DataFrame:
    """Every condition of all runs that were measured, one a row, with preset, method, seed, variant and run.

    Columns besides: kind, strength, accuracy, loss, calibration_error (see `measures.Condition`).
    """
    rows = []
    for path, record, name in find_records(*folders):
        measured = _measures_of(path, record)
        labels = _labels(record) | {"run": name, "evaluated_on": record.evaluated_on}
        rows += [labels | one.model_dump() for one in measured.conditions] if measured else []
    columns = [*LABELS, "run", "evaluated_on", *Condition.model_fields]
    return pd.DataFrame(rows, columns=columns)


def load_layers(*folders: str | Path) -> pd.DataFrame:
    """Every layer at every budget of all runs that were measured, one a row, with preset, method, seed and variant.

    Columns besides: keep_ratio, layer, active_fraction, dead_channels, cka (with the layer at budget 1.0).
    """
    rows = []
    for path, record, _ in find_records(*folders):
        measured = _measures_of(path, record)
        rows += [_labels(record) | layer for layer in measured.layers] if measured else []
    columns = [*LABELS, "keep_ratio", "layer", "active_fraction", "dead_channels", "cka"]
    return pd.DataFrame(rows, columns=columns)


def read_epochs(folder: Path) -> pd.DataFrame:
    """`epochs.parquet` of one run.

    Raises:
        InputError: missing or damaged.
    """
    content = _checked(folder, "epochs.parquet")
    try:
        return pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'epochs.parquet'} cannot be read ({str(error).splitlines()[0]})") from None


def write_epochs(folder: Path, history: list[dict[str, float]]) -> None:
    """One row a period, as parquet, whole or not at all."""
    buffer = io.BytesIO()
    pd.DataFrame(history).to_parquet(buffer, index=False)
    write_atomically(folder / "epochs.parquet", buffer.getvalue())


def write_predictions(folder: Path, predictions: Mapping[float, np.ndarray[Any, Any]]) -> None:
    """Predicted class (uint8) of every evaluated image, one array a budget."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{repr(float(budget)): classes for budget, classes in predictions.items()})  # type: ignore[arg-type]
    write_atomically(folder / "predictions.npz", buffer.getvalue())


def read_predictions(folder: Path) -> dict[float, np.ndarray[Any, Any]]:
    """What `write_predictions` wrote.

    Raises:
        InputError: missing or damaged.
    """
    content = _checked(folder, "predictions.npz")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {float(name): stored[name] for name in stored.files}
    except Exception as error:  # numpy raises OSError, ValueError, zlib.error, BadZipFile by where the damage is
        raise InputError(f"{folder / 'predictions.npz'} cannot be read ({error})") from None


def file_digests(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of files of a run's folder."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def _checked(folder: Path, name: str) -> bytes:
    """The file's content; where the run is finished, it must be what the record says."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if (folder / "record.json").exists():
        expected = RunRecord.read(folder).files.get(name)
        if expected != hashlib.sha256(content).hexdigest():
            raise InputError(f"{path} is not the file that record.json was written with: restore it, or run again")
    return content


def find_records(*folders: str | Path) -> list[tuple[Path, RunRecord, str]]:
    """Every finished run below the folders (default: `data/runs` of the checkout): its folder, record and name.

    A run that was recorded more than once counts once; where two such records disagree, a warning names the second.

    Raises:
        InputError: a folder that does not exist, or a damaged record.
    """
    roots = [Path(folder) for folder in folders] or [CHECKOUT / "data" / "runs"]
    found: list[tuple[Path, RunRecord, str]] = []
    known: dict[str, RunRecord] = {}
    for root in roots:
        if not root.is_dir():
            raise InputError(f"folder {str(root)!r} does not exist: give a folder of runs")
        for path in sorted(root.rglob("record.json")):
            name = path.parent.relative_to(root).as_posix()
            if any(part.startswith(".") for part in name.split("/") if part != "."):
                continue  # a copy that is being made
            record = RunRecord.read(path.parent)
            twin = known.setdefault(record.identity, record)
            if twin is record:
                found.append((path.parent, record, name))
            elif twin.results() != record.results():
                _log.warning("%s is left out: another record of the same run, read before, has other numbers", name)
    return found


def _measures_of(folder: Path, record: RunRecord) -> Measures | None:
    """What was measured on this very run, if anything was."""
    found = Measures.read(folder)
    return found if found and found.identity == record.identity else None


def _measured(folder: Path, record: RunRecord) -> dict[str, Any]:
    found = _measures_of(folder, record)
    return {**found.metrics} if found else {}


def variant_of(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> str:
    """What a configuration changes, as text: "" for the preset as it stands, and for the control among `fixed`."""
    changed = dict(overrides)
    if config["method"] == "fixed" and config["keep_ratio"] != CONTROL_BUDGET:
        changed["keep_ratio"] = config["keep_ratio"]
    return ", ".join(f"{name}={plain(value)}" for name, value in sorted(changed.items()))


def _labels(record: RunRecord) -> dict[str, Any]:
    variant = variant_of(record.config, record.overrides)
    mixed = sorted(set(record.provenance.changed) - set(HARMLESS))
    if mixed:
        variant = ", ".join([*([variant] if variant else []), f"resumed with another {' and '.join(mixed)}"])
    return {
        "preset": record.config["preset"],
        "method": record.config["method"],
        "seed": record.config["seed"],
        "variant": variant,
    }


def _row(record: RunRecord, name: str) -> dict[str, Any]:
    made = record.provenance
    metrics = {key: math.nan if value is None else value for key, value in record.metrics.items()}
    at_budget = {f"accuracy_at_{result.keep_ratio}": result.accuracy for result in record.budgets}
    active = {f"active_at_{result.keep_ratio}": result.active_fraction for result in record.budgets}
    copied: tuple[str, ...] = (
        "training_seconds",
        "wall_seconds",
        "images_per_second",
        "peak_memory_mib",
        "device",
        "cpu",
        "threads",
    )
    copied += ("torch", "git_revision", "git_clean", "started", "resumes")
    return {
        **_labels(record),
        "status": record.status,
        "evaluated_on": record.evaluated_on,
        **metrics,
        **at_budget,
        **active,
        "parameters": record.parameters,
        **{key: getattr(made, key) for key in copied},
        "identity": record.identity,
        "run": name,
    }
