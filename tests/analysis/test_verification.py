"""The tables of claims rebuilt from what predictions give: equal for the shipped runs, and not for altered ones."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.runs.records import load_runs
from sparsecycle.analysis.verification import VerifiedRun, claim_tables, verify_claims, verify_runs

QUICK = ROOT / "data/runs/quick"


@pytest.fixture(scope="module")
def verified() -> list[VerifiedRun]:
    return list(verify_runs(QUICK))


def test_the_tables_of_the_shipped_runs_follow_from_their_predictions(verified: list[VerifiedRun]) -> None:
    checked, problems = verify_claims(verified, QUICK)
    assert checked > 100 and problems == []


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("test_accuracy", 0.9, "verdicts of quick, row 1: mean is"),
        ("budget_area", 0.9, "verdicts of quick, row 3: mean is"),
        ("best_test_accuracy", 0.9, "ablations of quick, row "),
        ("accuracy_at_0.1", 0.9, "ablations of quick, row "),
    ],
)
def test_a_run_whose_predictions_say_otherwise_changes_the_tables(
    verified: list[VerifiedRun], column: str, value: float, told: str
) -> None:
    [place] = [i for i, run in enumerate(verified) if run.name == "plateau-seed0"]
    wrong = replace(verified[place], columns=verified[place].columns | {column: value})
    _, problems = verify_claims([*verified[:place], wrong, *verified[place + 1 :]], QUICK)
    assert any(problem.startswith(told) for problem in problems), problems


def test_a_run_that_was_not_recomputed_is_named(verified: list[VerifiedRun]) -> None:
    _, problems = verify_claims(verified[1:], QUICK)
    assert problems == [f"{verified[0].name} was not recomputed"]


def altered(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    folder = tmp_path / "quick" / "dense-seed0"
    shutil.copytree(QUICK / "dense-seed0", folder)
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    change(record)
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record["config"].update(seed=7), "its identity is not that of its configuration"),
        (lambda record: record.update(status="diverged"), "recorded as diverged, but all of its periods are there"),
        (lambda record: record["metrics"].pop("budget_area"), "budget_area is recorded as None"),
        (lambda record: record["budgets"].pop(2), "accuracy at 0.25 is recorded as"),
    ],
)
def test_what_was_altered_or_taken_out_of_a_record_is_told(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(altered(tmp_path, change))]) == 1
    assert told in capsys.readouterr().out


def test_two_runs_of_one_name_cannot_stand_in_one_table(tmp_path: Path, verified: list[VerifiedRun]) -> None:
    for name in ("mine", "yours"):
        shutil.copytree(QUICK / "dense-seed0", tmp_path / name)
    record = json.loads((tmp_path / "yours/record.json").read_text(encoding="utf-8"))
    (tmp_path / "yours/record.json").write_text(json.dumps(record | {"identity": "0" * 64}), encoding="utf-8")
    assert verify_claims(verified, tmp_path) == (
        0, ["no table can hold mine and yours, which have one name: verify their folders apart"]
    )  # fmt: skip


def test_the_tables_have_every_claim_and_both_other_kinds() -> None:
    tables = claim_tables(load_runs(QUICK), "quick")
    assert set(tables["verdicts"]["claim"]) == {f"C{number}" for number in range(1, 9)}
    assert len(tables["ablations"]) > 2 and "baselines by test_accuracy" in tables


def test_the_runs_of_a_folder_are_named_from_it(verified: list[VerifiedRun]) -> None:
    assert {run.name for run in verified} == {Path(folder).name for folder in QUICK.iterdir()}
