"""The datasets of the companion study: the rule, splits, downloads from a local server, damaged files."""

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import datasets
from sparsecycle.set_mlp.datasets import (
    Dataset,
    Entry,
    collection,
    fetch_datasets,
    is_in_study,
    load_dataset,
    search_datasets,
    split_dataset,
    study_datasets,
)


def test_the_rule_chooses_fifteen() -> None:
    chosen = study_datasets()
    assert len(chosen) == 15 and len(collection()) == 22
    left_out = {name: entry for name, entry in collection().items() if name not in chosen}
    assert sorted(left_out) == ["GLIOMA", "leukemia", "lung_small", "lymphoma", "madelon", "nci9", "orlraws10P"]
    assert all(
        collection()[entry.same_samples_as].samples >= entry.samples
        for entry in left_out.values()
        if entry.same_samples_as
    )
    usable = Entry("", "gene expression", 100, 10, 2, 10)
    assert is_in_study(usable)
    for change in ({"kind": "artificial"}, {"smallest_class": 9}, {"same_samples_as": "colon"}):
        assert not is_in_study(replace(usable, **change))  # type: ignore[arg-type]


def test_what_is_listed_of_each_dataset_is_what_its_file_holds() -> None:
    """Where the files are at hand: SPARSECYCLE_DATA_DIR names a folder that holds feature_selection."""
    present = [name for name in collection() if datasets._path(name, None).is_file()]
    if not present:
        pytest.skip("no file of the collection is at hand")
    for name in present:
        dataset, entry = load_dataset(name), collection()[name]
        counts = np.bincount(dataset.labels)
        assert dataset.features.shape == (entry.samples, entry.features)
        assert (dataset.classes, counts.min()) == (entry.classes, entry.smallest_class)


@pytest.mark.parametrize(("name", "shape", "classes"), [("digits", (1797, 64), 10), ("breast_cancer", (569, 30), 2)])
def test_embedded_datasets(name: str, shape: tuple[int, int], classes: int) -> None:
    dataset = load_dataset(name)
    assert dataset.features.shape == shape and dataset.classes == classes
    assert dataset.features.dtype == np.float32 and dataset.labels.dtype == np.int64


def test_a_split_is_stratified_and_standardized_by_its_training_part() -> None:
    dataset = load_dataset("breast_cancer")
    split = split_dataset(dataset, 3)
    train, test = split.train_features.numpy(), split.test_features.numpy()
    assert len(test) == pytest.approx(len(dataset.labels) / 3, abs=1)
    for labels in (split.train_labels, split.test_labels):
        assert np.bincount(labels)[0] / len(labels) == pytest.approx(np.mean(dataset.labels == 0), abs=0.01)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-4)
    assert np.abs(test.mean(axis=0)).max() > 1e-3, "the test part is not standardized by itself"
    whole = np.concatenate([train, test])
    plain = (dataset.features - dataset.features.mean(axis=0)) / dataset.features.std(axis=0)
    for column in (0, 29):  # the same samples, none twice
        order = np.sort(whole[:, column])
        scale = np.polyfit(np.sort(plain[:, column]), order, 1)
        np.testing.assert_allclose(np.polyval(scale, np.sort(plain[:, column])), order, atol=1e-3)
    again, other = split_dataset(dataset, 3), split_dataset(dataset, 4)
    assert (again.test_features == split.test_features).all()
    assert (other.test_labels != split.test_labels).any()


def test_constants_are_chosen_on_samples_that_are_not_in_the_study() -> None:
    names = search_datasets()
    assert names == ("breast_cancer", "digits", "GLIOMA", "lung_small", "lymphoma", "madelon", "nci9")
    assert not set(names) & set(study_datasets())


def test_constant_features_become_zero_and_tiny_classes_are_refused() -> None:
    features = np.ones((12, 3), dtype=np.float32)
    split = split_dataset(Dataset("flat", features, np.arange(12) % 2, ""), 0)
    assert (split.train_features == 0).all() and (split.test_features == 0).all()
    with pytest.raises(InputError, match="odd cannot be split"):
        split_dataset(Dataset("odd", features, np.array([0] * 11 + [1]), ""), 0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served in place of the collection's repository."""
    served = tmp_path / "served"
    served.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets, "ADDRESS", f"http://127.0.0.1:{one.server_port}")
        yield served
        one.shutdown()


def stored() -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"X": np.arange(12.0).reshape(6, 2), "Y": np.array([[-1], [1]] * 3)})
    return buffer.getvalue()


def test_a_dataset_is_downloaded_once_checked_and_read(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, home = stored(), tmp_path / "home"
    home.mkdir()
    entry = replace(collection()["colon"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(datasets, "collection", lambda: {"colon": entry})
    with pytest.raises(InputError, match=r"could not be downloaded .*404"):
        fetch_datasets(["colon"], home)
    (server / "colon.mat").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"could not be downloaded .*hash"):
        fetch_datasets(["colon"], home)
    assert not list(home.rglob("*.mat"))
    with pytest.raises(InputError, match=r"sparsecycle set fetch colon.*--data-dir"):
        load_dataset("colon", home)
    (server / "colon.mat").write_bytes(content)
    (path,) = fetch_datasets(["colon"], home)
    (server / "colon.mat").unlink()
    assert fetch_datasets(["colon"], home) == [path] == [home / "feature_selection" / "colon.mat"]
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch_datasets(["colon"], tmp_path / "new")
    dataset = load_dataset("colon", home)
    assert dataset.labels.tolist() == [0, 1] * 3 and dataset.features.shape == (6, 2)
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match=r"is not the colon of the collection \(its SHA-256 differs\): delete it"):
        load_dataset("colon", home)
    with pytest.raises(InputError, match="is not the colon of the collection"):
        fetch_datasets(["colon"], home)


def test_an_embedded_dataset_of_another_scikit_learn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    load, pinned = datasets.EMBEDDED["digits"]
    monkeypatch.setitem(datasets.EMBEDDED, "digits", (load, pinned[::-1]))
    with pytest.raises(InputError, match="scikit-learn's digits is another one"):
        load_dataset("digits")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="dataset is 'iris', but must be one of breast_cancer, digits, ALLAML"):
        load_dataset("iris")
    with pytest.raises(InputError, match="dataset is 'digits', but must be one of ALLAML"):
        fetch_datasets(["digits"])
