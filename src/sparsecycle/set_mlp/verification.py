"""Published numbers of the companion study recomputed from the stored predictions, labels and counts."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparsecycle.set_mlp.datasets import Dataset, collection, is_at_hand, load_dataset, split_dataset
from sparsecycle.set_mlp.records import SetRecord, find_set_records
from sparsecycle.analysis.verification import wrong_identity


def verify_set_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, int, list[str]]]:
    """For every finished run below the folders: its name, how many numbers were recomputed, and what disagrees.

    Recomputed: the identity, from configuration, source and data; test accuracy, best test accuracy, gap, share of
    neurons left, parameters and operations; and the labels from the dataset, where its file is at hand.

    Raises:
        InputError: a missing folder, a damaged record, or a dataset that is not the pinned one.
    """
    datasets: dict[str, Dataset] = {}
    for _, record in find_set_records(*folders):
        name, seed = record.config["dataset"], record.config["seed"]
        if name not in datasets and is_at_hand(name, data_dir):
            datasets[name] = load_dataset(name, data_dir)
        classes = collection()[name].classes if name in collection() else datasets[name].classes
        found = _recomputed(record, classes)
        problems = [
            f"{number} is recorded as {given}, the record's parts give {value}"
            for number, (given, value) in found.items()
            if not math.isclose(given, value, rel_tol=1e-12)
        ]
        problems += wrong_identity(record.identity, record.config, record.provenance)
        if math.isfinite(record.history["train_loss"][-1]) != (record.status == "complete"):
            problems.append(f"it is recorded as {record.status}, which its last loss contradicts")
        if name in datasets and split_dataset(datasets[name], seed).test_labels.tolist() != record.labels:
            problems.append(f"the labels are not those of {name}, split by seed {seed}")
        yield record.name(), len(found) + 2 + (name in datasets), problems


def _recomputed(record: SetRecord, classes: int) -> dict[str, tuple[float, float]]:
    """By name what is recorded, and what its parts give."""
    history, metrics = record.history, record.metrics
    numbers: dict[str, tuple[float | None, float]] = {"flops": (record.flops, sum(history["flops"]))}
    if record.status == "complete":
        accuracy = float((np.array(record.predictions) == record.labels).mean())
        parameters = sum(record.connections) + sum(record.neurons_left) + classes
        numbers |= {
            "test_accuracy": (metrics["test_accuracy"], accuracy),
            "best_test_accuracy": (metrics["best_test_accuracy"], max(history["test_accuracy"])),
            "train_accuracy": (metrics["train_accuracy"], history["train_accuracy"][-1]),
            "gap": (metrics["gap"], history["train_accuracy"][-1] - accuracy),
            "neurons_left": (metrics["neurons_left"], sum(record.neurons_left) / sum(record.neurons)),
            "parameters": (record.parameters, parameters),
        }
    return {name: (math.nan if given is None else given, value) for name, (given, value) in numbers.items()}
