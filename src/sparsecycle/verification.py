"""Published accuracies recomputed from the stored predictions and the labels, without training."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparsecycle.batches import load_images
from sparsecycle.config import RunConfig
from sparsecycle.data import Cifar10
from sparsecycle.evaluation import budget_area
from sparsecycle.measures import Condition, Measures, calibration_error, read_arrays, summary_metrics
from sparsecycle.records import find_records, read_epochs, read_predictions


def verify_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, int, list[str]]]:
    """For every finished run below the folders: its name, how many numbers were recomputed, and what disagrees.

    Recomputed: accuracy at every budget, the headline test accuracy, the best test accuracy, the drop from it and the
    area under the accuracy-budget curve; of runs that were measured also the accuracy in every condition, loss and
    calibration error at every budget, the train-test gap, and the means that the claims are judged by.

    Raises:
        InputError: a missing folder, a damaged file, or images that are not there.
    """
    for folder, record, name in find_records(*folders):
        if record.status == "diverged":
            yield name, 0, []
            continue
        config = RunConfig(**record.config)
        data = load_images(config, data_dir)
        labels = data.test_labels.numpy()
        predictions = read_predictions(folder)
        accuracies = {budget: float((predictions[budget] == labels).mean()) for budget in config.budgets}
        best = float(read_epochs(folder)["test_accuracy"].max())
        headline = accuracies[config.headline_budget]
        recorded = {f"accuracy at {result.keep_ratio:g}": result.accuracy for result in record.budgets}
        recomputed = {f"accuracy at {budget:g}": value for budget, value in accuracies.items()}
        recomputed |= {
            "test_accuracy": headline,
            "best_test_accuracy": best,
            "drop_from_best": best - headline,
            "budget_area": budget_area(list(accuracies), list(accuracies.values())),
        }
        recorded |= {key: record.metrics[key] for key in recomputed if key in record.metrics}  # type: ignore[misc]
        measures = Measures.read(folder)
        if measures and measures.identity == record.identity:
            found, given = _measured(folder, measures, data, config.headline_budget)
            fitted = found["accuracy fitted/0.0"]
            recomputed |= found | {"train_accuracy": fitted, "gap": fitted - headline}
            recorded |= given | {key: record.metrics[key] or 0.0 for key in ("train_accuracy", "gap")}
        problems = [
            f"{key} is recorded as {recorded.get(key)}, the predictions give {value}"
            for key, value in recomputed.items()
            if not _equal(key, recorded.get(key, math.nan), value)
        ]
        yield name, len(recomputed), problems


def _equal(key: str, recorded: float, recomputed: float) -> bool:
    """Alike but for rounding. What was measured on the training images later, maybe with other threads or on another

    device, may differ from what the run itself counted by the odd image.
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
