"""What the repository promises about itself: pinned versions, a README from records, a ledger without gaps."""

import ast
import math
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from conftest import ROOT
from sparsecycle import RunConfig, load_runs
from sparsecycle_book.ledger import ledger_markdown, read_ledger, summary_sentence
from sparsecycle_book.readme import current_readme, with_part
from sparsecycle.runs.records import find_records
from sparsecycle_book.report.answers import answer
from sparsecycle_book.report.tables import results_table, tiers_table
from sparsecycle.analysis.selection import effects, shown_tier, tier
from sparsecycle.analysis.statistics import verdict_table
from test_numbers import PAGES, prose

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins), "names and versions only"
    return {name.lower().replace("_", "-"): version for name, version in (pin.split("==") for pin in pins)}


def test_every_dependency_is_locked_within_its_range() -> None:
    from packaging.requirements import Requirement

    wanted = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted += extra
    versions = locked()
    for text in wanted:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        assert name in versions, f"{name} is not in requirements.lock"
        assert requirement.specifier.contains(versions[name]), f"{text} but locked at {versions[name]}"


def test_conda_users_get_the_locked_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    [pip] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock", "-e ."]


def test_the_readme_says_what_the_records_say() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    runs = load_runs()
    assert current_readme() == readme, "run `make readme`"
    for part in ("answer", "figure", "sure", "results", "companion"):
        changed = with_part(readme, part, "something else")
        assert changed != readme and "something else" in changed
    assert "0.8797" in results_table(runs) and "`quick`" in results_table(runs)


def test_a_named_configuration_is_a_preset_and_nothing_else() -> None:
    said = {path.name: prose(path) for path in PAGES} | {"the table in the README": results_table(load_runs())}
    assert [name for name, text in said.items() if re.search(r"\btiers?\b", text, re.IGNORECASE)] == []


def test_without_paper_runs_the_answer_says_so_first() -> None:
    runs = load_runs()
    assert answer(runs[runs["preset"] != "paper"]).startswith("**At the paper's scale")
    assert "no runs yet" in answer(runs[runs["preset"] != "paper"])
    assert "none yet" in tiers_table(runs[runs["preset"] != "paper"])


def test_the_shipped_quick_runs_are_complete_and_from_clean_trees() -> None:
    runs = tier(load_runs(), "quick")
    counts = runs.groupby("method")["seed"].apply(sorted).to_dict()
    assert counts == {method: [0, 1, 2] for method in ("dense", "loss_gated", "plateau", "geometric")}
    assert runs["git_clean"].all() and runs["git_revision"].notna().all()
    rows = effects(load_runs(), "quick")
    assert set(rows["seeds"]) == {3} and all(len(values) == 3 for values in rows["differences"])
    assert shown_tier(load_runs()) in ("quick", "classroom", "paper")


def test_the_search_never_saw_a_test_image() -> None:
    records = find_records(ROOT / "data" / "search")
    assert len(records) >= 10
    assert all(record.evaluated_on == "validation" for _, record, _ in records)
    assert all(record.config["holdout_images"] > 0 for _, record, _ in records)


def test_ledger_rows_are_whole_and_their_values_come_from_the_configuration() -> None:
    rows = read_ledger(ROOT / "book" / "ledger.yaml")
    for row in rows:
        assert set(row) - {"shown_by", "not_varied"} == {"choice", "fields", "known", "why", "alternatives"}
        assert row["choice"] and row["known"] and row["why"] and row["alternatives"]
    text = ledger_markdown(ROOT / "book" / "ledger.yaml", pd.DataFrame())
    study, quick, paper = (RunConfig(preset=preset, method="plateau") for preset in ("classroom", "quick", "paper"))
    told = f"`epochs` is {study.epochs} at `classroom` and `ablation`, {quick.epochs} at `quick`, {paper.epochs} at"
    assert told in text
    assert f"`decay` is {quick.decay}" in text
    gated = RunConfig(preset="classroom", method="loss_gated")
    assert f"`tolerance` is {gated.tolerance} (`loss_gated`) and {study.tolerance} (`plateau`)" in text
    assert summary_sentence(ROOT / "book" / "ledger.yaml", pd.DataFrame()).startswith(f"{len(rows)} choices")


def test_a_ledger_row_shows_what_varying_it_changed_and_only_its_own() -> None:
    effects = {"gain": 0.012, "change": -0.034, "change_low": -0.05, "change_high": 0.01, "seeds": 3}
    effects |= {"excluded": 0, "same_runs": False, "against": ""}
    variants = ("", "scope=network", "floor=0.05", "headline_budget=0.25")
    ablations = pd.DataFrame([{"method": "plateau", "variant": variant, **effects} for variant in variants])
    text = "\n" + ledger_markdown(ROOT / "book" / "ledger.yaml", ablations)
    items = text.split("\n- **")[1:]
    shown = {item.split("**")[0]: re.findall(r"    - `([^`]+=[^`]+)`", item) for item in items}
    assert {choice: found for choice, found in shown.items() if found} == {
        'What "global" ranges over': ["scope=network"],
        "One budget for the whole network": ["scope=network"],
        "Smallest budget": ["floor=0.05"],
        "Budget of the headline accuracy": ["headline_budget=0.25"],
    }
    [floor] = [item for item in items if item.startswith("Smallest budget")]
    assert "`plateau` +1.2, changed by -3.4 (-5.0 to +1.0, 3 seeds)" in floor
    assert "4 of the" in summary_sentence(ROOT / "book" / "ledger.yaml", ablations)


def test_stored_notebook_outputs_hold_no_path_of_a_machine() -> None:
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book" / "runs").glob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""["' ](/[a-z]+/|[A-Z]:\\\\)[\w./-]*\.(ipynb|py|json)""", text), path.name
        assert not re.search(r"/(home|root|tmp|work|mnt|Users|scratch)/", text), path.name
        assert socket.gethostname() not in text or len(socket.gethostname()) < 6, path.name


@pytest.mark.parametrize("name", ["jupyter-book", "myst-nb"])
def test_the_book_is_built_by_the_major_version_that_reads_its_configuration(name: str) -> None:
    assert locked()[name].startswith("1.")


def test_own_runs_are_added_to_the_contents() -> None:
    code = "import table_of_contents as t, yaml; c = yaml.safe_load(open('../_toc.yml'));"
    code += "print(yaml.safe_dump(t.with_own_runs(c, ['dense'])))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "book", capture_output=True, text=True, check=True)
    assert "book/your-runs/dense" in done.stdout and "Yours: dense, seed 0" in done.stdout


def synthetic(rows: list[tuple[str, int, float, str]]) -> pd.DataFrame:
    """Runs of the quick preset: method, seed, test accuracy, status."""
    return pd.DataFrame(
        {
            "preset": "quick", "method": method, "seed": seed, "variant": "", "status": status, "evaluated_on": "test",
            "test_accuracy": accuracy, "train_accuracy": 0.6, "gap": 0.6 - accuracy, "drop_from_best": 0.0,
            "budget_area": accuracy, "training_seconds": 10.0, "wall_seconds": 12.0, "images_per_second": 100.0,
            "parameters": 77610,
        }
        for method, seed, accuracy, status in rows
    )  # fmt: skip


def test_a_diverged_run_is_counted_apart() -> None:
    rows = [("dense", seed, 0.5, "complete") for seed in range(3)]
    rows += [("plateau", seed, 0.51, "complete") for seed in range(2)] + [("plateau", 2, math.nan, "diverged")]
    table = results_table(synthetic(rows))
    assert "2 (+1 diverged)" in table and "nan" not in table
    assert "over 2 seeds: *inconclusive*" in answer(synthetic(rows))


def test_one_seed_gets_no_interval() -> None:
    text = answer(synthetic([("dense", 0, 0.5, "complete"), ("plateau", 0, 0.52, "complete")]))
    assert "+2.0 points against dense over 1 seed: *inconclusive*" in text and "nan" not in text


def test_the_same_runs_under_two_names_are_said_to_be_so() -> None:
    rows = [
        (method, seed, 0.5 + 0.01 * seed, "complete") for method in ("geometric", "loss_gated") for seed in range(3)
    ]
    rows += [("dense", seed, 0.5, "complete") for seed in range(3)]
    assert "`loss_gated` made the same runs as `geometric`" in answer(synthetic(rows))
    table = verdict_table(synthetic(rows), "quick")
    row = table[(table["claim"] == "C8") & (table["comparison"] == "loss_gated - geometric")].iloc[0]
    assert row["verdict"] == "same runs" and math.isnan(row["low"]) and math.isnan(row["p_holm"])


def test_a_failing_notebook_fails_the_book(tmp_path: Path) -> None:
    """The book's own settings for execution, on a book of one page that raises."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    (tmp_path / "_config.yml").write_text(yaml.safe_dump({"title": "t", "execute": config["execute"]}))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    cells = [nbformat.v4.new_markdown_cell("# Page"), nbformat.v4.new_code_cell("raise RuntimeError('broken')")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "page.ipynb")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(tmp_path), "-n", "-W", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "broken" in done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_every_figure_is_the_value_of_its_cell(path: Path) -> None:
    """A notebook displays the value of a cell's last expression: a figure made within a block is never seen."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or "show(" not in cell.source:
            continue
        body = ast.parse(cell.source).body
        calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
        shown = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "show"]
        last = ast.walk(body[-1]) if isinstance(body[-1], ast.Expr) else []
        in_last = [node for node in last if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert len(shown) == sum(call.func.id == "show" for call in in_last), cell.source


def test_the_citation_is_whole_and_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "type", "license"} <= cited.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    numbers = {identifier["value"] for one in cited["references"] for identifier in one["identifiers"]}
    assert numbers == {"arXiv:2603.03131", "arXiv:1906.11626"}


def test_the_map_of_the_folders_names_each_that_there_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line}
    inside = {
        line.split("/")[2]
        for line in tracked.splitlines()
        if line.startswith("src/sparsecycle/") and line.count("/") > 2
    }
    assert [name for name in folders | inside if f"{name}/`" not in text] == []
