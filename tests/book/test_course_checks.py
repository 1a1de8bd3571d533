"""The checks of the course: what is right passes, what is not is told in a line that says what is wrong and where."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsecycle import make_controller
from sparsecycle.analysis.statistics import student_interval
from sparsecycle.evaluation.reporting import clean_accuracy
from sparsecycle_book.course import answers, check, check_function, check_rule, data, follow
from sparsecycle_book.course.checks import LINES, OPEN, RIGHT, judge


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (1.0001, 1.0, RIGHT),
        (1.1, 1.0, "Not yet. 1.1 is too large. Look again."),
        ([1, 2], np.array([1.0, 2.0]), RIGHT),
        ((1, 2), [1, 2], RIGHT),
        ([1, 2], torch.tensor([2.0, 1.0]), "Not yet. At value 1: 1 is too small. Look again."),
        ([1, 2, 3], [1, 2], "Not yet. There are too many values. Look again."),
        (3, [1, 2], "Not yet. 3 stands where a list is asked for. Look again."),
        ([1, 2, 3, 4], [[1, 2], [3, 4]], "Not yet. It has no rows: a list of lists is asked for. Look again."),
        ([[1, 2]], [[1, 2], [3, 4]], "Not yet. There are too few rows. Look again."),
        ([[1, 2], [3, 9]], [[1, 2], [3, 4]], "Not yet. At row 2, value 2: 9 is too large. Look again."),
        ("no number", 1.0, "Not yet. 'no number' is not a number. Look again."),
        (..., 1.0, OPEN),
        ([1, ...], [1, 2], f"{OPEN} A `...` is left."),
        ([[1, ...], [3, 4]], [[1, 2], [3, 4]], f"{OPEN} A `...` is left."),
        ([..., [..., ...]], [1, [2, 3]], OPEN),
        (0.67, 2 / 3, "Not yet. 0.67 is nearly right: give more digits."),
        (1, True, "Not yet. 1 is not right. Look again."),
        (True, 1, "Not yet. True is not a number. Look again."),
        (np.bool_(True), True, RIGHT),
        ([np.array([1.0, 2.0]), np.array([3.0, 4.0])], [[1, 2], [3, 4]], RIGHT),
        (torch.tensor(2.0, requires_grad=True), 2.0, RIGHT),
        (math.nan, 1.0, "Not yet. nan is not right. Look again."),
    ],
)
def test_answers_are_compared(answer, expected, told, capsys):
    check("mine", answer, expected, "Look again.")
    assert capsys.readouterr().out == f"mine: {told}\n"


@given(size=st.floats(1e-6, 1e6), sign=st.sampled_from([-1, 1]))
def test_an_answer_rounded_to_four_digits_is_right(size, sign):
    asked = [{"name": "mine", "expected": sign * size, "advice": ""}]
    assert judge(f"mine = {sign * size:.4g}", asked) == [f"mine: {RIGHT}"]


TWICE = [{"name": "twice", "cases": [[[2], 4], [[3.5], 7.0]]}]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return 2 * value", RIGHT),
        ("return value ** 2", "Not yet. With 3.5 it gives 12.25, but should give 7."),
        ("return {}[value]", "Not yet. With 2 it stops: KeyError(2)"),
        ("...", OPEN),
        ("pass  # tomorrow", OPEN),
        ("'Twice the value.'", OPEN),
        ("return ...", OPEN),
        ("2 * value", "Not yet. With 2 it gives no value: is a `return` missing?"),
        ("return 2 * value if value < 3 else None", "Not yet. With 3.5 it gives no value: is a `return` missing?"),
        ("return [2 * value]", "Not yet. With 2 it gives [4], but should give 4."),
    ],
)
def test_a_function_is_compared_case_by_case_in_a_page_and_in_a_notebook(body, told, capsys):
    source, names = f"def twice(value):\n    {body}\n", dict[str, Any]()
    assert judge(source, TWICE) == [f"twice: {told}"]
    exec(source, names)
    check_function(names["twice"], lambda value: 2 * value, [(2,), (3.5,)])
    assert capsys.readouterr().out == f"twice: {told}\n"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = (1", "Not yet. Line 1 is not Python: '(' was never closed."),
        ("\nx = y", "Not yet. Line 2 stops: NameError: name 'y' is not defined."),
        ("given[0] = 5\nx = given[0]", "x: Not yet. 5 is too large. Look."),
        ("x = given[0]", f"x: {RIGHT}"),
        ("y = 1", f"x: {OPEN}"),
        (
            "while True:\n    pass",
            f"Not yet. It has not come to an end after {LINES:,} lines: does a loop run for ever?",
        ),
        ("while True:\n  try:\n    1 / 0\n  except Exception:\n    x = 1", "Not yet. It has not come to an end after"),
    ],
)
def test_what_somebody_writes_in_a_page_is_run_and_judged_and_cannot_hang_it(source, told):
    asked = [{"name": "x", "expected": 1, "advice": "Look.", "given": {"given": [1]}}]
    [line] = judge(source, asked)
    assert line.startswith(told)
    assert asked[0]["given"] == {"given": [1]}


def test_a_message_stays_short_whatever_is_given(capsys):
    for wrong in (torch.zeros(30), "x" * 1000, [[0.5] * 100] * 100):
        check_function(lambda value, wrong=wrong: wrong, lambda value: 1.0, [([0.5] * 1000,)])
        said = capsys.readouterr().out
        assert "it gives" in said and len(said) < 500


def test_a_function_that_works_in_place_is_judged_by_what_it_was_given(capsys):
    def nothing(values: list[float]) -> list[float]:
        values[:] = [0.0] * len(values)
        return values

    check_function(nothing, lambda values: [max(value, 0.0) for value in values], [([1.0, -1.0],)])
    assert "With [1, -1] it gives [0, 0], but should give [1, 0]." in capsys.readouterr().out


def average(accuracies: list[float]) -> float:
    return sum(accuracies) / len(accuracies)


def sound(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    memory["best"] = max(memory.get("best", 0.0), average(accuracies))
    return 1.0 if average(accuracies) < memory["best"] - 0.2 else 0.95 * keep_ratio


def little_by_little(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    memory["best"] = max(memory.get("best", 0.0), average(accuracies))
    return min(1.0, keep_ratio + 0.05) if average(accuracies) < memory["best"] - 0.2 else 0.95 * keep_ratio


def like_the_one_before(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    """It compares with the decision before, so that a slow decline never resets it."""
    before, memory["last"] = memory.get("last", 0.0), average(accuracies)
    return 1.0 if memory["last"] < before - 0.2 else 0.95 * keep_ratio


def restless(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    """It touches 1 now and then, and compresses faster after a breakdown."""
    return 1.0 if keep_ratio < 0.3 else keep_ratio * (0.97 if average(accuracies) > 0.5 else 0.9)


def unsaved(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    memory["seen"] = np.array(accuracies)
    return 0.95 * keep_ratio


def by_attribute(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    return keep_ratio * memory["best"]


def published(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    controller = make_controller("accuracy_gated", decision_steps=len(accuracies))
    if memory:
        controller.load_state_dict(memory["state"])
    controller.update(accuracies)
    memory["state"] = controller.state_dict()
    return controller.keep_ratio


NOT_BACK = "it is not back at 1 within 50 decisions"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (sound, RIGHT),
        (little_by_little, RIGHT),
        (published, RIGHT),
        (lambda keep, *_: 1.0, "It never compresses"),
        (lambda keep, *_: 0.95 * keep, "a controller looks at the accuracy"),
        (lambda keep, *_: 0.5 if keep == 1 else 1.0, "a controller looks at the accuracy"),
        (lambda keep, accuracies, _: 0.1 + 0.9 * average(accuracies), "the keep-ratio is still above one half"),
        (like_the_one_before, f"slides down little by little {NOT_BACK}"),
        (restless, "breaks down to chance it does not stay at 1, though the accuracy stays at chance"),
        (lambda keep, accuracies, _: 0.9 * keep if average(accuracies) > 0.5 else keep, f"to chance {NOT_BACK}"),
        (lambda keep, *_: max(0, keep - 0.1), "but a keep-ratio is above 0 and at most 1"),
        (lambda keep, *_: keep + 0.1, "it gives 1.1, but a keep-ratio is above 0"),
        (lambda keep, *_: math.nan, "it gives nan, but a keep-ratio"),
        (unsaved, "What it remembers as seen cannot be saved: only numbers, texts, lists and dicts can."),
        (by_attribute, "it stops: KeyError('best')"),
        (lambda keep, *_: None, OPEN),
        (lambda keep, *_: print(end=""), "it gives no value: is a `return` missing?"),
        (lambda keep, *_: None if keep < 1 else 0.5, "it gives no value"),
        (lambda keep, *_: "half", "it gives 'half', which is no number"),
        (lambda keep, *_: True, "it gives True, which is no number"),
    ],
)
def test_a_rule_that_can_go_wrong_is_found(rule, told, capsys):
    check_rule(rule)
    said = capsys.readouterr().out
    assert told in said and said.count("\n") == 1


def test_a_rule_that_is_followed_decides_after_whole_groups_of_steps_and_remembers():
    path = follow(sound, [0.9] * 4 + [0.1] * 4 + [0.9] * 3, 2)
    assert path == pytest.approx([1, 1, 0.95, 0.95, 0.95**2, 0.95**2, 1, 1, 1, 1, 0.95])


def test_the_answers_of_the_lessons_are_those_of_the_library_and_of_arithmetic():
    assert answers.averages([0.5, 0.7, 0.6, 0.8]) == pytest.approx([0.5, 0.6, 0.6, 0.7])
    assert answers.decide(0.5, 0.8, 0.9, 0) == [0.5 * (1 - 0.018), 0], "a drop of a tenth is borne"
    assert answers.decide(0.5, 0.8, 0.9, 2) == [0.5, 1]
    assert answers.decide(0.5, 0.8, 1.0, 2) == [1.0, 3]
    generator = np.random.default_rng(0)
    batches = generator.binomial(128, 0.5, 40_000) / 128
    assert batches.std() == pytest.approx(answers.batch_deviation(0.5), rel=0.02)
    smoothed = np.array(answers.averages(batches.tolist()))[10:]
    assert smoothed.std() == pytest.approx(answers.average_deviation(0.5), rel=0.03)


def test_a_reset_found_the_keep_ratio_before_it():
    decisions = [[1.0, True], [0.9, False], [1.0, True], [0.3, False], [1.0, True], [0.57, False], [1.0, True]]
    assert answers.found_by_resets(decisions) == [0.9, 0.3, 0.57] and answers.idle([0.9, 0.3, 0.57]) == 2


def test_the_answers_are_those_of_the_library():
    [network] = data.made_up_study({"wavering": 0.05}, seeds=1, looks=9, images=100)["wavering"]
    assert answers.clean(network) == pytest.approx(clean_accuracy(np.array(network, dtype=bool)))
    differences = [0.5, 0.1, -0.2, 0.4]
    assert answers.interval(differences, 3.1824463) == pytest.approx(list(student_interval(differences)), rel=1e-6)


def test_in_the_made_up_study_the_best_look_flatters_and_the_clean_measure_does_not():
    same = data.made_up_study({"steady": 0.0}, images=200)["steady"]
    assert np.mean([max(map(np.mean, one)) for one in same]) > 0.84
    assert np.mean([answers.clean(one) for one in same]) == pytest.approx(0.8, abs=0.02)
