"""The companion's parameterised run through papermill, as a researcher calls it: real processes."""

import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from conftest import ROOT
from sparsecycle.set_mlp.records import find_set_records

TINY = '{"hidden": [30, 20], "epochs": 4, "batch_size": 64, "learning_rate": 1e-3}'


def papermill(tmp_path: Path, *parameters: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = tmp_path / "executed.ipynb"
    command = [sys.executable, "-m", "papermill", "notebooks/set.ipynb", str(output), "--no-progress-bar"]
    command += ["-p", "output_dir", str(tmp_path / "runs"), *parameters]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False), output


def figures(cells: list[nbformat.NotebookNode]) -> int:
    bundles = [out.data for cell in cells for out in cell.get("outputs", []) if "data" in out]
    return sum('<figure class="drawn"' in bundle.get("text/html", "") for bundle in bundles)


def test_it_trains_and_draws_and_can_be_run_again_in_one_kernel_with_another_method(tmp_path: Path) -> None:
    """Overrides are JSON text here, and YAML to papermill, for which 1e-3 is no number."""
    done, output = papermill(tmp_path, "-p", "seed", "3", "-r", "overrides", TINY)
    assert done.returncode == 0, done.stderr
    [record] = find_set_records(tmp_path / "runs")
    assert (record.config["dataset"], record.config["method"], record.config["seed"]) == ("digits", "set_pruned", 3)
    assert record.config["learning_rate"] == 0.001
    once = nbformat.read(output, as_version=4)
    assert figures(once.cells) == 1
    again = deepcopy(once.cells)
    for cell in again:
        cell.id += "-again"
        if cell.source.startswith("# Parameters"):
            cell.source += '\nmethod = "dense"\noverrides = {"hidden": [30, 20], "epochs": 4, "learning_rate": "1e-3"}'
    twice = nbformat.v4.new_notebook(cells=once.cells + again, metadata=once.metadata)
    NotebookClient(twice, resources={"metadata": {"path": str(ROOT)}}).execute()
    assert (figures(twice.cells[: len(again)]), figures(twice.cells[len(again) :])) == (1, 1)
    assert {one.config["method"] for one in find_set_records(tmp_path / "runs")} == {"set_pruned", "dense"}
