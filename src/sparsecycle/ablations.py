"""What each reconstruction changes: the gain over dense training with one choice varied, everything else as it was."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sparsecycle.statistics import ADAPTIVE, CLAIMS, Comparison, paired_difference, same_runs, verdict

# Dense training is the same whatever these are: its runs stand for all their values.
UNSEEN_BY_DENSE = frozenset(
    {"scope", "selection", "rounding", "decay", "floor", "reset_to", "tolerance", "patience", "max_hold"}
    | {"period_epochs", "warmup_periods", "final_dense_periods"}
)
# Against what the public summary states, or of a control: worth seeing, but no reading of the paper.
IMPLAUSIBLE = frozenset({"selection", "augmentation", "depth", "width", "dataset", "dropout"})
BY_CHANCE = 0.025  # of intervals of 95 % around nothing, the share above zero
_PAPER = {claim.treatments[0]: claim.paper_effect for claim in CLAIMS if claim.paper_effect is not None}


def varied(variant: str) -> dict[str, str]:
    """The overrides of a run, from the text in the column "variant" of `load_runs`."""
    parts = re.split(r", (?=[a-z_]+=)", variant) if variant else []
    return dict(part.split("=", 1) for part in parts)


def ablation_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """One row for each strategy and reconstruction: its gain over dense, and how that differs from the preset's own.

    A run with overrides is compared with dense training with the same overrides; where dense training does not depend
    on them (`UNSEEN_BY_DENSE`), with dense training as it stands. What concerns the evaluation alone needs no runs of
    its own: the epoch that is best on test images ("epoch=best"), and the budgets ("headline_budget=...": both networks
    at that budget, and the strategy's alone). These rows come from the preset's own runs and have no verdict. Runs that
    were resumed with another source or configuration are left out.

    Columns: method, variant ("" for the preset as it stands), choice (the fields varied), gain, gain_low, gain_high
    (over dense, fractions, 95 % interval), change, change_low, change_high (of the gain, against the preset's own),
    seeds (pairs), excluded (seeds left out, because one of the two diverged or is missing), diverged (runs of the
    strategy), verdict (of the gain), evaluation (whether the choice is the evaluation's), plausible (whether the paper
    may have meant it), same_runs (whether every number is that of the preset as it stands: the choice never came to
    bear). There are no p-values: with three seeds none can fall below 0.25.
    """
    if runs.empty:
        return pd.DataFrame()
    runs = runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")]
    runs = runs[~runs["variant"].str.contains("resumed with")]
    rows = []
    for method in ADAPTIVE:
        plain = _gains(runs, method, "", "test_accuracy")
        if plain is None:
            continue
        rows.append(_row(method, "", plain, plain, same=True))
        for variant in sorted(set(runs.loc[runs["method"] == method, "variant"]) - {""}):
            gains = _gains(runs, method, variant, "test_accuracy")
            if gains is not None:
                rows.append(_row(method, variant, gains, plain, same=_same(runs, method, variant)))
        for variant, metric, dense_at in _evaluations(runs):
            gains = _gains(runs, method, "", metric, dense_at)
            if gains is not None:
                row = _row(method, variant, gains, plain, same=False)
                rows.append(row | {"evaluation": True, "verdict": ""})
    return pd.DataFrame(rows)


def _evaluations(runs: pd.DataFrame) -> Iterator[tuple[str, str, str | None]]:
    """Of each choice of the evaluation: its name, the metric, and that of dense training where it is another."""
    if "best_test_accuracy" in runs:
        yield "epoch=best", "best_test_accuracy", None
    for column in sorted((name for name in runs.columns if name.startswith("accuracy_at_")), reverse=True):
        budget = float(column.removeprefix("accuracy_at_"))
        if budget < 1:
            yield f"headline_budget={budget:g}", column, None
            yield f"headline_budget={budget:g} (dense at 1)", column, "test_accuracy"


def specifications(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that count as readings of the paper, each once: plausible, evaluated dense, not the same runs again."""
    return table[table["plausible"] & ~table["evaluation"] & ~(table["same_runs"] & (table["variant"] != ""))]


def specification_sentence(table: pd.DataFrame) -> str:
    """How many of the reconstructions would have supported the claim."""
    rows = specifications(table)
    gains, failed, judged = 100 * rows["gain"], int((rows["seeds"] == 0).sum()), int((rows["seeds"] >= 3).sum())
    above, below = (int(rows["verdict"].str.contains(word).sum()) for word in ("replicated", "reversed"))
    fallen = int(((rows["diverged"] > 0) & (rows["seeds"] > 0)).sum())
    told = [
        f"{len(rows)} reconstructions, each strategy counted: {int((gains > 0).sum())} gain over dense on average, "
        f"{above} of them *replicated* by the rule, all of them preliminary; {below} *reversed*. The gains run from "
        f"{gains.min():+.1f} to {gains.max():+.1f} points."
    ]
    if failed:
        told.append(f"{failed} have no pair left, because training diverged: they support nothing.")
    if fallen:
        told.append(f"In {fallen} a run of the strategy diverged; their gains are those of the other seeds.")
    told.append(
        "Each verdict is that of its interval alone: if nothing were gained anywhere, about "
        f"{BY_CHANCE * judged:.1f} of {judged} intervals would still lie above zero; and those that share dense "
        "runs rise and fall together."
    )
    return " ".join(told)


def _gains(
    runs: pd.DataFrame, method: str, variant: str, metric: str, dense_at: str | None = None
) -> Comparison | None:
    """The strategy's gain over the dense runs that match it, in a metric of its own if given; None without a match."""
    dense = runs[runs["method"] == "dense"]
    dense = dense.assign(**{metric: dense[dense_at or metric]})
    matching = dense[dense["variant"] == variant]
    if matching.empty and varied(variant).keys() <= UNSEEN_BY_DENSE:
        matching = dense[dense["variant"] == ""]
    treated = runs[(runs["method"] == method) & (runs["variant"] == variant)]
    if matching.empty or treated.empty:
        return None
    return paired_difference(pd.concat([matching, treated]), method, "dense", metric)


def _same(runs: pd.DataFrame, method: str, variant: str) -> bool:
    own = runs[runs["method"] == method]
    return same_runs(own.assign(method=own["variant"]), variant, "")


def _row(method: str, variant: str, gain: Comparison, plain: Comparison, *, same: bool) -> dict[str, Any]:
    change = _change(gain, plain) if variant else None
    fields = varied(variant)
    return {
        "method": method,
        "variant": variant,
        "choice": ", ".join(fields) or "as it stands",
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "change": change.mean if change else math.nan,
        "change_low": change.low if change else math.nan,
        "change_high": change.high if change else math.nan,
        "seeds": len(gain.pairs),
        "excluded": len(gain.excluded),
        "diverged": sum(f"{method} diverged" in reason for reason in gain.reasons),
        "verdict": verdict(gain, paper_effect=_PAPER[method]),
        "evaluation": False,
        "plausible": not fields.keys() & IMPLAUSIBLE and fields.get("norm") != "batch",
        "same_runs": same,
    }


def _change(gain: Comparison, plain: Comparison) -> Comparison | None:
    """The difference of two gains, paired by seed; None without a seed that both have."""
    if not set(gain.pairs) & set(plain.pairs):
        return None
    pairs = {"varied": gain, "plain": plain}
    frame = pd.DataFrame(
        {"method": name, "seed": seed, "status": "complete", "gain": value}
        for name, one in pairs.items()
        for seed, value in zip(one.pairs, one.differences, strict=True)
    )
    return paired_difference(frame, "varied", "plain", "gain")
