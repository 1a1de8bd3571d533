"""What the chapters of results open with: findings as sentences and as rows of the table of verdicts, from records."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsecycle.analysis.placebo import best_by_looks, counts, placebo
from sparsecycle.analysis.statistics import Comparison
from sparsecycle.analysis.verdicts import NOT_JUDGED
from sparsecycle.config import RunConfig
from sparsecycle.runs.metrics import ACTIVE
from sparsecycle_book.display import linked_table
from sparsecycle_book.figures import MEASURES
from sparsecycle_book.report.answers import verdicts_shown

NOTHING = "Nothing of this is measured yet."
ARMS_IN_WORDS = {
    "dense": "dense training",
    "accuracy_gated": "the published rule",
    "epoch_gated": "the reconstructed second strategy",
    "replay": "a path that another seed took",
    "shuffled": "its own path in random order",
    "fixed": "a fixed keep-ratio",
    "dense, tuned": "tuned dense training",
    "dense with dropout": "dense training with dropout",
    "accuracy_gated with dropout": "the published rule with dropout",
    "dense, 20 % wrong labels": "dense training, both with a fifth of the labels wrong",
    "accuracy_gated, 20 % wrong labels": "the published rule",
}


def finding(table: pd.DataFrame, *claims: str) -> str:
    """One sentence for each comparison of these claims that was measured: verdict, gain, interval and pairs.

    Args:
        table: of `verdict_table`.
        claims: such as "C8".
    """
    rows = table[table["claim"].isin(claims) & (table["pairs"] > 0) & (table["rule"] != "shown")]
    return " ".join(_told(row) for row in rows.to_dict("records")) or NOTHING


def _told(row: Mapping[Any, Any]) -> str:
    word = "too few pairs to judge" if row["verdict"] == NOT_JUDGED else row["verdict"]
    word = f"preliminary: {word}" if row["preliminary"] else word
    treatment, baseline = (ARMS_IN_WORDS[row[side]] for side in ("treatment", "baseline"))
    return (
        f"*{word[0].upper()}{word[1:]}*: {treatment} gains {amount(row)} over {baseline}, measured by "
        f"{MEASURES[row['measure']]}."
    )


def amount(row: Mapping[Any, Any]) -> str:
    """A gain in points with its interval and pairs, such as "+0.30 points (95 % interval -0.10 to +0.70, 15 pairs)"."""
    mean, low, high = (100 * row[name] for name in ("mean", "low", "high"))
    pairs = f"{row['pairs']} pair{'s' if row['pairs'] != 1 else ''}"
    interval = f"95 % interval {low:+z.2f} to {high:+z.2f}, " if low == low else ""
    return f"{mean:+z.2f} points ({interval}{pairs})"


def claims_shown(table: pd.DataFrame, *claims: str) -> linked_table:
    """Their rows of the table of verdicts, each claim's number leading to its words in the plan."""
    rows = table[table["claim"].isin(claims)]
    return linked_table(verdicts_shown(rows), dict.fromkeys(claims, "plan.html#claims-and-measures"), wraps=True)


def idle_table(groups: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many resets of rules with feedback were idle: a row for each group of runs that has any.

    Args:
        groups: rows of `load_runs` by what they are called.
    """
    rows = []
    for name, runs in groups.items():
        own = runs[runs["resets"].astype(float) > 0] if len(runs) else runs
        for method in ("accuracy_gated", "epoch_gated"):
            gated = own[own["method"] == method] if len(own) else own
            if len(gated):
                resets, idle = int(gated["resets"].sum()), int(gated["idle_resets"].sum())
                rows.append({"runs": name, "rule": f"`{method}`", "number of runs": len(gated), "resets": resets})
                rows[-1] |= {"idle": idle, "share": f"{idle / resets:.0%}"}
    return pd.DataFrame(rows)


def idle_sentence(runs: pd.DataFrame) -> str:
    """How much of the published rule's feedback comes where the constraint removes almost nothing, and what follows."""
    gated = runs[(runs["method"] == "accuracy_gated")] if len(runs) else runs
    resets = int(gated["resets"].sum()) if len(gated) else 0
    if not resets:
        return "No run of the published rule with a reset is recorded."
    share = gated["idle_resets"].sum() / resets
    meaning = (
        "So most of what the rule reacts to is not the constraint: it is the noise of batches and of training itself"
        if share > 0.5
        else "So most resets answer to the constraint"
    )
    return (
        f"{share:.0%} of the {resets} resets in {len(gated)} run{'s' * (len(gated) > 1)} of the published rule came at "
        f"a keep-ratio of {ACTIVE:g} or more, where the constraint removes almost nothing. {meaning}."
    )


def looks_table(runs: pd.DataFrame, correct: Mapping[str, NDArray[np.bool_]], methods: Iterable[str]) -> pd.DataFrame:
    """`placebo.best_by_looks` of the methods that have runs."""
    return best_by_looks(runs[runs["method"].isin(list(methods))], correct)


def placebo_sentence(table: pd.DataFrame) -> str:
    """What dense training gains over itself by being looked at four times as often."""
    looks = sorted(table["looks"].unique()) if len(table) else []
    if not looks or counts(looks[-1]) != looks:
        return NOTHING
    more, fewer = looks[-1], looks[-1] // 4
    one: Comparison = placebo(table, "dense", more, fewer)
    if len(one.pairs) < 2:
        return NOTHING
    return (
        f"Dense training gains {amount(vars(one) | {'pairs': len(one.pairs)})} over dense training of other seeds, as "
        f"reported, if it is looked at {more} times and they are looked at {fewer} times. Nothing but the number of "
        "looks and luck separates the two."
    )


def preset_note(preset: str) -> str:
    """Of which runs a chapter speaks."""
    config = RunConfig(preset=preset, method="dense")
    scale = f"WRN-{config.depth}-{config.width}, {config.train_images:,} training images, {config.epochs} epochs"
    judged = "" if preset != "quick" else " Runs of `quick` show the parts at work and judge nothing."
    return f"All numbers are of runs of `{preset}`: {scale}.{judged}"
