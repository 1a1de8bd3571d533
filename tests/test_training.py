"""The training loop: determinism, resuming after real kills, divergence, and what it refuses."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from conftest import ROOT
from sparsecycle import RunConfig, WideResNet, train
from sparsecycle.errors import InputError
from sparsecycle.records import RunRecord, read_epochs, run_folder
from sparsecycle.training import CHECKPOINT, load_model, load_trained, resolve_device

TIMES = ["seconds"]
FILES = {"record.json", "epochs.parquet", "predictions.npz", "model.safetensors"}


def same_run(first: Path, second: Path) -> None:
    """Equal in everything but times."""
    assert RunRecord.read(first).results() == RunRecord.read(second).results()
    pd.testing.assert_frame_equal(
        read_epochs(first).drop(columns=TIMES), read_epochs(second).drop(columns=TIMES), check_exact=True
    )
    assert (first / "predictions.npz").read_bytes() == (second / "predictions.npz").read_bytes()
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_same_seed_same_result_and_another_seed_another(tiny: Any, tmp_path: Path) -> None:
    records = [train(tiny(seed=seed), output_dir=tmp_path / str(i), progress=False) for i, seed in enumerate((0, 0, 1))]
    same_run(run_folder(tiny(), tmp_path / "0"), run_folder(tiny(), tmp_path / "1"))
    assert records[0].results() != records[2].results()


def test_methods_share_weights_and_order_until_their_budgets_part(tiny: Any, tmp_path: Path) -> None:
    """Runs are paired by seed: the first period is dense for all, so it must be the same to the last bit."""
    rows = []
    for method in ("dense", "loss_gated", "plateau"):
        config = tiny(method)
        train(config, output_dir=tmp_path, progress=False)
        rows.append(read_epochs(run_folder(config, tmp_path)).iloc[0].drop(TIMES))
    assert rows[0].equals(rows[1]) and rows[0].equals(rows[2])


def test_the_network_learns_what_it_is_shown(tmp_path: Path) -> None:
    config = RunConfig(
        preset="smoke", method="dense", train_images=50, test_images=20, batch_size=25, epochs=60, learning_rate=0.1
    )
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.metrics["train_accuracy"] == 1.0


def test_a_finished_run_is_read_and_another_in_its_place_refused(tiny: Any, tmp_path: Path) -> None:
    first = train(tiny(), output_dir=tmp_path, progress=False)
    assert train(tiny(), output_dir=tmp_path, progress=False) == first
    folder = run_folder(tiny(), tmp_path)
    raw = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    (folder / "record.json").write_text(json.dumps(raw | {"identity": "0" * 64}), encoding="utf-8")
    with pytest.raises(InputError, match="holds the record of another configuration, source or data"):
        train(tiny(), output_dir=tmp_path, progress=False)


@pytest.mark.parametrize("method", ["loss_gated", "plateau", "random"])
def test_resuming_after_any_period_gives_the_same_run(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    config = tiny(method, epochs=4, augmentation="crop_flip", warmup_periods=1, final_dense_periods=1)
    train(config, output_dir=tmp_path / "whole", progress=False)
    import sparsecycle.training as training

    original = training._save_checkpoint

    def stop_after_saving(*arguments: Any) -> None:
        original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_save_checkpoint", stop_after_saving)
        for _ in range(config.periods):
            with pytest.raises(KeyboardInterrupt):
                train(config, output_dir=tmp_path / "parts", progress=False)
    record = train(config, output_dir=tmp_path / "parts", progress=False)
    assert record.provenance.resumes == config.periods
    same_run(run_folder(config, tmp_path / "whole"), run_folder(config, tmp_path / "parts"))


def test_killed_at_random_moments_and_resumed_ends_as_if_left_alone(tmp_path: Path) -> None:
    """Real processes and SIGKILL: five times, each a random moment after at least one more period was saved."""
    command = [sys.executable, "-m", "sparsecycle.cli", "run", "--preset", "smoke", "--method", "plateau"]
    command += ["--set", "epochs=12", "--no-progress", "--device", "cpu", "--output-dir"]
    config = RunConfig(preset="smoke", method="plateau", epochs=12)
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)

    moments = random.Random(0)
    folder = run_folder(config, tmp_path / "killed")
    checkpoint = folder / CHECKPOINT
    kills = 0
    while kills < 5:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))
        assert process.poll() is None, "the run must still be going on, or nothing was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    same_run(run_folder(config, tmp_path / "whole"), folder)
    assert RunRecord.read(folder).provenance.resumes == kills
    assert {path.name for path in folder.iterdir()} == FILES


def test_a_diverged_run_says_so(tiny: Any, tmp_path: Path) -> None:
    config = tiny(learning_rate=1e30, clip_norm=None)
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.status == "diverged"
    assert set(record.metrics.values()) == {None}
    assert RunRecord.read(run_folder(config, tmp_path)) == record
    assert "diverged" in record.summary()
    assert len(read_epochs(run_folder(config, tmp_path))) < config.periods


def test_a_damaged_or_foreign_checkpoint_is_refused(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sparsecycle.training as training

    folder = run_folder(tiny(), tmp_path)
    monkeypatch.setattr(training, "_finish", lambda *_: None)
    train(tiny(), output_dir=tmp_path, progress=False)
    monkeypatch.undo()
    whole = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(whole[:1000])
    with pytest.raises(InputError, match=r"checkpoint.pt cannot be read"):
        train(tiny(), output_dir=tmp_path, progress=False)
    (folder / CHECKPOINT).write_bytes(whole)
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.save(state | {"identity": "other"}, folder / CHECKPOINT)
    with pytest.raises(InputError, match="written with another configuration, source or data"):
        train(tiny(), output_dir=tmp_path, progress=False)


def test_warmup_and_final_periods_are_dense(tiny: Any, tmp_path: Path) -> None:
    config = tiny("fixed", keep_ratio=0.25, epochs=5, warmup_periods=1, final_dense_periods=2)
    train(config, output_dir=tmp_path, progress=False)
    assert read_epochs(run_folder(config, tmp_path))["keep_ratio"].tolist() == [1.0, 0.25, 0.25, 1.0, 1.0]


def test_clipping_limits_the_step(tiny: Any, tmp_path: Path) -> None:
    """With a tiny largest norm and no momentum or decay the weights hardly move; without clipping they do."""
    moved = []
    for clip_norm in (1e-6, None):
        config = tiny("dense", clip_norm=clip_norm, momentum=0.0, weight_decay=0.0)
        train(config, output_dir=tmp_path, progress=False)
        torch.manual_seed(config.seed)
        start = WideResNet(config.depth, config.width).state_dict()
        end = load_model(run_folder(config, tmp_path), config).state_dict()
        moved.append(max((end[name] - start[name]).abs().max().item() for name in start))
    assert moved[0] < 1e-5 < 1e-3 < moved[1]


def test_a_last_period_that_is_shorter_is_trained_too(tiny: Any, tmp_path: Path) -> None:
    config = tiny(epochs=3, period_epochs=2.0)
    train(config, output_dir=tmp_path, progress=False)
    assert read_epochs(run_folder(config, tmp_path))["step"].tolist() == [4, 6]


def test_bfloat16_convolutions_train(tiny: Any, tmp_path: Path) -> None:
    record = train(tiny(precision="bfloat16"), output_dir=tmp_path, progress=False)
    assert record.status == "complete" and record.provenance.precision == "bfloat16"


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_differs_by_rounding_only(tiny: Any, tmp_path: Path) -> None:
    """Six steps: later ones amplify any rounding. The weights differ in their last digits: it was compiled."""
    losses, weights = [], []
    for compiled in (False, True):
        run = tiny("fixed", keep_ratio=0.3, compile=compiled)
        train(run, output_dir=tmp_path, progress=False)
        folder = run_folder(run, tmp_path)
        losses.append(read_epochs(folder)["train_loss"].to_list())
        weights.append((folder / "model.safetensors").read_bytes())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert weights[0] != weights[1]


def test_held_out_images_take_the_place_of_the_test_images(tiny: Any, tmp_path: Path) -> None:
    config = tiny("dense", train_images=60, holdout_images=20)
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.evaluated_on == "validation"


def test_only_matrices_are_decayed(tiny: Any) -> None:
    from sparsecycle.training import _network, _optimizer

    model = _network(tiny())
    decayed, free = _optimizer(model, tiny()).param_groups
    assert decayed["weight_decay"] > 0 and free["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("norm" in names[id(p)] or names[id(p)].endswith("bias") for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_learning_rate_warms_up_and_ends_at_zero(tiny: Any) -> None:
    from sparsecycle.training import _rate_factor

    config = RunConfig(preset="smoke", method="dense", epochs=6, warmup_epochs=1)
    factor = _rate_factor(config)
    warmup = config.steps_per_epoch
    rates = [factor(step) for step in range(config.steps + 1)]
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1]) and rates[warmup] == 1.0
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True) and abs(rates[-1]) < 1e-12


def test_places_that_cannot_be_used_are_named(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        train(tiny(), output_dir=tmp_path / "file" / "runs", progress=False)
    with pytest.raises(InputError, match="data_dir"):
        train(tiny(), data_dir=tmp_path / "nowhere", output_dir=tmp_path, progress=False)
    with pytest.raises(InputError, match="device is 'tpu'"):
        resolve_device("tpu")


def test_weights_come_back_as_they_were(tiny: Any, tmp_path: Path) -> None:
    config = tiny()
    train(config, output_dir=tmp_path, progress=False)
    folder = run_folder(config, tmp_path)
    assert sum(parameter.numel() for parameter in load_model(folder, config).parameters()) == 77_610
    with pytest.raises(InputError, match="does not fit the configuration"):
        load_model(folder, RunConfig(preset="smoke", method="plateau", width=2))
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path, config)


@pytest.mark.parametrize("method", ["dense", "loss_gated", "plateau"])
def test_shipped_networks_give_their_recorded_accuracy(method: str) -> None:
    from sparsecycle.evaluation import evaluate
    from sparsecycle.training import load_images

    model, config = load_trained("quick", method)
    record = RunRecord.read(ROOT / "data" / "runs" / "quick" / f"{method}-seed0")
    images = load_images(config)
    for result in record.budgets:
        measured = evaluate(model, images.test_images, images.test_labels, result.keep_ratio)
        # Another number of threads or another CPU may turn the odd image: at most 0.3 points of 1,000 images.
        assert abs(measured.accuracy - result.accuracy) <= 0.003
    weights = (ROOT / "data" / "checkpoints" / "quick" / f"{method}-seed0.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == record.files["model.safetensors"]
