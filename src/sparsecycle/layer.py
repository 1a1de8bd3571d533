"""The layer: ReLU, then the constraint, at a keep-ratio that can be changed at any time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.kernels import autocast_dtype, check_backend
from sparsecycle.kernels.budget import as_number, real_device, state_of
from sparsecycle.kernels.operators import is_transformed, relu_topk, topk_mask
from sparsecycle.topk import check_activations, check_constraint


def global_topk(x: Tensor, keep_ratio: float, *, scope: str = "sample", backend: str = "auto") -> Tensor:
    """Keep the k largest values of each group and set the rest to exactly zero.

    Args:
        x: activations, shape (N, C, H, W), or (N, C) and (N, C, ...) in general; any floating dtype, memory format
            and device. N is the batch.
        keep_ratio: share of values kept, in (0, 1]; k = max(1, floor(keep_ratio * n)) of each group of n values.
        scope: what a group is. "sample": all C*H*W values of one sample (the author's); "batch": all values of the
            tensor; "channel": H*W values of one sample and channel; "position": C values at one sample and position.
        backend: "auto", "reference", "numba" or "triton" (see `kernels.choose`); the result is the same.

    Returns:
        A tensor of the shape, dtype and memory format of `x`. Exactly k values of each group are kept: ties at the
        threshold go to the lowest flat index in (N, C, H, W) order. The gradient is that of multiplying by the mask.

    Raises:
        ValueError: keep_ratio outside (0, 1], unknown scope or backend, integer dtype, fewer dimensions than the scope
            needs, or NaN in `x`.

    Source: the author's script of arXiv 2603.03131 for scope "sample" and rounding; the rule for ties is ours.
    """
    keep_ratio = as_number(keep_ratio)
    check_constraint(keep_ratio, scope)
    check_backend(backend)
    check_activations(x, scope)
    if bool(x.isnan().any()):
        raise ValueError("global_topk got NaN among the activations: a NaN has no rank; check the loss and the input")
    if keep_ratio == 1.0 or x.numel() == 0:
        return x.clone()
    budget = torch.full((), keep_ratio, dtype=torch.float64, device=x.device)
    mask = topk_mask(x.detach(), budget, scope, backend)
    return torch.where(mask, x, 0.0)


class GlobalTopK(nn.Module):
    """ReLU, then the constraint. At keep_ratio 1.0 it is exactly ReLU and costs what ReLU costs.

    Args:
        keep_ratio: share of the n activations of a group that may stay non-zero, in (0, 1]. Set it at any time
            (`set_keep_ratio` for a whole model); training and inference use the same keep-ratio.
        scope: "sample", "batch", "channel" or "position" (see `global_topk`).
        backend: "auto", "reference", "numba" or "triton" (see `kernels.choose`); the result is the same.

    Input and output have shape (N, C, ...), any floating dtype; under autocast the output is rounded to autocast's
    dtype, after selection. NaN is not looked for here but goes through, as it does through ReLU: the training loop
    checks the loss. Compiled, the layer has two graphs, dense and constrained; keep-ratios below 1.0 share one.

    Raises:
        ValueError: keep_ratio outside (0, 1], an unknown scope or backend, or input that does not fit the scope.
    """

    budget: Tensor
    branch_free = False  # set where steps are recorded: then the kernel reads 1.0, too, from the buffer

    def __init__(self, keep_ratio: float = 1.0, scope: str = "sample", backend: str = "auto") -> None:
        super().__init__()
        check_backend(backend)
        self.backend = backend
        self.scope = scope
        # The keep-ratio as a tensor, so that changing it recompiles nothing.
        device = real_device(torch.get_default_device())
        self.register_buffer("budget", torch.ones((), dtype=torch.float64, device=device), persistent=False)
        self.keep_ratio = keep_ratio

    @property
    def scope(self) -> str:
        return self._scope

    @scope.setter
    def scope(self, value: str) -> None:
        check_constraint(1.0, value)
        self._scope = value

    @property
    def keep_ratio(self) -> float:
        return self._keep_ratio if self._is_own() else self.budget.item()

    @keep_ratio.setter
    def keep_ratio(self, value: float) -> None:
        number = as_number(value)
        check_constraint(number, self.scope)
        self._keep_ratio = number
        self._dense = number == 1.0  # a compiler looks at this alone: other keep-ratios share a graph
        self.budget.fill_(number)  # on a GPU: queued, nothing waits
        self._own = state_of(self.budget)

    @property
    def dense(self) -> bool:
        """Whether the layer is ReLU. Where the buffer may hold another keep-ratio, it decides, whatever it holds."""
        return self._dense and self._is_own()

    def _is_own(self) -> bool:
        """Whether the buffer is as the layer left it: `AveragedModel` writes into it, `functional_call` swaps it."""
        return torch.compiler.is_compiling() or self._own == state_of(self.budget)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the keep-ratio with the model, but never round it: `model.bfloat16()` leaves it in float64."""
        before = self.keep_ratio
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.budget = torch.full((), before, dtype=torch.float64, device=real_device(self.budget.device))
        self.keep_ratio = before
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_keep_ratio": self.keep_ratio}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back from a copy or a pickle, whose buffer is another tensor."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.keep_ratio = self._keep_ratio

    def forward(self, x: Tensor) -> Tensor:
        return self._constrain(x, self.budget)

    def _constrain(self, x: Tensor, budget: Tensor) -> Tensor:
        dtype = autocast_dtype(x.device.type) or x.dtype
        check_activations(x, self.scope)
        budget = budget.to(x.device)  # where it is, but for weights that were assigned to a model made elsewhere
        if self.dense and not self.branch_free:
            return F.relu(x).to(dtype)
        if is_transformed(x):
            active = F.relu(x)
            mask = topk_mask(active.detach(), budget, self.scope, self.backend)
            return torch.where(mask | active.isnan(), active, 0.0).to(dtype)
        constrained: Tensor = relu_topk(x, budget, self.scope, dtype, self.backend)
        return constrained

    def extra_repr(self) -> str:
        return f"keep_ratio={self.keep_ratio:g}, scope={self.scope!r}"


def set_keep_ratio(model: nn.Module, keep_ratio: float) -> int:
    """Set the keep-ratio of every `GlobalTopK` in `model` and return how many there are.

    Raises:
        ValueError: keep_ratio outside (0, 1].
    """
    layers = [module for module in model.modules() if isinstance(module, GlobalTopK)]
    for layer in layers:
        layer.keep_ratio = keep_ratio
    return len(layers)
