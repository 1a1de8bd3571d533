"""Studies of the companion: many runs declared in a few lines of `workflow/set.yaml`, made by `runs.launch`.

A block is every combination of its datasets, arms, methods, seeds and variants (overrides). `study` stands for the 15
datasets of the study.
"""

from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sparsecycle.errors import InputError
from sparsecycle.runs.launch import Job, Tell
from sparsecycle.runs.studies import Block, Study, StudyFile, StudyName
from sparsecycle.set_mlp.config import SetConfig, configure_set
from sparsecycle.set_mlp.datasets import study_datasets
from sparsecycle.set_mlp.records import find_set_records, set_run_name
from sparsecycle.set_mlp.training import train_set


class SetBlock(Block):
    """Every combination of these; the main study's presets are arms here."""

    presets: Annotated[list[str], Field(min_length=1, alias="arms")]
    datasets: Literal["study"] | Annotated[list[str], Field(min_length=1)]


class SetStudy(Study):
    """What it is for, and its blocks."""

    runs: Annotated[list[SetBlock], Field(min_length=1)]  # type: ignore[assignment]


class SetStudies(StudyFile):
    """The studies of a file, by name."""

    studies: Annotated[dict[StudyName, SetStudy], Field(min_length=1)]

    def configurations(self, study: str) -> list[SetConfig]:
        """Return those of every run of a study, each once, seed by seed; InputError for an unknown study."""
        if study not in self.studies:
            raise InputError(f"study is {study!r}, but must be one of {', '.join(self.studies)}")
        found = {}
        for block in self.studies[study].runs:
            datasets = study_datasets() if block.datasets == "study" else block.datasets
            for seed, dataset, method, arm, variant in product(
                block.seeds, datasets, block.methods, block.presets, block.variants
            ):
                config = configure_set(dataset, method, arm, seed, variant)
                found[set_run_name(config)] = config
        return list(found.values())


def missing_runs(
    configurations: Iterable[SetConfig], output_dir: Path, data_dir: str | Path | None = None
) -> tuple[list[Job], list[str]]:
    """Return a job for each run that is not recorded, and the names of those whose place another run's record has.

    A record counts whatever source made it: what decides is its configuration.
    """
    recorded = {one.name(): one for one in find_set_records(output_dir)} if output_dir.is_dir() else {}
    jobs, taken = [], []
    for config in configurations:
        name = set_run_name(config)
        found = recorded.get(name)
        if found is None:
            jobs.append(Job(name, partial(_make, config, output_dir, data_dir)))
        elif found.config != config.model_dump(mode="json"):  # the names are relative to the arms of their time
            taken.append(name)
    return jobs, taken


def _make(config: SetConfig, output_dir: Path, data_dir: str | Path | None, tell: Tell) -> str:
    return train_set(config, data_dir=data_dir, output_dir=output_dir, progress=tell).summary()
