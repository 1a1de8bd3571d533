"""What runs recorded is recomputed from the files beside their records; whatever was altered or damaged is named."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import alter
from sparsecycle import RunConfig, train
from sparsecycle.analysis.verification import VerifiedRun, verify_claims, verify_runs
from sparsecycle.errors import InputError
from sparsecycle.runs.records import (
    Correct,
    file_digests,
    read_correct,
    read_decisions,
    read_epochs,
    write_correct,
    write_table,
)

GATED = "smoke/accuracy_gated-seed0"
SHORT: dict[str, Any] = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 3}
CONFIGURATIONS: list[dict[str, Any]] = [
    {"method": "dense"},
    {"method": "accuracy_gated"},
    {"method": "replay", "path_from": "accuracy_gated-seed0", "shuffled": True, **SHORT},
    {"method": "random", **SHORT},
    {"method": "dense", "learning_rate": 1e9, **SHORT},  # diverges
    {"method": "accuracy_gated", **SHORT, "test_images": 0},  # as in the pilot
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for fields in CONFIGURATIONS:
        train(RunConfig(preset="smoke", **fields), output_dir=folder, device="cpu", progress=False)
    return folder


@pytest.fixture(scope="module")
def verified(recorded: Path) -> list[VerifiedRun]:
    """All of them, as if their source had been clean: tests may run in a tree with changes."""
    return [replace(run, recorded=run.recorded | {"git_clean": True}) for run in verify_runs(recorded)]


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """A folder of runs with the one run that tests alter."""
    shutil.copytree(recorded / GATED, tmp_path / GATED)
    return tmp_path


def problems_of(folder: Path) -> str:
    [run] = verify_runs(folder)
    assert run.problems
    return "; ".join(run.problems)


def test_every_number_of_a_run_and_of_the_tables_follows_from_its_files(verified):
    assert len(verified) == len(CONFIGURATIONS)
    assert {run.name: run.problems for run in verified} == {run.name: () for run in verified}
    assert {run.recorded["status"] for run in verified} == {"complete", "diverged"}
    assert {run.recorded["evaluated_on"] for run in verified} == {"test", "nothing"}
    # 15 metrics and 6 keep-ratios; 3 numbers of each of 6 looks; 12 decisions; the identity.
    assert {run.name: run.checked for run in verified}[GATED] == 15 + 6 + 3 * 6 + 12 + 1
    checked, problems = verify_claims(verified)
    assert checked > 20 and problems == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record["config"].update(seed=7), "its identity is not that of its configuration"),
        (lambda record: record["metrics"].update(clean_accuracy=0.9), "clean_accuracy is recorded as 0.9"),
        (lambda record: record["metrics"].pop("best_accuracy"), "metrics lacks best_accuracy"),
        (lambda record: record["metrics"].update(resets=5.0), "resets is recorded as 5.0"),
        (lambda record: record["metrics"].update(gap=0.5), "gap is recorded as 0.5"),
        (lambda record: record["budgets"].pop(2), "accuracy_at_0.25 is recorded as None"),
        (lambda record: record["budgets"][0].update(accuracy=0.9), "accuracy_at_1.0 is recorded as 0.9"),
        (lambda record: record.update(status="diverged"), "recorded as diverged, but its last training loss is finite"),
        (lambda record: record.update(metrics=3), "record.json is damaged"),
    ],
)
def test_what_was_altered_in_a_record_is_told(copied, change, told):
    alter(copied / GATED / "record.json", change)
    assert told in problems_of(copied)


def other_bits(folder: Path) -> None:
    correct = read_correct(folder)
    flipped = Correct(~correct.dense, correct.sparse, correct.budgets)
    write_correct(folder, flipped, list(correct.budgets))


def other_decisions(folder: Path) -> None:
    decisions = read_decisions(folder)
    write_table(folder / "decisions.parquet", decisions.assign(keep_ratio=0.9 * decisions["keep_ratio"]))


def fewer_decisions(folder: Path) -> None:
    write_table(folder / "decisions.parquet", read_decisions(folder).iloc[:-1])


def other_looks(folder: Path) -> None:
    epochs = read_epochs(folder)
    write_table(folder / "epochs.parquet", epochs.assign(epoch=epochs["epoch"] + 1))


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (other_bits, "test_accuracy of its looks is not that of its bits"),
        (other_bits, "last_accuracy is recorded as"),
        (other_decisions, "its decisions do not follow from the rule of 'accuracy_gated'"),
        (other_decisions, "its looks are not at the keep-ratios in force"),
        (fewer_decisions, "its decisions do not follow from the rule"),
        (other_looks, "its looks at the test images are not at the epochs of its configuration"),
    ],
)
def test_a_forged_file_is_told_also_where_its_checksum_was_forged_with_it(copied, forge, told):
    folder = copied / GATED
    forge(folder)
    assert "is not the file that record.json was written with" in problems_of(copied)
    names = [path.name for path in folder.iterdir() if path.suffix in (".parquet", ".npz")]
    alter(folder / "record.json", lambda record: record["files"].update(file_digests(folder, names)))
    assert told in problems_of(copied)


@pytest.mark.parametrize("name", ["record.json", "epochs.parquet", "decisions.parquet", "correct.npz"])
def test_damage_is_named_and_the_other_runs_are_verified(recorded, copied, name):
    shutil.copytree(recorded / "smoke/dense-seed0", copied / "smoke/dense-seed0")
    (copied / GATED / name).write_bytes(b"{")
    gated, dense = verify_runs(copied)
    assert dense.problems == () and dense.checked > 0
    assert gated.name == GATED and name in gated.problems[0] and "\n" not in gated.problems[0]
    assert verify_claims([gated, dense])[1] == ()


def test_a_run_whose_files_say_otherwise_changes_the_tables(verified):
    [place] = [i for i, run in enumerate(verified) if run.name == GATED]
    wrong = replace(verified[place], recomputed=verified[place].recomputed | {"clean_accuracy": 0.9})
    _, problems = verify_claims([*verified[:place], wrong, *verified[place + 1 :]])
    told = "claims of smoke, C1 by clean_accuracy against dense: mean is"
    assert any(problem.startswith(told) for problem in problems)


def test_two_runs_of_one_name_cannot_stand_in_one_table(verified):
    twin = replace(verified[0], recorded=verified[0].recorded | {"identity": "another source"})
    _, (problem,) = verify_claims([*verified, twin])
    assert problem.startswith("no table can hold the runs of smoke") and "more than one run of seed 0" in problem


def test_a_copy_of_a_run_is_verified_too_but_counts_once(copied):
    shutil.copytree(copied / GATED, copied / "again")
    alter(copied / "again" / "record.json", lambda record: record["metrics"].update(clean_accuracy=0.9))
    altered, run = verify_runs(copied, copied)
    assert (altered.name, run.name) == ("again", GATED)
    assert run.problems == () and "clean_accuracy is recorded as 0.9" in altered.problems[0]
    assert verify_claims([run, run]) == verify_claims([run])


def test_without_runs_there_is_nothing_to_verify_and_a_missing_folder_is_told(tmp_path):
    assert list(verify_runs(tmp_path)) == [] and verify_claims([]) == (0, ())
    with pytest.raises(InputError, match="does not exist"):
        list(verify_runs(tmp_path / "nowhere"))
