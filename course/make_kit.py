"""A folder for laptops without a network, `_build/class-kit`: the checkout, all that `make class` needs, and the book.

For machines of this one's kind: the same system, processor and version of Python. Run by `make class-kit`.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
KIT = ROOT / "_build" / "class-kit"
BOOK = Path("_build/html")  # with the decks and the playground


def copy_checkout(into: Path) -> None:
    """What git tracks, as it is now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)


def wheels(into: Path) -> None:
    """Of the locked environment, of what builds this library, and of JupyterLab."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    builds: list[str] = pyproject["build-system"]["requires"]
    lock = str(ROOT / "requirements.lock")
    make = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--wheel-dir", str(into)]
    subprocess.run([*make, "-r", lock, "jupyterlab", *builds], check=True)


def copy_book(built: Path, into: Path) -> str:
    """The built book, if there is one; what is in the kit now, in a sentence."""
    if not (built / BOOK / "index.html").exists():
        return "The book is not in it, nor are the decks: `make pages` builds them, then make the kit again"
    shutil.copytree(built / BOOK, into / BOOK)
    return f"The book is in it, with decks and playground: open {BOOK}/index.html in a browser"


def main() -> None:
    shutil.rmtree(KIT, ignore_errors=True)
    copy_checkout(KIT)
    told = copy_book(ROOT, KIT)
    wheels(KIT / "wheels")
    size = sum(path.stat().st_size for path in KIT.rglob("*") if path.is_file()) / 1e9
    print(f"{KIT.relative_to(ROOT)}: {size:.1f} GB. Copy it to each laptop; there, without a network: make class")
    print(told)


if __name__ == "__main__":
    main()
