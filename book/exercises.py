"""A Sphinx extension: each exercise of a lesson becomes a box to write into, checked in the page.

While the book is built, the checks of a lesson say what they ask (`sparsecycle_book.course.checks`); here it meets the
stub and the solution of the notebook. `book/static/playground/exercises.js` does the rest, with Pyodide.
"""

import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.util import logging

import sparsecycle.errors
import sparsecycle_book.course.checks
import sparsecycle_book.course.rules
from sparsecycle_book.course.checks import IN_THE_BOOK, RIGHT

logger = logging.getLogger(__name__)
ASKED = re.compile(r'<script type="application/json" class="exercise-asked">(.*?)</script>', re.DOTALL)
CHECK = re.compile(r"^check(?:_\w+)?\(", re.MULTILINE)
MODULES = (sparsecycle.errors, sparsecycle_book.course.checks, sparsecycle_book.course.rules)


def exercises(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str, int]]:
    """Yield the stub and the solution of each exercise, and how many things are checked."""
    tagged = {
        tag: [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]
        for tag in ("student", "solution", "check")
    }
    for stub, solution, check in zip(*tagged.values(), strict=True):
        yield stub, solution, len(CHECK.findall(check))


def box(number: int, stub: str, solution: str, asked: list[dict[str, Any]]) -> str:
    """Return the element that a reader writes into."""
    shown = highlight(solution, PythonLexer(), HtmlFormatter(nowrap=True))
    data = json.dumps(asked).replace("</", "<\\/")
    return (
        f'<div class="exercise" data-exercise="{number}">'
        f'<textarea spellcheck="false" autocapitalize="off" rows="{stub.count(chr(10)) + 2}" '
        f'aria-label="Your answer to exercise {number}">{html.escape(stub)}</textarea>'
        '<div class="exercise-buttons"><button type="button" class="exercise-check">Check</button>'
        '<button type="button" class="exercise-hint">Hint</button>'
        '<button type="button" class="exercise-solution" aria-expanded="false">Solution</button>'
        '<button type="button" class="exercise-again">Start over</button></div>'
        '<div class="exercise-told" role="status"></div><div class="exercise-hints"></div>'
        f'<div class="exercise-solved highlight" hidden><pre>{shown}</pre></div>'
        f'<script type="application/json" class="exercise-asked">{data}</script></div>'
    )


def with_exercises(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Put a box where each check of a lesson stood."""
    if not (name.startswith("course/lesson") and "body" in context):
        return
    asked = iter(json.loads(found) for found in ASKED.findall(context["body"]))
    boxes: list[str] = []
    for number, (stub, solution, count) in enumerate(
        exercises(nbformat.read(Path(app.srcdir) / f"{name}.ipynb", 4)), 1
    ):
        own = [next(asked) for _ in range(count)]
        for one in own:
            if (told := one.pop("verdict")) != RIGHT:
                logger.warning("%s: the solution of exercise %d is not right: %s", name, number, told)
        boxes += [box(number, stub, solution, own), *[""] * (count - 1)]
    left = iter(boxes)
    sources = {
        "/".join(module.__name__.split(".")) + ".py": Path(str(module.__file__)).read_text(encoding="utf-8")
        for module in MODULES
    }
    text = json.dumps(sources).replace("</", "<\\/")
    context["body"] = ASKED.sub(lambda _: next(left), context["body"]) + (
        f'<script type="application/json" id="exercise-sources">{text}</script>'
    )
    for script in ("libraries", "exercises"):
        app.add_js_file(f"playground/{script}.js")


def setup(app: Sphinx) -> dict[str, bool]:
    os.environ[IN_THE_BOOK] = "1"  # the kernels of the notebooks inherit it
    app.connect("html-page-context", with_exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
