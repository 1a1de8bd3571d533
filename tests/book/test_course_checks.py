"""The checks of the course: what is right passes, what is not is told in a line that helps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsecycle_book.course import check, check_function, check_rule
from sparsecycle_book.course.checks import OPEN, RIGHT


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


def test_a_function_is_compared_case_by_case(capsys: pytest.CaptureFixture[str]) -> None:
    def stops(value: float) -> float:
        raise KeyError("three")

    for function in (lambda value: 2 * value, lambda value: value**2, stops, lambda value: None):
        check_function(function, lambda value: 2 * value, [(2,), (3.5,)])
    assert capsys.readouterr().out.splitlines() == [
        RIGHT,
        "Not yet. With 3.5 it gives 12.25, but should give 7.",
        "Not yet. With 2 it stops: KeyError('three')",
        OPEN,
    ]


def test_a_stub_is_open_and_a_forgotten_return_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def stub(value: float) -> Any: ...

    def with_words(value: float) -> Any:
        """Twice the value."""

    def passed(value: float) -> Any:
        # Tomorrow.
        pass

    def left_open(value: float) -> Any:
        return ...

    def forgotten(value: float) -> Any:
        2 * value

    def sometimes(value: float) -> Any:
        if value < 3:
            return 2 * value

    for function in (stub, with_words, passed, left_open, forgotten, sometimes):
        check_function(function, lambda value: 2 * value, [(2,), (3.5,)])
    told = [f"Not yet. With {given} it gives no value: is a `return` missing?" for given in ("2", "3.5")]
    assert capsys.readouterr().out.splitlines() == [OPEN] * 4 + told


@pytest.mark.parametrize(
    ("given", "wrong", "told"),
    [
        (torch.zeros(2, 3, 6, 5), 0.5, "With an array of shape (2, 3, 6, 5) it gives 0.5, but should give 1."),
        (torch.zeros(1, 1, 2), torch.zeros(30), "With [[[0.0, 0.0]]] it gives an array of shape (30,), but should"),
        ([0.5] * 1000, "x" * 1000, "With [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...] it gives 'xxx"),
    ],
)
def test_a_message_stays_short_whatever_is_given(
    given: Any, wrong: Any, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_function(lambda value: wrong, lambda value: 1.0, [(given,)])
    said = capsys.readouterr().out
    assert told in said and len(said) < 300


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
        (lambda budget, loss, dense, floor: print(end=""), "it gives no value: is a `return` missing?"),
        (lambda budget, loss, dense, floor: None if budget < 1 else 0.5, "it gives no value"),
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
