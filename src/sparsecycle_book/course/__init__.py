"""What the notebooks of the course need besides the library: data, checks of answers, a figure, and the project."""

import json

from sparsecycle.runs.source import CHECKOUT
from sparsecycle_book.course import answers, data
from sparsecycle_book.course.checks import check, check_function
from sparsecycle_book.course.rules import check_rule, follow
from sparsecycle_book.display import folded

__all__ = ["answers", "check", "check_function", "check_rule", "data", "follow", "solutions_told"]


def solutions_told(lesson: str) -> str:
    """Return the solutions of a lesson as Markdown, folded away; "lesson1_layer" is a name."""
    cells = json.loads((CHECKOUT / "course" / f"{lesson}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if "solution" in cell["metadata"].get("tags", [])]
    told = [f"Exercise {number}:\n\n```python\n{source}\n```" for number, source in enumerate(sources, 1)]
    return folded("All solutions of this lesson", "\n\n".join(told))
