"""The lessons as a class meets them: the student form runs and asks, the teacher form is right throughout."""

import ast
import math
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient

from conftest import ROOT
from sparsecycle.course import check, check_function, check_rule
from sparsecycle.course.checks import OPEN, RIGHT

sys.path.insert(0, str(ROOT / "course"))
from make_forms import form
from open_class import bring

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
def test_in_the_teacher_form_every_answer_is_right(path: Path) -> None:
    told = answers(executed(path, "teacher"))
    assert len(told) >= 5
    assert set(told) == {RIGHT}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_student_form_runs_to_its_end_and_has_no_solution(path: Path) -> None:
    student, teacher = executed(path, "student"), executed(path, "teacher")
    told = answers(student)
    assert len(told) == len(answers(teacher)) and set(told) == {OPEN}
    text = "\n".join(cell.source for cell in student.cells)
    source = nbformat.read(path, as_version=4)
    for cell in source.cells:
        if "solution" in cell.metadata.get("tags", []):
            assert cell.source not in text
            for value in answers_in(cell.source):
                assert value not in text, f"{path.stem} shows {value}"


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


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (1.0001, 1.0, RIGHT),
        (1.1, 1.0, "Not yet. Look again."),
        ([1, 2], np.array([1.0, 2.0]), RIGHT),
        ([1, 2], torch.tensor([2.0, 1.0]), "Not yet. Look again."),
        ([1, 2, 3], [1, 2], "Not yet. Look again."),
        ("no number", 1.0, "Not yet. Look again."),
        (..., 1.0, OPEN),
        ([1, ...], [1, 2], OPEN),
        (1, True, "Not yet. Look again."),
        (np.bool_(True), True, RIGHT),
        ({1, 2}, {2, 1}, RIGHT),
        ([0.5, 0.1], {0.1, 0.5}, RIGHT),
        (np.array([0.1, 0.5]), {0.1, 0.5}, RIGHT),
        ({0.1}, {0.1, 0.5}, "Not yet. Look again."),
        (3, {3, 4}, "Not yet. Look again."),
        ([np.array([1.0, 2.0]), np.array([3.0, 4.0])], [[1, 2], [3, 4]], RIGHT),
        (torch.tensor(False), False, RIGHT),
        (torch.tensor(True), False, "Not yet. Look again."),
    ],
)
def test_answers_are_compared(answer: Any, expected: Any, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(answer, expected, "Look again.")
    assert capsys.readouterr().out == told + "\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(size=st.floats(1e-6, 1e6), sign=st.sampled_from([-1, 1]))
def test_an_answer_rounded_to_four_digits_is_right(size: float, sign: int, capsys: pytest.CaptureFixture[str]) -> None:
    check(float(f"{sign * size:.4g}"), sign * size, "Look again.")
    assert capsys.readouterr().out == RIGHT + "\n"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_where_an_exercise_asks_for_digits_it_asks_for_four(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    exercises = "\n".join(cell.source for cell in cells if EXERCISE.match(cell.source))
    assert set(re.findall(r"(\w+) (?:digits|decimals)", exercises.lower())) == {"four"}


def test_a_function_is_compared_case_by_case(capsys: pytest.CaptureFixture[str]) -> None:
    def stops(value: float) -> float:
        raise KeyError("three")

    for function in (lambda value: 2 * value, lambda value: value**2, stops, lambda value: None):
        check_function(function, lambda value: 2 * value, [(2,), (3.5,)])
    assert capsys.readouterr().out.splitlines() == [
        RIGHT,
        "Not yet. With 3.5 it gives 12.25, but should give 7.",
        "Not yet. With 2 it stops: KeyError, 'three'",
        OPEN,
    ]


def test_a_function_that_works_in_place_is_judged_by_what_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    def without_negatives(values: list[float]) -> list[float]:
        for place, value in enumerate(values):
            values[place] = max(value, 0.0)
        return values

    def nothing(values: list[float]) -> list[float]:
        values[:] = [0.0] * len(values)
        return values

    for function in (without_negatives, nothing):
        check_function(function, lambda values: [max(value, 0.0) for value in values], [([1.0, -1.0],)])
    assert capsys.readouterr().out.splitlines() == [
        RIGHT,
        "Not yet. With [1.0, -1.0] it gives [0.0, 0.0], but should give [1.0, 0.0].",
    ]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            lambda budget, loss, dense, floor: (
                max(floor, budget / 2) if budget > floor and loss <= dense + 0.5 else 1.0
            ),
            RIGHT,
        ),
        # It only looks whether the loss is a number.
        (
            lambda budget, loss, dense, floor: (
                max(floor, budget / 2) if budget > floor and math.isfinite(loss) else 1.0
            ),
            "all lead to the same budgets",
        ),
        (
            lambda budget, loss, dense, floor: max(floor, budget / 2) if budget > floor else 1.0,
            "all lead to the same budgets",
        ),
        (
            lambda budget, loss, dense, floor: max(0.1, budget / 2) if budget > 0.1 and loss <= dense + 0.5 else 1.0,
            "and floor 0.2 it gives 0.125, which is not from 0.2 to 1",
        ),
        (lambda *_: 1.0, "It never compresses"),
        (lambda budget, loss, dense, floor: budget / 2, "which is not from 0.1 to 1"),
        (lambda budget, loss, dense, floor: 0.1 if budget == 1 else 0.1 + budget / 2, "it grows to 0.15"),
        (lambda budget, loss, dense, floor: 0.5, "There was no reset for 50 periods"),
        (
            lambda budget, loss, dense, floor: 0.5 if budget == 1 else 1.0 if math.isfinite(loss) else math.nan,
            "it gives nan",
        ),
        (lambda budget, loss, dense, floor: None, OPEN),
        (lambda budget, loss, dense, floor: None if budget < 1 else 0.5, "it gives None, which is no number"),
        (lambda budget, loss, dense, floor: "half", "it gives 'half', which is no number"),
        (lambda budget, loss, dense, floor: math.floor(loss) * 0 + 1.0, "it stops: ValueError"),
        # Sound for every loss but one that is no number after one that was: then it never resets.
        (
            lambda budget, loss, dense, floor: (
                1.0 if math.isnan(dense) or budget <= floor else max(floor, min(budget, budget * (0.5 + loss - dense)))
            ),
            "There was no reset for 50 periods",
        ),
    ],
)
def test_a_rule_that_can_go_wrong_is_found(
    rule: Callable[[float, float, float, float], Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_rule(rule, floors=(0.1, 0.2))
    assert told in capsys.readouterr().out
