"""How results change with our choices: dense training with ordinary regularization, and one choice at a time."""

import math
from collections.abc import Mapping

import pandas as pd

from sparsecycle.analysis.selection import arms, varied
from sparsecycle.analysis.verdicts import CLEAN, FEWEST_PAIRS, compare_arms
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_runs, variant_of
from sparsecycle_book.report.answers import (
    amount,
    counted,
    gains_told,
    listed_words,
    on_shared_seeds,
    percent,
    unlearned,
)
from sparsecycle_book.report.dense import best_epochs
from sparsecycle_book.report.pilot import ACCURACY
from sparsecycle_book.report.plan import studies

NOT_RUN = "These runs are planned but not made yet."
PUBLISHED = "accuracy_gated"
HALF, TWICE, NEVER = (f"{PUBLISHED} tolerance={value}" for value in (0.06, 0.24, 1.0))
TOLERANCES = dict.fromkeys((HALF, PUBLISHED, TWICE, NEVER), "dense")
"""Arms with other tolerances, and what they are compared with; at 1 the rule never resets."""
OTHERS = {"gentle": "the default arguments of the script's controller", "wider": "a network of twice the width"}
"""Studies of the published rule with something else changed, and what that is."""
CHANGES = {
    "norm_bias=false": "a norm without bias",
    "norm_eps=1e-05": "`norm_eps` 1e-5 instead of 1e-8",
    "rounding=up": "the number of kept activations rounded up",
    "scope=batch": "one budget for a whole batch",
    "scope=channel": "a budget for each channel",
    "shortcut=activated": "shortcuts from the activated input",
    "weight_decay=0.0005": "weight decay 0.0005",
}
"""What the study `ablations` changes, in words."""
REGULARIZED = {
    "dense, tuned": "dense",
    "accuracy_gated": "dense, tuned",
    "accuracy_gated with dropout": "dense with dropout",
}
"""What shows whether the published rule does more than plain regularization: treatments and their baselines."""
TUNING = CHECKOUT / "data" / "search" / "classroom"
SEARCHED = ("dropout", "weight_decay", "epochs")


def changed_arms(study: str) -> dict[str, str]:
    """Which arms of a study of the published rule under some change are compared with which.

    A change of the network or the recipe is made on both sides; one of the rule itself has no other side.
    """
    made = {(config.method, variant_of({}, config.overrides())) for config in studies().configurations(study)}
    changes = sorted({change for method, change in made if method == "accuracy_gated"})
    return {
        f"accuracy_gated {change}": f"dense {change}" if ("dense", change) in made else "dense" for change in changes
    }


def others_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """A row for each of `OTHERS` with a recorded pair: what is changed, and the gain with its interval and pairs."""
    treatments = {arm: baseline for study in OTHERS for arm, baseline in changed_arms(study).items()}
    words = {arm: change for study, change in OTHERS.items() for arm in changed_arms(study)}
    return gains_table(compare_arms(runs, preset, treatments), words, runs)


def same_runs_sentence(runs: pd.DataFrame, preset: str) -> str:
    """In how many pairs of `OTHERS` the two runs are the same, and whether training was lost there without the rule."""
    told, every = [], arms(runs, preset)
    for study, change in OTHERS.items():
        for arm, baseline in changed_arms(study).items():
            both = every[every["arm"] == arm].merge(every[every["arm"] == baseline], on="seed", suffixes=("", "_base"))
            same = both[(both["train_loss"] == both["train_loss_base"]) & (both["test_loss"] == both["test_loss_base"])]
            if same.empty:
                continue
            told.append(
                f"In {len(same)} of {counted(len(both), 'pair')} with {change}, the two runs end with the same "
                "numbers: nothing that the rule removed was above zero."
            )
            lost = same[same["train_accuracy"] < ACCURACY]
            if len(lost):
                where = "There" if len(lost) == len(same) else f"In {len(lost)} of these"
                told.append(
                    f"{where}, training lost by itself what it had learned: its training accuracy ends at "
                    f"{percent(lost['train_accuracy'].max())}{' at most' if len(lost) > 1 else ''}. The rule resets "
                    "whenever the average lies too far below its best, so from then on it can hardly compress."
                )
    return " ".join(told)


def on_tolerance_seeds(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """The runs of the seeds that all recorded tolerances and dense training have; `runs` as of `load_runs`."""
    return on_shared_seeds(runs, preset, ("dense", *TOLERANCES))


def tolerance_table(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """A row for each tolerance that has a pair, of `on_tolerance_seeds`: its gains as text, and how training ended."""
    table = gains_told(runs, preset, TOLERANCES, {"clean": CLEAN, "last": "last_accuracy"})
    beside = dict.fromkeys([name for name in TOLERANCES if name != PUBLISHED], PUBLISHED)
    over = gains_told(runs, preset, beside, {"told": CLEAN})
    table["clean, over the published one"] = over["told"] if len(over) else ""
    training = arms(runs, preset).groupby("arm")["train_accuracy"].mean()[table.index].map("{:.3f}".format)
    return table.assign(training=training, **{f"below {percent(ACCURACY)}": unlearned(runs, preset, table.index)})


def tolerance_sentence(runs: pd.DataFrame, preset: str) -> str:
    """What becomes of training without resets, and what other tolerances change; of `on_tolerance_seeds`."""
    last = compare_arms(runs, preset, {NEVER: "dense"}, "last_accuracy")
    told = []
    if len(last) and last["pairs"][0] >= FEWEST_PAIRS and last["high"][0] < 0:
        [row], counted = last.to_dict("records"), arms(runs, preset)
        ends = counted.loc[counted["arm"] == NEVER, "last_accuracy"].mean()
        told.append(
            f"**Without resets, training does not survive the compression.** Last test accuracy is {percent(ends)} on "
            f"average, a difference of {amount(row)} from dense training: nothing stops the compression. So the rule "
            "needs its resets, but this does not show that they raise accuracy."
        )
    half, twice = (compare_arms(runs, preset, {name: PUBLISHED}) for name in (HALF, TWICE))
    if any(one.empty or one["pairs"][0] < FEWEST_PAIRS for one in (half, twice)):
        return " ".join([*told, "We do not know yet what other tolerances change."])
    rows = [one.to_dict("records")[0] for one in (half, twice)]
    differences = [
        f"{word} the tolerance gains {amount(row)}" for word, row in zip(("half", "twice"), rows, strict=True)
    ]
    unclear = all(row["low"] < 0 < row["high"] for row in rows)
    check = " So the plan's third check shows neither a flat gain nor a trend." if unclear else ""
    return " ".join([*told, f"Over the published tolerance, {listed_words(differences)} in clean accuracy.{check}"])


def early_best_sentence(runs: pd.DataFrame, epochs: pd.DataFrame, preset: str) -> str:
    """Why clean accuracy does not show that training without resets is lost, if it chooses an epoch before that."""
    never = arms(runs, preset)[lambda every: every["arm"] == NEVER]
    own = epochs[epochs["run"].isin(never["run"])]
    best = best_epochs(own)
    if never.empty or best["epoch"].max() > own["epoch"].max() / 2:
        return ""
    return (
        "Clean accuracy, which the figure shows, hides that training is lost without resets, because it chooses an "
        f"early epoch: the best test accuracy of these runs comes by epoch {best['epoch'].max():.0f} of "
        f"{own['epoch'].max():.0f}, at a keep-ratio of {math.floor(100 * best['keep_ratio'].min()) / 100:.2f} or "
        "more."
    )


def gains_table(compared: pd.DataFrame, words: Mapping[str, str], runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each treatment, in words, with what it gains, and what the unchanged rule gains on the same seeds."""
    rows = compared.to_dict("records")
    names = [words[row["treatment"]] for row in rows]
    unchanged = []
    for row in rows:
        same = compare_arms(runs[runs["seed"].isin(row["seeds"])], row["preset"], {PUBLISHED: "dense"})
        unchanged += [amount(one) for one in same.to_dict("records")] or [""]
    return pd.DataFrame({"changed": names, "gain": [amount(row) for row in rows], "unchanged, same seeds": unchanged})


def dropout_sentence(compared: pd.DataFrame) -> str:
    """What dropout alone gains in `compare_arms` with `REGULARIZED`; nothing where there is no pair."""
    found = [row for row in compared.to_dict("records") if row["baseline"] == "dense"]
    return "".join(f"Dropout alone gains {amount(row)} over dense training without it." for row in found)


def tuning_table() -> pd.DataFrame:
    """A row for each setting of dense training that was searched, the best first: accuracies as text."""
    runs = load_runs(TUNING)
    settings = []
    for given in runs["variant"].map(varied):
        changes = ", ".join(f"{name} {given[name]}" for name in SEARCHED if name in given)
        settings.append(changes.replace("_", " ") or "none")
    means = runs.assign(setting=settings).groupby("setting")[["clean_accuracy", "last_accuracy", "train_accuracy"]]
    table = means.mean().assign(seeds=means.size()).sort_values("clean_accuracy", ascending=False).reset_index()
    words = {"clean_accuracy": "clean, held out", "last_accuracy": "last, held out", "train_accuracy": "training"}
    return table.assign(**{name: table[name].map("{:.4f}".format) for name in words}).rename(columns=words)


def tuning_sentence() -> str:
    """Which setting is best on the held-out images."""
    table = tuning_table()
    best = table.iloc[0]
    most = max(table["setting"][table["setting"].str.startswith("dropout ")], default="")
    end = " It is the most dropout that was tried, so still more may be better." if best["setting"] == most else ""
    return (
        f"The best of {len(table)} settings is *{best['setting']}*, with an accuracy of {best['clean, held out']} "
        f"on the held-out images.{end}"
    )
