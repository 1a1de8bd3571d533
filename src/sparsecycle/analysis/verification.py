"""Published numbers recomputed from what the runs recorded, without images and without training: runs, then claims.

A run's record is recomputed from the bits that say which test images were right at each look (`correct.npz`), from its
decisions and its looks; the decisions from the rule of its controller; the tables of claims from the recomputed runs.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparsecycle.analysis.verdicts import NOT_MEASURED, verdict_table
from sparsecycle.config import RunConfig, configuration_digest
from sparsecycle.controllers import make_controller
from sparsecycle.errors import InputError
from sparsecycle.runs import measures as measured
from sparsecycle.runs.folders import files_below
from sparsecycle.runs.metrics import budget_metrics, first_keep_ratio, look_metrics, path_metrics
from sparsecycle.runs.provenance import HARMLESS, Provenance
from sparsecycle.runs.records import (
    Correct,
    RunRecord,
    identity_of,
    load_runs,
    read_correct,
    read_decisions,
    read_epochs,
)

AS_RECORDED = ("training accuracy", "losses", "times and memory", "similarity (CKA) and active shares of layers")
"""What no file of a run can give again: it takes the training repeated, or the weights and the images."""


@dataclass(frozen=True)
class VerifiedRun:
    """One run, recomputed.

    Attributes:
        name: of its folder, below the one that was given.
        checked: how many numbers were recomputed.
        problems: what disagrees or cannot be read, sentences.
        recorded: the run's row of `load_runs`; empty for one that cannot be read.
        recomputed: by column of `load_runs`, what was found in place of what is recorded.
    """

    name: str
    checked: int = 0
    problems: tuple[str, ...] = ()
    recorded: dict[str, Any] = field(default_factory=dict)
    recomputed: dict[str, float] = field(default_factory=dict)


def verify_runs(*folders: str | Path) -> Iterator[VerifiedRun]:
    """Recompute every finished run below the folders, by default `data/runs` of the checkout.

    A damaged run is named and does not end the verification.

    Raises:
        InputError: a folder that does not exist.
    """
    for path, name in files_below("record.json", *folders):
        try:
            yield _verified(path.parent, RunRecord.read(path.parent), name)
        except InputError as error:
            yield VerifiedRun(name, problems=(str(error),))
        except (LookupError, TypeError, ValueError) as error:  # what damage of other kinds ends in
            yield VerifiedRun(name, problems=(f"it is damaged ({type(error).__name__}: {error})",))


def _verified(folder: Path, record: RunRecord, name: str) -> VerifiedRun:
    config = RunConfig(**record.config)
    epochs, decisions, correct = read_epochs(folder), read_decisions(folder), read_correct(folder)
    given: dict[str, float | None] = {**record.metrics}
    given |= {f"accuracy_at_{result.keep_ratio}": result.accuracy for result in record.budgets}
    found = _recomputed(record, config, epochs, decisions, correct)
    measures = measured.Measures.read(folder)
    if measures and measures.identity == record.identity:
        conditions = _conditions(folder, measures)
        given |= {one.name: one.accuracy for one in measures.conditions} | measures.metrics
        found |= {one.name: one.accuracy for one in conditions} | measured.summary_metrics(conditions)
    problems = [
        f"{key} is recorded as {given.get(key)}, its files give {found.get(key)}"
        for key in {**found, **{name: 0.0 for name in given if name.startswith("accuracy_at_")}}
        if not _alike(_number(given.get(key)), found.get(key, math.nan))
    ]
    problems += _wrong_looks(record, config, epochs, correct)
    problems += _wrong_keep_ratios(config, epochs, decisions)
    problems += _wrong_decisions(folder, config, epochs, decisions)
    problems += wrong_identity(record.identity, record.config, record.provenance)
    row = load_runs(folder).to_dict("records")[0] | {"run": name}
    columns = {str(key): value for key, value in found.items() if key in row}
    checked = len(found) + 3 * len(epochs) + len(decisions) + 1
    return VerifiedRun(name, checked, tuple(problems), {str(key): value for key, value in row.items()}, columns)


def _recomputed(
    record: RunRecord, config: RunConfig, epochs: pd.DataFrame, decisions: pd.DataFrame, correct: Correct
) -> dict[str, float]:
    """The metrics of a record, and its accuracy at each keep-ratio, from its other files."""
    looks = look_metrics(correct.dense, correct.sparse)
    return {
        **looks,
        **budget_metrics(correct.budgets),
        **path_metrics(decisions, config, int(epochs["step"].iloc[-1])),
        "gap": _number(record.metrics.get("train_accuracy")) - looks["last_accuracy"],
        "test_loss": float(epochs["test_loss"].iloc[-1]),
        **{f"accuracy_at_{keep}": float(bits.mean()) for keep, bits in correct.budgets.items()},
    }


def _conditions(folder: Path, measures: measured.Measures) -> list[measured.Condition]:
    """The conditions with the accuracies of the bits beside `measures.json`; NaN where there are none."""
    bits = measured.read_correct(folder, measures.files["measures.npz"])
    return [
        one.model_copy(update={"accuracy": float(bits[one.name].mean()) if one.name in bits else math.nan})
        for one in measures.conditions
    ]


def _wrong_looks(record: RunRecord, config: RunConfig, epochs: pd.DataFrame, correct: Correct) -> list[str]:
    """What is wrong with the looks: when they were, what they saw, and whether training ended as recorded."""
    problems = []
    expected = list(config.looks)[: len(epochs) if record.status == "diverged" else None]
    if epochs["epoch"].tolist() != expected or epochs["step"].tolist() != [
        e * config.steps_per_epoch for e in expected
    ]:
        problems.append("its looks at the test images are not at the epochs of its configuration")
    for column, bits in (("test_accuracy", correct.dense), ("sparse_accuracy", correct.sparse)):
        values = bits.mean(axis=1) if bits.size else np.full(len(bits), math.nan)
        if len(values) != len(epochs) or not all(map(_alike, epochs[column], values)):
            problems.append(f"{column} of its looks is not that of its bits")
    finite = math.isfinite(epochs["train_loss"].iloc[-1])
    if finite != (record.status == "complete"):
        problems.append(
            f"it is recorded as {record.status}, but its last training loss is {'' if finite else 'not '}finite"
        )
    return problems


def _wrong_keep_ratios(config: RunConfig, epochs: pd.DataFrame, decisions: pd.DataFrame) -> list[str]:
    """Whether every look was at the keep-ratio that was in force by the decisions."""
    ratios = np.concatenate([[first_keep_ratio(config)], decisions["keep_ratio"]])
    in_force = ratios[np.searchsorted(decisions["step"], epochs["step"], side="right")]
    return [] if np.array_equal(in_force, epochs["keep_ratio"]) else ["its looks are not at the keep-ratios in force"]


def _wrong_decisions(folder: Path, config: RunConfig, epochs: pd.DataFrame, decisions: pd.DataFrame) -> list[str]:
    """Whether the decisions are those of the controller's rule, given the averages that were recorded with them."""
    parameters = config.controller_parameters()
    if config.path_from is not None:
        if not (folder.parent / config.path_from / "record.json").exists():
            return []  # the run that was followed is not here
        parameters["path"] = read_decisions(folder.parent / config.path_from)["keep_ratio"].tolist()
    controller = make_controller(config.method, **parameters)
    steps = int(epochs["step"].iloc[-1])
    if controller.adaptive:  # told its own averages, one a decision
        every = parameters["decision_steps"]
        controller = make_controller(config.method, **parameters | {"decision_steps": 1, "smoothing": 0.0})
        expected = []
        for average, best in zip(decisions["average"], decisions["best"], strict=True):
            controller.load_state_dict(controller.state_dict() | {"average": average, "best": best})
            expected += [(every * one.step, one.keep_ratio, one.reset) for one in controller.update([average])]
        complete = len(decisions) == steps // every and bool((decisions["average"] <= decisions["best"]).all())
    else:
        expected = [(one.step, one.keep_ratio, one.reset) for one in controller.update([0.0] * steps)]
        complete = True
    given = list(zip(decisions["step"], decisions["keep_ratio"], decisions["reset"], strict=True))
    return [] if complete and given == expected else [f"its decisions do not follow from the rule of {config.method!r}"]


def verify_claims(verified: Sequence[VerifiedRun]) -> tuple[int, tuple[str, ...]]:
    """Return how many numbers the verdict tables of every preset hold, and what recomputed runs say differently.

    Args:
        verified: of `verify_runs`; see `verify_tables`.
    """
    presets = sorted({run.recorded["preset"] for run in verified if run.recorded})
    return verify_tables(verified, {preset: partial(verdict_table, preset=preset) for preset in presets})


def verify_tables(
    verified: Sequence[VerifiedRun], tables: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]]
) -> tuple[int, tuple[str, ...]]:
    """Return how many numbers tables of claims hold, and what recomputed runs say differently.

    What no file of a run gives again (`AS_RECORDED`) stays as recorded.

    Args:
        verified: runs of one study; those that could not be read are left out, and one recorded twice counts once.
        tables: by name, what makes each from rows of runs.
    """
    runs = list({run.recorded["identity"]: run for run in reversed(verified) if run.recorded}.values())[::-1]
    recorded = pd.DataFrame([run.recorded for run in runs])
    recomputed = pd.DataFrame([run.recorded | run.recomputed for run in runs])
    checked, problems = 0, []
    for name, table in tables.items() if runs else ():
        try:
            ours, again = table(recorded), table(recomputed)
        except InputError as error:  # two runs of one name
            problems.append(f"no table can hold the runs of {name} ({error}): verify their folders apart")
            continue
        rows = ours[ours["verdict"] != NOT_MEASURED]
        checked += int(rows.select_dtypes("number").count().sum()) + len(rows)
        problems += [f"claims of {name}, {told}" for told in _differences(ours, again)]
    return checked, tuple(problems)


def _differences(recorded: pd.DataFrame, recomputed: pd.DataFrame) -> list[str]:
    """What two verdict tables say differently, row by row."""
    return [
        f"{given['claim']} by {given['measure']} against {given['baseline']}: {key} is {given[key]} by the records and "
        f"{value[key]} by the files beside them"
        for given, value in zip(recorded.to_dict("records"), recomputed.to_dict("records"), strict=True)
        for key in given
        if key != "differences" and not _alike(given[key], value[key])
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _alike(one: Any, other: Any) -> bool:
    """Equal but for the rounding of sums; NaN is like NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def wrong_identity(identity: str, config: Mapping[str, Any], provenance: Provenance) -> list[str]:
    """Return what is wrong with a recorded identity, if anything."""
    if set(provenance.changed) - set(HARMLESS):
        return []  # it began with another source or configuration than it ended with
    made = identity_of(
        configuration_digest(config), provenance.source_sha256, provenance.data_sha256, provenance.path_sha256
    )
    return [] if made == identity else ["its identity is not that of its configuration, source and images"]
