"""The one exception that means "what was given cannot be used", told in one sentence."""

import reprlib


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
