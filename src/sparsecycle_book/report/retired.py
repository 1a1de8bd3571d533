"""What became of the guesses of November 2026: one paragraph, its figures from one file."""

import json
from pathlib import Path
from typing import Any

from sparsecycle.runs.provenance import CHECKOUT

FILE = CHECKOUT / "data" / "retired" / "november-2026.json"


def retired_paragraph(path: Path = FILE) -> str:
    """What the two guessed strategies gained at their scale, and against which dense training they did not."""
    found = json.loads(path.read_text(encoding="utf-8"))
    classroom = found["classroom"]
    names = ("loss_gated", "plateau")
    plain, dropout, half = (
        " and ".join(_gain(classroom[name][against]) for name in names)
        for against in ("vs_dense", "vs_dense_dropout", "vs_dense_half_length")
    )
    total = sum(found["runs"].values())
    return (
        f"Until the script was found, this project trained two guesses of its own, `{names[0]}` and `{names[1]}`. They "
        "followed the training loss: the first reset when the loss rose above that of the last dense visit, the second "
        "compressed when the loss at a keep-ratio stopped falling. On a small network and 5,000 images they gained "
        f"{plain} points of test accuracy over dense training. They lost to dense training with dropout: {dropout}. "
        f"Over half as many epochs of dense training they gained nothing that we could see: {half}. These {total} runs "
        "answered a question about our guesses, not about the paper, and are retired; revision "
        f"`{found['git_revision']}` keeps them."
    )


def _gain(found: dict[str, Any]) -> str:
    mean, low, high = (f"{100 * found[key]:+.1f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high}; {found['seeds']} seeds)"
