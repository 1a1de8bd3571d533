"""What the layer and the step should cost, set before they were measured, and what the records say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sparsecycle_book.benchmarks.record import BenchmarkRecord, ratio
from sparsecycle_book.benchmarks.steps import Step

Found = tuple[float, float, float] | None
CLASSROOM = Step.of_preset("classroom").case
PAPER = Step.of_preset("paper").case
IMAGES = Step.of_preset("paper").batch
PRECISION_SIZES = [Step(10, 1, 128), Step(10, 2, 128), Step(16, 2, 128), Step(28, 4, 128)]


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


def _precision(step: Step, at_least: float) -> tuple[Target, Target, Target]:
    """How much faster than float32 a step in bfloat16 is, with one thread, dense and at 0.1, and what 0.1 costs it.

    How much faster was set for processors with AMX: a record of another one says nothing about it.
    """

    def faster(keep_ratio: float) -> Callable[[BenchmarkRecord], Found]:
        sides = ("float32", keep_ratio), ("bfloat16", keep_ratio)
        return lambda record: (
            ratio(record, "precision", step.network, *sides) if record.environment.get("amx") else None
        )

    def sparse(record: BenchmarkRecord) -> Found:
        return ratio(record, "precision", step.network, ("bfloat16", 0.1), ("bfloat16", 1.0))

    name = f"{step.network} step in bfloat16"
    return (
        Target(f"{name}, with AMX: faster than in float32, dense", False, faster(1.0), at_least=at_least),
        Target(f"{name}, with AMX: faster than in float32, keep 0.1", False, faster(0.1), at_least=at_least),
        Target(f"{name}: keep 0.1 over dense", False, sparse, at_most=1.15),
    )


def _two_at_once(record: BenchmarkRecord) -> Found:
    rates = {one.side: one.value for one in record.measurements if one.suite == "at once" and one.value}
    return (rates["2"] / rates["1"],) * 3 if {"1", "2"} <= rates.keys() else None


def _memory_of_bfloat16(record: BenchmarkRecord) -> Found:
    half = replace(Step.of_preset("classroom"), precision="bfloat16").case
    peaks = {one.case: one.value for one in record.measurements if one.suite == "memory" and one.keep_ratio == 1}
    share = (peaks.get(half) or 0.0) / (peaks.get(CLASSROOM) or 1.0)
    return (share, share, share) if share else None


def _images_a_second(record: BenchmarkRecord) -> Found:
    table = record.table()
    rows = table[(table.suite == "step") & (table.case == PAPER) & (table.side == "kernels") & (table.keep_ratio == 1)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    return 1000 * IMAGES / row["median"], 1000 * IMAGES / row["high"], 1000 * IMAGES / row["low"]


def _layer(case: str, keep_ratio: float, gpu: bool, at_least: float, at_most: float) -> tuple[Target, Target]:
    """Selection, ReLU and mask of one layer: how much faster than `torch.topk`, how much slower than ReLU."""
    name = f"layer, {case}, keep {keep_ratio}"
    faster = _selection(case, keep_ratio, "topk", "kernel")
    slower = _selection(case, keep_ratio, "kernel", "relu")
    return (
        Target(f"{name}: faster than topk and mask", gpu, faster, at_least=at_least),
        Target(f"{name}: time over plain ReLU", gpu, slower, at_most=at_most),
    )


TARGETS: Sequence[Target] = (
    *_layer("64 x 65536 float32", 0.5, gpu=False, at_least=4, at_most=4),
    *_layer("64 x 65536 float32", 0.05, gpu=False, at_least=4, at_most=4),
    *_layer("128 x 16384 float32", 0.5, gpu=False, at_least=4, at_most=4),
    *_layer("128 x 16384 float32", 0.05, gpu=False, at_least=4, at_most=4),
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
    Target("`classroom` step: peak memory, bfloat16 over float32", False, _memory_of_bfloat16, at_most=1),
    Target("two `classroom` runs at once: images a second over one, a thread each", False, _two_at_once, at_least=1.8),
    *_precision(PRECISION_SIZES[0], at_least=2.2),
    *_precision(PRECISION_SIZES[1], at_least=2.8),
    *_precision(PRECISION_SIZES[2], at_least=2.8),
    *_precision(PRECISION_SIZES[3], at_least=3.5),
    *_layer("512 x 65536 bfloat16", 0.1, gpu=True, at_least=10, at_most=2),
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
