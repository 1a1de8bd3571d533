"""The two forms of each lesson, from one notebook: with exercises to fill in, and with solutions. Run by `make pages`.

A cell tagged `student` is the stub of an exercise, one tagged `solution` its solution; a form has one of the two. What
finds the library, and what checks an answer and has the hint, is folded. Links to other pages of the book lead nowhere
from a file that was downloaded: their words stay.
"""

import re
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
TARGET = HERE.parent / "_build" / "extra" / "class"  # what is in `extra` goes into the book as it is
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")
FOLDED = {"bootstrap", "check"}
WITHOUT = {"student": "solution", "teacher": "student"}  # form: the cells that it lacks


def form(lesson: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The lesson's form for "student" or "teacher", without outputs."""
    made = nbformat.from_dict(lesson)
    made.cells = [cell for cell in made.cells if WITHOUT[name] not in cell.metadata.get("tags", [])]
    for cell in made.cells:
        if FOLDED & set(cell.metadata.pop("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1 (in the book)", cell.source)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("lesson*.ipynb")):
        for name in WITHOUT:
            nbformat.write(form(nbformat.read(path, as_version=4), name), TARGET / f"{path.stem}-{name}.ipynb")


if __name__ == "__main__":
    main()
