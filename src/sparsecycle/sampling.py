"""Whether an effect would stand with other test images too: seeds and images as two samples, crossed with each other.

The intervals of `statistics` are over seeds, on one set of test images. Every run of a study sees the same images, so
the differences of two methods form a table of seeds by images, and the error of its mean has a part from either.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecycle.batches import load_images
from sparsecycle.config import RunConfig
from sparsecycle.records import find_records, read_predictions


def crossed_standard_error(differences: NDArray[Any]) -> float:
    """Standard error of the mean of a table (seeds, images), both rows and columns a random sample; NaN below 2 x 2.

    That of the two-way random-effects analysis of variance with one value a cell: the mean squares of the rows and of
    the columns less that of the rest, over the number of cells (for instance Searle, Casella and McCulloch, "Variance
    Components", 1992, chapter 4). An estimate below zero counts as zero.
    """
    values = np.asarray(differences, dtype=np.float64)
    seeds, images = values.shape
    if min(seeds, images) < 2:
        return math.nan
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    of_seeds = images * np.var(rows, ddof=1)
    of_images = seeds * np.var(columns, ddof=1)
    rest = values - rows[:, None] - columns[None, :] + mean
    of_rest = np.square(rest).sum() / ((seeds - 1) * (images - 1))
    return math.sqrt(max(0.0, of_seeds + of_images - of_rest) / (seeds * images))


def correctness_differences(preset: str, treatment: str, baseline: str, *folders: str | Path) -> NDArray[np.int8]:
    """Whether the treatment is right on an image, less whether the baseline is: (seeds, images) of -1, 0 and 1.

    Args:
        preset: whose recorded runs without overrides are compared, at the headline budget, seed by seed.
        treatment: a method.
        baseline: another one.
        folders: of runs, by default `data/runs` of the checkout.
    """
    config = RunConfig(preset=preset, method="dense")
    labels = load_images(config).test_labels.numpy()
    right: dict[str, dict[int, NDArray[np.bool_]]] = {treatment: {}, baseline: {}}
    for path, record, _ in find_records(*folders):
        method, plain = record.config["method"], not record.overrides and record.config["preset"] == preset
        if plain and method in right and record.status == "complete" and record.evaluated_on == "test":
            right[method][record.config["seed"]] = read_predictions(path)[config.headline_budget] == labels
    seeds = sorted(right[treatment].keys() & right[baseline].keys())
    rows = [right[treatment][seed].astype(np.int8) - right[baseline][seed].astype(np.int8) for seed in seeds]
    return np.array(rows, dtype=np.int8).reshape(len(seeds), len(labels))


def sampling_sentence(preset: str, treatment: str, baseline: str, *folders: str | Path) -> str:
    """The effect with a standard error over seeds and images both."""
    differences = correctness_differences(preset, treatment, baseline, *folders)
    seeds, images = differences.shape
    mean, error = 100 * differences.mean(), 100 * crossed_standard_error(differences)
    return (
        f"{treatment} - {baseline}: {mean:+.2f} points; standard error over {seeds} seeds and {images:,} test images, "
        f"both as samples, {error:.2f}; mean plus and minus two of them: {mean - 2 * error:+.2f} to "
        f"{mean + 2 * error:+.2f}."
    )
