"""What is written can be read, is whole or not there, and damage is told in one sentence."""

import math
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import alter
from sparsecycle import RunConfig, load_runs, train
from sparsecycle.controllers import Decision
from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.metrics import decision_table, path_metrics
from sparsecycle.runs.records import (
    Correct,
    RunRecord,
    load_decisions,
    load_epochs,
    read_correct,
    read_decisions,
    read_epochs,
    write_correct,
)
from sparsecycle.runs.source import PACKAGE


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    for method in ("dense", "accuracy_gated"):
        small = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 2}
        train(RunConfig(preset="smoke", method=method, **small), output_dir=output, progress=False)
    return output


def folder_of(output: Path, method: str) -> Path:
    return next((output / "smoke").glob(f"{method}-seed0*"))


def test_a_record_survives_the_round_trip_and_so_do_numbers_that_are_not_finite(finished, tmp_path):
    record = RunRecord.read(folder_of(finished, "accuracy_gated"))
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record
    record.metrics["gap"] = math.inf
    record.budgets[0].loss = math.nan
    record.write(tmp_path)
    again = RunRecord.read(tmp_path)
    assert again.metrics["gap"] == math.inf and math.isnan(again.budgets[0].loss)


def test_a_run_leaves_exactly_these_files(finished):
    names = {path.name for path in folder_of(finished, "accuracy_gated").iterdir()}
    assert names == {"record.json", "epochs.parquet", "decisions.parquet", "correct.npz", "model.safetensors"}


def test_no_path_and_no_host_name_is_recorded(finished):
    import socket

    text = (folder_of(finished, "accuracy_gated") / "record.json").read_text(encoding="utf-8")
    assert str(finished) not in text and str(PACKAGE) not in text and str(Path.home()) not in text
    assert f'"{socket.gethostname()}"' not in text


def test_load_runs_has_a_row_a_run_with_the_documented_columns(finished):
    runs = load_runs(finished)
    named = [["smoke", "accuracy_gated", 0], ["smoke", "dense", 0]]
    assert runs[["preset", "method", "seed"]].to_numpy().tolist() == named
    for column in ("last_accuracy", "best_accuracy", "clean_accuracy", "gap", "budget_area", "accuracy_at_0.02"):
        assert runs[column].notna().all(), column
    assert runs["variant"].str.contains("epochs=2").all()
    assert len(load_epochs(finished)) == 4 and len(load_decisions(finished)) == 2


def test_a_record_made_anew_is_read_anew(finished, tmp_path):
    """Records are read once a process, for as long as their files stay as they are."""
    folder = shutil.copytree(folder_of(finished, "accuracy_gated"), tmp_path / "copy" / "run")
    assert load_runs(tmp_path)["status"].tolist() == ["complete"]
    alter(folder / "record.json", lambda record: record.update(status="diverged"))
    assert load_runs(tmp_path)["status"].tolist() == ["diverged"]


def test_the_metrics_follow_from_the_files_beside_the_record(finished):
    folder = folder_of(finished, "accuracy_gated")
    record, correct, epochs = RunRecord.read(folder), read_correct(folder), read_epochs(folder)
    assert list(correct.budgets) == record.config["budgets"]
    assert record.metrics["last_accuracy"] == epochs["test_accuracy"].iloc[-1] == correct.dense[-1].mean()
    assert record.metrics["best_accuracy"] == epochs["test_accuracy"].max()
    assert record.metrics["decisions"] == len(read_decisions(folder)) == 2


@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_which_images_were_right_survives_the_round_trip(looks, images, seed):
    dense, sparse = np.random.default_rng(seed).random((2, looks, images)) < 0.8
    config = RunConfig(preset="smoke", method="dense")
    correct = Correct(dense, sparse, {keep: dense[-1] ^ (keep < 0.2) for keep in config.budgets})
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        write_correct(Path(name), correct, config.budgets)
        patch.setattr(RunRecord, "read", lambda _: SimpleNamespace(config=config.model_dump(mode="json")))
        stored = read_correct(Path(name))
    assert np.array_equal(stored.dense, dense) and np.array_equal(stored.sparse, sparse)
    assert list(stored.budgets) == list(config.budgets)
    assert all(np.array_equal(stored.budgets[keep], right) for keep, right in correct.budgets.items())


def test_what_a_controller_did_is_counted_by_hand_here():
    """8 steps: 1 1 | 0.5 0.5 | 0.9 0.9 | 1 | 0.25; the last decision has no step."""
    made = [(2, 0.5, False), (4, 0.9, True), (6, 1.0, True), (7, 0.25, False), (8, 1.0, True)]
    table = decision_table([Decision(step, None, None, keep, reset) for step, keep, reset in made])
    config = RunConfig(preset="smoke", method="accuracy_gated")
    found = path_metrics(table, config, steps=8)
    assert found.pop("mean_keep_ratio") == pytest.approx((0.5**2 * 0.9**2 * 0.25) ** (1 / 8))
    # From 0.5 to 0.9 and from 0.25 to 1: cycles. From 0.9 to 1: idle.
    assert found == {"decisions": 5, "resets": 3, "idle_resets": 1, "cycles": 2, "lowest_keep_ratio": 0.25}
    dense = path_metrics(decision_table([]), RunConfig(preset="smoke", method="dense"), steps=8)
    assert dense["mean_keep_ratio"] == dense["lowest_keep_ratio"] == 1.0 and dense["decisions"] == 0
    fixed = path_metrics(decision_table([]), RunConfig(preset="smoke", method="fixed", keep_ratio=0.3), steps=8)
    assert fixed["mean_keep_ratio"] == pytest.approx(0.3)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist: give a folder of runs"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no record\.json"):
        RunRecord.read(tmp_path)
    assert load_runs(tmp_path).empty


def test_overrides_get_a_folder_of_their_own(tmp_path):
    plain = run_folder(RunConfig(preset="quick", method="dense"), tmp_path)
    changed = run_folder(RunConfig(preset="quick", method="dense", learning_rate=0.5, scope="batch"), tmp_path)
    assert plain == tmp_path / "quick" / "dense-seed0"
    assert changed == tmp_path / "quick" / "dense-seed0-learning_rate=0.5-scope=batch"
    budgets = [run_folder(RunConfig(preset="quick", method="fixed", keep_ratio=r), tmp_path) for r in (0.1, 0.2)]
    assert budgets[0] != budgets[1]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / ".file.123.partial").write_bytes(b"half")
    write_atomically(tmp_path / "file", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_no_leftovers(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
