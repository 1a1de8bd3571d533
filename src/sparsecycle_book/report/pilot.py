"""The pilot, which chooses the length and the scaling of the study by training accuracy alone: sentences and tables."""

import math
from pathlib import Path

import pandas as pd

from sparsecycle.config import RunConfig
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_configurations, load_decisions, load_runs

FOLDER = CHECKOUT / "data" / "pilot"
CYCLES, ACCURACY = 4, 0.95  # what the published rule must reach, fixed before the pilot
CHOSEN, BEFORE = "as the preset", "epochs=120"  # settings: the first in our order that passes, and the one before it


def pilot_runs(folder: Path = FOLDER, preset: str = "classroom") -> pd.DataFrame:
    """One row a recorded run of a preset's pilot: of `load_runs`, "steps_per_epoch", and "varied", its overrides.

    The override that all have, which leaves out the test images, is not among these.
    """
    runs = load_runs(folder)
    runs = runs[runs["preset"] == preset]
    fields = load_configurations(folder).set_index("run")
    steps = ((fields["train_images"] - fields["holdout_images"]) // fields["batch_size"]).astype(int)
    varied = runs["variant"].str.replace(r"(, )?test_images=0", "", regex=True).str.removeprefix(", ")
    runs = runs.assign(varied=varied.replace("", "as the preset"), steps_per_epoch=runs["run"].map(steps))
    return runs.sort_values(["varied", "method", "seed"], ignore_index=True)


def passes(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Which runs of the published rule reach what they must."""
    return (runs["method"] != "dense") & (runs["cycles"] >= CYCLES) & (runs["train_accuracy"] >= ACCURACY)


def pilot_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `pilot_runs` as a table for people, and whether the published rule passes."""
    dense, accuracy = runs["method"] == "dense", runs["train_accuracy"]
    table = pd.DataFrame(
        {
            "varied": runs["varied"],
            "method": "`" + runs["method"] + "`",
            "seed": runs["seed"],
            "passes": passes(runs).map({True: "yes", False: "no"}).mask(dense, ""),
            "cycles": runs["cycles"].map("{:.0f}".format).mask(dense, ""),
            "final training accuracy": accuracy.map("{:.3f}".format).replace("nan", "diverged"),
            "resets": runs["resets"].map("{:.0f}".format).mask(dense, ""),
            "idle resets": runs["idle_resets"].map("{:.0f}".format).mask(dense, ""),
            "lowest keep-ratio": runs["lowest_keep_ratio"].map("{:.2g}".format).mask(dense, ""),
        }
    )
    return table if dense.any() else table.drop(columns="method")  # the page says what is tried


def pilot_sentence(runs: pd.DataFrame) -> str:
    """How many runs there are, and how many of the published rule pass."""
    gated = (runs["method"] != "dense").sum()
    return f"**Of the {gated} pilot runs with the published rule, {passes(runs).sum()} pass.**"


def choice_sentence(runs: pd.DataFrame) -> str:
    """Why the setting `CHOSEN` is taken: it passes with both seeds, and the one that comes before it does not."""
    taken = runs[passes(runs) & (runs["varied"] == CHOSEN)]
    worst = runs[runs["varied"] == BEFORE].sort_values("cycles").iloc[0]
    assert len(taken) == 2 and worst["cycles"] < CYCLES
    cycles, above = taken["cycles"].min(), math.ceil(1000 * taken["train_accuracy"].min() - 1) / 1000
    epochs = RunConfig(preset="classroom", method="dense").epochs
    return (
        f"**We chose {epochs} epochs with the published scaling and without clipping, for every arm.** We decided on "
        "29 November 2026, before the first run of the study. This is the preset `classroom` as it was declared before "
        f"the pilot. With both seeds the rule goes through at least {cycles:.0f} cycles and ends with a training "
        f"accuracy above {above:.3f}. The only setting that comes earlier in our order, `{BEFORE}`, fails: "
        f"with seed {worst['seed']} it goes through only {worst['cycles']:.0f} cycles."
    )


def idle_sentence(runs: pd.DataFrame) -> str:
    """How many resets of the chosen setting came where the constraint removes almost nothing, and what that means."""
    taken = runs[runs["varied"] == CHOSEN]
    resets, idle = taken["resets"].sum(), taken["idle_resets"].sum()
    return (
        f"Of the {resets:.0f} resets in its two runs, {idle:.0f} were idle: they came at a keep-ratio where "
        "the constraint removes almost nothing. Perhaps training accuracy sometimes falls by itself without "
        "clipping, and the rule mistakes that for too much compression. We kept the setting, because the published "
        "recipe does not clip either."
    )


def study_cycles(runs: pd.DataFrame) -> str:
    """How many runs of the preset that the pilot chose go through fewer cycles than it asked for."""
    gated = runs[runs["method"] == "accuracy_gated"]
    return (
        f"Two seeds were too few to be sure: in the study, {(gated['cycles'] < CYCLES).sum()} of {len(gated)} runs of "
        f"the published rule go through fewer than {CYCLES} cycles. No run is dropped for that, and the choice stands."
    )


def pilot_paths(runs: pd.DataFrame, folder: Path = FOLDER) -> pd.DataFrame:
    """Decisions of the gated runs, with steps_per_epoch and the column "panel" that names a run."""
    gated = runs.loc[runs["method"] != "dense", ["run", "steps_per_epoch", "varied"]]
    decisions = load_decisions(folder).merge(gated, on="run")
    return decisions.assign(panel=decisions["varied"] + ", seed " + decisions["seed"].astype(str))
