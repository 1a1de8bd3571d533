"""Studies: many runs declared in a few lines of YAML, how far they are, and the jobs that make what is missing.

A study is a list of blocks; a block is every combination of its presets, methods, seeds and variants (overrides). In an
override, `{seed}` stands for the run's seed and `{other}` for the next seed of the block, the last one's being the
first: `path_from: accuracy_gated-seed{other}` replays the path that another seed took.
"""

import csv
import io
import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sparsecycle.config import RunConfig, configure, plain_value
from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.folders import run_name
from sparsecycle.runs.launch import Job, Tell
from sparsecycle.runs.source import same_source, source_digest
from sparsecycle.runs.writing import is_being_written

MOST_RUNS = 100_000


def _seeds(value: Any) -> Any:
    """`0-9` as ten seeds, `3` as one."""
    if isinstance(value, int):
        return [value]
    if isinstance(value, str):
        first, _, last = value.partition("-")
        if not (first.strip().isdecimal() and last.strip().isdecimal()) or len(value) > 20:
            raise ValueError("must be a number, a list of numbers, or FIRST-LAST, such as 0-9")
        if int(last) - int(first) >= MOST_RUNS:
            raise ValueError(f"are more than {MOST_RUNS}")
        return list(range(int(first), int(last) + 1))
    return value


Seeds = Annotated[list[int], BeforeValidator(_seeds), Field(min_length=1)]
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Block(BaseModel):
    """Every combination of these."""

    model_config = ConfigDict(extra="forbid")

    presets: Annotated[list[str], Field(min_length=1)]
    methods: Annotated[list[str], Field(min_length=1)]
    seeds: Seeds
    variants: Annotated[list[dict[str, Any]], Field(min_length=1)] = [{}]


class Study(BaseModel):
    """What it is for, and its blocks."""

    model_config = ConfigDict(extra="forbid")

    about: str
    runs: Annotated[list[Block], Field(min_length=1)]


class TextLoader(yaml.SafeLoader):
    """YAML whose values are texts, which `plain_value` reads: YAML 1.1 takes 010 for eight and 1:30 for ninety."""


TextLoader.yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # merging is all that is left


class StudyFile(BaseModel, ABC):
    """Studies by name, as a YAML file declares them; a subclass says what a study is."""

    studies: dict[StudyName, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read YAML.

        Raises:
            InputError: missing, not YAML, or not of this form; one sentence.
        """
        try:
            return cls(studies=plain_value(yaml.load(path.read_text(encoding="utf-8"), TextLoader)))
        except OSError as error:
            raise InputError(f"file of studies {path} cannot be read ({error.strerror})") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"file of studies {path} is not YAML ({' '.join(str(error).split())})") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][1:])
            raise InputError(f"file of studies {path}: {place or 'the file'}: {first['msg']}") from None
        except ValueError as error:  # of YAML: a day that does not exist, a number of thousands of digits
            raise InputError(f"file of studies {path} is not YAML ({' '.join(str(error).split())})") from None

    @abstractmethod
    def configurations(self, study: str) -> Sequence[BaseModel]:
        """Return those of every run of a study."""

    def describe(self) -> str:
        """Return one line a study."""
        width = max(len(name) for name in self.studies)
        return "\n".join(
            f"{name:{width}}  {len(self.configurations(name)):4d} runs  {study.about}"
            for name, study in self.studies.items()
        )


class Studies(StudyFile):
    """The studies of `workflow/studies.yaml` or a file like it, by name."""

    studies: Annotated[dict[StudyName, Study], Field(min_length=1)]

    def configurations(self, study: str) -> list[RunConfig]:
        """Return those of every run of a study, each once, in the order of the file.

        Raises:
            InputError: unknown study, a combination that `RunConfig` refuses, or too many runs.
        """
        if study not in self.studies:
            raise InputError(f"study is {study!r}, but must be one of {', '.join(self.studies)}")
        blocks = self.studies[study].runs
        count = sum(len(b.presets) * len(b.methods) * len(b.seeds) * len(b.variants) for b in blocks)
        if count > MOST_RUNS:
            raise InputError(f"study {study!r} has {count} runs, but at most {MOST_RUNS} are allowed")
        found = {}
        for block in blocks:
            for preset in block.presets:
                for variant in block.variants:
                    for seed, other in zip(block.seeds, [*block.seeds[1:], block.seeds[0]], strict=True):
                        overrides = {name: _filled(value, seed, other) for name, value in variant.items()}
                        for method in block.methods:
                            config = configure(preset, method, seed, overrides)
                            found[run_name(config)] = config
        return list(found.values())


def _filled(value: Any, seed: int, other: int) -> Any:
    if not isinstance(value, str):
        return value
    return value.replace("{seed}", str(seed)).replace("{other}", str(other))


@dataclass(frozen=True)
class Progress:
    """One run of a study: its folder's name, and how far it is."""

    name: str
    config: RunConfig
    status: Literal["done", "diverged", "under way", "interrupted", "missing", "other"]
    remark: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether there is anything to do."""
        return self.status in ("interrupted", "missing")


def progress(configurations: Iterable[RunConfig], output_dir: Path) -> list[Progress]:
    """Return how far each run is. "other": the folder holds a record of another configuration, or a damaged one."""
    return [_progress(config, output_dir) for config in configurations]


def _progress(config: RunConfig, output_dir: Path) -> Progress:
    name = run_name(config)
    folder = output_dir / name
    try:
        record = json.loads((folder / "record.json").read_bytes())
        status, given, made_by = record["status"], record["config"], record["provenance"]["source_sha256"]
        record["metrics"]["last_accuracy"]
    except FileNotFoundError:
        if is_being_written(folder):
            return Progress(name, config, "under way")
        begun = folder.is_dir() and any(folder.glob("checkpoint-*.safetensors"))
        return Progress(name, config, "interrupted" if begun else "missing")
    except OSError as error:
        return Progress(name, config, "other", f"record.json cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError, RecursionError):
        return Progress(name, config, "other", "record.json is damaged, or of another version")
    wanted = config.model_dump(mode="json")
    if not isinstance(given, dict) or any(given.get(field, value) != value for field, value in wanted.items()):
        return Progress(name, config, "other", "the record of another configuration")
    remark = "" if same_source(str(made_by), source_digest()) else "by another version of the library"
    return Progress(name, config, "diverged" if status == "diverged" else "done", remark, record)


COLUMNS = {
    "metrics": ("last_accuracy", "best_accuracy", "clean_accuracy", "train_accuracy", "resets", "cycles"),
    "provenance": ("training_seconds", "images_per_second", "resumes", "device", "git_revision"),
}


def write_table(runs: Iterable[Progress], path: Path) -> None:
    """Write one row a run, as CSV: its name, status, accuracies, time, device and revision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *(name for names in COLUMNS.values() for name in names)])
    for run in runs:
        values = [run.record.get(part, {}).get(name) for part, names in COLUMNS.items() for name in names]
        writer.writerow([run.name, run.status, *("" if value is None else value for value in values)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def run_arguments(config: RunConfig, *more: str) -> str:
    """Return `run ...`, what the command `sparsecycle` is given, and `more` words, as a shell takes it."""
    words = ["run", "--preset", config.preset, "--method", config.method, "--seed", str(config.seed)]
    for name, value in config.given().items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    return shlex.join([*words, *more])


def jobs(
    runs: Iterable[Progress], output_dir: Path, data_dir: str | Path | None = None, device: str = "auto"
) -> list[Job]:
    """Return for `launch` the runs of a study that there is something to do for."""
    return [
        Job(
            run.name,
            partial(_make, run.config, output_dir, data_dir, device),
            weight=run.config.steps * run.config.batch_size * (run.config.depth - 4) * run.config.width**1.5,
            after=frozenset([f"{run.config.preset}/{run.config.path_from}"] if run.config.path_from else []),
        )
        for run in runs
        if run.open
    ]


def _make(config: RunConfig, output_dir: Path, data_dir: str | Path | None, device: str, tell: Tell) -> str:
    from sparsecycle.runs.execute import train  # torch is not needed to list studies

    return train(config, data_dir=data_dir, output_dir=output_dir, device=device, progress=tell).summary()
