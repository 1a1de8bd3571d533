"""The one exception that means "what was given cannot be used", told in one sentence."""

import difflib
import reprlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class InputError(ValueError):
    """A user's mistake: the message names the thing, what was given and what is allowed.

    The command line prints the message without a traceback; notebooks (and papermill, which quotes them) do the
    same, because IPython asks an exception for its own rendering.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"InputError: {self}"]


_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxstring, _short.maxother = 2, 8, 8, 100, 100


def shown(value: object) -> str:
    """What was given, as a message can hold it, however long it is."""
    try:
        text = _short.repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 300 else f"{text[:300]}..."


def sentence(error: "ValidationError", model: "type[BaseModel]") -> str:
    """The first fault of a pydantic report as one sentence with the field, what was given and what is allowed."""
    first = error.errors()[0]
    field, given = ".".join(str(part) for part in first["loc"]), shown(first["input"])
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(field, model.model_fields, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown field {field!r}: {hint}{model.__name__} has {', '.join(model.model_fields)}"
    if first["type"] == "missing":
        return f"{field} is missing: give it"
    if first["type"] == "value_error":
        return f"{field} is {given}, but {message}" if field else message
    return f"{field} is {given}, but should be {message}"
