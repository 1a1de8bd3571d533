"""What the repository promises about itself: order of imports, size, versions, line ends, commands that exist."""

import argparse
import ast
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT
from sparsecycle.cli import parser

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
DECLARED = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
CORE = ("topk", "layer", "network", "controllers", "trainer")


def git(*arguments: str, folder: Path = ROOT) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def tracked() -> list[str]:
    """The files that a commit of everything would hold."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in listed if name and (ROOT / name).exists()]


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins), "names and versions only"
    return {canonicalize_name(name): version for name, version in (pin.split("==") for pin in pins)}


def test_the_core_reads_in_one_sitting():
    lines = {name: len((ROOT / f"src/sparsecycle/{name}.py").read_text(encoding="utf-8").splitlines()) for name in CORE}
    assert sum(lines.values()) <= 1_100, lines


def test_the_companion_is_small():
    """What it shares with the main study (data, runs, statistics, command line, figures) is not counted."""
    paths = (ROOT / "src/sparsecycle/set_mlp").glob("*.py")
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert 1_000 < sum(lines.values()) < 2_000, lines


def test_the_repository_travels():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked()}
    assert {name: size for name, size in sizes.items() if size > 4_000_000} == {}
    assert sum(sizes.values()) < 30_000_000


def test_every_dependency_is_locked_within_its_range():
    versions = locked()
    for requirement in map(Requirement, DECLARED):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in requirements.lock"
        assert requirement.specifier.contains(versions[name]), f"{requirement} but locked at {versions[name]}"


def test_the_lock_pins_all_that_pip_would_install():
    """What a pinned package of this environment needs is pinned, too."""
    versions = locked()
    missing = set()
    for name in versions:
        try:
            needed = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # of another system
            continue
        wanted = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
        missing |= {(name, one.name) for one in wanted if canonicalize_name(one.name) not in versions}
    # torch for a GPU brings NVIDIA's libraries in versions of its own, and pip freezes no tools of packaging.
    assert {pair for pair in missing if pair[0] != "torch" and pair[1] not in ("setuptools", "wheel")} == set()


def test_every_package_that_the_source_imports_is_declared_and_every_declared_one_is_used():
    owners = packages_distributions()
    imported = {
        canonicalize_name(owner)
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in modules(node)
        for owner in owners.get(module, [])
    }
    declared = {canonicalize_name(Requirement(one).name) for one in DECLARED}
    assert imported - declared - {"sparsecycle", "triton"} == set()  # triton comes with torch where there is a GPU
    needed = {canonicalize_name(Requirement(one).name) for one in PROJECT["dependencies"]}
    assert needed - imported == set()


def modules(node: ast.AST) -> list[str]:
    """The top-level names of the modules that a statement imports."""
    names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
    return [name.partition(".")[0] for name in names]


def test_conda_users_get_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    assert [one.partition("=")[0] for one in conda] == ["python", "pip"]
    python = conda[0].partition("=")[2]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


def test_what_the_packages_read_is_installed_with_them():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    for name in tracked():
        if name.startswith("src/") and not name.endswith(".py"):
            _, package, *rest = Path(name).parts
            assert any(Path(*rest).match(pattern) for pattern in patterns.get(package, [])), name


def test_a_clone_with_windows_line_ends_set_up_has_ours(tmp_path):
    """Of the scripts, the Makefile and the attributes that say so; in an empty repository, which is quick."""
    names = [".gitattributes", "Makefile", *(name for name in tracked() if name.endswith((".sh", ".ci/run")))]
    git("init", "-q", str(tmp_path))
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    git("add", ".", folder=tmp_path)
    git(*identity, "commit", "-qm", "all", folder=tmp_path)
    clone = tmp_path / "clone"
    git("clone", "-q", "-c", "core.autocrlf=true", str(tmp_path), str(clone))
    assert len(names) > 2
    assert [name for name in names if b"\r" in (clone / name).read_bytes()] == []


def test_every_text_file_is_stored_with_unix_line_ends():
    stored = [line.split() for line in git("ls-files", "--eol").splitlines()]
    assert [words[-1] for words in stored if words[0] in ("i/crlf", "i/mixed")] == []


def targets() -> set[str]:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    return {name for line in lines if re.match(r"[a-z]", line) and "##" in line for name in line.split(":")[0].split()}


PAGES = sorted(path for path in map(Path, tracked()) if path.suffix == ".md")


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks of code, and what stands in backticks."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found, inside = [], False
    for line in lines:
        if line.strip().startswith("```"):
            inside = not inside
        elif inside:
            found.append(line.strip())
        else:
            found += re.findall(r"`([^`]+)`", line)
    return found


def leaves(commands: argparse.ArgumentParser) -> list[str]:
    """Every command of a parser, each word followed by a space."""
    groups = [one.choices for one in commands._actions if isinstance(one, argparse._SubParsersAction)]
    found = [f"{name} {rest}" for group in groups for name, one in group.items() for rest in leaves(one)]
    return found or [""]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_commands_on_a_page_exist(page):
    programs = {line.split()[0] for line in leaves(parser())}
    for line in commands(page):
        if made := re.match(r"make ((?:[a-z][a-z0-9-]*(?: |$))+)", line):
            assert set(made[1].split()) <= targets(), line
        if ran := re.match(r"(?:\S*/)?sparsecycle ([a-z]+)\b", line):
            assert ran[1] in programs, line


def lines_of_sparsecycle(page: Path) -> list[str]:
    """What follows `sparsecycle` in the lines of the Makefile or of a page's blocks of code, each a whole command."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = (
        [text] if page.name == "Makefile" else re.findall(r"^```[^`\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    )
    start = r"\)/sparsecycle " if page.name == "Makefile" else r"^(?:\S*/)?sparsecycle "
    return [line for block in blocks for line in re.findall(rf"{start}([^;|>#\n]+)", block, re.MULTILINE)]


@pytest.mark.parametrize("page", [Path("Makefile"), *PAGES], ids=str)
def test_the_parser_reads_every_command_on_a_page(page):
    for line in lines_of_sparsecycle(page):
        if not re.search(r"\b[A-Z]{4,}\b", line):  # a placeholder
            parser().parse_args(shlex.split(re.sub(r"\$+(\(\w+\)|\w+|@)", "1", line)))


def test_the_makefile_and_the_readme_have_commands_for_the_parser():
    assert all(len(lines_of_sparsecycle(Path(name))) > 1 for name in ("Makefile", "README.md", "book/reference.md"))


def test_the_reference_lists_every_command():
    listed = lines_of_sparsecycle(Path("book/reference.md"))
    assert [name for name in leaves(parser()) if not any(f"{line} ".startswith(name) for line in listed)] == []


# Registries and this or that machine: a clone works anywhere.
ELSEWHERE = re.compile(
    r"https?://[^/ ]*(npmjs|registry|pypi|pythonhosted|debian)[^/ ]*|[\"'` (](/(home|root|work|Users|scratch)/)"
)
ALLOWED = {"tests/test_house.py"}


def test_no_file_names_a_registry_or_a_path_of_a_machine():
    found = {}
    for name in tracked():
        if Path(name).suffix in (".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".sh", ".json", ".js", ".lock", ""):
            hit = ELSEWHERE.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))
            if hit and name not in ALLOWED:
                found[name] = hit[0]
    assert found == {}


def test_the_map_of_the_folders_names_each_that_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = [Path(name).parts for name in tracked()]
    folders = {parts[0] for parts in names if len(parts) > 1} - {"src"}
    packages = {parts[2] for parts in names if parts[:2] == ("src", "sparsecycle") and len(parts) > 3}
    assert [name for name in sorted(folders | packages) if f"`{name}/`" not in text] == []


def test_a_test_lies_where_its_layer_is():
    """The files of tests/ lie in folders named as in the source; beside them only what is about the repository."""
    named = {"core", "book", *(path.name for path in (ROOT / "src/sparsecycle").iterdir() if path.is_dir())}
    folders = {Path(name).parent.name for name in tracked() if re.fullmatch(r"tests/.*/test_\w+\.py", name)}
    assert folders <= named
    assert [Path(name).name for name in tracked() if re.fullmatch(r"tests/test_\w+\.py", name)] == ["test_house.py"]


def test_what_a_user_has_set_up_for_figures_and_cells_does_not_reach_our_commands(tmp_path):
    own = {name: str(tmp_path) for name in ("IPYTHONDIR", "MPLCONFIGDIR", "MATPLOTLIBRC", "PYTHONSTARTUP")}
    rule = "told:\n\t@env\n"
    command = ["make", "--silent", f"--eval={rule}", "told"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=True)
    assert "MPLCONFIGDIR=" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.endswith(f"={tmp_path}")] == []
