"""Sentences of the page on feedback: what equivalence leaves open, idle resets, and what a reset does to accuracy."""

import math

import numpy as np
import pandas as pd

from sparsecycle.analysis.verdicts import CLEAN, FEWEST_PAIRS, MARGIN, REPORTED, compare_arms
from sparsecycle.config import RunConfig
from sparsecycle.runs.metrics import ACTIVE
from sparsecycle.trainer import learning_rate
from sparsecycle_book.figures import ARMS_IN_WORDS, with_found
from sparsecycle_book.finding_figures import DEEP, around_resets
from sparsecycle_book.report.answers import (
    KEEP_RATIO_CONTROLS,
    counted,
    gains_told,
    listed_words,
    on_shared_seeds,
    percent,
    unlearned,
)
from sparsecycle_book.report.budgets import layers_of
from sparsecycle_book.report.findings import clean_gain
from sparsecycle_book.report.pilot import ACCURACY
from sparsecycle_book.simulation import simulate

SOON = 5  # decisions after a reset in which accuracy is looked at
LONG = 20  # epochs
AGAINST_DENSE = ("accuracy_gated", "epoch_gated", "replay", "shuffled", "fixed")


def margin_sentence(table: pd.DataFrame) -> str:
    """What equivalence with a control leaves open, where the gain to be explained lies inside the margin."""
    row = clean_gain(table)
    if row["pairs"] < FEWEST_PAIRS or not abs(row["mean"]) < MARGIN:
        return ""
    return (
        f"*Equivalent* means that what a control lacks is worth less than {100 * MARGIN:g} points. The published "
        f"rule's own gain over dense training is smaller than that ({100 * row['mean']:+z.2f} points in clean "
        "accuracy), so these tests cannot say where a gain of this size comes from."
    )


def close_controls(table: pd.DataFrame) -> str:
    """How far undecided controls are from equivalence, in the interval that decides it."""
    rows = table[(table["rule"] == "control") & (table["verdict"] == "undecided")].to_dict("records")
    told = [
        f"{100 * row['low_90']:+z.3f} to {100 * row['high_90']:+z.3f} points for {ARMS_IN_WORDS[row['baseline']]}"
        for row in rows
    ]
    if not told:
        return ""
    return f"*Equivalent* needs a 90 % interval inside ±{100 * MARGIN:g} points. It is {listed_words(told)}."


def against_dense_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """What the strategies and the controls gain over dense training, on the seeds that all have, as text in points."""
    measures = {"as reported": REPORTED, "clean": CLEAN, "last": "last_accuracy"}
    shared = on_shared_seeds(runs, preset, ("dense", *AGAINST_DENSE))
    table = gains_told(shared, preset, dict.fromkeys(AGAINST_DENSE, "dense"), measures)
    low = [f"{told} runs" for told in unlearned(shared, preset, table.index)]
    return table.assign(**{f"training accuracy below {percent(ACCURACY)}": low})


def against_dense_sentence(runs: pd.DataFrame, preset: str) -> str:
    """Whether the controls gain as much over dense training as the published rule, on the seeds that all have."""
    shared = on_shared_seeds(runs, preset, ("dense", *AGAINST_DENSE))
    told, pairs = [], 0
    for measure in (CLEAN, REPORTED):
        compared = compare_arms(shared, preset, dict.fromkeys(AGAINST_DENSE, "dense"), measure)
        rows = {row["treatment"]: row for row in compared.to_dict("records")}
        others = [100 * rows[name]["mean"] for name in KEEP_RATIO_CONTROLS if name in rows]
        if not others:
            return ""
        own, pairs = 100 * rows["accuracy_gated"]["mean"], rows["accuracy_gated"]["pairs"]
        told.append((f"{min(others):+z.2f} to {max(others):+z.2f}", f"{own:+z.2f}"))
    (clean, rule), (reported, rule_reported) = told
    return (
        f"On the {pairs} seeds that all arms have, the controls gain {clean} points over dense training in clean "
        f"accuracy, and the published rule {rule}; as reported, the controls gain {reported} points, and the rule "
        f"{rule_reported}. The plan judges no control against dense training, so these numbers are exploratory."
    )


def idle_sentence(runs: pd.DataFrame) -> str:
    """How many resets of the published rule came where the constraint removes almost nothing, and what follows."""
    gated = runs[runs["method"] == "accuracy_gated"]
    resets = int(gated["resets"].sum())
    share = gated["idle_resets"].sum() / resets
    found = "were idle" if share > 0.5 else "came while the constraint removed activations"
    other = " Something else probably made accuracy fall there." if share > 0.5 else ""
    return (
        f"**In runs of `{gated['preset'].iloc[0]}`, most resets of the published rule {found}.** Of {resets} resets, "
        f"{percent(share)} came at a keep-ratio of {ACTIVE:g} or more, where the constraint removes almost nothing."
        f"{other}"
    )


def last_idle_sentence(decisions: pd.DataFrame, config: RunConfig) -> str:
    """When the last idle reset came, and what later resets found; nothing where there are no later ones."""
    resets = with_found(decisions)[lambda rows: rows["reset"]]
    last = resets.loc[resets["found"] >= ACTIVE, "step"].max()
    later = resets[resets["step"] > last]
    if later.empty or last > config.steps / 2:
        return ""
    epoch = math.ceil(last / config.steps_per_epoch)
    return (
        f"This describes the first part of training: the last idle reset came in epoch {epoch} of {config.epochs}. "
        f"Each of the {len(later)} resets after it found a keep-ratio of {later['found'].max():.2f} or less, where the "
        "constraint does remove activations."
    )


def resets_by_noise(epochs: pd.DataFrame, config: RunConfig) -> list[int]:
    """How many resets the rule makes in each run of dense training if only the noise of batches can cause them.

    It watches batches drawn at random around the best training accuracy so far, which never falls.
    """
    steps, counts = np.arange(config.epochs * config.steps_per_epoch), []
    for seed, run in epochs[epochs["method"] == "dense"].sort_values("step").groupby("seed"):
        accuracies = np.interp(steps, run["step"], run["train_accuracy"].cummax())
        seen = simulate(config.controller_parameters(), accuracies.tolist(), noise=True, seed=int(str(seed)))
        found = [1.0, *seen.keep_ratios[:-1]]
        counts.append(sum(reset and keep < 1 for reset, keep in zip(seen.resets, found, strict=True)))
    return counts


def noise_sentence(epochs: pd.DataFrame, runs: pd.DataFrame, config: RunConfig) -> str:
    """Whether the noise of batches explains the idle resets."""
    alone = resets_by_noise(epochs, config)
    noise, recorded = np.mean(alone), runs.loc[runs["method"] == "accuracy_gated", "idle_resets"].mean()
    lead = "**The noise of batches explains almost none of them.** " if 10 * noise < recorded else ""
    return (
        f"{lead}We let the rule watch batches drawn at random around the best training accuracy so far of each of "
        f"{len(alone)} dense runs, which never falls: that gives {noise:.1f} resets of any kind a run. The runs of the "
        f"rule have {recorded:.1f} idle ones. The plan did not name this comparison, so it is exploratory."
    )


def as_dense_sentence(epochs: pd.DataFrame, decisions: pd.DataFrame) -> str:
    """How many resets came while a run of the rule was still dense training bit for bit, and what follows."""
    found = []
    for seed, run in decisions.groupby("seed"):
        dense, gated = (
            epochs[(epochs["method"] == method) & (epochs["seed"] == seed)].set_index("step")
            for method in ("dense", "accuracy_gated")
        )
        same = (dense["train_loss"] == gated["train_loss"].reindex(dense.index)).cummin()
        until = same.index[same].max() if same.any() else 0
        own = with_found(run)
        resets = int((own["reset"] & (own["step"] <= until)).sum())
        fell = (dense["train_accuracy"].cummax() - dense["train_accuracy"])[same].max() if resets else 0.0
        found.append((resets, fell))
    count, runs = sum(resets for resets, _ in found), sum(resets > 0 for resets, _ in found)
    if not count:
        return ""
    most = math.ceil(round(100 * max(fell for _, fell in found), 6)) / 100
    return (
        f"But training loses accuracy by itself: {counted(count, 'reset')}, in {runs} of {len(found)} runs, came while "
        "the constraint had removed nothing so far and the run was dense training, bit for bit. Between two "
        f"evaluations of that time, mean training accuracy falls by at most {most:.2f} below its best, so these falls "
        "are short."
    )


def stalled_sentence(decisions: pd.DataFrame, config: RunConfig) -> str:
    """How often the rule met its condition at a keep-ratio of 1, and how long it stayed there after a first reset."""
    found, waits = with_found(decisions), []
    idle_at_one = decisions["reset"].sum() - found["reset"].sum()
    for _, run in found.groupby("run"):
        deep = np.flatnonzero(run["reset"] & (run["found"] < DEEP))
        if len(deep):
            after = run["keep_ratio"].iloc[deep[0] :]
            decisions_at_one = int((after == 1).cummin().sum())
            waits.append(decisions_at_one * (config.decision_steps or config.steps_per_epoch) / config.steps_per_epoch)
    if not waits:
        return ""
    long = [wait for wait in waits if wait >= LONG]
    stayed = (
        f" In {len(long)} of {len(waits)} runs this lasted: after the first reset from below {DEEP:g}, the keep-ratio "
        f"stayed at 1 for {LONG} epochs or more, in the longest case for {max(waits):.0f}."
    )
    return (
        f"A decision that finds the keep-ratio at 1 already cannot raise it, so we do not count it as a reset, but the "
        f"average was more than the tolerance below its best at {idle_at_one} such decisions.{stayed if long else ''}"
    )


def idle_check(runs: pd.DataFrame) -> str:
    """What the first of the plan's cheap checks says of the runs of `idle_sentence`, for a page beside the plan's."""
    gated = runs[runs["method"] == "accuracy_gated"]
    noise = gated["idle_resets"].sum() > gated["resets"].sum() / 2
    check = "By the first of the plan's [cheap checks](plan.html#cheap-checks), the feedback is"
    return f"{check} mostly {'not ' if noise else ''}a response to the constraint."


def positive_sentence(layers: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Which share of each layer's values is positive in the final networks of the published rule, and what follows."""
    own = layers_of(layers, runs)
    gated = own[(own["method"] == "accuracy_gated") & (own["keep_ratio"] == 1)]
    if gated.empty:
        return ""
    shares = gated.groupby("layer")["active_fraction"].mean()
    least, most = shares.min(), shares.max()
    cautious = f", so that at {ACTIVE:g} the constraint removes almost nothing; early in training more of them are"
    told = f"At the end of training, {percent(least)} to {percent(most)} of a layer's values are positive on average"
    return f"{told}{cautious if most < ACTIVE else ''}."


def response_sentence(decisions: pd.DataFrame, config: RunConfig) -> str:
    """What training accuracy did after the first reset from a small keep-ratio, and after later ones."""
    frame = around_resets(decisions)
    after = frame[frame["decision"].between(1, SOON)].groupby(["kind", "reset"])["accuracy"].min()
    at = frame[frame["decision"] == 0].set_index(["kind", "reset"])["accuracy"]
    if not {"first", "later"} <= set(after.index.unique("kind")):  # a run may end with a reset
        return "No run has yet been reset twice from a small keep-ratio."
    falls = {kind: at[kind].reindex(after[kind].index) - after[kind] for kind in ("first", "later")}
    fell = {kind: int((fall > config.tolerance).sum()) for kind, fall in falls.items()}
    first, later = (len(after[kind]) for kind in ("first", "later"))
    share = fell["first"] / first
    word, more = "often" if share > 0.5 else "sometimes" if share else "never", share > fell["later"] / later
    reason = (
        " A possible reason: all activations come back at once, so the last layer sees [features of another "
        "size](../notebooks/network.html#features-before-the-head) and has to learn to work at both."
    )
    worst = after["first"].idxmin()
    deepest = f"from {percent(at['first'][worst])} to {percent(after['first'][worst])}"
    return (
        f"**The first reset from a keep-ratio below {DEEP:g} {word} breaks training.** Within {SOON} decisions "
        f"after it, the average of training accuracy fell by more than another {config.tolerance:g} in "
        f"{fell['first']} of {first} runs, in the worst case {deepest}. After later resets from below {DEEP:g}, that "
        f"happened in {fell['later']} of {later} cases. "
        f"We noticed this in the runs and had not planned to look for it."
        f"{reason + _rates(frame, config) if more else ''}"
    )


def _rates(around: pd.DataFrame, config: RunConfig) -> str:
    """That the learning rate was larger at all first resets of `around_resets` than at all later ones, where it was."""
    at = around[around["decision"] == 0]
    rates = at["step"].map(lambda step: learning_rate(config, (int(step) - 1) // config.steps_per_epoch))
    first, later = rates[at["kind"] == "first"].min(), rates[at["kind"] == "later"].max()
    if not first > later:
        return ""
    at_least, at_most = math.floor(1000 * first) / 1000, math.ceil(1000 * later) / 1000
    return (
        f" Another is the learning rate: it was {at_least:.3f} or more at the first resets and {at_most:.3f} or less "
        "at the later ones, so these runs cannot tell the two reasons apart."
    )
