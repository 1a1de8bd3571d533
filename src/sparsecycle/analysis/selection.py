"""Which recorded runs count, said once for the book, the README, `compare` and `verify`."""

import pandas as pd

from sparsecycle.analysis.statistics import require

TIERS = ("paper", "paper100", "classroom", "quick")  # the presets that speak for the claims, the largest first
CHANCE = 0.1  # the accuracy of guessing among ten classes
_NEEDED = ("preset", "method", "seed", "variant", "status", "evaluated_on", "git_clean")


def why_left_out(runs: pd.DataFrame, *, variants: bool = False) -> "pd.Series[str]":
    """Return for each run of `load_runs` why it supports no claim; "" where it counts.

    A run counts that was evaluated on the test images, without overrides, by a source without uncommitted changes,
    whether training was completed or diverged.

    Args:
        variants: let runs with overrides count, too, as arms of their own.

    Raises:
        InputError: a column that the runs lack.
    """
    require(runs, *_NEEDED)
    unclean = runs["git_clean"].map(lambda clean: not pd.isna(clean) and not clean).astype(bool)  # NA: no git history
    reasons = pd.Series("", index=runs.index, dtype=object)
    if not variants:
        reasons[runs["variant"] != ""] = "it has overrides"
    reasons[unclean] = "its source had uncommitted changes"
    reasons[runs["evaluated_on"] != "test"] = "it was not evaluated on the test images"
    reasons[~runs["status"].isin(["complete", "diverged"])] = "it was not finished"
    return reasons


def tier(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """Return the runs of a preset that count (see `why_left_out`), those that diverged with what they score."""
    return _counted(runs, preset, variants=False)


def arms(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """Return the runs of a preset that count, with and without overrides, and the column "arm".

    An arm without overrides has the name of its method, one with overrides a name such as "dense dropout=0.3".
    """
    counted = _counted(runs, preset, variants=True)
    if counted.empty:
        return counted.assign(arm=pd.Series(dtype=object))
    return counted.assign(arm=(counted["method"] + " " + counted["variant"]).str.strip())


def _counted(runs: pd.DataFrame, preset: str, *, variants: bool) -> pd.DataFrame:
    if runs.empty:
        return runs
    runs = runs[(why_left_out(runs, variants=variants) == "") & (runs["preset"] == preset)]
    fallen = runs["status"] == "diverged"
    accuracies = [name for name in map(str, runs.columns) if "accuracy" in name or name.endswith("_area")]
    return runs.assign(**{name: runs[name].mask(fallen & runs[name].isna(), CHANCE) for name in accuracies})


def complete(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that did not diverge."""
    return runs if runs.empty else runs[runs["status"] == "complete"]


def shown_tier(runs: pd.DataFrame, pairs: int = 4) -> str:
    """Return the largest preset that compares the published rule with dense training on `pairs` seeds, or "quick"."""
    for preset in TIERS:
        counted = tier(runs, preset)
        if not counted.empty:
            dense, gated = (
                set(counted.loc[counted["method"] == method, "seed"]) for method in ("dense", "accuracy_gated")
            )
            if len(dense & gated) >= pairs:
                return preset
    return "quick"


def varied(variant: str) -> dict[str, str]:
    """Return the overrides of a run by name, from the text in the column "variant" of `load_runs`."""
    return dict(part.split("=", 1) for part in variant.split(", ")) if variant else {}
