"""The pilot, which chooses the length and the scaling of the study by training accuracy alone: sentences and tables."""

from pathlib import Path

import pandas as pd

from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_configurations, load_decisions, load_runs

FOLDER = CHECKOUT / "data" / "pilot"
CYCLES, ACCURACY = 4, 0.95  # what the published rule must reach, fixed before the pilot
LABELS = ["varied", "method", "seed"]
MEASURED = ["cycles", "resets", "idle_resets", "lowest_keep_ratio", "train_accuracy"]
COLUMNS = [*LABELS, *MEASURED, "run", "steps_per_epoch"]


def pilot_runs(folder: Path = FOLDER, preset: str = "classroom") -> pd.DataFrame:
    """One row a recorded run of a preset's pilot, with `COLUMNS`."""
    runs = load_runs(folder)
    runs = runs[runs["preset"] == preset]
    fields = load_configurations(folder).set_index("run")
    steps = ((fields["train_images"] - fields["holdout_images"]) // fields["batch_size"]).astype(int)
    runs = runs.assign(
        varied=[_without_looks(variant) for variant in runs["variant"]],
        steps_per_epoch=runs["run"].map(steps),
    )
    return runs[COLUMNS].sort_values(LABELS, ignore_index=True)


def _without_looks(variant: str) -> str:
    """The overrides of a pilot run except the one that all have, which leaves out the test images."""
    return ", ".join(one for one in variant.split(", ") if one and one != "test_images=0") or "as the preset"


def pilot_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `pilot_runs` as a table for people, and whether the published rule passes."""
    rows = []
    for run in runs.to_dict("records"):
        gated = run["method"] != "dense"
        passes = run["cycles"] >= CYCLES and run["train_accuracy"] >= ACCURACY
        rows.append(
            {
                "varied": run["varied"],
                "method": f"`{run['method']}`",
                "seed": run["seed"],
                "passes": ("yes" if passes else "no") if gated else "",
                "cycles": int(run["cycles"]) if gated else "",
                "final training accuracy": _share(run["train_accuracy"]),
                "resets": int(run["resets"]) if gated else "",
                "idle resets": int(run["idle_resets"]) if gated else "",
                "lowest keep-ratio": f"{run['lowest_keep_ratio']:.2g}" if gated else "",
            }
        )
    table = pd.DataFrame(rows)
    return table if (runs["method"] == "dense").any() else table.drop(columns="method")  # the page says what is tried


def _share(value: float) -> str:
    return f"{value:.3f}" if value == value else "diverged"


def pilot_sentence(runs: pd.DataFrame) -> str:
    """How many runs there are, and how many of the published rule pass."""
    gated = runs[runs["method"] != "dense"]
    passing = int(((gated["cycles"] >= CYCLES) & (gated["train_accuracy"] >= ACCURACY)).sum())
    return f"**Of the {len(gated)} pilot runs with the published rule, {passing} pass.**"


def choice_sentence(runs: pd.DataFrame, chosen: str, before: str, epochs: int) -> str:
    """Why the setting `chosen` is taken: it passes with both seeds, and the one that comes `before` it does not.

    Raises:
        ValueError: the records say otherwise.
    """
    gated = runs[runs["method"] != "dense"].set_index("varied")
    passing = gated[(gated["cycles"] >= CYCLES) & (gated["train_accuracy"] >= ACCURACY)]
    taken = passing.loc[[chosen]]
    failed = gated.loc[[before]]
    failed = failed[failed["cycles"] < CYCLES]
    if set(taken["seed"]) != {100, 101} or failed.empty:
        raise ValueError(f"{chosen!r} is not the first setting that passes")
    cycles, accuracy = taken["cycles"].min(), taken["train_accuracy"].min()
    ends = "above 0.999" if accuracy > 0.999 else f"of at least {accuracy:.3f}"
    worst = failed.sort_values("cycles").iloc[0]
    return (
        f"**We chose {epochs} epochs with the published scaling and without clipping, for every arm.** We decided on "
        "29 November 2026, before the first run of the study. This is the preset `classroom` as it was declared before "
        f"the pilot. With both seeds the rule goes through at least {cycles:.0f} cycles and ends with a training "
        f"accuracy {ends}. The only setting that comes earlier in our order, `{before}`, fails: "
        f"with seed {worst['seed']} it goes through only {worst['cycles']:.0f} cycles."
    )


def idle_sentence(runs: pd.DataFrame, chosen: str) -> str:
    """How many resets of the chosen setting came where the constraint removes almost nothing, and what that means."""
    taken = runs[(runs["method"] != "dense") & (runs["varied"] == chosen)]
    resets, idle = taken["resets"].sum(), taken["idle_resets"].sum()
    return (
        f"Of the {resets:.0f} resets in its two runs, {idle:.0f} were idle: they came at a keep-ratio where "
        "the constraint removes almost nothing. Perhaps training accuracy sometimes falls by itself without "
        "clipping, and the rule mistakes that for too much compression. We kept the setting, because the published "
        "recipe does not clip either."
    )


def study_cycles(runs: pd.DataFrame) -> str:
    """How many runs of the study go through fewer cycles than the pilot asked for.

    Args:
        runs: rows of `load_runs` of the preset that the pilot chose.
    """
    gated = runs[runs["method"] == "accuracy_gated"]
    fewer = int((gated["cycles"] < CYCLES).sum())
    return (
        f"Two seeds were too few to be sure: in the study, {fewer} of {len(gated)} runs of the published rule go "
        f"through fewer than {CYCLES} cycles. No run is dropped for that, and the choice stands."
        if fewer
        else f"In the study, all {len(gated)} runs of the published rule go through at least {CYCLES} cycles."
    )


def pilot_paths(runs: pd.DataFrame, folder: Path = FOLDER) -> pd.DataFrame:
    """Decisions of the gated runs, with steps_per_epoch and the column "panel" that names a run."""
    gated = runs[runs["method"] != "dense"].set_index("run")
    decisions = load_decisions(folder)
    decisions = decisions[decisions["run"].isin(gated.index)]
    names = gated["varied"] + ", seed " + gated["seed"].astype(str)
    of = decisions["run"]
    return decisions.assign(panel=of.map(names), steps_per_epoch=of.map(gated["steps_per_epoch"]).astype(int))
