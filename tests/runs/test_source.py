"""The identity of a source: tidying keeps it, whatever may change a number changes it."""

import ast

import pytest

from processes import python
from sparsecycle.runs import source
from sparsecycle.runs.source import PACKAGE, TRAINING, same_source, source_digest, tree_of

CODE = '''"""A module."""

import math
from pathlib import Path

LIMIT = 0.57  # of something


def halved(value: float, twice: bool = False) -> float:
    """Return half of it."""
    if value > LIMIT:
        raise ValueError(f"{value} is too large")
    return value / 2 if not twice else value / 4
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Return half of it."""', '"""Return one half.\n\n    In more words.\n    """'),
        ('"""A module."""', ""),
        ("  # of something", ""),
        ("import math\nfrom pathlib import Path", "from pathlib import Path\nimport math\nimport os"),
        ("value: float, twice: bool = False) -> float", "value, twice=False)"),
        ('f"{value} is too large"', '"too large"'),
        ("value / 2 if not twice else value / 4", "(\n        value / 2 if not twice\n        else value / 4\n    )"),
    ],
)
def test_tidying_does_not_change_it(old, new):
    assert old in CODE
    assert tree_of(CODE.replace(old, new)) == tree_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.57", "0.58"),
        ("value > LIMIT", "value >= LIMIT"),
        ("value / 2", "value * 2"),
        ("value / 2", "LIMIT / 2"),
        ("twice: bool = False", "twice: bool = True"),
        ("if not twice", "if twice"),
        ("def halved(", "@cache\ndef halved("),
        ("    if value > LIMIT:\n        raise ValueError(f\"{value} is too large\")\n", ""),
    ],
)  # fmt: skip
def test_what_may_change_a_number_changes_it(old, new):
    assert old in CODE
    assert tree_of(CODE.replace(old, new)) != tree_of(CODE)


def test_every_constant_of_the_trainer_counts():
    text = (PACKAGE / "trainer.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    numbers = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) in (int, float)]
    assert len(numbers) > 5
    for number in numbers:
        number.value += 1
        assert tree_of(ast.unparse(tree)) != tree_of(text), ast.unparse(number)
        number.value -= 1


def test_sources_that_were_proved_equal_are_the_same(monkeypatch):
    assert same_source("a", "a") and not same_source("a", "b")
    monkeypatch.setattr(source, "EQUIVALENT", (frozenset({"a", "b"}),))
    assert same_source("a", "b") and same_source("b", "a") and not same_source("a", "c")


def test_the_training_sources_are_all_that_a_step_and_a_look_import():
    """What is left out cannot change a number unseen: configuration and images are identified on their own."""
    modules = "sparsecycle.captured, sparsecycle.kernels.operators, sparsecycle.evaluation.accuracy"
    code = f"import sys, {modules}; print(*[name for name in sys.modules if name.startswith('sparsecycle.')])"
    done = python(code, check=True)
    imported = {name.removeprefix("sparsecycle.").replace(".", "/") for name in done.stdout.split()}
    indifferent = {"errors", "config", "evaluation"}
    told = {name for name in imported if not name.startswith("kernels")} | {"kernels"}
    assert told - indifferent == set(TRAINING)
    assert source_digest() != source_digest(TRAINING[:-1])
