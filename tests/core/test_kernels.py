"""Every backend of the constraint against the reference, bit for bit, and the operators under torch's own checks."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from sparsecycle import GlobalTopK, WideResNet, global_topk, kernels, set_keep_ratio
from sparsecycle.network import normed_topk, rms_norm_topk
from sparsecycle.kernels import fused
from sparsecycle.kernels.layout import kept_values, rows_of
from sparsecycle.network import RMSNorm2d
from sparsecycle.topk import SCOPES, relu_topk, topk_mask
from test_topk import activations

needs_numba = pytest.mark.skipif(kernels.load("numba") is None, reason="numba is not installed")
FORMATS = (torch.contiguous_format, torch.channels_last)
BUDGET = {ratio: torch.tensor(ratio, dtype=torch.float64) for ratio in (0.02, 0.1, 0.3, 0.5, 1.0)}


def same_as_reference(x: Tensor, keep_ratio: float, scope: str, backend: str) -> None:
    budget = torch.tensor(keep_ratio, dtype=torch.float64, device=x.device)
    assert torch.equal(topk_mask(x, budget, scope, backend), topk_mask(x, budget, scope, "reference"))
    fast = relu_topk(x, budget, scope, x.dtype, backend)
    plain = relu_topk(x, budget, scope, x.dtype, "reference")
    assert torch.equal(fast, plain)
    assert fast.stride() == torch.empty_like(x).stride()


@needs_numba
@settings(max_examples=400, deadline=None)
@given(
    x=activations(),
    keep_ratio=st.floats(0.001, 1.0),
    scope=st.sampled_from(SCOPES),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_numba_equals_reference(x: Tensor, keep_ratio: float, scope: str, dtype: torch.dtype) -> None:
    same_as_reference(x.to(dtype), keep_ratio, scope, "numba")


def rows_of_kinds(generator: torch.Generator) -> Iterator[Tensor]:
    """Samples as networks make them, and those that defeat interpolation, (4, 16, 24, 24)."""
    shape = (4, 16, 24, 24)
    normal = torch.randn(shape, generator=generator)
    yield normal
    yield normal.exp() ** 4  # heavy tail: a bracket from the counts alone closes slowly
    yield torch.where(torch.rand(shape, generator=generator) < 0.999, 1e-38 * normal, 1e30 * normal)
    yield (8 * normal).round() / 8  # a few dozen different values
    yield torch.full(shape, 0.7)  # all tied
    yield normal.abs().sort(dim=1, descending=True).values  # ordered in memory
    yield torch.nextafter(torch.ones(shape), torch.tensor(2.0)) - (normal > 0).float() * 2**-23  # neighbours


@needs_numba
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keep_ratio", [0.0001, 0.02, 0.1, 0.5, 0.9])
def test_numba_equals_reference_on_large_rows(
    memory_format: torch.memory_format, dtype: torch.dtype, keep_ratio: float
) -> None:
    for x in rows_of_kinds(torch.Generator().manual_seed(0)):
        same_as_reference(x.to(dtype).contiguous(memory_format=memory_format), keep_ratio, "sample", "numba")


@needs_numba
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    x = torch.randn(7, 8, 9, 10, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(relu_topk(x, BUDGET[0.3], "sample", x.dtype, "numba"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def interpreted(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, where Triton's interpreter serves tensors on the CPU."""
    environment = os.environ | {"TRITON_INTERPRET": "0" if torch.cuda.is_available() else "1", "OMP_NUM_THREADS": "1"}
    here = os.path.dirname(__file__)  # noqa: PTH120
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=here, capture_output=True, text=True)


def test_triton_equals_reference() -> None:
    """On the GPU where there is one; through Triton's interpreter, slower by orders of magnitude, elsewhere."""
    pytest.importorskip("triton")
    done = interpreted("import test_kernels as t; t.triton_equals_reference()")
    assert done.returncode == 0, done.stderr[-2000:]


def triton_equals_reference() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"

    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @given(
        x=activations(),
        keep_ratio=st.floats(0.001, 1.0),
        scope=st.sampled_from(["sample", "channel", "position"]),
        dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    )
    def small(x: Tensor, keep_ratio: float, scope: str, dtype: torch.dtype) -> None:
        same_as_reference(x[:2].to(device, dtype), keep_ratio, scope, "triton")

    small()
    for x in rows_of_kinds(torch.Generator().manual_seed(1)):
        for dtype in (torch.float32, torch.bfloat16):
            last = x[:1].to(device, dtype).contiguous(memory_format=torch.channels_last)
            same_as_reference(last, 0.1, "sample", "triton")
    x = x.to(device)
    rounded = relu_topk(x[:1], BUDGET[0.1], "sample", torch.bfloat16, "triton")
    assert torch.equal(rounded, relu_topk(x[:1], BUDGET[0.1], "sample", torch.bfloat16, "reference"))
    x = torch.randn(2, 3, 4, 5, device=device, requires_grad=True)
    relu_topk(x, BUDGET[0.3], "sample", x.dtype, "triton").sum().backward()
    kept = relu_topk(x.detach(), BUDGET[0.3], "sample", x.dtype, "reference") > 0
    assert torch.equal(x.grad, kept.float())
    for values in (torch.tensor([[float("nan"), -1.0, 2.0, 1.0]]), torch.empty(0, 4)):
        values = values.to(device)
        same_nan = relu_topk(values, BUDGET[0.5], "sample", values.dtype, "triton").isnan()
        assert torch.equal(same_nan, values.isnan())


def test_triton_kernel_compiles_for_a_gpu_without_spilling() -> None:
    triton = pytest.importorskip("triton")
    if "nvidia" not in triton.backends.backends:
        pytest.skip("this Triton, built for other chips, has no NVIDIA compiler; its results are tested above")
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["LOCAL:0"] * 6, done.stdout


COMPILE = """
import re, subprocess, tempfile, pathlib, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sparsecycle.kernels.triton import _select_rows
tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
for kind, relu in ((kind, relu) for kind in ("fp32", "bf16", "fp16") for relu in (True, False)):
    constants = {"CHANNELS": 64, "POSITIONS": 1024, "RELU": relu, "BLOCK": 8192}
    out = "*bf16" if relu else "*u8"
    signature = {"x_rows": "*" + kind, "out_rows": out, "keep_ratio": "*fp64", "n": "i32"}
    source = ASTSource(_select_rows, signature | dict.fromkeys(constants, "constexpr"), constants)
    kernel = triton.compile(source, GPUTarget("cuda", 90, 32), {"num_warps": 16})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"]); file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    print(*re.findall(r"LOCAL:\\d+", usage.stdout + usage.stderr))
"""


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("backend", ["reference", pytest.param("numba", marks=needs_numba)])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_operators_pass_the_checks_of_torch(scope: str, backend: str, memory_format: torch.memory_format) -> None:
    x = torch.randn(3, 4, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
    for keep_ratio in (0.3, 1.0):
        torch.library.opcheck(relu_topk, (x, BUDGET[keep_ratio], scope, torch.float32, backend))
        torch.library.opcheck(topk_mask, (x, BUDGET[keep_ratio], scope, backend))
    torch.library.opcheck(relu_topk, (x, BUDGET[0.3], scope, torch.bfloat16, backend))


@pytest.mark.parametrize("backend", ["reference", pytest.param("numba", marks=needs_numba)])
def test_what_is_neither_contiguous_nor_channels_last_is_served(backend: str) -> None:
    x = torch.randn(4, 6, 8, 10)[:, ::2, :, ::2]
    for scope in SCOPES:
        dense = global_topk(x.contiguous(), 0.2, scope=scope, backend="reference")
        assert torch.equal(global_topk(x, 0.2, scope=scope, backend=backend), dense)


@pytest.mark.parametrize("backend", ["reference", pytest.param("numba", marks=needs_numba)])
def test_nan_goes_through_and_leaves_other_samples_alone(backend: str) -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    spoilt = x.clone()
    spoilt[1, 2, 3, 4], spoilt[1, 0, 0, 0] = float("nan"), -float("nan")
    layer = GlobalTopK(0.2, backend=backend)
    assert layer(spoilt)[1].isnan().sum() == 2
    assert torch.equal(layer(spoilt)[[0, 2]], layer(x)[[0, 2]])
    more_than_k = torch.tensor([[float("nan")] * 3 + [4.0, 3.0, 2.0, 1.0, 0.5]])
    assert GlobalTopK(0.25, backend=backend)(more_than_k).isnan().sum() == 3


def test_autocast_selects_in_float32_and_rounds_afterwards() -> None:
    x = 1 + torch.rand(2, 64, 8, 8, generator=torch.Generator().manual_seed(0)) / 100  # a few values in bfloat16
    layer = GlobalTopK(0.1)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, global_topk(x, 0.1).bfloat16())
    assert not torch.equal(y, global_topk(x.bfloat16(), 0.1))


def test_checkpointing_and_no_grad_change_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), GlobalTopK(0.2), nn.Conv2d(8, 8, 3), GlobalTopK(0.2))
    x = torch.randn(2, 3, 9, 9, requires_grad=True)
    plain = model(x)
    (gradient,) = torch.autograd.grad(plain.sum(), x)
    again = checkpoint(model, x, use_reentrant=False)
    assert torch.equal(again, plain)
    assert torch.equal(torch.autograd.grad(again.sum(), x)[0], gradient)
    with torch.no_grad():
        assert torch.equal(model(x), plain)


def test_compiled_budgets_below_one_share_a_graph() -> None:
    """ "eager": what is compiled, not how fast the result is."""
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = WideResNet(10, 1)
    compiled = torch.compile(model, backend=count, fullgraph=True)
    x = torch.randn(2, 3, 32, 32)
    for keep_ratio in (0.5, 0.3, 0.07, 1.0, 0.9, 1.0, 0.11):
        set_keep_ratio(model, keep_ratio)
        # the compiled network normalizes by the plain form, the eager one by the fused kernel: they differ by rounding
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-4)
    assert len(graphs) == 2


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_shapes_can_be_worked_out_without_computing(mode: str) -> None:
    with FakeTensorMode() if mode == "fake" else torch.device("meta"):
        model = WideResNet(10, 1)
        set_keep_ratio(model, 0.1)
        logits = model(torch.empty(2, 3, 32, 32))
        logits.sum().backward()
    assert logits.shape == (2, 10)


def test_the_budget_survives_a_change_of_the_model_s_dtype() -> None:
    layer = GlobalTopK(0.07).bfloat16()
    assert layer.budget.dtype == torch.float64 and layer.budget.item() == 0.07
    assert "budget" not in layer.state_dict()


@pytest.mark.parametrize("variable", [None, "reference"])
def test_a_backend_can_be_forced(variable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 2)
    if variable is None:
        monkeypatch.delenv("SPARSECYCLE_BACKEND", raising=False)
        assert kernels.choose(x, "sample", "auto") is kernels.load("numba")
    else:
        monkeypatch.setenv("SPARSECYCLE_BACKEND", variable)
        assert kernels.choose(x, "sample", "auto") is None
    assert kernels.choose(x, "sample", "reference") is None


@needs_numba
def test_an_unknown_or_unfit_backend_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"backend is 'cuda'.*auto, reference, numba, triton"):
        global_topk(x, 0.5, backend="cuda")
    with pytest.raises(ValueError, match="backend is 'cuda'"):
        GlobalTopK(backend="cuda")
    with pytest.raises(ValueError, match=r"'numba' does not serve torch.float64 on cpu"):
        global_topk(x.double(), 0.5, backend="numba")
    assert torch.equal(global_topk(x.double(), 1 / 3), torch.tensor([[1.0, 0, 0]] * 2).double())
    monkeypatch.setenv("SPARSECYCLE_BACKEND", "fast")
    with pytest.raises(ValueError, match="backend is 'fast'"):
        global_topk(x, 0.5)


def test_without_numba_the_reference_serves_and_one_line_says_so() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import torch; from sparsecycle import global_topk\n"
        "print(*[global_topk(torch.tensor([[1., 3., 2.]]), 1/3).tolist() for _ in range(2)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[0.0, 3.0, 0.0]] [[0.0, 3.0, 0.0]]"
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("numba is not available") and "reference" in line


@needs_numba
def test_compiling_for_the_first_time_says_what_it_waits_for(tmp_path: object) -> None:
    code = "import torch; from sparsecycle import global_topk; global_topk(torch.ones(1, 4), 0.5)"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert len(first.stderr.strip().splitlines()) == 1 and "compiling the CPU kernels" in first.stderr
    assert second.stderr == ""


@needs_numba
@pytest.mark.parametrize("threads", [1, 2])
def test_torch_keeps_its_number_of_threads(threads: int) -> None:
    """In a new process: numba's pool starts with the first call, and would set it to the number of cores."""
    code = "import torch; from sparsecycle import global_topk\nbefore = torch.get_num_threads()\n"
    code += "global_topk(torch.ones(9, 9), 0.5); print(before, torch.get_num_threads())"
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(threads)] * 2


@pytest.mark.parametrize("keep_ratio", [1e-9, 0.07, 0.1, 0.3, 0.7**3, 1.0])
def test_k_is_the_same_in_float64_of_any_device(keep_ratio: float) -> None:
    for n in (1, 7, 100, 4096, 16_384, 65_536):
        on_device = (torch.tensor(keep_ratio, dtype=torch.float64) * n - 1e-6).ceil().clamp(min=1)
        assert kept_values(keep_ratio, n) == int(on_device)


@pytest.mark.parametrize("scope", SCOPES)
def test_rows_are_views_where_memory_allows(scope: str) -> None:
    x = torch.randn(2, 3, 4, 5)
    for memory_format, scopes in zip(FORMATS, (("sample", "batch", "channel"), SCOPES[:2] + SCOPES[3:]), strict=True):
        y = x.contiguous(memory_format=memory_format)
        if scope in scopes:
            assert rows_of(y, scope).values.data_ptr() == y.data_ptr()


@needs_numba
@pytest.mark.parametrize("keep_ratio", [1.0, 0.3, 0.02])
@pytest.mark.parametrize("channels", [3, 16, 64])
def test_fused_operator_and_its_gradients_are_those_of_the_formula(channels: int, keep_ratio: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, channels, 5, 6, generator=generator).contiguous(memory_format=torch.channels_last)
    x[0, :, 0, 0] = 0  # an empty position: its norm is sqrt(eps)
    upstream = torch.randn(4, channels, 5, 6, generator=generator)
    norm, topk = RMSNorm2d(channels), GlobalTopK(keep_ratio)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    torch.library.opcheck(rms_norm_topk, (x.clone().requires_grad_(), norm.weight, norm.eps, topk.budget))
    x.requires_grad_()
    out = normed_topk(norm, topk, x)
    assert "rms_norm_topk" in type(out.grad_fn).__name__
    found = torch.autograd.grad(out, (x, norm.weight), upstream)
    wide, weight = x.detach().double().requires_grad_(), norm.weight.detach().double().requires_grad_()
    normed = wide / (wide.square().mean(dim=1, keepdim=True) + norm.eps).sqrt() * weight[:, None, None]
    exact = relu_topk(normed, topk.budget, "sample", torch.float64, "reference")
    wanted = torch.autograd.grad(exact, (wide, weight), upstream.double())
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-6)  # float32 arithmetic
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@needs_numba
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(x=activations(), keep_ratio=st.floats(1e-3, 1.0))
def test_fused_selection_is_the_reference_s_on_the_same_normalized_values(x: Tensor, keep_ratio: float) -> None:
    x = x.float().contiguous(memory_format=torch.channels_last)
    weight, budget = torch.ones(x.shape[1]), torch.tensor(keep_ratio, dtype=torch.float64)
    if fused(x, weight, "numba") is None:  # not four dimensions, or empty
        return
    positive = rms_norm_topk(x, weight, 1e-5, torch.ones((), dtype=torch.float64))
    if positive.isnan().any():  # of infinity over infinity
        return
    kept = rms_norm_topk(x, weight, 1e-5, budget)
    assert torch.equal(kept, relu_topk(positive, budget, "sample", torch.float32, "reference"))


@needs_numba
def test_fused_only_where_nothing_is_lost() -> None:
    """Hooks see their module; NaN shows; other norms, scopes, dtypes, memory and backends go one by one."""
    x = torch.randn(2, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    norm, topk, seen = RMSNorm2d(4), GlobalTopK(0.3), []
    fast = normed_topk(norm, topk, x)
    for module in (norm, topk):
        handle = module.register_forward_hook(lambda module, *_: seen.append(module))
        torch.testing.assert_close(normed_topk(norm, topk, x), fast)
        handle.remove()
    assert seen == [norm, topk]
    handle = topk.register_full_backward_pre_hook(lambda module, _: seen.append(module))
    normed_topk(norm, topk, x.clone().requires_grad_()).sum().backward()
    handle.remove()
    assert seen == [norm, topk, topk]
    spoilt = x.clone()
    spoilt[1, 2, 0, 0] = float("nan")
    assert normed_topk(norm, topk, spoilt)[1].isnan().sum() == 4 and torch.equal(
        normed_topk(norm, topk, spoilt)[0], fast[0]
    )
    others = [
        (RMSNorm2d(4, over="sample"), topk, x),
        (nn.BatchNorm2d(4), topk, x),
        (norm, GlobalTopK(0.3, scope="channel"), x),
        (norm, GlobalTopK(0.3, backend="reference"), x),
        (norm, topk, x.contiguous()),
        (norm, topk, x.half()),
    ]
    for module, constraint, values in others:
        out = normed_topk(module, constraint, values.clone().requires_grad_())
        assert "rms_norm_topk" not in type(out.grad_fn).__name__
        assert torch.equal(out, constraint(module(values)))


def test_norm_serves_other_dtypes_and_empty_batches() -> None:
    norm = RMSNorm2d(4)
    empty = torch.empty(0, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    assert norm(empty).shape == empty.shape
    x = torch.randn(2, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    short = norm.bfloat16()(x.bfloat16())
    assert short.dtype == torch.bfloat16
    torch.testing.assert_close(short, RMSNorm2d(4)(x).bfloat16(), rtol=0.02, atol=0.02)  # eight bits of precision


@needs_numba
def test_fast_and_reference_steps_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty steps with every backend: losses within a thousandth of each other, the effect of rounding alone.

    Masks on the same activations are the same, bit for bit (above); a difference by rounding in the normalization can
    swap two values of nearly equal size, and grows from step to step.
    """

    def losses(backend: str) -> list[float]:
        monkeypatch.setenv("SPARSECYCLE_BACKEND", backend)
        torch.manual_seed(0)
        model = WideResNet(10, 1).to(memory_format=torch.channels_last)
        set_keep_ratio(model, 0.1)
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        images, labels = torch.randn(20, 32, 3, 32, 32), torch.randint(0, 10, (20, 32))
        trace = []
        for x, y in zip(images, labels, strict=True):
            loss = F.cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            trace.append(loss.item())
        return trace

    torch.testing.assert_close(losses("numba"), losses("reference"), rtol=1e-3, atol=1e-3)
