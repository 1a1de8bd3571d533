"""Studies of the companion and its command line: declared, made side by side, compared; files of the user's own."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.records import add_record, find_record, load_set_runs, set_run_name
from sparsecycle.set_mlp.study import SetStudies, missing_runs
from sparsecycle.set_mlp.training import train_set

TINY = """
tiny:
  about: three runs of a second
  runs:
    - datasets: [breast_cancer]
      arms: [authors]
      methods: [dense, static, set]
      seeds: 0
      variants: [{hidden: [20, 20], epochs: 2, batch_size: 64}]
broken:
  about: data that are not there
  runs:
    - datasets: [colon, breast_cancer]
      arms: [authors]
      methods: [static]
      seeds: 0
      variants: [{hidden: [9], epochs: 1}]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "set.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


def test_the_projects_studies_are_the_plan_of_record():
    studies = SetStudies.read(ROOT / "workflow" / "set.yaml")
    authors = studies.configurations("authors")
    for arm, method in (("authors", "set"), ("authors", "set_pruned"), ("authors_2018", "set")):
        own = [config for config in authors if (config.arm, config.method) == (arm, method)]
        assert {config.dataset for config in own} == set(study_datasets()) and len(own) == 15 * 5
    assert not any(config.overrides() for config in authors)
    dense = studies.configurations("authors_dense")
    assert {config.dataset for config in dense} == set(study_datasets())
    assert {tuple(config.overrides().items()) for config in dense} == {(), (("learning_rate", 0.001),)}
    tuned = studies.configurations("tuned")
    assert {config.method for config in tuned} == {"dense", "set", "set_pruned"}
    assert all(config.is_tuned and not config.overrides() for config in tuned)
    splits = {
        method: {(config.dataset, config.seed) for config in tuned if config.method == method}
        for method in ("dense", "set", "set_pruned")
    }
    assert splits["set"] == splits["set_pruned"] > splits["dense"] and len(splits["dense"]) == 15 * 3
    assert "ablation" in studies.describe()


def test_a_study_is_made_once_two_at_a_time(grid, tmp_path, capsys):
    output = str(tmp_path / "runs")
    command = ["set", "study", "tiny", "--file", str(grid), "--output-dir", output, "--jobs", "2"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "tiny: 3 runs, 3 made" and len(lines) == 4
    assert set(load_set_runs(output)["variant"]) == {"batch_size=64, epochs=2, hidden=[20,20]"}
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["tiny: 3 runs, 3 there before, 0 made"]
    assert main(["set", "compare", output]) == 0
    assert "Claims (11 comparisons not measured)" in capsys.readouterr().out


def test_a_record_of_another_configuration_is_told_and_left_alone(grid, tmp_path):
    config, *others = SetStudies.read(grid).configurations("tiny")
    record = train_set(config, output_dir=tmp_path, progress=False)
    other = record.model_copy(update={"config": record.config | {"momentum": 0.5}})
    add_record(tmp_path, other)
    jobs, taken = missing_runs([config, *others], tmp_path)
    assert taken == [record.name()] and {job.name for job in jobs} == {set_run_name(one) for one in others}
    assert find_record(tmp_path, record.name()) == other


def test_what_cannot_be_made_is_left_out_and_told(grid, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    command = ["set", "study", "broken", "--file", str(grid), "--output-dir", str(tmp_path / "runs")]
    assert main([*command, "--data-dir", str(tmp_path / "data")]) == 1
    printed = capsys.readouterr().out
    assert "set/colon/authors-static-seed0-epochs=1-hidden=[9] failed: dataset colon cannot be read" in printed
    assert printed.splitlines()[-1] == "broken: 2 runs, 1 made, 1 failed"


def test_a_file_of_the_users_own_runs_from_the_command_line(tmp_path, capsys):
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    path, output = tmp_path / "my data.mat", tmp_path / "runs"
    savemat(path, {"X": rng.normal(size=(60, 10)) + 3 * labels[:, None], "Y": labels[:, None] + 1})
    run = ["set", "run", "--dataset", str(path), "--no-progress", "--output-dir", str(output)]
    run += ["--set", "epochs=4", "--set", "hidden=[12, 12]"]
    assert main([*run, "--method", "set"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("my data.mat authors set seed 0: test accuracy") and "my data.mat/set.parquet" in told
    assert main([*run, "--method", "set"]) == 0
    assert "already finished, read from" in capsys.readouterr().out
    assert main([*run, "--method", "fast"]) == 2
    assert capsys.readouterr().err.startswith("sparsecycle: method is 'fast', but should be 'dense', 'static'")
    assert main(["set", "compare", str(output)]) == 0 == main(["verify", str(output)])


def test_wrong_studies_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"file of studies .*none.yaml cannot be read"):
        SetStudies.read(tmp_path / "none.yaml")
    path = tmp_path / "set.yaml"
    path.write_text(
        "one: {about: x, runs: [{datasets: all, arms: [tuned], methods: [set], seeds: 0}]}", encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"file of studies .*set.yaml: one.runs.0.datasets"):
        SetStudies.read(path)
    path.write_text(path.read_text(encoding="utf-8").replace("all", "study"), encoding="utf-8")
    with pytest.raises(InputError, match="study is 'two', but must be one of one"):
        SetStudies.read(path).configurations("two")
