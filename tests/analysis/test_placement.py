"""A reader's runs among the recorded ones."""

import math

import pandas as pd
import pytest

from sparsecycle.analysis.placement import placement


def frame(rows: list[tuple[str, int, float]], **columns: object) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["method", "seed", "clean_accuracy"])
    plain = {"preset": "quick", "variant": "", "status": "complete", "evaluated_on": "test"}
    names = made["method"] + made["seed"].astype(str)
    return made.assign(run=names, identity=names, **({"started": "2026-01-01"} | plain | columns))


RECORDED = frame([("dense", 0, 0.50), ("dense", 1, 0.52), ("dense", 2, 0.54), ("accuracy_gated", 0, 0.6)])


def test_a_run_is_placed_among_its_own_kind():
    [row] = placement(frame([("dense", 1, 0.53)], started="2026-02-02"), RECORDED).to_dict("records")
    assert (row["below"], row["recorded"], row["lowest"], row["highest"]) == (2, 3, 0.50, 0.54)
    assert row["mean"] == pytest.approx(0.52)
    assert row["less_same_seed"] == pytest.approx(0.01)


def test_a_new_seed_has_no_run_of_the_same_seed():
    [row] = placement(frame([("dense", 7, 0.4)]), RECORDED).to_dict("records")
    assert row["below"] == 0 and math.isnan(row["less_same_seed"])


@pytest.mark.parametrize(
    "other", [{"variant": "floor=0.1"}, {"preset": "paper"}, {"status": "diverged"}, {"evaluated_on": "nothing"}]
)
def test_what_has_no_twin_or_no_number_is_left_out(other):
    assert placement(frame([("dense", 1, 0.53)], **other), RECORDED).empty
    assert placement(pd.DataFrame(), RECORDED).empty


def test_a_recorded_run_is_not_placed_among_itself():
    table = placement(RECORDED, RECORDED).set_index("run")
    assert (table.loc["dense0", "below"], table.loc["dense0", "recorded"]) == (0, 2)
    assert "accuracy_gated0" not in table.index
