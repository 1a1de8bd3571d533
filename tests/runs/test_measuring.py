"""What is measured after a run: each part against its definition, the whole on a run that was trained here."""

import copy
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor, nn

from conftest import without_checksum
from sparsecycle import GlobalTopK, RunConfig, WideResNet, load_runs, train
from sparsecycle.trainer import load_images
from sparsecycle.cli import main
from sparsecycle.evaluation.compression import pruned, with_int8_weights
from sparsecycle.evaluation.corruptions import STRENGTHS, corrupt, units_removed
from sparsecycle.data.cifar10 import load_cifar10
from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import evaluate
from sparsecycle.runs.measures import Measures, calibration_error, read_arrays
from sparsecycle.runs.measure import measure_runs
from sparsecycle.runs.merging import merge
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.records import load_measures, read_predictions
from sparsecycle.evaluation.similarity import budget_similarity, linear_cka


@pytest.fixture(scope="module")
def network() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load_cifar10("embedded").test_images[:20]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]).detach()


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_pruning_takes_the_smallest_weights_of_all_layers_together(network: WideResNet, share: float) -> None:
    before = weights(network).clone()
    after = weights(pruned(network, share))
    gone = after == 0
    assert int(gone.sum()) == round(share * len(before))
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(after[~gone], before[~gone])
    assert torch.equal(weights(network), before)  # the network itself is as it was


def test_int8_weights_are_whole_multiples_of_their_channels_step(network: WideResNet) -> None:
    rounded = with_int8_weights(network)
    pairs = zip(network.modules(), rounded.modules(), strict=True)
    for before, after in pairs:
        if isinstance(before, nn.Conv2d | nn.Linear):
            for channel, levels in zip(before.weight.detach().double(), after.weight.detach().double(), strict=True):
                step = channel.abs().max() / 127
                assert (levels / step - (levels / step).round()).abs().max() < 1e-3
                assert (levels - channel).abs().max() <= step * 0.5001
                assert levels.abs().max() == pytest.approx(float(channel.abs().max()), rel=1e-6)
    silent = nn.Linear(3, 2)
    nn.init.zeros_(silent.weight)
    assert torch.equal(with_int8_weights(silent).weight, silent.weight)  # type: ignore[arg-type]


def test_noise_has_its_strength_and_is_the_same_for_every_network(images: Tensor) -> None:
    grey = torch.full((50, 3, 32, 32), 128, dtype=torch.uint8)
    state = torch.get_rng_state()
    noisy = corrupt(grey, "noise", 0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noisy, corrupt(grey, "noise", 0.1))
    assert (noisy.double() / 255).std().item() == pytest.approx(0.1, rel=0.01)
    assert (noisy.double() / 255).mean().item() == pytest.approx(128 / 255, abs=0.001)


@pytest.mark.parametrize("strength", STRENGTHS["blur"])
def test_blur_is_that_of_scipy(images: Tensor, strength: float) -> None:
    ours = corrupt(images, "blur", strength).double()
    reference = scipy.ndimage.gaussian_filter(images.double().numpy(), (0, 0, strength, strength), mode="mirror")
    assert np.abs(ours.numpy() - reference).max() < 1.0  # rounded to whole levels


def test_contrast_shrinks_towards_the_mean_grey(images: Tensor) -> None:
    flat = corrupt(images, "contrast", 0.15).double()
    ratio = flat.flatten(1).std(dim=1) / images.double().flatten(1).std(dim=1)
    assert (ratio < 0.3).all()
    grey = torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)
    assert (corrupt(grey, "contrast", 0.3).int() - grey.int()).abs().max() <= 1  # torchvision cuts decimals off
    with pytest.raises(ValueError, match="kind is 'fog'"):
        corrupt(images, "fog", 1.0)


def test_removed_units_are_the_share_asked_for_nested_and_come_back(network: WideResNet, images: Tensor) -> None:
    layers = [module for module in network.modules() if isinstance(module, GlobalTopK)]
    silent: dict[float, list[set[int]]] = {}
    for share in STRENGTHS["removal"]:
        silent[share] = []
        with units_removed(network, share), torch.no_grad():
            for layer in layers:
                out = layer(torch.ones(1, 64, 2, 2))
                silent[share].append(set((out == 0).all(3).all(2)[0].nonzero().flatten().tolist()))
        assert all(len(units) == round(share * 64) for units in silent[share])
    for smaller, larger in zip(STRENGTHS["removal"], STRENGTHS["removal"][1:], strict=False):
        assert all(a <= b for a, b in zip(silent[smaller], silent[larger], strict=True))
    assert all(not layer._forward_hooks for layer in layers)


def test_cka_by_its_formula_on_features_and_its_invariances() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 7, generator=generator).double(), torch.randn(40, 5, generator=generator).double()
    a, b = x - x.mean(0), y - y.mean(0)
    expected = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert linear_cka(x, y) == pytest.approx(float(expected), abs=1e-12)
    rotation = torch.linalg.qr(torch.randn(7, 7, generator=generator).double()).Q
    assert linear_cka(x, 3 * x @ rotation + 2) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="40 and 39"):
        linear_cka(x, y[:39])


def test_similarity_is_one_at_budget_one_and_falls_with_it(network: WideResNet, images: Tensor) -> None:
    rows = budget_similarity(network, images, (1.0, 0.3, 0.02))
    mean = {budget: np.mean([row["cka"] for row in rows if row["keep_ratio"] == budget]) for budget in (1.0, 0.3, 0.02)}
    assert mean[1.0] == pytest.approx(1.0)
    assert 1 > mean[0.3] > mean[0.02] > 0
    assert len(rows) == 3 * 7


def test_calibration_error_by_hand() -> None:
    """Bins (0.6, 0.667] with one of two right at 0.65, and (0.933, 1] with 0.99 right: 2/3 * 0.15 + 1/3 * 0.01."""
    error = calibration_error(np.array([0.65, 0.65, 0.99]), np.array([True, False, True]))
    assert error == pytest.approx(2 / 3 * 0.15 + 1 / 3 * 0.01)


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0.1, 1.0)), st.integers(0, 99))
def test_calibration_error_equals_a_plain_loop(confidences: NDArray[np.float64], seed: int) -> None:
    correct = np.random.default_rng(seed).random(len(confidences)) < 0.5
    total = 0.0
    for i in range(15):
        inside = [j for j, c in enumerate(confidences) if np.ceil(c * 15) == i + 1]
        if inside:
            total += abs(sum(confidences[j] for j in inside) - sum(bool(correct[j]) for j in inside))
    assert calibration_error(confidences, correct) == pytest.approx(total / len(confidences))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(RunConfig(preset="smoke", method="plateau"), output_dir=folder, device="cpu", progress=False)
    assert main(["measure", str(folder), "--device", "cpu"]) == 0
    return folder


def test_a_run_is_measured_once(measured: Path) -> None:
    before = (measured / "smoke/plateau-seed0/measures.json").read_bytes()
    assert [done for _, done in measure_runs(measured)] == ["measured before"]
    assert (measured / "smoke/plateau-seed0/measures.json").read_bytes() == before


def test_measures_agree_with_the_record_and_with_their_own_arrays(measured: Path) -> None:
    folder = measured / "smoke/plateau-seed0"
    config = RunConfig(preset="smoke", method="plateau")
    measures, predictions = Measures.read(folder), read_predictions(folder)
    assert measures is not None
    arrays = read_arrays(folder, measures.files["measures.npz"])
    data = load_images(config)
    by_name = {one.name: one for one in measures.conditions}
    assert len(by_name) == 6 + 1 + 3 + 1 + 4 * 5
    record = json.loads((folder / "record.json").read_text())
    for result in record["budgets"]:
        one = by_name[f"budget/{result['keep_ratio']!r}"]
        assert (arrays[one.name] == predictions[result["keep_ratio"]]).all()
        assert one.accuracy == result["accuracy"]
        assert one.loss == pytest.approx(result["loss"], rel=2e-3)  # kept in float16
    fitted = by_name["fitted/0.0"].accuracy
    assert fitted == record["metrics"]["train_accuracy"]
    assert (arrays["fitted/0.0"] == data.train_labels.numpy()).mean() == fitted
    model = load_model(folder, config)
    by_hand = evaluate(pruned(model, 0.8), data.test_images, data.test_labels, 1.0)
    assert by_name["pruning/0.8"].accuracy == by_hand.accuracy
    areas = [by_name[f"pruning/{share}"].accuracy for share in (0.5, 0.8, 0.9)]
    assert measures.metrics["pruned_area"] == pytest.approx(np.mean(areas))
    disturbed = [by_name[f"{kind}/{s!r}"].accuracy for kind, strengths in STRENGTHS.items() for s in strengths]
    assert measures.metrics["robustness_area"] == pytest.approx(np.mean(disturbed))
    assert all(0 <= row["active_fraction"] <= row["keep_ratio"] + 1e-3 for row in measures.layers)


def test_runs_carry_what_was_measured(measured: Path) -> None:
    runs = load_runs(measured)
    assert {"pruned_area", "int8_accuracy", "robustness_area", "calibration_error"} <= set(runs.columns)
    rows = load_measures(measured)
    assert set(rows["kind"]) == {"budget", "fitted", "pruning", "int8", *STRENGTHS}
    assert (rows["method"] == "plateau").all()


def test_other_weights_are_refused_and_damage_is_named(measured: Path, tmp_path: Path) -> None:
    folder = tmp_path / "smoke/plateau-seed0"
    shutil.copytree(measured / "smoke/plateau-seed0", folder)
    (folder / "measures.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        list(measure_runs(tmp_path))
    (folder / "measures.json").unlink()
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="is not what record"):
        list(measure_runs(tmp_path))
    (folder / "model.safetensors").unlink()
    assert [done for _, done in measure_runs(tmp_path)] == ["left out: its weights are not here"]


def test_verify_recomputes_every_measured_number_and_finds_a_changed_one(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "smoke/plateau-seed0"
    shutil.copytree(measured / "smoke/plateau-seed0", folder)
    assert main(["verify", str(tmp_path)]) == 0
    count, of_tables = map(int, re.findall(r"(\d+) numbers recomputed, all equal", capsys.readouterr().out))
    assert count == 10 + 31 + 2 * 6 + 10 + 2 + 1, "the last is the identity"
    assert of_tables > 0
    text = (folder / "measures.json").read_text()
    told = without_checksum(folder / "measures.json")
    for spoil in (
        lambda m: m["metrics"].update(pruned_area=m["metrics"]["pruned_area"] + 0.001),
        lambda m: m["conditions"][3].update(calibration_error=0.5),
        lambda m: m["conditions"][-1].update(accuracy=0.99),
    ):
        changed = copy.deepcopy(told)
        spoil(changed)
        (folder / "measures.json").write_text(json.dumps(changed))
        assert main(["verify", str(tmp_path)]) == 1
    (folder / "measures.json").write_text(text)
    (folder / "measures.npz").write_bytes(b"PK")
    assert main(["verify", str(tmp_path)]) == 2
    assert "is not the file that measures.json was written with" in capsys.readouterr().err


def test_merge_carries_measures_also_when_the_run_came_before_them(measured: Path, tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    shutil.copytree(measured, source)
    folder, files = source / "smoke/plateau-seed0", ("measures.json", "measures.npz")
    kept = {name: (folder / name).read_bytes() for name in files}
    for name in files:
        (folder / name).unlink()
    assert len(merge([source], into).copied) == 1 and load_measures(into).empty
    (folder / "measures.json").write_bytes(kept["measures.json"])
    assert len(merge([source], into).same) == 1 and load_measures(into).empty  # half of it is nothing
    (folder / "measures.npz").write_bytes(kept["measures.npz"])
    assert len(merge([source], into).same) == 1 and len(load_measures(into)) == 31


@pytest.mark.parametrize("fields", [{"scope": "network"}, {"selection": "random"}, {"norm": "batch"}])
def test_every_reading_can_be_measured(fields: dict[str, str], tmp_path: Path) -> None:
    config = RunConfig(preset="smoke", method="plateau", epochs=2, **fields)  # type: ignore[arg-type]
    train(config, output_dir=tmp_path, device="cpu", progress=False)
    [(_, done)] = measure_runs(tmp_path)
    assert done.startswith("measured in")
    assert main(["verify", str(tmp_path)]) == 0


def test_a_number_that_is_not_finite_survives_the_file(measured: Path, tmp_path: Path) -> None:
    measures = Measures.read(measured / "smoke/plateau-seed0")
    assert measures is not None
    measures.conditions[0].loss = math.inf
    measures.write(tmp_path)
    again = Measures.read(tmp_path)
    assert again is not None and again.conditions[0].loss == math.inf
