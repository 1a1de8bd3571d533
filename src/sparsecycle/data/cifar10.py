"""CIFAR-10 as two tensors a split, the embedded subset or all of it, always checked against pinned sums.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University
of Toronto, 2009: 50,000 training and 10,000 test images of 32x32 RGB pixels, 5,000 and 1,000 a class.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from sparsecycle.data.downloads import SOURCES, Splits
from sparsecycle.errors import InputError
from sparsecycle.data.sheets import LabelledImages, write_sheets
from sparsecycle.data.storage import (
    FULL,
    MINI,
    check_source,
    checkout_data,
    data_folder,
    fetch_cifar10,
    read_set,
    verify,
)

__all__ = [
    "CLASSES",
    "MEAN",
    "STD",
    "Cifar10",
    "data_folder",
    "fetch_cifar10",
    "load_cifar10",
    "normalize",
    "write_mini",
]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Per channel (red, green, blue), of the 50,000 training images with pixels scaled to [0, 1].
MEAN = (0.49139968, 0.48215841, 0.44653091)
STD = (0.24703223, 0.24348513, 0.26158784)

MINI_TRAIN, MINI_TEST = 5000, 1000


@dataclass(frozen=True, eq=False)
class Cifar10:
    """CIFAR-10 or a part of it, on the CPU unless `to` moved it.

    `name` is "cifar10-mini" or "cifar10", the set that the images were read from. `train_images` and
    `test_images` are uint8 (N, 3, 32, 32), RGB; `train_labels` and `test_labels` are int64 (N,), indices
    into `CLASSES`. The order is that of the original data set.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over four lines of hex, the sums of train pixels and labels, test pixels and labels.

        The sums are those of `storage.SUMS`. The digest depends on nothing else, so it tells a part from the
        whole and is the same whatever the source.
        """
        splits = self.splits()
        lines = [*splits["train"].sums(), *splits["test"].sums()]
        return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()

    def splits(self) -> Splits:
        """Both splits as arrays: "train" and "test", with uint8 labels. Pixels on the CPU are not copied."""
        return {
            "train": LabelledImages(self.train_images.cpu().numpy(), self.train_labels.byte().cpu().numpy()),
            "test": LabelledImages(self.test_images.cpu().numpy(), self.test_labels.byte().cpu().numpy()),
        }

    def to(self, device: str | torch.device) -> "Cifar10":
        """The same with all four tensors on `device`."""
        images = self.train_images.to(device), self.test_images.to(device)
        labels = self.train_labels.to(device), self.test_labels.to(device)
        return Cifar10(self.name, images[0], labels[0], images[1], labels[1])

    def take(self, train: int | None = None, test: int | None = None) -> "Cifar10":
        """The first `train` / 10 training and `test` / 10 test images of each class, in stored order.

        None keeps the whole split.

        Raises:
            InputError: a number is not a multiple of 10, not above 0, or more than there are.
        """
        part = self
        if train is not None:
            chosen = _first_of_each_class(self.train_labels, train, "train")
            part = replace(part, train_images=self.train_images[chosen], train_labels=self.train_labels[chosen])
        if test is not None:
            chosen = _first_of_each_class(self.test_labels, test, "test")
            part = replace(part, test_images=self.test_images[chosen], test_labels=self.test_labels[chosen])
        return part

    def hold_out(self, n: int) -> "Cifar10":
        """For choosing constants: no test image is in it.

        Its test split is the last `n` / 10 training images of each class, its training split the others.

        Raises:
            InputError: `n` is not a multiple of 10, not above 0, or leaves a class without training images.
        """
        last = len(self.train_labels) - 1
        held = last - _first_of_each_class(self.train_labels.flip(0), n, "hold_out", spare=1).flip(0)
        rest = torch.ones_like(self.train_labels, dtype=torch.bool)
        rest[held] = False
        images, labels = self.train_images, self.train_labels
        return Cifar10(self.name, images[rest], labels[rest], images[held], labels[held])


def normalize(images: Tensor) -> Tensor:
    """Pixels 0 to 255, uint8 or float (N, 3, 32, 32), less `MEAN` and over `STD` of a channel: float32."""
    mean, std = _mean_and_std(images.device)
    return (images - mean).div_(std)


@cache  # made once a device: a copy to a GPU in each step would wait for the GPU
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor([MEAN, STD], device=device).mul(255).reshape(2, 3, 1, 1)
    return mean, std


def load_cifar10(source: str = "auto", data_dir: str | Path | None = None) -> Cifar10:
    """CIFAR-10 with every pixel and label verified.

    Args:
        source: "embedded" reads the 6,000 images that come with the project: `cifar10-mini` in the data
            folder, else in the checkout. "auto", "packs", "official" and "mirror" read all 60,000 from `cifar10` in
            the data folder; where it is missing, they fetch it first, see `fetch_cifar10`.
        data_dir: see `data_folder`.

    Raises:
        InputError: the message names the file or the source, what is wrong with it, and what to do.
    """
    check_source(source, ("auto", "embedded", *SOURCES))
    folder = data_folder(data_dir)
    if source == "embedded":
        name, given, own = MINI, folder / MINI, checkout_data() / MINI
        splits = read_set(given if given.exists() or not own.exists() else own, name)
    else:
        name, stored = FULL, folder / FULL
        splits = read_set(stored if stored.exists() else fetch_cifar10(source, folder), name)
    train, test = (
        (torch.from_numpy(images.pixels), torch.from_numpy(images.labels).long())
        for images in (splits["train"], splits["test"])
    )
    return Cifar10(name, *train, *test)


def write_mini(full: Cifar10, folder: str | Path) -> None:
    """For maintainers: write the embedded subset, chosen from all of CIFAR-10, into the existing `folder`.

    It is the first 500 training and the first 100 test images of each class, in the original order.
    """
    splits = full.take(MINI_TRAIN, MINI_TEST).splits()
    verify(splits, MINI)
    write_sheets(Path(folder), splits)


def _first_of_each_class(labels: Tensor, size: int, what: str, spare: int = 0) -> Tensor:
    """Ascending positions in `labels` of the first `size` / 10 of each class, `spare` of each left over."""
    classes = len(CLASSES)
    most = classes * (int(torch.bincount(labels, minlength=classes).min()) - spare)
    if size <= 0 or size % classes or size > most:
        raise InputError(f"{what} is {size}, but it must be a multiple of {classes} from {classes} to {most}")
    chosen = [(labels == label).nonzero()[: size // classes, 0] for label in range(classes)]
    return torch.cat(chosen).sort().values
