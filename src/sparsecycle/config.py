"""The configuration of a run: every choice a named, typed, validated field, and where its value comes from.

A field's value is *paper* where the public summary of arXiv 2603.03131 states it, *inferred* where it is what the cited
architecture or common practice suggests, and *ours* otherwise. All but the paper's own are reconstructions.
"""

import difflib
import hashlib
import inspect
import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparsecycle.controllers import CONTROLLERS, controller_parameters, make_controller
from sparsecycle.errors import InputError, shown
from sparsecycle.topk import Reading, Rounding, Selection, check_reading

PRESETS = ("smoke", "quick", "ablation", "classroom", "paper")


def _in_unit_interval(value: float) -> float:
    if not 0.0 < value <= 1.0:
        raise ValueError("must lie in (0, 1]: a share of the activations")
    return value


Share = Annotated[float, AfterValidator(_in_unit_interval)]
LARGEST = 10**9  # of a count: beyond every use, and within what floats hold exactly
Count = Annotated[int, Field(ge=1, le=LARGEST)]


def _known(value: Any) -> dict[str, Any]:
    return {"paper": value}


def _inferred(value: Any) -> dict[str, Any]:
    return {"inferred": value}


class RunConfig(BaseModel):
    """What one run does. `RunConfig(preset="quick", method="plateau", seed=3, learning_rate=0.05)`.

    A preset gives the values, keyword arguments override them. Parameters of the controller may be given only where
    the method has them; those left out take the preset's value, then the controller's default.

    Raises:
        InputError (a ValueError): unknown field, wrong type or value, impossible combination; one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    preset: Literal["smoke", "quick", "ablation", "classroom", "paper"]
    method: Literal["dense", "loss_gated", "plateau", "geometric", "fixed", "random"]
    seed: int = Field(default=0, ge=0, lt=2**31)

    # Data.
    dataset: Literal["cifar10", "cifar10-mini"] = Field(json_schema_extra=_known("cifar10"))
    train_images: Count = Field(description="balanced by class", json_schema_extra=_known(50_000))
    test_images: Count = Field(description="balanced by class", json_schema_extra=_known(10_000))
    holdout_images: int = Field(
        default=0,
        ge=0,
        le=LARGEST,
        description="training images held out and evaluated in place of the test images, for choosing constants",
    )
    augmentation: Literal["none", "crop_flip"] = Field(default="none", json_schema_extra=_known("none"))

    # Network.
    depth: int = Field(le=LARGEST, json_schema_extra=_known(28))
    width: Count = Field(json_schema_extra=_known(4))
    norm: Literal["rms", "rms_sample", "batch"] = Field(default="rms", json_schema_extra=_inferred("rms"))
    norm_eps: float = Field(default=1e-5, gt=0)
    scope: Reading = Field(default="sample", json_schema_extra=_inferred("sample"))
    selection: Selection = Field(
        default="largest",
        description="of the positive values; random is the control: as many of them, chosen at random",
        json_schema_extra=_known("largest"),
    )
    rounding: Rounding = Field(default="up", description="of k")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before each block's second convolution; a control")

    # Optimization: SGD with Nesterov momentum, linear warm-up, then a cosine to zero.
    epochs: Count
    batch_size: Count = Field(default=128, json_schema_extra=_inferred(128))
    learning_rate: float = Field(gt=0, description="peak rate, after warm-up", json_schema_extra=_inferred(0.1))
    warmup_epochs: float = Field(ge=0, description="linear warm-up of the learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, json_schema_extra=_inferred(0.9))
    weight_decay: float = Field(
        default=5e-4, ge=0, description="not on gains and biases", json_schema_extra=_inferred(5e-4)
    )
    clip_norm: float | None = Field(default=1.0, gt=0, description="largest gradient norm; null: no clipping")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the convolutions")
    compile: bool = Field(default=False, description="torch.compile the training step's forward and backward pass")

    # The controller. None where the method has no such parameter.
    period_epochs: float = Field(default=1.0, gt=0, description="length of a period in epochs")
    keep_ratio: Share | None = Field(default=None, description="the constant budget of `fixed`")
    decay: float | None = Field(default=None, description="factor of one compression")
    floor: Share | None = Field(default=None, description="smallest budget")
    reset_to: Share | None = Field(default=None, json_schema_extra=_inferred(1.0))
    tolerance: float | None = Field(default=None, description="in nats of training loss")
    patience: Count | None = Field(default=None, description="periods without improvement before compression")
    max_hold: Count | None = Field(default=None, description="longest stay at one budget, in periods")
    warmup_periods: int = Field(default=0, ge=0, le=LARGEST, description="dense periods first")
    final_dense_periods: int = Field(default=0, ge=0, le=LARGEST, description="last periods trained at budget 1.0")

    # Evaluation.
    budgets: tuple[Share, ...] = Field(
        default=(1.0, 0.5, 0.25, 0.1, 0.05, 0.02), min_length=1, description="at which accuracy is measured"
    )
    headline_budget: Share = Field(default=1.0, description="of the test accuracy that is compared")

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("preset") not in PRESETS or values.get("method") not in CONTROLLERS:
            return values  # the field's own check says it better
        method = values["method"]
        applicable = controller_parameters(method)
        foreign = _CONTROLLER_FIELDS - applicable.keys()
        if method == "dense":
            foreign |= {"warmup_periods", "final_dense_periods"}
        preset = {key: value for key, value in load_preset(values["preset"]).items() if key not in foreign}
        defaults = {
            key: applicable[key]
            for key in _CONTROLLER_FIELDS & applicable.keys()
            if applicable[key] is not inspect.Parameter.empty
        }
        filled = {**defaults, **preset, **values}
        for key in _CONTROLLER_FIELDS - applicable.keys():
            if filled.get(key) is not None:
                having = [name for name in CONTROLLERS if key in controller_parameters(name)]
                raise ValueError(f"{key} does not apply to method {method!r}, only to {', '.join(having)}")
        if isinstance(filled.get("budgets"), list):  # JSON and YAML have no tuples
            filled["budgets"] = tuple(filled["budgets"])
        return filled

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.method == "fixed" and self.keep_ratio is None:
            raise ValueError("keep_ratio must be given for method 'fixed': a share in (0, 1]")
        if self.method == "dense" and (self.warmup_periods or self.final_dense_periods):
            raise ValueError("warmup_periods and final_dense_periods do not apply to method 'dense'")
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth is {self.depth}, but must be 6n + 4: 10, 16, 22, 28, ...")
        if self.headline_budget not in self.budgets:
            raise ValueError(f"headline_budget is {self.headline_budget}, but must be one of budgets {self.budgets}")
        for name in ("train_images", "test_images", "holdout_images"):
            if getattr(self, name) % 10:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be a multiple of 10 (ten classes)")
        if self.holdout_images >= self.train_images:
            raise ValueError(f"holdout_images is {self.holdout_images}, but must be below train_images")
        if self.batch_size > self.fitted_images:
            raise ValueError(f"batch_size is {self.batch_size}, but there are {self.fitted_images} images to fit")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, but must be below epochs, {self.epochs}")
        check_reading(self.scope, self.selection, self.rounding)
        if self.compile and self.scope == "network":
            raise ValueError("compile does not go with scope 'network', whose threshold changes with every batch")
        if self.warmup_periods + self.final_dense_periods > self.periods:
            raise ValueError(f"warmup_periods and final_dense_periods exceed the run's {self.periods} periods")
        make_controller(self.method, **self.controller_parameters())
        return self

    @property
    def fitted_images(self) -> int:
        """Images that are trained on, `train_images` less those held out."""
        return self.train_images - self.holdout_images

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the rest of each epoch's shuffle is left out, as is usual."""
        return self.fitted_images // self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.epochs * self.steps_per_epoch

    @property
    def steps_per_period(self) -> int:
        return min(self.steps, max(1, round(self.period_epochs * self.steps_per_epoch)))

    @property
    def periods(self) -> int:
        """Periods of the run; the last one is shorter where they do not divide it."""
        return math.ceil(self.steps / self.steps_per_period)

    def controller_parameters(self) -> dict[str, Any]:
        """Arguments for `make_controller` besides the name."""
        applicable = controller_parameters(self.method)
        values = {key: getattr(self, key) for key in _CONTROLLER_FIELDS & applicable.keys()}
        if "warmup" in applicable:
            values["warmup"] = self.warmup_periods
        if "seed" in applicable:
            values["seed"] = self.seed
        return values

    def sources(self) -> dict[str, str]:
        """For each field, where its value comes from: "paper", "inferred" or "ours"."""
        tags: dict[str, str] = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            matches = [tag for tag in ("paper", "inferred") if tag in extra and extra[tag] == getattr(self, name)]
            tags[name] = matches[0] if matches else "ours"
        tags["method"] = "paper" if self.method == "dense" else "ours"
        return tags

    def overrides(self) -> dict[str, Any]:
        """Fields that differ from the preset as it stands for this method, as JSON values."""
        plain = _as_it_stands(self.preset, self.method, self.keep_ratio if self.method == "fixed" else None)
        own = self.model_dump(mode="json")
        return {key: value for key, value in own.items() if key != "seed" and value != plain[key]}

    def given(self) -> dict[str, Any]:
        """What makes this configuration from its preset, method and seed: `overrides`, and the budget of `fixed`."""
        return self.overrides() | ({"keep_ratio": self.keep_ratio} if self.method == "fixed" else {})

    def digest(self) -> str:
        """SHA-256 of the configuration as canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


_CONTROLLER_FIELDS = frozenset({"keep_ratio", "decay", "floor", "reset_to", "tolerance", "patience", "max_hold"})


@cache
def _as_it_stands(preset: str, method: str, keep_ratio: float | None) -> dict[str, Any]:
    """Every field of a preset without overrides, as JSON values."""
    given = {} if keep_ratio is None else {"keep_ratio": keep_ratio}
    return RunConfig(preset=preset, method=method, **given).model_dump(mode="json")


@cache
def load_preset(name: str) -> Mapping[str, Any]:
    """The fields that the preset's YAML file sets."""
    text = resources.files("sparsecycle").joinpath(f"presets/{name}.yaml").read_text(encoding="utf-8")
    values: Mapping[str, Any] = MappingProxyType(yaml.safe_load(text))
    return values


def parse_setting(text: str) -> tuple[str, Any]:
    """`learning_rate=0.05` as a name and a value read as YAML.

    Raises:
        InputError: no equals sign, or a value that is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"setting {text!r} is not of the form FIELD=VALUE, for example learning_rate=0.05")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        given = shown(value)
        raise InputError(f"setting {name.strip()}: {given} is not a number, a word, true, false or null") from None
    return name.strip(), _number(parsed)


def configure(preset: str, method: str, seed: int, overrides: Mapping[str, Any]) -> RunConfig:
    """The configuration from what the notebook and the command line take.

    Raises:
        InputError: as `RunConfig`, or overrides that are no dict or set preset, method or seed.
    """
    if not isinstance(overrides, Mapping):
        raise InputError(
            f"overrides is {shown(overrides)}, but must be a dict of RunConfig fields, such as {{'epochs': 5}}"
        )
    repeated = sorted({"preset", "method", "seed"} & overrides.keys())
    if repeated:
        raise InputError(f"overrides cannot set {', '.join(repeated)}: give it as the parameter of that name")
    values = {name: _number(value) for name, value in overrides.items()}
    return RunConfig(preset=preset, method=method, seed=seed, **values)


def check_notebook_parameters(namespace: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Refuse names that a papermill call injected by mistake: papermill only warns and goes on with the default.

    Args:
        namespace: the notebook's `globals()`.
        allowed: names of the parameters cell.

    Raises:
        InputError: a plain value under a name that is not a parameter.
    """
    plain = (str, int, float, bool, list, dict, type(None))
    ignored = {"In", "Out", "exit", "quit", "open", "get_ipython"}
    allowed = list(allowed)
    for name, value in namespace.items():
        if name.startswith("_") or name in ignored or name in allowed:
            continue
        if isinstance(value, plain):
            raise InputError(f"unknown parameter {name!r}: the notebook takes {', '.join(allowed)}")


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as a word; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return [_number(one) for one in value] if isinstance(value, list) else value


def _sentence(error: ValidationError) -> str:
    """The first fault of a pydantic report as one sentence with the field, what was given and what is allowed."""
    first = error.errors()[0]
    field, given = ".".join(str(part) for part in first["loc"]), shown(first["input"])
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(field, RunConfig.model_fields, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown field {field!r}: {hint}RunConfig has {', '.join(RunConfig.model_fields)}"
    if first["type"] == "missing":
        return f"{field} is missing: give one of {', '.join(_allowed(field))}"
    if first["type"] == "value_error":
        return f"{field} is {given}, but {message}" if field else message
    return f"{field} is {given}, but should be {message}"


def _allowed(field: str) -> list[str]:
    return list(PRESETS if field == "preset" else CONTROLLERS)
