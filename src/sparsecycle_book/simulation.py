"""What a controller does with losses that are given: its real rules, without a training.

Pure Python, no torch: with `controllers.py` the same file runs in a browser, in the playground of the book.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsecycle.controllers import budget_path, make_controller


@dataclass(frozen=True)
class Simulation:
    """One value a period.

    Attributes:
        budgets: keep-ratios in (0, 1], at which the periods were trained.
        losses: what the controller was told, in nats; NaN where the loss given was none.
    """

    budgets: list[float]
    losses: list[float]


def simulate(method: str, parameters: Mapping[str, Any], losses: Sequence[float], cost: float = 0.0) -> Simulation:
    """The budgets that a controller chooses when dense training would have these losses.

    Args:
        method: name of the controller.
        parameters: of the controller, see `make_controller`.
        losses: in nats, one a period; a NaN stands for a period that diverged.
        cost: nats that a budget of 0 would add; a budget k adds `cost * (1 - k)`. A made-up answer of the network, the
            simplest one: with 0 the losses do not depend on the budgets at all.

    Raises:
        ValueError: unknown controller or parameter, a value outside its range, or a negative cost.
    """
    if not (math.isfinite(cost) and cost >= 0):
        raise ValueError(f"cost is {cost}, but must be a finite number of nats from 0")
    controller = make_controller(method, **parameters)
    told: list[float] = []

    def answers() -> Iterator[float]:
        for loss in losses:
            told.append(loss + cost * (1.0 - controller.keep_ratio))
            yield told[-1]

    return Simulation(budget_path(controller, answers()), told)


def simulate_json(question: str) -> str:
    """`simulate` with its arguments and its result as JSON, for the browser; null is NaN, a mistake is an "error"."""
    asked = json.loads(question)
    asked["losses"] = [math.nan if loss is None else loss for loss in asked["losses"]]
    try:
        made = simulate(**asked)
    except ValueError as error:
        return json.dumps({"error": str(error)})
    return json.dumps({"budgets": made.budgets, "losses": [None if math.isnan(loss) else loss for loss in made.losses]})
