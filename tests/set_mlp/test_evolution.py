"""One step of SET: by hand, against a plain reference, and its invariants; and pruning."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparsecycle.errors import InputError
from sparsecycle.set_mlp.evolution import erdos_renyi, evolve, free_places, starting_weights, weakest_connections
from sparsecycle.set_mlp.layer import SparseLayer
from sparsecycle.set_mlp.network import Network
from sparsecycle.set_mlp.pruning import living_neurons, neuron_strength, prune_neurons, weakest_neurons


def test_the_weakest_of_each_sign_by_hand():
    """Five positive and three negative weights, zeta 0.4: two of the positive, one of the negative go."""
    weights = np.array([0.5, -0.1, 0.2, 3.0, -2.0, 0.1, -0.3, 1.0])
    removed = weakest_connections(weights, 0.4)
    assert weights[removed].tolist() == [-0.1, 0.2, 0.1]
    assert weakest_connections(np.array([1.0, 1.0, 0.0, -0.0]), 0.5).tolist() == [False, False, True, True]
    assert weakest_connections(np.array([1.0, 1.0, 1.0, 1.0]), 0.5).tolist() == [True, True, False, False]
    assert not weakest_connections(weights, 0).any() and weakest_connections(weights, 1).all()
    for zeta in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"zeta is .* but must be in \[0, 1\]"):
            weakest_connections(weights, zeta)
    with pytest.raises(InputError, match="a weight is NaN"):
        weakest_connections(np.array([1.0, np.nan]), 0.3)


@given(weights=st.lists(st.integers(-4, 4), max_size=40), zeta=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_the_weakest_are_those_of_a_stable_sort(weights, zeta):
    values, expected = np.array(weights, dtype=np.float32), set()
    for sign in (np.flatnonzero(values >= 0), np.flatnonzero(values < 0)):
        order = sign[np.argsort(np.abs(values[sign]), kind="stable")]
        expected |= set(order[: int(zeta * len(sign))].tolist())
    assert set(np.flatnonzero(weakest_connections(values, zeta)).tolist()) == expected


def test_an_evolution_step_by_hand():
    """2 x 3, four connections: the weakest of each sign go, and two of the four places then free are taken."""
    layer = SparseLayer(3, 2, np.array([0, 2, 3, 4]), np.array([0.1, 5.0, -0.2, -6.0]))
    layer.velocity[:] = 1.0
    assert evolve(layer, 0.5, np.random.default_rng(0)) == 2
    weights = dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))
    momentum = dict(zip(weights, layer.velocity.tolist(), strict=True))
    assert len(weights) == 4 and weights[2] == 5.0 and weights[4] == -6.0
    assert set(weights) - {2, 4} <= {0, 1, 3, 5}
    assert all(momentum[place] == (1.0 if place in (2, 4) else 0.0) for place in weights)
    assert not {0.1, -0.2} & set(weights.values()), "a place that is taken again gets a new weight"


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), zeta=st.floats(0, 1), epsilon=st.floats(0.1, 5))
@settings(max_examples=100, deadline=None)
def test_the_number_of_connections_stays(rows, columns, zeta, epsilon):
    rng = np.random.default_rng(0)
    layer = erdos_renyi(columns, rows, epsilon, rng, dtype=np.float64)
    count = layer.weight.size
    assert count == min(rows * columns, max(1, round(epsilon * (rows + columns))))
    for _ in range(3):
        before = dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))
        removed = weakest_connections(layer.weight, zeta)
        survivors = set(layer.places()[~removed].tolist())
        assert evolve(layer, zeta, rng) == removed.sum()
        after = dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))
        assert layer.weight.size == count == len(after)
        assert all(after[place] == before[place] for place in survivors)


@given(rows=st.integers(1, 8), columns=st.integers(1, 8), share=st.floats(0, 1), data=st.data())
@settings(max_examples=150, deadline=None)
def test_free_places_are_those_of_a_plain_search(rows, columns, share, data):
    """The reference lists every free place and takes the same ranks."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    taken = np.flatnonzero(rng.random(rows * columns) < share)
    inputs = data.draw(st.none() | st.just(rng.random(columns) < 0.6))
    outputs = data.draw(st.none() | st.just(rng.random(rows) < 0.6))
    allowed = np.ones((rows, columns), dtype=bool)
    allowed &= (inputs if inputs is not None else np.ones(columns, dtype=bool))[None, :]
    allowed &= (outputs if outputs is not None else np.ones(rows, dtype=bool))[:, None]
    free = np.setdiff1d(np.flatnonzero(allowed), taken)
    count = data.draw(st.integers(0, len(free)))
    found = free_places(taken, columns, rows, count, np.random.default_rng(7), inputs=inputs, outputs=outputs)
    ranks = np.sort(np.random.default_rng(7).choice(len(free), count, replace=False, shuffle=False)) if count else []
    assert found.tolist() == [free[rank] for rank in ranks]
    with pytest.raises(InputError, match=f"{len(free) + 1} connections are to grow, but only {len(free)} places"):
        free_places(taken, columns, rows, len(free) + 1, rng, inputs=inputs, outputs=outputs)


def test_growth_is_uniform_over_the_free_places():
    taken, rng = np.array([0, 1, 5, 6, 7, 11]), np.random.default_rng(0)
    counts = Counter(place for _ in range(3000) for place in free_places(taken, 4, 3, 2, rng).tolist())
    assert sorted(counts) == [2, 3, 4, 8, 9, 10]
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_weights_have_the_spread_of_their_rule():
    """He's rule counts the connections into a neuron at the start, and all inputs, connected or not, in growth."""
    rng = np.random.default_rng(0)
    assert np.std(starting_weights(100_000, 8, "normal", rng)) == pytest.approx(0.1, rel=0.02)
    assert np.std(erdos_renyi(800, 400, 20, rng, start="he").weight) == pytest.approx(np.sqrt(2 / 60), rel=0.02)
    layer = erdos_renyi(800, 400, 20, rng)
    assert np.std(layer.weight) == pytest.approx(0.1, rel=0.02)
    evolve(layer, 1.0, rng, growth="he_inputs")
    assert np.std(layer.weight) == pytest.approx(np.sqrt(2 / 800), rel=0.02)


def small() -> Network:
    """Two features, three hidden neurons, two classes.

    Into the hidden neurons: (1, -2), (3, .), (., .); out of them: (., 4), (-5, .), (6, 7).
    """
    first = SparseLayer(2, 3, np.array([0, 1, 2]), np.array([1.0, -2.0, 3.0]))
    second = SparseLayer(3, 2, np.array([1, 2, 3, 5]), np.array([-5.0, 6.0, 4.0, 7.0]))
    return Network([first, second])


def test_strength_and_the_weakest_neurons_by_hand():
    assert neuron_strength(small().sparse_layers()[0]).tolist() == [3, 3, 0]
    assert living_neurons(small())[0].tolist() == [True, True, False]
    strength, everyone = np.array([3.0, 1.0, 1.0, 2.0]), np.ones(4, dtype=bool)
    assert weakest_neurons(strength, everyone, 2).tolist() == [False, True, True, False]
    assert weakest_neurons(strength, everyone, 1).tolist() == [False, True, False, False]
    assert weakest_neurons(strength, np.array([True, False, False, True]), 3).tolist() == [True, False, False, True]
    assert not weakest_neurons(strength, everyone, 0).any()


def test_pruning_by_hand():
    network = small()
    assert prune_neurons(network, 0, np.array([True, False, False])) == 3
    first, second = network.sparse_layers()
    assert first.matrix().tolist() == [[0, 0], [3, 0], [0, 0]]
    assert second.matrix().tolist() == [[0, -5, 6], [0, 0, 7]]
    assert living_neurons(network)[0].tolist() == [False, True, False]


def test_a_pruned_neuron_stays_at_zero_while_the_rest_trains_and_evolves():
    rng = np.random.default_rng(0)
    network = Network([erdos_renyi(*pair, 3, rng) for pair in pairwise((10, 30, 30, 3))])
    x, labels = rng.normal(size=(24, 10)).astype(np.float32), np.arange(24) % 3
    sgd = np.array([0.05, 0.9, 1e-3], np.float32)

    def train(steps: int) -> None:
        for _ in range(steps):
            network.train(x, labels, sgd, rng)

    train(5)
    pruned = [
        weakest_neurons(neuron_strength(layer), np.ones(30, dtype=bool), 15) for layer in network.sparse_layers()[:2]
    ]
    total = sum(network.connections())
    freed = sum(prune_neurons(network, hidden, neurons) for hidden, neurons in enumerate(pruned))
    assert sum(network.connections()) == total - freed < total
    left = [~neurons for neurons in pruned]
    for _ in range(3):
        train(5)
        for layer, inputs, outputs in zip(network.sparse_layers(), [None, *left], [*left, None], strict=True):
            evolve(layer, 0.3, rng, inputs=inputs, outputs=outputs)
    assert sum(network.connections()) == total - freed
    for layer, living, neurons in zip(network.sparse_layers(), living_neurons(network), pruned, strict=False):
        assert (layer.bias[neurons] == 0).all() and (layer.bias[~neurons] != 0).any()
        assert not (living & neurons).any()
