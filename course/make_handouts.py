"""Of each lesson that the book has executed: a deck and a worksheet. `make pages` runs this after the book.

The deck keeps the cells whose slide type is not "skip"; a heading begins a slide. Of a cell with a figure only the
figure is kept, and a cell of the type "notes" is what a speaker sees (press S). The worksheet keeps the cells tagged
`paper`, of code only what it shows, and gives each exercise room to write; hints are on its last page.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import nbformat
from make_forms import LINK
from markdown_it import MarkdownIt

HERE = Path(__file__).parent
BUILD = HERE.parent / "_build"
EXECUTED, WORK, TARGET = BUILD / "jupyter_execute" / "course", BUILD / "slides", BUILD / "html" / "class"
SOURCE, MADE = WORK / "source", WORK / "html"
RENDER = MarkdownIt("commonmark").enable("table").render
LINES = {1: 3, 2: 4}  # of room for answers of few lines; a function gets more
MANY = 13


def deck(lesson: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The cells that are slides, with their outputs."""
    made = nbformat.from_dict(lesson)
    made.cells = [cell for cell in made.cells if cell.metadata.get("slideshow", {}).get("slide_type", "skip") != "skip"]
    for cell in made.cells:
        drawn = any({"text/html", "text/markdown"} & set(output.get("data", {})) for output in cell.get("outputs", []))
        printed = any(output.output_type == "stream" for output in cell.get("outputs", []))
        cell.metadata["tags"] = ["remove-input"] if drawn or printed else []
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1", re.sub(r"^### Exercise", "## Exercise", cell.source))
            cell.source = re.sub(r"^\| minutes \|", "## The plan\n\n\\g<0>", cell.source)
        if cell.metadata["slideshow"]["slide_type"] == "notes":
            cell.source = f"```{{revealjs-notes}}\n{cell.source}\n```"
    return made


def worksheet(lesson: nbformat.NotebookNode) -> str:
    """The page that a student writes on, as HTML for a printer."""
    title = next(cell.source.partition("\n")[0].removeprefix("# ") for cell in lesson.cells)
    hints = [RENDER(re.sub(r"</?(?:details|summary)[^>]*>", "", cell.source)) for cell in tagged(lesson, "hints")]
    page = (
        f'<section class="hints"><h2>Hints</h2><p>Fold this page away. Read one hint at a time.</p>'
        f"{''.join(f'<h3>Exercise {number}</h3>{hint}' for number, hint in enumerate(hints, 1))}</section>"
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Worksheet: {escape(title)}</title>'
        f"<style>{(HERE / 'slides' / 'worksheet.css').read_text(encoding='utf-8')}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="who">Name <span></span> Date <span></span></p>'
        f"{''.join(printed(lesson))}{page}</main></body></html>"
    )


def printed(lesson: nbformat.NotebookNode) -> Iterator[str]:
    """The pieces of a worksheet, in order."""
    for cell in lesson.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and "paper" in tags:
            text = LINK.sub(r"\1", cell.source)
            yield f"<section>{RENDER(text)}</section>"
            if cell.source.startswith("## Exit ticket"):
                yield room("", 5)
        elif "paper" in tags:
            yield from map(shown, cell.outputs)
        elif "student" in tags:
            stub = cell.source
            yield room(stub, MANY if "def " in stub else LINES.get(stub.count("\n") + 1, 5))


def shown(output: nbformat.NotebookNode) -> str:
    """What a cell has put out, as HTML."""
    data = output.get("data", {})
    if "text/html" in data:
        return str(data["text/html"])
    if "text/markdown" in data:
        return str(RENDER(data["text/markdown"]))
    return f"<pre>{escape(output.get('text') or data.get('text/plain', ''))}</pre>"


def room(stub: str, lines: int) -> str:
    """The stub of an answer, and lines to write on."""
    asked = re.sub(r"^(?:import|from) .*\n+", "", stub, flags=re.MULTILINE).replace("...", "____")
    head = f"<pre>{escape(asked)}</pre>" if asked and "def " not in asked else ""
    return f'<div class="room">{head}{"<div></div>" * lines}</div>'


def tagged(lesson: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in lesson.cells if tag in cell.metadata.get("tags", [])]


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(HERE / "slides", SOURCE)
    lessons = {path.stem: nbformat.read(path, as_version=4) for path in sorted(EXECUTED.glob("lesson*.ipynb"))}
    for name, lesson in lessons.items():
        nbformat.write(deck(lesson), SOURCE / f"{name}.ipynb")
        sheet = TARGET / "worksheets" / f"{name}.html"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_text(worksheet(lesson), encoding="utf-8")
    names = "\n".join(lessons)
    (SOURCE / "index.md").write_text(f"# The decks\n\n```{{toctree}}\n{names}\n```\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "revealjs", "-d", str(WORK / "doctrees")]
    subprocess.run([*command, str(SOURCE), str(MADE)], check=True)
    shutil.rmtree(TARGET / "slides", ignore_errors=True)
    shutil.copytree(MADE, TARGET / "slides", ignore=shutil.ignore_patterns("index.html"))  # a list that nobody needs


if __name__ == "__main__":
    main()
