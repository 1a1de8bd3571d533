"""`SetConfig`: everything that decides a run of the companion study, checked field by field.

Publicly known are the authors' code for SET and the abstract of 1906.11626; what they leave open, above all how neurons
are pruned, is a reconstruction. A row of the assumption ledger stands for each.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparsecycle.config import number_of, read_overrides, without_signed_zero
from sparsecycle.errors import InputError, sentence
from sparsecycle.set_mlp.datasets import EMBEDDED, collection
from sparsecycle.set_mlp.evolution import Growth, Start
from sparsecycle.set_mlp.network import Activation
from sparsecycle.set_mlp.pruning import Score

Method = Literal["dense", "static", "set", "set_pruned"]
METHODS: tuple[Method, ...] = ("dense", "static", "set", "set_pruned")
SPARSE, EVOLVING, PRUNED = METHODS[1:], METHODS[2:], METHODS[3:]
SMALL = 300  # samples of a training part
Count = Annotated[int, Field(ge=1, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]


def _only(methods: tuple[Method, ...]) -> dict[str, Any]:
    """The methods that a field applies to."""
    return {"methods": list(methods)}


class SetConfig(BaseModel):
    """Configuration of one run: `SetConfig(dataset="colon", method="set", seed=3, learning_rate=0.02)`.

    The methods: `dense`, a fully connected network; `static`, one that is sparse at random and stays as it is; `set`,
    whose weakest connections are replaced between epochs; `set_pruned`, which besides loses its weakest hidden neurons.
    `constants.yaml` gives a method's constants, keyword arguments override them.

    Raises:
        InputError (a ValueError): unknown field, wrong type or value, impossible combination; one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: str
    method: Method
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the split, the start, and the order of the samples")

    # Network.
    hidden: tuple[Count, ...] = Field(default=(1000, 1000, 1000), min_length=1, description="neurons by hidden layer")
    epsilon: float = Field(
        default=20.0,
        gt=0,
        description="connections of a layer for each neuron on either side",
        json_schema_extra=_only(SPARSE),
    )
    start: Start = Field(default="he", description="of weights")
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    # Optimization: SGD with momentum at a constant rate.
    epochs: Count = 100
    batch_size: Count | None = Field(default=None, description="null: 2 where a training part is small, else 32")
    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=2e-4, ge=0, lt=1)
    decoupled_decay: bool = Field(default=True, description="each step takes this share, whatever the rate")

    # Evolution, after epochs but the last.
    zeta: Share = Field(
        default=0.3,
        description="share of the connections of each sign that are replaced",
        json_schema_extra=_only(EVOLVING),
    )
    evolve_every: Count = Field(default=1, description="epochs", json_schema_extra=_only(EVOLVING))
    evolve_until: Share = Field(default=1.0, description="of the epochs, the end", json_schema_extra=_only(EVOLVING))
    evolve_output: bool = Field(default=False, description="the last layer too", json_schema_extra=_only(EVOLVING))
    growth: Growth = Field(
        default="he_inputs", description="weights of new connections", json_schema_extra=_only(EVOLVING)
    )
    reset_momentum: bool = Field(
        default=False, description="of the connections that stay, too", json_schema_extra=_only(EVOLVING)
    )

    # Pruning of hidden neurons.
    prune_share: float = Field(
        default=0.5, ge=0, lt=1, description="of each hidden layer's neurons, zeroed", json_schema_extra=_only(PRUNED)
    )
    prune_score: Score = Field(
        default="incoming", description="sum of the sizes of which connections", json_schema_extra=_only(PRUNED)
    )
    prune_from: Share = Field(
        default=0.25, description="of the epochs, when pruning begins", json_schema_extra=_only(PRUNED)
    )
    prune_until: Share = Field(
        default=0.75,
        description="of the epochs, when it is over; as prune_from: all at once",
        json_schema_extra=_only(PRUNED),
    )
    prune_refill: bool = Field(
        default=False, description="connections that pruning frees grow elsewhere", json_schema_extra=_only(PRUNED)
    )
    prune_revival: bool = Field(
        default=False, description="pruned neurons may get connections again", json_schema_extra=_only(PRUNED)
    )

    def __init__(self, /, **values: Any) -> None:
        if isinstance(values.get("hidden"), list):  # JSON and YAML have no tuples
            values["hidden"] = tuple(values["hidden"])
        try:
            given = {name: without_signed_zero(value) for name, value in values.items()}
            super().__init__(**{**constants().get(str(values.get("method")), {}), **given})
        except ValidationError as error:
            raise InputError(sentence(error, type(self))) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [*EMBEDDED, *collection()]
        if self.dataset not in known:
            raise ValueError(f"dataset is {self.dataset!r}, but must be one of {', '.join(known)}")
        for name, field in type(self).model_fields.items():
            extra: Any = field.json_schema_extra
            having = extra["methods"] if extra else METHODS
            if self.method not in having and getattr(self, name) != field.default:
                raise ValueError(f"{name} does not apply to method {self.method!r}, only to {', '.join(having)}")
        if self.prune_until < self.prune_from:
            raise ValueError(f"prune_until is {self.prune_until}, but must not be below prune_from, {self.prune_from}")
        if self.method == "set_pruned" and self.pruned_by(self.epochs - 1) < self.prune_share:
            raise ValueError(
                f"prune_until is {self.prune_until}, but of {self.epochs} epochs pruning must end before the last"
            )
        return self

    def batch(self, samples: int) -> int:
        """Return the samples of a batch: 2, as the public code has on small data, below 300 of the training part."""
        if self.batch_size is None:
            return 2 if samples < SMALL else 32
        return min(self.batch_size, samples)

    def pruned_by(self, epoch: int) -> float:
        """Return the share of a hidden layer that is pruned after `epoch` (from 1) epochs: it rises linearly."""
        if self.method != "set_pruned":
            return 0.0
        begin, end = self.prune_from * self.epochs, self.prune_until * self.epochs
        if epoch >= end:
            return self.prune_share
        return 0.0 if epoch <= begin else self.prune_share * (epoch - begin) / (end - begin)

    def evolves_after(self, epoch: int) -> bool:
        """Return whether connections are replaced after `epoch` (from 1) epochs."""
        due = epoch % self.evolve_every == 0 and epoch <= self.evolve_until * self.epochs
        return self.method in EVOLVING and epoch < self.epochs and due

    def overrides(self) -> dict[str, Any]:
        """Return the fields that differ from the plain method, as JSON values, without dataset and seed."""
        plain = _as_it_stands(self.method)
        own = self.model_dump(mode="json")
        return {name: value for name, value in own.items() if name in plain and value != plain[name]}

    def digest(self) -> str:
        """Return the SHA-256 of the configuration as canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


@cache
def constants() -> Mapping[str, Mapping[str, Any]]:
    """Return the fields that `constants.yaml` sets, by method."""
    text = resources.files("sparsecycle.set_mlp").joinpath("constants.yaml").read_text(encoding="utf-8")
    return MappingProxyType(yaml.safe_load(text))


@cache
def _as_it_stands(method: Method) -> dict[str, Any]:
    """Every field of a method without overrides but dataset, method and seed, as JSON values."""
    plain = SetConfig(dataset="digits", method=method).model_dump(mode="json")
    return {name: value for name, value in plain.items() if name not in ("dataset", "method", "seed")}


def configure_set(dataset: str, method: str, seed: int, overrides: Any) -> SetConfig:
    """Return the configuration from what the notebook and the command line take.

    Args:
        overrides: fields and their values, as a dict or as JSON or YAML text.

    Raises:
        InputError: as `SetConfig`, or overrides that are no dict or set dataset, method or seed.
    """
    values = read_overrides(overrides)
    repeated = sorted({"dataset", "method", "seed"} & values.keys())
    if repeated:
        raise InputError(f"overrides cannot set {', '.join(repeated)}: give it as the parameter of that name")
    return SetConfig(dataset=dataset, method=method, seed=number_of(seed), **values)
