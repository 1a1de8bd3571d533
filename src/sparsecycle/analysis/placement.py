"""Where somebody's runs fall among the recorded ones of the same configuration."""

import pandas as pd

from sparsecycle.analysis.selection import complete

COLUMNS = ("run", "clean_accuracy", "recorded", "lowest", "mean", "highest", "below", "less_same_seed")


def placement(own: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each finished run of `own` that has recorded twins: runs of its preset, method and overrides.

    Both are frames of `load_runs`. Another machine rounds differently and training amplifies it, so that a run of the
    same seed differs by about as much as one of another seed: the range of the recorded seeds is what to expect.

    Columns: run; clean_accuracy; recorded (how many other runs); lowest, mean and highest clean accuracy of these;
    below (how many of these lie below the run); less_same_seed, the run's accuracy less that of the recorded run of its
    seed (NaN without one).
    """
    rows = []
    kind = ["preset", "method", "variant"]
    for run in _with_accuracy(own).to_dict("records"):
        twins = _with_accuracy(recorded)
        for name in kind if len(twins) else ():
            twins = twins[twins[name] == run[name]]
        if len(twins):
            itself = (twins["identity"] == run["identity"]) & (twins["started"] == run["started"])
            twins = twins[~itself]
        if twins.empty:
            continue
        values, accuracy = twins["clean_accuracy"], run["clean_accuracy"]
        same = twins[twins["seed"] == run["seed"]]["clean_accuracy"]
        rows.append(
            {
                "run": run["run"],
                "clean_accuracy": accuracy,
                "recorded": len(twins),
                "lowest": values.min(),
                "mean": values.mean(),
                "highest": values.max(),
                "below": int((values < accuracy).sum()),
                "less_same_seed": accuracy - same.iloc[0] if len(same) else float("nan"),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _with_accuracy(runs: pd.DataFrame) -> pd.DataFrame:
    return runs if runs.empty else complete(runs[runs["evaluated_on"] == "test"])
