"""What the strategies are set against beyond dense training: plain regularization, and themselves with feedback."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sparsecycle.analysis.ablations import varied
from sparsecycle.config import RunConfig
from sparsecycle.analysis.selection import complete, tier
from sparsecycle_book.report.wording import Row
from sparsecycle_book.simulation import simulate
from sparsecycle.analysis.statistics import ADAPTIVE, Comparison, baseline_table, paired_difference, same_runs


@dataclass(frozen=True)
class Regularized:
    """Dense training with plain regularization, and the strategies against it in one measure."""

    word: str  # "with dropout"
    variant: str  # "dropout=0.1"
    runs: pd.DataFrame
    rows: list[Row]
    over_dense: Row | None  # what it gains itself over dense training as it stands


def regularized(
    runs: pd.DataFrame, preset: str, metric: str = "test_accuracy", *, larger_is_better: bool = True
) -> list[Regularized]:
    """Each recorded plain regularization of dense training, with the rows of `baseline_table` that were measured."""
    table = baseline_table(runs, preset, metric, larger_is_better=larger_is_better)
    found = []
    baselines = sorted(set(table["comparison"].str.split(" - ").str[1])) if len(table) else []
    for baseline in (name for name in baselines if name.startswith("dense ")):
        variant = baseline.removeprefix("dense ")
        word = _plain_regularization(preset, variant)
        rows = table[table["comparison"].str.endswith(f" - {baseline}") & (table["seeds"] > 0)].to_dict("records")
        if word and rows:
            arm = complete(runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")])
            arm = arm[(arm["method"] == "dense") & (arm["variant"] == variant)]
            own = table[(table["comparison"] == f"{baseline} - dense") & (table["seeds"] > 0)].to_dict("records")
            found.append(Regularized(word, variant, arm, rows, own[0] if own else None))
    return found


def _plain_regularization(preset: str, variant: str) -> str | None:
    """What a dense baseline does against overfitting, None where it does nothing of the kind."""
    fields = varied(variant)
    if fields.keys() == {"dropout"}:
        return "with dropout"
    epochs = RunConfig(preset=preset, method="dense").epochs
    shorter = fields.keys() == {"epochs"} and int(fields["epochs"]) < epochs
    return f"for {fields['epochs']} instead of {epochs} epochs" if shorter else None


def without_feedback(runs: pd.DataFrame, preset: str) -> dict[str, str]:
    """The strategies whose budgets did not depend on the loss in the recorded runs of a preset, and how that came."""
    chosen, found = complete(tier(runs, preset)), {}
    if same_runs(chosen, "loss_gated", "geometric"):
        found["loss_gated"] = (
            "made the same runs as `geometric`, the cycle without feedback: the loss never left its tolerance"
        )
    if "plateau" in set(chosen["method"]):
        config = RunConfig(preset=preset, method="plateau")
        if not _listens(config):
            found["plateau"] = (
                f"held each budget for {config.max_hold} periods whatever the loss: at `patience={config.patience}` "
                f"and `max_hold={config.max_hold}` it has no choice"
            )
    return found


def _listens(config: RunConfig) -> bool:
    """Whether `plateau` has a choice: it may leave a budget before the longest hold is over."""
    assert config.patience and config.max_hold
    return config.patience + 1 < config.max_hold


@dataclass(frozen=True)
class WithFeedback:
    """A recorded variant that gives a strategy back its feedback."""

    method: str
    variant: str  # "max_hold=4"
    over_dense: Row
    as_it_stands: Row  # the strategy as it stands against this variant


def with_feedback(runs: pd.DataFrame, preset: str) -> list[WithFeedback]:
    """The variants of strategies that are `without_feedback`, in which the loss decides."""
    silent, table = without_feedback(runs, preset), baseline_table(runs, preset)
    rows = {row["comparison"]: row for row in table.to_dict("records")} if len(table) else {}
    found = []
    for comparison, row in rows.items():
        method, _, variant = comparison.removesuffix(" - dense").partition(" ")
        against = rows.get(f"{method} - {method} {variant}")
        if method in silent and against and varied(variant).keys() == {"max_hold"} and against["seeds"]:
            longer = RunConfig(preset=preset, method=method, max_hold=int(varied(variant)["max_hold"]))
            if _listens(longer) and row["seeds"]:
                found.append(WithFeedback(method, variant, row, against))
    return found


def against_unordered(runs: pd.DataFrame, preset: str, metric: str) -> list[Comparison]:
    """The strategies of a preset against `random`, which sees as many budgets in no order, in one measure."""
    chosen = complete(tier(runs, preset))
    return [
        paired_difference(chosen, method, "random", metric)
        for method in ADAPTIVE
        if {method, "random"} <= set(chosen["method"])
    ]


@dataclass(frozen=True)
class Gate:
    """What the loss did to the budgets of `loss_gated`."""

    runs: int
    acted: int  # runs in which it ended a cycle before the floor
    below: float  # share of the sparse periods whose loss was below that of the dense visit before them


def gate(epochs: pd.DataFrame, configurations: pd.DataFrame) -> Gate:
    """Whether the loss ever decided in the recorded runs of `loss_gated`, by setting its budgets against those of
    `geometric` with the same constants.

    Args:
        epochs: of `load_epochs`.
        configurations: of `load_configurations`, of the same folders.
    """
    settings = configurations.set_index("run").to_dict("index")
    acted, below = 0, []
    gated = epochs[epochs["method"] == "loss_gated"].sort_values("period")
    for name, periods in gated.groupby("run"):
        config = settings[name]
        steered = periods.head(len(periods) - int(config["final_dense_periods"]))
        cycle = {field: config[field] for field in ("decay", "floor", "reset_to")}
        blind = simulate("geometric", cycle | {"warmup": int(config["warmup_periods"])}, list(steered["train_loss"]))
        acted += not np.allclose(blind.budgets, steered["keep_ratio"])
        dense = steered["train_loss"].where(steered["keep_ratio"] == config["reset_to"]).ffill()
        sparse = steered["keep_ratio"] < config["reset_to"]
        below += (steered["train_loss"] < dense)[sparse].tolist()
    return Gate(gated["run"].nunique(), acted, float(np.mean(below)) if below else math.nan)
