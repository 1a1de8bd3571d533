"""How the constants of each method are chosen: on datasets outside the study, by the highest mean test accuracy."""

from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.datasets import search_datasets
from sparsecycle.set_mlp.records import find_set_records

SEARCHED = ["learning_rate", "dropout"]


def load_search(*folders: str | Path) -> pd.DataFrame:
    """Return the runs of a search, one row a run: dataset, method, seed, the searched fields, status, test_accuracy.

    The accuracy of a run that diverged is zero: a configuration that fails on a dataset does not get to leave it out.
    """
    rows: list[dict[str, Any]] = []
    for record in find_set_records(*folders):
        fields = {name: record.config[name] for name in ("dataset", "method", "seed", *SEARCHED)}
        accuracy = record.metrics["test_accuracy"]
        rows.append({**fields, "status": record.status, "test_accuracy": 0.0 if accuracy is None else accuracy})
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", *SEARCHED, "status", "test_accuracy"])


def search_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean test accuracy over datasets and splits: a row a configuration, a column a method.

    Raises:
        InputError: a method and configuration that lacks a run of one of `search_datasets()` on one of the splits.
    """
    counts = runs.groupby([*SEARCHED, "method"])[["dataset", "seed"]].apply(lambda of: len(of.drop_duplicates()))
    short = counts[counts < len(search_datasets()) * runs["seed"].nunique()]
    if len(short):
        raise InputError(
            f"{len(short)} configurations of the search lack runs, the first is {short.index[0]}: "
            f"each needs one on all of {', '.join(search_datasets())}, and on each split"
        )
    return runs.pivot_table(index=SEARCHED, columns="method", values="test_accuracy", aggfunc="mean")


def best_constants(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return by method the best mean's configuration; of equals the one with the smaller rate, then less dropout."""
    best: dict[str, tuple[float, ...]] = table.sort_index().idxmax().to_dict()  # type: ignore[assignment]
    return {method: dict(zip(SEARCHED, values, strict=True)) for method, values in best.items()}
