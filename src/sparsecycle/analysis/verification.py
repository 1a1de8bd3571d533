"""Published numbers recomputed from the stored predictions and the labels, without training: runs, then claims."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparsecycle.analysis.ablations import ablation_table
from sparsecycle.trainer import load_images
from sparsecycle.config import RunConfig
from sparsecycle.data.cifar10 import Cifar10
from sparsecycle.evaluation.accuracy import budget_area
from sparsecycle.runs.measures import Condition, Measures, calibration_error, read_arrays, summary_metrics
from sparsecycle.runs.provenance import Provenance
from sparsecycle.runs.records import find_records, identity_of, load_runs, read_epochs, read_predictions
from sparsecycle.analysis.statistics import CLAIMS, RATIO, baseline_table, verdict_table


@dataclass(frozen=True)
class VerifiedRun:
    """How many numbers of a run were recomputed, what disagrees, and by column of `load_runs` what was found."""

    name: str
    identity: str
    checked: int = 0
    problems: tuple[str, ...] = ()
    columns: dict[str, float] = field(default_factory=dict)


def verify_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[VerifiedRun]:
    """Every finished run below the folders, recomputed.

    From the record alone: its identity, the hash of configuration, source and data. From its epochs: the best test
    accuracy. The rest from predictions and labels.

    Recomputed: accuracy at every budget, the headline test accuracy, the best test accuracy, the drop from it and the
    area under the accuracy-budget curve; of runs that were measured also the accuracy in every condition, loss and
    calibration error at every budget, the train-test gap, and the means that the claims are judged by.

    Raises:
        InputError: a missing folder, a damaged file, or images that are not there.
    """
    at_hand: dict[tuple[str, int, int, int], Cifar10] = {}
    for folder, record, name in find_records(*folders):
        if record.status == "diverged":
            whole = len(read_epochs(folder)) == RunConfig(**record.config).periods
            problems = ["it is recorded as diverged, but all of its periods are there"] if whole else []
            yield VerifiedRun(
                name,
                record.identity,
                1,
                (*problems, *wrong_identity(record.identity, record.config, record.provenance)),
            )
            continue
        config = RunConfig(**record.config)
        kind = (config.dataset, config.train_images, config.test_images, config.holdout_images)
        if kind not in at_hand:
            at_hand[kind] = load_images(config, data_dir)
        data = at_hand[kind]
        labels = data.test_labels.numpy()
        predictions = read_predictions(folder)
        accuracies = {budget: float((predictions[budget] == labels).mean()) for budget in config.budgets}
        best = float(read_epochs(folder)["test_accuracy"].max())
        headline = accuracies[config.headline_budget]
        recorded = {f"accuracy at {result.keep_ratio:g}": result.accuracy for result in record.budgets}
        recomputed = {f"accuracy at {budget:g}": value for budget, value in accuracies.items()}
        columns = {
            "test_accuracy": headline,
            "best_test_accuracy": best,
            "drop_from_best": best - headline,
            "budget_area": budget_area(list(accuracies), list(accuracies.values())),
        }
        recomputed |= columns
        recorded |= {key: record.metrics[key] for key in recomputed if key in record.metrics}  # type: ignore[misc]
        measures = Measures.read(folder)
        if measures and measures.identity == record.identity:
            found, given = _measured(folder, measures, data, config.headline_budget)
            fitted = found["accuracy fitted/0.0"]
            recomputed |= found | {"train_accuracy": fitted, "gap": fitted - headline}
            recorded |= given | {key: record.metrics.get(key) or 0.0 for key in ("train_accuracy", "gap")}
            columns |= {key: found[f"mean {key}"] for key in measures.metrics}
        columns["gap"] = (record.metrics.get("train_accuracy") or math.nan) - headline
        columns |= {f"accuracy_at_{budget}": value for budget, value in accuracies.items()}
        problems = [
            f"{key} is recorded as {recorded.get(key)}, the predictions give {value}"
            for key, value in recomputed.items()
            if not _equal(key, recorded.get(key, math.nan), value)
        ]
        problems += wrong_identity(record.identity, record.config, record.provenance)
        yield VerifiedRun(name, record.identity, len(recomputed) + 1, tuple(problems), columns)


def verify_claims(verified: Sequence[VerifiedRun], *folders: str | Path) -> tuple[int, list[str]]:
    """The tables of verdicts, baselines and ablations of every preset, from what was recomputed: numbers, and problems.

    What no prediction can give stays as recorded: training times, train accuracies (the gap's first part), and the best
    accuracy of an epoch, which comes from the run's epochs.

    Args:
        verified: of `verify_runs`, of the same folders.
        folders: of runs, by default `data/runs` of the checkout.
    """
    recorded = load_runs(*folders)
    found = pd.DataFrame({run.identity: run.columns for run in verified}).T.reindex(recorded["identity"])
    names = [str(name) for name in found]
    recorded = recorded.reindex(columns=recorded.columns.union(names, sort=False))
    labels = recorded[["preset", "variant", "method", "seed"]]
    if twice := sorted(recorded.loc[labels.duplicated(keep=False), "run"]):
        return 0, [f"no table can hold {' and '.join(twice)}, which have one name: verify their folders apart"]
    unseen = recorded.loc[~recorded["identity"].isin({run.identity for run in verified}), "run"]
    problems = [f"{name} was not recomputed" for name in unseen]
    recomputed = recorded.set_index("identity")
    recomputed = recomputed.assign(**{name: found[name].fillna(recomputed[name]) for name in names}).reset_index()
    checked = 0
    for preset in sorted(set(recorded["preset"])):
        ours, again = claim_tables(recorded, preset), claim_tables(recomputed, preset)
        for name, table in ours.items():
            checked += int(table.select_dtypes("number").count().sum())
            problems += [f"{name} of {preset}, {difference}" for difference in _differences(table, again[name])]
    return checked, problems


def claim_tables(runs: pd.DataFrame, preset: str) -> dict[str, pd.DataFrame]:
    """The tables of a preset: verdicts, the reviewers' baselines in each measure of the claims but time, ablations."""
    measures = {claim.metric: claim.larger_is_better for claim in CLAIMS if claim.unit != RATIO}
    baselines = {
        f"baselines by {metric}": baseline_table(runs, preset, metric, larger_is_better=larger_is_better)
        for metric, larger_is_better in measures.items()
    }
    return {"verdicts": verdict_table(runs, preset)} | baselines | {"ablations": ablation_table(runs, preset)}


def _differences(recorded: pd.DataFrame, recomputed: pd.DataFrame) -> list[str]:
    """What two tables that should be one say differently, row by row."""
    if len(recorded) != len(recomputed):
        return [f"the records give {len(recorded)} rows, the predictions {len(recomputed)}"]
    found = []
    rows = zip(recorded.to_dict("records"), recomputed.to_dict("records"), strict=True)
    for place, (given, value) in enumerate(rows):
        for key in (name for name in given if name != "differences" and not _alike(given[name], value.get(name))):
            found.append(f"row {place}: {key} is {given[key]} by the records and {value.get(key)} by the predictions")
    return found


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def wrong_identity(identity: str, config: Mapping[str, Any], provenance: Provenance) -> list[str]:
    """What is wrong with a recorded identity, if anything."""
    if provenance.changed:
        return []  # it began with another source or configuration than it ended with
    configuration = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    made = identity_of(configuration, provenance.source_sha256, provenance.data_sha256)
    return [] if made == identity else ["its identity is not that of its configuration, source and data"]


def _equal(key: str, recorded: float, recomputed: float) -> bool:
    """Alike but for rounding.

    What was measured on the training images later, maybe with other threads or on another device, may differ from what
    the run itself counted by the odd image.
    """
    if math.isnan(recorded) and math.isnan(recomputed):
        return not key.startswith("accuracy")
    return math.isclose(recorded, recomputed, abs_tol=0.003 if key in ("train_accuracy", "gap") else 1e-9)


def _measured(
    folder: Path, measures: Measures, data: Cifar10, headline_budget: float
) -> tuple[dict[str, float], dict[str, float]]:
    """What the arrays beside `measures.json` give, and what it says."""
    arrays = read_arrays(folder, measures.files["measures.npz"])
    labels, fitted = data.test_labels.numpy(), data.train_labels.numpy()
    found: dict[str, float] = {}
    given: dict[str, float] = {f"mean {name}": value for name, value in measures.metrics.items()}
    again = []
    for one in measures.conditions:
        correct = arrays[one.name] == (fitted if one.kind == "fitted" else labels)
        values: dict[str, float | None] = {"accuracy": float(correct.mean())}
        if one.kind == "budget":
            values["loss"] = -float(arrays[f"log_likelihood/{one.strength!r}"].astype(np.float64).mean())
            values["calibration_error"] = calibration_error(arrays[f"confidence/{one.strength!r}"], correct)
        again.append(Condition(kind=one.kind, strength=one.strength, **values))
        found |= {f"{key} {one.name}": value for key, value in values.items() if value is not None}
        given |= {f"{key} {one.name}": getattr(one, key) for key in values}
    return found | {f"mean {key}": value for key, value in summary_metrics(again, headline_budget).items()}, given
