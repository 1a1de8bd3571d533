import json
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsecycle.data import sheets
from sparsecycle.errors import InputError
from tiny_cifar import random_images, refused, same


@settings(max_examples=25, deadline=None)
@given(train=st.integers(0, 130), test=st.integers(0, 130), per_sheet=st.integers(1, 90), seed=st.integers(0, 99))
def test_any_images_come_back_as_they_were_written(train, test, per_sheet, seed):
    splits = {"train": random_images(train, seed), "test": random_images(test, seed + 1)}
    with TemporaryDirectory() as folder, mock.patch.object(sheets, "TILES_PER_SHEET", per_sheet):
        sheets.write_sheets(Path(folder), splits)
        assert same(sheets.read_sheets(Path(folder)), splits)


def test_tile_43_is_the_fourth_of_the_second_row(tmp_path):
    images = random_images(50)
    sheets.write_sheets(tmp_path, {"train": images})
    picture = np.asarray(Image.open(tmp_path / "train-00.webp"))
    assert picture.shape == (2 * 32, 40 * 32, 3)
    assert np.array_equal(picture[32:64, 3 * 32 : 4 * 32], images.pixels[43].transpose(1, 2, 0))
    assert not picture[32:, 10 * 32 :].any()


@pytest.fixture
def folder(tmp_path):
    sheets.write_sheets(tmp_path, {"train": random_images(60), "test": random_images(10)})
    return tmp_path


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, Path.unlink], ids=["flipped", "truncated", "missing"])
@pytest.mark.parametrize("name", ["train-00.webp", "test-00.webp"])
def test_a_damaged_sheet_is_named(folder, damage, name):
    damage(folder / name)
    with refused(r"is missing|is truncated or altered", folder / name):
        sheets.read_sheets(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[1, 2]", b'{"train": 3}', b'{"train": [true]}', b'{"train": [-1]}', b'{"train": [256]}'],
)
def test_labels_that_are_no_labels_are_told(folder, content):
    (folder / "labels.json").write_bytes(content)
    with refused("is damaged", folder / "labels.json"):
        sheets.read_sheets(folder)


@pytest.mark.parametrize("name", ["labels.json", "SHA256SUMS"])
def test_a_missing_index_is_named(folder, name):
    (folder / name).unlink()
    with refused("is missing", folder / name):
        sheets.read_sheets(folder)


def test_a_sheet_without_a_sum_is_not_trusted(folder):
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(InputError, match=r"SHA256SUMS is damaged \(it has no sum for train-00\.webp\)"):
        sheets.read_sheets(folder)


def test_labels_for_more_rows_than_the_sheet_has_are_told(folder):
    labels = json.loads((folder / "labels.json").read_bytes())
    (folder / "labels.json").write_text(json.dumps(labels | {"test": [0] * 41}))
    with pytest.raises(InputError, match=r"test-00\.webp has the shape \(32, 1280, 3\)"):
        sheets.read_sheets(folder)


def test_a_file_that_cannot_be_read_is_named(folder):
    (folder / "test-00.webp").unlink()
    (folder / "test-00.webp").mkdir()
    with pytest.raises(InputError, match=r"test-00\.webp cannot be read"):
        sheets.read_sheets(folder)


def test_a_sheet_that_is_no_picture_is_told(folder):
    (folder / "test-00.webp").write_bytes(b"no picture")
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    lines[-1] = f"{sheets._sha256(b'no picture')}  test-00.webp"
    (folder / "SHA256SUMS").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"test-00\.webp cannot be decoded"):
        sheets.read_sheets(folder)
