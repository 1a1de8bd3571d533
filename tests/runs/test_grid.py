"""Studies: declared, listed, run by Snakemake with kills on the way, on one machine and on a SLURM of one node."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT, same_run
from sparsecycle import RunConfig, train
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.runs.folders import run_folder, run_name
from sparsecycle.runs.grid import Grid, progress
from sparsecycle.runs.writing import is_being_written

GRID = """
tiny:
  about: three runs of a second each
  runs:
    - presets: [smoke]
      methods: [dense, plateau]
      seeds: 3
      variants: [{train_images: 40, test_images: 20, batch_size: 20, epochs: 3, warmup_epochs: 0}]
    - presets: [smoke]
      methods: [fixed]
      seeds: [0]
      variants: [{train_images: 40, test_images: 20, batch_size: 20, epochs: 3, warmup_epochs: 0, keep_ratio: 0.5}]
long:
  about: two runs that last long enough to be killed
  runs:
    - {presets: [smoke], methods: [dense, plateau], seeds: [0], variants: [{epochs: 30, weight_decay: 1e-5}]}
"""
BIN = Path(sys.executable).parent
needs_snakemake = pytest.mark.skipif(not (BIN / "snakemake").exists(), reason="Snakemake is not installed")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID, encoding="utf-8")
    return path


def test_the_project_s_grid_declares_runs_that_can_be_made() -> None:
    grid = Grid.read(ROOT / "workflow" / "grid.yaml")
    for study in grid.studies:
        names = [run_name(config) for config in grid.configurations(study)]
        assert len(names) == len(set(names)) > 0
    runs = ROOT / "data" / "runs"
    recorded = {path.parent.relative_to(runs).as_posix() for path in runs.rglob("record.json")}
    assert recorded <= {run_name(config) for study in grid.studies for config in grid.configurations(study)}


def test_a_study_is_every_combination_once() -> None:
    block = {"presets": ["smoke"], "methods": ["dense", "plateau"], "seeds": "2-4", "variants": [{}, {"epochs": 9}]}
    grid = Grid(studies={"one": {"about": "", "runs": [block, block]}})
    configs = grid.configurations("one")
    assert len(configs) == 12
    assert Counter((c.method, c.epochs) for c in configs).most_common(1)[0][1] == 3
    with pytest.raises(InputError, match="study is 'two', but must be one of one"):
        grid.configurations("two")


def test_progress_is_what_the_folders_say(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = Grid.read(grid).configurations("tiny")
    first, second, third = (run_folder(config, tmp_path / "runs") for config in configs)
    train(configs[0], output_dir=tmp_path / "runs", progress=False)
    second.mkdir(parents=True)
    (second / "checkpoint-000000001-00.safetensors").touch()
    statuses = [run.status for run in progress(configs, tmp_path / "runs")]
    assert statuses == ["done", "interrupted", "missing"]
    shutil.copytree(first, third)
    arguments = ["grid", "tiny", "--file", str(grid), "--output-dir", str(tmp_path / "runs")]
    assert main(arguments) == 1
    assert "the record of another configuration" in capsys.readouterr().out
    (third / "record.json").write_text("{", encoding="utf-8")
    assert main(arguments) == 1
    assert "is damaged" in capsys.readouterr().out


def test_the_commands_of_missing_runs_make_them(grid: Path, tmp_path: Path) -> None:
    listing = [str(BIN / "sparsecycle"), "grid", "tiny", "--file", str(grid), "--output-dir", str(tmp_path / "my runs")]
    given = subprocess.run([*listing, "--commands"], capture_output=True, text=True, check=True).stdout
    assert len(given.splitlines()) == 3
    launcher = ["xargs", "-d", "\n", "-P", "2", "-n", "1", "sh", "-c"]
    subprocess.run(launcher, input=given, text=True, check=True, capture_output=True)
    table = tmp_path / "table.csv"
    done = subprocess.run([*listing, "--table", str(table)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "tiny: 3 runs, 3 done"
    assert len(table.read_text(encoding="utf-8").splitlines()) == 4
    assert subprocess.run([*listing, "--commands"], capture_output=True, text=True, check=True).stdout == ""


def test_a_study_within_a_time_budget_goes_on_chunk_by_chunk(grid: Path, tmp_path: Path) -> None:
    """As on a GPU node that is lent for minutes: the launcher is stopped by `timeout`, its runs save where they are."""
    output = tmp_path / "runs"
    listing = [str(BIN / "sparsecycle"), "grid", "long", "--file", str(grid), "--output-dir", str(output)]
    launch = f"{shlex.join(listing)} --commands | xargs -r -d '\\n' -P 2 -n 1 sh -c"
    progressed = [0]
    for stopped in (True, True, False):
        process = subprocess.Popen(["timeout", "600", "sh", "-c", launch], stderr=subprocess.PIPE, text=True)
        while stopped and checkpoints(output) == progressed[-1] and process.poll() is None:
            time.sleep(0.05)
        if stopped:
            process.terminate()  # told to stop, `timeout` does what it does when its time is over: it stops its group
        error = process.communicate()[1]
        assert process.returncode == (-signal.SIGTERM if stopped else 0), error
        wait_until_nobody_writes(output)
        progressed.append(checkpoints(output))
    assert progressed == sorted(set(progressed)), "each chunk gets on"
    configs = Grid.read(grid).configurations("long")
    runs = progress(configs, output)
    assert {run.status for run in runs} == {"done"} and max(run.record["provenance"]["resumes"] for run in runs) > 0
    train(configs[1], output_dir=tmp_path / "alone", progress=False, device="cpu")
    same_run(run_folder(configs[1], tmp_path / "alone"), run_folder(configs[1], output))


def wait_until_nobody_writes(output: Path) -> None:
    end = time.monotonic() + 60
    while any(is_being_written(path.parent) for path in output.rglob(".lock")):
        assert time.monotonic() < end, "a run did not stop"
        time.sleep(0.1)


def snakemake(grid: Path, output: Path, *more: str) -> list[str]:
    """The command, with its own state in a folder of its own."""
    command = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(ROOT)]
    return [*command, *more, "--config", f"grid={grid}", f"output_dir={output}"]


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}


@needs_snakemake
def test_a_study_survives_three_kills_of_the_whole_snakemake(grid: Path, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    configs = Grid.read(grid).configurations("long")
    local = ["--cores", "2", "--nolock", "--rerun-incomplete", "--quiet", "all"]
    command = [*snakemake(grid, output, *local), "study=long"]
    for _ in range(3):
        process = subprocess.Popen(command, env=environment(), start_new_session=True)
        before = checkpoints(output)
        end = time.monotonic() + 120
        while checkpoints(output) <= before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.poll() is None, "Snakemake ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_until_nobody_writes(output)  # kernels have sessions of their own and outlive papermill by a moment
    subprocess.run(command, env=environment(), check=True)
    assert {run.status for run in progress(configs, output)} == {"done"}
    train(configs[0], output_dir=tmp_path / "alone", progress=False, device="cpu")
    same_run(run_folder(configs[0], tmp_path / "alone"), run_folder(configs[0], output))
    again = subprocess.run([*command, "--dry-run"], env=environment(), capture_output=True, text=True, check=True)
    assert "Nothing to be done" in again.stdout + again.stderr


def checkpoints(output: Path) -> int:
    """The steps done so far, by the names of the newest checkpoints, and of finished runs as many as there can be."""
    steps = sum(10_000 for _ in output.rglob("record.json"))
    for folder in {path.parent for path in output.rglob("checkpoint-*.safetensors")}:
        steps += max((int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")), default=0)
    return steps


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SLURM of one node on this machine; skipped where its packages cannot be installed."""
    script, folder = str(ROOT / "workflow" / "one_node_slurm.sh"), tmp_path_factory.mktemp("slurm")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a SLURM of one node is set up by root, from Debian's packages")
    started = subprocess.run([script, "up", str(folder)], capture_output=True, text=True)
    if started.returncode == 3:
        pytest.skip("SLURM's packages cannot be installed here")
    assert started.returncode == 0, started.stderr
    yield
    subprocess.run([script, "down", str(folder)], check=True)


@needs_snakemake
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SLURM runs on Linux")
def test_a_study_on_slurm_with_a_job_killed_and_picked_up_again(slurm: None, grid: Path, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    profile = ["--profile", str(ROOT / "workflow" / "profiles" / "slurm"), "--nolock", "--retries", "2"]
    trial = ["--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-logdir", str(tmp_path / "logs")]
    trial += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]
    trial += ["--default-resources", "mem_mb=1500"]
    command = [*snakemake(grid, output, *profile, *trial), "study=long"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment(), stdout=file, stderr=file)
    end = time.monotonic() + 100
    while not checkpoints(output) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    running = subprocess.run(["squeue", "--noheader", "--states=R", "--format=%A"], capture_output=True, text=True)
    job = running.stdout.split()[0]
    subprocess.run(["scancel", "--signal=KILL", "--full", job], check=True)
    assert process.wait(timeout=300) == 0, log.read_text()[-3000:]
    runs = progress(Grid.read(grid).configurations("long"), output)
    assert {run.status for run in runs} == {"done"}
    assert max(run.record["provenance"]["resumes"] for run in runs) >= 1, "the killed job was picked up again"


def test_watch_tells_each_period_and_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(BIN / "sparsecycle"), "run", "--preset", "smoke", "--method", "plateau", "--no-progress"]
    run = subprocess.Popen([*command, "--output-dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    config = RunConfig(preset="smoke", method="plateau")
    folder = run_folder(config, tmp_path)
    while not (folder / "epochs.parquet").exists() and run.poll() is None:
        time.sleep(0.01)
    watch = [str(BIN / "sparsecycle"), "watch", str(tmp_path)]
    lines = subprocess.run(watch, capture_output=True, text=True, check=True).stdout.splitlines()
    run.wait()
    assert len(lines) == config.periods + 1
    assert all(line.startswith("smoke/plateau-seed0: epoch") for line in lines[:-1])
    assert lines[-1] == "smoke/plateau-seed0: finished"
    assert main(["watch", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
