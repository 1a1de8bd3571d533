"""Small datasets of features and labels for the companion study: found, fetched and checked.

They are those of a public collection, two that come with scikit-learn, and .mat files of the user's own.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from scipy import sparse
from scipy.io import loadmat
from sklearn import datasets as embedded

from sparsecycle.data.storage import data_folder, download
from sparsecycle.errors import InputError
from sparsecycle.files import expanded

ADDRESS = "https://raw.githubusercontent.com/jundongl/scikit-feature/master/skfeature/data"
FOLDER = "feature_selection"
OWN = r"[\w.+ -]+\.mat"  # what the name of a file of the user's own may be
# With the SHA-256 of features and labels as scikit-learn gives them.
EMBEDDED: dict[str, tuple[Callable[[], Any], str]] = {
    "breast_cancer": (embedded.load_breast_cancer, "25e2eb7b7a8745b1bde5ba18bc4969983d2e2f403291ecd5bde4a29ef30c3859"),
    "digits": (embedded.load_digits, "f6d9e39f37dc45d327f6db33428ee58970ccceabb2535a5c179de35886b70443"),
}


@dataclass(frozen=True)
class Entry:
    """A dataset of the collection. `same_samples_as` names another one with the same samples, but more of them or more
    features."""

    sha256: str
    kind: str
    samples: int
    features: int
    classes: int
    smallest_class: int
    same_samples_as: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Features (samples, features) float32, labels (samples,) from 0, and the SHA-256 of what they came from."""

    name: str
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    sha256: str

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


@cache
def collection() -> Mapping[str, Entry]:
    """Return the datasets of the collection by name."""
    text = resources.files("sparsecycle.data").joinpath("tabular.yaml").read_text(encoding="utf-8")
    return MappingProxyType({name: Entry(**fields) for name, fields in yaml.safe_load(text).items()})


def known_datasets() -> tuple[str, ...]:
    """Return the names that need no file of the user's own."""
    return (*EMBEDDED, *collection())


def load_dataset(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Return a dataset: "digits" and "breast_cancer" come with scikit-learn, those of the collection are downloaded.

    Args:
        name: of the dataset, or the path of a .mat file of the user's own, which holds features `X` (samples, features)
            and labels `Y`, one a sample.
        data_dir: the folder that holds the folder `feature_selection`, see `sparsecycle.data.storage.data_folder`.

    Raises:
        InputError: an unknown name, a file that is not there or not the pinned one, or one that holds no dataset.
    """
    if name in EMBEDDED:
        load, pinned = EMBEDDED[name]
        found = load()
        features, labels = np.asarray(found.data, dtype="<f8"), np.asarray(found.target, dtype="<i8")
        if hashlib.sha256(features.tobytes() + labels.tobytes()).hexdigest() != pinned:
            raise InputError(f"scikit-learn's {name} is another one than the study's (its SHA-256 differs)")
        return _dataset(name, features, labels, pinned)
    if name.endswith(".mat"):
        path = expanded(name)
        if not path.exists() and path.name == name:
            path = data_folder(data_dir) / FOLDER / name
        content = _content(path, f"dataset {path.name}", "give the path of a .mat file that holds X and Y")
        return _parsed(path.name, content, hashlib.sha256(content).hexdigest())
    path, entry = _path(name, data_dir), collection()[name]
    content = _content(
        path,
        f"dataset {name}",
        f"get it with `sparsecycle set fetch {name}`, or name the folder that holds feature_selection "
        "with --data-dir or SPARSECYCLE_DATA_DIR",
    )
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(f"{path} is not the {name} of the collection (its SHA-256 differs): delete it, fetch it again")
    return _parsed(name, content, entry.sha256)


def _content(path: Path, what: str, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{what} cannot be read from {path} ({error.strerror}): {remedy}") from None


def _parsed(name: str, content: bytes, digest: str) -> Dataset:
    """The dataset of a file from MATLAB, or what is wrong with it in one sentence."""
    try:
        stored = loadmat(io.BytesIO(content))
    except Exception as error:  # of every kind, for bytes of every kind
        told = "MATLAB 7.3, save it with -v7" if isinstance(error, NotImplementedError) else "it is damaged, or no .mat"
        raise InputError(f"{name} cannot be read as a file from MATLAB up to version 7 ({told})") from None
    if missing := [key for key in ("X", "Y") if key not in stored]:
        held = ", ".join(key for key in stored if not key.startswith("__")) or "nothing"
        raise InputError(f"{name} lacks {' and '.join(missing)}: it must hold features X and labels Y, and has {held}")
    features, labels = (stored[key].toarray() if sparse.issparse(stored[key]) else stored[key] for key in ("X", "Y"))
    if features.ndim != 2 or features.dtype.kind not in "biuf":
        raise InputError(f"{name}: X is {_told(features)}, but must be numbers of shape (samples, features)")
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name}: Y is {_told(labels)}, but must be numbers, a label a sample")
    if labels.size != len(features):
        raise InputError(f"{name}: X is {_told(features)} and Y {_told(labels)}, but each sample takes one label")
    for key, array in (("X", features), ("Y", labels)):
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32)).all()
        if not finite:
            raise InputError(f"{name}: {key} has values that are missing or too large: fill them in or leave them out")
    return _dataset(name, features, labels.ravel(), digest)


def _told(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _dataset(name: str, features: npt.NDArray[Any], labels: npt.NDArray[Any], digest: str) -> Dataset:
    values, from_zero, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(values) < 2 or counts.min() < 2:
        told = ", ".join(f"{count} of {value:g}" for value, count in list(zip(values, counts, strict=True))[:8])
        raise InputError(f"{name} has the labels {told or 'none'}, but needs two classes with two samples each")
    if not features.shape[1]:
        raise InputError(f"{name} has no features: X must have a column a feature")
    return Dataset(name, np.ascontiguousarray(features, dtype=np.float32), from_zero.astype(np.int64), digest)


def is_at_hand(name: str, data_dir: str | Path | None = None) -> bool:
    """Return whether a dataset can be loaded without fetching it."""
    return name in EMBEDDED or (name in collection() and _path(name, data_dir).exists())


def fetch_datasets(names: Iterable[str], data_dir: str | Path | None = None) -> list[Path]:
    """Download the datasets that are not there from the collection's repository, check them, and return their files.

    Args:
        data_dir: the folder that gets the folder `feature_selection`; it may be new.

    Raises:
        InputError: an unknown name, no connection, another content than the pinned one, or a folder that cannot be
            written.
    """
    return [_fetched(name, data_dir) for name in names]


def _fetched(name: str, data_dir: str | Path | None) -> Path:
    if name not in collection():
        raise InputError(f"dataset is {name!r}, but must be one of {', '.join(collection())}")
    path = _path(name, data_dir, may_be_new=True)
    if path.exists():
        load_dataset(name, data_dir)
    else:
        download(f"{ADDRESS}/{name}.mat", path, collection()[name].sha256)
    return path


def _path(name: str, data_dir: str | Path | None, *, may_be_new: bool = False) -> Path:
    if name not in collection():
        known = ", ".join(known_datasets())
        raise InputError(f"dataset is {name!r}, but must be one of {known}")
    return data_folder(data_dir, may_be_new=may_be_new) / FOLDER / f"{name}.mat"
