"""How long an epoch and a whole run take: measured where there are runs, projected from a step where there are none."""

from typing import Any

import pandas as pd

from sparsecycle.config import PRESETS, RunConfig
from sparsecycle_book.benchmarks.record import BenchmarkRecord
from sparsecycle_book.benchmarks.steps import Step, work


def run_times(record: BenchmarkRecord, runs: pd.DataFrame) -> pd.DataFrame:
    """A row a preset: steps, milliseconds a step, seconds an epoch, minutes of training, and how they were found.

    "step measured": steps times the measured time of a dense step of this network and batch. "projected from work": the
    same with a step's floating-point operations at the rate that the measured step reaches: rough, since small networks
    reach less of a GPU, and other precisions another rate. "recorded minutes" is the median training time of the
    recorded dense runs on a device of the record's name.

    Args:
        runs: rows of `load_runs`.
    """
    table = record.table()
    dense = table[
        table["suite"].isin(["step", "scaling"]) & (table["side"] == "kernels") & (table["keep_ratio"] == 1.0)
    ]
    step_time = dense.set_index("case")["median"]
    [operations] = table.loc[(table["suite"] == "limit") & (table["side"] == "work"), "median"]
    rate = operations / step_time[record.step_case()]  # 10^9 operations a millisecond
    rows = []
    for preset in PRESETS:
        config, step = RunConfig(preset=preset, method="dense"), Step.of_preset(preset)
        measured = step.case in step_time.index
        milliseconds = float(step_time[step.case]) if measured else work(step) / rate
        own = runs[(runs["preset"] == preset) & (runs["method"] == "dense")]
        minutes = own[_same_device(own, record)]["training_seconds"] / 60 if len(own) else pd.Series(dtype=float)
        rows.append(
            {
                "preset": preset,
                "network": step.case,
                "steps": config.steps,
                "ms a step": milliseconds,
                "s an epoch": milliseconds * config.steps_per_epoch / 1000,
                "minutes": milliseconds * config.steps / 60_000,
                "found by": "step measured" if measured else "projected from work",
                "recorded runs": len(minutes),
                "recorded minutes": minutes.median(),
            }
        )
    return pd.DataFrame(rows)


def _same_device(runs: pd.DataFrame, record: BenchmarkRecord) -> Any:
    made = record.environment
    if made["device"] != "cpu":
        return runs["device"] == made["device"]
    return (runs["device"] == "cpu") & (runs["cpu"] == made["cpu"]) & (runs["threads"] == made["threads"])
