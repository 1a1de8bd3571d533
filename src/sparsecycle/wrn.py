"""Wide residual network with RMSNorm, every ReLU followed by the global top-k constraint.

Zagoruyko and Komodakis, "Wide Residual Networks" (arXiv 1605.07146): pre-activation blocks of two 3x3 convolutions in
three groups of widths 16w, 32w, 64w; depth 6n + 4 gives n blocks a group. The paper replicated here (arXiv 2603.03131)
says WRN-28-4 with RMSNorm; where RMSNorm stands and what it averages over are reconstructions (`norm`, `norm_eps`).
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from sparsecycle.variants import NetworkThreshold, constraint_factory
from sparsecycle.network import normed_topk
from sparsecycle.network import RMSNorm2d
from sparsecycle.topk import GlobalTopK

NORMS = ("rms", "rms_sample", "batch")


class Block(nn.Module):
    """norm - top-k - conv - norm - top-k - conv, plus the shortcut (a 1x1 convolution where the shape changes).

    Dropout, where there is any, stands before the second convolution, as in the original network.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        norm: Callable[[int], nn.Module],
        constraint: Callable[[], GlobalTopK],
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.topk1 = constraint()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = norm(outputs)
        self.topk2 = constraint()
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = normed_topk(self.norm1, self.topk1, x)
        inner = normed_topk(self.norm2, self.topk2, self.conv1(active))
        residual = self.conv2(inner if self.dropout is None else self.dropout(inner))
        joined: Tensor = residual + (x if self.shortcut is None else self.shortcut(active))
        return joined


class WideResNet(nn.Module):
    """WRN-depth-width for images of 32 x 32 pixels; (N, 3, H, W) float in, (N, num_classes) logits out.

    Args:
        depth: 6n + 4 for n blocks in each of the three groups; 28 has 25 `GlobalTopK` layers.
        width: multiplier of the channels 16, 32, 64.
        num_classes: size of the output.
        norm: "rms" (channels, at each position), "rms_sample" (all values of a sample) or "batch" (BatchNorm).
        scope: of every `GlobalTopK` (see `global_topk`), or "network" for one budget over all of them.
        norm_eps: the normalization's epsilon.
        dropout: share of the activations of each block that dropout sets to zero in training, in [0, 1).
        selection: "largest", or "random" for as many values chosen at random.
        rounding: of k: "up", "down" or "nearest".

    Raises:
        ValueError: depth not of the form 6n + 4 with n >= 1, width < 1, dropout outside [0, 1), unknown names.
    """

    def __init__(
        self,
        depth: int = 28,
        width: int = 4,
        num_classes: int = 10,
        norm: str = "rms",
        scope: str = "sample",
        norm_eps: float = 1e-5,
        dropout: float = 0.0,
        selection: str = "largest",
        rounding: str = "up",
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is {depth}, but must be 6n + 4 with n >= 1: 10, 16, 22, 28, ...")
        if width < 1:
            raise ValueError(f"width is {width}, but must be a whole number from 1")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout is {dropout}, but must lie in [0, 1)")
        make_norm = _norm_factory(norm, norm_eps)
        self.threshold = NetworkThreshold() if scope == "network" else None
        constraint = constraint_factory(scope, selection, rounding, self.threshold)
        blocks: list[nn.Module] = []
        channels = 16
        for group, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            for index in range((depth - 4) // 6):
                stride = 2 if group > 0 and index == 0 else 1
                blocks.append(Block(channels, outputs, stride, make_norm, constraint, dropout))
                channels = outputs
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.norm = make_norm(channels)
        self.topk = constraint()
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)  # (N, 16, 32, 32)
        x = self.blocks(x)  # (N, 64 * width, 8, 8)
        x = normed_topk(self.norm, self.topk, x).mean(dim=(2, 3))  # (N, 64 * width)
        if self.threshold is not None and self.training:
            self.threshold.settle()
        logits: Tensor = self.head(x)
        return logits


def _norm_factory(norm: str, eps: float) -> Callable[[int], nn.Module]:
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}, but must be one of {', '.join(NORMS)}")
    if norm == "batch":
        return partial(nn.BatchNorm2d, eps=eps)
    return partial(RMSNorm2d, over="position" if norm == "rms" else "sample", eps=eps)
