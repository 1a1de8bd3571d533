"""Where a run of the companion study is: what its checkpoint holds besides tensors."""

from typing import Any

from pydantic import Field

from sparsecycle.runs.provenance import HARMLESS, environment, now
from sparsecycle.runs.source import source_digest
from sparsecycle.runs.state import RunState
from sparsecycle.set_mlp.config import SetConfig
from sparsecycle.set_mlp.datasets import Dataset
from sparsecycle.set_mlp.record import SOURCES


class SetState(RunState):
    """As of a run of the main study, with a row of history for each epoch.

    Attributes:
        degrees: by epoch, see `SetRecord`.
        generator: state of the run's numpy generator.
    """

    degrees: dict[int, list[list[int]]] = Field(default_factory=dict)
    generator: dict[str, Any] = Field(default_factory=dict)


def first_state(config: SetConfig, dataset: Dataset) -> SetState:
    """Return the state before the first epoch."""
    here = made_here(config)
    machine = {name: here[name] for name in HARMLESS}
    sources = {"source": source_digest(SOURCES), "data": dataset.sha256}
    return SetState(conditions=config.model_dump(mode="json") | sources | machine, started=now())


def made_here(config: SetConfig) -> dict[str, Any]:
    """Return the part of the provenance that is known before a run begins."""
    import numba

    backend = None if config.method == "dense" else f"numba {numba.__version__}"
    made = environment("cpu", "float32", deterministic=True)
    return made | {"source_sha256": source_digest(SOURCES), "backend": backend}
