"""How long runs and studies take: on a CPU and on a GPU, measured as far as anything was, else expected."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from sparsecycle.config import PRESETS, RunConfig
from sparsecycle.runs.folders import run_name
from sparsecycle.runs.rental_report import EXPECTED, Looked, network_name
from sparsecycle_book.benchmarks.record import BenchmarkRecord, gain_of_two
from sparsecycle_book.benchmarks.steps import Step, work

SPARSE = 0.1  # the keep-ratio at which steps of constrained runs are timed


class Time(NamedTuple):
    """How long, and by what: "step measured", for instance."""

    value: float
    found_by: str


def step_milliseconds(record: BenchmarkRecord, config: RunConfig) -> Time:
    """A training step of a run: a dense one for dense training, one at keep-ratio 0.1 for every other method.

    "step measured": of this network and batch. "projected from work": its floating-point operations at the rate that
    the record's own step reaches, which is rough: other widths, batches and precisions reach other rates.
    """
    table = record.table()
    steps = table[table["suite"].isin(["step", "scaling"]) & (table["side"] == "kernels")]
    times = steps.drop_duplicates(["case", "keep_ratio"]).set_index(["case", "keep_ratio"])["median"]
    keep_ratio = 1.0 if config.method == "dense" else SPARSE
    step = Step.of(config)
    if (step.case, keep_ratio) in times.index:
        return Time(float(times[step.case, keep_ratio]), "step measured")
    [limit] = table[(table["suite"] == "limit") & (table["side"] == "work")]["median"]
    return Time(work(step) * float(times[record.step_case(), keep_ratio]) / limit, "projected from work")


def cpu_hours(record: BenchmarkRecord, configs: Sequence[RunConfig]) -> Time:
    """Hours of the training steps of all runs, one after the other; of the sources, the one that is least sure."""
    times = [(config.steps, step_milliseconds(record, config)) for config in configs]
    sources = sorted({time.found_by for _, time in times}, key=["step measured", "projected from work"].index)
    return Time(sum(steps * time.value for steps, time in times) / 3.6e6, sources[-1])


def gpu_minutes(
    config: RunConfig,
    runs: pd.DataFrame,
    rentals: Sequence[Looked],
    records: Sequence[BenchmarkRecord],
    *,
    together: bool = False,
) -> Time:
    """Minutes of the training steps of a run on a GPU, by the first of these that there is.

    Recorded runs of this network on a GPU; steps that a rental measured; those of a benchmark; what is expected.

    Args:
        together: of two runs at once, half of the time of both.
    """
    images = config.steps * config.batch_size
    recorded = gpu_runs(runs, config)
    if len(recorded):
        rate = float((recorded["images_per_second"] * recorded["at_once"].fillna(1)).median())  # of the whole GPU
        devices = ", ".join(sorted(set(recorded["device"])))
        return Time(images / rate / 60, f"recorded runs on {devices}")
    for looked in rentals:
        best = looked.best
        if best and looked.network == network_name(config) and best.sparse_ms and best.dense_ms:
            alone = best.dense_ms if config.method == "dense" else best.sparse_ms
            milliseconds = best.pair_ms / 2 if together and best.pair_ms and best.at_once == 2 else alone
            return Time(config.steps * milliseconds / 60_000, f"steps measured on {looked.gpu}")
    for record in records:
        time = step_milliseconds(record, config)
        if record.environment["device"] != "cpu" and time.found_by == "step measured":
            return Time(config.steps * time.value / 60_000, f"steps measured on {record.device}")
    if Step.of(config) == Step.of_preset("paper"):
        rate = EXPECTED["images_per_second_of_two" if together else "images_per_second"][1]
        return Time(images / rate / 60, "expected")
    return Time(math.nan, "not measured")


def gpu_runs(runs: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Recorded runs on a GPU of the network and batch of a configuration, of its method where there are any."""
    same = [preset for preset in PRESETS if Step.of_preset(preset) == Step.of(config)]
    found = runs[(runs["device"] != "cpu") & runs["preset"].isin(same) & (runs["variant"] == "")]
    own = found[found["method"] == config.method]
    return own if len(own) else found


def costs_table(
    studies: Mapping[str, Sequence[RunConfig]],
    runs: pd.DataFrame,
    rentals: Sequence[Looked],
    records: Sequence[BenchmarkRecord],
) -> pd.DataFrame:
    """Markdown cells, a row a study: runs, hours on the first record's CPU, one and two at once, minutes on a GPU.

    Args:
        studies: configurations of the runs of each, by what the row is called.
    """
    gain = gain_of_two(records[0])
    rows = []
    for name, configs in studies.items():
        hours, several = cpu_hours(records[0], configs), len(configs) > 1
        there = [gpu_minutes(config, runs, rentals, records, together=several) for config in configs]
        done = runs[runs["run"].isin([run_name(config) for config in configs])]
        took = f", {done['wall_seconds'].sum() / 3600:.1f} hours" if len(done) else ""
        rows.append(
            {
                "what": name,
                "runs": len(configs),
                "CPU hours": _amount(hours.value),
                "two at once": _amount(hours.value / gain) if several else "",
                "CPU hours from": hours.found_by,
                "GPU minutes": _amount(sum(time.value for time in there)),
                "GPU minutes from": "; ".join(sorted({time.found_by for time in there})),
                "recorded": f"{len(done)} of {len(configs)}{took}",
            }
        )
    table = pd.DataFrame(rows)
    return table.drop(columns="two at once") if math.isnan(gain) else table


def _amount(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
