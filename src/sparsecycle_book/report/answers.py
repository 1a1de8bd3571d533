"""The answer so far, from the runs that count: for the first page, the chapters of results and the README."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sparsecycle.analysis.selection import TIERS, arms, shown_tier, tier
from sparsecycle.analysis.verdicts import (
    ARMS,
    CLAIMS,
    FEWEST_PAIRS,
    MARGIN,
    MEASURED,
    NOT_JUDGED,
    NOT_MEASURED,
    PAPER_ACCURACY,
    PAPER_EFFECT,
    compare_arms,
    readable_verdicts,
    verdict_table,
)
from sparsecycle.config import RunConfig
from sparsecycle.runs.folders import run_name
from sparsecycle_book.figures import ARMS_IN_WORDS, MEASURES
from sparsecycle_book.report.pilot import ACCURACY
from sparsecycle_book.report.plan import studies

ARM_SIDES = ("treatment", "baseline")
PLANNED = (  # the studies of the plan
    *("classroom", "controls", "tuned", "noise", "tolerance", "gentle", "wider", "ablations"),
    *("paper30", "paper100", "paper"),
)
KEEP_RATIO_CONTROLS = ("replay", "shuffled", "fixed")
GAINS_IN_WORDS = {  # verdicts on C1 and C2
    "replicated": "{treatment} beats {baseline}, as the paper reports",
    "replicated, smaller": "{treatment} beats {baseline}, by less than the paper reports",
    "an artifact of reporting": "{treatment} beats {baseline} only if test images choose the epoch",
    "no effect": f"{{treatment}} and {{baseline}} reach the same test accuracy to within {100 * MARGIN:g} points",
    "reversed": "{treatment} does worse than {baseline}",
    "undecided": "it is undecided whether {treatment} beats {baseline}",
}


def question() -> str:
    """The paper's numbers in a sentence."""
    dense, first, second = PAPER_ACCURACY.values()
    return (
        f"The paper's own runs, one of each, reach test accuracies of {first:g} and {second:g} with its two strategies "
        f"and {dense:g} with dense training."
    )


def short_answer(runs: pd.DataFrame, further: Sequence[str] = ()) -> str:
    """The verdicts on the paper's two claims at the largest preset that judges, and further findings.

    Runs of larger presets that are too few to judge are described after it.
    """
    preset = shown_tier(runs)
    table = verdict_table(runs, preset)
    said: set[str] = set()
    claims = [_claim(rows, said) for _, rows in table[table["rule"] == "gain"].groupby("claim", sort=False)]
    planned = sum(
        config.method == "accuracy_gated" and not config.overrides() for config in studies().configurations(preset)
    )
    pairs = table.iloc[0]["pairs"]
    so_far = f"\n\n{pairs} of the {planned} planned pairs are recorded." if pairs < planned else ""
    where = "a small network" if preset == "classroom" else "the paper's network"
    found = "\n".join(f"- {one}" for one in [*claims, *further] if one)
    answer = f"On {where} (preset `{preset}`: {scale(preset)}):\n\n{found}{so_far}"
    return "\n\n".join([answer, *(described(runs, one) for one in described_presets(runs))])


def described_presets(runs: pd.DataFrame) -> list[str]:
    """Presets of the paper's network whose runs are too few to judge."""
    large = (preset for preset in ("paper", "paper100") if len(tier(runs, preset)))
    return [preset for preset in large if shown_tier(tier(runs, preset)) != preset]


def described(runs: pd.DataFrame, preset: str) -> str:
    """What the few runs of a preset show: the gain in both measures of C1 and C2 where there is a pair, no verdict."""
    count, table = len(tier(runs, preset)), verdict_table(runs, preset)
    told = [
        f"Only {counted(count, 'run')} of the preset `{preset}` ({scale(preset)}) {'are' if count > 1 else 'is'} "
        f"recorded, too few to judge: a verdict needs {FEWEST_PAIRS} pairs of runs."
    ]
    for _, rows in table[(table["rule"] == "gain") & (table["pairs"] > 0)].groupby("claim", sort=False):
        first = rows.iloc[0]
        treatment, baseline = (ARMS_IN_WORDS[first[side]] for side in ARM_SIDES)
        pairs = counted(first["pairs"], "pair")
        gains = gains_listed(rows.to_dict("records"))
        told.append(f"In these runs {treatment} gains {gains} over {baseline} ({pairs}).")
    return " ".join(told)


def gains_listed(rows: Iterable[Mapping[Any, Any]]) -> str:
    """Gains by their measures: "+1.00 points in clean test accuracy and ..."."""
    return listed_words([f"{_points(row)} in {MEASURES[row['measure']]}" for row in rows])


def scale(preset: str) -> str:
    """The network, images and epochs of a preset in words."""
    config = RunConfig(preset=preset, method="dense")
    return f"WRN-{config.depth}-{config.width}, {config.train_images:,} training images, {config.epochs} epochs"


def our_accuracies(runs: pd.DataFrame) -> str:
    """Our runs of the published configuration, to be read beside the paper's numbers."""
    own = tier(runs, "paper")
    if own.empty:
        return "We have no run of the published configuration yet."
    told = []
    for method, group in own.groupby("method", sort=False):
        arm = ARMS_IN_WORDS.get(str(method), str(method))
        told.append(f"{group['best_accuracy'].mean():.4f} with {arm} ({counted(len(group), 'run')})")
    return f"Our own runs of the published configuration reach, as reported, {listed_words(told)}."


def _claim(rows: pd.DataFrame, said: set[str]) -> str:
    """The verdict on one claim with the effects of its co-primary measures; nothing where it was not measured.

    What was said of the claims before is not said twice.
    """
    first = rows.iloc[0]
    if first["verdict"] == NOT_MEASURED:
        return ""
    sides = {side: ARMS_IN_WORDS[first[side]] for side in ARM_SIDES}
    if first["verdict"] == NOT_JUDGED:
        few = counted(first["pairs"], "pair")
        return "There are too few pairs to judge whether {treatment} beats {baseline}: {few}.".format(**sides, few=few)
    found = GAINS_IN_WORDS[first["verdict"]]
    reported, clean = rows.to_dict("records")
    verdict = f" {'Preliminary verdict' if first['preliminary'] else 'Verdict'}: *{first['verdict']}*."
    if first["verdict"] == "undecided" and not first["preliminary"]:
        verdict = ""
    margin = f" Both 90 % intervals lie inside ±{100 * MARGIN:g} points." if first["verdict"] == "no effect" else ""
    if first["verdict"] == "undecided" and max(reported["high"], clean["high"]) < PAPER_EFFECT:
        found += f", but both intervals exclude the paper's gain of {100 * PAPER_EFFECT:.2f} points"
    repeated = found in said
    said.add(found)
    found = ("the same holds for {treatment}" if repeated else found).format(**sides)
    gains = f"{_points(reported)} as reported (95 % interval {_interval(reported)})"
    gains += f" and {100 * clean['mean']:+z.2f} in clean accuracy ({_interval(clean)})"
    gains += f", over {counted(first['pairs'], 'pair')}"
    return f"**{found[0].upper()}{found[1:]}.**{verdict} The gain is {gains}.{margin}"


def amount(row: Mapping[Any, Any], level: int = 95) -> str:
    """A gain in points with its interval and pairs, such as "+0.30 points (95 % interval -0.10 to +0.70, 15 pairs)".

    The level of the interval is 95 or 90 percent.
    """
    bounds = row if level == 95 else {"low": row["low_90"], "high": row["high_90"]}
    interval = f"{level} % interval {_interval(bounds)}, " if row["low"] == row["low"] else ""
    return f"{_points(row)} ({interval}{counted(row['pairs'], 'pair')})"


def gains_told(
    runs: pd.DataFrame, preset: str, treatments: Mapping[str, str], measures: Mapping[str, str]
) -> pd.DataFrame:
    """A row for each treatment that has a pair: its words, pairs, and its gain in each measure as text, in points."""
    rows: dict[str, dict[str, Any]] = {}
    for word, measure in measures.items():
        for row in compare_arms(runs, preset, treatments, measure).to_dict("records"):
            name = row["treatment"]
            told = rows.setdefault(name, {"arm": ARMS_IN_WORDS.get(name, name), "pairs": row["pairs"]})
            told[word] = interval_told(row)
    return pd.DataFrame.from_dict(rows, orient="index")


def unlearned(runs: pd.DataFrame, preset: str, names: Iterable[str]) -> list[str]:
    """In how many runs of each of these arms training accuracy ends below what the pilot asked for: "1 of 8"."""
    by_arm = arms(runs, preset).groupby("arm")["train_accuracy"]
    own = [by_arm.get_group(ARMS.get(name, name)) for name in names]
    return [f"{(accuracies < ACCURACY).sum()} of {len(accuracies)}" for accuracies in own]


def interval_told(row: Mapping[Any, Any]) -> str:
    """A gain with its interval for a table, such as "+0.30 (-0.10 to +0.70)", in points."""
    told = f"{100 * row['mean']:+z.2f}"
    return f"{told} ({_interval(row)})" if row["low"] == row["low"] else told


def _points(row: Mapping[Any, Any]) -> str:
    return f"{100 * row['mean']:+z.2f} points"


def _interval(row: Mapping[Any, Any]) -> str:
    return f"{100 * row['low']:+z.2f} to {100 * row['high']:+z.2f}"


def percent(share: float) -> str:
    """A share as the text writes it: "71 %"."""
    return f"{100 * share:.0f} %"


def counted(count: int, noun: str) -> str:
    """How many, in words: "1 pair", "4 pairs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed_words(words: Sequence[str]) -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the verdict table that answer the question: strategies, and controls of their keep-ratios."""
    asked = (table["rule"] == "gain") | table["baseline"].isin(KEEP_RATIO_CONTROLS)
    return table[asked & (table["pairs"] > 0)]


def keep_ratio_controls(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the verdict table on controls that have other keep-ratios than the published rule."""
    return table[table["baseline"].isin(KEEP_RATIO_CONTROLS)]


def regularization(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the verdict table on dense training with ordinary regularization."""
    return table[(table["rule"] == "control") & ~table["baseline"].isin(KEEP_RATIO_CONTROLS)]


def recorded_sentence(runs: pd.DataFrame) -> str:
    """Which runs that count are recorded, by preset, and that those of `quick` judge nothing."""
    counts = {preset: len(arms(runs, preset)) for preset in TIERS}
    known = [f"{count} runs of `{preset}`" for preset, count in counts.items() if count]
    judge = "Runs of `quick` are demonstrations; no claim is judged by them."
    return f"So far we have recorded {listed_words(known)}. {judge}"


def verdicts_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`verdict_table` for the pages: what is compared comes first.

    Where no arms are named, the published rule is compared with dense training.
    """
    readable = readable_verdicts(table)
    arms = readable["treatment"] + readable["measure"].map(_sign) + readable["baseline"]
    usual = (readable["treatment"] == "accuracy_gated") & (readable["baseline"] == "dense")
    readable["compared"] = readable["measure"].map(MEASURES) + (": " + arms).mask(usual, "")
    readable["ours (95 % interval)"] = _with(readable["ours"], readable["95 % interval"])
    readable["p (Holm)"] = _with(readable["p"], readable["p (Holm)"])
    shown = ("compared", "verdict", "ours (95 % interval)", "pairs", "paper", "90 % interval", "p (Holm)", "detectable")
    return readable[list(shown)]


def _with(first: "pd.Series[str]", second: "pd.Series[str]") -> "pd.Series[str]":
    return first + second.map(lambda text: f" ({text})" if text else "")


def _sign(measure: str) -> str:
    return " / " if measure in {claim.measure for claim in CLAIMS if claim.ratio} else " − "


def unmeasured_sentence(table: pd.DataFrame) -> str:
    """How many comparisons of the plan have no runs yet, for a page beside the table of all verdicts."""
    missing = int((table["verdict"] == NOT_MEASURED).sum())
    if not missing:
        few = int((table["verdict"] == NOT_JUDGED).sum())
        too_few = f"; {few} of them {'has' if few == 1 else 'have'} too few to be judged" if few else ""
        return f"All {len(table)} comparisons that [the plan](plan.html) names for its claims have runs{too_few}."
    return (
        f"Of the {len(table)} comparisons of [the plan](plan.html), {missing} are not measured yet; "
        "[the table of verdicts](reviewers.html#every-verdict) names them."
    )


def to_come(runs: pd.DataFrame) -> str:
    """How many planned runs of each study are not recorded yet."""
    recorded = set(runs["run"])
    missing = {
        study: sum(run_name(config) not in recorded for config in studies().configurations(study)) for study in PLANNED
    }
    told = [f"{count} of `{study}`" for study, count in missing.items() if count]
    if not told:
        return "All planned runs are recorded."
    return f"Planned runs are still to come, by [study](grid.html): {listed_words(told)}."


def different_processors(runs: pd.DataFrame, preset: str) -> str:
    """Which arms were trained on which processor; nothing where all were on one."""
    groups = [(cpu, sorted(set(own["arm"]))) for cpu, own in arms(runs, preset).groupby("cpu")]
    if len(groups) < 2:
        return ""
    *smaller, (most, _) = sorted(groups, key=lambda group: len(group[1]))
    told = "; ".join(f"{listed_words([f'`{arm}`' for arm in names])} on {cpu}" for cpu, names in smaller)
    return (
        f"Not all arms were trained on the same processor: {told}, and all others on {most}. The two runs of a pair "
        "share initial weights and batches, but where they come from different processors, their rounding differs."
    )


def on_shared_seeds(runs: pd.DataFrame, preset: str, names: Iterable[str]) -> pd.DataFrame:
    """The runs of the seeds that all these arms have; arms without a run do not count."""
    found = arms(runs, preset)
    seeds = [set(found.loc[found["arm"] == ARMS.get(name, name), "seed"]) for name in names]
    return runs[runs["seed"].isin(set.intersection(*filter(None, seeds)))]


def verdict_note(table: pd.DataFrame) -> str:
    """What the verdict column says as a whole, for the page that shows the table."""
    judged = (~table["verdict"].isin([NOT_MEASURED, NOT_JUDGED, MEASURED])).sum()
    return f"So far, {judged} of the {len(table)} comparisons are judged."
