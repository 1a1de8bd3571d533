"""Tables of runs and presets: means by method, the list of every run, the presets and their times."""

from collections.abc import Mapping

import pandas as pd

from sparsecycle.analysis.selection import complete
from sparsecycle.config import PRESETS, RunConfig
from sparsecycle.runs.studies import run_arguments
from sparsecycle_book.computing import machines
from sparsecycle_book.display import markdown_table
from sparsecycle_book.figures import METHODS

ACCURACIES = {"best": "best_accuracy", "clean": "clean_accuracy", "last": "last_accuracy", "training": "train_accuracy"}
CYCLING = ("accuracy_gated", "epoch_gated")  # of which cycles are counted: rules that reset by themselves


def means_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a method, means over its seeds as text: accuracies and cycles."""
    rows = []
    for method in METHODS:
        group = runs[runs["method"] == method]
        if len(group):
            means = {word: f"{group[column].mean():.4f}" for word, column in ACCURACIES.items()}
            cycles = f"{group['cycles'].mean():.1f}" if method in CYCLING else ""
            rows.append({"method": f"`{method}`", "seeds": str(len(group)), **means, "cycles": cycles})
    return pd.DataFrame(rows)


def run_list(runs: pd.DataFrame, configurations: Mapping[str, RunConfig]) -> pd.DataFrame:
    """`listed` rows of `load_runs`; configurations by run."""
    return listed(runs, [run_command(configurations[run]) for run in runs["run"]], ACCURACIES)


def listed(runs: pd.DataFrame, commands: list[str], accuracies: dict[str, str] | None = None) -> pd.DataFrame:
    """A row a run, by its folder: accuracies (columns by their headings) as shares, wall seconds, its command."""

    def told(column: str, digits: int) -> list[str]:
        return [f"{value:.{digits}f}" if value == value else "none" for value in runs[column].astype(float)]

    accuracies = accuracies or {"test accuracy": "test_accuracy", "train accuracy": "train_accuracy"}
    shares = {word: told(column, 4) for word, column in accuracies.items()}
    columns = shares | {"seconds": told("wall_seconds", 0), "command": commands}
    return pd.DataFrame(columns, index=pd.Index(runs["run"], name="run"))


def run_command(config: RunConfig) -> str:
    """The command that makes a run again, in the folder `runs`."""
    return f".venv/bin/sparsecycle {run_arguments(config)}"


def presets_table(runs: pd.DataFrame) -> str:
    """Markdown: each preset's network, images and length, and how long its quickest recorded run took."""
    own = complete(runs[runs["variant"] == ""])
    quickest = own.loc[own.groupby("preset")["wall_seconds"].idxmin()].set_index("preset")
    minutes = (quickest["wall_seconds"] / 60).map(lambda took: f"{took:.1f}" if took >= 0.1 else "below 0.1")
    rows = []
    for preset in PRESETS:
        config = RunConfig(preset=preset, method="dense")
        row = {"preset": f"`{preset}`", "network": f"WRN-{config.depth}-{config.width}"}
        row |= {"training images": f"{config.train_images:,}", "epochs": str(config.epochs)}
        rows.append(row | {"minutes a run": minutes.get(preset, "not run yet")})
    made = machines(quickest)
    note = f"The minutes are of the quickest run ({made['machine']}, threads: {made['threads']})."
    return f"{markdown_table(pd.DataFrame(rows))}\n\n{note}"
