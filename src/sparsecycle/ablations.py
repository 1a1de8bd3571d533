"""What each reconstruction changes: the gain over dense training with one choice varied, everything else as it was."""

import math
import re
from typing import Any

import pandas as pd

from sparsecycle.statistics import ADAPTIVE, CLAIMS, Comparison, paired_difference, same_runs, verdict

# Dense training is the same whatever these are: its runs stand for all their values.
UNSEEN_BY_DENSE = frozenset(
    {"scope", "selection", "rounding", "decay", "floor", "reset_to", "tolerance", "patience", "max_hold"}
    | {"period_epochs", "warmup_periods", "final_dense_periods"}
)
EVALUATION = "headline_budget"
# Of what the public summary states, or of a control: worth seeing, but no reading of the paper.
IMPLAUSIBLE = frozenset({"selection", "augmentation", "depth", "width", "dataset", "dropout"})
_PAPER = {claim.treatments[0]: claim.paper_effect for claim in CLAIMS if claim.paper_effect is not None}


def varied(variant: str) -> dict[str, str]:
    """The overrides of a run, from the text in the column "variant" of `load_runs`."""
    parts = re.split(r", (?=[a-z_]+=)", variant) if variant else []
    return dict(part.split("=", 1) for part in parts)


def ablation_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """One row for each strategy and reconstruction: its gain over dense, and how that differs from the preset's own.

    A run with overrides is compared with dense training with the same overrides; where dense training does not depend
    on them (`UNSEEN_BY_DENSE`), with dense training as it stands. The budgets of the evaluation need no runs of their
    own: they are rows with the variant "headline_budget=...", from the preset's own runs, without a verdict: both
    networks at that budget, and the strategy's alone. Runs that were resumed with
    another source or configuration are left out.

    Columns: method, variant ("" for the preset as it stands), choice (the fields varied), gain, gain_low, gain_high
    (over dense, fractions, 95 % interval), change, change_low, change_high (of the gain, against the preset's own),
    seeds (pairs), excluded (seeds left out, because one of the two diverged or is missing), diverged (runs of the
    strategy), verdict (of the gain),
    plausible (whether the paper may have meant it: see `IMPLAUSIBLE`), same_runs (whether every number is that of the
    preset as it stands: the choice never came to bear). There are no p-values: with three seeds none can fall below
    0.25.
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
        for column in sorted((name for name in runs.columns if name.startswith("accuracy_at_")), reverse=True):
            budget = float(column.removeprefix("accuracy_at_"))
            if budget < 1:
                for name, gains in (
                    (f"{EVALUATION}={budget:g}", _gains(runs, method, "", column)),
                    (
                        f"{EVALUATION}={budget:g} (dense at 1)",
                        _gains(runs, method, "", column, dense_at="test_accuracy"),
                    ),
                ):
                    if gains is not None:
                        rows.append(_row(method, name, gains, plain, same=False) | {"verdict": ""})
    return pd.DataFrame(rows)


def specifications(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that count as readings of the paper, each once: plausible, evaluated dense, not the same runs again."""
    return table[
        table["plausible"] & (table["choice"] != EVALUATION) & ~(table["same_runs"] & (table["variant"] != ""))
    ]


def specification_sentence(table: pd.DataFrame) -> str:
    """How many of the reconstructions would have supported the claim."""
    rows = specifications(table)
    gains, failed = 100 * rows["gain"], int((rows["seeds"] == 0).sum())
    above, below = (int(rows["verdict"].str.contains(word).sum()) for word in ("replicated", "reversed"))
    fallen = int(((rows["diverged"] > 0) & (rows["seeds"] > 0)).sum())
    broken = f" {failed} have no pair left, because training diverged: they support nothing." if failed else ""
    if fallen:
        broken += f" In {fallen} a run of the strategy diverged; their gains are those of the other seeds."
    return (
        f"{len(rows)} reconstructions, each strategy counted: {int((gains > 0).sum())} gain over dense on average, "
        f"{above} of them *replicated* by the rule, all of them preliminary; {below} *reversed*. The gains run from "
        f"{gains.min():+.1f} to {gains.max():+.1f} points.{broken}"
    )


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
        "plausible": not fields.keys() & IMPLAUSIBLE,
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
