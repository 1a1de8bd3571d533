"""What holds of the Triton kernels, called by `test_kernels.py` in a process of its own.

On a machine without a GPU that process runs Triton's interpreter, which has to be chosen before Triton is imported.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.inputs import activations, rows_of_kinds, same_as_reference
from sparsecycle import GlobalTopK, RunConfig
from sparsecycle.kernels.operators import relu_topk, rms_norm_topk, rms_norm_topk_backward
from sparsecycle.network import RMSNorm2d, normed_topk
from sparsecycle.trainer import Trainer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def equals_reference() -> None:
    device = DEVICE
    budget = {ratio: torch.tensor(ratio, dtype=torch.float64, device=device) for ratio in (0.1, 0.3, 0.5)}

    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
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
    rounded = relu_topk(x[:1], budget[0.1], "sample", torch.bfloat16, "triton")
    assert torch.equal(rounded, relu_topk(x[:1], budget[0.1], "sample", torch.bfloat16, "reference"))
    x = torch.randn(2, 3, 4, 5, device=device, requires_grad=True)
    relu_topk(x, budget[0.3], "sample", x.dtype, "triton").sum().backward()
    kept = relu_topk(x.detach(), budget[0.3], "sample", x.dtype, "reference") > 0
    assert torch.equal(x.grad, kept.float())
    for values in (torch.tensor([[float("nan"), -1.0, 2.0, 1.0]]), torch.empty(0, 4)):
        values = values.to(device)
        same_nan = relu_topk(values, budget[0.5], "sample", values.dtype, "triton").isnan()
        assert torch.equal(same_nan, values.isnan())


def fused_equals_reference() -> None:
    """Masks bit for bit on the values that the kernel itself makes; these and all gradients against float64."""
    generator = torch.Generator().manual_seed(0)
    for channels, size, kind in (
        (3, 5, "ties"),
        (16, 8, "normal"),
        (64, 8, "equal"),
        (24, 6, "zero"),
        (16, 32, "normal"),
    ):
        x = torch.randn(2, channels, size, size, generator=generator)
        x = {"ties": (2 * x).round() / 2, "equal": torch.full_like(x, 0.7), "zero": 0 * x}.get(kind, x)
        weight, bias = torch.rand(channels, generator=generator) + 0.5, torch.randn(channels, generator=generator)
        if kind == "equal":
            weight, bias = torch.ones(channels), torch.zeros(channels)
        x, weight, bias = x.to(DEVICE), weight.to(DEVICE), bias.to(DEVICE)
        dtypes = (torch.float32, torch.bfloat16, torch.float16) if kind == "ties" else (torch.bfloat16,)
        for dtype in dtypes:
            values = (x if size < 32 else x[:1]).to(dtype).contiguous(memory_format=torch.channels_last)
            _same_masks_and_gradients(values, weight, bias, (0.5, 0.02) if size < 32 else (0.1,))
    spoilt = torch.randn(2, 16, 4, 4, device=DEVICE).to(memory_format=torch.channels_last)
    spoilt[1, 2, 0, 0] = float("nan")
    found = _fused(spoilt, torch.ones(16, device=DEVICE), torch.zeros(16, device=DEVICE), 0.3)
    assert not found[0].isnan().any()
    assert found[1].isnan().sum() == 16  # of the position whose norm it enters


def _fused(x: Tensor, weight: Tensor, bias: Tensor, keep_ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
    budget = torch.tensor(keep_ratio, dtype=torch.float64, device=DEVICE)
    out: Tensor = rms_norm_topk(x, weight, bias, 1e-8, budget, dtype, "triton")
    return out


def _same_masks_and_gradients(x: Tensor, weight: Tensor, bias: Tensor, keep_ratios: tuple[float, ...]) -> None:
    wide = [one.detach().double().requires_grad_() for one in (x, weight, bias)]
    scale = (wide[0].square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    exact = wide[0] * scale * wide[1][:, None, None] + wide[2][:, None, None]
    dense = _fused(x, weight, bias, 1.0)
    torch.testing.assert_close(dense.double(), exact.relu(), rtol=1e-5, atol=1e-5)
    for keep_ratio in keep_ratios:
        budget = torch.tensor(keep_ratio, dtype=torch.float64, device=DEVICE)
        kept = _fused(x, weight, bias, keep_ratio)
        assert torch.equal(kept, relu_topk(dense, budget, "sample", torch.float32, "reference"))
        rounded = _fused(x, weight, bias, keep_ratio, torch.bfloat16)
        assert torch.equal(rounded, kept.bfloat16())
        upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
        upstream *= x.abs().amax(dim=1, keepdim=True) > 1e-3  # the gradient of an empty position is beyond tolerances
        found = rms_norm_topk_backward(upstream, kept, x, weight, 1e-8, "triton")
        wanted = torch.autograd.grad(exact, wide, torch.where(kept > 0, upstream, 0.0).double(), retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            coarse = one.dtype != torch.float32
            torch.testing.assert_close(
                one.double(), other, rtol=0.01 if coarse else 1e-4, atol=0.01 if coarse else 1e-4
            )


def trains_as_the_reference() -> None:
    """Two steps of a network with these kernels and with the reference, and which path autocast takes."""
    os.environ["SPARSECYCLE_BACKEND"] = "triton"
    norm, topk = RMSNorm2d(16).to(DEVICE), GlobalTopK(0.3).to(DEVICE)
    x = torch.randn(2, 16, 4, 4, device=DEVICE).to(memory_format=torch.channels_last)
    with torch.autocast(DEVICE, torch.bfloat16):
        out = normed_topk(norm, topk, x.bfloat16())
        apart = topk(norm(x.bfloat16()))
    assert out.dtype == torch.bfloat16
    assert "rms_norm_topk" in type(out.grad_fn).__name__
    torch.testing.assert_close(out, apart, rtol=0.01, atol=0.01)
    assert "rms_norm_topk" in type(normed_topk(norm, topk, x).grad_fn).__name__
    norm.to(torch.bfloat16)
    assert "rms_norm_topk" not in type(normed_topk(norm, topk, x.bfloat16()).grad_fn).__name__
    few = RunConfig(preset="smoke", method="geometric", train_images=10, batch_size=2, epochs=1, decision_steps=1)
    images = torch.randint(0, 256, (10, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    losses = []
    for backend in ("triton", "reference"):
        os.environ["SPARSECYCLE_BACKEND"] = backend
        part = Trainer(few, images, torch.arange(10), device=DEVICE).train(2)
        losses.append(part.loss)
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)


def print_resources() -> None:
    """Print a line a compiled kernel: its name, its warps, and what of the chip it takes."""
    from sparsecycle.kernels import cuda

    rows = {"out_rows": "*bf16", "keep_ratio": "*fp64", "n": "i32"}
    for kind, relu in (("fp32", True), ("bf16", False)):
        pointers = dict.fromkeys(("rows", "scales", "weight", "bias"), "*" + kind)
        types = pointers | rows | ({} if relu else {"out_rows": "*u8"})
        _print("select", cuda._select_rows, types, _selection(cuda, 64, 1024, relu, False), 32)
    for channels, positions in ((16, 1024), (64, 1024), (256, 64)):
        wide = {"CHANNELS": channels, "WIDE": channels, "TILE": cuda._tile(channels)}
        pointers = {"rows": "*bf16", "scales": "*fp32", "weight": "*fp32", "bias": "*fp32"}
        _print("forward", cuda._select_rows, pointers | rows, _selection(cuda, channels, positions, True, True), 32)
        types = {"x": "*bf16", "scales": "*fp32", "rows": "i32", "eps": "fp32"}
        _print("scales", cuda._scales, types, wide, 8)
        types = dict.fromkeys(("x", "output", "upstream"), "*bf16") | {"weight": "*fp32", "to_x": "*bf16"}
        types |= {"sums": "*fp32", "positions": "i32", "eps": "fp32"}
        _print("backward", cuda._backward, types, wide | {"SHARES": cuda.SHARES}, 8)


def _selection(cuda: Any, channels: int, positions: int, relu: bool, norm: bool) -> dict[str, Any]:
    shape = {"CHANNELS": channels, "POSITIONS": positions, "RELU": relu, "NORM": norm}
    return shape | {"SAMPLE": cuda.SAMPLE, "RUN": cuda.RUN, "BLOCK": cuda.BLOCK}


def _print(name: str, function: Any, types: dict[str, str], constants: dict[str, Any], warps: int) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(function, types | dict.fromkeys(constants, "constexpr"), constants)
    kernel = triton.compile(source, GPUTarget("cuda", 90, 32), {"num_warps": warps})
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    print(name, warps, *re.findall(r"(?:REG|STACK|LOCAL):\d+", usage.stdout + usage.stderr))
