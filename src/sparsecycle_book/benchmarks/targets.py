"""What the layer and the step should cost, set before they were measured, and what the records say."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sparsecycle_book.benchmarks.record import NOT_MEASURED, BenchmarkRecord, Found, Side, gain_of_two, ratio
from sparsecycle_book.benchmarks.steps import Step

Find = Callable[[BenchmarkRecord], Found]
SPARSE, DENSE, PLAIN = ("kernels", 0.1), ("kernels", 1.0), ("plain", 1.0)
CLASSROOM = Step.of_preset("classroom").case
PAPER = Step.of_preset("paper").case
IMAGES = Step.of_preset("paper").batch
PRECISION_SIZES = [Step(10, 1, 128), Step(10, 2, 128), Step(16, 2, 128), Step(28, 4, 128)]


@dataclass(frozen=True)
class Target:
    """`what` should be `at_most` or `at_least` a bound; `find` gives median and quartiles."""

    what: str
    find: Find
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"
    gpu: bool = False

    def met(self, value: float) -> bool:
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)

    @property
    def bound(self) -> str:
        word, value = ("at most", self.at_most) if self.at_most is not None else ("at least", self.at_least)
        return f"{word} {value:,g}{'x' if self.unit == 'x' else ' ' + self.unit}"


def _ratio(suite: str, case: str, over: Side, under: Side) -> Find:
    return lambda record: ratio(record, suite, case, over, under)


def _precision(step: Step, at_least: float) -> tuple[Target, Target, Target]:
    """How much faster than float32 a step in bfloat16 is, with one thread, dense and at 0.1, and what 0.1 costs it.

    How much faster was set for processors with AMX: a record of another one says nothing about it.
    """

    def faster(keep_ratio: float) -> Find:
        found = _ratio("precision", step.network, ("float32", keep_ratio), ("bfloat16", keep_ratio))
        return lambda record: found(record) if record.environment.get("amx") else NOT_MEASURED

    sparse = _ratio("precision", step.network, ("bfloat16", 0.1), ("bfloat16", 1.0))
    name = f"{step.network} step in bfloat16"
    return (
        Target(f"{name}, with AMX: faster than in float32, dense", faster(1.0), at_least=at_least),
        Target(f"{name}, with AMX: faster than in float32, keep 0.1", faster(0.1), at_least=at_least),
        Target(f"{name}: keep 0.1 over dense", sparse, at_most=1.15),
    )


def _two_at_once(record: BenchmarkRecord) -> Found:
    gain = gain_of_two(record, over="1")
    return gain, gain, gain


def _memory_of_bfloat16(record: BenchmarkRecord) -> Found:
    half = replace(Step.of_preset("classroom"), precision="bfloat16").case
    kept = [one for one in record.measurements if one.suite == "memory" and one.keep_ratio == 1]
    peaks = {one.case: one.value for one in kept if one.value}
    share = peaks.get(half, math.nan) / peaks.get(CLASSROOM, math.nan)
    return share, share, share


def _images_a_second(record: BenchmarkRecord) -> Found:
    table = record.table()
    rows = table[(table.suite == "step") & (table.case == PAPER) & (table.side == "kernels") & (table.keep_ratio == 1)]
    median, low, high = (1000 * IMAGES / rows[name].mean() for name in ("median", "high", "low"))
    return median, low, high


def _layer(case: str, keep_ratio: float, at_least: float, at_most: float, gpu: bool = False) -> tuple[Target, Target]:
    """Selection, ReLU and mask of one layer: how much faster than `torch.topk`, how much slower than ReLU."""
    name = f"layer, {case}, keep {keep_ratio}"
    faster = _ratio("selection", case, ("topk", keep_ratio), ("kernel", keep_ratio))
    slower = _ratio("selection", case, ("kernel", keep_ratio), ("relu", keep_ratio))
    return (
        Target(f"{name}: faster than topk and mask", faster, at_least=at_least, gpu=gpu),
        Target(f"{name}: time over plain ReLU", slower, at_most=at_most, gpu=gpu),
    )


TARGETS: Sequence[Target] = (
    *_layer("64 x 65536 float32", 0.5, at_least=4, at_most=4),
    *_layer("64 x 65536 float32", 0.05, at_least=4, at_most=4),
    *_layer("128 x 16384 float32", 0.5, at_least=4, at_most=4),
    *_layer("128 x 16384 float32", 0.05, at_least=4, at_most=4),
    Target("`classroom` step: keep 0.1 over dense", _ratio("step", CLASSROOM, SPARSE, DENSE), at_most=1.2),
    Target("`classroom` dense step: faster than plain", _ratio("step", CLASSROOM, PLAIN, DENSE), at_least=1.5),
    Target("`classroom` step: peak memory, keep 0.1 over dense", _ratio("memory", CLASSROOM, SPARSE, DENSE), 1.25),
    Target("`classroom` step: peak memory, bfloat16 over float32", _memory_of_bfloat16, at_most=1),
    Target("two `classroom` runs at once: images a second over one, a thread each", _two_at_once, at_least=1.8),
    *_precision(PRECISION_SIZES[0], at_least=2.2),
    *_precision(PRECISION_SIZES[1], at_least=2.8),
    *_precision(PRECISION_SIZES[2], at_least=2.8),
    *_precision(PRECISION_SIZES[3], at_least=3.5),
    *_layer("512 x 65536 bfloat16", 0.1, at_least=10, at_most=2, gpu=True),
    Target("`paper` step: keep 0.1 over dense", _ratio("step", PAPER, SPARSE, DENSE), at_most=1.15, gpu=True),
    Target("`paper` dense step", _images_a_second, at_least=20_000, unit="images/s", gpu=True),
    Target("`paper` step: peak memory, keep 0.1 over dense", _ratio("memory", PAPER, SPARSE, DENSE), 1.25, gpu=True),
)


def targets_table(records: Sequence[BenchmarkRecord]) -> pd.DataFrame:
    """Each target: where, what, target, measured, quartiles, met ("yes", "no", or "not measured")."""
    rows = []
    for target in TARGETS:
        found = [target.find(record) for record in records if (record.environment["device"] != "cpu") == target.gpu]
        measured = [one for one in found if not math.isnan(one[0])]
        row = {"where": "GPU" if target.gpu else "CPU", "what": target.what, "target": target.bound}
        row |= {"measured": "", "quartiles": "", "met": "not measured"}
        if measured:
            median, low, high = measured[0]
            form = "{:.2f}" if target.unit == "x" else "{:,.0f}"
            row |= {"measured": form.format(median), "met": "yes" if target.met(median) else "no"}
            if low < high:  # of one value there is no spread
                row["quartiles"] = f"{form.format(low)} to {form.format(high)}"
        rows.append(row)
    return pd.DataFrame(rows)
