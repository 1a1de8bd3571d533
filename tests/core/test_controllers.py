"""What must hold for any sequence of statistics, and each rule on a path worked by hand."""

import itertools
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecycle.controllers import (
    CONTROLLERS,
    Controller,
    PeriodStats,
    budget_path,
    controller_parameters,
    make_controller,
)

losses = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=60)
shares = st.floats(0.01, 1.0)


@st.composite
def controllers(draw: st.DrawFn, names: tuple[str, ...] = tuple(CONTROLLERS)) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(names))
    floor, reset_to = sorted((draw(shares), draw(shares)))
    every = {
        "decay": draw(st.floats(0.2, 0.95)),
        "floor": floor,
        "reset_to": reset_to,
        "tolerance": draw(st.floats(0, 1)),
        "patience": draw(st.integers(1, 3)),
        "max_hold": draw(st.integers(1, 5)),
        "warmup": draw(st.integers(0, 4)),
        "keep_ratio": draw(shares),
        "seed": draw(st.integers(0, 1000)),
    }
    return name, {key: value for key, value in every.items() if key in controller_parameters(name)}


def path(controller: Controller, sequence: list[float]) -> list[float]:
    """The budget of each period, the first one before any statistics."""
    budgets = [controller.keep_ratio]
    for loss in sequence:
        controller.update(PeriodStats(loss=loss, accuracy=0.5))
        budgets.append(controller.keep_ratio)
    return budgets


@given(made=controllers(), sequence=losses)
def test_budget_stays_between_floor_and_one(made: tuple[str, dict[str, Any]], sequence: list[float]) -> None:
    name, parameters = made
    lowest = parameters.get("floor", parameters.get("keep_ratio", 1.0))
    assert all(lowest <= budget <= 1.0 for budget in path(make_controller(name, **parameters), sequence))


@given(made=controllers(("geometric", "loss_gated", "plateau")), sequence=losses)
def test_budget_grows_only_at_resets(made: tuple[str, dict[str, Any]], sequence: list[float]) -> None:
    name, parameters = made
    budgets = path(make_controller(name, **parameters), sequence)
    for before, after in itertools.pairwise(budgets):
        assert after <= before or after == parameters["reset_to"]


@given(made=controllers(("geometric", "loss_gated", "plateau")), data=st.data())
def test_cycles_reset_within_a_bounded_number_of_periods(made: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    name, parameters = made
    steps = math.ceil(math.log(parameters["floor"] / parameters["reset_to"]) / math.log(parameters["decay"])) + 1
    bound = steps * parameters.get("max_hold", 1) + 1
    rising_or_falling = st.lists(st.floats(allow_nan=True), min_size=bound + 5, max_size=bound + 5)
    budgets = path(make_controller(name, **parameters), data.draw(rising_or_falling))[parameters["warmup"] :]
    resets = [period for period, budget in enumerate(budgets) if budget == parameters["reset_to"]]
    assert resets and all(later - earlier <= bound for earlier, later in itertools.pairwise(resets))
    assert len(budgets) - resets[-1] <= bound


@given(made=controllers(), sequence=losses, data=st.data())
def test_state_survives_json_at_any_moment(
    made: tuple[str, dict[str, Any]], sequence: list[float], data: st.DataObject
) -> None:
    name, parameters = made
    cut = data.draw(st.integers(0, len(sequence)))
    whole = path(make_controller(name, **parameters), sequence)
    first = make_controller(name, **parameters)
    path(first, sequence[:cut])
    second = make_controller(name, **parameters)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert path(second, sequence[cut:]) == whole[cut:]


@given(made=controllers(), sequence=losses)
def test_warmup_is_dense(made: tuple[str, dict[str, Any]], sequence: list[float]) -> None:
    name, parameters = made
    budgets = path(make_controller(name, **parameters), sequence)
    assert all(budget == 1.0 for budget in budgets[: parameters.get("warmup", 0)])


def test_geometric_by_hand() -> None:
    controller = make_controller("geometric", decay=0.5, floor=0.2, warmup=2)
    assert path(controller, [1.0] * 7) == [1.0, 1.0, 1.0, 0.5, 0.25, 0.2, 1.0, 0.5]


def test_loss_gated_by_hand() -> None:
    """Dense loss 1.0, tolerance 0.2: 1.1 and 1.2 go on, 1.3 resets; at the floor even a good loss resets."""
    controller = make_controller("loss_gated", decay=0.5, floor=0.2, tolerance=0.2)
    budgets = path(controller, [1.0, 1.1, 1.2, 1.0, 0.8, 1.3, 0.7, math.nan])
    assert budgets == [1.0, 0.5, 0.25, 0.2, 1.0, 0.5, 1.0, 0.5, 1.0]


def test_plateau_by_hand() -> None:
    """Holds while the loss falls by more than 0.1, at most three periods; then compresses; after the floor resets."""
    controller = make_controller("plateau", decay=0.5, floor=0.5, tolerance=0.1, patience=1, max_hold=3)
    budgets = path(controller, [2.0, 1.5, 1.0, 1.2, 1.15, 0.9, 0.85])
    #       hold, hold, third: compress; first look, no gain: past the floor, reset; first look, no gain: compress
    assert budgets == [1.0, 1.0, 1.0, 0.5, 0.5, 1.0, 1.0, 0.5]


def test_random_is_log_uniform_and_depends_on_seed_and_period_only() -> None:
    budgets = path(make_controller("random", floor=0.1, seed=1), [math.nan] * 4000)
    assert budgets == path(make_controller("random", floor=0.1, seed=1), [0.0] * 4000)
    assert budgets != path(make_controller("random", floor=0.1, seed=2), [0.0] * 4000)
    below = sum(budget < math.sqrt(0.1) for budget in budgets) / len(budgets)
    assert abs(below - 0.5) < 0.04  # five standard errors of a share of one half among 4001 draws


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("cosine", {}, "controller is 'cosine'.*dense, loss_gated, plateau"),
        ("dense", {"floor": 0.1}, "no parameter floor"),
        ("fixed", {}, "needs keep_ratio"),
        ("fixed", {"keep_ratio": 0.0}, r"keep_ratio is 0.0.*\(0, 1\]"),
        ("geometric", {"decay": 1.0}, "decay is 1.0"),
        ("geometric", {"floor": 0.5, "reset_to": 0.4}, "floor is 0.5.*reset_to, which is 0.4"),
        ("loss_gated", {"tolerance": -1.0}, "tolerance is -1.0"),
        ("plateau", {"patience": 0}, "patience is 0"),
        ("random", {"warmup": -1}, "warmup is -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_controller(name, **parameters)


def test_budget_path_lists_the_budget_of_each_period() -> None:
    assert budget_path(make_controller("geometric", decay=0.5, floor=0.5), [1.0, 1.0, 1.0]) == [1.0, 0.5, 1.0]


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match="state of controller 'plateau'"):
        make_controller("plateau").load_state_dict(make_controller("dense").state_dict())


def test_controllers_need_no_torch() -> None:
    code = "import sys, sparsecycle.controllers; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
