"""Records on the disk, their verification, and that those of the project are small and right."""

import math
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.runs.writing import PATIENCE, sole_writer
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.records import FILE, SetRecord, add_record, load_set_runs, read_records, write_records
from sparsecycle.set_mlp.training import train_set
from sparsecycle.set_mlp.verification import verify_set_claims, verify_set_runs

TINY: dict[str, Any] = {"dataset": "breast_cancer", "hidden": (12, 9), "epochs": 6, "batch_size": 32}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> SetRecord:
    """Of a network that was tuned, and pruned."""
    config = SetConfig(method="set_pruned", arm="tuned", dropout=0.0, **TINY)
    return train_set(config, output_dir=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_record_is_read_as_it_was_written(record, tmp_path):
    diverged = record.model_copy(
        update={"status": "diverged", "history": record.history | {"train_loss": [1.0, 2.0, math.nan]}, "overrides": {}}
    )
    write_records(tmp_path / FILE, [record, diverged])
    first, second = read_records(tmp_path / FILE)
    assert first == record and second.results() == diverged.results()
    assert read_records(tmp_path / FILE, record.name()) == [record]
    for correct in ([True] * 8, [False, True, True], [True]):
        write_records(tmp_path / FILE, [record.model_copy(update={"correct": correct})])
        assert read_records(tmp_path / FILE)[0].correct == correct


def test_records_of_a_dataset_share_a_file(record, tmp_path):
    other = record.model_copy(update={"config": record.config | {"seed": 1}, "identity": "1" * 64})
    for one in (other, record, record):
        add_record(tmp_path, one)
    path = tmp_path / "set" / "breast_cancer" / FILE
    assert read_records(path) == [record, other] and path.stat().st_size < 15_000
    row = load_set_runs(tmp_path).set_index("seed").loc[0]
    assert row["variant"] == "batch_size=32, dropout=0.0, epochs=6, hidden=[12,9]" and row["batch_size"] == 32
    assert row["last_accuracy"] == record.metrics["last_accuracy"] and row["arm"] == "tuned"


def test_a_record_waits_while_another_process_adds_its_own(record, tmp_path):
    path = tmp_path / "set" / "breast_cancer" / FILE
    with sole_writer(path.parent, FILE):
        late = Thread(target=add_record, args=(tmp_path, record))
        late.start()
        late.join(2 * PATIENCE)
        assert late.is_alive() and not path.exists()
    late.join()
    assert read_records(path) == [record]


def test_a_wrong_bit_and_a_cut_file_are_told_in_one_sentence(record, tmp_path):
    path = tmp_path / FILE
    write_records(path, [record])
    whole = path.read_bytes()
    for place in range(4, len(whole) - 4, 211):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_records(path) == [record], "only what no value depends on may pass"
        except InputError as error:
            assert f"{path} is " in str(error) and "\n" not in str(error)
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"is damaged \(.*\): restore it, or delete it and make its runs again"):
        load_set_runs(tmp_path)
    add_record(tmp_path, record)
    damaged, sound = sorted(verify_set_runs(tmp_path), key=lambda one: one.checked)
    assert (sound.name, sound.problems) == (record.name(), ())
    assert damaged.checked == 0 and "is damaged" in damaged.problems[0]
    assert verify_set_claims([damaged]) == (0, ())


def verified(record: SetRecord, folder: Path) -> tuple[str, ...]:
    add_record(folder, record)
    [run] = verify_set_runs(folder)
    assert run.name == record.name() and run.checked > 15
    return run.problems


def test_a_sound_record_has_no_problems(record, tmp_path, capsys):
    assert verified(record, tmp_path) == ()
    assert main(["verify", str(tmp_path)]) == 0
    assert "runs: 1, numbers recomputed: 19, all equal" in capsys.readouterr().out


CHANGES: dict[str, tuple[Any, str]] = {
    "a metric": (lambda one: {"metrics": one.metrics | {"best_accuracy": 0.999}}, "best_accuracy is recorded as 0.999"),
    "guessing": (lambda one: {"metrics": one.metrics | {"majority_accuracy": 0.1}}, "majority_accuracy is recorded"),
    "a bit": (lambda one: {"correct": [not one.correct[0], *one.correct[1:]]}, "right test samples is recorded as"),
    "the choice": (lambda one: {"learning_rate": 0.5}, "learning_rate is recorded as 0.5, the record's parts give"),
    "an inner run": (lambda one: {"trials": one.trials[:-1]}, "inner runs is recorded as 14"),
    "the configuration": (lambda one: {"config": one.config | {"zeta": 0.2}}, "its identity is not that of its"),
    "the status": (
        lambda one: {"status": "diverged", "metrics": dict.fromkeys(one.metrics)},
        "it is recorded as diverged, which its last loss contradicts",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_is_found(what, record, tmp_path):
    change, told = CHANGES[what]
    assert any(told in problem for problem in verified(record.model_copy(update=change(record)), tmp_path))


def test_a_run_on_a_file_of_the_users_own_is_verified_without_it(record, tmp_path):
    made = record.provenance
    own = {"config": record.config | {"dataset": "my.mat"}, "provenance": made.model_copy(update={"data_sha256": "0"})}
    problems = verified(record.model_copy(update=own), tmp_path)
    assert problems == ("its identity is not that of its configuration, source and images",)


def test_a_run_whose_record_says_otherwise_changes_the_claims():
    """Of the project's records, each of which is sound by `test_the_shipped_runs_are_what_they_were_recorded_as`."""
    folder = ROOT / "data" / "runs"
    files = list((folder / "set").rglob("*.*"))
    assert sum(path.stat().st_size for path in files) < 8e6 and {path.name for path in files} <= {FILE, ".lock"}
    runs = list(verify_set_runs(folder))
    checked, problems = verify_set_claims(runs)
    assert checked > 100 and problems == ()
    first = next(i for i, run in enumerate(runs) if run.recorded["method"] == "set")
    runs[first] = replace(runs[first], recomputed=runs[first].recomputed | {"last_accuracy": 0.0})
    told = "claims of SET, scoring 'majority', D2 by last_accuracy against set: mean is"
    assert any(one.startswith(told) for one in verify_set_claims(runs)[1])
