"""Where and how a run was made: source, machine, versions. No path and no host name is ever written."""

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parents[1]
# The files whose text decides a run's numbers; reading, drawing and the command line are not among them.
TRAINING_SOURCES = (
    *("alternatives", "batches", "checkpoints", "config", "controllers", "data", "evaluation", "fused", "kernels"),
    *("networks", "norm", "optimization", "run_state", "scopes", "topk", "training", "wrn"),
)
# Of the machine; another one on resuming changes rounding, not what is computed.
HARMLESS = ("threads", "device", "cpu", "torch", "backend")


class Provenance(BaseModel):
    """Where and how a run was made. Times are UTC in ISO 8601, durations in seconds, memory in MiB."""

    model_config = ConfigDict(extra="forbid")

    git_revision: str | None
    git_clean: bool | None
    source_sha256: str
    lock_sha256: str | None
    data: str
    data_sha256: str
    python: str
    torch: str
    cuda: str | None
    device: str
    cpu: str
    threads: int
    precision: str
    deterministic: bool
    backend: str | None = None  # of the constraint, and its version; None: before it was named
    started: str
    ended: str
    wall_seconds: float
    training_seconds: float
    images_per_second: float
    peak_memory_mib: float
    resumes: int
    changed: dict[str, str] = {}  # what differed when the run was resumed, such as {"threads": "2, then 1"}


@cache
def source_digest(names: tuple[str, ...] = TRAINING_SOURCES) -> str:
    """SHA-256 over the files whose text decides a run's numbers."""
    digest = hashlib.sha256()
    for name in names:
        folder = PACKAGE / name
        for path in sorted(folder.glob("*.py")) if folder.is_dir() else [PACKAGE / f"{name}.py"]:
            digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def environment(device: str, precision: str, deterministic: bool) -> dict[str, Any]:
    """The part of the provenance that is known before a run begins."""
    import torch

    from sparsecycle.kernels import served_by

    return {
        **git_state(),
        "source_sha256": source_digest(),
        "lock_sha256": _file_digest(CHECKOUT / "requirements.lock"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "deterministic": deterministic,
        "backend": served_by(device),
    }


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_mib(device: str) -> float:
    """Largest memory used so far: of the GPU where there is one, of this process otherwise."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage counts what a parent process took before it started this one
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak) / 1024
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@cache
def git_state() -> dict[str, Any]:
    """Revision of the checkout, and whether what decides a run is as committed; records that runs add do not count.

    Where there is no git history, as on a machine that got a copy, the variable SPARSECYCLE_GIT_REVISION names the
    revision.
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or not CHECKOUT.samefile(top):
        return {"git_revision": os.environ.get("SPARSECYCLE_GIT_REVISION"), "git_clean": None}
    changed = _git("status", "--porcelain", "--", "src", "notebooks", "requirements.lock", "pyproject.toml")
    return {"git_revision": _git("rev-parse", "HEAD"), "git_clean": changed == ""}


def _file_digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
