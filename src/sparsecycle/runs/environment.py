"""Environment variables for a while."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(given: Mapping[str, str | None]) -> Iterator[None]:
    """Set these variables, or unset those given as None, and put all back afterwards."""
    before = {name: os.environ.get(name) for name in given}
    _put(given)
    try:
        yield
    finally:
        _put(before)


def _put(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
