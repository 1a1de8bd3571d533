"""What the benchmark measures and concludes; how fast anything is, is not tested."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsecycle.errors import InputError
from sparsecycle.runs.provenance import environment
from sparsecycle_book.benchmarks import __main__ as command
from sparsecycle_book.benchmarks import figures, selection, targets
from sparsecycle_book.benchmarks.record import ALL_THREADS, BenchmarkRecord, Measurement, load_benchmarks, ratio
from sparsecycle_book.benchmarks.steps import Step, measure_memory, measure_steps, training_step
from sparsecycle_book.benchmarks.timing import alternate
from sparsecycle_book.display import alternative_text, inline_svg

SMALL = Step(10, 1, 4)
SELECTION = "64 x 65536 float32"


def made_up_record(started: str = "2026-01-01T00:00:00+00:00", factor: float = 1.0) -> BenchmarkRecord:
    """Three repeats of everything; the layer's kernel takes 2 ms, ReLU 1, torch.topk 20; a dense step 50, at 0.1 55."""
    found = []

    def timed(suite: str, case: str, side: str, times: dict[float, float]) -> None:
        for keep_ratio, time in times.items():
            made = {"suite": suite, "case": case, "side": side, "keep_ratio": keep_ratio}
            found.append(Measurement(**made, milliseconds=[time * share for share in (0.9, 1.0, 1.2)]))

    milliseconds = {"kernel": 2.0, "relu": 1.0, "copy": 0.8, "topk": 20.0, "kthvalue": 30.0, "sort": 90.0}
    for case in ("128 x 16384 float32", SELECTION):
        for side, time in milliseconds.items():
            timed("selection", case, side, dict.fromkeys(selection.BUDGETS, factor * time))
    for manner, dense, sparse in (("plain", 200.0, 300.0), ("torch", 90.0, 140.0), ("kernels", 50.0, 55.0)):
        timed("step", targets.CLASSROOM, manner, {1.0: dense, 0.1: sparse})
    timed("scaling", Step(10, 2, 128).case, "kernels", {1.0: 100.0, 0.1: 111.0})
    for precision, time in (("float32", 90.0), ("bfloat16", 30.0)):
        timed("precision", "WRN-10-2 batch 128", precision, {1.0: time, 0.1: 1.1 * time})
    for name, value in (("matrix product", 190.0), ("work", 7.4)):
        found.append(Measurement(suite="limit", case=targets.CLASSROOM, side=name, value=value, unit="GFLOP"))
    for runs, images in (("1", 2500.0), ("2", 1.8 * 2560.0), (ALL_THREADS, 2560.0)):
        found.append(Measurement(suite="at once", case=targets.CLASSROOM, side=runs, value=images, unit="images/s"))
    made = environment("cpu", "float32", deterministic=False) | {"amx": True}
    return BenchmarkRecord(started=started, ended=started, environment=made, left_out=[], measurements=found)


def test_sides_are_timed_in_turn():
    calls: list[str] = []
    times = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, "cpu", repeats=3, inner=2)
    assert calls == ["a", "b", *["a", "a", "b", "b"] * 3]
    assert [len(values) for values in times.values()] == [3, 3]


def test_ratio_is_taken_repeat_by_repeat():
    record = made_up_record()
    for one in record.measurements:
        if one.side == "topk":
            one.milliseconds = [10 * one.milliseconds[0], 1.0, 1.0]
    median, low, high = ratio(record, "selection", SELECTION, ("topk", 0.5), ("kernel", 0.5))
    assert (low, median, high) == pytest.approx(np.percentile([100, 1 / 2, 1 / 2.4], [25, 50, 75]))
    assert np.isnan(ratio(record, "selection", SELECTION, ("reference", 0.5), ("kernel", 0.5))).all()


def test_targets_are_judged_by_the_record_alone():
    table = targets.targets_table([made_up_record()]).set_index("what")
    assert table.loc[f"layer, {SELECTION}, keep 0.5: faster than topk and mask", "measured"] == "10.00"
    assert table.loc["`classroom` step: keep 0.1 over dense", ["measured", "met"]].tolist() == ["1.10", "yes"]
    assert table.loc["`classroom` dense step: faster than plain", "measured"] == "4.00"
    assert set(table[table["where"] == "GPU"]["met"]) == {"not measured"}
    half = "WRN-10-2 batch 128 step in bfloat16"
    faster = table.loc[f"{half}, with AMX: faster than in float32, keep 0.1"]
    assert faster[["target", "measured", "met"]].tolist() == ["at least 2.8x", "3.00", "yes"]
    assert table.loc[f"{half}: keep 0.1 over dense", ["measured", "met"]].tolist() == ["1.10", "yes"]
    other = made_up_record()
    del other.environment["amx"]  # as in records that were made before it was noted
    table = targets.targets_table([other]).set_index("what")
    assert set(table[table.index.str.contains("AMX")]["met"]) == {"not measured"}
    assert table.loc[f"{half}: keep 0.1 over dense", "met"] == "yes"
    slow = made_up_record()
    for one in slow.measurements:
        if one.suite == "selection" and one.side == "kernel":
            one.milliseconds = [6.0] * 3
    table = targets.targets_table([slow]).set_index("what")
    assert table.loc[f"layer, {SELECTION}, keep 0.5: faster than topk and mask", "met"] == "no"
    assert table.loc[f"layer, {SELECTION}, keep 0.5: time over plain ReLU", "met"] == "no"


def test_memory_of_bfloat16_and_two_runs_at_once_are_compared_with_float32_and_one():
    record = made_up_record()
    for precision, value in (("float32", 40.0), ("bfloat16", 30.0)):
        case = replace(Step.of_preset("classroom"), precision=precision).case
        record.measurements.append(Measurement(suite="memory", case=case, side="kernels", keep_ratio=1.0, value=value))
    for runs, value in (("1", 1000.0), ("2", 1700.0)):
        record.measurements.append(Measurement(suite="at once", case=targets.CLASSROOM, side=runs, value=value))
    table = targets.targets_table([record]).set_index("what")
    memory = table.loc["`classroom` step: peak memory, bfloat16 over float32"]
    assert memory[["measured", "met"]].tolist() == ["0.75", "yes"]
    two = table.loc["two `classroom` runs at once: images a second over one, a thread each"]
    assert two[["measured", "met"]].tolist() == ["1.70", "no"]


def test_a_record_is_read_back_and_the_newest_of_a_device_counts(tmp_path):
    for day in (2, 3, 1):
        made_up_record(f"2026-01-0{day}T00:00:00+00:00", factor=day).write(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    (newest,) = load_benchmarks(tmp_path)
    assert newest == made_up_record("2026-01-03T00:00:00+00:00", factor=3)
    other = made_up_record("2026-01-04T00:00:00+00:00")
    other.environment["cpu"] = "another"
    other.write(tmp_path)
    assert load_benchmarks(tmp_path) == [other, newest]
    assert load_benchmarks(tmp_path / "none") == []
    assert (tmp_path / newest.file).exists() and newest.file == "cpu-2026-01-03T000000.json"


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "cpu.json").write_text(json.dumps({"started": 3}))
    with pytest.raises(InputError, match=r"cpu\.json cannot be read"):
        load_benchmarks(tmp_path)
    content = json.loads(made_up_record().write(tmp_path).read_text())
    assert content["schema_version"] == 1
    (tmp_path / "cpu.json").write_text(json.dumps(content | {"schema_version": 99}))
    with pytest.raises(InputError, match="schema version 99"):
        load_benchmarks(tmp_path)


def test_every_way_of_selecting_agrees_where_nothing_is_tied():
    x = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    results = [side() for side in selection._sides(x, 0.1).values()]
    assert len(results) >= 4
    assert all(torch.equal(one, other) for one, other in pairwise(results))


def test_every_manner_of_a_step_runs_and_is_recorded(monkeypatch):
    def no_compiler(*_: object) -> None:
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(torch, "compile", lambda model: no_compiler)
    left_out: list[str] = []
    found = measure_steps(SMALL, "cpu", repeats=1, left_out=left_out)
    assert left_out == ["compiled step: no C++ compiler here"]
    assert {(one.side, one.keep_ratio) for one in found} >= {(m, k) for m in ("plain", "torch") for k in (1.0, 0.1)}
    assert len(found) == 10


def test_the_constraint_is_at_work_in_the_constrained_step(monkeypatch):
    from sparsecycle import network

    seen: list[float] = []
    constrain = network.normed_topk

    def watched(*arguments: Any) -> torch.Tensor:
        y = constrain(*arguments)
        seen.append((y != 0).float().mean().item())
        return y

    monkeypatch.setattr(network, "normed_topk", watched)
    for arguments in ({"plain": True}, {}):
        training_step(SMALL, "cpu", 0.1, **arguments)()
    assert len(seen) == 14 and max(seen) <= 0.1001


def test_peak_memory_grows_with_the_batch_and_hardly_with_the_constraint():
    ballast = torch.zeros(100_000_000)  # what this process has taken must not count for the processes that measure
    memory = {}
    for batch in (64, 256):
        dense, constrained = measure_memory(Step(10, 1, batch), "cpu", processes=1)
        memory[batch] = dense.value
        assert constrained.value < 1.5 * dense.value
    del ballast
    assert memory[256] > 2 * memory[64] > 20  # at least seven outputs of 4 MiB


def test_figures_state_their_numbers_and_label_their_axes():
    record = made_up_record()
    for figure, said in (
        (figures.layer_cost(record, SELECTION, ["128 x 16384 float32", SELECTION], 0.1), "this library 2 ms"),
        (figures.step_cost(record), "this library dense 50 ms"),
        (figures.relative_cost(record), "1.10 at 0.1"),
    ):
        assert said in alternative_text(figure)
        assert all(axes.get_xlabel() for axes in figure.axes)
        assert "currentColor" in inline_svg(figure)


def test_the_command_writes_a_record_and_says_where(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "CPU_SIZES", [(10, 1, 2)])
    monkeypatch.setattr(command, "measure_selection", lambda *_: made_up_record().measurements)
    for name in ("measure_steps", "measure_memory", "measure_paper"):
        monkeypatch.setattr(command, name, lambda *_: [])
    monkeypatch.setattr(command, "PRECISION_SIZES", [Step(10, 1, 2)])
    monkeypatch.setattr(command, "images_per_second", lambda config, runs, threads: 300.0 * runs * threads)
    assert command.main(repeats=1) == 0
    (path,) = tmp_path.iterdir()
    assert path.name in capsys.readouterr().out
    (record,) = load_benchmarks(tmp_path)
    at_once = {one.side: one.value for one in record.measurements if one.suite == "at once"}
    assert list(at_once) == ["1", "2", ALL_THREADS]
    suites = {"selection", "step", "scaling", "precision", "limit", "at once"}
    assert {one.suite for one in record.measurements} == suites
    halves = {(one.side, one.keep_ratio) for one in record.measurements if one.suite == "precision"}
    assert halves == {(precision, keep) for precision in ("float32", "bfloat16") for keep in (1.0, 0.1)}
    assert str(Path.cwd()) not in path.read_text()
