"""Compressed copies of a trained network: weights pruned by magnitude, weights rounded to eight bits."""

import copy

import torch
from torch import nn
from torch.nn.utils import prune

PRUNED_SHARES = (0.5, 0.8, 0.9)


def pruned(model: nn.Module, share: float) -> nn.Module:
    """Return a copy without the `share` of its weights that are smallest in magnitude over all layers.

    The copy is not trained further. Weights of convolutions and linear layers count, gains and biases stay
    (`torch.nn.utils.prune`).
    """
    smaller = copy.deepcopy(model)
    smaller.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as `prune` wants it
    weights = [(module, "weight") for module in _weighted(smaller)]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    for module, name in weights:
        prune.remove(module, name)  # type: ignore[no-untyped-call]
    return smaller


def with_int8_weights(model: nn.Module) -> nn.Module:
    """Return a copy with the weights of convolutions and linear layers at 255 levels, evenly spaced around zero.

    One scale for each output channel, so that its largest weight is level 127. Activations stay in float32.
    """
    rounded = copy.deepcopy(model)
    for module in _weighted(rounded):
        weight = module.weight.detach()
        largest = weight.abs().flatten(1).amax(dim=1)
        scale = torch.where(largest > 0, largest / 127, 1.0)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        module.weight.data = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)
    return rounded


def _weighted(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
