"""Disturbances at five strengths: of the images, by torchvision's transforms, and of the network, by removing units.

The strengths of noise, blur and contrast are those of CIFAR-10-C (Hendrycks and Dietterich, arXiv 1903.12261).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsecycle.data.torchvision_import import import_torchvision
from sparsecycle.errors import InputError
from sparsecycle.layer import GlobalTopK

STRENGTHS = {
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation, pixels in [0, 1]
    "blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation of the Gaussian, in pixels
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # share of the contrast that is left
    "removal": (0.05, 0.1, 0.2, 0.3, 0.5),  # share of the channels of each layer
}
_BLUR_SIZE = 9  # four standard deviations to each side at the strongest


def corrupt(images: Tensor, kind: str, strength: float) -> Tensor:
    """Return `images` (uint8 (N, 3, 32, 32)) with noise, blur or less contrast; the noise is the same at every call.

    Args:
        kind: "noise", "blur" or "contrast".
        strength: in the unit of `STRENGTHS`.

    Raises:
        InputError: an unknown kind.
    """
    import_torchvision()
    from torchvision.transforms.v2 import functional

    if kind == "noise":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            noise = torch.randn(images.shape).to(images.device)
        return (images + 255 * strength * noise).round().clamp(0, 255).byte()
    if kind == "blur":
        blurred: Tensor = functional.gaussian_blur(images, [_BLUR_SIZE, _BLUR_SIZE], [strength, strength])
        return blurred
    if kind == "contrast":
        flatter: Tensor = functional.adjust_contrast(images, strength)
        return flatter
    raise InputError(f"kind is {kind!r}, but must be one of noise, blur, contrast")


@contextmanager
def units_removed(model: nn.Module, share: float) -> Iterator[None]:
    """Silence a random `share` of the channels of every `GlobalTopK`: its output there is zero.

    The choice depends on the place of the layer and its number of channels alone, and a larger share removes more of
    the same order, so that networks and shares are compared on the same units' places.
    """
    layers = [module for module in model.modules() if isinstance(module, GlobalTopK)]
    handles = [layer.register_forward_hook(_silencer(place, share)) for place, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _silencer(place: int, share: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def silence(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        channels = output.shape[1]
        order = torch.randperm(channels, generator=torch.Generator().manual_seed(place))
        kept = torch.ones(channels, dtype=output.dtype)
        kept[order[: round(share * channels)]] = 0.0
        return output * kept.to(output.device).view(-1, *[1] * (output.dim() - 2))

    return silence
