"""Published numbers of the companion study recomputed, from bits and counts, and from the inner runs of a choice."""

import math
from collections.abc import Iterator
from pathlib import Path

from sparsecycle.analysis.verification import wrong_identity
from sparsecycle.data.tabular import EMBEDDED, Dataset, collection, is_at_hand, load_dataset
from sparsecycle.errors import InputError
from sparsecycle.runs.folders import files_below
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import TEST_SHARE, split_dataset
from sparsecycle.set_mlp.records import FILE, SetRecord, read_records
from sparsecycle.set_mlp.tuning import choose, inner_count

Found = dict[str, tuple[float | None, float | None]]


def verify_set_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, int, list[str]]]:
    """Yield for every finished run below the folders its name, how many numbers were recomputed, and what disagrees.

    Recomputed: the identity, from configuration, source and data; accuracies, gap, neurons left and parameters, from
    bits and counts; learning rate and dropout, from the inner runs; the numbers of samples, from the dataset's; and
    where its file is at hand also the accuracy of guessing the most frequent class. A damaged file is one problem.

    InputError for a missing folder, or a dataset that is not the pinned one.
    """
    known: dict[str, Dataset | None] = {}
    for path, _ in files_below(FILE, *folders):
        try:
            records = read_records(path)
        except InputError as error:
            yield path.as_posix(), 0, [str(error)]
            continue
        for record in records:
            name = record.config["dataset"]
            if name not in known:
                known[name] = load_dataset(name, data_dir) if is_at_hand(name, data_dir) else None
            found = _recomputed(record, SetConfig(**record.config), known[name])
            problems = [
                f"{key} is recorded as {given}, the record's parts give {value}"
                for key, (given, value) in found.items()
                if given != value and (given is None or value is None or not math.isclose(given, value, rel_tol=1e-12))
            ]
            problems += wrong_identity(record.identity, record.config, record.provenance)
            if record.provenance.data_sha256 != _pinned(name, record):
                problems.append(f"its data are not those of {name} (their SHA-256 differs)")
            if math.isfinite(record.history["train_loss"][-1]) != (record.status == "complete"):
                problems.append(f"it is recorded as {record.status}, which its last loss contradicts")
            yield record.name(), len(found) + 3, problems


def _recomputed(record: SetRecord, config: SetConfig, dataset: Dataset | None) -> Found:
    """By name what is recorded, and what its parts give."""
    chosen, history = choose(config, record.trials, record.classes), record.history
    samples = len(dataset.labels) if dataset else record.train_samples + len(record.correct)
    if config.dataset in collection():
        samples = collection()[config.dataset].samples
    test = math.ceil(TEST_SHARE * samples)
    found: Found = {name: (record.metrics[name], value) for name, value in record.recomputed().items()}
    found |= {
        "learning_rate": (record.learning_rate, chosen.learning_rate),
        "dropout": (record.dropout, chosen.dropout),
        "inner runs": (len(record.trials), inner_count(config)),
        "training samples": (record.train_samples, samples - test),
        "test samples": (len(record.correct), test),
        "right test samples": (history["test_right"][-1], sum(record.correct)),
        "connections": (history["connections"][-1], sum(record.connections)),
        "neurons": (history["neurons_left"][-1], sum(record.neurons_left)),
    }
    if dataset:
        split = split_dataset(dataset, config.seed, stratified=config.stratified, added_to_scale=config.added_to_scale)
        for name, value in zip(("majority_train_accuracy", "majority_accuracy"), split.majority(), strict=True):
            found[name] = record.metrics[name], value
    return found


def _pinned(name: str, record: SetRecord) -> str:
    """The SHA-256 of a dataset; of a file of the user's own what is recorded."""
    if name in collection():
        return collection()[name].sha256
    return EMBEDDED[name][1] if name in EMBEDDED else record.provenance.data_sha256
