"""The score of the course's project: somebody's runs against recorded ones of the published rule.

`python -m sparsecycle_book.course.scoring FOLDER` prints it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sparsecycle.analysis.statistics import paired_difference
from sparsecycle.config import CONTROLLER_FIELDS, RunConfig
from sparsecycle.errors import InputError
from sparsecycle.runs.records import RunRecord, find_records, load_runs

RIVAL = "accuracy_gated"
MEASURE = "clean_accuracy"
LARGEST_MEAN_KEEP_RATIO = 2 / 3  # geometric, over the steps of a run: one that cycles, and not for show


def score(own: Sequence[str | Path], recorded: Sequence[str | Path] = ()) -> pd.DataFrame:
    """Return the gain in clean accuracy over the recorded runs of the published rule, paired by seed.

    Args:
        own: folders of runs.
        recorded: folders of the rival's runs, by default `data/runs` of the checkout.

    Columns, a row for each preset, method and variant: preset, method, variant, seeds (pairs), gain, low, high (mean
    and 95 % interval, fractions), remark. A run out of competition has no pair, and the remark says why: it changed a
    field that is no parameter of a controller, or its mean keep-ratio is above `LARGEST_MEAN_KEEP_RATIO`. Nor has one
    whose seed is not recorded.

    Raises:
        InputError: no run in the folders that was evaluated on test images, or none recorded of the rival.
    """
    runs, rivals = _judged(load_runs(*own)), _judged(load_runs(*recorded))
    if not rivals.empty:
        rivals = rivals[(rivals["method"] == RIVAL) & (rivals["variant"] == "")]
    if runs.empty or rivals.empty:
        raise InputError(
            f"nothing to score: {len(runs)} runs of yours and {len(rivals)} recorded ones of method {RIVAL!r} were "
            "evaluated on test images, but there must be some of both"
        )
    remarks = {record.identity: _against_the_rules(record) for _, record, _ in find_records(*own)}
    rows = []
    for (preset, method, variant), group in runs.groupby(["preset", "method", "variant"], sort=False):
        broken = group["identity"].map(remarks)
        rows.append(
            {"preset": preset, "method": method, "variant": variant}
            | _gain(group[broken == ""], rivals[rivals["preset"] == preset])
            | {"remark": next(filter(None, broken), "")}
        )
    return pd.DataFrame(rows)


def sentences(scores: pd.DataFrame) -> list[str]:
    """Return a line for each row of `score`."""
    lines = []
    for row in scores.to_dict("records"):
        name = " ".join(filter(None, (row["preset"], row["method"], row["variant"])))
        if row["remark"]:
            lines.append(f"{name}: {row['remark']}")
        elif not row["seeds"]:
            lines.append(f"{name}: no recorded run of {RIVAL} has one of your seeds")
        else:
            gain, low, high = (f"{100 * row[key]:+.1f}" for key in ("gain", "low", "high"))
            interval = f", 95 % interval {low} to {high}" if row["seeds"] > 1 else ""
            lines.append(f"{name}: {gain} points of clean accuracy over {RIVAL} ({row['seeds']} seeds{interval})")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Score runs by the rules of the course's project.")
    parser.add_argument("folders", nargs="+", help="folders of your runs")
    try:
        print("\n".join(sentences(score(parser.parse_args(arguments).folders))))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _judged(runs: pd.DataFrame) -> pd.DataFrame:
    return runs if runs.empty else runs[runs["evaluated_on"] == "test"]


def _against_the_rules(record: RunRecord) -> str:
    """Return why a run is out of competition; "" where it is not."""
    changed = sorted(set(RunConfig(**record.config).overrides()) - CONTROLLER_FIELDS)
    if changed:
        return f"changes {', '.join(changed)}: out of competition"
    mean = record.metrics["mean_keep_ratio"]
    if mean is None or mean > LARGEST_MEAN_KEEP_RATIO:
        return f"mean keep-ratio {mean if mean is None else f'{mean:.2f}'}, above two thirds: out of competition"
    return ""


def _gain(own: pd.DataFrame, rivals: pd.DataFrame) -> dict[str, float]:
    if own.empty or rivals.empty:
        return {"seeds": 0, "gain": float("nan"), "low": float("nan"), "high": float("nan")}
    both = pd.concat([own.assign(method="own"), rivals.assign(method="recorded")])
    found = paired_difference(both, "own", "recorded", MEASURE)
    return {"seeds": len(found.pairs), "gain": found.mean, "low": found.low, "high": found.high}


if __name__ == "__main__":
    sys.exit(main())
