"""`python -m sparsecycle_book.benchmarks.set_mlp`: what sparse training costs, and how that grows with the network.

An epoch and an evolution step against the plain baseline, in turn, one thread; then time and memory from 10^4 to 10^6
neurons, each size in a process of its own. A record goes to `data/benchmarks/set`.
"""

import multiprocessing
import sys
import time
from typing import Any

import numpy as np
import torch

from sparsecycle.runs.provenance import environment, now, peak_memory_mib
from sparsecycle.set_mlp.evolution import evolve
from sparsecycle.set_mlp.layer import Floats, Labels
from sparsecycle.set_mlp.network import sparse_network
from sparsecycle_book.benchmarks.record import FOLDER, BenchmarkRecord, Measurement
from sparsecycle_book.benchmarks.set_scipy import ScipyMLP
from sparsecycle_book.benchmarks.timing import alternate

EPSILON, ZETA = 20.0, 0.3
# Rate, momentum and decay. A tenth of the public code's rate: the features are noise, memorizing it must not diverge.
SGD: Floats = np.array([1e-3, 0.9, 2e-4], np.float32)
# Features, three hidden layers, classes, and samples of a training part: as in the public code and two datasets.
SHAPES = {
    "3312-3000-3000-3000-5": ((3312, 3000, 3000, 3000, 5), 203),
    "5748-3000-3000-3000-4": ((5748, 3000, 3000, 3000, 4), 114),
    "2420-3000-3000-3000-10": ((2420, 3000, 3000, 3000, 10), 140),
}
BATCH = 2
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
FEATURES, CLASSES, SCALING_BATCH = 1000, 10, 32


def main() -> int:
    torch.set_num_threads(1)
    started, begin = now(), time.perf_counter()
    measurements: list[Measurement] = []
    for case, (sizes, samples) in SHAPES.items():
        print(f"measuring {case} ({time.perf_counter() - begin:.0f} s)", file=sys.stderr)
        measurements += measure_shape(case, sizes, samples)
    for neurons in SIZES:
        print(f"measuring {neurons:,} neurons ({time.perf_counter() - begin:.0f} s)", file=sys.stderr)
        measurements += measure_size_apart(neurons)
    record = BenchmarkRecord(
        started=started,
        ended=now(),
        environment=environment("cpu", "float32", deterministic=False),
        left_out=[],
        measurements=measurements,
    )
    path = record.write(FOLDER / "set")
    print(f"{record.device}: {time.perf_counter() - begin:.0f} s, written to data/benchmarks/set/{path.name}")
    return 0


def measure_shape(case: str, sizes: tuple[int, ...], samples: int, repeats: int = 5) -> list[Measurement]:
    """An epoch and an evolution step of both sides, from the same network, on features drawn at random."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, sizes[0])).astype(np.float32)
    labels = rng.integers(sizes[-1], size=samples)
    network = sparse_network(sizes, EPSILON, rng, start="he")
    plain = ScipyMLP(network, *SGD.tolist())

    def epoch() -> None:
        for start in range(0, samples - BATCH + 1, BATCH):
            network.train(x[start : start + BATCH], labels[start : start + BATCH], SGD, rng)

    def plain_epoch() -> None:
        for start in range(0, samples - BATCH + 1, BATCH):
            plain.step(x[start : start + BATCH], labels[start : start + BATCH])

    def evolution() -> None:
        for layer in network.sparse_layers():
            evolve(layer, ZETA, rng)

    epochs = alternate({"kernels": epoch, "scipy": plain_epoch}, "cpu", repeats)
    evolutions = alternate({"kernels": evolution, "scipy": lambda: plain.evolve(ZETA, rng)}, "cpu", repeats)
    return [
        Measurement(suite=suite, case=case, side=side, milliseconds=times)
        for suite, sides in (("set epoch", epochs), ("set evolution", evolutions))
        for side, times in sides.items()
    ]


def measure_size_apart(neurons: int) -> list[Measurement]:
    """`measure_size` in a new process, whose peak memory is then that of this size alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: list[Measurement] = pool.apply(measure_size, (neurons,))
        return found


def measure_size(neurons: int) -> list[Measurement]:
    """A training step on a batch of 32 and an evolution step, of a network with `neurons` in three hidden layers."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    network = sparse_network((FEATURES, *[neurons // 3] * 3, CLASSES), EPSILON, rng, start="he")
    features = rng.normal(size=(SCALING_BATCH, FEATURES)).astype(np.float32)
    labels: Labels = np.arange(SCALING_BATCH) % CLASSES
    repeats = 3 if neurons > 100_000 else 7
    step = alternate({"": lambda: network.train(features, labels, SGD, rng)}, "cpu", repeats)[""]
    begin = time.perf_counter()
    for layer in network.sparse_layers():
        evolve(layer, ZETA, rng)
    evolution = [1000 * (time.perf_counter() - begin)]
    network.train(features, labels, SGD, rng)
    case = f"{neurons} neurons"
    counts: dict[str, Any] = {"suite": "set scaling", "case": case}
    return [
        Measurement(**counts, side="step", milliseconds=step),
        Measurement(**counts, side="evolution", milliseconds=evolution),
        Measurement(**counts, side="peak memory", value=peak_memory_mib("cpu"), unit="MiB"),
        Measurement(
            **counts,
            side="parameters",
            value=float(sum(layer.weight.size + layer.bias.size for layer in network.layers)),
            unit="parameters",
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
