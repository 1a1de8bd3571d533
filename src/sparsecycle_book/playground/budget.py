"""A slider over budgets, over the feature maps of a network."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from sparsecycle_book.playground.board import Board

GAP = 2  # pixels between two maps
COLOURS = ("#0f83c9", "#d55e00", "#009e73")  # of the bars, in order


@dataclass(frozen=True)
class BudgetView:
    """What is seen at one budget.

    Attributes:
        budget: in (0, 1].
        maps: activations (channels, height, width), the same channels at each budget.
        accuracies: by what they were measured on.
    """

    budget: float
    maps: npt.NDArray[Any]
    accuracies: Mapping[str, float]


class budget_slider(Board):  # noqa: N801 (reads as what it puts on the page)
    """A slider over budgets: feature maps of a network and its accuracies at the budget chosen.

    Args:
        title: what the picture shows that the network looks at.
        picture: uint8 (height, width, 3).
        views: one a budget, the largest first. The colours span the same range in all.

    Raises:
        ValueError: no view.
    """

    def __init__(self, title: str, picture: npt.NDArray[np.uint8], views: Sequence[BudgetView]) -> None:
        if not views:
            raise ValueError("there is no budget to choose: give at least one view")
        self.title, self.picture, self.views = title, picture, views

    def told(self) -> str:
        return "; ".join(map(self._told, self.views))

    def _told(self, view: BudgetView) -> str:
        accuracies = ", ".join(f"{images} {value:.1%}" for images, value in view.accuracies.items())
        left = (view.maps > 0).mean()
        return f"keep-ratio {view.budget:g}: {left:.0%} of these values are left; accuracy {accuracies}"

    def html(self) -> str:
        """Without scripts it shows the first view."""
        top = max(float(view.maps.max()) for view in self.views)
        picture = _address(Image.fromarray(self.picture))
        views = "".join(self._view(number, view, top) for number, view in enumerate(self.views))
        budgets = " ".join(f"{view.budget:g}" for view in self.views)
        return (
            '<div class="playground" data-play="budget"><div class="play-control">'
            f'<label>Keep-ratio <input type="range" min="0" max="{len(self.views) - 1}" step="1" value="0" '
            f'data-budgets="{budgets}" aria-valuetext="{self.views[0].budget:g}"></label> '
            f'<output>{self.views[0].budget:g}</output></div><div class="play-board">'
            f'<img class="play-picture" src="{picture}" alt="{html.escape(self.title)}, as the network sees it">'
            f"{views}</div></div>"
        )

    def _view(self, number: int, view: BudgetView, top: float) -> str:
        bars = "".join(
            f'<div class="play-bar"><span>{images}</span><span class="play-track">'
            f'<span style="width: {100 * value:.1f}%; background: {colour}"></span></span>'
            f"<span>{value:.1%}</span></div>"
            for (images, value), colour in zip(view.accuracies.items(), COLOURS, strict=False)
        )
        alt = f"Feature maps of {self.title} at {self._told(view).split(';')[0]}"
        return (
            f'<div class="play-view"{"" if number == 0 else " hidden"}><img src="{_address(_montage(view.maps, top))}" '
            f'alt="{html.escape(alt)}"><div class="play-bars">{bars}</div></div>'
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
