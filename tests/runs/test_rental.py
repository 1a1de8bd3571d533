"""A rented GPU, rehearsed on a CPU: ways to train are checked, runs are stopped in time, carried away and continued."""

import errno
import importlib
import io
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import nullcontext
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from conftest import ROOT
from processes import program, wait_for
from sparsecycle import GlobalTopK, RunConfig, train
from sparsecycle.captured import CAPTURED, CapturedTrainer
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.network import normed_topk
from sparsecycle.runs import execute, ladder, rental
from sparsecycle.runs.checkpoints import checkpoint_files
from sparsecycle.runs.execute import train_together
from sparsecycle.runs.folders import run_folder, run_name
from sparsecycle.runs.records import RunRecord
from sparsecycle.runs.stopping import StopRequest
from sparsecycle.runs.studies import Studies
from sparsecycle.trainer import Trainer
from tiny_cifar import tiny_splits


def test_networks_trained_together_have_the_numbers_of_those_trained_alone(tiny, tmp_path):
    configs = [tiny("dense"), tiny("accuracy_gated", seed=1)]
    together = train_together(configs, StopRequest(), output_dir=tmp_path / "together", device="cpu")
    for config, record in zip(configs, together, strict=True):
        assert record.results() == train(config, output_dir=tmp_path / "alone", device="cpu", progress=False).results()
    assert [record.provenance.at_once for record in together] == [2, 2]
    again = train_together(configs, StopRequest(), output_dir=tmp_path / "together", device="cpu")
    assert [record.provenance.ended for record in again] == [record.provenance.ended for record in together]


def test_networks_trained_together_tell_how_far_they_are(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "TOLD_SECONDS", 0.0)
    config, stop, lines = tiny("dense"), StopRequest(), list[str]()
    stop.deadline = time.monotonic() + 1e6
    train_together([config], stop, output_dir=tmp_path, device="cpu", say=lines.append)
    assert lines[0] == f"trains {run_name(config)}" and len(lines) == 1 + config.steps
    assert lines[1].startswith(f"{run_name(config)}: epoch 0 of 3, no look yet, about ")
    assert "epoch 2 of 3, accuracy 0." in lines[-2] and lines[-1].endswith("about 0 s left")
    stop.deadline = time.monotonic() + 0.5
    train_together([tiny("dense", epochs=9999, evaluate_every=9999)], stop, output_dir=tmp_path, say=lines.append)
    assert re.search(r"epoch \d+ of 9999, no look yet, about .* left, but it is stopped in 0 s$", lines[-1])


def test_what_draws_at_random_while_it_trains_is_trained_alone(tiny, tmp_path):
    with pytest.raises(InputError, match=r"dense-seed0-.*dropout=0.1.* draws at random while it trains"):
        train_together([tiny("dense", dropout=0.1)], StopRequest(), output_dir=tmp_path, device="cpu")


def test_a_rung_that_selects_wrongly_is_found(tiny, monkeypatch):
    config = tiny("dense")
    assert ladder.check_kernels(config, "cpu") == []
    monkeypatch.setattr(ladder, "relu_topk", lambda x, *_: torch.where(x.relu() > 0.5, x, 0.0))
    faults = ladder.check_kernels(config, "cpu")
    assert "selection is not that of a stable sort (tied values in torch.bfloat16, 16 x 32 x 32, keep 0.1)" in faults


@pytest.mark.parametrize("rung", ["eager steps, one kernel", "eager steps, kernels apart"])
def test_a_rung_with_wrong_gradients_is_found(rung, tiny, monkeypatch):
    def doubled(*given: Any) -> torch.Tensor:
        out = normed_topk(*given)
        return 2 * out - out.detach()

    monkeypatch.setattr(ladder, "_shapes", lambda _: [(16, 8)])
    monkeypatch.setattr(ladder, "KEEP_RATIOS", (0.1,))
    with ladder.only(ladder.RUNGS[rung]):
        assert ladder.check_kernels(tiny("dense"), "cpu") == []
        monkeypatch.setattr(ladder, "normed_topk", doubled)
        faults = ladder.check_kernels(tiny("dense"), "cpu")
    wrong = [f"the gradient of the {name} is off by 1 " for name in ("input", "gain", "bias")]
    assert [fault.partition("(")[0] for fault in faults] == 4 * wrong


def test_recorded_steps_are_compared_with_eager_ones(tiny, monkeypatch):
    """Here both are eager; at last those in the place of recorded ones see other images."""
    made: list[Trainer] = []
    spoilt = None

    def trainer(config: RunConfig, images: torch.Tensor, labels: torch.Tensor, **_: Any) -> Trainer:
        kind = Trainer if os.environ.get(CAPTURED) == "0" else CapturedTrainer
        made.append(kind(config, 255 - images if kind is spoilt else images, labels))
        return made[-1]

    for name in ("check_kernels", "_loss_difference", "_ignores_the_budget", "_time"):
        monkeypatch.setattr(ladder, name, lambda *_: 0)
    monkeypatch.setattr(ladder, "can_capture", lambda *_: True)
    monkeypatch.setattr(ladder, "make_trainer", trainer)
    rung = ladder.look_at("recorded steps, one kernel", tiny("dense"), "cpu")
    assert (rung.recorded_loss_difference, rung.recorded_masks_differ) == (0.0, 0)
    assert [type(one) for one in made] == [CapturedTrainer, Trainer]
    layers = sum(isinstance(module, GlobalTopK) for module in made[0].model.modules())
    assert [mask.float().mean().item() for mask in ladder._masks(made[0])] == pytest.approx([0.1] * layers, abs=0.001)
    spoilt = CapturedTrainer
    rung = ladder.look_at("recorded steps, one kernel", tiny("dense"), "cpu")
    assert rung.recorded_loss_difference and rung.recorded_masks_differ


@pytest.mark.parametrize(("loss", "told"), [(2.75, "0.25"), (math.nan, "nan")])
def test_a_rung_whose_loss_goes_another_way_or_is_no_number_after_its_first_step_is_found(
    loss, told, tiny, monkeypatch
):
    """The first step starts from the reference's own weights."""
    made: list[str] = []

    def trainer(*_: Any, **__: Any) -> SimpleNamespace:
        made.append("rung" if not made else "reference")
        lost = made[-1] == "rung"
        return SimpleNamespace(train=lambda step: SimpleNamespace(loss=loss if lost and step > 1 else 2.5))

    monkeypatch.setattr(ladder, "check_kernels", lambda *_: [])
    monkeypatch.setattr(ladder, "make_trainer", trainer)
    monkeypatch.setattr(ladder, "must_record", lambda _: None)
    found = ladder.look_at("eager steps, one kernel", tiny("dense"), "cpu")
    assert found.faults == [f"its loss differs by {told} from the reference's"]


def test_a_rung_that_has_room_for_one_network_only_is_used_for_one(tiny, monkeypatch):
    real = ladder._seconds_a_step

    def one_at_a_time(trainers: list[Any], *given: Any) -> float:
        if len(trainers) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(trainers, *given)

    monkeypatch.setattr(ladder, "check_kernels", lambda *_: [])
    monkeypatch.setattr(ladder, "_seconds_a_step", one_at_a_time)
    rung = ladder.look_at("eager steps, one kernel", tiny("dense"), "cpu")
    assert (rung.faults, rung.pair_ms, rung.at_once) == ([], None, 1)
    assert "no room for two" in rental._told(rung, tiny("dense"))


def test_a_rung_whose_process_dies_is_told_and_the_next_is_taken(tiny, tmp_path, monkeypatch):
    real = rental._in_own_process

    def played(name: str, *given: Any) -> ladder.Rung | None:
        if "one kernel" in name:
            monkeypatch.setattr(sys, "executable", "/bin/false")
            return real(name, *given)
        return right(name)

    monkeypatch.setattr(rental, "_in_own_process", played)
    lines: list[str] = []
    looked = rental.look(tiny("dense"), "cpu", tmp_path, lines.append, StopRequest(), enough=100)
    assert "recorded steps, one kernel: NOT USED, its process ended with status 1" in lines
    assert (looked.best.name, looked.best.at_once) == ("recorded steps, kernels apart", 1)
    assert looked.best.images_per_second(128) == 128 / 0.004


def right(name: str, *_: Any) -> ladder.Rung:
    return ladder.Rung(name=name, loss_difference=0.0, dense_ms=3.0, sparse_ms=4.0, pair_ms=9.0)


def unpacked(into: Path, folder: Path) -> Path:
    content = b"".join(part.read_bytes() for part in sorted(into.glob("results.tar.*")))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return folder


def test_a_rental_ends_in_time_and_goes_on_on_another_machine(tiny, tmp_path, monkeypatch):
    """The look is a real one; the first rental's time is over shortly after the long run began."""
    monkeypatch.setattr(ladder, "RUNGS", {"recorded steps, one kernel": {}})
    long = tiny("accuracy_gated", epochs=80, evaluate_every=40)
    configs = [tiny("dense"), long, tiny("replay", epochs=2, path_from=run_name(long)[6:], shuffled=False)]
    lines: list[str] = []
    stop = StopRequest()
    rental.look(configs[0], "cpu", tmp_path / "first", lines.append, stop, enough=200)

    def say(line: str) -> None:
        lines.append(line)
        if "trains smoke/accuracy_gated" in line:
            stop.deadline = time.monotonic() + 0.2

    places = {"output_dir": tmp_path / "first", "into": tmp_path / "away", "device": "cpu"}
    with monkeypatch.context() as patched:
        patched.setattr(rental, "stop_requests", lambda: nullcontext(stop))
        report = rental.rent(configs, minutes=5, say=say, **places).read_text()
    assert any("this machine was looked at before" in line for line in lines)
    assert "| interrupted |" in report
    assert "| missing |" in report  # the path that it replays is not there yet
    moved = unpacked(tmp_path / "away", tmp_path / "second")
    assert list(moved.rglob("checkpoint-*"))
    report = rental.rent(configs, minutes=5, **(places | {"output_dir": moved, "into": tmp_path / "there"})).read_text()
    assert report.count("| done |") == 3
    back = unpacked(tmp_path / "there", tmp_path / "back")
    for config in configs:
        alone = train(config, output_dir=tmp_path / "alone", device="cpu", progress=False)
        assert RunRecord.read(run_folder(config, back)).results() == alone.results()


STUDIES = """
tiny:
  about: a run for a rehearsal
  runs: [{presets: [smoke], methods: [dense], seeds: 0, variants: [{train_images: 40, test_images: 20, batch_size: 20,
    epochs: 150, evaluate_every: 50}]}]
"""


@pytest.fixture
def gpu(tmp_path: Path) -> list[str]:
    """The words of the command."""
    (tmp_path / "studies.yaml").write_text(STUDIES)
    command = ["gpu", "--study", "tiny", "--file", str(tmp_path / "studies.yaml"), "--minutes", "3", "--device", "cpu"]
    return [*command, "--into", str(tmp_path / "away"), "--output-dir", str(tmp_path / "runs")]


def test_the_command_goes_on_after_it_was_killed(gpu, tmp_path):
    """In processes of their own, from start to end: looking, training, packing."""
    command = program(*gpu, "--checkpoint-minutes", "0.001")
    (config,) = Studies.read(tmp_path / "studies.yaml").configurations("tiny")
    folder = run_folder(config, tmp_path / "runs")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as killed:
        wait_for(lambda: bool(checkpoint_files(folder)), killed)
        killed.kill()
    assert not (folder / "record.json").exists() and f"trains {run_name(config)}" in log(tmp_path)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "this machine was looked at before" in done.stdout and log(tmp_path) in done.stdout
    assert done.stdout.endswith(f"written: {tmp_path / 'away' / 'report.md'}\n")
    assert f"| {run_name(config)} | done |" in (tmp_path / "away" / "report.md").read_text()
    back = unpacked(tmp_path / "away", tmp_path / "back")
    assert RunRecord.read(run_folder(config, back)).provenance.resumes == 1
    assert (run_folder(config, back) / "model.safetensors").exists() and (back / "ladder.json").exists()


def log(folder: Path) -> str:
    return (folder / "away" / "log.txt").read_text()


@pytest.mark.parametrize("moment", ["while it looks", "while it trains"])
def test_a_signal_ends_a_rental_after_what_there_is_was_packed(moment, gpu, tmp_path, monkeypatch, capsys):
    look, trained = rental._in_own_process, rental.train_together

    def signalled(*given: Any, **named: Any) -> Any:
        Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
        return (look if moment == "while it looks" else trained)(*given, **named)

    monkeypatch.setattr(ladder, "RUNGS", {"recorded steps, one kernel": {}})
    monkeypatch.setattr(rental, "_in_own_process", signalled if moment == "while it looks" else right)
    monkeypatch.setattr(rental, "train_together", signalled)
    assert main(gpu) == 128 + signal.SIGTERM
    told = capsys.readouterr()
    assert "stopped by SIGTERM" in told.out and "the same command goes on" in told.err
    report = (tmp_path / "away" / "report.md").read_text()
    assert ("| interrupted |" in report) is (moment == "while it trains")
    found = list(unpacked(tmp_path / "away", tmp_path / "back").rglob("checkpoint-*.safetensors"))
    assert len(found) == (moment == "while it trains")


def test_parts_hold_what_fits_records_first(tiny, tmp_path):
    config = tiny("dense")
    train(config, output_dir=tmp_path / "runs", device="cpu", progress=False)
    left = rental.pack([config], tmp_path / "runs", tmp_path / "away", most_mb=0.2)
    assert [name.rsplit("/")[-1] for name in left] == ["model.safetensors"]
    assert RunRecord.read(run_folder(config, unpacked(tmp_path / "away", tmp_path / "back"))).config["seed"] == 0
    assert sum(part.stat().st_size for part in (tmp_path / "away").iterdir()) <= 200_000


def test_parts_of_before_stay_until_all_new_ones_are_there(tiny, tmp_path, monkeypatch):
    config = tiny("dense")
    train(config, output_dir=tmp_path / "runs", device="cpu", progress=False)
    rental.pack([config], tmp_path / "runs", tmp_path / "away", most_mb=60)
    real = rental.write_atomically

    def full(path: Path, content: bytes) -> None:
        if path.name.endswith("01"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    monkeypatch.setattr(rental, "PART_BYTES", 100_000)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(rental, "write_atomically", full)
        rental.pack([config], tmp_path / "runs", tmp_path / "away", most_mb=60)
    assert RunRecord.read(run_folder(config, unpacked(tmp_path / "away", tmp_path / "back")))
    rental.pack([config], tmp_path / "runs", tmp_path / "away", most_mb=60)
    assert len(list((tmp_path / "away").glob("results.tar.*"))) > 1
    rental.pack([config], tmp_path / "runs", tmp_path / "away", most_mb=0.1)
    assert [path.name for path in (tmp_path / "away").iterdir()] == ["results.tar.00"]


@pytest.mark.parametrize("minutes", [0.6, math.nan, math.inf])
def test_minutes_that_are_too_few_or_no_number_are_refused(minutes, tiny, tmp_path):
    with pytest.raises(InputError, match=rf"minutes is {minutes:g}, but must be a number above 0.67"):
        rental.rent([tiny("dense")], minutes=minutes, into=tmp_path / "away", output_dir=tmp_path, device="cpu")


@pytest.mark.parametrize("option", ["--most-mb", "--checkpoint-minutes"])
@pytest.mark.parametrize("value", ["nan", "-1.0", "0.0"])
def test_a_size_or_a_time_that_cannot_be_is_refused(option, value, gpu, capsys):
    assert main([*gpu, f"{option}={value}"]) == 2
    name = option[2:].replace("-", "_")
    assert capsys.readouterr().err == f"sparsecycle: {name} is {value}, but must be above 0\n"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "workflow")
    return importlib.import_module("rental")


def test_a_rental_is_laid_out_in_calls_that_the_command_line_takes(script, tmp_path, monkeypatch, capsys):
    """The images are a stand-in. The last folder alone holds a library that runs."""
    from sparsecycle.cli import parser
    from sparsecycle.data.sheets import write_sheets

    monkeypatch.setattr("sparsecycle.data.sheets.TILES_PER_SHEET", 10)
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    write_sheets(tmp_path / "data" / "cifar10", tiny_splits())
    known = script._git
    monkeypatch.setattr(script, "_git", lambda *words: "" if words[0] == "status" else known(*words))
    (tmp_path / "into" / "wheels").mkdir(parents=True)
    assert script.main([str(tmp_path / "into"), "--minutes", "15", "--data-dir", str(tmp_path / "data")]) == 0
    told = capsys.readouterr().out.split("\n\n")[:3]
    sheets: list[str] = []
    for number, call in enumerate(told, 1):
        folder = tmp_path / "into" / f"call-{number}"
        first, command = call.splitlines()
        assert first.startswith(f"call-{number}, at most ")
        words = shlex.split(command.partition("sparsecycle.cli ")[2])
        options = parser().parse_args(words)
        assert 60 * options.minutes <= int(first.split()[3])
        assert options.look is (number == 1)
        assert (folder / "workflow" / "studies.yaml").exists()
        assert (folder / "wheels").is_dir()
        sheets += [path.name for path in folder.glob("images/*.webp")]
    assert sorted(sheets) == sorted(path.name for path in (tmp_path / "data" / "cifar10").glob("*.webp"))
    environment = {"PYTHONPATH": "src", "PATH": os.environ["PATH"]}
    done = subprocess.run(program("study"), cwd=folder, env=environment, capture_output=True, text=True)
    assert "paper100" in done.stdout, done.stderr


def test_uncommitted_source_and_too_few_minutes_are_refused(script, monkeypatch):
    monkeypatch.setattr(script, "_git", lambda *_: " M src/sparsecycle/topk.py")
    with pytest.raises(InputError, match="not committed"):
        script.lay_out(Path("into"), 15, "paper100", None)
    with pytest.raises(InputError, match=r"minutes is 5, but must be a number of at least 8\.7"):
        script.lay_out(Path("into"), 5, "paper100", None)
    with pytest.raises(InputError, match="minutes is nan"):
        script.lay_out(Path("into"), math.nan, "paper100", None)


def test_packages_that_are_missing_on_a_machine_are_named_at_once():
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    bare = [sys.executable, "-S", "-m", "sparsecycle.cli", "gpu"]  # without installed packages
    done = subprocess.run(bare, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("sparsecycle needs pydantic, pyyaml, safetensors, filelock, numpy")
