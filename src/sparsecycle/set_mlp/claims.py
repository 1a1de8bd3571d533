"""The claims of the companion study, and what the runs say of them by the rules of the main study.

The unit is the dataset: on each, treatment and baseline are compared over the splits that both have, and these means
are compared over the datasets, as is usual for many small datasets (Demsar, "Statistical comparisons of classifiers
over multiple data sets", Journal of Machine Learning Research 7, 2006). Runs of one seed share the split.

A run that diverged scores what guessing the most frequent class of its training part scores. `SCORINGS` has two other
ways to count it. A verdict that runs without divergence alone would not give is none: it `RESTS` on divergence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pandas as pd

from sparsecycle.analysis.selection import why_left_out
from sparsecycle.analysis.statistics import Comparison, compare_pairs, holm
from sparsecycle.analysis.verdicts import (
    FEWEST_PAIRS,
    FIRM_PAIRS,
    NOT_JUDGED,
    NOT_MEASURED,
    control_verdict,
    property_verdict,
)
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import METHODS
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.evolution import connections_at_start

COMPETITIVE = 0.01  # of test accuracy: pruning is competitive where it costs less than one point
RESTS = "undecided: rests on divergence"
SLOWER = "dense learning_rate=0.001"  # a tenth of the authors' rate, at which fully connected networks train
Scoring = Literal["majority", "zero", "complete"]
SCORINGS: tuple[Scoring, ...] = ("majority", "zero", "complete")
ACCURACIES = ("last_accuracy", "best_accuracy")


@dataclass(frozen=True)
class SetClaim:
    """One claim and one measure of it, in one arm.

    Treatment and baseline are methods, with what is overridden. The rule is `property_verdict`, or `control_verdict`
    within `COMPETITIVE`. `both_fail` says whether a split counts on which both diverged.
    """

    id: str
    arm: str
    treatment: str
    baseline: str
    measure: str
    rule: Literal["property", "control"] = "property"
    larger_is_better: bool = True
    both_fail: bool = True


def _claims(arm: str, accuracies: Sequence[str], baselines: Sequence[str]) -> list[SetClaim]:
    """D1, that SET generalizes better than fully connected, and D2, that pruning half of the neurons is competitive."""
    found = []
    for baseline in baselines:
        found += [SetClaim("D1", arm, "set", baseline, name) for name in accuracies]
        found.append(SetClaim("D1", arm, "set", baseline, "gap", larger_is_better=False))
    return found + [SetClaim("D2", arm, "set_pruned", "set", name, "control", both_fail=False) for name in accuracies]


CLAIMS = (*_claims("authors", ACCURACIES, ("dense", SLOWER)), *_claims("tuned", ("last_accuracy",), ("dense",)))
"""D3 is arithmetic, see `parameters`. The paper's figures by dataset are not public to us: none is compared with."""


def study_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `load_set_runs` that count, and "group", the method with what is overridden.

    They are on the datasets of the study and from a source without uncommitted changes. InputError where a run is there
    twice, made by different sources.
    """
    if runs.empty:
        return runs.assign(group=pd.Series(dtype=object))
    reasons = why_left_out(runs.assign(preset=runs["arm"], evaluated_on="test"), variants=True)
    counted = runs[(reasons == "") & runs["dataset"].isin(study_datasets())]
    if counted.duplicated(["dataset", "arm", "method", "variant", "seed"]).any():
        raise InputError("there are two records of one run, made by different sources: give one folder of runs")
    return counted.assign(group=(counted["method"] + " " + counted["variant"]).str.strip())


def scored(runs: pd.DataFrame, scoring: Scoring = "majority") -> pd.DataFrame:
    """Return the runs with scores for those that diverged: of the majority class, zero, or left out ("complete")."""
    fallen = runs["status"] == "diverged"
    if scoring == "complete" or runs.empty:
        return runs[~fallen]
    columns = {}
    for name in (*ACCURACIES, "train_accuracy"):
        guess = runs["majority_train_accuracy" if name == "train_accuracy" else "majority_accuracy"]
        columns[name] = runs[name].mask(fallen, guess if scoring == "majority" else 0.0)
    return runs.assign(**columns, gap=columns["train_accuracy"] - columns["last_accuracy"])


def paired(treated: pd.DataFrame, untreated: pd.DataFrame, claim: SetClaim) -> Comparison:
    """Compare two groups of scored runs over datasets, by the splits that both have; of each split one run."""
    sign = 1 if claim.larger_is_better else -1
    pairs = treated.merge(untreated, on=["dataset", "seed"], suffixes=("", "_baseline"))
    if not claim.both_fail:
        pairs = pairs[(pairs["status"] != "diverged") | (pairs["status_baseline"] != "diverged")]
    differences = sign * (pairs[claim.measure] - pairs[f"{claim.measure}_baseline"]).astype(float)
    means = differences.groupby(pairs["dataset"]).mean().sort_index(key=lambda index: index.str.lower())
    values = {str(name): float(value) for name, value in means.items()}
    return compare_pairs((claim.treatment, claim.baseline, claim.measure), values)


def compare_claim(runs: pd.DataFrame, claim: SetClaim, scoring: Scoring = "majority") -> Comparison:
    """Return the comparison of a claim, from rows of `study_runs`."""
    own = scored(runs[runs["arm"] == claim.arm], scoring)
    return paired(own[own["group"] == claim.treatment], own[own["group"] == claim.baseline], claim)


def _judge(runs: pd.DataFrame, scoring: Scoring) -> list[tuple[Comparison, float, str]]:
    """For each claim its comparison, p by Holm (D1 in all arms as one family), and the verdict of its rule."""
    compared = [(claim, compare_claim(runs, claim, scoring)) for claim in CLAIMS]
    tested = [claim.rule == "property" and len(one.pairs) >= FEWEST_PAIRS for claim, one in compared]
    family = holm([one.p_value if yes else math.nan for yes, (_, one) in zip(tested, compared, strict=True)])
    found = []
    for (claim, one), p_holm in zip(compared, family, strict=True):
        word = property_verdict(one, p_holm) if claim.rule == "property" else control_verdict(one, COMPETITIVE)
        found.append((one, p_holm, word if one.pairs else NOT_MEASURED))
    return found


def set_verdict_table(runs: pd.DataFrame, scoring: Scoring = "majority") -> pd.DataFrame:
    """Return a row for each claim and measure, from the runs that count.

    Columns: claim, arm, treatment, baseline, measure, mean, low, high (95 %), low_90, high_90, p_value, p_holm,
    datasets, verdict, preliminary, differences (by dataset). A positive mean is an improvement. `runs` are of
    `load_set_runs`; `scoring` is of runs that diverged.
    """
    counted = study_runs(runs)
    rows = []
    without = _judge(counted, "complete")
    for claim, (one, p_holm, word), (whole, _, other) in zip(CLAIMS, _judge(counted, scoring), without, strict=True):
        judged = word not in (NOT_MEASURED, NOT_JUDGED)
        rows.append(
            {
                "claim": claim.id,
                **{name: getattr(claim, name) for name in ("arm", "treatment", "baseline", "measure")},
                **{name: getattr(one, name) for name in ("mean", "low", "high", "low_90", "high_90", "p_value")},
                "p_holm": p_holm,
                "datasets": len(one.pairs),
                "verdict": RESTS if judged and word != other and one.differences != whole.differences else word,
                "preliminary": judged and len(one.pairs) < FIRM_PAIRS,
                "differences": dict(zip(one.pairs, one.differences, strict=True)),
            }
        )
    return pd.DataFrame(rows)


def mean_accuracies(runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return last test accuracies by dataset and method, means over the "splits" (how many) that all columns have.

    A method all of whose runs diverged has no column.
    """
    own = scored(study_runs(runs).query("arm == @arm"))
    trained = own.loc[own["status"] == "complete", "group"].unique()
    columns = [name for name in ("dense", SLOWER, *METHODS[1:]) if name in trained]
    own = own[own["group"].isin(columns)]
    wide = own.pivot(index=["dataset", "seed"], columns="group", values="last_accuracy")[columns].dropna()
    means = wide.groupby("dataset").mean().assign(splits=wide.groupby("dataset").size())
    return means.sort_index(key=lambda index: index.str.lower())


def parameters(sizes: Sequence[int], epsilon: float | None = None) -> int:
    """Return the weights and biases of a network of these sizes, features to classes; fully connected without epsilon.

    This is claim D3: a sparse layer has epsilon (n_in + n_out) weights, so that with hidden layers of n neurons each
    the number is linear in n.
    """
    weights = (
        before * after if epsilon is None else connections_at_start(before, after, epsilon)
        for before, after in pairwise(sizes)
    )
    return sum(weights) + sum(sizes[1:])
