"""One step of SET: by hand, against a plain reference, and its invariants."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import SparseLinear, erdos_renyi, evolve
from sparsecycle.set_mlp.evolution import free_places, grow, starting_weights, weakest_connections


def test_the_weakest_of_each_sign_by_hand() -> None:
    """Five positive and three negative weights, zeta 0.4: two of the positive, one of the negative go."""
    weights = np.array([0.5, -0.1, 0.2, 3.0, -2.0, 0.1, -0.3, 1.0])
    removed = weakest_connections(weights, 0.4)
    assert weights[removed].tolist() == [-0.1, 0.2, 0.1]
    assert weakest_connections(np.array([1.0, 1.0, 0.0, -0.0]), 0.5).tolist() == [False, False, True, True]
    assert weakest_connections(np.array([1.0, 1.0, 1.0, 1.0]), 0.5).tolist() == [True, True, False, False]
    assert not weakest_connections(weights, 0).any() and weakest_connections(weights, 1).all()


def test_an_evolution_step_by_hand() -> None:
    """2 x 3, four connections: the weakest of each sign go, and two of the four places then free are taken."""
    layer = SparseLinear(3, 2, np.array([0, 2, 3, 4]), np.array([0.1, 5.0, -0.2, -6.0]))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0, momentum=0.9)
    layer(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert evolve(layer, 0.5, np.random.default_rng(0), optimizer=optimizer) == 2
    weights = dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))
    momentum = dict(zip(weights, optimizer.state[layer.weight]["momentum_buffer"].tolist(), strict=True))
    assert len(weights) == 4 and weights[2] == 5.0 and weights[4] == -6.0
    assert set(weights) - {2, 4} <= {0, 1, 3, 5}
    assert all(momentum[place] == (1.0 if place in (2, 4) else 0.0) for place in weights)
    assert not {0.1, -0.2} & set(weights.values()), "a place that is taken again gets a new weight"


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    zeta=st.floats(0, 1),
    epsilon=st.floats(0.1, 5),
    seed=st.integers(0, 999),
)
@settings(max_examples=150, deadline=None)
def test_the_number_of_connections_stays(rows: int, columns: int, zeta: float, epsilon: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = erdos_renyi(columns, rows, epsilon, rng, dtype=np.float64)
    count = layer.connections
    assert count == min(rows * columns, max(1, round(epsilon * (rows + columns))))
    for _ in range(5):
        before = dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))
        removed = weakest_connections(layer.weight.detach().numpy(), zeta)
        survivors = set(layer.places()[~removed].tolist())
        assert evolve(layer, zeta, rng) == removed.sum()
        after = dict(zip(layer.places().tolist(), layer.weight.tolist(), strict=True))
        assert layer.connections == count == len(after)
        assert all(after[place] == before[place] for place in survivors)


@given(
    rows=st.integers(1, 8), columns=st.integers(1, 8), share=st.floats(0, 1), seed=st.integers(0, 999), data=st.data()
)
@settings(max_examples=200, deadline=None)
def test_free_places_are_those_of_a_plain_search(
    rows: int, columns: int, share: float, seed: int, data: st.DataObject
) -> None:
    """The reference lists every free place and takes the same ranks."""
    rng = np.random.default_rng(seed)
    taken = np.flatnonzero(rng.random(rows * columns) < share)
    inputs = data.draw(st.none() | st.just(rng.random(columns) < 0.6))
    outputs = data.draw(st.none() | st.just(rng.random(rows) < 0.6))
    allowed = np.ones((rows, columns), dtype=bool)
    allowed &= (inputs if inputs is not None else np.ones(columns, dtype=bool))[None, :]
    allowed &= (outputs if outputs is not None else np.ones(rows, dtype=bool))[:, None]
    free = np.setdiff1d(np.flatnonzero(allowed), taken)
    count = data.draw(st.integers(0, len(free)))
    found = free_places(taken, columns, rows, count, np.random.default_rng(seed + 1), inputs=inputs, outputs=outputs)
    if count:
        ranks = np.sort(np.random.default_rng(seed + 1).choice(len(free), count, replace=False, shuffle=False))
        assert found.tolist() == free[ranks].tolist()
    assert len(found) == count
    with pytest.raises(InputError, match=f"{len(free) + 1} connections are to grow, but only {len(free)} places"):
        free_places(taken, columns, rows, len(free) + 1, rng, inputs=inputs, outputs=outputs)


def test_growth_is_uniform_over_the_free_places() -> None:
    taken, rng = np.array([0, 1, 5, 6, 7, 11]), np.random.default_rng(0)
    counts = Counter(place for _ in range(3000) for place in free_places(taken, 4, 3, 2, rng).tolist())
    assert sorted(counts) == [2, 3, 4, 8, 9, 10]
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_new_weights_have_the_spread_of_their_rule() -> None:
    rng = np.random.default_rng(0)
    assert np.std(starting_weights(100_000, 8, "he", rng)) == pytest.approx(0.5, rel=0.02)
    assert np.std(starting_weights(100_000, 8, "normal", rng)) == pytest.approx(0.1, rel=0.02)
    with pytest.raises(InputError, match="start is 'xavier', but must be 'he', 'he_inputs', 'normal' or 'zero'"):
        starting_weights(1, 1, "xavier", rng)  # type: ignore[arg-type]


def test_he_s_rule_with_the_number_of_inputs_counts_unconnected_ones_too() -> None:
    rng = np.random.default_rng(0)
    assert np.std(starting_weights(100_000, 8, "he_inputs", rng)) == pytest.approx(0.5, rel=0.02)
    layer = erdos_renyi(800, 400, 20, rng, start="he_inputs")
    assert np.std(layer.weight.detach().numpy()) == pytest.approx(np.sqrt(2 / 800), rel=0.02)
    layer = erdos_renyi(800, 400, 20, rng, start="he")
    assert np.std(layer.weight.detach().numpy()) == pytest.approx(np.sqrt(2 / 60), rel=0.02)


def test_what_grows_by_the_number_of_inputs_does_not_drive_the_weights_up() -> None:
    """The smallest go and come back: at the size of the survivors the scale rises with each step, else it does not."""
    scales = {}
    for growth in ("he", "he_inputs"):
        rng = np.random.default_rng(0)
        layer = erdos_renyi(200, 200, 20, rng)
        start = layer.weight.detach().square().mean().sqrt().item()
        for _ in range(50):
            evolve(layer, 0.3, rng, growth=growth)  # type: ignore[arg-type]
        scales[growth] = layer.weight.detach().square().mean().sqrt().item() / start
    assert scales["he"] > 1.8 and scales["he_inputs"] < 1.3


def test_weights_that_grow_among_the_living_have_the_spread_of_the_living() -> None:
    """400 of 1000 outputs may get connections: the mean number into one of them is 12,000 / 400 = 30."""
    rng, outputs = np.random.default_rng(0), np.arange(1000) < 400
    layer = erdos_renyi(1000, 1000, 1.0, rng)
    layer.rewire(np.zeros(2000, dtype=bool), np.empty(0, dtype=np.int64), np.empty(0))
    grow(layer, 12_000, rng, outputs=outputs)
    assert layer.connections == 12_000 and (layer.incoming()[~outputs] == 0).all()
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 30), rel=0.03)
    evolve(layer, 1.0, rng, outputs=outputs)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 30), rel=0.03)
    evolve(layer, 1.0, rng, outputs=outputs, growth="zero")
    assert (layer.weight == 0).all() and layer.connections == 12_000


def test_momentum_of_the_survivors_is_reset_on_request() -> None:
    layer = erdos_renyi(5, 4, 2.0, np.random.default_rng(0))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    evolve(layer, 0.2, np.random.default_rng(1), optimizer=optimizer)
    assert (optimizer.state[layer.weight]["momentum_buffer"] != 0).any()
    evolve(layer, 0.2, np.random.default_rng(1), optimizer=optimizer, reset_momentum=True)
    assert (optimizer.state[layer.weight]["momentum_buffer"] == 0).all()


def test_what_cannot_evolve_is_refused() -> None:
    for zeta in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"zeta is .* but must be in \[0, 1\]"):
            weakest_connections(np.ones(3), zeta)
    with pytest.raises(InputError, match="a weight is NaN"):
        weakest_connections(np.array([1.0, np.nan]), 0.3)
