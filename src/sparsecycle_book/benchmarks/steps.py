"""One training step, dense and constrained, plain and fast, in several sizes, and its peak memory."""

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import environ
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.config import RunConfig
from sparsecycle.kernels import VARIABLE
from sparsecycle.layer import set_keep_ratio
from sparsecycle.network import WideResNet
from sparsecycle.runs.environment import environment
from sparsecycle.runs.execute import deterministic
from sparsecycle.runs.provenance import peak_memory_mib
from sparsecycle_book.benchmarks.record import Measurement
from sparsecycle_book.benchmarks.timing import alternate
from sparsecycle_book.estimates import count_work


@dataclass(frozen=True)
class Step:
    """What is trained. `case` is its name in records."""

    depth: int
    width: int
    batch: int
    precision: str = "float32"

    @classmethod
    def of(cls, config: RunConfig) -> "Step":
        return cls(config.depth, config.width, config.batch_size, config.precision)

    @classmethod
    def of_preset(cls, preset: str) -> "Step":
        return cls.of(RunConfig(preset=preset, method="dense"))

    @property
    def network(self) -> str:
        return f"WRN-{self.depth}-{self.width} batch {self.batch}"

    @property
    def case(self) -> str:
        return f"{self.network} {self.precision}"


def training_step(
    step: Step, device: str, keep_ratio: float, *, plain: bool = False, backend: str = "", compiled: bool = False
) -> Callable[[], object]:
    """A function that does one step: forward, backward, SGD with Nesterov momentum.

    What `train` does besides is left out, as it is the same on all sides: normalization of the images, the schedule,
    the accuracy of the batch. `plain` is the straightforward way: contiguous tensors, every operation as torch has it.
    """
    torch.manual_seed(0)
    model: nn.Module = WideResNet(step.depth, step.width).to(device)
    memory_format = torch.contiguous_format if plain else torch.channels_last
    model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
    images = torch.randn(step.batch, 3, 32, 32, device=device).contiguous(memory_format=memory_format)
    labels = torch.randint(0, 10, (step.batch,), device=device)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, 0.01, 0.9, nesterov=True, fused=not plain)
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
    set_keep_ratio(model, keep_ratio)
    chosen = "reference" if plain else backend or environ.get(VARIABLE, "auto")

    def run() -> None:
        with deterministic(), environment({VARIABLE: chosen}):
            with torch.autocast(device, torch.bfloat16, enabled=step.precision == "bfloat16"):
                logits = forward(images)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return run


def measure_steps(step: Step, device: str, repeats: int, left_out: list[str]) -> list[Measurement]:
    """The step in every manner, dense and at 0.1, and by this library at more budgets; the wait for compilation."""
    found: list[Measurement] = []
    manners = {
        "plain": {"plain": True},
        "torch": {"backend": "reference"},
        "kernels": {},
        "compiled": {"compiled": True},
    }
    sides: dict[tuple[str, float], Callable[[], object]] = {}
    for manner, arguments in manners.items():
        for keep_ratio in (1.0, 0.1) if manner != "kernels" else (1.0, 0.5, 0.25, 0.1, 0.05, 0.02):
            side = training_step(step, device, keep_ratio, **arguments)  # type: ignore[arg-type]
            begin = time.perf_counter()
            try:
                side()
            except Exception as error:  # torch.compile needs a compiler of the system, and raises many kinds without
                left_out.append(f"{manner} step: {str(error).splitlines()[0]}")
                break
            sides[manner, keep_ratio] = side
            if (manner, keep_ratio) == ("compiled", 1.0):
                waited = time.perf_counter() - begin
                found.append(Measurement(suite="step", case=step.case, side="compilation", value=waited, unit="s"))
    return found + _alternate(sides, "step", step.case, device, repeats)


def measure_scaling(steps: list[Step], device: str, repeats: int) -> list[Measurement]:
    """Dense and constrained steps of other sizes."""
    found = []
    for step in steps:
        sides = {("kernels", keep_ratio): training_step(step, device, keep_ratio) for keep_ratio in (1.0, 0.1)}
        found += _alternate(sides, "scaling", step.case, device, repeats)
    return found


def measure_precision(steps: list[Step], repeats: int) -> list[Measurement]:
    """Dense and constrained steps on a CPU in float32 and in bfloat16, in turn, with one thread."""
    found, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in steps:
            sides = {
                (precision, keep_ratio): training_step(replace(step, precision=precision), "cpu", keep_ratio)
                for precision in ("float32", "bfloat16")
                for keep_ratio in (1.0, 0.1)
            }
            found += _alternate(sides, "precision", step.network, "cpu", repeats)
    finally:
        torch.set_num_threads(threads)
    return found


def _alternate(
    sides: dict[tuple[str, float], Callable[[], object]],
    suite: Literal["step", "scaling", "precision"],
    case: str,
    device: str,
    repeats: int,
) -> list[Measurement]:
    names = {f"{manner} {keep_ratio}": (manner, keep_ratio) for manner, keep_ratio in sides}
    times = alternate({name: sides[key] for name, key in names.items()}, device, repeats, 5 if device == "cuda" else 1)
    return [
        Measurement(suite=suite, case=case, side=names[name][0], keep_ratio=names[name][1], milliseconds=milliseconds)
        for name, milliseconds in times.items()
    ]


def work(step: Step) -> float:
    """Floating-point operations of a dense step, forward and backward, in units of 10^9; see `count_work`."""
    config = RunConfig(preset="paper", method="dense", depth=step.depth, width=step.width)
    return count_work(config).train_operations * step.batch / 1e9


def measure_limits(step: Step, device: str, repeats: int) -> list[Measurement]:
    """Rate of a large matrix product in the step's precision: what convolutions could reach at best."""
    size = 8192 if device == "cuda" else 2048
    dtype = torch.bfloat16 if step.precision == "bfloat16" else torch.float32
    a = torch.randn(size, size, device=device, dtype=dtype)
    times = alternate({"product": lambda: a @ a}, device, repeats, 5 if device == "cuda" else 1)["product"]
    rate = 2 * size**3 / 1e6 / min(times)
    return [
        Measurement(suite="limit", case=step.case, side="matrix product", value=rate, unit="GFLOP/s"),
        Measurement(suite="limit", case=step.case, side="work", value=work(step), unit="GFLOP"),
    ]


def measure_memory(step: Step, device: str, processes: int = 5) -> list[Measurement]:
    """Peak memory of three steps above what is held before, the median of processes of their own for each budget."""
    found = []
    for keep_ratio in (1.0, 0.1):
        code = (
            "from sparsecycle_book.benchmarks.steps import Step, peak_memory\n"
            f"print(peak_memory({step!r}, {device!r}, {keep_ratio}))"
        )
        peaks = [
            float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
            for _ in range(processes)
        ]
        peak = statistics.median(peaks)
        found.append(
            Measurement(suite="memory", case=step.case, side="kernels", keep_ratio=keep_ratio, value=peak, unit="MiB")
        )
    return found


def peak_memory(step: Step, device: str, keep_ratio: float) -> float:
    """MiB that three steps take at most above what weights and one step of a single image have taken."""
    training_step(Step(step.depth, step.width, 1, step.precision), device, keep_ratio)()
    side = training_step(step, device, keep_ratio)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = peak_memory_mib(device)
    for _ in range(3):
        side()
    after = peak_memory_mib(device)
    return math.nan if before is None or after is None else after - before
