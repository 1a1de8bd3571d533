"""The datasets of the companion study, split and standardized.

Which 15 datasets 1906.11626 used is not public to us. Ours are chosen from 22 of the public ASU feature-selection
collection by `is_in_study`, a rule that was written before any result.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from sparsecycle.data.tabular import Dataset, Entry, collection
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.layer import Floats, Labels

TEST_SHARE = 1 / 3
SMALLEST_CLASS = 10


def is_in_study(entry: Entry) -> bool:
    """Return whether the study takes it: measured, not made up; at least ten samples of each class, so that each third
    holds three of them; and no samples twice, so that each dataset is evidence of its own."""
    return entry.kind != "artificial" and entry.smallest_class >= SMALLEST_CLASS and entry.same_samples_as is None


@cache
def study_datasets() -> tuple[str, ...]:
    """Return the names of the 15 datasets of the study."""
    return tuple(name for name, entry in collection().items() if is_in_study(entry))


class Split(NamedTuple):
    """Standardized features (samples, features) float32 and labels (samples,)."""

    train_features: Floats
    train_labels: Labels
    test_features: Floats
    test_labels: Labels

    def majority(self) -> tuple[float, float]:
        """The accuracy of always guessing the most frequent class of the training part: on it, and on the test part."""
        guess = np.bincount(self.train_labels).argmax()
        return float((self.train_labels == guess).mean()), float((self.test_labels == guess).mean())


def split_dataset(dataset: Dataset, seed: int, *, stratified: bool, added_to_scale: float) -> Split:
    """Return two thirds of the samples to train and one third to test, standardized by the training part's statistics.

    `stratified`: by class; `added_to_scale`: to the standard deviation by which a feature is divided. InputError for
    too few samples, and for a training part of one class.
    """
    samples, by_class = np.arange(len(dataset.labels)), dataset.labels if stratified else None
    try:
        train, test = train_test_split(samples, test_size=TEST_SHARE, stratify=by_class, random_state=seed)
    except ValueError as error:
        raise InputError(f"{dataset.name} cannot be split by class ({error})") from None
    if len(set(dataset.labels[train].tolist())) < 2:
        raise InputError(f"{dataset.name}: the training part of seed {seed} has one class alone: take another seed")
    return standardized(dataset.features, dataset.labels, train, test, added_to_scale)


def standardized(features: Floats, labels: Labels, train: Any, test: Any, added_to_scale: float) -> Split:
    """Return two parts of the samples, by their numbers, in units of the first one's standard deviation.

    A feature that is constant in the first part is 0 in both where nothing is added to its standard deviation.
    """
    known, unknown = features[train], features[test]
    mean = known.mean(axis=0, dtype=np.float64)
    scale = known.std(axis=0, dtype=np.float64) + added_to_scale
    scale[scale == 0] = np.inf
    first, second = (((part - mean) / scale).astype(np.float32) for part in (known, unknown))
    return Split(first, labels[train], second, labels[test])
