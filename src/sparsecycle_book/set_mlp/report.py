"""Sentences and tables on the companion study, from its records: nobody types a number into prose."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sparsecycle.analysis.selection import varied
from sparsecycle.analysis.statistics import holm
from sparsecycle.analysis.verdicts import FEWEST_PAIRS, NOT_MEASURED
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.set_mlp.claims import (
    COMPETITIVE,
    RESTS,
    SCORINGS,
    SLOWER,
    SetClaim,
    paired,
    parameters,
    scored,
    set_verdict_table,
    study_runs,
)
from sparsecycle.set_mlp.config import METHODS
from sparsecycle.set_mlp.records import set_run_name
from sparsecycle.set_mlp.study import SetStudies
from sparsecycle.set_mlp.tuning import RATES
from sparsecycle_book.benchmarks.record import BenchmarkRecord
from sparsecycle_book.benchmarks.set_mlp import CLASSES, EPSILON, FEATURES
from sparsecycle_book.report.answers import listed_words
from sparsecycle_book.report.tables import listed

STUDIES = CHECKOUT / "workflow" / "set.yaml"
RETIRED = CHECKOUT / "data" / "retired" / "companion-november-2026.json"
NOTHING = "No run of the companion study is recorded yet."
LATER = "Not recorded yet."
FITTED = 0.99  # of training accuracy: nearly all training samples are classified rightly
MEASURES = {"last_accuracy": "last test accuracy", "best_accuracy": "maximum test accuracy", "gap": "train-test gap"}
ARMS = {"authors": "the authors' settings", "authors_2018": "the settings of the older code", "tuned": "tuned settings"}
GROUPS = {
    "dense": "the fully connected network",
    SLOWER: "the fully connected network at a tenth of the learning rate",
    "set": "SET",
    "set_pruned": "SET with pruning",
}

CHOICES = {
    "loss=squared_error": "the squared error as the loss",
    "start=he": "He's initial weights",
    "learning_rate=0.001": "a tenth of the learning rate",
    "prune_score=random": "pruning random neurons",
    "prune_share=0.25": "pruning a quarter of the neurons",
    "prune_share=0.75": "pruning three quarters of the neurons",
    "prune_from=0.5, prune_until=0.5": "pruning all at once, halfway",
}


def study_sentence(runs: pd.DataFrame, studies: Path = STUDIES) -> str:
    """How many of the declared runs are recorded."""
    counted = study_runs(runs)
    if counted.empty:
        return NOTHING
    declared = SetStudies.read(studies)
    planned = {set_run_name(config) for name in declared.studies for config in declared.configurations(name)}
    done = planned & set(counted["run"])
    if done < planned:
        return f"The study is under way: {len(done)} of its {len(planned)} runs are recorded."
    return f"All {len(planned)} runs of the study are recorded."


def set_answer(runs: pd.DataFrame, benchmark: BenchmarkRecord | None = None, *, brief: bool = False) -> str:
    """The answer on D1 to D3 as Markdown: a line for each pair of methods, who diverged, and D3 where it is measured.

    Args:
        runs: of `load_set_runs`.
        benchmark: of the companion's networks, for D3.
        brief: whether the lines on D1 and D2 give the last test accuracy alone, and who diverged is left out.
    """
    table = set_verdict_table(runs)
    table = table[table["measure"] == "last_accuracy"] if brief else table
    groups = table[table["verdict"] != NOT_MEASURED].groupby(["claim", "arm", "treatment", "baseline"], sort=False)
    lines = [_finding(rows.to_dict("records")) for _, rows in groups]
    lines += [f"- {told}" for told in [divergence_sentence(runs)] if told and not brief]
    lines += [f"- **Parameters are linear in neurons (D3)**: {scaling_sentence(benchmark)}"] if benchmark else []
    return "\n".join([*lines, "", study_sentence(runs)]).strip()


def _finding(rows: list[dict[Any, Any]]) -> str:
    """What one method changes against another: the verdict in every measure, with its numbers."""
    first, found = rows[0], []
    who = f"{_capital(GROUPS[first['treatment']])} against {GROUPS[first['baseline']]}"
    about = f"- **{who} ({first['claim']})**, with {ARMS[first['arm']]}:"
    if all(row["verdict"] == RESTS for row in rows):
        return f"{about} no verdict, because it would depend on diverged runs."
    for row in rows:
        interval = f"95 % interval {_interval(row)}" if math.isfinite(row["low"]) else "no interval"
        told = f"{_points(row['mean'])} points, {interval}, {row['datasets']} datasets"
        told += "; a smaller gap is positive" if row["measure"] == "gap" else ""
        if row["claim"] == "D2" and row["verdict"] == "undecided" and row["low_90"] > -COMPETITIVE:
            told += "; a loss of one point is excluded"
        found.append(f"*{_word(row)}* in {MEASURES[row['measure']]} ({told})")
    return f"{about} {listed_words(found)}."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _word(row: dict[Any, Any]) -> str:
    return f"{row['verdict']} (preliminary)" if row["preliminary"] else str(row["verdict"])


def _points(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:+z.1f}"


def _interval(row: dict[Any, Any]) -> str:
    return f"{_points(row['low'])} to {_points(row['high'])}" if math.isfinite(row["low"]) else "no interval"


def divergence_sentence(runs: pd.DataFrame) -> str:
    """Which groups of runs diverged, and on how many datasets; nothing where none did."""
    counted = study_runs(runs)
    counted = counted[counted["group"].isin([*METHODS, SLOWER])]
    told = []
    for (arm, group), own in counted.groupby(["arm", "group"], sort=False):
        fallen = own[own["status"] == "diverged"]
        if len(fallen):
            where = f"on {fallen['dataset'].nunique()} of {own['dataset'].nunique()} datasets"
            told.append(f"for {GROUPS[str(group)]} in {len(fallen)} of {len(own)} runs with {ARMS[str(arm)]}, {where}")
    return f"Training diverged {'; '.join(told)}." if told else ""


def readable_set_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """`set_verdict_table` for people: effects and intervals as text, in points, where they mean something."""
    rows = []
    for row in table.to_dict("records"):
        means_something = row["datasets"] and row["verdict"] != RESTS
        rows.append(
            {
                "claim": row["claim"],
                "arm": row["arm"],
                "compared": _compared(row),
                "verdict": _word(row),
                "ours (95 % interval)": f"{_points(row['mean'])} ({_interval(row)})" if means_something else "",
                "datasets": row["datasets"],
                "p": _probability(row["p_value"]) if means_something else "",
                "p (Holm)": _probability(row["p_holm"]) if means_something else "",
            }
        )
    return pd.DataFrame(rows).set_index("claim")


def _compared(row: dict[Any, Any]) -> str:
    return f"{MEASURES[row['measure']]}: {row['treatment']} - {row['baseline']}"


def _probability(value: float) -> str:
    return "" if math.isnan(value) else "below 0.001" if value < 0.001 else f"{value:.3f}"


def sensitivity_table(runs: pd.DataFrame) -> pd.DataFrame:
    """How each claim's mean difference, in points, depends on what a run that diverged scores, and on single datasets.

    The last two columns score the most frequent class: the median over datasets, and p of Wilcoxon's signed ranks.
    """
    words = {"majority": "most frequent class", "zero": "zero", "complete": "left out"}
    tables = {words[scoring]: set_verdict_table(runs, scoring) for scoring in SCORINGS}
    first = next(iter(tables.values()))
    found = first[["claim", "arm"]].assign(compared=[_compared(row) for row in first.to_dict("records")])
    for word, table in tables.items():
        rows = table.to_dict("records")
        found[word] = [f"{_points(row['mean'])} ({row['datasets']})" if row["datasets"] else "no run" for row in rows]
    differences = [np.array(list(one.values())) for one in first["differences"]]
    found["median"] = [_points(float(np.median(one))) if len(one) else "" for one in differences]
    enough = [len(one) >= FEWEST_PAIRS and one.any() for one in differences]
    found["p (Wilcoxon)"] = [
        _probability(float(stats.wilcoxon(one).pvalue)) if yes else ""
        for one, yes in zip(differences, enough, strict=True)
    ]
    return found[first["datasets"] > 0].set_index("claim")


def overlap_sentences(runs: pd.DataFrame) -> str:
    """How far the measures of D1 say the same, on the splits of the authors' arm that both methods trained on."""
    own = study_runs(runs)
    own = own[(own["arm"] == "authors") & own["group"].isin(["set", SLOWER]) & (own["status"] == "complete")]
    both = own[own.groupby(["dataset", "seed"])["group"].transform("nunique") == 2]
    if both.empty:
        return ""
    lift = 100 * (both["best_accuracy"] - both["last_accuracy"]).groupby(both["group"]).mean()
    fitted = (both["train_accuracy"] >= FITTED).sum()
    return (
        f"The measures of D1 are not independent. On the splits that SET and {GROUPS[SLOWER]} share, the maximum test "
        f"accuracy lies {lift['set']:.1f} points above the last one for SET and {lift[SLOWER]:.1f} points for the "
        f"other: the maximum is selected on few test samples. Training accuracy ends at {100 * FITTED:.0f} % or more "
        f"in {fitted} of {len(both)} of these runs; there the train-test gap only repeats the last test accuracy."
    )


def readable_means(means: pd.DataFrame) -> pd.DataFrame:
    """`mean_accuracies` in percent, with a last row of means over datasets."""
    methods = means.columns.drop("splits")
    shown = (100 * means[methods]).assign(splits=means["splits"])
    shown.loc["mean"] = shown[methods].mean()
    return shown.round(1).astype({"splits": "Int64"}).astype(object).fillna("")


def choice_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What the inner cross-validations of the tuned arm chose, by method and batch size, and how often they diverged.

    Columns: runs, one for each rate of the grid and "dropout" (how many runs chose it), inner runs that diverged.
    """
    own = study_runs(runs)
    own = own[(own["arm"] == "tuned") & (own["variant"] == "")]
    if own.empty:
        return pd.DataFrame()
    rates = {f"rate {rate:g}": own["learning_rate"] == rate for rate in RATES}
    counted = own.assign(runs=1, **rates, dropout=own["dropout"] > 0)
    columns = ["runs", *rates, "dropout", "inner_runs", "inner_diverged"]
    table = counted.groupby(["method", "batch_size"])[columns].sum().reindex(METHODS, level="method")
    diverged = table.pop("inner_diverged").astype(str) + " of " + table.pop("inner_runs").astype(str)
    return table.assign(**{"inner runs that diverged": diverged}).rename_axis(index={"batch_size": "batch size"})


def set_ablation_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each arm, method and variant: what one choice changes, over the splits that both have.

    Columns: arm, method, variant, mean, low, high (of the last test accuracy, scored as the claims are), p_holm (all
    rows as one family), datasets, runs (pairs), diverged and diverged_as_it_stands (of them), neurons_left (share).

    Args:
        runs: of `load_set_runs`.
    """
    rows: list[dict[str, Any]] = []
    counted = study_runs(runs)
    plain = scored(counted[counted["variant"] == ""])
    others = counted[(counted["variant"] != "") & (counted["group"] != SLOWER)]  # that one is a baseline of D1
    for (arm, method, variant), changed in scored(others).groupby(["arm", "method", "variant"], sort=False):
        untouched = plain[(plain["arm"] == arm) & (plain["method"] == method)].merge(changed[["dataset", "seed"]])
        changed = changed.merge(untouched[["dataset", "seed"]])
        one = paired(changed, untouched, SetClaim("", str(arm), str(variant), "", "last_accuracy"))
        rows.append(
            {
                "arm": arm,
                "method": method,
                "variant": variant,
                **{name: getattr(one, name) for name in ("mean", "low", "high", "p_value")},
                "datasets": len(one.pairs),
                "runs": len(changed),
                "diverged": int((changed["status"] == "diverged").sum()),
                "diverged_as_it_stands": int((untouched["status"] == "diverged").sum()),
                "neurons_left": changed["neurons_left"].mean(),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist())) if rows else table


def set_ablation_sentence(table: pd.DataFrame) -> str:
    """Which choices change test accuracy beyond chance, and whether the score of pruning does.

    Args:
        table: of `set_ablation_table`, with a row of random scores.
    """
    family = f"(Holm at 5 %, {len(table)} comparisons)"
    changing = [
        f"{CHOICES.get(row['variant'], row['variant'])} ({_points(row['mean'])} points, 95 % interval {_interval(row)})"
        for row in table[table["p_holm"] < 0.05].to_dict("records")
    ]
    found = f"**No single choice changes test accuracy beyond chance** {family}."
    if changing:
        verb = "changes" if len(changing) == 1 else "change"
        found = f"**Of these choices, only {listed_words(changing)} {verb} test accuracy beyond chance** {family}."
    [random] = table[table["variant"] == "prune_score=random"].to_dict("records")
    verdict = "matters" if random["p_holm"] < 0.05 else "is not shown to matter"
    return (
        f"{found} Pruning random neurons instead of the weakest changes it by {_points(random['mean'])} points "
        f"(95 % interval {_interval(random)}), so the score {verdict}."
    )


def readable_set_ablations(table: pd.DataFrame) -> pd.DataFrame:
    """`set_ablation_table` for people: changes with their intervals in points."""
    rows = [
        {
            "method": row["method"],
            "varied": CHOICES.get(row["variant"], row["variant"]),
            "change": f"{_points(row['mean'])} ({_interval(row)})",
            "datasets": row["datasets"],
            "p (Holm)": _probability(row["p_holm"]),
            "diverged": f"{row['diverged']} / {row['diverged_as_it_stands']} of {row['runs']}",
            "neurons left": "" if math.isnan(row["neurons_left"]) else f"{100 * row['neurons_left']:.0f} %",
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def retired_sentences(path: Path = RETIRED) -> str:
    """What the study of November 2026 measured, and why it is retired."""
    found = json.loads(path.read_text(encoding="utf-8"))
    first, second = (found["claims"][claim] for claim in ("D1", "D2"))
    total, normal = sum(found["runs"].values()), found["normal_start"]
    return (
        "Our first study, in November 2026, gave each method one learning rate for all datasets, and that of SET was "
        f"at the edge of stability: {found['diverged']['set']} of {found['runs_of_each_method']} runs diverged, on "
        f"{found['diverged_datasets']} of {first['as_recorded']['datasets']} datasets, and each counted as zero. So "
        f"D1 read {_told(first['as_recorded'])} points. Where no run diverged it was "
        f"{_told(first['where_no_run_diverged'])}. At a third of the rate D1 was "
        f"{_told(first['at_a_third_of_the_rate'])} and D2 {_told(second['at_a_third_of_the_rate'])}. With normal "
        f"initial weights {normal['diverged']} of {normal['runs']} runs diverged. These {total:,} runs are retired; "
        f"revision `{found['git_revision']}` keeps "
        "them."
    )


def _told(found: dict[str, float]) -> str:
    return f"{_points(found['mean'])} ({_points(found['low'])} to {_points(found['high'])})"


def scaling_table(record: BenchmarkRecord) -> pd.DataFrame:
    """By hidden neurons: parameters by formula, sparse and fully connected, memory and times as measured."""
    table = record.table().query("suite == 'set scaling'")
    sizes = table.assign(neurons=table["case"].str.split().str[0].astype(int)).pivot(
        index="neurons", columns="side", values="median"
    )
    layers = {neurons: (FEATURES, *[neurons // 3] * 3, CLASSES) for neurons in sizes.index}
    ours = pd.Series({neurons: parameters(sizes_of, EPSILON) for neurons, sizes_of in layers.items()})
    full = pd.Series({neurons: parameters(sizes_of) for neurons, sizes_of in layers.items()})
    if not np.array_equal(ours, sizes["parameters"]):
        raise ValueError("the formula does not give the parameters of the measured networks")
    return pd.DataFrame(
        {
            "parameters": ours,
            "fully connected": full,
            "memory (GiB)": sizes["peak memory"] / 1024,
            "step (s)": sizes["step"] / 1000,
            "evolution (s)": sizes["evolution"] / 1000,
        }
    ).rename_axis("neurons")


def readable_scaling(record: BenchmarkRecord) -> pd.DataFrame:
    """`scaling_table` for people."""
    table = scaling_table(record)
    counts = table[["parameters", "fully connected"]].map("{:,}".format)
    shown = counts.join(table.drop(columns=counts.columns).map("{:.2g}".format))
    return shown.set_axis([f"{neurons:,}" for neurons in table.index]).rename_axis("hidden neurons")


def scaling_sentence(record: BenchmarkRecord) -> str:
    """Claim D3 as arithmetic, and what the largest network of the benchmark needs."""
    table = scaling_table(record)
    largest = table.iloc[-1]
    return (
        f"true by construction. With {table.index[-1]:,} hidden neurons a network has {largest['parameters']:,.0f} "
        f"parameters where a fully connected one has {largest['fully connected']:,.0f}; it trains in "
        f"{largest['memory (GiB)']:.1f} GiB, {largest['step (s)']:.1f} s a step of 32 samples."
    )


def speed_sentences(record: BenchmarkRecord) -> list[str]:
    """How much faster the kernels are than plain scipy, by shape of network: training and evolution, medians."""
    table = record.table()
    sentences = []
    for case in dict.fromkeys(table.loc[table["suite"] == "set epoch", "case"]):
        times = table[table["case"] == case].pivot(index="side", columns="suite", values="median") / 1000
        times = times.rename(columns={"set epoch": "an epoch of training", "set evolution": "a step of evolution"})
        ratios = times.loc["scipy"] / times.loc["kernels"]
        told = (f"{word} {ratios[word]:.0f} times as fast ({times.at['kernels', word]:.2f} s)" for word in times)
        sentences.append(f"`{case}`: " + ", ".join(map(str, told)) + ".")
    return sentences


def set_run_list(runs: pd.DataFrame) -> pd.DataFrame:
    """Return `listed` rows of `load_set_runs`; a run without an accuracy diverged."""
    labels = runs[["dataset", "arm", "method", "seed", "variant"]].to_numpy().tolist()
    accuracies = {"last": "last_accuracy", "best": "best_accuracy", "training": "train_accuracy"}
    return listed(runs, [set_run_command(*label) for label in labels], accuracies).replace("none", "diverged")


def set_run_command(dataset: str, arm: str, method: str, seed: int, variant: str = "") -> str:
    """What makes a run again, from the labels that `load_set_runs` gives it."""
    given = "".join(f" --set {name}={shlex.quote(value)}" for name, value in varied(variant).items())
    labels = f"--dataset {shlex.quote(dataset)} --method {method} --seed {seed} --arm {arm}"
    return f".venv/bin/sparsecycle set run {labels}{given}"
