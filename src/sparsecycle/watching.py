"""Runs under way, followed from outside by the files that they write."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle.errors import InputError
from sparsecycle.records import read_epochs
from sparsecycle.writing import is_being_written


def follow(folder: Path, interval: float = 1.0) -> Iterator[str]:
    """A line for each period of each run below the folder, from the first one on, as soon as it is trained.

    Ends when no run is under way any more; so a folder of finished runs is told and done.

    Args:
        interval: seconds between two looks.

    Raises:
        InputError: no run in the folder, or a damaged one.
    """
    told: dict[Path, int] = {}
    ended: dict[Path, str] = {}
    while True:
        runs = sorted(_runs(folder))
        if not runs:
            raise InputError(f"{folder} holds no run: give the folder of a run, or of runs")
        under_way = False
        for run in runs:
            going_on = is_being_written(run)  # before the look, so that what is written meanwhile is not missed
            name = run.relative_to(folder).as_posix() if run != folder else run.name
            rows = read_epochs(run) if (run / "epochs.parquet").exists() else pd.DataFrame()
            for row in rows.iloc[told.get(run, 0) :].itertuples():
                yield f"{name}: {_line(row)}"
            told[run] = len(rows)
            if going_on:
                under_way = True
                ended.pop(run, None)
                continue
            end = "finished" if (run / "record.json").exists() else "interrupted"
            if ended.get(run) != end:
                ended[run] = end
                yield f"{name}: {end}"
        if not under_way:
            return
        time.sleep(interval)


def _runs(folder: Path) -> set[Path]:
    """Folders with what a run writes; a link to elsewhere is not followed."""
    return {path.parent for name in ("epochs.parquet", ".lock") for path in folder.rglob(name)}


def _line(row: Any) -> str:
    return (
        f"epoch {row.epoch:g}, budget {row.keep_ratio:.3f}, train loss {row.train_loss:.4f}, "
        f"train accuracy {row.train_accuracy:.4f}, test accuracy {row.test_accuracy:.4f}, {row.seconds:.1f} s"
    )
