"""Times of several sides, taken in turn, so that what else the machine does falls on all of them alike."""

import time
from collections.abc import Callable, Mapping

import torch


def alternate(
    sides: Mapping[str, Callable[[], object]], device: str, repeats: int, inner: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of each side, `repeats` times, one after the other in turn, after one untimed call of each.

    Args:
        inner: calls that are timed together, for calls that are short against the clock or the wait for a GPU.
    """
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
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
