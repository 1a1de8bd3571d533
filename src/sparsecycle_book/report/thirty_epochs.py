"""Thirty epochs of the paper's network on a CPU: the pilot that sets how often the rule decides, and what runs show."""

import pandas as pd

from sparsecycle.analysis.selection import arms
from sparsecycle.analysis.verdicts import CLEAN, FEWEST_PAIRS, REPORTED, compare_arms
from sparsecycle.runs.records import variant_of
from sparsecycle_book.report.answers import counted, gains_listed
from sparsecycle_book.report.plan import studies

PRESET = "paper100"
BEHIND = 0.10  # how far training accuracy may end below that of dense training, fixed before the pilot


def passes(pilot: pd.DataFrame) -> bool:
    """Whether the rule that decides as often as in 500 epochs meets the plan's criterion; of `pilot_runs`."""
    by_method = pilot.set_index("method")
    gated, dense = by_method.loc["accuracy_gated"], by_method.loc["dense"]
    return bool(gated["cycles"] >= 1 and dense["train_accuracy"] - gated["train_accuracy"] <= BEHIND)


def choice_sentence(pilot: pd.DataFrame) -> str:
    """How often the rule decides in 30 epochs, and why; of `pilot_runs`."""
    by_method = pilot.set_index("method")
    gated, dense = by_method.loc["accuracy_gated"], by_method.loc["dense"]
    met, steps = ("meets", 8) if passes(pilot) else ("does not meet", 26)
    return (
        f"**In 30 epochs, the rule decides every {steps} steps.** In the pilot it decided every 8 steps, went through "
        f"{counted(int(by_method['cycles']['accuracy_gated']), 'cycle')} in five epochs and ended with a training "
        f"accuracy of {gated['train_accuracy']:.3f}, where dense training reached {dense['train_accuracy']:.3f}. That "
        f"{met} [the plan's criterion](plan.html#pilot30)."
    )


def compared_arms() -> dict[str, str]:
    """The arm of the published rule in 30 epochs and that of dense training, as `selection.arms` calls them."""
    declared = studies().configurations("paper30")
    named = {one.method: f"{one.method} {variant_of({}, one.overrides())}" for one in declared}
    return {named["accuracy_gated"]: named["dense"]}


def thirty_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of 30 epochs that count."""
    every = arms(runs, PRESET)
    return every[every["arm"].isin([name for pair in compared_arms().items() for name in pair])]


def gain_sentence(runs: pd.DataFrame) -> str:
    """What the published rule gains over dense training in 30 epochs, if there is a pair."""
    found = pd.concat([compare_arms(runs, PRESET, compared_arms(), measure) for measure in (REPORTED, CLEAN)])
    if found.empty:
        return ""
    gains, pairs = gains_listed(found.to_dict("records")), int(found["pairs"].min())
    few = " So few pairs are described, not judged." if pairs < FEWEST_PAIRS else ""
    return f"**In 30 epochs, the published rule gains {gains} over dense training ({counted(pairs, 'pair')}).**{few}"
