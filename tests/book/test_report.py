"""What the pages say of records and of the rule: sentences and tables, held to cases worked by hand."""

import json
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle import RunConfig
from sparsecycle.analysis.verdicts import (
    ARMS,
    CLAIMS,
    FEWEST_PAIRS,
    NOT_JUDGED,
    PAPER_ACCURACY,
    compare_arms,
    control_verdict,
    first_pairs,
    gain_verdict,
    property_verdict,
    verdict_table,
)
from sparsecycle.controllers import CONTROLLERS
from sparsecycle.runs.records import variant_of
from sparsecycle.runs.studies import Studies
from sparsecycle_book.finding_figures import around_resets
from sparsecycle_book.report import rule
from sparsecycle_book.report.answers import (
    GAINS_IN_WORDS,
    KEEP_RATIO_CONTROLS,
    different_processors,
    gains_told,
    keep_ratio_controls,
    question,
    recorded_sentence,
    regularization,
    short_answer,
    to_come,
    unmeasured_sentence,
    verdict_note,
    verdicts_shown,
)
from sparsecycle_book.report.budgets import (
    NOTHING,
    budgets_table,
    dropout_area_sentence,
    gap_sentence,
    last_layer_similarity,
    loss_sentence,
    similarity_sentence,
    small_budgets_sentence,
    smallest_sentence,
    wrong_labels_sentence,
)
from sparsecycle_book.report.choices import (
    CHANGES,
    OTHERS,
    REGULARIZED,
    TOLERANCES,
    changed_arms,
    dropout_sentence,
    early_best_sentence,
    on_tolerance_seeds,
    others_table,
    same_runs_sentence,
    tolerance_sentence,
    tolerance_table,
    tuning_sentence,
    tuning_table,
)
from sparsecycle_book.report.dense import (
    best_epoch_sentence,
    best_epochs,
    close_sentence,
    first_pairs_sentence,
    same_best,
    single_pair_sentence,
    unlearned_sentence,
)
from sparsecycle_book.report.feedback import (
    against_dense_sentence,
    against_dense_table,
    as_dense_sentence,
    close_controls,
    idle_check,
    idle_sentence,
    last_idle_sentence,
    margin_sentence,
    noise_sentence,
    positive_sentence,
    resets_by_noise,
    response_sentence,
    stalled_sentence,
)
from sparsecycle_book.report.findings import (
    ARMS_IN_WORDS,
    CONTROLS,
    PROPERTIES,
    claims_shown,
    excess_sentence,
    excess_table,
    finding,
    further_findings,
)
from sparsecycle_book.report.pilot import pilot_sentence, pilot_table
from sparsecycle_book.report.plan import RULES, claims_table, differences_table, rule_table, study_table
from sparsecycle_book.report.retired import FILE, retired_paragraph
from sparsecycle_book.report.tables import means_table, presets_table, run_command, run_list

NONE = pd.DataFrame()


def runs(accuracies: dict[str, list[float]], preset: str = "classroom", **columns: object) -> pd.DataFrame:
    """Rows as of `load_runs`: the accuracies of each method by seed, and whatever else is given."""
    plain = {"preset": preset, "variant": "", "status": "complete", "evaluated_on": "test", "git_clean": True}
    plain |= {"wall_seconds": 120.0, "training_seconds": 90.0, "train_accuracy": 0.9, "git_revision": "0123456789ab"}
    plain |= {
        "device": "cpu",
        "cpu": "A",
        "threads": 1,
        "torch": "2.13",
        "resets": 4.0,
        "idle_resets": 1.0,
        "cycles": 3.0,
    }
    plain |= {"lowest_keep_ratio": 0.1, "torch": "2.13"}
    return pd.DataFrame(
        {"method": method, "seed": seed, "run": f"{preset}/{method}-seed{seed}"}
        | dict.fromkeys(("best_accuracy", "clean_accuracy", "last_accuracy"), accuracy)
        | plain
        | columns
        for method, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    )


GAINS = {"dense": [0.50, 0.51, 0.52, 0.53], "accuracy_gated": [0.52, 0.54, 0.54, 0.56]}


def test_the_answer_has_verdict_gain_and_pairs_of_both_measures():
    text = short_answer(runs(GAINS))
    config = RunConfig(preset="classroom", method="dense")
    scale = f"WRN-10-1, {config.train_images:,} training images, {config.epochs} epochs"
    assert text.endswith("over 4 pairs.\n\n4 of the 15 planned pairs are recorded.")
    assert text.startswith(
        f"On a small network (preset `classroom`: {scale}):\n\n- **The published rule beats dense training, as the "
        "paper reports.** Preliminary verdict: *replicated*. The gain is +2.50 points as reported (95 % interval "
        "+1.58 to +3.42) and +2.50 in clean accuracy (+1.58 to +3.42), over 4 pairs.\n\n"
    )
    assert "second strategy" not in text, "which has no runs"
    none = short_answer(runs(GAINS | {"accuracy_gated": GAINS["dense"]}))
    assert "reach the same test accuracy to within 0.5 points.**" in none and "Both 90 % intervals lie inside" in none
    wide = short_answer(runs(GAINS | {"accuracy_gated": [0.50, 0.56, 0.50, 0.56]}))
    assert "It is undecided whether" in wide and "both intervals" not in wide
    less = short_answer(runs(GAINS | {"accuracy_gated": [0.505, 0.51, 0.525, 0.53]}))
    excluded = "both intervals exclude the paper's gain of 1.07 points.**"
    assert "Preliminary verdict: *undecided*" in less and f"beats dense training, but {excluded}" in less


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_second_strategy_with_few_runs_is_not_judged_beside_a_first_that_is(seeds):
    text = short_answer(runs(GAINS | {"epoch_gated": GAINS["dense"][:seeds]}))
    few = f"the reconstructed second strategy beats dense training: {seeds} pair{'s' * (seeds > 1)}."
    assert text.count("\n- ") == 2 and f"- There are too few pairs to judge whether {few}" in text


def verdicts_of(rule: Callable[..., str]) -> set[str]:
    """The verdicts that the table in a rule's docstring lists."""
    rows = [line.split("|") for line in (rule.__doc__ or "").splitlines() if line.strip().startswith("|")]
    return {row[2].strip() for row in rows[2:]}


def test_every_verdict_on_a_gain_has_words_of_its_own():
    assert set(GAINS_IN_WORDS) | {NOT_JUDGED} == verdicts_of(gain_verdict)


def test_what_fewer_pairs_would_have_said():
    gains = [0.02, 0.021, 0.022, 0.023, -0.02, -0.03, -0.03, 0.0108]
    made = runs({"dense": [0.5] * len(gains), "accuracy_gated": [0.5 + gain for gain in gains]})
    pairs = first_pairs(verdict_table(made, "classroom"))
    assert single_pair_sentence(pairs) == (
        "**As reported, a single pair shows anything from -3.00 to +2.30 points.** The gain is negative in 3 of 8 "
        "pairs, and at least as large as the smaller of the paper's gains, 1.07 points, in 5."
    )
    assert first_pairs_sentence(pairs) == (
        "With the first 4 pairs, the verdict would have been *replicated*. With more pairs it changed 1 time, "
        "to *undecided*."
    )
    assert first_pairs_sentence(pairs.head(4)).endswith("*replicated*. More pairs did not change it.")
    back = pairs.assign(verdict=[NOT_JUDGED] * 3 + ["replicated", "no effect", "undecided", "no effect", "no effect"])
    assert first_pairs_sentence(back).endswith("to *no effect* and *undecided*, and it is now *no effect*.")


def looks(best: dict[str, list[tuple[float, float]]], losses: dict[str, float]) -> pd.DataFrame:
    """Rows as of `load_epochs`, ten a run, with these best accuracies and epochs by seed, and these training losses."""
    return pd.DataFrame(
        {"method": method, "seed": seed, "run": f"{method} {seed}", "epoch": epoch, "keep_ratio": 1 - epoch / 200}
        | {"test_accuracy": accuracy if epoch == at else 0.1, "train_loss": losses[method], "train_accuracy": 0.5}
        for method, places in best.items()
        for seed, (accuracy, at) in enumerate(places)
        for epoch in map(float, range(10, 101, 10))
    )


def test_pairs_with_the_same_best_are_told_with_the_reason():
    best = {"dense": [(0.5, 30.0), (0.6, 40.0), (0.4, 20.0)], "accuracy_gated": [(0.5, 30.0), (0.6, 90.0), (0.5, 30.0)]}
    same = best_epochs(looks(best, {"dense": 1.0, "accuracy_gated": 1.0}))
    told = "In 2 of 3 pairs the best accuracy is the same in both runs: in 1 because the constraint had removed nothing"
    assert same_best(same).startswith(told) and same_best(same).endswith("and in 1 by chance.")
    other = best_epochs(looks(best, {"dense": 1.0, "accuracy_gated": 1.1}))
    assert same_best(other).endswith("in both runs: in 2 by chance.")
    apart = {"dense": [(0.5, 30.0)], "accuracy_gated": [(0.6, 30.0)]}
    assert same_best(best_epochs(looks(apart, {"dense": 1.0, "accuracy_gated": 1.0}))) == ""


def test_the_question_has_the_paper_s_numbers():
    assert all(f"{accuracy:g}" in question() for accuracy in PAPER_ACCURACY.values())


def test_runs_are_counted_by_preset_and_quick_ones_are_said_to_judge_nothing():
    quick = runs(GAINS, preset="quick")
    assert recorded_sentence(quick) == (
        "So far we have recorded 8 runs of `quick`. Runs of `quick` are demonstrations; no claim is judged by them."
    )
    both = recorded_sentence(pd.concat([quick, runs(GAINS)]))
    assert both.startswith("So far we have recorded 8 runs of `classroom` and 8 runs of `quick`. Runs of `quick`")
    unclean = recorded_sentence(pd.concat([quick.assign(git_clean=False), runs(GAINS)]))
    assert unclean.startswith("So far we have recorded 8 runs of `classroom`. "), "of a source with uncommitted changes"


def test_judged_and_unmeasured_comparisons_are_counted():
    table = verdict_table(runs(GAINS), "classroom")
    assert verdict_note(table) == f"So far, 2 of the {len(CLAIMS)} comparisons are judged."
    assert f"Of the {len(CLAIMS)} comparisons" in unmeasured_sentence(verdict_table(NONE))
    assert f"{len(CLAIMS)} are not measured yet" in unmeasured_sentence(verdict_table(NONE))


def test_the_table_of_verdicts_says_first_what_is_compared():
    judged = verdicts_shown(verdict_table(runs(GAINS), "classroom"))
    row = judged.iloc[0]
    assert row["verdict"] == "replicated (preliminary)"
    assert row["compared"] == "test accuracy as reported"
    assert "clean test accuracy: accuracy_gated − replay" in set(judged["compared"])
    assert row["ours (95 % interval)"] == "+2.50 (+1.58 to +3.42)" and row["p (Holm)"] == "0.003"


def test_every_controller_that_has_runs_is_in_the_tables():
    every = runs({name: [0.5] for name in CONTROLLERS})
    assert means_table(every)["method"].tolist() == [f"`{name}`" for name in CONTROLLERS]


def test_means_are_over_seeds():
    dense, gated = means_table(runs({"accuracy_gated": [0.5, 0.6], "dense": [0.5]})).to_dict("records")
    assert (gated["seeds"], gated["best"], gated["cycles"]) == ("2", "0.5500", "3.0")
    assert (dense["seeds"], dense["cycles"]) == ("1", ""), "nothing resets there"


def test_presets_tell_the_minutes_of_their_quickest_run_or_that_there_is_none():
    recorded = runs(GAINS)
    table = presets_table(recorded.assign(wall_seconds=120.0 + 60.0 * recorded["seed"]))
    assert "| `classroom` | WRN-10-1 | 5,000 | 200 | 2.0 |" in table
    assert "quickest run (A, threads: 1)" in table
    assert "| `paper` | WRN-28-4 | 50,000 | 500 | not run yet |" in table


def configured(**fields: object) -> RunConfig:
    return RunConfig(**({"preset": "classroom", "method": "dense"} | fields))


def test_a_run_s_command_has_its_overrides_and_what_its_method_needs():
    command = run_command(configured(dropout=0.3, epochs=25, seed=3))
    assert command == (
        ".venv/bin/sparsecycle run --preset classroom --method dense --seed 3 --set dropout=0.3 --set epochs=25"
    )
    assert run_command(configured(method="fixed", keep_ratio=0.25)).endswith("--seed 0 --set keep_ratio=0.25")
    [row] = run_list(runs({"dense": [0.5]}), {"classroom/dense-seed0": configured()}).to_dict("records")
    assert row["command"] == run_command(configured()) and row["best"] == "0.5000"


def test_a_run_without_test_images_has_none_in_the_list():
    [row] = run_list(runs({"dense": [math.nan]}), {"classroom/dense-seed0": configured()}).to_dict("records")
    assert row["best"] == "none" and row["training"] == "0.9000"


def test_every_claim_and_measure_is_in_the_table_of_claims():
    table = claims_table()
    assert sorted(set(table["id"])) == sorted({claim.id for claim in CLAIMS})
    [first] = table[table["id"] == "C1"].to_dict("records")
    assert first["compared"] == "`accuracy_gated` − `dense`"
    assert first["measured by"] == "test accuracy as reported; clean test accuracy; last test accuracy"
    assert "`dense`, tuned" in " ".join(table["compared"])


@pytest.mark.parametrize("claims", RULES)
def test_a_rule_is_a_table_whose_first_line_judges_nothing_below_four_pairs(claims):
    lines = rule_table(claims).splitlines()
    assert lines[0] == "| condition | verdict |" and set(lines[1]) == set("|-")
    assert lines[2].startswith(f"| fewer than {FEWEST_PAIRS} pairs | not judged") and len(lines) >= 6


def test_every_declared_study_is_listed_with_its_runs():
    studies = Studies.read(ROOT / "workflow" / "studies.yaml")
    table = study_table()
    assert table["study"].tolist() == [f"`{name}`" for name in studies.studies]
    assert table["runs"].min() > 0


def test_presets_are_compared_where_they_differ_alone():
    table = differences_table(("classroom", "paper")).set_index("field")
    assert table.loc["`depth`", ["`classroom`", "`paper`"]].tolist() == [10, 28]
    assert "`tighten`" not in table.index and "`momentum`" not in table.index


def test_the_worked_example_follows_the_three_rules():
    """Decisions each step, weight 0.5: averages 0.9, 0.95, 0.575, 0.738, 0.819, 0.859; the best 0.95."""
    table = rule.decisions_at([0.9, 1.0, 0.2, 0.9, 0.9, 0.9, 0.9])
    assert table["average"].tolist()[:4] == ["0.900", "0.950", "0.575", "0.738"]
    done = ["3: compresses", "3: compresses", "1: resets", "1: resets", "1: resets", "2: waits", "2: waits"]
    assert table["the rule"].tolist() == done
    assert table["keep-ratio"].tolist() == ["0.982", "0.964", "1.000", "1.000", "1.000", "1.000", "1.000"]


def test_the_way_down_is_that_of_the_formula():
    for keep_ratio in (0.5, 0.1, 0.02):
        assert rule.compressions(keep_ratio) == math.ceil(math.log(keep_ratio) / math.log(1 - 0.018))
    assert rule.descent_table((0.5,)).to_dict("records") == [{"from 1 to": "0.5", "decisions": 39, "epochs": "13"}]
    assert rule.decisions_of_a_run() == 1523


def test_cycles_are_counted_with_the_pause_after_a_reset():
    """Below 0.5 after 39 decisions, one that resets, three that wait: 43 a cycle."""
    [row] = rule.cycles_table((0.5,)).to_dict("records")
    assert row["cycles begun"] == 1 + 1523 // 43


def test_about_half_of_the_values_of_an_untrained_network_are_positive():
    low, high = rule.active_at_start(depth=10, width=1)
    assert 0.3 < low < high < 0.7


def pilot(**columns: object) -> pd.DataFrame:
    row = {"varied": "epochs=120", "method": "accuracy_gated", "seed": 100, "cycles": 4.0, "resets": 6.0}
    row |= {"idle_resets": 2.0, "lowest_keep_ratio": 0.1234, "train_accuracy": 0.95, "run": "a", "steps_per_epoch": 39}
    return pd.DataFrame([row | columns])


@pytest.mark.parametrize(
    "columns, passes",
    [({}, "yes"), ({"cycles": 3.0}, "no"), ({"train_accuracy": 0.9499}, "no"), ({"train_accuracy": np.nan}, "no")],
)
def test_a_pilot_run_passes_with_enough_cycles_and_training_accuracy(columns, passes):
    [row] = pilot_table(pilot(**columns)).to_dict("records")
    assert row["passes"] == passes and row["lowest keep-ratio"] == "0.12"
    said = f"Of the 1 pilot runs with the published rule, {int(passes == 'yes')} pass."
    assert said in pilot_sentence(pilot(**columns))


def test_dense_training_of_the_pilot_has_no_cycles_to_pass_with():
    [row] = pilot_table(pilot(method="dense")).to_dict("records")
    assert (row["cycles"], row["passes"], row["final training accuracy"]) == ("", "", "0.950")


def test_the_retired_guesses_have_one_paragraph_with_the_file_s_numbers():
    found = json.loads(FILE.read_text(encoding="utf-8"))
    text = retired_paragraph()
    for name in ("loss_gated", "plateau"):
        for against in ("vs_dense", "vs_dense_dropout", "vs_dense_half_length"):
            assert f"{100 * found['classroom'][name][against]['mean']:+.1f} (" in text
    assert f"These {sum(found['runs'].values())} runs" in text and "\n" not in text


def test_every_arm_of_a_claim_has_words():
    assert {arm for claim in CLAIMS for arm in (claim.treatment, claim.baseline)} <= set(ARMS_IN_WORDS)


def test_a_finding_has_a_sentence_for_each_verdict_and_numbers_where_it_is_about_one_comparison():
    found = verdict_table(runs(GAINS | {"replay": GAINS["accuracy_gated"]}), "classroom")
    assert finding(found, "C8") == (
        "**The published rule does as well as training with another seed's keep-ratios, to within 0.5 points: a gain "
        "of +0.00 points (90 % interval +0.00 to +0.00, 4 pairs).** This verdict is preliminary: a firm one takes "
        "8 pairs."
    )
    assert finding(found, "C4") == finding(verdict_table(NONE), "C8") == NOTHING
    judged = runs(GAINS | {"replay": GAINS["accuracy_gated"]})
    assert further_findings(judged) == [finding(found, "C8", brief=True)] and further_findings(NONE) == []
    small = runs({"dense": [0.50] * 4, "accuracy_gated": [0.501, 0.502, 0.501, 0.502], "replay": [0.501] * 4})
    assert further_findings(small)[0].endswith("The margin of 0.5 points is wider than the rule's own gain.")
    assert "to within 0.5 points.** This verdict is" in finding(found, "C8", brief=True), "no difference has no number"
    both = further_findings(judged.assign(budget_area=judged["clean_accuracy"]))
    assert both[1].startswith(
        "**The published rule improves mean accuracy over all keep-ratios: a gain of +2.50 points"
    )
    assert f"over 4 pairs.\n- {both[0]}\n- {both[1]}\n\n4 of" in short_answer(judged, both)
    few = runs({"dense": [0.5], "accuracy_gated": [0.5]}, gap=0.3, drop_from_best=0.0)
    assert finding(verdict_table(few, "classroom"), "C4") == (
        "**There are too few pairs to judge whether the published rule changes the train-test gap and the drop from "
        "best.**"
    )
    controlled = runs(GAINS | {name: GAINS["accuracy_gated"] for name in ("replay", "fixed")})
    fixed = controlled["variant"].mask(controlled["method"] == "fixed", "keep_ratio=0.48")
    several = verdict_table(controlled.assign(variant=fixed), "classroom")
    assert finding(several, "C8").startswith(
        "**The published rule does as well as training with another seed's keep-ratios and training at a fixed "
        "keep-ratio, to within 0.5 points.** These"
    )
    assert set(PROPERTIES) | {NOT_JUDGED} == verdicts_of(property_verdict)
    assert set(CONTROLS) | {NOT_JUDGED} == verdicts_of(control_verdict)
    assert "p (Holm)" not in claims_shown(several, "C8").html and "paper" in claims_shown(several, "C1").html


def test_the_first_reset_from_a_small_keep_ratio_is_told_apart_from_later_ones():
    averages = [0.9, 0.9, 0.7, 0.3, 0.9, 0.9, 0.7, 0.8, 0.9, 0.75]
    keep_ratios = [0.5, 0.1, 1.0, 0.4, 0.2, 0.1, 1.0, 0.9, 0.6, 1.0]
    reset = [keep_ratio == 1 for keep_ratio in keep_ratios]
    run = pd.DataFrame({"step": range(10), "average": averages, "keep_ratio": keep_ratios, "reset": reset})
    run = run.assign(method="accuracy_gated", seed=0)
    decisions = pd.concat([run.assign(run="a"), run.assign(run="b", average=[*averages[:3], 0.2, *averages[4:]])])
    config = RunConfig(preset="smoke", method="accuracy_gated")
    told = response_sentence(decisions, config)
    assert "often breaks training" in told and "another 0.12 in 2 of 2 runs, in the worst case from 70 % to" in told
    assert "that happened in 0 of 2 cases" in told and "learning rate" in told
    same_rate = response_sentence(decisions, config.model_copy(update={"batch_size": 1}))
    assert "learning rate" not in same_rate, "with many steps an epoch, all resets come in the first"
    assert around_resets(decisions)["kind"].unique().tolist() == ["first", "later", "idle"]
    assert response_sentence(decisions[decisions["step"] < 5], config).startswith("No run")


def test_decisions_that_find_the_keep_ratio_at_one_are_counted_apart_and_long_stays_there_told():
    config = RunConfig(preset="classroom", method="accuracy_gated")
    keep_ratios = [0.5, 0.1, *[1.0] * 61, 0.98]
    reset = [keep_ratio == 1 for keep_ratio in keep_ratios]
    run = pd.DataFrame({"step": range(64), "keep_ratio": keep_ratios, "reset": reset, "run": "a"})
    told = stalled_sentence(pd.concat([run, run.head(8).assign(run="b")]), config)
    assert "at 65 such decisions. In 1 of 2 runs this lasted" in told, "60 and 5 besides the reset itself"
    assert told.endswith("for 20 epochs or more, in the longest case for 20.")
    assert "lasted" not in stalled_sentence(run.head(8), config)
    assert stalled_sentence(run.head(2), config) == ""


def test_noise_alone_resets_where_accuracy_stands_still_and_hardly_where_it_climbs():
    config = RunConfig(preset="classroom", method="accuracy_gated")
    steps = np.arange(1, 51) * config.steps_per_epoch * config.epochs // 50
    flat = pd.DataFrame({"method": "dense", "seed": 0, "step": steps, "train_accuracy": 0.5})
    fast = flat.assign(train_accuracy=np.linspace(0.3, 1.0, 50).round(3), seed=1)
    [still, climbing] = resets_by_noise(pd.concat([flat, fast]), config)
    assert still > 10 and climbing <= 1
    falling = fast.assign(train_accuracy=fast["train_accuracy"].where(fast.index != 40, 0.2))
    assert resets_by_noise(falling, config) == [climbing], "the rule watches the best so far"
    recorded = runs(GAINS, idle_resets=30.0)
    assert "almost none of them.** We" in noise_sentence(fast, recorded, config)
    few = recorded.assign(idle_resets=1.0)
    assert not noise_sentence(flat, few, config).startswith("**")


def test_resets_of_a_run_that_still_is_dense_training_bit_for_bit_are_counted():
    look = {"step": [10, 20, 30], "train_loss": [3.0, 2.0, 1.0], "train_accuracy": [0.5, 0.47, 0.8]}
    dense = pd.DataFrame(look | {"method": "dense", "seed": 0})
    gated = dense.assign(method="accuracy_gated", train_loss=[3.0, 2.0, 1.1], train_accuracy=[0.5, 0.47, 0.2])
    run = pd.DataFrame({"step": [5, 15, 25], "keep_ratio": [0.9, 1.0, 1.0], "reset": [False, True, True]})
    run = run.assign(run="a", seed=0, method="accuracy_gated")
    told = as_dense_sentence(pd.concat([dense, gated]), run)
    assert "1 reset, in 1 of 1 runs, came while" in told and "falls by at most 0.03 below its best" in told
    other = gated.assign(train_loss=[3.1, 2.0, 1.0])
    assert as_dense_sentence(pd.concat([dense, other]), run) == "", "what was different once is no dense training"


def test_every_arm_is_set_beside_dense_training_on_the_seeds_that_all_have():
    more = GAINS | {"dense": [*GAINS["dense"], 0.5], "accuracy_gated": [*GAINS["accuracy_gated"], 0.9]}
    recorded = runs(more | {"replay": [0.53, 0.54, 0.55, 0.56]}, train_accuracy=0.97)
    broken = recorded["run"].str.endswith("replay-seed2")
    low = recorded.assign(train_accuracy=recorded["train_accuracy"].mask(broken, 0.4))
    table = against_dense_table(low, "classroom")
    assert table.loc["replay", "clean"] == "+3.00 (+3.00 to +3.00)" and table["pairs"].tolist() == [4, 4]
    assert table["training accuracy below 95 %"].tolist() == ["0 of 4 runs", "1 of 4 runs"]
    told = against_dense_sentence(low, "classroom")
    assert told.startswith("On the 4 seeds that all arms have, the controls gain +3.00 to +3.00 points over dense")
    assert "the published rule +2.50; as reported, the controls gain +3.00" in told
    assert against_dense_sentence(runs(GAINS), "classroom") == ""
    assert gains_told(runs(GAINS), "classroom", {"replay": "dense"}, {"clean": "clean_accuracy"}).empty


def test_the_excess_leaves_out_what_is_gained_without_a_disturbance():
    recorded = runs(GAINS)
    noisy = recorded.assign(noise_accuracy=recorded["last_accuracy"] / 2, blur_accuracy=recorded["last_accuracy"] - 0.2)
    table = excess_table(noisy.assign(blur_accuracy=noisy["blur_accuracy"] + 0.1 * noisy["best_accuracy"]), "classroom")
    assert table["excess (95 % interval)"].tolist() == ["-1.25 (-1.71 to -0.79)", "+0.25 (+0.16 to +0.34)"]
    assert "above zero in 1 of the 2 measures" in excess_sentence(table)
    assert "above zero in none of the 1 measures" in excess_sentence(table.head(1))


def test_pairs_across_processors_and_planned_runs_that_are_missing_are_told():
    recorded = runs(GAINS | {"replay": GAINS["dense"]})
    assert different_processors(recorded, "classroom") == ""
    other = recorded.assign(cpu=recorded["cpu"].mask(recorded["method"] == "replay", "B"))
    assert "same processor: `replay` on B, and all others on A." in different_processors(other, "classroom")
    assert "45 of `classroom`, 32 of `controls`" in to_come(recorded.iloc[:0])
    assert "37 of `classroom`, 28 of `controls`" in to_come(runs(GAINS)), "four runs of the rule are part of both"


def made_up_layers(gated: list[float], dense: list[float]) -> pd.DataFrame:
    """Rows as of `load_layers`, two layers at three keep-ratios; with the similarity of the last at 0.25."""
    labels = {"preset": "classroom", "variant": ""}
    return pd.DataFrame(
        labels
        | {"method": method, "seed": seed, "keep_ratio": keep, "layer": layer}
        | {"active_fraction": share, "cka": 1.0 if keep > 0.25 else (0.0 if layer == "blocks.0.topk1" else value)}
        for method, values in (("accuracy_gated", gated), ("dense", dense))
        for seed, value in enumerate(values)
        for keep in (1.0, 0.5, 0.25)
        for layer, share in (("blocks.0.topk1", 0.2), ("topk", 0.4))
    )


def test_similarity_is_that_of_the_last_layer_over_all_keep_ratios():
    layers = made_up_layers([0.8, 0.9], [0.6, 0.6])
    found = last_layer_similarity(layers, runs(GAINS))
    rows = found.set_index(["method", "seed"])
    assert rows.loc[("accuracy_gated", 1), "similarity_at_0.25"] == 0.9
    assert rows.loc[("dense", 0), "similarity"] == pytest.approx((1 + 0.8) / 2), "half of the range at 1, half at 0.8"
    told = similarity_sentence(found)
    assert "keeps neither clearly more nor clearly less of its" in told and "is 0.96 instead of 0.90, a diff" in told
    more = similarity_sentence(last_layer_similarity(made_up_layers([0.8, 0.81], [0.6, 0.6]), runs(GAINS)))
    less = similarity_sentence(last_layer_similarity(made_up_layers([0.6, 0.6], [0.8, 0.81]), runs(GAINS)))
    assert "keeps more of its" in more and "keeps less of its" in less
    assert similarity_sentence(last_layer_similarity(layers.assign(preset="quick"), runs(GAINS))) == NOTHING


def test_test_loss_is_lower_or_higher_than_after_dense_training():
    recorded = runs(GAINS)
    losses = {"accuracy_gated": 2.0, "dense": 3.0}
    noise = recorded["seed"] / 10 * (recorded["method"] == "dense")
    lower = recorded.assign(test_loss=recorded["method"].map(losses) + noise)
    told = loss_sentence(lower)
    assert "test loss ends lower than after dense training.**" in told and "is 2.00 instead of 3.15, a diff" in told
    assert "ends higher than after" in loss_sentence(lower.assign(test_loss=-lower["test_loss"]))


def test_runs_that_end_without_their_images_learned_are_named():
    recorded = runs(GAINS, train_accuracy=1.0)
    assert unlearned_sentence(recorded) == ""
    broken = (recorded["method"] == "accuracy_gated") & (recorded["seed"] == 1)
    told = unlearned_sentence(recorded.assign(train_accuracy=recorded["train_accuracy"].mask(broken, 0.42)))
    assert told.startswith("Training accuracy ends below 95 % in 1 of 4 runs of `accuracy_gated` (42 %). ")
    every = unlearned_sentence(runs(GAINS))
    assert "in 4 of 4 runs of `dense` (the lowest: 90 %) and 4 of 4 runs of" in every


def test_a_bound_above_all_shares_of_positive_values_is_called_cautious():
    layers = made_up_layers([0.8], [0.6])
    cautious = "At the end of training, 20 % to 40 % of a layer's values are positive on average, so that at 0.57"
    assert positive_sentence(layers, runs(GAINS)).startswith(cautious)
    assert positive_sentence(layers.assign(active_fraction=0.7), runs(GAINS)).endswith("positive on average.")
    assert positive_sentence(layers.assign(preset="quick"), runs(GAINS)) == ""


def test_idle_resets_above_one_half_are_no_response_to_the_constraint():
    few, many = runs(GAINS), runs(GAINS, idle_resets=3.0)
    assert "removed activations.** Of 16 resets, 25 % came" in idle_sentence(few)
    assert "were idle.** Of 16 resets, 75 % came" in idle_sentence(many) and "Something else" in idle_sentence(many)
    assert "is mostly not a response" in idle_check(many) and "is mostly a response" in idle_check(few)


def test_resets_after_the_last_idle_one_are_told_apart():
    config = RunConfig(preset="classroom", method="accuracy_gated")
    keep_ratios = [0.9, 1.0, 0.5, 0.2, 1.0, 0.3, 1.0]
    run = pd.DataFrame({"step": [config.steps_per_epoch * at for at in range(1, 8)], "keep_ratio": keep_ratios})
    run = run.assign(reset=run["keep_ratio"] == 1, run="a")  # resets find 0.9, 0.2 and 0.3
    told = last_idle_sentence(run, config)
    assert "in epoch 2 of 200. Each of the 2 resets after it found a keep-ratio of 0.30 or less, where" in told
    assert last_idle_sentence(run[run["step"] < 3 * config.steps_per_epoch], config) == ""


def test_what_equivalence_leaves_open_is_told_while_the_gain_is_smaller_than_the_margin():
    assert margin_sentence(verdict_table(runs(GAINS), "classroom")) == margin_sentence(verdict_table(NONE)) == ""
    small = runs(GAINS | {"accuracy_gated": [0.50, 0.512, 0.522, 0.53]})
    assert "smaller than that (+0.10 points in clean" in margin_sentence(verdict_table(small, "classroom"))


def test_an_undecided_verdict_says_how_far_it_is_from_no_effect():
    assert close_sentence(verdict_table(runs(GAINS), "classroom")) == close_sentence(verdict_table(NONE)) == ""
    table = verdict_table(runs(GAINS | {"accuracy_gated": [0.50, 0.56, 0.50, 0.56]}), "classroom")
    row = table.iloc[0]
    interval = f"{100 * row['low_90']:+.3f} to {100 * row['high_90']:+.3f} points"
    assert f"They are {interval} as reported and {interval} in clean accuracy." in close_sentence(table)


def test_how_far_an_undecided_control_is_from_equivalence_is_told():
    undecided = verdict_table(runs(GAINS | {"replay": [0.50, 0.56, 0.53, 0.57]}), "classroom")
    [row] = undecided[undecided["baseline"] == "replay"].to_dict("records")
    told = close_controls(undecided)
    bounds = f"{100 * row['low_90']:+.3f} to {100 * row['high_90']:+.3f} points for training with another seed's"
    assert row["verdict"] == "undecided" and f"It is {bounds}" in told
    assert close_controls(verdict_table(runs(GAINS), "classroom")) == ""


def test_controls_are_compared_with_the_rule_over_all_keep_ratios():
    paths = {"replay": [0.52, 0.55, 0.54, 0.57]}
    both = runs(GAINS | paths)
    told = small_budgets_sentence(both.assign(budget_area=both["clean_accuracy"]), "classroom")
    assert told.startswith("Over the published rule, training with another seed's keep-ratios gains +0.50 points (")
    assert "So the gain does not need feedback. The plan" in told
    worse = runs(GAINS | {"replay": GAINS["dense"]})
    told = small_budgets_sentence(worse.assign(budget_area=worse["clean_accuracy"]), "classroom")
    assert "gains -2.50 points (" in told and "need" not in told
    assert small_budgets_sentence(runs(GAINS), "classroom") == ""
    at_half = both.assign(**{"accuracy_at_0.5": both["clean_accuracy"]})
    table = budgets_table(at_half, "classroom")
    assert list(table.index) == ["accuracy_gated", "replay"] and table["at 0.5"].iloc[1][:5] == "+3.00"


def test_whether_dropout_gains_more_than_its_accuracy_at_one_is_told():
    dropout = runs({"dense": [0.56, 0.57, 0.58, 0.59]}, variant="dropout=0.4")
    made = pd.concat([runs(GAINS), dropout], ignore_index=True)
    tuned, gated = made["variant"] != "", made["method"] == "accuracy_gated"
    area = made["last_accuracy"] + 0.03 * gated + 0.001 * made["seed"] * tuned
    told = dropout_area_sentence(made.assign(budget_area=area), "classroom")
    assert "has a higher mean still, by +" not in told and told == "", "its interval includes zero"
    more = made.assign(budget_area=area + 0.02 * tuned)
    told = dropout_area_sentence(more, "classroom")
    assert told.startswith("Dense training with dropout has a higher mean still, by +2.65 points (")
    assert "at keep-ratio 1 it is 0.85 points behind the rule (95 % interval 0.64 to 1.06)" in told
    brief = dropout_area_sentence(more, "classroom", brief=True)
    assert brief == "Dense training with dropout improves it more, through its accuracy at keep-ratio 1."
    everywhere = made.assign(budget_area=area + 0.05 * tuned)
    assert dropout_area_sentence(everywhere, "classroom", brief=True) == "Dense training with dropout improves it more."
    assert "behind" not in dropout_area_sentence(everywhere, "classroom")
    assert dropout_area_sentence(runs(GAINS, budget_area=0.5), "classroom") == ""


def test_where_labels_are_wrong_the_last_epoch_is_told_beside_the_clean_one():
    made = runs(GAINS, variant="wrong_labels=0.2", train_accuracy=0.9985)
    epochs = looks({method: [(0.3, 20.0)] * 4 for method in GAINS}, {"dense": 1.0, "accuracy_gated": 1.0})
    names = "classroom/" + epochs["method"] + "-seed" + epochs["seed"].astype(str)
    epochs = epochs.assign(run=names, step=epochs["epoch"])
    right = np.zeros((10, 6), dtype=bool)
    right[1, ::2] = right[3, 1::2] = True  # the even images choose the second look, the odd ones the fourth
    correct = dict.fromkeys(made["run"], right)
    told = wrong_labels_sentence(made, epochs, correct, "classroom")
    assert "chooses in these 8 runs come by epoch 40, when training accuracy is 50 % or less" in told
    assert "At the end it is 99.8 % or more" in told and "the gain in test accuracy is +2.50 points (" in told
    assert wrong_labels_sentence(runs(GAINS), epochs, {}, "classroom") == ""


def test_the_smallest_keep_ratios_are_set_beside_guessing():
    columns = {"accuracy_at_1.0": 0.6, "accuracy_at_0.05": 0.25, "accuracy_at_0.02": 0.15, "accuracy_at_0.3": math.nan}
    told = smallest_sentence(runs(GAINS, **columns))
    assert "mean accuracy is 25 % at 0.05 and 15 % at 0.02; guessing reaches 10 %." in told


def test_of_a_smaller_gap_the_part_that_is_lower_training_accuracy_is_told():
    made = runs(GAINS)
    gated = made["method"] == "accuracy_gated"
    smaller = made.assign(train_accuracy=1 - 0.01 * gated, gap=0.5 - 0.03 * gated)
    assert gap_sentence(smaller).startswith("Of the 3.00 points") and "1.00 come from lower" in gap_sentence(smaller)
    assert gap_sentence(made.assign(gap=0.4)) == ""


def test_tolerances_are_compared_on_the_seeds_that_all_have():
    def other(value: str, accuracies: list[float]) -> pd.DataFrame:
        made = runs({"accuracy_gated": accuracies}, variant=f"tolerance={value}", train_accuracy=0.96)
        return made.assign(run=made["run"] + f"-tolerance={value}")

    more = {"dense": [*GAINS["dense"], 0.3], "accuracy_gated": [*GAINS["accuracy_gated"], 0.9]}
    others = [other("0.06", [0.52, 0.53, 0.55, 0.55]), other("0.24", [0.51, 0.53, 0.52, 0.55])]
    lost = other("1.0", [0.2, 0.2, 0.21, 0.22])
    found = on_tolerance_seeds(pd.concat([runs(more), *others, lost], ignore_index=True), "classroom")
    assert set(found["seed"]) == {0, 1, 2, 3}
    text = tolerance_sentence(found, "classroom")
    assert text.startswith("**Without resets, training does not survive the compression.** Last test accuracy is 21 %")
    assert "half the tolerance gains -0.25 points (" in text and "twice the tolerance gains -1.25 points (" in text
    assert "neither a flat gain nor a trend" not in text, "with twice the tolerance, the interval lies below zero"
    table = tolerance_table(found, "classroom")
    assert list(table.index) == list(TOLERANCES) and table["clean"].iloc[1] == "+2.50 (+1.58 to +3.42)"
    assert table["below 95 %"].tolist() == ["0 of 4", "4 of 4", "0 of 4", "0 of 4"]
    assert table["clean, over the published one"].str[:5].tolist()[2:] == ["-1.25", "-33.2"]
    few = tolerance_sentence(found[found["variant"] != "tolerance=0.06"], "classroom")
    assert few.startswith("**Without resets") and few.endswith("We do not know yet what other tolerances change.")
    three = tolerance_sentence(found[found["seed"] < 3], "classroom")
    assert three == "We do not know yet what other tolerances change.", "three pairs are too few"
    assert tolerance_sentence(runs(GAINS), "classroom") == three
    epochs = looks({"gone": [(0.3, 20.0), (0.3, 30.0)]}, {"gone": 1.0})
    epochs = epochs.assign(run="classroom/accuracy_gated-seed" + epochs["seed"].astype(str) + "-tolerance=1.0")
    told = early_best_sentence(found, epochs, "classroom")
    assert told.endswith("comes by epoch 30 of 100, at a keep-ratio of 0.85 or more.")
    late = epochs.assign(test_accuracy=epochs["epoch"])
    assert early_best_sentence(found, late, "classroom") == "", "there is nothing to warn of"
    assert early_best_sentence(runs(GAINS), epochs, "classroom") == ""


def test_the_best_of_the_search_is_the_one_that_held_out_images_say(monkeypatch):
    held_out = "holdout_images=5000, train_images=10000"
    found = [runs({"dense": [0.50, 0.52]}, variant=held_out)]
    found += [runs({"dense": [0.54, 0.55]}, variant=f"dropout=0.2, {held_out}")]
    searched = pd.concat(found, ignore_index=True)
    monkeypatch.setattr("sparsecycle_book.report.choices.load_runs", lambda folder: searched)
    assert tuning_table()["setting"].tolist() == ["dropout 0.2", "none"]
    assert tuning_sentence().startswith("The best of 2 settings is *dropout 0.2*, with an accuracy of 0.5450")
    assert tuning_sentence().endswith("It is the most dropout that was tried, so still more may be better.")


def test_what_dropout_alone_gains_is_told_beside_the_verdicts(monkeypatch):
    chosen = {"dense, tuned": "dense weight_decay=0.5", "dense with dropout": "dense dropout=0.9"}
    monkeypatch.setattr("sparsecycle.analysis.verdicts.ARMS", ARMS | chosen)
    found = pd.concat([runs(GAINS), runs({"dense": [0.60, 0.61]}, variant="weight_decay=0.5")], ignore_index=True)
    compared = compare_arms(found, "classroom", REGULARIZED)
    gain = f"{100 * compared['mean'][0]:+.2f} points ("
    told = dropout_sentence(compared)
    assert told.startswith(f"Dropout alone gains {gain}") and gain.startswith("+")
    assert "2 pairs)" in told and dropout_sentence(compared.iloc[:0]) == ""
    rows = regularization(verdict_table(found))
    assert rows["baseline"].tolist() == ["dense, tuned", "dense with dropout"]
    assert set(keep_ratio_controls(verdict_table(found))["baseline"]) == set(KEEP_RATIO_CONTROLS)


def test_an_ablation_of_the_recipe_is_compared_with_dense_training_under_the_same_change():
    arms = changed_arms("ablations")
    assert {f"accuracy_gated {change}" for change in CHANGES} == set(arms), "each change has words"
    assert arms["accuracy_gated norm_bias=false"] == "dense norm_bias=false"
    assert arms["accuracy_gated norm_eps=1e-05"] == "dense norm_eps=1e-05"
    assert arms["accuracy_gated rounding=up"] == "dense"
    changed = {"accuracy_gated": [0.55, 0.56], "dense": [0.53, 0.55]}
    found = pd.concat([runs(GAINS), runs(changed, variant="norm_bias=false")], ignore_index=True)
    [row] = compare_arms(found, "classroom", arms).to_dict("records")
    assert row["mean"] == pytest.approx(0.015) and row["pairs"] == 2


def test_a_gentler_rule_and_a_wider_network_are_compared_with_dense_training_of_their_network():
    assert others_table(runs(GAINS), "classroom").empty
    gentle = next(iter(changed_arms("gentle"))).removeprefix("accuracy_gated ")
    gentler = runs({"accuracy_gated": [0.55, 0.56]}, variant=gentle)
    wider = runs({"accuracy_gated": [0.60, 0.62], "dense": [0.60, 0.60]}, variant="width=2")
    rows = others_table(pd.concat([runs(GAINS), gentler, wider], ignore_index=True), "classroom")
    assert rows["changed"].tolist() == list(OTHERS.values())
    assert rows["gain"].str.startswith("+1.00 points").tolist() == [False, True]


def test_pairs_of_the_same_runs_are_told_and_whether_training_was_lost():
    """Of two pairs of a wider network one is the same run twice, and it ends far below its best."""
    gated = runs({"accuracy_gated": [0.60, 0.30]}, variant="width=2", test_loss=1.0)
    dense = runs({"dense": [0.61, 0.30]}, variant="width=2", test_loss=1.0)
    pairs = pd.concat([gated, dense], ignore_index=True).assign(train_loss=[0.1, 2.0, 0.2, 2.0])
    told = same_runs_sentence(pairs.assign(train_accuracy=[1.0, 0.34] * 2), "classroom")
    assert told.startswith("In 1 of 2 pairs with a network of twice the width, the two runs end with the same numbers")
    assert "There, training lost by itself what it had learned: its training accuracy ends at 34 %. The" in told
    assert "lost by itself" not in same_runs_sentence(pairs.assign(train_accuracy=1.0), "classroom")
    assert same_runs_sentence(pairs[pairs["seed"] == 0], "classroom") == ""


def test_every_arm_that_is_compared_has_the_name_that_its_declared_runs_get():
    studies = Studies.read(ROOT / "workflow" / "studies.yaml")
    declared = set()
    for study in ("classroom", "controls", "tuned", "noise", "tolerance", "ablations", *OTHERS):
        for config in studies.configurations(study):
            variant = variant_of(config.model_dump(mode="json"), config.overrides())
            declared.add(f"{config.method} {variant}".strip())
    compared = set(ARMS.values()) | set(TOLERANCES) | set(TOLERANCES.values())
    for study in ("ablations", *OTHERS):
        compared |= set(changed_arms(study)) | set(changed_arms(study).values())
    assert compared <= declared, compared - declared


def test_when_the_best_epoch_comes_is_told_by_method():
    best = {"dense": (20, 30, 40), "accuracy_gated": (30, 50, 90)}
    made = [
        {"method": method, "run": f"{method} {seed}", "epoch": float(epoch), "keep_ratio": 1 - epoch / 100}
        | {"test_accuracy": 0.6 if epoch in (at, 95) else 0.5}
        for method, places in best.items()
        for seed, at in enumerate(places)
        for epoch in range(10, 101, 5)
    ]
    told = best_epoch_sentence(best_epochs(pd.DataFrame(made)))
    assert "after epoch 30 in dense training and after epoch 50 under the published rule, in the median of 3" in told
    assert "later than in every dense run in 2 of 3 runs, and not later than in the median dense run in 1." in told
    assert "In 1 of 3 runs of the rule it comes at a keep-ratio of 0.57 or more" in told
