"""Whether training in bfloat16 on a CPU is as accurate as in float32, from runs on held-out training images."""

from pathlib import Path

import numpy as np
import pandas as pd

from sparsecycle.analysis.selection import varied, why_left_out
from sparsecycle.analysis.statistics import paired_difference
from sparsecycle.analysis.verdicts import MARGIN, control_verdict
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_runs
from sparsecycle_book.report.answers import counted

FOLDER = CHECKOUT / "data" / "precision"
UNDECIDED = "is neither shown to be as accurate as in float32 nor to differ"
VERDICTS = {
    "equivalent": "is as accurate as in float32, to within {margin:g} points",
    "better": "is more accurate than in float32",
    "worse": "is less accurate than in float32",
}


def precision_runs(folder: Path = FOLDER) -> pd.DataFrame:
    """Return the runs of the comparison that count, with the column "precision"."""
    runs = load_runs(folder)
    runs = runs[why_left_out(runs.assign(evaluated_on="test"), variants=True) == ""]
    return runs.assign(precision=[varied(one).get("precision", "float32") for one in runs["variant"]])


def accuracy_sentences(runs: pd.DataFrame) -> str:
    """Return what bfloat16 changes in the accuracy on held-out images after the last epoch, for each method.

    Args:
        runs: of `precision_runs`.
    """
    told, verdicts = [], []
    for method, words in (("dense", "Dense training"), ("accuracy_gated", "Training by the published rule")):
        own = runs[runs["method"] == method]
        one = paired_difference(own, "bfloat16", "float32", "last_accuracy", by="precision")
        verdicts.append(control_verdict(one))
        verdict = VERDICTS.get(verdicts[-1], UNDECIDED)
        mean, low, high = (100 * value for value in (one.mean, one.low_90, one.high_90))
        interval = f", 90 % interval {low:+z.2f} to {high:+z.2f}" if np.isfinite(low) else ""
        learned = own.groupby("precision")["train_accuracy"].agg(["min", "max"])
        half, single = (f"{learned['min'][name]:.2f} to {learned['max'][name]:.2f}" for name in ("bfloat16", "float32"))
        told.append(
            f"{words} in bfloat16 {verdict.format(margin=100 * MARGIN)} ({mean:+z.2f} points{interval}, "
            f"{counted(len(one.pairs), 'pair')}; training accuracy ends at {half} in bfloat16 and {single} in float32)."
        )
    if not {"equivalent", "better"}.issuperset(verdicts):
        told.append("So the presets of the small network use float32.")
    return " ".join(told)
