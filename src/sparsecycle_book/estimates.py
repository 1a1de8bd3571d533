"""How long a run must take at least, from the operations and bytes that are counted in one training step.

Counted are the multiplications and additions of convolutions and matrix products, forward and backward, and the bytes
that the layers read and write, each by itself; the time is that of a device which does both at once and at its full
rates: the share of it that a measured run reaches says how well the device is used.
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparsecycle.config import RunConfig
from sparsecycle.trainer import make_network


@dataclass(frozen=True)
class Rates:
    """What the maker's data sheet promises: bfloat16 operations a second with dense matrices, bytes a second."""

    operations: float
    bytes: float


DEVICES = {
    "NVIDIA A100 80 GB": Rates(312e12, 2.039e12),
    "NVIDIA H100 SXM": Rates(989e12, 3.35e12),
    "NVIDIA H200": Rates(989e12, 4.8e12),
}


@dataclass(frozen=True)
class Work:
    """Of one image: operations (a multiplication and an addition are two) and bytes, to train on and to evaluate."""

    train_operations: float
    train_bytes: float
    test_operations: float
    test_bytes: float


def least_seconds(config: RunConfig, rates: Rates) -> float:
    """Seconds that the run takes at least: all training steps, both evaluations of each look, and those at the end."""
    work = count_work(config)
    trained = config.steps * config.batch_size
    evaluated = (2 * len(config.looks) + len(config.budgets)) * config.test_images + config.train_images
    operations = trained * work.train_operations + evaluated * work.test_operations
    moved = trained * work.train_bytes + evaluated * work.test_bytes
    return max(operations / rates.operations, moved / rates.bytes)


@cache
def count_work(config: RunConfig) -> Work:
    """Count both in one step of the real network, on the CPU, with two random images."""
    model, batch = make_network(config), 2
    moved = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        moved += sum(x.numel() for x in inputs) + output.numel()

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    images, labels = torch.randn(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.long)
    with FlopCounterMode(display=False) as forward:
        logits = model(images)
    with FlopCounterMode(display=False) as backward:
        F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    size = 4 if config.precision == "float32" else 2
    test = forward.get_total_flops() / batch, size * moved / batch
    # Backward, a layer reads its input again, and the gradient of its output, and writes that of its input.
    train = test[0] + backward.get_total_flops() / batch, 3 * test[1]
    return Work(*train, *test)
