"""The parameterised runs as a researcher calls them, by papermill or Run All: real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy.io import savemat

from conftest import ROOT
from sparsecycle.errors import InputError
from sparsecycle.runs.records import RunRecord
from sparsecycle.set_mlp.records import find_set_records

SMALL = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 2}
TINY = f"{{overrides: {json.dumps(SMALL)}}}"
SMOKE = ["-p", "preset", "smoke", "-p", "device", "cpu"]


def papermill(tmp_path: Path, name: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", f"notebooks/{name}.ipynb", str(tmp_path / "executed.ipynb")]
    command += ["--no-progress-bar", "-p", "output_dir", str(tmp_path / "runs"), "-p", "seed", "3", *parameters]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def figures_drawn(tmp_path: Path) -> int:
    cells = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells
    bundles = [out.data for cell in cells for out in cell.get("outputs", []) if "data" in out]
    return sum('<figure class="drawn"' in bundle.get("text/html", "") for bundle in bundles)


def test_it_trains_draws_and_writes_the_run(tmp_path):
    done = papermill(tmp_path, "run", *SMOKE, "-p", "method", "accuracy_gated", "-y", TINY)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs" / "smoke").iterdir()
    record = RunRecord.read(folder)
    assert (record.config["method"], record.config["seed"], record.status) == ("accuracy_gated", 3, "complete")
    assert figures_drawn(tmp_path) == 2


def test_the_companion_s_trains_on_a_file_of_the_users_own_and_draws(tmp_path):
    """Overrides are JSON text here, and YAML to papermill, for which 1e-3 is no number."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    savemat(tmp_path / "my.mat", {"X": rng.normal(size=(60, 10)) + labels[:, None], "Y": labels})
    overrides = '{"hidden": [30, 20], "epochs": 6, "learning_rate": 1e-3}'
    done = papermill(tmp_path, "set", "-p", "dataset", str(tmp_path / "my.mat"), "-r", "overrides", overrides)
    assert done.returncode == 0, done.stderr
    [record] = find_set_records(tmp_path / "runs")
    assert (record.config["dataset"], record.config["method"], record.config["seed"]) == ("my.mat", "set_pruned", 3)
    assert record.learning_rate == 0.001 and record.neurons_left == [15, 10]
    assert figures_drawn(tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "given", "record"),
    [
        ("run", {"preset": "smoke", "seed": 3, "overrides": SMALL, "device": "cpu"}, "record.json"),
        ("set", {"dataset": "breast_cancer", "overrides": {"hidden": [12, 9], "epochs": 6}}, "set.parquet"),
    ],
)
def test_run_all_works_twice_in_one_kernel_under_a_user_s_own_profile(name, given, record, tmp_path):
    """Names from an IPython start-up file, and those of the first pass, are nobody's parameters."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "mine.py").write_text("mine, method_of_mine = 3, 'x'\nimport numpy as np\n", encoding="utf-8")
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    given_lines = "\n".join(f"{key} = {value!r}" for key, value in (given | {"output_dir": str(tmp_path)}).items())
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(f"# Parameters\n{given_lines}\n"))
    notebook.cells += [cell.copy() for cell in notebook.cells]
    for cell in notebook.cells:
        cell.id = nbformat.v4.new_code_cell().id
    path = tmp_path / "twice.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "jupyter", "execute", str(path), "--inplace"]
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.rglob(record))) == 1


def test_a_mistake_ends_with_one_sentence(tmp_path):
    done = papermill(tmp_path, "run", *SMOKE, "-p", "methd", "dense")
    assert done.returncode != 0
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("InputError: ")]
    assert "unknown parameter 'methd': the notebook takes preset, method" in sentence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('seed = "three"', "seed is 'three', but should be a valid integer"),
        ('method = ["dense"]', "method is ['dense'], but"),
        ("overrides = 3", "overrides is 3, but must be a dict of fields"),
        ('data_dir = "/nowhere/images"', "/nowhere/images"),
        ("output_dir = 2024", "output_dir is 2024, but must be the name of a folder, as text"),
    ],
)
def test_a_parameter_of_another_kind_is_told_in_one_sentence(change, message):
    """The notebook's own code, without a kernel: cells up to the training."""
    cells = [
        cell.source for cell in nbformat.read(ROOT / "notebooks" / "run.ipynb", 4).cells if cell.cell_type == "code"
    ]
    names: dict[str, object] = {"In": []}
    with pytest.raises(InputError) as caught:
        for source in (cells[0], f'preset, device = "smoke", "cpu"\n{change}', cells[1], cells[2]):
            exec(source, names)
    assert message in str(caught.value) and "\n" not in str(caught.value)
