"""Which recorded runs speak for a preset, and which preset speaks for the claims."""

import pandas as pd

from sparsecycle.analysis.statistics import verdict_table

TIERS = ("paper", "classroom", "quick")  # the presets that speak for the claims, the largest first


def tier(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """The runs that speak for a preset: without overrides, evaluated on test images; diverged ones included."""
    if runs.empty:
        return runs
    return runs[(runs["preset"] == preset) & (runs["variant"] == "") & (runs["evaluated_on"] == "test")]


def complete(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that did not diverge."""
    return runs if runs.empty else runs[runs["status"] == "complete"]


def effects(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """Rows of the verdict table for C1 and C2 that could be measured."""
    table = verdict_table(runs, preset)
    return table[table["claim"].isin(["C1", "C2"]) & (table["seeds"] > 0)]


def shown_tier(runs: pd.DataFrame) -> str:
    """The largest preset that compares a strategy with dense over at least three seeds, or else "quick"."""
    for preset in ("paper", "classroom"):
        rows = effects(runs, preset)
        if not rows.empty and rows["seeds"].min() >= 3:
            return preset
    return "quick"
