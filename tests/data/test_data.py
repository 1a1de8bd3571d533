import dataclasses
import hashlib
import os
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsecycle.data import cifar10 as data, storage
from sparsecycle.data.cifar10 import MEAN, STD, Cifar10, load_cifar10, normalize, write_mini
from sparsecycle.errors import InputError
from sparsecycle.data.sheets import LabelledImages, write_sheets
from tiny_cifar import fake_sources, one_sentence, pin, random_images, same, tiny_splits

# SHA-256 of data_batch_1.bin ... test_batch.bin of the official binary version, as public loaders pin them.
PUBLISHED_SUMS = [
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
]


@pytest.fixture(scope="module")
def mini():
    return load_cifar10("embedded")


def test_the_embedded_set_has_500_and_100_images_a_class_in_the_original_order(mini):
    assert mini.name == "cifar10-mini"
    assert mini.train_images.shape == (5000, 3, 32, 32)
    assert mini.test_images.shape == (1000, 3, 32, 32)
    assert mini.train_images.dtype == mini.test_images.dtype == torch.uint8
    assert mini.train_labels.dtype == mini.test_labels.dtype == torch.int64
    assert torch.bincount(mini.train_labels).tolist() == [500] * 10
    assert torch.bincount(mini.test_labels).tolist() == [100] * 10
    # The first images of the full set are the first of their classes too.
    assert mini.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert mini.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_the_embedded_set_has_its_pinned_sums_and_digest(mini):
    sums = [line for split in ("train", "test") for line in storage.SUMS["cifar10-mini"][split]]
    assert [*mini.splits()["train"].sums(), *mini.splits()["test"].sums()] == sums
    assert mini.digest == hashlib.sha256("".join(f"{line}\n" for line in sums).encode()).hexdigest()


def test_the_embedded_set_loads_in_less_than_a_second(mini):
    def seconds():
        started = time.perf_counter()
        load_cifar10("embedded")
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1  # 0.15 s measured on two idle cores


def test_the_embedded_set_is_found_from_a_data_folder_that_lacks_it(mini, tmp_path):
    assert load_cifar10("embedded", tmp_path).digest == mini.digest


def test_the_embedded_set_in_the_data_folder_goes_before(tmp_path):
    (tmp_path / "cifar10-mini").mkdir()
    with pytest.raises(InputError, match="restore it from the project's repository") as caught:
        load_cifar10("embedded", tmp_path)
    assert str(tmp_path / "cifar10-mini" / "labels.json") in one_sentence(caught.value)


def test_an_embedded_set_with_swapped_labels_is_refused(mini, tmp_path):
    splits = mini.take(10, 10).splits()
    with pytest.MonkeyPatch.context() as patch:
        pin(patch, "cifar10-mini", splits)
        (tmp_path / "cifar10-mini").mkdir()
        write_sheets(tmp_path / "cifar10-mini", splits)
        load_cifar10("embedded", tmp_path)
        labels = (tmp_path / "cifar10-mini" / "labels.json").read_text()
        (tmp_path / "cifar10-mini" / "labels.json").write_text(labels.replace("[6,9,", "[9,6,"))
        with pytest.raises(InputError, match=r"the train labels in .* are not those of cifar10-mini") as caught:
            load_cifar10("embedded", tmp_path)
    assert str(tmp_path / "cifar10-mini" / "labels.json") in one_sentence(caught.value)


def cifar(train_labels, test_labels):
    """Labels with images that can be told apart: image i of a split has the value i everywhere."""

    def images(labels):
        return torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).contiguous()

    labels = torch.tensor(train_labels), torch.tensor(test_labels)
    return Cifar10("cifar10", images(labels[0]), labels[0], images(labels[1]), labels[1])


def places(images):
    return images[:, 0, 0, 0].tolist()


@st.composite
def shuffled_labels(draw, least):
    counts = draw(st.lists(st.integers(least, 6), min_size=10, max_size=10))
    return draw(st.permutations([label for label, count in enumerate(counts) for _ in range(count)]))


@settings(max_examples=60, deadline=None)
@given(shuffled_labels(least=1), shuffled_labels(least=1), st.data())
def test_take_gives_the_first_of_each_class_in_stored_order(train, test, draws):
    whole = cifar(train, test)
    most = {"train": min(map(train.count, range(10))), "test": min(map(test.count, range(10)))}
    each = {split: draws.draw(st.integers(1, count)) for split, count in most.items()}
    part = whole.take(each["train"] * 10, each["test"] * 10)
    for split, labels in (("train", train), ("test", test)):
        first = [place for place, label in enumerate(labels) if labels[:place].count(label) < each[split]]
        assert places(getattr(part, f"{split}_images")) == first
        assert getattr(part, f"{split}_labels").tolist() == [labels[place] for place in first]


@settings(max_examples=60, deadline=None)
@given(shuffled_labels(least=2), st.data())
def test_hold_out_parts_the_training_split_in_two_and_leaves_the_test_split_out(train, draws):
    each = draws.draw(st.integers(1, min(map(train.count, range(10))) - 1))
    part = cifar(train, list(range(10))).hold_out(each * 10)
    held, rest = places(part.test_images), places(part.train_images)
    assert held == [place for place, label in enumerate(train) if train[place + 1 :].count(label) < each]
    assert rest == [place for place in range(len(train)) if place not in held]
    assert part.test_labels.tolist() == [train[place] for place in held]
    assert part.train_labels.tolist() == [train[place] for place in rest]


@pytest.mark.parametrize("size", [0, -10, 15, 5010])
def test_sizes_that_are_not_there_are_refused(mini, size):
    with pytest.raises(InputError, match=rf"train is {size}, but it must be a multiple of 10 from 10 to 5000"):
        mini.take(train=size)
    with pytest.raises(InputError, match=rf"test is {size}, but it must be a multiple of 10 from 10 to 1000"):
        mini.take(test=size)
    with pytest.raises(InputError, match=rf"hold_out is {size}, but it must be a multiple of 10 from 10 to 4990"):
        mini.hold_out(size)


def test_a_part_has_another_digest_and_the_whole_has_the_same(mini):
    digests = [mini.take(100).digest, mini.take(test=100).digest, mini.hold_out(100).digest, mini.digest]
    assert len(set(digests)) == 4
    assert mini.take(5000, 1000).digest == mini.digest
    assert mini.to("cpu").digest == mini.digest


def test_the_set_cannot_be_changed_by_assignment(mini):
    with pytest.raises(dataclasses.FrozenInstanceError):
        mini.name = "other"


def test_normalize_is_the_textbook_formula_and_leaves_its_input_alone():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(12).reshape(1, 3, 32, 32)
    expected = (pixels.numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    for images in (pixels, pixels.float()):
        before = images.clone()
        normalized = normalize(images)
        assert normalized.dtype == torch.float32
        # float32 has 24 bits and |x| < 3: two roundings stay below 1e-6.
        np.testing.assert_allclose(normalized.numpy(), expected, atol=1e-6, rtol=0)
        assert torch.equal(images, before)


def test_the_full_set_is_fetched_once_and_then_read(monkeypatch, tmp_path):
    splits = tiny_splits()
    pin(monkeypatch, "cifar10", splits)
    asked = fake_sources(monkeypatch, official=InputError("no network"), mirror=splits)
    loaded = [load_cifar10(source, tmp_path) for source in ("auto", "auto", "official", "mirror")]
    assert asked == ["official", "mirror"]
    assert all(found.name == "cifar10" and same(found.splits(), splits) for found in loaded)


def test_an_unknown_source_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="source is 'web', but it must be one of auto, embedded, packs, official"):
        load_cifar10("web")
    with pytest.raises(InputError, match=r"data_dir is .*which is not a folder"):
        load_cifar10("mirror", tmp_path / "missing")


def test_write_mini_keeps_the_first_images_of_each_class(monkeypatch, tmp_path):
    full = LabelledImages(*random_images(200, seed=3)), LabelledImages(*random_images(50, seed=4))
    labels = [torch.from_numpy(images.labels).long() for images in full]
    pixels = [torch.from_numpy(images.pixels) for images in full]
    whole = Cifar10("cifar10", pixels[0], labels[0], pixels[1], labels[1])
    monkeypatch.setattr(data, "MINI_TRAIN", 50)
    monkeypatch.setattr(data, "MINI_TEST", 10)
    with pytest.raises(InputError, match="are not those of cifar10-mini"):
        write_mini(whole, tmp_path)
    expected = whole.take(50, 10).splits()
    pin(monkeypatch, "cifar10-mini", expected)
    write_mini(whole, tmp_path)
    assert same(storage.read_set(tmp_path, "cifar10-mini"), expected)


@pytest.mark.skipif(
    os.environ.get("SPARSECYCLE_TEST_DOWNLOADS") != "1",
    reason="SPARSECYCLE_TEST_DOWNLOADS=1 downloads 139 MB",
)
def test_the_real_mirror_is_the_official_cifar10_and_the_embedded_set_is_chosen_from_it(mini, tmp_path):
    full = load_cifar10("mirror", tmp_path)
    splits = full.splits()
    batches = [
        LabelledImages(*(part[start : start + 10_000] for part in splits["train"]))
        for start in range(0, 50_000, 10_000)
    ]
    for images, published in zip([*batches, splits["test"]], PUBLISHED_SUMS, strict=True):
        rows = np.concatenate([images.labels[:, None], images.pixels.reshape(-1, 3072)], axis=1)
        assert hashlib.sha256(rows.tobytes()).hexdigest() == published
    assert full.take(5000, 1000).digest == mini.digest
    channels = full.train_images.permute(1, 0, 2, 3).reshape(3, -1).double() / 255
    assert channels.mean(1).tolist() == pytest.approx(MEAN, abs=5e-9)  # eight digits
    assert channels.std(1, correction=0).tolist() == pytest.approx(STD, abs=5e-9)
