"""`SetConfig`: everything that decides a run of the companion study, checked field by field.

The defaults of the fields are the settings of the authors' public code; `arms.yaml` has what differs in each arm.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparsecycle.config import number_of, read_overrides, without_signed_zero
from sparsecycle.data.tabular import OWN, known_datasets
from sparsecycle.errors import InputError, sentence, shown
from sparsecycle.set_mlp.evolution import Growth, Start
from sparsecycle.set_mlp.network import Loss, Scaling
from sparsecycle.set_mlp.pruning import Score

Arm = Literal["authors", "authors_2018", "tuned"]
Method = Literal["dense", "static", "set", "set_pruned"]
ARMS: tuple[Arm, ...] = ("authors", "authors_2018", "tuned")
METHODS: tuple[Method, ...] = ("dense", "static", "set", "set_pruned")
SPARSE, EVOLVING, PRUNED = METHODS[1:], METHODS[2:], METHODS[3:]
SMALL = 300  # samples of a training part
_LABELS = ("dataset", "method", "arm", "seed")
Count = Annotated[int, Field(ge=1, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
# How a field says to which methods it applies.
_SPARSE: Any = {"methods": list(SPARSE)}
_EVOLVING: Any = {"methods": list(EVOLVING)}
_PRUNED: Any = {"methods": list(PRUNED)}


class SetConfig(BaseModel):
    """Configuration of one run: `SetConfig(dataset="colon", method="set", arm="authors", seed=3, epsilon=20)`.

    The methods: `dense`, a fully connected network; `static`, one that is sparse at random and stays as it is; `set`,
    whose weakest connections are replaced between epochs; `set_pruned`, which besides loses its weakest hidden neurons.
    The arms: `authors`, the settings of the public code of 2019; `authors_2018`, those of the older code; `tuned`,
    with learning rate and dropout by inner cross-validation. Keyword arguments override an arm's settings.

    Raises:
        InputError (a ValueError): unknown field, wrong type or value, impossible combination; one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: str = Field(description="of the collection or embedded, or the name of a .mat file")
    method: Method
    arm: Arm = "authors"
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the split, the start, and the order of the samples")

    # Data: whether it is split by class, and what is added to the standard deviation of each feature.
    stratified: bool = False
    added_to_scale: float = Field(default=1e-4, ge=0)

    # Network: neurons by hidden layer; connections of a layer for each neuron on either side; initial weights; dropout
    # of hidden activations, and whether it is made up for in training or in testing.
    hidden: tuple[Count, ...] = Field(default=(3000, 3000), min_length=1)
    epsilon: float = Field(default=10.0, gt=0, json_schema_extra=_SPARSE)
    start: Start = "normal"
    loss: Loss = "cross_entropy"
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(default=0.3, description="null: by cross-validation")
    dropout_scaling: Scaling = "testing"

    # SGD with momentum at a constant rate. The gradient may be divided by the batch size twice, in loss and update;
    # decay is the share that each step takes, whatever the rate.
    epochs: Count = 100
    batch_size: Count | None = Field(default=2, description="null: 2 where a training part is small, else 32")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(default=0.01, description="null: by cross-validation")
    divided_twice: bool = True
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=2e-4, ge=0, lt=1)

    # Evolution after every epoch but the last: the share of the connections of each sign that are replaced, whether the
    # last layer evolves too, and the weights of new connections.
    zeta: Share = Field(default=0.3, json_schema_extra=_EVOLVING)
    evolve_output: bool = Field(default=True, json_schema_extra=_EVOLVING)
    growth: Growth = Field(default="normal", json_schema_extra=_EVOLVING)

    # Pruning, which is ours: the share of each hidden layer's neurons, by the sum of the sizes of incoming weights or
    # at random, between two shares of the epochs; where these are equal, all at once.
    prune_share: float = Field(default=0.5, ge=0, lt=1, json_schema_extra=_PRUNED)
    prune_score: Score = Field(default="incoming", json_schema_extra=_PRUNED)
    prune_from: Share = Field(default=0.25, json_schema_extra=_PRUNED)
    prune_until: Share = Field(default=0.75, json_schema_extra=_PRUNED)

    def __init__(self, /, **values: Any) -> None:
        if isinstance(values.get("hidden"), list):  # JSON and YAML have no tuples
            values["hidden"] = tuple(values["hidden"])
        given = {name: without_signed_zero(value) for name, value in values.items()}
        method, arm = given.get("method"), given.get("arm", "authors")
        plain = arm_settings(str(arm), str(method))
        for name in filter(type(self).model_fields.__contains__, given):
            field: Any = type(self).model_fields[name]
            having = field.json_schema_extra["methods"] if field.json_schema_extra else METHODS
            if method in METHODS and method not in having and given[name] != plain.get(name, field.default):
                raise InputError(f"{name} does not apply to method {method!r}, only to {', '.join(having)}")
        try:
            super().__init__(**{**plain, **given})
        except ValidationError as error:
            raise InputError(sentence(error, type(self))) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dataset not in known_datasets() and not re.fullmatch(OWN, self.dataset):
            raise ValueError(
                f"dataset is {shown(self.dataset)}, but must be one of {', '.join(known_datasets())}, "
                "or a .mat file of your own"
            )
        if self.prune_until < self.prune_from:
            raise ValueError(f"prune_until is {self.prune_until}, but must not be below prune_from, {self.prune_from}")
        if self.method == "set_pruned" and self.pruned_by(self.epochs - 1) < self.prune_share:
            raise ValueError(
                f"prune_until is {self.prune_until}, but of {self.epochs} epochs pruning must end before the last"
            )
        return self

    @property
    def is_tuned(self) -> bool:
        """Whether learning rate or dropout is chosen by inner cross-validation."""
        return self.learning_rate is None or self.dropout is None

    def batch(self, samples: int) -> int:
        """Return the samples of a batch."""
        size = (2 if samples < SMALL else 32) if self.batch_size is None else self.batch_size
        return min(size, samples)

    def pruned_by(self, epoch: int) -> float:
        """Return the share of a hidden layer that is pruned after `epoch` (from 1) epochs: it rises linearly."""
        if self.method != "set_pruned":
            return 0.0
        begin, end = self.prune_from * self.epochs, self.prune_until * self.epochs
        if epoch >= end:
            return self.prune_share
        return 0.0 if epoch <= begin else self.prune_share * (epoch - begin) / (end - begin)

    def overrides(self) -> dict[str, Any]:
        """Return the fields that differ from the plain arm, as JSON values."""
        plain = _as_it_stands(self.arm, self.method)
        own = self.model_dump(mode="json", exclude=set(_LABELS))
        return {name: value for name, value in own.items() if value != plain[name]}

    def digest(self) -> str:
        """Return the SHA-256 of the configuration as canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


@cache
def arm_settings(arm: str, method: str) -> Mapping[str, Any]:
    """Return the fields that `arms.yaml` sets for an arm and method; none for an arm that does not exist."""
    text = resources.files("sparsecycle.set_mlp").joinpath("arms.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text).get(arm, {})
    values |= values.pop("methods", {}).get(method, {})
    return MappingProxyType({name: tuple(one) if isinstance(one, list) else one for name, one in values.items()})


@cache
def _as_it_stands(arm: Arm, method: Method) -> dict[str, Any]:
    """Every field of an arm and method without overrides, as JSON values."""
    return SetConfig(dataset="digits", method=method, arm=arm).model_dump(mode="json")


def configure_set(dataset: str, method: str, arm: str, seed: int, overrides: Any) -> SetConfig:
    """Return the configuration from what the notebook and the command line take.

    Args:
        dataset: a name, or the path of a .mat file, of which the name alone is taken.
        overrides: fields and their values, as a dict or as JSON or YAML text.

    Raises:
        InputError: as `SetConfig`, or overrides that are no dict or set dataset, method, arm or seed.
    """
    values = read_overrides(overrides)
    repeated = sorted(set(_LABELS) & values.keys())
    if repeated:
        raise InputError(f"overrides cannot set {', '.join(repeated)}: give it as the parameter of that name")
    name = dataset.replace("\\", "/").rpartition("/")[2] if isinstance(dataset, str) else dataset
    return SetConfig(dataset=name, method=method, arm=arm, seed=number_of(seed), **values)
