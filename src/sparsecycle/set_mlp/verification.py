"""Published numbers of the companion study recomputed, from bits and counts, and from the inner runs of a choice."""

import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from sparsecycle.analysis.verification import VerifiedRun, verify_tables, wrong_identity
from sparsecycle.data.tabular import EMBEDDED, Dataset, collection, is_at_hand, load_dataset
from sparsecycle.errors import InputError
from sparsecycle.runs.folders import files_below
from sparsecycle.set_mlp.claims import SCORINGS, set_verdict_table
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import TEST_SHARE, split_dataset
from sparsecycle.set_mlp.records import FILE, SetRecord, read_records, row_of
from sparsecycle.set_mlp.tuning import choose, inner_count


def verify_set_runs(*folders: str | Path, data_dir: str | Path | None = None) -> Iterator[VerifiedRun]:
    """Recompute every finished run below the folders.

    Recomputed: the identity, from configuration, source and data; accuracies, gap, neurons left and parameters, from
    bits and counts; learning rate and dropout, from the inner runs; the numbers of samples, from the dataset's; and
    where its file is at hand also the accuracy of guessing the most frequent class. A damaged file is one problem.
    InputError for a missing folder, or a dataset that is not the pinned one.
    """
    dataset = cache(lambda name: load_dataset(name, data_dir) if is_at_hand(name, data_dir) else None)
    pinned = {one: entry.sha256 for one, entry in collection().items()} | {one: EMBEDDED[one][1] for one in EMBEDDED}
    for path, _ in files_below(FILE, *folders):
        try:
            records = read_records(path)
        except InputError as error:
            yield VerifiedRun(path.as_posix(), problems=(str(error),))
            continue
        for record in records:
            name, digest = record.config["dataset"], record.provenance.data_sha256
            found = _recomputed(record, SetConfig(**record.config), dataset(name))
            problems = [
                f"{key} is recorded as {given}, the record's parts give {value}"
                for key, (given, value) in found.items()
                if given != value and (given is None or value is None or not math.isclose(given, value, rel_tol=1e-12))
            ]
            problems += wrong_identity(record.identity, record.config, record.provenance)
            if digest != pinned.get(name, digest):  # of a file of the user's own, whatever is recorded
                problems.append(f"its data are not those of {name} (their SHA-256 differs)")
            if math.isfinite(record.history["train_loss"][-1]) != (record.status == "complete"):
                problems.append(f"it is recorded as {record.status}, which its last loss contradicts")
            columns = {key: math.nan if value is None else value for key, (_, value) in found.items()}
            yield VerifiedRun(record.name(), len(found) + 3, tuple(problems), row_of(record), columns)


def verify_set_claims(verified: Sequence[VerifiedRun]) -> tuple[int, tuple[str, ...]]:
    """As `verify_claims`, of runs of `verify_set_runs`: a verdict table for each way to score runs that diverged."""
    tables = {f"SET, scoring {one!r}": partial(set_verdict_table, scoring=one) for one in SCORINGS}
    return verify_tables(verified, tables)


def _recomputed(record: SetRecord, config: SetConfig, dataset: Dataset | None) -> dict[str, Any]:
    """By name what is recorded, and what its parts give; None where there is no such number."""
    chosen, history = choose(config, record.trials, record.classes), record.history
    samples = len(dataset.labels) if dataset else record.train_samples + len(record.correct)
    if config.dataset in collection():
        samples = collection()[config.dataset].samples
    test = math.ceil(TEST_SHARE * samples)
    found: dict[str, Any] = {name: (record.metrics[name], value) for name, value in record.recomputed().items()}
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
