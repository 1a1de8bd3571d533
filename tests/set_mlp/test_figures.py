"""The figures of the companion study: what is drawn is what the records say, and the alternative text too."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sparsecycle.set_mlp.claims import Ranks, average_ranks, set_verdict_table
from sparsecycle.set_mlp.config import METHODS, SetConfig
from sparsecycle.set_mlp.layer import SparseLinear
from sparsecycle.set_mlp.record import SetRecord
from sparsecycle.set_mlp.training import train_set
from sparsecycle_book.benchmarks.record import BenchmarkRecord, Measurement
from sparsecycle_book.display import alternative_text, inline_svg
from sparsecycle_book.set_mlp import run_figures, study_figures


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SetRecord]:
    output = tmp_path_factory.mktemp("runs")
    configs = {
        method: SetConfig(dataset="digits", method=method, hidden=(30, 20), epochs=4, batch_size=64)
        for method in METHODS
    }
    return {method: train_set(config, output_dir=output, progress=False) for method, config in configs.items()}


def study() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "dataset": name,
            "method": method,
            "seed": seed,
            "status": "complete",
            "variant": "",
            "neurons_left": 1.0,
            "test_accuracy": 0.7 + 0.04 * place + 0.1 * rng.random(),
            "gap": 0.1,
            "parameters": 10 ** (6 - place),
        }
        for name in "abcdef"
        for place, method in enumerate(METHODS)
        for seed in range(2)
    )


def check(figure: Figure) -> str:
    """It can be put on a page, and its text is there."""
    assert "<svg" in inline_svg(figure)
    return alternative_text(figure)


def test_curves_say_where_each_method_ends(records: dict[str, SetRecord]) -> None:
    text = check(run_figures.run_curves(list(records.values())))
    for method, record in records.items():
        accuracy = record.metrics["test_accuracy"]
        assert f"{method} test accuracy {accuracy:.2f} with {sum(record.connections)} connections" in text
    assert "and 25 hidden neurons" in text


def test_neurons_are_those_of_each_layer(records: dict[str, SetRecord]) -> None:
    figure = run_figures.neurons_by_layer([records["set"], records["set_pruned"]])
    left = records["set_pruned"].neurons_left
    assert f"set_pruned {left[0]}, {left[1]}." in check(figure)
    for axes, layer in zip(figure.axes, (1, 2), strict=True):
        assert [int(line.get_ydata()[-1]) for line in axes.lines] == [
            records[method].neurons_left[layer - 1] for method in ("set", "set_pruned")
        ]


def test_degrees_are_those_of_the_record(records: dict[str, SetRecord]) -> None:
    record = records["set_pruned"]
    figure = run_figures.degree_distribution(record)
    text = check(figure)
    first, last = record.degrees[1], record.degrees[4]
    shares = [sum(layer[0] for layer in layers) / 50 for layers in (first, last)]
    assert "epoch 1 mean" in text and text.endswith(f"{shares[1]:.0%} have none.") and shares[1] >= 0.5
    assert all(line.get_ydata().sum() == pytest.approx(1) for line in figure.axes[0].lines)
    with pytest.raises(ValueError, match="nothing to draw"):
        run_figures.degree_distribution(records["dense"])


def test_connections_of_the_features(records: dict[str, SetRecord]) -> None:
    counts = np.array(records["set"].feature_connections)
    for shape in (None, (8, 8)):
        text = check(run_figures.feature_connections(records["set"], shape))
        assert f"from {counts.min()} to {counts.max()}, mean {counts.mean():.0f}" in text


def test_gains_show_every_dataset() -> None:
    table = set_verdict_table(study())
    figure = study_figures.gains_by_dataset(table)
    text = check(figure)
    assert f"set - dense, test accuracy: {100 * table['mean'][0]:+.1f} points" in text and "6 datasets" in text
    drawn = sorted(line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1)
    assert drawn == pytest.approx(sorted(100 * value for value in table["differences"][0].values()))
    with pytest.raises(ValueError, match="nothing to draw"):
        study_figures.gains_by_dataset(set_verdict_table(study().iloc[:0]))


def test_bars_join_the_methods_that_cannot_be_told_apart() -> None:
    ranks = Ranks({"dense": 1.5, "static": 2.4, "set": 2.6, "set_pruned": 3.5}, 10, 0.01, 1.2)
    figure = study_figures.critical_difference(ranks)
    assert "dense 1.50, static 2.40, set 2.60, set_pruned 3.50" in check(figure)
    bars = [tuple(line.get_xdata()) for line in figure.axes[0].lines if line.get_linewidth() == 4]
    assert bars == [(1.5, 2.6), (2.4, 3.5)]
    alone = Ranks({"dense": 1.0, "static": 3.0, "set": 3.1}, 10, 0.01, 1.2)
    bars = [line for line in study_figures.critical_difference(alone).axes[0].lines if line.get_linewidth() == 4]
    assert [tuple(line.get_xdata()) for line in bars] == [(3.0, 3.1)]
    assert "over 6 datasets" in check(study_figures.critical_difference(average_ranks(study())))


def test_accuracy_against_parameters() -> None:
    text = check(study_figures.accuracy_against_parameters(study()))
    assert re.search(r"dense 0\.\d\d with 1,000,000 parameters; static", text)


def test_growth_with_the_number_of_neurons(tmp_path: Path) -> None:
    measurements = [
        Measurement(suite="set scaling", case=f"{neurons} neurons", side=side, **value)  # type: ignore[arg-type]
        for neurons in (10_000, 1_000_000)
        for side, value in {
            "step": {"milliseconds": [neurons / 1000]},
            "evolution": {"milliseconds": [neurons / 500]},
            "peak memory": {"value": neurons / 1000, "unit": "MiB"},
            "parameters": {"value": 40.0 * neurons, "unit": "parameters"},
        }.items()
    ]
    record = BenchmarkRecord(started="", ended="", environment={}, left_out=[], measurements=measurements)
    text = check(study_figures.scaling(record))
    assert "at 1,000,000: parameters 4e+07" in text and "step 1 s, evolution 2 s" in text and "0.977 GiB" in text


def test_rewiring_counts_what_went_and_what_is_new() -> None:
    before = SparseLinear(4, 2, np.array([0, 3, 5]), np.array([1.0, -2.0, 0.5]))
    after = SparseLinear(4, 2, np.array([0, 5, 6]), np.array([1.0, 0.25, 0.5]))  # 3 went, 5 was replaced, 6 is new
    text = check(run_figures.rewiring(before, after, ("before", "later")))
    assert "before with 3 connections and later with 3: 2 went, 2 are new" in text
