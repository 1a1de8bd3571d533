"""A deck for each lesson, from the notebook that the book has executed: `make pages` runs this after the book.

The cells whose slide type is not "skip" are kept; a heading begins a slide, that of an exercise and the plan too. Of a
cell with a figure only the figure is kept.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from make_forms import LINK

HERE = Path(__file__).parent
BUILD = HERE.parent / "_build"
EXECUTED, WORK, TARGET = BUILD / "jupyter_execute" / "course", BUILD / "slides", BUILD / "html" / "class" / "slides"
SOURCE, MADE = WORK / "source", WORK / "html"


def deck(lesson: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The cells that are slides, with their outputs."""
    made = nbformat.from_dict(lesson)
    made.cells = [cell for cell in made.cells if cell.metadata.get("slideshow", {}).get("slide_type", "skip") != "skip"]
    for cell in made.cells:
        drawn = any("text/html" in output.get("data", {}) for output in cell.get("outputs", []))
        cell.metadata["tags"] = ["remove-input"] if drawn else []
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1", re.sub(r"^### Exercise", "## Exercise", cell.source))
            cell.source = re.sub(r"^\| minutes \|", "## The plan\n\n\\g<0>", cell.source)
    return made


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(HERE / "slides", SOURCE)
    lessons = sorted(EXECUTED.glob("lesson*.ipynb"))
    for path in lessons:
        nbformat.write(deck(nbformat.read(path, as_version=4)), SOURCE / path.name)
    names = "\n".join(path.stem for path in lessons)
    (SOURCE / "index.md").write_text(f"# The decks\n\n```{{toctree}}\n{names}\n```\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "revealjs", "-d", str(WORK / "doctrees")]
    subprocess.run([*command, str(SOURCE), str(MADE)], check=True)
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(MADE, TARGET)


if __name__ == "__main__":
    main()
