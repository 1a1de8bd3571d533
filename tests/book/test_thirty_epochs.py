"""Thirty epochs of the paper's network: the pilot's criterion, the declared study, and what a pair says."""

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle import RunConfig
from sparsecycle.runs.studies import Studies
from sparsecycle_book.report import thirty_epochs
from sparsecycle_book.report.pilot import pilot_runs


def pilot(gated_cycles: float, gated_accuracy: float) -> pd.DataFrame:
    """Two runs of a pilot, of which the dense one reaches 0.60."""
    return pd.DataFrame(
        {
            "method": ["accuracy_gated", "dense"],
            "cycles": [gated_cycles, 0.0],
            "train_accuracy": [gated_accuracy, 0.60],
        }
    )


@pytest.mark.parametrize(
    "cycles, accuracy, met", [(1.0, 0.501, True), (1.0, 0.499, False), (0.0, 0.60, False), (2.0, np.nan, False)]
)
def test_the_pilot_is_passed_with_a_cycle_and_enough_training_accuracy(cycles, accuracy, met):
    runs = pilot(cycles, accuracy)
    assert thirty_epochs.passes(runs) is met
    told = thirty_epochs.choice_sentence(runs)
    assert f"decides every {8 if met else 26} steps" in told and ("meets" if met else "does not meet") in told


def test_the_rule_decides_as_often_as_the_recorded_pilot_says():
    usual = RunConfig(preset="paper100", method="accuracy_gated").decision_steps
    steps = 8 if thirty_epochs.passes(pilot_runs(preset=thirty_epochs.PRESET)) else usual
    declared = Studies.read(ROOT / "workflow" / "studies.yaml").configurations("paper30")
    assert {one.decision_steps for one in declared if one.method == "accuracy_gated"} == {steps}
    assert {one.epochs for one in declared} == {30} and {one.preset for one in declared} == {"paper100"}


def test_a_pair_is_described_and_kept_apart_from_the_preset():
    [pair] = thirty_epochs.compared_arms().items()
    rows = [
        {"method": arm.partition(" ")[0], "variant": variant, "seed": 0, "best_accuracy": best, "clean_accuracy": clean}
        for arm, best, clean in zip(pair, (0.87, 0.85), (0.86, 0.85), strict=True)
        for variant in ("", arm.partition(" ")[2])
    ]
    plain = {"preset": "paper100", "status": "complete", "evaluated_on": "test", "git_clean": True}
    found = pd.DataFrame(rows).assign(**plain)
    assert thirty_epochs.gain_sentence(found) == (
        "**In 30 epochs, the published rule gains +2.00 points in test accuracy as reported and +1.00 points in clean "
        "test accuracy over dense training (1 pair).** So few pairs are described, not judged."
    )
    assert thirty_epochs.thirty_runs(found)["variant"].str.contains("epochs=30").tolist() == [True, True]
    assert thirty_epochs.gain_sentence(found[found["variant"] == ""]) == ""
