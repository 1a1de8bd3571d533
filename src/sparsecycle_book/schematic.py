"""The schematic of a block: where the constraint stands, and what the controller tells it."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from sparsecycle_book.display import INK
from sparsecycle_book.figures import METHODS, styled


@styled
def block_schematic() -> Figure:
    """A pre-activation block with the constraint after each ReLU, and the loop that sets its budget."""
    figure = Figure(figsize=(8, 3.9))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 16)
    axes.set_ylim(0, 7.6)
    _draw_block(axes)
    _draw_ranks(axes)
    figure.set_label(
        "A block: the input passes RMSNorm, ReLU with top-k, a convolution, and the same three once more, and is added "
        "to the shortcut. After each period the controller takes the training loss and sets the budget r of every "
        "top-k. Of 10 ranked activations, the 4 largest are kept and 6 are set to zero."
    )
    return figure


def _draw_block(axes: Axes) -> None:
    accent = METHODS["plateau"][0]
    names = ("RMSNorm", "ReLU\ntop-k", "conv\n3 x 3", "RMSNorm", "ReLU\ntop-k", "conv\n3 x 3")
    for place, name in enumerate(names):
        left = 1.3 + 2.15 * place
        constrained = "top-k" in name
        _box(axes, (left, 4.6), 1.55, name, *((accent, 2.4) if constrained else ()))
        _arrow(axes, (left - 0.6, 5.2), (left, 5.2))
        if constrained:
            _arrow(axes, (left + 0.78, 3.05), (left + 0.78, 4.6), accent)
    axes.text(0.45, 5.2, "x", ha="center", va="center", fontsize=13, style="italic")
    _arrow(axes, (13.6, 5.2), (14.3, 5.2))
    axes.text(14.55, 5.2, "+", ha="center", va="center", fontsize=17)
    _arrow(axes, (14.85, 5.2), (15.4, 5.2))
    axes.text(15.65, 5.2, "z", ha="center", va="center", fontsize=13, style="italic")
    axes.plot([0.45, 0.45, 14.55], [5.55, 6.6, 6.6], color=INK, linewidth=1.2)
    _arrow(axes, (14.55, 6.6), (14.55, 5.55))
    axes.text(7.5, 6.75, "shortcut", ha="center", fontsize=10)
    _box(axes, (3.45, 1.85), 8.0, "controller: sets the budget r of\nthe next period from the training loss")
    axes.text(10.95, 3.65, "budget r", color=accent, fontsize=10.5)
    axes.text(4.5, 3.65, "budget r", color=accent, fontsize=10.5)


def _draw_ranks(axes: Axes) -> None:
    """Ten ranked activations under the block, four of them kept."""
    accent = METHODS["plateau"][0]
    for rank, size in enumerate((1.45, 1.2, 1.05, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.12)):
        kept = rank < 4
        style: Any = {"color": accent} if kept else {"facecolor": "none", "edgecolor": INK, "linestyle": ":"}
        axes.bar(12.1 + 0.36 * rank, size, width=0.26, bottom=0.9, align="edge", **style)
    axes.text(12.1, 0.35, "k kept", color=accent, fontsize=10)
    axes.text(13.55, 0.35, "the rest: zero", fontsize=10)


def _box(
    axes: Axes, corner: tuple[float, float], width: float, text: str, colour: str = INK, line: float = 1.2
) -> None:
    (left, bottom), height = corner, 1.2
    outline: Any = {"boxstyle": "round,pad=0.02,rounding_size=0.15", "facecolor": "none", "edgecolor": colour}
    axes.add_patch(FancyBboxPatch(corner, width, height, linewidth=line, **outline))
    axes.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=10)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    style: Any = {"arrowstyle": "-|>", "mutation_scale": 11, "color": colour, "linewidth": 1.2}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))
