"""The record of a benchmark: what was timed, on what, and which targets it meets."""

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.rental_report import Looked

SCHEMA_VERSION = 1
FOLDER = CHECKOUT / "data" / "benchmarks"
RENTALS = FOLDER / "gpu"
ALL_THREADS = "1, all threads"  # the side of "at once" in which one run has every thread
Side = tuple[str, float]  # its name and keep-ratio
Found = tuple[float, float, float]  # median and quartiles
NOT_MEASURED: Found = (math.nan, math.nan, math.nan)


class Measurement(BaseModel):
    """One side of one comparison.

    Attributes:
        suite: "selection" (one layer), "step" (one training step), "scaling" (the same, other sizes), "precision" (the
            same in float32 and bfloat16, one thread), "limit" (what the machine can do), "at once" (images a second in
            all, of so many runs side by side) or "memory"; of the companion study "set epoch", "set evolution" and "set
            scaling".
        case: what the sides of one comparison share, such as "64 x 65536 float32".
        side: what was timed.
        keep_ratio: the budget, None where it plays no part.
        milliseconds: every repeat, taken in turn with the other sides; empty where something else is measured.
        value: what else is measured, in `unit`.
    """

    model_config = ConfigDict(extra="forbid")

    suite: Literal[
        "selection", "step", "scaling", "precision", "limit", "at once", "memory",
        "set epoch", "set evolution", "set scaling",
    ]  # fmt: skip
    case: str
    side: str
    keep_ratio: float | None = None
    milliseconds: list[float] = []
    value: float | None = None
    unit: str = "ms"

    def values(self) -> npt.NDArray[np.float64]:
        """Every repeat, or the one value."""
        return np.array(self.milliseconds if self.value is None else [self.value])


class BenchmarkRecord(BaseModel):
    """What one call of `make bench` found. Times are UTC in ISO 8601."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    started: str
    ended: str
    environment: dict[str, Any]
    left_out: list[str]
    measurements: list[Measurement]

    @property
    def device(self) -> str:
        """The GPU's name, or the processor's with the number of threads."""
        made = self.environment
        return made["device"] if made["device"] != "cpu" else f"{made['cpu']}, {made['threads']} threads"

    @property
    def file(self) -> str:
        """The name of its file, after the device and when it was begun."""
        kind = "cpu" if self.environment["device"] == "cpu" else "-".join(self.environment["device"].lower().split())
        return f"{kind}-{self.started.replace(':', '').replace('+0000', '')}.json"

    def step_case(self) -> str:
        """The case of the training step that was measured in every manner."""
        return next(one.case for one in self.measurements if one.suite == "step")

    def layer_cases(self) -> list[str]:
        """The cases of one layer in the device's usual precision, the smallest first."""
        dtype = "float32" if self.environment["device"] == "cpu" else "bfloat16"
        found = {one.case for one in self.measurements if one.suite == "selection" and one.case.endswith(dtype)}
        return sorted(found, key=lambda name: int(name.split()[0]) * int(name.split()[2]))

    def write(self, folder: Path) -> Path:
        """Write a file of its own, whole or not at all."""
        path = folder / self.file
        folder.mkdir(parents=True, exist_ok=True)
        content = {"schema_version": self.schema_version} | self.model_dump(mode="json", exclude_defaults=True)
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
        return path

    def table(self) -> pd.DataFrame:
        """One row a measurement: suite, case, side, keep_ratio, median, low and high (quartiles), repeats, unit."""
        rows = []
        for one in self.measurements:
            values = one.values()
            low, median, high = np.percentile(values, [25, 50, 75])
            rows.append(
                one.model_dump(include={"suite", "case", "side", "keep_ratio", "unit"})
                | {"median": median, "low": low, "high": high, "repeats": len(values)}
            )
        return pd.DataFrame(rows)


def load_benchmarks(folder: Path = FOLDER) -> list[BenchmarkRecord]:
    """The newest record of each device and number of threads, the CPUs' first, and of these the newest.

    Raises:
        InputError: a damaged record.
    """
    newest: dict[str, BenchmarkRecord] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = BenchmarkRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
            if record.schema_version != SCHEMA_VERSION:
                raise ValueError(f"schema version {record.schema_version}, but this library reads {SCHEMA_VERSION}")
        except (ValueError, ValidationError) as error:
            raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}): restore or remove it") from None
        if record.device not in newest or record.started > newest[record.device].started:
            newest[record.device] = record
    records = sorted(newest.values(), key=lambda record: record.started, reverse=True)
    return sorted(records, key=lambda record: record.environment["device"] != "cpu")


def load_rentals(folder: Path = RENTALS) -> list[Looked]:
    """What `sparsecycle gpu` saw of rented GPUs (its `ladder.json`, under any name), the newest first.

    Raises:
        InputError: a damaged file.
    """
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append(Looked.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}): restore or remove it") from None
    return sorted(found, key=lambda looked: looked.started, reverse=True)


def ratio(record: BenchmarkRecord, suite: str, case: str, over: Side, under: Side) -> Found:
    """Median and quartiles of one side's time over another's, repeat by repeat, or `NOT_MEASURED`."""
    sides = {(one.side, one.keep_ratio): one for one in record.measurements if (one.suite, one.case) == (suite, case)}
    if not {over, under} <= sides.keys():
        return NOT_MEASURED
    median, low, high = np.percentile(sides[over].values() / sides[under].values(), [50, 25, 75])
    return float(median), float(low), float(high)


def over_dense(record: BenchmarkRecord, suite: str) -> pd.DataFrame:
    """How many times as long constrained steps take as dense ones: case, keep_ratio, median, low, high (quartiles)."""
    rows = []
    for one in record.measurements:
        if (one.suite, one.side) == (suite, "kernels") and one.keep_ratio not in (None, 1.0):
            found = ratio(record, suite, one.case, (one.side, one.keep_ratio), (one.side, 1.0))
            rows.append((one.case, one.keep_ratio, *found))
    return pd.DataFrame(rows, columns=["case", "keep_ratio", "median", "low", "high"])


def gain_of_two(record: BenchmarkRecord, over: str = ALL_THREADS) -> float:
    """How many times as many images a second two runs of `classroom` train at once, a thread each, as one with all.

    Or as one with one thread, where it is `over` "1"; NaN where the record has not measured it.
    """
    rates = {one.side: one.value for one in record.measurements if one.suite == "at once" and one.value}
    return rates.get("2", math.nan) / rates.get(over, math.nan)
