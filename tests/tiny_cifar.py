"""A stand-in for CIFAR-10 with random pixels, for tests that store, fetch and read."""

import numpy as np
import pytest

from sparsecycle.data import downloads, storage
from sparsecycle.data.downloads import Splits
from sparsecycle.data.sheets import LabelledImages


def random_images(count: int, seed: int = 0) -> LabelledImages:
    """`count` images, a multiple of ten, with as many of each class, in random order."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return LabelledImages(pixels, generator.permutation(np.arange(count, dtype=np.uint8) % 10))


def tiny_splits() -> Splits:
    return {"train": random_images(60, seed=1), "test": random_images(20, seed=2)}


def pin(monkeypatch: pytest.MonkeyPatch, name: str, splits: Splits) -> None:
    """Make `splits` what the set `name` must be."""
    monkeypatch.setitem(storage.SUMS, name, {split: images.sums() for split, images in splits.items()})


def fake_sources(monkeypatch: pytest.MonkeyPatch, **sources) -> list[str]:
    """Replace sources, each by splits to return or an exception to raise; the list tells which were asked."""
    asked: list[str] = []

    def source(name, outcome):
        def obtain(work, data_folder):
            asked.append(name)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return obtain

    for name, outcome in sources.items():
        monkeypatch.setitem(downloads.SOURCES, name, source(name, outcome))
    return asked


def same(splits: Splits, others: Splits) -> bool:
    return splits.keys() == others.keys() and all(
        np.array_equal(found, expected)
        for name in splits
        for found, expected in zip(splits[name], others[name], strict=True)
    )


def one_sentence(error: BaseException) -> str:
    """The message, after checking that a user can read it as one sentence."""
    message = str(error)
    assert "\n" not in message
    assert ". " not in message
    return message
