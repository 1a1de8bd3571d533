"""What each choice of the companion study changes, over its datasets: one choice varied, everything else as it was."""

import math

import pandas as pd

from sparsecycle.set_mlp.claims import SetClaim, compare_over_datasets
from sparsecycle.set_mlp.config import METHODS
from sparsecycle.statistics import holm


def set_ablation_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each method and variant that has runs on any dataset.

    A dataset counts with the seeds that the variant and the method as it stands both have; see `by_dataset` for runs
    that diverged.

    Args:
        runs: of `load_set_runs`.

    Columns: method, variant, change, low, high (of the test accuracy against the method as it stands: mean over
    datasets, fractions, 95 % interval), p_value (Wilcoxon), p_holm (over all rows), datasets, left_out (datasets
    without such a seed), diverged (runs), neurons_left (share) and parameters (as a factor of those as it stands;
    median over datasets).
    """
    rows = []
    for method in METHODS:
        own = runs[runs["method"] == method]
        plain = own[own["variant"] == ""]
        for variant in sorted(set(own["variant"]) - {""}):
            varied = own[own["variant"] == variant]
            both = pd.concat([plain[plain["dataset"].isin(varied["dataset"])], varied])
            claim = SetClaim("", "one choice varied", variant, "", "test_accuracy")
            comparison, p_value = compare_over_datasets(both.assign(method=both["variant"]), claim)
            size = both.groupby(["dataset", "variant"])["parameters"].mean().unstack()
            complete = varied[varied["status"] == "complete"]
            rows.append(
                {
                    "method": method,
                    "variant": variant,
                    "change": comparison.mean,
                    "low": comparison.low,
                    "high": comparison.high,
                    "p_value": p_value,
                    "datasets": len(comparison.pairs),
                    "left_out": len(comparison.excluded),
                    "diverged": int((varied["status"] == "diverged").sum()),
                    "neurons_left": complete["neurons_left"].mean() if len(complete) else math.nan,
                    "parameters": (size[variant] / size[""]).median() if "" in size else math.nan,
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist())) if rows else table
