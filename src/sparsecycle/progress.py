"""A progress bar that can end nothing: where standard error is missing, closed or broken, work goes on without one."""

import sys
import threading
from contextlib import suppress
from typing import Any

from tqdm import tqdm


def progress_bar(*, shown: bool = True, **options: Any) -> "tqdm[Any]":
    """Return a bar of tqdm on standard error, which takes `options`; a silent one unless it is to be `shown`."""
    stream = sys.stderr
    silent = not shown or stream is None or getattr(stream, "closed", False)
    if silent:
        return _Bar(disable=True, **options)
    return _Bar(file=_Forgiving(stream), mininterval=0.5, **options)


def say(text: str) -> None:
    """Print a line on standard output, above the bars that are shown."""
    with _Bar.external_write_mode(file=sys.stdout):
        print(text, flush=True)


class _Bar(tqdm):  # type: ignore[type-arg]
    """Without tqdm's lock between processes, which some systems do not have, and some streams cannot be with."""


_Bar.set_lock(threading.RLock())


class _Forgiving:
    """A stream in which what cannot be written is lost: its reader went away, its disk is full, it was closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:  # tqdm asks whether it is standard error, which knows how wide it is
        return self._stream is other

    __hash__ = object.__hash__
