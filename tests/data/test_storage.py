import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sparsecycle.data import sheets, storage
from sparsecycle.errors import InputError
from sparsecycle.data.sheets import LabelledImages, read_sheets, write_sheets
from sparsecycle.data.storage import FULL, data_folder, fetch_cifar10, read_set
from tiny_cifar import fake_sources, one_sentence, pin, same, tiny_splits


@pytest.fixture
def splits(monkeypatch):
    """What passes for the full CIFAR-10 in these tests."""
    splits = tiny_splits()
    pin(monkeypatch, FULL, splits)
    return splits


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name not in (FULL, ".cifar10.partial.lock")]


def test_what_is_fetched_is_stored_and_read_back(splits, monkeypatch, tmp_path):
    fake_sources(monkeypatch, mirror=splits)
    target = fetch_cifar10("mirror", tmp_path / "a" / "new folder")
    assert target == tmp_path / "a" / "new folder" / "cifar10"
    assert same(read_set(target, FULL), splits)
    assert leftovers(target.parent) == []


def test_a_set_that_is_there_is_not_fetched_again(splits, monkeypatch, tmp_path):
    asked = fake_sources(monkeypatch, official=splits, mirror=splits)
    for source in ("auto", "mirror", "official"):
        fetch_cifar10(source, tmp_path)
    assert asked == ["official"]


def test_a_damaged_set_is_told_and_not_replaced_in_silence(splits, monkeypatch, tmp_path):
    fake_sources(monkeypatch, mirror=splits)
    sheet = fetch_cifar10("mirror", tmp_path) / "train-00.webp"
    sheet.write_bytes(b"")
    with pytest.raises(InputError, match="truncated or altered") as caught:
        fetch_cifar10("mirror", tmp_path)
    assert str(sheet) in one_sentence(caught.value)
    assert f"delete {tmp_path / FULL}" in str(caught.value)


def test_other_images_are_not_stored(splits, monkeypatch, tmp_path):
    other = splits | {"test": LabelledImages(splits["test"].pixels ^ 1, splits["test"].labels)}
    fake_sources(monkeypatch, mirror=other)
    with pytest.raises(InputError, match="mirror: the test pixels are not those of cifar10"):
        fetch_cifar10("mirror", tmp_path)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / FULL).exists()


@pytest.mark.parametrize(
    ("part", "named"), [("pixels", "train-*.webp"), ("labels", "labels.json"), ("splits", "labels.json")]
)
def test_a_consistent_set_of_other_images_is_told(splits, tmp_path, part, named):
    images = splits["train"]
    if part == "pixels":
        other = splits | {"train": LabelledImages(images.pixels[::-1], images.labels)}
    elif part == "labels":
        other = splits | {"train": LabelledImages(images.pixels, images.labels[::-1])}
    else:
        other = {"train": images}
    write_sheets(tmp_path, other)
    with pytest.raises(InputError) as caught:
        read_set(tmp_path, FULL)
    assert str(tmp_path / named) in one_sentence(caught.value)


def test_a_full_disk_leaves_nothing_and_the_next_fetch_works(splits, monkeypatch, tmp_path):
    fake_sources(monkeypatch, mirror=splits)
    with monkeypatch.context() as patch:
        write = sheets.write_atomically

        def until_full(path, content):
            if path.name.startswith("test"):
                raise OSError(errno.ENOSPC, "No space left on device")
            write(path, content)

        patch.setattr(sheets, "write_atomically", until_full)
        with pytest.raises(InputError, match="No space left on device") as caught:
            fetch_cifar10("mirror", tmp_path)
        assert str(tmp_path / FULL) in one_sentence(caught.value)
    assert not (tmp_path / FULL).exists()
    assert leftovers(tmp_path) == []
    assert same(read_set(fetch_cifar10("mirror", tmp_path), FULL), splits)


def test_ctrl_c_leaves_nothing(splits, monkeypatch, tmp_path):
    fake_sources(monkeypatch, mirror=splits)

    def interrupt(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(sheets, "write_atomically", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_cifar10("mirror", tmp_path)
    assert not (tmp_path / FULL).exists()
    assert leftovers(tmp_path) == []


SLOW_FETCH = """
import sys, time
from tiny_cifar import tiny_splits
from sparsecycle.data import downloads, sheets, storage
splits = tiny_splits()
storage.SUMS[storage.FULL] = {split: images.sums() for split, images in splits.items()}
downloads.SOURCES["mirror"] = lambda work, data_folder: splits
write = sheets.write_atomically
def slowly(path, content):
    write(path, content)
    print("written", flush=True)
    time.sleep(60)
sheets.write_atomically = slowly
storage.fetch_cifar10("mirror", sys.argv[1])
"""


def test_a_kill_while_storing_leaves_no_set_and_the_next_fetch_clears_up(splits, monkeypatch, tmp_path):
    folders = [str(Path(__file__).parent), str(Path(storage.__file__).parents[1])]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_FETCH, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert not (tmp_path / FULL).exists()
    (partial,) = leftovers(tmp_path)
    assert (tmp_path / partial / FULL / "train-00.webp").exists()
    fake_sources(monkeypatch, mirror=splits)
    assert same(read_set(fetch_cifar10("mirror", tmp_path), FULL), splits)
    assert leftovers(tmp_path) == []


def test_two_fetches_at_once_share_one_download(splits, monkeypatch, tmp_path):
    asked = fake_sources(monkeypatch, mirror=splits)
    write = sheets.write_atomically
    monkeypatch.setattr(sheets, "write_atomically", lambda *given: (time.sleep(0.05), write(*given)))
    threads = [threading.Thread(target=fetch_cifar10, args=("mirror", tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["mirror"]
    assert set(read_sheets(tmp_path / FULL)) == {"train", "test"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be stored") as caught:
        fetch_cifar10("mirror", tmp_path / "file" / "data")
    assert str(tmp_path / "file" / "data") in one_sentence(caught.value)


def test_the_data_folder_is_the_argument_else_the_variable_else_the_checkout_else_here(monkeypatch, tmp_path):
    named, variable, checkout = tmp_path / "named", tmp_path / "variable", tmp_path / "checkout"
    for folder in (named, variable, checkout):
        folder.mkdir()
    monkeypatch.setattr(storage, "checkout_data", lambda: checkout)
    monkeypatch.setenv("SPARSECYCLE_DATA_DIR", str(variable))
    assert data_folder(named) == data_folder(str(named)) == named
    assert data_folder() == variable
    monkeypatch.setenv("SPARSECYCLE_DATA_DIR", "")
    assert data_folder() == checkout
    checkout.rmdir()
    assert data_folder() == Path("data")


def test_a_named_folder_that_is_missing_is_told(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"^data_dir is .*missing', which is not a folder") as caught:
        data_folder(tmp_path / "missing")
    one_sentence(caught.value)
    monkeypatch.setenv("SPARSECYCLE_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"^SPARSECYCLE_DATA_DIR is .*absent'"):
        data_folder()


def test_only_sources_of_the_full_set_can_be_fetched():
    with pytest.raises(InputError, match="source is 'embedded', but it must be one of auto, packs, official, mirror"):
        fetch_cifar10("embedded")
