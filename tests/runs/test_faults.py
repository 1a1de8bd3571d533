"""What can befall a run, tried for real: processes, signals, full disks, damaged files. faults.yaml lists them."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conftest import ROOT, alter, same_run
from processes import Command, call, program, python, wait_for
from sparsecycle import RunConfig, train
from sparsecycle.cli import main
from sparsecycle.data.cifar10 import Cifar10, load_images
from sparsecycle.errors import InputError
from sparsecycle.files import write_atomically
from sparsecycle.runs.checkpoints import checkpoint_files
from sparsecycle.runs.folders import run_folder
from sparsecycle.runs.records import FILES, RunRecord
from sparsecycle.runs.writing import is_being_written

SMALL = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 8}
CONFIG = RunConfig(preset="smoke", method="accuracy_gated", **SMALL)
RUN = ["run", "--preset", "smoke", "--method", "accuracy_gated", "--no-progress", "--device", "cpu"]
RUN += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
OFTEN = ["--checkpoint-minutes", "0.0001"]  # every 6 ms: most of the time a checkpoint is being written


def command(output_dir: Path, *more: str) -> list[str]:
    return [*RUN, *more, "--output-dir", str(output_dir)]


def run(output_dir: Path, *more: str) -> Command:
    return call(command(output_dir, *more))


def told_in_one_sentence(done: "Command | subprocess.CompletedProcess[str]", *parts: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("sparsecycle: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run left alone."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder).returncode == 0
    return run_folder(CONFIG, folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its second look, with two checkpoints written."""
    output = tmp_path_factory.mktemp("killed")
    folder = run_folder(CONFIG, output)
    process = Command(command(output, *OFTEN))
    second = 2 * CONFIG.steps_per_epoch
    wait_for(lambda: sum(int(p.name.split("-")[1]) > second for p in checkpoint_files(folder)) == 2, process)
    process.kill()
    process.wait()
    return folder


@pytest.fixture
def begun(killed: Path, tmp_path: Path) -> Path:
    """The same in a folder of its own."""
    folder = run_folder(CONFIG, tmp_path)
    shutil.copytree(killed, folder)
    return folder


def goes_on(output_dir: Path, whole: Path, *more: str) -> None:
    """The same command, this time in this process, ends with the numbers of the run left alone."""
    assert main([*RUN, *more, "--output-dir", str(output_dir)]) == 0
    folder = output_dir / "smoke" / whole.name
    same_run(whole, folder)
    assert {path.name for path in folder.iterdir()} == set(FILES)


def test_killed_at_random_moments(whole, tmp_path):
    """Each kill comes after at least one more checkpoint, so that the run gets on; every other one during a write."""
    moments, folder, hits = random.Random(0), run_folder(CONFIG, tmp_path), 0

    def writing() -> bool:
        return any(folder.glob(".checkpoint-*.partial"))

    for kill in range(6):
        before = checkpoint_files(folder)[:1]
        process = Command(command(tmp_path, *OFTEN))
        wait_for(lambda before=before: checkpoint_files(folder)[:1] != before, process)
        if kill % 2:
            wait_for(writing, process, pause=0.0002)
        else:
            time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.wait()
        hits += writing()
    assert not (folder / "record.json").exists()
    assert hits, "no kill fell into the writing of a checkpoint"
    goes_on(tmp_path, whole)
    assert RunRecord.read(folder).provenance.resumes == 6


def test_killed_while_the_trained_network_is_measured(whole, tmp_path, monkeypatch):
    """Whatever was written by then is written again."""
    for name in FILES[1:]:

        def stop(path: Path, content: bytes, name: str = name) -> None:
            if path.name == name:
                raise KeyboardInterrupt
            write_atomically(path, content)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            for module in ("sparsecycle.runs.execute", "sparsecycle.runs.records"):
                patch.setattr(f"{module}.write_atomically", stop)
            train(CONFIG, output_dir=tmp_path, device="cpu", progress=False, checkpoint_minutes=0.001)
        assert not (run_folder(CONFIG, tmp_path) / "record.json").exists()
    goes_on(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_command(whole, tmp_path, number):
    """It saves where it is, not only where the last look was."""
    process = Command(command(tmp_path, *OFTEN))
    folder = run_folder(CONFIG, tmp_path)
    wait_for(lambda: bool(checkpoint_files(folder)), process)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert process.stderr.strip() == "sparsecycle: interrupted; the same command goes on where this one stopped"
    assert len(checkpoint_files(folder)) in (1, 2)
    goes_on(tmp_path, whole)


def test_signal_to_papermill(tmp_path):
    long = SMALL | {"epochs": 120}  # the kernel hears of the signal a moment after papermill: it must still be training
    notebook = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "run.ipynb"), str(tmp_path / "out.ipynb")]
    given = {"preset": "smoke", "method": "accuracy_gated", "overrides": long, "output_dir": str(tmp_path)}
    process = subprocess.Popen(
        [*notebook, "-y", json.dumps(given)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` has it ignored
    )
    config = RunConfig(preset="smoke", method="accuracy_gated", **long)
    folder = run_folder(config, tmp_path)
    wait_for(lambda: is_being_written(folder), process)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode != 0
    end = time.monotonic() + 30
    while is_being_written(folder) and time.monotonic() < end:  # the kernel outlives papermill by a moment
        time.sleep(0.2)
    assert not (folder / "record.json").exists()
    for into in (tmp_path, tmp_path / "alone"):
        train(config, output_dir=into, device="cpu", progress=False)
    same_run(run_folder(config, tmp_path / "alone"), folder)


def test_full_disk(whole, tmp_path):
    """No file may grow beyond 200 kB: a checkpoint cannot be written."""
    done = call(command(tmp_path, *OFTEN), largest_file=200_000)
    assert done.returncode == 1
    told_in_one_sentence(done, "File too large", "what was recorded is whole")
    folder = run_folder(CONFIG, tmp_path)
    assert not checkpoint_files(folder) and not list(folder.glob(".*partial"))
    goes_on(tmp_path, whole)


def without_rights(output_dir: Path) -> subprocess.CompletedProcess[str]:
    """The run by a user who may not write everywhere, as root may."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv takes from root the right to write anywhere")
    rights = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    arguments = [*(rights if os.geteuid() == 0 else []), *program(*command(output_dir))]
    return subprocess.run(arguments, capture_output=True, text=True)


def test_read_only_folder(whole, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir(mode=0o555)
    done = without_rights(runs)
    assert done.returncode == 2
    told_in_one_sentence(done, "cannot be written", "choose another output_dir")
    runs.chmod(0o755)
    goes_on(runs, whole)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64  # the last digit of a number can change by one and the number stay the same
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = pytest.mark.parametrize("damage", [flip, truncate])


@DAMAGES
def test_damaged_checkpoint(whole, begun, damage):
    newest, older, *_ = checkpoint_files(begun)
    damage(newest)
    done = run(begun.parents[1])
    assert done.returncode == 0
    assert f"{newest} is damaged" in done.stderr and "skipped" in done.stderr and str(older) not in done.stderr
    same_run(whole, begun)


def test_every_checkpoint_damaged(whole, begun):
    checkpoints = checkpoint_files(begun)  # three, where the kill came before the oldest was removed
    for path in checkpoints:
        truncate(path)
    done = run(begun.parents[1])
    assert done.returncode == 0 and done.stderr.count("is damaged") == len(checkpoints) >= 2
    assert RunRecord.read(begun).provenance.resumes == 0
    same_run(whole, begun)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The finished run in a folder of its own."""
    folder = run_folder(CONFIG, tmp_path)
    shutil.copytree(whole, folder)
    return folder


@DAMAGES
@pytest.mark.parametrize("name", ["epochs.parquet", "decisions.parquet", "correct.npz", "record.json"])
def test_damaged_record(copy, damage, name):
    if name == "record.json" and damage is flip:
        pytest.skip("a number can change by one digit: verify recomputes it, no checksum guards it")
    damage(copy / name)
    content = {path.name: path.read_bytes() for path in copy.iterdir()}
    done = call(["verify", str(copy.parents[1])])
    assert done.returncode in (1, 2) and name in done.stdout + done.stderr and "Traceback" not in done.stderr
    run(copy.parents[1])
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == content, "never repaired in silence"


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_other_schema_version(copy, version):
    alter(copy / "record.json", lambda record: record.update(schema_version=version))
    content = (copy / "record.json").read_bytes()
    done = run(copy.parents[1])
    assert done.returncode == 2
    told_in_one_sentence(done, f"schema version {version!r}, but this library reads 2")
    assert (copy / "record.json").read_bytes() == content


@DAMAGES
def test_damaged_image_file(tmp_path, whole, damage):
    data = tmp_path / "data"
    shutil.copytree(ROOT / "data" / "cifar10-mini", data / "cifar10-mini")
    damage(data / "cifar10-mini" / "train-02.webp")
    done = run(tmp_path / "runs", "--data-dir", str(data))
    assert done.returncode == 2
    told_in_one_sentence(done, "train-02.webp")
    goes_on(tmp_path / "runs", whole)


JUMPING_CLOCK = """
import datetime, sys, time
import sparsecycle.runs.provenance as provenance
real, jumps = time.time, iter(range(10**9))
time.time = lambda: real() - 86_400 * next(jumps)
class Clock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime.datetime.fromtimestamp(time.time(), zone)
provenance.datetime = Clock
from sparsecycle.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_clock_that_jumps(whole, tmp_path):
    """A day back at every look."""
    done = python(JUMPING_CLOCK, *command(tmp_path))
    assert done.returncode == 0, done.stderr
    folder = run_folder(CONFIG, tmp_path)
    made = RunRecord.read(folder).provenance
    assert made.ended < made.started, "the clock has jumped"
    assert 0 < made.training_seconds < made.wall_seconds < 86_400
    same_run(whole, folder)


def test_loss_that_is_not_a_number(tmp_path):
    spoilt = ["--set", "learning_rate=1e30"]
    done = run(tmp_path, *spoilt)
    assert done.returncode == 0 and "diverged" in done.stdout
    (record,) = tmp_path.rglob("record.json")
    content = record.read_bytes()
    assert json.loads(content)["status"] == "diverged"
    assert run(tmp_path, *spoilt).returncode == 0 and record.read_bytes() == content


def test_what_torch_raises_where_a_gpu_s_memory_ends(tmp_path, monkeypatch):
    """The exception in the middle of a run; with room again, or a smaller batch, the run can be made."""

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation.")

    with monkeypatch.context() as patch:
        patch.setattr("sparsecycle.trainer.F.cross_entropy", full)
        with pytest.raises(InputError, match=r"out of memory for WRN-10-1 with batch_size \d+: use a smaller"):
            train(CONFIG, output_dir=tmp_path, device="cpu", progress=False)
    assert train(CONFIG, output_dir=tmp_path, device="cpu", progress=False).status == "complete"


def test_two_writers(whole, tmp_path):
    first = Command(command(tmp_path))
    folder = run_folder(CONFIG, tmp_path)
    wait_for(lambda: is_being_written(folder), first)
    first.send_signal(signal.SIGSTOP)  # holds still, so that the second certainly meets it
    try:
        second = run(tmp_path)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    told_in_one_sentence(second, "another process is writing to")
    assert first.wait(timeout=120) == 0
    same_run(whole, folder)


def test_another_source_on_resume(begun, monkeypatch):
    monkeypatch.setattr("sparsecycle.runs.provenance.source_digest", lambda: "f" * 64)
    with pytest.raises(InputError, match=r"another source \([0-9a-f]{8}, then ffffffff\)"):
        train(CONFIG, output_dir=begun.parents[1], device="cpu", progress=False)
    assert checkpoint_files(begun)


def test_another_configuration_on_resume(begun):
    other = RunConfig(preset="smoke", method="accuracy_gated", **SMALL, learning_rate=0.02, budgets=(1.0, 0.125))
    folder = run_folder(other, begun.parents[1])
    begun.rename(folder)
    with pytest.raises(InputError, match=r"another learning_rate \([0-9.]+, then 0\.02\), budgets \(.*0\.125\]\)"):
        train(other, output_dir=folder.parents[1], device="cpu", progress=False)
    assert checkpoint_files(folder)


def test_another_number_of_threads_is_told_and_noted(begun, monkeypatch, caplog):
    before = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr("torch.get_num_threads", lambda: 77)
        record = train(CONFIG, output_dir=begun.parents[1], device="cpu", progress=False)
    torch.set_num_threads(before)  # where the kernels began here, they have put back what they were told
    assert record.provenance.changed["threads"].endswith(", then 77")
    assert "resumed with another threads" in caplog.text


def test_other_images_on_resume(begun, monkeypatch):
    def altered(config: RunConfig, data_dir: Any = None) -> Cifar10:
        data = load_images(config, data_dir)
        images = data.train_images.clone()
        images[0, 0, 0, 0] ^= 1
        return replace(data, train_images=images)

    monkeypatch.setattr("sparsecycle.runs.execute.load_images", altered)
    with pytest.raises(InputError, match=r"another data \([0-9a-f]{8}, then [0-9a-f]{8}\)"):
        train(CONFIG, output_dir=begun.parents[1], device="cpu", progress=False)


def test_a_checkpoint_that_cannot_be_read_is_not_passed_over(begun, monkeypatch):
    newest = checkpoint_files(begun)[0]
    content = newest.read_bytes()
    newest.unlink()
    newest.mkdir()  # reading it fails as reading from a failing disk does
    done = run(begun.parents[1])
    assert done.returncode == 2
    told_in_one_sentence(done, str(newest), "cannot be read")
    newest.rmdir()
    newest.write_bytes(content)
    assert run(begun.parents[1]).returncode == 0


def test_a_finished_run_can_be_read_from_a_folder_that_cannot_be_written(copy):
    copy.chmod(0o555)
    done = without_rights(copy.parents[1])
    assert done.returncode == 0 and "already finished" in done.stdout, done.stderr


def test_a_run_needs_no_standard_error(whole, tmp_path):
    """As after `2>&-`: the bar has nowhere to be."""
    given = shlex.join(program(*command(tmp_path))).replace("--no-progress", "")
    done = subprocess.run(["sh", "-c", f"{given} 2>&-"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "written:" in done.stdout
    same_run(whole, run_folder(CONFIG, tmp_path))


def test_the_list_in_the_book_names_tests_that_exist():
    faults = yaml.safe_load((ROOT / "tests" / "runs" / "faults.yaml").read_text(encoding="utf-8"))
    named = [test for fault in faults for test in fault["tests"]]
    for test in named:
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test
    own = [line.split("(")[0][4:] for line in Path(__file__).read_text("utf-8").splitlines() if line[:9] == "def test_"]
    assert {f"runs/test_faults.py::{name}" for name in own if "list_in_the_book" not in name} <= set(named)
