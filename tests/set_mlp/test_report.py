"""Sentences, tables and figures on the companion study say what its rows say."""

import re
import shlex
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from set_mlp.frames import fallen, made_up, none
from sparsecycle.config import parse_setting
from sparsecycle.set_mlp.claims import RESTS, set_verdict_table, study_runs
from sparsecycle.set_mlp.config import METHODS, SetConfig, configure_set
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.layer import SparseLayer
from sparsecycle.set_mlp.records import SetRecord, set_run_name
from sparsecycle.set_mlp.study import SetStudies
from sparsecycle.set_mlp.training import train_set
from sparsecycle_book.benchmarks.record import BenchmarkRecord, Measurement
from sparsecycle_book.display import alternative_text, inline_svg
from sparsecycle_book.figures import WIDTH
from sparsecycle_book.set_mlp import report, run_figures, study_figures


def study() -> pd.DataFrame:
    """SET is two points better in both arms and diverges on colon; pruning costs half a point."""
    found = []
    for arm in ("authors", "tuned"):
        found += [fallen(made_up("set", arm, gain=0.02), "colon"), made_up("set_pruned", arm, gain=0.015)]
        found.append(made_up("dense", arm))
    found.append(made_up("set_pruned", gain=-0.03, variant="prune_score=random"))
    return pd.concat(found)


def benchmark(**sides: float) -> BenchmarkRecord:
    def one(suite: str, case: str, side: str, value: float, unit: str = "ms") -> Measurement:
        amount: dict[str, Any] = {"milliseconds": [value]} if unit == "ms" else {"value": value, "unit": unit}
        return Measurement.model_validate({"suite": suite, "case": case, "side": side} | amount)

    measurements = []
    for neurons, counted in ((10_000, 396_639.0), (1_000_000, 37_686_639.0)):
        case = f"{neurons} neurons"
        measurements += [
            one("set scaling", case, "parameters", sides.get("parameters", counted), "parameters"),
            one("set scaling", case, "peak memory", 2048.0, "MiB"),
            one("set scaling", case, "step", 1500.0),
            one("set scaling", case, "evolution", 2500.0),
        ]
    for suite, plain in (("set epoch", 6000.0), ("set evolution", 9000.0)):
        measurements += [one(suite, "3-4-2", "kernels", 500.0), one(suite, "3-4-2", "scipy", plain)]
    return BenchmarkRecord(started="", ended="", environment={}, left_out=[], measurements=measurements)


def test_nothing_recorded_is_said_in_one_sentence_and_d3_needs_no_run():
    nothing = none()
    assert report.set_answer(nothing) == report.NOTHING == report.study_sentence(nothing)
    told = report.set_answer(nothing, benchmark())
    assert "- **Parameters are linear in neurons (D3)**: true by construction. With 1,000,000 hidden neurons" in told
    assert report.sensitivity_table(nothing).empty and report.set_ablation_table(nothing).empty
    assert report.choice_table(nothing).empty


def test_findings_come_with_their_numbers_and_divergence_is_told():
    told = report.set_answer(study(), benchmark())
    declared = SetStudies.read(report.STUDIES)
    planned = {set_run_name(config) for name in declared.studies for config in declared.configurations(name)}
    done = len(planned & set(study()["run"]))
    assert 0 < done < len(study()), "two splits of a method that has one are not of the study"
    assert told.endswith(f"The study is under way: {done} of its {len(planned)} runs are recorded.")
    everything = study().iloc[:1].loc[lambda frame: frame.index.repeat(len(planned))].assign(run=sorted(planned))
    everything = everything.assign(seed=range(len(planned)))
    assert report.study_sentence(everything) == f"All {len(planned)} runs of the study are recorded."
    [line] = [one for one in told.splitlines() if "(D2)**, with tuned settings" in one]
    assert line.startswith("- **SET with pruning against SET")
    assert line.endswith(": no verdict, because it would depend on diverged runs.")
    assert "for SET in 2 of 30 runs with the authors' settings, on 1 of 15 datasets" in told
    assert told.count(" (D1)**") == 2, "the tenth of the rate is not recorded"
    [line] = [one for one in told.splitlines() if "(D1)**, with the authors' settings" in one]
    for measure in report.MEASURES.values():
        assert f"* in {measure} (" in line
    shorter = report.set_answer(study(), brief=True)
    assert shorter.count(" (D1)**") == 2 and not re.search("maximum|D3|Training diverged", shorter)


def test_tables_for_people():
    runs = study()
    table = report.readable_set_verdicts(set_verdict_table(runs))
    assert list(table.loc["D1", "arm"])[-1] == "tuned" and "not measured" in set(table["verdict"])
    sensitivity = report.sensitivity_table(runs)
    first = sensitivity.loc["D1"].iloc[0]
    amounts = [float(first[name].split()[0]) for name in ("most frequent class", "zero", "left out")]
    assert amounts[1] < amounts[0] < amounts[2] and first["left out"].endswith("(14)")
    assert set(sensitivity["compared"].str.partition(":")[0]) == set(report.MEASURES.values())
    assert float(first["median"]) == pytest.approx(2, abs=0.2) and float(first["p (Wilcoxon)"]) < 0.05
    rests = table[table["verdict"] == RESTS]
    assert len(rests) and not rests[["ours (95 % interval)", "p", "p (Holm)"]].any(axis=None)
    ablations = report.set_ablation_table(runs)
    assert ablations[["method", "variant", "datasets"]].values.tolist() == [["set_pruned", "prune_score=random", 15]]
    assert ablations["mean"].item() == pytest.approx(-0.045, abs=0.002)
    shown = report.readable_set_ablations(ablations)
    assert (shown["neurons left"].item(), shown["diverged"].item()) == ("50 %", "0 / 0 of 30")
    assert shown["varied"].item() == "pruning random neurons"
    told = report.set_ablation_sentence(ablations)
    assert "only pruning random neurons (-4.5 points" in told and told.endswith("the score matters.")
    told = report.set_ablation_sentence(ablations.assign(p_holm=0.06))
    assert told.startswith("**No single choice") and told.endswith("is not shown to matter.")
    slower = made_up("dense", gain=0.02, variant="learning_rate=0.001")
    assert len(report.set_ablation_table(pd.concat([runs, slower]))) == 1, "a baseline of D1 is no ablation"
    given = pd.DataFrame({"dense": [0.5, 0.7], "splits": [2, 3]}, index=["a", "b"])
    means = report.readable_means(given)
    assert means.loc["mean", "dense"] == 60 and means.loc["mean", "splits"] == "" and len(given) == 2


def test_choices_are_counted_by_rate_and_batch_size():
    low = made_up("set", "tuned", learning_rate=0.0001)
    large = low["dataset"].isin(study_datasets()[:4])
    low = low.assign(batch_size=low["batch_size"].mask(large, 32), dropout=low["dropout"].mask(large, 0.0))
    table = report.choice_table(pd.concat([low, made_up("dense", "tuned", learning_rate=0.0016), made_up("set")]))
    assert table.index.tolist() == [("dense", 2), ("set", 2), ("set", 32)]
    assert table["runs"].tolist() == [30, 22, 8] and table["dropout"].tolist() == [30, 22, 0]
    assert table["rate 0.0001"].tolist() == [0, 22, 8] and table["rate 0.0016"].tolist() == [30, 0, 0]
    assert table["inner runs that diverged"].tolist() == ["30 of 900", "22 of 660", "8 of 240"]


def test_a_loss_that_is_excluded_is_told_where_two_sided_equivalence_is_undecided():
    """Pruning gains from nothing to two points, so neither a gain nor equivalence within one point is shown."""
    pruned = made_up("set_pruned")
    wide = pruned["last_accuracy"] + pruned["dataset"].isin(study_datasets()[:4]) * 0.03
    runs = pd.concat([made_up("set"), pruned.assign(last_accuracy=wide)])
    [line] = [one for one in report.set_answer(runs, brief=True).splitlines() if "(D2)" in one]
    assert "*undecided*" in line and "a loss of one point is excluded)" in line


def test_measures_that_say_the_same_are_told():
    assert report.overlap_sentences(none()) == report.overlap_sentences(made_up("set")) == ""
    slower = made_up("dense", variant="learning_rate=0.001", train_accuracy=0.9)
    told = report.overlap_sentences(pd.concat([made_up("set"), slower]))
    assert "lies 1.0 points above the last one for SET and 1.0 points for the other" in told
    assert "ends at 99 % or more in 30 of 60 of these runs" in told


def test_each_run_has_the_command_that_repeats_it():
    command = report.set_run_command("my data.mat", "tuned", "set_pruned", 3, "hidden=[30,20], prune_score=random")
    words = shlex.split(command)[3:]
    given = dict(zip(words[::2], words[1::2], strict=True))
    settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    overrides = dict(parse_setting(text) for text in settings)
    config = configure_set(given["--dataset"], given["--method"], given["--arm"], int(given["--seed"]), overrides)
    assert config.overrides() == {"hidden": [30, 20], "prune_score": "random"} and config.dataset == "my data.mat"


def test_the_retired_study_is_told_from_its_record():
    told = report.retired_sentences()
    for number in ("16 of 75 runs diverged", "-19.0 (-39.2 to -2.9)", "-0.3 (-0.9 to +0.2)", "0 of 30", "1,850 runs"):
        assert number in told


def test_d3_is_the_formula_checked_against_what_was_measured():
    table = report.scaling_table(benchmark())
    assert table["parameters"].tolist() == [396_639, 37_686_639] and table.at[10_000, "memory (GiB)"] == 2
    assert report.readable_scaling(benchmark()).at["1,000,000", "fully connected"] == "222,559,444,117"
    with pytest.raises(ValueError, match="the formula does not give the parameters"):
        report.scaling_table(benchmark(parameters=5.0))
    assert report.speed_sentences(benchmark()) == [
        "`3-4-2`: an epoch of training 12 times as fast (0.50 s), a step of evolution 18 times as fast (0.50 s)."
    ]


def check(figure: Any) -> str:
    """It can be put on a page, and its text is there."""
    assert "<svg" in inline_svg(figure)
    assert figure.get_figwidth() <= WIDTH
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= 10, "else it cannot be read on a phone"
    return alternative_text(figure)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SetRecord]:
    output = tmp_path_factory.mktemp("runs")
    small: dict[str, Any] = {"dataset": "digits", "hidden": (30, 20), "epochs": 4, "batch_size": 64}
    return {
        method: train_set(SetConfig(method=method, **small), output_dir=output, progress=False) for method in METHODS
    }


def test_curves_say_where_each_method_ends(records):
    text = check(run_figures.run_curves(list(records.values())))
    for method, record in records.items():
        end = f"{record.metrics['last_accuracy']:.2f} with {sum(record.connections)} connections"
        assert f"{method} test accuracy {end}" in text
    assert "and 25 hidden neurons" in text


def test_connections_of_features_and_rewiring():
    layer = SparseLayer(4, 2, np.array([0, 1, 3, 4]), np.array([1.0, 2.0, -1.0, 0.5]))
    told = check(run_figures.feature_connections(layer, (2, 2)))
    assert "Connections of 4 input features after training: from 0 to 2, mean 1." in told
    after = SparseLayer(4, 2, np.array([0, 1, 3, 6]), np.array([1.0, 2.0, -1.0, 0.5]))
    assert "before with 4 connections and after with 4: 1 went, 1 are new" in check(run_figures.rewiring(layer, after))


def test_figures_of_the_study():
    runs = study()
    table = set_verdict_table(runs)
    shown = table[(table["measure"] == "last_accuracy") & (table["datasets"] > 0)]
    figure = study_figures.gains_by_dataset(shown)
    assert len(figure.axes) == len(shown) == 4
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown_ticks = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        boxes += [label.get_window_extent() for label in shown_ticks]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    names = sorted(study_datasets(), key=str.lower, reverse=True)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names
    assert "tuned, set_pruned - set: " in check(figure)
    with pytest.raises(ValueError, match="there is nothing to draw"):
        study_figures.gains_by_dataset(set_verdict_table(none()))
    own = study_runs(runs)
    text = check(
        study_figures.accuracy_against_parameters(own[(own["arm"] == "tuned") & (own["status"] == "complete")])
    )
    assert re.search(r"dense 0.80 with 1,000 parameters; set 0.82", text)
    told = check(study_figures.scaling(report.scaling_table(benchmark())))
    assert "at 1,000,000: parameters 3.77e+07, fully connected 2.23e+11, step (s) 1.5, evolution (s) 2.5" in told
