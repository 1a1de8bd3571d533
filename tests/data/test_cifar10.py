import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsecycle import RunConfig
from sparsecycle.data import storage
from sparsecycle.data.cifar10 import Cifar10, load_cifar10, load_images
from sparsecycle.data.sheets import LabelledImages, write_sheets
from sparsecycle.errors import InputError
from tiny_cifar import pin, refused, same, tiny_splits

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
    return load_cifar10()


def test_the_embedded_set_has_500_and_100_images_a_class_in_the_original_order(mini):
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


def test_the_embedded_set_is_found_from_a_data_folder_that_lacks_it(mini, tmp_path):
    assert load_cifar10("cifar10-mini", tmp_path).digest == mini.digest


def test_the_embedded_set_in_the_data_folder_goes_before(tmp_path):
    (tmp_path / "cifar10-mini").mkdir()
    with refused("restore it from the project's repository", tmp_path / "cifar10-mini" / "labels.json"):
        load_cifar10("cifar10-mini", tmp_path)


def test_an_embedded_set_with_swapped_labels_is_refused(mini, tmp_path, monkeypatch):
    splits = mini.take(10, 10).splits()
    pin(monkeypatch, "cifar10-mini", splits)
    (tmp_path / "cifar10-mini").mkdir()
    write_sheets(tmp_path / "cifar10-mini", splits)
    load_cifar10("cifar10-mini", tmp_path)
    labels = (tmp_path / "cifar10-mini" / "labels.json").read_text()
    (tmp_path / "cifar10-mini" / "labels.json").write_text(labels.replace("[6,9,", "[9,6,"))
    with refused(r"the train labels in .* are not those of cifar10-mini", tmp_path / "cifar10-mini"):
        load_cifar10("cifar10-mini", tmp_path)


def test_an_unknown_set_is_refused():
    with pytest.raises(InputError, match="name is 'web', but must be cifar10-mini or cifar10"):
        load_cifar10("web")


def cifar(train_labels, test_labels):
    """Labels with images that can be told apart: image i of a split has the value i everywhere."""

    def images(labels):
        return torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).contiguous()

    labels = torch.tensor(train_labels), torch.tensor(test_labels)
    return Cifar10(images(labels[0]), labels[0], images(labels[1]), labels[1])


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
@given(shuffled_labels(least=1), st.integers(1, 6), st.integers(0, 9))
def test_parts_are_balanced_disjoint_while_they_fit_and_the_same_every_time(train, each, last):
    whole, smallest = cifar(train, list(range(10))), min(map(train.count, range(10)))
    each = min(each, smallest)
    parts = [whole.take(each * 10, part=number) for number in range(last + 1)]
    for number, part in enumerate(parts):
        chosen = places(part.train_images)
        assert chosen == sorted(set(chosen))
        assert part.train_labels.tolist() == [train[place] for place in chosen]
        assert torch.bincount(part.train_labels).tolist() == [each] * 10
        assert part.digest == whole.take(each * 10, part=number).digest
        assert torch.equal(part.test_images, whole.test_images)
    fitting = [place for part in parts[: smallest // each] for place in places(part.train_images)]
    assert len(fitting) == len(set(fitting))


def test_parts_beyond_the_disjoint_ones_are_draws_of_their_own(mini):
    digests = {mini.take(1000, 10, part=number).digest for number in range(12)}
    assert len(digests) == 12  # 5 disjoint parts, then draws


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
    with pytest.raises(InputError, match=r"test is -?\d+, but it must be a multiple of 10 from 0 to 1000"):
        mini.take(test=size or 5)
    with pytest.raises(InputError, match=rf"hold_out is {size}, but it must be a multiple of 10 from 10 to 4990"):
        mini.hold_out(size)


def test_a_part_has_another_digest_and_the_whole_has_the_same(mini):
    digests = [mini.take(100).digest, mini.take(test=100).digest, mini.hold_out(100).digest, mini.digest]
    assert len(set(digests)) == 4
    assert mini.take(5000, 1000).digest == mini.digest
    assert mini.to("cpu").digest == mini.digest


def test_a_run_gets_the_images_that_its_configuration_names(mini):
    sizes = {"dataset": "cifar10-mini", "train_images": 1000, "test_images": 50, "batch_size": 10}

    def images(**fields):
        return load_images(RunConfig(preset="smoke", method="dense", **sizes | fields)).digest

    assert images(seed=3) == images(seed=4) == mini.take(1000, 50).digest
    assert images(seed=3, subset="by_seed") == mini.take(1000, 50, part=3).digest
    assert images(test_images=0) == mini.take(1000, 0).digest
    assert images(holdout_images=100) == mini.take(1000, 50).hold_out(100).digest
    assert images(wrong_labels=0.2, seed=3) == mini.take(1000, 50).mislabel(0.2, 3).digest


def test_wrong_labels_are_of_other_classes_on_exactly_the_share_asked_for_and_drawn_by_the_seed(mini):
    small = mini.take(1000, 50)
    wrong = small.mislabel(0.2, 3)
    changed = wrong.train_labels != small.train_labels
    assert int(changed.sum()) == 200  # so none was given its own class again
    shifts = torch.bincount((wrong.train_labels - small.train_labels)[changed] % 10, minlength=10)
    assert shifts[0] == 0 and shifts[1:].min() > 0
    assert torch.equal(wrong.test_labels, small.test_labels) and torch.equal(wrong.train_images, small.train_images)
    assert torch.equal(small.mislabel(0.2, 3).train_labels, wrong.train_labels)
    assert not torch.equal(small.mislabel(0.2, 4).train_labels, wrong.train_labels)
    assert torch.equal(small.mislabel(0.0, 3).train_labels, small.train_labels)
    with pytest.raises(InputError, match=r"share is 1.5, but must lie in \[0, 1\]"):
        small.mislabel(1.5, 3)


def test_held_out_images_keep_their_labels_when_those_of_the_fitted_ones_are_made_wrong(mini):
    config = RunConfig(
        preset="smoke", method="dense", dataset="cifar10-mini", train_images=1000, holdout_images=200, wrong_labels=0.5
    )
    held = mini.take(1000).hold_out(200)
    found = load_images(config)
    assert torch.equal(found.test_labels, held.test_labels)
    assert int((found.train_labels != held.train_labels).sum()) == 400


def test_all_of_cifar10_is_read_as_stored(monkeypatch, tmp_path):
    splits = tiny_splits()
    pin(monkeypatch, "cifar10", splits)
    write_sheets(tmp_path, splits)
    assert same(load_cifar10("cifar10", tmp_path).splits(), splits)


@pytest.mark.skipif(storage.find_cifar10(storage.data_folder()) is None, reason="all of CIFAR-10 is not at hand")
def test_the_real_images_are_the_official_ones_and_the_embedded_set_is_chosen_from_them(mini):
    full = load_cifar10("cifar10")
    splits = full.splits()
    batches = [LabelledImages(*(part[i : i + 10_000] for part in splits["train"])) for i in range(0, 50_000, 10_000)]
    for images, published in zip([*batches, splits["test"]], PUBLISHED_SUMS, strict=True):
        rows = np.concatenate([images.labels[:, None], images.pixels.reshape(-1, 3072)], axis=1)
        assert hashlib.sha256(rows.tobytes()).hexdigest() == published
    assert full.take(5000, 1000).digest == mini.digest
