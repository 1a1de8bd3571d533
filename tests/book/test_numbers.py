"""No result is typed into prose, and what the chapters show has its records."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from conftest import ROOT
from sparsecycle.analysis.verdicts import PAPER_ACCURACY
from sparsecycle.runs.studies import Studies, progress

UNITS = r"%|(?:percentage )?points?\b|seconds?\b|minutes?\b|hours?\b|times\b|nats\b|MB\b|images?/s|lines\b"
RESULT = re.compile(rf"(?<![\w.\-/=])(\d[\d,]*\.\d+|\d[\d,.]*(?= ?(?:{UNITS})))(?![\w/])")
PAGES = sorted(
    [
        *(path for folder in ("book", "course") for path in (ROOT / folder).glob("*.md")),
        *(path for folder in ("notebooks", "course") for path in (ROOT / folder).glob("*.ipynb")),
        *(ROOT / "README.md", ROOT / "data/README.md"),
    ]
)
LEDGERS = [ROOT / "book/ledger.yaml", ROOT / "book/set_ledger.yaml"]


def prose(path: Path) -> str:
    """What people typed: no code, no front matter, nothing between the markers of generated parts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        rows = yaml.safe_load(text)
        text = "\n".join(str(value) for row in rows for key, value in row.items() if key != "fields")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for generated in (r"\A---\n.*?\n---\n", r"<!-- begin.*?<!-- end -->", r"```.*?```", r"`[^`]*`"):
        text = re.sub(generated, "", text, flags=re.DOTALL)
    return text


@pytest.mark.parametrize("path", [*PAGES, *LEDGERS], ids=lambda path: path.name)
def test_every_number_in_prose_is_known_and_none_is_a_result(path):
    known = yaml.safe_load((ROOT / "tests/book/quoted_numbers.yaml").read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    assert set(RESULT.findall(prose(path))) == set(known.get(name, {}))


@pytest.mark.parametrize("typed", ["an accuracy of 0.5123", "a gain of 2 points", "in 35 seconds", "rose by 12.5 %"])
def test_a_typed_result_would_be_found(typed):
    assert RESULT.findall(f"The network reached {typed}, as we saw.")


def test_the_papers_numbers_in_prose_are_those_of_the_code():
    text = prose(ROOT / "book/paper.md")
    for accuracy in PAPER_ACCURACY.values():
        assert f"| {accuracy:g} |" in text
        gain = 100 * (accuracy - PAPER_ACCURACY["dense"])
        assert gain == 0 or f"| {gain:.2f} |" in text


@pytest.mark.parametrize("study", ["smoke", "quick"])
def test_every_run_that_a_chapter_shows_is_recorded(study):
    runs = progress(Studies.read(ROOT / "workflow/studies.yaml").configurations(study), ROOT / "data/runs")
    assert {run.name: run.status for run in runs if run.status not in ("done", "diverged")} == {}


def test_the_guesses_are_spoken_of_in_one_paragraph_only():
    told = [path.name for path in [*PAGES, *LEDGERS] if re.search("loss_gated|plateau", path.read_text("utf-8"))]
    assert told == []
