"""What each reconstruction changes: the gain over dense training with one choice varied, everything else as it was."""

import math
import re
from typing import Any

import pandas as pd

from sparsecycle.statistics import ADAPTIVE, CLAIMS, Comparison, holm, paired_difference, verdict

# Dense training is the same whatever these are: its runs stand for all their values.
UNSEEN_BY_DENSE = frozenset(
    {"scope", "selection", "rounding", "decay", "floor", "reset_to", "tolerance", "patience", "max_hold"}
    | {"period_epochs", "warmup_periods", "final_dense_periods"}
)
EVALUATION = "headline_budget"
_PAPER = {claim.treatments[0]: claim.paper_effect for claim in CLAIMS if claim.paper_effect is not None}


def varied(variant: str) -> dict[str, str]:
    """The overrides of a run, from the text in the column "variant" of `load_runs`."""
    parts = re.split(r", (?=[a-z_]+=)", variant) if variant else []
    return dict(part.split("=", 1) for part in parts)


def ablation_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """One row for each strategy and reconstruction: its gain over dense, and how that differs from the preset's own.

    A run with overrides is compared with dense training with the same overrides; where dense training does not depend
    on them (`UNSEEN_BY_DENSE`), with dense training as it stands. The budgets of the evaluation need no runs of their
    own: they are rows with the variant "headline_budget=...", from the preset's own runs.

    Columns: method, variant ("" for the preset as it stands), choice (the fields varied), gain, gain_low, gain_high
    (over dense, fractions, 95 % interval), change, change_low, change_high (of the gain, against the preset's own),
    p_value and p_holm (of the change, corrected over the table), seeds, verdict (of the gain).
    """
    if runs.empty:
        return pd.DataFrame()
    runs = runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")]
    rows = []
    for method in ADAPTIVE:
        own = runs[runs["method"] == method]
        plain = _gains(runs, method, "", "test_accuracy")
        if plain is None:
            continue
        rows.append(_row(method, "", plain, None))
        for variant in sorted(set(own["variant"]) - {""}):
            gains = _gains(runs, method, variant, "test_accuracy")
            if gains is not None:
                rows.append(_row(method, variant, gains, plain))
        for column in sorted((name for name in runs.columns if name.startswith("accuracy_at_")), reverse=True):
            budget = float(column.removeprefix("accuracy_at_"))
            gains = _gains(runs, method, "", column)
            if budget < 1 and gains is not None:
                rows.append(_row(method, f"{EVALUATION}={budget:g}", gains, plain))
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist())) if rows else table


def specification_sentence(table: pd.DataFrame) -> str:
    """How many of the reconstructions would have supported the claim."""
    words, gains = table["verdict"].str, 100 * table["gain"]
    return (
        f"{len(table)} reconstructions, each strategy counted: {int((gains > 0).sum())} gain over dense on average, "
        f"{words.contains('replicated').sum()} of them with an interval above zero; {words.contains('reversed').sum()} "
        f"lose with an interval below zero. The gains run from {gains.min():+.1f} to {gains.max():+.1f} points."
    )


def _gains(runs: pd.DataFrame, method: str, variant: str, metric: str) -> Comparison | None:
    """The strategy's gain over the dense runs that match it; None where there are none."""
    dense = runs[runs["method"] == "dense"]
    matching = dense[dense["variant"] == variant]
    if matching.empty and varied(variant).keys() <= UNSEEN_BY_DENSE:
        matching = dense[dense["variant"] == ""]
    treated = runs[(runs["method"] == method) & (runs["variant"] == variant)]
    if matching.empty or treated.empty:
        return None
    return paired_difference(pd.concat([matching, treated]), method, "dense", metric)


def _row(method: str, variant: str, gain: Comparison, plain: Comparison | None) -> dict[str, Any]:
    change = _change(gain, plain) if plain else None
    return {
        "method": method,
        "variant": variant,
        "choice": ", ".join(varied(variant)) or "as it stands",
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "change": change.mean if change else math.nan,
        "change_low": change.low if change else math.nan,
        "change_high": change.high if change else math.nan,
        "p_value": change.p_value if change else math.nan,
        "seeds": len(gain.seeds),
        "verdict": verdict(gain, paper_effect=_PAPER[method]),
    }


def _change(gain: Comparison, plain: Comparison) -> Comparison:
    """The difference of two gains, paired by seed."""
    pairs = {"varied": gain, "plain": plain}
    frame = pd.DataFrame(
        {"method": name, "seed": seed, "status": "complete", "gain": value}
        for name, one in pairs.items()
        for seed, value in zip(one.seeds, one.differences, strict=True)
    )
    return paired_difference(frame, "varied", "plain", "gain")
