"""A slider over budgets, over the feature maps of a network."""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from sparsecycle_book.display import Element

GAP = 2  # pixels between two maps
COLOURS = ("#0f83c9", "#d55e00", "#009e73")  # of the bars, in order


def budget_slider(
    title: str,
    picture: npt.NDArray[np.uint8],
    maps: Mapping[float, npt.NDArray[Any]],
    accuracies: Mapping[float, Mapping[str, float]],
) -> Element:
    """A slider over budgets: feature maps of a network and its accuracies at the budget chosen, at first the first one.

    Args:
        title: what the picture shows that the network looks at.
        picture: uint8 (height, width, 3).
        maps: activations (channels, height, width) by budget, the same channels at each. The colours span the same
            range in all.
        accuracies: by budget, and by what they were measured on.
    """
    top = max(float(values.max()) for values in maps.values())
    views: list[str] = []
    told = []
    for budget, values in maps.items():
        bars = "".join(
            f'<div class="play-bar"><span>{images}</span><span class="play-track">'
            f'<span style="width: {100 * value:.1f}%; background: {colour}"></span></span>'
            f"<span>{value:.1%}</span></div>"
            for (images, value), colour in zip(accuracies[budget].items(), COLOURS, strict=False)
        )
        left = f"keep-ratio {budget:g}: {(values > 0).mean():.0%} of these values are left"
        alt = html.escape(f"Feature maps of {title} at {left}")
        views.append(
            f'<div class="play-view"{" hidden" if views else ""}><img src="{_address(_montage(values, top))}" '
            f'alt="{alt}"><div class="play-bars">{bars}</div></div>'
        )
        measured = ", ".join(f"{images} {value:.1%}" for images, value in accuracies[budget].items())
        told.append(f"{left}; accuracy {measured}")
    first, budgets = f"{next(iter(maps)):g}", " ".join(f"{budget:g}" for budget in maps)
    return Element(
        '<div class="playground" data-play="budget"><div class="play-control">'
        f'<label>Keep-ratio <input type="range" min="0" max="{len(maps) - 1}" step="1" value="0" '
        f'data-budgets="{budgets}" aria-valuetext="{first}"></label> '
        f'<output>{first}</output></div><div class="play-board">'
        f'<img class="play-picture" src="{_address(Image.fromarray(picture))}" '
        f'alt="{html.escape(title)}, as the network sees it">{"".join(views)}</div></div>',
        "; ".join(told),
    )


def _montage(maps: npt.NDArray[Any], top: float) -> Image.Image:
    """The maps side by side, four in a row, nothing between them."""
    channels, height, width = maps.shape
    rows = -(-channels // 4)
    board = np.zeros((rows * (height + GAP) - GAP, 4 * (width + GAP) - GAP, 4), dtype=np.uint8)
    for number, values in enumerate(maps):
        y, x = number // 4 * (height + GAP), number % 4 * (width + GAP)
        board[y : y + height, x : x + width] = mpl.colormaps["viridis"](values / top, bytes=True)
    return Image.fromarray(board)


def _address(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
