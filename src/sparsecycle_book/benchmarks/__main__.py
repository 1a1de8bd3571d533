"""`python -m sparsecycle_book.benchmarks`: measure what this machine allows and write a record to `data/benchmarks`."""

import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from sparsecycle.config import RunConfig
from sparsecycle.runs.provenance import environment, now
from sparsecycle.runs.side_by_side import images_per_second
from sparsecycle_book.benchmarks.record import ALL_THREADS, FOLDER, BenchmarkRecord, Measurement
from sparsecycle_book.benchmarks.selection import measure_selection
from sparsecycle_book.benchmarks.steps import (
    Step,
    measure_limits,
    measure_memory,
    measure_precision,
    measure_scaling,
    measure_steps,
)
from sparsecycle_book.benchmarks.targets import PRECISION_SIZES, targets_table
from sparsecycle_book.benchmarks.timing import keep_freed_memory

CPU_SIZES = [(10, 1, 64), (10, 1, 256), (10, 2, 128), (10, 4, 64), (16, 1, 128), (22, 1, 128)]
GPU_SIZES = [(28, 4, 256), (28, 4, 512), (28, 2, 128), (28, 8, 128), (16, 4, 128), (40, 4, 128)]


def main(repeats: int = 11) -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = Step.of_preset("paper" if device == "cuda" else "classroom")
    half = replace(step, precision="bfloat16")  # on a GPU it is the same step
    sizes = [Step(*size, step.precision) for size in (GPU_SIZES if device == "cuda" else CPU_SIZES)]
    torch.compiler.config.force_disable_caches = True  # what an earlier call compiled would hide the wait for it
    warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")  # says just that
    started, begin = now(), time.perf_counter()
    left_out: list[str] = []
    measurements: list[Measurement] = []
    parts: dict[str, Callable[[], list[Measurement]]] = {
        "a training step": lambda: measure_steps(step, device, 2 * repeats, left_out),
        "other sizes": lambda: measure_scaling(sizes, device, 5),
        "limits": lambda: measure_limits(step, device, repeats),
        "memory": lambda: [one for each in dict.fromkeys((step, half)) for one in measure_memory(each, device)],
    }
    if device == "cpu":
        parts |= {"the paper's network": measure_paper, "runs at once": measure_at_once}
        parts["float32 and bfloat16"] = lambda: measure_precision(PRECISION_SIZES, 5)
    parts["one layer"] = lambda: measure_layer(device, repeats)
    for name, part in parts.items():
        print(f"measuring {name} ({time.perf_counter() - begin:.0f} s)", file=sys.stderr)
        measurements += part()
    made = environment(device, step.precision, deterministic=False) | {"amx": has_amx()}
    record = BenchmarkRecord(
        started=started, ended=now(), environment=made, left_out=left_out, measurements=measurements
    )
    path = record.write(FOLDER)
    print(targets_table([record]).to_string(index=False))
    for reason in left_out:
        print(f"left out: {reason}")
    print(f"{record.device}: {time.perf_counter() - begin:.0f} s, written to data/benchmarks/{path.name}")
    return 0


def has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16 (AMX), as far as Linux tells."""
    with suppress(OSError):
        return " amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return False


def measure_paper() -> list[Measurement]:
    """A few steps of the paper's network, which take seconds each on a CPU; a GPU measures it in every manner."""
    return measure_scaling([Step.of_preset("paper")], "cpu", 2)


def measure_at_once() -> list[Measurement]:
    """Images a second of `classroom`: one run, two at once, a thread each, and one with all threads, in turn.

    Medians of three. A rented GPU is looked at by a rental.
    """
    config, case = RunConfig(preset="classroom", method="dense"), Step.of_preset("classroom").case
    sides = {"1": (1, 1), "2": (2, 1), ALL_THREADS: (1, torch.get_num_threads())}
    rounds = [{side: images_per_second(config, *how) for side, how in sides.items()} for _ in range(3)]
    return [
        Measurement(suite="at once", case=case, side=side, value=median(one[side] for one in rounds), unit="images/s")
        for side in sides
    ]


def measure_layer(device: str, repeats: int) -> list[Measurement]:
    keep_freed_memory()  # after the steps: they are to be measured as anybody's program runs
    return measure_selection(device, repeats)


if __name__ == "__main__":
    sys.exit(main())
