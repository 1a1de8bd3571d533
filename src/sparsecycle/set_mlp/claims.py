"""The claims of the companion study, and what the runs say of them by the rules of the main study.

The unit is the dataset: on each, treatment and baseline are compared over the splits that both have, and these means
are compared over the datasets, as is usual for many small datasets (Demsar, "Statistical comparisons of classifiers
over multiple data sets", Journal of Machine Learning Research 7, 2006). Runs of one seed share the split.

A run that diverged scores what guessing the most frequent class of its training part scores. `SCORINGS` has two other
ways to count it, to show how much depends on that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import pandas as pd

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
Scoring = Literal["majority", "zero", "complete"]
SCORINGS: tuple[Scoring, ...] = ("majority", "zero", "complete")
ACCURACIES = ("last_accuracy", "best_accuracy")


@dataclass(frozen=True)
class SetClaim:
    """One claim and one measure of it, on one arm.

    Attributes:
        rule: "property" (`property_verdict`) or "control" (`control_verdict`, within `COMPETITIVE`).
        both_fail: whether a split counts on which both runs diverged.
    """

    id: str
    text: str
    arm: str
    treatment: str
    baseline: str
    measure: str
    rule: Literal["property", "control"] = "property"
    larger_is_better: bool = True
    both_fail: bool = True


def _claims(arm: str, accuracies: Sequence[str]) -> list[SetClaim]:
    better = "SET generalizes better than fully connected"
    found = [SetClaim("D1", better, arm, "set", "dense", name) for name in accuracies]
    found.append(SetClaim("D1", better, arm, "set", "dense", "gap", larger_is_better=False))
    half = "Pruning half of the neurons is competitive"
    return found + [
        SetClaim("D2", half, arm, "set_pruned", "set", name, "control", both_fail=False) for name in accuracies
    ]


CLAIMS = (*_claims("authors", ACCURACIES), *_claims("tuned", ("last_accuracy",)))
"""D3 is arithmetic, see `parameters`. The paper's figures by dataset are not public to us: none is compared with."""


def study_runs(runs: pd.DataFrame, *, variants: bool = False) -> pd.DataFrame:
    """Return the rows of `load_set_runs` that count: on the datasets of the study, from a source without uncommitted
    changes, and, unless `variants`, without overrides."""
    if runs.empty:
        return runs
    clean = runs["git_clean"].map(lambda one: pd.isna(one) or bool(one)).astype(bool)
    counted = runs[clean & runs["dataset"].isin(study_datasets())]
    return counted if variants else counted[counted["variant"] == ""]


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


def paired(
    treated: pd.DataFrame,
    untreated: pd.DataFrame,
    names: tuple[str, str, str],
    *,
    sign: int = 1,
    both_fail: bool = True,
) -> Comparison:
    """Compare two groups of scored runs over datasets, by the splits that both have.

    Args:
        names: treatment, baseline and measure, a column.
        sign: -1 where a smaller measure is better.
        both_fail: whether splits count on which both diverged.

    Raises:
        InputError: two runs of one dataset and seed.
    """
    measure, keys = names[2], ["dataset", "seed"]
    for runs in (treated, untreated):
        if runs.duplicated(keys).any():
            raise InputError("there are two runs of one dataset, method and seed: select one arm and variant")
    pairs = treated.merge(untreated, on=keys, suffixes=("", "_baseline"))
    if not both_fail:
        pairs = pairs[(pairs["status"] != "diverged") | (pairs["status_baseline"] != "diverged")]
    differences = sign * (pairs[measure] - pairs[f"{measure}_baseline"]).astype(float)
    means = differences.groupby(pairs["dataset"]).mean().sort_index(key=lambda index: index.str.lower())
    known = sorted(set(treated["dataset"]) | set(untreated["dataset"]))
    reasons = {str(name): "no split counts that both have" for name in known if name not in means.index}
    return compare_pairs(names, {str(name): float(value) for name, value in means.items()}, reasons)


def compare_claim(runs: pd.DataFrame, claim: SetClaim, scoring: Scoring = "majority") -> Comparison:
    """The comparison of a claim.

    Args:
        runs: of `study_runs`.
    """
    own = scored(runs[runs["arm"] == claim.arm], scoring)
    treated, untreated = (own[own["method"] == method] for method in (claim.treatment, claim.baseline))
    names, sign = (claim.treatment, claim.baseline, claim.measure), 1 if claim.larger_is_better else -1
    return paired(treated, untreated, names, sign=sign, both_fail=claim.both_fail)


def set_verdict_table(runs: pd.DataFrame, scoring: Scoring = "majority") -> pd.DataFrame:
    """A row for each claim and measure, from runs that count.

    Columns: claim, text, arm, treatment, baseline, measure, mean, low, high (95 %), low_90, high_90, p_value, p_holm
    (D1, over both arms as one family), datasets, splits (pairs of runs), verdict, preliminary, differences (by
    dataset), excluded. A positive mean is an improvement.

    Args:
        runs: of `load_set_runs`.
        scoring: of runs that diverged; verdicts are those of "majority".
    """
    runs = study_runs(runs)
    compared = [(claim, compare_claim(runs, claim, scoring)) for claim in CLAIMS]
    tested = [claim.rule == "property" and len(one.pairs) >= FEWEST_PAIRS for claim, one in compared]
    family = holm([one.p_value if yes else math.nan for yes, (_, one) in zip(tested, compared, strict=True)])
    rows = []
    for (claim, one), p_holm in zip(compared, family, strict=True):
        word = property_verdict(one, p_holm) if claim.rule == "property" else control_verdict(one, COMPETITIVE)
        word = word if one.pairs else NOT_MEASURED
        rows.append(
            {
                **{name: getattr(claim, name) for name in ("text", "arm", "treatment", "baseline", "measure")},
                **{name: getattr(one, name) for name in ("mean", "low", "high", "low_90", "high_90", "p_value")},
                "claim": claim.id,
                "p_holm": p_holm,
                "datasets": len(one.pairs),
                "verdict": word,
                "preliminary": word not in (NOT_MEASURED, NOT_JUDGED) and len(one.pairs) < FIRM_PAIRS,
                "differences": dict(zip(one.pairs, one.differences, strict=True)),
                "excluded": one.excluded,
            }
        )
    return pd.DataFrame(rows)


def mean_accuracies(runs: pd.DataFrame, arm: str, measure: str, scoring: Scoring = "majority") -> pd.DataFrame:
    """A row a dataset, a column a method: means over the splits that all methods have, and "splits", their number.

    So all averages of the table are over the same datasets and splits.

    Args:
        runs: of `load_set_runs`.
    """
    own = study_runs(runs)
    own = scored(own[own["arm"] == arm], scoring)
    if own.empty:
        return pd.DataFrame()
    wide = own.pivot(index=["dataset", "seed"], columns="method", values=measure).dropna()
    wide = wide.reindex(columns=[name for name in METHODS if name in wide.columns])
    means = wide.groupby("dataset").mean().assign(splits=wide.groupby("dataset").size())
    return means.sort_index(key=lambda index: index.str.lower())


def set_ablation_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm, method and variant: what one choice changes, over the splits that both have.

    Columns: arm, method, variant, mean, low, high (of the last test accuracy, scored as the claims are), p_holm (all
    rows as one family), datasets, diverged and diverged_as_it_stands (runs), neurons_left (share).

    Args:
        runs: of `load_set_runs`.
    """
    counted = study_runs(runs, variants=True)
    rows: list[dict[str, Any]] = []
    for (arm, method, variant), varied in counted.groupby(["arm", "method", "variant"], sort=False):
        plain = counted[(counted["arm"] == arm) & (counted["method"] == method) & (counted["variant"] == "")]
        plain = plain.merge(varied[["dataset", "seed"]])
        if variant == "" or plain.empty:
            continue
        one = paired(scored(varied), scored(plain), (str(variant), "", "last_accuracy"))
        rows.append(
            {
                "arm": arm,
                "method": method,
                "variant": variant,
                **{name: getattr(one, name) for name in ("mean", "low", "high", "p_value")},
                "datasets": len(one.pairs),
                "diverged": int((varied["status"] == "diverged").sum()),
                "diverged_as_it_stands": int((plain["status"] == "diverged").sum()),
                "neurons_left": varied["neurons_left"].mean(),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist())) if rows else table


def parameters(sizes: Sequence[int], epsilon: float | None = None) -> int:
    """Claim D3: weights and biases of a network of these sizes, features to classes; None: fully connected.

    A sparse layer has epsilon (n_in + n_out) connections. With hidden layers of n neurons each that is linear in n.
    """
    weights = (
        before * after if epsilon is None else connections_at_start(before, after, epsilon)
        for before, after in pairwise(sizes)
    )
    return sum(weights) + sum(sizes[1:])
