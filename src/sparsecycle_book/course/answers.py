"""What is right in the exercises of the lessons, where the check needs more than one call of the library.

Kept out of the notebooks, so that a student's form does not show the solution in the cell that checks it.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Steps = Sequence[tuple[float, float]]


def kept(total: int, keep_ratios: Sequence[float]) -> list[int]:
    """How many of `total` values each keep-ratio keeps."""
    return [max(1, math.ceil(total * ratio)) for ratio in keep_ratios]


def share_above_zero(maps: Tensor) -> float:
    """The share of the values that are positive."""
    return float((maps > 0).double().mean())


def empty_neighbourhoods(maps: Tensor) -> float:
    """The share of positions of (images, channels, height, width) around which 3 x 3 positions are zero throughout."""
    active = (maps != 0).any(dim=1, keepdim=True).float()
    return float((F.max_pool2d(active, 3, stride=1, padding=1) == 0).float().mean())


def growth(steps: Steps, at: int) -> float:
    """The factor by which the norm of the gradient grows from the step before `at` (from 0) to it."""
    return steps[at][1] / steps[at - 1][1]


def breaks(steps: Steps, above: float = 2.0) -> bool:
    """Whether the loss rises above a value and never comes back below it; `steps` are (loss, norm)."""
    losses = [loss for loss, _ in steps]
    first = next((step for step, loss in enumerate(losses) if loss > above), None)
    return first is not None and min(losses[first:]) > above


def fails_at(curve: Mapping[float, float]) -> set[float]:
    """The budgets at which a network has less than half of its accuracy at budget 1."""
    return {budget for budget, accuracy in curve.items() if accuracy < curve[1.0] / 2}


def gradient_norm(network: torch.nn.Module, images: Tensor, labels: Tensor, *, past_empty: bool = True) -> float:
    """The norm of the gradient of the mean cross-entropy in all weights.

    Args:
        network: with RMSNorm layers.
        images: (N, 3, H, W), normalized.
        labels: (N,).
        past_empty: whether gradients pass the normalization where all channels of a position are zero.
    """
    from sparsecycle.network import RMSNorm2d

    def stop_at_empty(layer: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        return (torch.where((x != 0).any(dim=1, keepdim=True), x, x.detach()),)

    layers = [] if past_empty else [one for one in network.modules() if isinstance(one, RMSNorm2d)]
    hooks = [layer.register_forward_pre_hook(stop_at_empty) for layer in layers]
    try:
        loss = F.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
    finally:
        for hook in hooks:
            hook.remove()
    return math.sqrt(sum(float(one.square().sum()) for one in gradients))
