"""The command line, thin: `sparsecycle run / data / study / gpu / measure / compare / verify / ...`.

A user's mistake ends with one sentence on standard error and exit status 2, a signal with 128 and its number, a reader
that went away (`| head`) in silence.
"""

import argparse
import logging
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sparsecycle.cli import data_commands, set_commands
from sparsecycle.cli.arguments import (
    add_data_dir,
    add_no_progress,
    add_output_dir,
    file_of_studies,
    whole,
    whole_or_auto,
)
from sparsecycle.controllers import CONTROLLERS
from sparsecycle.errors import InputError
from sparsecycle.files import expanded

if TYPE_CHECKING:
    import pandas as pd

    from sparsecycle.config import RunConfig

FILE = "workflow/studies.yaml"
FEW_STEPS = 2000  # of all runs together: measuring how to make them takes longer than it saves


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    _open_what_is_closed()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        try:
            options = parser().parse_args(arguments)
            status: int = options.command(options)
            return status
        finally:
            sys.stdout.flush()
    except InputError as error:
        _tell(f"sparsecycle: {error}")
        return 2
    except BrokenPipeError:
        return 128 + 13  # as if SIGPIPE had ended it
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        _tell(f"sparsecycle: {error.strerror or error}{place}; what was recorded is whole")
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "sparsecycle"):
            raise
        _tell(f"sparsecycle: this command needs {error.name}, which is not installed: {_extra(error.name)}")
        return 2
    except KeyboardInterrupt as stop:
        _tell("\nsparsecycle: interrupted; the same command goes on where this one stopped")
        return 128 + int(getattr(stop, "number", signal.SIGINT))
    finally:
        _forget_what_nobody_takes()


def _tell(text: str) -> None:
    """Print to standard error, where that can be written."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _forget_what_nobody_takes() -> None:
    """Put the null device where a standard stream is broken: Python would complain of it when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_what_is_closed() -> None:
    """Put the null device where a standard stream was closed (`2>&-`): the next file opened would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                null = os.open(os.devnull, os.O_RDWR)
                if null != number:
                    os.dup2(null, number)
                    os.close(null)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _extra(module: str | None) -> str:
    """Return how to install a package that an optional part needs."""
    name = (module or "").partition(".")[0]
    extras = {"numba": "companion", "sklearn": "companion", "joblib": "companion", "snakemake": "grid"}
    packages = {"PIL": "pillow", "yaml": "pyyaml"}  # those that are not called what they are imported as
    return f"pip install 'sparsecycle[{extras[name]}]'" if name in extras else f"pip install {packages.get(name, name)}"


class _Parser(argparse.ArgumentParser):
    """Mistakes in one sentence, as everywhere else, instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command; it raises `InputError` at a line that it cannot read."""
    parser = _Parser(prog="sparsecycle", description="Train and compare networks under cycling activation budgets.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train one network, or go on where it stopped")
    run.add_argument("--preset", default="quick", help="smoke, quick, classroom, paper100 or paper (default: quick)")
    run.add_argument("--method", required=True, help=f"one of {', '.join(CONTROLLERS)}")
    run.add_argument("--seed", type=whole, default=0)
    run.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="FIELD=VALUE",
        help="override a field of the configuration; may be given several times",
    )  # fmt: skip
    add_output_dir(run)
    add_data_dir(run)
    run.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    add_no_progress(run)
    _add_checkpoint_minutes(run, 5)
    run.set_defaults(command=_run)

    data_commands.add_commands(commands)

    study = commands.add_parser("study", help="make the runs of a study that are missing, side by side")
    study.add_argument("study", nargs="?", help="a name in the file of studies; without one, the studies are listed")
    study.add_argument("--file", default=FILE, help=f"file of studies (default: {FILE})")
    add_output_dir(study)
    add_data_dir(study)
    study.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    study.add_argument(
        "--jobs", type=whole_or_auto, default="auto", help="runs at a time, one thread each (default: measured)"
    )
    add_no_progress(study)
    study.add_argument("--status", action="store_true", help="train nothing, tell how far each run is")
    study.add_argument(
        "--commands", action="store_true", help="train nothing, print the commands of what is not done, for a cluster"
    )
    study.add_argument("--table", metavar="FILE", help="write a CSV file with a row a run")
    study.set_defaults(command=_study)

    gpu = commands.add_parser(
        "gpu", help="on a GPU rented by the minute: check it, train what a study misses, pack it up"
    )
    gpu.add_argument("--study", default="paper100", help="a name in the file of studies (default: paper100)")
    gpu.add_argument("--minutes", type=float, required=True, help="when to be done, saving and packing included")
    gpu.add_argument("--into", required=True, help="folder for the report and for what is to be carried away, in parts")
    gpu.add_argument("--look", action="store_true", help="check and time only; the images need not be there yet")
    gpu.add_argument("--most-mb", type=float, default=60.0, help="size of all parts (default: 60); weights come last")
    _add_checkpoint_minutes(gpu, 1)
    gpu.add_argument("--file", default=FILE, help=f"file of studies (default: {FILE})")
    add_output_dir(gpu)
    add_data_dir(gpu)
    gpu.add_argument("--device", default="cuda", help="cuda (default), or cpu for a rehearsal")
    gpu.set_defaults(command=_gpu)

    measure = commands.add_parser("measure", help="measure finished runs: compressed, disturbed, layer by layer")
    measure.add_argument("folders", nargs="+", help="folders of runs with record.json and model.safetensors")
    measure.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    add_data_dir(measure)
    add_no_progress(measure)
    measure.set_defaults(command=_measure)

    compare = commands.add_parser("compare", help="table of runs, and the verdict on each claim")
    compare.add_argument("folders", nargs="*", help="folders of runs (default: data/runs of the checkout)")
    compare.add_argument("--preset", help="whose claims are judged (default: the largest with runs enough)")
    compare.add_argument("--no-claims", action="store_true", help="only the table of runs")
    compare.set_defaults(command=_compare)

    verify = commands.add_parser("verify", help="recompute recorded numbers from what the runs stored")
    verify.add_argument("folders", nargs="*", help="folders of runs (default: all that the checkout has recorded)")
    add_data_dir(verify)
    add_no_progress(verify)
    verify.set_defaults(command=_verify)

    merge = commands.add_parser("merge", help="copy finished runs of other machines into a folder of runs")
    merge.add_argument("sources", nargs="+", help="folders of runs to copy from")
    merge.add_argument("--into", default="runs", help="folder of runs to copy to (default: runs)")
    merge.set_defaults(command=_merge)

    evaluate = commands.add_parser("evaluate", help="accuracy of a trained network at any keep-ratios")
    evaluate.add_argument("folder", help="a run's folder with record.json and model.safetensors")
    evaluate.add_argument("--weights", help="another file of weights (.safetensors)")
    evaluate.add_argument("--budgets", type=float, nargs="+", metavar="R", help="default: those of the run")
    add_data_dir(evaluate)
    evaluate.set_defaults(command=_evaluate)

    set_commands.add_commands(commands)
    return parser


def _add_checkpoint_minutes(parser: argparse.ArgumentParser, default: float) -> None:
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=default,
        metavar="M",
        help=f"time between two checkpoints (default: {default:g})",
    )


def _run(options: argparse.Namespace) -> int:
    from sparsecycle.config import configure, parse_setting
    from sparsecycle.runs.execute import train
    from sparsecycle.runs.folders import folder_of, run_folder

    overrides = dict(parse_setting(text) for text in options.settings)
    config = configure(options.preset, options.method, options.seed, overrides)
    folder = run_folder(config, folder_of("output_dir", options.output_dir))
    finished = (folder / "record.json").exists()
    record = train(
        config,
        data_dir=options.data_dir,
        output_dir=options.output_dir,
        device=options.device,
        progress=not options.no_progress,
        checkpoint_minutes=options.checkpoint_minutes,
    )
    print(record.summary())
    print(f"{'already finished, read from' if finished else 'written:'} {folder}/")
    return 0


def _study(options: argparse.Namespace) -> int:
    from sparsecycle.runs.folders import folder_of
    from sparsecycle.runs.launch import launch
    from sparsecycle.runs.studies import Studies, jobs, progress, run_arguments, write_table

    studies = Studies.read(file_of_studies(options.file, FILE))
    if options.study is None:
        print(studies.describe())
        return 0
    output_dir = folder_of("output_dir", options.output_dir)
    configurations = studies.configurations(options.study)
    runs = progress(configurations, output_dir)
    if options.table and (options.status or options.commands):
        write_table(runs, expanded(options.table))
    if options.commands:
        places = ["--output-dir", str(output_dir), *(["--data-dir", options.data_dir] if options.data_dir else [])]
        places += [] if options.device == "auto" else ["--device", options.device]
        for run in runs:
            if run.open:
                print(_program(), run_arguments(run.config, *places))
        return 0
    if options.status:
        for run in runs:
            print(f"{run.status:12} {run.name}{f'  ({run.remark})' if run.remark else ''}")
        counts = Counter(run.status for run in runs)
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        print(f"{options.study}: {len(runs)} runs, {told}")
        return 1 if counts["other"] else 0
    launched = launch(
        jobs(runs, output_dir, options.data_dir, options.device),
        _at_once([run.config for run in runs if run.open], options.device) if options.jobs == "auto" else options.jobs,
        title=options.study,
        progress=not options.no_progress,
    )
    if options.table:
        write_table(progress(configurations, output_dir), expanded(options.table))
    elsewhere = [run.name for run in runs if run.status == "under way"]
    blocked = [run for run in runs if run.status == "other"]
    for run in blocked:
        print(f"{run.name} is left alone: its folder holds {run.remark}", file=sys.stderr)
    done = sum(run.status in ("done", "diverged") for run in runs)
    parts = [f"{len(runs)} runs", *([f"{done} there before"] if done else []), launched.summary()]
    parts += [f"{len(elsewhere)} under way in other processes"] if elsewhere else []
    parts += [f"{len(blocked)} left alone"] if blocked else []
    print(f"{options.study}: {', '.join(parts)}")
    return launched.status or (1 if elsewhere or blocked else 0)


def _at_once(missing: "Sequence[RunConfig]", device: str) -> int:
    """Return how many runs to make at a time: on a CPU what is faster in all, measured where that is worth the wait."""
    from sparsecycle.runs.execute import resolve_device
    from sparsecycle.runs.side_by_side import best_at_once

    if resolve_device(device) == "cuda" or sum(config.steps for config in missing) < FEW_STEPS:
        return 1
    best, rates = best_at_once(missing[0], len(missing))
    told = ", ".join(f"{rate:,.0f} images/s with {count} at a time" for count, rate in rates.items())
    print(f"{best} run{'s' if best > 1 else ''} at a time, as measured: {told}", flush=True)
    return best


def _gpu(options: argparse.Namespace) -> int:
    from sparsecycle.runs.folders import folder_of
    from sparsecycle.runs.rental import rent
    from sparsecycle.runs.studies import Studies

    configs = Studies.read(file_of_studies(options.file, FILE)).configurations(options.study)
    report = rent(
        configs,
        minutes=options.minutes,
        into=folder_of("into", options.into),
        data_dir=options.data_dir,
        output_dir=folder_of("output_dir", options.output_dir),
        device=options.device,
        most_mb=options.most_mb,
        checkpoint_minutes=options.checkpoint_minutes,
        look_only=options.look,
        say=partial(print, flush=True),
    )
    print(f"written: {report}")
    return 0


def _program() -> str:
    """Return the words of a shell that call this command as it was called now."""
    called = sys.argv[0]
    return shlex.join([called] if Path(called).stem == "sparsecycle" else [sys.executable, "-m", "sparsecycle.cli"])


def _merge(options: argparse.Namespace) -> int:
    from sparsecycle.runs.folders import folder_of
    from sparsecycle.runs.merging import merge

    outcome = merge([folder_of("source", source) for source in options.sources], folder_of("into", options.into))
    for name, reason in outcome.left.items():
        print(f"{name} is left alone: {reason}", file=sys.stderr)
    print(f"{len(outcome.copied)} copied, {len(outcome.same)} there already, {len(outcome.left)} left alone")
    return 1 if outcome.left else 0


def _evaluate(options: argparse.Namespace) -> int:
    from sparsecycle.config import RunConfig
    from sparsecycle.data.cifar10 import load_images
    from sparsecycle.evaluation.accuracy import evaluate
    from sparsecycle.runs.folders import folder_of
    from sparsecycle.runs.networks import load_model
    from sparsecycle.runs.records import RunRecord

    folder = folder_of("folder", options.folder)
    config = RunConfig(**RunRecord.read(folder).config)
    budgets = options.budgets or list(config.budgets)
    for budget in budgets:
        if not 0 < budget <= 1:
            raise InputError(f"budget is {budget}, but must lie in (0, 1]: a share of the activations")
    model = load_model(options.weights or folder, config)
    data = load_images(config, options.data_dir)
    if not len(data.test_labels):
        raise InputError(f"{folder} is a run that looks at no test image: there is nothing to evaluate on")
    print("keep-ratio  accuracy    loss")
    for budget in budgets:
        result = evaluate(model, data.test_images, data.test_labels, budget)
        print(f"{budget:10.3f}  {result.accuracy:8.4f}  {result.loss:6.3f}")
    return 0


def _measure(options: argparse.Namespace) -> int:
    from sparsecycle.progress import progress_bar, say
    from sparsecycle.runs.execute import resolve_device
    from sparsecycle.runs.folders import files_below
    from sparsecycle.runs.measure import measure_runs

    device, outcomes = resolve_device(options.device), []
    total = sum(1 for _ in files_below("record.json", *options.folders))
    with progress_bar(shown=not options.no_progress, total=total, desc="measure", unit="run") as bar:
        for name, done in measure_runs(*options.folders, data_dir=options.data_dir, device=device):
            outcomes.append(done)
            say(f"{name}: {done}")
            bar.update()
    if not outcomes:
        raise InputError("no finished run in these folders: make one with `sparsecycle run --method dense`")
    print(f"runs: {len(outcomes)}, measured now: {sum(done.startswith('measured in') for done in outcomes)}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from sparsecycle.analysis.verdicts import readable_verdicts, verdict_table
    from sparsecycle.config import PRESETS
    from sparsecycle.runs.records import load_runs

    if options.preset is not None and options.preset not in PRESETS:
        raise InputError(f"preset is {options.preset!r}, but must be one of {', '.join(PRESETS)}")
    runs = load_runs(*options.folders)
    if runs.empty:
        raise InputError("no finished run in these folders: make one with `sparsecycle run --method dense`")
    columns = ["preset", "method", "seed", "variant", "status", "last_accuracy", "best_accuracy", "clean_accuracy"]
    columns += ["train_accuracy", "resets", "cycles", "training_seconds"]
    print(runs[columns].to_string(index=False, float_format="{:.4f}".format))
    if options.folders:
        _print_placement(runs)
    if options.no_claims:
        return 0
    table = verdict_table(runs, options.preset)
    shown = table[table["verdict"] != "not measured"]
    print(f"\nClaims at preset {table['preset'].iloc[0]} ({len(table) - len(shown)} comparisons not measured):")
    if not shown.empty:
        print(readable_verdicts(shown).to_string(index=False))
    return 0


def _print_placement(runs: "pd.DataFrame") -> None:
    """Where there is a checkout: its recorded runs of the same configuration, for comparison."""
    from sparsecycle.analysis.placement import placement
    from sparsecycle.runs.records import load_runs

    try:
        recorded = load_runs()
    except InputError:
        return
    table = placement(runs, recorded)
    if not table.empty:
        print("\nAmong the recorded runs of the same configuration (lowest, mean and highest of their seeds):")
        print(table.to_string(index=False, float_format="{:.4f}".format))


def _verify(options: argparse.Namespace) -> int:
    from sparsecycle.analysis.verification import AS_RECORDED, VerifiedRun, verify_claims, verify_runs
    from sparsecycle.progress import progress_bar
    from sparsecycle.runs.folders import files_below, recorded

    folders = options.folders or recorded("runs", "pilot", "search", "precision")
    places, companion = (
        [path.parent for path, _ in files_below(name, *folders)] for name in ("record.json", "set.parquet")
    )
    runs: list[VerifiedRun] = []
    others: list[VerifiedRun] = []
    tables = []
    total = len(places) + len(companion)
    with progress_bar(shown=not options.no_progress, total=total, desc="verify", unit="folder") as bar:
        for run in verify_runs(*folders):
            runs.append(run)
            bar.update()
        tables.append(VerifiedRun("tables of claims", *verify_claims(runs)))
        if companion:
            from sparsecycle.set_mlp.verification import verify_set_claims, verify_set_runs  # needs its packages

            for place in companion:
                others += verify_set_runs(place, data_dir=options.data_dir)
                bar.update()
            tables.append(VerifiedRun("tables of the companion's claims", *verify_set_claims(others)))
    if not runs and not others:
        raise InputError("no finished run in these folders: make one with `sparsecycle run --method dense`")
    found = [*runs, *others, *tables]
    for one in found:
        if one.problems:
            print(f"{one.name}: {'; '.join(one.problems)}")
    faults = sum(len(one.problems) for one in found)
    told = f"problems: {faults}, named above" if faults else "all equal"
    count = f"runs: {len(runs) + len(others)}, numbers recomputed: {sum(one.checked for one in found)}"
    print(f"{count}, {told}; taken as recorded: {', '.join(AS_RECORDED)}")
    return 1 if faults else 0
