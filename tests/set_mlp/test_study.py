"""Studies of the companion and its command line: declared, made side by side, compared."""

import json
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT, without_checksum
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.datasets import search_datasets, study_datasets
from sparsecycle.set_mlp.records import load_set_runs, set_run_name
from sparsecycle.set_mlp.study import SetStudies, run_study

TINY = """
tiny:
  about: six runs of a second
  runs:
    - datasets: [breast_cancer, digits]
      methods: [dense, static, set]
      seeds: 0
      variants: [{hidden: [20, 20], epochs: 2, batch_size: 64}]
broken:
  about: data that are not there
  runs:
    - {datasets: [colon, breast_cancer], methods: [static], seeds: 0, variants: [{hidden: [9], epochs: 1}]}
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "set.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


def test_the_project_s_studies_can_be_made() -> None:
    studies = SetStudies.read(ROOT / "workflow" / "set.yaml")
    study = studies.configurations("study")
    assert len(study) == 15 * 4 * 5 and {config.dataset for config in study} == set(study_datasets())
    assert not any(config.overrides() for config in study)
    search = studies.configurations("search")
    counts = Counter(config.method for config in search)
    assert len(counts) == 4 and len(set(counts.values())) == 1, "every method gets the same effort"
    assert {config.dataset for config in search} == set(search_datasets())
    assert "study" in studies.describe()


def test_a_study_is_made_once_two_at_a_time_and_compared(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "runs")
    command = ["set", "study", "tiny", "--file", str(grid), "--output-dir", output, "--jobs", "2"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "tiny: 6 runs, 0 left out" and len(lines) == 7
    before = load_set_runs(output)
    assert len(before) == 6 and set(before["variant"]) == {"batch_size=64, epochs=2, hidden=[20,20]"}
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["tiny: 6 runs, 0 left out"]
    assert main(["set", "compare", output]) == 2
    assert "no finished run in these folders" in capsys.readouterr().err


def test_a_folder_with_another_configuration_is_told_and_left_alone(grid: Path, tmp_path: Path) -> None:
    configurations = SetStudies.read(grid).configurations("tiny")
    output = tmp_path / "runs"
    list(run_study(configurations, output))
    path = output / set_run_name(configurations[0]) / "set.json"
    record = without_checksum(path)
    record["config"]["momentum"] = 0.5
    path.write_text(json.dumps(record))
    [(name, reason)] = list(run_study(configurations, output))
    assert name == set_run_name(configurations[0])
    assert reason == "its folder holds the record of another configuration: move that folder away"
    assert json.loads(path.read_text()) == record


def test_what_cannot_be_made_is_left_out_and_told(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    command = ["set", "study", "broken", "--file", str(grid), "--output-dir", str(tmp_path / "runs")]
    assert main([*command, "--data-dir", str(tmp_path / "data")]) == 1
    printed = capsys.readouterr().out
    assert "set/colon/static-seed0-epochs=1-hidden=[9] is left out: dataset colon cannot be read" in printed
    assert printed.splitlines()[-1] == "broken: 2 runs, 1 left out"
    assert len(load_set_runs(tmp_path / "runs")) == 1


def test_run_and_compare_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["set", "run", "--dataset", "breast_cancer", "--no-progress", "--output-dir", str(tmp_path)]
    quick = ["--set", "epochs=4", "--set", "hidden=[12, 12]"]
    assert main([*run, "--method", "set", *quick]) == 0
    assert "breast_cancer set seed 0: test accuracy" in capsys.readouterr().out
    assert main([*run, "--method", "set", *quick]) == 0
    assert "already finished, read from" in capsys.readouterr().out
    assert main([*run, "--method", "fast"]) == 2
    assert capsys.readouterr().err.startswith(
        "sparsecycle: method is 'fast', but should be 'dense', 'static', 'set' or"
    )


def test_wrong_studies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grid file .*none.yaml cannot be read"):
        SetStudies.read(tmp_path / "none.yaml")
    path = tmp_path / "set.yaml"
    path.write_text("one: {about: x, runs: [{datasets: all, seeds: 0}]}", encoding="utf-8")
    with pytest.raises(InputError, match=r"grid file .*set.yaml: one.runs.0.datasets"):
        SetStudies.read(path)
    path.write_text("one: {about: x, runs: [{datasets: study, seeds: 0}]}", encoding="utf-8")
    with pytest.raises(InputError, match="study is 'two', but must be one of one"):
        SetStudies.read(path).configurations("two")
