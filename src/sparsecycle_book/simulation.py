"""What the published rule does with a training accuracy that is given: the library's controllers, without a training.

Pure Python without torch: with `controllers.py` the same file runs in a browser, in the playground of the book.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sparsecycle.controllers import make_controller

BATCH = 128  # images: the noise of an accuracy comes from their number


@dataclass(frozen=True)
class Simulation:
    """What was seen at each decision, in order; all lists have one length.

    Attributes:
        steps: trained before the decision.
        averages, bests: smoothed accuracy and the largest it has been, in [0, 1].
        keep_ratios: in force after the decision.
        resets: whether the rule found that accuracy has given way.
        cooldowns: decisions without compression that are left after it.
    """

    steps: list[int] = field(default_factory=list)
    averages: list[float] = field(default_factory=list)
    bests: list[float] = field(default_factory=list)
    keep_ratios: list[float] = field(default_factory=list)
    resets: list[bool] = field(default_factory=list)
    cooldowns: list[int] = field(default_factory=list)


def noisy(accuracy: float, generator: random.Random, batch: int = BATCH) -> float:
    """Return the share of right answers in a batch of images, each right with probability `accuracy`.

    Drawn from the normal distribution with the same mean and variance, rounded to whole images: the binomial one would
    take as many draws as there are images.
    """
    deviation = math.sqrt(batch * accuracy * (1.0 - accuracy))
    return min(max(round(generator.gauss(batch * accuracy, deviation)), 0), batch) / batch


def simulate(
    parameters: Mapping[str, Any],
    accuracies: Sequence[float],
    steps_each: int = 1,
    *,
    gives_way: float = 0.0,
    noise: bool = False,
    seed: int = 0,
) -> Simulation:
    """Run the published rule, `accuracy_gated`, on a course of the training accuracy.

    Args:
        parameters: of the rule; those left out take the published values.
        accuracies: in [0, 1], each for `steps_each` steps.
        steps_each: from 1.
        gives_way: keep-ratio in [0, 1] below which the accuracy shrinks in proportion to the keep-ratio: the simplest
            made-up answer of a network. With 0 the accuracies do not depend on the keep-ratio.
        noise: whether each step sees a batch of 128 images that is right with the given probability, or that
            probability itself.
        seed: of the noise.

    Raises:
        ValueError: a parameter or a value outside its range.
    """
    if not accuracies or not all(0.0 <= accuracy <= 1.0 for accuracy in accuracies):
        raise ValueError("accuracies must be shares of images from 0 to 1, at least one")
    if steps_each < 1:
        raise ValueError(f"steps_each is {steps_each}, but must be a whole number of steps from 1")
    if not 0.0 <= gives_way <= 1.0:
        raise ValueError(f"gives_way is {gives_way}, but must be a keep-ratio from 0 to 1")
    controller: Any = make_controller("accuracy_gated", **parameters)
    generator = random.Random(seed)
    seen = Simulation()
    while controller.step < steps_each * len(accuracies):
        until = min(controller.step + controller.next_decision, steps_each * len(accuracies))
        share = min(1.0, controller.keep_ratio / gives_way) if gives_way else 1.0
        told = [share * accuracies[step // steps_each] for step in range(controller.step, until)]
        if noise:
            told = [noisy(accuracy, generator) for accuracy in told]
        for decision in controller.update(told):
            seen.steps.append(decision.step)
            seen.averages.append(decision.average)
            seen.bests.append(decision.best)
            seen.keep_ratios.append(decision.keep_ratio)
            seen.resets.append(decision.reset)
            seen.cooldowns.append(controller.cooldown_left)
    return seen


def simulate_json(question: str) -> str:
    """Return `simulate` with its arguments and its result as JSON, for the browser; a mistake is an "error"."""
    try:
        return json.dumps(asdict(simulate(**json.loads(question))))
    except ValueError as error:
        return json.dumps({"error": str(error)})
