"""Where and how a run was made: source, machine, versions. No path and no host name is ever written."""

import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sparsecycle.runs.source import CHECKOUT, PACKAGE, source_digest

__all__ = ["CHECKOUT", "HARMLESS", "PACKAGE", "Provenance", "environment", "git_state", "now", "peak_memory_mib"]
__all__ += ["source_digest"]

GIT_SECONDS = 60.0  # that it may take; then the revision stays unknown
AT_ONCE = "SPARSECYCLE_AT_ONCE"  # by which a launcher tells its runs how many are made side by side
# Of the machine; another one on resuming changes rounding, not what is computed.
HARMLESS = ("threads", "device", "cpu", "torch", "backend")


class Provenance(BaseModel):
    """Where and how a run was made. Times are UTC in ISO 8601, durations in seconds, memory in MiB.

    Attributes:
        source_sha256: of the syntax trees that decide the numbers, see `source.source_digest`.
        data_sha256: of the images and labels.
        path_sha256: of the keep-ratios that `replay` followed.
        backend: of the constraint, and its version.
        at_once: runs that were made side by side on this CPU or GPU; None for a run that was started alone.
        peak_memory_mib: of the process; on a GPU since the run began. None where the system does not tell.
        changed: what of the machine differed when the run was resumed, such as {"threads": "2, then 1"}.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    git_revision: str | None
    git_clean: bool | None
    source_sha256: str
    lock_sha256: str | None
    data: str
    data_sha256: str
    path_sha256: str | None = None
    python: str
    torch: str
    cuda: str | None
    device: str
    cpu: str
    threads: int
    precision: str
    deterministic: bool
    backend: str | None = None
    at_once: int | None = None
    started: str
    ended: str
    wall_seconds: float
    training_seconds: float
    images_per_second: float
    peak_memory_mib: float | None
    resumes: int
    changed: dict[str, str] = {}


def environment(device: str, precision: str, deterministic: bool) -> dict[str, Any]:
    """Return the part of the provenance that is known before a run begins."""
    import torch

    from sparsecycle.kernels import served_by

    return {
        **git_state(),
        "source_sha256": source_digest(),
        "lock_sha256": _file_digest(CHECKOUT / "requirements.lock"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": _gpu_name() if device == "cuda" else "cpu",
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "deterministic": deterministic,
        "backend": served_by(device),
        "at_once": int(told) if (told := os.environ.get(AT_ONCE, "")).isdecimal() else None,
    }


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_mib(device: str) -> float | None:
    """Return the largest memory used, of the GPU or else of this process; None where the system does not tell."""
    import torch

    with suppress(Exception):  # a figure that is missing is no reason to lose a run
        if device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        status = Path("/proc/self/status")
        if status.is_file():  # getrusage counts what a parent process took before it started this one
            found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
            return int(found[0]) / 1024 if found else None
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return None


def _git(*arguments: str) -> str | None:
    """Return what git says of the checkout, whatever repository a hook or the user has named; None where it fails."""
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=CHECKOUT,
            env={name: value for name, value in os.environ.items() if name not in others},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_SECONDS,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def git_state() -> dict[str, Any]:
    """Return the revision of the checkout, and whether what decides a run is as committed; added records do not count.

    Where there is no git history, as on a machine that got a copy, the variable SPARSECYCLE_GIT_REVISION names the
    revision.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or not _is_checkout(top):
        return {"git_revision": os.environ.get("SPARSECYCLE_GIT_REVISION") or None, "git_clean": None}
    changed = _git("status", "--porcelain", "--", "src", "notebooks", "requirements.lock", "pyproject.toml")
    return {"git_revision": _git("rev-parse", "HEAD"), "git_clean": None if changed is None else changed == ""}


def _is_checkout(folder: str) -> bool:
    """Whether it is there, which it need not be where git belongs to another system, as on WSL."""
    with suppress(OSError, ValueError):
        return CHECKOUT.samefile(folder)
    return False


def _file_digest(path: Path) -> str | None:
    with suppress(OSError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def _gpu_name() -> str:
    import torch

    with suppress(Exception):  # a name is no reason to lose a run
        return torch.cuda.get_device_name()
    return "cuda"


def _cpu_name() -> str:
    with suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
