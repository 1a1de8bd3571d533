"""What was measured on a trained network after its run: `measures.json` and `measures.npz` in the run's folder."""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sparsecycle.files import write_atomically
from sparsecycle.errors import InputError
from sparsecycle.runs.versioned import read_versioned, write_versioned

SCHEMA_VERSION = 1
CALIBRATION_BINS = 15
FILES = ("measures.json", "measures.npz")
Arrays = Mapping[str, NDArray[Any]]


class Condition(BaseModel):
    """One evaluation of the network, at the headline budget but for the kind "budget".

    Attributes:
        kind: "budget" (on the test images), "fitted" (on the images trained on), "pruning", "int8", "noise", "blur",
            "contrast", "removal".
        strength: the budget, the share of weights pruned, the strength of the disturbance; 0 where there is none.
        accuracy: share of images classified correctly.
        calibration_error: expected calibration error over 15 bins, for budgets.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    kind: str
    strength: float
    accuracy: float
    loss: float | None = None
    calibration_error: float | None = None

    @property
    def name(self) -> str:
        """Of its predictions in `measures.npz`."""
        return f"{self.kind}/{self.strength!r}"


class Measures(BaseModel):
    """All that was measured on one network.

    Attributes:
        identity: of the run.
        metrics: see `summary_metrics`.
        conditions: accuracy in every condition; loss (nats) and calibration error at every budget.
        layers: for each layer and budget, active_fraction, dead_channels, and cka with the layer at budget 1.0.
        images_per_second: of evaluation at the headline budget.
        seconds: that measuring took.
        files: SHA-256 of `measures.npz`, and of the weights that were measured.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    schema_version: int = SCHEMA_VERSION
    identity: str
    metrics: dict[str, float]
    conditions: list[Condition]
    layers: list[dict[str, Any]]
    images_per_second: float
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
        write_versioned(folder / "measures.json", self, indent=1)

    @classmethod
    def read(cls, folder: Path) -> "Measures | None":
        """`measures.json` of a run's folder, None where there is none.

        Raises:
            InputError: damaged, or of another schema version.
        """
        return read_versioned(folder / "measures.json", cls, SCHEMA_VERSION, "delete it and measure again")


def summary_metrics(conditions: Sequence[Condition], headline_budget: float) -> dict[str, float]:
    """What the claims C5 and C6 are judged by, and what explains it.

    pruned_area is the mean accuracy over the shares pruned, noise_accuracy and the like that over the strengths of a
    disturbance, robustness_area the mean of these four. pruning_drop and disturbance_drop are what is lost of the
    untouched network's accuracy: a network that is better to begin with has larger areas, not smaller drops.
    calibration_error is that at the headline budget.
    """

    def mean(kind: str) -> float:
        return float(np.mean([one.accuracy for one in conditions if one.kind == kind]))

    headline = next(one for one in conditions if one.kind == "budget" and one.strength == headline_budget)
    disturbances = {f"{kind}_accuracy": mean(kind) for kind in ("noise", "blur", "contrast", "removal")}
    robustness = float(np.mean(list(disturbances.values())))
    return {
        "calibration_error": math.nan if headline.calibration_error is None else headline.calibration_error,
        "pruned_area": mean("pruning"),
        "pruning_drop": headline.accuracy - mean("pruning"),
        "int8_accuracy": mean("int8"),
        **disturbances,
        "robustness_area": robustness,
        "disturbance_drop": headline.accuracy - robustness,
    }


def calibration_error(confidences: NDArray[Any], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean distance of confidence and accuracy within a bin, weighted by its images.

    Bins of equal width over [0, 1], the upper edge belonging to a bin (Guo et al., arXiv 1706.04599, equation 3).

    Args:
        confidences: (N,), the largest softmax probability of each image.
        correct: (N,), whether the class of that probability is right.
    """
    values = np.asarray(confidences, dtype=np.float64)
    places = np.clip(np.ceil(values * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    distance = np.bincount(places, values - correct, CALIBRATION_BINS)
    return float(np.abs(distance).sum() / len(values))


def write_arrays(folder: Path, arrays: Arrays) -> None:
    """`measures.npz`, whole or not at all: predicted classes (uint8) by name of the condition; by budget,

    "confidence/..." (float16) of the predicted class and "log_likelihood/..." (float32, nats) of the label.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / "measures.npz", buffer.getvalue())


def read_arrays(folder: Path, sha256: str) -> dict[str, NDArray[Any]]:
    """What `write_arrays` wrote.

    Args:
        sha256: of `measures.npz`, as `Measures.files` has it.

    Raises:
        InputError: missing, or another file.
    """
    path = folder / "measures.npz"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} is not the file that measures.json was written with: restore it, or measure again")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
