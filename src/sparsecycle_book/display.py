"""How a figure gets onto a page: one drawing that follows the page's light or dark theme, with alternative text.

A figure is drawn once, in `INK` on nothing. As inline SVG the ink becomes `currentColor`, so that text, axes and grid
take the colour of the text around them; a PNG on white is kept beside it for print and for pages that take no HTML.
"""

import hashlib
import html
import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure

INK = "#1f2329"
STYLE: Any = {  # Any: matplotlib types its keys one by one
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: it can be read, searched and marked
    "svg.hashsalt": "sparsecycle",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def book_style() -> AbstractContextManager[None]:
    """Return a context of matplotlib's own defaults with `STYLE`: no setting of the user's changes a figure in it."""
    return style.context(["default", STYLE])


class show:  # noqa: N801 (reads as the verb that it is in a notebook)
    """A figure for a notebook's output: `show(figure, caption="...")` as the last line of a cell.

    Args:
        figure: one of `sparsecycle_book.figures`; its label is the alternative text.
        caption: text under the figure.
        name: by which the text of a page of the book refers to it.

    The book numbers the figures of a page, and links each to the code that drew it.

    Raises:
        ValueError: the figure has no label, so that nobody who cannot see it would know what it shows.
    """

    def __init__(self, figure: Figure, caption: str = "", name: str = "") -> None:
        self.figure = figure
        self.caption = caption
        self.name = name
        self.alt = alternative_text(figure)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        known = {"data-name": self.name, "data-code": self.figure.get_gid()}
        said = "".join(f' {key}="{html.escape(value)}"' for key, value in known.items() if value)
        return {
            "text/html": f'<figure class="drawn"{said}>{inline_svg(self.figure)}{caption}</figure>',
            "image/png": png(self.figure),
            "text/plain": self.alt,
        }


def refer(name: str) -> str:
    """What a figure of the same page becomes in text that code makes, as {fignum}`name` does elsewhere."""
    return f'<a class="figure-reference" data-name="{html.escape(name)}"></a>'


def alternative_text(figure: Figure) -> str:
    """The figure's label.

    Raises:
        ValueError: it has none.
    """
    text = str(figure.get_label() or "")
    if not text:
        raise ValueError("the figure has no alternative text: say what it shows with figure.set_label(...)")
    return text


def inline_svg(figure: Figure, ink: str = "currentColor") -> str:
    """The figure as an `<svg>` element that scales with the page; `ink` replaces the colour of text and axes."""
    buffer = io.StringIO()
    with book_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<(g|image)([^>]*?) id="[^"]*"', r"<\1\2", drawing)  # nothing refers to these
    drawing = drawing.replace(INK, ink)
    # Several drawings share a page: what is referred to inside one must not be found in another.
    prefix = hashlib.sha256(drawing.encode()).hexdigest()[:8]
    drawing = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{prefix}-", drawing)
    width = figure.get_figwidth()
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    attributes = f'role="img" aria-label="{html.escape(alternative_text(figure))}"'
    style = f'style="width: 100%; max-width: {width:.1f}in; height: auto"'
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg {attributes} {style} \1 {names}>", drawing, count=1)


def png(figure: Figure) -> bytes:
    """The figure on white, 100 dots an inch."""
    buffer = io.BytesIO()
    with book_style():
        figure.savefig(buffer, format="png", dpi=100, facecolor="white")
    return buffer.getvalue()


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame without its index as a Markdown table, which takes the colours of the page. Nothing is shown for NaN."""
    lines = [f"| {' | '.join(frame.columns)} |", "|---" * len(frame.columns) + "|"]
    for row in frame.itertuples(index=False):
        lines.append(f"| {' | '.join('' if value != value else str(value) for value in row)} |")
    return "\n".join(lines)


def folded(title: str, content: str) -> str:
    """Markdown that is folded away under a title until a reader opens it."""
    return f"<details>\n<summary>{html.escape(title)}</summary>\n\n{content}\n\n</details>"


class Element:
    """HTML for a notebook's output, and the same in words."""

    def __init__(self, html: str, told: str) -> None:
        self.html, self.told = html, told

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html, "text/plain": self.told}


def linked_table(
    frame: pd.DataFrame, addresses: Mapping[str, str], under: str = "", *, ids: bool = False, wraps: bool = False
) -> Element:
    """A frame for a notebook's output, labels of its index as links.

    Args:
        frame: to show.
        addresses: where labels lead; one that has none is no link.
        under: a column whose texts are code, shown below the labels and not beside them.
        ids: whether each label is also the id of its row's head, so that other pages can lead there.
        wraps: whether cells may take several lines; otherwise a wide table scrolls.
    """
    shown = frame.map(lambda value: html.escape(str(value)))
    labels = []
    for label in frame.index:
        text = html.escape(label)
        if label in addresses:
            text = f'<a href="{html.escape(addresses[label])}">{text}</a>'
        labels.append(f'<span id="{html.escape(label)}">{text}</span>' if ids else text)
    if under:
        options = [re.split(r" (?=--)", command) for command in shown.pop(under)]
        commands = [" ".join(f"<span>{part}</span>" for part in parts) for parts in options]
        labels = [f"{label}<code>{text}</code>" for label, text in zip(labels, commands, strict=True)]
    shown.index = pd.Index(labels)
    # The name of the labels as that of the columns: pandas gives it a row of its own otherwise.
    shown.columns.name = frame.index.name
    return Element(shown.to_html(escape=False, classes="wraps" if wraps else None), repr(frame))
