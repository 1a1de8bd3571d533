"""A run from start to record: determinism, resuming after any step, divergence, looks, and what it refuses."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import same_run
from sparsecycle import RunConfig, train
from sparsecycle.errors import InputError
from sparsecycle.runs import execute
from sparsecycle.runs.execute import _Saver, resolve_device
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.records import RunRecord, read_correct, read_decisions, read_epochs


def test_same_seed_same_result_and_another_seed_another(tiny, tmp_path):
    records = [train(tiny(seed=seed), output_dir=tmp_path / str(i), progress=False) for i, seed in enumerate((0, 0, 1))]
    same_run(run_folder(tiny(), tmp_path / "0"), run_folder(tiny(), tmp_path / "1"))
    assert records[0].results() != records[2].results()


def test_methods_share_weights_and_order_until_their_keep_ratios_part(tiny, tmp_path):
    """Runs are paired by seed: until the first decision all are dense, so they must be the same to the last bit."""
    losses = set()
    for method in ("dense", "accuracy_gated", "geometric"):
        config = tiny(method)
        assert config.decision_steps in (None, config.steps_per_epoch), "the first decision comes with the first look"
        train(config, output_dir=tmp_path, progress=False)
        losses.add(read_epochs(run_folder(config, tmp_path))["train_loss"].iloc[0])
    assert len(losses) == 1


def test_the_network_learns_what_it_is_shown(tmp_path):
    config = RunConfig(preset="smoke", method="dense", train_images=10, test_images=10, batch_size=10, epochs=50)
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.metrics["train_accuracy"] == 1.0


def test_a_finished_run_is_read_and_another_in_its_place_refused(tiny, tmp_path):
    first = train(tiny(), output_dir=tmp_path, progress=False)
    assert train(tiny(), output_dir=tmp_path, progress=False) == first
    other = tiny(seed=1)
    run_folder(tiny(), tmp_path).rename(run_folder(other, tmp_path))
    with pytest.raises(InputError, match=r"holds the record of another run \(seed\)"):
        train(other, output_dir=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("accuracy_gated", {"clip_norm": 0.5, "tolerance": 0.01}),
        ("random", {"dropout": 0.2}),
        ("geometric", {"selection": "random"}),
        ("accuracy_gated", {"decision_steps": 3, "evaluate_every": 2}),
    ],
)
def test_resuming_after_any_step_gives_the_same_run(tiny, tmp_path, monkeypatch, method, fields):
    config = tiny(method, epochs=2, **fields)
    train(config, output_dir=tmp_path / "whole", progress=False)
    original = _Saver.__call__

    def stop_after_saving(saver: _Saver, take: Any) -> None:
        original(saver, take)
        saver._writer.wait()
        raise KeyboardInterrupt

    saves = 0
    with monkeypatch.context() as patch:
        patch.setattr(_Saver, "__call__", stop_after_saving)
        patch.setattr(_Saver, "due", True)  # after every step
        while True:
            try:
                train(config, output_dir=tmp_path / "parts", progress=False)
                break
            except KeyboardInterrupt:
                saves += 1
    record = RunRecord.read(run_folder(config, tmp_path / "parts"))
    assert record.provenance.resumes == saves == config.steps
    same_run(run_folder(config, tmp_path / "whole"), run_folder(config, tmp_path / "parts"))


def test_a_short_run_writes_no_checkpoint(tiny, tmp_path, monkeypatch):
    """A checkpoint of the paper's network is 47 MB: it is a matter of time, not of looks."""
    written = []
    monkeypatch.setattr(execute.CheckpointWriter, "save", lambda _, checkpoint: written.append(checkpoint))
    train(tiny(), output_dir=tmp_path, progress=False)
    assert not written


def test_a_diverged_run_says_so_and_counts_with_what_it_scored(tiny, tmp_path):
    config = tiny(learning_rate=1e30)
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.status == "diverged" and "diverged" in record.summary()
    assert record.metrics["last_accuracy"] is not None and record.metrics["train_loss"] is None
    assert RunRecord.read(run_folder(config, tmp_path)).model_dump_json() == record.model_dump_json()  # NaN is not NaN
    assert len(read_epochs(run_folder(config, tmp_path))) < len(config.looks)


def test_looks_come_when_they_are_asked_for_at_both_keep_ratios(tiny, tmp_path):
    config = tiny("fixed", keep_ratio=0.1, epochs=5, evaluate_every=2, evaluate_last=2)
    train(config, output_dir=tmp_path, progress=False)
    epochs, correct = (read(run_folder(config, tmp_path)) for read in (read_epochs, read_correct))
    assert epochs["epoch"].tolist() == [2, 4, 5] and epochs["step"].tolist() == [4, 8, 10]
    assert epochs["test_accuracy"].tolist() == correct.dense.mean(axis=1).tolist()
    assert epochs["sparse_accuracy"].tolist() == correct.sparse.mean(axis=1).tolist()
    assert set(epochs["keep_ratio"]) == {0.1}
    assert not np.array_equal(correct.budgets[1.0], correct.budgets[0.02])


def test_without_test_images_nothing_is_looked_at(tiny, tmp_path):
    config = tiny(test_images=0)
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.evaluated_on == "nothing" and record.budgets == []
    assert record.metrics["best_accuracy"] is None and record.metrics["train_accuracy"] is not None
    epochs = read_epochs(run_folder(config, tmp_path))
    assert epochs[["test_loss", "test_accuracy", "sparse_loss", "sparse_accuracy"]].isna().all(axis=None)
    assert read_correct(run_folder(config, tmp_path)).dense.shape == (3, 0)


def test_held_out_images_take_the_place_of_the_test_images(tiny, tmp_path):
    record = train(tiny("dense", train_images=60, holdout_images=20), output_dir=tmp_path, progress=False)
    assert record.evaluated_on == "validation"


def test_bfloat16_convolutions_train(tiny, tmp_path):
    record = train(tiny(precision="bfloat16"), output_dir=tmp_path, progress=False)
    assert record.status == "complete" and record.provenance.precision == "bfloat16"


def test_a_replay_takes_the_path_of_the_run_that_it_names(tiny, tmp_path):
    gated = tiny("accuracy_gated", seed=1, decision_steps=1)
    name = run_folder(gated, tmp_path).name
    replay = {
        shuffled: tiny("replay", path_from=name, shuffled=shuffled, decision_steps=1) for shuffled in (False, True)
    }
    with pytest.raises(InputError, match=f"path_from is '{name}', but .* holds no finished run: make that run first"):
        train(replay[False], output_dir=tmp_path, progress=False)
    train(gated, output_dir=tmp_path, progress=False)
    records = {shuffled: train(config, output_dir=tmp_path, progress=False) for shuffled, config in replay.items()}
    path = read_decisions(run_folder(gated, tmp_path))["keep_ratio"].tolist()
    taken = {how: read_decisions(run_folder(config, tmp_path))["keep_ratio"].tolist() for how, config in replay.items()}
    assert taken[False] == path and taken[True] != path and sorted(taken[True]) == sorted(path)
    assert records[False].identity != records[True].identity


def test_a_replay_of_another_path_is_another_run(tiny, tmp_path):
    """The path is part of the identity: the run that is named may be made anew with other decisions."""
    gated = tiny("accuracy_gated", seed=1)
    replay = tiny("replay", path_from="source", shuffled=False)
    source = run_folder(replay, tmp_path).parent / "source"
    other = tiny("geometric", tighten=0.5)
    for config in (gated, other):
        train(config, output_dir=tmp_path, progress=False)
    run_folder(gated, tmp_path).rename(source)
    train(replay, output_dir=tmp_path, progress=False)
    source.rename(tmp_path / "away")
    run_folder(other, tmp_path).rename(source)
    with pytest.raises(InputError, match=r"another run \(the path that is followed\)"):
        train(replay, output_dir=tmp_path, progress=False)


def test_a_replay_of_a_run_without_decisions_is_refused(tiny, tmp_path):
    train(tiny("dense"), output_dir=tmp_path, progress=False)
    name = run_folder(tiny("dense"), tmp_path).name
    with pytest.raises(InputError, match="made no decision: name an adaptive one"):
        train(tiny("replay", path_from=name, shuffled=False), output_dir=tmp_path, progress=False)


def test_two_runs_in_two_threads_are_refused_and_torch_is_as_it_was(tiny, tmp_path, monkeypatch):
    """What a run sets belongs to the process: generators, deterministic mode."""
    inside, go_on, outcomes = threading.Event(), threading.Event(), []
    original = execute._Run.train

    def held(run: Any, *more: Any) -> None:
        inside.set()
        assert go_on.wait(60)
        original(run, *more)

    monkeypatch.setattr(execute._Run, "train", held)
    first = threading.Thread(target=lambda: outcomes.append(train(tiny(), output_dir=tmp_path / "1", progress=False)))
    generator = torch.get_rng_state()
    first.start()
    assert inside.wait(60)
    with pytest.raises(InputError, match="another run is under way in this process"):
        train(tiny(), output_dir=tmp_path / "2", progress=False)
    go_on.set()
    first.join()
    alone = train(tiny(), output_dir=tmp_path / "3", progress=False)
    assert outcomes[0].results() == alone.results()
    assert not torch.are_deterministic_algorithms_enabled() and torch.equal(torch.get_rng_state(), generator)


def test_a_system_that_does_not_tell_the_memory_loses_no_run(tiny, tmp_path, monkeypatch):
    original = Path.read_text

    def without_the_line(path: Path, *args: Any, **kwargs: Any) -> str:
        text = original(path, *args, **kwargs)
        return text if path != Path("/proc/self/status") else text.replace("VmHWM", "VmRSS")

    monkeypatch.setattr(Path, "read_text", without_the_line)
    record = train(tiny(), output_dir=tmp_path, progress=False)
    assert record.status == "complete" and record.provenance.peak_memory_mib is None


def test_progress_can_be_told_to_a_function(tiny, tmp_path):
    told: list[float] = []
    train(tiny(), output_dir=tmp_path, progress=told.append)
    assert told == pytest.approx([(step + 1) / 6 for step in range(6)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output_dir": 2024}, "output_dir is 2024, but must be the name of a folder"),
        ({"output_dir": ""}, "output_dir is '', but must be the name of a folder"),
        ({"data_dir": 7}, "data_dir is 7, but must be the name of a folder"),
        ({"data_dir": "nowhere/at/all"}, "data_dir"),
        ({"device": 0}, "device is 0, but must be"),
        ({"device": "tpu"}, "device is 'tpu', but must be"),
        ({"checkpoint_minutes": "5"}, "checkpoint_minutes is '5', but must be a number"),
        ({"checkpoint_minutes": 0}, "checkpoint_minutes is 0, but must be above 0"),
    ],
)
def test_what_cannot_be_used_is_named(tiny, tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        train(tiny(), progress=False, **({"output_dir": tmp_path} | given))
    with pytest.raises(InputError, match="config is 'smoke', but must be a RunConfig"):
        train("smoke", output_dir=tmp_path)


def test_a_folder_below_a_file_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        train(tiny(), output_dir=tmp_path / "file" / "runs", progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_named():
    assert resolve_device("auto") == "cpu"
    with pytest.raises(InputError, match="torch sees no GPU here"):
        resolve_device("cuda")


def test_weights_come_back_only_into_the_network_that_they_are_of(tiny, tmp_path):
    config = tiny()
    train(config, output_dir=tmp_path, progress=False)
    folder = run_folder(config, tmp_path)
    with pytest.raises(InputError, match="does not fit the configuration"):
        load_model(folder, RunConfig(preset="smoke", method="dense", width=2))
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path, config)
    assert (folder / "model.safetensors").stat().st_size < 400_000
