"""How results change with our choices: other tolerances, and dense training with ordinary regularization."""

from pathlib import Path

import pandas as pd

from sparsecycle.analysis.selection import varied
from sparsecycle.analysis.verdicts import compare_arms
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_runs, variant_of
from sparsecycle.runs.studies import Studies
from sparsecycle_book.figures import ARMS_IN_WORDS
from sparsecycle_book.report.answers import amount

NOT_RUN = "These runs are planned but not made yet."
TOLERANCES = {
    "accuracy_gated tolerance=0.06": "dense",
    "accuracy_gated": "dense",
    "accuracy_gated tolerance=0.24": "dense",
    "accuracy_gated tolerance=1.0": "dense",
}
"""Arms with other tolerances, and what they are compared with; at 1 the rule never resets."""
OTHERS = {"gentle": "rule: the default arguments of the script's controller", "wider": "network: twice the width"}
"""Studies of the published rule with something else changed, and what that is."""
REGULARIZED = {
    "dense, tuned": "dense",
    "accuracy_gated": "dense, tuned",
    "accuracy_gated with dropout": "dense with dropout",
}
"""What shows whether the published rule does more than plain regularization: treatments and their baselines."""
TUNING = CHECKOUT / "data" / "search" / "classroom"
SEARCHED = ("dropout", "weight_decay", "epochs")


def changed_arms(study: str) -> dict[str, str]:
    """Which arms of a study of the published rule under some change are compared with which.

    A change of the network or the recipe is made on both sides; one of the rule itself has no other side.
    """
    configurations = Studies.read(CHECKOUT / "workflow" / "studies.yaml").configurations(study)
    made = {(config.method, variant_of({}, config.overrides())) for config in configurations}
    changes = sorted({change for method, change in made if method == "accuracy_gated"})
    return {
        f"accuracy_gated {change}": f"dense {change}" if ("dense", change) in made else "dense" for change in changes
    }


def others_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """A row for each of `OTHERS` with a recorded pair: what is changed, and the gain with its interval and pairs."""
    found = [
        arms_table(compare_arms(runs, preset, changed_arms(study))).assign(arm=change)
        for study, change in OTHERS.items()
    ]
    return pd.concat(found, ignore_index=True).rename(columns={"arm": "changed"})


def tolerance_sentence(compared: pd.DataFrame) -> str:
    """How far the gains with other tolerances lie apart.

    Args:
        compared: of `compare_arms` with `TOLERANCES`.
    """
    if len(compared) < len(TOLERANCES):
        return "We do not know yet how much the gain depends on the tolerance."
    gains = 100 * compared["mean"]
    never = compared.to_dict("records")[-1]
    return (
        f"Across four tolerances, the published rule gains {gains.min():+z.2f} to {gains.max():+z.2f} points over "
        f"dense training. Without any reset it gains {amount(never)}."
    )


def arms_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Rows of `compare_arms` for a page: arm, gain with its interval, pairs."""
    rows = compared.to_dict("records")
    return pd.DataFrame({"arm": [f"`{row['treatment']}`" for row in rows], "gain": [amount(row) for row in rows]})


def regularized_sentence(compared: pd.DataFrame) -> str:
    """What each comparison of `REGULARIZED` gains.

    Args:
        compared: of `compare_arms` with `REGULARIZED`.
    """
    words = {side: compared[side].map(ARMS_IN_WORDS) for side in ("treatment", "baseline")}
    rows = compared.assign(**words).to_dict("records")
    told = [f"{row['treatment']} over {row['baseline']}: {amount(row)}" for row in rows]
    return "\n".join(f"- {one[0].upper()}{one[1:]}." for one in told)


def tuning_table(folder: Path = TUNING) -> pd.DataFrame:
    """A row for each setting of dense training that was searched, the best first: the accuracy on held-out images."""
    runs = load_runs(folder) if folder.is_dir() else pd.DataFrame()
    if runs.empty:
        return runs
    changes = (
        runs["variant"]
        .map(varied)
        .map(lambda given: ", ".join(f"{name} {given[name]}" for name in SEARCHED if name in given) or "as published")
    )
    means = runs.assign(setting=changes).groupby("setting")[["clean_accuracy", "last_accuracy", "train_accuracy"]]
    table = means.mean().assign(seeds=means.size()).sort_values("clean_accuracy", ascending=False).reset_index()
    words = {"clean_accuracy": "clean, held out", "last_accuracy": "last, held out", "train_accuracy": "training"}
    return table.rename(columns=words)


def tuning_rows(table: pd.DataFrame) -> pd.DataFrame:
    """`tuning_table` for a page."""
    return table.map(lambda value: f"{value:.4f}" if isinstance(value, float) else value)


def tuning_sentence(folder: Path = TUNING) -> str:
    """Which setting is best on the held-out images."""
    table = tuning_table(folder)
    if table.empty:
        return NOT_RUN
    best = table.iloc[0]
    most = max(table["setting"][table["setting"].str.startswith("dropout ")], default="")
    end = " It is the most dropout that was tried, so still more may be better." if best["setting"] == most else ""
    return (
        f"The best of {len(table)} settings is *{best['setting']}*, with an accuracy of {best['clean, held out']:.4f} "
        f"on the held-out images.{end}"
    )
