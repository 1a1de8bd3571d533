"""The training: one step, and the loop of steps, at the keep-ratio that the controller sets.

In a step the network sees a batch at the keep-ratio in force; the accuracy on this batch, before the update, is what
the controller is told. A decision holds from the next step on. No files here: a `Trainer` takes a configuration and
tensors, and `runs/execute.py` gives it folders, checkpoints and records.

Source: the author's script of arXiv 2603.03131 for recipe and order of events. Nothing random depends on what was done
before a pause: the order of the images is a function of seed and epoch, and the generator's state travels with `state`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.config import RunConfig
from sparsecycle.controllers import Controller, Decision, make_controller
from sparsecycle.layer import set_keep_ratio
from sparsecycle.network import WideResNet
from sparsecycle.variants import BLOCKS, augmented, constraint_factory, without_norm_bias

MEAN = (0.4914, 0.4822, 0.4465)  # of CIFAR-10's channels, as in the author's script
DEVIATION = (0.2470, 0.2435, 0.2616)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Part:
    """Means over the steps from one look at the test images to the next.

    Attributes:
        steps: how many.
        loss: cross-entropy in nats; not finite where training diverged.
        accuracy: share of the batches' images classified correctly, before each update.
        gradient_norm: before clipping; NaN where gradients are not clipped.
    """

    steps: int
    loss: float
    accuracy: float
    gradient_norm: float


def normalize(images: Tensor) -> Tensor:
    """Return uint8 images (N, 3, 32, 32) as float32 with about zero mean and unit variance in each channel."""
    mean, deviation = _constants(images.device)
    return (images.float() / 255 - mean) / deviation


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, DEVIATION))
    return mean, deviation


def make_network(config: RunConfig) -> WideResNet:
    """Return the network of a configuration, initialized from torch's generator, on the CPU."""
    given: dict[str, Any] = {"norm_eps": config.norm_eps, "dropout": config.dropout, "block": BLOCKS[config.shortcut]}
    constraint = constraint_factory(config.scope, config.selection, config.rounding)
    model = WideResNet(config.depth, config.width, constraint=constraint, **given)
    return model if config.norm_bias else without_norm_bias(model)


def make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum; gains and biases, the parameters of one dimension, are never decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.dim() > 1]
    free = [parameter for parameter in trained if parameter.dim() == 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    nesterov = config.momentum > 0
    fused = config.precision != "float16"  # a first step that the scaler skips leaves fused momentum uninitialized
    return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=nesterov, fused=fused)


def learning_rate(config: RunConfig, epoch: int) -> float:
    """Return the rate of an epoch, counted from 0: a cosine over the run, the same throughout the epoch."""
    rise = min(1.0, (epoch + 1) / (config.warmup_epochs + 1))
    return rise * config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def epoch_order(config: RunConfig, epoch: int) -> Tensor:
    """Return the order of the images in an epoch, int64 (fitted_images,): a function of seed and epoch alone."""
    # More than any number of epochs, so that no two seeds share an order.
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    return torch.randperm(config.fitted_images, generator=generator)


class Trainer:
    """One network under training.

    Args:
        config: what to do; `seed` sets weights and order.
        images: uint8 (N, 3, 32, 32), the training images.
        labels: int64 (N,).
        device: "cpu" or "cuda".
        path: the keep-ratios that `replay` follows.

    Attributes:
        step: steps trained so far.
        decisions: all that the controller decided so far.
    """

    def __init__(
        self,
        config: RunConfig,
        images: Tensor,
        labels: Tensor,
        *,
        device: str = "cpu",
        path: Sequence[float] | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.images, self.labels = images.to(device), labels.to(device)
        self.model = make_network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, config)
        parameters = config.controller_parameters() | ({} if path is None else {"path": path})
        self.controller: Controller = make_controller(config.method, **parameters)
        self.scaler = torch.amp.GradScaler(device, enabled=config.precision == "float16")
        self.step = 0
        self.decisions: list[Decision] = []
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # of loss, accuracy and gradient norm
        self._counted = 0
        self._untold: list[Tensor] = []  # accuracies of the steps that the controller has not been told of
        self._order: tuple[int, Tensor] | None = None
        set_keep_ratio(self.model, self.controller.keep_ratio)

    @property
    def keep_ratio(self) -> float:
        """The keep-ratio of the next step."""
        return self.controller.keep_ratio

    def prepare(self) -> None:
        """Do before the first step what takes long; here nothing does."""

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the steps to come."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def train(self, until: int, after_step: Callable[[], bool] | None = None) -> Part | None:
        """Train to step `until`, the end of a part, or until `after_step` returns True.

        Returns:
            Means over the part, or None where `after_step` asked for a pause: call again with the same `until`.
        """
        self.model.train()
        while self.step < until:
            epoch, place = divmod(self.step, self.config.steps_per_epoch)
            self.set_learning_rate(learning_rate(self.config, epoch))
            chosen = self._epoch_order(epoch)[place * self.config.batch_size :][: self.config.batch_size]
            self._train_on(chosen)
            if after_step is not None and after_step() and self.step < until:
                return None  # at the end of a part there is nothing to pause: the caller asks again
        self._tell()
        loss, accuracy, norm = (self._sums / max(1, self._counted)).tolist()
        part = Part(self._counted, loss, accuracy, norm if self.config.clip_norm else math.nan)
        self._sums.zero_()
        self._counted = 0
        return part

    def train_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train one step on a batch, at the keep-ratio in force; the controller is told, and decides when it is time.

        Args:
            images: float (batch, 3, 32, 32), normalized.
            labels: int64 (batch,).

        Returns:
            Loss in nats and accuracy on this batch, both before the update, without dimensions.
        """
        loss, accuracy, norm = self._compute(images, labels)
        self._note(loss, accuracy, norm)
        return loss, accuracy

    def _train_on(self, chosen: Tensor) -> None:
        """Train one step on images named by their places, int64 (batch,)."""
        self.train_step(*self._batch(chosen))

    def _batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        images = self.images[chosen]
        if self.config.augment:
            images = augmented(images, seed=self.config.seed * 1_000_003 + self.step)
        return normalize(images).contiguous(memory_format=torch.channels_last), self.labels[chosen]

    def _compute(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Update the network once; return loss, accuracy and gradient norm. Nothing here waits for a GPU."""
        dtype = DTYPES.get(self.config.precision)
        with torch.autocast(self.device, dtype, enabled=dtype is not None):
            logits = self.model(images)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        loss = F.cross_entropy(wide, labels)
        accuracy = (logits.argmax(dim=1) == labels).double().mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        norm = torch.zeros((), dtype=torch.float64, device=self.device)
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm).double()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach(), accuracy, norm

    def _note(self, loss: Tensor, accuracy: Tensor, norm: Tensor) -> None:
        """Count a step that was trained; tell the controller when it is time to decide."""
        self._sums += torch.stack([loss.double(), accuracy, norm])
        self.step += 1
        self._counted += 1
        self._untold.append(accuracy)
        if self.controller.next_decision == len(self._untold):
            self._tell()

    def _tell(self) -> None:
        """Tell the controller of the steps since the last time, and set what it decided: one read from the device."""
        if self._untold:
            accuracies = torch.stack(self._untold).tolist()
            self._untold.clear()
            self.decisions += self.controller.update(accuracies)
            set_keep_ratio(self.model, self.controller.keep_ratio)

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(self.config, epoch).to(self.device)
        return self._order[1]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that changes in training: tensors by name, and the rest in types that JSON keeps exactly.

        The controller is told first what it has not heard yet, so that nothing is pending.
        """
        self._tell()
        buffers = self.optimizer.state_dict()["state"]
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {
            f"momentum.{index:04d}": state["momentum_buffer"]
            for index, state in buffers.items()
            if state.get("momentum_buffer") is not None
        }
        tensors |= {"sums": self._sums, "generator.cpu": torch.get_rng_state()}
        if self.device == "cuda":
            tensors["generator.cuda"] = torch.cuda.get_rng_state()
        rest = {
            "step": self.step,
            "counted": self._counted,
            "controller": self.controller.state_dict(),
            "decisions": [asdict(one) for one in self.decisions],
            "scaler": self.scaler.state_dict(),
        }
        return tensors, rest

    def restore(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the same numbers as if nothing had happened in between.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: the state of another configuration.
        """
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        self._restore_momentum([tensors[name] for name in sorted(tensors) if name.startswith("momentum.")])
        self._sums.copy_(tensors["sums"])
        torch.set_rng_state(tensors["generator.cpu"])
        if self.device == "cuda" and "generator.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["generator.cuda"])
        self.step, self._counted = int(rest["step"]), int(rest["counted"])
        self.controller.load_state_dict(rest["controller"])
        self.decisions = [Decision(**one) for one in rest["decisions"]]
        if rest["scaler"]:
            self.scaler.load_state_dict(rest["scaler"])
        self._untold.clear()
        set_keep_ratio(self.model, self.controller.keep_ratio)

    def _restore_momentum(self, buffers: list[Tensor]) -> None:
        """Put the buffers back, each in the memory format of its parameter."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state = {
            index: {"momentum_buffer": torch.empty_like(parameter, requires_grad=False).copy_(buffer)}
            for index, (parameter, buffer) in enumerate(zip(parameters, buffers, strict=bool(buffers)))
        }
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
