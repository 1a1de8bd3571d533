"""What each reconstruction changes: the gain over dense training with one choice varied, everything else as it was."""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sparsecycle.analysis.statistics import ADAPTIVE, CLAIMS, Comparison, paired_difference, same_runs, verdict

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
    (over dense, fractions, 95 % interval), change, change_low, change_high (of the gain, against that of the variant in
    "against": the preset as it stands, or of a variant with several overrides the one recorded that lacks one of them),
    over_plain, over_plain_low, over_plain_high (over dense training as it stands), seeds (pairs), excluded (seeds left
    out, because one of the two diverged or is missing), diverged (runs of the strategy), verdict (of the gain),
    evaluation (whether the choice is the evaluation's), plausible (whether the paper may have meant it), same_runs
    (whether every number is that of "against": the choice never came to bear). There are no p-values: with three seeds
    none can fall below 0.25.
    """
    runs = _counted(runs, preset)
    if runs.empty:
        return pd.DataFrame()
    rows = []
    for method in ADAPTIVE:
        plain = _gains(runs, method, "", "test_accuracy")
        if plain is None:
            continue
        variants = sorted(set(runs.loc[runs["method"] == method, "variant"]) - {""})
        found = {name: _gains(runs, method, name, "test_accuracy") for name in variants}
        gains = {"": plain} | {name: gain for name, gain in found.items() if gain is not None}
        for variant, gain in gains.items():
            against = _reference(variant, gains.keys())
            row = _row(method, variant, gain, gains[against], same=_same(runs, method, variant, against))
            rows.append(row | {"against": against} | _over_plain(runs, method, variant))
        for variant, metric, dense_at in _evaluations(runs):
            measured = _gains(runs, method, "", metric, dense_at)
            if measured is not None:
                row = _row(method, variant, measured, plain, same=False)
                rows.append(row | {"against": "", "evaluation": True, "verdict": ""})
    return pd.DataFrame(rows)


def _counted(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """The runs that can be compared: of the preset, on test images, each by one source and configuration."""
    if runs.empty:
        return runs
    runs = runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")]
    return runs[~runs["variant"].str.contains("resumed with")]


def _reference(variant: str, recorded: Collection[str]) -> str:
    """What a change is counted from: of several overrides the one recorded variant that lacks one of them, if there is
    just one such; else the preset as it stands."""
    fields = varied(variant)
    smaller = [name for name in recorded if name and varied(name).items() < fields.items()]
    return smaller[0] if len(smaller) == 1 else ""


def _over_plain(runs: pd.DataFrame, method: str, variant: str) -> dict[str, float]:
    """The gain over dense training as it stands, whatever the choice does to dense training."""
    arms = runs.assign(method=(runs["method"] + " " + runs["variant"]).str.strip())
    gain = paired_difference(arms, f"{method} {variant}".strip(), "dense", "test_accuracy")
    return {"over_plain": gain.mean, "over_plain_low": gain.low, "over_plain_high": gain.high}


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


@dataclass(frozen=True)
class Tally:
    """How many of the reconstructions would have supported the claim, each strategy counted."""

    readings: int
    gaining: int  # over dense on average
    above: int  # *replicated* by the rule
    above_plain: int  # of these, also above dense training as it stands
    below: int  # *reversed*
    judged: int  # with the three seeds that the rule wants
    failed: int  # without a pair, because training diverged
    fallen: int  # with a run of the strategy that diverged


def tally(table: pd.DataFrame) -> Tally:
    """Counts over the `specifications` of an `ablation_table`."""
    rows = specifications(table)
    above = rows["verdict"].str.contains("replicated")
    return Tally(
        readings=len(rows),
        gaining=int((rows["gain"] > 0).sum()),
        above=int(above.sum()),
        above_plain=int((above & (rows["over_plain_low"] > 0)).sum()),
        below=int(rows["verdict"].str.contains("reversed").sum()),
        judged=int((rows["seeds"] >= 3).sum()),
        failed=int((rows["seeds"] == 0).sum()),
        fallen=int(((rows["diverged"] > 0) & (rows["seeds"] > 0)).sum()),
    )


def specification_sentence(table: pd.DataFrame) -> str:
    """How many of the reconstructions would have supported the claim."""
    count, gains = tally(table), 100 * specifications(table)["gain"]
    told = [
        f"{count.readings} reconstructions, each strategy counted: {count.gaining} gain over dense on average, "
        f"{count.above} of them *replicated* by the rule, all of them preliminary; {count.below} *reversed*. The gains "
        f"run from {gains.min():+z.1f} to {gains.max():+z.1f} points."
    ]
    if count.above:
        told.append(
            f"Of the {count.above}, {count.above_plain} also lie above dense training as it stands; a choice that "
            "harms dense training more than the strategy supports the claim for the wrong reason."
        )
    if count.failed:
        told.append(f"{count.failed} have no pair left, because training diverged: they support nothing.")
    if count.fallen:
        told.append(f"In {count.fallen} a run of the strategy diverged; their gains are those of the other seeds.")
    told.append(
        "Each verdict is that of its interval alone: if nothing were gained anywhere, about "
        f"{BY_CHANCE * count.judged:.1f} of {count.judged} intervals would still lie above zero; and those that share "
        "dense runs rise and fall together."
    )
    return " ".join(told)


def dense_choices(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """What each choice does to dense training itself: a row a variant with means, and its gain over the preset's own.

    Columns: variant ("" for the preset as it stands), test_accuracy, train_accuracy (means), seeds, gain, gain_low,
    gain_high (fractions, 95 % interval, paired by seed; NaN for the preset's own).
    """
    dense = _counted(runs, preset)
    dense = dense[(dense["method"] == "dense") & (dense["status"] == "complete")] if len(dense) else dense
    rows = []
    for variant, group in dense.groupby("variant") if len(dense) else ():
        means = group[["test_accuracy", "train_accuracy"]].mean()
        arms = dense.assign(method=dense["variant"])
        gain = paired_difference(arms, str(variant), "", "test_accuracy") if variant else None
        bounds = (gain.mean, gain.low, gain.high) if gain else (math.nan,) * 3
        rows.append(
            {"variant": variant, **means, "seeds": len(group)}
            | dict(zip(("gain", "gain_low", "gain_high"), bounds, strict=True))
        )
    return pd.DataFrame(rows)


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


def _same(runs: pd.DataFrame, method: str, variant: str, against: str) -> bool:
    own = runs[runs["method"] == method]
    return same_runs(own.assign(method=own["variant"]), variant, against)


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
