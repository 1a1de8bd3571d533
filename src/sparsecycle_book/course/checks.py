"""Checks for the exercises of the course: in one line, whether an answer is right, and if not, where to look."""

import copy
import dis
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sparsecycle.errors import shown

RIGHT, OPEN = "Right.", "Not answered yet."
NO_VALUE = "it gives no value: is a `return` missing?"
IDLE = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}  # all that Python makes of a body that is `...`
FEW = 16  # values of an array that a message writes out


def check(answer: Any, expected: Any, hint: str) -> None:
    """Print whether an answer is right.

    Args:
        answer: number, text, set, sequence or tensor; `...` stands for an exercise that was not done.
        expected: what is right; numbers may differ by a thousandth, relatively, which any that is rounded to four
            digits does not exceed. A set is compared with whatever holds the same numbers.
        hint: what to look at again, one sentence.
    """
    print(_verdict(answer, expected, hint))


def check_function(answer: Callable[..., Any], expected: Callable[..., Any], cases: Iterable[Sequence[Any]]) -> None:
    """Print whether a function gives what another one gives, case by case, and the first case where it does not.

    Args:
        answer: the function of the exercise; one whose body is `...` was not done.
        expected: the function to compare with.
        cases: arguments of each call.
    """
    for arguments in cases:
        told = ", ".join(_text(one) for one in arguments)
        wanted = expected(*copy.deepcopy(arguments))
        try:
            found = answer(*copy.deepcopy(arguments))  # it may work in place
        except Exception as error:
            print(f"Not yet. With {told} it stops: {shown(error)}")
            return
        if unwritten(answer, found):
            print(OPEN)
            return
        if found is None:
            print(f"Not yet. With {told} {NO_VALUE}")
            return
        if not _same(found, wanted):
            print(f"Not yet. With {told} it gives {_text(found)}, but should give {_text(wanted)}.")
            return
    print(RIGHT)


def unwritten(function: Callable[..., Any], given: Any) -> bool:
    """Whether a function that gave this is still a stub: one that does nothing, not one that forgot its `return`."""
    if given is None and inspect.isfunction(function):
        return {step.opname for step in dis.get_instructions(function)} <= IDLE
    return given is ...


def _verdict(answer: Any, expected: Any, hint: str) -> str:
    if answer is ... or (isinstance(answer, list | tuple | set | dict) and any(one is ... for one in answer)):
        return OPEN
    return RIGHT if _same(answer, expected) else f"Not yet. {hint}"


def _same(answer: Any, expected: Any) -> bool:
    answer = _plain(answer)
    if isinstance(answer, np.ndarray) and answer.ndim == 0:
        answer = answer.item()
    if isinstance(expected, bool):
        return isinstance(answer, bool | np.bool_) and bool(answer) == expected
    if isinstance(expected, str):
        return isinstance(answer, str) and answer == expected
    if isinstance(expected, set):
        try:
            return set(answer if isinstance(answer, set) else np.asarray(answer).ravel().tolist()) == expected
        except TypeError:
            return False
    try:
        given, wanted = (np.asarray(_plain(value), dtype=np.float64) for value in (answer, expected))
    except (TypeError, ValueError):
        return False
    return given.shape == wanted.shape and bool(np.allclose(given, wanted, rtol=1e-3, atol=1e-9, equal_nan=True))


def _plain(value: Any) -> Any:
    return value.detach().numpy() if hasattr(value, "detach") else value


def _text(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, np.ndarray):
        if plain.ndim:
            return f"an array of shape {plain.shape}" if plain.size > FEW else str(plain.tolist())
        plain = plain.item()
    if isinstance(plain, float) and math.isfinite(plain):
        return f"{plain:.4g}"
    return shown(plain)
