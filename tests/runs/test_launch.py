"""The launcher of studies: jobs side by side in processes of their own, stopped, killed and gone on with."""

import re
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from conftest import ROOT
from processes import die, fall, program, refuse, wait_for, write
from sparsecycle.errors import InputError
from sparsecycle.runs.launch import Job, launch
from sparsecycle.runs.records import find_records
from sparsecycle.runs.writing import is_being_written


def started(path: Path) -> float:
    return float(path.read_text(encoding="utf-8").split()[1])


def test_every_job_is_made_with_one_thread_and_what_went_wrong_is_told(tmp_path, capfd):
    jobs = [Job("refused", refuse), Job("fell", fall), Job("died", die), Job("made", partial(write, tmp_path / "made"))]
    launched = launch(jobs, at_once=2, progress=False, preload=())
    assert launched.made == ["made"] and launched.left == [] and launched.status == 1
    assert launched.failed["refused"] == "it is refused" and launched.failed["fell"] == "RuntimeError: it fell"
    assert "SIGKILL" in launched.failed["died"]
    assert (tmp_path / "made").read_text(encoding="utf-8").startswith("1 ")
    assert "made is written\n" in capfd.readouterr().out
    assert launch([], progress=False).status == 0


def test_a_job_waits_for_those_that_it_needs(tmp_path):
    needs = {"last": frozenset({"first", "refused"}), "first": frozenset[str]()}
    jobs = [Job(name, partial(write, tmp_path / name), after=after) for name, after in needs.items()]
    launched = launch([*jobs, Job("refused", refuse)], at_once=3, progress=False, preload=())
    assert launched.made == ["first", "last"]
    assert started(tmp_path / "first") < started(tmp_path / "last")


@pytest.mark.parametrize("at_once", [0, -1, 1.5, True, "2"])
def test_jobs_at_once_are_a_whole_number(at_once):
    with pytest.raises(InputError, match="must be a whole number above 0"):
        launch([], at_once)


STUDY = """
pair:
  about: two runs that last long enough to be stopped
  runs:
    - presets: [smoke]
      methods: [dense, accuracy_gated]
      seeds: 0
      variants: [{train_images: 40, test_images: 0, batch_size: 20, epochs: 60}]
"""


def study(folder: Path) -> list[str]:
    (folder / "studies.yaml").write_text(STUDY, encoding="utf-8")
    places = ["--file", str(folder / "studies.yaml"), "--output-dir", str(folder / "runs")]
    return program("study", "pair", "--jobs", "2", *places)


def at_work(folder: Path) -> int:
    """How many runs of the folder a process is writing to."""
    return sum(is_being_written(path.parent) for path in folder.rglob(".lock"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_launcher_is_the_end_of_its_jobs(tmp_path, number):
    """They save where they are, and the same command goes on with them."""
    bar = tmp_path / "bar"
    with bar.open("w") as stderr:
        process = subprocess.Popen(study(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    wait_for(
        lambda: bool(re.search(r"[1-9]\d*%", bar.read_text("utf-8"))) and at_work(tmp_path) == 2, process, pause=0.1
    )
    process.send_signal(number)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert told.splitlines()[-1] == "pair: 2 runs, 0 made, 2 left: the same command goes on"
    end = time.monotonic() + 60
    while at_work(tmp_path):
        assert time.monotonic() < end, "a job outlives its launcher"
        time.sleep(0.1)
    assert len({path.parent for path in tmp_path.rglob("checkpoint-*")}) >= 1
    if number == signal.SIGKILL:
        done = subprocess.run(study(tmp_path), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.splitlines()[-1] == "pair: 2 runs, 2 made", done.stderr
        status = subprocess.run([*study(tmp_path), "--status"], cwd=ROOT, capture_output=True, text=True)
        assert status.stdout.splitlines()[-1] == "pair: 2 runs, 2 done"
        assert max(record.provenance.resumes for _, record, _ in find_records(tmp_path)) == 1
