"""A stand-in for CIFAR-10 with random pixels, for tests that store, fetch and read."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from sparsecycle.data import storage
from sparsecycle.data.sheets import LabelledImages
from sparsecycle.data.storage import Splits
from sparsecycle.errors import InputError


def random_images(count: int, seed: int = 0) -> LabelledImages:
    """`count` images, a multiple of ten, with as many of each class, in random order."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return LabelledImages(pixels, generator.permutation(np.arange(count, dtype=np.uint8) % 10))


def tiny_batches() -> dict[str, LabelledImages]:
    """The official batches by name, of 20 images each."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return {name: random_images(20, seed) for seed, name in enumerate(names)}


def tiny_splits() -> Splits:
    """The images of `tiny_batches`."""
    *train, test = tiny_batches().values()
    return {"train": LabelledImages(*(np.concatenate(parts) for parts in zip(*train, strict=True))), "test": test}


def pin(monkeypatch: pytest.MonkeyPatch, name: str, splits: Splits) -> None:
    """Make `splits` what the set `name` must be."""
    monkeypatch.setitem(storage.SUMS, name, {split: images.sums() for split, images in splits.items()})


def same(splits: Splits, others: Splits) -> bool:
    return splits.keys() == others.keys() and all(
        np.array_equal(found, expected)
        for name in splits
        for found, expected in zip(splits[name], others[name], strict=True)
    )


@contextmanager
def refused(match: str, *named: object) -> Iterator[None]:
    """Expect an error that a user can read as one sentence, and in which these are named."""
    with pytest.raises(InputError, match=match) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message and ". " not in message
    assert all(str(one) in message for one in named), message
