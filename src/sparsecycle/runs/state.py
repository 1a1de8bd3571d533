"""Where a run is: what its checkpoint holds besides tensors, and what may differ when it goes on."""

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from sparsecycle.config import LATER


class RunState(BaseModel):
    """What changes while a run goes on, but tensors. Times as in `Provenance`; base of the states of both studies.

    Attributes:
        conditions: what the run depends on: every field of the configuration, source, data, and machine.
        history: one row a look at the test images.
        changed: condition: "before, then after", of those that differed when the run was resumed.
    """

    model_config = ConfigDict(extra="forbid")

    conditions: dict[str, Any]
    started: str
    wall_seconds: float = 0.0
    resumes: int = 0
    history: list[dict[str, int | float]] = []
    changed: dict[str, str] = {}

    @classmethod
    def of(cls, rest: Any) -> Self:
        """Return what a checkpoint holds.

        Raises:
            ValueError: it is not of this kind.
        """
        try:
            return cls.model_validate(rest)
        except ValidationError as error:
            raise ValueError(f"not the state of a run: {str(error).splitlines()[1]}") from None

    def differences(self, conditions: dict[str, Any]) -> dict[str, tuple[str, str]]:
        """Return for each condition that is another one in `conditions` what it is here, and there."""
        return {
            name: (_short(before), _short(value))
            for name, value in conditions.items()
            if value != (before := self.conditions.get(name, LATER.get(name)))
        }

    def resumed(self, conditions: dict[str, Any]) -> Self:
        """Return the same under `conditions`, with a note of all that ever changed."""
        changed = {
            name: f"{self.changed.get(name, before)}, then {after}"
            for name, (before, after) in self.differences(conditions).items()
        }
        return self.model_copy(
            update={"conditions": conditions, "resumes": self.resumes + 1, "changed": self.changed | changed}
        )


def _short(value: Any) -> str:
    text = str(value)
    return text[:8] if re.fullmatch("[0-9a-f]{64}", text) else text
