"""Checks for the exercises of the course: whether an answer is right, and if not, what is wrong and where.

Pure Python: the same file judges answers in a notebook and, with Pyodide, in a page of the book. What an exercise asks
is data that JSON keeps (`Asked`); while the book is built the checks put it on the page instead of a verdict, and
`judge` compares it there with what a reader writes.
"""

import copy
import dis
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

from sparsecycle.errors import shown

RIGHT, OPEN, WRONG = "Right.", "Not answered yet.", "Not yet."
DIGITS = "is nearly right: give more digits."
NO_VALUE = "it gives no value: is a `return` missing?"
IDLE = {"RESUME", "NOP", "RETURN_VALUE", "RETURN_CONST"}  # with the loading of a constant all that a body `...` does
FEW = 16  # values of a list that a message writes out
LINES = 300_000  # that an answer may execute in a page, where nothing else can stop it
IN_THE_BOOK = "SPARSECYCLE_BOOK"  # set while the book is built
WRITTEN = "<answer>"  # the file that a reader's code seems to come from

Asked = dict[str, Any]


def check(name: str, answer: Any, expected: Any, advice: str, given: Mapping[str, Any] | None = None) -> None:
    """Print whether an answer is right.

    Args:
        name: of the variable that holds it.
        answer: number, text, truth value, or a list of these, also nested; `...` stands for what was not done.
        expected: what is right; numbers may differ by a thousandth, relatively, which any that is rounded to four
            digits does not exceed.
        advice: where to look again, one sentence.
        given: variables of the notebook that the exercise speaks of, for a page that has no notebook behind it.
    """
    tell({"name": name, "expected": _plain(expected), "advice": advice, "given": dict(given or {})}, answer)


def check_function(answer: Callable[..., Any], expected: Callable[..., Any], cases: Iterable[Sequence[Any]]) -> None:
    """Print whether a function gives what another one gives, and the first case where it does not.

    Args:
        answer: the function of the exercise; one whose body is `...` was not done.
        expected: the function to compare with.
        cases: arguments of each call.
    """
    worked = [[_plain(list(arguments)), _plain(expected(*copy.deepcopy(arguments)))] for arguments in cases]
    tell({"name": answer.__name__, "cases": worked}, answer)


def verdict(asked: Asked, answer: Any) -> str:
    """Return what to say of an answer: `RIGHT`, `OPEN`, or `WRONG` and why."""
    if "cases" in asked:
        return _verdict_on_function(asked["cases"], answer)
    if "rule" in asked:
        from sparsecycle_book.course.rules import verdict_on_rule

        return verdict_on_rule(answer, **asked["rule"])
    answer = _plain(answer)
    if _open(answer):
        return OPEN if _untouched(answer) else f"{OPEN} A `...` is left."
    fault = _fault(answer, asked["expected"])
    if fault.endswith(DIGITS):
        return f"{WRONG} {fault}"
    return f"{WRONG} {fault} {asked['advice']}" if fault else RIGHT


def judge(source: str, asked: Sequence[Asked]) -> list[str]:
    """Return a line for each thing that an exercise asks of what somebody wrote, or one that says why it does not run.

    An answer that executes too many lines is stopped.
    """
    left = LINES

    def counted(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != WRITTEN:
            return None
        left -= event == "line"
        if left < 0:
            raise _TooLongError
        return counted

    names: dict[str, Any] = {"__name__": "answer"}
    for one in asked:
        names |= copy.deepcopy(one.get("given", {}))
    before = sys.gettrace()
    sys.settrace(counted)
    try:
        exec(compile(source, WRITTEN, "exec"), names)
        return [f"{one['name']}: {verdict(one, names.get(one['name'], ...))}" for one in asked]
    except SyntaxError as error:
        return [f"{WRONG} Line {error.lineno} is not Python: {error.msg}."]
    except _TooLongError:
        return [f"{WRONG} It has not come to an end after {LINES:,} lines: does a loop run for ever?"]
    except Exception as error:
        return [f"{WRONG} Line {_line(error)} stops: {type(error).__name__}: {error}."]
    finally:
        sys.settrace(before)


def judge_json(question: str) -> str:
    """Return `judge` with its arguments and its result as JSON, for the browser."""
    return json.dumps(judge(**json.loads(question)))


def unwritten(function: Any, found: Any) -> bool:
    """Whether a function that gave this is still a stub: one that does nothing, not one that forgot its `return`."""
    if found is None and inspect.isfunction(function):
        steps = {step.opname for step in dis.get_instructions(function)} - IDLE
        return all(name.startswith("LOAD_") and "CONST" in name for name in steps)
    return found is ...


class _TooLongError(BaseException):
    """Not an `Exception`, so that no answer catches it."""


def tell(asked: Asked, answer: Any) -> None:
    """Print the verdict, or while the book is built put what is asked on the page, with the verdict for the builder."""
    told = verdict(asked, answer)
    if not os.environ.get(IN_THE_BOOK):
        print(f"{asked['name']}: {told}")
        return
    from IPython import display

    text = json.dumps(asked | {"verdict": told}, allow_nan=False)
    assert json.loads(text) == asked | {"verdict": told}, f"{asked['name']}: JSON changes what is asked"
    script = (
        f'<script type="application/json" class="exercise-asked">{text.replace("</", "<" + chr(92) + "/")}</script>'
    )
    show: Any = display.display  # without types of its own
    show({"text/html": script}, raw=True)


def _verdict_on_function(cases: Sequence[Sequence[Any]], function: Any) -> str:
    if function is ...:
        return OPEN
    for arguments, wanted in cases:
        told = ", ".join(map(_text, arguments))
        try:
            found = function(*copy.deepcopy(arguments))  # it may work in place
        except Exception as error:
            return f"{WRONG} With {told} it stops: {shown(error)}"
        if unwritten(function, found):
            return OPEN
        if found is None:
            return f"{WRONG} With {told} {NO_VALUE}"
        if _fault(_plain(found), wanted):
            return f"{WRONG} With {told} it gives {_text(found)}, but should give {_text(wanted)}."
    return RIGHT


def _open(answer: Any) -> bool:
    return answer is ... or (isinstance(answer, list) and any(map(_open, answer)))


def _untouched(answer: Any) -> bool:
    return all(map(_untouched, answer)) if isinstance(answer, list) else answer is ...


def _fault(answer: Any, expected: Any, place: str = "") -> str:
    """Return what is wrong with an answer, and at which place; "" where nothing is."""
    at = f"At {place}: " if place else ""
    if isinstance(expected, list):
        rows = bool(expected) and isinstance(expected[0], list)
        if not isinstance(answer, list):
            return f"{at}{_text(answer)} stands where a list is asked for."
        if rows and not any(isinstance(one, list) for one in answer):
            return f"{at}It has no rows: a list of lists is asked for."
        if len(answer) != len(expected):  # how many are right would be half of some answers
            much = "many" if len(answer) > len(expected) else "few"
            return f"{at}There are too {much} {'rows' if rows else 'values'}."
        what = "row" if rows else "value"
        each = (
            _fault(one, right, f"{place}{', ' if place else ''}{what} {number}")
            for number, (one, right) in enumerate(zip(answer, expected, strict=True), 1)
        )
        return next(filter(None, each), "")
    if isinstance(expected, bool | str):
        return "" if type(answer) is type(expected) and answer == expected else f"{at}{_text(answer)} is not right."
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return f"{at}{_text(answer)} is not a number."
    if math.isclose(answer, expected, rel_tol=1e-3, abs_tol=1e-9):
        return ""
    if not math.isfinite(answer):
        return f"{at}{answer} is not right."
    if math.isclose(answer, expected, rel_tol=0.02):
        return f"{at}{_text(answer)} {DIGITS}"
    return f"{at}{_text(answer)} is too {'large' if answer > expected else 'small'}."


def _plain(value: Any) -> Any:
    """Return tensors, arrays and tuples as lists, and their numbers as Python's."""
    if hasattr(value, "tolist"):
        return (value.detach() if hasattr(value, "detach") else value).tolist()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) <= FEW:
        return f"[{', '.join(map(_text, value))}]"
    return shown(value)


def _line(error: BaseException) -> int:
    """Return the last line of what was written that an error passed."""
    trace, line = error.__traceback__, 0
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == WRITTEN else line
        trace = trace.tb_next
    return line
