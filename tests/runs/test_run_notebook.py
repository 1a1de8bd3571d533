"""The parameterised run through papermill, as a researcher calls it: real processes."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from conftest import ROOT
from sparsecycle.runs.records import RunRecord

TINY = "{overrides: {train_images: 40, test_images: 20, batch_size: 20, epochs: 2}}"


def papermill(tmp_path: Path, *parameters: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = tmp_path / "executed.ipynb"
    command = [sys.executable, "-m", "papermill", "notebooks/run.ipynb", str(output), "--no-progress-bar"]
    command += ["-p", "preset", "smoke", "-p", "output_dir", str(tmp_path / "runs"), "-p", "device", "cpu", *parameters]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False), output


def test_it_trains_draws_and_writes_the_run(tmp_path: Path) -> None:
    done, output = papermill(tmp_path, "-p", "method", "plateau", "-p", "seed", "3", "-y", TINY)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs" / "smoke").iterdir()
    record = RunRecord.read(folder)
    assert (record.config["method"], record.config["seed"], record.status) == ("plateau", 3, "complete")
    notebook = nbformat.read(output, as_version=4)
    bundles = [out.data for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert sum('<figure class="drawn"' in bundle.get("text/html", "") for bundle in bundles) == 4


@pytest.mark.parametrize("path", sorted((ROOT / "book/runs").glob("classroom-*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_from_the_record_says_what_it_says_and_trained_nothing(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    told = [out.text for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "stream"]
    run = path.stem.replace("-", "/", 1)
    summary, files = told
    assert summary == RunRecord.read(ROOT / "data/runs" / run).summary() + "\n", "no progress bar beside it"
    assert files.startswith(f"in data/runs/{run}/: epochs.parquet")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (["-p", "methd", "plateau"], "unknown parameter 'methd': the notebook takes preset, method"),
        (["-p", "method", "fixed", "-y", "{overrides: {keep_ratio: 0}}"], "keep_ratio is 0, but must lie in (0, 1]"),
        (["-p", "seed", "three"], "seed is 'three', but should be a valid integer"),
        (["-p", "data_dir", "/nowhere/images"], "/nowhere/images"),
        (["-p", "output_dir", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_a_mistake_ends_with_one_sentence(tmp_path: Path, parameters: list[str], message: str) -> None:
    done, _ = papermill(tmp_path, *parameters)
    assert done.returncode != 0
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("InputError: ")]
    assert message in sentence
