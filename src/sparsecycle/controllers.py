"""Keep-ratio controllers: which budget the next period of training gets.

The paper (arXiv 2603.03131) describes *progressive compression* of the keep-ratio, *periodic reset* to a less sparse
state and *two adaptive keep-ratio control strategies*. Their rules and constants are not public to us: `loss_gated`
(for strategy 1) and `plateau` (for strategy 2) are reconstructions; `dense` is the paper's baseline; `geometric`,
`fixed` and `random` are our controls. A period is a fixed number of steps, an epoch unless configured otherwise.

Pure Python, no torch: the same file runs in a browser.
"""

import inspect
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar


@dataclass(frozen=True)
class PeriodStats:
    """Training statistics of one period, at the budget it was trained at. Never test data.

    Attributes:
        loss: mean cross-entropy in nats; may be NaN or infinite.
        accuracy: share of training images classified correctly, 0 to 1.
    """

    loss: float
    accuracy: float


class Controller:
    """What all controllers share: warm-up, the bounds, and a state that survives a round trip through JSON.

    Args:
        warmup: dense periods (budget 1.0) before the rule begins.

    Attributes:
        keep_ratio: the budget of the next period, a float in (0, 1].
    """

    name: ClassVar[str]
    adaptive: ClassVar[bool] = False

    def __init__(self, warmup: int = 0) -> None:
        if warmup < 0:
            raise ValueError(f"warmup is {warmup}, but must be a whole number of periods from 0")
        self.warmup = warmup
        self.period = 0
        self.keep_ratio = 1.0

    def _begin(self) -> None:
        """Set the first budget, once the subclass knows its parameters."""
        if self.warmup == 0:
            self.keep_ratio = self._first()

    def update(self, stats: PeriodStats) -> None:
        """Take the statistics of the period just trained at `keep_ratio` and set `keep_ratio` for the next one."""
        self.period += 1
        if self.period < self.warmup:
            return
        self.keep_ratio = self._first() if self.period == self.warmup else self._next(stats)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes in training, in types that JSON keeps exactly."""
        return {name: getattr(self, name) for name in self._state_names()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state written by `state_dict`.

        Raises:
            ValueError: the names in it are not those of this controller.
        """
        names = self._state_names()
        if set(state) != set(names):
            raise ValueError(f"state of controller {self.name!r} needs {sorted(names)}, got {sorted(state)}")
        for name in names:
            setattr(self, name, state[name])

    def _state_names(self) -> tuple[str, ...]:
        return ("period", "keep_ratio")

    def _first(self) -> float:
        raise NotImplementedError

    def _next(self, stats: PeriodStats) -> float:
        raise NotImplementedError


class Dense(Controller):
    """Always 1.0: the paper's baseline."""

    name = "dense"

    def __init__(self) -> None:
        super().__init__()

    def _first(self) -> float:
        return 1.0

    def _next(self, stats: PeriodStats) -> float:
        return 1.0


class Fixed(Controller):
    """One constant budget. Control: is cycling needed?

    Args:
        keep_ratio: the budget, in (0, 1].
        warmup: dense periods first.
    """

    name = "fixed"

    def __init__(self, keep_ratio: float, warmup: int = 0) -> None:
        super().__init__(warmup)
        _check_share("keep_ratio", keep_ratio)
        self.constant = keep_ratio
        self._begin()

    def _first(self) -> float:
        return self.constant

    def _next(self, stats: PeriodStats) -> float:
        return self.constant


class Random(Controller):
    """A log-uniform budget in [floor, 1] each period. Control: is order needed?

    Args:
        floor: smallest budget.
        warmup: dense periods first.
        seed: of the draws; the budget of a period depends on the seed and the period's number alone.
    """

    name = "random"

    def __init__(self, floor: float = 0.2, warmup: int = 0, seed: int = 0) -> None:
        super().__init__(warmup)
        _check_share("floor", floor)
        self.floor = floor
        self.seed = seed
        self._begin()

    def _first(self) -> float:
        share = random.Random(f"{self.seed}/{self.period}").random()
        budget: float = self.floor**share
        return min(1.0, max(self.floor, budget))

    def _next(self, stats: PeriodStats) -> float:
        return self._first()


class Cycle(Controller):
    """Compression from `reset_to` down to `floor` and back: what `geometric`, `loss_gated` and `plateau` share.

    Args:
        decay: factor of one compression, in (0, 1).
        floor: smallest budget; it is visited, then the cycle resets.
        reset_to: budget after a reset, in [floor, 1].
        warmup: dense periods first.
    """

    def __init__(self, decay: float, floor: float, reset_to: float, warmup: int) -> None:
        super().__init__(warmup)
        if not 0.0 < decay < 1.0:
            raise ValueError(f"decay is {decay}, but must lie between 0 and 1: the factor of one compression")
        _check_share("floor", floor)
        _check_share("reset_to", reset_to)
        if floor > reset_to:
            raise ValueError(f"floor is {floor}, but must not exceed reset_to, which is {reset_to}")
        self.decay = decay
        self.floor = floor
        self.reset_to = reset_to

    def _first(self) -> float:
        return self.reset_to

    def _compressed(self) -> float:
        """One step down, or the reset where the floor has been visited."""
        if self.keep_ratio <= self.floor:
            return self.reset_to
        return max(self.floor, self.keep_ratio * self.decay)


class Geometric(Cycle):
    """Compress every period, reset after the floor: no feedback. Control: is adaptivity needed?"""

    name = "geometric"

    def __init__(self, decay: float = 0.7, floor: float = 0.2, reset_to: float = 1.0, warmup: int = 0) -> None:
        super().__init__(decay, floor, reset_to, warmup)
        self._begin()

    def _next(self, stats: PeriodStats) -> float:
        return self._compressed()


class LossGated(Cycle):
    """Strategy 1, reconstructed: compress while the loss stays close to that of the last dense visit, else reset.

    Args:
        decay, floor, reset_to, warmup: see `Cycle`.
        tolerance: how far, in nats, the training loss at a budget may lie above the loss at the last visit of
            `reset_to` for compression to go on.

    A loss that is not finite resets. Returns to `reset_to` at the latest after the steps from there to the floor.
    """

    name = "loss_gated"
    adaptive = True

    def __init__(
        self,
        decay: float = 0.7,
        floor: float = 0.2,
        reset_to: float = 1.0,
        tolerance: float = 0.2,
        warmup: int = 0,
    ) -> None:
        super().__init__(decay, floor, reset_to, warmup)
        _check_not_negative("tolerance", tolerance)
        self.tolerance = tolerance
        self.dense_loss: float | None = None
        self._begin()

    def _state_names(self) -> tuple[str, ...]:
        return ("period", "keep_ratio", "dense_loss")

    def _next(self, stats: PeriodStats) -> float:
        if not math.isfinite(stats.loss):
            return self.reset_to
        if self.keep_ratio == self.reset_to:
            self.dense_loss = stats.loss
            return self._compressed()
        if self.dense_loss is None or stats.loss > self.dense_loss + self.tolerance:
            return self.reset_to
        return self._compressed()


class Plateau(Cycle):
    """Strategy 2, reconstructed: hold a budget until its loss stops improving, then compress; reset after the floor.

    Args:
        decay, floor, reset_to, warmup: see `Cycle`.
        tolerance: smallest fall of the training loss, in nats, that counts as an improvement.
        patience: periods without improvement before the budget is compressed.
        max_hold: periods after which a budget is compressed even if its loss still improves, so that every sequence
            of losses comes back to `reset_to`.

    A loss that is not finite resets.
    """

    name = "plateau"
    adaptive = True

    def __init__(
        self,
        decay: float = 0.7,
        floor: float = 0.2,
        reset_to: float = 1.0,
        tolerance: float = 0.05,
        patience: int = 1,
        max_hold: int = 4,
        warmup: int = 0,
    ) -> None:
        super().__init__(decay, floor, reset_to, warmup)
        _check_not_negative("tolerance", tolerance)
        for name, value in (("patience", patience), ("max_hold", max_hold)):
            if value < 1:
                raise ValueError(f"{name} is {value}, but must be a whole number of periods from 1")
        self.tolerance = tolerance
        self.patience = patience
        self.max_hold = max_hold
        self.best_loss: float | None = None
        self.held = 0
        self.without_improvement = 0
        self._begin()

    def _state_names(self) -> tuple[str, ...]:
        return ("period", "keep_ratio", "best_loss", "held", "without_improvement")

    def _next(self, stats: PeriodStats) -> float:
        if not math.isfinite(stats.loss):
            return self._leave(self.reset_to)
        self.held += 1
        if self.best_loss is None or stats.loss < self.best_loss - self.tolerance:
            self.best_loss = stats.loss
            self.without_improvement = 0
        else:
            self.without_improvement += 1
        if self.without_improvement >= self.patience or self.held >= self.max_hold:
            return self._leave(self._compressed())
        return self.keep_ratio

    def _leave(self, keep_ratio: float) -> float:
        self.best_loss = None
        self.held = 0
        self.without_improvement = 0
        return keep_ratio


CONTROLLERS: dict[str, type[Controller]] = {
    cls.name: cls for cls in (Dense, LossGated, Plateau, Geometric, Fixed, Random)
}


@cache
def controller_parameters(name: str) -> Mapping[str, Any]:
    """Names and defaults of the parameters of a controller (`inspect.Parameter.empty` where it must be given).

    Raises:
        ValueError: unknown name.
    """
    if name not in CONTROLLERS:
        raise ValueError(f"controller is {name!r}, but must be one of {', '.join(CONTROLLERS)}")
    signature = inspect.signature(CONTROLLERS[name])
    return MappingProxyType({parameter.name: parameter.default for parameter in signature.parameters.values()})


def make_controller(name: str, **parameters: Any) -> Controller:
    """The controller of that name: `dense`, `loss_gated`, `plateau`, `geometric`, `fixed` or `random`.

    Args:
        name: of the rule.
        parameters: those of the rule, all with defaults but `keep_ratio` of `fixed`: `decay`, `floor`, `reset_to`,
            `tolerance` (nats), `patience`, `max_hold`, `warmup` (periods), `seed`, where they apply.

    Raises:
        ValueError: unknown name or parameter, a missing one, or a value outside its range.

    Source: arXiv 2603.03131 for the two adaptive strategies, by name only; all rules are reconstructions.
    """
    allowed = controller_parameters(name)
    unknown = sorted(set(parameters) - set(allowed))
    if unknown:
        known = ", ".join(allowed) or "none"
        raise ValueError(f"controller {name!r} has no parameter {', '.join(unknown)}; it takes: {known}")
    missing = [key for key, default in allowed.items() if default is inspect.Parameter.empty and key not in parameters]
    if missing:
        raise ValueError(f"controller {name!r} needs {', '.join(missing)}")
    return CONTROLLERS[name](**parameters)


def budget_path(controller: Controller, losses: Iterable[float]) -> list[float]:
    """The budget of each period when the controller is told these training losses (nats), one a period."""
    path = []
    for loss in losses:
        path.append(controller.keep_ratio)
        controller.update(PeriodStats(loss=float(loss), accuracy=math.nan))
    return path


def _check_share(name: str, value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ValueError(f"{name} is {value}, but must lie in (0, 1]: a share of activations")


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value}, but must be a finite number of nats from 0")
