"""What the playground says a controller does is what it did in training."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecycle import RunConfig, make_controller
from sparsecycle.controllers import budget_path
from sparsecycle_book.playground.controllers import COST, KNOBS
from sparsecycle.runs.records import load_configurations, load_epochs
from sparsecycle_book.simulation import simulate, simulate_json

LOSSES = st.lists(st.floats(0, 5), min_size=1, max_size=40)


def test_recorded_losses_lead_to_the_budgets_of_the_recorded_runs() -> None:
    configurations = load_configurations().set_index("run")
    replayed = 0
    for name, run in load_epochs().groupby("run"):
        wanted = configurations.loc[name, ["preset", "method", "seed", "keep_ratio"]].dropna().to_dict()
        if run["variant"].iloc[0] or wanted["preset"] not in ("quick", "classroom"):
            continue
        config = RunConfig(**wanted)
        steered = len(run) - config.final_dense_periods  # the controller is not asked about the last ones
        run = run.sort_values("period").head(steered)
        made = simulate(config.method, config.controller_parameters(), list(run["train_loss"]))
        assert made.budgets == pytest.approx(list(run["keep_ratio"]), abs=1e-12), name
        replayed += 1
    assert replayed >= 50


@given(LOSSES)
def test_without_a_cost_the_controller_is_told_the_losses_as_they_are(losses: list[float]) -> None:
    made = simulate("plateau", {"decay": 0.5}, losses)
    assert made.losses == losses
    assert made.budgets == budget_path(make_controller("plateau", decay=0.5), losses)


@given(LOSSES, st.floats(0, 3))
def test_a_cost_is_added_in_proportion_to_what_is_cut(losses: list[float], cost: float) -> None:
    made = simulate("loss_gated", {}, losses, cost)
    for told, loss, budget in zip(made.losses, losses, made.budgets, strict=True):
        assert told == loss + cost * (1 - budget)


def test_a_cost_above_the_tolerance_turns_loss_gated_back() -> None:
    # Dense, then 0.7, which costs 0.3 nats of the 1: more than the tolerance of 0.2, so dense again.
    assert simulate("loss_gated", {}, [1.0] * 5, cost=1.0).budgets == [1.0, 0.7, 1.0, 0.7, 1.0]
    assert simulate("loss_gated", {}, [1.0] * 3, cost=0.1).budgets == pytest.approx([1.0, 0.7, 0.49])


def test_the_browser_is_answered_in_json() -> None:
    question = {"method": "loss_gated", "parameters": {}, "losses": [1.0, None, 1.0], "cost": 0.0}
    answer = json.loads(simulate_json(json.dumps(question)))
    assert answer == {"budgets": [1.0, 0.7, 1.0], "losses": [1.0, None, 1.0]}, "null diverged, and resets"
    wrong = json.loads(simulate_json(json.dumps(question | {"parameters": {"decay": 2}})))
    assert wrong["error"] == "decay is 2, but must lie between 0 and 1: the factor of one compression"


@pytest.mark.parametrize("cost", [-0.1, math.nan, math.inf])
def test_a_cost_that_is_none_is_refused(cost: float) -> None:
    with pytest.raises(ValueError, match=r"cost is .*, but must be a finite number of nats from 0"):
        simulate("dense", {}, [1.0], cost)


def test_what_the_playground_suggests_to_try_changes_what_is_seen() -> None:
    epochs = load_epochs()
    seed0 = epochs[(epochs["preset"] == "classroom") & (epochs["seed"] == 0) & (epochs["variant"] == "")]
    losses = {method: list(of.sort_values("period")["train_loss"]) for method, of in seed0.groupby("method")}

    def budgets(method: str, curve: str, cost: float = 0.0, **changed: float) -> list[float]:
        start = RunConfig(preset="classroom", method=method).controller_parameters()
        return simulate(method, start | changed, losses[curve], cost).budgets

    assert budgets("loss_gated", "loss_gated", tolerance=0.0) == budgets("loss_gated", "loss_gated", tolerance=0.8)
    floor = min(budgets("loss_gated", "dense"))
    dear = [cost for cost in KNOBS[COST][1] if min(budgets("loss_gated", "dense", cost)) > floor]
    assert dear and min(dear) > 0, "from some cost on it turns back before its floor"
    assert budgets("loss_gated", "dense", dear[0], tolerance=0.8) != budgets("loss_gated", "dense", dear[0])
    plain = budgets("plateau", "dense")
    assert plain == budgets("plateau", "dense", patience=4), "each budget is held for two periods"
    assert plain[:4] == [1.0, 1.0, plain[2], plain[2]]
    longer = budgets("plateau", "dense", max_hold=8)
    assert longer != plain and longer != budgets("plateau", "dense", max_hold=8, patience=3)
