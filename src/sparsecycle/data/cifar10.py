"""CIFAR-10 as two tensors a split, the embedded subset or all of it, always checked against pinned sums.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University
of Toronto, 2009: 50,000 training and 10,000 test images of 32x32 RGB pixels, 5,000 and 1,000 a class.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from sparsecycle.config import RunConfig
from sparsecycle.data.sheets import LabelledImages
from sparsecycle.data.storage import FULL, MINI, Splits, data_folder, fetch_cifar10, read_set
from sparsecycle.errors import InputError, shown

__all__ = ["CLASSES", "Cifar10", "data_folder", "fetch_cifar10", "load_cifar10", "load_images"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, eq=False)
class Cifar10:
    """CIFAR-10 or a part of it, on the CPU unless `to` moved it.

    `train_images` and `test_images` are uint8 (N, 3, 32, 32), RGB; `train_labels` and `test_labels` are int64
    (N,), indices into `CLASSES`. The order is that of the original data set.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over four lines of hex, the sums of train pixels and labels, test pixels and labels.

        The sums are those of `storage.SUMS`. The digest depends on nothing else, so it tells a part from the
        whole and is the same wherever the images came from.
        """
        splits = self.splits()
        lines = [*splits["train"].sums(), *splits["test"].sums()]
        return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()

    def splits(self) -> Splits:
        """Return both splits as arrays: "train" and "test", with uint8 labels. Pixels on the CPU are not copied."""
        return {
            "train": LabelledImages(self.train_images.cpu().numpy(), self.train_labels.byte().cpu().numpy()),
            "test": LabelledImages(self.test_images.cpu().numpy(), self.test_labels.byte().cpu().numpy()),
        }

    def to(self, device: str | torch.device) -> "Cifar10":
        """Return the same with all four tensors on `device`."""
        tensors = self.train_images, self.train_labels, self.test_images, self.test_labels
        return Cifar10(*(tensor.to(device) for tensor in tensors))

    def take(self, train: int | None = None, test: int | None = None, part: int = 0) -> "Cifar10":
        """Return `train` / 10 training and `test` / 10 test images of each class, in stored order.

        Part 0 is the first training images of each class, part 1 the next ones, and so on: parts that are disjoint.
        Where the images are used up, a part is a random draw that depends on its number alone. The test images are
        always the first of each class. None keeps the whole split, and `test` may be 0.

        Raises:
            InputError: a number is not a multiple of 10, not above 0, or more than there are.
        """
        taken = self
        if train is not None:
            chosen = _balanced(self.train_labels, train, "train", part=part)
            taken = replace(taken, train_images=self.train_images[chosen], train_labels=self.train_labels[chosen])
        if test is not None:
            chosen = _balanced(self.test_labels, test, "test", least=0)
            taken = replace(taken, test_images=self.test_images[chosen], test_labels=self.test_labels[chosen])
        return taken

    def hold_out(self, n: int) -> "Cifar10":
        """Return a set without test images, for choosing constants.

        Its test split is the last `n` / 10 training images of each class, its training split the others.

        Raises:
            InputError: `n` is not a multiple of 10, not above 0, or leaves a class without training images.
        """
        last = len(self.train_labels) - 1
        held = last - _balanced(self.train_labels.flip(0), n, "hold_out", spare=1).flip(0)
        rest = torch.ones_like(self.train_labels, dtype=torch.bool)
        rest[held] = False
        images, labels = self.train_images, self.train_labels
        return Cifar10(images[rest], labels[rest], images[held], labels[held])

    def mislabel(self, share: float, seed: int) -> "Cifar10":
        """Return the same with wrong labels on a `share` of the training images, rounded to whole images.

        Which images, and which of the nine other classes each gets, is drawn uniformly and depends on `seed` alone. The
        test split stays as it is.

        Raises:
            InputError: `share` lies outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise InputError(f"share is {shown(share)}, but must lie in [0, 1]")
        generator = torch.Generator().manual_seed(seed)
        count = len(self.train_labels)
        chosen = torch.randperm(count, generator=generator)[: round(share * count)]
        shifts = torch.randint(1, len(CLASSES), (len(chosen),), generator=generator)
        labels = self.train_labels.clone()
        labels[chosen] = (labels[chosen] + shifts) % len(CLASSES)
        return replace(self, train_labels=labels)


def load_cifar10(name: str = MINI, data_dir: str | Path | None = None) -> Cifar10:
    """Return CIFAR-10 with every pixel and label verified.

    Args:
        name: "cifar10-mini" (or "embedded") are the 6,000 images that come with the project, read from the data folder,
            else from the checkout. "cifar10" is all 60,000: sheets, the official archive or torchvision's folder,
            wherever `storage.find_cifar10` finds it; where it is missing, the official archive is fetched.
        data_dir: see `data_folder`.

    Raises:
        InputError: the message names the file, what is wrong with it, and what to do.
    """
    if name not in (MINI, FULL, "embedded"):
        raise InputError(f"name is {shown(name)}, but must be {MINI} or {FULL}")
    splits = read_set(MINI if name == "embedded" else name, data_dir)
    train, test = (
        (torch.from_numpy(images.pixels), torch.from_numpy(images.labels).long())
        for images in (splits["train"], splits["test"])
    )
    return Cifar10(*train, *test)


def load_images(config: RunConfig, data_dir: str | Path | None = None) -> Cifar10:
    """Return the images that a run with this configuration trains on and is evaluated on.

    Raises:
        InputError: images missing or altered, or fewer than the configuration asks for.
    """
    data = load_cifar10(config.dataset, data_dir)
    part = config.seed if config.subset == "by_seed" else 0
    data = data.take(config.train_images, config.test_images, part)
    if config.holdout_images:
        data = data.hold_out(config.holdout_images)
    return data.mislabel(config.wrong_labels, config.seed) if config.wrong_labels else data


def _balanced(labels: Tensor, size: int, what: str, *, part: int = 0, least: int = 10, spare: int = 0) -> Tensor:
    """Return ascending positions in `labels` of `size` / 10 of each class, `spare` of each left over."""
    classes = len(CLASSES)
    smallest = int(torch.bincount(labels, minlength=classes).min()) - spare
    if size < least or size % classes or size > classes * smallest:
        raise InputError(
            f"{what} is {shown(size)}, but it must be a multiple of {classes} from {least} to {classes * smallest}"
        )
    each = size // classes
    positions = [(labels == label).nonzero()[:, 0] for label in range(classes)]
    if (part + 1) * each > smallest:  # the disjoint parts are used up
        generator = torch.Generator().manual_seed(part)
        positions = [among[torch.randperm(len(among), generator=generator)] for among in positions]
        part = 0
    return torch.cat([among[part * each : (part + 1) * each] for among in positions]).sort().values
