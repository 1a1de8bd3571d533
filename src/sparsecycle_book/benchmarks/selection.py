"""One layer: ReLU, exact selection and mask, by every backend and by what torch has."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsecycle.kernels import choose
from sparsecycle.kernels.operators import relu_topk
from sparsecycle.topk import kept_values
from sparsecycle_book.benchmarks.record import Measurement
from sparsecycle_book.benchmarks.timing import alternate

CPU_CASES = ((128, 1024), (128, 4096), (128, 16_384), (64, 65_536))
GPU_CASES = ((512, 4096), (512, 16_384), (512, 65_536))
BUDGETS = (0.5, 0.25, 0.1, 0.05, 0.02)


def measure_selection(device: str, repeats: int) -> list[Measurement]:
    """Milliseconds of each side at each size and budget, on normal values that are in no cache.

    In training, too, a layer's values have been followed through the caches by those of other layers.
    """
    gpu = device == "cuda"
    cases = [(*size, torch.bfloat16 if gpu else torch.float32) for size in (GPU_CASES if gpu else CPU_CASES)]
    if not gpu:
        cases.append((128, 16_384, torch.bfloat16))
    return [one for case in cases for one in _measure_case(*case, device, repeats, inner=20 if gpu else 1)]


def _measure_case(
    rows: int, values: int, dtype: torch.dtype, device: str, repeats: int, inner: int
) -> list[Measurement]:
    x = torch.randn(rows, values, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    case = f"{rows} x {values} {str(dtype).removeprefix('torch.')}"
    target = torch.empty_like(x)
    found = []
    for keep_ratio in BUDGETS:
        sides = _sides(x, keep_ratio) | {"relu": lambda: F.relu(x), "copy": lambda: target.copy_(x)}
        times = alternate(sides, device, repeats, inner, cold=device == "cpu")
        found += [
            Measurement(suite="selection", case=case, side=side, keep_ratio=keep_ratio, milliseconds=milliseconds)
            for side, milliseconds in times.items()
        ]
    return found


def _sides(x: Tensor, keep_ratio: float) -> dict[str, Callable[[], object]]:
    k, n = kept_values(keep_ratio, x.shape[1]), x.shape[1]
    budget = torch.full((), keep_ratio, dtype=torch.float64, device=x.device)

    def masked(threshold: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        """What is usually written: values below the k-th largest become zero, more than k stay where it is tied."""

        def side() -> Tensor:
            active = F.relu(x)
            return torch.where(active >= threshold(active), active, 0.0)

        return side

    sides: dict[str, Callable[[], object]] = {
        "topk": masked(lambda active: active.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)),
        "kthvalue": masked(lambda active: active.kthvalue(n - k + 1, dim=1, keepdim=True).values),
        "sort": masked(lambda active: active.sort(dim=1, descending=True).values[:, k - 1 : k]),
        "reference": lambda: relu_topk(x, budget, "sample", x.dtype, "reference"),
    }
    if choose(x, "sample", "auto") is not None:
        sides["kernel"] = lambda: relu_topk(x, budget, "sample", x.dtype, "auto")
    return sides
