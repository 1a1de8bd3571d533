"""The project of the course: what its page says can be done, and its rules are those of the score."""

import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import nbformat
import pytest

from conftest import ROOT
from sparsecycle import RunConfig
from sparsecycle.controllers import Cycle, PeriodStats
from sparsecycle.runs.records import read_epochs
from sparsecycle_book.course.scoring import FREE, LARGEST_MEAN_BUDGET


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "course/project.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def source(page: str) -> str:
    """Of the class for a rule of one's own."""
    [found] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(found)


def test_the_project_page_names_every_field_that_may_be_changed(page: str) -> None:
    [rule] = re.findall(r"may be changed with `--set`:\n(.*?)\. No other field may", page, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", rule)) == FREE
    assert f"at most {Fraction(LARGEST_MEAN_BUDGET).limit_denominator(10)}" == "at most 2/3" and "two thirds" in page


def test_the_class_of_the_project_page_is_a_controller(source: str) -> None:
    names: dict[str, Any] = {"Cycle": Cycle, "PeriodStats": PeriodStats}
    names["my_rule"] = lambda budget, loss, dense, floor: max(floor, budget / 2) if budget > floor else 1.0
    exec(source, names)
    mine = names["Mine"]()
    path = []
    for loss in (1.0, 1.1, 1.2, 1.3, 0.9):
        path.append(mine.keep_ratio)
        mine.update(PeriodStats(loss=loss, accuracy=0.5))
    assert path == [1.0, 0.5, 0.25, 0.125, 0.1]
    again = names["Mine"]()
    again.load_state_dict(json.loads(json.dumps(mine.state_dict())))
    assert again.keep_ratio == mine.keep_ratio == 1.0 and again.dense_loss == 1.0


def test_a_rule_of_one_s_own_trains_with_the_floor_that_its_record_states(tmp_path: Path, source: str) -> None:
    cells = nbformat.read(ROOT / "course/lesson3_curve.ipynb", as_version=4).cells
    [rule] = [cell.source for cell in cells if cell.source.startswith("def my_rule") and "return" in cell.source]
    package = tmp_path / "src" / "sparsecycle"
    shutil.copytree(ROOT / "src" / "sparsecycle", package, ignore=shutil.ignore_patterns("__pycache__"))
    inserted(package / "controllers.py", "\nCONTROLLERS:", before=f"{rule}\n\n\n{source}\n\n")
    inserted(package / "controllers.py", "Random)", before="Mine, ")
    inserted(package / "config.py", '"random"]', before='"mine", ')
    run = ["run", "--preset", "smoke", "--method", "mine", "--seed", "0", "--no-progress", "--device", "cpu"]
    places = ["--data-dir", str(ROOT / "data"), "--output-dir", str(tmp_path / "runs")]
    # The reference: fast kernels would be compiled anew for a copy.
    env = os.environ | {"PYTHONPATH": str(package.parent), "SPARSECYCLE_BACKEND": "reference"}
    command = [sys.executable, "-m", "sparsecycle.cli", *run, *places]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "smoke" / "mine-seed0"
    floor = json.loads((folder / "record.json").read_text(encoding="utf-8"))["config"]["floor"]
    assert floor == RunConfig(preset="smoke", method="loss_gated").floor
    budgets = read_epochs(folder)["keep_ratio"].tolist()
    assert min(budgets) == floor and 1.0 in budgets[budgets.index(floor) :], "down to the floor and back"


def inserted(path: Path, mark: str, before: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(mark) == 1, mark
    path.write_text(text.replace(mark, before + mark), encoding="utf-8")
