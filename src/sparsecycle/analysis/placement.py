"""Where somebody's runs fall among the recorded ones of the same configuration."""

import pandas as pd

COLUMNS = ("run", "test_accuracy", "recorded", "lowest", "mean", "highest", "place", "less_same_seed")


def placement(own: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """One row for each finished run of `own` that has recorded twins: runs of its preset, method and overrides.

    Both are frames of `load_runs`. Another machine rounds differently and training amplifies it, so that a run of the
    same seed differs by about as much as one of another seed: the range of the recorded seeds is what to expect.

    Columns: run; test_accuracy; recorded (how many seeds); lowest, mean and highest test accuracy of these; place, such
    as "above 7 of 10"; less_same_seed, the run's accuracy less that of the recorded run of its seed (NaN without one).
    """
    rows = []
    kind = ["preset", "method", "variant"]
    for run in _judged(own).to_dict("records"):
        twins = _judged(recorded)
        for name in kind if len(twins) else ():
            twins = twins[twins[name] == run[name]]
        if len(twins):
            itself = (twins["identity"] == run["identity"]) & (twins["started"] == run["started"])
            twins = twins[~itself]
        if twins.empty:
            continue
        values, accuracy = twins["test_accuracy"], run["test_accuracy"]
        same = twins[twins["seed"] == run["seed"]]["test_accuracy"]
        rows.append(
            {
                "run": run["run"],
                "test_accuracy": accuracy,
                "recorded": len(twins),
                "lowest": values.min(),
                "mean": values.mean(),
                "highest": values.max(),
                "place": f"above {int((values < accuracy).sum())} of {len(twins)}",
                "less_same_seed": accuracy - same.iloc[0] if len(same) else float("nan"),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _judged(runs: pd.DataFrame) -> pd.DataFrame:
    return runs if runs.empty else runs[(runs["status"] == "complete") & (runs["evaluated_on"] == "test")]
