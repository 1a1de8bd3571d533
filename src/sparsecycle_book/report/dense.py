"""Sentences of the page on dense training: how close the verdict is, and what fewer pairs or more looks would say."""

from itertools import pairwise

import pandas as pd

from sparsecycle.analysis.placebo import placebo
from sparsecycle.analysis.verdicts import FEWEST_PAIRS, MARGIN, NOT_JUDGED, PAPER_EFFECT
from sparsecycle.runs.metrics import ACTIVE
from sparsecycle_book.report.answers import amount, counted, listed_words, percent
from sparsecycle_book.report.pilot import ACCURACY


def close_sentence(table: pd.DataFrame) -> str:
    """How far C1 is from *no effect*, where it is undecided."""
    rows = table[(table["claim"] == "C1") & (table["rule"] == "gain")].to_dict("records")
    if rows[0]["verdict"] != "undecided":
        return ""
    reported, clean = (f"{100 * row['low_90']:+z.3f} to {100 * row['high_90']:+z.3f}" for row in rows)
    return (
        f"*No effect* would need both 90 % intervals of the published rule's gain to lie inside ±{100 * MARGIN:g} "
        f"points. They are {reported} points as reported and {clean} points in clean accuracy."
    )


def single_pair_sentence(pairs: pd.DataFrame) -> str:
    """What one pair alone, as in the paper, could have shown."""
    gains = pairs["difference"]
    return (
        f"**As reported, a single pair shows anything from {100 * gains.min():+z.2f} to {100 * gains.max():+z.2f} "
        f"points.** The gain is negative in {(gains < 0).sum()} of {counted(len(pairs), 'pair')}, and at least as "
        f"large as the smaller of the paper's gains, {100 * PAPER_EFFECT:.2f} points, in "
        f"{(gains >= PAPER_EFFECT).sum()}."
    )


def first_pairs_sentence(pairs: pd.DataFrame) -> str:
    """The verdict that the fewest pairs that are judged would have given, and what became of it."""
    verdicts = pairs.loc[pairs["verdict"] != NOT_JUDGED, "verdict"].tolist()
    told = f"With the first {counted(FEWEST_PAIRS, 'pair')}, the verdict would have been *{verdicts[0]}*."
    changes = [later for earlier, later in pairwise(verdicts) if later != earlier]
    if not changes:
        return f"{told} More pairs did not change it."
    words = listed_words([f"*{one}*" for one in dict.fromkeys(changes)])
    now = f", and it is now *{verdicts[-1]}*" if len(changes) > 1 else ""
    return f"{told} With more pairs it changed {counted(len(changes), 'time')}, to {words}{now}."


def best_epochs(epochs: pd.DataFrame) -> pd.DataFrame:
    """The row of each run's best test accuracy at keep-ratio 1, the first of equal ones."""
    looked = epochs.dropna(subset="test_accuracy")
    return looked.loc[looked.groupby("run")["test_accuracy"].idxmax()]


def same_best(best: pd.DataFrame) -> str:
    """In how many pairs of `best_epochs` both runs have the same best accuracy, and why; nothing where in none."""
    dense, gated = (best[best["method"] == method] for method in ("dense", "accuracy_gated"))
    pairs = dense.merge(gated, on="seed", suffixes=("", "_gated"))
    same = pairs[pairs["test_accuracy"] == pairs["test_accuracy_gated"]]
    if same.empty:
        return ""
    shared = int(((same["epoch"] == same["epoch_gated"]) & (same["train_loss"] == same["train_loss_gated"])).sum())
    chance = f"in {len(same) - shared} by chance"
    still = f"in {shared} because the constraint had removed nothing until then and the runs were the same bit for bit"
    told = chance if not shared else still if shared == len(same) else f"{still}, and {chance}"
    return f"In {len(same)} of {counted(len(pairs), 'pair')} the best accuracy is the same in both runs: {told}."


def best_epoch_sentence(best: pd.DataFrame) -> str:
    """When in the runs of `best_epochs` test accuracy is best, for dense training and the published rule."""
    dense, gated = (best.loc[best["method"] == method, "epoch"] for method in ("dense", "accuracy_gated"))
    idle = ((best["method"] == "accuracy_gated") & (best["keep_ratio"] >= ACTIVE)).sum()
    later = (gated > dense.max()).sum()
    lead = "**Dense training is at its best early, the published rule mostly late.** " if 2 * later > len(gated) else ""
    return (
        f"{lead}The best test accuracy comes after epoch {dense.median():.0f} in dense training and after epoch "
        f"{gated.median():.0f} under the published rule, in the median of {len(dense)} and {len(gated)} runs. Under "
        f"the rule it comes later than in every dense run in {later} of {len(gated)} runs, and not later than in the "
        f"median dense run in {(gated <= dense.median()).sum()}. In {idle} of {len(gated)} runs of the rule it comes "
        f"at a keep-ratio of {ACTIVE:g} or more, where the constraint removes almost nothing. The plan names no test "
        "for this, so it is exploratory."
    )


def unlearned_sentence(runs: pd.DataFrame) -> str:
    """Which runs ended with a training accuracy below what the pilot asked for; nothing where all reached it."""
    told = []
    for method, group in runs.groupby("method", sort=False):
        low = group[group["train_accuracy"] < ACCURACY]["train_accuracy"]
        if len(low):
            lowest = "" if len(low) == 1 else "the lowest: "
            told.append(f"{len(low)} of {len(group)} runs of `{method}` ({lowest}{percent(low.min())})")
    if not told:
        return ""
    below = f"Training accuracy ends below {percent(ACCURACY)} in {listed_words(told)}."
    return f"{below} Such runs count with what they scored."


def placebo_sentence(table: pd.DataFrame) -> str:
    """What dense training gains over itself by four times as many test evaluations; `table` of `best_by_looks`."""
    own = table.groupby(["method", "seed"])["looks"].transform("max")
    table = table[own == own.max()]  # a run that diverged has fewer
    more = table["looks"].max()
    fewer = more // 4
    one = placebo(table, "dense", more, fewer)
    gain = amount(vars(one) | {"pairs": len(one.pairs)}).replace("pairs", "runs")
    return (
        f"By frequent evaluation alone, dense training gains {gain} as reported: in each run, the best of {more} test "
        f"evaluations is compared with the best of {fewer} of them. Compared with runs of other seeds, as the plan "
        "says, the mean is the same and the scatter larger."
    )
