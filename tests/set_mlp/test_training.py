"""Whole runs of the companion study on the embedded datasets: counts, determinism, interrupts, damaged files."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import METHODS, SetConfig
from sparsecycle.set_mlp.datasets import load_dataset, split_dataset
from sparsecycle.set_mlp.records import SetRecord, load_set_runs, set_run_name
from sparsecycle.set_mlp.training import train_set

SMALL: dict[str, Any] = {"dataset": "breast_cancer", "hidden": (40, 30), "epsilon": 8.0, "epochs": 8, "batch_size": 32}


def small(method: str, **more: Any) -> SetConfig:
    return SetConfig(method=method, **SMALL | more)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_keeps_its_counts(method: str, tmp_path: Path) -> None:
    config = small(method)
    record = train_set(config, output_dir=tmp_path, progress=False)
    assert record.status == "complete" and record.metrics["test_accuracy"] > 0.85  # type: ignore[operator]
    assert SetRecord.read(tmp_path / set_run_name(config)) == record
    history, counts = record.history, record.connections_at_start
    if method == "dense":
        assert counts == record.connections == [30 * 40, 40 * 30, 30 * 2]
    else:
        assert counts == [8 * 70, 8 * 70, min(60, 8 * 32)]
    assert record.parameters == sum(record.connections) + 40 + 30 + 2
    if method == "set_pruned":
        assert record.neurons_left == [20, 15] and sum(record.connections) < sum(counts)
        assert history["neurons_left"] == sorted(history["neurons_left"], reverse=True)
        assert len(set(history["neurons_left"])) > 3, "half of the epochs take part in pruning"
    else:
        assert record.connections == counts and set(history["connections"]) == {sum(counts)}
    evolves = method in ("set", "set_pruned")
    assert all(replaced > 0 for replaced in history["replaced"][:-1]) == evolves
    assert history["replaced"][-1] == 0, "connections stay after the last epoch"
    samples = 379 // 32 * 32
    assert history["flops"] == [6 * connections * samples for connections in history["connections"]]
    split = split_dataset(load_dataset("breast_cancer"), 0)
    assert record.labels == split.test_labels.tolist()
    accuracy = np.mean(np.array(record.labels) == np.array(record.predictions))
    assert record.metrics["test_accuracy"] == pytest.approx(accuracy)
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
        {"prune_score": "incoming", "evolve_output": False},
        {"prune_refill": True, "prune_revival": True, "prune_share": 0.9, "epsilon": 12.0},
    ],
)
def test_the_variants_of_pruning(more: dict[str, Any], tmp_path: Path) -> None:
    record = train_set(small("set_pruned", **more), output_dir=tmp_path, progress=False)
    if more.get("prune_refill") and "prune_share" not in more:
        assert record.connections_at_start == [4 * 70, 4 * 70, 60]
        assert record.connections == [4 * 70, 4 * 70, 15 * 2], "as many as before, where the living have the places"
    if more.get("prune_revival") and not more.get("prune_refill"):
        assert all(left > half for left, half in zip(record.neurons_left, (20, 15), strict=True)), "some come back"
    if "prune_from" in more:
        assert sorted(set(record.history["neurons_left"])) == [35, 70]


def test_the_same_seed_gives_the_same_run_and_the_record_is_returned(tmp_path: Path) -> None:
    config = small("set_pruned", dropout=0.2)
    first = train_set(config, output_dir=tmp_path / "a", progress=False)
    second = train_set(config, output_dir=tmp_path / "b", progress=False)
    other = train_set(small("set_pruned", dropout=0.2, seed=1), output_dir=tmp_path / "b", progress=False)
    assert first.results() == second.results()
    assert other.history["train_loss"] != first.history["train_loss"]
    assert train_set(config, output_dir=tmp_path / "a", progress=False) == first
    runs = load_set_runs(tmp_path)
    assert len(runs) == 3 and set(runs["neurons_at_end"]) == {35}


CHILD = """
import json, sys
from pathlib import Path
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.training import train_set
config = SetConfig(**json.loads(sys.argv[1]))
train_set(config, output_dir=sys.argv[2], progress=False, checkpoint_seconds=0.0)
"""


@pytest.mark.parametrize(("method", "by"), [("dense", "SIGKILL"), ("set_pruned", "SIGKILL"), ("set_pruned", "SIGTERM")])
def test_a_run_that_is_stopped_goes_on_and_ends_the_same(method: str, by: str, tmp_path: Path) -> None:
    """Three real interrupts, each once a further checkpoint is there."""
    config = small(method, epochs=60, dropout=0.1)
    folder = tmp_path / "stopped" / set_run_name(config)
    command = [sys.executable, "-c", CHILD, config.model_dump_json(), str(tmp_path / "stopped")]
    seen: set[str] = set()
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and {path.name for path in folder.glob("checkpoint-*")} <= seen:
            time.sleep(0.005)
        process.send_signal(signal.Signals[by])
        process.wait()
        seen |= {path.name for path in folder.glob("checkpoint-*")}
    assert not (folder / "set.json").exists()
    record = train_set(config, output_dir=tmp_path / "stopped", progress=False)
    alone = train_set(config, output_dir=tmp_path / "alone", progress=False)
    assert record.provenance.resumes == 3 and alone.provenance.resumes == 0
    assert record.results() == alone.results()
    assert sorted(path.name for path in folder.iterdir()) == ["set.json"]


def test_divergence_is_recorded(tmp_path: Path) -> None:
    record = train_set(small("set", learning_rate=1e6), output_dir=tmp_path, progress=False)
    assert record.status == "diverged" and set(record.metrics.values()) == {None}
    assert len(record.history["epoch"]) < 8 and "diverged" in record.summary()
    assert load_set_runs(tmp_path)["test_accuracy"].isna().all()


def test_other_and_damaged_records_are_refused(tmp_path: Path) -> None:
    config = small("static", epochs=1)
    train_set(config, output_dir=tmp_path, progress=False)
    path = tmp_path / set_run_name(config) / "set.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"identity": "0" * 64}))
    with pytest.raises(InputError, match="holds the record of a run with another configuration, source or data"):
        train_set(config, output_dir=tmp_path, progress=False)
    path.write_text(json.dumps(content)[:-5])
    with pytest.raises(InputError, match=r"set.json is damaged .*: restore it, or delete the folder and run again"):
        train_set(config, output_dir=tmp_path, progress=False)
    path.write_text(json.dumps(content | {"schema_version": 99}))
    with pytest.raises(InputError, match="has schema version 99, but this library reads 1"):
        load_set_runs(tmp_path)


def test_runs_of_both_studies_share_a_folder(tmp_path: Path) -> None:
    """Each reader takes its own."""
    from sparsecycle import load_runs

    train_set(small("static", epochs=1), output_dir=tmp_path, progress=False)
    assert load_runs(tmp_path).empty and len(load_set_runs(tmp_path)) == 1
