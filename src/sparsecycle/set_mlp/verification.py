"""Published numbers of the companion study recomputed from the stored right/wrong bits and counts."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparsecycle.set_mlp.datasets import TEST_SHARE, collection, is_at_hand, load_dataset
from sparsecycle.set_mlp.record import SetRecord, identity_of
from sparsecycle.set_mlp.records import find_set_records


def verify_set_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, int, list[str]]]:
    """Yield for every finished run below the folders its name, how many numbers were recomputed, and what disagrees.

    Recomputed: the identity, from configuration, source and data; test accuracy, from the bits; best test accuracy,
    gap, share of neurons left, parameters and operations, from counts; and the numbers of samples, from the dataset's,
    which is loaded where its file is at hand and else taken from the list of the collection.

    Raises:
        InputError: a missing folder, a damaged file, or a dataset that is not the pinned one.
    """
    known: dict[str, tuple[str, int, int]] = {}
    for record in find_set_records(*folders):
        name = record.config["dataset"]
        if name not in known:
            known[name] = _facts(name, data_dir)
        digest, samples, classes = known[name]
        found = _recomputed(record, samples, classes)
        problems = [
            f"{number} is recorded as {given}, the record's parts give {value}"
            for number, (given, value) in found.items()
            if not math.isclose(given, value, rel_tol=1e-12)
        ]
        if not _is_identified(record):
            problems.append("its identity is not that of its configuration, source and data")
        if record.provenance.data_sha256 != digest:
            problems.append(f"its data are not those of {name} (their SHA-256 differs)")
        if math.isfinite(record.history["train_loss"][-1]) != (record.status == "complete"):
            problems.append(f"it is recorded as {record.status}, which its last loss contradicts")
        yield record.name(), len(found) + 3, problems


def _facts(name: str, data_dir: str | Path | None) -> tuple[str, int, int]:
    """Return SHA-256, samples and classes of a dataset."""
    if is_at_hand(name, data_dir):
        dataset = load_dataset(name, data_dir)
        return dataset.sha256, len(dataset.labels), dataset.classes
    entry = collection()[name]
    return entry.sha256, entry.samples, entry.classes


def _recomputed(record: SetRecord, samples: int, classes: int) -> dict[str, tuple[float, float]]:
    """By name what is recorded, and what its parts give."""
    history, metrics = record.history, record.metrics
    right, test_samples = int(np.sum(record.correct)), math.ceil(TEST_SHARE * samples)
    numbers: dict[str, tuple[float | None, float]] = {
        "flops": (record.flops, sum(history["flops"])),
        "test samples": (len(record.correct), test_samples),
        "training samples": (record.train_samples, samples - test_samples),
        "right test samples": (history["test_accuracy"][-1] * test_samples, right),
    }
    if record.status == "complete":
        accuracy = right / len(record.correct)
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


def _is_identified(record: SetRecord) -> bool:
    made = record.provenance
    if made.changed.keys() & {"source", "data"}:
        return True  # it began with another source than it ended with
    configuration = hashlib.sha256(json.dumps(record.config, sort_keys=True).encode()).hexdigest()
    return record.identity == identity_of(configuration, made.source_sha256, made.data_sha256)
