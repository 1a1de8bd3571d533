"""The schematic of a block: where the constraint stands, where the shortcut begins, what the controller sets."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sparsecycle_book.display import INK
from sparsecycle_book.figures import METHODS, WIDTH, styled

ACCENT = METHODS["accuracy_gated"].colour


@styled
def block_schematic() -> Figure:
    """A block with the constraint after each ReLU, its raw shortcut, and the loop that sets the keep-ratio."""
    figure = Figure(figsize=(WIDTH, 4.6))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 11.2)
    axes.set_ylim(0, 9.2)
    for line, bottom in enumerate((6.2, 4.2)):
        for place, name in enumerate(("RMSNorm\ngain, bias", "ReLU,\ntop-k", "conv\n3 x 3")):
            left = 1.5 + 2.9 * place
            style: Any = (ACCENT, 2.4) if "top-k" in name else (INK, 1.2)
            _box(axes, (left, bottom), 2.1, name, *style)
            if place or not line:
                _arrow(axes, (left - 0.8, bottom + 0.6), (left, bottom + 0.6))
    axes.text(0.4, 6.8, "x", ha="center", va="center", fontsize=13, style="italic")
    # The second row begins where the first one ends.
    axes.plot([9.4, 9.7, 9.7, 1.1, 1.1], [6.8, 6.8, 5.8, 5.8, 4.8], color=INK, linewidth=1.2)
    _arrow(axes, (1.1, 4.8), (1.5, 4.8))
    axes.plot([9.4, 10.3], [4.8, 4.8], color=INK, linewidth=1.2)
    axes.text(10.55, 4.8, "+", ha="center", va="center", fontsize=17)
    _arrow(axes, (10.55, 4.5), (10.55, 3.7))
    axes.text(10.55, 3.4, "z", ha="center", va="center", fontsize=13, style="italic")
    axes.plot([0.4, 0.4, 10.55], [7.1, 8.3, 8.3], color=INK, linewidth=1.2)
    _arrow(axes, (10.55, 8.3), (10.55, 5.1))
    axes.text(5.4, 8.5, "shortcut of the raw x (1 x 1 conv where the shape changes)", ha="center", fontsize=10.5)
    _box(axes, (1.5, 0.6), 7.9, "controller: sets the keep-ratio r from\nthe training accuracy of each step")
    _arrow(axes, (5.45, 1.8), (5.45, 4.2), ACCENT)
    axes.text(5.7, 2.9, "keep-ratio r, one for all top-k", color=ACCENT, fontsize=10.5)
    figure.set_label(
        "A block: the input x passes RMSNorm, ReLU with top-k and a 3x3 convolution, twice, and is added to the "
        "shortcut, which takes the raw input, by a 1x1 convolution where the shape changes. The controller takes the "
        "training accuracy of each step and sets the keep-ratio r of every top-k."
    )
    return figure


def _box(
    axes: Axes, corner: tuple[float, float], width: float, text: str, colour: str = INK, line: float = 1.2
) -> None:
    (left, bottom), height = corner, 1.2
    outline: Any = {"boxstyle": "round,pad=0.02,rounding_size=0.15", "facecolor": "none", "edgecolor": colour}
    axes.add_patch(FancyBboxPatch(corner, width, height, linewidth=line, **outline))
    axes.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=10.5)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    style: Any = {"arrowstyle": "-|>", "mutation_scale": 11, "color": colour, "linewidth": 1.2}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))
