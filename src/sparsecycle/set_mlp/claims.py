"""The claims on SET and neuron pruning, their statistics over datasets, and the rule for verdicts.

All of this was fixed before any result. The unit is the dataset: the runs of a method on one dataset, one a seed, are
averaged, and methods are compared over the datasets, as is usual for many small datasets (Demsar, "Statistical
comparisons of classifiers over multiple data sets", Journal of Machine Learning Research 7, 2006). Runs of one seed
share the split, and the sparse methods also the network that they start from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sparsecycle.analysis.statistics import Comparison, holm
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.comparison import compare_pairs, sign_flip_test, verdict

COMPETITIVE = 0.01  # of test accuracy: pruning is competitive where it costs less than one point
ABOUT_HALF = (0.4, 0.6)  # share of hidden neurons left
LINEAR = (0.95, 1.05)  # exponent of parameters against neurons


@dataclass(frozen=True)
class SetClaim:
    """A claim on a measure of two methods; `margin` is what the treatment may be worse by and still be competitive."""

    id: str
    text: str
    treatment: str
    baseline: str
    metric: str
    larger_is_better: bool = True
    margin: float | None = None


CLAIMS = (
    SetClaim("D1", "SET generalizes better than fully connected", "set", "dense", "test_accuracy"),
    SetClaim("D1", "SET generalizes better than fully connected", "set", "dense", "gap", larger_is_better=False),
    SetClaim("D2", "Pruning half the neurons is competitive", "set_pruned", "set", "test_accuracy", margin=COMPETITIVE),
)
"""D3 is a count, see `exponent`. The paper's figures by dataset are not public to us, so none is compared with."""


def by_dataset(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over seeds of a metric: a row a dataset, a column a method; NaN where the methods lack a common seed.

    Only seeds count that every method of `runs` has on that dataset, so that all saw the same splits. The test accuracy
    of a run that diverged is zero, as in the search for constants: nobody gets rid of a split by failing on it. For
    other metrics such a seed is left out.

    Raises:
        InputError: runs of more than one variant, or two of one dataset, method and seed.
    """
    if runs.empty:
        return pd.DataFrame()
    if runs.duplicated(["dataset", "method", "seed"]).any():
        raise InputError("there are two runs of one dataset, method and seed: select one variant")
    if metric == "test_accuracy":
        runs = runs.assign(test_accuracy=runs[metric].where(runs["status"] == "complete", 0.0), status="complete")
    complete = runs[runs["status"] == "complete"]
    values = complete.pivot(index=["dataset", "seed"], columns="method", values=metric)
    return values.reindex(columns=sorted(set(runs["method"]))).dropna().groupby(level="dataset").mean()


def compare_over_datasets(runs: pd.DataFrame, claim: SetClaim) -> tuple[Comparison, float]:
    """Treatment against baseline over datasets, and the two-sided p-value of Wilcoxon's signed-rank test.

    The differences are positive where the treatment is better, the interval is that of `mean_interval`.
    The p-value is NaN for fewer than two datasets, or where all differences are zero.
    """
    chosen = runs[runs["method"].isin([claim.treatment, claim.baseline])]
    means = by_dataset(chosen, claim.metric)
    if not {claim.treatment, claim.baseline} <= set(means.columns):
        means = pd.DataFrame(columns=[claim.treatment, claim.baseline], dtype=float)
    differences = means[claim.treatment] - means[claim.baseline]
    if not claim.larger_is_better:
        differences = -differences
    left_out = {name: "no seed that both completed" for name in sorted(set(chosen["dataset"]) - set(means.index))}
    names = (claim.treatment, claim.baseline, claim.metric)
    comparison = compare_pairs(names, {str(name): float(value) for name, value in differences.items()}, left_out)
    p_value = math.nan
    if len(differences) > 1 and (differences != 0).any():
        p_value = signed_rank_test(differences.to_numpy())
    return comparison, p_value


def signed_rank_test(differences: NDArray[np.float64]) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test, without the differences of zero.

    Exact for up to 16 differences also where some are equal, for which scipy's own is an approximation, or slow: it is
    the sign-flip test of the signed ranks.
    """
    counted = differences[differences != 0]
    return sign_flip_test(tuple(map(float, np.sign(counted) * stats.rankdata(np.abs(counted)))))


def diverged_on(runs: pd.DataFrame, *methods: str) -> list[str]:
    """The datasets on which a run of one of the methods diverged."""
    return sorted(
        set(runs.loc[runs["method"].isin(methods) & (runs["status"] == "diverged"), "dataset"]), key=str.lower
    )


def set_verdict(comparison: Comparison, claim: SetClaim) -> str:
    """As `comparison.verdict`; where there is a margin, "replicated" means that the
    interval lies above -margin, "reversed" that it lies below."""
    if claim.margin is None or len(comparison.pairs) < 3:
        return verdict(comparison)
    if comparison.low > -claim.margin:
        word = "replicated"
    else:
        word = "reversed" if comparison.high < -claim.margin else "inconclusive"
    return f"preliminary: {word}" if len(comparison.pairs) <= 5 else word


def set_verdict_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim on accuracy or gap, from the runs without overrides.

    Columns: claim, text, comparison, measure, mean, low, high, p_value (Wilcoxon), p_holm, datasets, left_out,
    neurons_left (share, of the treatment), verdict, differences (by dataset). A positive mean is an improvement.
    """
    if not runs.empty:
        runs = runs[runs["variant"] == ""]
    rows = []
    for claim in CLAIMS:
        comparison, p_value = compare_over_datasets(runs, claim)
        treated = runs[(runs["method"] == claim.treatment) & (runs["status"] == "complete")]
        rows.append(
            {
                "claim": claim.id,
                "text": claim.text,
                "comparison": f"{claim.treatment} - {claim.baseline}",
                "measure": claim.metric,
                "mean": comparison.mean,
                "low": comparison.low,
                "high": comparison.high,
                "p_value": p_value,
                "datasets": len(comparison.pairs),
                "left_out": len(comparison.excluded),
                "neurons_left": treated["neurons_left"].mean() if len(treated) else math.nan,
                "verdict": set_verdict(comparison, claim) if comparison.pairs else "not measured",
                "differences": dict(zip(comparison.pairs, comparison.differences, strict=True)),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist()))


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods over datasets, 1 the best; Friedman's p-value; the critical difference of Nemenyi's
    test at 5 %: methods whose average ranks differ by less cannot be told apart."""

    average: dict[str, float]
    datasets: int
    p_value: float
    critical_difference: float


def average_ranks(runs: pd.DataFrame, metric: str = "test_accuracy") -> Ranks:
    """Rank all methods on each dataset, equal ones share their ranks, and average.

    Raises:
        InputError: fewer than three methods or two datasets with runs of all of them.
    """
    means = by_dataset(runs, metric)
    datasets, methods = means.shape
    if methods < 3 or datasets < 2:
        raise InputError(f"ranks need three methods and two datasets with runs of all, but there are {means.shape}")
    ranks = stats.rankdata(-means.to_numpy(), axis=1)
    # The studentized range over sqrt(2): the table that Demsar prints, for any number of methods.
    critical = stats.studentized_range.ppf(0.95, methods, np.inf) / math.sqrt(2)
    return Ranks(
        average=dict(zip(means.columns, map(float, ranks.mean(axis=0)), strict=True)),
        datasets=datasets,
        p_value=float(stats.friedmanchisquare(*means.to_numpy().T).pvalue),
        critical_difference=float(critical * math.sqrt(methods * (methods + 1) / (6 * datasets))),
    )


def exponent(neurons: Sequence[float], parameters: Sequence[float]) -> tuple[float, float, float]:
    """Claim D3: the slope of log(parameters) against log(neurons), with its 95 % interval by least squares.

    Linear is 1, and "replicated" is an interval within `LINEAR`. At least three networks.
    """
    fitted = stats.linregress(np.log(neurons), np.log(parameters))
    half = stats.t.ppf(0.975, len(neurons) - 2) * fitted.stderr
    return float(fitted.slope), float(fitted.slope - half), float(fitted.slope + half)
