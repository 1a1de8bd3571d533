"""The images of a run, and the order in which it sees them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sparsecycle.config import RunConfig
from sparsecycle.data.cifar10 import Cifar10, load_cifar10, normalize
from sparsecycle.data.torchvision_import import import_torchvision


def load_images(config: RunConfig, data_dir: str | Path | None = None) -> Cifar10:
    """The images that a run with this configuration trains on and is evaluated on.

    Raises:
        InputError: images missing or altered, or fewer than the configuration asks for.
    """
    data = load_cifar10("embedded" if config.dataset == "cifar10-mini" else "auto", data_dir)
    data = data.take(train=config.train_images, test=config.test_images)
    return data.hold_out(config.holdout_images) if config.holdout_images else data


def batches(config: RunConfig, data: Cifar10, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of steps first..last-1: images (N, 3, 32, 32) and labels, in the epoch's shuffled order.

    The order of an epoch is a function of seed and epoch alone, so that a run can go on from any step.
    """
    count, device = len(data.train_images), data.train_images.device
    augment = _augmentation(config)
    order, shuffled_epoch = torch.empty(0), -1
    for step in range(first, last):
        epoch, place = divmod(step, config.steps_per_epoch)
        if epoch != shuffled_epoch:
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order, shuffled_epoch = torch.randperm(count, generator=generator).to(device), epoch
        chosen = order[place * config.batch_size : (place + 1) * config.batch_size]
        images = augment(data.train_images[chosen])
        yield normalize(images).contiguous(memory_format=torch.channels_last), data.train_labels[chosen]


def _augmentation(config: RunConfig) -> Callable[[Tensor], Tensor]:
    """The identity, or torchvision's pad-crop-flip, each image on its own."""
    if config.augmentation == "none":
        return lambda images: images
    import_torchvision()
    from torchvision.transforms import v2

    each = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    return lambda images: torch.stack([each(image) for image in images])
