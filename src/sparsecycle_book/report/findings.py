"""The opening sentences of the chapters of results, and their rows of the table of verdicts, from records."""

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
from sparsecycle_book.report.answers import ARMS_IN_WORDS, DEMONSTRATIONS, amount, listed_words, verdicts_shown

NOTHING = "We have no runs yet that answer this."
SMALLER_IS_BETTER = {  # how a finding names a measure whose decrease counts as a gain
    "gap": "the train-test gap (a smaller gap counts as a gain)",
    "drop_from_best": "the drop from best (a smaller drop counts as a gain)",
}


def finding(table: pd.DataFrame, *claims: str) -> str:
    """What was found on these claims: a sentence for each comparison, with its numbers, or one verdict after the other.

    Up to two comparisons are stated with gain, interval and pairs. More are grouped by verdict, and their numbers are
    left to the table.

    Args:
        table: of `verdict_table`.
        claims: such as "C8".
    """
    rows = table[table["claim"].isin(claims) & (table["pairs"] > 0) & (table["rule"] != "shown")].to_dict("records")
    if len(rows) <= 2:
        return " ".join(_told(row) for row in rows) or NOTHING
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(_verdict(row), []).append(_comparison(row))
    return " ".join(f"*{word}*: {listed_words(told)}." for word, told in groups.items())


def _verdict(row: Mapping[Any, Any]) -> str:
    word = "too few pairs to judge" if row["verdict"] == NOT_JUDGED else row["verdict"]
    return f"{word[0].upper()}{word[1:]}{' (preliminary)' if row['preliminary'] else ''}"


def _comparison(row: Mapping[Any, Any]) -> str:
    """What is compared, without numbers: the measure, or the two arms where dense training is not the baseline."""
    if (row["treatment"], row["baseline"]) == ("accuracy_gated", "dense"):
        return SMALLER_IS_BETTER.get(row["measure"], MEASURES[row["measure"]])
    treatment, baseline = (ARMS_IN_WORDS[row[side]] for side in ("treatment", "baseline"))
    return f"{treatment} over {baseline}"


def _told(row: Mapping[Any, Any]) -> str:
    treatment, baseline = (ARMS_IN_WORDS[row[side]] for side in ("treatment", "baseline"))
    measure = SMALLER_IS_BETTER.get(row["measure"], MEASURES[row["measure"]])
    return f"*{_verdict(row)}*: in {measure}, {treatment} gains {amount(row)} over {baseline}."


def claims_shown(table: pd.DataFrame, *claims: str) -> linked_table:
    """The claims' rows of the table of verdicts, each claim's number leading to its words in the plan.

    p-values and detectable effects are left to the table of all verdicts.
    """
    rows = verdicts_shown(table[table["claim"].isin(claims)])
    left_out = ["p", "p (Holm)", "detectable", *([] if "C1" in claims else ["paper"])]
    rows = rows.drop(columns=left_out, errors="ignore")
    return linked_table(rows, dict.fromkeys(claims, "plan.html#claims-and-measures"), wraps=True)


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
    """How many resets of the published rule came where the constraint removes almost nothing, and what follows.

    Args:
        runs: rows of `load_runs` of one preset.
    """
    gated = runs[(runs["method"] == "accuracy_gated")] if len(runs) else runs
    resets = int(gated["resets"].sum()) if len(gated) else 0
    if not resets:
        return "No run of the published rule with a reset is recorded."
    share = gated["idle_resets"].sum() / resets
    found = "were idle" if share > 0.5 else "came while the constraint removed activations"
    noise = " They answer to the noise of batches and of training itself, not to the constraint." if share > 0.5 else ""
    return (
        f"**In runs of `{gated['preset'].iloc[0]}`, most resets of the published rule {found}.** Of {resets} resets, "
        f"{share:.0%} came at a keep-ratio of {ACTIVE:g} or more, where the constraint removes almost nothing.{noise}"
    )


def looks_table(runs: pd.DataFrame, correct: Mapping[str, NDArray[np.bool_]], methods: Iterable[str]) -> pd.DataFrame:
    """`placebo.best_by_looks` of the methods that have runs."""
    return best_by_looks(runs[runs["method"].isin(list(methods))], correct)


def placebo_sentence(table: pd.DataFrame) -> str:
    """What dense training gains over itself by four times as many test evaluations."""
    looks = sorted(table["looks"].unique()) if len(table) else []
    if not looks or counts(looks[-1]) != looks:
        return NOTHING
    more, fewer = looks[-1], looks[-1] // 4
    one: Comparison = placebo(table, "dense", more, fewer)
    if len(one.pairs) < 2:
        return NOTHING
    unclear = " The interval is too wide to tell how much that is." if one.low < 0 < one.high else ""
    return (
        f"By frequent evaluation alone, dense training gains {amount(vars(one) | {'pairs': len(one.pairs)})} as "
        f"reported. Runs with {more} test evaluations are compared with runs of other seeds that have {fewer}: only "
        f"the number of evaluations and chance separate them.{unclear}"
    )


def preset_note(preset: str) -> str:
    """Which runs a chapter is about."""
    config = RunConfig(preset=preset, method="dense")
    scale = f"WRN-{config.depth}-{config.width}, {config.train_images:,} training images, {config.epochs} epochs"
    judged = "" if preset != "quick" else f" {DEMONSTRATIONS}"
    said = "Unless the text says otherwise, the numbers on this page come from runs of the preset"
    return f"{said} `{preset}` ({scale}).{judged}"
