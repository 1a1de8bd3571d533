"""Measure finished runs: their networks compressed, disturbed, and layer by layer."""

import math
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsecycle.config import RunConfig
from sparsecycle.data.cifar10 import load_images
from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import evaluate, layer_activity
from sparsecycle.evaluation.compression import PRUNED_SHARES, pruned, with_int8_weights
from sparsecycle.evaluation.corruptions import STRENGTHS, corrupt, units_removed
from sparsecycle.evaluation.similarity import budget_similarity
from sparsecycle.runs.execute import deterministic
from sparsecycle.runs.measures import Condition, Measures, summary_metrics, write_correct
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.provenance import git_state
from sparsecycle.runs.records import RunRecord, file_digests, find_records
from sparsecycle.runs.source import TRAINING, source_digest

# What decides the measures, besides what decides the run.
SOURCES = (*TRAINING, *(f"evaluation/{name}" for name in ("compression", "corruptions", "similarity")), "runs/measure")
LAYER_IMAGES = 500  # test images that activity and similarity are measured on: a share needs no more


def measure_runs(
    *folders: str | Path, data_dir: str | Path | None = None, device: str = "cpu"
) -> Iterator[tuple[str, str]]:
    """Measure every finished run below the folders whose weights are there, unless it has been measured.

    Yields:
        The run's name and what was done, a few words.

    Raises:
        InputError: a missing folder, a damaged file, images that are not there.
    """
    for folder, record, name in find_records(*folders):
        before = Measures.read(folder)
        if record.status == "diverged":
            yield name, "diverged: nothing to measure"
        elif record.evaluated_on == "nothing":
            yield name, "left out: no image is kept for measuring"
        elif before and before.identity == record.identity and before.source_sha256 == source_digest(SOURCES):
            yield name, "measured before"
        elif not (folder / "model.safetensors").exists():
            yield name, "left out: its weights are not here" + (" (measured before)" if before else "")
        else:
            with deterministic():
                measures = measure_run(folder, record, data_dir, device)
            yield name, f"measured in {measures.seconds:.0f} s"


def measure_run(folder: Path, record: RunRecord, data_dir: str | Path | None = None, device: str = "cpu") -> Measures:
    """Measure the network of one run, and write `measures.npz` and `measures.json` beside its record.

    Raises:
        InputError: weights that are not those of the record, or missing images.
    """
    weights = file_digests(folder, ("model.safetensors",))
    if weights["model.safetensors"] != record.files.get("model.safetensors"):
        raise InputError(
            f"{folder / 'model.safetensors'} is not what record.json was written with: "
            "restore it, or delete the folder and run again"
        )
    config = RunConfig(**record.config)
    begin = time.perf_counter()
    torch.manual_seed(config.seed)  # for layers that choose at random in evaluation, too
    model = load_model(folder, config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = load_images(config, data_dir).to(device)
    conditions, correct = measure(model, data.test_images, data.test_labels)
    layers = _layers(model, data.test_images[:LAYER_IMAGES], config)
    write_correct(folder, correct)
    measures = Measures(
        identity=record.identity,
        metrics=summary_metrics(conditions),
        conditions=conditions,
        layers=layers,
        seconds=round(time.perf_counter() - begin, 3),
        files=weights | file_digests(folder, ("measures.npz",)),
        source_sha256=source_digest(SOURCES),
        device=device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        torchvision=version("torchvision"),
        **git_state(),
    )
    measures.write(folder)
    return measures


def measure(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[Condition], dict[str, NDArray[np.bool_]]]:
    """Return the accuracy in every condition, and which images are classified rightly, by the condition's name.

    Args:
        model: evaluated at keep-ratio 1.0 throughout.
        images: uint8 (N, 3, 32, 32) on the model's device.
        labels: int64 (N,) on the same device.
    """
    conditions: list[Condition] = []
    correct: dict[str, NDArray[np.bool_]] = {}

    def add(kind: str, strength: float, network: nn.Module, seen: Tensor) -> None:
        result = evaluate(network, seen, labels, 1.0)
        one = Condition(kind=kind, strength=strength, accuracy=result.accuracy)
        conditions.append(one)
        correct[one.name] = result.correct.numpy()

    for share in PRUNED_SHARES:
        add("pruning", share, pruned(model, share), images)
    add("int8", 0.0, with_int8_weights(model), images)
    for kind in ("noise", "blur", "contrast"):
        for strength in STRENGTHS[kind]:
            add(kind, strength, model, corrupt(images, kind, strength))
    for share in STRENGTHS["removal"]:
        with units_removed(model, share):
            add("removal", share, model, images)
    return conditions, correct


def _layers(model: nn.Module, images: Tensor, config: RunConfig) -> list[dict[str, Any]]:
    similar = {
        (row["layer"], row["keep_ratio"]): float(row["cka"]) for row in budget_similarity(model, images, config.budgets)
    }
    return [
        {
            "keep_ratio": budget,
            "layer": layer.layer,
            "active_fraction": round(layer.active_fraction, 6),
            "dead_channels": round(layer.dead_channels, 6),
            "cka": None if math.isnan(similar[layer.layer, budget]) else round(similar[layer.layer, budget], 6),
        }
        for budget in config.budgets
        for layer in layer_activity(model, images, budget)
    ]
