"""The network's size, sites and normalization; that whoever changes a module gets the changed module; derivatives."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules import module as nn_module

from core.inputs import FORMATS
from sparsecycle import GlobalTopK, WideResNet, set_keep_ratio
from sparsecycle.network import RMSNorm2d, normed_topk


def images(n: int = 2) -> Tensor:
    x = torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def small_network(keep_ratio: float = 0.3) -> WideResNet:
    """Return WRN-10-1 in channels_last, which the fused operator serves, with biases that are not 0."""
    torch.manual_seed(0)
    model = WideResNet(10, 1).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, RMSNorm2d):
            nn.init.normal_(module.bias, 0.0, 0.3)
    set_keep_ratio(model, keep_ratio)
    return model


def test_wrn_28_4_has_the_script_s_parameters_sites_and_activations():
    model = WideResNet(28, 4)
    seen: list[int] = []
    for module in model.modules():
        if isinstance(module, GlobalTopK):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0].numel()))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_849_050
    assert len(seen) == 25
    assert sum(seen) == 933_888


def test_it_is_initialized_as_the_script_does():
    """Convolutions normal with variance 2 / fan-out, the head 1 / fan-in; gains 1, biases 0. To 5 standard errors."""
    torch.manual_seed(0)
    for name, parameter in WideResNet(10, 4).named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (0.0 if name.endswith("bias") else 1.0)).all(), name
            continue
        outputs, inputs, *kernel = parameter.shape
        variance = 2 / (outputs * kernel[0] * kernel[1]) if kernel else 1 / inputs
        error = 5 / (2 * parameter.numel()) ** 0.5
        assert parameter.std().item() == pytest.approx(variance**0.5, rel=error), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 27}, "depth is 27.*6n [+] 4"),
        ({"depth": 4}, "depth is 4"),
        ({"width": 0}, "width is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        WideResNet(**arguments)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_rmsnorm_equals_its_formula(memory_format):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 4).contiguous(memory_format=memory_format)
    x[1, :, 2, 3] = 0
    norm = RMSNorm2d(5, eps=1e-3)
    nn.init.uniform_(norm.weight)
    nn.init.normal_(norm.bias)
    root = (x.double().square().mean(1, keepdim=True) + 1e-3).sqrt()
    expected = x.double() / root * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-5, atol=1e-6)  # float32 arithmetic
    assert torch.equal(norm(x)[1, :, 2, 3], norm.bias), "where there is nothing"


def test_rmsnorm_serves_other_dtypes_and_empty_batches():
    norm = RMSNorm2d(4)
    empty = torch.empty(0, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    assert norm(empty).shape == normed_topk(norm, GlobalTopK(0.3), empty).shape == empty.shape
    x = torch.randn(2, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    short = norm.bfloat16()(x.bfloat16())
    assert short.dtype == torch.bfloat16
    torch.testing.assert_close(short, RMSNorm2d(4)(x).bfloat16(), rtol=0.02, atol=0.02)  # eight bits of precision


class Doubled(RMSNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Halved(GlobalTopK):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


def doubling(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return 2 * output


def doubling_norms(module: nn.Module, _inputs: Any, output: Any) -> Any:
    return 2 * output if isinstance(module, RMSNorm2d) else None


def sites() -> tuple[RMSNorm2d, GlobalTopK, Tensor, Tensor]:
    """Return a norm, a constraint, activations that the fused operator serves, and its output."""
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=FORMATS[1])
    norm, topk = RMSNorm2d(4), GlobalTopK(0.3)
    return norm, topk, x, normed_topk(norm, topk, x)


def test_a_subclass_of_norm_or_constraint_does_what_it_says():
    norm, topk, x, plain = sites()
    torch.testing.assert_close(normed_topk(Doubled(4), topk, x), 2 * plain)
    torch.testing.assert_close(normed_topk(norm, Halved(0.3), x), plain / 2)


def test_a_forward_set_on_a_module_or_its_class_is_called(monkeypatch):
    norm, topk, x, plain = sites()
    original, constrain = norm.forward, topk.forward
    norm.forward = lambda x: 2 * original(x)
    torch.testing.assert_close(normed_topk(norm, topk, x), 2 * plain)
    del norm.forward
    topk.forward = lambda x: 2 * constrain(x)
    torch.testing.assert_close(normed_topk(norm, topk, x), 2 * plain)
    del topk.forward
    written = RMSNorm2d.forward
    monkeypatch.setattr(RMSNorm2d, "forward", lambda self, x: 2 * written(self, x))
    torch.testing.assert_close(normed_topk(norm, topk, x), 2 * plain)
    monkeypatch.undo()
    monkeypatch.setattr(RMSNorm2d, "__call__", lambda self, x: 2 * self.forward(x), raising=False)
    torch.testing.assert_close(normed_topk(norm, topk, x), 2 * plain)


def test_a_compiled_module_and_torchs_own_eps_are_honoured():
    norm, topk, x, _ = sites()
    norm.eps = None
    torch.testing.assert_close(normed_topk(norm, topk, x), topk(norm(x)))
    norm.eps = 1e-8
    graphs: list[int] = []
    norm.compile(backend=lambda graph, _: graphs.append(1) or graph.forward)
    normed_topk(norm, topk, x)
    assert graphs


def test_hooks_of_every_kind_see_their_module():
    norm, topk, x, plain = sites()
    for register, hook in (
        (norm.register_forward_hook, doubling),
        (topk.register_forward_hook, doubling),
        (topk.register_forward_pre_hook, lambda _module, inputs: (2 * inputs[0],)),
        (nn_module.register_module_forward_hook, doubling_norms),
    ):
        with register(hook):
            torch.testing.assert_close(normed_topk(norm, topk, x), 2 * plain)
    for register, kinds in (
        (nn_module.register_module_forward_pre_hook, {RMSNorm2d, GlobalTopK}),
        (norm.register_full_backward_hook, {RMSNorm2d}),
        (nn_module.register_module_full_backward_hook, {RMSNorm2d}),
        (topk.register_full_backward_pre_hook, {GlobalTopK}),
        (nn_module.register_module_full_backward_pre_hook, {GlobalTopK}),
    ):
        seen: list[type] = []
        with register(lambda module, *_, seen=seen: seen.append(type(module))):
            normed_topk(norm, topk, x.clone().requires_grad_()).sum().backward()
        assert kinds <= set(seen)


def test_a_parametrized_or_replaced_norm_is_honoured_by_the_network():
    model, x = small_network(1.0), images()
    with torch.no_grad():
        plain = model(x)
        doubled = copy.deepcopy(model)
        doubled.norm.weight *= 2
        doubled.norm.bias *= 2
        expected = doubled(x)
        torch.nn.utils.parametrize.register_parametrization(model.norm, "weight", Twice())
        torch.nn.utils.parametrize.register_parametrization(model.norm, "bias", Twice())
        torch.testing.assert_close(model(x), expected)
    assert not torch.allclose(plain, expected)


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def in_float64(model: WideResNet) -> WideResNet:
    return copy.deepcopy(model).double()


@pytest.mark.parametrize("keep_ratio", [1.0, 0.3])
def test_tangents_go_through_the_network(keep_ratio):
    """Against a finite difference in float64, where no value changes sides at its threshold."""
    model, x = small_network(keep_ratio), images()
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    _, tangent = torch.func.jvp(model, (x,), (v,))
    wide, step = in_float64(model), 1e-7
    with torch.no_grad():
        difference = (wide(x.double() + step * v) - wide(x.double() - step * v)) / (2 * step)
    assert difference.abs().max() > 0.1
    torch.testing.assert_close(tangent.double(), difference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("keep_ratio", [1.0, 0.3])
def test_torch_func_gives_the_gradients_of_autograd(keep_ratio):
    model, x, labels = small_network(keep_ratio), images(), torch.tensor([3, 7])
    parameters = dict(model.named_parameters())

    def loss(values: dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, values, (x,)), labels)

    detached = {name: parameter.detach() for name, parameter in parameters.items()}
    found = torch.func.grad(loss)(detached, x, labels)
    wanted = torch.autograd.grad(F.cross_entropy(model(x), labels), list(parameters.values()))
    for name, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item())

    def of_one(values: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
        return loss(values, x[None], label[None])

    each = torch.func.vmap(torch.func.grad(of_one), (None, 0, 0))(detached, x, labels)
    for name, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(each[name].mean(0), gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item())


@pytest.mark.parametrize("keep_ratio", [1.0, 0.3])
def test_a_gradient_penalty_can_be_trained(keep_ratio):
    """The gradient of a squared input gradient, float32 on the fused path against float64 beside it."""

    def penalty(model: nn.Module, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).logsumexp(1).sum(), x, create_graph=True)
        return gradient.square().sum()

    def gradients(model: WideResNet, x: Tensor) -> list[Tensor]:
        parameters = [parameter for name, parameter in model.named_parameters() if name != "head.bias"]
        return list(torch.autograd.grad(penalty(model, x), parameters))

    model, x = small_network(keep_ratio), images()
    for found, wanted in zip(gradients(model, x), gradients(in_float64(model), x.double()), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=1e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_shapes_can_be_worked_out_without_computing(mode):
    with FakeTensorMode() if mode == "fake" else torch.device("meta"):
        model = WideResNet(10, 1)
        set_keep_ratio(model, 0.1)
        logits = model(torch.empty(2, 3, 32, 32))
        logits.sum().backward()
    assert logits.shape == (2, 10)


def test_compiled_keep_ratios_below_one_share_a_graph():
    """What is compiled, not how fast the result is: the graph is run without further compilation."""
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = WideResNet(10, 1)
    compiled = torch.compile(model, backend=count, fullgraph=True)
    x = torch.randn(2, 3, 32, 32)
    for keep_ratio in (0.5, 0.3, 0.07, 1.0, 0.9, 1.0, 0.11):
        set_keep_ratio(model, keep_ratio)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-4)  # rounding in another order
    assert len(graphs) == 2
