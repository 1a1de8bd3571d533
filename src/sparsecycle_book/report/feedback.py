"""Sentences of the page on feedback: what equivalence leaves open, idle resets, and what a reset does to accuracy."""

import math
from collections.abc import Mapping

import pandas as pd

from sparsecycle.analysis.verdicts import FEWEST_PAIRS, MARGIN
from sparsecycle.config import RunConfig
from sparsecycle.runs.metrics import ACTIVE
from sparsecycle_book.figures import ARMS_IN_WORDS, resets_of
from sparsecycle_book.finding_figures import DEEP, around_resets
from sparsecycle_book.report.answers import listed_words, percent
from sparsecycle_book.report.budgets import layers_of
from sparsecycle_book.report.findings import clean_gain

SOON = 5  # decisions after a reset in which accuracy is looked at


def margin_sentence(table: pd.DataFrame) -> str:
    """What equivalence with a control leaves open, where the gain to be explained lies inside the margin.

    Args:
        table: of `verdict_table`.
    """
    row = clean_gain(table)
    if row["pairs"] < FEWEST_PAIRS or not abs(row["mean"]) < MARGIN:
        return ""
    return (
        f"*Equivalent* means that what a control lacks is worth less than {100 * MARGIN:g} points. The published "
        f"rule's own gain over dense training is smaller than that ({100 * row['mean']:+z.2f} points in clean "
        "accuracy), so these tests cannot say where a gain of this size comes from."
    )


def close_controls(table: pd.DataFrame) -> str:
    """How far undecided controls are from equivalence, in the interval that decides it.

    Args:
        table: of `verdict_table`.
    """
    rows = table[(table["rule"] == "control") & (table["verdict"] == "undecided")].to_dict("records")
    told = [
        f"{100 * row['low_90']:+z.3f} to {100 * row['high_90']:+z.3f} points for {ARMS_IN_WORDS[row['baseline']]}"
        for row in rows
    ]
    if not told:
        return ""
    return f"*Equivalent* needs a 90 % interval inside ±{100 * MARGIN:g} points. It is {listed_words(told)}."


def idle_table(groups: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many resets of rules with feedback were idle: a row for each group of runs that has any.

    Args:
        groups: rows of `load_runs` by what they are called.
    """
    rows = []
    for name, runs in groups.items():
        for method in ("accuracy_gated", "epoch_gated"):
            gated = runs[runs["method"] == method] if len(runs) else runs
            resets = int(gated["resets"].sum()) if len(gated) else 0
            if resets:
                idle = int(gated["idle_resets"].sum())
                rows.append({"runs": name, "rule": f"`{method}`", "number of runs": len(gated), "resets": resets})
                rows[-1] |= {"idle": idle, "share": percent(idle / resets)}
    return pd.DataFrame(rows)


def idle_sentence(runs: pd.DataFrame) -> str:
    """How many resets of the published rule came where the constraint removes almost nothing, and what follows.

    Args:
        runs: rows of `load_runs` of one preset.
    """
    gated = runs[(runs["method"] == "accuracy_gated")] if len(runs) else runs
    resets = int(gated["resets"].sum()) if len(gated) else 0
    if not resets:
        return "No run of the published rule with a reset is recorded."
    share = gated["idle_resets"].sum() / resets
    found = "were idle" if share > 0.5 else "came while the constraint removed activations"
    other = " Something else probably made accuracy fall there." if share > 0.5 else ""
    return (
        f"**In runs of `{gated['preset'].iloc[0]}`, most resets of the published rule {found}.** Of {resets} resets, "
        f"{percent(share)} came at a keep-ratio of {ACTIVE:g} or more, where the constraint removes almost nothing."
        f"{other}"
    )


def last_idle_sentence(decisions: pd.DataFrame, config: RunConfig) -> str:
    """When the last idle reset came, and what later resets found; nothing where there are no later ones.

    Args:
        decisions: rows of `load_decisions` of the published rule.
        config: of the runs.
    """
    runs = [run.sort_values("step") for _, run in decisions.groupby("run")]
    found = [run.assign(found=run["keep_ratio"].shift(fill_value=1.0))[resets_of(run)] for run in runs]
    resets = pd.concat(found) if found else decisions.assign(found=[])
    last = resets.loc[resets["found"] >= ACTIVE, "step"].max()
    later = resets[resets["step"] > last]
    if later.empty:
        return ""
    epoch = math.ceil(last / config.steps_per_epoch)
    return (
        f"This describes the first part of training: the last idle reset came in epoch {epoch} of {config.epochs}. "
        f"Each of the {len(later)} resets after it found a keep-ratio of {later['found'].max():.2f} or less, where the "
        "constraint does remove activations."
    )


def idle_check(runs: pd.DataFrame) -> str:
    """What the first of the plan's cheap checks says of the runs of `idle_sentence`, for a page beside the plan's."""
    gated = runs[runs["method"] == "accuracy_gated"] if len(runs) else runs
    if gated.empty or not gated["resets"].sum():
        return ""
    noise = gated["idle_resets"].sum() > gated["resets"].sum() / 2
    check = "By the first of the plan's [cheap checks](plan.html#cheap-checks), the feedback is"
    return f"{check} {'mostly not a response to the constraint' if noise else 'mostly a response to the constraint'}."


def positive_sentence(layers: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Which share of each layer's values is positive in the final networks of the published rule, and what follows.

    Args:
        layers: of `load_layers`.
        runs: rows of `load_runs`.
    """
    own = layers_of(layers, runs)
    gated = own[(own["method"] == "accuracy_gated") & (own["keep_ratio"] == 1)] if len(own) else own
    if gated.empty:
        return ""
    shares = gated.groupby("layer")["active_fraction"].mean()
    least, most = shares.min(), shares.max()
    cautious = f", so counting from {ACTIVE:g} is cautious" if most < ACTIVE else ""
    shares_told = f"{percent(least)} to {percent(most)} of a layer's values"
    return f"At the end of training, {shares_told} are positive on average{cautious}."


def response_sentence(decisions: pd.DataFrame) -> str:
    """What training accuracy did after the first reset from a small keep-ratio, and after later ones.

    Args:
        decisions: rows of `load_decisions` of the published rule.
    """
    frame = around_resets(decisions)
    after = frame[frame["decision"].between(1, SOON)].groupby(["kind", "reset"])["accuracy"].min()
    at = frame[frame["decision"] == 0].set_index(["kind", "reset"])["accuracy"]
    kinds = frame["kind"].unique()
    if not {"first", "later"} <= set(kinds):
        return "No run has yet been reset twice from a small keep-ratio."
    fell = {kind: int((after[kind] < at[kind].reindex(after[kind].index)).sum()) for kind in ("first", "later")}
    first, later = (len(after[kind]) for kind in ("first", "later"))
    often = fell["first"] / first > max(0.5, fell["later"] / later)
    reason = (
        " A possible reason: all activations come back at once, so the last layer sees [features of another "
        "size](../notebooks/network.html#features-before-the-head) and has to learn to work at both."
    )
    worst = after["first"].idxmin()
    deepest = f"from {percent(at['first'][worst])} to {percent(after['first'][worst])}"
    word = "often" if often else "rarely"
    return (
        f"**The first reset from a keep-ratio below {DEEP:g} {word} breaks training.** Within {SOON} decisions "
        f"after it, the average of training accuracy fell further in {fell['first']} of {first} runs, in the worst "
        f"case {deepest}. After later resets from below {DEEP:g}, that happened in {fell['later']} of {later} cases. "
        f"We noticed this in the runs and had not planned to look for it.{reason if often else ''}"
    )
