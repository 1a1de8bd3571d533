"""What the search for constants tried, and what it found."""

from pathlib import Path

import pandas as pd

from sparsecycle.config import RunConfig
from sparsecycle_book.figures import METHODS
from sparsecycle.runs.records import find_records, load_runs, variant_of
from sparsecycle_book.report.tables import run_list
from sparsecycle.analysis.statistics import ADAPTIVE, paired_difference

SEARCHED = (
    "learning_rate",
    "weight_decay",
    "epochs",
    "dropout",
    "decay",
    "floor",
    "final_dense_periods",
    "tolerance",
    "max_hold",
)


def search_list(folder: Path) -> pd.DataFrame:
    """`run_list` of the searches in a folder: validation accuracies, and commands by what the presets are today."""
    runs = load_runs(folder)
    variants = {}
    for _, record, _ in find_records(folder):
        config = RunConfig(**record.config)
        variants[record.identity] = variant_of(record.config, config.overrides())
    listed = run_list(runs.assign(variant=runs["identity"].map(variants)))
    return listed.rename(columns={"test accuracy": "validation accuracy"})


def search_sentence(search: pd.DataFrame) -> str:
    """How many runs chose the constants, by method, and how long they took."""
    counts = search["method"].value_counts().reindex([name for name in METHODS if name in set(search["method"])])
    hours = search["wall_seconds"].sum() / 3600
    listed = ", ".join(f"{count} of `{name}`" for name, count in counts.items())
    return f"{len(search)} runs ({listed}), {hours:.1f} hours, each counted by its own clock."


def search_table(search: pd.DataFrame, configurations: pd.DataFrame) -> pd.DataFrame:
    """Runs of a search with the constants searched and their validation accuracy, the best first.

    Args:
        search: rows of `load_runs`.
        configurations: rows of `load_configurations`, of the same folders.
    """
    fields = configurations[["identity", *(name for name in SEARCHED if name in configurations)]]
    found = search[["identity", "method", "test_accuracy", "train_accuracy"]].merge(fields, on="identity")
    searched = [name for name in fields if name != "identity" and found[name].dropna().nunique() > 1]
    found = found.sort_values("test_accuracy", ascending=False, kind="stable")
    found = found.rename(columns={"test_accuracy": "validation accuracy", "train_accuracy": "train accuracy"})
    shown = found[["method", *searched, "validation accuracy", "train accuracy"]].set_index("method").round(4)
    return shown.astype(object).where(shown.notna(), "")


def gains_by_seed(runs: pd.DataFrame) -> str:
    """Each strategy's gain over dense training in points, seed by seed: of runs too few or too early to judge by."""
    told = []
    for method in ADAPTIVE:
        differences = paired_difference(runs, method, "dense", "test_accuracy").differences
        gains = [f"{100 * gain:+z.1f}" for gain in differences]
        told.append(f"`{method}` {', '.join(gains[:-1])} and {gains[-1]}")
    return ", ".join(told)
