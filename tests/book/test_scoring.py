"""The project's score: paired by seed, and nothing that cost more takes part."""

from pathlib import Path

import pytest

from sparsecycle import RunConfig, train
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.runs.records import RunRecord
from sparsecycle_book.course.scoring import score


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of somebody, and two recorded ones."""
    own, recorded = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("recorded")
    for seed in (0, 1):
        train(RunConfig(preset="smoke", method="loss_gated", seed=seed), output_dir=recorded, progress=False)
        train(RunConfig(preset="smoke", method="plateau", seed=seed, decay=0.3), output_dir=own, progress=False)
    return own, recorded


def accuracy(folder: Path, seed: int) -> float:
    [path] = folder.glob(f"smoke/*-seed{seed}*")
    value = RunRecord.read(path).metrics["test_accuracy"]
    assert value is not None
    return value


def test_the_score_is_the_mean_difference_of_equal_seeds(folders: tuple[Path, Path]) -> None:
    own, recorded = folders
    [row] = score([own], recorded=[recorded]).to_dict("records")
    gains = [accuracy(own, seed) - accuracy(recorded, seed) for seed in (0, 1)]
    assert row["gain"] == pytest.approx(sum(gains) / 2)
    assert (row["method"], row["variant"], row["seeds"], row["remark"]) == ("plateau", "decay=0.3", 2, "")


@pytest.mark.parametrize(
    ("method", "changed", "remark"),
    [
        ("plateau", {"epochs": 7}, "changes epochs: out of competition"),
        ("plateau", {"width": 2}, "changes width: out of competition"),
        ("plateau", {"learning_rate": 0.07, "floor": 0.1}, "changes learning_rate: out of competition"),
        ("plateau", {"floor": 1.0}, "mean budget 1.00, above two thirds: out of competition"),
        ("dense", {}, "mean budget 1.00, above two thirds: out of competition"),
    ],
)
def test_what_is_against_the_rules_is_out_and_it_says_why(
    folders: tuple[Path, Path], tmp_path: Path, method: str, changed: dict[str, float], remark: str
) -> None:
    train(RunConfig(preset="smoke", method=method, **changed), output_dir=tmp_path, progress=False)
    [row] = score([tmp_path], recorded=[folders[1]]).to_dict("records")
    assert (row["seeds"], row["remark"]) == (0, remark)


def test_without_rivals_there_is_no_score(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"2 runs of yours and 0 recorded ones of method 'fixed'"):
        score([folders[0]], "fixed", [folders[1]])


def test_the_command_prints_it(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folders[0]), "--against", "loss_gated"]) == 0
    assert "recorded loss_gated runs of the same seeds" in capsys.readouterr().out
