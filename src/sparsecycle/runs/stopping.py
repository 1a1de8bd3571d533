"""Interrupts that wait for a moment at which nothing is half done."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """A run was asked to stop by `number` (SIGINT or SIGTERM, None at a deadline), and has saved where it is."""

    def __init__(self, number: int | None) -> None:
        by = "at its deadline" if number is None else f"by {signal.Signals(number).name}"
        super().__init__(f"stopped {by}; where it was is saved")
        if number is not None:
            self.number = number


class StopRequest:
    """Whether a run should stop.

    Attributes:
        number: the signal that asked for it, None before.
        deadline: the moment of `time.monotonic` from which on it should stop without a signal, too.
    """

    number: int | None = None
    deadline: float = math.inf

    @property
    def due(self) -> bool:
        return self.number is not None or time.monotonic() >= self.deadline


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within it the first SIGINT or SIGTERM is only noted; a second SIGINT interrupts at once.

    Signals reach only the main thread: in another one nothing is caught.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _: FrameType | None) -> None:
        if request.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.number = number

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
