"""A board on which the controllers run on a loss curve that the reader draws or picks.

The page runs the library's own `controllers.py` in the browser's Python where that was brought when the book was
built; until it is there, or where it is not, what was computed here is shown.
"""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sparsecycle
from sparsecycle_book.figures import METHODS
from sparsecycle_book.playground.board import Board, choice, data_element
from sparsecycle_book.simulation import simulate

MODULES = ("controllers.py", "simulation.py")  # what the browser runs
COST = "cost"
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {  # what it is called on the page, and its values
    "keep_ratio": ("budget", (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)),
    "decay": ("decay, factor of one compression", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)),
    "floor": ("floor, smallest budget", (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)),
    "reset_to": ("budget after a reset", (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
    "tolerance": ("tolerance, nats", (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)),
    "patience": ("patience, periods", (1, 2, 3, 4)),
    "max_hold": ("longest hold, periods", (1, 2, 3, 4, 6, 8)),
    "seed": ("seed", (0, 1, 2, 3, 4)),
    "warmup": ("dense periods first", (0, 1, 2, 5, 10)),
    COST: ("what a budget of 0 would add to the loss, nats", (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)),
}


class controller_board(Board):  # noqa: N801 (reads as what it puts on the page)
    """Choose a controller, its parameters and a loss curve; see the budgets.

    Args:
        curves: training losses in nats by title, one value a period, all of one length; NaN for a period that diverged.
        parameters: of each controller to choose from, by its name; where the knobs stand at first.

    Raises:
        ValueError: no curve, or curves of several lengths; no controller; a parameter at a value that its knob lacks.
    """

    def __init__(self, curves: Mapping[str, Sequence[float]], parameters: Mapping[str, Mapping[str, Any]]) -> None:
        if len({len(curve) for curve in curves.values()}) != 1:
            lengths = ", ".join(str(len(curve)) for curve in curves.values()) or "none"
            raise ValueError(f"the curves need one length, at least one period; given: {lengths}")
        if not parameters:
            raise ValueError("there is no controller to choose: give the parameters of at least one")
        for method, given in parameters.items():
            for name, value in given.items():
                if value not in KNOBS[name][1]:
                    allowed = ", ".join(f"{one:g}" for one in KNOBS[name][1])
                    raise ValueError(f"{name} of {method} is {value}, but its knob has the values {allowed}")
        self.start: dict[str, dict[str, Any]] = {name: {**given, COST: 0.0} for name, given in parameters.items()}
        self.curves = {title: list(map(float, curve)) for title, curve in curves.items()}

    def told(self) -> str:
        return f"controllers {', '.join(self.start)} on: {', '.join(self.curves)}"

    def html(self) -> str:
        titles = {title: html.escape(title) for title in self.curves}
        knobs = "".join(
            f'<label data-knob="{name}"><span>{label}</span> <input type="range" name="{name}" min="0" '
            f'max="{len(values) - 1}" step="1"> <output></output></label>'
            for name, (label, values) in KNOBS.items()
        )
        return (
            '<div class="playground" data-play="controllers"><div class="play-control">'
            + choice("Controller", "method", {name: name for name in self.start})
            + choice("Loss curve", "curve", titles | {"": "your own, drawn below"})
            + f'</div><div class="play-knobs">{knobs}</div>'
            '<div class="play-panel"><span>Training loss, nats: draw into it, or use the arrow keys</span>'
            '<svg class="play-losses" tabindex="0" role="slider" aria-label="training loss by period"></svg></div>'
            '<div class="play-panel"><span>Budget</span>'
            '<svg class="play-budgets" role="img" aria-label="budget by period"></svg></div>'
            '<p class="play-told" role="status">This board needs JavaScript.</p>' + data_element(self.data()) + "</div>"
        )

    def data(self) -> dict[str, Any]:
        """What the script gets."""
        package = Path(sparsecycle.__file__).parent
        return {
            "curves": {title: [None if math.isnan(loss) else loss for loss in c] for title, c in self.curves.items()},
            "knobs": {name: values for name, (_, values) in KNOBS.items()},
            "start": self.start,
            "colours": {method: METHODS[method][0] for method in self.start},
            "computed": self.computed(),
            "sources": {name: (package / name).read_text(encoding="utf-8") for name in MODULES},
        }

    def computed(self) -> dict[str, list[float]]:
        """Budgets by "method|curve|knob|position": each knob moved alone, the others where they stand at first."""
        return {
            f"{method}|{title}|{name}|{position}": _budgets(method, start | {name: value}, curve)
            for method, start in self.start.items()
            for title, curve in self.curves.items()
            for name in start
            for position, value in enumerate(KNOBS[name][1])
        }


def _budgets(method: str, settings: Mapping[str, Any], curve: Sequence[float]) -> list[float]:
    parameters = {name: value for name, value in settings.items() if name != COST}
    return [round(budget, 5) for budget in simulate(method, parameters, curve, settings[COST]).budgets]
