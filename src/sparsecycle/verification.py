"""Published accuracies recomputed from the stored predictions and the labels, without training."""

import math
from collections.abc import Iterator
from pathlib import Path

from sparsecycle.batches import load_images
from sparsecycle.config import RunConfig
from sparsecycle.evaluation import budget_area
from sparsecycle.records import find_records, read_epochs, read_predictions


def verify_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, int, list[str]]]:
    """For every finished run below the folders: its name, how many numbers were recomputed, and what disagrees.

    Recomputed: accuracy at every budget, the headline test accuracy, the best test accuracy, the drop from it and the
    area under the accuracy-budget curve.

    Raises:
        InputError: a missing folder, a damaged file, or images that are not there.
    """
    for folder, record, name in find_records(*folders):
        if record.status == "diverged":
            yield name, 0, []
            continue
        config = RunConfig(**record.config)
        labels = load_images(config, data_dir).test_labels.numpy()
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
        problems = [
            f"{key} is recorded as {recorded.get(key)}, the predictions give {value}"
            for key, value in recomputed.items()
            if not math.isclose(recorded.get(key, math.nan), value, abs_tol=1e-9)
        ]
        yield name, len(recomputed), problems
