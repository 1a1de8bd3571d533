"""The opening sentences of the chapters of results, and their rows of the table of verdicts, from records."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsecycle.analysis.placebo import best_by_looks, counts, placebo
from sparsecycle.analysis.selection import CHANCE
from sparsecycle.analysis.statistics import Comparison, paired_difference
from sparsecycle.analysis.verdicts import (
    CLEAN,
    FEWEST_PAIRS,
    FIRM_PAIRS,
    MARGIN,
    NOT_JUDGED,
    NOT_MEASURED,
    PAPER_EFFECT,
    compare_arms,
    verdict_table,
)
from sparsecycle.config import RunConfig
from sparsecycle.evaluation.accuracy import budget_area
from sparsecycle.runs.metrics import ACTIVE
from sparsecycle_book.display import linked_table
from sparsecycle_book.figures import ARMS_IN_WORDS, MEASURES, resets_of
from sparsecycle_book.finding_figures import DEEP, around_resets
from sparsecycle_book.report.answers import (
    DEMONSTRATIONS,
    amount,
    keep_ratio_controls,
    listed_words,
    pairs_counted,
    percent,
    regularization,
    verdicts_shown,
)
from sparsecycle_book.report.pilot import ACCURACY

SOON = 5  # decisions after a reset in which accuracy is looked at
NOTHING = "We have no runs yet that answer this."
PROPERTIES = {  # verdicts on a property of networks, of which `what` lists measures
    "supported": "{who} improves {what}",
    "contradicted": "{who} worsens {what}",
    "no effect": f"{{who}} changes {{what}} by less than {100 * MARGIN:g} points",
    "undecided": "it is undecided whether {who} changes {what}",
    NOT_JUDGED: "there are too few pairs to judge whether {who} changes {what}",
}
CONTROLS = {  # verdicts on a strategy and its controls, of which `what` is a list
    "better": "{who} beats {what}",
    "worse": "{who} does worse than {what}",
    "equivalent": f"{{who}} does as well as {{what}}, to within {100 * MARGIN:g} points",
    "undecided": "it is undecided whether {who} beats {what}",
    NOT_JUDGED: "there are too few pairs to judge whether {who} beats {what}",
}
NOUNS = {"gap": "the train-test gap", "drop_from_best": "the drop from best"}  # where `MEASURES` says what is better


def finding(table: pd.DataFrame, *claims: str, brief: bool = False) -> str:
    """What was found on these claims: a sentence for each verdict, and the numbers where it is about one comparison.

    Args:
        table: of `verdict_table`.
        claims: of C3 to C6 or C8.
        brief: whether only a difference that was found has its numbers.
    """
    rows = table[table["claim"].isin(claims) & (table["pairs"] > 0)].to_dict("records")
    if not rows:
        return NOTHING
    rows.sort(key=lambda row: list(CONTROLS if row["rule"] == "control" else PROPERTIES).index(row["verdict"]))
    groups: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
    for row in rows:
        sentence = (CONTROLS if row["rule"] == "control" else PROPERTIES)[row["verdict"]]
        groups.setdefault((ARMS_IN_WORDS[row["treatment"]], sentence), []).append(row)
    told = []
    for (who, sentence), found in groups.items():
        one = sentence.format(who=who, what=listed_words([_object(row) for row in found]))
        verdict = found[0]["verdict"]
        numbered = len(found) == 1 and not (brief and verdict in ("equivalent", "no effect", "undecided"))
        word = "difference" if verdict in ("worse", "contradicted") else "gain"
        told.append(f"{one[0].upper()}{one[1:]}{f': a {word} of {amount(found[0])}' if numbered else ''}.")
    told[0] = f"**{told[0]}**"
    few = [row["preliminary"] for row in rows]
    if any(few):
        which = "All of this is" if all(few) else "Verdicts from fewer pairs are"
        reason = "" if brief else f", because a firm verdict takes {FIRM_PAIRS} pairs"
        told.append(f"{which} preliminary{reason}.")
    return " ".join(told)


def margin_sentence(table: pd.DataFrame) -> str:
    """What equivalence with a control leaves open, where the gain to be explained lies inside the margin.

    Args:
        table: of `verdict_table`.
    """
    [row] = table[(table["claim"] == "C1") & (table["measure"] == CLEAN)].to_dict("records")
    if row["pairs"] < FEWEST_PAIRS or not abs(row["mean"]) < MARGIN:
        return ""
    return (
        f"*Equivalent* means that what a control lacks is worth less than {100 * MARGIN:g} points. The published "
        f"rule's own gain over dense training is smaller than that ({100 * row['mean']:+z.2f} points in clean "
        "accuracy), so these tests cannot say where a gain of this size comes from."
    )


def close_sentence(table: pd.DataFrame) -> str:
    """How far C1 is from *no effect*, where it is undecided.

    Args:
        table: of `verdict_table`.
    """
    rows = table[(table["claim"] == "C1") & (table["rule"] == "gain")].to_dict("records")
    if rows[0]["verdict"] != "undecided":
        return ""
    reported, clean = (f"{100 * row['low_90']:+z.3f} to {100 * row['high_90']:+z.3f}" for row in rows)
    return (
        f"*No effect* would need both 90 % intervals of the published rule's gain to lie inside ±{100 * MARGIN:g} "
        f"points. They are {reported} points as reported and {clean} points in clean accuracy."
    )


def small_budgets_sentence(runs: pd.DataFrame, preset: str) -> str:
    """What controls gain over the published rule in mean accuracy over all keep-ratios.

    Args:
        runs: of `load_runs`.
        preset: whose runs are compared.
    """
    compared = compare_arms(runs, preset, dict.fromkeys(("replay", "shuffled"), "accuracy_gated"), "budget_area")
    rows = [row for row in compared.to_dict("records") if row["pairs"] >= FEWEST_PAIRS]
    if not rows:
        return ""
    told = listed_words([f"{ARMS_IN_WORDS[row['treatment']]} gains {amount(row)}" for row in rows])
    over_dense = compare_arms(runs, preset, {row["treatment"]: "dense" for row in rows}, "budget_area")
    better = len(over_dense) == len(rows) and bool((over_dense["low"] > 0).all())
    enough = " Each beats dense training, so it is enough to have met small keep-ratios." if better else ""
    return f"Over the published rule, {told}.{enough} The plan names no test for this, so it is exploratory."


def smallest_sentence(runs: pd.DataFrame) -> str:
    """Which accuracy the networks of the published rule have left at the two smallest keep-ratios.

    Args:
        runs: rows of `load_runs` of one preset.
    """
    gated = runs[runs["method"] == "accuracy_gated"] if len(runs) else runs
    columns = [str(name) for name in gated.columns if str(name).startswith("accuracy_at_")][-2:]
    if gated.empty or not columns or gated[columns].isna().any(axis=None):
        return ""
    left = listed_words([f"{percent(gated[name].mean())} at {name.removeprefix('accuracy_at_')}" for name in columns])
    return f"With the published rule, mean accuracy is {left}; guessing reaches {percent(CHANCE)}."


def gap_sentence(runs: pd.DataFrame) -> str:
    """How much of a smaller train-test gap is lower training accuracy; nothing where the gap is not smaller.

    Args:
        runs: rows of `load_runs` of one preset.
    """
    if runs.empty or not {"accuracy_gated", "dense"} <= set(runs["method"]):
        return ""
    gap, train = (
        paired_difference(runs, "accuracy_gated", "dense", measure, larger_is_better=False)
        for measure in ("gap", "train_accuracy")
    )
    if len(gap.pairs) < 2 or min(gap.mean, train.mean) <= 0:
        return ""
    return (
        f"Of the {100 * gap.mean:.2f} points by which the gap is smaller under the published rule, "
        f"{100 * train.mean:.2f} come from lower accuracy on the training images."
    )


def further_findings(runs: pd.DataFrame) -> list[str]:
    """What was found on ordinary regularization, the controls and over all keep-ratios, where that is judged.

    Args:
        runs: of `load_runs`.
    """
    table = verdict_table(runs)
    judged = table[~table["verdict"].isin([NOT_MEASURED, NOT_JUDGED])]
    asked = (regularization(judged), keep_ratio_controls(judged), judged[judged["claim"] == "C3"])
    return [finding(rows, *rows["claim"].unique(), brief=True) for rows in asked if len(rows)]


def _object(row: Mapping[Any, Any]) -> str:
    """What a verdict is about: the control of a strategy, or the measure and whatever else both arms share."""
    if row["rule"] == "control":
        return ARMS_IN_WORDS[row["baseline"]]
    measure, shared = NOUNS.get(row["measure"], MEASURES[row["measure"]]), row["baseline"].partition(", ")[2]
    return f"{measure} with {shared}" if shared else measure


def claims_shown(table: pd.DataFrame, *claims: str) -> linked_table:
    """The claims' rows of the table of verdicts, each claim's number leading to its words in the plan.

    p-values and detectable effects are left to the table of all verdicts.
    """
    rows = verdicts_shown(table[table["claim"].isin(claims)])
    left_out = ["90 % interval", "p (Holm)", "detectable", *([] if "C1" in claims else ["paper"])]
    rows = rows.drop(columns=left_out, errors="ignore")
    return linked_table(rows, dict.fromkeys(claims, "plan.html#claims-and-measures"), wraps=True)


def single_pair_sentence(pairs: pd.DataFrame) -> str:
    """What one pair alone, as in the paper, could have shown.

    Args:
        pairs: of `first_pairs`, with a row at least.
    """
    gains = pairs["difference"]
    return (
        f"**As reported, a single pair shows anything from {100 * gains.min():+z.2f} to {100 * gains.max():+z.2f} "
        f"points.** The gain is negative in {(gains < 0).sum()} of {pairs_counted(len(pairs))}, and at least as large "
        f"as the smaller of the paper's gains, {100 * PAPER_EFFECT:.2f} points, in {(gains >= PAPER_EFFECT).sum()}."
    )


def first_pairs_sentence(pairs: pd.DataFrame) -> str:
    """The verdict that the fewest pairs that are judged would have given, and what became of it.

    Args:
        pairs: of `first_pairs`, with enough rows for a verdict.
    """
    verdicts = pairs.loc[pairs["verdict"] != NOT_JUDGED, "verdict"].tolist()
    told = f"With the first {pairs_counted(FEWEST_PAIRS)}, the verdict would have been *{verdicts[0]}*."
    changes = [later for earlier, later in pairwise(verdicts) if later != earlier]
    if not changes:
        return f"{told} More pairs did not change it."
    times = f"{len(changes)} time{'s' if len(changes) > 1 else ''}"
    words = listed_words([f"*{one}*" for one in dict.fromkeys(changes)])
    return f"{told} With more pairs it changed {times}, to {words}."


def idle_table(groups: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many resets of rules with feedback were idle: a row for each group of runs that has any.

    Args:
        groups: rows of `load_runs` by what they are called.
    """
    rows = []
    for name, runs in groups.items():
        for method in ("accuracy_gated", "epoch_gated"):
            gated = runs[runs["method"] == method] if len(runs) else runs
            resets = int(gated["resets"].sum()) if len(gated) else 0
            if resets:
                idle = int(gated["idle_resets"].sum())
                rows.append({"runs": name, "rule": f"`{method}`", "number of runs": len(gated), "resets": resets})
                rows[-1] |= {"idle": idle, "share": percent(idle / resets)}
    return pd.DataFrame(rows)


def idle_sentence(runs: pd.DataFrame) -> str:
    """How many resets of the published rule came where the constraint removes almost nothing, and what follows.

    Args:
        runs: rows of `load_runs` of one preset.
    """
    gated = runs[(runs["method"] == "accuracy_gated")] if len(runs) else runs
    resets = int(gated["resets"].sum()) if len(gated) else 0
    if not resets:
        return "No run of the published rule with a reset is recorded."
    share = gated["idle_resets"].sum() / resets
    found = "were idle" if share > 0.5 else "came while the constraint removed activations"
    other = " Something else made accuracy fall there: the noise of batches, or training itself." if share > 0.5 else ""
    return (
        f"**In runs of `{gated['preset'].iloc[0]}`, most resets of the published rule {found}.** Of {resets} resets, "
        f"{percent(share)} came at a keep-ratio of {ACTIVE:g} or more, where the constraint removes almost nothing."
        f"{other}"
    )


def last_idle_sentence(decisions: pd.DataFrame, config: RunConfig) -> str:
    """When the last idle reset came, and what later resets found; nothing where there are no later ones.

    Args:
        decisions: rows of `load_decisions` of the published rule.
        config: of the runs.
    """
    runs = [run.sort_values("step") for _, run in decisions.groupby("run")]
    found = [run.assign(found=run["keep_ratio"].shift(fill_value=1.0))[resets_of(run)] for run in runs]
    resets = pd.concat(found) if found else decisions.assign(found=[])
    last = resets.loc[resets["found"] >= ACTIVE, "step"].max()
    later = resets[resets["step"] > last]
    if later.empty:
        return ""
    epoch = math.ceil(last / config.steps_per_epoch)
    return (
        f"This describes the first part of training: the last idle reset came in epoch {epoch} of {config.epochs}. "
        f"Each of the {len(later)} resets after it found a keep-ratio of {later['found'].max():.2f} or less, where the "
        "constraint does remove activations."
    )


def idle_check(runs: pd.DataFrame) -> str:
    """What the first of the plan's cheap checks says of the runs of `idle_sentence`, for a page beside the plan's."""
    gated = runs[runs["method"] == "accuracy_gated"] if len(runs) else runs
    if gated.empty or not gated["resets"].sum():
        return ""
    noise = gated["idle_resets"].sum() > gated["resets"].sum() / 2
    check = "By the first of the plan's [cheap checks](plan.html#cheap-checks), the feedback is"
    return f"{check} {'mostly not a response to the constraint' if noise else 'mostly a response to the constraint'}."


def positive_sentence(layers: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Which share of each layer's values is positive in the final networks of the published rule, and what follows.

    Args:
        layers: of `load_layers`.
        runs: rows of `load_runs`.
    """
    own = _layers_of(layers, runs)
    gated = own[(own["method"] == "accuracy_gated") & (own["keep_ratio"] == 1)] if len(own) else own
    if gated.empty:
        return ""
    shares = gated.groupby("layer")["active_fraction"].mean()
    least, most = shares.min(), shares.max()
    cautious = f", so counting from {ACTIVE:g} is cautious" if most < ACTIVE else ""
    shares_told = f"{percent(least)} to {percent(most)} of a layer's values"
    return f"In the trained networks, {shares_told} are positive on average{cautious}."


def response_sentence(decisions: pd.DataFrame) -> str:
    """What training accuracy did after the first reset from a small keep-ratio, and after later ones.

    Args:
        decisions: rows of `load_decisions` of the published rule.
    """
    frame = around_resets(decisions)
    after = frame[frame["decision"].between(1, SOON)].groupby(["kind", "reset"])["accuracy"].min()
    at = frame[frame["decision"] == 0].set_index(["kind", "reset"])["accuracy"]
    kinds = frame["kind"].unique()
    if not {"first", "later"} <= set(kinds):
        return "No run has yet been reset twice from a small keep-ratio."
    fell = {kind: int((after[kind] < at[kind].reindex(after[kind].index)).sum()) for kind in ("first", "later")}
    first, later = (len(after[kind]) for kind in ("first", "later"))
    often = fell["first"] / first > max(0.5, fell["later"] / later)
    reason = (
        " A possible reason: all activations come back at once, so the last layer sees [features of another "
        "size](../notebooks/network.html#features-before-the-head) and has to learn to work at both."
    )
    worst = after["first"].idxmin()
    deepest = f"from {percent(at['first'][worst])} to {percent(after['first'][worst])}"
    word = "often" if often else "rarely"
    return (
        f"**The first reset from a keep-ratio below {DEEP:g} {word} breaks training.** Within {SOON} decisions "
        f"after it, the average of training accuracy fell further in {fell['first']} of {first} runs, in the worst "
        f"case {deepest}. After later resets from below {DEEP:g}, that happened in {fell['later']} of {later} cases. "
        f"We noticed this in the runs and had not planned to look for it.{reason if often else ''}"
    )


def last_layer_similarity(layers: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Linear CKA of the last constrained layer with itself at keep-ratio 1, a row for each measured run of `runs`.

    Args:
        layers: of `load_layers`, in the order of the network.
        runs: rows of `load_runs`.

    Returns:
        Columns method, seed, similarity_at_<keep-ratio>, and similarity, the mean over keep-ratios as `budget_area`.
    """
    own = _layers_of(layers, runs)
    if own.empty:
        return pd.DataFrame(columns=["method", "seed", "similarity"])
    last = own[own["layer"] == own["layer"].iloc[-1]]
    wide = last.pivot(index=["method", "seed"], columns="keep_ratio", values="cka")
    areas = [budget_area(list(wide.columns), row) for row in wide.to_numpy()]
    found: pd.DataFrame = wide.add_prefix("similarity_at_").assign(similarity=areas).reset_index()
    return found.rename_axis(columns=None)


def _layers_of(layers: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    labels = ["preset", "method", "seed", "variant"]
    return layers.merge(runs[labels], on=labels) if len(runs) and len(layers) else layers.iloc[:0]


def similarity_sentence(similarity: pd.DataFrame) -> str:
    """What the published rule changes in `last_layer_similarity`."""
    return _explored(
        similarity,
        "similarity",
        "**Under the published rule, the last layer keeps {} its representation than after dense training.** Its mean "
        "CKA over all keep-ratios is",
        ("more of", "less of", "neither clearly more nor clearly less of"),
    )


def loss_sentence(runs: pd.DataFrame) -> str:
    """What the published rule changes in the test loss of the final networks, in nats; `runs` as of `load_runs`."""
    return _explored(
        runs,
        "test_loss",
        "**By test loss, the published rule overfits {} dense training.** The mean loss in nats at the end is",
        ("more than", "less than", "neither clearly more nor clearly less than"),
    )


def _explored(rows: pd.DataFrame, measure: str, found: str, words: tuple[str, str, str]) -> str:
    """What the published rule changes in a measure that the plan does not name; `words` where it is larger, smaller and
    neither of both."""
    if rows.empty or not {"accuracy_gated", "dense"} <= set(rows["method"]):
        return NOTHING
    one = paired_difference(rows, "accuracy_gated", "dense", measure)
    if len(one.pairs) < 2:
        return NOTHING
    means = rows[rows["seed"].isin(one.pairs)].groupby("method")[measure].mean()
    word = words[0 if one.low > 0 else 1 if one.high < 0 else 2]
    return (
        f"{found.format(word)} {means['accuracy_gated']:.2f} instead of {means['dense']:.2f}, a difference "
        f"of {one.mean:+z.2f} (95 % interval {one.low:+z.2f} to {one.high:+z.2f}, {pairs_counted(len(one.pairs))}). "
        "The plan names no test for this, so it is exploratory."
    )


def unlearned_sentence(runs: pd.DataFrame) -> str:
    """Which runs ended with a training accuracy below what the pilot asked for; nothing where all reached it."""
    told = []
    for method, group in runs.groupby("method", sort=False) if len(runs) else ():
        low = group[group["train_accuracy"] < ACCURACY]["train_accuracy"]
        if len(low):
            lowest = "" if len(low) == 1 else "the lowest: "
            told.append(f"{len(low)} of {len(group)} runs of `{method}` ({lowest}{percent(low.min())})")
    if not told:
        return ""
    below = f"Training accuracy ends below {percent(ACCURACY)} in {listed_words(told)}."
    return f"{below} Such runs count with what they scored."


def looks_table(runs: pd.DataFrame, correct: Mapping[str, NDArray[np.bool_]], methods: Iterable[str]) -> pd.DataFrame:
    """`placebo.best_by_looks` of the methods that have runs."""
    return best_by_looks(runs[runs["method"].isin(list(methods))], correct)


def placebo_sentence(table: pd.DataFrame) -> str:
    """What dense training gains over itself by four times as many test evaluations."""
    looks = sorted(table["looks"].unique()) if len(table) else []
    if not looks or counts(looks[-1]) != looks:
        return NOTHING
    more, fewer = looks[-1], looks[-1] // 4
    one: Comparison = placebo(table, "dense", more, fewer)
    if len(one.pairs) < 2:
        return NOTHING
    gain = amount(vars(one) | {"pairs": len(one.pairs)}).replace("pairs", "runs")
    return (
        f"By frequent evaluation alone, dense training gains {gain} as reported: in each run, the best of {more} test "
        f"evaluations is compared with the best of {fewer} of them. Compared with runs of other seeds, as the plan "
        "says, the mean is the same and the scatter larger."
    )


def preset_note(preset: str) -> str:
    """Which runs a chapter is about."""
    config = RunConfig(preset=preset, method="dense")
    scale = f"WRN-{config.depth}-{config.width}, {config.train_images:,} training images, {config.epochs} epochs"
    judged = "" if preset != "quick" else f" {DEMONSTRATIONS}"
    said = "Unless the text says otherwise, the numbers on this page come from runs of the preset"
    return f"{said} `{preset}` ({scale}).{judged}"
