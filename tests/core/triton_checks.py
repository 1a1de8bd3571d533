"""What holds of the Triton kernel, called by `test_kernels.py` in a process of its own.

On a machine without a GPU that process runs Triton's interpreter, which has to be chosen before Triton is imported.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.inputs import activations, rows_of_kinds, same_as_reference
from sparsecycle.kernels.operators import relu_topk


def equals_reference() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
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
