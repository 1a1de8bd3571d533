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
    """The verdicts on the paper's two claims at the largest preset that judges, or that there are none yet.

    Presets whose runs are too few to judge are described after it.
    """
    preset = shown_tier(runs)
    if preset in LARGE:
        table = verdict_table(runs, preset)
        told = [_claim(rows) for _, rows in table[table["rule"] == "gain"].groupby("claim", sort=False)]
        answer = f"At the `{preset}` scale ({_scale(preset)}): " + " ".join(one for one in told if one)
    else:
        begun = any(len(tier(runs, large)) for large in LARGE)
        answer = (
            "**There is no verdict yet, at any scale.** The author's script settles what the method is, and this book "
            f"trains exactly that. The study that will judge the claim {'has begun' if begun else _PLANNED}."
        )
    return " ".join([answer, *(described(runs, one) for one in described_presets(runs))])


_PLANNED = "is planned and has not been run"


def described_presets(runs: pd.DataFrame) -> list[str]:
    """Presets that could judge and have runs that count, but too few pairs of them, the largest first."""
    return [preset for preset in LARGE if len(tier(runs, preset)) and shown_tier(tier(runs, preset)) != preset]


def described(runs: pd.DataFrame, preset: str) -> str:
    """What the few runs of a preset show: the gain in both measures of C1 and C2 where there is a pair, no verdict."""
    count, table = len(tier(runs, preset)), verdict_table(runs, preset)
    told = [
        f"At the `{preset}` scale ({_scale(preset)}) {count} run{'s are' if count > 1 else ' is'} recorded, too few to "
        f"judge, which takes {FEWEST_PAIRS} pairs."
    ]
    for _, rows in table[(table["rule"] == "gain") & (table["pairs"] > 0)].groupby("claim", sort=False):
        first = rows.iloc[0]
        gains = [f"{100 * row['mean']:+z.2f} points ({MEASURES[row['measure']]})" for row in rows.to_dict("records")]
        pairs = f"{first['pairs']} pair{'s' if first['pairs'] > 1 else ''}"
        told.append(f"`{first['treatment']}` gains {' and '.join(gains)} over {pairs}.")
    return " ".join(told)


def _scale(preset: str) -> str:
    config = RunConfig(preset=preset, method="dense")
    return f"WRN-{config.depth}-{config.width}, {config.train_images:,} training images, {config.epochs} epochs"


def quick_warning(runs: pd.DataFrame) -> str:
    """What runs of `quick` are not, where no larger preset speaks for the claims."""
    if shown_tier(runs) != "quick":
        return ""
    return (
        "The figures show runs of `quick`, a minute of training each on the embedded images and the smallest network "
        "of the family. The network is far from having learned its images, the rule compresses ten times as fast as "
        "the published one, and gradients are clipped so that training survives it."
    )


def our_accuracies(runs: pd.DataFrame) -> str:
    """Our runs of the published configuration, to be read beside the paper's numbers."""
    counted = tier(runs, "paper")
    if counted.empty:
        return "No run of the published configuration is recorded here yet."
    told = [
        f"`{method}` {group['best_accuracy'].mean():.4f} (best, as reported; {len(group)} run{'s' * (len(group) > 1)})"
        for method, group in counted.groupby("method", sort=False)
    ]
    return f"Our own runs of the published configuration reach {', '.join(told)}."


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


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the verdict table that answer the question: strategies and controls that were compared."""
    return table[table["rule"].isin(["gain", "control"]) & (table["pairs"] > 0)]


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
