"""What the published recipe does not do, for ablations and controls: other constraints, blocks, norms and images.

None is the library's default, and none has a kernel of its own.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecycle.kernels import autocast_dtype
from sparsecycle.kernels.operators import topk_mask
from sparsecycle.layer import GlobalTopK
from sparsecycle.network import Block, RMSNorm2d, WideResNet, normed_topk
from sparsecycle.topk import check_activations, group_size

Reading = Literal["sample", "batch", "channel", "position", "network"]  # the last: one budget over all layers
Selection = Literal["largest", "random"]
Rounding = Literal["down", "up", "nearest"]
Shortcut = Literal["raw", "activated"]
SHIFT = 4  # pixels, the largest shift of an augmented image


def check_reading(scope: str, selection: str, rounding: str) -> None:
    """Raise ValueError for unknown names, and for more than one departure from the default layer at once."""
    for name, value, kind in (
        ("scope", scope, get_args(Reading)),
        ("selection", selection, get_args(Selection)),
        ("rounding", rounding, get_args(Rounding)),
    ):
        if value not in kind:
            raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(kind)}")
    if (scope == "network") + (selection != "largest") + (rounding != "down") > 1:
        raise ValueError("of scope 'network', selection 'random' and rounding other than 'down' only one can be had")


def constraint_factory(scope: str, selection: str = "largest", rounding: str = "down") -> Callable[[], GlobalTopK]:
    """Return what makes one layer's constraint; call it for one network only, whose layers may share a threshold.

    Args:
        scope: one of `SCOPES`, or "network" for one budget over all layers.
        selection: "largest", or "random" for as many values chosen at random.
        rounding: of k: "down", "up" or "nearest".

    Raises:
        ValueError: unknown names, or two departures from the default at once.
    """
    check_reading(scope, selection, rounding)
    if scope == "network":
        threshold = NetworkThreshold()
        return lambda: NetworkTopK(threshold)
    if selection == "random":
        return lambda: RandomK(scope=scope)
    if rounding != "down":
        return lambda: RoundedTopK(rounding, scope=scope)
    return lambda: GlobalTopK(scope=scope)


class RandomK(GlobalTopK):
    """ReLU, then as many values of each group as `GlobalTopK` keeps, chosen at random among the positive ones.

    The control for the choice of the largest: nothing else differs. A new choice at each call, in evaluation too, from
    torch's generator.
    """

    def forward(self, x: Tensor) -> Tensor:
        dtype = autocast_dtype(x.device.type) or x.dtype
        check_activations(x, self.scope)
        active = F.relu(x)
        if not self.dense:
            lots = torch.rand_like(active, dtype=torch.float32).add(1.0).where(active > 0, 0.0)
            mask = topk_mask(lots, self.budget, self.scope, self.backend)
            active = torch.where(mask | active.isnan(), active, 0.0)
        return active.to(dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, selection='random'"


class RoundedTopK(GlobalTopK):
    """`GlobalTopK` with k rounded up, or to the nearest, instead of down; at least 1."""

    def __init__(self, rounding: str, keep_ratio: float = 1.0, scope: str = "sample", backend: str = "auto") -> None:
        super().__init__(keep_ratio, scope, backend)
        self.rounding = rounding

    def forward(self, x: Tensor) -> Tensor:
        n = group_size(x, self.scope)
        exact = self.budget * n
        k = exact.ceil() if self.rounding == "up" else exact.round()
        return self._constrain(x, ((k.clamp(min=1) + 0.5) / n).clamp(max=1.0))  # which is rounded down to k

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rounding={self.rounding!r}"


class NetworkThreshold(nn.Module):
    """One running threshold for all layers of a network: the value above which the share asked for has been found.

    Layers tell it their activations in training; before the first layer of the next batch it has a histogram of all
    layers together, the newest batch counting as much as all before it. So the share over the network is met on average
    and with a lag of one batch (approximate), while a layer with large activations keeps more of them than one with
    small ones.

    `counts` are of the values whose float32 bits begin with the bin's number: 16 bins to each power of two.
    """

    BITS = 19  # of float32 that a bin leaves out
    BINS = 1 << (31 - BITS)

    counts: Tensor
    fresh: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(self.BINS, dtype=torch.int64))
        self.register_buffer("fresh", torch.zeros(self.BINS, dtype=torch.int64))
        self.owned = False

    def observe(self, active: Tensor) -> None:
        """Count the activations of one layer, none negative."""
        bins = active.detach().float().flatten().nan_to_num(nan=0.0).view(torch.int32) >> self.BITS
        self.fresh += torch.bincount(bins, minlength=self.BINS)

    def settle(self) -> None:
        """The batch is over: take what was counted into the histogram."""
        self.counts.copy_(self.counts // 2 + self.fresh)
        self.fresh.zero_()

    def value(self, keep_ratio: Tensor) -> Tensor:
        """The threshold for a share in (0, 1]; 0 where nothing was counted yet, or zeros have to be kept."""
        above = self.counts.flip(0).cumsum(0).flip(0)  # values in this bin or a higher one
        wanted = keep_ratio * above[0]
        place = ((above >= wanted) & (above > 0)).sum().clamp(min=1) - 1
        edges = (torch.stack([place, place + 1]).to(torch.int32) << self.BITS).view(torch.float32)
        inside = (above[place] - wanted) / self.counts[place].clamp(min=1)
        threshold = edges[0] + inside.to(torch.float32) * (edges[1] - edges[0])
        return torch.where(place > 0, threshold, 0.0)


class NetworkTopK(GlobalTopK):
    """ReLU, then every value below the network's threshold is set to zero: one budget over all layers.

    The first layer that is made owns the threshold, so that it is saved with the network once, and settles it: when
    that layer sees a new batch, the batch before is over.
    """

    def __init__(self, threshold: NetworkThreshold, keep_ratio: float = 1.0) -> None:
        super().__init__(keep_ratio)
        self.owns = not threshold.owned
        threshold.owned = True
        if self.owns:
            self.threshold = threshold
        self._shared = (threshold,)  # in a tuple: the other layers do not own the module

    def forward(self, x: Tensor) -> Tensor:
        dtype = autocast_dtype(x.device.type) or x.dtype
        active = F.relu(x)
        (threshold,) = self._shared
        if self.training:
            if self.owns:
                threshold.settle()
            threshold.observe(active)
        if not self.dense:
            active = torch.where(active < threshold.value(self.budget), 0.0, active)
        return active.to(dtype)

    def extra_repr(self) -> str:
        return f"keep_ratio={self.keep_ratio:g}, scope='network'"


class ActivatedShortcutBlock(Block):
    """A block whose shortcut, where it has a convolution, takes the normalized and constrained input.

    So it is in the wide ResNet of Zagoruyko and Komodakis (arXiv 1605.07146); the author's script takes the raw input.
    """

    def forward(self, x: Tensor) -> Tensor:
        active = normed_topk(self.norm1, self.topk1, x)
        inner = self.conv1(active)
        if self.dropout is not None:
            inner = self.dropout(inner)
        inner = self.conv2(normed_topk(self.norm2, self.topk2, inner))
        joined: Tensor = inner + (x if self.shortcut is None else self.shortcut(active))
        return joined


BLOCKS: dict[Shortcut, type[Block]] = {"raw": Block, "activated": ActivatedShortcutBlock}


def without_norm_bias(model: WideResNet) -> WideResNet:
    """Return the same network, the biases of its norms fixed at zero, as in RMSNorm as it was published."""
    for module in model.modules():
        if isinstance(module, RMSNorm2d):
            module.bias.requires_grad_(False)
    return model


def augmented(images: Tensor, seed: int) -> Tensor:
    """Return images (N, C, H, W) shifted by up to `SHIFT` pixels, black coming in, half of them mirrored.

    The usual augmentation of CIFAR-10, which the published recipe leaves out. The draw depends on `seed` alone.
    """
    count, channels, height, width = images.shape
    generator = torch.Generator().manual_seed(seed)
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    rows = down + torch.arange(height)
    columns = right + torch.where(mirrored, torch.arange(width).flip(0), torch.arange(width))
    places = (
        torch.arange(count).view(-1, 1, 1, 1),
        torch.arange(channels).view(1, -1, 1, 1),
        rows.view(count, 1, -1, 1),
        columns.view(count, 1, 1, -1),
    )
    padded = F.pad(images, (SHIFT,) * 4)
    return padded[tuple(place.to(images.device) for place in places)]
