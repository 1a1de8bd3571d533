"""The datasets of the study, their splits, and the choice of rate and dropout on training parts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sparsecycle.data.tabular import Dataset, Entry, collection, load_dataset
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import Split, is_in_study, split_dataset, standardized, study_datasets
from sparsecycle.set_mlp.learner import Learner
from sparsecycle.set_mlp.tuning import (
    DROPOUTS,
    FOLDS,
    RATES,
    Choice,
    Trial,
    candidates,
    choose,
    inner_count,
    inner_runs,
)


def test_the_rule_chooses_fifteen_datasets():
    left_out = sorted(set(collection()) - set(study_datasets()))
    assert left_out == ["GLIOMA", "leukemia", "lung_small", "lymphoma", "madelon", "nci9", "orlraws10P"]
    assert len(study_datasets()) == 15
    usable = Entry("", "gene expression", 100, 10, 2, 10)
    assert is_in_study(usable)
    for change in ({"kind": "artificial"}, {"smallest_class": 9}, {"same_samples_as": "colon"}):
        assert not is_in_study(replace(usable, **change))


def test_a_split_is_stratified_and_standardized_by_its_training_part():
    dataset = load_dataset("breast_cancer")
    split, again, other = (split_dataset(dataset, k, stratified=True, added_to_scale=0.0) for k in (3, 3, 4))
    assert len(split.test_labels) == 190
    for labels in (split.train_labels, split.test_labels):
        assert np.mean(labels == 0) == pytest.approx(np.mean(dataset.labels == 0), abs=0.01)
    np.testing.assert_allclose(split.train_features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(split.train_features.std(axis=0), 1, atol=1e-4)
    assert np.abs(split.test_features.mean(axis=0)).max() > 1e-3, "the test part is not standardized by itself"
    assert (again.test_features == split.test_features).all() and (other.test_labels != split.test_labels).any()


def test_constant_features_become_zero_and_a_training_part_of_one_class_is_refused():
    features = np.ones((12, 3), dtype=np.float32)
    split = split_dataset(Dataset("flat", features, np.arange(12) % 2, ""), 0, stratified=True, added_to_scale=0.0)
    assert (split.train_features == 0).all() and (split.test_features == 0).all()
    few = Dataset("few", features[:4], np.array([0, 0, 1, 1]), "")
    with pytest.raises(InputError, match="few: the training part of seed 1 has one class alone: take another seed"):
        split_dataset(few, 1, stratified=False, added_to_scale=0.0)
    odd = Dataset("odd", features[:6], np.array([0, 0, 1, 1, 2, 2]), "")
    with pytest.raises(InputError, match="odd cannot be split by class"):
        split_dataset(odd, 1, stratified=True, added_to_scale=0.0)


def test_a_part_of_what_is_standardized_is_standardized_as_if_it_came_as_it_was():
    """Else the inner folds would see the unit of a feature that is constant in their own training part."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 2
    features[:20, 1], features[20:, 1] = 3.0, 500.0
    train, known, unknown = np.arange(25), np.arange(20), np.arange(20, 25)
    outer = standardized(features, labels, train, np.arange(25, 30), 0.0)
    twice = standardized(outer.train_features, outer.train_labels, known, unknown, 0.0)
    once = standardized(features, labels, known, unknown, 0.0)
    np.testing.assert_allclose(twice.test_features, once.test_features, atol=1e-4)
    assert (once.test_features[:, 1] == 0).all() and (once.train_features[:, 1] == 0).all()


def test_the_majority_is_that_of_the_training_part():
    nothing = np.zeros((0, 1), np.float32)
    split = Split(nothing, np.array([2, 2, 0, 1]), nothing, np.array([0, 0, 2]))
    assert split.majority() == (0.5, pytest.approx(1 / 3))


def trials(**right: list[int | None]) -> list[Trial]:
    """Two candidates, "low" and "high", on folds of 10 samples."""
    rates = {"low": 0.1, "high": 0.2}
    plain = {"dropout": 0.0, "samples": 10, "epochs": 5, "loss": 1.0, "train_loss": 0.5}
    diverged = plain | {"loss": None, "train_loss": None}
    return [
        Trial(learning_rate=rates[name], fold=fold, right=one, **(diverged if one is None else plain))
        for name, counts in right.items()
        for fold, one in enumerate(counts)
    ]


def test_the_choice_is_the_largest_share_and_divergence_scores_chance(monkeypatch):
    monkeypatch.setattr("sparsecycle.set_mlp.tuning.RATES", (0.1, 0.2))
    config = SetConfig(dataset="digits", method="set", arm="tuned", dropout=0.0)
    low, high = Choice(0.1, 0.0), Choice(0.2, 0.0)
    assert choose(config, trials(low=[9, 5, 5], high=[6, 6, 6]), 2) == low
    assert choose(config, trials(low=[6, 6, 6], high=[9, 9, None]), 2) == high, "chance among two classes is five right"
    assert choose(config, trials(low=[7, 6, 6], high=[9, 9, None]), 20) == low, "among twenty it is a half"
    equal = trials(low=[6, 6, 6], high=[6, 6, 6])
    better = [one.model_copy(update={"loss": 0.5}) if one.learning_rate == 0.2 else one for one in equal]
    assert choose(config, better, 2) == high, "of equals the one of least loss"
    assert choose(config, equal, 2) == low


def test_the_grid_is_what_the_configuration_leaves_open():
    config = SetConfig(dataset="digits", method="set", arm="tuned")
    assert len(candidates(config)) == len(RATES) * len(DROPOUTS) and inner_count(config) == 10 * FOLDS
    fixed = SetConfig(dataset="digits", method="set", arm="tuned", learning_rate=0.5)
    assert candidates(fixed) == [Choice(0.5, dropout) for dropout in DROPOUTS]
    authors = SetConfig(dataset="digits", method="set")
    assert candidates(authors) == [Choice(0.01, 0.3)] == [choose(authors, [], 10)] and inner_count(authors) == 0


def test_inner_runs_see_the_training_part_alone_and_go_on_where_they_stopped():
    small: dict[str, Any] = {"hidden": (12,), "epsilon": 3.0, "epochs": 3, "batch_size": 32}
    config = SetConfig(dataset="breast_cancer", method="set", arm="tuned", dropout=0.0, **small)
    dataset = load_dataset("breast_cancer")
    split = split_dataset(dataset, 0, stratified=True, added_to_scale=0.0)
    unseen = split._replace(test_features=split.test_features[:0], test_labels=split.test_labels[:0])
    told = list(inner_runs(config, unseen, 2, 32, 0))
    found = [one for one in told if one]
    assert told.count(None) == 3 * len(found) and len(found) == inner_count(config) == FOLDS * len(RATES)
    assert sum(one.samples for one in found[:FOLDS]) == 379 and [one.fold for one in found[:FOLDS]] == [0, 1, 2]
    assert max(one.right / one.samples for one in found if one.right) > 0.9
    assert [one for one in inner_runs(config, split, 2, 32, 13) if one] == found[13:]
    assert list(inner_runs(config, split, 2, 32, len(found))) == []


def test_an_inner_run_that_loses_its_weights_in_the_last_step_of_an_epoch_diverges(monkeypatch):
    """Its losses, which are of before each step, are finite, and evolution cannot rank what is no number."""
    small: dict[str, Any] = {"hidden": (12,), "epsilon": 3.0, "epochs": 3, "batch_size": 32, "dropout": 0.0}
    config = SetConfig(dataset="breast_cancer", method="set", arm="tuned", **small)
    learn = Learner.learn

    def poisoned(learner: Learner, epoch: int) -> float:
        loss = learn(learner, epoch)
        learner.network.layers[0].weight[0] = np.nan
        return loss

    monkeypatch.setattr(Learner, "learn", poisoned)
    split = split_dataset(load_dataset("breast_cancer"), 0, stratified=True, added_to_scale=0.0)
    found = next(one for one in inner_runs(config, split, 2, 32, 0) if one)
    assert (found.right, found.loss) == (None, None)


def test_a_class_with_fewer_samples_than_folds_is_refused():
    split = Split(np.zeros((5, 2), np.float32), np.array([0, 0, 0, 1, 1]), np.zeros((0, 2)), np.array([], np.int64))
    config = SetConfig(dataset="digits", method="set", arm="tuned")
    with pytest.raises(InputError, match="digits has a class with fewer than 3 samples in the training part"):
        next(iter(inner_runs(config, split, 2, 2, 0)))
