"""The opening sentences of the chapters of results, and their rows of the table of verdicts, from records."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sparsecycle.analysis.selection import arms, shown_tier
from sparsecycle.analysis.verdicts import (
    CLEAN,
    FIRM_PAIRS,
    MARGIN,
    NOT_JUDGED,
    NOT_MEASURED,
    compare_arms,
    verdict_table,
)
from sparsecycle_book.display import Element, linked_table
from sparsecycle_book.figures import ARMS_IN_WORDS, MEASURES
from sparsecycle_book.report.answers import (
    amount,
    interval_told,
    keep_ratio_controls,
    listed_words,
    regularization,
    scale,
    verdicts_shown,
)
from sparsecycle_book.report.budgets import NOTHING, dropout_area_sentence

DISTURBED = ("pruned_area", "int8_accuracy", "noise_accuracy", "blur_accuracy", "contrast_accuracy", "removal_accuracy")
PROPERTIES = {  # verdicts on a property of networks, of which `what` lists measures
    "supported": "{who} improves {what}",
    "contradicted": "{who} worsens {what}",
    "no effect": f"{{who}} changes {{what}} by less than {100 * MARGIN:g} points",
    "undecided": "it is undecided whether {who} changes {what}",
    NOT_JUDGED: "there are too few pairs to judge whether {who} changes {what}",
}
CONTROLS = {  # verdicts on a strategy and its controls, of which `what` is a list
    "better": "{who} beats {what}",
    "worse": "{who} does worse than {what}",
    "equivalent": f"{{who}} does as well as {{what}}, to within {100 * MARGIN:g} points",
    "undecided": "it is undecided whether {who} beats {what}",
    NOT_JUDGED: "there are too few pairs to judge whether {who} beats {what}",
}
NOUNS = {"gap": "the train-test gap", "drop_from_best": "the drop from best"}  # where `MEASURES` says what is better


def finding(table: pd.DataFrame, *claims: str, brief: bool = False) -> str:
    """What was found on these claims: a sentence for each verdict, and the numbers where it is about one comparison.

    The claims are of C3 to C6 or C8. In brief, only a difference that was found has its numbers.
    """
    rows = table[table["claim"].isin(claims) & (table["pairs"] > 0)].to_dict("records")
    if not rows:
        return NOTHING
    rows.sort(key=lambda row: list(CONTROLS if row["rule"] == "control" else PROPERTIES).index(row["verdict"]))
    groups: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
    for row in rows:
        sentence = (CONTROLS if row["rule"] == "control" else PROPERTIES)[row["verdict"]]
        groups.setdefault((ARMS_IN_WORDS[row["treatment"]], sentence), []).append(row)
    told = []
    for (who, sentence), found in groups.items():
        one = sentence.format(who=who, what=listed_words([_object(row) for row in found]))
        verdict = found[0]["verdict"]
        numbered = len(found) == 1 and not (brief and verdict in ("equivalent", "no effect", "undecided"))
        word = "difference" if verdict in ("worse", "contradicted") else "gain"
        level = 90 if verdict in ("equivalent", "no effect") else 95  # the interval that decides
        numbers = f": a {word} of {amount(found[0], level)}" if numbered else ""
        told.append(f"{one[0].upper()}{one[1:]}{numbers}.")
    told[0] = f"**{told[0]}**"
    few = [row["preliminary"] for row in rows]
    if any(few):
        which = (
            ("These verdicts are" if len(rows) > 1 else "This verdict is")
            if all(few)
            else "Verdicts from fewer pairs are"
        )
        told.append(f"{which} preliminary: a firm one takes {FIRM_PAIRS} pairs.")
    return " ".join(told)


def further_findings(runs: pd.DataFrame) -> list[str]:
    """What was found on ordinary regularization, the controls and over all keep-ratios, where that is judged."""
    table = verdict_table(runs)
    judged = table[~table["verdict"].isin([NOT_MEASURED, NOT_JUDGED])]
    asked = (regularization(judged), keep_ratio_controls(judged), judged[judged["claim"] == "C3"])
    found = [
        f"{finding(rows, *rows['claim'].unique(), brief=True)}{_wider_than_gain(rows, table)}"
        for rows in asked
        if len(rows)
    ]
    dropout = dropout_area_sentence(runs, shown_tier(runs), brief=True) if len(asked[-1]) else ""
    return [*found[:-1], f"{found[-1]} {dropout}"] if dropout else found


def excess_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """What the published rule gains over dense training under each disturbance beyond what it gains without any.

    Columns: measured by, excess over the gain in last test accuracy with its 95 % interval and pairs, as text.
    """
    counted, rows = arms(runs, preset), []
    for measure in [name for name in DISTURBED if name in counted]:
        beyond = counted.assign(excess=counted[measure] - counted["last_accuracy"])
        for row in compare_arms(beyond, preset, {"accuracy_gated": "dense"}, "excess").to_dict("records"):
            told = {"excess (95 % interval)": interval_told(row), "pairs": row["pairs"]}
            rows.append({"measured by": MEASURES[measure], "above": row["low"] > 0} | told)
    return pd.DataFrame(rows)


def excess_sentence(table: pd.DataFrame) -> str:
    """How many excesses of `excess_table` have an interval above zero."""
    above = int(table["above"].sum())
    return (
        f"Each gain above includes the gain in [last test accuracy](dense.html), which is measured without a "
        f"disturbance, so the excess over it is the fairer number. Its 95 % interval lies above zero in "
        f"{above or 'none'} of the {len(table)} measures. The verdicts follow the plan, which did not ask for the "
        "excess, so it is exploratory, and not corrected for their number."
    )


def clean_gain(table: pd.DataFrame) -> Mapping[Any, Any]:
    """The row of the verdict table on the published rule's gain over dense training in clean accuracy."""
    [row] = table[(table["claim"] == "C1") & (table["measure"] == CLEAN)].to_dict("records")
    return row


def _wider_than_gain(rows: pd.DataFrame, table: pd.DataFrame) -> str:
    """That the margin of equivalent controls is wider than the gain that they might explain, where it is."""
    if not (rows["verdict"] == "equivalent").any() or not abs(clean_gain(table)["mean"]) < MARGIN:
        return ""
    return f" The margin of {100 * MARGIN:g} points is wider than the rule's own gain."


def _object(row: Mapping[Any, Any]) -> str:
    """What a verdict is about: the control of a strategy, or the measure and whatever else both arms share."""
    if row["rule"] == "control":
        return ARMS_IN_WORDS[row["baseline"]]
    measure, shared = NOUNS.get(row["measure"], MEASURES[row["measure"]]), row["baseline"].partition(", ")[2]
    return f"{measure} with {shared}" if shared else measure


def claims_shown(table: pd.DataFrame, *claims: str) -> Element:
    """The claims' rows of the table of verdicts, each claim's number leading to its words in the plan.

    p-values and detectable effects are left to the table of all verdicts.
    """
    rows = verdicts_shown(table[table["claim"].isin(claims)])
    left_out = ["90 % interval", "p (Holm)", "detectable", *([] if "C1" in claims else ["paper"])]
    rows = rows.drop(columns=left_out, errors="ignore")
    return linked_table(rows, dict.fromkeys(claims, "plan.html#claims-and-measures"), wraps=True)


def preset_note(preset: str) -> str:
    """Which runs a chapter is about."""
    said = "Unless the text says otherwise, the numbers on this page come from runs of the preset"
    return f"{said} `{preset}` ({scale(preset)})."
