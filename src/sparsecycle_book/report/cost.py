"""How much longer a constrained step takes, and how long the method is."""

import ast
import inspect
import textwrap

from sparsecycle import controllers, layer, topk
from sparsecycle_book.benchmarks.record import BenchmarkRecord, ratio


def step_sentence(record: BenchmarkRecord) -> str:
    """How much longer a training step takes at keep-ratios below 1, timed in turn with dense ones."""
    table, case = record.table(), record.step_case()
    chosen = table[(table["suite"] == "step") & (table["case"] == case) & (table["side"] == "kernels")]
    budgets = sorted(budget for budget in chosen["keep_ratio"].dropna() if budget < 1)
    sides = [ratio(record, "step", case, ("kernels", budget), ("kernels", 1.0)) for budget in budgets]
    factors = [side[0] for side in sides if side]
    if not factors:
        return "The cost of a step was not measured."
    return (
        f"Timed in turn on one machine, a training step of {case} at a keep-ratio of {budgets[0]:g} to {budgets[-1]:g} "
        f"takes {min(factors):.2f} to {max(factors):.2f} times as long as a dense one (medians)."
    )


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
