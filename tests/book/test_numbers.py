"""No result is typed into prose, and what the chapters show has its records."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from conftest import ROOT
from sparsecycle import load_runs
from sparsecycle.analysis.ablations import ablation_table
from sparsecycle.runs.grid import Grid, progress
from sparsecycle_book.ledger import ledger_markdown
from sparsecycle.runs.records import find_records, load_configurations
from sparsecycle_book.report.comparisons import regularized, without_feedback
from sparsecycle.set_mlp.ablations import set_ablation_table
from sparsecycle.set_mlp.claims import diverged_on
from sparsecycle_book.set_mlp.ledger import set_ledger_markdown
from sparsecycle.set_mlp.records import load_set_runs, set_run_name
from sparsecycle_book.set_mlp.report import SLOWER, as_they_stand
from sparsecycle.set_mlp.study import SetStudies
from sparsecycle.analysis.statistics import NO_EFFECT, PAPER_ACCURACY, verdict_table

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
RECORDED = {  # studies that the chapters show, and the folders of their records
    "quick": "data/runs",
    "classroom": "data/runs",
    "ablation": "data/runs",
    "search-optimizer": "data/search",
    "search-controllers": "data/search",
}


def prose(path: Path) -> str:
    """What people typed: no code, no front matter, nothing between the markers of generated parts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        rows = yaml.safe_load(text)
        text = "\n".join(str(row.get(part, "")) for row in rows for part in ("choice", "known", "why", "not_varied"))
        text += "\n".join(one for row in rows for one in row["alternatives"])
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for generated in (r"\A---\n.*?\n---\n", r"<!-- begin.*?<!-- end -->", r"```.*?```", r"`[^`]*`"):
        text = re.sub(generated, "", text, flags=re.DOTALL)
    return text


@pytest.mark.parametrize("path", [*PAGES, *LEDGERS], ids=lambda path: path.name)
def test_every_number_in_prose_is_known_and_none_is_a_result(path: Path) -> None:
    known = yaml.safe_load((ROOT / "tests/quoted_numbers.yaml").read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    assert set(RESULT.findall(prose(path))) == set(known.get(name, {}))


@pytest.mark.parametrize("typed", ["an accuracy of 0.5123", "a gain of 2 points", "in 35 seconds", "rose by 12.5 %"])
def test_a_typed_result_would_be_found(typed: str) -> None:
    assert RESULT.findall(f"The network reached {typed}, as we saw.")


def test_the_papers_numbers_in_prose_are_those_of_the_code() -> None:
    text = prose(ROOT / "book/paper.md")
    for accuracy in PAPER_ACCURACY.values():
        assert f"| {accuracy:g} |" in text
        gain = 100 * (accuracy - PAPER_ACCURACY["dense"])
        assert gain == 0 or f"| {gain:.2f} |" in text
    assert f"±{100 * NO_EFFECT:g} points" in text


@pytest.mark.parametrize("study", RECORDED)
def test_every_run_that_a_chapter_shows_is_recorded(study: str) -> None:
    runs = progress(Grid.read(ROOT / "workflow/grid.yaml").configurations(study), ROOT / RECORDED[study])
    assert {run.name: run.status for run in runs if run.status not in ("done", "diverged")} == {}


def test_every_run_of_the_companion_is_recorded() -> None:
    studies = SetStudies.read(ROOT / "workflow/set.yaml")
    declared = {set_run_name(config) for name in ("study", "ablation") for config in studies.configurations(name)}
    assert declared <= set(load_set_runs(ROOT / "data/runs")["run"])
    assert len(load_set_runs(ROOT / "data/search")) == len(studies.configurations("search"))


def test_every_choice_of_the_ledger_was_varied_or_it_says_why_not() -> None:
    text = ledger_markdown(LEDGERS[0], ablation_table(load_runs(ROOT / "data/runs"), "ablation"))
    assert "*Ablation" in text and "not run yet" not in text


def test_every_choice_of_the_companion_s_ledger_was_varied_or_it_says_why_not() -> None:
    text = set_ledger_markdown(LEDGERS[1], set_ablation_table(load_set_runs(ROOT / "data/runs")))
    assert "*Ablation*" in text and "not run yet" not in text


def test_every_claim_of_the_classroom_study_was_measured() -> None:
    unmeasured = [name for path, _, name in find_records(ROOT / "data/runs/classroom") if not has_measures(path)]
    assert unmeasured == []
    assert "not measured" not in set(verdict_table(load_runs(ROOT / "data/runs"), "classroom")["verdict"])


def has_measures(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("measures.json", "measures.npz"))


def test_words_that_were_typed_about_the_records_are_still_true() -> None:
    """Sentences that no code makes: what the results and the page on the constants say of the search and the study."""
    folder = ROOT / "data/search"
    search = load_runs(folder / "classroom").merge(load_configurations(folder / "classroom"), on="identity")
    dense = search[search["method_x"] == "dense"].set_index("variant")["test_accuracy"]
    plain = dense["holdout_images=1000"]
    assert dense["epochs=25, holdout_images=1000"] > plain, "half of the length is above the whole"
    dropouts = [dense[f"dropout={share}, holdout_images=1000"] for share in (0.1, 0.2, 0.3)]
    assert max(dropouts) == dropouts[-1] > dense["epochs=25, holdout_images=1000"], "the largest is the best of all"
    cycle = search[(search["decay"] == 0.7) & (search["floor"] == 0.05)].pivot(
        index="method_x", columns="final_dense_periods", values="test_accuracy"
    )
    assert len(cycle) == 2 and (cycle[5] - cycle[0] > 0.1).all(), "without dense periods at the end it does badly"
    runs = load_runs(ROOT / "data/runs")
    assert len(without_feedback(runs, "classroom")) == 2, "neither strategy had feedback"
    random = runs[(runs["preset"] == "classroom") & runs["variant"].str.contains("selection=random")]
    trained = random.groupby("method")["train_accuracy"].agg(["min", "max"])
    assert trained.drop("fixed")["max"].max() < 0.5, "with random survivors at small budgets it hardly learned"
    assert trained.loc["fixed", "min"] > 0.9, "at half of the activations it did"
    assert {one.variant for one in regularized(runs, "classroom")} == {"dropout=0.3", "epochs=25"}
    companion = load_set_runs(ROOT / "data/runs")
    assert not diverged_on(companion[companion["variant"] == SLOWER], "set", "set_pruned"), "not at the smaller rate"
    companion = as_they_stand(companion)
    assert diverged_on(companion, "set") and not diverged_on(companion, "dense"), "SET diverged on some datasets"
