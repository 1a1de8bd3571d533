"""The authors' arm does what is known of their public code: a list of facts, and one step worked by hand."""

from typing import Any

import numpy as np
import pytest

from sparsecycle.data.tabular import Dataset
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import split_dataset
from sparsecycle.set_mlp.learner import Learner
from sparsecycle.set_mlp.training import SetTraining

FACTS: dict[str, Any] = {
    "hidden": (3000, 3000),
    "epsilon": 10.0,
    "start": "normal",  # with standard deviation 0.1, see test_evolution
    "growth": "normal",
    "loss": "cross_entropy",
    "evolve_output": True,
    "zeta": 0.3,
    "learning_rate": 0.01,
    "divided_twice": True,
    "momentum": 0.9,
    "weight_decay": 2e-4,
    "dropout": 0.3,
    "dropout_scaling": "testing",  # by hand in test_network
    "batch_size": 2,
    "epochs": 100,
    "stratified": False,
    "added_to_scale": 1e-4,
}


def test_the_listed_settings():
    config = SetConfig(dataset="digits", method="set", arm="authors")
    assert {name: getattr(config, name) for name in FACTS} == FACTS
    older = SetConfig(dataset="digits", method="set", arm="authors_2018")
    changed = {"hidden": (3000, 3000, 3000), "loss": "squared_error"}
    assert {name: getattr(older, name) for name in FACTS} == FACTS | changed
    dense = SetConfig(dataset="digits", method="dense", arm="authors")
    same = ("loss", "learning_rate", "divided_twice", "weight_decay", "momentum", "dropout", "batch_size", "hidden")
    assert {name: getattr(dense, name) for name in same} == {name: FACTS[name] for name in same}


def learner(dropout: float = 0.0) -> tuple[Learner, np.ndarray, np.ndarray]:
    """Four samples of three features, five hidden neurons, two classes."""
    rng = np.random.default_rng(0)
    data = Dataset("four", rng.normal(size=(6, 3)).astype(np.float32), np.array([0, 1] * 3), "")
    config = SetConfig(dataset="digits", method="set", hidden=(5,), epsilon=1.0, dropout=dropout)
    split = split_dataset(data, 0, stratified=False, added_to_scale=config.added_to_scale)
    chosen: dict[str, Any] = {"learning_rate": config.learning_rate, "dropout": dropout}
    found = Learner(config, split, 2, **chosen, key=(0,), batch_size=2)
    for layer in found.network.layers:
        layer.velocity[:], layer.bias_velocity[:] = 0.5, 0.25
        layer.bias[:] = 0.125
    return found, split.train_features, split.train_labels


def test_one_step_by_hand():
    """Batch of two: the gradient is divided by two in the loss and again in the update; decay is outside momentum."""
    one, features, labels = learner()
    first, second = one.network.sparse_layers()
    weights, biases = [first.matrix(), second.matrix()], [first.bias.copy(), second.bias.copy()]
    masks = [weight != 0 for weight in weights]
    x, y = features[:2], labels[:2]
    hidden = np.maximum(x @ weights[0].T + biases[0], 0)
    outputs = hidden @ weights[1].T + biases[1]
    slope = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    slope[np.arange(2), y] -= 1
    slope /= 2  # once, in the loss
    slopes = [slope @ weights[1] * (hidden > 0), slope]
    gradients = [(slopes[0].T @ x, slopes[0].sum(axis=0)), (slopes[1].T @ hidden, slopes[1].sum(axis=0))]
    one.network.train(x, y, one.sgd, one.rng)
    for layer, weight, bias, mask, (to_weight, to_bias) in zip(
        one.network.sparse_layers(), weights, biases, masks, gradients, strict=True
    ):
        velocity = 0.9 * 0.5 - 0.01 * to_weight / 2  # and once more here
        np.testing.assert_allclose(layer.matrix(), np.where(mask, weight * (1 - 2e-4) + velocity, 0), atol=1e-6)
        velocity = 0.9 * 0.25 - 0.01 * to_bias / 2
        np.testing.assert_allclose(layer.bias, bias * (1 - 2e-4) + velocity, atol=1e-6)


def test_after_an_epoch_every_layer_evolves_survivors_keep_their_momentum_and_new_connections_start_without():
    one, _, _ = learner()
    before = [
        dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True)) for layer in one.network.sparse_layers()
    ]
    one.adapt(1)
    for layer, weights in zip(one.network.sparse_layers(), before, strict=True):
        places = layer.places().tolist()
        kept = [weights.get(place) == weight for place, weight in zip(places, layer.weight.tolist(), strict=True)]
        positive = sum(weight >= 0 for weight in weights.values())
        assert len(kept) - sum(kept) == int(0.3 * positive) + int(0.3 * (len(weights) - positive)) > 0
        assert layer.velocity.tolist() == [0.5 if one else 0.0 for one in kept]
    same = [layer.weight.copy() for layer in one.network.layers]
    one.adapt(100)
    assert all((layer.weight == old).all() for layer, old in zip(one.network.layers, same, strict=True)), "not the last"


def test_the_split_is_drawn_at_random_and_standardized_with_a_ten_thousandth_added():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 2)).astype(np.float32) * [1.0, 1e-4]
    split = split_dataset(
        Dataset("thirty", features.astype(np.float32), np.arange(30) % 3, ""), 1, stratified=False, added_to_scale=1e-4
    )
    assert len(split.test_labels) == 10 and len(set(np.bincount(split.test_labels).tolist())) > 1
    np.testing.assert_allclose(split.train_features.mean(axis=0), 0, atol=1e-6)
    spread = split.train_features.std(axis=0)
    assert spread[0] == pytest.approx(1, abs=1e-3) and 0.3 < spread[1] < 0.7, "a small feature stays small"


def test_both_the_maximum_and_the_last_accuracy_are_recorded(tmp_path):
    from sparsecycle.data.tabular import load_dataset

    config = SetConfig(dataset="breast_cancer", method="set", hidden=(20, 20), epochs=5)
    run = SetTraining(config, load_dataset("breast_cancer"), tmp_path)
    run.train()
    record = run.record()
    right = record.history["test_right"]
    assert record.metrics["best_accuracy"] == max(right) / 190 and record.metrics["last_accuracy"] == right[-1] / 190
    assert len(right) == 5 and record.batch_size == 2 and record.train_samples == 379
