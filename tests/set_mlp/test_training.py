"""Whole runs of the companion study on embedded datasets: counts, determinism, interrupts, records of other runs."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from sparsecycle.data.tabular import load_dataset
from sparsecycle.errors import InputError
from sparsecycle.runs.checkpoints import CheckpointWriter, checkpoint_files
from sparsecycle.runs.writing import LOCK, sole_writer
from sparsecycle.set_mlp.config import METHODS, SetConfig
from sparsecycle.set_mlp.records import FILE, add_record, find_record, load_set_runs, set_run_name
from sparsecycle.set_mlp.training import SetTraining, train_set

SMALL: dict[str, Any] = {"dataset": "breast_cancer", "hidden": (40, 30), "epochs": 8, "batch_size": 16}
SMALL |= {"learning_rate": 0.1, "dropout": 0.1}
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["sparsecycle.set_mlp.training"])


def small(method: str, **more: Any) -> SetConfig:
    sparse = {} if method == "dense" else {"epsilon": 8.0}
    return SetConfig(method=method, **SMALL | sparse | more)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_keeps_its_counts(method, tmp_path):
    config = small(method)
    record = train_set(config, output_dir=tmp_path, progress=False)
    assert record.status == "complete" and record.metrics["last_accuracy"] > 0.85
    assert find_record(tmp_path, set_run_name(config)) == record == train_set(config, output_dir=tmp_path)
    history = record.history
    counts = [30 * 40, 40 * 30, 30 * 2] if method == "dense" else [8 * 70, 8 * 70, 60]
    assert history["connections"][0] == sum(counts)
    if method == "set_pruned":
        assert record.neurons_left == [20, 15] and sum(record.connections) < sum(counts)
        assert history["neurons_left"] == sorted(history["neurons_left"], reverse=True)
        assert len(set(history["neurons_left"])) > 3, "half of the epochs take part in pruning"
    else:
        assert record.connections == counts and set(history["connections"]) == {sum(counts)}
        assert record.neurons_left == [40, 30]
    assert record.metrics["parameters"] == sum(record.connections) + sum(record.neurons_left) + 2
    assert sorted(path.name for path in (tmp_path / "set" / "breast_cancer").iterdir()) == [FILE]


def test_the_same_seed_gives_the_same_run_and_each_choice_another(tmp_path):
    first = train_set(small("set_pruned"), output_dir=tmp_path / "a", progress=False)
    assert first.results() == train_set(small("set_pruned"), output_dir=tmp_path / "b", progress=False).results()
    losses = {tuple(first.history["train_loss"])}
    others = [{"seed": 1}, {"prune_score": "random"}, {"start": "he"}, {"growth": "he_inputs"}]
    others += [{"loss": "squared_error"}, {"evolve_output": False}, {"dropout_scaling": "training"}]
    others += [{"divided_twice": False}]
    for change in others:
        found = train_set(small("set_pruned", **change), output_dir=tmp_path / "b", progress=False)
        losses.add(tuple(found.history["train_loss"]))
    assert len(losses) == 1 + len(others)
    assert len(load_set_runs(tmp_path)) == 1 + len(others), "a run that lies twice counts once"


@pytest.mark.parametrize(
    ("method", "by", "arm"),
    [("set_pruned", "SIGKILL", "authors"), ("dense", "SIGTERM", "authors"), ("set", "SIGTERM", "tuned")],
)
def test_a_run_that_is_stopped_goes_on_and_ends_the_same(method, by, arm, tmp_path):
    """Two real interrupts, each once a further checkpoint is there; the tuned arm is hit in its inner runs."""
    more: dict[str, Any] = {"learning_rate": None, "epochs": 12} if arm == "tuned" else {"epochs": 60}
    config = small(method, arm=arm, **more)
    folder = tmp_path / "stopped" / set_run_name(config)
    quick: dict[str, Any] = {"output_dir": tmp_path / "stopped", "progress": False, "checkpoint_seconds": 0.0}
    seen: set[str] = set()
    for _ in range(2):
        process = FORKED.Process(target=train_set, args=(config,), kwargs=quick)
        process.start()
        while process.is_alive() and {path.name for path in folder.glob("checkpoint-*")} <= seen:
            time.sleep(0.005)
        os.kill(process.pid, signal.Signals[by])
        process.join()
        seen |= {path.name for path in folder.glob("checkpoint-*")}
    assert find_record(tmp_path / "stopped", set_run_name(config)) is None
    record = train_set(config, output_dir=tmp_path / "stopped", progress=False)
    alone = train_set(config, output_dir=tmp_path / "alone", progress=False)
    assert record.provenance.resumes == 2 and alone.provenance.resumes == 0
    assert record.results() == alone.results()
    assert not folder.exists()


def interrupted(config: SetConfig, output: Path) -> Path:
    """The folder of a run that has done four epochs; its checkpoints are of epochs 3 and 4."""
    folder = output / set_run_name(config)
    folder.mkdir(parents=True)
    run = SetTraining(config, load_dataset(config.dataset), folder)
    with CheckpointWriter(folder) as writer:
        for _ in range(4):
            run.state.history.append(run._epoch(run._learner()))
            writer.save(run._checkpoint())
    return folder


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    config = small("set_pruned")
    folder = interrupted(config, tmp_path)
    newest, older = checkpoint_files(folder)
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    run = SetTraining(config, load_dataset(config.dataset), folder)
    run.resume()
    assert len(run.state.history) == 3 and run.origin == older
    record = train_set(config, output_dir=tmp_path, progress=False)
    assert record.results() == train_set(config, output_dir=tmp_path / "alone", progress=False).results()


def test_a_checkpoint_of_another_run_is_refused_and_another_machine_is_noted(tmp_path, caplog, monkeypatch):
    folder = interrupted(small("set"), tmp_path)
    other = tmp_path / set_run_name(small("set", zeta=0.2))
    folder.rename(other)
    with pytest.raises(InputError, match=r"holds a run under way with another zeta \(0.3, then 0.2\): finish it"):
        train_set(small("set", zeta=0.2), output_dir=tmp_path, progress=False)
    other.rename(folder)
    monkeypatch.setattr("sparsecycle.runs.provenance._cpu_name", lambda: "another one")
    record = train_set(small("set"), output_dir=tmp_path, progress=False)
    assert "then another one" in record.provenance.changed["cpu"]
    assert "numbers may differ from those of a run left alone" in caplog.text


def test_only_one_process_writes_to_a_run(tmp_path):
    config = small("set")
    with sole_writer(tmp_path / set_run_name(config)), pytest.raises(InputError, match="another process is writing to"):
        train_set(config, output_dir=tmp_path, progress=False)


def test_a_lock_s_file_goes_before_its_lock(tmp_path, monkeypatch):
    """Or one process would lock the old file, and another one a new one of the same name."""
    released, there = FileLock.release, list[bool]()

    def release(lock: FileLock, force: bool = False) -> None:
        there.append((tmp_path / LOCK).exists())
        released(lock, force)

    monkeypatch.setattr(FileLock, "release", release)
    with sole_writer(tmp_path):
        (tmp_path / "record.json").touch()
    assert there[0] is False and not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("method", ["set", "dense"])
def test_divergence_is_recorded(method, tmp_path):
    record = train_set(small(method, learning_rate=1e6), output_dir=tmp_path, progress=False)
    assert record.status == "diverged" and record.metrics["last_accuracy"] is None
    assert record.metrics["majority_accuracy"] == pytest.approx(0.63, abs=0.05)
    assert len(record.history["train_loss"]) < 8 and "diverged" in record.summary()
    assert load_set_runs(tmp_path)["last_accuracy"].isna().all()


def test_the_record_of_another_run_is_refused(tmp_path):
    config = small("static", epochs=1)
    record = train_set(config, output_dir=tmp_path, progress=False)
    add_record(tmp_path, record.model_copy(update={"identity": "0" * 64}))
    with pytest.raises(InputError, match=r"is recorded by another run \(source or data\): choose another output_dir"):
        train_set(config, output_dir=tmp_path, progress=False)
    changed = {"identity": "0" * 64, "config": record.config | {"momentum": 0.5}}
    add_record(tmp_path, record.model_copy(update=changed))
    with pytest.raises(InputError, match=r"is recorded by another run \(momentum\)"):
        train_set(config, output_dir=tmp_path, progress=False)


def test_runs_of_both_studies_share_a_folder(tmp_path):
    """Each reader takes its own."""
    from sparsecycle import load_runs

    train_set(small("static", epochs=1), output_dir=tmp_path, progress=False)
    assert load_runs(tmp_path).empty and len(load_set_runs(tmp_path)) == 1
