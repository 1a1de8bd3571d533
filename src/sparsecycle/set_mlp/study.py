"""Studies of the companion: many runs declared in a few lines of `workflow/set.yaml`, and made side by side.

A block is every combination of its datasets, methods, seeds and variants (overrides). `study` stands for the 15
datasets of the study, `search` for those that constants are chosen on.
"""

import contextlib
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import joblib
import torch
from pydantic import BaseModel, ConfigDict, Field

from sparsecycle.errors import InputError
from sparsecycle.runs.grid import Seeds, StudyFile, StudyName
from sparsecycle.set_mlp.config import METHODS, SetConfig, configure_set
from sparsecycle.set_mlp.datasets import search_datasets, study_datasets
from sparsecycle.set_mlp.records import SetRecord, set_run_name
from sparsecycle.set_mlp.training import train_set


class SetBlock(BaseModel):
    """Every combination of these."""

    model_config = ConfigDict(extra="forbid")

    datasets: Literal["study", "search"] | Annotated[list[str], Field(min_length=1)]
    methods: Annotated[list[str], Field(min_length=1)] = list(METHODS)
    seeds: Seeds
    variants: Annotated[list[dict[str, Any]], Field(min_length=1)] = [{}]

    def names(self) -> Iterable[str]:
        """Of the datasets."""
        if isinstance(self.datasets, list):
            return self.datasets
        return study_datasets() if self.datasets == "study" else search_datasets()


class SetStudy(BaseModel):
    """What it is for, and its blocks."""

    model_config = ConfigDict(extra="forbid")

    about: str
    runs: Annotated[list[SetBlock], Field(min_length=1)]


class SetStudies(StudyFile):
    """The studies of a file, by name."""

    studies: Annotated[dict[StudyName, SetStudy], Field(min_length=1)]

    def configurations(self, study: str) -> list[SetConfig]:
        """Of every run of a study, each once, seed by seed.

        Raises:
            InputError: unknown study, or a combination that `SetConfig` refuses.
        """
        if study not in self.studies:
            raise InputError(f"study is {study!r}, but must be one of {', '.join(self.studies)}")
        found = {}
        for block in self.studies[study].runs:
            for seed, dataset, variant, method in product(block.seeds, block.names(), block.variants, block.methods):
                config = configure_set(dataset, method, seed, variant)
                found[set_run_name(config)] = config
        return list(found.values())


def run_study(
    configurations: Iterable[SetConfig], output_dir: Path, data_dir: str | Path | None = None, jobs: int = 1
) -> Iterator[tuple[str, str | None]]:
    """Make the runs that are missing, `jobs` at a time with one thread each; of each its summary, or None and why not.

    Yields:
        The run's name or summary, and the reason where it could not be made: another process is at it, its data are
        missing, or its folder holds another configuration's record.
    """
    missing = []
    for config in configurations:
        found = SetRecord.read(output_dir / set_run_name(config))
        if found is None:
            missing.append(config)
        elif found.config != config.model_dump(mode="json"):  # the names are relative to the constants of their time
            yield set_run_name(config), "its folder holds the record of another configuration: move that folder away"
    tasks = (joblib.delayed(_make)(config, output_dir, data_dir) for config in missing)
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs")(tasks)


def _make(config: SetConfig, output_dir: Path, data_dir: str | Path | None) -> tuple[str, str | None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.suppress(OSError):  # so that a run's peak memory is its own, where Linux lets us
        Path("/proc/self/clear_refs").write_text("5")
    try:
        return train_set(config, data_dir=data_dir, output_dir=output_dir, progress=False).summary(), None
    except InputError as error:
        return set_run_name(config), str(error)
    finally:
        torch.set_num_threads(before)
