"""`SetConfig`: everything that decides a run of the companion study, checked field by field.

Publicly known are the authors' code for SET and the abstract of 1906.11626; what they leave open, above all how neurons
are pruned, is a reconstruction. A row of the assumption ledger stands for each.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparsecycle.errors import InputError, sentence
from sparsecycle.set_mlp.datasets import EMBEDDED, collection
from sparsecycle.set_mlp.evolution import Start
from sparsecycle.set_mlp.network import Activation
from sparsecycle.set_mlp.pruning import Score

Method = Literal["dense", "static", "set", "set_pruned"]
METHODS: tuple[Method, ...] = ("dense", "static", "set", "set_pruned")
Count = Annotated[int, Field(ge=1, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]


class SetConfig(BaseModel):
    """Configuration of one run: `SetConfig(dataset="colon", method="set", seed=3, learning_rate=0.02)`.

    The methods: `dense`, a fully connected network; `static`, one that is sparse at random and stays as it is; `set`,
    whose weakest connections are replaced after every epoch but the last; `set_pruned`, which besides loses its
    weakest hidden neurons.

    Raises:
        InputError (a ValueError): unknown field, wrong type or value, impossible combination; one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: str
    method: Method
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the split, the start, and the order of the samples")
    validation: bool = Field(default=False, description="hold out a third of the training part, to choose constants")

    # Network.
    hidden: tuple[Count, ...] = Field(default=(1000, 1000, 1000), min_length=1, description="neurons by hidden layer")
    epsilon: float = Field(default=20.0, gt=0, description="connections of a layer for each neuron on either side")
    start: Start = Field(default="he", description="of weights, also of those that grow")
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    # Optimization: SGD with momentum at a constant rate.
    epochs: Count = 100
    batch_size: Count = 8
    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=2e-4, ge=0)

    # Evolution, after every epoch but the last.
    zeta: Share = Field(default=0.3, description="share of the connections of each sign that are replaced")
    evolve_output: bool = Field(default=True, description="the last layer too")

    # Pruning of hidden neurons.
    prune_share: Share = Field(default=0.5, description="of the neurons of each hidden layer, zeroed at the end")
    prune_score: Score = Field(default="both", description="sum of the sizes of which connections")
    prune_from: Share = Field(default=0.25, description="of the epochs, when pruning begins")
    prune_until: Share = Field(default=0.75, description="of the epochs, when it is over; as prune_from: all at once")
    prune_refill: bool = Field(default=False, description="connections that pruning frees grow elsewhere")
    prune_revival: bool = Field(default=False, description="pruned neurons may get connections again")

    def __init__(self, /, **values: Any) -> None:
        if isinstance(values.get("hidden"), list):  # JSON and YAML have no tuples
            values["hidden"] = tuple(values["hidden"])
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(sentence(error, type(self))) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [*EMBEDDED, *collection()]
        if self.dataset not in known:
            raise ValueError(f"dataset is {self.dataset!r}, but must be one of {', '.join(known)}")
        if self.prune_until < self.prune_from:
            raise ValueError(f"prune_until is {self.prune_until}, but must not be below prune_from, {self.prune_from}")
        return self

    def pruned_by(self, epoch: int) -> float:
        """Share of the neurons of a hidden layer that are pruned after `epoch` (from 1) epochs: rises linearly."""
        if self.method != "set_pruned":
            return 0.0
        begin, end = self.prune_from * self.epochs, self.prune_until * self.epochs
        if epoch >= end:
            return self.prune_share
        return 0.0 if epoch <= begin else self.prune_share * (epoch - begin) / (end - begin)

    def overrides(self) -> dict[str, Any]:
        """Fields that differ from the study's values, as JSON values; dataset, method and seed are not among them."""
        fields = type(self).model_fields
        own = self.model_dump(mode="json")
        changed = {name: own[name] for name, field in fields.items() if getattr(self, name) != field.default}
        return {name: value for name, value in changed.items() if name not in ("dataset", "method", "seed")}

    def digest(self) -> str:
        """SHA-256 of the configuration as canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def configure_set(dataset: str, method: str, seed: int, overrides: Mapping[str, Any]) -> SetConfig:
    """The configuration from what the notebook and the command line take.

    Raises:
        InputError: as `SetConfig`, or overrides that set dataset, method or seed.
    """
    repeated = sorted({"dataset", "method", "seed"} & overrides.keys())
    if repeated:
        raise InputError(f"overrides cannot set {', '.join(repeated)}: give it as the parameter of that name")
    return SetConfig(dataset=dataset, method=method, seed=seed, **overrides)
