"""What each choice of the companion study changes, over its datasets: one choice varied, everything else as it was."""

import math

import pandas as pd

from sparsecycle.analysis.statistics import holm
from sparsecycle.set_mlp.claims import SetClaim, compare_over_datasets, diverged_on
from sparsecycle.set_mlp.config import METHODS


def set_ablation_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each method and variant that has runs on any dataset.

    A dataset counts with the seeds that the variant and the method as it stands both have. The test accuracy of a run
    that diverged is zero, see `by_dataset`: where runs diverged, a change says first of all how many. So there is a
    second one, over the datasets on which none did.

    Args:
        runs: of `load_set_runs`.

    Columns: method, variant, change, low, high (of the test accuracy against the method as it stands: mean over
    datasets, fractions, 95 % interval), p_value (Wilcoxon), p_holm (over all rows), datasets, left_out (datasets
    without such a seed), diverged and diverged_as_it_stands (runs), change_stable, low_stable, high_stable and stable
    (the change over those datasets on which neither diverged, and their number), neurons_left (share) and parameters
    (as a factor of those as it stands; median over datasets).
    """
    rows = []
    for method in METHODS:
        own = runs[runs["method"] == method]
        plain = own[own["variant"] == ""]
        for variant in sorted(set(own["variant"]) - {""}):
            varied = own[own["variant"] == variant]
            as_it_stands = plain.merge(varied[["dataset", "seed"]])
            both = pd.concat([as_it_stands, varied])
            both = both.assign(method=both["variant"])
            claim = SetClaim("", "one choice varied", variant, "", "test_accuracy")
            comparison, p_value = compare_over_datasets(both, claim)
            stable, _ = compare_over_datasets(both[~both["dataset"].isin(diverged_on(both, "", variant))], claim)
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
                    "diverged_as_it_stands": int((as_it_stands["status"] == "diverged").sum()),
                    "change_stable": stable.mean,
                    "low_stable": stable.low,
                    "high_stable": stable.high,
                    "stable": len(stable.pairs),
                    "neurons_left": complete["neurons_left"].mean() if len(complete) else math.nan,
                    "parameters": (size[variant] / size[""]).median() if "" in size else math.nan,
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"].tolist())) if rows else table
