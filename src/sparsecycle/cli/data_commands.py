"""`sparsecycle data fetch / check`: the command line of the images, thin."""

import argparse
from typing import Any

from sparsecycle.cli.arguments import add_data_dir


def add_commands(commands: Any) -> None:
    """Add `data` and its actions to the command line."""
    group = commands.add_parser("data", help="get and check the images")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download all of CIFAR-10 once (170 MB), and check it")
    check = actions.add_parser("check", help="check the images against the pinned sums")
    for action, command in ((fetch, _fetch), (check, _check)):
        add_data_dir(action)
        action.set_defaults(command=command)


def _fetch(options: argparse.Namespace) -> int:
    from sparsecycle.data.cifar10 import fetch_cifar10, load_cifar10

    place = fetch_cifar10(options.data_dir)
    load_cifar10("cifar10", options.data_dir)
    print(f"CIFAR-10 is in {place}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from sparsecycle.data.cifar10 import data_folder, load_cifar10
    from sparsecycle.data.storage import find_cifar10

    full = find_cifar10(data_folder(options.data_dir))
    for name in ("cifar10-mini", *(["cifar10"] if full else [])):
        data = load_cifar10(name, options.data_dir)
        print(f"{name}: {len(data.train_images)} + {len(data.test_images)} images, sums as pinned")
    if full is None:
        print("cifar10: not there (get it with: sparsecycle data fetch)")
    return 0
