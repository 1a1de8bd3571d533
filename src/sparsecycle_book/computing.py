"""What all recorded runs took, and on what: tables from their provenance."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import pandas as pd


def compute_table(studies: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a study, and one for all of them.

    Args:
        studies: by name, rows of `load_runs` or `load_set_runs`; those without runs are left out.

    Columns: study, runs, hours (wall time, each run by its own clock), diverged, resumed, committed (runs from a tree
    without changes), revisions (how many of the source), machine, threads, torch.
    """
    rows = []
    for name, runs in studies.items():
        if len(runs):
            rows.append({"study": name} | _sums(runs) | _made_by(runs))
    every = [runs for runs in studies.values() if len(runs)]
    if every:
        rows.append({"study": "all"} | _sums(pd.concat(every)))
    return pd.DataFrame(rows)


def _sums(runs: pd.DataFrame) -> dict[str, object]:
    return {
        "runs": len(runs),
        "hours": round(float(runs["wall_seconds"].sum()) / 3600, 1),
        "diverged": int((runs["status"] == "diverged").sum()),
        "resumed": int((runs["resumes"] > 0).sum()),
        "committed": int(runs["git_clean"].eq(True).sum()),
        "revisions": int(runs["git_revision"].nunique()),
    }


def _made_by(runs: pd.DataFrame) -> dict[str, object]:
    machines = runs["cpu"].where(runs["device"] == "cpu", runs["device"])
    listed = {"machine": machines, "threads": runs["threads"], "torch": runs["torch"]}
    return {name: ", ".join(sorted({str(value) for value in values})) for name, values in listed.items()}


def build_versions() -> pd.DataFrame:
    """Versions of Python and of the packages that decide a number, as they are here, one a row."""
    found = {"Python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "scipy", "pandas", "numba", "scikit-learn", "jupyter-book"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return pd.DataFrame({"version": found}).rename_axis("package")
