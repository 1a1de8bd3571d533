"""Cycling Through Sparsity: a replication of joint training across activation sparsity regimes (arXiv 2603.03131).

Public names are loaded when first used, so that `sparsecycle.controllers` works without torch and the command line
answers at once.
"""

import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsecycle.config import RunConfig
    from sparsecycle.controllers import make_controller
    from sparsecycle.layer import GlobalTopK, global_topk, set_keep_ratio
    from sparsecycle.network import WideResNet
    from sparsecycle.runs.execute import train
    from sparsecycle.runs.records import load_runs

__version__ = "0.1.0"
_HOME = {
    "GlobalTopK": "layer",
    "RunConfig": "config",
    "WideResNet": "network",
    "global_topk": "layer",
    "load_runs": "runs.records",
    "make_controller": "controllers",
    "set_keep_ratio": "layer",
    "train": "runs.execute",
}
__all__ = [
    "GlobalTopK",
    "RunConfig",
    "WideResNet",
    "global_topk",
    "load_runs",
    "make_controller",
    "set_keep_ratio",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparsecycle' has no attribute {name!r}")
    return getattr(import_module(f"sparsecycle.{_HOME[name]}"), name)


def _give_numba_a_place() -> None:
    """Where numba can keep nothing, it compiles no CPU kernel: give it a folder that lasts as long as this process."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    places = [Path(__file__).parent / "kernels" / "__pycache__", Path(os.path.expanduser(cache))]  # noqa: PTH111
    if os.environ.get("NUMBA_CACHE_DIR") or any(_can_be_written(place) for place in places):
        return
    import atexit
    import shutil
    import tempfile

    with suppress(OSError):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="sparsecycle-")
        atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)


def _can_be_written(folder: Path) -> bool:
    while not os.path.exists(folder):  # noqa: PTH110 (which raises where it may not look)
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


_give_numba_a_place()
