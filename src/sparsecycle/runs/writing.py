"""One process at a time writes to a run's folder."""

import errno
import logging
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
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system that has none
_log = logging.getLogger("sparsecycle")
PATIENCE = 1.0  # seconds: longer than `is_being_written` of other processes holds the lock


@contextmanager
def sole_writer(folder: Path, record: str = "record.json", patience: float = PATIENCE) -> Iterator[None]:
    """Make the folder and lock it; the system lets go of the lock when the process ends, however it ends.

    Once the folder holds its `record`, the lock's file is removed. Where the file system has no locks, as some that are
    mounted over a network, a warning says so and nothing is locked.

    Args:
        patience: seconds to wait for another process.

    Raises:
        InputError: the folder cannot be written, or another process is writing to it.
    """
    lock = FileLock(folder / LOCK, timeout=patience)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another process is writing to {folder}: wait until it has ended, or choose another output_dir"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        if error.errno not in NO_LOCKS:
            raise InputError(
                f"output folder {folder} cannot be written ({reason}): choose another output_dir"
            ) from None
        _log.warning("no file can be locked in %s (%s): let no other process write there", folder, reason)
    try:
        remove_partials(folder)
        yield
    finally:
        if (folder / record).exists():  # while it is locked: whoever waits for it notices, and locks the next file
            with suppress(OSError):
                (folder / LOCK).unlink()
        lock.release()


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
    except OSError as error:
        return error.errno not in NO_LOCKS or _cannot_be_locked(folder / LOCK)
    finally:
        os.close(descriptor)
    return False


def _cannot_be_locked(path: Path) -> bool:
    """On Windows, where no lock can be shared, and where `FileLock` has to do without those of the system."""
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError) as error:
        return getattr(error, "errno", None) not in NO_LOCKS
