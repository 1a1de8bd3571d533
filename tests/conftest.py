"""Shared by the tests: one thread of torch, so that parallel tests do not fight over two cores."""

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sparsecycle import RunConfig
from sparsecycle.runs.records import RunRecord, read_epochs

ROOT = Path(__file__).parents[1]
TIMES = ["seconds"]


def same_run(first: Path, second: Path) -> None:
    """Equal in everything but times."""
    assert RunRecord.read(first).results() == RunRecord.read(second).results()
    pd.testing.assert_frame_equal(
        read_epochs(first).drop(columns=TIMES), read_epochs(second).drop(columns=TIMES), check_exact=True
    )
    assert (first / "predictions.npz").read_bytes() == (second / "predictions.npz").read_bytes()
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def without_checksum(path: Path) -> dict[str, Any]:
    """The values of a record, as in one that was written before there were checksums."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    content.pop("checksum")
    return content


@pytest.fixture
def tiny() -> Any:
    """A run of about a second: 40 images, three periods; keyword arguments override."""

    def make(method: str = "plateau", **fields: Any) -> RunConfig:
        values = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 3, "warmup_epochs": 0} | fields
        return RunConfig(preset="smoke", method=method, **values)

    return make
