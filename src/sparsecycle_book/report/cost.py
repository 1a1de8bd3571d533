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
from sparsecycle_book.benchmarks.record import BenchmarkRecord, ratio
from sparsecycle_book.benchmarks.run_times import SPARSE, cpu_hours, cpu_record, gain_of_two, gpu_minutes, gpu_runs
from sparsecycle_book.display import folded, markdown_table
from sparsecycle_book.estimates import DEVICES, least_seconds
from sparsecycle_book.report.answers import listed_words

LAYER_SIDES = {  # of a record, and what a column is called
    "kernel": "this library",
    "relu": "ReLU alone",
    "topk": "`torch.topk`",
    "kthvalue": "`kthvalue`",
    "sort": "`sort`",
    "reference": "the reference",
    "copy": "copy",
}
STEP_SIDES = {
    "dense step, this library against plain torch": (("plain", 1.0), ("kernels", 1.0)),
    "dense step, with the kernels against without": (("torch", 1.0), ("kernels", 1.0)),
    "step at 0.1, with the kernels against without": (("torch", 0.1), ("kernels", 0.1)),
    "dense step, compiled against not": (("kernels", 1.0), ("compiled", 1.0)),
    "step at 0.1, compiled against not": (("kernels", 0.1), ("compiled", 0.1)),
}
NOTHING = "No cost has been measured: `make bench` measures what this machine needs, in a few minutes."


def cost_answer(records: Sequence[BenchmarkRecord]) -> str:
    """The point of the chapter: what a constrained step costs over a dense one, and why."""
    if not records:
        return NOTHING
    record = records[0]
    step = ratio(record, "step", record.step_case(), ("kernels", SPARSE), ("kernels", 1.0))
    if step is None:
        return "The cost of a step was not measured."
    return (
        f"**A training step at a keep-ratio of {SPARSE:g} takes {step[0]:.2f} times as long as a dense one** "
        f"({record.step_case()}, {record.device})."
    )


def measured_on(records: Sequence[BenchmarkRecord]) -> str:
    """Which machines were measured, and from which record the figures are drawn."""
    if not records:
        return "There is no record yet."
    first, made = records[0], records[0].environment
    devices = "; ".join(record.device for record in records)
    return (
        f"We measured on {devices}. The figures are drawn from `{first.file}` (torch {made['torch']}, "
        f"{made['backend']}, revision {str(made['git_revision'])[:7]})."
    )


def figures_sentence(record: BenchmarkRecord | None) -> str:
    """What the figures of the chapter show, with references to those that are drawn."""
    if record is None:
        return ""
    shown = [("layer", "one layer")] if record.layer_cases() else []
    shown += [("step", "a step")] if record.step_case() else []
    shown += [("growth", "a step at other keep-ratios and in other networks")] if len(growth_table(record)) > 1 else []
    links = [f'<a class="figure-reference" data-name="{name}"></a> shows {what}' for name, what in shown]
    return f" {'; '.join(links)}." if links else ""


def selection_sentence(record: BenchmarkRecord) -> str:
    """What ReLU with selection costs over ReLU alone, and what it saves over `torch.topk`, in the largest layer."""
    case = next(reversed(record.layer_cases()), "")
    over = ratio(record, "selection", case, ("kernel", SPARSE), ("relu", SPARSE))
    under = ratio(record, "selection", case, ("topk", SPARSE), ("kernel", SPARSE))
    if over is None or under is None:
        return "The cost of one layer was not measured."
    return (
        f"ReLU with selection takes {over[0]:.1f} times as long as ReLU alone, and torch.topk {under[0]:.1f} "
        f"times as long as this library ({case}, keep-ratio {SPARSE:g})."
    )


def layer_table(record: BenchmarkRecord) -> pd.DataFrame:
    """Milliseconds of one layer at keep-ratio 0.1, a row a size, as text."""
    table = record.table()
    rows = table[(table["suite"] == "selection") & (table["keep_ratio"] == SPARSE)]
    medians = rows.pivot(index="case", columns="side", values="median").map(lambda value: f"{value:.2f}")
    cases = record.layer_cases()
    sides = [side for side in LAYER_SIDES if side in medians]
    medians = medians.loc[[*cases, *medians.index.difference(cases)], sides]
    return medians.rename(columns=LAYER_SIDES).rename_axis("values").reset_index()


def step_sentence(record: BenchmarkRecord) -> str:
    """How much longer a training step takes at keep-ratios below 1, medians."""
    table, case = record.table(), record.step_case()
    chosen = table[(table["suite"] == "step") & (table["case"] == case) & (table["side"] == "kernels")]
    budgets = sorted(budget for budget in chosen["keep_ratio"].dropna() if budget < 1)
    sides = [ratio(record, "step", case, ("kernels", budget), ("kernels", 1.0)) for budget in budgets]
    factors = [side[0] for side in sides if side]
    if not factors:
        return "The cost of a step was not measured."
    return (
        f"A training step of {case} at a keep-ratio of {budgets[0]:g} to {budgets[-1]:g} takes {min(factors):.2f} to "
        f"{max(factors):.2f} times as long as a dense one."
    )


def step_comparisons(record: BenchmarkRecord) -> str:
    """Markdown: how many times as fast one manner of a step is as another, and how long its compilation takes."""
    case, table = record.step_case(), record.table()
    found = {name: ratio(record, "step", case, *sides) for name, sides in STEP_SIDES.items()}
    lines = [
        f"- {name}: {one[0]:.2f} times as fast ({one[1]:.2f} to {one[2]:.2f})" for name, one in found.items() if one
    ]
    waits = table[(table["suite"] == "step") & (table["side"] == "compilation")]["median"]
    lines += [f"- compilation by torch before the first step of a network: {wait:.0f} seconds" for wait in waits]
    lines += [f"- left out: {reason}" for reason in record.left_out]
    return "\n".join([*lines, "", "No recorded run was compiled by torch: compilation needs a C++ compiler."])


def growth_table(record: BenchmarkRecord) -> pd.DataFrame:
    """A row a network and batch: how much longer a step at 0.1 takes, and milliseconds of both, as text."""
    table = record.table()
    steps = table[table["suite"].isin(["step", "scaling"]) & (table["side"] == "kernels")]
    rows = []
    for (suite, case), rows_of in steps.groupby(["suite", "case"], sort=False):
        over = ratio(record, str(suite), str(case), ("kernels", SPARSE), ("kernels", 1.0))
        times = rows_of.set_index("keep_ratio")["median"]
        if over is not None:
            rows.append(
                {
                    "network": case,
                    f"keep {SPARSE:g} over dense": f"{over[0]:.2f}",
                    "ms dense": f"{times[1.0]:,.1f}",
                    f"ms at keep {SPARSE:g}": f"{times[SPARSE]:,.1f}",
                }
            )
    return pd.DataFrame(rows)


def growth_sentence(record: BenchmarkRecord) -> str:
    """In which networks the constraint costs least and most."""
    table = growth_table(record)
    if len(table) < 2:
        return "The cost of other networks was not measured."
    table = table.assign(factor=table.iloc[:, 1].astype(float)).sort_values("factor", kind="stable")
    low, high = table.iloc[0], table.iloc[-1]
    return (
        f"A step at keep-ratio {SPARSE:g} takes {low['factor']:.2f} times ({low['network']}) to "
        f"{high['factor']:.2f} times ({high['network']}) as long as a dense one."
    )


def precision_sentence(records: Sequence[BenchmarkRecord]) -> str:
    """How much faster steps in bfloat16 are than in float32 on a CPU, and the processor that was measured."""
    found = _precision_record(records)
    if found is None:
        return "No record compares it with float32 yet."
    table = precision_table(records)
    factors = table[["dense", f"keep {SPARSE:g}"]].astype(float).to_numpy()
    return (
        f"A step is {factors.min():.1f} to {factors.max():.1f} times as fast as in float32 with one thread "
        f"({found.environment['cpu']})."
    )


def precision_table(records: Sequence[BenchmarkRecord]) -> pd.DataFrame:
    """A row a network: how many times as fast a step in bfloat16 is, dense and at 0.1, and milliseconds, as text."""
    found = _precision_record(records)
    if found is None:
        return pd.DataFrame()
    rows = []
    table = found.table()[lambda all_rows: all_rows["suite"] == "precision"]
    for case, of_case in table.groupby("case", sort=False):
        row = {"network": case}
        for name, keep_ratio in (("dense", 1.0), (f"keep {SPARSE:g}", SPARSE)):
            factor = ratio(found, "precision", str(case), ("float32", keep_ratio), ("bfloat16", keep_ratio))
            row[name] = f"{factor[0]:.2f}" if factor else ""
        dense = of_case[of_case["keep_ratio"] == 1].set_index("side")["median"]
        rows.append(row | {f"ms dense, {side}": f"{time:,.0f}" for side, time in dense.items()})
    return pd.DataFrame(rows)


def _precision_record(records: Sequence[BenchmarkRecord]) -> BenchmarkRecord | None:
    return next((one for one in records if any(part.suite == "precision" for part in one.measurements)), None)


def study_sentence(name: str, configs: Sequence[RunConfig], records: Sequence[BenchmarkRecord]) -> str:
    """What a study costs on the CPU of the records, one run at a time and two at once."""
    cpu = cpu_record(records)
    hours, gain = cpu_hours(cpu, configs), gain_of_two(cpu)
    if cpu is None or math.isnan(hours.value):
        return f"What the {len(configs)} runs of the study `{name}` take on a CPU was not measured."
    told = (
        f"The training steps of the {len(configs)} runs of the study `{name}` take about {_hours(hours.value)} on "
        f"{cpu.device} when it does nothing else, one run at a time ({hours.found_by}). Test evaluations and other "
        "work on the machine come on top; the table below compares this with recorded hours."
    )
    if gain is None:
        return f"{told} Two runs at once were not measured."
    return (
        f"{told} Two runs at once, a thread each, train {gain:.2f} times as many images a second as one run with all "
        f"threads, so that the study takes {_hours(hours.value / gain)}."
    )


def _hours(value: float) -> str:
    return f"{value:,.1f} hours" if value < 100 else f"{value:,.0f} hours"


def gpu_status(runs: pd.DataFrame, rentals: Sequence[Looked], records: Sequence[BenchmarkRecord]) -> str:
    """Which GPUs have run this code, or that none has."""
    seen = {looked.machine.partition(",")[0] for looked in rentals}
    seen |= {record.environment["device"] for record in records} | set(runs["device"] if len(runs) else [])
    seen -= {"cpu"}
    return f"This code has run on {', '.join(sorted(seen))}." if seen else "**No GPU has run this code yet.**"


def run_sentence(runs: pd.DataFrame, rentals: Sequence[Looked], records: Sequence[BenchmarkRecord]) -> str:
    """What the paper's own run costs on a CPU, and on a GPU: expected until something was measured there."""
    config = RunConfig(preset="paper", method="accuracy_gated")
    cpu = cpu_record(records)
    hours, there = cpu_hours(cpu, [config]), gpu_minutes(config, runs, rentals, records)
    told = []
    steps = "The training steps of the paper's own run"
    if cpu and not math.isnan(hours.value):
        told.append(f"{steps} take about {hours.value / 24:,.0f} days on {cpu.device} ({hours.found_by}).")
        steps = "They"
    minutes = f"{steps} take {there.value:,.1f} minutes on a rented GPU"
    price = f"Without test evaluations, a run thus costs about {there.value / 60:.2f} times the hourly price."
    if there.found_by == "expected":
        hopper = {name.split()[1]: least_seconds(config, rates) / 60 for name, rates in DEVICES.items() if " H" in name}
        least = listed_words([f"{bound:.1f} minutes on an {name}" for name, bound in hopper.items()])
        told.append(
            f"We expect the training steps to take at most {there.value:,.1f} minutes on a rented H100 or a newer GPU. "
            f"{price} By the data sheets, the whole run takes at least {least}. {gpu_status(runs, rentals, records)}"
        )
    elif recorded := len(gpu_runs(runs, config)):
        told.append(f"{minutes}, by {there.found_by} ({recorded}). {price}")
    else:
        told.append(f"{minutes}, by {there.found_by}. {price} No whole run is recorded there yet.")
    return " ".join(told)


def rental_tables(rentals: Sequence[Looked]) -> str:
    """Markdown: what is expected of a GPU beside what each rental measured, and the ways to train folded away."""
    seen = {looked.machine.partition(",")[0]: looked for looked in reversed(rentals)}  # the newest of each GPU
    every = pd.DataFrame(expectations(), columns=["what", "measured", "expected"])
    columns = {name: [row[1] or "not measured" for row in expectations(looked)] for name, looked in seen.items()}
    table = every[["what", "expected"]].copy()
    for name, column in (columns or {"measured": ["not measured"] * len(table)}).items():
        table[name] = column
    parts = [markdown_table(table)]
    for looked in seen.values():
        parts.append(folded(f"Every way to train, {looked.started[:10]}", rungs_table(looked)))
    return "\n\n".join(parts)


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
