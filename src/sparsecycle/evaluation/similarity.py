"""How alike the representations of one network at two budgets are: linear CKA, layer by layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import at_budget, watched
from sparsecycle.trainer import normalize


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Return the linear centred kernel alignment of two representations of the same n examples, (n, p) and (n, q).

    Kornblith et al., "Similarity of Neural Network Representations Revisited" (arXiv 1905.00414), section 3, by Gram
    matrices: from 0 to 1, where they agree up to rotation and scale. NaN where one of them is constant.

    Raises:
        InputError: different numbers of examples.
    """
    if len(x) != len(y):
        raise InputError(f"representations of {len(x)} and {len(y)} examples were given, but they must be of the same")
    return _alignment(_centred_gram(x), _centred_gram(y))


def budget_similarity(model: nn.Module, images: Tensor, budgets: Sequence[float]) -> list[dict[str, float | str]]:
    """Return the linear CKA of each `GlobalTopK` layer's output at keep-ratio 1.0 and at each of `budgets`.

    Args:
        images: uint8 (N, 3, 32, 32); as many numbers as N squared are kept for each layer.

    Returns:
        Rows with layer (name), keep_ratio, cka.
    """
    dense = _grams(model, images, 1.0)
    rows: list[dict[str, float | str]] = []
    for budget in budgets:
        for layer, gram in _grams(model, images, budget).items():
            rows.append({"layer": layer, "keep_ratio": budget, "cka": _alignment(gram, dense[layer])})
    return rows


def _grams(model: nn.Module, images: Tensor, keep_ratio: float) -> dict[str, Tensor]:
    grams: dict[str, Tensor] = {}

    def remember(name: str, output: Tensor) -> None:
        grams[name] = _centred_gram(output.flatten(1))

    with torch.no_grad(), at_budget(model, keep_ratio), watched(model, remember):
        model(normalize(images))
    return grams


def _alignment(first: Tensor, second: Tensor) -> float:
    aligned: float = ((first * second).sum() / (first.norm() * second.norm())).item()
    return aligned


def _centred_gram(x: Tensor) -> Tensor:
    centred = x.double() - x.double().mean(dim=0)
    return centred @ centred.T
