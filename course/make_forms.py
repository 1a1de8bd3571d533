"""The two forms of each lesson, from one notebook: with exercises to fill in, and with solutions.

A cell tagged `student` is the stub of an exercise, one tagged `solution` its solution; a form has one of the two. What
finds the library, and what checks an answer, is folded; what a teacher says (`notes`) is in the teacher's form alone.
Links to other pages of the book lead nowhere from a file that was downloaded: their words stay.

`make pages` runs it for the book. `make class` gives it a form and a folder: there a form is brought only where it is
missing, so that what somebody wrote into one stays, at the next lesson and when the lesson's source has changed.
"""

import re
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
TARGET = HERE.parent / "_build" / "extra" / "class"  # what is in `extra` goes into the book as it is
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")
FOLDED = {"bootstrap", "check"}
WITHOUT = {"student": {"solution", "notes"}, "teacher": {"student"}}  # form: the cells that it lacks


def form(lesson: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The lesson's form for "student" or "teacher", without outputs."""
    made = nbformat.from_dict(lesson)
    made.cells = [cell for cell in made.cells if not WITHOUT[name] & set(cell.metadata.get("tags", []))]
    for cell in made.cells:
        tags = set(cell.metadata.pop("tags", []))
        if FOLDED & tags:
            cell.metadata["jupyter"] = {"source_hidden": True}
        if "notes" in tags:
            cell.source = f"> **To say.** {cell.source}"
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1 (in the book)", cell.source)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made


def bring(name: str, folder: Path) -> list[str]:
    """Write the lessons' forms for "student" or "teacher" that the folder lacks; the names of those written."""
    folder.mkdir(parents=True, exist_ok=True)
    brought = []
    for path in sorted(HERE.glob("lesson*.ipynb")):
        target = folder / f"{path.stem}-{name}.ipynb"
        if not target.exists():
            nbformat.write(form(nbformat.read(path, as_version=4), name), target)
            brought.append(target.name)
    return brought


def main() -> None:
    if sys.argv[1:]:
        name, folder = sys.argv[1:]
        brought = ", ".join(bring(name, Path(folder)))
        print(f"{folder}: new are {brought}" if brought else f"{folder}: every form is there and stays as it is")
        return
    for old in TARGET.glob("*.ipynb"):
        old.unlink()
    for name in WITHOUT:
        bring(name, TARGET)


if __name__ == "__main__":
    main()
