"""The network's size, sites and normalization."""

import pytest
import torch
from torch import nn

from sparsecycle import GlobalTopK, WideResNet, set_keep_ratio
from sparsecycle.network import RMSNorm2d


def test_wrn_28_4_has_the_counted_parameters_sites_and_activations() -> None:
    model = WideResNet(28, 4)
    seen: list[int] = []
    for module in model.modules():
        if isinstance(module, GlobalTopK):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0].numel()))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_845_450
    assert len(seen) == 25
    assert sum(seen) == 933_888


def test_changing_the_budget_needs_no_rebuild() -> None:
    torch.manual_seed(0)
    model = WideResNet(10, 1).eval()
    x = torch.randn(2, 3, 32, 32)
    shares = {}
    layer = model.blocks[0].topk2
    layer.register_forward_hook(lambda _module, _inputs, output: shares.update(now=(output != 0).float().mean().item()))
    with torch.no_grad():
        dense = model(x)
        assert set_keep_ratio(model, 0.1) == 7
        sparse = model(x)
        assert shares["now"] <= 0.1001
        set_keep_ratio(model, 1.0)
        assert torch.equal(model(x), dense)
    assert not torch.equal(sparse, dense)


@pytest.mark.parametrize("norm", ["rms", "rms_sample", "batch"])
@pytest.mark.parametrize("scope", ["sample", "batch", "channel", "position"])
def test_every_variant_trains_every_parameter(norm: str, scope: str) -> None:
    torch.manual_seed(0)
    model = WideResNet(10, 1, norm=norm, scope=scope)
    set_keep_ratio(model, 0.3)
    model(torch.randn(4, 3, 32, 32)).logsumexp(1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("over", "dims"), [("position", (1,)), ("sample", (1, 2, 3))])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rmsnorm_equals_its_formula(over: str, dims: tuple[int, ...], memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 4).contiguous(memory_format=memory_format)
    norm = RMSNorm2d(5, over, eps=1e-3)
    nn.init.uniform_(norm.weight)
    root = (x.double().square().mean(dims, keepdim=True) + 1e-3).sqrt()
    expected = x.double() / root * norm.weight.double()[:, None, None]
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-5, atol=1e-6)  # float32 arithmetic


def test_rmsnorm_ignores_the_scale_of_its_input() -> None:
    x = torch.randn(1, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    norm = RMSNorm2d(8, eps=1e-12)
    torch.testing.assert_close(norm(1000 * x), norm(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 27}, "depth is 27.*6n [+] 4"),
        ({"depth": 4}, "depth is 4"),
        ({"width": 0}, "width is 0"),
        ({"norm": "layer"}, "norm is 'layer'.*rms, rms_sample, batch"),
        ({"depth": 10, "width": 1, "scope": "all"}, "scope is 'all'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WideResNet(**arguments)  # type: ignore[arg-type]
