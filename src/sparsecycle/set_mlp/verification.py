"""Published numbers of the companion study recomputed, from bits and counts, and from the inner runs of a choice."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sparsecycle.analysis.verification import wrong_identity
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import (
    EMBEDDED,
    TEST_SHARE,
    Dataset,
    collection,
    is_at_hand,
    known_datasets,
    load_dataset,
    split_dataset,
)
from sparsecycle.set_mlp.records import SetRecord, find_set_records
from sparsecycle.set_mlp.tuning import FOLDS, candidates, choose


def verify_set_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, int, list[str]]]:
    """Yield for every finished run below the folders its name, how many numbers were recomputed, and what disagrees.

    Recomputed: the identity, from configuration, source and data; accuracies, gap, neurons left and parameters, from
    bits and counts; learning rate and dropout, from the inner runs; the numbers of samples, from the dataset's; and
    where its file is at hand also the accuracy of guessing the most frequent class.

    Raises:
        InputError: a missing folder, a damaged file, or a dataset that is not the pinned one.
    """
    known: dict[str, Dataset | None] = {}
    for record in find_set_records(*folders):
        name = record.config["dataset"]
        if name not in known:
            known[name] = load_dataset(name, data_dir) if is_at_hand(name, data_dir) else None
        config = SetConfig(**record.config)
        found = {**record.recomputed(), **_choice(record, config), **_samples(record, config, known[name])}
        given = {**record.metrics, **_given(record)}
        problems = [
            f"{key} is recorded as {given[key]}, the record's parts give {value}"
            for key, value in found.items()
            if not _alike(given[key], value)
        ]
        problems += wrong_identity(record.identity, record.config, record.provenance)
        if name in known_datasets() and record.provenance.data_sha256 != _pinned(name):
            problems.append(f"its data are not those of {name} (their SHA-256 differs)")
        if math.isfinite(record.history["train_loss"][-1]) != (record.status == "complete"):
            problems.append(f"it is recorded as {record.status}, which its last loss contradicts")
        yield record.name(), len(found) + 3, problems


def _given(record: SetRecord) -> dict[str, float]:
    """What is recorded besides metrics."""
    return {
        "learning_rate": record.learning_rate,
        "dropout": record.dropout,
        "inner runs": len(record.trials),
        "training samples": record.train_samples,
        "test samples": len(record.correct),
        "right test samples": record.history["test_right"][-1],
        "connections": record.history["connections"][-1],
        "neurons": record.history["neurons_left"][-1],
    }


def _choice(record: SetRecord, config: SetConfig) -> dict[str, float]:
    """Learning rate and dropout, from the configuration or from the inner runs."""
    chosen = choose(config, record.trials, record.classes)
    return {**chosen._asdict(), "inner runs": FOLDS * len(candidates(config)) if config.is_tuned else 0}


def _samples(record: SetRecord, config: SetConfig, dataset: Dataset | None) -> dict[str, float | None]:
    """What follows from the dataset, or from the list of the collection, and what must agree within the record."""
    samples = len(dataset.labels) if dataset else record.train_samples + len(record.correct)
    if config.dataset in collection():
        samples = collection()[config.dataset].samples
    test = math.ceil(TEST_SHARE * samples)
    found: dict[str, float | None] = {
        "training samples": samples - test,
        "test samples": test,
        "right test samples": sum(record.correct),
        "connections": sum(record.connections),
        "neurons": sum(record.neurons_left),
    }
    if dataset:
        split = partial(split_dataset, stratified=config.stratified, added_to_scale=config.added_to_scale)
        names = ("majority_train_accuracy", "majority_accuracy")
        found |= zip(names, split(dataset, config.seed).majority(), strict=True)
    return found


def _pinned(name: str) -> str:
    return EMBEDDED[name][1] if name in EMBEDDED else collection()[name].sha256


def _alike(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-12))
