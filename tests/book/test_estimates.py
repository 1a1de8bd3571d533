"""The count of operations against the formula for each layer, worked out by hand."""

import pytest

from sparsecycle import RunConfig
from sparsecycle_book.estimates import Rates, count_work, least_seconds


def convolution(inputs: int, outputs: int, side: int, kernel: int = 3) -> int:
    """Multiplications and additions of one image, `side` that of the output."""
    return 2 * kernel * kernel * inputs * outputs * side * side


def test_operations_are_those_of_the_layers():
    """WRN-10-1: stem, three blocks of two convolutions, two shortcuts (16 channels in, 16 out needs none), head."""
    work = count_work(RunConfig(preset="smoke", method="dense"))
    stem = convolution(3, 16, 32)
    blocks = 2 * convolution(16, 16, 32)
    blocks += convolution(16, 32, 16) + convolution(32, 32, 16) + convolution(16, 32, 16, kernel=1)
    blocks += convolution(32, 64, 8) + convolution(64, 64, 8) + convolution(32, 64, 8, kernel=1)
    forward = stem + blocks + 2 * 64 * 10
    assert work.test_operations == forward
    assert work.train_operations == 3 * forward - stem, "images need no gradient"


def test_bytes_depend_on_the_precision():
    half = count_work(RunConfig(preset="paper", method="dense"))
    full = count_work(RunConfig(preset="paper", method="dense", precision="float32"))
    assert full.train_bytes == 2 * half.train_bytes and full.train_operations == half.train_operations


def test_the_least_time_is_that_of_the_slower_of_both():
    config = RunConfig(preset="smoke", method="dense")
    work = count_work(config)
    evaluated = (2 * len(config.looks) + len(config.budgets)) * config.test_images + config.train_images
    images = config.steps * config.batch_size
    operations = images * work.train_operations + evaluated * work.test_operations
    moved = images * work.train_bytes + evaluated * work.test_bytes
    assert least_seconds(config, Rates(1e9, 1e30)) == pytest.approx(operations / 1e9)
    assert least_seconds(config, Rates(1e30, 1e6)) == pytest.approx(moved / 1e6)
    assert least_seconds(config, Rates(1e9, 1e6)) == pytest.approx(max(operations / 1e9, moved / 1e6))
