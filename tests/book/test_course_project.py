"""The project of the course: a rule in a file of its own trains and is scored, nothing against the rules is."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from sparsecycle import train
from sparsecycle.config import CONTROLLER_FIELDS
from sparsecycle.controllers import CONTROLLERS, controller_parameters
from sparsecycle.errors import InputError
from sparsecycle.runs.records import load_runs
from sparsecycle_book.course.project import LARGEST_MEAN_KEEP_RATIO, luck, main, register, score, sentences

PAGE = (ROOT / "course/project.md").read_text(encoding="utf-8")
[SOURCE] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """A rule is known in its own test alone."""
    before = dict(CONTROLLERS)
    yield
    CONTROLLERS.clear()
    CONTROLLERS.update(before)
    controller_parameters.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_rule.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """Put recorded runs of the preset smoke into a folder."""

    def put(name: str, *runs: str) -> Path:
        for run in runs:
            shutil.copytree(ROOT / "data/runs/smoke" / run, tmp_path / name / "smoke" / run)
        return tmp_path / name

    return put


def test_the_page_names_every_parameter_that_may_be_changed():
    [rule] = re.findall(r"may be changed with `--set`:(.*?)\. The \(geometric\)", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", rule)) == CONTROLLER_FIELDS - {"path_from", "shuffled"}, "a path is another's"
    assert LARGEST_MEAN_KEEP_RATIO == 2 / 3 and "at most two thirds" in PAGE


def test_the_rule_of_the_page_goes_on_where_it_was_interrupted(file):
    mine = register(file)
    whole, first, second = mine(decision_steps=2), mine(decision_steps=2), mine(decision_steps=2)
    accuracies = [0.9, 0.8, 0.7, 0.9, 0.4, 0.5, 0.6, 0.9]
    made = whole.update(accuracies)
    assert [one.reset for one in made] == [False, False, True, False] and made[0].keep_ratio == 0.9
    head = first.update(accuracies[:3])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert head + second.update(accuracies[3:]) == made


def test_a_rule_trains_is_kept_beside_its_runs_and_is_scored(file, tmp_path, tiny, capsys):
    ours = tmp_path / "ours"
    run = ["run", "--preset=smoke", "--method=mine", "--no-progress", "--device=cpu", "--output-dir", str(ours)]
    for name in ("train_images", "test_images", "batch_size", "epochs"):
        run += ["--set", f"{name}={getattr(tiny(), name)}"]
    # As the page says, in a process of its own.
    command = [sys.executable, "-m", "sparsecycle_book.course.project", str(file), *run]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    register(file)
    assert (ours / "mine.py").read_text(encoding="utf-8") == SOURCE
    assert main(["compare", str(ours)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^smoke mine .*: changes .*epochs.*: out of competition$", said, re.MULTILINE)
    assert "Luck alone: runs of dense" in said
    file.write_text(SOURCE.replace("0.9 *", "0.8 *"), encoding="utf-8")
    CONTROLLERS.pop("mine")
    assert main([str(file), *run]) == 2
    assert "has runs of another version of mine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("0.9 * keep_ratio", "keep_ratio"), "is not safe to train with. It never compresses"),
        (("def next_keep_ratio", "def next"), "Mine has no method next_keep_ratio"),
        (("return 1.0 if", "return 1.0 iff"), "my_rule.py: line 10 is not Python"),
        (('name = "mine"', 'name = "dense"'), "the name of Mine is 'dense', but must be"),
        (("class Mine(Rule)", "class Mine"), "has 0 classes made from Rule, but must have one"),
        (("import Rule", "import Rules"), "my_rule.py stops: ImportError"),
        ((SOURCE, ""), "has 0 classes"),
    ],
)
def test_a_rule_that_cannot_train_is_refused_and_it_says_why(file, change, told):
    file.write_text(SOURCE.replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(told)):
        register(file)


def test_the_score_is_the_mean_difference_of_equal_seeds_over_the_published_rule(folder):
    own = folder("own", "epoch_gated-seed0", "epoch_gated-seed1")
    recorded = folder("recorded", "accuracy_gated-seed0", "accuracy_gated-seed1")
    [row] = score([own], [recorded]).to_dict("records")
    accuracy = load_runs(own, recorded).set_index(["method", "seed"])["clean_accuracy"]
    gains = accuracy["epoch_gated"] - accuracy["accuracy_gated"]
    assert row["gain"] == pytest.approx(gains.mean())
    assert (row["method"], row["variant"], row["seeds"], row["remark"]) == ("epoch_gated", "", 2, "")
    line, *each = sentences(score([own], [recorded]))
    gain = f"{100 * gains.mean():+.1f} points of clean accuracy"
    assert line.startswith(f"smoke epoch_gated: {gain} over accuracy_gated (2")
    assert [one.rpartition(" = ")[2] for one in each] == [f"{100 * gain:+.1f}" for gain in gains]
    assert "(1 seed of three)" in sentences(score([folder("one", "epoch_gated-seed0")], [recorded]))[0]
    with pytest.raises(InputError, match=r"2 of your 2 runs and 0 recorded ones of method 'accuracy_gated'"):
        score([own], [own])


def test_a_method_that_is_switched_off_is_out_and_it_says_why(folder):
    [row] = score([folder("own", "dense-seed0")], [folder("recorded", "accuracy_gated-seed0")]).to_dict("records")
    assert (row["seeds"], row["remark"]) == (0, "mean keep-ratio 1.00, above two thirds: out of competition")


def test_the_recorded_rival_has_the_seeds_of_the_project_and_keeps_its_rule():
    runs = load_runs()
    rivals = runs[(runs["preset"] == "quick") & (runs["method"] == "accuracy_gated") & (runs["variant"] == "")]
    assert {0, 1, 2} <= set(rivals["seed"])
    assert rivals["mean_keep_ratio"].max() <= LARGEST_MEAN_KEEP_RATIO


def test_luck_is_the_largest_difference_of_two_recorded_seeds():
    runs = load_runs()
    dense = runs[(runs["preset"] == "quick") & (runs["method"] == "dense")]["clean_accuracy"]
    found = luck("quick", ["dense"])
    assert found["most"].tolist() == [pytest.approx(dense.max() - dense.min())] and luck("paper").empty


def test_a_refused_command_keeps_no_rule(file, tmp_path):
    ours = tmp_path / "ours"
    assert main([str(file), "run", "--preset", "smoke", "--method", "mien", "--output-dir", str(ours)])
    assert not list(ours.glob("*.py"))


def test_the_rule_is_kept_in_the_home_folder_where_the_runs_go(file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sparsecycle.cli.main", lambda given: 0)
    assert main([str(file), "run", "--output-dir=~/runs"]) == 0
    assert (tmp_path / "runs" / "mine.py").read_text(encoding="utf-8") == SOURCE


def test_tries_on_held_out_images_have_no_score(file, tmp_path, tiny, capsys):
    train(tiny(holdout_images=10), output_dir=tmp_path / "tries", progress=False)
    assert main([str(file), "compare", str(tmp_path / "tries")]) == 0
    said = capsys.readouterr().out
    assert "clean" in said and "Tries on held-out images have no score" in said
    [told] = re.findall(r"^\w+ seed 0: changes (.*): out of competition$", said, re.MULTILINE)
    assert "epochs" in told and "holdout_images" not in told
