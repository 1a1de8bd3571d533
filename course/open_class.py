"""The folder that a class works in: a form of each lesson, brought only where it is missing. Run by `make class`.

What somebody wrote into a form stays: at the next lesson, and when the lesson's source has changed.
"""

import sys
from pathlib import Path

import nbformat
from make_forms import HERE, form


def bring(name: str, folder: Path) -> list[str]:
    """Write the lessons' forms for "student" or "teacher" that the folder lacks; the names of those written."""
    folder.mkdir(exist_ok=True)
    brought = []
    for path in sorted(HERE.glob("lesson*.ipynb")):
        target = folder / f"{path.stem}-{name}.ipynb"
        if not target.exists():
            nbformat.write(form(nbformat.read(path, as_version=4), name), target)
            brought.append(target.name)
    return brought


def main(name: str, folder: str) -> None:
    brought = bring(name, Path(folder))
    print(f"{folder}: new are {', '.join(brought)}" if brought else f"{folder}: every form is there and stays as it is")


if __name__ == "__main__":
    main(*sys.argv[1:])
