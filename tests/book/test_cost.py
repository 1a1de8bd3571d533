"""What the chapter on cost says: of made-up benchmarks, rentals and recorded runs, worked by hand, and of none."""

import sys

import nbformat
import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle import RunConfig
from sparsecycle.errors import InputError
from sparsecycle.runs.ladder import Rung
from sparsecycle.runs.rental_report import Looked, describe, network_name, run_minutes
from sparsecycle.runs.studies import Progress
from sparsecycle_book.benchmarks import record as records_module
from sparsecycle_book.benchmarks import targets
from sparsecycle_book.benchmarks.record import ALL_THREADS, BenchmarkRecord, load_rentals
from sparsecycle_book.benchmarks.run_times import costs_table, cpu_hours, gain_of_two, gpu_minutes, step_milliseconds
from sparsecycle_book.benchmarks.steps import Step, work
from sparsecycle_book.report import cost
from test_benchmarks import made_up_record

PAPER = RunConfig(preset="paper", method="accuracy_gated")
DENSE = RunConfig(preset="classroom", method="dense")
GATED = RunConfig(preset="classroom", method="accuracy_gated")


def rental(day: int = 1, sparse_ms: float = 4.0, **fields: object) -> Looked:
    """A GPU on which a step takes 3 ms, 4 at 0.1, and 6 in each of two networks; a slower rung is wrong."""
    good = Rung(name="recorded steps, one kernel", loss_difference=0.01, dense_ms=3.0, sparse_ms=sparse_ms, pair_ms=6.0)
    plain = {"machine": "Made-up GPU, torch 9, CUDA 9", "source": "0", "network": network_name(PAPER), "batch": 128}
    plain |= {"tflop": 0.6, "gbyte": 0.45, "revision": "0123", "started": f"2026-01-0{day}T00:00:00+00:00"}
    plain |= {"rungs": [good, Rung(name="eager steps, one kernel", faults=["selects wrongly"])], "layers_ms": 0.6}
    return Looked(**(plain | {"chip": {"tflops": 600.0, "tb_per_second": 3.0}} | fields))


def gpu_run(preset: str, images_per_second: float, method: str = "accuracy_gated") -> pd.DataFrame:
    row = {"preset": preset, "method": method, "variant": "", "run": f"{preset}/{method}-seed0", "at_once": None}
    row |= {"device": "Made-up GPU", "images_per_second": images_per_second, "wall_seconds": 7200.0}
    return pd.DataFrame([row])


NONE = gpu_run("paper", 1.0).iloc[:0]


def gpu_record() -> BenchmarkRecord:
    made = made_up_record()
    for one in made.measurements:
        if one.suite in ("step", "limit"):
            one.case = Step.of_preset("paper").case
    return made.model_copy(update={"environment": made.environment | {"device": "Benched GPU"}})


def test_bfloat16_is_compared_with_float32_where_a_record_does_so():
    record = made_up_record()
    said = "A step is 3.0 to 3.0 times as fast as in float32 with one thread (" + record.environment["cpu"] + ")."
    assert cost.precision_sentence(record) == said
    row = {"network": "WRN-10-2 batch 128", "dense": "3.00", "keep 0.1": "3.00"}
    row |= {"ms dense, float32": "90", "ms dense, bfloat16": "30"}
    assert cost.precision_table(record).to_dict("records") == [row]


def test_a_step_is_measured_where_it_can_be_and_projected_elsewhere():
    record = made_up_record()
    assert step_milliseconds(record, DENSE) == (50.0, "step measured")
    assert step_milliseconds(record, GATED) == (55.0, "step measured")
    time, found_by = step_milliseconds(record, PAPER)
    assert (time, found_by) == (pytest.approx(55 * work(Step.of_preset("paper")) / 7.4), "projected from work")


def test_a_study_takes_its_steps_one_after_the_other_or_as_many_at_once_as_was_measured():
    record = made_up_record()
    hours = DENSE.steps * (50 + 55) / 3.6e6
    assert cpu_hours(record, [DENSE, GATED]) == (pytest.approx(hours), "step measured")
    assert cpu_hours(record, [DENSE, PAPER]).found_by == "projected from work"
    assert gain_of_two(record) == pytest.approx(1.8)
    table = costs_table({"one": [DENSE], "many": [DENSE] * 180}, NONE, [], [record]).set_index("what")
    assert table["two at once"].tolist() == ["", f"{180 * DENSE.steps * 50 / 3.6e6 / 1.8:,.0f}"]
    told = cost.study_sentence("s", [DENSE, GATED], record)
    assert "1.84 times as many images a second as one run with one thread, and 1.80 times as many as one run" in told
    record.measurements = [one for one in record.measurements if one.side != ALL_THREADS]
    assert cost.study_sentence("s", [DENSE, GATED], record).endswith("as one run with one thread.")


def test_without_a_gpu_its_minutes_are_expected_and_the_page_says_so():
    minutes = PAPER.steps * 128 / 32_000 / 60
    assert gpu_minutes(PAPER, NONE, [], [made_up_record()]) == (pytest.approx(minutes), "expected")
    assert gpu_minutes(PAPER, NONE, [], [], together=True).value == pytest.approx(minutes * 0.8)
    assert gpu_minutes(DENSE, NONE, [], []).found_by == "not measured"
    text = cost.run_sentence(NONE, [], [made_up_record()])
    assert f"at most {minutes:.1f} minutes" in text and "**No GPU has run this code yet.**" in text
    assert "not measured" in cost.rental_tables([])


def test_what_a_rental_or_a_benchmark_measured_takes_the_place_of_what_was_expected():
    alone = PAPER.steps * 4.0 / 60_000
    assert gpu_minutes(PAPER, NONE, [rental()], []) == (pytest.approx(alone), "steps measured on Made-up GPU")
    assert gpu_minutes(PAPER, NONE, [rental()], [], together=True).value == pytest.approx(alone * 3 / 4)
    benched = gpu_minutes(PAPER, NONE, [], [gpu_record()])
    assert benched == (pytest.approx(PAPER.steps * 55 / 60_000), "steps measured on Benched GPU")
    cpu = made_up_record()
    for text in (cost.run_sentence(NONE, [rental()], [cpu]), cost.run_sentence(NONE, [], [cpu, gpu_record()])):
        assert "No whole run is recorded there yet" in text and "No GPU has run" not in text and "expect" not in text
    wrong = rental(rungs=[Rung(name="recorded steps, one kernel", faults=["selects wrongly"])])
    assert gpu_minutes(PAPER, NONE, [wrong], []).found_by == "expected"


@pytest.mark.parametrize("preset", ["paper", "paper100"])
def test_recorded_runs_of_the_network_on_a_gpu_are_surest(preset):
    runs = gpu_run(preset, 20_000.0)
    minutes = PAPER.steps * 128 / 20_000 / 60
    assert gpu_minutes(PAPER, runs, [rental()], []) == (pytest.approx(minutes), "recorded runs on Made-up GPU")
    assert gpu_minutes(PAPER, runs.assign(at_once=2), [], []).value == pytest.approx(minutes / 2)
    text = cost.run_sentence(runs, [rental()], [made_up_record()])
    assert f"They take {minutes:.1f} minutes on a rented GPU, by recorded runs on Made-up GPU (1)." in text
    assert text.endswith(f"a run thus costs about {minutes / 60:.2f} times the hourly price.")
    config = RunConfig(preset=preset, method="accuracy_gated")
    assert costs_table({"row": [config]}, runs, [], [made_up_record()])["recorded"].tolist() == ["1 of 1, 2.0 hours"]


def test_the_newest_rental_of_each_gpu_stands_beside_the_expectations(tmp_path):
    for number, looked in enumerate((rental(1), rental(2, sparse_ms=3.5), rental(1, machine="Other GPU, torch 9"))):
        (tmp_path / f"{number}.json").write_text(looked.model_dump_json())
    rentals = load_rentals(tmp_path)
    assert [looked.started[9] for looked in rentals] == ["2", "1", "1"]
    text = cost.rental_tables(rentals)
    assert "| what | expected | " in text and "| Made-up GPU" in text and "| Other GPU" in text
    [line] = [line for line in text.splitlines() if line.startswith("| a step at keep 0.1 ")]
    assert "at most 4.00 ms" in line and "| 3.50 ms" in line
    assert "selects wrongly" in text and text.count("<details>") == 2
    assert load_rentals(tmp_path / "none") == []
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(InputError, match=r"broken\.json cannot be read"):
        load_rentals(tmp_path)


def test_the_report_of_a_rental_says_how_it_gets_into_the_book(tmp_path):
    text = describe(rental(), [PAPER], tmp_path)
    assert "cp FOLDER/ladder.json data/benchmarks/gpu/made-up-gpu-2026-01-01T000000.json" in text
    assert (ROOT / "data" / "benchmarks" / "gpu") == records_module.RENTALS
    assert "| a step at keep 0.1 | 4.00 ms | at most 4.00 ms |" in text


def test_the_report_of_a_rental_has_every_target_every_way_to_train_and_shares_of_what_the_chip_can(
    tmp_path, monkeypatch
):
    good = rental().rungs[0].model_copy(update={"recorded_loss_difference": 0.001, "recorded_masks_differ": 3})
    text = describe(rental(rungs=[good], run_minutes=2.5), [PAPER], tmp_path)
    assert "of which a step reaches 25%; 3.00 TB/s in copies, of which norm, ReLU and selection use 11% over" in text
    assert "and 25% while they select" in text
    assert "| eager steps, kernels apart | not looked at | | | | | | |" in text
    assert "half of their time) | 2.50 min | at most 3.00 min |" in text
    assert "largest difference of a loss | 0.001 nats | at most 0.020 nats |" in text
    assert "values that differ | 3 values | at most 0 values |" in text
    config = RunConfig(preset="paper100", method="dense")
    made = [("Made-up GPU", 2, 300.0), ("Made-up GPU", None, 120.0), ("Other GPU", None, 1.0)]
    records = [{"provenance": {"device": gpu, "at_once": n, "wall_seconds": wall}} for gpu, n, wall in made]
    runs = [Progress("run", config, "done", record=record) for record in records]
    monkeypatch.setattr("sparsecycle.runs.rental_report.progress", lambda *_: [*runs, Progress("b", config, "missing")])
    assert run_minutes([config], tmp_path, "Made-up GPU") == pytest.approx((2.5 + 2.0) / 2)
    assert run_minutes([config], tmp_path, "cpu") is None


def test_the_cost_of_a_step_is_the_range_of_the_medians():
    record = made_up_record()
    assert cost.step_sentence(record) == (
        f"A training step of {targets.CLASSROOM} at a keep-ratio of 0.1 to 0.1 takes 1.10 to 1.10 times as long as a "
        "dense one."
    )


def test_selection_is_compared_in_the_largest_layer():
    text = cost.selection_sentence(made_up_record())
    assert "2.0 times as long as ReLU alone" in text and "torch.topk 10.0 times" in text and "64 x 65536" in text


def test_the_method_is_short():
    lines = cost.method_lines()
    assert set(lines) == {"the constraint", "the layer", "the published rule"}
    assert all(5 < count < 120 for count in lines.values())


@pytest.mark.parametrize("gpu", [False, True])
def test_the_chapter_can_be_computed_from_any_records(gpu, tmp_path, monkeypatch):
    """The code cells as they stand, one after the other."""
    monkeypatch.setattr(records_module.load_benchmarks, "__defaults__", (tmp_path,))
    monkeypatch.setattr(records_module.load_rentals, "__defaults__", (tmp_path / "gpu",))
    made_up_record().write(tmp_path)
    if gpu:
        gpu_record().write(tmp_path)
        (tmp_path / "gpu").mkdir()
        (tmp_path / "gpu" / "one.json").write_text(rental().model_dump_json())
    cells = nbformat.read(ROOT / "notebooks" / "costs.ipynb", as_version=4).cells
    names: dict[str, object] = {}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert "records" in names and sys.modules["sparsecycle_book.report.cost"] is names["cost"]
