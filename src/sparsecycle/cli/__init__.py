"""The command line, thin: `sparsecycle run`, `grid`, `measure`, `compare`, `verify` and the others.

A user's mistake ends with one sentence on standard error and exit status 2, a signal with 128 and its number.
"""

import argparse
import logging
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sparsecycle.controllers import CONTROLLERS
from sparsecycle.errors import InputError
from sparsecycle.cli.set_commands import add_commands

if TYPE_CHECKING:
    import pandas as pd


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        options = _parser().parse_args(arguments)
        status: int = options.command(options)
        return status
    except InputError as error:
        print(f"sparsecycle: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        print(f"sparsecycle: {error.strerror or error}{place}; what was recorded is whole", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("\nsparsecycle: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 128 + int(getattr(stop, "number", signal.SIGINT))


class _Parser(argparse.ArgumentParser):
    """Mistakes in one sentence, as everywhere else, instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sparsecycle", description="Train and compare networks under cycling activation budgets.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train one network, or go on where it stopped")
    run.add_argument("--preset", default="quick", help="smoke, quick, ablation, classroom or paper (default: quick)")
    run.add_argument("--method", required=True, help=f"one of {', '.join(CONTROLLERS)}")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="FIELD=VALUE",
        help="override a field of the configuration; may be given several times",
    )  # fmt: skip
    run.add_argument("--output-dir", default="runs", help="folder of runs (default: runs)")
    _add_data_dir(run)
    run.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    run.add_argument("--no-progress", action="store_true", help="no progress bar")
    run.add_argument(
        "--checkpoint-minutes", type=float, default=5.0, metavar="M",
        help="longest time between two checkpoints (default: 5); there is one after each period besides",
    )  # fmt: skip
    run.add_argument(
        "--resume-changed", action="store_true",
        help="go on from a checkpoint of another configuration, source or data; the record says so",
    )  # fmt: skip
    run.set_defaults(command=_run)

    watch = commands.add_parser("watch", help="follow runs that are under way, period by period, until all have ended")
    watch.add_argument("folder", help="of a run, or of runs")
    watch.set_defaults(command=_watch)

    grid = commands.add_parser("grid", help="runs of a study: done, under way, interrupted, missing")
    grid.add_argument("study", nargs="?", help="a name in the grid file; without one, the studies are listed")
    grid.add_argument("--file", default="workflow/grid.yaml", help="grid file (default: workflow/grid.yaml)")
    grid.add_argument("--output-dir", default="runs", help="folder of runs (default: runs)")
    grid.add_argument(
        "--commands", action="store_true", help="print only the commands of what is not done, for xargs and the like"
    )
    grid.add_argument("--table", metavar="FILE", help="write a CSV file with a row a run")
    grid.set_defaults(command=_grid)

    merge = commands.add_parser("merge", help="copy finished runs of other machines into a folder of runs")
    merge.add_argument("sources", nargs="+", help="folders of runs to copy from")
    merge.add_argument("--into", default="runs", help="folder of runs to copy to (default: runs)")
    merge.set_defaults(command=_merge)

    export = commands.add_parser("export", help="write a run as one JSON file, for the playground or other programs")
    export.add_argument("folder", help="of the run")
    export.add_argument("--into", metavar="FILE", help="file to write (default: run.json in the folder)")
    export.set_defaults(command=_export)

    evaluate = commands.add_parser("evaluate", help="measure a trained network at any budgets")
    evaluate.add_argument("folder", help="a run's folder with record.json and model.safetensors")
    evaluate.add_argument("--weights", help="another file of weights (.safetensors)")
    evaluate.add_argument("--budgets", type=float, nargs="+", metavar="R", help="default: those of the run")
    _add_data_dir(evaluate)
    evaluate.set_defaults(command=_evaluate)

    measure = commands.add_parser("measure", help="measure finished runs: compressed, disturbed, layer by layer")
    measure.add_argument("folders", nargs="+", help="folders of runs with record.json and model.safetensors")
    measure.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    _add_data_dir(measure)
    measure.set_defaults(command=_measure)

    add_commands(commands)

    data = commands.add_parser("data", help="get and check the images")
    actions = data.add_subparsers(title="actions", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download CIFAR-10 once, checked")
    fetch.add_argument("name", choices=["cifar10"])
    fetch.add_argument("--source", default="auto", help="packs, official, mirror or auto (default)")
    _add_data_dir(fetch)
    fetch.set_defaults(command=_fetch)
    pack = actions.add_parser("pack", help="write CIFAR-10 as two files of 50 MB, for a machine without network")
    pack.add_argument("--into", required=True, help="folder for the packs")
    _add_data_dir(pack)
    pack.set_defaults(command=_pack)
    check = actions.add_parser("check", help="check stored images against the pinned sums")
    _add_data_dir(check)
    check.set_defaults(command=_check)

    compare = commands.add_parser("compare", help="table of runs, and the verdict on each claim")
    compare.add_argument("folders", nargs="*", help="folders of runs (default: data/runs of the checkout)")
    compare.add_argument("--preset", default="quick", help="preset whose claims are judged (default: quick)")
    compare.add_argument("--no-claims", action="store_true", help="only the table of runs")
    compare.add_argument(
        "--against", metavar="METHOD", help="score the runs against the recorded ones of this method, seed by seed"
    )
    compare.set_defaults(command=_compare)

    verify = commands.add_parser("verify", help="recompute recorded numbers from stored predictions")
    verify.add_argument(
        "folders", nargs="*", help="folders of runs (default: data/runs and data/search of the checkout)"
    )
    _add_data_dir(verify)
    verify.set_defaults(command=_verify)
    return parser


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", help="folder of the images (default: SPARSECYCLE_DATA_DIR, else data/)")


def _run(options: argparse.Namespace) -> int:
    from sparsecycle.config import configure, parse_setting
    from sparsecycle.runs.folders import run_folder
    from sparsecycle.runs.execute import train

    overrides = dict(parse_setting(text) for text in options.settings)
    config = configure(options.preset, options.method, options.seed, overrides)
    folder = run_folder(config, Path(options.output_dir))
    finished = (folder / "record.json").exists()
    record = train(
        config,
        data_dir=options.data_dir,
        output_dir=options.output_dir,
        device=options.device,
        progress=not options.no_progress,
        checkpoint_minutes=options.checkpoint_minutes,
        resume_changed=options.resume_changed,
    )
    print(record.summary())
    print(f"{'already finished, read from' if finished else 'written:'} {folder}/")
    return 0


def _watch(options: argparse.Namespace) -> int:
    from sparsecycle.watching import follow

    for line in follow(Path(options.folder)):
        print(line, flush=True)
    return 0


def _grid(options: argparse.Namespace) -> int:
    from sparsecycle.runs.grid import Grid, progress, write_table

    grid = Grid.read(Path(options.file))
    if options.study is None:
        print(grid.describe())
        return 0
    runs = progress(grid.configurations(options.study), Path(options.output_dir))
    if options.table:
        write_table(runs, Path(options.table))
    if options.commands:
        print("".join(f"{_program()} {run.arguments}\n" for run in runs if run.open), end="")
        return 0
    for run in runs:
        print(f"{run.status:12} {run.name}{f'  ({run.remark})' if run.remark else ''}")
    counts = Counter(run.status for run in runs)
    print(f"{options.study}: {len(runs)} runs, " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if counts["other"] else 0


def _program() -> str:
    """The words of a shell that call this command as it was called now."""
    called = sys.argv[0]
    return shlex.join([called] if Path(called).stem == "sparsecycle" else [sys.executable, "-m", "sparsecycle.cli"])


def _merge(options: argparse.Namespace) -> int:
    from sparsecycle.runs.merging import merge

    outcome = merge([Path(source) for source in options.sources], Path(options.into))
    for name, reason in outcome.left.items():
        print(f"{name} is left alone: {reason}", file=sys.stderr)
    print(f"{len(outcome.copied)} copied, {len(outcome.same)} there already, {len(outcome.left)} left alone")
    return 1 if outcome.left else 0


def _export(options: argparse.Namespace) -> int:
    from sparsecycle.exporting import export_run

    print(f"written: {export_run(options.folder, options.into)}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from sparsecycle.trainer import load_images
    from sparsecycle.config import RunConfig
    from sparsecycle.evaluation.accuracy import evaluate
    from sparsecycle.runs.networks import load_model
    from sparsecycle.runs.records import RunRecord

    folder = Path(options.folder)
    config = RunConfig(**RunRecord.read(folder).config)
    budgets = options.budgets or list(config.budgets)
    for budget in budgets:
        if not 0 < budget <= 1:
            raise InputError(f"budget is {budget}, but must lie in (0, 1]: a share of the activations")
    if not options.weights and not (folder / "model.safetensors").exists():
        raise InputError(
            f"{folder} has no model.safetensors: give a file with --weights (data/checkpoints has some), "
            "or make the run again"
        )
    model = load_model(options.weights or folder, config)
    data = load_images(config, options.data_dir)
    print("budget  accuracy    loss")
    for budget in budgets:
        result = evaluate(model, data.test_images, data.test_labels, budget)
        print(f"{budget:6.3f}  {result.accuracy:8.4f}  {result.loss:6.3f}")
    return 0


def _measure(options: argparse.Namespace) -> int:
    from sparsecycle.runs.measure import measure_runs
    from sparsecycle.runs.execute import resolve_device

    names = []
    for name, done in measure_runs(*options.folders, data_dir=options.data_dir, device=resolve_device(options.device)):
        names.append(name)
        print(f"{name}: {done}", flush=True)
    if not names:
        raise InputError("no finished run in these folders: make one with `sparsecycle run --method dense`")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from sparsecycle.data.cifar10 import fetch_cifar10

    print(f"CIFAR-10 is in {fetch_cifar10(options.source, options.data_dir)}")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from sparsecycle.packs import write_packs
    from sparsecycle.data.storage import fetch_cifar10

    for path in write_packs(fetch_cifar10("auto", options.data_dir), Path(options.into)):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _check(options: argparse.Namespace) -> int:
    from sparsecycle.data.cifar10 import data_folder, load_cifar10

    embedded = load_cifar10("embedded", options.data_dir)
    print(f"{embedded.name}: {len(embedded.train_images)} + {len(embedded.test_images)} images, sums as pinned")
    if (data_folder(options.data_dir) / "cifar10").is_dir():
        full = load_cifar10("auto", options.data_dir)
        print(f"{full.name}: {len(full.train_images)} + {len(full.test_images)} images, sums as pinned")
    else:
        print("cifar10: not there (get it with: sparsecycle data fetch cifar10)")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from sparsecycle.config import PRESETS
    from sparsecycle.runs.records import load_runs
    from sparsecycle.analysis.statistics import verdict_table

    if options.preset not in PRESETS:
        raise InputError(f"preset is {options.preset!r}, but must be one of {', '.join(PRESETS)}")
    runs = load_runs(*options.folders)
    if runs.empty:
        raise InputError("no finished run in these folders: make one with `sparsecycle run --method dense`")
    columns = [
        "preset",
        "method",
        "seed",
        "variant",
        "status",
        "test_accuracy",
        "train_accuracy",
        "wall_seconds",
    ]
    print(runs[columns].to_string(index=False, float_format="{:.4f}".format))
    if options.folders:
        _print_placement(runs)
    if options.against:
        _print_score(options.folders, options.against)
        return 0
    if options.no_claims:
        return 0
    table = verdict_table(runs, options.preset)
    shown = table[table["verdict"] != "not measured"]
    columns = ["claim", "comparison", "measure", "mean", "low", "high", "seeds", "verdict"]
    print(f"\nClaims at preset {options.preset} ({len(table) - len(shown)} comparisons not measured):")
    if not shown.empty:
        print(shown[columns].to_string(index=False, float_format="{:.4f}".format))
    return 0


def _print_placement(runs: "pd.DataFrame") -> None:
    from sparsecycle.analysis.placement import placement
    from sparsecycle.runs.records import load_runs

    table = placement(runs, load_runs())
    if not table.empty:
        print("\nAmong the recorded runs of the same configuration (lowest, mean and highest of their seeds):")
        print(table.to_string(index=False, float_format="{:.4f}".format))


def _print_score(folders: Sequence[str], against: str) -> None:
    from sparsecycle_book.course.scoring import score

    table = score(folders, against)
    print(f"\nTest accuracy less that of the recorded {against} runs of the same seeds:")
    print(table.to_string(index=False, float_format="{:+.4f}".format))


def _verify(options: argparse.Namespace) -> int:
    from sparsecycle.runs.provenance import CHECKOUT
    from sparsecycle.set_mlp.verification import verify_set_runs
    from sparsecycle.analysis.verification import verify_claims, verify_runs

    shipped = (CHECKOUT / "data" / name for name in ("runs", "search"))
    folders = options.folders or [folder for folder in shipped if folder.is_dir()]
    if not folders:
        raise InputError("no checkout with data/runs is around this library: give a folder of runs")
    runs, faults = [], 0
    for run in verify_runs(*folders, data_dir=options.data_dir):
        runs.append(run)
        faults += _tell_verified(run.name, run.checked, run.problems)
    others = [_tell_verified(*found) for found in verify_set_runs(*folders, data_dir=options.data_dir)]
    if not runs and not others:
        raise InputError("no finished run in these folders: make one with `sparsecycle run --method dense`")
    if runs:
        faults += _tell_verified("tables of claims, baselines and ablations", *verify_claims(runs, *folders))
        print(
            "Taken as recorded, because no prediction gives them: training times, and train accuracies where a run was "
            "not measured. The best accuracy of a run is that of its epochs."
        )
    return 1 if faults + sum(others) else 0


def _tell_verified(name: str, checked: int, problems: Sequence[str]) -> int:
    print(f"{name}: {'; '.join(problems) if problems else f'{checked} numbers recomputed, all equal'}")
    return len(problems)


if __name__ == "__main__":
    sys.exit(main())
