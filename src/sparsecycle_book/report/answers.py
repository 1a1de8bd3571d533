"""The answer so far, from the runs that count: for the first page, the results and the README."""

import pandas as pd

from sparsecycle.analysis.selection import TIERS, shown_tier, tier
from sparsecycle.analysis.verdicts import (
    CLAIMS,
    FEWEST_PAIRS,
    MEASURED,
    NOT_JUDGED,
    NOT_MEASURED,
    PAPER_ACCURACY,
    readable_verdicts,
    verdict_table,
)
from sparsecycle.config import RunConfig
from sparsecycle_book.figures import MEASURES

LARGE = ("paper", "paper100", "classroom")  # presets that judge; quick only shows the parts at work


def question() -> str:
    """The paper's claim in a sentence, with its numbers."""
    dense, first, second = PAPER_ACCURACY.values()
    return (
        f"The paper reports a test accuracy of {first:g} and {second:g} for its two strategies and {dense:g} for dense "
        "training, one run each."
    )


def short_answer(runs: pd.DataFrame) -> str:
    """The verdicts on the paper's two claims at the largest preset that judges, or that there are none yet."""
    preset = shown_tier(runs)
    if preset not in LARGE:
        return (
            "**There is no verdict yet, at any scale.** The author's script settles what the method is, and this book "
            "trains exactly that. The study that will judge the claim is planned and has not been run."
        )
    config = RunConfig(preset=preset, method="dense")
    scale = f"WRN-{config.depth}-{config.width}, {config.train_images:,} training images, {config.epochs} epochs"
    table = verdict_table(runs, preset)
    told = [_claim(rows) for _, rows in table[table["rule"] == "gain"].groupby("claim", sort=False)]
    return f"At the `{preset}` scale ({scale}): " + " ".join(one for one in told if one)


def _claim(rows: pd.DataFrame) -> str:
    """The verdict on one claim with the effects of its co-primary measures; nothing where it was not measured."""
    first = rows.iloc[0]
    if first["verdict"] == NOT_MEASURED:
        return ""
    effects = " and ".join(
        f"{100 * row['mean']:+z.2f} points ({MEASURES[row['measure']]}, 95 % interval {100 * row['low']:+z.2f} to "
        f"{100 * row['high']:+z.2f})"
        for row in rows.to_dict("records")
    )
    word = f"preliminary: {first['verdict']}" if first["preliminary"] else first["verdict"]
    return f"{first['claim']} is *{word}*: `{first['treatment']}` gains {effects} over {first['pairs']} pairs."


def recorded_sentence(runs: pd.DataFrame) -> str:
    """Which runs are recorded, by preset, and which presets judge nothing."""
    counts = {preset: len(tier(runs, preset)) for preset in TIERS}
    known = ", ".join(f"{count} of `{preset}`" for preset, count in counts.items() if count)
    if not known:
        return "No run that could count is recorded yet."
    judging = any(counts[preset] for preset in LARGE)
    return f"Recorded runs that count: {known}." + (
        "" if judging else " Runs of `quick` show the parts at work; they judge nothing."
    )


def verdicts_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`verdict_table` for the page of results: the verdict first; intervals and p-values where any is judged."""
    readable = readable_verdicts(table)
    compared = readable["treatment"] + readable["measure"].map(_sign) + readable["baseline"]
    readable = readable.assign(measure=readable["measure"].map(MEASURES), compared=compared)
    judged = ["paper", "95 % interval", "p", "p (Holm)", "detectable"] if _judged(table).any() else []
    return readable[["verdict", "ours", *judged, "pairs", "measure", "compared"]]


def _sign(measure: str) -> str:
    return " / " if measure in {claim.measure for claim in CLAIMS if claim.ratio} else " − "


def _judged(table: pd.DataFrame) -> "pd.Series[bool]":
    return ~table["verdict"].isin([NOT_MEASURED, NOT_JUDGED, MEASURED])


def verdict_note(table: pd.DataFrame) -> str:
    """What the verdict column says as a whole, for the page that shows the table."""
    judged = int(_judged(table).sum())
    if not judged:
        return f"No claim is judged: each comparison needs at least {FEWEST_PAIRS} pairs of runs of one preset."
    return f"{judged} of the {len(table)} comparisons are judged."
