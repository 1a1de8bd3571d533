"""Interrupts that wait for a moment at which nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """A run was asked to stop by `number` (SIGINT or SIGTERM), and has saved where it is."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; where it was is saved")
        self.number = number


class StopRequest:
    """Holds the signal that asked for a stop, None before."""

    number: int | None = None


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
