"""One process at a time writes to a run's folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sparsecycle.errors import InputError
from sparsecycle.files import remove_partials

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
PATIENCE = 1.0  # seconds: longer than `is_being_written` of other processes holds the lock


@contextmanager
def sole_writer(folder: Path, record: str = "record.json") -> Iterator[None]:
    """Make the folder and lock it; the system lets go of the lock when the process ends, however it ends.

    Once the folder holds its `record`, the lock's file is removed.

    Raises:
        InputError: the folder cannot be written, or another process is writing to it.
    """
    lock = FileLock(folder / LOCK, timeout=PATIENCE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another process is writing to {folder}: wait until it has ended, or choose another output_dir"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"output folder {folder} cannot be written ({reason}): choose another output_dir") from None
    try:
        remove_partials(folder)
        yield
    finally:
        lock.release()
        if (folder / record).exists():  # nobody writes here any more
            with suppress(OSError):
                (folder / LOCK).unlink()


def is_being_written(folder: Path) -> bool:
    """Whether a process holds the folder's lock now; looking disturbs neither that process nor others that look."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl is None:
            return _cannot_be_locked(folder / LOCK)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _cannot_be_locked(path: Path) -> bool:
    """On Windows, where no lock can be shared."""
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True
