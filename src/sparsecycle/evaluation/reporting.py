"""One number for a run that was looked at many times: as the author's script reports it, and clean.

The script prints the largest test accuracy over all looks, so it chooses an epoch by the test images that it then
reports on. The clean accuracy chooses by one half of the images and scores on the other.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecycle.errors import InputError


def as_reported(correct: NDArray[np.bool_]) -> float:
    """Return the largest accuracy over the looks; NaN where there is no look or no image.

    Args:
        correct: bool (looks, n), whether each of the n test images was classified rightly at each look.

    Raises:
        InputError: an array that is not of two dimensions.

    Source: the author's script, which prints this number.
    """
    looks, images = _shape(correct)
    return float(correct.mean(axis=1).max()) if looks and images else math.nan


def clean_accuracy(correct: NDArray[np.bool_]) -> float:
    """Return the accuracy where no image helps to choose the look that it is scored at.

    The look with the largest accuracy on the images at even positions, the earliest of equals, is scored on those at
    odd positions, and the other way round; the share of all n images that are right this way is returned (for an even n
    the mean of the two scores). NaN where there is no look or no image.

    Args:
        correct: bool (looks, n), whether each of the n test images was classified rightly at each look.

    Raises:
        InputError: an array that is not of two dimensions.
    """
    looks, images = _shape(correct)
    if not looks or not images:
        return math.nan
    even, odd = correct[:, 0::2].sum(axis=1), correct[:, 1::2].sum(axis=1)  # (looks,) images that are right
    return float(odd[even.argmax()] + even[odd.argmax()]) / images  # argmax takes the first of equals


def _shape(correct: NDArray[Any]) -> tuple[int, int]:
    if correct.ndim != 2:
        raise InputError(f"correct has shape {correct.shape}, but must have two dimensions: looks and images")
    return correct.shape[0], correct.shape[1]
