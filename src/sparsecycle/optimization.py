"""SGD with Nesterov momentum, and the learning rate of each step."""

import math

import torch
from torch import Tensor, nn

from sparsecycle.config import RunConfig


def make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; gains and biases, the parameters of one dimension, are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    free = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=nesterov, fused=True)


def learning_rate(config: RunConfig, step: int) -> float:
    """The rate of a step, counted from 0: linear warm-up to the peak, then a cosine that ends at zero."""
    warmup = round(config.warmup_epochs * config.steps_per_epoch)
    if step < warmup:
        return config.learning_rate * ((step + 1) / (warmup + 1))
    return config.learning_rate * (0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup))))


def momentum_buffers(optimizer: torch.optim.SGD) -> list[Tensor]:
    """One tensor a parameter, in the optimizer's order; empty before the first step or without momentum."""
    state = optimizer.state_dict()["state"]
    return [
        state[index]["momentum_buffer"] for index in sorted(state) if state[index].get("momentum_buffer") is not None
    ]


def restore_momentum(optimizer: torch.optim.SGD, buffers: list[Tensor]) -> None:
    """Put buffers back, each in the memory format of its parameter.

    Raises:
        RuntimeError: buffers of other shapes.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        index: {"momentum_buffer": torch.empty_like(parameter, requires_grad=False).copy_(buffer)}
        for index, (parameter, buffer) in enumerate(zip(parameters, buffers, strict=bool(buffers)))
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
