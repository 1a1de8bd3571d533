"""Runs of a rented GPU appear in the book without an edit: made-up records at the paper's scale, from file to page."""

import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from conftest import ROOT, alter
from sparsecycle import RunConfig, load_runs
from sparsecycle.runs import folders
from sparsecycle.runs.folders import run_folder
from sparsecycle_book.benchmarks.record import load_benchmarks
from sparsecycle_book.readme import current_readme
from sparsecycle_book.report.answers import described_presets, our_accuracies, short_answer
from sparsecycle_book.report.cost import run_sentence
from sparsecycle_book.report.tables import presets_table

GPU = "NVIDIA Made-up"


def recorded(data: Path, preset: str, pairs: int) -> Path:
    """What `quick` recorded, as if a GPU had made it at another scale; the files beside the records are the same."""
    quick = ROOT / "data" / "runs" / "quick"
    shutil.copytree(quick, data / "runs" / "quick")
    for seed in range(4):  # the study that judges until there are enough runs of a GPU
        for run in (f"dense-seed{seed}", f"accuracy_gated-seed{seed}"):
            shutil.copytree(ROOT / "data" / "runs" / "classroom" / run, data / "runs" / "classroom" / run)
    for method in ("dense", "accuracy_gated"):
        for seed in range(pairs):
            config = RunConfig(preset=preset, method=method, seed=seed)
            folder = run_folder(config, data / "runs")
            shutil.copytree(quick / f"{method}-seed{seed % 3}", folder)
            alter(folder / "record.json", partial(as_on_a_gpu, config=config))
    return data


def as_on_a_gpu(record: dict[str, Any], config: RunConfig) -> None:
    record |= {"config": config.model_dump(mode="json"), "overrides": {}, "identity": config.digest()}
    record["provenance"] |= {"device": GPU, "git_clean": None, "images_per_second": 30_000.0}
    record["metrics"] |= {"best_accuracy": 0.86 + (config.method != "dense") * 0.01 + 0.001 * (config.seed % 2)}


def executed(page: str) -> tuple[str, list[Any]]:
    """What the code of a page of the book shows: its words, and its figures."""
    shown: list[Any] = []
    shell = InteractiveShell()
    shell.user_ns["display"] = shown.append
    text = (ROOT / "book" / page).read_text(encoding="utf-8")
    for code in re.findall(r"```\{code-cell\} ipython3\n(?::tags:[^\n]*\n)?(.*?)```", text, re.DOTALL):
        done = shell.run_cell(code)
        done.raise_error()
        shown.append(done.result)
    words = " ".join(str(getattr(one, "data", None) or one) for one in shown if one is not None)
    return words, [one for one in shown if hasattr(one, "figure")]


@pytest.mark.parametrize("preset, pairs", [("paper100", 2), ("paper", 1), ("paper", 4)])
def test_runs_of_a_gpu_are_described_or_from_four_pairs_on_judged(preset, pairs, tmp_path):
    data = recorded(tmp_path, preset, pairs)
    runs = load_runs(data / "runs")
    few = pairs < 4
    assert described_presets(runs) == ([preset] if few else [])
    answer = short_answer(runs)
    assert f"preset `{preset}`" in answer and "WRN-28-4" in answer and "+1.00 points" in answer
    assert ("preset `classroom`" in answer) is few and ("too few to judge" in answer) is few
    assert f"{pairs} pair{'s' * (pairs > 1)}" in answer
    assert f"{GPU}, threads" in presets_table(runs)
    assert ("with the published rule (" in our_accuracies(runs)) is (preset == "paper")
    assert f"by recorded runs on {GPU} ({pairs})." in run_sentence(runs, [], load_benchmarks())


@pytest.mark.parametrize("preset, pairs", [("paper100", 2), ("paper", 4)])
def test_the_readme_and_the_chapter_on_dense_training_show_them(preset, pairs, tmp_path, monkeypatch):
    data = recorded(tmp_path / "data", preset, pairs)
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "data" / "benchmarks", data / "benchmarks")
    readme = current_readme(tmp_path)
    assert f"preset `{preset}`" in readme and f"{pairs} pairs" in readme
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)
    monkeypatch.setattr("sparsecycle.runs.records.OWN_RUNS", tmp_path / "none")
    words, drawn = executed("dense.md")
    assert f"preset `{preset}`" in words and f"{2 * pairs} runs of `{preset}`" in words
    captions = " ".join(one.caption for one in drawn)
    assert (f"runs of the preset {preset}" in captions) is (pairs >= 4)
    words, drawn = executed("paper_scale.md")
    assert f"`accuracy_gated` | {pairs} | 0.87" in words and f"runs of the preset {preset}" in drawn[0].caption
