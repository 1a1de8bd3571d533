"""The layers against plain matrices: outputs, the step of SGD, what is passed on, and rewiring."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes import python
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.evolution import erdos_renyi, evolve
from sparsecycle.set_mlp.layer import DenseLayer, Layer, SparseLayer

SGD = np.array([0.1, 0.9, 0.01])  # rate, momentum, decay


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Layers of both kinds with momentum and biases, in float64."""
    inputs, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    layer: Layer
    if draw(st.booleans()):
        layer = DenseLayer(rng.normal(size=(outputs, inputs)))
    else:
        places = sorted(draw(st.sets(st.integers(0, inputs * outputs - 1), max_size=60)))
        layer = SparseLayer(inputs, outputs, np.array(places, dtype=np.int64), rng.normal(size=len(places)))
    layer.velocity = rng.normal(size=layer.weight.shape)
    layer.bias, layer.bias_velocity = rng.normal(size=(2, outputs))
    return layer


def matrix(layer: Layer) -> np.ndarray:
    return layer.matrix() if isinstance(layer, SparseLayer) else layer.weight


@given(layer=layers(), samples=st.integers(0, 9), pass_on=st.booleans(), silent=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_step_is_that_of_a_matrix_with_zeros(layer, samples, pass_on, silent):
    """v = 0.9 v - 0.1 g, then w = 0.99 w + v: decay outside of the momentum, of weights and biases."""
    rng = np.random.default_rng(samples)
    x, slope = rng.normal(size=(layer.in_features, samples)), rng.normal(size=(layer.out_features, samples))
    if silent:
        slope[::2] = 0
    full = matrix(layer).copy()
    np.testing.assert_allclose(layer.forward(x), full @ x + layer.bias[:, None], atol=1e-12)
    velocity, bias = 0.9 * layer.velocity, 0.9 * layer.bias_velocity - 0.1 * slope.sum(axis=1)
    gradient = slope @ x.T
    velocity -= 0.1 * (gradient.ravel()[layer.places()] if isinstance(layer, SparseLayer) else gradient)
    weight, expected_bias = 0.99 * layer.weight + velocity, 0.99 * layer.bias + bias
    passed = layer.descend(x, slope, SGD, pass_on=pass_on)
    np.testing.assert_allclose(layer.weight, weight, atol=1e-12)
    np.testing.assert_allclose(layer.velocity, velocity, atol=1e-12)
    np.testing.assert_allclose(layer.bias, expected_bias, atol=1e-12)
    if pass_on:
        np.testing.assert_allclose(passed, full.T @ slope, atol=1e-12)
    else:
        assert passed.size == 0


def test_a_worked_example():
    """W = [[0, 2, 0], [3, 0, -1]], b = (1, 0): (1, 2, 3) becomes (2*2 + 1, 3*1 - 1*3)."""
    layer = SparseLayer(3, 2, np.array([1, 3, 5]), np.array([2.0, 3.0, -1.0]))
    layer.bias[0] = 1
    assert layer.forward(np.array([[1.0], [2.0], [3.0]])).ravel().tolist() == [5.0, 0.0]
    assert layer.matrix().tolist() == [[0, 2, 0], [3, 0, -1]]
    assert layer.incoming().tolist() == [1, 2] and layer.outgoing().tolist() == [1, 1, 1]


def test_no_dense_matrix_is_ever_made():
    """A layer of 10^12 places is trained and evolves: its memory is that of its connections."""
    rng = np.random.default_rng(0)
    layer = erdos_renyi(10**6, 10**6, 0.5, rng)
    x = np.ones((10**6, 2), np.float32)
    layer.descend(x, layer.forward(x), np.array([0.1, 0.9, 0.0], np.float32))
    assert layer.weight.size == 10**6 and evolve(layer, 0.3, rng) > 290_000


@given(layer=layers(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_rewiring_keeps_what_stays_and_its_momentum(layer, data):
    if not isinstance(layer, SparseLayer):
        return
    places, size = layer.places(), layer.in_features * layer.out_features
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(places), max_size=len(places))), dtype=bool)
    free = sorted(set(range(size)) - set(places[keep].tolist()))
    new = np.array(sorted(data.draw(st.sets(st.sampled_from(free), max_size=9)) if free else []), dtype=np.int64)
    kept = zip(layer.weight[keep].tolist(), layer.velocity[keep].tolist(), strict=True)
    expected = dict(zip(places[keep].tolist(), kept, strict=True)) | {int(place): (7.0, 0.0) for place in new}
    layer.rewire(keep, new, np.full(len(new), 7.0))
    found = zip(layer.weight.tolist(), layer.velocity.tolist(), strict=True)
    assert dict(zip(layer.places().tolist(), found, strict=True)) == expected
    assert layer.places().tolist() == sorted(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2, [1, 1], [1.0, 2.0]), "places must be ascending, different, and from 0 to 5"),
        ((3, 2, [4, 6], [1.0, 2.0]), "places must be ascending, different, and from 0 to 5"),
        ((3, 2, [-1], [1.0]), "places must be ascending, different, and from 0 to 5"),
        ((3, 2, [1], [1.0, 2.0]), "there are 2 weights for 1 places"),
        ((0, 2, [], []), "in_features is 0 and out_features 2, but both must be positive"),
    ],
)
def test_what_is_no_layer_is_refused(arguments, message):
    inputs, outputs, places, weights = arguments
    with pytest.raises(InputError, match=message):
        SparseLayer(inputs, outputs, np.array(places, dtype=np.int64), np.array(weights))


def test_wrong_inputs_are_refused():
    layer = erdos_renyi(4, 3, 1.0, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"keep is bool of shape \(3,\), but must be bool, one a connection"):
        layer.rewire(np.ones(3, dtype=bool), np.empty(0, dtype=np.int64), np.empty(0))
    for x in (np.ones((5, 2), np.float32), np.ones(4, np.float32), np.ones((4, 2))):
        with pytest.raises(InputError, match=r"must be float32 of shape \(4, samples\)"):
            layer.forward(x)


USE = """
import numpy as np
from sparsecycle.set_mlp.evolution import erdos_renyi
print(erdos_renyi(6, 5, 2.0, np.random.default_rng(0)).forward(np.ones((6, 3), np.float32)).tolist())
"""


def test_a_damaged_cache_changes_nothing(tmp_path):
    places = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    whole = python(USE, env=places)
    for path in tmp_path.rglob("kernels.*.nbi"):
        path.write_bytes(b"")
    damaged = python(USE, env=places)
    assert damaged.stdout == whole.stdout and not whole.stderr
    assert "numba's cache cannot be used (Ran out of input): product is compiled anew" in damaged.stderr
