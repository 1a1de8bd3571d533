"""Every backend of the constraint against the reference, bit for bit; torch's checks of operators; and fallbacks."""

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conftest import ROOT
from core.inputs import BACKENDS, FORMATS, activations, needs_numba, rows_of_kinds, same_as_reference
from sparsecycle import GlobalTopK, global_topk, kernels
from sparsecycle.errors import InputError
from sparsecycle.kernels import fused
from sparsecycle.kernels.layout import rows_of
from sparsecycle.kernels.operators import relu_topk, rms_norm_topk, rms_norm_topk_backward, topk_mask
from sparsecycle.network import RMSNorm2d, normed_topk
from sparsecycle.topk import SCOPES

BUDGET = {ratio: torch.tensor(ratio, dtype=torch.float64) for ratio in (0.02, 0.3, 1.0)}


def run_python(code: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, given a text to read: backends are loaded once in each process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        input=given,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=600,
    )


@needs_numba
@settings(max_examples=120, deadline=None)
@given(
    x=activations(),
    keep_ratio=st.floats(0.001, 1.0),
    scope=st.sampled_from(SCOPES),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_numba_equals_reference(x, keep_ratio, scope, dtype):
    same_as_reference(x.to(dtype), keep_ratio, scope, "numba")


@needs_numba
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keep_ratio", [1e-4, 0.02, 0.1, 0.5, 0.9])
def test_numba_equals_reference_on_large_rows(memory_format, dtype, keep_ratio):
    for x in rows_of_kinds(torch.Generator().manual_seed(0)):
        same_as_reference(x.to(dtype).contiguous(memory_format=memory_format), keep_ratio, "sample", "numba")


@needs_numba
def test_result_does_not_depend_on_the_number_of_threads():
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


@pytest.mark.parametrize("scope", SCOPES)
def test_rows_are_views_where_memory_allows(scope):
    x = torch.randn(2, 3, 4, 5)
    for memory_format, scopes in zip(FORMATS, (("sample", "batch", "channel"), SCOPES[:2] + SCOPES[3:]), strict=True):
        y = x.contiguous(memory_format=memory_format)
        if scope in scopes:
            assert rows_of(y, scope).values.data_ptr() == y.data_ptr()


@needs_numba
@pytest.mark.parametrize("name", ["sparsecycle.kernels.cpu", "sparsecycle.set_mlp.kernels"])
def test_a_compiled_function_calls_only_functions_of_its_own_file(name):
    """Numba's cache looks at that file alone: stale code of another one would run."""
    from importlib import import_module

    from numba.core.dispatcher import Dispatcher

    compiled = {key: value for key, value in vars(import_module(name)).items() if isinstance(value, Dispatcher)}
    assert compiled
    assert {function.py_func.__module__ for function in compiled.values()} == {name}


# Of a thread, at most: what Triton 3.9 gives each kernel, and eight more where a chip has more. A program of 32 warps,
# which selects, has no more than 64, and beyond them values leave the registers.
REGISTERS = {"select": 64, "forward": 64, "scales": 32 + 8, "backward": 104 + 8}


@pytest.mark.slow
@pytest.mark.parametrize("check", ["equals_reference", "fused_equals_reference", "trains_as_the_reference"])
def test_triton(check):
    """On the GPU where there is one; through Triton's interpreter, slower by orders of magnitude, elsewhere."""
    pytest.importorskip("triton")
    interpret = "0" if torch.cuda.is_available() else "1"
    done = run_python(f"import core.triton_checks as t; t.{check}()", TRITON_INTERPRET=interpret)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_triton_kernels_compile_for_a_gpu_without_spilling():
    """In the shapes of WRN-28-4 no value leaves the registers, and no kernel takes many more of them than it did."""
    triton = pytest.importorskip("triton")
    if "nvidia" not in triton.backends.backends:
        pytest.skip("this Triton, built for other chips, has no NVIDIA compiler; its results are tested above")
    done = run_python("import core.triton_checks as t; t.print_resources()", TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr[-2000:]
    for line in done.stdout.splitlines():
        name, _, *found = line.split()
        use = dict(one.split(":") for one in found)
        assert use["STACK"] == use["LOCAL"] == "0", line
        assert int(use["REG"]) <= REGISTERS[name], line
    assert len(done.stdout.splitlines()) == 2 + 3 * 3


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_operators_pass_the_checks_of_torch(scope, backend, memory_format):
    x = torch.randn(3, 4, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
    torch.library.opcheck(relu_topk, (x, BUDGET[0.3], scope, torch.float32, backend))
    torch.library.opcheck(topk_mask, (x, BUDGET[0.3], scope, backend))
    torch.library.opcheck(relu_topk, (x, BUDGET[0.3], scope, torch.bfloat16, backend), test_utils="test_faketensor")


@needs_numba
@pytest.mark.parametrize("keep_ratio", [1.0, 0.3, 0.02])
@pytest.mark.parametrize("channels", [3, 16, 64])
def test_fused_operator_and_its_gradients_are_those_of_the_formula(channels, keep_ratio):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, channels, 5, 6, generator=generator).contiguous(memory_format=torch.channels_last)
    x[0, :, 0, 0] = 0  # an empty position: its norm is sqrt(eps)
    upstream = torch.randn(4, channels, 5, 6, generator=generator)
    upstream[0, :, 0, 0] = 0  # where the gradient is of the order of 1 / sqrt(eps), beyond any tolerance
    norm, topk = RMSNorm2d(channels), GlobalTopK(keep_ratio)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.normal_(norm.bias, 0.0, 0.3)
    arguments = (x.clone().requires_grad_(), norm.weight, norm.bias, norm.eps, topk.budget, torch.float32, "auto")
    torch.library.opcheck(rms_norm_topk, arguments)
    x.requires_grad_()
    out = normed_topk(norm, topk, x)
    assert "rms_norm_topk" in type(out.grad_fn).__name__
    found = torch.autograd.grad(out, (x, norm.weight, norm.bias), upstream)
    wide, weight, bias = (one.detach().double().requires_grad_() for one in (x, norm.weight, norm.bias))
    root = (wide.square().mean(dim=1, keepdim=True) + norm.eps).sqrt()
    normed = wide / root * weight[:, None, None] + bias[:, None, None]
    exact = relu_topk(normed, topk.budget, "sample", torch.float64, "reference")
    wanted = torch.autograd.grad(exact, (wide, weight, bias), upstream.double())
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-6)  # float32 arithmetic
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@needs_numba
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(x=activations(), shift=st.sampled_from([0.0, -0.5, 0.5]), keep_ratio=st.floats(1e-3, 1.0))
def test_fused_selection_is_the_reference_s_on_the_same_normalized_values(x, shift, keep_ratio):
    x = x.float().contiguous(memory_format=torch.channels_last)
    weight, budget = torch.ones(x.shape[1]), torch.tensor(keep_ratio, dtype=torch.float64)
    bias = shift * torch.arange(x.shape[1])
    assert fused(x, weight, bias, None, "numba") is not None
    positive = rms_norm_topk(x, weight, bias, 1e-8, BUDGET[1.0], torch.float32, "numba")
    if positive.isnan().any():  # of infinity over infinity
        return
    kept = rms_norm_topk(x, weight, bias, 1e-8, budget, torch.float32, "numba")
    assert torch.equal(kept, relu_topk(positive, budget, "sample", torch.float32, "reference"))


@needs_numba
@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(x=activations(), keep_ratio=st.floats(1e-3, 1.0))
def test_in_bfloat16_the_fused_operator_keeps_what_norm_and_layer_keep(x, keep_ratio):
    """Under autocast, where values are selected in float32 and then rounded; infinities and NaN as they come."""
    x = x.bfloat16().contiguous(memory_format=torch.channels_last)
    norm, topk = RMSNorm2d(x.shape[1]), GlobalTopK(keep_ratio)
    with torch.autocast("cpu", torch.bfloat16):
        apart = topk(norm(x))
        out = normed_topk(norm, topk, x)
    assert "rms_norm_topk" in type(out.grad_fn).__name__
    torch.testing.assert_close(out, apart, rtol=0.01, atol=1e-6, equal_nan=True)
    whole = rms_norm_topk(x.float(), norm.weight, norm.bias, norm.eps, topk.budget, torch.float32, "numba")
    assert torch.equal(out.nan_to_num(), whole.bfloat16().nan_to_num())  # rounded as torch rounds


@needs_numba
def test_in_bfloat16_gradients_are_those_of_float32_rounded():
    x = torch.randn(4, 16, 5, 6).bfloat16().contiguous(memory_format=torch.channels_last)
    weight, bias = torch.rand(16) + 0.5, torch.randn(16)
    out = rms_norm_topk(x, weight, bias, 1e-8, BUDGET[0.3], torch.bfloat16, "numba")
    upstream = torch.randn(4, 16, 5, 6).bfloat16()
    found = rms_norm_topk_backward(upstream, out, x, weight, 1e-8, "numba")
    wide = rms_norm_topk_backward(upstream.float(), out.float(), x.float(), weight, 1e-8, "numba")
    assert torch.equal(found[0], wide[0].bfloat16())
    assert torch.equal(found[1], wide[1])
    assert torch.equal(found[2], wide[2])


@needs_numba
def test_the_fused_operator_serves_only_what_it_is_made_for():
    """NaN shows; other scopes, dtypes, memory and backends, and other norms, are called one by one."""
    x = torch.randn(2, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    norm, topk = RMSNorm2d(4), GlobalTopK(0.3)
    fast = normed_topk(norm, topk, x)
    spoilt = x.clone()
    spoilt[1, 2, 0, 0] = float("nan")
    assert normed_topk(norm, topk, spoilt)[1].isnan().sum() == 4
    assert torch.equal(normed_topk(norm, topk, spoilt)[0], fast[0])
    others = [
        (nn.BatchNorm2d(4), topk, x),
        (norm, nn.ReLU(), x),
        (norm, GlobalTopK(0.3, scope="channel"), x),
        (norm, GlobalTopK(0.3, backend="reference"), x),
        (norm, topk, x.contiguous()),
        (norm, topk, x.half()),
    ]
    for module, constraint, values in others:
        out = normed_topk(module, constraint, values.clone().requires_grad_())
        assert "rms_norm_topk" not in type(out.grad_fn).__name__
        assert torch.equal(out, constraint(module(values)))


@pytest.mark.parametrize("variable", [None, "", "reference"])
def test_a_backend_can_be_forced(variable, monkeypatch):
    x = torch.zeros(1, 2)
    monkeypatch.delenv("SPARSECYCLE_BACKEND", raising=False)
    if variable is not None:
        monkeypatch.setenv("SPARSECYCLE_BACKEND", variable)
    served = kernels.choose(x, "sample", "auto")
    assert served is (None if variable == "reference" else kernels.load("numba"))
    assert kernels.choose(x, "sample", "reference") is None


@needs_numba
def test_an_unknown_or_unfit_backend_is_refused_by_name(monkeypatch):
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"backend is 'cuda'.*auto, reference, numba, triton"):
        global_topk(x, 0.5, backend="cuda")
    with pytest.raises(ValueError, match="backend is 'cuda'"):
        GlobalTopK(backend="cuda")
    with pytest.raises(ValueError, match=r"'numba' does not serve torch.float64 on cpu"):
        global_topk(x.double(), 0.5, backend="numba")
    assert torch.equal(global_topk(x.double(), 0.4), torch.tensor([[1.0, 0, 0]] * 2).double())
    monkeypatch.setenv("SPARSECYCLE_BACKEND", "fast")
    with pytest.raises(InputError, match=r"SPARSECYCLE_BACKEND is 'fast'.*auto, reference, numba, triton"):
        global_topk(x, 0.5)


@needs_numba
def test_a_mistake_of_the_caller_switches_no_backend_off():
    x = torch.ones(2, 3)
    for operator in (relu_topk, topk_mask):
        rest = (torch.float32, "auto") if operator is relu_topk else ("auto",)
        with pytest.raises(ValueError, match=r"scope is 'layer'.*sample, batch"):
            operator(x, torch.full((), 0.5, dtype=torch.float64), "layer", *rest)
    assert kernels.choose(x, "sample", "auto") is kernels.load("numba")


# Function, layer and fused operator, twice each, and what they must give: 2 of 4 values.
USE = """
x = torch.tensor([1.0, -3.0, 4.0, 2.0]).view(1, 4, 1, 1).to(memory_format=torch.channels_last).requires_grad_()
for _ in range(2):
    for out in (global_topk(x, 0.5), GlobalTopK(0.5)(x), normed_topk(RMSNorm2d(4), GlobalTopK(0.5), x)):
        assert out.nonzero()[:, 1].tolist() == [2, 3], out
        out.sum().backward()
"""
# Numba is not in the same health on every machine: its failures after loading are played.
BREAK = "def fail(*_): raise OSError('no space')\nkernels.load('numba').{} = fail\n"
ILL = {
    "not installed": f"sys.modules['numba'] = None\n{USE}",
    "no threading layer": f"os.environ['NUMBA_THREADING_LAYER'] = 'no-such-layer'\n{USE}",
    **{
        f"{name} fails": BREAK.format(name) + USE
        for name in ("topk_mask", "relu_topk", "rms_norm_topk", "rms_norm_topk_backward")
    },
}
CACHED = "os.environ['NUMBA_CACHE_DIR'] = folder\nassert GlobalTopK(0.5)(torch.ones(1, 4)).tolist() == [[1, 1, 0, 0]]"
DAMAGE = "for path in pathlib.Path(folder).rglob('*.nb[ic]'): path.write_bytes(b''); print(end='.')\nprint()"
FORK = """
layer, x = GlobalTopK(0.5), torch.ones(3, 4)
before = layer(x)
class Images(torch.utils.data.Dataset):
    def __len__(self): return 3
    def __getitem__(self, i): return layer(x[i:i+1])[0]
loader = torch.utils.data.DataLoader(Images(), batch_size=3, num_workers=1, multiprocessing_context="fork")
assert torch.equal(next(iter(loader)), before)
assert torch.equal(layer(x), before)
print("the child and its parent served")
"""
CASES = {
    **ILL,
    "asked for": BREAK.format("topk_mask") + "global_topk(torch.ones(1, 4), 0.5, backend='numba')",
    "empty cache": CACHED,
    "full cache": CACHED,
    "damage": DAMAGE,
    "damaged cache": CACHED,
    "fork": FORK,
    "threads": "print(torch.get_num_threads()); global_topk(torch.ones(9, 9), 0.5); print(torch.get_num_threads())",
}
# A process for each case, forked where torch is imported and numba is not: importing torch takes longer than the rest.
CHILDREN = """
import json, os, pathlib, sys, traceback
import torch
from sparsecycle import GlobalTopK, global_topk, kernels
from sparsecycle.network import RMSNorm2d, normed_topk
assert "numba" not in sys.modules
folder, cases = json.load(sys.stdin)
for name, code in cases.items():
    print(json.dumps(name), flush=True)
    child = os.fork()
    if not child:
        os.dup2(1, 2)
        try:
            exec(code)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("the process was ended", flush=True)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a process says in each case, line by line."""
    if sys.platform == "win32":
        pytest.skip("Windows does not fork")
    folder = tmp_path_factory.mktemp("numba")
    lines = run_python(CHILDREN, json.dumps([str(folder), CASES])).stdout.splitlines()
    starts = [*(lines.index(json.dumps(name)) for name in CASES), len(lines)]
    return {name: lines[a + 1 : b] for name, (a, b) in zip(CASES, itertools.pairwise(starts), strict=True)}


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("illness", ILL)
def test_where_numba_cannot_serve_the_reference_does_and_one_line_says_so(illness, said):
    (line,) = said[illness]
    assert line.startswith("numba is not available (")
    assert line.endswith("the slower reference in plain torch serves instead")


@pytest.mark.slow
@needs_numba
def test_a_failing_kernel_that_was_asked_for_by_name_says_what_failed(said):
    assert said["asked for"][-1] == "OSError: no space"


@pytest.mark.slow
@needs_numba
def test_compiling_is_announced_in_one_line_and_happens_once(said):
    (line,) = said["empty cache"]
    assert "compiling the CPU kernels" in line
    assert said["full cache"] == []


@pytest.mark.slow
@needs_numba
def test_a_damaged_cache_costs_no_more_than_one_line(said):
    assert "." in said["damage"][0]  # there was something to damage
    (line,) = said["damaged cache"]
    assert "the slower reference" in line or "compiling the CPU kernels" in line


@pytest.mark.slow
def test_a_process_forked_after_use_can_use_the_layer(said):
    assert said["fork"] == ["the child and its parent served"]


@pytest.mark.slow
@needs_numba
def test_torch_keeps_its_number_of_threads(said):
    """Numba's pool starts with the first call, and would set it to the number of cores."""
    assert said["threads"] == ["1", "1"]
