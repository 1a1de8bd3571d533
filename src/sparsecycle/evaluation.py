"""What is measured on a trained network: accuracy and loss at each budget, and how much of it is active."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.data import normalize
from sparsecycle.topk import GlobalTopK, set_keep_ratio


@dataclass(frozen=True)
class Evaluation:
    """Of one network at one budget on one set of images.

    Attributes:
        keep_ratio: the budget, in (0, 1].
        accuracy: share of images classified correctly.
        loss: mean cross-entropy in nats.
        predictions: predicted class of each image, uint8 (N,).
    """

    keep_ratio: float
    accuracy: float
    loss: float
    predictions: Tensor


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, keep_ratio: float, batch_size: int = 500) -> Evaluation:
    """Run `model` in evaluation mode at a budget, without gradients; its mode and budgets are restored afterwards.

    Args:
        images: uint8 (N, 3, 32, 32) on the model's device.
        labels: int64 (N,) on the same device.
    """
    losses, predictions = [], []
    with torch.no_grad(), _at_budget(model, keep_ratio):
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            logits = model(normalize(images[batch])).float()
            losses.append(F.cross_entropy(logits, labels[batch], reduction="sum"))
            predictions.append(logits.argmax(dim=1))
    predicted = torch.cat(predictions)
    return Evaluation(
        keep_ratio=keep_ratio,
        accuracy=(predicted == labels).double().mean().item(),
        loss=torch.stack(losses).double().sum().item() / len(images),
        predictions=predicted.to("cpu", torch.uint8),
    )


@dataclass(frozen=True)
class LayerActivity:
    """Of one `GlobalTopK` layer at one budget.

    Attributes:
        layer: name of the module.
        active_fraction: share of non-zero outputs, mean over images.
        dead_channels: share of channels with no non-zero output on any image.
    """

    layer: str
    active_fraction: float
    dead_channels: float


def layer_activity(model: nn.Module, images: Tensor, keep_ratio: float, batch_size: int = 500) -> list[LayerActivity]:
    """Activity of every `GlobalTopK` of `model` on `images` (uint8 (N, 3, 32, 32)), in order of the forward pass."""
    active: dict[str, Tensor] = {}

    def record(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            counts = (output != 0).double().mean(dim=(2, 3)).sum(dim=0)  # (C,)
            active[name] = active.get(name, torch.zeros_like(counts)) + counts

        return hook

    layers = {name: module for name, module in model.named_modules() if isinstance(module, GlobalTopK)}
    handles = [layer.register_forward_hook(record(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad(), _at_budget(model, keep_ratio):
            for start in range(0, len(images), batch_size):
                model(normalize(images[start : start + batch_size]))
    finally:
        for handle in handles:
            handle.remove()
    return [
        LayerActivity(name, counts.mean().item() / len(images), (counts == 0).double().mean().item())
        for name, counts in active.items()
    ]


def budget_area(budgets: Sequence[float], accuracies: Sequence[float]) -> float:
    """Mean accuracy over the logarithm of the budget: the area under the accuracy-budget curve over its width."""
    order = np.argsort(budgets)
    x = np.log(np.asarray(budgets, dtype=float)[order])
    y = np.asarray(accuracies, dtype=float)[order]
    if len(x) == 1:
        return float(y[0])
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


@contextmanager
def _at_budget(model: nn.Module, keep_ratio: float) -> Iterator[None]:
    layers = [module for module in model.modules() if isinstance(module, GlobalTopK)]
    before = [layer.keep_ratio for layer in layers]
    training = model.training
    model.eval()
    set_keep_ratio(model, keep_ratio)
    try:
        yield
    finally:
        model.train(training)
        for layer, value in zip(layers, before, strict=True):
            layer.keep_ratio = value
