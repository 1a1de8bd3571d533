"""What a class takes along: the cell that finds the library where a lesson is opened, and the kit without a network."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

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
    [folder] = re.findall(rf"make_forms\.py {form} (\S+)", told)
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
