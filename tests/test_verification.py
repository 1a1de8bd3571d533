"""The tables of claims rebuilt from what predictions give: equal for the shipped runs, and not for altered ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ROOT
from sparsecycle.records import load_runs
from sparsecycle.verification import VerifiedRun, claim_tables, verify_claims, verify_runs

QUICK = ROOT / "data/runs/quick"


@pytest.fixture(scope="module")
def verified() -> list[VerifiedRun]:
    return list(verify_runs(QUICK))


def test_the_tables_of_the_shipped_runs_follow_from_their_predictions(verified: list[VerifiedRun]) -> None:
    checked, problems = verify_claims(verified, QUICK)
    assert checked > 100 and problems == []


def test_a_run_whose_predictions_say_otherwise_changes_the_tables(verified: list[VerifiedRun]) -> None:
    [place] = [i for i, run in enumerate(verified) if run.name == "plateau-seed0"]
    wrong = replace(verified[place], columns=verified[place].columns | {"test_accuracy": 0.9})
    _, problems = verify_claims([*verified[:place], wrong, *verified[place + 1 :]], QUICK)
    assert any(problem.startswith("verdicts of quick, row 1: the records give") for problem in problems)


def test_the_tables_have_every_claim_and_both_other_kinds() -> None:
    tables = claim_tables(load_runs(QUICK), "quick")
    assert set(tables["verdicts"]["claim"]) == {f"C{number}" for number in range(1, 9)}
    assert len(tables["ablations"]) > 2 and "baselines by test_accuracy" in tables


def test_the_runs_of_a_folder_are_named_from_it(verified: list[VerifiedRun]) -> None:
    assert {run.name for run in verified} == {Path(folder).name for folder in QUICK.iterdir()}
