"""The checks of the course: what is right passes, what is not is told in a line that helps."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsecycle import make_controller
from sparsecycle.controllers import Decision
from sparsecycle.evaluation.reporting import as_reported, clean_accuracy
from sparsecycle_book.course import answers, check, check_function, check_rule, follow
from sparsecycle_book.course.checks import OPEN, RIGHT
from sparsecycle_book.course.rules import Rule
from sparsecycle_book.course.studies import made_up_study


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


def average(accuracies: list[float]) -> float:
    return sum(accuracies) / len(accuracies)


def sound(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    memory["best"] = max(memory.get("best", 0.0), average(accuracies))
    return 1.0 if average(accuracies) < memory["best"] - 0.2 else 0.95 * keep_ratio


def little_by_little(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    memory["best"] = max(memory.get("best", 0.0), average(accuracies))
    return min(1.0, keep_ratio + 0.05) if average(accuracies) < memory["best"] - 0.2 else 0.95 * keep_ratio


def like_the_one_before(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    before, memory["last"] = memory.get("last", 0.0), average(accuracies)
    return 1.0 if memory["last"] < before - 0.2 else 0.95 * keep_ratio


def unsaved(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    memory["seen"] = np.array(accuracies)
    return 0.95 * keep_ratio


def by_attribute(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    return keep_ratio * memory["best"]  # type: ignore[no-any-return]


def published(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
    controller = make_controller("accuracy_gated", decision_steps=len(accuracies))
    if memory:
        controller.load_state_dict(memory["state"])
    controller.update(accuracies)
    memory["state"] = controller.state_dict()
    return controller.keep_ratio


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (sound, RIGHT),
        (little_by_little, RIGHT),
        (published, RIGHT),
        (lambda keep_ratio, accuracies, memory: 1.0, "It never compresses"),
        (lambda keep_ratio, accuracies, memory: 0.95 * keep_ratio, "a controller looks at the accuracy"),
        (lambda keep_ratio, accuracies, memory: 0.5 if keep_ratio == 1 else 1.0, "a controller looks at the accuracy"),
        (
            lambda keep_ratio, accuracies, memory: 0.1 + 0.9 * average(accuracies),
            "never brings the keep-ratio down to one half",
        ),
        # It compares with the decision before, so that a slow decline never resets it.
        (
            like_the_one_before,
            "Where the accuracy slides down little by little it is not back at 1 within 50 decisions",
        ),
        # It never comes back.
        (
            lambda keep_ratio, accuracies, memory: 0.9 * keep_ratio if average(accuracies) > 0.5 else keep_ratio,
            "Where the accuracy breaks down to chance it is not back at 1 within 50 decisions",
        ),
        (lambda keep_ratio, accuracies, memory: max(0, keep_ratio - 0.1), "but a keep-ratio is above 0 and at most 1"),
        (lambda keep_ratio, accuracies, memory: keep_ratio + 0.1, "it gives 1.1, but a keep-ratio is above 0"),
        (lambda keep_ratio, accuracies, memory: math.nan, "it gives nan, but a keep-ratio"),
        (unsaved, "What it remembers as seen cannot be saved: only numbers, texts, lists and dicts can."),
        (by_attribute, "it stops: KeyError('best')"),
        (lambda keep_ratio, accuracies, memory: None, OPEN),
        (lambda keep_ratio, accuracies, memory: print(end=""), "it gives no value: is a `return` missing?"),
        (lambda keep_ratio, accuracies, memory: None if keep_ratio < 1 else 0.5, "it gives no value"),
        (lambda keep_ratio, accuracies, memory: "half", "it gives 'half', which is no number"),
        (lambda keep_ratio, accuracies, memory: True, "it gives True, which is no number"),
    ],
)
def test_a_rule_that_can_go_wrong_is_found(rule: Rule, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_rule(rule)
    said = capsys.readouterr().out
    assert told in said and said.count("\n") == 1


def test_a_rule_that_is_followed_decides_after_whole_groups_of_steps_and_remembers() -> None:
    path = follow(sound, [0.9] * 4 + [0.1] * 4 + [0.9] * 3, 2)
    assert path == pytest.approx([1, 1, 0.95, 0.95, 0.95**2, 0.95**2, 1, 1, 1, 1, 0.95])


def test_the_answers_of_the_lessons_are_those_of_the_library_and_of_arithmetic() -> None:
    assert answers.averages([0.5, 0.7, 0.6, 0.8]) == pytest.approx([0.5, 0.6, 0.6, 0.7])
    assert answers.decide(0.5, 0.8, 0.9, 0) == (0.5 * (1 - 0.018), 0), "a drop of a tenth is borne"
    assert answers.decide(0.5, 0.8, 0.9, 2) == (0.5, 1)
    assert answers.decide(0.5, 0.8, 1.0, 2) == (1.0, 3)
    generator = np.random.default_rng(0)
    batches = generator.binomial(128, 0.5, 40_000) / 128
    assert batches.std() == pytest.approx(answers.batch_deviation(0.5, 128), rel=0.02)
    smoothed = np.array(answers.averages(batches.tolist()))[10:]
    assert smoothed.std() == pytest.approx(answers.average_deviation(0.5, 128), rel=0.03)


def test_a_reset_is_idle_where_the_keep_ratio_that_it_found_removed_almost_nothing() -> None:
    path = [(1.0, True), (0.9, False), (1.0, True), (0.3, False), (1.0, True), (0.57, False), (1.0, True)]
    decisions = [Decision(step, 0.5, 0.9, keep, reset) for step, (keep, reset) in enumerate(path)]
    assert answers.idle_resets(decisions) == 2


def test_in_the_made_up_study_the_best_look_flatters_and_the_clean_measure_does_not() -> None:
    same = made_up_study({"steady": 0.0}, images=200)["steady"]
    assert np.mean([as_reported(one.correct) for one in same]) > 0.84
    assert np.mean([clean_accuracy(one.correct) for one in same]) == pytest.approx(0.8, abs=0.02)
