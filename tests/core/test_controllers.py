"""What must hold of every controller for any accuracies, and each rule on a path worked by hand.

The published rule is also compared with the author's script, bit for bit, in `test_vectors.py`.
"""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecycle.controllers import (
    CONTROLLERS,
    Controller,
    Decision,
    controller_parameters,
    keep_ratio_path,
    make_controller,
)

accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=60)
shares = st.floats(0.01, 1.0)


@st.composite
def controllers(draw: st.DrawFn, names: tuple[str, ...] = tuple(CONTROLLERS)) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(names))
    every = {
        "decision_steps": draw(st.integers(1, 7)),
        "tighten": draw(st.floats(0.01, 0.9)),
        "tolerance": draw(st.floats(0, 0.3)),
        "smoothing": draw(st.floats(0, 0.95)),
        "relax": draw(shares),
        "cooldown": draw(st.integers(0, 4)),
        "floor": draw(shares),
        "keep_ratio": draw(shares),
        "path": draw(st.lists(shares, min_size=1, max_size=8)),
        "shuffled": draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
    }
    return name, {key: value for key, value in every.items() if key in controller_parameters(name)}


def made_from(made: tuple[str, dict[str, Any]]) -> Controller:
    name, parameters = made
    return make_controller(name, **parameters)


def after_each_decision(controller: Controller, sequence: list[float]) -> list[float]:
    return [decision.keep_ratio for decision in controller.update(sequence)]


@given(made=controllers(), sequence=accuracies)
def test_the_keep_ratio_stays_between_floor_and_one(made, sequence):
    parameters = made[1]
    lowest = parameters.get("floor", parameters.get("keep_ratio", min(parameters.get("path", [1.0]))))
    assert all(lowest <= keep_ratio <= 1.0 for keep_ratio in keep_ratio_path(made_from(made), sequence))


@given(made=controllers(), sequence=accuracies, data=st.data())
def test_grouping_of_steps_and_json_at_any_moment_change_nothing(made, sequence, data):
    whole = made_from(made)
    decisions = whole.update(sequence)
    parts, controller = [], made_from(made)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sequence)), max_size=6)))
    for start, end in itertools.pairwise([0, *cuts, len(sequence)]):
        parts += controller.update(sequence[start:end])
        state = json.loads(json.dumps(controller.state_dict(), allow_nan=False))
        controller = made_from(made)
        controller.load_state_dict(state)
    assert parts == decisions
    assert controller.state_dict() == whole.state_dict()
    assert controller.step == len(sequence)


@given(made=controllers(), sequence=accuracies)
def test_a_decision_comes_when_it_was_foretold_and_holds_from_the_next_step(made, sequence):
    controller, decisions, in_force = made_from(made), [], []
    for accuracy in sequence:
        due, before = controller.next_decision, controller.keep_ratio
        in_force.append(before)
        new = controller.update([accuracy])
        assert (due == 1) == (len(new) == 1)
        assert new or controller.keep_ratio == before
        decisions += new
    assert in_force == keep_ratio_path(made_from(made), sequence)
    every = made[1].get("decision_steps", len(sequence) + 1)  # else never
    assert [decision.step for decision in decisions] == list(range(every, len(sequence) + 1, every))
    for decision in decisions:
        assert in_force[decision.step : decision.step + 1] in ([], [decision.keep_ratio])


@given(made=controllers(), sequence=accuracies)
def test_only_adaptive_controllers_hear_the_accuracy(made, sequence):
    decisions = made_from(made).update(sequence)
    adaptive = CONTROLLERS[made[0]].adaptive
    for decision in decisions:
        assert (decision.average is not None, decision.best is not None) == (adaptive, adaptive)
    if not adaptive:
        assert decisions == made_from(made).update([0.0] * len(sequence))


@given(made=controllers(("accuracy_gated", "epoch_gated", "geometric")), sequence=accuracies)
def test_the_keep_ratio_grows_only_at_resets(made, sequence):
    before = 1.0
    for decision in made_from(made).update(sequence):
        assert decision.keep_ratio <= before or decision.reset
        before = decision.keep_ratio


def test_the_defaults_are_the_published_values():
    assert dict(controller_parameters("accuracy_gated")) == {
        "decision_steps": 128, "tighten": 0.018, "tolerance": 0.12, "smoothing": 0.5, "relax": 1.0, "cooldown": 3,
        "floor": 0.0,
    }  # fmt: skip
    by_epoch = controller_parameters("epoch_gated")
    assert by_epoch["decision_steps"] == 390
    assert 1 - by_epoch["tighten"] == pytest.approx(0.982 ** (390 / 128))
    assert {key: value for key, value in by_epoch.items() if key not in ("decision_steps", "tighten")} == {
        "tolerance": 0.12, "smoothing": 0.5, "relax": 1.0, "cooldown": 3, "floor": 0.0,
    }  # fmt: skip


def test_the_published_rule_by_hand():
    """Two steps a decision, half taken away each time, tolerance 0.25, a cooldown of one decision.

    Averages: 0.5 and 0.5; 1 and 0.75; then 0.375 and 0.1875 (fallen by 0.5625 from the best, 0.75); then 0.59375 and
    0.796875, a new best, in the cooldown; then compression again.
    """
    rule = make_controller("accuracy_gated", decision_steps=2, tighten=0.5, tolerance=0.25, cooldown=1)
    decisions = rule.update([0.5, 0.5, 1.0, 0.75, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert decisions == [
        Decision(2, 0.5, 0.5, 0.5, False),
        Decision(4, 0.75, 0.75, 0.25, False),
        Decision(6, 0.1875, 0.75, 1.0, True),
        Decision(8, 0.796875, 0.796875, 1.0, False),
        Decision(10, 0.94921875, 0.94921875, 0.5, False),
    ]


def test_a_fall_found_again_in_the_cooldown_starts_it_anew():
    rule = make_controller("accuracy_gated", decision_steps=1, tighten=0.5, tolerance=0.1, smoothing=0.0, cooldown=2)
    decisions = rule.update([1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 1.0])
    assert [decision.reset for decision in decisions] == [False, True, False, True, False, False, False]
    assert [decision.keep_ratio for decision in decisions] == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]


def test_a_fall_of_exactly_the_tolerance_is_borne():
    for fall, reset in ((0.125, False), (0.25, True)):
        rule = make_controller("accuracy_gated", decision_steps=1, tolerance=0.125, smoothing=0.0)
        assert rule.update([1.0, 1.0 - fall])[1].reset is reset


def test_the_best_is_never_forgotten():
    rule = make_controller("accuracy_gated", decision_steps=1, smoothing=0.0)
    decisions = rule.update([1.0, *[0.8] * 100])
    assert all(decision.reset and decision.best == 1.0 for decision in decisions[1:])


def test_a_smaller_relax_raises_by_as_much_and_to_one_at_most():
    rule = make_controller("accuracy_gated", decision_steps=1, tighten=0.75, smoothing=0.0, relax=0.5, cooldown=0)
    assert after_each_decision(rule, [1.0, 0.0, 0.0]) == [0.25, 0.75, 1.0]


def test_without_a_floor_the_keep_ratio_stays_above_zero_for_ever():
    """A network keeps one value then; zero would be refused by every layer."""
    path = keep_ratio_path(make_controller("accuracy_gated", decision_steps=1, tighten=0.9), [1.0] * 2000)
    assert min(path) > 0.0
    with_floor = make_controller("accuracy_gated", decision_steps=1, tighten=0.9, floor=0.05)
    assert keep_ratio_path(with_floor, [1.0] * 2000)[-1] == 0.05


def test_the_script_s_counts_of_decisions_come_out():
    """39 decisions from 1 to one half, 127 to a tenth, 216 to 0.02, while accuracy only grows."""
    path = after_each_decision(make_controller("accuracy_gated", decision_steps=1), [1.0] * 300)
    for keep_ratio, decisions in ((0.5, 39), (0.1, 127), (0.02, 216)):
        assert sum(one > keep_ratio for one in path) + 1 == decisions


def test_geometric_by_hand():
    rule = make_controller("geometric", decision_steps=1, tighten=0.5, floor=0.2)
    decisions = rule.update([0.0] * 6)
    assert [decision.keep_ratio for decision in decisions] == [0.5, 0.25, 0.2, 1.0, 0.5, 0.25]
    assert [decision.reset for decision in decisions] == [False, False, False, True, False, False]


@given(st.floats(0.02, 0.9), st.floats(0.01, 1.0))
def test_geometric_cycles_are_equally_long(tighten, floor):
    decisions = make_controller("geometric", decision_steps=1, tighten=tighten, floor=floor).update([0.0] * 1000)
    resets = [decision.step for decision in decisions if decision.reset]
    length = max(0, math.ceil(math.log(floor) / math.log1p(-tighten) - 1e-6)) + 1
    assert {b - a for a, b in itertools.pairwise([0, *resets])} <= {length, length + 1}
    assert len({b - a for a, b in itertools.pairwise(resets)}) <= 1


def test_random_is_log_uniform_and_depends_on_seed_and_decision_only():
    def path(seed: int, accuracy: float) -> list[float]:
        return after_each_decision(make_controller("random", decision_steps=1, floor=0.1, seed=seed), [accuracy] * 4000)

    one = path(1, 0.0)
    assert one == path(1, 1.0) != path(2, 0.0)
    below = sum(keep_ratio < math.sqrt(0.1) for keep_ratio in one) / len(one)
    assert abs(below - 0.5) < 0.04  # five standard errors of a share of one half among 4000 draws
    assert min(one) < 0.102 and max(one) > 0.98


def test_replay_takes_the_path_in_order_and_stays_at_its_end():
    source = make_controller("accuracy_gated", decision_steps=3, tighten=0.5, tolerance=0.1)
    heard = [0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9]
    taken = keep_ratio_path(source, heard)
    path = [0.5, 0.25, 1.0, 1.0]
    replayed = make_controller("replay", path=path, decision_steps=3)
    assert keep_ratio_path(replayed, [0.0] * 12) == taken == [1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [1.0] * 3
    assert after_each_decision(make_controller("replay", path=path, decision_steps=1), [0.0] * 7) == [*path, *[1.0] * 3]


@given(path=st.lists(shares, min_size=1, max_size=30), seed=st.integers(0, 5))
def test_a_shuffled_replay_takes_the_same_values_in_an_order_of_its_seed(path, seed):
    def taken(**parameters: Any) -> list[float]:
        controller = make_controller("replay", path=path, decision_steps=1, **parameters)
        return after_each_decision(controller, [0.0] * len(path))

    shuffled = taken(shuffled=True, seed=seed)
    assert sorted(shuffled) == sorted(path)
    assert shuffled == taken(shuffled=True, seed=seed)
    assert taken(shuffled=False, seed=seed) == path
    if len(set(path)) > 10:
        assert any(taken(shuffled=True, seed=other) != path for other in range(3))


NUMBERS = ("decision_steps", "tighten", "tolerance", "smoothing", "relax", "cooldown", "floor")


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("cosine", {}, "controller is 'cosine'.*dense, accuracy_gated, epoch_gated"),
        ("dense", {"floor": 0.1}, "no parameter floor; it takes: none"),
        ("fixed", {}, "needs keep_ratio"),
        ("fixed", {"keep_ratio": 0.0}, r"keep_ratio is 0.0.*\(0, 1\]"),
        ("fixed", {"keep_ratio": math.nan}, "keep_ratio is nan"),
        ("fixed", {"keep_ratio": None}, "keep_ratio of controller 'fixed' is None"),
        ("geometric", {"tighten": 1.0}, "tighten is 1.0"),
        ("geometric", {"tighten": 0.0}, "tighten is 0.0"),
        ("geometric", {"floor": 0.0}, "floor is 0.0"),
        ("accuracy_gated", {"decision_steps": 0}, "decision_steps is 0"),
        ("accuracy_gated", {"tolerance": -1.0}, "tolerance is -1.0"),
        ("accuracy_gated", {"tolerance": math.nan}, "tolerance is nan"),
        ("accuracy_gated", {"smoothing": 1.0}, "smoothing is 1.0"),
        ("accuracy_gated", {"tighten": 1.0}, "tighten is 1.0"),
        ("accuracy_gated", {"relax": 0.0}, "relax is 0.0"),
        ("accuracy_gated", {"cooldown": -1}, "cooldown is -1"),
        ("accuracy_gated", {"floor": 1.5}, "floor is 1.5"),
        ("random", {"floor": 0.0}, "floor is 0.0"),
        ("replay", {"decision_steps": 2}, "needs path"),
        ("replay", {"path": [], "decision_steps": 2}, "path is empty"),
        ("replay", {"path": [0.5, 0.0], "decision_steps": 2}, r"path is 0.0.*\(0, 1\]"),
        *(("accuracy_gated", {name: "0.1"}, f"{name} is '0.1', but must be a") for name in NUMBERS),
        *(("accuracy_gated", {name: True}, f"{name} is True, but must be a") for name in NUMBERS),
        *(("geometric", {name: "0.1"}, f"{name} is '0.1', but must be a") for name in ("tighten", "floor")),
        ("fixed", {"keep_ratio": "half"}, "keep_ratio is 'half', but must be a number"),
        ("random", {"seed": 1.5}, "seed is 1.5, but must be a whole number"),
        ("replay", {"path": [0.5], "decision_steps": 2, "shuffled": "no"}, "shuffled is 'no', but must be True"),
        ("replay", {"path": "abc", "decision_steps": 2}, "path is 'abc', but must be a list"),
        ("replay", {"path": 0.5, "decision_steps": 2}, "path is 0.5, but must be a list"),
        (["dense"], {}, "controller is .*, but must be one of dense"),
    ],
)
def test_bad_arguments_are_refused_by_name(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        make_controller(name, **parameters)


def test_a_foreign_state_is_refused():
    with pytest.raises(ValueError, match="state of controller 'accuracy_gated'"):
        make_controller("accuracy_gated").load_state_dict(make_controller("dense").state_dict())
