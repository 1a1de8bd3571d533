"""The companion's parameterised run through papermill, as a researcher calls it: a real process."""

import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
from scipy.io import savemat

from conftest import ROOT
from sparsecycle.set_mlp.records import find_set_records


def test_it_trains_on_a_file_of_the_users_own_and_draws(tmp_path: Path) -> None:
    """Overrides are JSON text here, and YAML to papermill, for which 1e-3 is no number."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    savemat(tmp_path / "my.mat", {"X": rng.normal(size=(60, 10)) + labels[:, None], "Y": labels})
    output, overrides = tmp_path / "executed.ipynb", '{"hidden": [30, 20], "epochs": 6, "learning_rate": 1e-3}'
    command = [sys.executable, "-m", "papermill", "notebooks/set.ipynb", str(output), "--no-progress-bar"]
    command += ["-p", "dataset", str(tmp_path / "my.mat"), "-p", "output_dir", str(tmp_path / "runs")]
    command += ["-p", "seed", "3", "-r", "overrides", overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [record] = find_set_records(tmp_path / "runs")
    assert (record.config["dataset"], record.config["method"], record.config["seed"]) == ("my.mat", "set_pruned", 3)
    assert record.learning_rate == 0.001 and record.neurons_left == [15, 10]
    bundles = [out.data for cell in nbformat.read(output, 4).cells for out in cell.get("outputs", []) if "data" in out]
    assert sum('<figure class="drawn"' in bundle.get("text/html", "") for bundle in bundles) == 1
