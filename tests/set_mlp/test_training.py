"""Whole runs of the companion study on the embedded datasets: counts, determinism, interrupts, damaged files."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsecycle.errors import InputError
from sparsecycle.runs.checkpoints import CheckpointWriter, checkpoint_files
from sparsecycle.runs.writing import sole_writer
from sparsecycle.set_mlp.config import METHODS, SetConfig
from sparsecycle.set_mlp.datasets import load_dataset
from sparsecycle.set_mlp.record import set_run_name
from sparsecycle.set_mlp.records import FILE, find_record, load_set_runs, write_records
from sparsecycle.set_mlp.training import _Training, train_set

SMALL: dict[str, Any] = {"dataset": "breast_cancer", "hidden": (40, 30), "epochs": 8, "batch_size": 32}
SMALL |= {"learning_rate": 0.01, "dropout": 0.0}  # whatever the search for constants finds

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["sparsecycle.set_mlp.training"])


def small(method: str, **more: Any) -> SetConfig:
    sparse = {} if method == "dense" else {"epsilon": 8.0}
    return SetConfig(method=method, **SMALL | sparse | more)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_keeps_its_counts(method: str, tmp_path: Path) -> None:
    config = small(method)
    record = train_set(config, output_dir=tmp_path, progress=False)
    assert record.status == "complete" and record.metrics["test_accuracy"] > 0.85  # type: ignore[operator]
    assert find_record(tmp_path, set_run_name(config)) == record
    history, counts = record.history, record.connections_at_start
    if method == "dense":
        assert counts == record.connections == [30 * 40, 40 * 30, 30 * 2]
    else:
        assert counts == [8 * 70, 8 * 70, min(60, 8 * 32)]
    assert record.parameters == sum(record.connections) + sum(record.neurons_left) + 2
    assert (record.batch_size, record.train_samples) == (32, 379)
    for name, layers in (("connections", 3), ("neurons_left", 2)):
        by_layer = np.array([history[f"{name}_{number}"] for number in range(1, layers + 1)])
        assert by_layer.sum(axis=0).tolist() == history[name]
    assert history["weight_scale_1"][-1] > 0
    changed = [a != b for a, b in zip(history["adapted_loss"], history["train_loss"], strict=True)]
    assert any(changed) == (method in ("set", "set_pruned")) and not changed[-1]
    if method == "set_pruned":
        assert record.neurons_left == [20, 15] and sum(record.connections) < sum(counts)
        assert history["neurons_left"] == sorted(history["neurons_left"], reverse=True)
        assert len(set(history["neurons_left"])) > 3, "half of the epochs take part in pruning"
    else:
        assert record.connections == counts and set(history["connections"]) == {sum(counts)}
    if method in ("set", "set_pruned"):
        assert min(history["replaced"][:-1]) > 0 and history["replaced"][-1] == 0, (
            "connections stay after the last epoch"
        )
    else:
        assert set(history["replaced"]) == {0}
    assert set(history["samples"]) == {379 // 32 * 32}
    if method != "set_pruned":
        assert set(history["flops"]) == {(6 * sum(counts) - 2 * counts[0]) * (379 // 32 * 32)}
    assert len(record.correct) == 190 and record.metrics["test_accuracy"] == sum(record.correct) / 190
    if method != "dense":
        assert sum(record.feature_connections) == record.connections[0]
        assert all(
            sum(layer) == size
            for counted in record.degrees.values()
            for layer, size in zip(counted, config.hidden, strict=True)
        )


def test_static_and_set_start_alike_and_part_at_the_second_epoch(tmp_path: Path) -> None:
    static, evolving = (train_set(small(method), output_dir=tmp_path, progress=False) for method in ("static", "set"))
    assert static.history["train_loss"][0] == evolving.history["train_loss"][0]
    assert static.history["train_loss"][1] != evolving.history["train_loss"][1]


@pytest.mark.parametrize(
    "more",
    [
        {"prune_refill": True, "epsilon": 4.0},
        {"prune_revival": True},
        {"prune_from": 0.5, "prune_until": 0.5},
        {"prune_score": "random"},
        {"prune_refill": True, "prune_revival": True, "prune_share": 0.9, "epsilon": 12.0},
    ],
)
def test_the_variants_of_pruning(more: dict[str, Any], tmp_path: Path) -> None:
    record = train_set(small("set_pruned", **more), output_dir=tmp_path, progress=False)
    if more.get("prune_refill") and "prune_share" not in more:
        assert record.connections_at_start == [4 * 70, 4 * 70, 60]
        assert record.connections == [4 * 70, 4 * 70, 15 * 2], "as many as before, where the living have the places"
    if more.get("prune_revival") and not more.get("prune_refill"):
        assert record.neurons_left[0] > 20, "some come back"
        assert record.neurons_left[1] == 15, "but none before the last layer, whose connections do not evolve"
    if "prune_from" in more:
        assert sorted(set(record.history["neurons_left"])) == [35, 70]
    if more.get("prune_score") == "random":
        usual = train_set(small("set_pruned"), output_dir=tmp_path, progress=False)
        assert usual.neurons_left == record.neurons_left
        assert usual.history["train_loss"] != record.history["train_loss"]


def test_what_is_revived_after_the_last_pruning_stays(tmp_path: Path) -> None:
    more: dict[str, Any] = {"prune_revival": True, "prune_from": 0.25, "prune_until": 0.5, "epochs": 16}
    record = train_set(small("set_pruned", **more), output_dir=tmp_path, progress=False)
    connections, neurons = record.history["connections"], record.history["neurons_left"]
    assert connections[8] < connections[0] and len(set(connections[8:])) == 1, (
        "pruning is over after half of the epochs"
    )
    assert neurons[-1] > neurons[8]


@pytest.mark.parametrize("method", ["dense", "set"])
def test_decoupled_decay_takes_its_share_in_each_step_whatever_the_rate(method: str, tmp_path: Path) -> None:
    look: dict[str, Any] = {"learning_rate": 1e-12, "weight_decay": 0.01, "epochs": 3}
    look |= {"zeta": 0.0} if method == "set" else {}
    steps = 3 * (379 // 32)
    scales = {}
    for decoupled in (True, False):
        config = small(method, decoupled_decay=decoupled, **look)
        run = _Training(config, load_dataset("breast_cancer"), tmp_path)
        before = run.network.layers[0].weight.detach().clone()
        run.train(False, 1000.0)
        scales[decoupled] = (run.network.layers[0].weight.detach() / before).mean().item()
    assert scales[True] == pytest.approx(0.99**steps, rel=1e-4)
    assert scales[False] == pytest.approx(1.0, abs=1e-6)


def test_the_last_layer_evolves_on_request_only(tmp_path: Path) -> None:
    for evolves in (False, True):
        config = small("set", evolve_output=evolves, epsilon=0.5)
        run = _Training(config, load_dataset("breast_cancer"), tmp_path)
        last = run.network.sparse_layers()[-1]
        before = last.places().tolist()
        run.connectivity.adapt(1)
        assert (last.places().tolist() == before) == (not evolves)


def test_the_same_seed_gives_the_same_run_and_the_record_is_returned(tmp_path: Path) -> None:
    config = small("set_pruned", dropout=0.2)
    first = train_set(config, output_dir=tmp_path / "a", progress=False)
    second = train_set(config, output_dir=tmp_path / "b", progress=False)
    other = train_set(small("set_pruned", dropout=0.2, seed=1), output_dir=tmp_path / "b", progress=False)
    assert first.results() == second.results()
    assert other.history["train_loss"] != first.history["train_loss"]
    assert train_set(config, output_dir=tmp_path / "a", progress=False) == first
    runs = load_set_runs(tmp_path)  # a run that lies twice counts once
    assert len(runs) == 2 and set(runs["neurons_at_end"]) == {35}


@pytest.mark.parametrize(
    ("method", "by", "more"),
    [("dense", "SIGTERM", {"momentum": 0.0}), ("set_pruned", "SIGKILL", {"prune_refill": True, "prune_revival": True})],
)
def test_a_run_that_is_stopped_goes_on_and_ends_the_same(
    method: str, by: str, more: dict[str, Any], tmp_path: Path
) -> None:
    """Two real interrupts, each once a further checkpoint is there."""
    config = small(method, epochs=60, dropout=0.1, **more)
    folder = tmp_path / "stopped" / set_run_name(config)
    quick: dict[str, Any] = {"output_dir": tmp_path / "stopped", "progress": False, "checkpoint_seconds": 0.0}
    seen: set[str] = set()
    for _ in range(2):
        process = FORKED.Process(target=train_set, args=(config,), kwargs=quick)
        process.start()
        while process.is_alive() and {path.name for path in folder.glob("checkpoint-*")} <= seen:
            time.sleep(0.005)
        assert process.pid
        os.kill(process.pid, signal.Signals[by])
        process.join()
        seen |= {path.name for path in folder.glob("checkpoint-*")}
    assert not (folder / FILE).exists()
    record = train_set(config, output_dir=tmp_path / "stopped", progress=False)
    alone = train_set(config, output_dir=tmp_path / "alone", progress=False)
    assert record.provenance.resumes == 2 and alone.provenance.resumes == 0
    assert record.results() == alone.results()
    assert sorted(path.name for path in folder.iterdir()) == [FILE]


def interrupted(config: SetConfig, output: Path) -> Path:
    """The folder of a run that has done four epochs; its checkpoints are of epochs 3 and 4."""
    folder = output / set_run_name(config)
    folder.mkdir(parents=True)
    run = _Training(config, load_dataset(config.dataset), folder)
    with CheckpointWriter(folder) as writer:
        for _ in range(4):
            run.state.history.append(run._epoch())
            writer.save(run._checkpoint())
    return folder


def test_two_checkpoints_are_kept_after_a_resume_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    config = small("set_pruned")
    folder = interrupted(config, tmp_path)
    newest, older = checkpoint_files(folder)
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    run = _Training(config, load_dataset(config.dataset), folder)
    run.resume()
    assert len(run.state.history) == 3 and run.origin == older
    record = train_set(config, output_dir=tmp_path, progress=False)
    assert record.results() == train_set(config, output_dir=tmp_path / "alone", progress=False).results()


def test_a_checkpoint_of_another_run_is_refused_and_another_machine_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_only_one_process_writes_to_a_run(tmp_path: Path) -> None:
    config = small("set")
    with sole_writer(tmp_path / set_run_name(config)), pytest.raises(InputError, match="another process is writing to"):
        train_set(config, output_dir=tmp_path, progress=False)


def test_divergence_is_recorded(tmp_path: Path) -> None:
    record = train_set(small("set", learning_rate=1e6), output_dir=tmp_path, progress=False)
    assert record.status == "diverged" and set(record.metrics.values()) == {None}
    assert len(record.history["epoch"]) < 8 and "diverged" in record.summary()
    assert load_set_runs(tmp_path)["test_accuracy"].isna().all()


def test_a_record_of_another_run_is_refused(tmp_path: Path) -> None:
    config = small("static", epochs=1)
    record = train_set(config, output_dir=tmp_path, progress=False)
    path = tmp_path / record.name() / FILE
    write_records(path, [replace(record, identity="0" * 64)])
    with pytest.raises(InputError, match=r"holds the record of another run \(identity\)"):
        train_set(config, output_dir=tmp_path, progress=False)
    write_records(path, [replace(record, identity="0" * 64, config=record.config | {"momentum": 0.5})])
    with pytest.raises(InputError, match=r"holds the record of another run \(momentum\)"):
        train_set(config, output_dir=tmp_path, progress=False)


def test_runs_of_both_studies_share_a_folder(tmp_path: Path) -> None:
    """Each reader takes its own."""
    from sparsecycle import load_runs

    train_set(small("static", epochs=1), output_dir=tmp_path, progress=False)
    assert load_runs(tmp_path).empty and len(load_set_runs(tmp_path)) == 1
