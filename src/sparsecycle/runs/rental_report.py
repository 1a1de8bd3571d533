"""What was seen of a rented GPU, and the report of a rental in Markdown."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from sparsecycle.config import RunConfig
from sparsecycle.runs import ladder
from sparsecycle.runs.ladder import Rung
from sparsecycle.runs.studies import progress

EXPECTED = {  # of the paper's network, before any GPU was seen: what, at most (of images/s at least) so much, unit
    "layers_ms": ("norm, ReLU and selection of all layers, forward, keep 0.1", 0.7, "ms"),
    "layers_over_dense": ("the same over keep 1.0", 2.0, ""),
    "sparse_ms": ("a step at keep 0.1", 4.0, "ms"),
    "sparse_over_dense": ("the same over a dense step", 1.15, ""),
    "images_per_second": ("one network", 32_000.0, "images/s"),
    "images_per_second_of_two": ("two networks at once, together", 40_000.0, "images/s"),
    "run_minutes": ("one run of `paper100` with its evaluations (of two at once: half of their time)", 3.0, "min"),
    "recorded_loss_difference": (
        f"{ladder.CHECKED_STEPS} recorded steps and eager ones with the same kernels: largest difference of a loss",
        0.02,
        "nats",
    ),
    "recorded_masks_differ": ("the masks of all layers after these steps: values that differ", 0.0, "values"),
}
DIGITS = {"images/s": ",.0f", "values": ",.0f", "nats": ".3f"}


class Looked(BaseModel):
    """What was seen of this machine, kept beside the runs so that the next call does not look again.

    Attributes:
        machine: names of the GPU and of the versions.
        source: digest of the training source.
        network: see `network_name`.
        batch: images of a step.
        tflop: arithmetic of a step, see `ladder.step_tflop`.
        gbyte: what selection moves forward, see `ladder.selection_gbyte`.
        revision, started: of git, and when it was looked at, UTC in ISO 8601.
        chip: see `ladder.chip`.
        layers_ms: norm, ReLU and selection of all layers, forward, at keep-ratio 0.1; and at 1.0.
        run_minutes: see `run_minutes`.
    """

    machine: str
    source: str
    network: str
    batch: int
    tflop: float
    gbyte: float
    revision: str | None
    started: str
    rungs: list[Rung] = []
    chip: dict[str, float] = {}
    layers_ms: float | None = None
    layers_dense_ms: float | None = None
    run_minutes: float | None = None

    @property
    def best(self) -> Rung | None:
        """The fastest rung that is right."""
        right = [rung for rung in self.rungs if not rung.faults]
        return max(right, key=lambda rung: rung.images_per_second(1), default=None)

    def measured(self) -> dict[str, float]:
        """Return what of `EXPECTED` was measured, as far as it was: of the best rung."""
        best = self.best
        if not (best and best.sparse_ms):
            return {}
        found = {"sparse_ms": best.sparse_ms, "images_per_second": 1000 * self.batch / best.sparse_ms}
        found |= {"sparse_over_dense": best.sparse_ms / best.dense_ms} if best.dense_ms else {}
        found |= {"images_per_second_of_two": 2000 * self.batch / best.pair_ms} if best.pair_ms else {}
        found |= {"layers_ms": self.layers_ms} if self.layers_ms else {}
        found |= {"run_minutes": self.run_minutes} if self.run_minutes else {}
        for rung in (best, *self.rungs):  # recorded steps are reported even where eager ones are faster
            if rung.recorded_loss_difference is not None and rung.recorded_masks_differ is not None:
                found["recorded_loss_difference"] = rung.recorded_loss_difference
                found["recorded_masks_differ"] = rung.recorded_masks_differ
                break
        if self.layers_ms and self.layers_dense_ms:
            found["layers_over_dense"] = self.layers_ms / self.layers_dense_ms
        return found

    @property
    def gpu(self) -> str:
        return self.machine.partition(",")[0]

    @property
    def file(self) -> str:
        """The name of its file among the benchmarks, after the GPU and when it was looked at."""
        return f"{'-'.join(self.gpu.lower().split())}-{self.started.replace(':', '').replace('+0000', '')}.json"


def network_name(config: RunConfig) -> str:
    """Return what is trained, for people: network, batch and precision."""
    return f"WRN-{config.depth}-{config.width}, batch {config.batch_size}, {config.precision}"


def run_minutes(configs: Sequence[RunConfig], output_dir: Path, gpu: str) -> float | None:
    """Return the median of the wall times of runs of `paper100` on this GPU, evaluations included, in minutes.

    A run that was one of two at once counts with half of its time. None where there is no such run.
    """
    plain = [config for config in configs if config.preset == "paper100" and not config.given()]
    made = [run.record["provenance"] for run in progress(plain, output_dir) if run.status == "done"]
    times = [one["wall_seconds"] / (one["at_once"] or 1) / 60 for one in made if one["device"] == gpu]
    return statistics.median(times) if times else None


def rungs_table(looked: Looked) -> str:
    """Return the machine and what was seen of each way to train, in Markdown."""
    rows = [
        f"| {rung.name} | {'; '.join(rung.faults) if rung.faults else 'yes'} | {_number(rung.dense_ms)} "
        f"| {_number(rung.sparse_ms)} | {_number(rung.pair_ms)} | {rung.images_per_second(looked.batch):,.0f} "
        f"| {_number(rung.loss_difference, '.2g')} | {_number(rung.memory_mib, ',.0f')} |"
        for rung in looked.rungs
    ]
    seen = {rung.name for rung in looked.rungs}
    rows += [f"| {name} | not looked at {'| ' * 6}|" for name in ladder.RUNGS if name not in seen]
    tflops, tbytes = looked.chip.get("tflops"), looked.chip.get("tb_per_second")
    step_ms = looked.measured().get("sparse_ms")
    share = f", of which a step reaches {1000 * looked.tflop / step_ms / tflops:.0%}" if step_ms and tflops else ""
    moved = ""
    if step_ms and tbytes:
        moved = f", of which norm, ReLU and selection use {3 * looked.gbyte / step_ms / tbytes:.0%} over a step"
        if looked.layers_ms:
            moved += f" and {looked.gbyte / looked.layers_ms / tbytes:.0%} while they select"
    lines = [
        f"{looked.machine}. {looked.network}. The chip itself: {_number(tflops, '.0f')} TFLOP/s in bfloat16 matrix "
        f"products{share}; {_number(tbytes)} TB/s in copies{moved}.",
        "",
        "| way to train | right | ms a step, dense | keep 0.1 | two at keep 0.1 | images/s | loss differs by | MiB |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines)


def expectations(looked: Looked | None = None) -> list[tuple[str, str, str]]:
    """Return what it is, what was measured of the best rung ("" where it was not), and what is expected."""
    measured = looked.measured() if looked else {}
    return [
        (what, _in(unit, measured.get(name)), f"at {'least' if unit == 'images/s' else 'most'} {_in(unit, bound)}")
        for name, (what, bound, unit) in EXPECTED.items()
    ]


def _in(unit: str, value: float | None) -> str:
    return "" if value is None else f"{value:{DIGITS.get(unit, '.2f')}} {unit}".strip()


def describe(looked: Looked, configs: Sequence[RunConfig], output_dir: Path) -> str:
    """Return the report in Markdown: the machine, the rungs, the targets, and how far each run is."""
    best = looked.best
    lines = ["# Report of a rented GPU", "", rungs_table(looked), ""]
    if best:
        lines += [
            f"Chosen: {best.name}, {best.at_once} at once.",
            "",
            "| what | measured | expected |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in expectations(looked)),
            "",
        ]
    lines += [
        "| run | status | training s | images/s | last | best, as reported | clean |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in progress(configs, output_dir):
        made = run.record
        values = [""] * 5
        if made:
            seen, metrics = made["provenance"], made["metrics"]
            values = [f"{seen['training_seconds']:.0f}", f"{seen['images_per_second']:,.0f}"]
            names = ("last_accuracy", "best_accuracy", "clean_accuracy")
            values += [_number(metrics.get(name), ".4f") for name in names]
        lines.append(f"| {run.name} | {run.status} | {' | '.join(values)} |")
    lines += [
        "",
        "What was made: `cat results.tar.* | tar x -C FOLDER`, then `sparsecycle verify FOLDER` and `sparsecycle merge "
        "FOLDER --into data/runs`. A run under way goes on with the same command where FOLDER is its `--output-dir`.",
        "",
        "What was seen of this machine appears in the book's chapter on cost after `mkdir -p data/benchmarks/gpu && cp "
        f"FOLDER/ladder.json data/benchmarks/gpu/{looked.file}`.",
        "",
    ]
    return "\n".join(lines)


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)
