"""Other readings of the constraint: each against its definition, worked out by hand or counted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.test_trainer import carried, data, same_numbers
from sparsecycle import GlobalTopK, RunConfig, WideResNet, set_keep_ratio
from sparsecycle.trainer import Trainer, learning_rate, make_network
from sparsecycle.variants import (
    SHIFT,
    NetworkThreshold,
    NetworkTopK,
    RandomK,
    RoundedTopK,
    augmented,
    constraint_factory,
)

COUNTS = "blocks.0.topk1.threshold.counts"
READINGS = [{"scope": "network"}, {"selection": "random"}, {"rounding": "up"}, {"rounding": "nearest"}]


def reading_of(reading: dict[str, str]) -> GlobalTopK:
    return constraint_factory(**({"scope": "sample"} | reading))()


@settings(deadline=None, max_examples=60)  # the first call loads the kernels
@given(st.floats(0.01, 0.99), st.sampled_from(["sample", "channel", "position", "batch"]), st.integers(0, 9))
def test_random_survivors_are_as_many_as_the_largest_and_unchanged(keep_ratio, scope, seed):
    x = torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(seed))
    out = RandomK(keep_ratio, scope)(x)
    largest = GlobalTopK(keep_ratio, scope)(x)
    dims = {"sample": (1, 2, 3), "channel": (2, 3), "position": (1,), "batch": (0, 1, 2, 3)}[scope]
    assert torch.equal((out > 0).sum(dims), (largest > 0).sum(dims))
    assert torch.equal(out, torch.where(out > 0, x, 0.0))


def test_random_survivors_are_chosen_evenly_among_the_positive():
    torch.manual_seed(0)
    x = torch.tensor([[1.0, 2.0, -1.0, 4.0, 100.0, -5.0]]).expand(20_000, -1)
    kept = (RandomK(1 / 3)(x) > 0).double().mean(dim=0)  # two of the four positive ones
    assert kept[[2, 5]].sum() == 0
    assert (kept[[0, 1, 3, 4]] - 0.5).abs().max() < 5 * 0.5 / 20_000**0.5


@settings(deadline=None, max_examples=90)
@given(st.integers(1, 200), st.floats(0.001, 1.0), st.sampled_from(["down", "up", "nearest"]))
def test_rounded_k_is_that_of_its_rule_and_never_none(n, keep_ratio, rounding):
    layer = reading_of({"rounding": rounding})
    layer.keep_ratio = keep_ratio
    exact = torch.tensor(keep_ratio, dtype=torch.float64) * n
    k = {"down": exact.floor(), "up": exact.ceil(), "nearest": exact.round()}[rounding]
    assert (layer(torch.rand(2, n) + 0.01) > 0).sum(dim=1).tolist() == [max(1, int(k))] * 2


def test_the_threshold_by_hand():
    """Values 1, 1, 2, 2, 4, 4, 8, 8 and eight zeros: half of the 16 are the positive ones, a quarter 4 and 8."""
    shared = NetworkThreshold()
    shared.observe(torch.tensor([1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0]))
    shared.observe(torch.zeros(8))
    shared.settle()

    def kept(share: float) -> int:
        threshold = shared.value(torch.tensor(share, dtype=torch.float64))
        values = torch.tensor([0.0] * 8 + [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0])
        return int((values >= threshold).sum())

    assert [kept(share) for share in (0.125, 0.25, 0.375, 0.5)] == [2, 4, 6, 8]
    assert kept(0.75) == 16  # zeros have to be kept: no constraint


@given(st.floats(0.02, 0.45), st.integers(0, 5))
def test_the_share_over_all_layers_is_met(keep_ratio, seed):
    """Two layers of different size and scale compete for one budget."""
    generator = torch.Generator().manual_seed(seed)
    shared = NetworkThreshold()
    layers = [NetworkTopK(shared), NetworkTopK(shared)]
    for _ in range(6):
        inputs = [torch.randn(4, 3000, generator=generator), 5 * torch.randn(4, 1000, generator=generator)]
        for layer in layers:
            layer.keep_ratio = keep_ratio
        outputs = [layer(x) for layer, x in zip(layers, inputs, strict=True)]
        shared.settle()
    kept = [int((out > 0).sum()) for out in outputs]
    assert sum(kept) / 16_000 == pytest.approx(keep_ratio, abs=0.02)
    assert kept[1] / 4000 > kept[0] / 12_000  # the larger activations keep the larger share


def test_the_threshold_is_part_of_the_network_once_and_still_in_evaluation():
    torch.manual_seed(0)
    model = WideResNet(10, 1, constraint=constraint_factory("network"))
    assert [name for name in model.state_dict() if "counts" in name] == [COUNTS]
    assert set_keep_ratio(model, 0.3) == 7
    x = torch.randn(4, 3, 32, 32)
    model(x)
    model(x)  # when the first layer sees the next batch, the one before is over
    counts = model.state_dict()[COUNTS].clone()
    assert counts.sum() == 4 * sum(16_384 // d for d in (1, 1, 1, 2, 2, 4, 4))
    model.eval()
    with torch.no_grad():
        first = model(x)
        assert torch.equal(model(x), first)
    assert torch.equal(model.state_dict()[COUNTS], counts)


@pytest.mark.parametrize("reading", READINGS)
def test_each_reading_is_relu_at_budget_one_and_lets_the_gradient_through_what_it_kept(reading):
    torch.manual_seed(0)
    plain = WideResNet(10, 1)
    other = WideResNet(10, 1, constraint=constraint_factory(**({"scope": "sample"} | reading)))
    other.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(x), other(x))
    layers = [module for module in other.modules() if isinstance(module, GlobalTopK)]
    values = torch.randn(2, 8, 4, 4, requires_grad=True)
    layers[0].keep_ratio = 0.2
    out = layers[0](values)
    out.sum().backward()
    assert values.grad is not None and torch.equal(values.grad, (out > 0).float())


def test_dropout_stands_in_each_block_and_is_off_in_evaluation():
    torch.manual_seed(0)
    model = WideResNet(16, 1, dropout=0.3)
    assert sum(isinstance(module, nn.Dropout) for module in model.modules()) == 6
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("keep_ratio", [1.0, 0.4])
@pytest.mark.parametrize("reading", READINGS)
def test_tangents_and_torch_func_see_each_reading(reading, keep_ratio):
    """The reading is linear where the kept values stay the same ones; random choices are repeated by the seed."""
    layer = reading_of(reading).eval()
    layer.keep_ratio = keep_ratio
    x, v = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)

    def same_choice(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return layer(x)

    wanted = torch.where(same_choice(x) > 0, v, 0.0)
    assert wanted.any()
    assert torch.equal(torch.func.jvp(same_choice, (x,), (v,))[1], wanted)
    assert torch.equal(torch.func.vjp(same_choice, x)[1](v)[0], wanted)


@pytest.mark.parametrize("reading", READINGS[1:])
def test_each_reading_refuses_a_scope_that_does_not_fit(reading):
    for keep_ratio in (0.2, 1.0):
        layer = reading_of({"scope": "channel"} | reading)
        layer.keep_ratio = keep_ratio
        with pytest.raises(ValueError, match=r"scope 'channel' does not fit.*\(4, 10\)"):
            layer(torch.randn(4, 10))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scope": "network", "selection": "random"}, "only one can be had"),
        ({"selection": "random", "rounding": "up"}, "only one can be had"),
        ({"scope": "layer"}, "scope is 'layer'"),
        ({"selection": "smallest"}, "selection is 'smallest'"),
        ({"rounding": "away"}, "rounding is 'away'"),
    ],
)
def test_impossible_readings_are_refused_by_factory_and_configuration(fields, words):
    with pytest.raises(ValueError, match=words):
        reading_of(fields)
    with pytest.raises(ValueError, match=words):
        RunConfig(preset="quick", method="dense", **fields)


def test_the_configuration_makes_each_reading():
    kinds = {"selection": ("random", RandomK), "rounding": ("up", RoundedTopK), "scope": ("network", NetworkTopK)}
    for field, (value, kind) in kinds.items():
        model = make_network(RunConfig(preset="quick", method="accuracy_gated", **{field: value}))
        assert {type(module) for module in model.modules() if isinstance(module, GlobalTopK)} == {kind}
    model = make_network(RunConfig(preset="quick", method="accuracy_gated", scope="channel"))
    assert type(model.topk) is GlobalTopK and model.topk.scope == "channel"


def small(**fields: object) -> RunConfig:
    return RunConfig(preset="smoke", method="fixed", keep_ratio=0.3, **fields)


def test_an_activated_shortcut_takes_what_its_block_s_first_convolution_takes():
    torch.manual_seed(0)
    model = make_network(small(shortcut="activated"))
    set_keep_ratio(model, 0.3)
    x = torch.randn(2, 16, 8, 8)
    for block in model.blocks:
        active = block.topk1(block.norm1(x))
        inner = block.conv2(block.topk2(block.norm2(block.conv1(active))))
        expected = inner + (x if block.shortcut is None else block.shortcut(active))
        torch.testing.assert_close(block(x), expected)
        x = expected.detach()
    published = make_network(small())
    published.load_state_dict(model.state_dict())  # the same parameters, another place of the shortcut
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(published(images), model(images))


def test_without_a_bias_the_norms_stay_at_zero_and_a_run_goes_on_after_a_pause():
    config = small(norm_bias=False, train_images=60, batch_size=20, epochs=2)
    whole, paused = (Trainer(config, *data(config)) for _ in range(2))
    whole.train(6)
    biases = [value for name, value in whole.model.state_dict().items() if "norm" in name and "bias" in name]
    assert biases and not torch.cat(biases).any()
    paused.train(3)
    resumed = carried(paused)
    resumed.train(6)
    assert same_numbers(resumed, whole)


def test_the_rate_rises_through_the_warm_up_to_the_cosine():
    warm, plain = small(epochs=10, warmup_epochs=4), small(epochs=10)
    shares = [learning_rate(warm, epoch) / learning_rate(plain, epoch) for epoch in range(10)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 6)


def test_an_augmented_image_is_shifted_and_perhaps_mirrored_and_the_seed_decides():
    images = torch.randint(1, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = augmented(images, seed=3)
    assert torch.equal(seen, augmented(images, seed=3)) and not torch.equal(seen, augmented(images, seed=4))
    padded = nn.functional.pad(images, (SHIFT,) * 4)
    mirrored, shifts = 0, set()
    for number in range(40):
        found = [
            (down, right, flipped)
            for down in range(2 * SHIFT + 1)
            for right in range(2 * SHIFT + 1)
            for flipped in (False, True)
            if torch.equal(seen[number], _window(padded[number], down, right, flipped))
        ]
        assert len(found) == 1
        shifts.add(found[0][:2])
        mirrored += found[0][2]
    assert 10 < mirrored < 30 and len(shifts) > 20


def _window(padded: Tensor, down: int, right: int, flipped: bool) -> Tensor:
    window = padded[:, down : down + 32, right : right + 32]
    return window.flip(-1) if flipped else window


def test_training_on_augmented_images_draws_anew_at_each_step():
    config = small(augment=True, train_images=20, batch_size=20)
    trainer = Trainer(config, *data(config))
    first, _ = trainer._batch(torch.arange(20))
    trainer.step = 1
    second, _ = trainer._batch(torch.arange(20))
    assert not torch.equal(first, second)
