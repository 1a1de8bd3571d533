"""Studies: declared, listed, and what is left of them; the workflow for clusters."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT
from processes import wait_for
from sparsecycle import RunConfig, train
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.runs import side_by_side
from sparsecycle.runs.folders import run_folder, run_name
from sparsecycle.runs.records import RunRecord
from sparsecycle.runs.studies import Studies, jobs, progress
from sparsecycle.runs.writing import is_being_written

STUDIES = """
tiny:
  about: three runs of a second each
  runs:
    - presets: [smoke]
      methods: [accuracy_gated]
      seeds: 3
      variants: [&small {train_images: 40, test_images: 20, batch_size: 20, epochs: 3}]
    - {presets: [smoke], methods: [fixed], seeds: [0], variants: [{<<: *small, keep_ratio: 0.5}]}
    - presets: [smoke]
      methods: [replay]
      seeds: [3]
      variants:
        - <<: *small
          path_from: "accuracy_gated-seed{other}-batch_size=20-epochs=3-test_images=20-train_images=40"
          shuffled: true
one:
  about: one run, as the workflow makes it
  runs: [{presets: [smoke], methods: [dense], seeds: 0, variants: [*small]}]
"""
BIN = Path(sys.executable).parent
PLANNED = Studies.read(ROOT / "workflow" / "studies.yaml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "studies.yaml"
    path.write_text(STUDIES, encoding="utf-8")
    return path


def test_the_planned_studies_are_runs_that_can_be_made():
    for study in PLANNED.studies:
        names = [run_name(config) for config in PLANNED.configurations(study)]
        assert len(names) == len(set(names)) > 0


@pytest.mark.parametrize("folder", ["runs", "pilot", "search", "precision"])
def test_every_recorded_run_is_one_of_a_planned_study(folder):
    runs = ROOT / "data" / folder
    planned = {run_name(config) for study in PLANNED.studies for config in PLANNED.configurations(study)}
    assert {path.parent.relative_to(runs).as_posix() for path in runs.rglob("record.json")} <= planned


def test_every_replay_of_a_study_follows_a_run_of_that_study():
    for study in PLANNED.studies:
        configurations = PLANNED.configurations(study)
        names = {run_name(config) for config in configurations}
        replays = [config for config in configurations if config.method == "replay"]
        for config in replays:
            assert f"{config.preset}/{config.path_from}" in names
            assert (f"seed{config.seed}" in str(config.path_from).split("-")) == config.shuffled


def test_what_chooses_or_checks_settings_looks_at_no_test_image():
    assert {config.test_images for config in PLANNED.configurations("pilot")} == {0}
    assert all(c.holdout_images for name in ("tuning", "precision") for c in PLANNED.configurations(name))


def test_a_study_is_every_combination_once():
    block = {"presets": ["smoke"], "methods": ["dense", "random"], "seeds": "2-4", "variants": [{}, {"epochs": 9}]}
    studies = Studies(studies={"one": {"about": "", "runs": [block, block]}})
    configs = studies.configurations("one")
    assert len(configs) == 12
    assert Counter((c.method, c.epochs) for c in configs).most_common(1)[0][1] == 3
    with pytest.raises(InputError, match="study is 'two', but must be one of one"):
        studies.configurations("two")


def test_progress_is_what_the_folders_say(file, tmp_path, capsys):
    configs = Studies.read(file).configurations("tiny")
    first, second, third = (run_folder(config, tmp_path / "runs") for config in configs)
    train(configs[0], output_dir=tmp_path / "runs", progress=False)
    second.mkdir(parents=True)
    (second / "checkpoint-000000001-00.safetensors").touch()
    runs = progress(configs, tmp_path / "runs")
    assert [run.status for run in runs] == ["done", "interrupted", "missing"]
    assert [job.after for job in jobs(runs, tmp_path / "runs")] == [frozenset(), frozenset([run_name(configs[0])])]
    shutil.copytree(first, third)
    arguments = ["study", "tiny", "--file", str(file), "--output-dir", str(tmp_path / "runs")]
    assert main([*arguments, "--status"]) == 1
    assert "the record of another configuration" in capsys.readouterr().out
    (third / "record.json").write_text("{", encoding="utf-8")
    assert main([*arguments, "--status"]) == 1
    assert "is damaged" in capsys.readouterr().out


def test_the_study_is_made_and_its_commands_and_table_say_so(file, tmp_path, capsys):
    arguments = ["study", "tiny", "--file", str(file), "--output-dir", str(tmp_path / "my runs"), "--no-progress"]
    assert main([*arguments, "--commands", "--data-dir", str(tmp_path), "--device", "cpu"]) == 0
    assert all(f" --data-dir {tmp_path} --device cpu" in one for one in capsys.readouterr().out.splitlines())
    assert main([*arguments, "--commands"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == 3
    subprocess.run(["sh", "-c", f"{commands[0]} --no-progress"], check=True, capture_output=True)
    table = tmp_path / "table.csv"
    assert main([*arguments, "--jobs", "3", "--table", str(table)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "tiny: 3 runs, 1 there before, 2 made"
    records = [RunRecord.read(path.parent) for path in (tmp_path / "my runs").rglob("record.json")]
    assert sorted(str(record.provenance.at_once) for record in records) == ["2", "2", "None"]  # one was made alone
    assert len(table.read_text(encoding="utf-8").splitlines()) == 4
    assert main([*arguments, "--commands"]) == 0 and capsys.readouterr().out == ""


@pytest.mark.skipif(not (BIN / "snakemake").exists(), reason="Snakemake is not installed")
def test_the_workflow_goes_on_after_snakemake_was_killed(file, tmp_path):
    """Its own lock outlives it and would block the next call: the profiles go without."""
    output = tmp_path / "runs"
    profile = ["--profile", str(ROOT / "workflow/profiles/local"), "--snakefile", str(ROOT / "workflow/Snakefile")]
    command = [str(BIN / "snakemake"), *profile, "--directory", str(ROOT), "--cores", "2", "--quiet", "all", "--config"]
    command += [f"studies={file}", f"output_dir={output}", "study=one", "device=cpu"]
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: any(output.rglob(".lock")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while any(is_being_written(path.parent) for path in output.rglob(".lock")):  # kernels outlive papermill by a moment
        time.sleep(0.1)
    subprocess.run(command, env=environment, check=True)
    assert {run.status for run in progress(Studies.read(file).configurations("one"), output)} == {"done"}
    again = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("rates", "cores", "best"),
    [
        ({1: 100.0, 2: 190.0, 4: 200.0}, 4, 2),  # four are hardly faster than two
        ({1: 100.0, 2: 105.0}, 4, 1),
        ({1: 100.0, 2: 190.0, 4: 360.0}, 4, 4),
        ({1: 100.0, 2: 0.0}, 4, 1),  # two do not fit into the memory
        ({1: 0.0, 2: 0.0}, 4, 1),  # nor does one
        ({1: 100.0}, 1, 1),
    ],
)
def test_as_many_runs_are_made_at_a_time_as_pays(rates, cores, best, monkeypatch):
    monkeypatch.setattr(side_by_side, "_cores", lambda: cores)
    monkeypatch.setattr(side_by_side, "images_per_second", lambda _, at_once: rates[at_once])
    assert side_by_side.best_at_once(RunConfig(preset="smoke", method="dense"), 100) == (best, rates)


def test_how_fast_a_machine_trains_is_measured_in_processes_of_their_own(monkeypatch):
    monkeypatch.setattr(side_by_side, "SECONDS", 0.2)
    monkeypatch.setattr(side_by_side, "STARTING_SECONDS", 0.0)
    assert side_by_side.images_per_second(RunConfig(preset="smoke", method="dense"), 1, threads=2) > 0
