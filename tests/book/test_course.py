"""The lessons as a class meets them. That every solution is right is tested on the built pages."""

import ast
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT
from sparsecycle_book.course.checks import OPEN, RIGHT

sys.path.insert(0, str(ROOT / "course"))
from make_forms import form
from open_class import bring
from slowest_cells import slowest

LESSONS = sorted((ROOT / "course").glob("lesson*.ipynb"))
EXERCISE = re.compile(r"### Exercise (\d): ")


@cache
def executed(path: Path, name: str) -> nbformat.NotebookNode:
    notebook = form(nbformat.read(path, as_version=4), name)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def answers(notebook: nbformat.NotebookNode) -> list[str]:
    """What the checks printed."""
    printed = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )
    return [line for line in printed.splitlines() if line.startswith((RIGHT, OPEN, "Not yet."))]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_student_form_runs_to_its_end_and_has_no_solution(path: Path) -> None:
    student = executed(path, "student")
    told = answers(student)
    checks = "\n".join(cell.source for cell in student.cells if cell.cell_type == "code")
    assert len(told) == len(re.findall(r"^check(?:_\w+)?\(", checks, re.MULTILINE)) and set(told) == {OPEN}
    text = "\n".join(cell.source for cell in student.cells)
    source = nbformat.read(path, as_version=4)
    for cell in source.cells:
        if "solution" in cell.metadata.get("tags", []):
            assert cell.source not in text
            for value in answers_in(cell.source):
                assert value not in text, f"{path.stem} shows {value}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_hints_are_folded_and_what_is_to_be_filled_in_is_not(path: Path) -> None:
    for cell in form(nbformat.read(path, as_version=4), "student").cells:
        if cell.cell_type == "code":
            folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
            checks = bool(re.search(r"^check(_\w+)?\(", cell.source, re.MULTILINE))
            assert folded == (checks or cell.source.startswith("# Where the library is")), cell.source


def answers_in(solution: str) -> list[str]:
    """What a solution assigns last to each name, as its source says it; functions are compared whole."""
    last = ast.parse(solution).body
    values = {ast.unparse(one.targets[0]): ast.get_source_segment(solution, one.value) for one in last
              if isinstance(one, ast.Assign)}  # fmt: skip
    read = {node.id for one in last for node in ast.walk(one) if isinstance(node, ast.Name) and node.id in values
            and isinstance(node.ctx, ast.Load)}  # fmt: skip
    return [value for name, value in values.items() if value and len(value) > 8 and name not in read]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_lesson_has_goals_timings_and_five_exercises_with_their_cells(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "**After this lesson you can**" in text and "| minutes | what |" in text
    assert EXERCISE.findall(text) == ["1", "2", "3", "4", "5"]
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", []) if tag in ("student", "solution", "check")]
    assert tags == ["student", "solution", "check"] * 5


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_form_is_clean(path: Path) -> None:
    for name in ("student", "teacher"):
        for cell in form(nbformat.read(path, as_version=4), name).cells:
            assert "tags" not in cell.metadata and not cell.get("outputs")
            assert cell.cell_type == "code" or not re.search(r"\]\((?!https?:)|\{[a-z]+\}`", cell.source)


def test_a_class_keeps_what_it_wrote_and_gets_what_is_missing(tmp_path: Path) -> None:
    assert bring("student", tmp_path) == [f"{path.stem}-student.ipynb" for path in LESSONS]
    written, lost = tmp_path / "lesson1_layer-student.ipynb", tmp_path / "lesson2_resets-student.ipynb"
    written.write_text("what a student wrote", encoding="utf-8")
    lost.unlink()
    assert bring("student", tmp_path) == [lost.name] and written.read_text(encoding="utf-8") == "what a student wrote"
    assert nbformat.read(lost, as_version=4).cells and not list(tmp_path.glob("*teacher*"))


def test_the_slowest_cell_is_found_by_what_execution_wrote_down() -> None:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    for source, begin, end in (("first = 1", 0, 20), ("slow = 2\nmore", 20, 55), ("third = 3", 56, 58)):
        told = {"iopub.execute_input": f"2026-01-01T00:00:{begin:02}.500Z"}
        told["shell.execute_reply"] = f"2026-01-01T00:00:{end}.750Z"
        made.cells.append(nbformat.v4.new_code_cell(source, metadata={"execution": told}))
    assert slowest(made) == (35.25, "slow = 2")


def test_the_execution_of_a_form_writes_its_times_down() -> None:
    assert slowest(executed(LESSONS[0], "student"))[0] > 0


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_where_an_exercise_asks_for_digits_it_asks_for_four(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    exercises = "\n".join(cell.source for cell in cells if EXERCISE.match(cell.source))
    assert set(re.findall(r"(\w+) (?:digits|decimals)", exercises.lower())) == {"four"}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_teacher_s_page_has_every_answer_that_a_solution_writes_down(path: Path) -> None:
    page = (ROOT / "course/teacher.md").read_text(encoding="utf-8")
    number = path.stem.removeprefix("lesson")[0]
    [part] = re.findall(rf"## Lesson {number}\n(.*?)\n## ", page, re.DOTALL)
    told = [ast.literal_eval(piece) for piece in re.findall(r"`([^`]+)`", part) if is_literal(piece)]
    cells = nbformat.read(path, as_version=4).cells
    solutions = [cell.source for cell in cells if "solution" in cell.metadata.get("tags", [])]
    written = [value for source in solutions for value in literals(source)]
    assert [value for value in written if value not in told] == []


def literals(source: str) -> list[Any]:
    """What a solution assigns without computing it; of several names at once, one by one."""
    values = [one.value for one in ast.parse(source).body if isinstance(one, ast.Assign)]
    single = [part for value in values for part in (value.elts if isinstance(value, ast.Tuple) else [value])]
    return [ast.literal_eval(value) for value in single if is_literal(ast.unparse(value))]


def is_literal(source: str) -> bool:
    try:
        ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return False
    return True
