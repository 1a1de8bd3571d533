"""What the playground says the published rule does is what the library's controller does."""

import json
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecycle import make_controller
from sparsecycle_book.simulation import BATCH, noisy, simulate, simulate_json

ACCURACIES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
FAST = {"decision_steps": 2, "tighten": 0.3, "cooldown": 1}


@given(ACCURACIES, st.integers(1, 4))
def test_without_noise_and_answer_it_is_the_library_s_controller(accuracies, steps_each):
    controller = make_controller("accuracy_gated", **FAST)
    decisions = controller.update(one for accuracy in accuracies for one in [accuracy] * steps_each)
    made = simulate(FAST, accuracies, steps_each)
    found = zip(made.steps, made.averages, made.bests, made.keep_ratios, made.resets, strict=True)
    assert list(found) == [(one.step, one.average, one.best, one.keep_ratio, one.reset) for one in decisions]


@given(ACCURACIES)
def test_while_the_cooldown_lasts_it_counts_down_and_the_keep_ratio_stays(accuracies):
    made = simulate(FAST | {"cooldown": 3}, accuracies, 2)
    rows = zip(made.keep_ratios, made.cooldowns, made.resets, strict=True)
    for (keep_ratio, left, _), (then, left_then, reset) in pairwise(rows):
        if left and not reset:
            assert (then, left_then) == (keep_ratio, left - 1)


def test_accuracy_that_gives_way_ends_a_cycle():
    steady = simulate(FAST, [1.0] * 20, 2)
    assert not any(steady.resets) and steady.keep_ratios[-1] == pytest.approx(0.7**20)
    answering = simulate(FAST, [1.0] * 20, 2, gives_way=0.5)
    # 0.7, 0.49, 0.343: below 0.5 the accuracy shrinks; at 0.343 the average has lost more than 0.12, and keep returns.
    assert answering.keep_ratios[:4] == pytest.approx([0.7, 0.49, 0.343, 1.0])
    assert answering.resets[:4] == [False, False, False, True]


@pytest.mark.parametrize("accuracy", [0.1, 0.5, 0.9])
def test_the_noise_is_that_of_a_batch(accuracy):
    generator = random.Random(0)
    drawn = [noisy(accuracy, generator) for _ in range(20_000)]
    mean = sum(drawn) / len(drawn)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in drawn) / len(drawn))
    wanted = math.sqrt(accuracy * (1 - accuracy) / BATCH)
    assert mean == pytest.approx(accuracy, abs=5 * wanted / math.sqrt(20_000))
    assert deviation == pytest.approx(wanted, rel=0.03), "five standard errors of a deviation of 20,000 draws are 2.5 %"
    assert all(0 <= one <= 1 and (one * BATCH).is_integer() for one in drawn)


def test_noise_alone_resets_at_one_half_and_hardly_at_nine_tenths():
    resets = {p: sum(simulate({}, [p], 128 * 1000, noise=True).resets) / 1000 for p in (0.5, 0.9)}
    assert resets[0.5] > 0.1 and resets[0.9] < 0.01


def test_the_browser_is_answered_in_json():
    question = {"parameters": FAST, "accuracies": [0.5, 1.0], "steps_each": 2}
    answer = json.loads(simulate_json(json.dumps(question)))
    assert answer["keep_ratios"] == [0.7, 0.7 * 0.7] and answer["averages"] == [0.5, 0.875]
    wrong = json.loads(simulate_json(json.dumps(question | {"parameters": {"tighten": 2}})))
    assert wrong["error"] == "tighten is 2, but must lie in [0, 1)"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"accuracies": []}, "accuracies must be shares of images from 0 to 1, at least one"),
        ({"accuracies": [1.5]}, "accuracies must be shares of images from 0 to 1, at least one"),
        ({"accuracies": [math.nan]}, "accuracies must be shares of images from 0 to 1, at least one"),
        ({"steps_each": 0}, "steps_each is 0, but must be a whole number of steps from 1"),
        ({"gives_way": 2.0}, r"gives_way is 2\.0, but must be a keep-ratio from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        simulate({}, **({"accuracies": [0.5]} | given))
