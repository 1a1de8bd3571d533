"""Buttons for Binder and Colab, and the cell that finds the library where a lesson is opened."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

import launch_buttons
from conftest import ROOT

sys.path.insert(0, str(ROOT / "course"))
import make_kit

LESSONS = sorted((ROOT / "course").glob("lesson*.ipynb"))
# As in an interpreter that has everything but this library.
WITHOUT_THE_LIBRARY = """
import sys
from pathlib import Path
sys.path = [place for place in sys.path if not (Path(place) / "sparsecycle").is_dir()]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", repr(finder))]
sys.path_importer_cache.clear()
"""


def bootstrap(path: Path) -> str:
    [cell] = [cell for cell in nbformat.read(path, 4).cells if "bootstrap" in cell.metadata.get("tags", [])]
    return str(cell.source)


def opened(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = f"{WITHOUT_THE_LIBRARY}\n{source}\nprint(importlib.util.find_spec('sparsecycle').origin)"
    return subprocess.run([sys.executable, "-P", "-c", script], cwd=folder, capture_output=True, text=True)


def test_every_lesson_finds_the_library_of_the_checkout_around_it(tmp_path: Path) -> None:
    [source] = {bootstrap(path) for path in LESSONS}
    checkout = tmp_path / "a copy" / "of the class"
    (checkout / "src" / "sparsecycle").mkdir(parents=True)
    (checkout / "src" / "sparsecycle" / "__init__.py").touch()
    for folder in (checkout, checkout / "course" / "forms"):
        folder.mkdir(parents=True, exist_ok=True)
        done = opened(source, folder)
        assert done.stdout.strip() == str(checkout / "src" / "sparsecycle" / "__init__.py"), done.stderr


def test_without_a_checkout_and_an_address_it_says_what_to_do(tmp_path: Path) -> None:
    done = opened(bootstrap(LESSONS[0]), tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("sparsecycle was not found: open this file with the kernel")


def test_the_lessons_and_the_buttons_have_one_address() -> None:
    for path in LESSONS:
        assert f'ADDRESS = "{launch_buttons.address()}"' in bootstrap(path)


@pytest.mark.parametrize("repository", ["", "https://github.com/someone/cycling"])
def test_an_address_makes_buttons_on_the_lessons_and_none_makes_none(tmp_path: Path, repository: str) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [nbformat.v4.new_markdown_cell("# A notebook")]
    for name in ("course/lesson1", "notebooks/chapter"):
        (tmp_path / name).parent.mkdir()
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    (tmp_path / "index.md").write_text("# A page\n", encoding="utf-8")
    (tmp_path / "conf.py").write_text(f"""
import sys
sys.path.insert(0, {str(ROOT / "book")!r})
import launch_buttons
launch_buttons.address = lambda: {repository!r}
extensions, html_theme, nb_execution_mode = ["myst_nb", "launch_buttons"], "sphinx_book_theme", "off"
""")
    build = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(tmp_path), str(tmp_path / "html")]
    subprocess.run(build, check=True)
    pages = (tmp_path / "html" / f"{name}.html" for name in ("course/lesson1", "notebooks/chapter"))
    lesson, chapter = (page.read_text(encoding="utf-8") for page in pages)
    for place in (
        "https://mybinder.org/v2/gh/someone/cycling/main?urlpath=lab/tree/course/lesson1.ipynb",
        "https://colab.research.google.com/github/someone/cycling/blob/main/course/lesson1.ipynb",
    ):
        assert (place in lesson) == bool(repository)
    assert "mybinder" not in chapter and "colab" not in chapter


@pytest.mark.parametrize("given", ["https://example.org/cycling", "someone/cycling"])
def test_an_address_that_neither_service_opens_is_refused(tmp_path: Path, given: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[project]\nname = "x"\n[project.urls]\nRepository = "{given}"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="but Binder and Colab need one at"):
        launch_buttons.address(path)


def test_binder_finds_the_whole_environment() -> None:
    parts = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    [pip] = [part["pip"] for part in parts if isinstance(part, dict)]
    assert pip == ["-r requirements.lock", "-e ."]


def test_beside_the_wheels_of_a_class_nothing_is_fetched(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def commands() -> str:
        return subprocess.run(["make", "-n", "env"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "--no-index" not in commands()
    (tmp_path / "wheels").mkdir()
    assert commands().count("--no-index --find-links wheels") == 2, "the lock, and the library itself"


@pytest.mark.parametrize(("target", "form"), [("class", "student"), ("class-teacher", "teacher")])
def test_a_class_opens_the_folder_that_its_forms_are_brought_to(target: str, form: str) -> None:
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [folder] = re.findall(rf"open_class\.py {form} (\S+)", told)
    page = (ROOT / "course/course.md").read_text(encoding="utf-8")
    assert f"jupyter lab {folder}\n" in told and f"`{folder}`" in page
    ignored = subprocess.run(["git", "check-ignore", "-q", f"{folder}/"], cwd=ROOT)
    assert ignored.returncode == 0, "git would take what was written into it"


def test_cleaning_leaves_what_a_class_wrote(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("_build/extra/class", "my-class", "my-class-teacher"):
        (tmp_path / folder).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "my-class", "my-class-teacher"}


def test_the_kit_has_what_git_tracks_and_nothing_that_was_built(tmp_path: Path) -> None:
    make_kit.copy_checkout(tmp_path)
    for name in ("Makefile", "requirements.lock", "course/lesson1_layer.ipynb", "data/cifar10-mini/README.md"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (tmp_path / ".venv").exists() and not (tmp_path / "_build").exists()


def test_the_kit_has_the_book_where_it_is_built_and_says_so_where_not(tmp_path: Path) -> None:
    kit = tmp_path / "_build" / "class-kit"
    assert "`make pages` builds them" in make_kit.copy_book(tmp_path, kit) and not kit.exists()
    for name in ("index.html", "class/slides/lesson1_layer.html", "book/playground.html"):
        (tmp_path / "_build/html" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "_build/html" / name).write_text(name, encoding="utf-8")
    assert "open _build/html/index.html" in make_kit.copy_book(tmp_path, kit)
    for name in ("index.html", "class/slides/lesson1_layer.html", "book/playground.html"):
        assert (kit / "_build/html" / name).read_text(encoding="utf-8") == name


def test_the_kit_is_made_of_checkout_book_and_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    book = tmp_path / "_build/html/index.html"
    book.parent.mkdir(parents=True)
    book.write_text("the book", encoding="utf-8")
    monkeypatch.setattr(make_kit, "ROOT", tmp_path)
    monkeypatch.setattr(make_kit, "KIT", tmp_path / "_build/class-kit")
    monkeypatch.setattr(make_kit, "copy_checkout", lambda into: into.mkdir(parents=True))
    monkeypatch.setattr(make_kit, "wheels", lambda into: into.mkdir())
    make_kit.main()
    assert sorted(path.name for path in (tmp_path / "_build/class-kit").iterdir()) == ["_build", "wheels"]
    assert "The book is in it" in capsys.readouterr().out
