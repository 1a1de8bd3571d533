"""The lessons as a class meets them: each executed once, stubs and solutions in turn, in a notebook and in a page."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest

from conftest import ROOT
from exercises import ASKED
from sparsecycle_book.course.checks import IN_THE_BOOK, OPEN, RIGHT, judge

sys.path.insert(0, str(ROOT / "course"))
from make_forms import WITHOUT, bring, form
from make_handouts import deck, worksheet

LESSONS = sorted((ROOT / "course").glob("lesson*.ipynb"))
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


@dataclass
class Exercise:
    """A stub and its solution, what is asked, and what the check printed in a notebook for either."""

    stub: str
    solution: str
    asked: list[dict[str, Any]]
    told_of_stub: list[str]
    told_of_solution: list[str]


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def tagged(path: Path, tag: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if tag in tags(cell)]


def run(source: str, names: dict[str, Any]) -> list[str]:
    """Execute a cell; what it printed, by line."""
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(source, "<cell>", "exec"), names)
    return printed.getvalue().splitlines()


@pytest.fixture(scope="module", params=LESSONS, ids=lambda path: path.stem)
def exercises(request: pytest.FixtureRequest) -> list[Exercise]:
    """The exercises of a lesson that was executed to its end; after each exercise the stub stands, as in a class."""
    names: dict[str, Any] = {}
    found, stub, solution, seen = [], "", "", list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda data, **_: seen.append(data["text/html"]))
        for cell in nbformat.read(request.param, 4).cells:
            if "student" in tags(cell):
                stub = cell.source
            elif "solution" in tags(cell):
                solution = cell.source
            elif "check" in tags(cell):
                run(solution, names)
                right = run(cell.source, names)
                patch.setenv(IN_THE_BOOK, "1")
                run(cell.source, names)
                patch.delenv(IN_THE_BOOK)
                run(stub, names)
                asked = [json.loads(ASKED.findall(one)[0]) for one in seen]
                seen.clear()
                assert [one.pop("verdict") for one in asked] == [RIGHT] * len(asked)
                found.append(Exercise(stub, solution, asked, run(cell.source, names), right))
            elif cell.cell_type == "code":
                run(cell.source, names)
    return found


def test_a_solution_is_right_and_a_stub_is_open_in_a_notebook_and_in_a_page(exercises):
    assert len(exercises) == 5
    for one in exercises:
        right, still_open = ([f"{asked['name']}: {told}" for asked in one.asked] for told in (RIGHT, OPEN))
        assert (one.told_of_solution, one.told_of_stub) == (right, still_open)
        # In a page nothing is there but Python's own library and what the exercise gives.
        assert (judge(one.solution, one.asked), judge(one.stub, one.asked)) == (right, still_open)


@each_lesson
def test_a_student_s_form_has_no_solution_and_no_notes(path):
    text = "\n".join(cell.source for cell in form(nbformat.read(path, 4), "student").cells)
    for hidden in (*tagged(path, "notes"), *tagged(path, "solution")):
        assert hidden not in text
    for solution in tagged(path, "solution"):
        for value in answers_in(solution):
            assert value not in text, f"{path.stem} shows {value}"


def answers_in(solution: str) -> list[str]:
    """What a solution assigns to each name, as its source says it; functions are compared whole."""
    values = {one.targets[0]: one.value for one in ast.parse(solution).body if isinstance(one, ast.Assign)}
    told = [ast.get_source_segment(solution, value) or "" for value in values.values()]
    return [value for value in told if len(value) > 8]


@each_lesson
def test_each_exercise_has_two_or_three_hints_and_none_is_the_answer(path):
    hints, solutions = tagged(path, "hints"), tagged(path, "solution")
    assert len(hints) == len(solutions) == 5
    for hint, solution in zip(hints, solutions, strict=True):
        told = re.findall(
            r'<details class="hint">\n<summary>Hint (\d)</summary>\n\n(.+?)\n\n</details>', hint, re.DOTALL
        )
        assert [int(number) for number, _ in told] == list(range(1, len(told) + 1)) and len(told) in (2, 3)
        lines = [line.strip() for line in solution.splitlines() if "import" not in line and not line.startswith("def")]
        assert [line for line in lines if line and line.partition("  #")[0] in hint] == []


@each_lesson
def test_each_lesson_has_goals_a_plan_of_ninety_minutes_that_meets_them_and_all_its_parts(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    goals = [
        int(one) for one in re.findall(r"^(\d)\. ", text.split("**After this lesson you can**")[1].split("|")[0], re.M)
    ]
    plan = re.findall(r"^\| (\d+) to (\d+) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert plan[0][0] == "0" and plan[-1][1] == "90" and all(one[1] == other[0] for one, other in pairwise(plan))
    met = {int(goal) for _, _, _, told in plan for goal in re.findall(r"\d", told)}
    assert met == set(goals) and len(goals) >= 4
    assert re.findall(r"exercise (\d)", "\n".join(what for _, _, what, _ in plan)) == list("12345")
    assert re.findall(r"^### Exercise (\d): ", text, re.MULTILINE) == list("12345")
    for part in ("## Exit ticket", "**If you finish early**"):
        assert part in text


@each_lesson
def test_the_cells_of_an_exercise_are_complete(path):
    order = ("student", "solution", "check", "hints")
    found = [one for cell in nbformat.read(path, 4).cells for one in order if one in tags(cell)]
    assert found == ["hints", "student", "solution", "check"] * 5


@each_lesson
@pytest.mark.parametrize("name", WITHOUT)
def test_a_form_is_clean_and_only_what_is_not_to_be_read_is_folded(path, name):
    for cell in form(nbformat.read(path, 4), name).cells:
        assert "tags" not in cell.metadata and not cell.get("outputs")
        assert cell.cell_type == "code" or not re.search(r"\]\((?!https?:)|\{[a-z]+\}`", cell.source)
        if cell.cell_type == "code":
            folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
            checks = bool(re.search(r"^check(_\w+)?\(", cell.source, re.MULTILINE))
            assert folded == (checks or cell.source.startswith("# Where the library is")), cell.source


def test_a_class_keeps_what_it_wrote_and_gets_what_is_missing(tmp_path):
    assert bring("student", tmp_path) == [f"{path.stem}-student.ipynb" for path in LESSONS]
    written, lost = tmp_path / "lesson1_layer-student.ipynb", tmp_path / "lesson2_resets-student.ipynb"
    written.write_text("what a student wrote", encoding="utf-8")
    lost.unlink()
    assert bring("student", tmp_path) == [lost.name] and written.read_text(encoding="utf-8") == "what a student wrote"
    assert nbformat.read(lost, as_version=4).cells and not list(tmp_path.glob("*teacher*"))


def with_outputs(path: Path) -> nbformat.NotebookNode:
    """A lesson in which every cell of code has put something out."""
    lesson = nbformat.read(path, 4)
    for number, cell in enumerate(lesson.cells):
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", text=f"output {number}")]
    return lesson


@each_lesson
def test_a_worksheet_has_every_exercise_with_its_data_and_room_and_no_solution(path):
    lesson = with_outputs(path)
    page = worksheet(lesson)
    assert re.findall(r"<h3>Exercise (\d): ", page) == list("12345") and page.count('<div class="room">') == 6
    for number, cell in enumerate(lesson.cells):
        if cell.cell_type == "code":
            assert (f"output {number}<" in page) == ("paper" in tags(cell))
    assert not [one for one in tagged(path, "solution") if one.splitlines()[0] in page]
    assert "$" not in page, "nothing draws formulas on a worksheet"
    assert page.index("<h2>Hints</h2>") > page.index("Exit ticket")


@each_lesson
def test_a_deck_has_what_the_lesson_shows_and_what_a_speaker_says_and_no_solution(path):
    slides = deck(with_outputs(path)).cells
    text = "\n".join(cell.source for cell in slides)
    assert len(re.findall(r"^## Exercise \d", text, re.MULTILINE)) == 5
    assert text.count("```{revealjs-notes}\n") == len(tagged(path, "notes")) >= 3
    kept = {cell.id for cell in slides}
    for cell in nbformat.read(path, 4).cells:
        shows = cell.cell_type == "code" and tags(cell) <= {"paper", "hide-input"}
        assert (cell.id in kept) >= shows, cell.source
    assert all("remove-input" in tags(cell) for cell in slides if cell.cell_type == "code")
    assert not [one for one in tagged(path, "solution") if one in text]


def teacher_s_parts() -> Iterator[str]:
    page = (ROOT / "course/teacher.md").read_text(encoding="utf-8")
    for number in (1, 2, 3):
        [part] = re.findall(rf"## Lesson {number}: .*?\n(.*?)\n## ", page, re.DOTALL)
        yield part


@pytest.mark.parametrize(("path", "part"), list(zip(LESSONS, teacher_s_parts(), strict=True)), ids=["1", "2", "3"])
def test_the_teacher_s_page_has_a_plan_three_hard_moments_and_every_answer_written_down(path, part):
    minutes = [
        int(minute) for minute in re.findall(r"^\| (\d+) \|.*\|.*\|$", part.split("**The three")[0], re.MULTILINE)
    ]
    assert minutes[0] == 0 and minutes == sorted(minutes) and minutes[-1] < 90
    assert re.findall(r"^(\d)\. \*", part, re.MULTILINE) == ["1", "2", "3"]
    assert "*Discussion.*" in part and "*Exit ticket.*" in part and f'solutions_told("{path.stem}")' in part
    for solution in tagged(path, "solution"):
        for one in ast.parse(solution).body:
            told = ast.unparse(one) if isinstance(one, ast.Assign) and isinstance(one.value, ast.List) else ""
            if "\n" not in told and told and len(told) < 60 and "for" not in told:
                assert f"`{told}`" in part
