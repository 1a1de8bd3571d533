"""Small datasets: what is listed, downloads from a local server, damaged files, and files of the user's own."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.io import savemat

from sparsecycle.data import tabular
from sparsecycle.data.tabular import collection, fetch_datasets, load_dataset
from sparsecycle.errors import InputError

X, Y = np.arange(12.0).reshape(6, 2), np.array([[-1], [1]] * 3)


def mat(path: Path, **arrays: Any) -> str:
    savemat(path, arrays)
    return str(path)


def test_what_is_listed_of_each_dataset_is_what_its_file_holds():
    """Where the files are at hand: SPARSECYCLE_DATA_DIR names a folder that holds feature_selection."""
    present = [name for name in collection() if tabular._path(name, None).is_file()]
    if not present:
        pytest.skip("no file of the collection is at hand")
    for name in present:
        dataset, entry = load_dataset(name), collection()[name]
        counts = np.bincount(dataset.labels)
        assert dataset.features.shape == (entry.samples, entry.features)
        assert (dataset.classes, counts.min()) == (entry.classes, entry.smallest_class)


@pytest.mark.parametrize(("name", "shape", "classes"), [("digits", (1797, 64), 10), ("breast_cancer", (569, 30), 2)])
def test_embedded_datasets(name, shape, classes, monkeypatch):
    dataset = load_dataset(name)
    assert dataset.features.shape == shape and dataset.classes == classes
    assert dataset.features.dtype == np.float32 and dataset.labels.dtype == np.int64
    load, pinned = tabular.EMBEDDED[name]
    monkeypatch.setitem(tabular.EMBEDDED, name, (load, pinned[::-1]))
    with pytest.raises(InputError, match=f"scikit-learn's {name} is another one"):
        load_dataset(name)


def test_a_file_of_the_users_own_is_read_whatever_its_labels_are(tmp_path):
    as_stored = ((X, Y.T), (sparse.csc_array(X), sparse.csc_array(Y)), (X.astype(np.uint8), Y))
    for number, (features, labels) in enumerate(as_stored):
        dataset = load_dataset(mat(tmp_path / f"my {number}.mat", X=features, Y=labels))
        assert dataset.name == f"my {number}.mat" and dataset.labels.tolist() == [0, 1] * 3
        np.testing.assert_array_equal(dataset.features, X.astype(np.float32))
        assert dataset.features.dtype == np.float32


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no X": ({"data": X, "Y": Y}, r"lacks X: it must hold features X and labels Y, and has data, Y"),
    "neither": ({}, r"lacks X and Y: .* and has nothing"),
    "other lengths": ({"X": X, "Y": Y[:5]}, r"X is float64 of shape \(6, 2\) and Y .* but each sample takes one label"),
    "words": ({"X": np.array([["a", "b"]] * 6), "Y": Y}, r"X is <U1 of shape .* but must be numbers of shape"),
    "word labels": ({"X": X, "Y": np.array(["a"] * 6)}, r"Y is <U1 .* but must be numbers, a label a sample"),
    "three axes": ({"X": np.zeros((6, 2, 2)), "Y": Y}, r"X is float64 of shape \(6, 2, 2\), but must be numbers"),
    "a gap": ({"X": np.where(X == 3, np.nan, X), "Y": Y}, "X has values that are missing or too large"),
    "too large": ({"X": 1e300 * X, "Y": Y}, "X has values that are missing or too large"),
    "a label that is missing": ({"X": X, "Y": np.where(Y > 0, np.nan, 1.0)}, "Y has values that are missing"),
    "one class": ({"X": X, "Y": np.ones(6)}, "has the labels 6 of 1, but needs two classes with two samples each"),
    "a single sample": ({"X": X, "Y": np.array([0, 0, 1, 1, 1, 2])}, "2 of 0, 3 of 1, 1 of 2, but needs two classes"),
    "no feature": ({"X": np.zeros((6, 0)), "Y": Y}, "has no features: X must have a column a feature"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_holds_no_dataset_is_refused_in_one_sentence(name, tmp_path):
    arrays, message = BAD[name]
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(mat(tmp_path / "my.mat", **arrays))
    assert str(caught.value).startswith("my.mat") and "\n" not in str(caught.value)


def test_what_is_no_file_from_matlab_is_refused(tmp_path):
    path = tmp_path / "my.mat"
    with pytest.raises(InputError, match=r"dataset my.mat cannot be read from .* give the path of a .mat file"):
        load_dataset(str(path))
    path.write_bytes(b"junk" * 99)
    with pytest.raises(InputError, match=r"my.mat cannot be read .* \(it is damaged, or no .mat\)"):
        load_dataset(str(path))
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n")
    with pytest.raises(InputError, match=r"\(MATLAB 7.3, save it with -v7\)"):
        load_dataset(str(path))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served in place of the collection's repository."""
    served = tmp_path / "served"
    served.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        monkeypatch.setattr(tabular, "ADDRESS", f"http://127.0.0.1:{one.server_port}")
        yield served
        one.shutdown()


def test_a_dataset_is_downloaded_once_checked_and_read(server, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    content = Path(mat(tmp_path / "colon.mat", X=X, Y=Y)).read_bytes()
    entry = replace(collection()["colon"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(tabular, "collection", lambda: {"colon": entry})
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
    assert load_dataset("colon", home).labels.tolist() == [0, 1] * 3
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match=r"is not the colon of the collection \(its SHA-256 differs\): delete it"):
        fetch_datasets(["colon"], home)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="dataset is 'iris', but must be one of breast_cancer, digits, ALLAML"):
        load_dataset("iris")
    with pytest.raises(InputError, match="dataset is 'digits', but must be one of ALLAML"):
        fetch_datasets(["digits"])
