"""`sparsecycle set run / study / compare / fetch`: the command line of the companion study, thin."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add `set` and its actions to the command line."""
    group = commands.add_parser("set", help="the companion study: sparse evolutionary training of MLPs")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")

    run = actions.add_parser("run", help="train one network")
    run.add_argument(
        "--dataset", required=True, help="digits, breast_cancer, or one of the collection (see `set fetch`)"
    )
    run.add_argument("--method", required=True, help="dense, static, set or set_pruned")
    run.add_argument("--seed", type=int, default=0, help="default: 0")
    run.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="FIELD=VALUE", help="override a constant"
    )
    run.add_argument("--output-dir", default="runs", help="folder of runs (default: runs)")
    run.add_argument("--no-progress", action="store_true", help="no progress bar")
    _add_data_dir(run)
    run.set_defaults(command=_run)

    study = actions.add_parser("study", help="make the runs of a study that are missing")
    study.add_argument("study", nargs="?", help="a name in the file; without one, the studies are listed")
    study.add_argument("--file", default="workflow/set.yaml", help="file of studies (default: workflow/set.yaml)")
    study.add_argument("--output-dir", default="runs", help="folder of runs (default: runs)")
    study.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each (default: 1)")
    _add_data_dir(study)
    study.set_defaults(command=_study)

    compare = actions.add_parser("compare", help="mean accuracy by dataset and method, ranks, and the verdicts")
    compare.add_argument("folders", nargs="*", help="folders of runs (default: data/runs of the checkout)")
    compare.set_defaults(command=_compare)

    fetch = actions.add_parser("fetch", help="download datasets of the collection once, checked")
    fetch.add_argument("names", nargs="*", help="default: the 15 of the study and those that constants are chosen on")
    _add_data_dir(fetch)
    fetch.set_defaults(command=_fetch)


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", help="folder that holds feature_selection (default: SPARSECYCLE_DATA_DIR, else data/)"
    )


def _run(options: argparse.Namespace) -> int:
    from sparsecycle.config import parse_setting
    from sparsecycle.set_mlp.config import configure_set
    from sparsecycle.set_mlp.records import FILE, set_run_name
    from sparsecycle.set_mlp.training import train_set

    overrides = dict(parse_setting(text) for text in options.settings)
    config = configure_set(options.dataset, options.method, options.seed, overrides)
    path = Path(options.output_dir) / set_run_name(config) / FILE
    finished = path.exists()
    record = train_set(
        config, data_dir=options.data_dir, output_dir=options.output_dir, progress=not options.no_progress
    )
    print(record.summary())
    print(f"{'already finished, read from' if finished else 'written:'} {path}")
    return 0


def _study(options: argparse.Namespace) -> int:
    from sparsecycle.set_mlp.study import SetStudies, run_study

    studies = SetStudies.read(Path(options.file))
    if options.study is None:
        print(studies.describe())
        return 0
    configurations = studies.configurations(options.study)
    failed = 0
    for what, reason in run_study(configurations, Path(options.output_dir), options.data_dir, options.jobs):
        failed += reason is not None
        print(what if reason is None else f"{what} is left out: {reason}", flush=True)
    print(f"{options.study}: {len(configurations)} runs, {failed} left out")
    return 1 if failed else 0


def _compare(options: argparse.Namespace) -> int:
    from sparsecycle.errors import InputError
    from sparsecycle.set_mlp.claims import average_ranks, by_dataset, set_verdict_table
    from sparsecycle.set_mlp.records import load_set_runs

    runs = load_set_runs(*options.folders)
    runs = runs[runs["variant"] == ""]
    if runs.empty:
        raise InputError("no finished run in these folders: make one with `sparsecycle set run`")
    means = by_dataset(runs, "test_accuracy")
    print("Mean test accuracy over the seeds that all methods have:")
    print(means.to_string(float_format="{:.4f}".format))
    try:
        ranks = average_ranks(runs)
    except InputError as error:
        print(error, file=sys.stderr)
    else:
        best_first = sorted(ranks.average.items(), key=lambda item: item[1])
        told = ", ".join(f"{method} {rank:.2f}" for method, rank in best_first)
        print(f"\nAverage ranks: {told}; critical difference {ranks.critical_difference:.2f}")
    columns = ["claim", "comparison", "measure", "mean", "low", "high", "datasets", "verdict"]
    print()
    print(set_verdict_table(runs)[columns].to_string(index=False, float_format="{:.4f}".format))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from sparsecycle.set_mlp.datasets import EMBEDDED, fetch_datasets, search_datasets, study_datasets

    names = options.names or [name for name in (*study_datasets(), *search_datasets()) if name not in EMBEDDED]
    for path in fetch_datasets(names, options.data_dir):
        print(path)
    return 0
