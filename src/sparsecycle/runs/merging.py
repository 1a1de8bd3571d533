"""Records made on several machines, in one folder: copied whole, never over another."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from sparsecycle.config import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs import measures
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.records import FILES, find_records


@dataclass
class Outcome:
    """Runs that were copied, those that were there already with the same numbers, and why others were left alone."""

    copied: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def merge(sources: list[Path], into: Path) -> Outcome:
    """Copy every finished run below `sources` to its place below `into`, which follows from its configuration.

    Raises:
        InputError: a source that does not exist or holds a damaged record, or an `into` that is below a source.
    """
    outcome = Outcome()
    known = {record.identity: record for _, record, _ in find_records(into)} if into.is_dir() else {}
    for source in sources:
        if into.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{into} lies in {source}: give another folder to copy into")
        for folder, record, name in find_records(source):
            target = run_folder(RunConfig(**record.config), into)
            twin = known.get(record.identity)
            if twin and twin.results() == record.results():
                if _add_measures(folder, target):
                    outcome.same.append(name)
                else:
                    outcome.left[name] = "other measures of this run are there"
            elif twin:
                outcome.left[name] = "the record of this run that is there has other numbers"
            elif target.exists():
                there = "another run" if (target / "record.json").exists() else "a run that is not finished"
                outcome.left[name] = f"{target} holds {there}"
            elif any((folder / file).is_symlink() for file in (*FILES, *measures.FILES)):
                outcome.left[name] = "one of its files is a link"
            else:
                _copy(folder, target)
                known[record.identity] = record
                outcome.copied.append(name)
    return outcome


def _add_measures(folder: Path, target: Path) -> bool:
    """Add what was measured on a run after it had been copied; False where something else was measured there."""
    if not all((folder / name).is_file() and not (folder / name).is_symlink() for name in measures.FILES):
        return True
    if not (target / "record.json").is_file():
        return True
    mine, theirs = measures.Measures.read(folder), measures.Measures.read(target)
    if mine and theirs:
        return (mine.conditions, mine.layers) == (theirs.conditions, theirs.layers)
    for name in reversed(measures.FILES):  # measures.json last
        write_atomically(target / name, (folder / name).read_bytes())
    return True


def _copy(folder: Path, target: Path) -> None:
    """The files of a finished run, in a folder that appears whole or not at all."""
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for file in (*FILES, *measures.FILES):
            if (folder / file).is_file():
                write_atomically(partial / file, (folder / file).read_bytes())
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
