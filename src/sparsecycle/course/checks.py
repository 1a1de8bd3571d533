"""Checks for the exercises of the course: in one line, whether an answer is right, and if not, where to look."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

RIGHT, OPEN = "Right.", "Not answered yet."


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
        answer: the function of the exercise; one that returns `...` or None was not done.
        expected: the function to compare with.
        cases: arguments of each call.
    """
    for arguments in cases:
        told = ", ".join(_text(one) for one in arguments)
        wanted = expected(*copy.deepcopy(arguments))
        try:
            found = answer(*copy.deepcopy(arguments))  # it may work in place
        except Exception as error:
            print(f"Not yet. With {told} it stops: {type(error).__name__}, {error}")
            return
        if found is None or not _same(found, wanted):
            undone = found is None or found is ...
            print(OPEN if undone else f"Not yet. With {told} it gives {_text(found)}, but should give {_text(wanted)}.")
            return
    print(RIGHT)


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
        plain = plain.tolist()
    if isinstance(plain, float) and math.isfinite(plain):
        return f"{plain:.4g}"
    return str(plain)


def check_rule(rule: Callable[[float, float, float], Any], floor: float, *, patience: int = 50) -> None:
    """Print whether a rule for the next budget keeps the bounds, never grows but by a reset to 1, and resets at last.

    Args:
        rule: takes the budget, the loss of the period just trained at it and that of the last dense period; returns the
            next budget.
        floor: the smallest budget that is allowed.
        patience: periods within which a reset must come, whatever the losses.
    """
    first = True
    for losses in _sequences():
        budget, dense_loss, since_reset = 1.0, math.nan, 0
        for loss in losses.tolist():
            if budget == 1:
                dense_loss = loss
            told = f"With budget {budget:.3g}, loss {loss:.3g} and dense loss {dense_loss:.3g}"
            try:
                found = rule(budget, loss, dense_loss)
            except Exception as error:
                print(f"Not yet. {told} it stops: {type(error).__name__}, {error}")
                return
            if (found is None or found is ...) and first:
                print(OPEN)
                return
            first = False
            if not isinstance(found, int | float | np.number):
                print(f"Not yet. {told} it gives {found!r}, which is no number.")
                return
            if not floor <= found <= 1:
                print(f"Not yet. {told} it gives {found!r}, which is not from {floor} to 1.")
                return
            if budget < found < 1:
                print(f"Not yet. {told} it grows to {found:.3g}; the only way up is a reset to 1.")
                return
            since_reset = 0 if found == 1 else since_reset + 1
            if since_reset > patience:
                print(f"Not yet. There was no reset for {patience} periods, the last with budget {budget:.3g}.")
                return
            budget = float(found)
    print(RIGHT)


def _sequences() -> list[np.ndarray[Any, Any]]:
    """Losses that a rule must bear: usual ones, and those of a training that breaks."""
    rng, periods = np.random.default_rng(0), np.arange(200)
    found = [rng.uniform(0, 3, 200), np.full(200, 1.0), np.linspace(3, 0, 200), np.linspace(0, 3, 200)]
    found.append(np.full(200, math.nan))
    for bad in (math.nan, math.inf, -math.inf):
        found += [np.where(periods < 3, 1.0, bad), np.where(periods % 2, bad, 1.0)]
    return found
