"""The plain baseline of the benchmark makes the same steps; how fast either is, is not tested."""

import numpy as np

from sparsecycle.set_mlp.network import sparse_network
from sparsecycle_book.benchmarks.set_mlp import SGD, measure_shape, measure_size_apart
from sparsecycle_book.benchmarks.set_scipy import ScipyMLP


def test_the_baseline_trains_the_same_network():
    rng = np.random.default_rng(0)
    network = sparse_network((12, 30, 20, 4), 2.0, rng)
    plain = ScipyMLP(network, *SGD.tolist())
    x, labels = rng.normal(size=(40, 12)).astype(np.float32), rng.integers(4, size=40)
    for start in range(0, 40, 2):
        batch = slice(start, start + 2)
        network.train(x[batch], labels[batch], SGD, rng)
        plain.step(x[batch], labels[batch])
    for layer, matrix, bias in zip(network.sparse_layers(), plain.weights, plain.biases, strict=True):
        np.testing.assert_allclose(matrix.toarray().T, layer.matrix(), atol=1e-5)
        np.testing.assert_allclose(bias, layer.bias, atol=1e-5)


def test_the_baseline_evolves_by_the_same_rule():
    rng = np.random.default_rng(0)
    network = sparse_network((12, 30, 4), 2.0, rng)
    plain = ScipyMLP(network, *SGD.tolist())
    before = [matrix.toarray() for matrix in plain.weights]
    counts = [matrix.nnz for matrix in plain.weights]
    plain.velocities = [np.ones_like(velocity) for velocity in plain.velocities]
    plain.evolve(0.3, rng)
    assert [matrix.nnz for matrix in plain.weights] == counts
    for old, matrix, velocity in zip(before, plain.weights, plain.velocities, strict=True):
        new = matrix.toarray()
        kept = (old == new) & (old != 0)
        gone = (old != 0) & ~kept
        for sign in (1, -1):
            assert gone[np.sign(old) == sign].sum() == int(0.3 * (np.sign(old) == sign).sum())
            assert np.abs(old[gone & (np.sign(old) == sign)]).max() <= np.abs(old[kept & (np.sign(old) == sign)]).min()
        rows, columns = matrix.tocoo().coords
        assert (velocity == kept[rows, columns]).all(), "momentum stays with the survivors"


def test_what_is_measured():
    found = measure_shape("6-8-3", (6, 8, 3), 8, repeats=2)
    assert {(one.suite, one.side) for one in found} == {
        (suite, side) for suite in ("set epoch", "set evolution") for side in ("kernels", "scipy")
    }
    assert all(len(one.milliseconds) == 2 for one in found)
    scaling = {one.side: one.values()[0] for one in measure_size_apart(3000)}
    assert scaling["parameters"] == 3 * 20 * 2000 + 1000 * 10 + 3010, "connections and biases"
    assert scaling["peak memory"] > 50
