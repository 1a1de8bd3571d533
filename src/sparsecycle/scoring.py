"""The score of the course's project: somebody's runs against recorded ones of a method, at no more training images."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.records import find_records, load_runs
from sparsecycle.statistics import paired_difference

MORE = "more images or a larger network: out of competition"


def score(own: Sequence[str | Path], against: str = "loss_gated", recorded: Sequence[str | Path] = ()) -> pd.DataFrame:
    """The gain in test accuracy over the recorded runs of a method, paired by seed: a row a preset, method and variant.

    Args:
        own: folders of runs.
        against: method of the recorded runs, without overrides.
        recorded: their folders, by default `data/runs` of the checkout.

    Columns: preset, method, variant, seeds (pairs), gain, low, high (mean and 95 % interval, fractions), remark.
    A run that trained on more images, or a network with more parameters, than that of the method as it stands is out of
    competition: its row has no pair. So is one that diverged, or whose seed is not recorded.

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
    images = _images_seen(*own)
    rows = []
    for (preset, method, variant), group in runs.groupby(["preset", "method", "variant"], sort=False):
        others = rivals[rivals["preset"] == preset]
        allowed = RunConfig(preset=preset, method=against)
        seen = allowed.steps * allowed.batch_size
        dear = group["identity"].map(images) > seen
        if len(others):
            dear |= group["parameters"] > others["parameters"].max()
        rows.append(
            {"preset": preset, "method": method, "variant": variant}
            | _gain(group[~dear], others)
            | {"remark": MORE if dear.any() else ""}
        )
    return pd.DataFrame(rows)


def _judged(runs: pd.DataFrame) -> pd.DataFrame:
    return runs if runs.empty else runs[runs["evaluated_on"] == "test"]


def _images_seen(*folders: str | Path) -> dict[str, int]:
    """By identity, on how many images a run trained, each counted as often as it was seen."""
    seen = {}
    for _, record, _ in find_records(*folders):
        config = RunConfig(**record.config)
        seen[record.identity] = config.steps * config.batch_size
    return seen


def _gain(own: pd.DataFrame, rivals: pd.DataFrame) -> dict[str, float]:
    if own.empty or rivals.empty:
        return {"seeds": 0, "gain": float("nan"), "low": float("nan"), "high": float("nan")}
    both = pd.concat([own.assign(method="own"), rivals.assign(method="recorded")])
    found = paired_difference(both, "own", "recorded", "test_accuracy")
    return {"seeds": len(found.pairs), "gain": found.mean, "low": found.low, "high": found.high}
