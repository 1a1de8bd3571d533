"""Recorded numbers recomputed from the record's parts: true ones pass, and each one that is spoilt is found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.record import SetRecord
from sparsecycle.set_mlp.records import FILE, write_records
from sparsecycle.set_mlp.training import train_set
from sparsecycle.set_mlp.verification import verify_set_runs


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> SetRecord:
    config = SetConfig(dataset="digits", method="set_pruned", hidden=(30, 20), epochs=4, batch_size=64)
    return train_set(config, output_dir=tmp_path_factory.mktemp("runs"), progress=False)


def problems(folder: Path, record: SetRecord) -> list[str]:
    """What is found where this is the recorded run."""
    path = folder / record.name() / FILE
    path.parent.mkdir(parents=True)
    write_records(path, [record])
    [(name, checked, found)] = verify_set_runs(folder)
    assert (name, checked) == (record.name(), 13 if record.status == "complete" else 7)
    return found


def test_a_finished_run_agrees_with_itself(tmp_path: Path, record: SetRecord) -> None:
    assert problems(tmp_path, record) == []


@pytest.mark.parametrize("name", ["test_accuracy", "best_test_accuracy", "train_accuracy", "gap", "neurons_left"])
def test_a_spoilt_metric_is_found(tmp_path: Path, record: SetRecord, name: str) -> None:
    value = record.metrics[name]
    assert value is not None
    found = problems(tmp_path, replace(record, metrics=record.metrics | {name: value + 0.001}))
    assert [problem.split(" is recorded")[0] for problem in found] == [name]


@pytest.mark.parametrize("name", ["parameters", "flops"])
def test_a_spoilt_count_is_found(tmp_path: Path, record: SetRecord, name: str) -> None:
    changed: dict[str, Any] = {name: getattr(record, name) + 1}
    [problem] = problems(tmp_path, replace(record, **changed))
    assert name in problem


def test_a_test_sample_that_is_called_right_and_was_not_is_found(tmp_path: Path, record: SetRecord) -> None:
    wrong = record.correct.index(False)
    better = replace(record, correct=[*record.correct[:wrong], True, *record.correct[wrong + 1 :]])
    found = problems(tmp_path, better)
    assert [problem.split(" is recorded")[0] for problem in found] == ["right test samples", "test_accuracy", "gap"]


@pytest.mark.parametrize("part", ["identity", "data"])
def test_an_identity_that_is_not_the_configuration_s_is_found(tmp_path: Path, record: SetRecord, part: str) -> None:
    data = record.provenance.model_copy(update={"data_sha256": "0" * 64})
    changed: dict[str, Any] = {"provenance": data} if part == "data" else {"config": record.config | {"zeta": 0.2}}
    found = problems(tmp_path, replace(record, **changed))
    assert found[0] == "its identity is not that of its configuration, source and data"
    assert found[1:] == (["its data are not those of digits (their SHA-256 differs)"] if part == "data" else [])


def test_a_run_that_is_called_diverged_and_did_not_is_found(tmp_path: Path, record: SetRecord) -> None:
    diverged = replace(record, status="diverged", metrics=dict.fromkeys(record.metrics))
    assert problems(tmp_path, diverged) == ["it is recorded as diverged, which its last loss contradicts"]


def test_the_command_verifies_these_runs_too(
    tmp_path: Path, record: SetRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problems(tmp_path, record) == []
    assert main(["verify", str(tmp_path)]) == 0
    assert f"{record.name()}: 13 numbers recomputed, all equal" in capsys.readouterr().out
    write_records(tmp_path / record.name() / FILE, [replace(record, flops=1)])
    assert main(["verify", str(tmp_path)]) == 1
    assert "flops is recorded as 1" in capsys.readouterr().out


def test_every_recorded_run_agrees_with_itself() -> None:
    found = list(verify_set_runs(ROOT / "data" / "runs", ROOT / "data" / "search"))
    assert len(found) == 1290 + 560
    assert [(name, problems) for name, _, problems in found if problems] == []
