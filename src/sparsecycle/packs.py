"""The stored images in packs of about 50 MB, to be carried to a machine that cannot download.

A pack is an uncompressed tar archive, `cifar10-1-of-2.tar` and so on, with a share of the sheets; the first one also
holds labels and checksums.
"""

import io
import re
import tarfile
from pathlib import Path

from sparsecycle.atomic import write_atomically
from sparsecycle.errors import InputError
from sparsecycle.sheets import LABELS_FILE, SUMS_FILE, LabelledImages, read_sheets

PACK = re.compile(r"cifar10-([1-9])-of-([1-9])\.tar")
MEMBER = re.compile(rf"(train|test)-\d\d\.webp|{re.escape(LABELS_FILE)}|{SUMS_FILE}")


def write_packs(folder: Path, target: Path, count: int = 2) -> list[Path]:
    """Write the sheets of `folder` as `count` packs into the folder `target`, which may be new.

    The same sheets give the same bytes.

    Raises:
        InputError: `target` cannot be written.
    """
    sheets = sorted(path.name for path in folder.glob("*.webp"))
    shares = [sheets[number::count] for number in range(count)]
    shares[0] = [LABELS_FILE, SUMS_FILE, *shares[0]]
    packs = [target / f"cifar10-{number}-of-{count}.tar" for number in range(1, count + 1)]
    try:
        target.mkdir(parents=True, exist_ok=True)
        for pack, names in zip(packs, shares, strict=True):
            write_atomically(pack, _archive(folder, names))
    except OSError as error:
        raise InputError(f"packs cannot be written to {target} ({error.strerror or error})") from None
    return packs


def packs_at_hand(folder: Path) -> list[Path]:
    """The packs that lie in a folder, in order."""
    return sorted(path for path in folder.glob("cifar10-*.tar") if PACK.fullmatch(path.name))


def from_packs(work: Path, data_folder: Path) -> dict[str, LabelledImages]:
    """CIFAR-10 from the packs that lie in `data_folder`, unpacked in the existing folder `work`.

    Raises:
        InputError: packs are missing or damaged.
    """
    packs = packs_at_hand(data_folder)
    if not packs:
        raise InputError(f"no pack lies in {data_folder}: `sparsecycle data pack` writes them where the images are")
    count = int(packs[0].stem[-1])
    missing = {f"cifar10-{number + 1}-of-{count}.tar" for number in range(count)} - {pack.name for pack in packs}
    if missing:
        raise InputError(f"{', '.join(sorted(missing))} is missing in {data_folder}: carry every pack there")
    for pack in packs:
        try:
            with tarfile.open(pack, "r:") as archive:
                for member in archive:
                    if not member.isfile() or not MEMBER.fullmatch(member.name):
                        raise InputError(f"{pack} is no pack of CIFAR-10 (it holds {member.name!r})")
                    content = archive.extractfile(member)
                    assert content is not None, "a file has content"
                    (work / member.name).write_bytes(content.read())
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{pack} is damaged ({' '.join(str(error).split())}): carry it anew") from None
    return read_sheets(work)


def _archive(folder: Path, names: list[str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            member = tarfile.TarInfo(name)  # no time and no owner
            data = (folder / name).read_bytes()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()
