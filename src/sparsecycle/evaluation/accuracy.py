"""What is measured on a trained network: accuracy and loss at each budget, and how much of it is active."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.data.cifar10 import normalize
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
    logits = predict(model, images, keep_ratio, batch_size)
    predicted = logits.argmax(dim=1)
    return Evaluation(
        keep_ratio=keep_ratio,
        accuracy=(predicted == labels).double().mean().item(),
        loss=F.cross_entropy(logits.double(), labels).item(),
        predictions=predicted.to("cpu", torch.uint8),
    )


def predict(model: nn.Module, images: Tensor, keep_ratio: float, batch_size: int = 500) -> Tensor:
    """Logits (N, classes), float32, of `images` (uint8 (N, 3, 32, 32)) at a budget, in evaluation mode."""
    with torch.no_grad(), at_budget(model, keep_ratio):
        starts = range(0, len(images), batch_size)
        return torch.cat([model(normalize(images[start : start + batch_size])).float() for start in starts])


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

    def count(name: str, output: Tensor) -> None:
        shares = (output != 0).double().mean(dim=(2, 3)).sum(dim=0)  # (C,)
        active[name] = active.get(name, torch.zeros_like(shares)) + shares

    with torch.no_grad(), at_budget(model, keep_ratio), watched(model, count):
        for start in range(0, len(images), batch_size):
            model(normalize(images[start : start + batch_size]))
    return [
        LayerActivity(name, shares.mean().item() / len(images), (shares == 0).double().mean().item())
        for name, shares in active.items()
    ]


def capture_activations(model: nn.Module, images: Tensor, layer: str, keep_ratio: float) -> Tensor:
    """Output (N, C, H, W) of the `GlobalTopK` named `layer`, the whole network at a budget.

    Args:
        images: uint8 (N, 3, 32, 32).

    Raises:
        KeyError: no `GlobalTopK` of that name.
    """
    outputs: dict[str, Tensor] = {}
    with torch.no_grad(), at_budget(model, keep_ratio), watched(model, outputs.__setitem__):
        model(normalize(images))
    return outputs[layer]


def budget_response(model: nn.Module, images: Tensor, budgets: Sequence[float]) -> list[float]:
    """Size (root mean square) of the last activations, averaged over positions, at each budget over that at 1.0."""
    *_, last = (name for name, module in model.named_modules() if isinstance(module, GlobalTopK))
    sizes = [
        capture_activations(model, images, last, budget).mean(dim=(2, 3)).square().mean().sqrt().item()
        for budget in (1.0, *budgets)
    ]
    return [size / sizes[0] for size in sizes[1:]]


def budget_area(budgets: Sequence[float], accuracies: Sequence[float]) -> float:
    """Mean accuracy over the logarithm of the budget: the area under the accuracy-budget curve over its width."""
    order = np.argsort(budgets)
    x = np.log(np.asarray(budgets, dtype=float)[order])
    y = np.asarray(accuracies, dtype=float)[order]
    if len(x) == 1:
        return float(y[0])
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


@contextmanager
def watched(model: nn.Module, seen: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Tell `seen` the name and output of every `GlobalTopK` that runs."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, _inputs, output: seen(name, output)

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, GlobalTopK)]
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def at_budget(model: nn.Module, keep_ratio: float) -> Iterator[None]:
    """`model` in evaluation mode at a budget; its mode and budgets are restored afterwards."""
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
