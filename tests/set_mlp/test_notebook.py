"""The companion's parameterised run through papermill, as a researcher calls it: real processes."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from conftest import ROOT
from sparsecycle.set_mlp.records import load_set_runs

TINY = "{overrides: {hidden: [30, 20], epochs: 4, batch_size: 64}}"


def papermill(tmp_path: Path, *parameters: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = tmp_path / "executed.ipynb"
    command = [sys.executable, "-m", "papermill", "notebooks/set.ipynb", str(output), "--no-progress-bar"]
    command += ["-p", "output_dir", str(tmp_path / "runs"), *parameters]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False), output


@pytest.mark.parametrize(("method", "figures"), [("set_pruned", 3), ("dense", 1)])
def test_it_trains_draws_and_writes_the_run(method: str, figures: int, tmp_path: Path) -> None:
    done, output = papermill(tmp_path, "-p", "method", method, "-p", "seed", "3", "-y", TINY)
    assert done.returncode == 0, done.stderr
    runs = load_set_runs(tmp_path / "runs")
    assert runs[["dataset", "method", "seed"]].to_numpy().tolist() == [["digits", method, 3]]
    notebook = nbformat.read(output, as_version=4)
    bundles = [out.data for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert sum('<figure class="drawn"' in bundle.get("text/html", "") for bundle in bundles) == figures


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (["-p", "methd", "set"], "unknown parameter 'methd': the notebook takes dataset, method"),
        (["-p", "dataset", "iris"], "dataset is 'iris', but must be one of breast_cancer, digits"),
        (["-p", "dataset", "colon", "-p", "data_dir", "/proc"], "dataset colon cannot be read from /proc"),
    ],
)
def test_a_mistake_ends_with_one_sentence(tmp_path: Path, parameters: list[str], message: str) -> None:
    done, _ = papermill(tmp_path, *parameters)
    assert done.returncode != 0
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("InputError: ")]
    assert message in sentence
