"""What became of the guesses of November 2026: one paragraph, with its numbers from one file."""

import json
from typing import Any

from sparsecycle.runs.provenance import CHECKOUT

FILE = CHECKOUT / "data" / "retired" / "november-2026.json"


def retired_paragraph() -> str:
    """What the two guessed strategies gained at their scale, and against which dense training they did not."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    classroom = found["classroom"]
    names = ("loss_gated", "plateau")
    plain, dropout, half = (
        " and ".join(_gain(classroom[name][against]) for name in names)
        for against in ("vs_dense", "vs_dense_dropout", "vs_dense_half_length")
    )
    total = sum(found["runs"].values())
    return (
        f"Before the script was found, we trained two guesses of our own, `{names[0]}` and `{names[1]}`, on a small "
        "network and 5,000 images. Both reset the keep-ratio when it reached a lower bound. The first also reset "
        "it earlier, when the training loss rose above its value at the last keep-ratio of 1. The second compressed "
        "whenever the training loss stopped falling. "
        f"They gained {plain} points of test accuracy over dense training. Dropout helped far more: compared with "
        f"dense training with dropout, they were behind, at {dropout} points. Compared with dense training for half as "
        f"many epochs, they gained {half} points, which is no clear difference. These {total} runs answered a question "
        f"about our guesses and not about the paper, so we retired them; revision `{found['git_revision']}` keeps them."
    )


def _gain(found: dict[str, Any]) -> str:
    mean, low, high = (f"{100 * found[key]:+.1f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high}; {found['seeds']} seeds)"
