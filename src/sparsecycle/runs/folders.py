"""Where a run is: `<output_dir>/<preset>/<method>-seed<k>`, followed by what was overridden, if anything was."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError, shown
from sparsecycle.files import expanded
from sparsecycle.runs.source import CHECKOUT

_log = logging.getLogger("sparsecycle")


def run_name(config: RunConfig) -> str:
    """Return the run's folder below the folder of runs, with `/`."""
    return f"{config.preset}/{config.method}-seed{config.seed}{suffix(config.given())}"


def suffix(changed: Mapping[str, Any]) -> str:
    """Return what was overridden as a folder's name can hold it: all of it, or where that is long its hash."""
    text = "".join(f"-{name}={plain(value)}" for name, value in sorted(changed.items()))
    return text if len(text) <= 80 else "-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def run_folder(config: RunConfig, output_dir: Path) -> Path:
    """Return the run's folder."""
    return output_dir / run_name(config)


def plain(value: Any) -> str:
    """Return a value of a configuration as a file's name can hold it."""
    return json.dumps(value).replace('"', "").replace("/", "_").replace(" ", "")


def folder_of(name: str, given: Any) -> Path:
    """Return a parameter that is a folder, with `~` as the home folder.

    Raises:
        InputError: it is no text and no path, or empty.
    """
    if not isinstance(given, str | os.PathLike) or not str(given):
        raise InputError(f"{name} is {shown(given)}, but must be the name of a folder, as text")
    return expanded(given)


def files_below(name: str, *folders: str | Path) -> Iterator[tuple[Path, str]]:
    """Yield every file of that name below the folders (default: `data/runs` of the checkout), and what its folder is
    called below the one that was given.

    Links to folders are followed, and each folder is visited once. Hidden ones are left out: copies that are being
    made, snapshots, what editors keep.

    Raises:
        InputError: a folder that does not exist.
    """
    seen: set[str] = set()
    for root in [expanded(folder) for folder in folders] or recorded("runs"):
        if not root.is_dir():
            raise InputError(f"folder {str(root)!r} does not exist: give a folder of runs")
        found = []
        for place, below, files in os.walk(root, onerror=_cannot_be_listed, followlinks=True):
            real = os.path.realpath(place)
            below[:] = [] if real in seen else sorted(one for one in below if not one.startswith("."))
            if name in files and real not in seen:
                found.append(Path(place) / name)
            seen.add(real)
        for path in sorted(found):
            yield path, path.parent.relative_to(root).as_posix()


def recorded(*names: str) -> list[Path]:
    """Return those of these folders of the checkout's data that exist.

    Raises:
        InputError: none does: the library is installed without its checkout, which alone has recorded runs.
    """
    found = [CHECKOUT / "data" / name for name in names if (CHECKOUT / "data" / name).is_dir()]
    if not found:
        raise InputError("recorded runs come with a checkout of the project, and none is around: give a folder of runs")
    return found


def _cannot_be_listed(error: OSError) -> None:
    _log.warning("folder %s is left out: it cannot be read (%s)", error.filename, error.strerror)
