"""`SparseLinear`: a linear layer that stores, computes and trains its connections only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparsecycle.errors import InputError
from sparsecycle.set_mlp import kernels

Places = npt.NDArray[np.int64]


class SparseLinear(nn.Module):
    """y = W x + b where W is zero but at its connections, in compressed rows; for the CPU.

    Memory and work are proportional to the number of connections. A place is the flat index of a connection in the
    (out_features, in_features) matrix; places are kept in ascending order, and so are the weights.

    Args:
        in_features, out_features: neurons before and after.
        places: int64, ascending and different, in [0, out_features * in_features).
        weights: a weight for each place, float32 or float64.

    Attributes:
        weight: (connections,), the parameter.
        bias: (out_features,), zero at the start, of the weights' dtype.
        starts: (out_features + 1,) int64, where the connections of each output begin.
        inputs: (connections,) int32, the input of each connection.

    Raises:
        InputError (a ValueError): sizes below 1, places that are not ascending or not in the matrix, or another number
            of weights than of places.

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired
    by network science", Nature Communications 9, 2018; how it is stored and computed is ours.
    """

    starts: Tensor
    inputs: Tensor

    def __init__(self, in_features: int, out_features: int, places: Places, weights: npt.NDArray[Any]) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise InputError(f"in_features is {in_features} and out_features {out_features}, but both must be positive")
        if len(weights) != len(places):
            raise InputError(f"there are {len(weights)} weights for {len(places)} places, but each place takes one")
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(0))
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=torch.as_tensor(weights[:0]).dtype))
        self.register_buffer("starts", torch.empty(0, dtype=torch.int64))
        self.register_buffer("inputs", torch.empty(0, dtype=torch.int32))
        self._connect(places, torch.as_tensor(weights).clone())

    def forward(self, x: Tensor) -> Tensor:
        """(samples, in_features) -> (samples, out_features), both transposed in memory where they come from here.

        Raises:
            InputError: another shape, dtype or device than the layer's.
        """
        if x.dim() != 2 or x.shape[1] != self.in_features or x.dtype != self.weight.dtype or x.device.type != "cpu":
            raise InputError(
                f"x is {x.dtype} of shape {tuple(x.shape)} on {x.device.type}, "
                f"but must be {self.weight.dtype} of shape (samples, {self.in_features}) on cpu"
            )
        product: Tensor = _Product.apply(x, self.weight, self.starts, self.inputs)  # type: ignore[no-untyped-call]
        return product + self.bias

    @property
    def connections(self) -> int:
        """Number of weights that are stored."""
        return len(self.weight)

    def places(self) -> Places:
        """(connections,) int64, ascending: the flat indices of the connections in the dense matrix."""
        outputs = np.repeat(np.arange(self.out_features), np.diff(self.starts.numpy()))
        places: Places = outputs * self.in_features + self.inputs.numpy()
        return places

    def incoming(self) -> npt.NDArray[np.int64]:
        """(out_features,): connections into each output neuron."""
        return np.diff(self.starts.numpy())

    def outgoing(self) -> npt.NDArray[np.int64]:
        """(in_features,): connections from each input neuron."""
        return np.bincount(self.inputs.numpy(), minlength=self.in_features)

    def dense_weight(self) -> Tensor:
        """(out_features, in_features): the matrix with its zeros, detached."""
        dense = torch.zeros(self.out_features * self.in_features, dtype=self.weight.dtype)
        dense[torch.from_numpy(self.places())] = self.weight.detach()
        return dense.view(self.out_features, self.in_features)

    def rewire(
        self,
        keep: npt.NDArray[np.bool_],
        places: Places,
        weights: npt.NDArray[Any],
        optimizer: torch.optim.Optimizer | None = None,
        *,
        reset_momentum: bool = False,
    ) -> None:
        """Drop the connections that are not in `keep` and add new ones.

        What the optimizer remembers for each weight (momentum) stays with those kept and is zero for the new.

        Args:
            keep: (connections,) bool.
            places: int64, ascending: of the new connections, not among those kept.
            weights: a weight for each new place.
            optimizer: that trains this layer, if any.
            reset_momentum: set to zero what is remembered for those kept, too.

        Raises:
            InputError: lengths that do not match, or places that are not free.
        """
        if keep.shape != (self.connections,) or keep.dtype != bool:
            raise InputError(f"keep is {keep.dtype} of shape {keep.shape}, but must be bool, one a connection")
        if len(weights) != len(places):
            raise InputError(f"there are {len(weights)} weights for {len(places)} places, but each place takes one")
        together = np.concatenate([self.places()[keep], places])
        order = np.argsort(together, kind="stable")
        survivors = torch.from_numpy(np.flatnonzero(keep))
        shuffle = torch.from_numpy(order)

        def merged(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old[survivors], new.to(old.dtype)])[shuffle]

        weight = merged(self.weight.detach(), torch.as_tensor(weights))
        remembered: Mapping[str, Any] = optimizer.state.get(self.weight, {}) if optimizer else {}
        state = {
            name: merged(torch.zeros_like(value) if reset_momentum else value, torch.zeros(len(places)))
            for name, value in remembered.items()
            if isinstance(value, Tensor) and value.shape == self.weight.shape
        }
        self._connect(together[order], weight)
        if optimizer and state:
            optimizer.state[self.weight].update(state)

    def _connect(self, places: Places, weight: Tensor) -> None:
        size = self.in_features * self.out_features
        if len(places) and (places[0] < 0 or places[-1] >= size or (np.diff(places) <= 0).any()):
            raise InputError(f"places must be ascending, different, and from 0 to {size - 1}")
        outputs, inputs = np.divmod(places, self.in_features)
        counts = np.bincount(outputs, minlength=self.out_features)
        starts = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
        self._store(starts, torch.from_numpy(inputs.astype(np.int32)), weight)

    def _store(self, starts: Tensor, inputs: Tensor, weight: Tensor) -> None:
        self.starts, self.inputs = starts, inputs
        self.weight.grad = None
        # The same parameter, so that optimizers keep it. While a loss from before is alive, so is the node that adds up
        # gradients of the old length; torch makes a new one only where the dtype changes.
        self.weight.data = torch.empty(0, dtype=torch.float16)
        self.weight.data = weight

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *more: Any) -> None:
        """Take the stored connections, however many there are."""
        starts, inputs = state_dict.get(f"{prefix}starts"), state_dict.get(f"{prefix}inputs")
        if starts is not None and inputs is not None and starts.shape == self.starts.shape:
            self._store(starts.clone(), inputs.clone(), torch.zeros(len(inputs), dtype=self.weight.dtype))
        super()._load_from_state_dict(state_dict, prefix, *more)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, connections={self.connections}"


class _Product(torch.autograd.Function):
    """x W' without the zeros, and its two gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, starts: Tensor, inputs: Tensor) -> Tensor:
        columns = x.t().contiguous()
        ctx.save_for_backward(columns, weight, starts, inputs)
        out = columns.new_empty(len(starts) - 1, columns.shape[1])
        place = (starts.numpy(), inputs.numpy())
        kernels.run(kernels.product, *place, weight.detach().numpy(), columns.detach().numpy(), out.numpy())
        return out.t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        columns, weight, starts, inputs = ctx.saved_tensors
        rows, place = slope.t().contiguous(), (starts.numpy(), inputs.numpy())
        to_x = to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = torch.empty_like(weight)
            kernels.run(kernels.sampled_product, *place, rows.numpy(), columns.detach().numpy(), to_weight.numpy())
        if ctx.needs_input_grad[0]:
            before = torch.empty_like(columns)
            kernels.run(kernels.transposed_product, *place, weight.detach().numpy(), rows.numpy(), before.numpy())
            to_x = before.t()
        return to_x, to_weight, None, None
