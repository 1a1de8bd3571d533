"""Sentences and tables on the companion study, from its records: nobody types a number into prose."""

import math
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle.analysis.selection import varied
from sparsecycle.set_mlp.claims import (
    CLAIMS,
    LINEAR,
    SetClaim,
    compare_over_datasets,
    diverged_on,
    exponent,
    set_verdict_table,
)
from sparsecycle.set_mlp.config import METHODS
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.records import find_set_records, load_set_runs
from sparsecycle.set_mlp.search import SEARCHED
from sparsecycle_book.benchmarks.record import BenchmarkRecord
from sparsecycle_book.report.tables import listed

MEASURES = {"test_accuracy": "test accuracy", "gap": "train-test gap"}
SPLITS = 5  # of the study, by dataset and method


def as_they_stand(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that speak for the claims: without overrides, on the datasets of the study."""
    return runs[(runs["variant"] == "") & runs["dataset"].isin(study_datasets())]


def study_sentence(runs: pd.DataFrame) -> str:
    """How many runs are recorded, how many of them diverged, and how many are missing."""
    own = as_they_stand(runs)
    if own.empty:
        return "No run of the companion study is recorded yet."
    planned = len(study_datasets()) * len(METHODS) * SPLITS
    diverged = own[own["status"] == "diverged"]
    told = [f"{len(own)} recorded runs on {own['dataset'].nunique()} datasets."]
    if len(diverged):
        counts = diverged.groupby("method").size().to_dict()
        told.append("Diverged: " + ", ".join(f"`{method}` {count}" for method, count in counts.items()) + ".")
    if len(own) < planned:
        told.append(f"The study is under way: {planned - len(own)} of its {planned} runs are not recorded yet.")
    return " ".join(told)


def set_answer(runs: pd.DataFrame, benchmark: BenchmarkRecord | None) -> str:
    """The answer on D1 to D3 as Markdown."""
    own = as_they_stand(runs)
    lines = [study_sentence(runs)]
    table = set_verdict_table(own)
    for claim, row in zip(CLAIMS, table.to_dict("records"), strict=True):
        if row["datasets"]:
            lines.append(f"- **{claim.id}**, {claim.text.lower().replace('set ', 'SET ', 1)}: {_difference(row)}")
        asides = [divergence_sentence(own, claim), slower_sentence(runs, claim)]
        lines += [f"  - {aside}" for aside in asides if aside]
    if benchmark:
        lines.append(f"- **D3**, parameters linear in neurons: {exponent_sentence(benchmark)}")
    return "\n".join([lines[0], "", *lines[1:]]).strip()


SLOWER = "learning_rate=0.001"  # the rate of the search below the one that it chose for `set` and `set_pruned`


def divergence_sentence(runs: pd.DataFrame, claim: SetClaim) -> str:
    """What counting diverged runs as zero does to a claim on test accuracy: the same on all other datasets, or nothing.

    Args:
        runs: of the study as it stands.
    """
    pair = (claim.treatment, claim.baseline)
    lost = diverged_on(runs, *pair)
    if claim.metric != "test_accuracy" or not lost:
        return ""
    told: dict[str, list[str]] = {}
    for method in pair:
        if names := ", ".join(diverged_on(runs, method)):
            told.setdefault(names, []).append(f"`{method}`")
    where = "; ".join(f"{' and '.join(methods)} on {names}" for names, methods in told.items())
    rest, _ = compare_over_datasets(runs[~runs["dataset"].isin(lost)], claim)
    return (
        f"Runs that diverged count as zero: {where}. Over the other {len(rest.pairs)} datasets the difference is "
        f"{_points(rest.mean)} points ({_points(rest.low)} to {_points(rest.high)})."
    )


def slower_sentence(runs: pd.DataFrame, claim: SetClaim) -> str:
    """A claim on test accuracy with SET, pruned or not, at the smaller rate; nothing where it is not recorded.

    Fully connected networks stay as they stand.
    """
    slower = runs[(runs["variant"] == SLOWER) & runs["method"].isin([claim.treatment, claim.baseline])]
    slower = slower[slower["dataset"].isin(study_datasets())]
    if claim.metric != "test_accuracy" or slower.empty:
        return ""
    own = as_they_stand(runs)
    found, _ = compare_over_datasets(pd.concat([own[own["method"] == "dense"], slower]), claim)
    return (
        f"With `{SLOWER}`, an arm that was declared when these runs had diverged, it is {_points(found.mean)} points "
        f"({_points(found.low)} to {_points(found.high)}, {len(found.pairs)} datasets; "
        f"{(slower['status'] == 'diverged').sum()} of {len(slower)} runs with it diverged)."
    )


def _difference(row: dict[Any, Any]) -> str:
    first, second = row["comparison"].split(" - ")
    better = "" if row["measure"] == "test_accuracy" else " (a smaller gap is positive)"
    half = f" with {row['neurons_left']:.0%} of the hidden neurons left" if first == "set_pruned" else ""
    return (
        f"`{first}`{half} against `{second}`, {MEASURES[row['measure']]}: {_points(row['mean'])} points "
        f"(95 % interval {_points(row['low'])} to {_points(row['high'])}, {row['datasets']} datasets){better}: "
        f"*{row['verdict']}*."
    )


def set_run_list(runs: pd.DataFrame) -> pd.DataFrame:
    """Return `listed` rows of `load_set_runs`; a run without an accuracy diverged."""
    labels = runs[["dataset", "method", "seed", "variant"]].to_numpy().tolist()
    return listed(runs, [set_run_command(*label) for label in labels]).replace("none", "diverged")


def set_search_list(folder: str | Path) -> pd.DataFrame:
    """`set_run_list` of the runs of a search, with commands that name what was searched, whatever the constants are."""
    runs = load_set_runs(folder)
    configurations = {record.identity: record.config for record in find_set_records(folder)}
    searched = [configurations[identity] for identity in runs["identity"]]
    variants = [", ".join(f"{name}={config[name]}" for name in SEARCHED) for config in searched]
    return set_run_list(runs.assign(variant=variants))


def set_run_command(dataset: str, method: str, seed: int, variant: str = "") -> str:
    """What makes a run again, from the labels that `load_set_runs` gives it."""
    given = "".join(f" --set {name}={shlex.quote(value)}" for name, value in varied(variant).items())
    return f".venv/bin/sparsecycle set run --dataset {dataset} --method {method} --seed {seed}{given}"


def _points(value: float) -> str:
    return f"{100 * value:+z.1f}"


def readable_set_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """`set_verdict_table` for people: effects and intervals as text, in percentage points."""
    rows = []
    for row in table.to_dict("records"):
        measured = row["datasets"] > 0
        interval = f"{_points(row['low'])} to {_points(row['high'])}" if math.isfinite(row["low"]) else ""
        rows.append(
            {
                "claim": row["claim"],
                "comparison": row["comparison"],
                "measure": row["measure"],
                "verdict": row["verdict"],
                "ours": _points(row["mean"]) if measured else "",
                "95 % interval": interval,
                "datasets": row["datasets"],
                "left out": row["left_out"],
                "neurons left": f"{row['neurons_left']:.0%}" if measured else "",
                "p (Wilcoxon)": "" if math.isnan(row["p_value"]) else f"{row['p_value']:.3f}",
                "p (Holm)": "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.3f}",
            }
        )
    return pd.DataFrame(rows).set_index("claim")


def readable_set_ablations(table: pd.DataFrame) -> pd.DataFrame:
    """`set_ablation_table` for people: changes with their intervals in percentage points, over all datasets and over
    those on which no run diverged."""

    def changes(suffix: str) -> list[str]:
        columns = table[[name + suffix for name in ("change", "low", "high")]].to_numpy().tolist()
        return [f"{_points(mean)} ({_points(low)} to {_points(high)})" for mean, low, high in columns]

    return pd.DataFrame(
        {
            "method": table["method"],
            "variant": table["variant"],
            "change": changes(""),
            "diverged": [f"{row.diverged} / {row.diverged_as_it_stands}" for row in table.itertuples()],
            "elsewhere": changes("_stable"),
            "on": table["stable"],
            "p (Holm)": table["p_holm"].map("{:.3f}".format),
            "neurons left": table["neurons_left"].map("{:.0%}".format),
            "parameters": table["parameters"].map("{:.2f}".format),
        }
    ).set_index("method")


def ablations_sentence(table: pd.DataFrame) -> str:
    """Of `set_ablation_table`: what changes the accuracy where no run diverges, and who diverges more or less often."""

    def named(found: "pd.Series[bool]") -> str:
        names = ", ".join(f"`{row.method}` with `{row.variant}`" for row in table[found].itertuples())
        return f"{found.sum()} ({names})" if names else "none"

    change = table["diverged"] - table["diverged_as_it_stands"]
    return (
        f"{len(table)} variants. Over the datasets on which no run diverged, the interval of the change is above zero "
        f"for {named(table['low_stable'] > 0)}, below for {named(table['high_stable'] < 0)}. Runs diverge less often "
        f"than as the method stands with {(change < 0).sum()} of them, more often with {(change > 0).sum()}."
    )


def exponent_sentence(record: BenchmarkRecord) -> str:
    """Claim D3 from the networks of the benchmark, and what the largest of them needs."""
    table = record.table().query("suite == 'set scaling'")
    sizes = table.assign(neurons=table["case"].str.split().str[0].astype(int)).pivot(
        index="neurons", columns="side", values="median"
    )
    slope, low, high = exponent(sizes.index.tolist(), sizes["parameters"].tolist())
    word = "replicated" if low >= LINEAR[0] and high <= LINEAR[1] else "not replicated"
    largest = sizes.iloc[-1]
    return (
        f"the exponent is {slope:.3f} ({low:.3f} to {high:.3f}, {len(sizes)} networks): *{word}*. With "
        f"{sizes.index[-1]:,} hidden neurons a network has {largest['parameters']:,.0f} parameters and trains in "
        f"{largest['peak memory'] / 1024:.1f} GiB, {largest['step'] / 1000:.1f} s a step of 32 samples."
    )


def exponent_rule() -> str:
    """The rule for claim D3, with the bounds of the code."""
    low, high = LINEAR
    return (
        f"D3 is *replicated* where the 95 % interval of the exponent lies within {low:g} and {high:g}, else *not "
        "replicated*: a rule that was fixed before any result."
    )


def speed_sentences(record: BenchmarkRecord) -> list[str]:
    """How much faster the kernels are than plain scipy, by shape of network: an epoch and its two parts, medians."""
    table = record.table()
    sentences = []
    for case in dict.fromkeys(table.loc[table["suite"] == "set epoch", "case"]):
        times = table[table["case"] == case].pivot(index="side", columns="suite", values="median") / 1000
        times = times.rename(columns={"set epoch": "training", "set evolution": "evolution"})
        times.insert(0, "an epoch", times.sum(axis=1))
        ratios = times.loc["scipy"] / times.loc["kernels"]
        told = (
            f"{word} {ratios[word]:.0f} times as fast ({seconds:.2f} s)"
            for word, seconds in times.loc["kernels"].items()
        )
        sentences.append(f"`{case}`: " + ", ".join(told) + ".")
    return sentences
