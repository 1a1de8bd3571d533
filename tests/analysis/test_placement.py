"""A reader's runs among the recorded ones."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from sparsecycle import RunConfig, load_runs, train
from sparsecycle.cli import main
from sparsecycle.analysis.placement import placement


def frame(rows: list[tuple[str, int, float]], **columns: object) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["method", "seed", "test_accuracy"])
    plain = {"preset": "quick", "variant": "", "status": "complete", "evaluated_on": "test"}
    names = made["method"] + made["seed"].astype(str)
    return made.assign(run=names, identity=names, **({"started": "2026-01-01"} | plain | columns))


RECORDED = frame([("dense", 0, 0.50), ("dense", 1, 0.52), ("dense", 2, 0.54), ("plateau", 0, 0.6)])


def test_a_run_is_placed_among_its_own_kind() -> None:
    [row] = placement(frame([("dense", 1, 0.53)], started="2026-02-02"), RECORDED).to_dict("records")
    assert row["place"] == "above 2 of 3"
    assert (row["recorded"], row["lowest"], row["highest"]) == (3, 0.50, 0.54)
    assert row["mean"] == pytest.approx(0.52)
    assert row["less_same_seed"] == pytest.approx(0.01)


def test_a_new_seed_has_no_run_of_the_same_seed() -> None:
    [row] = placement(frame([("dense", 7, 0.4)]), RECORDED).to_dict("records")
    assert row["place"] == "above 0 of 3" and math.isnan(row["less_same_seed"])


@pytest.mark.parametrize("other", [{"variant": "floor=0.1"}, {"preset": "paper"}, {"status": "diverged"}])
def test_what_has_no_twin_or_no_number_is_left_out(other: dict[str, str]) -> None:
    assert placement(frame([("dense", 1, 0.53)], **other), RECORDED).empty
    assert placement(pd.DataFrame(), RECORDED).empty


def test_compare_places_the_runs_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(RunConfig(preset="smoke", method="dense"), output_dir=tmp_path, device="cpu", progress=False)
    assert main(["compare", str(tmp_path), "--no-claims"]) == 0
    out = capsys.readouterr().out
    recorded = load_runs()
    count = len(recorded[(recorded["preset"] == "smoke") & (recorded["method"] == "dense")])
    assert "Among the recorded runs of the same configuration" in out and re.search(rf"above \d+ of {count}\b", out)


def test_a_recorded_run_is_not_placed_among_itself() -> None:
    table = placement(RECORDED, RECORDED).set_index("run")
    assert table.loc["dense0", "place"] == "above 0 of 2"
    assert "plateau0" not in table.index
