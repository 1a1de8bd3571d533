"""The project of the course: what its page says can be done, and its rules are those of the score."""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import nbformat
import pytest

from conftest import ROOT
from sparsecycle import RunConfig
from sparsecycle.config import CONTROLLER_FIELDS
from sparsecycle.controllers import Controller, Decision
from sparsecycle.runs.records import load_runs
from sparsecycle_book.course.scoring import LARGEST_MEAN_KEEP_RATIO


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "course/project.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def source(page: str) -> str:
    """Of the class for a rule of one's own."""
    [found] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(found)


def test_the_project_page_names_every_parameter_that_may_be_changed(page: str) -> None:
    [rule] = re.findall(r"may be changed with `--set`:(.*?)\. The \(geometric\)", page, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", rule)) == CONTROLLER_FIELDS - {"path_from", "shuffled"}, "a path is another's"
    assert LARGEST_MEAN_KEEP_RATIO == 2 / 3 and "at most two thirds" in page


def test_the_commands_of_the_project_page_are_configurations(page: str) -> None:
    commands = re.findall(r"sparsecycle run (.*)", page)
    assert len(commands) == 2
    for command in commands:
        given = dict(re.findall(r"--set (\w+)=([\d.]+)", command))
        seed = int(re.findall(r"--seed (\d+)", command)[0])
        values = {name: float(value) if "." in value else int(value) for name, value in given.items()}
        RunConfig(preset="quick", method="accuracy_gated", seed=seed, **values)


def test_the_class_of_the_project_page_is_a_controller(source: str) -> None:
    names: dict[str, Any] = {"Controller": Controller, "Decision": Decision, "Any": Any}

    def my_rule(keep_ratio: float, accuracies: list[float], memory: dict[str, Any]) -> float:
        memory["decisions"] = memory.get("decisions", 0) + 1
        return 1.0 if min(accuracies) < 0.5 else keep_ratio / 2

    names["my_rule"] = my_rule
    exec(source, names)
    mine, again = names["Mine"](decision_steps=2), names["Mine"](decision_steps=2)
    decisions = mine.update([0.9, 0.8, 0.7, 0.9, 0.4, 0.9, 0.6])
    assert [(one.keep_ratio, one.reset) for one in decisions] == [(0.5, False), (0.25, False), (1.0, True)]
    again.update([0.9, 0.8, 0.7])
    again.load_state_dict(json.loads(json.dumps(mine.state_dict())))
    assert (again.keep_ratio, again.seen, again.memory) == (1.0, [0.6], {"decisions": 3})
    assert again.update([0.6])[0].keep_ratio == 0.5


def test_a_rule_of_one_s_own_trains_and_its_decisions_are_recorded(tmp_path: Any, source: str) -> None:
    cells = nbformat.read(ROOT / "course/lesson3_curve.ipynb", as_version=4).cells
    [rule] = [cell.source for cell in cells if cell.source.startswith("def my_rule") and "return" in cell.source]
    package = tmp_path / "src" / "sparsecycle"
    shutil.copytree(ROOT / "src" / "sparsecycle", package, ignore=shutil.ignore_patterns("__pycache__"))
    inserted(package / "controllers.py", "# Figures, tables and checks of names read this", f"{rule}\n\n\n{source}\n\n")
    inserted(package / "controllers.py", "Geometric)\n}", "Mine, ")
    run = ["run", "--preset", "smoke", "--method", "mine", "--seed", "0", "--no-progress", "--device", "cpu"]
    places = ["--data-dir", str(ROOT / "data"), "--output-dir", str(tmp_path / "runs")]
    # The reference: fast kernels would be compiled anew for a copy.
    env = os.environ | {"PYTHONPATH": str(package.parent), "SPARSECYCLE_BACKEND": "reference"}
    command = [sys.executable, "-m", "sparsecycle.cli", *run, *places]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs/smoke/mine-seed0/record.json").read_text(encoding="utf-8"))
    config = RunConfig(preset="smoke", method="accuracy_gated")
    assert record["config"]["decision_steps"] == config.decision_steps
    assert record["metrics"]["decisions"] == config.steps // 2 and record["metrics"]["lowest_keep_ratio"] < 1


def test_the_recorded_rival_keeps_the_rule_for_the_mean_keep_ratio() -> None:
    runs = load_runs()
    rivals = runs[(runs["preset"] == "quick") & (runs["method"] == "accuracy_gated") & (runs["variant"] == "")]
    assert {0, 1, 2} <= set(rivals["seed"]), "the project's seeds"
    assert rivals["mean_keep_ratio"].max() <= LARGEST_MEAN_KEEP_RATIO


def inserted(path: Any, mark: str, before: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(mark) == 1, mark
    path.write_text(text.replace(mark, before + mark), encoding="utf-8")
