"""What was measured on a trained network after its run: `measures.json` and `measures.npz` in the run's folder."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.versioned import read_versioned, write_versioned

SCHEMA_VERSION = 2
FILES = ("measures.json", "measures.npz")
DISTURBANCES = ("noise", "blur", "contrast", "removal")


class Condition(BaseModel):
    """One evaluation of the network at keep-ratio 1.0 on the test images, something being done to either.

    Attributes:
        kind: "pruning", "int8", "noise", "blur", "contrast" or "removal".
        strength: the share of weights pruned, or the strength of the disturbance; 0 where there is none.
        accuracy: share of images classified rightly.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str
    strength: float
    accuracy: float

    @property
    def name(self) -> str:
        """What it is called in messages, such as "noise 0.04"."""
        return f"{self.kind} {self.strength:g}"


class Measures(BaseModel):
    """All that was measured on one network.

    Attributes:
        identity: of the run.
        metrics: see `summary_metrics`.
        conditions: the accuracy in every condition, in the order of `read_correct`.
        layers: for each layer and keep-ratio: keep_ratio, layer, active_fraction, dead_channels, and cka with the same
            layer at 1.0 (None where its output is constant); on the first test images, rounded to six digits.
        seconds: that measuring took.
        files: SHA-256 of `measures.npz`, and of the weights that were measured.
        source_sha256: of what decides the measures, as of a run's source.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = SCHEMA_VERSION
    identity: str
    metrics: dict[str, float]
    conditions: list[Condition]
    layers: list[dict[str, Any]]
    seconds: float
    files: dict[str, str]
    git_revision: str | None
    git_clean: bool | None
    source_sha256: str
    device: str
    threads: int
    torch: str
    torchvision: str

    def write(self, folder: Path) -> None:
        """Write `measures.json` whole or not at all."""
        write_versioned(folder / "measures.json", self)

    @classmethod
    def read(cls, folder: Path) -> "Measures | None":
        """Return `measures.json` of a run's folder, None where there is none.

        Raises:
            InputError: damaged, or of another schema version.
        """
        return read_versioned(folder / "measures.json", cls, SCHEMA_VERSION, "delete it and measure again")


def summary_metrics(conditions: Sequence[Condition]) -> dict[str, float]:
    """Return what the claims C5 and C6 are judged by.

    pruned_area is the mean accuracy over the shares of pruned weights, noise_accuracy and the like that over the
    strengths of one disturbance.
    """

    def mean(kind: str) -> float:
        return float(np.mean([one.accuracy for one in conditions if one.kind == kind]))

    return {
        "pruned_area": mean("pruning"),
        "int8_accuracy": mean("int8"),
        **{f"{kind}_accuracy": mean(kind) for kind in DISTURBANCES},
    }


def write_correct(folder: Path, correct: Mapping[str, NDArray[np.bool_]]) -> None:
    """Write `measures.npz`, whole or not at all: which test images are classified rightly, by name of the condition.

    The bits of all conditions are one array (`numpy.packbits`), beside the names and the number of images.
    """
    buffer = io.BytesIO()
    bits = np.stack(list(correct.values()))  # (conditions, n)
    np.savez_compressed(buffer, correct=np.packbits(bits, axis=1), images=bits.shape[1], names=list(correct))
    write_atomically(folder / "measures.npz", buffer.getvalue())


def read_correct(folder: Path, sha256: str) -> dict[str, NDArray[np.bool_]]:
    """Return what `write_correct` wrote, bool (n,) by name of the condition.

    Args:
        folder: of the run.
        sha256: of `measures.npz`, as `Measures.files` has it.

    Raises:
        InputError: missing, or another file.
    """
    path = folder / "measures.npz"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): delete measures.json and measure again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(
            f"{path} is not the file that measures.json was written with: "
            "restore it, or delete measures.json and measure again"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        bits = np.unpackbits(stored["correct"], axis=1, count=int(stored["images"])).astype(bool)
        return dict(zip(map(str, stored["names"]), bits, strict=True))
