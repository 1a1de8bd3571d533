"""Shared by the tests: one thread of torch, so that parallel tests do not fight over two cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Any

import pytest

from sparsecycle import RunConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tiny() -> Any:
    """A run of about a second: 40 images, three periods; keyword arguments override."""

    def make(method: str = "plateau", **fields: Any) -> RunConfig:
        values = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 3, "warmup_epochs": 0} | fields
        return RunConfig(preset="smoke", method=method, **values)

    return make
