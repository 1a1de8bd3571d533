"""Runs that nobody trained, as rows of `load_set_runs`."""

from typing import Any

import numpy as np
import pandas as pd

from sparsecycle.set_mlp.datasets import study_datasets


def none() -> pd.DataFrame:
    """No runs."""
    return made_up("set").iloc[:0]


def made_up(method: str, arm: str = "authors", **more: Any) -> pd.DataFrame:
    """Complete runs of one method on all datasets, two splits each: accuracy 0.8 plus `gain`, with noise that pairs."""
    rng = np.random.default_rng(len(method))
    names = [name for name in study_datasets() for _ in range(2)]
    noise = 0.002 * rng.normal(size=len(names))
    accuracy = 0.8 + more.pop("gain", 0.0) + noise
    changed = f"-{more['variant']}" if "variant" in more else ""
    run = [f"set/{name}/{arm}-{method}-seed{i % 2}{changed}" for i, name in enumerate(names)]
    columns = {"run": run, "dataset": names, "arm": arm, "method": method, "seed": [0, 1] * len(study_datasets())}
    columns |= {"variant": "", "status": "complete", "git_clean": True, "batch_size": 2}
    columns |= {"inner_runs": 30 if arm == "tuned" else 0, "inner_diverged": 1 if arm == "tuned" else 0}
    columns |= {"learning_rate": 0.01, "dropout": 0.3, "parameters": 1000.0}
    columns |= {"last_accuracy": accuracy, "best_accuracy": accuracy + 0.01, "train_accuracy": 1.0}
    columns |= {"gap": 1 - accuracy, "majority_accuracy": 0.5, "majority_train_accuracy": 0.6}
    columns |= {"neurons_left": 0.5 if method == "set_pruned" else 1.0}
    return pd.DataFrame(columns | more)


def fallen(runs: pd.DataFrame, *datasets: str) -> pd.DataFrame:
    """The same with runs on these datasets diverged."""
    lost = runs["dataset"].isin(datasets)
    measured = ["last_accuracy", "best_accuracy", "train_accuracy", "gap"]
    return runs.assign(
        status=runs["status"].mask(lost, "diverged"), **{name: runs[name].mask(lost) for name in measured}
    )
