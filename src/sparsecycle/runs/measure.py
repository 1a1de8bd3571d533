"""Measure trained networks: at every budget, compressed, disturbed, and layer by layer."""

import hashlib
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsecycle.trainer import load_images
from sparsecycle.evaluation.compression import PRUNED_SHARES, pruned, with_int8_weights
from sparsecycle.config import RunConfig
from sparsecycle.evaluation.corruptions import STRENGTHS, corrupt, units_removed
from sparsecycle.data.cifar10 import Cifar10
from sparsecycle.errors import InputError
from sparsecycle.evaluation.accuracy import layer_activity, predict
from sparsecycle.runs.measures import Condition, Measures, calibration_error, summary_metrics, write_arrays
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.provenance import PACKAGE, git_state, source_digest
from sparsecycle.runs.records import RunRecord, file_digests, find_records
from sparsecycle.evaluation.similarity import budget_similarity
from sparsecycle.runs.execute import deterministic

MEASURING_SOURCES = ("compression", "corruptions", "measures", "measuring", "similarity")
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
        elif before and before.identity == record.identity and before.source_sha256 == measuring_digest():
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
        raise InputError(f"{folder / 'model.safetensors'} is not what record.json was written with: run again")
    config = RunConfig(**record.config)
    begin = time.perf_counter()
    torch.manual_seed(config.seed)  # for layers that choose at random in evaluation too
    model = load_model(folder, config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = load_images(config, data_dir).to(device)
    conditions, arrays = measure(model, data, config)
    layers = _layers(model, data.test_images[:LAYER_IMAGES], config)
    speed = _images_per_second(model, data.test_images, config)
    write_arrays(folder, arrays)
    measures = Measures(
        identity=record.identity,
        metrics=summary_metrics(conditions, config.headline_budget),
        conditions=conditions,
        layers=layers,
        images_per_second=speed,
        seconds=time.perf_counter() - begin,
        files=weights | file_digests(folder, ("measures.npz",)),
        source_sha256=measuring_digest(),
        device=device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        torchvision=version("torchvision"),
        **git_state(),
    )
    measures.write(folder)
    return measures


def measure(model: nn.Module, data: Cifar10, config: RunConfig) -> tuple[list[Condition], dict[str, NDArray[Any]]]:
    """Every condition, and the predictions, confidences and likelihoods that its numbers come from.

    Args:
        data: on the model's device.
    """
    conditions: list[Condition] = []
    arrays: dict[str, NDArray[Any]] = {}
    images, labels, headline = data.test_images, data.test_labels, config.headline_budget

    def add(kind: str, strength: float, logits: Tensor, truth: Tensor) -> None:
        predictions = logits.argmax(dim=1)
        accuracy = (predictions == truth).double().mean().item()
        one = Condition(kind=kind, strength=strength, accuracy=accuracy)
        arrays[one.name] = predictions.byte().cpu().numpy()
        if kind == "budget":
            likelihood = F.log_softmax(logits.double(), dim=1)
            confidence = likelihood.amax(dim=1).exp().cpu().numpy().astype(np.float16)
            of_label = likelihood.gather(1, truth[:, None])[:, 0].float().cpu().numpy()
            arrays[f"confidence/{strength!r}"], arrays[f"log_likelihood/{strength!r}"] = confidence, of_label
            one.loss = -float(of_label.astype(np.float64).mean())
            one.calibration_error = calibration_error(confidence, (predictions == truth).cpu().numpy())
        conditions.append(one)

    for budget in config.budgets:
        add("budget", budget, predict(model, images, budget), labels)
    add("fitted", 0.0, predict(model, data.train_images, headline), data.train_labels)
    for share in PRUNED_SHARES:
        add("pruning", share, predict(pruned(model, share), images, headline), labels)
    add("int8", 0.0, predict(with_int8_weights(model), images, headline), labels)
    for kind in ("noise", "blur", "contrast"):
        for strength in STRENGTHS[kind]:
            add(kind, strength, predict(model, corrupt(images, kind, strength), headline), labels)
    for share in STRENGTHS["removal"]:
        with units_removed(model, share):
            add("removal", share, predict(model, images, headline), labels)
    return conditions, arrays


@cache
def measuring_digest() -> str:
    """SHA-256 over the files whose text decides what is measured, those that decide a run among them."""
    digest = hashlib.sha256(source_digest().encode())
    for name in MEASURING_SOURCES:
        digest.update((PACKAGE / f"{name}.py").read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _layers(model: nn.Module, images: Tensor, config: RunConfig) -> list[dict[str, Any]]:
    similar = {
        (row["layer"], row["keep_ratio"]): row["cka"] for row in budget_similarity(model, images, config.budgets)
    }
    return [
        {"keep_ratio": budget, **vars(layer), "cka": similar[layer.layer, budget]}
        for budget in config.budgets
        for layer in layer_activity(model, images, budget)
    ]


def _images_per_second(model: nn.Module, images: Tensor, config: RunConfig) -> float:
    predict(model, images[:LAYER_IMAGES], config.headline_budget)  # warm
    begin = time.perf_counter()
    predict(model, images, config.headline_budget).sum().item()
    return len(images) / (time.perf_counter() - begin)
