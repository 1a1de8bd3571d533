"""A lesson's deck has what the lesson shows, and what its exercises speak of."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "course"))
from make_slides import deck

LESSONS = sorted((ROOT / "course").glob("lesson*.ipynb"))


def names(source: str) -> set[str]:
    """The variables of a piece of Python, and its texts; nothing where it is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def spoken_of(cell: nbformat.NotebookNode) -> set[str]:
    """In code all names, in text those between backticks."""
    pieces = [cell.source] if cell.cell_type == "code" else re.findall(r"`([^`]+)`", cell.source)
    return set().union(*map(names, pieces))


def assigned(cell: nbformat.NotebookNode) -> set[str]:
    nodes = ast.walk(ast.parse(cell.source))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def shows(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell of code ends with a value or prints."""
    tree = ast.parse(cell.source)
    return isinstance(tree.body[-1], ast.Expr) or "print" in names(cell.source)


def given(lesson: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """The cells of code that belong to no exercise: what students find when they come to one."""
    yield from (cell for cell in lesson.cells if cell.cell_type == "code" and not cell.metadata.get("tags"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_what_a_lesson_shows_is_in_its_deck(path: Path) -> None:
    lesson = nbformat.read(path, as_version=4)
    kept = {cell.id for cell in deck(lesson).cells}
    shown = [cell.id for cell in given(lesson) if shows(cell)]
    assert shown and [one for one in shown if one not in kept] == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_what_an_exercise_speaks_of_is_in_its_deck(path: Path) -> None:
    lesson = nbformat.read(path, as_version=4)
    variables = set().union(*map(assigned, given(lesson)))
    cells = deck(lesson).cells
    exercises = [cell for cell in cells if cell.source.startswith("## Exercise")]
    told = set().union(*(spoken_of(cell) for cell in cells if cell not in exercises))
    assert len(exercises) == 5
    for cell in exercises:
        assert (spoken_of(cell) & variables) - told == set(), cell.source.splitlines()[0]
