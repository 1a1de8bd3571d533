"""Times of several sides, taken in turn, so that what else the machine does falls on all of them alike."""

import ctypes
import sys
import time
from collections.abc import Callable, Mapping

import torch

LARGER_THAN_CACHES = 2**26  # floats: 256 MiB


def alternate(
    sides: Mapping[str, Callable[[], object]], device: str, repeats: int, inner: int = 1, cold: bool = False
) -> dict[str, list[float]]:
    """Milliseconds of each side, `repeats` times, one after the other in turn, after one untimed call of each.

    Args:
        inner: calls that are timed together, for calls that are short against the clock or the wait for a GPU.
        cold: empty the caches before each timed call, so that no side finds there what the one before it has read.
    """
    others = torch.zeros(LARGER_THAN_CACHES, device=device) if cold else None
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            if others is not None:
                others.add_(1)
            _wait(device)
            begin = time.perf_counter()
            for _ in range(inner):
                side()
            _wait(device)
            times[name].append(1000 * (time.perf_counter() - begin) / inner)
    return times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def keep_freed_memory() -> None:
    """Ask glibc to hand freed memory out again instead of returning it: else page faults fall on any side by chance."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)
