"""The configuration of a run: every choice a named, typed, validated field, and where its value comes from.

A field's value is *author's script* where the script of arXiv 2603.03131 has it, *paper* where only the public summary
states it, and *ours* otherwise.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sparsecycle.controllers import CONTROLLERS, controller_parameters, make_controller
from sparsecycle.errors import InputError, sentence, shown
from sparsecycle.variants import Reading, Rounding, Selection, Shortcut, check_reading

PRESETS = ("smoke", "quick", "classroom", "paper100", "paper")


def _in_unit_interval(value: float) -> float:
    if not 0.0 < value <= 1.0:
        raise ValueError("must lie in (0, 1]: a share of the activations")
    return value


def _without_slashes(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][^/\\\x00-\x1f\x7f]*", value) or len(value.encode()) > 255:
        raise ValueError("must be the name of a run's folder, such as 'accuracy_gated-seed0'")
    return value


def _known_method(value: Any) -> Any:
    if value not in tuple(CONTROLLERS):
        raise ValueError(f"must be one of {', '.join(CONTROLLERS)}")
    return value


FolderName = Annotated[str, AfterValidator(_without_slashes)]
Share = Annotated[float, AfterValidator(_in_unit_interval)]
LARGEST = 10**9  # of a count: beyond every use, and within what floats hold exactly
Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountOrNone = Annotated[int, Field(ge=0, le=LARGEST)]


def _script(*values: Any) -> dict[str, Any]:
    return {"author's script": list(values)}


class RunConfig(BaseModel):
    """What one run does. `RunConfig(preset="quick", method="accuracy_gated", seed=3, learning_rate=0.05)`.

    A preset gives the values, keyword arguments override them. Parameters of the controller may be given only where
    the method has them; those left out take the preset's value, then the controller's default. For `epoch_gated` a
    decision comes once an epoch, and `tighten` left out is what the preset's decisions take away in an epoch together.

    Raises:
        InputError (a ValueError): unknown field, wrong type or value, impossible combination; one sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    preset: Literal["smoke", "quick", "classroom", "paper100", "paper"]
    method: Annotated[str, BeforeValidator(_known_method)]
    seed: int = Field(default=0, ge=0, lt=2**31)

    # Data.
    dataset: Literal["cifar10", "cifar10-mini"] = Field(json_schema_extra=_script("cifar10"))
    train_images: Count = Field(description="balanced by class", json_schema_extra=_script(50_000))
    test_images: CountOrNone = Field(
        description="balanced by class; 0: no test image is looked at", json_schema_extra=_script(10_000)
    )
    holdout_images: CountOrNone = Field(
        default=0, description="training images held out and evaluated in place of the test images"
    )
    subset: Literal["first", "by_seed"] = Field(
        default="first", description="which training images: the same for all seeds, or a part for each seed"
    )
    wrong_labels: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the fitted images that get the label of another class, drawn by the seed",
        json_schema_extra=_script(0.0),
    )

    augment: bool = Field(
        default=False, description="shift and mirror the training images", json_schema_extra=_script(False)
    )

    # Network.
    depth: int = Field(le=LARGEST, json_schema_extra=_script(28))
    width: Count = Field(json_schema_extra=_script(4))
    norm_eps: float = Field(default=1e-8, gt=0, json_schema_extra=_script(1e-8))
    norm_bias: bool = Field(default=True, json_schema_extra=_script(True))
    shortcut: Shortcut = Field(
        default="raw",
        description="what a shortcut with a convolution takes: the block's input, or that after norm and constraint",
        json_schema_extra=_script("raw"),
    )
    scope: Reading = Field(default="sample", json_schema_extra=_script("sample"))
    selection: Selection = Field(
        default="largest",
        description="of the positive values; random is a control: as many of them, chosen at random",
        json_schema_extra=_script("largest"),
    )
    rounding: Rounding = Field(default="down", description="of k", json_schema_extra=_script("down"))
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="after each block's first convolution", json_schema_extra=_script(0.0)
    )

    # Optimization: SGD with Nesterov momentum; the rate is a cosine over the run, set once an epoch.
    epochs: Count = Field(json_schema_extra=_script(500))
    batch_size: Count = Field(default=128, json_schema_extra=_script(128))
    learning_rate: float = Field(default=0.1, gt=0, description="of the first epoch", json_schema_extra=_script(0.1))
    warmup_epochs: CountOrNone = Field(
        default=0, description="first epochs, in which the rate rises", json_schema_extra=_script(0)
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Nesterov", json_schema_extra=_script(0.9))
    weight_decay: float = Field(
        default=0.0, ge=0, description="not on gains and biases", json_schema_extra=_script(0.0)
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="largest gradient norm; null: no clipping", json_schema_extra=_script(None)
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="of the convolutions", json_schema_extra=_script("float16")
    )

    # The controller. None where the method has no such parameter.
    decision_steps: Count | None = Field(
        default=None, description="steps between two decisions", json_schema_extra=_script(128)
    )
    tighten: float | None = Field(
        default=None, description="share that one compression takes away", json_schema_extra=_script(0.018)
    )
    tolerance: float | None = Field(
        default=None, description="fall of training accuracy that is borne", json_schema_extra=_script(0.12)
    )
    smoothing: float | None = Field(
        default=None, description="weight of the average's old value", json_schema_extra=_script(0.5)
    )
    relax: Share | None = Field(default=None, description="what a reset adds", json_schema_extra=_script(1.0))
    cooldown: CountOrNone | None = Field(
        default=None, description="decisions without compression after a reset", json_schema_extra=_script(3)
    )
    floor: float | None = Field(default=None, description="smallest keep-ratio", json_schema_extra=_script(0.0))
    keep_ratio: Share | None = Field(default=None, description="the constant keep-ratio of `fixed`")
    path_from: FolderName | None = Field(
        default=None, description="the run that `replay` follows: the name of its folder, beside this run's"
    )
    shuffled: bool | None = Field(default=None, description="whether `replay` takes the path in random order")

    # Looks at the test images, at keep 1.0 and at the keep-ratio in force.
    evaluate_every: Count = Field(default=1, description="epochs between two looks", json_schema_extra=_script(1))
    evaluate_last: Count = Field(default=1, description="a look after each of the last so many epochs, too")
    budgets: tuple[Share, ...] = Field(
        default=(1.0, 0.5, 0.25, 0.1, 0.05, 0.02),
        min_length=1,
        description="keep-ratios of the final network's accuracies",
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**{name: without_signed_zero(value) for name, value in values.items()})
        except ValidationError as error:
            raise InputError(_sentence(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("preset") not in PRESETS or values.get("method") not in tuple(CONTROLLERS):
            return values  # the field's own check says it better
        method = values["method"]
        applicable = _fields_of(method)
        preset = load_preset(values["preset"])
        own = {key: value for key, value in preset.items() if key not in CONTROLLER_FIELDS or key in applicable}
        defaults = {
            key: default
            for key, default in controller_parameters(method).items()
            if key in CONTROLLER_FIELDS and default is not inspect.Parameter.empty
        }
        filled = {**defaults, **own, **values}
        for key in CONTROLLER_FIELDS - applicable:
            if filled.get(key) is not None:
                having = [name for name in CONTROLLERS if key in _fields_of(name)]
                raise ValueError(f"{key} does not apply to method {method!r}, only to {', '.join(having)}")
        if method == "epoch_gated":
            _decide_by_epoch(filled, values, preset)
        if isinstance(filled.get("budgets"), list):  # JSON and YAML have no tuples
            filled["budgets"] = tuple(filled["budgets"])
        return filled

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        missing = [key for key in sorted(_fields_of(self.method)) if getattr(self, key) is None]
        if missing:
            raise ValueError(f"{missing[0]} must be given for method {self.method!r}, and cannot be null")
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth is {self.depth}, but must be 6n + 4: 10, 16, 22, 28, ...")
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError(f"budgets is {self.budgets}, but must name each keep-ratio once")
        if 1.0 not in self.budgets:
            raise ValueError(f"budgets is {self.budgets}, but must contain 1.0, at which runs are compared")
        for name in ("train_images", "test_images", "holdout_images"):
            if getattr(self, name) % 10:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be a multiple of 10 (ten classes)")
        if self.holdout_images >= self.train_images:
            raise ValueError(f"holdout_images is {self.holdout_images}, but must be below train_images")
        if self.batch_size > self.fitted_images:
            raise ValueError(f"batch_size is {self.batch_size}, but there are {self.fitted_images} images to fit")
        if self.method == "epoch_gated" and self.decision_steps != self.steps_per_epoch:
            raise ValueError(
                f"decision_steps is {self.decision_steps}, but method 'epoch_gated' decides once an epoch, which has "
                f"{self.steps_per_epoch} steps: leave it out"
            )
        check_reading(self.scope, self.selection, self.rounding)
        if self.method != "replay":  # whose path is known when its run is
            make_controller(self.method, **self.controller_parameters())
        return self

    @property
    def fitted_images(self) -> int:
        """Images that are trained on, `train_images` less those held out."""
        return self.train_images - self.holdout_images

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the rest of each epoch's shuffle is left out (author's script)."""
        return self.fitted_images // self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.epochs * self.steps_per_epoch

    @property
    def looks(self) -> tuple[int, ...]:
        """Epochs, counted from 1, after which the test images are looked at; the last one always is."""
        first_of_last = self.epochs - self.evaluate_last
        return tuple(e for e in range(1, self.epochs + 1) if e % self.evaluate_every == 0 or e > first_of_last)

    def controller_parameters(self) -> dict[str, Any]:
        """Arguments for `make_controller` besides the name and the path of `replay`."""
        applicable = controller_parameters(self.method)
        values = {key: getattr(self, key) for key in CONTROLLER_FIELDS & applicable.keys()}
        return values | ({"seed": self.seed} if "seed" in applicable else {})

    def sources(self) -> dict[str, str]:
        """For each field, where its value comes from: "author's script", "paper" or "ours"."""
        tags: dict[str, str] = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            known = extra.get("author's script", [])
            assert isinstance(known, list)
            ours = getattr(self, name) not in known or (name in CONTROLLER_FIELDS and self.method != "accuracy_gated")
            tags[name] = "ours" if ours else "author's script"
        tags["method"] = {"dense": "paper", "accuracy_gated": "author's script"}.get(self.method, "ours")
        return tags

    def overrides(self) -> dict[str, Any]:
        """Fields that differ from the plain preset with this method, as JSON values."""
        needed = {key: getattr(self, key) for key in _NEEDED.get(self.method, ())}
        plain = _as_it_stands(self.preset, self.method, json.dumps(needed))
        own = self.model_dump(mode="json")
        return {key: value for key, value in own.items() if key != "seed" and value != plain[key]}

    def given(self) -> dict[str, Any]:
        """What makes this configuration from its preset, method and seed: `overrides`, and what the method needs."""
        return self.overrides() | {key: getattr(self, key) for key in _NEEDED.get(self.method, ())}

    def digest(self) -> str:
        """See `configuration_digest`."""
        return configuration_digest(self.model_dump(mode="json"))


# Fields that came after the first recorded run, with what was done before: such a run is identified without them.
LATER: Mapping[str, Any] = MappingProxyType(
    {"wrong_labels": 0.0, "augment": False, "norm_bias": True, "shortcut": "raw", "warmup_epochs": 0}
)
CONTROLLER_FIELDS = frozenset(
    {"decision_steps", "tighten", "tolerance", "smoothing", "relax", "cooldown", "floor"}
    | {"keep_ratio", "path_from", "shuffled"}
)
_NEEDED = {"fixed": ("keep_ratio",), "replay": ("path_from", "shuffled")}  # no preset can know these


def configuration_digest(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration's JSON values as canonical JSON, those left out that `LATER` has."""
    kept = {name: value for name, value in values.items() if name not in LATER or LATER[name] != value}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@cache
def _fields_of(method: str) -> frozenset[str]:
    """The fields of `RunConfig` that are parameters of a method's controller."""
    names = {"path_from" if name == "path" else name for name in controller_parameters(method)}
    return frozenset(names & CONTROLLER_FIELDS)


def _decide_by_epoch(filled: dict[str, Any], given: Mapping[str, Any], preset: Mapping[str, Any]) -> None:
    """Fill in `epoch_gated`: a decision an epoch, which takes away what the preset's decisions do together."""
    try:
        steps = (filled["train_images"] - filled.get("holdout_images", 0)) // filled.get("batch_size", 128)
        published = controller_parameters("accuracy_gated")
        decisions = steps / preset.get("decision_steps", published["decision_steps"])
        tighten = 1.0 - (1.0 - preset.get("tighten", published["tighten"])) ** decisions
    except (KeyError, OverflowError, TypeError, ZeroDivisionError):
        return  # the checks of the fields say it better
    if "decision_steps" not in given:
        filled["decision_steps"] = max(1, steps)
    if "tighten" not in given:
        filled["tighten"] = tighten


@cache
def _as_it_stands(preset: str, method: str, needed: str) -> dict[str, Any]:
    """Every field of a preset without overrides, as JSON values."""
    return RunConfig(preset=preset, method=method, **json.loads(needed)).model_dump(mode="json")


@cache
def load_preset(name: str) -> Mapping[str, Any]:
    """Return the fields that the preset's YAML file sets."""
    text = resources.files("sparsecycle").joinpath(f"presets/{name}.yaml").read_text(encoding="utf-8")
    values: Mapping[str, Any] = MappingProxyType(yaml.safe_load(text))
    return values


def parse_setting(text: str) -> tuple[str, Any]:
    """Read `learning_rate=0.05` as a name and a value: null, true, false, a number, JSON, or else a word.

    Raises:
        InputError: no equals sign or no value.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise InputError(f"setting {shown(text)} is not of the form FIELD=VALUE, for example learning_rate=0.05")
    return name.strip(), plain_value(value.strip())


_WORDS = {"null": None, "none": None, "~": None, "true": True, "false": False}


def plain_value(value: Any) -> Any:
    """Return what people mean by a text: `1e-3` and `010` are numbers (which YAML 1.1 reads otherwise), lists are JSON.

    Anything that is no text is returned as it is; lists and mappings are read item by item.
    """
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, Mapping):
        return {name: plain_value(one) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if re.fullmatch(r"[+-]?\d{1,30}", text):
        return int(text)
    if "_" not in text:  # Python reads 1_000 as a number, people may mean a word
        with suppress(ValueError):
            return float(text)
    if text[:1] in ("[", '"'):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return value


def without_signed_zero(value: Any) -> Any:
    """Return 0.0 for -0.0, which is the same number in another run's name and identity."""
    return 0.0 if isinstance(value, float) and value == 0 else value


def number_of(seed: Any) -> Any:
    """Return the number that a text holds, as papermill's `-r seed 3` and a form hand it over; all else as it is."""
    return plain_value(seed) if isinstance(seed, str) else seed


def read_overrides(overrides: Any) -> dict[str, Any]:
    """Return overrides as a dict, given as one or as JSON or YAML text, with the values that people mean.

    Raises:
        InputError: anything else.
    """
    given = overrides
    if isinstance(given, str):
        try:
            given = yaml.load(given, yaml.BaseLoader) if given.strip() else {}
        except (yaml.YAMLError, RecursionError):
            given = None
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(
            f"overrides is {shown(overrides)}, but must be a dict of fields with their values, such as {{'epochs': 5}}"
        )
    return {name: plain_value(value) for name, value in given.items()}


def configure(preset: str, method: str, seed: int, overrides: Any) -> RunConfig:
    """Return the configuration from what the notebook and the command line take.

    Raises:
        InputError: as `RunConfig`, or overrides that are no dict or set preset, method or seed.
    """
    values = read_overrides(overrides)
    repeated = sorted({"preset", "method", "seed"} & values.keys())
    if repeated:
        raise InputError(f"overrides cannot set {', '.join(repeated)}: give it as the parameter of that name")
    return RunConfig(preset=preset, method=method, seed=number_of(seed), **values)


def check_notebook_parameters(inputs: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse names that a papermill call injected by mistake: papermill only warns and goes on with the default.

    Args:
        inputs: the cells executed so far, which IPython keeps in `In`; papermill's begins with "# Parameters".
        allowed: names of the parameters cell.

    Raises:
        InputError: a name that is not a parameter.
    """
    allowed = list(allowed)
    injected = [cell for cell in inputs if cell.startswith("# Parameters")]
    for name in (name for cell in injected for name in re.findall(r"^(\w+) = ", cell, re.MULTILINE)):
        if name not in allowed:
            raise InputError(f"unknown parameter {name!r}: the notebook takes {', '.join(allowed)}")


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "missing":
        field = ".".join(str(part) for part in first["loc"])
        allowed = {"preset": PRESETS, "method": tuple(CONTROLLERS)}.get(field)
        return f"{field} is missing: give " + (f"one of {', '.join(allowed)}" if allowed else "it")
    return sentence(error, RunConfig)
