"""Runs under way, followed from outside by the files that they write."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle.errors import InputError
from sparsecycle.writing import is_being_written


def follow(folder: Path, interval: float = 1.0) -> Iterator[str]:
    """A line for each period of each run below the folder, from the first one on, as soon as it is trained.

    Ends when no run is under way any more; so a folder of finished runs is told and done.

    Args:
        interval: seconds between two looks.

    Raises:
        InputError: no run in the folder.
    """
    told: dict[Path, int] = {}
    ended: set[Path] = set()
    while True:
        runs = _runs(folder)
        if not runs:
            raise InputError(f"{folder} holds no run: give the folder of a run, or of runs")
        under_way = False
        for run in runs - ended:
            going_on = is_being_written(run)  # before the look, so that what is written meanwhile is not missed
            name = run.relative_to(folder).as_posix() if run != folder else run.name
            rows = _epochs(run)
            for row in rows.iloc[told.get(run, 0) :].itertuples():
                yield f"{name}: {_line(row)}"
            told[run] = len(rows)
            if going_on:
                under_way = True
            else:
                ended.add(run)
                yield f"{name}: {'finished' if (run / 'record.json').exists() else 'interrupted'}"
        if not under_way:
            return
        time.sleep(interval)


def _runs(folder: Path) -> set[Path]:
    """Folders with what a run writes; a link to elsewhere is not followed."""
    return {path.parent for name in ("epochs.parquet", ".lock") for path in folder.rglob(name)}


def _epochs(run: Path) -> pd.DataFrame:
    path = run / "epochs.parquet"
    return pd.read_parquet(path) if path.exists() else pd.DataFrame()


def _line(row: Any) -> str:
    return (
        f"epoch {row.epoch:g}, budget {row.keep_ratio:.3f}, train loss {row.train_loss:.4f}, "
        f"train accuracy {row.train_accuracy:.4f}, test accuracy {row.test_accuracy:.4f}, {row.seconds:.1f} s"
    )
