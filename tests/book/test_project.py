"""What the book promises about itself: a README from records, a ledger without gaps, builds that fail loudly."""

import ast
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import yaml

from conftest import ROOT
from sparsecycle import RunConfig, load_runs
from sparsecycle_book.display import alternative_text
from sparsecycle_book.ledger import GROUPS, ledger_sentence, ledger_table, read_ledger
from sparsecycle_book.readme import FIGURE, answer_figure, current_readme, with_part
from table_of_contents import with_own_runs

LEDGER = ROOT / "book" / "ledger.yaml"


def test_the_readme_says_what_the_records_say():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert current_readme() == readme, "run `make readme`"
    for part in ("answer", "presets", "companion"):
        changed = with_part(readme, part, "something else")
        assert changed != readme and "something else" in changed


def test_the_readme_s_figure_is_the_one_that_its_words_describe():
    told = alternative_text(answer_figure(load_runs()))
    assert ElementTree.parse(ROOT / FIGURE).getroot().attrib["aria-label"] == told, "run `make readme`"
    assert f"![{told}]({FIGURE})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
    """Of what a reader sees, without the figure's alternative text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.sub(r"<!--.*?-->|!\[.*?\]|[|]", " ", text).split()) <= 900


def test_the_readme_s_code_runs():
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert "25 of them" in code and names["controller"].keep_ratio == 1.0


def test_ledger_rows_are_whole():
    for row in read_ledger(LEDGER):
        parts = {"group", "choice", "fields", "script"} | (set() if row["group"] == "confirmed" else {"ours"})
        assert set(row) == parts, row["choice"]
        assert row["group"] in GROUPS and row["choice"] and row["script"]
        assert set(row["fields"]) <= set(RunConfig.model_fields)


def test_every_choice_that_makes_up_the_method_is_in_the_ledger():
    named = {field for row in read_ledger(LEDGER) for field in row["fields"]}
    controls = {"keep_ratio", "path_from", "shuffled"}
    places = {"preset", "seed", "dataset", "test_images", "holdout_images", "subset", "wrong_labels", "budgets"}
    assert named == set(RunConfig.model_fields) - controls - places


def test_values_in_the_ledger_are_those_of_the_presets():
    text = ledger_table(LEDGER, "corrected").to_string()
    paper, short = (RunConfig(preset=preset, method="accuracy_gated") for preset in ("paper", "paper100"))
    assert f"`epochs` {paper.epochs}" in text and f"{short.epochs} at `paper100`" in text
    assert "`scope` sample" in ledger_table(LEDGER, "confirmed").to_string()


def test_what_a_row_says_of_the_script_is_what_the_configuration_says():
    """A choice that the script confirms or corrects has the script's value at the published preset."""
    sources = RunConfig(preset="paper", method="accuracy_gated").sources()
    settled = [row for row in read_ledger(LEDGER) if row["group"] in ("confirmed", "corrected")]
    ours = [field for row in settled for field in row["fields"] if sources[field] != "author's script"]
    assert ours == ["evaluate_last"], "which adds nothing where every epoch is looked at"


def test_the_ledger_counts_its_groups():
    groups = [row["group"] for row in read_ledger(LEDGER)]
    assert ledger_sentence(LEDGER).startswith(f"Of {len(groups)} choices the author's script confirms ")
    assert f"leaves {groups.count('open')} open" in ledger_sentence(LEDGER)
    assert f"In {groups.count('departs')} we depart" in ledger_sentence(LEDGER)


def test_stored_notebook_outputs_hold_no_path_of_a_machine():
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book" / "runs").glob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""["' ](/[a-z]+/|[A-Z]:\\\\)[\w./-]*\.(ipynb|py|json)""", text), path.name
        assert not re.search(r"/(home|root|tmp|work|mnt|Users|scratch)/", text), path.name
        assert socket.gethostname() not in text or len(socket.gethostname()) < 6, path.name


@pytest.mark.parametrize("name", ["jupyter-book", "myst-nb"])
def test_the_book_is_built_by_the_major_version_that_reads_its_configuration(name):
    assert re.search(rf"^{name}==1\.", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_page_of_the_contents_exists_and_every_page_is_in_them():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    files = re.findall(r"(?:file|root): (\S+)", contents)
    pages = {path.with_suffix("").relative_to(ROOT).as_posix() for path in ROOT.glob("*/*") if _is_page(path)}
    runs = {path.with_suffix("").relative_to(ROOT).as_posix() for path in (ROOT / "book" / "runs").glob("*.ipynb")}
    assert set(files) == pages | runs and len(files) == len(set(files))


def _is_page(path: Path) -> bool:
    folders = {"book": (".md",), "course": (".md", ".ipynb"), "notebooks": (".ipynb",)}
    parameterised = path.parent.name == "notebooks" and path.stem in ("run", "set")
    return path.suffix in folders.get(path.parent.name, ()) and not parameterised


def test_own_runs_are_added_to_the_contents():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    found = yaml.safe_dump(with_own_runs(contents, ["dense"]))
    assert "book/your-runs/dense" in found and "Yours: dense, seed 0" in found


def test_a_failing_notebook_fails_the_book(tmp_path):
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
def test_every_figure_is_the_value_of_its_cell(path):
    """A notebook displays the value of a cell's last expression: a figure made within a block is never seen."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or "show(" not in cell.source:
            continue
        tree = ast.parse(cell.source)
        last = tree.body[-1]
        assert isinstance(last, ast.Expr), cell.source
        seen: list[ast.stmt] = [last]
        if isinstance(last.value, ast.Name):  # of a figure or a sentence, whichever there is
            name = last.value.id
            assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
            seen += [node for node in assigned if ast.unparse(node.targets[0]) == name]
        shown = [node for one in seen for node in ast.walk(one) if _is_show(node)]
        assert len(shown) == sum(map(_is_show, ast.walk(tree))), cell.source


def _is_show(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "show"


def test_the_citation_is_whole_and_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "type", "license"} <= cited.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    numbers = {identifier["value"] for one in cited["references"] for identifier in one["identifiers"]}
    assert numbers == {"arXiv:2603.03131", "arXiv:1906.11626"}


def checkout_of_stubs(folder: Path, **programs: str) -> Path:
    """A folder with the Makefile and an environment whose programs say in the file `log` how they were called."""
    shutil.copy(ROOT / "Makefile", folder)
    stubs = folder / ".venv" / "bin"
    stubs.mkdir(parents=True)
    told = f'echo "${{0##*/}} [$TQDM_POSITION $OMP_NUM_THREADS] $*" >> {folder}/log\n'
    for name in ("python", "papermill", "sparsecycle", "jupyter-book"):
        (stubs / name).write_text(f"#!/bin/sh\n{told}{programs.get(name, '')}\n")
        (stubs / name).chmod(0o755)
    for name in ("requirements.lock", "pyproject.toml", ".venv/ready"):  # the last one is the newest: it is up to date
        (folder / name).touch()
    return folder


def test_make_book_trains_each_method_and_then_builds_the_pages(tmp_path):
    folder = checkout_of_stubs(tmp_path)
    subprocess.run(["make", "book"], cwd=folder, capture_output=True, check=True)
    called = (folder / "log").read_text(encoding="utf-8").splitlines()
    trained, rest = called[:3], called[3:]
    bars = {"dense": 0, "accuracy_gated": 1, "epoch_gated": 0}  # two at once, each bar on a line of its own
    for method, bar in bars.items():
        [one] = [line for line in trained if f" -p method {method} -p seed 0 -p output_dir runs" in line]
        assert one.startswith(f"papermill [{bar} 1] ") and f" book/your-runs/{method}.ipynb " in one
    assert rest[0].startswith("sparsecycle ") and rest[0].endswith(" compare runs --no-claims")
    assert rest[-2].startswith("jupyter-book ") and " build . --all -n -W --keep-going " in rest[-2]


@pytest.mark.parametrize(
    ("sparsecycle", "status", "told"), [("sleep 9", 0, "the minutes are over"), ("exit 3", 2, "Error 3")]
)
def test_a_study_ends_well_when_its_minutes_are_over_and_badly_when_it_fails(sparsecycle, status, told, tmp_path):
    folder = checkout_of_stubs(tmp_path, sparsecycle=sparsecycle)
    done = subprocess.run(["make", "study", "MINUTES=0.005"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == status and told in done.stdout + done.stderr
