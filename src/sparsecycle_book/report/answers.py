"""The answer so far: on the first page in a few sentences, and tier by tier."""

from collections import Counter

import pandas as pd

from sparsecycle.analysis.ablations import ablation_table, tally
from sparsecycle.config import RunConfig
from sparsecycle.runs.grid import Grid
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import variant_of
from sparsecycle_book.report.comparisons import (
    Regularized,
    against_unordered,
    regularized,
    with_feedback,
    without_feedback,
)
from sparsecycle.analysis.selection import TIERS, complete, effects, shown_tier, tier
from sparsecycle_book.report.wording import ROLES, Row, bounds, effect, gain, treatment
from sparsecycle.analysis.statistics import ADAPTIVE


def short_answer(runs: pd.DataFrame) -> str:
    """The answer in two sentences: what is gained over dense training, plain or regularized, and what is open."""
    preset = shown_tier(runs)
    gains = [
        f"{100 * row['mean']:+z.1f} points (95 % interval {bounds(row)}, {row['seeds']} seeds)"
        for row in effects(runs, preset).to_dict("records")
    ]
    against = [_told(one.rows, f"dense training {one.word}") for one in regularized(runs, preset)]
    before = ["", *(conjunction for conjunction, _ in against)]  # the same one twice reads as "and"
    clauses = [f"{'and' if one == last else one} {told}" for last, (one, told) in zip(before, against, strict=False)]
    config = RunConfig(preset=preset, method="dense")
    told = [
        f"At the `{preset}` scale (WRN-{config.depth}-{config.width}, {config.train_images:,} training images) the two "
        "reconstructed strategies change test accuracy over dense training by "
        f"{', '.join([' and '.join(gains), *clauses])}."
    ]
    if tier(runs, "paper").empty:
        told.append("At the paper's own scale there are no runs yet: its claim is neither confirmed nor refuted here.")
    return " ".join(told)


def _told(rows: list[Row], baseline: str) -> tuple[str, str]:
    """What the intervals of the strategies against a baseline say, together where they agree: conjunction, clause."""
    words = {treatment(row): "gain" if row["low"] > 0 else "lose" if row["high"] < 0 else "no" for row in rows}
    if set(words.values()) == {"gain"}:
        return "and", f"they gain over {baseline} too"
    if set(words.values()) == {"lose"}:
        return "but", f"they lose against {baseline}"
    if set(words.values()) == {"no"}:
        return "but", f"they show no gain over {baseline}"
    each = {"gain": "gains", "lose": "loses", "no": "shows no gain"}
    return "but", f"over {baseline} {' and '.join(f'`{name}` {each[word]}' for name, word in words.items())}"


def how_sure(runs: pd.DataFrame) -> str:
    """What stands behind the short answer, and against it: Markdown, a point each."""
    preset = shown_tier(runs)
    words = [
        f"{row['claim']} (`{treatment(row)}`) *{row['verdict']}*" for row in effects(runs, preset).to_dict("records")
    ]
    points = [
        f"By the rule for verdicts, at the `{preset}` scale and on the difference from plain dense training alone: "
        f"{' and '.join(words)}."
    ]
    points += [_against(one) for one in regularized(runs, preset)]
    points += _small_budgets(runs, preset)
    points += _feedback(runs, preset)
    points += _reconstructions(runs)
    return "\n".join(f"- {point}" for point in points)


def _against(one: Regularized) -> str:
    """The strategies against plain regularization, what that gains itself, and what an open difference may hide."""
    changes = " and ".join(f"`{treatment(row)}` {gain(row)}" for row in one.rows)
    told = f"Over dense training {one.word}, in points: {changes}."
    if one.over_dense:
        told += f" That training itself gains {gain(one.over_dense)} over dense training as it stands."
    open_ones = [row["smallest_detectable_effect"] for row in one.rows if row["low"] <= 0 <= row["high"]]
    if open_ones:
        least = " and ".join(f"{100 * value:.1f}" for value in open_ones)
        told += f" So few seeds find a difference of {least} points four times in five, and often miss a smaller one."
    return told


def _reconstructions(runs: pd.DataFrame) -> list[str]:
    """How far the answer depends on choices that the paper leaves open."""
    table = ablation_table(runs, "ablation")
    if table.empty:
        return []
    count, seeds = tally(table), table["seeds"].max()
    told = (
        f"The answer depends on choices that the paper leaves open: of {count.readings} ways to fill the gaps, each "
        f"strategy counted and each tried with {seeds} seeds on fewer images, {count.gaining} gain over dense training "
        f"on average, {count.above} of them *replicated* and {count.below} *reversed* by their interval."
    )
    rows = table[table["variant"] == "final_dense_periods=0"].to_dict("records")
    ends = [
        f"`{row['method']}` {100 * row['gain']:+z.1f} ({100 * row['gain_low']:+z.1f} to {100 * row['gain_high']:+z.1f})"
        for row in rows
    ]
    return [f"{told} Without the dense periods at the end, in points: {' and '.join(ends)}." if ends else told]


def _feedback(runs: pd.DataFrame, preset: str) -> list[str]:
    """That a strategy had no feedback, and what it gains over dense training where it has."""
    silent = without_feedback(runs, preset)
    if len(silent) < len(ADAPTIVE):
        return []
    arms = [
        f"Where the loss does decide (`{one.method}` with `{one.variant}`), the gain over dense training, in "
        f"points, is {gain(one.over_dense)}"
        for one in with_feedback(runs, preset)
    ]
    told = "; ".join(arms) or "What feedback adds is open"
    return [f"The strategies are called adaptive, but no budget of theirs depended on the loss in these runs. {told}."]


def _small_budgets(runs: pd.DataFrame, preset: str) -> list[str]:
    """What the strategies gain over all budgets, if it is something against each plain regularization too."""
    rows = [row for one in regularized(runs, preset, "budget_area") for row in one.rows]
    gains = [100 * row["mean"] for row in rows]
    if not rows or any(row["low"] <= 0 for row in rows):
        return []
    told = (
        "What they keep against all of these is accuracy at small budgets: over all budgets "
        f"{min(gains):+z.1f} to {max(gains):+z.1f} points on average."
    )
    unordered = against_unordered(runs, preset, "budget_area")
    if unordered and all(one.low <= 0 <= one.high for one in unordered):
        changes = " and ".join(f"`{one.treatment}` {effect(one)}" for one in unordered)
        told += f" Budgets in random order do as much: against `random`, {changes}."
    return [told]


def answer(runs: pd.DataFrame) -> str:
    """The answer so far as Markdown, tier by tier, the paper's scale first."""
    lines = []
    if tier(runs, "paper").empty:
        lines.append(
            "**At the paper's scale (WRN-28-4, all of CIFAR-10) there are no runs yet**, so the paper's claims are "
            "neither confirmed nor refuted here."
        )
    for preset in TIERS:
        if not effects(runs, preset).empty:
            lines.append(_tier_answer(runs, preset))
    return "\n\n".join(lines)


def _tier_answer(runs: pd.DataFrame, preset: str) -> str:
    chosen = complete(tier(runs, preset))
    dense = chosen[chosen["method"] == "dense"]
    sentences = [
        f"**At the `{preset}` scale** ({chosen['parameters'].iloc[0]:,} parameters) dense training reaches a test "
        f"accuracy of {dense['test_accuracy'].mean():.3f} (training images: {dense['train_accuracy'].mean():.3f})."
    ]
    silent = without_feedback(runs, preset)
    for row in effects(runs, preset).to_dict("records"):
        method = treatment(row)
        interval = f" (95 % interval {bounds(row)})" if row["low"] == row["low"] else ""
        seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        sentences.append(
            f"{ROLES[method].capitalize()}, reconstructed as `{method}`: {100 * row['mean']:+z.1f} points against dense"
            f"{interval} over {seeds}: *{row['verdict']}*."
        )
        if method in silent:
            sentences.append(f"Here `{method}` {silent[method]}.")
    for one in regularized(runs, preset):
        against = " and ".join(f"`{treatment(row)}` {100 * row['mean']:+z.1f} ({bounds(row)})" for row in one.rows)
        sentences.append(
            f"Dense training {one.word} (`{one.variant}`, chosen on held-out images) "
            f"reaches {one.runs['test_accuracy'].mean():.3f} over {len(one.runs)} seeds; against that: {against}."
        )
    return " ".join([*sentences, *_progress(runs, preset)])


def _progress(runs: pd.DataFrame, preset: str) -> list[str]:
    """How far the tier's study is, and which runs are missing, where it is not complete."""
    declared = Grid.read(CHECKOUT / "workflow" / "grid.yaml").configurations(preset)
    mine = runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")]
    recorded = set(zip(mine["method"], mine["variant"], mine["seed"], strict=True))
    missing: Counter[str] = Counter()
    for config in declared:
        variant = variant_of(config.model_dump(), config.overrides())
        if (config.method, variant, config.seed) not in recorded:
            missing[f"{config.method} {variant}".strip()] += 1
    if not missing:
        return []
    told = ", ".join(f"{count} of `{arm}`" for arm, count in missing.items())
    return [
        f"The study is under way: {missing.total()} of its {len(declared)} runs are not recorded yet ({told}), and "
        "what they will say is open."
    ]


def feedback_sentence(runs: pd.DataFrame, preset: str) -> str:
    """Whether the strategies of a preset listened to the loss, and how the recorded variants do that could."""
    told = [f"`{method}` {how}." for method, how in without_feedback(runs, preset).items()]
    for one in with_feedback(runs, preset):
        told.append(
            f"With `{one.variant}` the loss decides how long `{one.method}` holds a budget: it gains "
            f"{gain(one.over_dense)} points over dense training, and as it stands {gain(one.as_it_stands)} over that."
        )
    return " ".join(told) or "The budgets of both strategies depended on the loss."
