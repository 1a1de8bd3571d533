"""The training loop: determinism, resuming after real kills, divergence, and what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ROOT, TIMES, same_run, without_checksum
from sparsecycle import RunConfig, WideResNet, train
from sparsecycle.errors import InputError
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.networks import load_model, load_trained, make_network
from sparsecycle.trainer import learning_rate, make_optimizer
from sparsecycle.runs.records import RunRecord, read_epochs
from sparsecycle.runs.execute import _Saver, resolve_device


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
    raw = without_checksum(folder / "record.json")
    (folder / "record.json").write_text(json.dumps(raw | {"identity": "0" * 64}), encoding="utf-8")
    with pytest.raises(InputError, match="holds the record of another run"):
        train(tiny(), output_dir=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("loss_gated", {}),
        ("plateau", {"dropout": 0.2}),
        ("random", {}),
        ("geometric", {"scope": "network"}),
        ("geometric", {"selection": "random"}),
    ],
)
def test_resuming_after_any_step_gives_the_same_run(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, fields: dict[str, Any]
) -> None:
    fields = {"augmentation": "crop_flip", "warmup_periods": 1, "final_dense_periods": 1} | fields
    config = tiny(method, epochs=4, **fields)
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


def test_a_diverged_run_says_so(tiny: Any, tmp_path: Path) -> None:
    config = tiny(learning_rate=1e30, clip_norm=None)
    record = train(config, output_dir=tmp_path, progress=False)
    assert record.status == "diverged"
    assert set(record.metrics.values()) == {None}
    assert RunRecord.read(run_folder(config, tmp_path)) == record
    assert "diverged" in record.summary()
    assert len(read_epochs(run_folder(config, tmp_path))) < config.periods


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
    model = make_network(tiny())
    decayed, free = make_optimizer(model, tiny()).param_groups
    assert decayed["weight_decay"] > 0 and free["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("norm" in names[id(p)] or names[id(p)].endswith("bias") for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_the_learning_rate_warms_up_and_ends_at_zero(tiny: Any) -> None:
    config = RunConfig(preset="smoke", method="dense", epochs=6, warmup_epochs=1)
    warmup = config.steps_per_epoch
    rates = [learning_rate(config, step) / config.learning_rate for step in range(config.steps + 1)]
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
    from sparsecycle.trainer import load_images
    from sparsecycle.evaluation.accuracy import evaluate

    model, config = load_trained("classroom", method)
    record = RunRecord.read(ROOT / "data" / "runs" / "classroom" / f"{method}-seed0")
    images = load_images(config)
    for result in record.budgets:
        measured = evaluate(model, images.test_images, images.test_labels, result.keep_ratio)
        # Another number of threads or another CPU may turn the odd image: at most 0.3 points of 1,000 images.
        assert abs(measured.accuracy - result.accuracy) <= 0.003
    weights = (ROOT / "data" / "checkpoints" / "classroom" / f"{method}-seed0.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == record.files["model.safetensors"]
