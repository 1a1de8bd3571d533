"""Recorded numbers recomputed from the record's parts: true ones pass, and each one that is spoilt is found."""

from pathlib import Path

import pytest

from sparsecycle.cli import main
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.records import SetRecord
from sparsecycle.set_mlp.training import train_set
from sparsecycle.set_mlp.verification import verify_set_runs


@pytest.fixture
def record(tmp_path: Path) -> SetRecord:
    config = SetConfig(dataset="digits", method="set_pruned", hidden=(30, 20), epochs=4, batch_size=64)
    return train_set(config, output_dir=tmp_path, progress=False)


def folder(tmp_path: Path, record: SetRecord) -> Path:
    return tmp_path / record.name()


def test_a_finished_run_agrees_with_itself(tmp_path: Path, record: SetRecord) -> None:
    [(name, checked, problems)] = verify_set_runs(tmp_path)
    assert (name, problems) == (record.name(), [])
    assert checked == 10


@pytest.mark.parametrize("name", ["test_accuracy", "best_test_accuracy", "train_accuracy", "gap", "neurons_left"])
def test_a_spoilt_metric_is_found(tmp_path: Path, record: SetRecord, name: str) -> None:
    value = record.metrics[name]
    assert value is not None
    spoilt = record.model_copy(update={"metrics": record.metrics | {name: value + 0.001}})
    spoilt.write(folder(tmp_path, record))
    [(_, _, problems)] = verify_set_runs(tmp_path)
    assert [problem.split(" is recorded")[0] for problem in problems] == [name]


@pytest.mark.parametrize("field", ["parameters", "flops"])
def test_a_spoilt_count_is_found(tmp_path: Path, record: SetRecord, field: str) -> None:
    record.model_copy(update={field: getattr(record, field) + 1}).write(folder(tmp_path, record))
    [(_, _, problems)] = verify_set_runs(tmp_path)
    assert len(problems) == 1
    assert field in problems[0]


def test_predictions_and_labels_that_were_changed_together_are_found(tmp_path: Path, record: SetRecord) -> None:
    other = [(label + 1) % 10 for label in record.labels]
    moved = [(label + 1) % 10 for label in record.predictions]
    record.model_copy(update={"labels": other, "predictions": moved}).write(folder(tmp_path, record))
    [(_, _, problems)] = verify_set_runs(tmp_path)
    assert problems == ["the labels are not those of digits, split by seed 0"]


def test_an_identity_that_is_not_the_configuration_s_is_found(tmp_path: Path, record: SetRecord) -> None:
    relabelled = record.model_copy(update={"config": record.config | {"zeta": 0.2}})
    relabelled.write(folder(tmp_path, record))
    [(_, _, problems)] = verify_set_runs(tmp_path)
    assert problems == ["its identity is not that of its configuration, source and data"]


def test_a_run_that_is_called_diverged_and_did_not_is_found(tmp_path: Path, record: SetRecord) -> None:
    empty = dict.fromkeys(record.metrics)
    record.model_copy(update={"status": "diverged", "metrics": empty}).write(folder(tmp_path, record))
    [(_, _, problems)] = verify_set_runs(tmp_path)
    assert problems == ["it is recorded as diverged, which its last loss contradicts"]


def test_the_command_verifies_these_runs_too(
    tmp_path: Path, record: SetRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path)]) == 0
    assert f"{record.name()}: 10 numbers recomputed, all equal" in capsys.readouterr().out
    record.model_copy(update={"flops": 1}).write(folder(tmp_path, record))
    assert main(["verify", str(tmp_path)]) == 1
    assert "flops is recorded as 1" in capsys.readouterr().out
