"""One launcher for the studies of both papers: jobs side by side, each in a process of its own with one thread.

A job is anything that makes one record and can go on where it stopped, such as a call of `train`. One thread each, so
that its numbers do not depend on how many run beside it. Processes are forked from one that has imported torch, which
saves the seconds that importing takes. A signal stops the jobs under way at a moment at which nothing is half done, and
so does the end of the launcher itself, even by SIGKILL.

    launched = launch([Job("dense-seed0", partial(make_run, config, "runs"))], at_once=2, title="smoke")
    sys.exit(launched.status)
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from sparsecycle.errors import InputError
from sparsecycle.progress import progress_bar, say
from sparsecycle.runs.environment import environment
from sparsecycle.runs.provenance import AT_ONCE
from sparsecycle.runs.stopping import Stopped, stop_requests

Tell = Callable[[float], None]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
_TOLD_EVERY = 0.5  # seconds between two reports of a job, so that reporting costs nothing


@dataclass(frozen=True)
class Job:
    """One record to be made.

    Attributes:
        name: what it is called in messages, and in `after` of other jobs.
        make: makes the record, or goes on making it, and returns one line about it. It is called in another process, so
            it must be picklable (a function of a module, or a `functools.partial` of one). It is given a function that
            may be told the share of the work done, 0 to 1, as often as it likes. It raises `InputError` where it
            cannot, and ends soon after SIGTERM with its state saved.
        weight: how long it takes, in any unit that all jobs share; for the progress bar.
        after: names of jobs that this one needs; it starts when they are over.
    """

    name: str
    make: Callable[[Tell], str]
    weight: float = 1.0
    after: frozenset[str] = frozenset()


@dataclass
class Launched:
    """What became of the jobs.

    Attributes:
        made: names, in the order in which they ended.
        failed: why not, by name.
        left: names of jobs that were not begun, or stopped before their end.
        stopped_by: number of the signal that ended it all, if one did.
    """

    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    stopped_by: int | None = None

    @property
    def status(self) -> int:
        """Exit status: 0 when every job was made, 128 and the signal's number after one, else 1."""
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return 1 if self.failed or self.left else 0

    def summary(self) -> str:
        """Return "3 made, 1 failed, 2 left", with what to do about the last two."""
        counts = [f"{len(self.made)} made"]
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        counts += [f"{len(self.left)} left: the same command goes on"] if self.left else []
        return ", ".join(counts)


@dataclass
class _UnderWay:
    job: Job
    process: Any
    share: float = 0.0
    outcome: tuple[str, str] | None = None  # ("made", a line) or ("failed", why) or ("stopped", "")


def launch(
    jobs: Sequence[Job],
    at_once: int = 1,
    *,
    title: str = "",
    progress: bool = True,
    preload: Sequence[str] = ("sparsecycle.runs.execute",),
) -> Launched:
    """Make all jobs, `at_once` at a time, in the order given; print a line for each that ended.

    Args:
        jobs: with names of their own.
        at_once: how many run side by side.
        title: of the progress bar.
        progress: show a bar on standard error, where there is one.
        preload: modules that the processes find imported.

    Raises:
        InputError: `at_once` is not a whole number above 0.
    """
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise InputError(f"jobs is {at_once!r}, but must be a whole number above 0: how many runs at a time")
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # Windows has no fork
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(list(preload))
    done = Launched()
    waiting = list(jobs)
    under_way: dict[Connection, _UnderWay] = {}
    bar = progress_bar(
        shown=progress and bool(jobs),
        total=sum(job.weight for job in jobs),
        desc=title,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
    )
    given = ONE_THREAD | {AT_ONCE: str(min(at_once, max(1, len(jobs))))}
    try:
        # The variables are inherited by the process that the others are forked from.
        with environment(given), bar, stop_requests() as stop:
            told_to_stop = False
            while waiting or under_way:
                if stop.number is not None and not told_to_stop:
                    told_to_stop = True
                    done.left += [job.name for job in waiting]
                    waiting.clear()
                    for one in under_way.values():
                        one.process.terminate()
                busy = {job.name for job in waiting} | {one.job.name for one in under_way.values()}
                ready = [job for job in waiting if not job.after & busy]
                if waiting and not ready and not under_way:
                    raise InputError(f"jobs wait for each other: {', '.join(job.name for job in waiting)}")
                for job in ready[: at_once - len(under_way)]:
                    waiting.remove(job)
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(job, sender, given), name=job.name)
                    process.start()
                    sender.close()
                    under_way[receiver] = _UnderWay(job, process)
                for receiver in wait(list(under_way), timeout=0.2):
                    assert isinstance(receiver, Connection)
                    _hear(receiver, under_way, done)
                finished = [job.weight for job in jobs if job.name in done.made or job.name in done.failed]
                bar.n = sum(finished) + sum(one.share * one.job.weight for one in under_way.values())
                told = f"{len(finished)} of {len(jobs)} runs, {len(under_way)} under way"
                bar.set_description_str(f"{title}: {told}", refresh=False)
                bar.update(0)
            done.stopped_by = stop.number
    finally:
        for one in under_way.values():  # only after an error of our own
            one.process.terminate()
    return done


def _hear(receiver: Connection, under_way: dict[Connection, _UnderWay], done: Launched) -> None:
    """Take in what one process says, or that it ended."""
    one = under_way[receiver]
    try:
        word, value = receiver.recv()
    except (EOFError, OSError):
        one.process.join()
        receiver.close()
        del under_way[receiver]
        name = one.job.name
        code = one.process.exitcode
        word, text = one.outcome or ("failed", _ended(code))
        if word == "made":
            done.made.append(name)
            _say(text)
        elif word == "stopped":
            done.left.append(name)
        else:
            done.failed[name] = text
            _say(f"{name} failed: {text}")
        return
    if word == "share":
        one.share = value
    else:
        one.outcome = (word, value)


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        hint = " (out of memory? take fewer jobs)" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint}"
    return f"its process ended with status {code} and no word"


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads any more, which stops no job
        say(text)


def _work(job: Job, sender: Connection, given: dict[str, str]) -> None:
    """In the job's own process: make the record and say how it went."""
    os.environ.update(given)  # the process that it is forked from may be older
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, _interrupt)  # until the job itself listens, and after
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which sends SIGTERM
    telling = threading.Lock()
    last = 0.0

    def send(word: str, value: Any) -> None:
        try:
            with telling:
                sender.send((word, value))
        except OSError:  # the launcher is gone: stop as if it had said so
            os.kill(os.getpid(), signal.SIGTERM)

    def tell(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _TOLD_EVERY:
            last = time.monotonic()
            send("share", min(max(share, 0.0), 1.0))

    try:
        send("made", job.make(tell))
    except InputError as error:
        send("failed", str(error))
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):
            send("stopped", "")
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        send("failed", f"{error.strerror or error}{place}; what was recorded is whole")
    except Exception as error:
        send("failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise  # its traceback belongs on standard error
    finally:
        sender.close()


def _interrupt(number: int, _: Any) -> None:
    raise Stopped(number)
