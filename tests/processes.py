"""The command line in processes of its own, to be disturbed: forked from one process that has imported everything once.

What `python -m sparsecycle.cli` does after its imports, without the seconds that they take each time.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparsecycle.errors import InputError

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["processes", "sparsecycle.runs.execute", "torch._inductor.config"])


class Command:
    """A command under way; `returncode` is None until it ended, and the negative number of the signal that killed it.

    Args:
        arguments: of `sparsecycle`.
        largest_file: bytes beyond which no file may grow, as on a full disk.
    """

    def __init__(self, arguments: Sequence[str], *, largest_file: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process = _FORKED.Process(target=_run, args=(list(arguments), self._folder.name, largest_file))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    @property
    def stdout(self) -> str:
        return (Path(self._folder.name) / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (Path(self._folder.name) / "stderr").read_text(encoding="utf-8")

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self.returncode is not None, "the process did not end in time"
        return self.returncode


def program(*arguments: str) -> list[str]:
    """The command line as a new process of Python."""
    return [sys.executable, "-m", "sparsecycle.cli", *arguments]


def python(code: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """What code says in a new process of Python."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **more)


def wait_for(condition: Callable[[], bool], process: "Command | subprocess.Popen[Any]", pause: float = 0.005) -> None:
    """Until it holds; the process must not have ended before."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the process ended before it could be disturbed"
        assert time.monotonic() < end
        time.sleep(pause)


def call(arguments: Sequence[str], *, largest_file: int | None = None) -> Command:
    """A command that has ended."""
    command = Command(arguments, largest_file=largest_file)
    command.wait()
    return command


def _run(arguments: list[str], folder: str, largest_file: int | None) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    from sparsecycle.cli import main

    sys.exit(main(arguments))


def write(path: Path, tell: Callable[[float], None]) -> str:
    """A job for `launch`: write how many threads it has, and when."""
    tell(0.5)
    path.write_text(f"{os.environ['OMP_NUM_THREADS']} {time.monotonic()}", encoding="utf-8")
    return f"{path.name} is written"


def refuse(_: Callable[[float], None]) -> str:
    """A job that cannot be done."""
    raise InputError("it is refused")


def fall(_: Callable[[float], None]) -> str:
    """A job with a fault in it."""
    raise RuntimeError("it fell")


def die(_: Callable[[float], None]) -> str:
    """A job whose process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ""
