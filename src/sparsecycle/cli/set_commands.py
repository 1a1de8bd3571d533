"""`sparsecycle set run / study / compare / fetch`: the command line of the companion study, thin."""

import argparse
import sys
from typing import Any

from sparsecycle.cli.arguments import add_data_dir, add_no_progress, add_output_dir, file_of_studies, whole
from sparsecycle.errors import InputError

STUDIES = "workflow/set.yaml"
HOLDS = "that holds feature_selection"


def add_commands(commands: Any) -> None:
    """Add `set` and its actions to the command line."""
    group = commands.add_parser("set", help="the companion study: sparse evolutionary training of MLPs")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")

    run = actions.add_parser("run", help="train one network")
    run.add_argument(
        "--dataset",
        required=True,
        help="digits, breast_cancer, one of the collection (see `set fetch`), or a .mat file with X and Y",
    )
    run.add_argument("--method", required=True, help="dense, static, set or set_pruned")
    run.add_argument("--arm", default="authors", help="authors (default), authors_2018 or tuned: whose settings")
    run.add_argument("--seed", type=whole, default=0, help="default: 0")
    run.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="FIELD=VALUE", help="override a setting"
    )
    add_output_dir(run)
    add_no_progress(run)
    add_data_dir(run, HOLDS)
    run.set_defaults(command=_run)

    study = actions.add_parser("study", help="make the runs of a study that are missing")
    study.add_argument("study", nargs="?", help="a name in the file; without one, the studies are listed")
    study.add_argument("--file", default=STUDIES, help=f"file of studies (default: {STUDIES})")
    add_output_dir(study)
    study.add_argument("--jobs", type=whole, default=1, help="runs at a time, one thread each (default: 1)")
    add_no_progress(study)
    add_data_dir(study, HOLDS)
    study.set_defaults(command=_study)

    compare = actions.add_parser("compare", help="mean accuracy by dataset and method, and the verdicts")
    compare.add_argument("folders", nargs="*", help="folders of runs (default: data/runs of the checkout)")
    compare.set_defaults(command=_compare)

    fetch = actions.add_parser("fetch", help="download datasets of the collection once, checked")
    fetch.add_argument("names", nargs="*", help="default: the 15 of the study")
    add_data_dir(fetch, HOLDS)
    fetch.set_defaults(command=_fetch)


def _run(options: argparse.Namespace) -> int:
    from sparsecycle.config import parse_setting
    from sparsecycle.data.tabular import load_dataset
    from sparsecycle.runs.folders import folder_of
    from sparsecycle.set_mlp.config import configure_set
    from sparsecycle.set_mlp.records import FILE, find_record, set_run_name
    from sparsecycle.set_mlp.training import train_set

    overrides = dict(parse_setting(text) for text in options.settings)
    config = configure_set(options.dataset, options.method, options.arm, options.seed, overrides)
    dataset = load_dataset(options.dataset, options.data_dir)
    output_dir = folder_of("output_dir", options.output_dir)
    finished = find_record(output_dir, set_run_name(config)) is not None
    record = train_set(config, dataset=dataset, output_dir=output_dir, progress=not options.no_progress)
    print(record.summary())
    place = (output_dir / record.name()).parent / FILE
    print(f"{'already finished, read from' if finished else 'written to'} {place}")
    return 0


def _study(options: argparse.Namespace) -> int:
    from sparsecycle.runs.folders import folder_of
    from sparsecycle.runs.launch import launch
    from sparsecycle.set_mlp.study import SetStudies, missing_runs

    studies = SetStudies.read(file_of_studies(options.file, STUDIES))
    if options.study is None:
        print(studies.describe())
        return 0
    configurations = studies.configurations(options.study)
    jobs, taken = missing_runs(configurations, folder_of("output_dir", options.output_dir), options.data_dir)
    for name in taken:
        print(f"{name} is left alone: its folder holds the record of another configuration", file=sys.stderr)
    launched = launch(
        *(jobs, options.jobs),
        title=options.study,
        progress=not options.no_progress,
        preload=("sparsecycle.set_mlp.training",),
    )
    before = len(configurations) - len(jobs) - len(taken)
    parts = [f"{len(configurations)} runs", *([f"{before} there before"] if before else []), launched.summary()]
    print(f"{options.study}: {', '.join([*parts, *([f'{len(taken)} left alone'] if taken else [])])}")
    return launched.status or int(bool(taken))


def _compare(options: argparse.Namespace) -> int:
    from sparsecycle.set_mlp.claims import mean_accuracies, set_verdict_table
    from sparsecycle.set_mlp.records import load_set_runs

    runs = load_set_runs(*options.folders)
    if runs.empty:
        raise InputError("no finished run in these folders: make one with `sparsecycle set run`")
    columns = ["dataset", "arm", "method", "seed", "variant", "status", "last_accuracy", "best_accuracy"]
    print(runs[[*columns, "train_accuracy", "neurons_left"]].to_string(index=False, float_format="{:.4f}".format))
    for arm in dict.fromkeys(runs["arm"]):
        means = mean_accuracies(runs, arm)
        if not means.empty:
            print(f"\nMean test accuracy in arm {arm}, over the splits that all methods have:")
            print(means.to_string(float_format="{:.4f}".format))
    table = set_verdict_table(runs)
    shown = table[table["verdict"] != "not measured"]
    print(f"\nClaims ({len(table) - len(shown)} comparisons not measured):")
    columns = ["claim", "arm", "treatment", "baseline", "measure", "mean", "low", "high", "datasets", "verdict"]
    if not shown.empty:
        print(shown[columns].to_string(index=False, float_format="{:.4f}".format))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from sparsecycle.data.tabular import fetch_datasets
    from sparsecycle.set_mlp.datasets import study_datasets

    for path in fetch_datasets(options.names or study_datasets(), options.data_dir):
        print(path)
    return 0
