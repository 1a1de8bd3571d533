"""The official files of CIFAR-10, as torchvision keeps them: `cifar-10-batches-py/`, or the archive that holds it.

The six batches are pickles, and a pickle can run code. So each one is compared with its published MD5 before it is
opened, and opened by an unpickler that knows numpy's arrays and refuses every other name.
"""

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sparsecycle.data.sheets import TILE, LabelledImages, label_array, read_bytes
from sparsecycle.errors import InputError

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
# Published with the archive, and checked by torchvision too.
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# What an array's pickle calls. Numpy 2 moved the first function; numpy itself says where it is now.
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read_official(place: Path) -> dict[str, LabelledImages]:
    """Read both splits from the folder of batches, or from the archive.

    Raises:
        InputError: something is missing, damaged or not the official file; the message names it.
    """
    if place.is_dir():
        return _splits(place, lambda name: read_bytes(place / name))
    try:
        with tarfile.open(place) as archive:
            return _splits(place, lambda name: _member(archive, f"{FOLDER}/{name}"))
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{place} is damaged or cannot be read ({' '.join(str(error).split())})") from None


def _splits(place: Path, read: Callable[[str], bytes]) -> dict[str, LabelledImages]:
    train = [_batch(place / name, read(name)) for name in TRAIN]
    pixels, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return {"train": LabelledImages(pixels, labels), "test": _batch(place / TEST, read(TEST))}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()


def _batch(path: Path, content: bytes) -> LabelledImages:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[path.name]:
        raise InputError(f"{path} is truncated or altered (its MD5 is not the published {MD5[path.name]})")
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} is not opened ({error})") from None
    pixels = np.array(batch[b"data"], order="C")  # an array of its own, which torch may write to
    return LabelledImages(pixels.reshape(-1, 3, TILE, TILE), label_array(batch[b"labels"]))


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return ARRAYS[module, name]
