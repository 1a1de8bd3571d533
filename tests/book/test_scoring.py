"""The project's score: paired by seed, clean, and nothing against the rules takes part."""

from pathlib import Path

import pytest

from sparsecycle import RunConfig, train
from sparsecycle.errors import InputError
from sparsecycle.runs.records import RunRecord
from sparsecycle_book.course.scoring import main, score


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of somebody, and two recorded ones."""
    own, recorded = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("recorded")
    for seed in (0, 1):
        train(RunConfig(preset="smoke", method="accuracy_gated", seed=seed), output_dir=recorded, progress=False)
        train(RunConfig(preset="smoke", method="geometric", seed=seed, floor=0.1), output_dir=own, progress=False)
    return own, recorded


def clean_accuracy(folder: Path, seed: int) -> float:
    [path] = folder.glob(f"smoke/*-seed{seed}*")
    value = RunRecord.read(path).metrics["clean_accuracy"]
    assert value is not None
    return value


def test_the_score_is_the_mean_difference_of_equal_seeds(folders: tuple[Path, Path]) -> None:
    own, recorded = folders
    [row] = score([own], [recorded]).to_dict("records")
    gains = [clean_accuracy(own, seed) - clean_accuracy(recorded, seed) for seed in (0, 1)]
    assert row["gain"] == pytest.approx(sum(gains) / 2)
    assert (row["method"], row["variant"], row["seeds"], row["remark"]) == ("geometric", "floor=0.1", 2, "")


@pytest.mark.parametrize(
    ("method", "changed", "remark"),
    [
        ("accuracy_gated", {"epochs": 7}, "changes epochs: out of competition"),
        ("accuracy_gated", {"learning_rate": 0.07, "floor": 0.1}, "changes learning_rate: out of competition"),
        ("accuracy_gated", {"floor": 1.0}, "mean keep-ratio 1.00, above two thirds: out of competition"),
        ("dense", {}, "mean keep-ratio 1.00, above two thirds: out of competition"),
    ],
)
def test_what_is_against_the_rules_is_out_and_it_says_why(
    folders: tuple[Path, Path], tmp_path: Path, method: str, changed: dict[str, float], remark: str
) -> None:
    train(RunConfig(preset="smoke", method=method, **changed), output_dir=tmp_path, progress=False)
    [row] = score([tmp_path], [folders[1]]).to_dict("records")
    assert (row["seeds"], row["remark"]) == (0, remark)


def test_without_rivals_there_is_no_score(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"2 runs of yours and 0 recorded ones of method 'accuracy_gated'"):
        score([folders[0]], [folders[0]])


def test_the_command_prints_a_line_a_setting_or_what_is_missing(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sparsecycle_book.course.scoring.score", lambda own: score(own, [folders[1]]))
    assert main([str(folders[0])]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("smoke geometric floor=0.1: ") and "points of clean accuracy over" in printed
    assert main([str(folders[0] / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
