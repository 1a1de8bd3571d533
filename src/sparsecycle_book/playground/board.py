"""What the boards share: an element with its data, as a notebook shows it and a script of the page finds it."""

import json
from abc import ABC, abstractmethod
from typing import Any


class Board(ABC):
    """Something to play with, shown by a notebook as HTML or told in words."""

    @abstractmethod
    def html(self) -> str:
        """Return the whole thing as one element."""

    @abstractmethod
    def told(self) -> str:
        """Return what it holds, in words."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html(), "text/plain": self.told()}


def data_element(data: Any) -> str:
    """Return JSON that a script of the page reads; nothing in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return f'<script type="application/json" class="play-data">{text}</script>'


def choice(label: str, name: str, options: dict[str, str]) -> str:
    """Return a labelled list to choose from: value and text of each option."""
    listed = "".join(f'<option value="{value}">{text}</option>' for value, text in options.items())
    select = f'<select name="{name}" style="min-width: 0">{listed}</select>'
    return f'<label style="max-width: 100%">{label} {select}</label>'
