"""Tables of runs and presets: means by method, the list of every run, the presets and their times."""

import math
from collections.abc import Mapping

import pandas as pd

from sparsecycle.analysis.selection import complete
from sparsecycle.config import PRESETS, RunConfig
from sparsecycle.runs.studies import run_arguments
from sparsecycle_book.figures import METHODS

MEANS = {
    "best": ("best_accuracy", ".4f"),
    "clean": ("clean_accuracy", ".4f"),
    "last": ("last_accuracy", ".4f"),
    "training": ("train_accuracy", ".4f"),
    "cycles": ("cycles", ".1f"),
}

CYCLING = ("accuracy_gated", "epoch_gated")  # of which cycles are counted: rules that reset by themselves


def means_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a method, means over its seeds as text: accuracies and cycles."""
    rows = []
    for method in METHODS:
        group = runs[runs["method"] == method]
        if len(group):
            cells = {"method": f"`{method}`", "seeds": str(len(group))}
            for word, (column, form) in MEANS.items():
                value = group[column].astype(float).mean()
                unknown = value != value or (word == "cycles" and method not in CYCLING)
                cells[word] = "" if unknown else f"{value:{form}}"
            rows.append(cells)
    return pd.DataFrame(rows)


def run_list(runs: pd.DataFrame, configurations: Mapping[str, RunConfig]) -> pd.DataFrame:
    """`listed` rows of `load_runs`, with the best, clean, last and training accuracy.

    Args:
        configurations: by run.
    """
    return listed(
        runs,
        [run_command(configurations[run]) for run in runs["run"]],
        {"best": "best_accuracy", "clean": "clean_accuracy", "last": "last_accuracy", "training": "train_accuracy"},
    )


def listed(runs: pd.DataFrame, commands: list[str], accuracies: dict[str, str] | None = None) -> pd.DataFrame:
    """A row a run, by its folder: accuracies as shares, wall seconds, the command that repeats it.

    Args:
        commands: one a run.
        accuracies: columns of `runs` by the words that head them.
    """

    def told(column: str, digits: int) -> list[str]:
        return [f"{value:.{digits}f}" if value == value else "none" for value in runs[column].astype(float)]

    accuracies = accuracies or {"test accuracy": "test_accuracy", "train accuracy": "train_accuracy"}
    return pd.DataFrame(
        {word: told(column, 4) for word, column in accuracies.items()}
        | {
            "seconds": told("wall_seconds", 0),
            "command": commands,
        },
        index=pd.Index(runs["run"], name="run"),
    )


def run_command(config: RunConfig) -> str:
    """The command that makes a run again, in the folder `runs`."""
    arguments = run_arguments(config)
    return f".venv/bin/sparsecycle {arguments}"


def presets_table(runs: pd.DataFrame) -> str:
    """Markdown: each preset's network, images and length, and how long its quickest recorded run took."""
    lines = ["| preset | network | training images | epochs | minutes a run |", "|---|---|---|---|---|"]
    quickest = []
    for preset in PRESETS:
        config = RunConfig(preset=preset, method="dense")
        own = complete(runs[(runs["preset"] == preset) & (runs["variant"] == "")]) if len(runs) else runs
        quickest.append(own.nsmallest(1, "wall_seconds") if len(own) else own)
        minutes = own["wall_seconds"].min() / 60 if len(own) else math.nan
        told = "not run yet" if math.isnan(minutes) else f"{minutes:.1f}" if minutes >= 0.1 else "below 0.1"
        cells = [f"`{preset}`", f"WRN-{config.depth}-{config.width}", f"{config.train_images:,}", str(config.epochs)]
        lines.append(f"| {' | '.join([*cells, told])} |")
    if len(runs):
        lines += [
            "",
            f"The minutes are of the quickest run ({machines(pd.concat(quickest))}).",
        ]
    return "\n".join(lines)


def machines(runs: pd.DataFrame) -> str:
    """The machines that made these runs: the GPU or the processor, and the threads."""
    names = runs["cpu"].where(runs["device"] == "cpu", runs["device"])
    threads = ", ".join(str(count) for count in sorted(runs["threads"].unique()))
    return f"{', '.join(sorted({str(name) for name in names}))}, threads: {threads}"
