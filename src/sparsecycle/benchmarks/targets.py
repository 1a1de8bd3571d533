"""What the layer and the step should cost, set before they were measured, and what the records say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from sparsecycle.benchmarks.record import BenchmarkRecord, ratio
from sparsecycle.benchmarks.steps import Step

Found = tuple[float, float, float] | None
CLASSROOM = Step.of_preset("classroom").case
PAPER = Step.of_preset("paper").case
IMAGES = Step.of_preset("paper").batch


@dataclass(frozen=True)
class Target:
    """`what` should be `at_most` or `at_least` a bound; `find` gives median and quartiles, None where not measured."""

    what: str
    gpu: bool
    find: Callable[[BenchmarkRecord], Found]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    def met(self, value: float) -> bool:
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)

    @property
    def bound(self) -> str:
        word, value = ("at most", self.at_most) if self.at_most is not None else ("at least", self.at_least)
        return f"{word} {value:,g}{'x' if self.unit == 'x' else ' ' + self.unit}"


def _selection(case: str, keep_ratio: float, over: str, under: str) -> Callable[[BenchmarkRecord], Found]:
    return lambda record: ratio(record, "selection", case, (over, keep_ratio), (under, keep_ratio))


def _step(case: str, over: tuple[str, float], under: tuple[str, float]) -> Callable[[BenchmarkRecord], Found]:
    return lambda record: ratio(record, "step", case, over, under)


def _memory(case: str) -> Callable[[BenchmarkRecord], Found]:
    return lambda record: ratio(record, "memory", case, ("kernels", 0.1), ("kernels", 1.0))


def _images_a_second(record: BenchmarkRecord) -> Found:
    table = record.table()
    rows = table[(table.suite == "step") & (table.case == PAPER) & (table.side == "kernels") & (table.keep_ratio == 1)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    return 1000 * IMAGES / row["median"], 1000 * IMAGES / row["high"], 1000 * IMAGES / row["low"]


CPU_SELECTIONS = [(case, keep) for case in ("64 x 65536 float32", "128 x 16384 float32") for keep in (0.5, 0.05)]
GPU_SELECTION = "512 x 65536 bfloat16"
TARGETS: Sequence[Target] = (
    *(
        Target(
            f"layer, {case}, keep {keep}: faster than topk and mask",
            False,
            _selection(case, keep, "topk", "kernel"),
            at_least=4,
        )
        for case, keep in CPU_SELECTIONS
    ),
    *(
        Target(
            f"layer, {case}, keep {keep}: time over plain ReLU",
            False,
            _selection(case, keep, "kernel", "relu"),
            at_most=4,
        )
        for case, keep in CPU_SELECTIONS
    ),
    Target(
        "`classroom` step: keep 0.1 over dense",
        False,
        _step(CLASSROOM, ("kernels", 0.1), ("kernels", 1.0)),
        at_most=1.2,
    ),
    Target(
        "`classroom` dense step: faster than plain",
        False,
        _step(CLASSROOM, ("plain", 1.0), ("kernels", 1.0)),
        at_least=1.5,
    ),
    Target("`classroom` step: peak memory, keep 0.1 over dense", False, _memory(CLASSROOM), at_most=1.25),
    Target(
        f"layer, {GPU_SELECTION}, keep 0.1: faster than topk and mask",
        True,
        _selection(GPU_SELECTION, 0.1, "topk", "kernel"),
        at_least=10,
    ),
    Target(
        f"layer, {GPU_SELECTION}, keep 0.1: time over plain ReLU",
        True,
        _selection(GPU_SELECTION, 0.1, "kernel", "relu"),
        at_most=2,
    ),
    Target("`paper` step: keep 0.1 over dense", True, _step(PAPER, ("kernels", 0.1), ("kernels", 1.0)), at_most=1.15),
    Target("`paper` dense step", True, _images_a_second, at_least=20_000, unit="images/s"),
    Target("`paper` step: peak memory, keep 0.1 over dense", True, _memory(PAPER), at_most=1.25),
)


def targets_table(records: Sequence[BenchmarkRecord]) -> pd.DataFrame:
    """Each target: where, what, target, measured, quartiles, met ("yes", "no", or "not measured")."""
    rows = []
    for target in TARGETS:
        where = "GPU" if target.gpu else "CPU"
        found = [target.find(record) for record in records if (record.environment["device"] != "cpu") == target.gpu]
        measured = [one for one in found if one is not None]
        row = {"where": where, "what": target.what, "target": target.bound}
        if measured:
            median, low, high = measured[0]
            form = "{:.2f}" if target.unit == "x" else "{:,.0f}"
            spread = f"{form.format(low)} to {form.format(high)}" if low < high else ""  # of one value there is none
            row |= {"measured": form.format(median), "quartiles": spread}
            row |= {"met": "yes" if target.met(median) else "no"}
        else:
            row |= {"measured": "", "quartiles": "", "met": "not measured"}
        rows.append(row)
    return pd.DataFrame(rows)
