"""What is measured on a network as it is: accuracy and loss at each keep-ratio, and how much of it is active."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.errors import InputError
from sparsecycle.layer import GlobalTopK, set_keep_ratio
from sparsecycle.trainer import normalize


@dataclass(frozen=True)
class Evaluation:
    """How one network does at one keep-ratio on one set of images.

    Attributes:
        keep_ratio: in (0, 1].
        accuracy: share of the images that are classified rightly.
        loss: mean cross-entropy in nats.
        correct: whether each image is classified rightly, bool (N,) on the CPU.
    """

    keep_ratio: float
    accuracy: float
    loss: float
    correct: Tensor


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, keep_ratio: float, batch_size: int = 500) -> Evaluation:
    """Run `model` in evaluation mode at a keep-ratio, in float32 and without gradients.

    On a GPU torch lets convolutions round their inputs to TF32, ten bits of mantissa, unless it is told otherwise.

    The model's mode and keep-ratios are restored afterwards.

    Args:
        images: uint8 (N, 3, 32, 32) on the model's device.
        labels: int64 (N,) on the same device.
    """
    logits = predict(model, images, keep_ratio, batch_size)
    correct = (logits.argmax(dim=1) == labels).cpu()
    return Evaluation(
        keep_ratio=keep_ratio,
        accuracy=correct.double().mean().item(),
        loss=F.cross_entropy(logits.double(), labels).item(),
        correct=correct,
    )


def predict(model: nn.Module, images: Tensor, keep_ratio: float, batch_size: int = 500) -> Tensor:
    """Return the logits, float32 (N, classes), of `images` (uint8 (N, 3, 32, 32)) at a keep-ratio."""
    with torch.no_grad(), at_budget(model, keep_ratio):
        return torch.cat([model(batch).float() for batch in _batches(images, batch_size)])


@dataclass(frozen=True)
class LayerActivity:
    """How active one `GlobalTopK` layer is at one keep-ratio.

    Attributes:
        layer: name of the module.
        active_fraction: share of non-zero outputs, mean over images.
        dead_channels: share of channels with no non-zero output on any image.
    """

    layer: str
    active_fraction: float
    dead_channels: float


def layer_activity(model: nn.Module, images: Tensor, keep_ratio: float, batch_size: int = 500) -> list[LayerActivity]:
    """Return the activity of every `GlobalTopK` of `model`, in order of the forward pass.

    Args:
        images: uint8 (N, 3, 32, 32) on the model's device.
    """
    active: dict[str, Tensor] = {}

    def count(name: str, output: Tensor) -> None:
        shares = (output != 0).double().mean(dim=(2, 3)).sum(dim=0)  # (C,)
        active[name] = active.get(name, torch.zeros_like(shares)) + shares

    with torch.no_grad(), at_budget(model, keep_ratio), watched(model, count):
        for batch in _batches(images, batch_size):
            model(batch)
    return [
        LayerActivity(name, shares.mean().item() / len(images), (shares == 0).double().mean().item())
        for name, shares in active.items()
    ]


def capture_activations(model: nn.Module, images: Tensor, layer: str, keep_ratio: float) -> Tensor:
    """Return the output (N, C, H, W) of the `GlobalTopK` named `layer`, the whole network at a keep-ratio.

    Args:
        images: uint8 (N, 3, 32, 32) on the model's device.

    Raises:
        InputError: no `GlobalTopK` of that name.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, GlobalTopK)]
    if layer not in names:
        raise InputError(f"layer is {layer!r}, but must be one of {', '.join(names)}")
    outputs: dict[str, Tensor] = {}
    with torch.no_grad(), at_budget(model, keep_ratio), watched(model, outputs.__setitem__):
        model(normalize(images))
    return outputs[layer]


def budget_response(model: nn.Module, images: Tensor, budgets: Sequence[float]) -> list[float]:
    """Return the size of the last layer's output at each budget, over its size at 1.0.

    The size is the root mean square of the output after averaging over positions, which is what the head sees.
    """
    *_, last = (name for name, module in model.named_modules() if isinstance(module, GlobalTopK))
    sizes = [
        capture_activations(model, images, last, budget).mean(dim=(2, 3)).square().mean().sqrt().item()
        for budget in (1.0, *budgets)
    ]
    return [size / sizes[0] for size in sizes[1:]]


def budget_area(budgets: Sequence[float], accuracies: Sequence[float]) -> float:
    """Return the mean accuracy over the logarithm of the budget: the area under that curve over its width."""
    order = np.argsort(budgets)
    x = np.log(np.asarray(budgets, dtype=float)[order])
    y = np.asarray(accuracies, dtype=float)[order]
    if len(x) == 1:
        return float(y[0])
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def _batches(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(images), batch_size):
        yield normalize(images[start : start + batch_size]).contiguous(memory_format=torch.channels_last)


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
    """Put `model` into evaluation mode at a keep-ratio; its mode and keep-ratios are restored afterwards."""
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
