"""What is written can be read, is whole or not there, and damage is told in one sentence."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import without_checksum
from sparsecycle import RunConfig, load_runs, train
from sparsecycle.files import write_atomically
from sparsecycle.errors import InputError
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.provenance import PACKAGE, TRAINING_SOURCES
from sparsecycle.runs.records import RunRecord, load_epochs, read_epochs, read_predictions
from sparsecycle.analysis.verification import verify_runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    for method in ("dense", "plateau"):
        small = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 2, "warmup_epochs": 0}
        train(RunConfig(preset="smoke", method=method, **small), output_dir=output, progress=False)
    return output


def folder_of(output: Path, method: str) -> Path:
    return next((output / "smoke").glob(f"{method}-seed0*"))


def copy_of(finished: Path, tmp_path: Path, method: str = "plateau") -> Path:
    source, target = folder_of(finished, method), tmp_path / "copy" / "run"
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_record_round_trips(finished: Path, tmp_path: Path) -> None:
    record = RunRecord.read(folder_of(finished, "plateau"))
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record


def test_numbers_that_are_not_finite_survive_the_round_trip(finished: Path, tmp_path: Path) -> None:
    record = RunRecord.read(folder_of(finished, "plateau"))
    record.metrics["test_loss"] = math.inf
    record.budgets[0].loss = math.nan
    record.write(tmp_path)
    again = RunRecord.read(tmp_path)
    assert again.metrics["test_loss"] == math.inf and math.isnan(again.budgets[0].loss)


def test_fixed_runs_at_other_budgets_are_variants(finished: Path, tmp_path: Path) -> None:
    for keep_ratio in (0.25, 0.1):
        small = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 1, "warmup_epochs": 0}
        train(
            RunConfig(preset="smoke", method="fixed", keep_ratio=keep_ratio, **small),
            output_dir=tmp_path,
            progress=False,
        )
    variants = load_runs(tmp_path)["variant"]
    assert sum("keep_ratio=0.1" in variant for variant in variants) == 1
    assert not any("keep_ratio=0.25" in variant for variant in variants)


def test_a_run_leaves_exactly_these_files(finished: Path) -> None:
    names = {path.name for path in folder_of(finished, "plateau").iterdir()}
    assert names == {"record.json", "epochs.parquet", "predictions.npz", "model.safetensors"}


def test_no_path_and_no_host_name_is_recorded(finished: Path) -> None:
    import socket

    text = (folder_of(finished, "plateau") / "record.json").read_text(encoding="utf-8")
    assert str(finished) not in text and str(PACKAGE) not in text and str(Path.home()) not in text
    assert f'"{socket.gethostname()}"' not in text


def test_load_runs_has_a_row_a_run_with_the_documented_columns(finished: Path) -> None:
    runs = load_runs(finished)
    assert runs[["preset", "method", "seed"]].to_numpy().tolist() == [["smoke", "dense", 0], ["smoke", "plateau", 0]]
    for column in ("variant", "test_accuracy", "gap", "drop_from_best", "budget_area", "accuracy_at_0.02", "device"):
        assert runs[column].notna().all(), column
    assert runs["variant"].str.contains("epochs=2").all()
    assert len(load_epochs(finished)) == 4


def test_the_metrics_follow_from_predictions_and_history(finished: Path) -> None:
    folder = folder_of(finished, "dense")
    record, predictions = RunRecord.read(folder), read_predictions(folder)
    assert list(predictions) == record.config["budgets"]
    assert all(classes.dtype == np.uint8 and len(classes) == 20 for classes in predictions.values())
    last, best = read_epochs(folder)["test_accuracy"].iloc[-1], read_epochs(folder)["test_accuracy"].max()
    assert record.metrics["test_accuracy"] == last
    assert record.metrics["drop_from_best"] == best - last
    assert all(run.checked and not run.problems for run in verify_runs(finished))


def test_verify_finds_an_altered_number(finished: Path, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    raw = without_checksum(folder / "record.json")
    raw["budgets"][2]["accuracy"] += 0.05
    (folder / "record.json").write_text(json.dumps(raw), encoding="utf-8")
    [run] = verify_runs(tmp_path / "copy")
    assert len(run.problems) == 1 and run.problems[0].startswith("accuracy at 0.25 is recorded as")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if how == "truncated" else b"\x00" + content[1:])


@pytest.mark.parametrize("how", ["truncated", "altered"])
@pytest.mark.parametrize(
    ("name", "read"),
    [("record.json", RunRecord.read), ("epochs.parquet", read_epochs), ("predictions.npz", read_predictions)],
)
def test_damage_is_told_in_one_sentence(finished: Path, tmp_path: Path, name: str, read: Any, how: str) -> None:
    folder = copy_of(finished, tmp_path)
    damage(folder / name, how)
    with pytest.raises(InputError, match=name) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_another_schema_version_is_refused(finished: Path, tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    raw = without_checksum(folder / "record.json")
    (folder / "record.json").write_text(json.dumps(raw | {"schema_version": 99}), encoding="utf-8")
    with pytest.raises(InputError, match="schema version 99, but this library reads 1"):
        RunRecord.read(folder)


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist: give a folder of runs"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no record\.json"):
        RunRecord.read(tmp_path)
    assert load_runs(tmp_path).empty


def test_overrides_get_a_folder_of_their_own(tmp_path: Path) -> None:
    plain = run_folder(RunConfig(preset="quick", method="dense"), tmp_path)
    changed = run_folder(RunConfig(preset="quick", method="dense", learning_rate=0.5, norm="batch"), tmp_path)
    assert plain == tmp_path / "quick" / "dense-seed0"
    assert changed == tmp_path / "quick" / "dense-seed0-learning_rate=0.5-norm=batch"
    budgets = [run_folder(RunConfig(preset="quick", method="fixed", keep_ratio=r), tmp_path) for r in (0.1, 0.2)]
    assert budgets[0] != budgets[1]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".file.123.partial").write_bytes(b"half")
    write_atomically(tmp_path / "file", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_no_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_source_hash_covers_every_file_that_training_imports() -> None:
    code = "import sys, sparsecycle.runs.execute; print(*[m for m in sys.modules if m.startswith('sparsecycle.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[1] for name in done.stdout.split()}
    # Images are held to pinned sums wherever they come from, and records are written after the numbers are known.
    indifferent = {
        "atomic",
        "downloads",
        "errors",
        "folders",
        "npm",
        "packs",
        "provenance",
        "records",
        "sheets",
        "versioned",
    }
    indifferent |= {"measures", "stopping", "storage", "torchvision_import", "writing"}
    assert imported - indifferent == set(TRAINING_SOURCES)
