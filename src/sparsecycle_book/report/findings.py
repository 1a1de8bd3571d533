"""What stands beside the figures of the claims: effects, losses and conditions, a line each."""

import numpy as np
import pandas as pd

from sparsecycle.config import RunConfig
from sparsecycle_book.figures import MEASURES
from sparsecycle_book.report.comparisons import Gate, against_unordered, regularized
from sparsecycle.analysis.selection import complete, tier
from sparsecycle_book.report.wording import effect, gain, treatment
from sparsecycle.analysis.statistics import ADAPTIVE, CLAIMS, PAPER_ACCURACY, paired_difference


def effect_sentences(rows: pd.DataFrame) -> list[str]:
    """One line for each row of a verdict table that was measured: effect, interval, seeds, p, verdict, power."""
    lines = []
    for row in rows[rows["seeds"] > 0].to_dict("records"):
        bounds = f", 95 % interval {100 * row['low']:+z.2f} to {100 * row['high']:+z.2f}"
        interval = bounds if row["low"] == row["low"] else ""
        p = f", sign-flip p = {row['p_value']:.3f}" if row["p_value"] == row["p_value"] else ""
        least = row["smallest_detectable_effect"]
        power = (
            f" At this spread an effect of {100 * least:.1f} points is found four times in five."
            if least == least
            else ""
        )
        lines.append(
            f"{row['claim']} {row['comparison']}, {MEASURES.get(row['measure'], row['measure'])}: "
            f"{100 * row['mean']:+z.2f} points{interval}, {row['seeds']} seeds{p}: {row['verdict']}.{power}"
        )
    return lines


def against_sentences(runs: pd.DataFrame, preset: str, claim_id: str) -> list[str]:
    """For each measure of a claim, the strategies against dense training with plain regularization, a line each."""
    return [
        f"{MEASURES.get(claim.metric, claim.metric)}, against dense {one.word}: "
        + "; ".join(f"{treatment(row)} {gain(row)}" for row in one.rows)
        for claim in CLAIMS
        if claim.id == claim_id
        for one in regularized(runs, preset, claim.metric, larger_is_better=claim.larger_is_better)
    ]


def gap_sentences(runs: pd.DataFrame) -> list[str]:
    """How much of each strategy's smaller gap is a lower train accuracy, and how much a higher test accuracy."""
    lines = []
    for method in ADAPTIVE:
        if {method, "dense"} <= set(runs["method"]):
            gap, train, test = (
                100 * paired_difference(runs, method, "dense", metric).mean
                for metric in ("gap", "train_accuracy", "test_accuracy")
            )
            lines.append(
                f"{method}: the gap changes by {gap:+z.1f} points, train accuracy by {train:+z.1f}, test accuracy by "
                f"{test:+z.1f}."
            )
    return lines


def weighting_sentences(runs: pd.DataFrame) -> list[str]:
    """What the strategies gain over dense with other weights of the budgets than those of the budget area."""
    columns = sorted((name for name in map(str, runs.columns) if name.startswith("accuracy_at_")), key=_budget)
    budgets, accuracies = [_budget(name) for name in columns], runs[columns]
    other = runs.assign(
        equal=accuracies.mean(axis=1),
        linear=np.trapezoid(accuracies.to_numpy(), budgets, axis=1) / (budgets[-1] - budgets[0]),
    )
    words = {"equal": "each measured budget counts the same", "linear": "the mean over the budget itself"}
    lines = []
    for metric, word in words.items():
        gains = []
        for method in (name for name in ADAPTIVE if {name, "dense"} <= set(runs["method"])):
            gains.append(f"{method} {effect(paired_difference(other, method, 'dense', metric))}")
        lines.append(f"{word}: {'; '.join(gains)}")
    return lines


def unordered_sentences(runs: pd.DataFrame, preset: str, metric: str) -> list[str]:
    """The strategies against `random`, which sees as many budgets in no order, a line each."""
    return [
        f"{MEASURES.get(metric, metric)}, against random: {one.treatment} {effect(one)}"
        for one in against_unordered(runs, preset, metric)
    ]


def gate_sentence(found: Gate) -> str:
    """Whether the loss ever decided in the recorded runs of `loss_gated`, and why not."""
    return (
        f"In {found.acted or 'none'} of the {found.runs} recorded runs of `loss_gated`, ablations among them, did the "
        f"loss end a cycle before the floor. In {found.below:.0%} of their periods at smaller budgets it lay below "
        "that of the dense visit before them: training goes on, and the reference stays. So these runs say what a "
        "cycle does, and next to nothing about a gate."
    )


def _budget(column: str) -> float:
    return float(column.removeprefix("accuracy_at_"))


def drop_sentences(runs: pd.DataFrame, metric: str) -> list[str]:
    """What each strategy loses less than dense of its own accuracy, for `pruning_drop` or `disturbance_drop`."""
    lines = []
    for method in ADAPTIVE:
        if metric in runs and {method, "dense"} <= set(runs["method"]):
            one = paired_difference(runs, method, "dense", metric, larger_is_better=False)
            bounds = f", 95 % interval {100 * one.low:+z.2f} to {100 * one.high:+z.2f}" if len(one.pairs) > 1 else ""
            own = 100 * runs.loc[runs["method"] == method, metric].mean()
            lines.append(
                f"{method} loses {own:.1f} points of its own accuracy, against dense {100 * one.mean:+z.2f}{bounds}, "
                f"{len(one.pairs)} seeds."
            )
    return lines


def condition_table(measures: pd.DataFrame) -> pd.DataFrame:
    """For each condition, each strategy's difference from dense in accuracy: points, 95 % interval over seeds, as text.

    Args:
        measures: rows of `load_measures` of one preset and variant.
    """
    rows = []
    for (kind, strength), group in measures.groupby(["kind", "strength"], sort=False):
        frame = group.assign(status="complete")
        row = {"condition": str(kind), "strength": strength}
        for method in ADAPTIVE:
            if {method, "dense"} <= set(frame["method"]):
                row[method] = effect(paired_difference(frame, method, "dense", "accuracy"))
        rows.append(row)
    return pd.DataFrame(rows)


def baseline_sentence(runs: pd.DataFrame, preset: str) -> str:
    """How the dense baseline of a tier compares with the paper's."""
    dense = complete(tier(runs, preset))
    dense = dense[dense["method"] == "dense"]
    config = RunConfig(preset=preset, method="dense")
    ours, theirs = dense["test_accuracy"].mean(), PAPER_ACCURACY["dense"]
    network = f"WRN-{config.depth}-{config.width} of {dense['parameters'].iloc[0]:,} parameters"
    return (
        f"Dense training reaches a test accuracy of {ours:.3f} here and {theirs:g} in the paper, "
        f"{100 * (theirs - ours):.0f} points more: with {config.train_images:,} training images instead of 50,000 and "
        f"a {network} instead of a WRN-28-4. It reaches a train accuracy of {dense['train_accuracy'].mean():.3f}, so "
        "there is overfitting to resist; but what holds here need not hold there."
    )
