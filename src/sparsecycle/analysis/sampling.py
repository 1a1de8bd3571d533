"""Whether an effect would stand with other test images too: seeds and images as two samples, crossed with each other.

The intervals of `statistics` are over seeds, on one set of test images. Every run of a study sees the same images, so
the differences of two methods form a table of seeds by images, and the error of its mean has a part from either.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparsecycle.trainer import load_images
from sparsecycle.config import RunConfig
from sparsecycle.runs.records import find_records, read_predictions


def crossed_interval(differences: NDArray[Any]) -> tuple[float, float, float]:
    """Standard error of the mean of a table (seeds, images) and its 95 % interval; NaN below 2 x 2.

    Both rows and columns are a random sample. The error is that of the two-way random-effects analysis of variance with
    one value a cell: the mean squares of the rows and of the columns less that of the rest, over the number of cells
    (for instance Searle, Casella and McCulloch, "Variance Components", 1992, chapter 4). Rows or columns whose mean
    square is below that of the rest count as having no variance of their own. The interval is Student's, with the
    degrees of freedom of such a sum (Satterthwaite, Biometrics Bulletin 2, 1946); NaN where all values are the same.
    """
    values = np.asarray(differences, dtype=np.float64)
    seeds, images = values.shape
    if min(seeds, images) < 2:
        return math.nan, math.nan, math.nan
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns[None, :] + mean
    of_rest = np.square(rest).sum() / ((seeds - 1) * (images - 1))
    squares = np.array([images * np.var(rows, ddof=1), seeds * np.var(columns, ddof=1), of_rest])
    freedom = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    own = squares[:2] > squares[2]  # whether rows and columns have a variance of their own
    parts = np.array([*own, 1 - own.sum()]) * squares
    error = math.sqrt(parts.sum() / (seeds * images))
    if not error:
        return 0.0, math.nan, math.nan  # every value is the same: nothing was sampled that could differ
    quantile = stats.t.ppf(0.975, max(1.0, parts.sum() ** 2 / (parts**2 / freedom).sum()))
    return error, float(mean - quantile * error), float(mean + quantile * error)


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
    error, low, high = (100 * number for number in crossed_interval(differences))
    return (
        f"{treatment} - {baseline}: {100 * differences.mean():+z.2f} points; standard error over {seeds} seeds and "
        f"{images:,} test images, both as samples, {error:.2f}; 95 % interval {low:+z.2f} to {high:+z.2f}."
    )
