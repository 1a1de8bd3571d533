"""What all tests share: one thread of torch, nothing of the user's own settings, and a run of about a second."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # parallel tests do not fight over two cores
# As in the Makefile: what the user has set up for matplotlib and IPython stays out.
for name, folder in (("MPLCONFIGDIR", "matplotlib"), ("IPYTHONDIR", "ipython")):
    profile = ROOT / "_build" / "profile" / folder
    profile.mkdir(parents=True, exist_ok=True)
    os.environ[name] = str(profile)
for name in ("MATPLOTLIBRC", "PYTHONSTARTUP"):
    os.environ.pop(name, None)

import pandas as pd
import pytest

from sparsecycle import RunConfig

# The files of a run whose bytes the configuration decides.
EXACT = ("decisions.parquet", "correct.npz", "model.safetensors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their place: see tests/README.md."""
    for item in items:
        if item.path.parent.name == "core":
            item.add_marker("core")
        if item.path.name in ("test_pages.py", "test_browser.py"):
            item.add_marker(item.path.stem.removeprefix("test_"))


def same_run(first: Path, second: Path) -> None:
    """Assert that two folders hold the same run: equal in everything but times."""
    from sparsecycle.runs.records import RunRecord, read_epochs

    assert RunRecord.read(first).results() == RunRecord.read(second).results()
    epochs = [read_epochs(folder).drop(columns="seconds") for folder in (first, second)]
    pd.testing.assert_frame_equal(*epochs, check_exact=True)
    for name in EXACT:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def alter(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file of JSON: `change` is given its content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def tiny() -> Any:
    """Make the configuration of a run of about a second, 40 images and 6 steps; keyword arguments override."""

    def make(method: str = "accuracy_gated", **fields: Any) -> RunConfig:
        values = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 3} | fields
        return RunConfig(preset="smoke", method=method, **values)

    return make
