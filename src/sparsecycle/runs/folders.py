"""Where a run is: `<output_dir>/<preset>/<method>-seed<k>`, followed by what was overridden, if anything was."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError, shown
from sparsecycle.files import expanded


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
