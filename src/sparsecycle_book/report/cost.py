"""What the method costs, in sentences and tables: a layer, a step, a study and the paper's own run."""

import ast
import inspect
import math
import textwrap
from collections.abc import Sequence

import pandas as pd

from sparsecycle import controllers, layer, topk
from sparsecycle.config import RunConfig
from sparsecycle.runs.rental_report import Looked, expectations, rungs_table
from sparsecycle_book.benchmarks.record import BenchmarkRecord, gain_of_two, over_dense, ratio
from sparsecycle_book.benchmarks.run_times import SPARSE, cpu_hours, gpu_minutes, gpu_runs
from sparsecycle_book.display import folded, markdown_table
from sparsecycle_book.estimates import DEVICES, least_seconds
from sparsecycle_book.report.answers import listed_words

STEP_SIDES = {
    "dense step, this library against plain torch": (("plain", 1.0), ("kernels", 1.0)),
    "dense step, with the kernels against without": (("torch", 1.0), ("kernels", 1.0)),
    "step at 0.1, with the kernels against without": (("torch", 0.1), ("kernels", 0.1)),
    "dense step, compiled against not": (("kernels", 1.0), ("compiled", 1.0)),
    "step at 0.1, compiled against not": (("kernels", 0.1), ("compiled", 0.1)),
}


def cost_answer(record: BenchmarkRecord) -> str:
    """The point of the chapter: what a constrained step costs over a dense one."""
    factor, *_ = ratio(record, "step", record.step_case(), ("kernels", SPARSE), ("kernels", 1.0))
    return (
        f"**A training step at a keep-ratio of {SPARSE:g} takes {factor:.2f} times as long as a dense one** "
        f"({record.step_case()}, {record.device})."
    )


def measured_on(records: Sequence[BenchmarkRecord]) -> str:
    """Which machines were measured, and from which record the figures are drawn."""
    first, made = records[0], records[0].environment
    devices = "; ".join(record.device for record in records)
    return (
        f"We measured on {devices}. The figures are drawn from `{first.file}` (torch {made['torch']}, "
        f"{made['backend']}, revision {str(made['git_revision'])[:7]})."
    )


def selection_sentence(record: BenchmarkRecord) -> str:
    """What ReLU with selection costs over ReLU alone, and what it saves over `torch.topk`, in the largest layer."""
    case = record.layer_cases()[-1]
    over, *_ = ratio(record, "selection", case, ("kernel", SPARSE), ("relu", SPARSE))
    under, *_ = ratio(record, "selection", case, ("topk", SPARSE), ("kernel", SPARSE))
    return (
        f"ReLU with selection takes {over:.1f} times as long as ReLU alone, and torch.topk {under:.1f} "
        f"times as long as this library ({case}, keep-ratio {SPARSE:g})."
    )


def step_sentence(record: BenchmarkRecord) -> str:
    """How much longer a training step takes at keep-ratios below 1, medians."""
    found = over_dense(record, "step")
    budgets, factors = found["keep_ratio"], found["median"]
    return (
        f"A training step of {record.step_case()} at a keep-ratio of {budgets.min():g} to {budgets.max():g} takes "
        f"{factors.min():.2f} to {factors.max():.2f} times as long as a dense one."
    )


def step_comparisons(record: BenchmarkRecord) -> str:
    """Markdown: how many times as fast one manner of a step is as another, and how long its compilation takes."""
    table, lines = record.table(), []
    for name, sides in STEP_SIDES.items():
        median, low, high = ratio(record, "step", record.step_case(), *sides)
        if not math.isnan(median):  # without a C++ compiler nothing is compiled
            lines.append(f"- {name}: {median:.2f} times as fast ({low:.2f} to {high:.2f})")
    waits = table[(table["suite"] == "step") & (table["side"] == "compilation")]["median"]
    lines += [f"- compilation by torch before the first step of a network: {wait:.0f} seconds" for wait in waits]
    lines += [f"- left out: {reason}" for reason in record.left_out]
    return "\n".join([*lines, "", "No recorded run was compiled by torch: compilation needs a C++ compiler."])


def growth_sentence(record: BenchmarkRecord) -> str:
    """In which networks the constraint costs least and most."""
    every = pd.concat([over_dense(record, "step"), over_dense(record, "scaling")])
    factors = every[every["keep_ratio"] == SPARSE].set_index("case")["median"]
    return (
        f"A step at keep-ratio {SPARSE:g} takes {factors.min():.2f} times ({factors.idxmin()}) to "
        f"{factors.max():.2f} times ({factors.idxmax()}) as long as a dense one."
    )


def precision_sentence(record: BenchmarkRecord) -> str:
    """How much faster steps in bfloat16 are than in float32 on a CPU."""
    factors = precision_table(record)[["dense", f"keep {SPARSE:g}"]].astype(float).to_numpy()
    return (
        f"A step is {factors.min():.1f} to {factors.max():.1f} times as fast as in float32 with one thread "
        f"({record.environment['cpu']})."
    )


def precision_table(record: BenchmarkRecord) -> pd.DataFrame:
    """A row a network: how many times as fast a step in bfloat16 is, dense and at 0.1, and milliseconds, as text."""
    rows = []
    for case, of_case in record.table().query("suite == 'precision'").groupby("case", sort=False):
        row = {"network": case}
        for name, keep_ratio in (("dense", 1.0), (f"keep {SPARSE:g}", SPARSE)):
            factor, *_ = ratio(record, "precision", str(case), ("float32", keep_ratio), ("bfloat16", keep_ratio))
            row[name] = f"{factor:.2f}"
        dense = of_case[of_case["keep_ratio"] == 1].set_index("side")["median"]
        rows.append(row | {f"ms dense, {side}": f"{time:,.0f}" for side, time in dense.items()})
    return pd.DataFrame(rows)


def study_sentence(name: str, configs: Sequence[RunConfig], record: BenchmarkRecord) -> str:
    """What a study costs on the CPU of the record, one run at a time and two at once."""
    hours, gain = cpu_hours(record, configs), gain_of_two(record)
    faster = "" if math.isnan(gain) else f", and {gain:.2f} times as many as one run with all threads"
    return (
        f"The training steps of the {len(configs)} runs of the study `{name}` take about {_hours(hours.value)} on "
        f"{record.device} when it does nothing else, one run at a time ({hours.found_by}). Test evaluations and other "
        "work on the machine come on top; the table below compares this with recorded hours. "
        f"Two runs at once, a thread each, train {gain_of_two(record, over='1'):.2f} times as many images a second as "
        f"one run with one thread{faster}."
    )


def _hours(value: float) -> str:
    return f"{value:,.1f} hours" if value < 100 else f"{value:,.0f} hours"


def gpu_status(runs: pd.DataFrame, rentals: Sequence[Looked], records: Sequence[BenchmarkRecord]) -> str:
    """Which GPUs have run this code, or that none has."""
    seen = {looked.gpu for looked in rentals} | {record.environment["device"] for record in records}
    seen = (seen | set(runs["device"])) - {"cpu"}
    return f"This code has run on {', '.join(sorted(seen))}." if seen else "**No GPU has run this code yet.**"


def run_sentence(runs: pd.DataFrame, rentals: Sequence[Looked], records: Sequence[BenchmarkRecord]) -> str:
    """What the paper's own run costs on a CPU, and on a GPU: expected until something was measured there."""
    config = RunConfig(preset="paper", method="accuracy_gated")
    hours, there = cpu_hours(records[0], [config]), gpu_minutes(config, runs, rentals, records)
    told = (
        f"The training steps of the paper's own run take about {hours.value / 24:,.0f} days on {records[0].device} "
        f"({hours.found_by})."
    )
    price = f"Without test evaluations, a run thus costs about {there.value / 60:.2f} times the hourly price."
    if there.found_by == "expected":
        hopper = {name.split()[1]: least_seconds(config, rates) / 60 for name, rates in DEVICES.items() if " H" in name}
        least = listed_words([f"{bound:.1f} minutes on an {name}" for name, bound in hopper.items()])
        return (
            f"{told} We expect the training steps to take at most {there.value:,.1f} minutes on a rented H100 or a "
            f"newer GPU. {price} By the data sheets, the whole run takes at least {least}. "
            f"{gpu_status(runs, rentals, records)}"
        )
    recorded = len(gpu_runs(runs, config))
    count, none = (f" ({recorded})", "") if recorded else ("", " No whole run is recorded there yet.")
    return f"{told} They take {there.value:,.1f} minutes on a rented GPU, by {there.found_by}{count}. {price}{none}"


def rental_tables(rentals: Sequence[Looked]) -> str:
    """Markdown: what is expected of a GPU beside what each rental measured, and the ways to train folded away."""
    seen = {looked.gpu: looked for looked in reversed(rentals)}  # the newest of each GPU
    table = pd.DataFrame(expectations(), columns=["what", "measured", "expected"])[["what", "expected"]]
    for name in seen or ["measured"]:
        table[name] = [measured or "not measured" for _, measured, _ in expectations(seen.get(name))]
    ways = [folded(f"Every way to train, {looked.started[:10]}", rungs_table(looked)) for looked in seen.values()]
    return "\n\n".join([markdown_table(table), *ways])


def method_lines() -> dict[str, int]:
    """Lines of code of the method in plain Python, as `ast` prints them, without comments and docstrings."""
    parts = {
        "the constraint": (topk.kept_values, topk.reference_mask, topk._late_ties, topk._rows),
        "the layer": (layer.GlobalTopK, layer.set_keep_ratio),
        "the published rule": (controllers.Controller, controllers.AccuracyGated),
    }
    return {name: sum(_code_lines(inspect.getsource(one)) for one in sources) for name, sources in parts.items()}


def _code_lines(source: str) -> int:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return len([line for line in ast.unparse(tree).splitlines() if line.strip()])
