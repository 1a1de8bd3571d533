"""What all recorded runs took, and on what: tables from their provenance."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import pandas as pd


def compute_table(studies: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a study, and one for all of them.

    Args:
        studies: by name, rows of `load_runs` or `load_set_runs`.

    Columns: study, runs, hours (wall time, each run by its own clock), diverged, resumed, committed (runs from a tree
    without changes), revisions (how many of the source), machine, threads, torch.
    """
    rows = [{"study": name} | _sums(runs) | machines(runs) for name, runs in studies.items()]
    return pd.DataFrame([*rows, {"study": "all"} | _sums(pd.concat(studies.values()))])


def _sums(runs: pd.DataFrame) -> dict[str, object]:
    return {
        "runs": len(runs),
        "hours": round(float(runs["wall_seconds"].sum()) / 3600, 1),
        "diverged": int((runs["status"] == "diverged").sum()),
        "resumed": int((runs["resumes"] > 0).sum()),
        "committed": int(runs["git_clean"].eq(True).sum()),
        "revisions": int(runs["git_revision"].nunique()),
    }


def machines(runs: pd.DataFrame) -> dict[str, str]:
    """What made these runs: the GPU or the processor, the threads, and the versions of torch."""
    machine = runs["cpu"].where(runs["device"] == "cpu", runs["device"])
    listed = {"machine": machine, "threads": runs["threads"], "torch": runs["torch"]}
    return {name: ", ".join(sorted({str(value) for value in values})) for name, values in listed.items()}


def build_versions() -> pd.DataFrame:
    """Versions of Python and of the packages that decide a number, as they are here, one a row."""
    found = {"Python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "scipy", "pandas", "numba", "scikit-learn", "jupyter-book"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return pd.DataFrame({"version": found}).rename_axis("package")
