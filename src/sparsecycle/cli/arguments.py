"""Arguments of more than one command, and what they are read as."""

import argparse
from pathlib import Path

from sparsecycle.errors import InputError
from sparsecycle.files import expanded


def add_output_dir(parser: argparse.ArgumentParser) -> None:
    """Add the folder that runs are written to."""
    parser.add_argument("--output-dir", default="runs", help="folder of runs (default: runs)")


def add_data_dir(parser: argparse.ArgumentParser, holds: str = "of the images") -> None:
    """Add the folder that data are read from."""
    parser.add_argument("--data-dir", help=f"folder {holds} (default: SPARSECYCLE_DATA_DIR, else data/)")


def add_no_progress(parser: argparse.ArgumentParser) -> None:
    """Add the switch that hides the progress bar."""
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def whole(text: str) -> int:
    """Return a whole number, and nothing that only Python takes for one, such as 1_000."""
    if not text.strip().lstrip("+-").isdecimal() or len(text) > 20:
        raise argparse.ArgumentTypeError(f"invalid int value: {text[:40]!r}")
    return int(text)


def file_of_studies(given: str, default: str) -> Path:
    """Return the file, the checkout's own where the default is not below the current folder."""
    from sparsecycle.runs.source import CHECKOUT

    path = expanded(given)
    if given != default or path.exists():
        return path
    if not (CHECKOUT / default).exists():
        raise InputError("studies come with a checkout of the project, and none is around: give a file with --file")
    return CHECKOUT / default


def whole_or_auto(text: str) -> int | str:
    """Return a whole number, or "auto"."""
    return text if text == "auto" else whole(text)
