"""The datasets of the companion study: found, fetched, checked, split and standardized.

Which 15 datasets 1906.11626 used is not public to us. Ours are chosen from 22 of the public ASU feature-selection
collection by `is_in_study`, a rule that was written before any result.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import yaml
from scipy.io import loadmat
from sklearn import datasets as embedded
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sparsecycle.data.storage import data_folder, download
from sparsecycle.errors import InputError

ADDRESS = "https://raw.githubusercontent.com/jundongl/scikit-feature/master/skfeature/data"
FOLDER = "feature_selection"
TEST_SHARE = 1 / 3
SMALLEST_CLASS = 10
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
    """Features (samples, features) float32, labels (samples,) int64 from 0, and the SHA-256 of what they came from."""

    name: str
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    sha256: str

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


class Split(NamedTuple):
    """Standardized features (samples, features) float32 and labels (samples,) int64."""

    train_features: Tensor
    train_labels: Tensor
    test_features: Tensor
    test_labels: Tensor


@cache
def collection() -> Mapping[str, Entry]:
    """Return the datasets of the collection by name."""
    text = resources.files("sparsecycle.set_mlp").joinpath("datasets.yaml").read_text(encoding="utf-8")
    return MappingProxyType({name: Entry(**fields) for name, fields in yaml.safe_load(text).items()})


def is_in_study(entry: Entry) -> bool:
    """Return whether the study takes it: measured, not made up; at least ten samples of each class, so that each third
    holds three of them; and no samples twice, so that each dataset is evidence of its own."""
    return entry.kind != "artificial" and entry.smallest_class >= SMALLEST_CLASS and entry.same_samples_as is None


def study_datasets() -> tuple[str, ...]:
    """Return the names of the 15 datasets of the study."""
    return tuple(name for name, entry in collection().items() if is_in_study(entry))


def search_datasets() -> tuple[str, ...]:
    """Return the datasets that constants are chosen on: none is in the study, and none shares samples with it."""
    others = (name for name, entry in collection().items() if not is_in_study(entry) and not entry.same_samples_as)
    return (*EMBEDDED, *others)


def load_dataset(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Return a dataset by name: "digits" and "breast_cancer" come with scikit-learn, the others are downloaded files.

    Args:
        data_dir: the folder that holds the folder `feature_selection`, see `sparsecycle.data.storage.data_folder`.

    Raises:
        InputError: an unknown name, a file that is not there, or one that is not the pinned one.
    """
    if name in EMBEDDED:
        load, pinned = EMBEDDED[name]
        found = load()
        features, labels = np.asarray(found.data, dtype="<f8"), np.asarray(found.target, dtype="<i8")
        if hashlib.sha256(features.tobytes() + labels.tobytes()).hexdigest() != pinned:
            raise InputError(f"scikit-learn's {name} is another one than the study's (its SHA-256 differs)")
        return _dataset(name, features, labels, pinned)
    path = _path(name, data_dir)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"dataset {name} cannot be read from {path} ({error.strerror}): "
            f"get it with `sparsecycle set fetch {name}`, or name the folder that holds feature_selection "
            "with --data-dir or SPARSECYCLE_DATA_DIR"
        ) from None
    entry = collection()[name]
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(f"{path} is not the {name} of the collection (its SHA-256 differs): delete it, fetch it again")
    stored = loadmat(io.BytesIO(content))
    return _dataset(name, stored["X"], stored["Y"].ravel(), entry.sha256)


def is_at_hand(name: str, data_dir: str | Path | None = None) -> bool:
    """Return whether a dataset can be loaded without fetching it."""
    return name in EMBEDDED or _path(name, data_dir).exists()


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


def split_dataset(dataset: Dataset, seed: int) -> Split:
    """Return two thirds to train and one third to test, by class, standardized by the training part's statistics.

    Raises:
        InputError: a class has too few samples to be in both parts.
    """
    try:
        train, test, train_labels, test_labels = train_test_split(
            dataset.features, dataset.labels, test_size=TEST_SHARE, stratify=dataset.labels, random_state=seed
        )
    except ValueError as error:
        raise InputError(f"{dataset.name} cannot be split ({error})") from None
    scaler = StandardScaler().fit(train)
    return Split(
        torch.from_numpy(scaler.transform(train)),
        torch.from_numpy(train_labels),
        torch.from_numpy(scaler.transform(test)),
        torch.from_numpy(test_labels),
    )


def _path(name: str, data_dir: str | Path | None, *, may_be_new: bool = False) -> Path:
    if name not in collection():
        known = ", ".join([*EMBEDDED, *collection()])
        raise InputError(f"dataset is {name!r}, but must be one of {known}")
    return data_folder(data_dir, may_be_new=may_be_new) / FOLDER / f"{name}.mat"


def _dataset(name: str, features: npt.NDArray[Any], labels: npt.NDArray[Any], digest: str) -> Dataset:
    _, from_zero = np.unique(labels, return_inverse=True)
    return Dataset(name, np.asarray(features, dtype=np.float32), from_zero.astype(np.int64), digest)
