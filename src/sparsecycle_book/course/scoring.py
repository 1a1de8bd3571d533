"""The score of the course's project: somebody's runs against recorded ones of a method, by the rules of the project."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.runs.records import RunRecord, find_records, load_runs, read_epochs
from sparsecycle.analysis.statistics import paired_difference

# What the project may change; all else stays as the preset has it.
FREE = frozenset(
    {"decay", "floor", "reset_to", "tolerance", "patience", "max_hold", "period_epochs"}
    | {"warmup_periods", "final_dense_periods"}
)
LARGEST_MEAN_BUDGET = 2 / 3  # over the epochs of a run: one that cycles, and not for show


def score(own: Sequence[str | Path], against: str = "loss_gated", recorded: Sequence[str | Path] = ()) -> pd.DataFrame:
    """The gain in test accuracy over the recorded runs of a method, paired by seed: a row a preset, method and variant.

    Args:
        own: folders of runs.
        against: method of the recorded runs, without overrides.
        recorded: their folders, by default `data/runs` of the checkout.

    Columns: preset, method, variant, seeds (pairs), gain, low, high (mean and 95 % interval, fractions), remark.
    A run out of competition has no pair, and the remark says why: it changed a field that is not in `FREE`, saw more
    images than the method as it stands, or trained at a mean budget above `LARGEST_MEAN_BUDGET`. So has one that
    diverged, or whose seed is not recorded.

    Raises:
        InputError: no run in the folders that was evaluated on test images, or none recorded of that method.
    """
    runs, rivals = _judged(load_runs(*own)), _judged(load_runs(*recorded))
    rivals = rivals[(rivals["method"] == against) & (rivals["variant"] == "")]
    if runs.empty or rivals.empty:
        raise InputError(
            f"nothing to score: {len(runs)} runs of yours and {len(rivals)} recorded ones of method {against!r} were "
            "evaluated on test images, but there must be some of both"
        )
    remarks = {record.identity: _against_the_rules(record, path, against) for path, record, _ in find_records(*own)}
    rows = []
    for (preset, method, variant), group in runs.groupby(["preset", "method", "variant"], sort=False):
        others = rivals[rivals["preset"] == preset]
        broken = group["identity"].map(remarks)
        rows.append(
            {"preset": preset, "method": method, "variant": variant}
            | _gain(group[broken == ""], others)
            | {"remark": next(filter(None, broken), "")}
        )
    return pd.DataFrame(rows)


def _judged(runs: pd.DataFrame) -> pd.DataFrame:
    return runs if runs.empty else runs[runs["evaluated_on"] == "test"]


def _against_the_rules(record: RunRecord, folder: Path, against: str) -> str:
    """Why a run is out of competition; nothing where it is not."""
    config = RunConfig(**record.config)
    allowed = RunConfig(preset=config.preset, method=against)
    changed = sorted(set(config.overrides()) - FREE)
    if changed:
        return f"changes {', '.join(changed)}: out of competition"
    if config.steps * config.batch_size > allowed.steps * allowed.batch_size:
        return "more images: out of competition"
    epochs = read_epochs(folder)
    mean = (epochs["keep_ratio"] * epochs["epoch"].diff().fillna(epochs["epoch"])).sum() / epochs["epoch"].iloc[-1]
    if mean > LARGEST_MEAN_BUDGET:
        return f"mean budget {mean:.2f}, above two thirds: out of competition"
    return ""


def _gain(own: pd.DataFrame, rivals: pd.DataFrame) -> dict[str, float]:
    if own.empty or rivals.empty:
        return {"seeds": 0, "gain": float("nan"), "low": float("nan"), "high": float("nan")}
    both = pd.concat([own.assign(method="own"), rivals.assign(method="recorded")])
    found = paired_difference(both, "own", "recorded", "test_accuracy")
    return {"seeds": len(found.pairs), "gain": found.mean, "low": found.low, "high": found.high}
