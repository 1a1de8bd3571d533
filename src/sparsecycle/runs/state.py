"""Where a run is: what its checkpoint holds besides tensors, and what may differ when it goes on."""

import random
import re
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from sparsecycle.config import RunConfig
from sparsecycle.runs.provenance import HARMLESS, environment, now, source_digest


class RunState(BaseModel):
    """All that changes while a run goes on, but tensors. Times as in `Provenance`.

    Attributes:
        conditions: what the run depends on: every field of the configuration, source, data, and machine.
        step: optimizer steps done.
        period_seconds: training time of the period under way.
        history: one row a finished period, as in `epochs.parquet`.
        changed: condition: "before, then after", of those that differed when the run was resumed.
        python, numpy: states of the two global generators.
    """

    model_config = ConfigDict(extra="forbid")

    conditions: dict[str, Any]
    started: str
    step: int = 0
    period_seconds: float = 0.0
    wall_seconds: float = 0.0
    resumes: int = 0
    history: list[dict[str, int | float]] = []
    changed: dict[str, str] = {}
    controller: dict[str, Any] = {}
    python: list[Any] = []
    numpy: list[Any] = []

    @classmethod
    def of(cls, rest: Any) -> Self:
        """What a checkpoint holds.

        Raises:
            ValueError: it is not of this kind.
        """
        try:
            return cls.model_validate(rest)
        except ValidationError as error:
            raise ValueError(f"not the state of a run: {str(error).splitlines()[1]}") from None

    @classmethod
    def begin(cls, config: RunConfig, data_digest: str, device: str) -> Self:
        """Before the first step."""
        here = environment(device, config.precision, deterministic=True)
        machine = {name: here[name] for name in HARMLESS}
        sources = {"source": source_digest(), "data": data_digest}
        return cls(conditions=config.model_dump(mode="json") | sources | machine, started=now())

    def differences(self, conditions: dict[str, Any]) -> dict[str, tuple[str, str]]:
        """Of each condition that is another one in `conditions`: what it is here, and there."""
        return {
            name: (_short(self.conditions.get(name)), _short(value))
            for name, value in conditions.items()
            if value != self.conditions.get(name)
        }

    def resumed(self, conditions: dict[str, Any]) -> Self:
        """The same under `conditions`, with a note of all that ever changed."""
        changed = {
            name: f"{self.changed.get(name, before)}, then {after}"
            for name, (before, after) in self.differences(conditions).items()
        }
        return self.model_copy(
            update={"conditions": conditions, "resumes": self.resumes + 1, "changed": self.changed | changed}
        )

    def take_generators(self) -> None:
        """Note the states of Python's and numpy's generators."""
        version, numbers, gauss = random.getstate()
        name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
        self.python = [version, list(numbers), gauss]
        self.numpy = [name, np.asarray(keys).tolist(), *rest]

    def restore_generators(self) -> None:
        """Put the noted states back."""
        version, numbers, gauss = self.python
        random.setstate((version, tuple(numbers), gauss))
        name, keys, *rest = self.numpy
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002


def _short(value: Any) -> str:
    text = str(value)
    return text[:8] if re.fullmatch("[0-9a-f]{64}", text) else text
