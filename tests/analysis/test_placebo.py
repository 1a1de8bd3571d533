"""What looking often gives: fewer looks are among the more, worked by hand, and larger for noise alone."""

import numpy as np
import pandas as pd
import pytest

from sparsecycle.analysis.placebo import best_by_looks, best_of, counts, placebo
from sparsecycle.errors import InputError
from sparsecycle.evaluation.reporting import clean_accuracy

# Four looks at four images: accuracies 1/4, 1, 1/2, 3/4.
LOOKS = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=bool)


def test_fewer_looks_are_evenly_spaced_and_hold_the_last_one():
    assert [best_of(LOOKS, count) for count in (1, 2, 4)] == [0.75, 1.0, 1.0]  # the fourth; the second and fourth; all
    assert best_of(LOOKS[[0, 0, 1, 3]], 2) == 0.75  # the second and the fourth
    with pytest.raises(InputError, match="count is 5, but must be from 1 to the 4 looks of the run"):
        best_of(LOOKS, 5)


def test_all_looks_and_parts_of_them_are_compared():
    assert counts(57) == [1, 3, 14, 28, 57]
    assert counts(1) == [1]


def noise(seeds: int, looks: int = 64, images: int = 400) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Runs whose true accuracy is one half at every look: what they gain by looking is selection alone."""
    rng = np.random.default_rng(1)
    correct = {f"dense-seed{seed}": rng.random((looks, images)) < 0.5 for seed in range(seeds)}
    rows = [
        {"run": run, "method": "dense", "seed": seed, "clean_accuracy": clean_accuracy(bits)}
        for seed, (run, bits) in enumerate(correct.items())
    ]
    return pd.DataFrame(rows), correct


def test_of_noise_alone_the_best_grows_with_the_looks_and_the_placebo_finds_it():
    runs, correct = noise(30)
    table = best_by_looks(runs, correct)
    means = table.groupby("looks")["best"].mean()
    assert means.is_monotonic_increasing and means.index.tolist() == counts(64)
    # The largest of n such accuracies lies about sqrt(2 ln n) deviations of 2.5 points above one half.
    assert 0.04 < means[64] - 0.5 < 0.08
    gain = placebo(table, "dense", 64, 16)
    assert len(gain.pairs) == 30 and gain.low > 0
    assert gain.mean == pytest.approx(means[64] - means[16]), "as over other seeds, each once"


def test_without_runs_or_without_so_many_looks_there_is_no_placebo():
    runs, correct = noise(1)
    assert placebo(best_by_looks(runs, correct), "dense", 64, 15).pairs == ()
    assert placebo(best_by_looks(runs.iloc[:0], {}), "dense", 64, 16).pairs == ()
