"""Sentences of the page on small keep-ratios and overfitting that no verdict covers."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsecycle.analysis.selection import CHANCE, arms
from sparsecycle.analysis.statistics import paired_difference
from sparsecycle.analysis.verdicts import ARMS, FEWEST_PAIRS, MARGIN, compare_arms
from sparsecycle.evaluation.accuracy import budget_area
from sparsecycle_book.figures import ARMS_IN_WORDS
from sparsecycle_book.report.answers import amount, counted, gains_told, listed_words, on_shared_seeds, percent

NOTHING = "We have no runs yet that answer this."
BESIDE = ("accuracy_gated", "epoch_gated", "replay", "shuffled", "fixed")
LACKS = {"replay": "feedback", "shuffled": "the order of the keep-ratios"}


def budgets_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """What arms gain over dense training at each keep-ratio, on the seeds that all have, as text in points."""
    columns = runs.filter(like="accuracy_at_").columns
    measures = {f"at {_keep_ratio_of(name):g}": name for name in sorted(columns, key=_keep_ratio_of, reverse=True)}
    shared = on_shared_seeds(runs, preset, ("dense", *BESIDE))
    return gains_told(shared, preset, dict.fromkeys(BESIDE, "dense"), measures)


def small_budgets_sentence(runs: pd.DataFrame, preset: str) -> str:
    """What controls gain over the published rule in mean accuracy over all keep-ratios, and what that shows."""
    compared = compare_arms(runs, preset, dict.fromkeys(LACKS, "accuracy_gated"), "budget_area")
    rows = [row for row in compared.to_dict("records") if row["pairs"] >= FEWEST_PAIRS]
    if not rows:
        return ""
    told = listed_words([f"{ARMS_IN_WORDS[row['treatment']]} gains {amount(row)}" for row in rows])
    as_good = [LACKS[row["treatment"]] for row in rows if row["mean"] >= 0 or row["low"] > -MARGIN]
    needed = {0: "", 1: f" So the gain does not need {''.join(as_good)}."}
    both = f" So the gain needs neither {' nor '.join(as_good)}."
    return (
        f"Over the published rule, {told}.{needed.get(len(as_good), both)} The plan names no test for this, so it is "
        "exploratory."
    )


def dropout_area_sentence(runs: pd.DataFrame, preset: str, *, brief: bool = False) -> str:
    """Whether dense training with dropout has the higher mean accuracy over all keep-ratios, and whether that is more
    than its accuracy at keep-ratio 1; nothing where it has not.
    """
    every = arms(runs, preset)
    every = every.assign(beyond=every["budget_area"] - every["last_accuracy"])
    compared = {"dense, tuned": "accuracy_gated"}
    area, beyond = (
        compare_arms(every, preset, compared, measure).to_dict("records") for measure in ("budget_area", "beyond")
    )
    if not area or area[0]["pairs"] < FEWEST_PAIRS or not area[0]["low"] > 0:
        return ""
    mean, low, high = (-100 * beyond[0][bound] for bound in ("mean", "high", "low"))
    if brief:
        alone = ", through its accuracy at keep-ratio 1" if mean >= 0 else ""
        return f"Dense training with dropout improves it more{alone}."
    behind = (
        f" But beyond its gain at keep-ratio 1 it is {mean:.2f} points behind the rule (95 % interval {low:.2f} to "
        f"{high:.2f}), so it is better because it is more accurate in general."
    )
    told = f"Dense training with dropout has a higher mean still, by {amount(area[0])}."
    return f"{told}{behind if low > 0 else ''} This is exploratory, too."


def wrong_labels_sentence(
    runs: pd.DataFrame, epochs: pd.DataFrame, correct: Mapping[str, NDArray[np.bool_]], preset: str
) -> str:
    """What clean accuracy leaves out where labels are wrong: memorized labels, which only the last epoch shows."""
    treatment, baseline = "accuracy_gated, 20 % wrong labels", "dense, 20 % wrong labels"
    last = compare_arms(runs, preset, {treatment: baseline}, "last_accuracy")
    if last.empty:
        return ""
    own = arms(runs, preset)
    own = own[own["arm"].isin([ARMS[treatment], ARMS[baseline]])]
    chosen = []
    for name in own["run"]:
        looked = epochs[epochs["run"] == name].dropna(subset="test_accuracy").sort_values("step")
        halves = (correct[name][:, start::2].mean(axis=1).argmax() for start in (0, 1))
        chosen += [looked.iloc[int(look)] for look in halves]
    epoch, share = max(one["epoch"] for one in chosen), max(one["train_accuracy"] for one in chosen)
    [row] = last.to_dict("records")
    return (
        f"With wrong labels, clean accuracy says little about memorizing: the epochs that it chooses in these "
        f"{len(own)} runs come by epoch {epoch:.0f}, when training accuracy is {math.ceil(100 * share)} % or less. "
        f"At the end it is {math.floor(1000 * own['train_accuracy'].min()) / 10:g} % or more, the wrong labels "
        f"included: both arms memorize them. There, the gain in test accuracy is {amount(row)}. The plan names no test "
        "for the last epoch, so this is exploratory."
    )


def smallest_sentence(runs: pd.DataFrame) -> str:
    """Which accuracy the networks of the published rule have left at the two smallest keep-ratios."""
    gated = runs[runs["method"] == "accuracy_gated"]
    at_budgets = gated.filter(like="accuracy_at_").dropna(axis="columns", how="all")
    columns = sorted(at_budgets.columns, key=_keep_ratio_of)[1::-1]
    left = listed_words([f"{percent(gated[name].mean())} at {_keep_ratio_of(name):g}" for name in columns])
    return f"With the published rule, mean accuracy is {left}; guessing reaches {percent(CHANCE)}."


def _keep_ratio_of(column: str) -> float:
    return float(column.removeprefix("accuracy_at_"))


def gap_sentence(runs: pd.DataFrame) -> str:
    """How much of a smaller train-test gap is lower training accuracy; nothing where the gap is not smaller."""
    gap, train = (
        paired_difference(runs, "accuracy_gated", "dense", measure, larger_is_better=False)
        for measure in ("gap", "train_accuracy")
    )
    if not 0 < train.mean <= gap.mean:
        return ""
    return (
        f"Of the {100 * gap.mean:.2f} points by which the mean gap is smaller under the published rule, "
        f"{100 * train.mean:.2f} come from lower accuracy on the training images "
        f"(95 % interval {100 * train.low:+.2f} to {100 * train.high:+.2f})."
    )


def last_layer_similarity(layers: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Linear CKA of the last constrained layer with itself at keep-ratio 1, a row for each measured run of `runs`.

    Columns: method, seed, similarity_at_<keep-ratio>, and similarity, the mean over keep-ratios as `budget_area`.
    """
    own = layers_of(layers, runs)
    if own.empty:
        return pd.DataFrame(columns=["method", "seed", "similarity"])
    last = own[own["layer"] == own["layer"].iloc[-1]]
    wide = last.pivot(index=["method", "seed"], columns="keep_ratio", values="cka")
    areas = [budget_area(list(wide.columns), row) for row in wide.to_numpy()]
    found: pd.DataFrame = wide.add_prefix("similarity_at_").assign(similarity=areas).reset_index()
    return found.rename_axis(columns=None)


def similarity_sentence(similarity: pd.DataFrame) -> str:
    """What the published rule changes in `last_layer_similarity`."""
    return _explored(
        similarity,
        "similarity",
        "**Under the published rule, the last layer keeps {} its representation than after dense training.** Its mean "
        "CKA over all keep-ratios is",
        ("more of", "less of", "neither clearly more nor clearly less of"),
    )


def loss_sentence(runs: pd.DataFrame) -> str:
    """What the published rule changes in the test loss of the final networks, in nats; `runs` as of `load_runs`."""
    return _explored(
        runs,
        "test_loss",
        "**Under the published rule, test loss ends {} dense training.** That can mean another degree of overfitting "
        "or only of confidence. The mean loss in nats is",
        ("higher than after", "lower than after", "neither clearly higher nor clearly lower than after"),
    )


def _explored(rows: pd.DataFrame, measure: str, found: str, words: tuple[str, str, str]) -> str:
    """What the published rule changes in a measure that the plan does not name; `words` where it is larger, smaller and
    neither of both."""
    if rows.empty:
        return NOTHING
    one = paired_difference(rows, "accuracy_gated", "dense", measure)
    means = rows[rows["seed"].isin(one.pairs)].groupby("method")[measure].mean()
    word = words[0 if one.low > 0 else 1 if one.high < 0 else 2]
    return (
        f"{found.format(word)} {means['accuracy_gated']:.2f} instead of {means['dense']:.2f}, a difference "
        f"of {one.mean:+z.2f} (95 % interval {one.low:+z.2f} to {one.high:+z.2f}, {counted(len(one.pairs), 'pair')}). "
        "The plan names no test for this, so it is exploratory."
    )


def layers_of(layers: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `load_layers` of these runs."""
    labels = ["preset", "method", "seed", "variant"]
    return layers.merge(runs[labels], on=labels)
