"""The error of a mean over seeds and images both, against simulated studies whose error is known."""

import math

import numpy as np
import pytest

from conftest import ROOT
from sparsecycle import load_runs
from sparsecycle.analysis.sampling import correctness_differences, crossed_interval, sampling_sentence

RUNS = ROOT / "data/runs/classroom"


def test_it_estimates_the_spread_of_the_mean_over_repeated_studies() -> None:
    rng = np.random.default_rng(0)
    seeds, images, of_seed, of_image, rest = 8, 60, 0.3, 0.8, 0.5
    tables = [
        rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_image, (1, images)) + rng.normal(0, rest, (seeds, images))
        for _ in range(4000)
    ]
    true = math.sqrt(of_seed**2 / seeds + of_image**2 / images + rest**2 / (seeds * images))
    assert np.std([table.mean() for table in tables]) == pytest.approx(true, rel=0.04)
    estimated = math.sqrt(np.mean([crossed_interval(table)[0] ** 2 for table in tables]))
    assert estimated == pytest.approx(true, rel=0.02)


def test_a_table_worked_by_hand() -> None:
    # Rows 1, 3; columns 2, 2; nothing left over: mean squares 2 * 2 = 4 of the rows, 0 of the rest; 4 cells.
    # One degree of freedom, that of the two rows: t(0.975, 1) = 12.706.
    assert crossed_interval(np.array([[1.0, 1.0], [3.0, 3.0]])) == pytest.approx(
        (1.0, 2 - 12.706, 2 + 12.706), abs=1e-3
    )
    # Rows and columns alike: all is rest, its mean square 4 over 4 cells, with one degree of freedom.
    assert crossed_interval(np.array([[1.0, -1.0], [-1.0, 1.0]])) == pytest.approx((1.0, -12.706, 12.706), abs=1e-3)
    error, low, high = crossed_interval(np.ones((3, 4)))
    assert error == 0 and math.isnan(low) and math.isnan(high), "equal values say nothing of a spread"
    assert all(map(math.isnan, crossed_interval(np.array([[1.0, 2.0]]))))


@pytest.mark.parametrize(("of_seed", "of_image"), [(1.0, 0.5), (0.1, 2.0), (0.3, 3.0)])
def test_the_interval_covers_as_often_as_it_says(of_seed: float, of_image: float) -> None:
    rng = np.random.default_rng(1)
    seeds, images, studies = 10, 100, 3000
    covered = 0
    for _ in range(studies):
        rows, columns = rng.normal(0, of_seed, (seeds, 1)), rng.normal(0, of_image, (1, images))
        _, low, high = crossed_interval(rows + columns + rng.normal(0, 1, (seeds, images)))
        covered += low <= 0 <= high
    assert 0.92 <= covered / studies <= 0.98


def test_recorded_predictions_give_the_recorded_difference() -> None:
    runs = load_runs(RUNS)
    plain = runs[runs["variant"] == ""].pivot(index="seed", columns="method", values="test_accuracy")
    table = correctness_differences("classroom", "plateau", "dense", RUNS)
    assert table.shape == (10, 1000) and set(np.unique(table)) <= {-1, 0, 1}
    assert table.mean(axis=1) == pytest.approx((plain["plateau"] - plain["dense"]).to_numpy(), abs=1e-9)
    sentence = sampling_sentence("classroom", "plateau", "dense", RUNS)
    assert sentence.startswith(
        f"plateau - dense: {100 * table.mean():+.2f} points; standard error over 10 seeds and 1,000"
    )
