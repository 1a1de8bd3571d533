"""The claims, their measures and the rules for verdicts, all fixed before any result.

Runs are paired by seed. Effects are fractions of the test images (0.01 is one point); a positive one is an improvement.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sparsecycle.analysis.selection import arms, shown_tier
from sparsecycle.analysis.statistics import Comparison, compare_pairs, equivalence_test, holm, paired_difference

MARGIN = 0.005  # half a point: what lies inside counts as no effect
FEWEST_PAIRS = 4  # with fewer, nothing is judged
FIRM_PAIRS = 8  # with fewer, a verdict is preliminary
LEVEL = 0.05

NOT_MEASURED = "not measured"
NOT_JUDGED = "not judged: described"
MEASURED = "measured"  # a number for which no rule was fixed

PAPER_ACCURACY = {"dense": 0.869, "first strategy": 0.8797, "second strategy": 0.8802}
"""Test accuracies that the paper reports, of one run each; which strategy the author's script is, is not said."""
PAPER_EFFECT = round(PAPER_ACCURACY["first strategy"] - PAPER_ACCURACY["dense"], 4)
"""The smaller of the two reported gains, to which both C1 and C2 are held."""

ARMS: Mapping[str, str] = {
    "shuffled": "replay shuffled=true",
    "fixed": "fixed keep_ratio=0.48",  # geometric mean of `accuracy_gated` over the seeds 0 to 7 of `classroom`
    "dense, 20 % wrong labels": "dense wrong_labels=0.2",
    "accuracy_gated, 20 % wrong labels": "accuracy_gated wrong_labels=0.2",
    # Chosen on held-out training images, by the study `tuning`.
    "dense, tuned": "dense dropout=0.4",
    "dense with dropout": "dense dropout=0.4",
    "accuracy_gated with dropout": "accuracy_gated dropout=0.4",
}
"""What `selection.arms` calls an arm, where it is not what the claims call it."""


@dataclass(frozen=True)
class Claim:
    """One claim on the method and one measure of it.

    Attributes:
        id: C1 to C8.
        text: what is claimed.
        treatment, baseline: arms; see `ARMS`.
        measure: a column of `load_runs`.
        rule: "gain" (`gain_verdict`, of both co-primary measures), "property" (`property_verdict`), "control"
            (`control_verdict`), or "shown" for what is shown without a verdict.
        larger_is_better: whether a larger measure is an improvement.
        margin: half-width of what counts as no effect.
        ratio: whether treatment and baseline are compared by their ratio.
    """

    id: str
    text: str
    treatment: str
    baseline: str
    measure: str
    rule: str
    larger_is_better: bool = True
    margin: float = MARGIN
    ratio: bool = False


REPORTED, CLEAN = "best_accuracy", "clean_accuracy"  # the co-primary measures
_GATED, _DENSE = "accuracy_gated", "dense"
_FIRST = "The published strategy beats dense training"
_SECOND = "The second strategy, reconstructed, beats dense training"
_SPARSE = "One network works in dense and sparse regimes"
_OVERFITS = "Resists overfitting"
_COMPRESSES = "More amenable to compression (hoped for)"
_RESILIENT = "More resilient (hoped for)"
_MECHANISM = "Feedback, order and cycling matter (our question)"
_REGULARIZES = "Does more than plain regularization (our question)"
CLAIMS = (
    Claim("C1", _FIRST, _GATED, _DENSE, REPORTED, "gain"),
    Claim("C1", _FIRST, _GATED, _DENSE, CLEAN, "gain"),
    Claim("C1", _FIRST, _GATED, _DENSE, "last_accuracy", "shown"),
    Claim("C2", _SECOND, "epoch_gated", _DENSE, REPORTED, "gain"),
    Claim("C2", _SECOND, "epoch_gated", _DENSE, CLEAN, "gain"),
    Claim("C2", _SECOND, "epoch_gated", _DENSE, "last_accuracy", "shown"),
    Claim("C3", _SPARSE, _GATED, _DENSE, "budget_area", "property"),
    Claim("C4", _OVERFITS, _GATED, _DENSE, "gap", "property", larger_is_better=False),
    Claim("C4", _OVERFITS, _GATED, _DENSE, "drop_from_best", "property", larger_is_better=False),
    Claim("C4", _OVERFITS, "accuracy_gated, 20 % wrong labels", "dense, 20 % wrong labels", CLEAN, "property"),
    Claim("C5", _COMPRESSES, _GATED, _DENSE, "pruned_area", "property"),
    Claim("C5", _COMPRESSES, _GATED, _DENSE, "int8_accuracy", "property"),
    Claim("C6", _RESILIENT, _GATED, _DENSE, "noise_accuracy", "property"),
    Claim("C6", _RESILIENT, _GATED, _DENSE, "blur_accuracy", "property"),
    Claim("C6", _RESILIENT, _GATED, _DENSE, "contrast_accuracy", "property"),
    Claim("C6", _RESILIENT, _GATED, _DENSE, "removal_accuracy", "property"),
    Claim("C7", "Simple and cheap", _GATED, _DENSE, "training_seconds", "shown", ratio=True),
    Claim("C8", _MECHANISM, _GATED, "replay", CLEAN, "control"),
    Claim("C8", _MECHANISM, _GATED, "shuffled", CLEAN, "control"),
    Claim("C8", _MECHANISM, _GATED, "fixed", CLEAN, "control"),
    Claim("C8", _REGULARIZES, _GATED, "dense, tuned", CLEAN, "control"),
    Claim("C8", _REGULARIZES, "accuracy_gated with dropout", "dense with dropout", CLEAN, "control"),
)
"""The claims in the order of the verdict table; none sets one strategy against the other."""


def gain_verdict(reported: Comparison, clean: Comparison, paper: float = PAPER_EFFECT) -> str:
    """Return the verdict on C1 or C2 from both co-primary measures; the first condition that applies decides.

    Intervals are of 95 % unless 90 % is said.

    | condition | verdict |
    |---|---|
    | fewer than 4 pairs | not judged: described |
    | both intervals above zero, the paper's gain inside the clean one or below it | replicated |
    | both intervals above zero, the paper's gain above the clean one | replicated, smaller |
    | interval as reported above zero, clean 90 % interval inside +-0.5 points | an artifact of reporting |
    | both 90 % intervals inside +-0.5 points | no effect |
    | both intervals below zero | reversed |
    | else | undecided |
    """
    if min(len(reported.pairs), len(clean.pairs)) < FEWEST_PAIRS:
        return NOT_JUDGED
    if reported.low > 0 and clean.low > 0:
        return "replicated" if paper <= clean.high else "replicated, smaller"
    if reported.low > 0 and _inside(clean, MARGIN):
        return "an artifact of reporting"
    if _inside(reported, MARGIN) and _inside(clean, MARGIN):
        return "no effect"
    if reported.high < 0 and clean.high < 0:
        return "reversed"
    return "undecided"


def property_verdict(comparison: Comparison, p_holm: float, margin: float = MARGIN) -> str:
    """Return the verdict on C3 to C6; the first condition that applies decides.

    | condition | verdict |
    |---|---|
    | fewer than 4 pairs | not judged: described |
    | p by Holm below 5 %, mean above zero | supported |
    | p by Holm below 5 %, mean below zero | contradicted |
    | 90 % interval inside the margin | no effect |
    | else | undecided |
    """
    if len(comparison.pairs) < FEWEST_PAIRS:
        return NOT_JUDGED
    if p_holm < LEVEL:
        return "supported" if comparison.mean > 0 else "contradicted"
    return "no effect" if _inside(comparison, margin) else "undecided"


def control_verdict(comparison: Comparison, margin: float = MARGIN) -> str:
    """Return the verdict on C8; the first condition that applies decides.

    | condition | verdict |
    |---|---|
    | fewer than 4 pairs | not judged: described |
    | both one-sided tests inside the margin at 5 % | equivalent |
    | 95 % interval above zero | better |
    | 95 % interval below zero | worse |
    | else | undecided |
    """
    if len(comparison.pairs) < FEWEST_PAIRS:
        return NOT_JUDGED
    if equivalence_test(comparison.differences, margin) < LEVEL:
        return "equivalent"
    if comparison.low > 0:
        return "better"
    return "worse" if comparison.high < 0 else "undecided"


def _inside(comparison: Comparison, margin: float) -> bool:
    return -margin < comparison.low_90 and comparison.high_90 < margin


def verdict_table(runs: pd.DataFrame, preset: str | None = None) -> pd.DataFrame:
    """Return one row for each claim and measure, from the runs of a preset that count.

    Columns: claim, preset, treatment, baseline, measure, rule, paper (its effect on C1 and C2, else NaN), pairs, mean,
    low, high (95 %), low_90, high_90, p_value (two-sided), p_holm (C3 to C6 as one family, else NaN),
    smallest_detectable_effect, verdict, preliminary (judged with fewer than 8 pairs), seeds, differences. A positive
    mean is an improvement, also where a smaller measure is better. C7 holds the geometric mean of the ratios, without
    intervals. The verdict is "not measured" without a pair and "measured" where no rule was fixed.

    Args:
        runs: of `load_runs`; may be empty.
        preset: whose runs speak, by default `selection.shown_tier`.

    Raises:
        InputError: a missing column, and two runs of one arm and seed.
    """
    preset = shown_tier(runs) if preset is None else preset
    counted = arms(runs, preset)
    compared = [(claim, _compare(counted, claim)) for claim in CLAIMS]
    family = holm([one.p_value if _is_tested(claim, one) else math.nan for claim, one in compared])
    gains = {(claim.id, claim.measure): one for claim, one in compared if claim.rule == "gain"}
    rows = []
    for (claim, one), p_holm in zip(compared, family, strict=True):
        if not one.pairs:
            verdict = NOT_MEASURED
        elif claim.rule == "gain":
            verdict = gain_verdict(gains[claim.id, REPORTED], gains[claim.id, CLEAN])
        elif claim.rule == "property":
            verdict = property_verdict(one, p_holm, claim.margin)
        elif claim.rule == "control":
            verdict = control_verdict(one, claim.margin)
        else:
            verdict = MEASURED
        judged = verdict not in (NOT_MEASURED, NOT_JUDGED, MEASURED)
        rows.append(
            {
                "claim": claim.id,
                "preset": preset,
                "treatment": claim.treatment,
                "baseline": claim.baseline,
                "measure": claim.measure,
                "rule": claim.rule,
                "paper": PAPER_EFFECT if claim.rule == "gain" else math.nan,
                "pairs": len(one.pairs),
                **{name: getattr(one, name) for name in ("mean", "low", "high", "low_90", "high_90", "p_value")},
                "p_holm": p_holm,
                "smallest_detectable_effect": one.smallest_detectable_effect,
                "verdict": verdict,
                "preliminary": judged and len(one.pairs) < FIRM_PAIRS,
                "seeds": one.pairs,
                "differences": one.differences,
            }
        )
    return pd.DataFrame(rows)


def _is_tested(claim: Claim, comparison: Comparison) -> bool:
    return claim.rule == "property" and len(comparison.pairs) >= FEWEST_PAIRS


def _compare(counted: pd.DataFrame, claim: Claim) -> Comparison:
    """The comparison of a claim's arms, under the names that the claim has for them."""
    names = (claim.treatment, claim.baseline, claim.measure)
    treatment, baseline = (ARMS.get(name, name) for name in names[:2])
    known = set(counted["arm"])
    if claim.measure not in counted or treatment not in known or baseline not in known:
        return compare_pairs(names, {})
    if not claim.ratio:
        one = paired_difference(
            counted, treatment, baseline, claim.measure, larger_is_better=claim.larger_is_better, by="arm"
        )
        return replace(one, treatment=claim.treatment, baseline=claim.baseline)
    # As logarithms, so that twice as slow and twice as fast cancel. No interval: times differ by what else the machine
    # did, and none over seeds speaks of that.
    logs = counted.assign(**{claim.measure: np.log(counted[claim.measure].where(counted[claim.measure] > 0))})
    one = paired_difference(logs, treatment, baseline, claim.measure, by="arm")
    nothing: dict[str, Any] = dict.fromkeys(
        ("low", "high", "low_90", "high_90", "p_value", "smallest_detectable_effect"), math.nan
    )
    return replace(one, differences=tuple(map(math.exp, one.differences)), mean=math.exp(one.mean), **nothing)


def compare_arms(runs: pd.DataFrame, preset: str, treatments: Mapping[str, str], measure: str = CLEAN) -> pd.DataFrame:
    """Return what arms gain over others, for comparisons that no claim is judged by: one row each that has a pair.

    Columns: as in `verdict_table`, without the claim and what judges it.

    Args:
        runs: of `load_runs`; may be empty.
        preset: whose runs are compared.
        treatments: baselines by treatment; both as `selection.arms` or `ARMS` call them.
        measure: a column of `load_runs` of which more is better.
    """
    counted = arms(runs, preset)
    rows = []
    for treatment, baseline in treatments.items():
        one = _compare(counted, Claim("", "", treatment, baseline, measure, "shown"))
        if one.pairs:
            shown = ("treatment", "baseline", "measure", "differences", "mean", "low", "high", "low_90", "high_90")
            row = {name: getattr(one, name) for name in shown}
            rows.append({"preset": preset, "paper": math.nan, "pairs": len(one.pairs), "seeds": one.pairs, **row})
    return pd.DataFrame(rows)


def effects(runs: pd.DataFrame, preset: str | None = None) -> pd.DataFrame:
    """Return the rows of the verdict table for the co-primary measures of C1 and C2 that could be measured."""
    table = verdict_table(runs, preset)
    return table[(table["rule"] == "gain") & (table["pairs"] > 0)]


def first_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the first 1, 2, 3, ... pairs of C1, in the order of their seeds, would have said: one row each.

    Columns: pairs, difference (of the last of them), mean, low, high (95 %), all of the accuracy as reported, and
    verdict, by the rule of C1.

    Args:
        table: of `verdict_table`.
    """
    gains = {row["measure"]: row for row in table[table["claim"] == "C1"].to_dict("records")}
    rows = []
    for count in range(1, gains[REPORTED]["pairs"] + 1):
        reported, clean = (
            compare_pairs(
                ("accuracy_gated", "dense", measure),
                dict(zip(gains[measure]["seeds"][:count], gains[measure]["differences"][:count], strict=True)),
            )
            for measure in (REPORTED, CLEAN)
        )
        so_far = {name: getattr(reported, name) for name in ("mean", "low", "high")}
        verdict = gain_verdict(reported, clean)
        rows.append({"pairs": count, "difference": reported.differences[-1], **so_far, "verdict": verdict})
    return pd.DataFrame(rows, columns=["pairs", "difference", "mean", "low", "high", "verdict"])


def readable_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return `verdict_table` for people: effects and intervals as text, in points, or as a factor for ratios."""
    ratios = {(claim.id, claim.measure) for claim in CLAIMS if claim.ratio}

    def amount(value: float, ratio: bool) -> str:
        return "" if math.isnan(value) else f"{value:.2f}x" if ratio else f"{100 * value:+z.2f}"

    def probability(value: float) -> str:
        return "" if math.isnan(value) else "below 0.001" if value < 0.001 else f"{value:.3f}"

    rows = []
    for row in table.to_dict("records"):
        ratio = (row["claim"], row["measure"]) in ratios
        bounds, narrower = ([amount(row[f"{side}{level}"], ratio) for side in ("low", "high")] for level in ("", "_90"))
        rows.append(
            {
                "claim": row["claim"],
                "treatment": row["treatment"],
                "baseline": row["baseline"],
                "measure": row["measure"],
                "verdict": f"{row['verdict']} (preliminary)" if row["preliminary"] else row["verdict"],
                "paper": amount(row["paper"], ratio),
                "ours": amount(row["mean"], ratio),
                "95 % interval": " to ".join(bounds) if all(bounds) else "",
                "90 % interval": " to ".join(narrower) if all(narrower) else "",
                "pairs": row["pairs"],
                "p": probability(row["p_value"]),
                "p (Holm)": probability(row["p_holm"]),
                "detectable": amount(row["smallest_detectable_effect"], ratio),
            }
        )
    return pd.DataFrame(rows).set_index("claim")
