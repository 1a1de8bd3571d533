"""The same training on a GPU: one step is recorded once, as a CUDA graph, and replayed from then on.

A step of the paper's network is hundreds of small pieces of work for a GPU, and in plain torch the processor is
expected to need longer to hand them over than the GPU to do them. A graph is handed over at once. It reads what changes
from fixed places on the GPU: the places of the batch's images, the learning rate, the keep-ratio of each layer. So
another keep-ratio, 1.0 too, is the same graph, and the controller stays on the processor, which reads accuracies once a
decision.

What a step computes is what `Trainer` computes, operation by operation. On a GPU the numbers of the two agree to within
rounding, because cuDNN may choose other algorithms.
"""

import gc
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparsecycle.config import RunConfig
from sparsecycle.kernels import choose, load
from sparsecycle.layer import GlobalTopK
from sparsecycle.trainer import Trainer, learning_rate

CAPTURED = "SPARSECYCLE_CAPTURED"  # 0: steps are never recorded
WARM_UP = 11  # steps before recording, in which cuDNN chooses algorithms and Triton compiles
_log = logging.getLogger("sparsecycle")


def can_capture(config: RunConfig, device: str) -> bool:
    """Return whether a step of this configuration can be a graph.

    It needs a GPU with Triton, because the reference waits for the GPU within a step. A gradient scaler decides on the
    processor, and dropout, the selection at random and augmentation draw from a generator that a graph would freeze.
    """
    if os.environ.get(CAPTURED) == "0":
        return False
    random = config.dropout > 0 or config.selection != "largest" or config.augment
    as_published = config.scope == "sample" and config.rounding == "down"
    if device != "cuda" or config.precision == "float16" or random or not as_published:
        return False
    triton = load("triton")
    return triton is not None and choose(torch.empty(0, 1, device=device), "sample", "auto") is triton


def make_trainer(
    config: RunConfig, images: Tensor, labels: Tensor, *, device: str = "cpu", path: Sequence[float] | None = None
) -> Trainer:
    """Return the fastest trainer for a configuration on a device; arguments as of `Trainer`."""
    kind = CapturedTrainer if can_capture(config, device) else Trainer
    return kind(config, images, labels, device=device, path=path)


class CapturedTrainer(Trainer):
    """One network under training, its step recorded as a graph before the first; arguments as of `Trainer`.

    On a CPU, where there are no graphs, it does the same work from the same fixed places; for tests.

    Attributes:
        captured: whether steps are replayed. Where recording fails, one line says why, and steps go on without it.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # A graph reads the rate where it lies; kernels want it in float32 there, and a CPU takes it as it is.
        dtype = torch.float32 if self.device == "cuda" else torch.float64
        self._rate = torch.zeros((), dtype=dtype, device=self.device)
        self._chosen = torch.arange(self.config.batch_size, device=self.device)
        self._graph: Any = None
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None
        self._ready = False
        for module in self.model.modules():
            if isinstance(module, GlobalTopK):
                module.branch_free = True

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def set_learning_rate(self, rate: float) -> None:
        self._rate.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate

    def restore(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        super().restore(tensors, rest)
        self._graph, self._ready = None, False  # momentum lies in other places now

    def _train_on(self, chosen: Tensor) -> None:
        if not self._ready:
            self.prepare()
        self._chosen.copy_(chosen)
        if self._graph is None:
            self._note(*self._step())
            return
        self._graph.replay()
        assert self._seen is not None
        loss, accuracy, norm = self._seen
        self._note(loss, accuracy.clone(), norm)

    def _step(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._compute(*self._batch(self._chosen))

    def prepare(self) -> None:
        """Give everything that a step reads or writes a fixed place, and record a step; else the first step does it."""
        self.set_learning_rate(learning_rate(self.config, self.step // self.config.steps_per_epoch))
        for group in self.optimizer.param_groups if self.config.momentum else []:
            for parameter in group["params"]:  # a first step from zero is what an optimizer does without a buffer
                self.optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        if self.device == "cuda":
            try:
                self._record()
            except (RuntimeError, torch.OutOfMemoryError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                reason = (str(error) or type(error).__name__).splitlines()[0]
                _log.warning("a step cannot be recorded as a graph (%s): steps are several times slower", reason)
        self._ready = True

    def _record(self) -> None:
        before = [(place, place.clone()) for place in self._places()]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)  # gradients get their places in the graph's own memory
        graph = torch.cuda.CUDAGraph()
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # what it would free while a step is recorded may belong to another graph
        try:
            # On a stream of its own: graphs recorded on one stream share workspaces, and these here run side by side.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._seen = self._step()
            self._graph = graph
        finally:
            if collecting:
                gc.enable()
            with torch.no_grad():
                for place, value in before:
                    place.copy_(value)

    def _places(self) -> list[Tensor]:
        """Return what a step changes and the next one reads."""
        buffers = [state["momentum_buffer"] for state in self.optimizer.state.values() if "momentum_buffer" in state]
        return [*self.model.parameters(), *buffers]
