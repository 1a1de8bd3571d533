"""Compressed and disturbed networks, and how alike their layers are: each against its definition."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn

from sparsecycle import GlobalTopK, WideResNet
from sparsecycle.data.cifar10 import load_cifar10
from sparsecycle.errors import InputError
from sparsecycle.evaluation.compression import pruned, with_int8_weights
from sparsecycle.evaluation.corruptions import STRENGTHS, corrupt, units_removed
from sparsecycle.evaluation.similarity import budget_similarity, linear_cka


@pytest.fixture(scope="module")
def network() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1).to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load_cifar10().test_images[:20]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]).detach()


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_pruning_takes_the_smallest_weights_of_all_layers_together(network, share):
    before = weights(network).clone()
    after = weights(pruned(network, share))
    gone = after == 0
    assert int(gone.sum()) == round(share * len(before))
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(after[~gone], before[~gone])
    assert torch.equal(weights(network), before)  # the network itself is as it was


def test_int8_weights_are_whole_multiples_of_their_channels_step(network):
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
    assert torch.equal(with_int8_weights(silent).weight, silent.weight)


def test_noise_has_its_strength_and_is_the_same_for_every_network(images):
    grey = torch.full((50, 3, 32, 32), 128, dtype=torch.uint8)
    state = torch.get_rng_state()
    noisy = corrupt(grey, "noise", 0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noisy, corrupt(grey, "noise", 0.1))
    assert (noisy.double() / 255).std().item() == pytest.approx(0.1, rel=0.01)
    assert (noisy.double() / 255).mean().item() == pytest.approx(128 / 255, abs=0.001)


@pytest.mark.parametrize("strength", STRENGTHS["blur"])
def test_blur_is_that_of_scipy(images, strength):
    ours = corrupt(images, "blur", strength).double()
    reference = scipy.ndimage.gaussian_filter(images.double().numpy(), (0, 0, strength, strength), mode="mirror")
    assert np.abs(ours.numpy() - reference).max() < 1.0  # rounded to whole levels


def test_contrast_shrinks_towards_the_mean_grey(images):
    flat = corrupt(images, "contrast", 0.15).double()
    ratio = flat.flatten(1).std(dim=1) / images.double().flatten(1).std(dim=1)
    assert (ratio < 0.3).all()
    grey = torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)
    assert (corrupt(grey, "contrast", 0.3).int() - grey.int()).abs().max() <= 1  # torchvision cuts decimals off
    with pytest.raises(InputError, match="kind is 'fog'"):
        corrupt(images, "fog", 1.0)


def test_removed_units_are_the_share_asked_for_nested_and_come_back(network, images):
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


def test_cka_by_its_formula_on_features_and_its_invariances():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 7, generator=generator).double(), torch.randn(40, 5, generator=generator).double()
    a, b = x - x.mean(0), y - y.mean(0)
    expected = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert linear_cka(x, y) == pytest.approx(float(expected), abs=1e-12)
    rotation = torch.linalg.qr(torch.randn(7, 7, generator=generator).double()).Q
    assert linear_cka(x, 3 * x @ rotation + 2) == pytest.approx(1.0)
    with pytest.raises(InputError, match="40 and 39"):
        linear_cka(x, y[:39])


def test_similarity_is_one_at_budget_one_and_falls_with_it(network, images):
    rows = budget_similarity(network, images, (1.0, 0.3, 0.02))
    mean = {budget: np.mean([row["cka"] for row in rows if row["keep_ratio"] == budget]) for budget in (1.0, 0.3, 0.02)}
    assert mean[1.0] == pytest.approx(1.0)
    assert 1 > mean[0.3] > mean[0.02] > 0
    assert len(rows) == 3 * 7
