"""Chromium, to test the pages in and to print them: found, or installed. `python book/browser.py` says which one."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing of the browser's own may ask the network; as root it runs only without its sandbox.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


def found() -> str | None:
    """A browser's path: the machine's own, or playwright's."""
    own = next(filter(None, map(shutil.which, NAMES)), None)
    if own:
        return own
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """Bring a browser: Debian's where that may be installed, else playwright's."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        _tried("apt-get", "update", "-qq")
        _tried("apt-get", "install", "-y", "-qq", "chromium")
    if not found():
        _tried(sys.executable, "-m", "playwright", "install", "chromium")


def _tried(*command: str) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=900)


if __name__ == "__main__":
    if not found():
        print("bringing Chromium for the tests in a browser (once)")
        install()
    print(f"browser: {found() or 'none could be brought; the tests in a browser are skipped'}")
