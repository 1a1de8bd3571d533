"""Files that appear whole or not at all, whatever interrupts the writing."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` as the home folder; a user who is not known here stays as written, and is not found."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (which raises there)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    A reader, or a process killed at any moment, sees the old file or the new one.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is then as it was.
    """
    remove_partials(path.parent, path.name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def remove_partials(folder: Path, name: str = "*") -> None:
    """Temporary files of writers that were killed, of one file or of all; nobody else may be writing them."""
    for leftover in folder.glob(f".{name}.*.partial"):
        leftover.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
