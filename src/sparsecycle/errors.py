"""The one exception that means "what was given cannot be used", told in one sentence."""


class InputError(ValueError):
    """A user's mistake: the message names the thing, what was given and what is allowed.

    The command line prints the message without a traceback; notebooks (and papermill, which quotes them) do the
    same, because IPython asks an exception for its own rendering.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"InputError: {self}"]
