"""What follows from the published rule, computed with the library's own controller and without training."""

from collections.abc import Sequence

import pandas as pd
import torch

from sparsecycle.config import RunConfig
from sparsecycle.controllers import make_controller
from sparsecycle.evaluation.accuracy import watched
from sparsecycle.network import WideResNet

PUBLISHED = RunConfig(preset="paper", method="accuracy_gated")
DECISION_STEPS = PUBLISHED.decision_steps or 0


def decisions_at(accuracies: Sequence[float]) -> pd.DataFrame:
    """A worked example: what the rule decides after each of these training accuracies, one a step, as text."""
    controller = make_controller("accuracy_gated", decision_steps=1)
    rows, before = [], controller.keep_ratio
    for accuracy in accuracies:
        [made] = controller.update([accuracy])
        assert made.average is not None and made.best is not None
        done = "1: resets" if made.reset else "3: compresses" if made.keep_ratio < before else "2: waits"
        rows.append(
            {
                "step": str(made.step),
                "accuracy": f"{accuracy:.2f}",
                "average": f"{made.average:.3f}",
                "best": f"{made.best:.3f}",
                "drop": f"{made.best - made.average:.3f}",
                "the rule": done,
                "keep-ratio": f"{made.keep_ratio:.3f}",
            }
        )
        before = made.keep_ratio
    return pd.DataFrame(rows)


def compressions(keep_ratio: float) -> int:
    """How many decisions in a row the published rule takes from 1 down to this keep-ratio or below it."""
    controller = make_controller("accuracy_gated", **PUBLISHED.controller_parameters())
    while controller.keep_ratio > keep_ratio:
        controller.update([1.0] * DECISION_STEPS)  # training accuracy never falls
    return controller.step // DECISION_STEPS


def descent_table(keep_ratios: Sequence[float] = (0.57, 0.5, 0.25, 0.1, 0.05, 0.02)) -> pd.DataFrame:
    """How long compression from 1 takes: keep-ratio, decisions, epochs."""
    rows = []
    for keep_ratio in keep_ratios:
        count = compressions(keep_ratio)
        epochs = count * DECISION_STEPS / PUBLISHED.steps_per_epoch
        rows.append({"from 1 to": f"{keep_ratio:g}", "decisions": count, "epochs": f"{epochs:.0f}"})
    return pd.DataFrame(rows)


def decisions_of_a_run() -> int:
    """Decisions in a run of the published length."""
    return PUBLISHED.steps // DECISION_STEPS


def cycles_table(give_way: Sequence[float] = (0.17, 0.03, 0.005)) -> pd.DataFrame:
    """Cycles begun in a run of the published length, if accuracy collapses at a keep-ratio and returns at once."""
    rows = []
    for least in give_way:
        controller = make_controller("accuracy_gated", **PUBLISHED.controller_parameters())
        cycles = 1
        for _ in range(decisions_of_a_run()):
            accuracy = 1.0 if controller.keep_ratio >= least else 0.5
            cycles += sum(made.reset for made in controller.update([accuracy] * DECISION_STEPS))
        rows.append({"accuracy gives way below": f"{least:g}", "cycles begun": cycles})
    return pd.DataFrame(rows)


def active_at_start(depth: int = PUBLISHED.depth, width: int = PUBLISHED.width, images: int = 4) -> tuple[float, float]:
    """Smallest and largest share of positive activations in the layers of an untrained network, on random images."""
    torch.manual_seed(0)
    model = WideResNet(depth, width).eval()
    shares: list[float] = []
    with torch.no_grad(), watched(model, lambda _, output: shares.append((output > 0).float().mean().item())):
        model(torch.randn(images, 3, 32, 32))
    return min(shares), max(shares)
