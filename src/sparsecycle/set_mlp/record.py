"""What is recorded of a run of the companion study, its name and its identity.

The identity is the hash of configuration, source and data. No path and no host name is ever written.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from sparsecycle.runs.folders import suffix
from sparsecycle.runs.provenance import Provenance, git_state
from sparsecycle.runs.source import source_digest
from sparsecycle.set_mlp.config import SetConfig

METRICS = ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "gap", "best_test_accuracy", "neurons_left")
# The modules that decide a run's numbers; reading, drawing and the command line are not among them.
SOURCES = tuple(
    f"set_mlp/{name}"
    for name in (
        *("config", "connectivity", "datasets", "evolution", "kernels", "layer", "network", "pruning"),
        "training",
    )
)


@dataclass(frozen=True)
class SetRecord:
    """The record of one run.

    Attributes:
        identity: SHA-256 of configuration, source and data.
        status: "complete", or "diverged" where the loss stopped being finite (metrics are then None).
        config: every field of `SetConfig`, as JSON values.
        overrides: those that differ from the method as it stood.
        metrics: of the last epoch: test_accuracy, train_accuracy, gap (train less test), best_test_accuracy and
            neurons_left as fractions, test_loss and train_loss in nats.
        parameters: weights and biases at the end, without the biases of neurons that have no connections.
        flops: floating-point operations of training, all epochs, see `MLP.flops`.
        batch_size, train_samples: samples of a batch, and of the training part.
        correct: for each sample of the test part whether the network classifies it rightly at the end.
        history: by name a value an epoch: epoch, train_loss and test_loss (nats), train_accuracy, test_accuracy,
            connections, neurons_left (a number), samples, flops, replaced (connections), adapted_loss (train_loss after
            connections and neurons changed), seconds, evolution_seconds; and by layer, from 1: connections_1, ...,
            weight_scale_1, ... (root mean square), neurons_left_1, ....
        feature_connections: connections of each input feature at the end; empty where all have all.
        degrees: for epochs of the run, by hidden layer how many neurons have 0, 1, 2, ... connections, both sides;
            no layer where all have all.
    """

    identity: str
    status: Literal["complete", "diverged"]
    config: dict[str, Any]
    overrides: dict[str, Any]
    metrics: dict[str, float | None]
    parameters: int
    flops: int
    batch_size: int
    train_samples: int
    correct: list[bool]
    history: dict[str, list[float | int]]
    feature_connections: list[int]
    degrees: dict[int, list[list[int]]]
    provenance: Provenance

    @property
    def neurons(self) -> list[int]:
        """Hidden neurons by layer."""
        return list(self.config["hidden"])

    @property
    def neurons_left(self) -> list[int]:
        """Hidden neurons by layer that have connections in and out at the end."""
        return [int(self.history[f"neurons_left_{layer}"][-1]) for layer in range(1, len(self.neurons) + 1)]

    @property
    def connections_at_start(self) -> list[int]:
        """Connections by layer before training."""
        return [int(self.history[f"connections_{layer}"][0]) for layer in range(1, len(self.neurons) + 2)]

    @property
    def connections(self) -> list[int]:
        """Connections by layer at the end: after the last epoch none is added or removed."""
        return [int(self.history[f"connections_{layer}"][-1]) for layer in range(1, len(self.neurons) + 2)]

    def name(self) -> str:
        """Return the run's folder below the folder of runs when it was made, with `/`."""
        return _name(self.config, self.overrides)

    def summary(self) -> str:
        """Return one line for people."""
        config = self.config
        name = f"{config['dataset']} {config['method']} seed {config['seed']}"
        if self.status == "diverged":
            return f"{name}: diverged, the training loss stopped being finite (recorded as such)"
        return (
            f"{name}: test accuracy {self.metrics['test_accuracy']:.4f}, train accuracy "
            f"{self.metrics['train_accuracy']:.4f}, {sum(self.neurons_left)} of {sum(self.neurons)} hidden neurons, "
            f"{self.parameters} parameters, {self.provenance.wall_seconds:.0f} s"
        )

    def results(self) -> dict[str, Any]:
        """Return what must be the same when the run is repeated: all but provenance and times."""
        results = {name: value for name, value in vars(self).items() if name not in ("provenance", "history")}
        timed = ("seconds", "evolution_seconds")
        return results | {"history": {name: column for name, column in self.history.items() if name not in timed}}


def set_run_name(config: SetConfig) -> str:
    """Return the run's folder below the folder of runs, with `/`."""
    return _name(config.model_dump(mode="json"), config.overrides())


def _name(config: dict[str, Any], overrides: dict[str, Any]) -> str:
    return f"set/{config['dataset']}/{config['method']}-seed{config['seed']}{suffix(overrides)}"


def set_identity(config: SetConfig, data_digest: str) -> str:
    """Return the SHA-256 of configuration, today's source and data."""
    git_state()  # a run is identified when it begins: what is committed later did not make it
    return identity_of(config.digest(), source_digest(SOURCES), data_digest)


def identity_of(configuration: str, source: str, data: str) -> str:
    """Return a run's identity from three SHA-256."""
    return hashlib.sha256(f"{configuration} {source} {data}".encode()).hexdigest()
