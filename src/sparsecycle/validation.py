"""What pydantic finds wrong, told in one sentence."""

import difflib

from pydantic import BaseModel, ValidationError

from sparsecycle.errors import shown


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
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
