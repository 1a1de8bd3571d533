"""Where a run is: `<output_dir>/<preset>/<method>-seed<k>`, followed by what was overridden, if anything was."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sparsecycle.config import RunConfig


def run_name(config: RunConfig) -> str:
    """The run's folder below the folder of runs, with `/`."""
    suffix = "".join(f"-{name}={plain(value)}" for name, value in sorted(config.given().items()))
    if len(suffix) > 80:
        suffix = "-" + hashlib.sha256(suffix.encode()).hexdigest()[:12]
    return f"{config.preset}/{config.method}-seed{config.seed}{suffix}"


def run_folder(config: RunConfig, output_dir: Path) -> Path:
    """The run's folder."""
    return output_dir / run_name(config)


def plain(value: Any) -> str:
    """A value of a configuration as a file's name can hold it."""
    return json.dumps(value).replace('"', "").replace("/", "_").replace(" ", "")
