"""A board on which the published rule runs on a course of the training accuracy that the reader draws or picks.

The page runs the library's own `controllers.py` in the browser's Python where that was brought when the book was built;
until it is there, or where it is not, the presets on the curves to pick are shown as they were computed here.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sparsecycle
import sparsecycle_book
from sparsecycle_book.display import Element
from sparsecycle_book.figures import METHODS
from sparsecycle_book.simulation import simulate

RULE = "accuracy_gated"
MODULES = (
    Path(sparsecycle.__file__).with_name("controllers.py"),
    Path(sparsecycle_book.__file__).with_name("simulation.py"),
)
STEPS_AN_EPOCH = 390  # of CIFAR-10 in batches of 128
GIVES_WAY, GIVES_WAY_AT = "gives_way", 0.1  # the knob of `simulate`'s own, and where it stands at first
EPOCH_GATED = 1.0 - (1.0 - 0.018) ** (390 / 128)  # what three of the published decisions take away together
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {  # what it is called on the page, and its values
    "decision_steps": ("steps between decisions", (13, 26, 50, 64, 128, 256, 390, 780)),
    "tighten": ("share that a decision removes", (0.005, 0.01, 0.018, 0.02, 0.03, EPOCH_GATED, 0.1, 0.2)),
    "tolerance": ("tolerance, fall that is borne", (0.01, 0.03, 0.06, 0.12, 0.18, 0.24, 0.5, 1.0)),
    "smoothing": ("weight of the old average", (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)),
    "relax": ("what a reset adds", (0.03, 0.1, 0.2, 0.5, 1.0)),
    "cooldown": ("cooldown, decisions", (0, 1, 2, 3, 5, 10, 20)),
    "floor": ("floor, smallest keep-ratio", (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)),
    GIVES_WAY: ("keep-ratio below which accuracy gives way", (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)),
}


def controller_board(
    curves: Mapping[str, Sequence[float]], presets: Mapping[str, Mapping[str, float]], epochs: int = 100
) -> Element:
    """Choose the rule's parameters and a course of the training accuracy; see average, best, keep-ratio and resets.

    Args:
        curves: training accuracies in [0, 1] by title, each value for an equal part of the run; all of one length.
        presets: parameters of the published rule by title; where the knobs stand when the preset is picked.
        epochs: of the run, of 390 steps each.

    Raises:
        ValueError: a parameter that is missing or whose knob lacks the value.
    """
    for title, given in presets.items():
        for name, (_, values) in KNOBS.items():
            if name != GIVES_WAY and given.get(name) not in values:
                allowed = ", ".join(f"{one:g}" for one in values)
                raise ValueError(f"{name} of {title!r} is {given.get(name)}, but its knob has the values {allowed}")
    knobs = "".join(
        f'<label data-knob="{name}"><span>{label}</span> <input type="range" name="{name}" min="0" '
        f'max="{len(values) - 1}" step="1"> <output></output></label>'
        for name, (label, values) in KNOBS.items()
    )
    return Element(
        '<div class="playground" data-play="controllers"><div class="play-control">'
        + _choice("Parameters", "preset", {title: title for title in presets} | {"": "your own, set below"})
        + _choice("Training accuracy", "curve", {title: title for title in curves} | {"": "your own, drawn below"})
        + _choice("Noise", "noise", {"1": "of batches of 128 images", "": "none"})
        + f'<button type="button" class="play-again">Start over</button></div><div class="play-knobs">{knobs}</div>'
        '<div class="play-panel"><span>Training accuracy: draw into it, or use the arrow keys</span>'
        '<svg class="play-drawing" style="touch-action: none; user-select: none; cursor: crosshair" tabindex="0" '
        'role="slider" aria-label="training accuracy by epoch"></svg></div>'
        '<div class="play-panel"><span>Keep-ratio</span>'
        '<svg class="play-keep" role="img" aria-label="keep-ratio by epoch"></svg></div>'
        + _legend()
        + '<div class="play-control"><label>Look at one decision '
        '<input type="range" name="decision" min="1" max="1" step="1" value="1"></label></div>'
        '<p class="play-decision" role="status"></p>'
        '<p class="play-told" role="status">This board needs JavaScript.</p>'
        + _data_element(_data(curves, presets, epochs))
        + "</div>",
        f"the published rule with {', '.join(presets)} on: {', '.join(curves)}",
    )


def _data(
    curves: Mapping[str, Sequence[float]], presets: Mapping[str, Mapping[str, float]], epochs: int
) -> dict[str, Any]:
    """What the script gets."""
    steps_each = epochs * STEPS_AN_EPOCH // len(next(iter(curves.values())))
    computed = {}
    for preset, parameters in presets.items():
        for curve, accuracies in curves.items():
            made = simulate(parameters, accuracies, steps_each, gives_way=GIVES_WAY_AT, noise=True)
            for values in (made.averages, made.bests, made.keep_ratios):
                values[:] = [float(f"{value:.4g}") for value in values]
            computed[f"{preset}|{curve}"] = asdict(made)
    return {
        "curves": curves,
        "epochs": epochs,
        "steps_each": steps_each,
        "knobs": {name: values for name, (_, values) in KNOBS.items()},
        "presets": {title: {**given, GIVES_WAY: GIVES_WAY_AT} for title, given in presets.items()},
        "colour": METHODS[RULE].colour,
        "computed": computed,
        "sources": {f"{path.parent.name}/{path.name}": path.read_text(encoding="utf-8") for path in MODULES},
    }


def _data_element(data: Any) -> str:
    """JSON that a script of the page reads; nothing in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return f'<script type="application/json" class="play-data">{text}</script>'


def _choice(label: str, name: str, options: Mapping[str, str]) -> str:
    """A labelled list to choose from: value and text of each option."""
    listed = "".join(
        f'<option value="{html.escape(value)}">{html.escape(text)}</option>' for value, text in options.items()
    )
    select = f'<select name="{name}" style="min-width: 0">{listed}</select>'
    return f'<label style="max-width: 100%">{label} {select}</label>'


def _legend() -> str:
    """What each line of the drawings is, beside a piece of it."""
    colour = METHODS[RULE].colour
    lines = {
        "training accuracy as given": "2px solid currentColor; opacity: 0.45",
        "its average, and the keep-ratio": f"2px solid {colour}",
        "best average so far": "2px dashed currentColor",
        "best less the tolerance: below it the rule resets": "2px dotted currentColor",
        "the path before your last change": "2px solid currentColor; opacity: 0.35",
    }
    pieces = "".join(
        f'<span><span class="play-line" style="border-top: {style}"></span> {name}</span>'
        for name, style in lines.items()
    )
    return f'<p class="play-legend">{pieces}<span>▾ reset</span></p>'
