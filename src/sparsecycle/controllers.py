"""The controllers: what sets the keep-ratio while a network is trained.

`accuracy_gated` is the rule of the author's script (arXiv 2603.03131): compress the keep-ratio a little at every
decision, and reset it to 1 when training accuracy has given way. `epoch_gated` is the same rule with one decision an
epoch, our reconstruction of the paper's other strategy. `dense` is the baseline; `replay`, `fixed`, `random` and
`geometric` are controls of ours.

A controller is told the training accuracy of every step and sees nothing else. Steps may be handed over one by one or
in groups of any size; the result is the same. Pure Python without torch: the same file runs in a browser.
"""

import inspect
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar

SMALLEST = math.ulp(0.0)  # above zero, because a keep-ratio of 0 is refused; every layer keeps one value long before


@dataclass(frozen=True)
class Decision:
    """One decision of a controller.

    Attributes:
        step: steps trained before it.
        average, best: smoothed training accuracy and the largest it has ever been; None for rules without feedback.
        keep_ratio: in force from the next step on.
        reset: whether the rule found that accuracy has given way, also where the keep-ratio stood at 1 already (for
            `geometric`: whether the cycle began anew).
    """

    step: int
    average: float | None
    best: float | None
    keep_ratio: float
    reset: bool


class Controller:
    """What all controllers share: the count of steps, the rhythm of decisions, and a state that JSON keeps exactly.

    Args:
        decision_steps: steps between two decisions, counted over the whole run; None for a rule that never decides.

    Attributes:
        step: steps told so far.
        keep_ratio: of the next step, in (0, 1].
    """

    name: ClassVar[str]
    adaptive: ClassVar[bool] = False
    _state: ClassVar[tuple[str, ...]] = ("step", "keep_ratio")

    def __init__(self, decision_steps: int | None = None) -> None:
        if decision_steps is not None:
            _check_whole("decision_steps", decision_steps, 1)
        self.decision_steps = decision_steps
        self.step = 0
        self.keep_ratio = 1.0

    @property
    def next_decision(self) -> int | None:
        """Steps that may pass before `update` must be called; None where none ever has to."""
        return None if self.decision_steps is None else self.decision_steps - self.step % self.decision_steps

    def update(self, accuracies: Iterable[float]) -> list[Decision]:
        """Take the training accuracy (0 to 1) of each step since the last call, in order; return the decisions made."""
        made = []
        for accuracy in accuracies:
            self.step += 1
            self._observe(accuracy)
            if self.decision_steps is not None and self.step % self.decision_steps == 0:
                made.append(self._decide())
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes in training, in types that JSON keeps exactly."""
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state written by `state_dict`.

        Raises:
            ValueError: the names in it are not those of this controller.
        """
        if set(state) != set(self._state):
            raise ValueError(f"state of controller {self.name!r} needs {sorted(self._state)}, got {sorted(state)}")
        for name in self._state:
            setattr(self, name, state[name])

    def _observe(self, accuracy: float) -> None:
        """Take the accuracy of one step."""

    def _decide(self) -> Decision:
        """Set `keep_ratio` for the steps to come."""
        raise NotImplementedError


class Dense(Controller):
    """Always 1.0: the paper's baseline."""

    name = "dense"

    def __init__(self) -> None:
        super().__init__()


class AccuracyGated(Controller):
    """The published rule. After every `decision_steps` steps:

    1. If the average has fallen by more than `tolerance` below the best it ever was, reset: raise the keep-ratio by
       `relax`, to 1 at most, and do not compress at the next `cooldown` decisions.
    2. Otherwise, while the cooldown lasts, change nothing.
    3. Otherwise compress: multiply the keep-ratio by `1 - tighten`.

    The average is exponential, `smoothing` times its old value plus the rest times the accuracy of the step; the first
    step sets it.

    Args:
        decision_steps: steps between two decisions.
        tighten: share of the keep-ratio that one compression takes away, in [0, 1).
        tolerance: how far the average may fall below its best without a reset, in accuracy.
        smoothing: weight of the average's old value, in [0, 1).
        relax: what a reset adds; 1.0 resets to 1. The script lets the raise grow with the fall, up to a cap that both
            of its configurations always reach, so one number is enough.
        cooldown: decisions without compression after a reset.
        floor: smallest keep-ratio.

    Source: the author's script; the defaults are its published values.
    """

    name = "accuracy_gated"
    adaptive = True
    _state = ("step", "keep_ratio", "average", "best", "cooldown_left")

    def __init__(
        self,
        decision_steps: int = 128,
        tighten: float = 0.018,
        tolerance: float = 0.12,
        smoothing: float = 0.5,
        relax: float = 1.0,
        cooldown: int = 3,
        floor: float = 0.0,
    ) -> None:
        super().__init__(decision_steps)
        for name, value in (("tighten", tighten), ("smoothing", smoothing)):
            _check_number(name, value)
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} is {value}, but must lie in [0, 1)")
        _check_number("tolerance", tolerance)
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise ValueError(f"tolerance is {tolerance}, but must be a finite share of images from 0")
        _check_share("relax", relax)
        _check_whole("cooldown", cooldown, 0)
        _check_number("floor", floor)
        if not 0.0 <= floor <= 1.0:
            raise ValueError(f"floor is {floor}, but must lie in [0, 1]")
        self.tighten, self.tolerance, self.smoothing = tighten, tolerance, smoothing
        self.relax, self.cooldown, self.floor = relax, cooldown, floor
        self.average: float | None = None
        self.best: float | None = None
        self.cooldown_left = 0

    def _observe(self, accuracy: float) -> None:
        if self.average is None or self.best is None:
            self.average = self.best = accuracy
        else:
            self.average = self.smoothing * self.average + (1.0 - self.smoothing) * accuracy
            self.best = max(self.best, self.average)

    def _decide(self) -> Decision:
        assert self.average is not None and self.best is not None, "a decision follows a step"
        reset = self.best - self.average > self.tolerance
        if reset:
            self.keep_ratio = min(1.0, self.keep_ratio + self.relax)
            self.cooldown_left = self.cooldown
        elif self.cooldown_left > 0:
            self.cooldown_left -= 1
        else:
            self.keep_ratio = max(self.floor, self.keep_ratio * (1.0 - self.tighten), SMALLEST)
        return Decision(self.step, self.average, self.best, self.keep_ratio, reset)


class EpochGated(AccuracyGated):
    """The published rule with one decision an epoch that compresses by as much an epoch: a reconstruction.

    A comment of the author's script says that compression used to happen once an epoch, so this is our candidate for
    the strategy of the paper that the script does not hold. The cooldown counts decisions, so it lasts three epochs.
    The defaults are for CIFAR-10 in batches of 128: 390 steps.
    """

    name = "epoch_gated"

    # Spelled out, because `RunConfig` reads names and defaults from the signature.
    def __init__(
        self,
        decision_steps: int = 390,
        tighten: float = 1.0 - (1.0 - 0.018) ** (390 / 128),
        tolerance: float = 0.12,
        smoothing: float = 0.5,
        relax: float = 1.0,
        cooldown: int = 3,
        floor: float = 0.0,
    ) -> None:
        super().__init__(decision_steps, tighten, tolerance, smoothing, relax, cooldown, floor)


class Replay(Controller):
    """Follow a path of keep-ratios that another run took, whatever the accuracy. Control: does feedback matter?

    Args:
        path: the keep-ratio after each decision of that run; the last one stays.
        decision_steps: steps between two decisions.
        shuffled: take the path in random order. Control: does the order matter?
        seed: of the shuffle.
    """

    name = "replay"

    def __init__(self, path: Sequence[float], decision_steps: int, shuffled: bool = False, seed: int = 0) -> None:
        super().__init__(decision_steps)
        if not isinstance(path, Iterable) or isinstance(path, str):
            raise ValueError(f"path is {path!r}, but must be a list of keep-ratios")
        if not isinstance(shuffled, bool):
            raise ValueError(f"shuffled is {shuffled!r}, but must be True or False")
        _check_whole("seed", seed, 0)
        self.path = list(path)
        if not self.path:
            raise ValueError("path is empty, but must hold the keep-ratio after each decision of a run")
        for keep_ratio in self.path:
            _check_share("a keep-ratio of path", keep_ratio)
        if shuffled:
            random.Random(seed).shuffle(self.path)

    def _decide(self) -> Decision:
        assert self.decision_steps is not None
        place = min(self.step // self.decision_steps, len(self.path)) - 1
        self.keep_ratio = self.path[place]
        return Decision(self.step, None, None, self.keep_ratio, False)


class Fixed(Controller):
    """One constant keep-ratio. Control: is cycling needed?

    Args:
        keep_ratio: in (0, 1].
    """

    name = "fixed"

    def __init__(self, keep_ratio: float) -> None:
        super().__init__()
        _check_share("keep_ratio", keep_ratio)
        self.keep_ratio = float(keep_ratio)


class Random(Controller):
    """A log-uniform keep-ratio in [floor, 1] after each decision. Control: is a gradual path needed?

    Args:
        decision_steps: steps between two decisions.
        floor: smallest keep-ratio.
        seed: of the draws; a draw depends on the seed and the decision's number alone.
    """

    name = "random"

    def __init__(self, decision_steps: int = 128, floor: float = 0.02, seed: int = 0) -> None:
        super().__init__(decision_steps)
        _check_share("floor", floor)
        _check_whole("seed", seed, 0)
        self.floor = floor
        self.seed = seed

    def _decide(self) -> Decision:
        share = random.Random(f"{self.seed}/{self.step}").random()
        self.keep_ratio = min(1.0, max(self.floor, self.floor**share))
        return Decision(self.step, None, None, self.keep_ratio, False)


class Geometric(Controller):
    """Compress at every decision down to `floor`, then begin again at 1: the cycle without feedback.

    Args:
        decision_steps: steps between two decisions.
        tighten: share of the keep-ratio that one compression takes away, in (0, 1).
        floor: smallest keep-ratio; it is visited, then the cycle begins anew.
    """

    name = "geometric"

    def __init__(self, decision_steps: int = 128, tighten: float = 0.018, floor: float = 0.02) -> None:
        super().__init__(decision_steps)
        _check_number("tighten", tighten)
        if not 0.0 < tighten < 1.0:
            raise ValueError(f"tighten is {tighten}, but must lie between 0 and 1")
        _check_share("floor", floor)
        self.tighten = tighten
        self.floor = floor

    def _decide(self) -> Decision:
        reset = self.keep_ratio <= self.floor
        self.keep_ratio = 1.0 if reset else max(self.floor, self.keep_ratio * (1.0 - self.tighten))
        return Decision(self.step, None, None, self.keep_ratio, reset)


# Figures, tables and checks of names read this: a controller that is here is known everywhere.
CONTROLLERS: dict[str, type[Controller]] = {
    cls.name: cls for cls in (Dense, AccuracyGated, EpochGated, Replay, Fixed, Random, Geometric)
}


@cache
def controller_parameters(name: str) -> Mapping[str, Any]:
    """Return names and defaults of a controller's parameters (`inspect.Parameter.empty` where one must be given).

    Raises:
        ValueError: unknown name.
    """
    if name not in CONTROLLERS:
        raise ValueError(f"controller is {name!r}, but must be one of {', '.join(CONTROLLERS)}")
    signature = inspect.signature(CONTROLLERS[name])
    return MappingProxyType({parameter.name: parameter.default for parameter in signature.parameters.values()})


def make_controller(name: str, **parameters: Any) -> Controller:
    """Return the controller of that name, one of `CONTROLLERS`, with the parameters of its class.

    Raises:
        ValueError: unknown name or parameter, a missing one, or a value outside its range.
    """
    if not isinstance(name, str):
        raise ValueError(f"controller is {name!r}, but must be one of {', '.join(CONTROLLERS)}")
    allowed = controller_parameters(name)
    unknown = sorted(set(parameters) - set(allowed))
    if unknown:
        known = ", ".join(allowed) or "none"
        raise ValueError(f"controller {name!r} has no parameter {', '.join(unknown)}; it takes: {known}")
    missing = [key for key, default in allowed.items() if default is inspect.Parameter.empty and key not in parameters]
    if missing:
        raise ValueError(f"controller {name!r} needs {', '.join(missing)}")
    empty = [key for key, value in parameters.items() if value is None]
    if empty:
        raise ValueError(f"{', '.join(empty)} of controller {name!r} is None, but must have a value")
    return CONTROLLERS[name](**parameters)


def keep_ratio_path(controller: Controller, accuracies: Iterable[float]) -> list[float]:
    """Return the keep-ratio of each step when the controller is told these training accuracies, one a step."""
    path = []
    for accuracy in accuracies:
        path.append(controller.keep_ratio)
        controller.update([accuracy])
    return path


def _check_whole(name: str, value: int, smallest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
        raise ValueError(f"{name} is {value!r}, but must be a whole number from {smallest}")


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} is {value!r}, but must be a number")


def _check_share(name: str, value: float) -> None:
    _check_number(name, value)
    if not 0.0 < value <= 1.0:
        raise ValueError(f"{name} is {value}, but must lie in (0, 1]: a share of activations")
