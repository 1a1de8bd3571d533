"""Intervals, paired comparisons and the verdict on each claim.

Runs are paired by seed: the runs of one seed start from the same weights and see the same order of images,
so what differs within a pair is the method. The claims, their measures and the rule for verdicts were fixed
before the results; this file is that rule. Effects are fractions of the images (0.01 is one point), and a
positive one means that the treatment is better.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from sparsecycle.errors import InputError

POWER = 0.80
NO_EFFECT = 0.003  # half-width of the band that counts as "no effect": 0.3 points
RESAMPLES = 9999
SIGN_FLIPS = 2**16  # all flips of up to 16 pairs; of more pairs, as many random ones
NOT_MEASURED = "not measured"
SAME_RUNS = "same runs"
ADAPTIVE = ("loss_gated", "plateau")
RATIO = "ratio"
Pair = TypeVar("Pair", int, str)


@dataclass(frozen=True)
class Comparison:
    """Treatment against baseline over pairs; differences are positive where the treatment is better.

    `pairs` are the seeds, in the companion study the datasets. `low` and `high` bound the 95 % interval of the mean,
    `p_value` is that of the sign-flip test, and `smallest_detectable_effect` is the mean that a two-sided 5 % t-test
    finds with 80 % power, given as many pairs and this standard deviation of the differences; by luck a smaller one is
    found too. `excluded` are the
    pairs left out, `reasons` why.
    """

    treatment: str
    baseline: str
    metric: str
    pairs: tuple[int, ...] | tuple[str, ...]
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    p_value: float
    smallest_detectable_effect: float
    excluded: tuple[int, ...] | tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One claim on the method and its measure; every treatment is compared with every baseline.

    `paper_effect` is in the metric's unit, None where no number is known; `unit` says how to read the mean.
    """

    id: str
    text: str
    treatments: tuple[str, ...]
    baselines: tuple[str, ...]
    metric: str
    larger_is_better: bool = True
    paper_effect: float | None = None
    unit: str = "gain, fraction"


PAPER_ACCURACY = {"dense": 0.869, "loss_gated": 0.8797, "plateau": 0.8802}
"""Test accuracy that the paper reports for its baseline, strategy 1 and strategy 2, one run each."""


def _paper_effect(method: str) -> float:
    return PAPER_ACCURACY[method] - PAPER_ACCURACY["dense"]


_DENSE = ("dense",)
_CONTROLS = ("geometric", "fixed", "random")
_RANDOM = "selection=random"
_OVERFITTING = "Resists overfitting"
_OUR_QUESTION = "Adaptivity, cycling and order matter (our question)"
_REVIEWERS = "Sparsity, schedule or plain regularization (reviewers' question)"
_REDUCTION = "reduction, fraction"
CLAIMS = (
    Claim("C1", "Strategy 1 beats dense", ("loss_gated",), _DENSE, "test_accuracy", True, _paper_effect("loss_gated")),
    Claim("C2", "Strategy 2 beats dense", ("plateau",), _DENSE, "test_accuracy", True, _paper_effect("plateau")),
    Claim("C3", "One model works in dense and sparse regimes", ADAPTIVE, _DENSE, "budget_area"),
    Claim("C4", _OVERFITTING, ADAPTIVE, _DENSE, "gap", False, unit=_REDUCTION),
    Claim("C4", _OVERFITTING, ADAPTIVE, _DENSE, "drop_from_best", False, unit=_REDUCTION),
    Claim("C5", "More amenable to compression (hoped for)", ADAPTIVE, _DENSE, "pruned_area"),
    Claim("C5", "More amenable to compression (hoped for)", ADAPTIVE, _DENSE, "int8_accuracy"),
    Claim("C6", "More resilient representations (hoped for)", ADAPTIVE, _DENSE, "robustness_area"),
    Claim("C7", "Simple and cheap", ADAPTIVE, _DENSE, "training_seconds", False, unit=RATIO),
    Claim("C8", _OUR_QUESTION, ADAPTIVE, _CONTROLS, "test_accuracy"),
)
"""The claims on the method, in the order of the verdict table; none sets one strategy against the other."""


def mean_interval(differences: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % bootstrap interval of the mean over the last axis, (..., n) -> two arrays (...); NaN for n < 2.

    The percentile interval of `scipy.stats.bootstrap`, both ends moved away from the mean by the factor
    t(0.975, n-1) / z(0.975) * sqrt(n / (n-1)). A plain bootstrap of few values is too narrow: the variance of
    its resamples is (n-1)/n of the unbiased one, and it acts like a normal quantile where Student's belongs
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015). He
    expands the percentiles' levels to the same end; with 3 seeds that cannot help, because no resample's mean
    leaves the range of the data, so here the distances are expanded (our variant).

    Coverage of the true mean in 20,000 simulated studies of n = 3, 5, 10 normal differences: percentile 0.75,
    0.84, 0.90; BCa 0.72, 0.84, 0.90; expanded levels 0.75, 0.92, 0.95; this one 0.95, 0.95, 0.95. Strongly
    skewed (exponential) differences lower it to 0.89, 0.89, 0.91.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    if n < 2:
        nothing = np.full(values.shape[:-1], np.nan)
        return nothing, nothing
    rng = np.random.default_rng(0)  # fixed: the same runs always give the same interval
    resampled = stats.bootstrap(
        (values,), np.mean, axis=-1, method="percentile", n_resamples=RESAMPLES, batch=500, rng=rng
    )
    low, high = resampled.confidence_interval
    mean = values.mean(axis=-1)
    factor = stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * math.sqrt(n / (n - 1))
    return mean - factor * (mean - low), mean + factor * (high - mean)


def _require(runs: pd.DataFrame, *columns: str) -> None:
    given = list(map(str, runs.columns))
    if missing := [name for name in columns if name not in given]:
        raise InputError(f"the runs have no column {missing[0]!r}; given: {', '.join(given) or 'none'}")


def compare_pairs(names: tuple[str, str, str], differences: dict[Pair, float], reasons: dict[Pair, str]) -> Comparison:
    """The numbers of a comparison: names are (treatment, baseline, metric), the rest is by seed or by dataset."""
    values = tuple(map(float, differences.values()))
    mean, low, high, p_value, detectable = _numbers(values)
    return Comparison(
        *names,
        pairs=tuple(differences),
        differences=values,
        mean=mean,
        low=low,
        high=high,
        p_value=p_value,
        smallest_detectable_effect=detectable,
        excluded=tuple(reasons),
        reasons=tuple(reasons.values()),
    )


@cache  # pages, tables and their verification ask for the same comparisons again and again
def _numbers(differences: tuple[float, ...]) -> tuple[float, ...]:
    """Of a `Comparison`: mean, low, high, p_value, smallest_detectable_effect."""
    values = np.array(differences, dtype=np.float64)
    n = len(values)
    low, high = mean_interval(values)
    p_value = sign_flip_test(differences)
    detectable = math.nan
    if n > 1:
        # The noncentral t with this power above the critical value; below its negative lies less than 1e-6.
        shift = special.nctdtrinc(n - 1, 1 - POWER, stats.t.ppf(0.975, n - 1))
        detectable = shift * np.std(values, ddof=1) / math.sqrt(n)
    mean = float(np.mean(values)) if n else math.nan
    return mean, float(low), float(high), p_value, float(detectable)


@cache
def sign_flip_test(differences: tuple[float, ...]) -> float:
    """The two-sided p-value of a mean difference where every sign could as well be the other one; NaN of none.

    It is exact for up to 16 differences; of more, random flips are drawn, always the same ones.
    """
    if len(differences) < 2:  # of one, both flips are as extreme as what was seen
        return 1.0 if differences else math.nan
    values = np.array(differences, dtype=np.float64)
    rng = np.random.default_rng(0)
    test = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=SIGN_FLIPS, batch=4096, rng=rng
    )
    return float(test.pvalue)


def _outcomes(runs: pd.DataFrame, method: str, metric: str) -> dict[int, float | str]:
    """For each seed the metric's value, or why there is none."""
    chosen = (runs["method"] == method).to_numpy()  # columns one by one: a table of them takes ten times as long
    seeds, statuses = runs["seed"].to_numpy()[chosen], runs["status"].to_numpy()[chosen]
    values = pd.to_numeric(runs[metric], errors="coerce").to_numpy()[chosen]
    if not len(seeds):
        known = ", ".join(sorted(set(runs["method"]))) or "none"
        raise InputError(f"no run of method {method!r}; methods with runs: {known}")
    if repeated := sorted(int(seed) for seed, count in Counter(seeds).items() if count > 1):
        raise InputError(
            f"method {method!r} has more than one run of seed {', '.join(map(str, repeated))}; "
            "allowed: one a seed (select one preset and one variant)"
        )
    outcomes: dict[int, float | str] = {}
    for seed, status, value in zip(seeds, statuses, values, strict=True):
        finite = float(value) if math.isfinite(value) else f"{metric} of {method} is not finite"
        outcomes[int(seed)] = finite if status == "complete" else f"{method} {status}"
    return outcomes


def paired_difference(
    runs: pd.DataFrame, treatment: str, baseline: str, metric: str, *, larger_is_better: bool = True
) -> Comparison:
    """Compare two methods on the seeds that both completed with a finite metric.

    `runs` has one row a run of one preset and variant: columns method, seed, status and the metric. The
    interval is that of `mean_interval`. The p-value is that of the two-sided paired sign-flip test: exact up
    to 16 pairs, where all 2**n flips are counted, estimated from 65,536 random flips beyond; it cannot fall
    below 2 / 2**n. With fewer than two pairs the interval and the smallest detectable effect are NaN.

    Raises InputError for a column or method that the runs lack, and for two runs of one method and seed.
    """
    _require(runs, "method", "seed", "status", metric)
    treated, untreated = (_outcomes(runs, method, metric) for method in (treatment, baseline))
    differences: dict[int, float] = {}
    reasons: dict[int, str] = {}
    for seed in sorted({*treated, *untreated}):  # sorted: resampling must not depend on the order of the rows
        pair = treated.get(seed, f"no {treatment} run"), untreated.get(seed, f"no {baseline} run")
        if isinstance(pair[0], str) or isinstance(pair[1], str):
            reasons[seed] = "; ".join(side for side in pair if isinstance(side, str))
        else:
            differences[seed] = pair[0] - pair[1] if larger_is_better else pair[1] - pair[0]
    return compare_pairs((treatment, baseline, metric), differences, reasons)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (Holm, Scandinavian Journal of Statistics 6, 1979).

    NaN, a test that was not made, stays NaN and does not count. InputError for a value outside [0, 1].
    """
    if bad := [p for p in p_values if p < 0 or p > 1]:
        raise InputError(f"p-value {bad[0]} given; allowed: 0 to 1, or NaN")
    adjusted = [math.nan] * len(p_values)
    made = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for rank, i in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def verdict(comparison: Comparison, *, paper_effect: float | None = None) -> str:
    """The verdict by the rule fixed before the results; the first line that applies decides.

    Fewer than 3 seeds: "inconclusive". Interval above zero: "replicated", or "replicated, smaller" when the
    paper's effect lies above the interval. Interval inside +-0.3 points: "no effect". Below zero: "reversed".
    Otherwise "inconclusive". With 3 to 5 seeds "preliminary: " stands before it.
    """
    n, low, high = len(comparison.pairs), comparison.low, comparison.high
    if n < 3:
        return "inconclusive"
    if low > 0:
        word = "replicated" if paper_effect is None or paper_effect <= high else "replicated, smaller"
    elif low > -NO_EFFECT and high < NO_EFFECT:
        word = "no effect"
    else:
        word = "reversed" if high < 0 else "inconclusive"
    return f"preliminary: {word}" if n <= 5 else word


def _compare(runs: pd.DataFrame, claim: Claim, treatment: str, baseline: str) -> Comparison:
    metric = claim.metric
    if metric not in runs.columns or not {treatment, baseline} <= set(runs["method"]):
        return compare_pairs((treatment, baseline, metric), {}, {})
    if claim.unit != RATIO:
        return paired_difference(runs, treatment, baseline, metric, larger_is_better=claim.larger_is_better)
    # Averaged as logarithms, so that twice as slow and twice as fast cancel.
    logs = runs.assign(**{metric: np.log(runs[metric].where(runs[metric] > 0))})
    result = paired_difference(logs, treatment, baseline, metric)
    # Times differ by what else the machine did, and no interval over seeds speaks of that.
    ratios = tuple(map(math.exp, result.differences))
    return replace(_without_inference(result), differences=ratios, mean=math.exp(result.mean))


def _without_inference(comparison: Comparison) -> Comparison:
    nothing: dict[str, Any] = dict.fromkeys(("low", "high", "p_value", "smallest_detectable_effect"), math.nan)
    return replace(comparison, **nothing)


def same_runs(runs: pd.DataFrame, first: str, second: str) -> bool:
    """Whether two methods came to the same numbers in every seed that both have: one run under two names."""
    numbers = ["test_accuracy", "gap", "budget_area"]
    if not {"seed", *numbers} <= set(runs.columns):
        return False
    table = np.column_stack([runs[name].to_numpy(dtype=np.float64) for name in numbers])
    one, other = (
        dict(zip(runs["seed"].to_numpy()[chosen], table[chosen], strict=True))
        for chosen in ((runs["method"] == name).to_numpy() for name in (first, second))
    )
    shared = one.keys() & other.keys()
    return bool(shared) and all(np.array_equal(one[seed], other[seed], equal_nan=True) for seed in shared)


def verdict_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """One row for each claim, treatment, baseline and measure, from the preset's runs without overrides.

    Columns: claim, text, comparison, measure, unit, paper (its effect or NaN), mean, low, high, p_value,
    p_holm (corrected within C8, else NaN), seeds (pairs), excluded (seeds left out: diverged, unpaired, not
    finite), smallest_detectable_effect, verdict, differences (every seed's). A positive mean is an improvement,
    also where smaller is better (unit "reduction"). C7 holds geometric means of treatment / baseline without an
    interval, and the verdict "measured": no rule was fixed for it. Where no effect of the paper's is known, the word
    for "replicated" is "supported". Where both methods made the same runs (`same_runs`) the verdict is "same runs",
    without interval and smallest detectable effect. Where no pair can be compared the verdict is "not measured", the
    numbers are NaN.

    Raises InputError for a missing column and for two runs of one method and seed.
    """
    if not runs.empty:
        _require(runs, "preset", "variant", "method", "seed", "status")
        runs = runs[(runs["preset"] == preset) & (runs["variant"] == "")]
    table = pd.DataFrame(
        [
            _verdict_row(runs, claim, treatment, baseline)
            for claim in CLAIMS
            for treatment, baseline in product(claim.treatments, claim.baselines)
        ]
    )
    family = table["claim"] == "C8"
    table.loc[family, "p_holm"] = holm(table.loc[family, "p_value"].tolist())
    return table


def _verdict_row(runs: pd.DataFrame, claim: Claim, treatment: str, baseline: str) -> dict[str, Any]:
    result = _compare(runs, claim, treatment, baseline)
    ratio = claim.unit == RATIO
    word = "measured" if ratio else verdict(result, paper_effect=claim.paper_effect)
    if result.pairs and same_runs(runs, treatment, baseline):
        word = SAME_RUNS
        result = _without_inference(result)
    if claim.paper_effect is None:  # there is no number of the paper's to replicate
        word = word.replace("replicated", "supported")
    return {
        "claim": claim.id,
        "text": claim.text,
        "comparison": f"{treatment} {'/' if ratio else '-'} {baseline}",
        "measure": claim.metric,
        "unit": claim.unit,
        "paper": math.nan if claim.paper_effect is None else claim.paper_effect,
        **{name: getattr(result, name) for name in ("mean", "low", "high", "p_value")},
        "p_holm": math.nan,
        "seeds": len(result.pairs),
        "excluded": len(result.excluded),
        "smallest_detectable_effect": result.smallest_detectable_effect,
        "verdict": word if result.pairs else NOT_MEASURED,
        "differences": result.differences,
    }


def baseline_table(
    runs: pd.DataFrame, preset: str, metric: str = "test_accuracy", *, larger_is_better: bool = True
) -> pd.DataFrame:
    """The strategies against every recorded variant of dense training, of `fixed` and of their own, and more.

    The questions of a reviewer: does plain regularization (dropout), another length of training, or another constant
    budget do as well, and is anything gained over as many values chosen at random (a control against the same one with
    "selection=random": `geometric` and `fixed` keep the same path of budgets)? And what do these variants of dense
    training and of the strategies gain over dense training as it stands? Treatment and baseline are named by method and
    overrides. Columns as of `verdict_table`, corrected by Holm over the whole table, and baseline_train_accuracy:
    whether it trained at all.
    """
    if runs.empty:
        return pd.DataFrame()
    _require(runs, "preset", "variant", "method", "seed", "status", "evaluated_on", "train_accuracy")
    runs = runs[(runs["preset"] == preset) & (runs["evaluated_on"] == "test")]
    runs = runs[~runs["variant"].str.contains("resumed with")]  # of those nobody can say what they are
    arms = runs.assign(method=(runs["method"] + " " + runs["variant"]).str.strip())
    unit = "gain, fraction" if larger_is_better else _REDUCTION
    rows = []
    for treatment, baseline in _reviewers_pairs(sorted(set(arms["method"]))):
        claim = Claim("", _REVIEWERS, (treatment,), (baseline,), metric, larger_is_better, unit=unit)
        trained = arms.loc[(arms["method"] == baseline) & (arms["status"] == "complete"), "train_accuracy"]
        rows.append(_verdict_row(arms, claim, treatment, baseline) | {"baseline_train_accuracy": trained.mean()})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist())) if rows else table


def _reviewers_pairs(arms: list[str]) -> list[tuple[str, str]]:
    """Of the arms "method" or "method overrides" the (treatment, baseline) that `baseline_table` has a row for."""
    pairs = [
        (strategy, arm)
        for strategy in ADAPTIVE
        for arm in arms
        if strategy in arms and " " in arm and arm.split()[0] in ("dense", "fixed", strategy)
    ]
    for arm in arms:
        method, _, overrides = arm.partition(" ")
        if method in _CONTROLS and _RANDOM in overrides:
            others = [one for one in overrides.split(", ") if one != _RANDOM]
            largest = f"{method} {', '.join(others)}".strip()
            pairs += [(largest, arm)] if largest in arms else []
        elif method in (*ADAPTIVE, *_DENSE) and overrides and _RANDOM not in overrides:
            pairs += [(arm, "dense")] if "dense" in arms else []
    return pairs


def readable_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """`verdict_table` or `baseline_table` for people: effects and intervals as text, in percentage points, or as a
    factor for C7."""

    def amount(value: float, ratio: bool) -> str:
        return f"{value:.2f}x" if ratio else f"{100 * value:+z.2f}"

    rows = []
    for row in table.to_dict("records"):
        ratio, measured = row["unit"] == RATIO, row["seeds"] > 0
        numbers = [amount(row[name], ratio) for name in ("mean", "low", "high")]
        interval = f"{numbers[1]} to {numbers[2]}" if math.isfinite(row["low"]) else ""
        detectable = row["smallest_detectable_effect"]
        rows.append(
            {
                "claim": row["claim"],
                "comparison": row["comparison"],
                "measure": row["measure"],
                "verdict": row["verdict"],
                "paper": "" if math.isnan(row["paper"]) else amount(row["paper"], ratio),
                "ours": numbers[0] if measured else "",
                "95 % interval": interval,
                "seeds": row["seeds"],
                "excluded": row["excluded"],
                "p": "" if math.isnan(row["p_value"]) else f"{row['p_value']:.3f}",
                "p (Holm)": "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.3f}",
                "detectable": "" if math.isnan(detectable) else f"{100 * detectable:.1f}",
            }
        )
        if "baseline_train_accuracy" in row:
            rows[-1]["its train accuracy"] = f"{row['baseline_train_accuracy']:.2f}"
    return pd.DataFrame(rows).set_index("claim")
