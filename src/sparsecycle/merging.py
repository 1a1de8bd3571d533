"""Records made on several machines, in one folder: copied whole, never over another."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from sparsecycle.errors import InputError
from sparsecycle.records import FILES, RunRecord, find_records


@dataclass
class Outcome:
    """Names of runs: copied, there already with the same numbers, left alone as the folder holds something else."""

    copied: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def merge(sources: list[Path], into: Path) -> Outcome:
    """Copy every finished run below `sources` to the same place below `into`.

    Raises:
        InputError: a source that does not exist or holds a damaged record, or an `into` that is below a source.
    """
    outcome = Outcome()
    for source in sources:
        if into.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{into} lies in {source}: give another folder to copy into")
        for folder, record, name in find_records(source):
            target = into / name
            if not target.exists():
                _copy(folder, target)
                outcome.copied.append(name)
            elif (target / "record.json").exists() and _same(RunRecord.read(target), record):
                outcome.same.append(name)
            else:
                outcome.conflicts.append(name)
    return outcome


def _same(first: RunRecord, second: RunRecord) -> bool:
    return first.results() == second.results()


def _copy(folder: Path, target: Path) -> None:
    """The files of a finished run, in a folder that appears whole or not at all; links are not followed."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for name in FILES:
            if (folder / name).is_file() and not (folder / name).is_symlink():
                shutil.copyfile(folder / name, partial / name)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
