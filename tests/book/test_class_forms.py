"""The forms of the class: the cell that finds the library where a lesson is opened, and the folders they go to."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from conftest import ROOT

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


def test_every_lesson_finds_the_library_of_the_checkout_around_it(tmp_path):
    [source] = {bootstrap(path) for path in LESSONS}
    checkout = tmp_path / "a copy" / "of the class"
    (checkout / "src" / "sparsecycle").mkdir(parents=True)
    (checkout / "src" / "sparsecycle" / "__init__.py").touch()
    for folder in (checkout, checkout / "course" / "forms"):
        folder.mkdir(parents=True, exist_ok=True)
        done = opened(source, folder)
        assert done.stdout.strip() == str(checkout / "src" / "sparsecycle" / "__init__.py"), done.stderr


def test_without_a_checkout_and_an_address_it_says_what_to_do(tmp_path):
    done = opened(bootstrap(LESSONS[0]), tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("sparsecycle was not found: open this file with the kernel")


@pytest.mark.parametrize(("target", "form"), [("class", "student"), ("class-teacher", "teacher")])
def test_a_class_opens_the_folder_that_its_forms_are_brought_to(target, form):
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [folder] = re.findall(rf"make_forms\.py {form} (\S+)", told)
    page = (ROOT / "course/course.md").read_text(encoding="utf-8")
    assert f"jupyter lab {folder}\n" in told and f"`{folder}`" in page
    ignored = subprocess.run(["git", "check-ignore", "-q", f"{folder}/"], cwd=ROOT)
    assert ignored.returncode == 0, "git would take what was written into it"


def test_cleaning_leaves_what_a_class_wrote(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("_build/extra/class", "my-class", "my-class-teacher"):
        (tmp_path / folder).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "my-class", "my-class-teacher"}
