"""Studies of the companion and its command line: declared, made side by side, compared."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.datasets import search_datasets, study_datasets
from sparsecycle.set_mlp.record import set_run_name
from sparsecycle.set_mlp.records import FILE, load_set_runs, read_records, write_records
from sparsecycle.set_mlp.study import SetStudies, missing_runs
from sparsecycle.set_mlp.training import train_set

TINY = """
tiny:
  about: three runs of a second
  runs:
    - datasets: [breast_cancer]
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
    assert lines[-1] == "tiny: 3 runs, 3 made" and len(lines) == 4
    before = load_set_runs(output)
    assert len(before) == 3 and set(before["variant"]) == {"batch_size=64, epochs=2, hidden=[20,20]"}
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["tiny: 3 runs, 3 there before, 0 made"]
    assert main(["set", "compare", output]) == 2
    assert "every run in these folders has overrides: make one without" in capsys.readouterr().err


def test_a_record_of_another_configuration_is_told_and_left_alone(grid: Path, tmp_path: Path) -> None:
    config, *others = SetStudies.read(grid).configurations("tiny")
    output = tmp_path / "runs"
    record = train_set(config, output_dir=output, progress=False)
    other = replace(record, config=record.config | {"momentum": 0.5})
    write_records(output / record.name() / FILE, [other])
    jobs, taken = missing_runs([config, *others], output)
    assert taken == [record.name()] and {job.name for job in jobs} == {set_run_name(one) for one in others}
    assert read_records(output / record.name() / FILE) == [other]


def test_records_count_whatever_source_made_them() -> None:
    configurations = SetStudies.read(ROOT / "workflow" / "set.yaml").configurations("study")
    assert missing_runs(configurations, ROOT / "data" / "runs") == ([], [])


def test_what_cannot_be_made_is_left_out_and_told(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    command = ["set", "study", "broken", "--file", str(grid), "--output-dir", str(tmp_path / "runs")]
    assert main([*command, "--data-dir", str(tmp_path / "data")]) == 1
    printed = capsys.readouterr().out
    assert "set/colon/static-seed0-epochs=1-hidden=[9] failed: dataset colon cannot be read" in printed
    assert printed.splitlines()[-1] == "broken: 2 runs, 1 made, 1 failed"
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
    with pytest.raises(InputError, match=r"file of studies .*none.yaml cannot be read"):
        SetStudies.read(tmp_path / "none.yaml")
    path = tmp_path / "set.yaml"
    path.write_text("one: {about: x, runs: [{datasets: all, seeds: 0}]}", encoding="utf-8")
    with pytest.raises(InputError, match=r"file of studies .*set.yaml: one.runs.0.datasets"):
        SetStudies.read(path)
    path.write_text("one: {about: x, runs: [{datasets: study, seeds: 0}]}", encoding="utf-8")
    with pytest.raises(InputError, match="study is 'two', but must be one of one"):
        SetStudies.read(path).configurations("two")
