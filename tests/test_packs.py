"""CIFAR-10 carried in packs to a machine that cannot download."""

import io
import tarfile

import pytest

from sparsecycle.downloads import obtain
from sparsecycle.errors import InputError
from sparsecycle.packs import write_packs
from sparsecycle.sheets import write_sheets
from sparsecycle.storage import FULL, fetch_cifar10, read_set
from tiny_cifar import fake_sources, one_sentence, pin, same, tiny_splits


@pytest.fixture
def splits(monkeypatch):
    splits = tiny_splits()
    pin(monkeypatch, FULL, splits)
    return splits


@pytest.fixture
def packs(splits, tmp_path):
    """Two packs in a folder of their own."""
    folder = tmp_path / "stored"
    folder.mkdir()
    write_sheets(folder, splits)
    return write_packs(folder, tmp_path / "packs")


def test_packs_bring_the_images_whole(packs, splits, monkeypatch, tmp_path):
    """They come before any download, and what they bring is checked as a download is."""
    asked = fake_sources(monkeypatch, official=InputError("not asked"), mirror=InputError("not asked"))
    target = fetch_cifar10("auto", packs[0].parent)
    assert same(read_set(target, FULL), splits) and asked == []


def test_the_same_images_give_the_same_packs(packs, splits, tmp_path):
    again = write_packs(tmp_path / "stored", tmp_path / "again")
    assert [path.name for path in again] == ["cifar10-1-of-2.tar", "cifar10-2-of-2.tar"]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in packs]


def test_without_packs_auto_does_not_speak_of_them(splits, monkeypatch, tmp_path, caplog):
    asked = fake_sources(monkeypatch, packs=InputError("not asked"), official=splits)
    obtain("auto", tmp_path, tmp_path, lambda _: None)
    assert asked == ["official"] and not caplog.records


def test_a_pack_that_is_missing_is_named(packs):
    packs[1].unlink()
    with pytest.raises(InputError, match=r"cifar10-2-of-2\.tar is missing") as caught:
        fetch_cifar10("packs", packs[0].parent)
    one_sentence(caught.value)


def test_no_pack_at_all(tmp_path):
    with pytest.raises(InputError, match="no pack lies in"):
        fetch_cifar10("packs", tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_pack_leaves_nothing(packs, damage):
    content = bytearray(packs[1].read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    packs[1].write_bytes(b"" if damage == "empty" else content[: len(content) // (2 if damage == "cut" else 1)])
    with pytest.raises(InputError) as caught:
        fetch_cifar10("packs", packs[0].parent)
    one_sentence(caught.value)
    assert not (packs[0].parent / "cifar10").exists()


@pytest.mark.parametrize("name", ["../train-00.webp", "/tmp/train-00.webp", "train-00.webp/../../x", "other"])
def test_a_pack_cannot_write_elsewhere(packs, tmp_path, name):
    with tarfile.open(packs[1], "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    before = sorted(path for path in tmp_path.rglob("*") if path.suffix != ".lock")
    with pytest.raises(InputError, match="is no pack of CIFAR-10"):
        fetch_cifar10("packs", packs[0].parent)
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix != ".lock") == before


def test_a_link_in_a_pack_is_refused(packs):
    with tarfile.open(packs[1], "w") as archive:
        member = tarfile.TarInfo("train-00.webp")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(member)
    with pytest.raises(InputError, match="is no pack of CIFAR-10"):
        fetch_cifar10("packs", packs[0].parent)
