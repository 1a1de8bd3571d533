"""One process at a time writes to a run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sparsecycle.atomic import remove_partials
from sparsecycle.errors import InputError

LOCK = ".lock"
PATIENCE = 1.0  # seconds: longer than `is_being_written` of other processes holds the lock


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make the folder and lock it; the system lets go of the lock when the process ends, however it ends.

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
        if (folder / "record.json").exists():
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def is_being_written(folder: Path) -> bool:
    """Whether a process holds the folder's lock now."""
    path = folder / LOCK
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # not ours to lock, in a folder that cannot be written
        return False
    lock.release()
    return False
