"""What the runs took, and how long the method is."""

import ast
import inspect
import textwrap

import pandas as pd

from sparsecycle import controllers, topk
from sparsecycle_book.benchmarks.record import BenchmarkRecord, ratio
from sparsecycle_book.benchmarks.targets import CLASSROOM


def compute_sentence(runs: pd.DataFrame, search: pd.DataFrame, earlier: pd.DataFrame) -> str:
    """What all recorded runs took together, diverged ones included.

    Args:
        runs, search, earlier: rows of `load_runs`: the final ones, those that chose constants, and those that this
            choice made obsolete.
    """
    every = pd.concat([runs, search, earlier])
    final, searched, replaced = (frame["wall_seconds"].sum() / 3600 for frame in (runs, search, earlier))
    diverged, resumed = int((every["status"] == "diverged").sum()), int((every["resumes"] > 0).sum())
    return (
        f"{len(every)} recorded runs took {final + searched + replaced:.1f} hours, each counted by its own clock (some "
        f"shared a machine): {final:.1f} for the {len(runs)} final runs and ablations, {searched:.1f} for the "
        f"{len(search)} runs that chose constants, {replaced:.1f} for {len(earlier)} that this choice made obsolete. "
        f"{diverged} of them diverged and {resumed} were interrupted and resumed; these are counted. Trial runs while "
        "the code was written were not recorded and are not."
    )


def step_sentence(record: BenchmarkRecord) -> str:
    """How much longer a training step of the `classroom` network takes at budgets below 1, timed in turn with dense."""
    table = record.table()
    chosen = table[(table["suite"] == "step") & (table["case"] == CLASSROOM) & (table["side"] == "kernels")]
    budgets = sorted(budget for budget in chosen["keep_ratio"].dropna() if budget < 1)
    sides = [ratio(record, "step", CLASSROOM, ("kernels", budget), ("kernels", 1.0)) for budget in budgets]
    factors = [side[0] for side in sides if side]
    if not factors:
        return "The cost of a step on a CPU was not measured."
    return (
        f"Timed in turn on one machine, a training step at a budget of {budgets[0]:g} to {budgets[-1]:g} takes "
        f"{min(factors):.2f} to {max(factors):.2f} times as long as a dense one (medians)."
    )


def method_lines() -> dict[str, int]:
    """Lines of code of the method in plain Python, as `ast` prints them, without comments and docstrings."""
    parts = {
        "the layer": (topk.reference_mask, topk._late_ties, topk._rows, topk.GlobalTopK, topk.set_keep_ratio),
        "strategy 1": (controllers.Cycle, controllers.LossGated),
        "strategy 2": (controllers.Cycle, controllers.Plateau),
    }
    return {name: sum(_code_lines(inspect.getsource(one)) for one in sources) for name, sources in parts.items()}


def _code_lines(source: str) -> int:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return len([line for line in ast.unparse(tree).splitlines() if line.strip()])
