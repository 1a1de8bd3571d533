"""What is measured after a run, on a run that was trained here."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import alter
from sparsecycle import RunConfig, load_runs, train
from sparsecycle.analysis.verification import verify_runs
from sparsecycle.cli import main
from sparsecycle.data.cifar10 import load_images
from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import evaluate
from sparsecycle.evaluation.compression import PRUNED_SHARES, pruned
from sparsecycle.evaluation.corruptions import STRENGTHS
from sparsecycle.runs.measure import measure_runs
from sparsecycle.runs.measures import Measures, read_correct
from sparsecycle.runs.merging import merge
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.records import load_layers, load_measures

CONFIG = RunConfig(preset="smoke", method="accuracy_gated", epochs=2)
NAME = "smoke/accuracy_gated-seed0-epochs=2"
CONDITIONS = 3 + 1 + 4 * 5


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(CONFIG, output_dir=folder, device="cpu", progress=False)
    [(name, done)] = measure_runs(folder)
    assert name == NAME and done.startswith("measured in")
    return folder


@pytest.fixture
def copied(measured: Path, tmp_path: Path) -> Path:
    shutil.copytree(measured / NAME, tmp_path / NAME)
    return tmp_path


def test_measuring_shows_how_far_it_is_and_counts_at_the_end(copied, capsys):
    for now, done in enumerate(("measured before", "measured in")):
        assert main(["measure", str(copied), "--device", "cpu"]) == 0
        told = capsys.readouterr()
        assert f"{NAME}: {done}" in told.out and told.out.endswith(f"\nruns: 1, measured now: {now}\n")
        assert "measure: 100%" in told.err
        (copied / NAME / "measures.json").unlink()


def test_measures_are_those_of_the_network_and_of_their_own_bits(measured):
    measures = Measures.read(measured / NAME)
    correct = read_correct(measured / NAME, measures.files["measures.npz"])
    shares = {name: bits.mean() for name, bits in correct.items()}
    assert {one.name: one.accuracy for one in measures.conditions} == pytest.approx(shares)
    assert len(correct) == CONDITIONS
    data, model = load_images(CONFIG), load_model(measured / NAME, CONFIG)
    by_hand = evaluate(pruned(model, 0.8), data.test_images, data.test_labels, 1.0)
    assert (by_hand.correct.numpy() == correct["pruning 0.8"]).all()
    metrics = measures.metrics
    assert metrics["pruned_area"] == pytest.approx(np.mean([correct[f"pruning {one}"].mean() for one in PRUNED_SHARES]))
    for kind, strengths in STRENGTHS.items():
        accuracy = np.mean([correct[f"{kind} {strength:g}"].mean() for strength in strengths])
        assert metrics[f"{kind}_accuracy"] == pytest.approx(accuracy)


def test_runs_carry_what_was_measured(measured):
    assert {"pruned_area", "int8_accuracy", "noise_accuracy", "removal_accuracy"} <= set(load_runs(measured).columns)
    conditions = load_measures(measured)
    assert len(conditions) == CONDITIONS and set(conditions["method"]) == {"accuracy_gated"}
    layers = load_layers(measured)
    assert (layers["active_fraction"] <= layers["keep_ratio"] + 1e-6).all()
    assert (layers.loc[layers["keep_ratio"] == 1.0, "cka"] == 1.0).all()


def test_other_weights_are_refused_and_damage_is_named(copied):
    folder = copied / NAME
    (folder / "measures.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        list(measure_runs(copied))
    (folder / "measures.json").unlink()
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="is not what record"):
        list(measure_runs(copied))
    (folder / "model.safetensors").unlink()
    assert [done for _, done in measure_runs(copied)] == ["left out: its weights are not here"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda told: told["metrics"].update(pruned_area=0.99), "pruned_area is recorded as 0.99"),
        (lambda told: told["conditions"][-1].update(accuracy=0.99), "removal 0.5 is recorded as 0.99"),
        (lambda told: told["conditions"][0].update(strength=0.4), "pruning 0.4 is recorded as"),
    ],
)
def test_verify_finds_a_measure_that_was_changed(copied, spoil, told):
    path = copied / NAME / "measures.json"
    [before] = verify_runs(copied)
    assert before.problems == ()
    alter(path, spoil)
    [after] = verify_runs(copied)
    assert told in "; ".join(after.problems)


def test_verify_finds_bits_that_are_not_those_measured(copied):
    (copied / NAME / "measures.npz").write_bytes(b"PK")
    [run] = verify_runs(copied)
    assert "is not the file that measures.json was written with" in run.problems[0]


def test_measures_are_merged_and_others_of_the_same_run_are_told(copied, tmp_path):
    source, into = copied, tmp_path.with_name(f"{tmp_path.name}-into")
    assert merge([source], into).copied == [NAME]
    [made] = into.rglob("measures.json")
    assert merge([source], into).same == [NAME]
    alter(made, lambda told: told["conditions"][0].update(accuracy=0.99))
    before = made.read_bytes()
    assert merge([source], into).left == {NAME: "other measures of this run are there"}
    assert made.read_bytes() == before
    made.unlink()
    assert merge([source], into).same == [NAME] and made.exists()


SHORT: dict[str, Any] = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 2}


@pytest.mark.parametrize("fields", [{"scope": "network"}, {"selection": "random"}])
def test_every_reading_can_be_measured(fields, tmp_path):
    config = RunConfig(preset="smoke", method="accuracy_gated", **SHORT, **fields)
    train(config, output_dir=tmp_path, device="cpu", progress=False)
    [(_, done)] = measure_runs(tmp_path)
    assert done.startswith("measured in")
    [run] = verify_runs(tmp_path)
    assert run.problems == ()


@pytest.mark.parametrize(
    ("fields", "told"), [({"test_images": 0}, "no image"), ({"learning_rate": 1e9}, "diverged: nothing to measure")]
)
def test_what_cannot_be_measured_is_told(fields, told, tmp_path):
    config = RunConfig(preset="smoke", method="dense", **SHORT | fields)
    train(config, output_dir=tmp_path, device="cpu", progress=False)
    [(_, done)] = measure_runs(tmp_path)
    assert told in done
    assert not list(tmp_path.rglob("measures.*"))
