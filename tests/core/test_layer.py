"""The layer: ReLU and the constraint, under everything that torch can do with a layer."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from core.inputs import BACKENDS, FORMATS, activations
from sparsecycle import GlobalTopK, WideResNet, global_topk, set_keep_ratio
from sparsecycle.topk import SCOPES

RATIOS = (1.0, 0.3)  # dense and constrained


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=100, deadline=None)
@given(x=activations(), keep_ratio=st.floats(0.001, 1.0), scope=st.sampled_from(SCOPES))
def test_layer_is_the_constraint_after_relu_and_its_gradient_passes_where_the_output_is_positive(x, keep_ratio, scope):
    x.requires_grad_()
    out = GlobalTopK(keep_ratio, scope)(x)
    assert torch.equal(out, global_topk(x.relu(), keep_ratio, scope=scope))
    upstream = torch.arange(1, x.numel() + 1).reshape(x.shape).to(x.dtype)
    (grad,) = torch.autograd.grad(out, x, upstream)
    assert torch.equal(grad, torch.where(out > 0, upstream, 0.0))


def test_dense_layer_is_relu_itself():
    x = torch.cat([normal(2, 3, 4, 4), torch.full((1, 3, 4, 4), float("nan")), torch.zeros(1, 3, 4, 4)])
    assert torch.equal(GlobalTopK()(x).nan_to_num(7.0), x.relu().nan_to_num(7.0))
    given_, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    assert type(GlobalTopK()(given_).grad_fn) is type(F.relu(other).grad_fn)


def test_one_call_sets_every_layer_of_a_model_and_counts_them():
    model = nn.Sequential(GlobalTopK(), nn.Sequential(nn.ReLU(), GlobalTopK(0.5)), nn.Linear(2, 2))
    assert set_keep_ratio(model, 0.25) == 2
    assert [module.keep_ratio for module in model.modules() if isinstance(module, GlobalTopK)] == [0.25, 0.25]
    assert set_keep_ratio(nn.Linear(2, 2), 0.25) == 0


def test_the_keep_ratio_survives_dtype_copy_and_pickle_and_stays_out_of_the_weights():
    x = normal(1, 100)
    layer = GlobalTopK(0.07).bfloat16()  # 0.07 in bfloat16 is 0.0698, which keeps one value less
    for same in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.double()):
        assert int((same(x.abs()) > 0).sum()) == 7
        assert same.keep_ratio == 0.07
        same.keep_ratio = 0.05
        assert int((same(x.abs()) > 0).sum()) == 5
        same.keep_ratio = 0.07
    assert layer.state_dict() == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_refuses_what_the_function_refuses(backend):
    """A scope that needs positions cannot serve (N, C): every group would be one value, and all would be kept."""
    layers = (GlobalTopK(0.2, scope="channel", backend=backend), GlobalTopK(1.0, scope="channel", backend=backend))
    for layer in layers:
        with pytest.raises(ValueError, match=r"scope 'channel' does not fit.*\(4, 10\)"):
            layer(normal(4, 10))
    for layer in (GlobalTopK(0.2, backend=backend), GlobalTopK(1.0, backend=backend)):
        with pytest.raises(ValueError, match="does not fit"):
            layer(normal(4))
        with pytest.raises(ValueError, match=r"floating-point.*int64"):
            layer(torch.ones(4, 10, dtype=torch.int64))


@pytest.mark.parametrize(
    "value", [0, -0.1, 1.01, math.nan, math.inf, "0.5", b"1", True, None, [0.5], torch.tensor([0.1, 0.2]), 1j]
)
def test_what_is_no_share_is_refused(value):
    layer = GlobalTopK(0.5)
    for call in (
        lambda: global_topk(normal(2, 3), value),
        lambda: GlobalTopK(value),
        lambda: set_keep_ratio(layer, value),
    ):
        with pytest.raises(ValueError, match=r"keep_ratio is .*\(0, 1\]"):
            call()
    assert layer.keep_ratio == 0.5


def test_an_unknown_scope_is_refused_when_it_is_set():
    layer = GlobalTopK(0.5)
    with pytest.raises(ValueError, match=r"scope is 'layer'.*sample, batch, channel, position"):
        layer.scope = "layer"
    layer.scope = "channel"
    assert torch.equal(layer(normal(2, 3, 4)), GlobalTopK(0.5, "channel")(normal(2, 3, 4)))


# Whoever averages, swaps or stacks the buffers of a model, and then copies it, gets what the buffers hold.
@pytest.mark.parametrize("ratios", [(1.0, 0.1), (0.1, 1.0), (0.5, 0.1)])
def test_stacked_layers_keep_their_own_ratios(ratios):
    x, layers = normal(3, 40), [GlobalTopK(keep_ratio) for keep_ratio in ratios]
    state = torch.func.stack_module_state(layers)
    stacked = torch.func.vmap(lambda *state: torch.func.functional_call(layers[0], state, (x,)))(*state)
    assert torch.equal(stacked, torch.stack([layer(x) for layer in layers]))


@pytest.mark.parametrize(("use_buffers", "expected"), [(False, 0.1), (True, 0.55)])
def test_an_averaged_layer_has_the_averaged_ratio(use_buffers, expected):
    x, model = normal(1, 100).abs(), nn.Sequential(nn.PReLU(), GlobalTopK(1.0))
    averaged = AveragedModel(model, use_buffers=use_buffers)
    averaged.update_parameters(model)
    set_keep_ratio(model, 0.1)
    averaged.update_parameters(model)
    for same in (averaged, copy.deepcopy(averaged), pickle.loads(pickle.dumps(averaged)), averaged.float()):
        assert same.module[1].keep_ratio == expected
        assert int((same(x) > 0).sum()) == round(100 * expected)
    assert int((torch.func.functional_call(GlobalTopK(1.0), {"budget": torch.tensor(0.2)}, (x,)) > 0).sum()) == 20


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("keep_ratio", RATIOS)
def test_a_model_made_without_memory_takes_weights_that_are_assigned(keep_ratio, memory_format):
    """No weights bring a keep-ratio, which would stay on `meta`, where it has no value."""
    model, x = WideResNet(10, 1), normal(2, 3, 32, 32).contiguous(memory_format=memory_format)
    with torch.device("meta"):
        empty = WideResNet(10, 1)
    empty.load_state_dict(model.state_dict(), assign=True)
    for one in (model, empty):
        set_keep_ratio(one.to(memory_format=memory_format), keep_ratio)
    assert torch.equal(empty(x), model(x))


# Derivatives of all kinds: the constraint is linear where the kept values stay the same ones.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of torch.func.linearize
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("keep_ratio", RATIOS)
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_tangents_pass_where_the_output_is_positive(backend, keep_ratio, scope):
    x, v = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    layer = GlobalTopK(keep_ratio, scope, backend)
    out = layer(x)
    wanted = torch.where(out > 0, v, 0.0)
    primal, tangent = torch.func.jvp(layer, (x,), (v,))
    assert torch.equal(primal, out) and torch.equal(tangent, wanted)
    assert torch.equal(torch.func.linearize(layer, x)[1](v), wanted)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, v)))
    assert torch.equal(dual.primal, out) and torch.equal(dual.tangent, wanted)
    kept = global_topk(x, keep_ratio, scope=scope, backend=backend) != 0
    primal, tangent = torch.func.jvp(lambda x: global_topk(x, keep_ratio, scope=scope, backend=backend), (x,), (v,))
    assert torch.equal(tangent, torch.where(kept, v, 0.0)) and torch.equal(primal != 0, kept)


@pytest.mark.parametrize("keep_ratio", RATIOS)
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_jacobians_and_gradients_of_torch_func_are_those_of_autograd(backend, keep_ratio):
    x = normal(2, 10)
    layer = GlobalTopK(keep_ratio, backend=backend)
    jacobian = torch.diag_embed((layer(x) > 0).flatten().float()).view(2, 10, 2, 10)
    assert torch.equal(torch.func.jacrev(layer)(x), jacobian)
    assert torch.equal(torch.func.jacfwd(layer)(x), jacobian)

    def energy(x: Tensor) -> Tensor:
        return layer(x).pow(3).sum()

    given_ = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(energy(given_), given_, create_graph=True)
    assert torch.equal(torch.func.grad(energy)(x), first.detach())
    (second,) = torch.autograd.grad(first.pow(2).sum(), given_)  # a gradient penalty
    torch.testing.assert_close(second, 36 * layer(x).pow(3))  # of (3 y^2)^2
    torch.testing.assert_close(torch.func.grad(lambda x: torch.func.grad(energy)(x).pow(2).sum())(x), second)
    torch.testing.assert_close(torch.func.hessian(energy)(x).sum((0, 1)), 6 * layer(x))


@pytest.mark.parametrize("keep_ratio", RATIOS)
def test_vmap_over_samples_is_the_batch(keep_ratio):
    x = normal(3, 2, 4, 5, 5)
    layer = GlobalTopK(keep_ratio)
    together = torch.stack([layer(part) for part in x])
    assert torch.equal(torch.func.vmap(layer)(x), together)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_goes_through_and_leaves_other_samples_alone(backend):
    x = normal(3, 4, 5, 6)
    spoilt = x.clone()
    spoilt[1, 2, 3, 4], spoilt[1, 0, 0, 0] = float("nan"), -float("nan")
    layer = GlobalTopK(0.2, backend=backend)
    assert layer(spoilt)[1].isnan().sum() == 2
    assert torch.equal(layer(spoilt)[[0, 2]], layer(x)[[0, 2]])
    more_than_k = torch.tensor([[float("nan")] * 3 + [4.0, 3.0, 2.0, 1.0, 0.5]])
    assert GlobalTopK(0.25, backend=backend)(more_than_k).isnan().sum() == 3


def test_autocast_selects_in_float32_and_rounds_afterwards():
    x = 1 + torch.rand(2, 64, 8, 8, generator=torch.Generator().manual_seed(0)) / 100  # a few values in bfloat16
    layer = GlobalTopK(0.1)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, global_topk(x, 0.1).bfloat16())
    assert not torch.equal(y, global_topk(x.bfloat16(), 0.1))


def test_checkpointing_and_no_grad_change_nothing():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), GlobalTopK(0.2), nn.Conv2d(8, 8, 3), GlobalTopK(0.2))
    x = torch.randn(2, 3, 9, 9, requires_grad=True)
    plain = model(x)
    (gradient,) = torch.autograd.grad(plain.sum(), x)
    again = checkpoint(model, x, use_reentrant=False)
    assert torch.equal(again, plain)
    assert torch.equal(torch.autograd.grad(again.sum(), x)[0], gradient)
    with torch.no_grad():
        assert torch.equal(model(x), plain)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_are_served_and_dense_ones_kept(backend):
    holes = normal(4, 6, 8, 10)[:, ::2, :, ::2]
    for scope in SCOPES:
        wanted = GlobalTopK(0.2, scope, "reference")(holes.contiguous())
        assert torch.equal(GlobalTopK(0.2, scope, backend)(holes), wanted)
        for memory_format in FORMATS:
            out = GlobalTopK(0.2, scope, backend)(holes.contiguous(memory_format=memory_format))
            assert torch.equal(out, wanted) and out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("keep_ratio", RATIOS)
@pytest.mark.parametrize("scope", SCOPES)
def test_an_empty_batch_stays_empty(scope, keep_ratio):
    empty = torch.empty(0, 3, 4, 4, requires_grad=True)
    out = GlobalTopK(keep_ratio, scope)(empty)
    assert out.shape == (0, 3, 4, 4)
    out.sum().backward()
    assert empty.grad is not None and empty.grad.shape == empty.shape
