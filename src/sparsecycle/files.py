"""Files that appear whole or not at all, whatever interrupts the writing."""

import os
from contextlib import suppress
from pathlib import Path

from sparsecycle.errors import InputError, shown


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` as the home folder.

    Raises:
        InputError: no home folder is known here, or a name that no system takes.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise InputError(f"path {shown(text)} holds a null character, which no name of a file can")
    if text.partition("/")[0] == "~" and os.environ.get("HOME") == "":  # set to nothing: as if it were not set
        with suppress(ImportError, KeyError):  # not on Windows; a user without an entry, as in a container
            import pwd

            return Path(pwd.getpwuid(os.getuid()).pw_dir + text[1:])
    found = os.path.expanduser(text)  # noqa: PTH111 (which raises RuntimeError)
    if found.startswith("~") and not os.path.lexists(found):
        raise InputError(f"path {shown(text)} begins with a home folder that is not known here: write it out")
    return Path(found)


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
    """Make the rename itself durable, where the system can (not on Windows, and not on all that networks mount)."""
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
