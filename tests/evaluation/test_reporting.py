"""The two accuracies of a run that was looked at many times."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsecycle.errors import InputError
from sparsecycle.evaluation.reporting import as_reported, clean_accuracy

looks_of_images = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def test_a_run_of_three_looks_worked_by_hand():
    """Even images (0, 2, 4): 1, 3 and 2 right, so look 1 is scored on the odd ones: 1 of 3.
    Odd images (1, 3, 5): 2, 1 and 2 right, of the equal looks the earlier, 0, is scored on the even ones: 1 of 3."""
    correct = np.array([[1, 1, 0, 1, 0, 0], [1, 0, 1, 0, 1, 1], [1, 1, 1, 0, 0, 1]], dtype=bool)
    assert clean_accuracy(correct) == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert as_reported(correct) == pytest.approx(4 / 6)


@given(looks_of_images)
def test_with_one_look_nothing_is_chosen(correct):
    accuracy = correct[:1].mean()
    assert clean_accuracy(correct[:1]) == as_reported(correct[:1]) == accuracy


@given(looks_of_images)
def test_looks_that_say_the_same_change_nothing(correct):
    assert clean_accuracy(np.repeat(correct, 2, axis=0)) == clean_accuracy(correct)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 6).map(lambda half: 2 * half))))
def test_which_half_comes_first_does_not_matter(correct):
    swapped = correct.reshape(len(correct), -1, 2)[:, :, ::-1].reshape(correct.shape)
    assert clean_accuracy(swapped) == clean_accuracy(correct)


def test_looks_that_are_coin_flips_flatter_the_reported_accuracy_and_not_the_clean_one():
    """100 runs with 100 looks at 1,000 images: the best look gains about 2.5 standard errors of 1.6 points."""
    correct = np.random.default_rng(0).random((100, 100, 1000)) < 0.5
    assert 0.53 < np.mean([as_reported(run) for run in correct]) < 0.55
    # The mean of 100 clean accuracies has a standard error of 0.16 points.
    assert np.mean([clean_accuracy(run) for run in correct]) == pytest.approx(0.5, abs=0.0065)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_without_looks_or_images_there_is_no_number(shape):
    assert math.isnan(clean_accuracy(np.zeros(shape, bool))) and math.isnan(as_reported(np.zeros(shape, bool)))


def test_one_look_without_its_dimension_is_refused():
    for measure in (clean_accuracy, as_reported):
        with pytest.raises(InputError, match="two dimensions"):
            measure(np.ones(5, bool))
