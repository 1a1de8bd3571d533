import errno
import functools
import hashlib
import http.server
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from sparsecycle.data import official, storage
from sparsecycle.data.sheets import LabelledImages, write_sheets
from sparsecycle.data.storage import FULL, MINI, data_folder, fetch_cifar10, find_cifar10, read_set
from sparsecycle.errors import InputError
from tiny_cifar import pin, refused, same, tiny_batches, tiny_splits


def python2_pickle(images):
    """A batch as Python 2 pickled the official ones: text is a byte string, and numpy's array has its old module."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + value.to_bytes(4, "little", signed=True)

    pixels = images.pixels.tobytes()
    dtype = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + number(-1) * 2 + b"K\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    state = b"(K\x01" + number(len(images.labels)) + number(3072) + b"\x86" + dtype + b"\x89"
    state += b"T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in images.labels) + b"e"
    content = text(b"batch_label") + text(b"one of six") + text(b"labels") + labels + text(b"data") + array + state
    return b"\x80\x02}(" + content + b"u."


def change(monkeypatch, path, content):
    """Write a batch whose MD5 is the expected one."""
    path.write_bytes(content)
    monkeypatch.setitem(official.MD5, path.name, hashlib.md5(content).hexdigest())


@pytest.fixture
def splits(monkeypatch):
    """What passes for all of CIFAR-10 in these tests."""
    splits = tiny_splits()
    pin(monkeypatch, FULL, splits)
    return splits


@pytest.fixture
def batches(splits, monkeypatch, tmp_path):
    """A folder as torchvision leaves it."""
    folder = tmp_path / "torchvision" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, images in tiny_batches().items():
        change(monkeypatch, folder / name, python2_pickle(images))
    return folder


@pytest.fixture
def archive(batches, tmp_path):
    """The official archive, in a folder of its own."""
    path = tmp_path / "site" / official.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(batches, arcname=batches.name)
    return path


@pytest.fixture
def asked(archive, monkeypatch):
    """The archive lies on a web server on this machine, which writes down what it was asked for."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(official, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    paths = []

    class Site(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            if "broken" not in self.path:
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"the line breaks here")

        def log_message(self, *_):
            pass

    handler = functools.partial(Site, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        monkeypatch.setattr(official, "ADDRESS", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        yield paths
        server.shutdown()


def left_in(folder):
    """What lies in a folder besides locks, which stay."""
    return sorted(path.name for path in folder.rglob("*") if path.suffix != ".lock")


@pytest.mark.parametrize("as_cifar10", [False, True])
@pytest.mark.parametrize("folder", ["torchvision", "torchvision/cifar-10-batches-py"])
def test_torchvision_s_folder_is_read_as_it_lies(splits, batches, tmp_path, folder, as_cifar10):
    place = tmp_path / folder
    if as_cifar10:
        place = tmp_path / "data"
        shutil.move(tmp_path / folder, place / "cifar10")
    assert same(read_set(FULL, place), splits)


@pytest.mark.parametrize("given", [".", "cifar10"])
def test_the_official_archive_is_read_where_it_lies(splits, archive, given):
    (archive.parent / given).mkdir(exist_ok=True)
    archive.replace(archive.parent / given / archive.name)
    assert same(read_set(FULL, archive.parent), splits)
    assert not list(archive.parent.rglob("data_batch*")), "reading needs no room on the disk"


def test_sheets_go_before_batches_and_batches_before_the_archive(splits, batches, archive):
    folder = batches.parent
    archive.replace(folder / archive.name)
    assert find_cifar10(folder) == batches
    (folder / FULL).mkdir()
    write_sheets(folder / FULL, splits)
    assert find_cifar10(folder) == folder / FULL


def test_the_embedded_images_are_never_taken_for_all_of_cifar10(splits, tmp_path):
    (tmp_path / MINI).mkdir()
    write_sheets(tmp_path / MINI, splits)
    assert find_cifar10(tmp_path / MINI) is None


def test_images_are_read_from_a_folder_that_cannot_be_written(splits, batches):
    before = left_in(batches.parent)
    read_set(FULL, batches.parent)
    assert sorted(path.name for path in batches.parent.rglob("*")) == before, "reading leaves nothing, not even a lock"


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_damaged_batch_is_named_before_it_is_opened(batches, monkeypatch, damage, name):
    path = batches / name
    if damage == "missing":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-9] + b"x" + content[-8:])
    if name == "data_batch_3":
        (batches / "data_batch_4").write_bytes(b"")  # not reached
    else:
        monkeypatch.setattr(official, "TRAIN", ("data_batch_1",))
    with refused(r"is missing|is truncated or altered", path, "delete it"):
        read_set(FULL, batches.parent)


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({b"data": Harmful(), b"labels": [1]}, protocol=2),
        b"cbuiltins\neval\n(U\x08harm()   tR.",
        b"c__builtin__\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
    ],
    ids=["system", "eval", "getattr", "load", "fromfile"],
)
def test_a_batch_that_would_run_code_is_refused_even_with_the_right_sum(batches, monkeypatch, tmp_path, content):
    monkeypatch.chdir(tmp_path)
    change(monkeypatch, batches / "data_batch_1", content)
    with refused(r"data_batch_1 is not opened \(it asks for \w+"):
        read_set(FULL, batches)
    assert not (tmp_path / "harmed").exists()


def test_other_images_are_refused_and_named(splits, batches, monkeypatch):
    images = splits["test"]
    other = LabelledImages(images.pixels ^ 1, images.labels)
    change(monkeypatch, batches / "test_batch", python2_pickle(other))
    with refused(r"the test pixels in .* are not those of cifar10", batches):
        read_set(FULL, batches)


def test_sheets_of_something_else_are_refused(splits, tmp_path):
    write_sheets(tmp_path, {"train": splits["train"]})
    with pytest.raises(InputError, match=r"has images of \['train'\] instead of train and test"):
        read_set(FULL, tmp_path)


@pytest.mark.parametrize("damage", ["empty", "truncated", "another archive"])
def test_a_damaged_archive_is_named(archive, damage):
    content = archive.read_bytes()
    archive.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    if damage == "another archive":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(__file__, arcname="cifar-10-batches-py/../../data_batch_1")
    with refused("is damaged or cannot be read", archive):
        read_set(FULL, archive.parent)


def test_the_official_archive_is_asked_for_over_tls_and_pinned():
    assert official.ADDRESS.startswith("https://")
    assert len(official.SHA256) == 64


def test_what_is_missing_is_fetched_once_and_then_read(splits, asked, tmp_path, capfd):
    folder = tmp_path / "a" / "new folder"
    assert fetch_cifar10(folder) == folder / "cifar10" / official.ARCHIVE
    assert "100%" in capfd.readouterr().err
    assert same(read_set(FULL, folder), splits)
    assert fetch_cifar10(folder) == folder / "cifar10" / official.ARCHIVE
    assert len(asked) == 1
    assert left_in(folder) == [official.ARCHIVE, "cifar10"]


def test_a_fetch_without_standard_error_works(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", None)
    assert fetch_cifar10(tmp_path / "data").exists()


def test_without_a_network_the_message_names_the_other_ways(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(official, "ADDRESS", "http://127.0.0.1:9/nothing")
    ways = (official.ARCHIVE, official.FOLDER, "cifar10_from_npm.py", "cifar10-mini")
    with refused("could not be downloaded", *ways):
        fetch_cifar10(tmp_path / "data")


@pytest.mark.parametrize("fault", ["broken line", "another file", "no such page"])
def test_a_faulty_download_leaves_nothing_and_the_next_one_works(splits, asked, archive, monkeypatch, tmp_path, fault):
    (archive.parent / "sign-in.html").write_text("<!DOCTYPE html><title>Sign in</title>")
    page = {"broken line": "broken", "another file": "sign-in.html", "no such page": "missing"}[fault]
    with monkeypatch.context() as patch:
        patch.setattr(official, "ADDRESS", official.ADDRESS.replace(archive.name, page))
        with refused("could not be downloaded"):
            fetch_cifar10(tmp_path / "data")
    assert left_in(tmp_path / "data") == ["cifar10"]
    assert same(read_set(FULL, tmp_path / "data"), splits)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupt_or_a_full_disk_leaves_nothing(splits, asked, monkeypatch, tmp_path, stop):
    with monkeypatch.context() as patch:

        def half_written(source, target):
            Path(target).write_bytes(b"half")
            raise stop

        patch.setattr("pooch.core.shutil.move", half_written)
        told = "No space left on device"
        with refused(told) if isinstance(stop, OSError) else pytest.raises(KeyboardInterrupt):
            fetch_cifar10(tmp_path / "data")
    assert left_in(tmp_path / "data") == ["cifar10"]
    assert same(read_set(FULL, tmp_path / "data"), splits)


SLOW_FETCH = """
import sys, time
import pooch
from sparsecycle.data import storage
def slowly(address, known_hash, name, folder, downloader):
    folder.mkdir()
    (folder / "half").write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
pooch.retrieve = slowly
storage.fetch_cifar10(sys.argv[1])
"""


def test_a_kill_while_fetching_leaves_no_set_and_the_next_fetch_clears_up(splits, asked, tmp_path):
    command = [sys.executable, "-c", SLOW_FETCH, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert find_cifar10(tmp_path / "data") is None
    assert "half" in left_in(tmp_path / "data")
    assert same(read_set(FULL, tmp_path / "data"), splits)
    assert left_in(tmp_path / "data") == [official.ARCHIVE, "cifar10"]


def test_several_fetches_at_once_share_one_download(splits, asked, tmp_path):
    threads = [threading.Thread(target=fetch_cifar10, args=(tmp_path / "data",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert same(read_set(FULL, tmp_path / "data"), splits)


def test_a_folder_that_cannot_be_made_is_told(asked, tmp_path):
    (tmp_path / "file").write_text("")
    with refused("could not be downloaded to", tmp_path / "file" / "data"):
        fetch_cifar10(tmp_path / "file" / "data")


def test_the_data_folder_is_the_argument_else_the_variable_else_the_checkout_else_here(monkeypatch, tmp_path):
    named, variable, checkout = tmp_path / "named", tmp_path / "variable", tmp_path / "checkout"
    for folder in (named, variable, checkout):
        folder.mkdir()
    monkeypatch.setattr(storage, "CHECKOUT_DATA", checkout)
    monkeypatch.setenv("SPARSECYCLE_DATA_DIR", str(variable))
    assert data_folder(named) == data_folder(str(named)) == named
    assert data_folder() == variable
    monkeypatch.setenv("SPARSECYCLE_DATA_DIR", "")
    assert data_folder() == checkout
    checkout.rmdir()
    assert data_folder() == Path("data")
    monkeypatch.setenv("HOME", str(named))
    assert data_folder("~") == named


def test_a_named_folder_that_is_missing_or_no_path_is_told(monkeypatch, tmp_path):
    with refused(r"^data_dir is .*missing', which is not a folder"):
        data_folder(tmp_path / "missing")
    with pytest.raises(InputError, match="data_dir is 7, but must be the path of a folder"):
        data_folder(7)
    monkeypatch.setenv("SPARSECYCLE_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"^SPARSECYCLE_DATA_DIR is .*absent'"):
        data_folder()
