"""What lies around a run: streams, variables, links, backups, other runs; each may be missing, broken or odd."""

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, alter
from processes import program, python
from sparsecycle import RunConfig, load_runs, train
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.files import expanded, write_atomically
from sparsecycle.progress import progress_bar, say
from sparsecycle.runs.folders import files_below, run_folder
from sparsecycle.runs.merging import merge
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.provenance import git_state
from sparsecycle.runs.records import METRICS, RunRecord
from sparsecycle.runs.writing import is_being_written

SMALL = {"train_images": 40, "test_images": 20, "batch_size": 20, "epochs": 2}
GATED = RunConfig(preset="smoke", method="accuracy_gated", decision_steps=2, **SMALL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one run in it."""
    output = tmp_path_factory.mktemp("made")
    train(GATED, output_dir=output, device="cpu", progress=False)
    return output


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """The same in a folder of its own."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


class Odd(io.StringIO):
    """As of terminals in a window, which have no file."""

    def fileno(self) -> int:
        return -1


def stream_of(kind: str) -> Any:
    if kind == "full":
        return Path("/dev/full").open("w", encoding="utf-8")
    if kind == "odd":
        return Odd()
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    if kind == "closed":
        stream.close()
    return stream


@pytest.mark.parametrize("kind", ["full", "nobody reads", "closed", "odd", "none"])
def test_a_bar_that_cannot_be_shown_ends_no_work(kind, monkeypatch):
    stream = None if kind == "none" else stream_of(kind)
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        with progress_bar(total=3, desc="work") as bar:
            for _ in range(3):
                bar.update()
                bar.set_postfix(loss="1.0")
                say("one more")
        assert bar.n == (3 if kind in ("full", "nobody reads", "odd") else 0)
    if stream is not None and not stream.closed and kind != "odd":
        with suppress(OSError):
            stream.close()  # which tries once more to write what is left


def test_every_bar_is_that_one():
    """A bar of tqdm's own raises where it cannot be written."""
    package = Path(sys.modules["sparsecycle"].__file__ or "").parent
    assert not [path.name for path in package.rglob("*.py") if " tqdm(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("reader", ["head -c 100", "full"])
def test_a_command_whose_standard_error_breaks_does_its_work(reader, tmp_path):
    words = ["run", "--preset", "smoke", "--method", "dense", "--device", "cpu", "--output-dir", str(tmp_path)]
    words += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    command = program(*words)
    if reader == "full":
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            status = subprocess.run(command, stderr=full, stdout=subprocess.DEVNULL).returncode
    else:
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            process.stderr.read(100)
            process.stderr.close()
            status = process.wait()
    assert status == 0 and next(tmp_path.rglob("record.json"))


def test_a_table_on_a_full_disk_is_one_sentence(made):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = program("compare", str(made), "--no-claims")
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space left" in done.stderr


def test_a_backend_that_does_not_exist_is_named_by_every_command(made, monkeypatch, capsys):
    monkeypatch.setenv("SPARSECYCLE_BACKEND", "fast")
    (folder,) = (made / "smoke").iterdir()
    for command in (
        ["evaluate", str(folder), "--budgets", "0.5"],
        ["set", "run", "--dataset=digits", "--method=dense"],
    ):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert told.startswith("sparsecycle: SPARSECYCLE_BACKEND is 'fast', but") and told.count("\n") == 1


@pytest.mark.parametrize(
    "script",
    ["sleep 9", "echo /of/another/system", "printf '\\377'", 'case $1 in status) exit 1;; esac; exec "$GIT" "$@"'],
    ids=["hangs", "of another system", "no text", "status fails"],
)
def test_a_git_that_does_not_help_loses_no_run(script, tmp_path, monkeypatch):
    """And whether the source was changed stays unknown, where that cannot be asked."""
    monkeypatch.setenv("GIT", shutil.which("git") or "")
    (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("sparsecycle.runs.provenance.GIT_SECONDS", 0.5)
    monkeypatch.setenv("SPARSECYCLE_GIT_REVISION", "")
    found = git_state.__wrapped__()
    assert found["git_clean"] is None and (found["git_revision"] is None) != ("status" in script)


def test_the_repository_of_a_hook_is_not_taken_for_the_checkout(tmp_path, monkeypatch):
    before = git_state.__wrapped__()
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert git_state.__wrapped__() == before


def test_a_numba_that_compiles_nothing_is_not_used():
    """NUMBA_DISABLE_JIT, which people set to debug their own code, would make a run hours long."""
    code = "import torch, sparsecycle.kernels as k; print(k.choose(torch.ones(1, 4), 'sample', 'auto'))"
    done = python(code, env=os.environ | {"NUMBA_DISABLE_JIT": "1"})
    assert done.stdout == "None\n" and "NUMBA_DISABLE_JIT is set" in done.stderr


def test_the_cpu_kernels_need_no_folder_that_can_be_written(tmp_path):
    """Neither the package's nor the user's; what is compiled then goes with the process."""
    pytest.importorskip("numba")
    compiled = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(ROOT / "src" / "sparsecycle", tmp_path / "src" / "sparsecycle", ignore=compiled)
    (package / "kernels" / "__pycache__").touch()  # in the place of a folder
    (tmp_path / "home").touch()
    (tmp_path / "temporary").mkdir()
    code = "import torch, sparsecycle.kernels as k; print(k.choose(torch.ones(1, 4), 'sample', 'auto').__name__)"
    variables = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    variables |= {"PYTHONPATH": str(package.parent), "HOME": str(tmp_path / "home"), "NUMBA_CACHE_DIR": ""}
    variables |= {"TMPDIR": str(tmp_path / "temporary")}
    done = python(code, env=variables)
    assert done.stdout == "sparsecycle.kernels.cpu\n" and "not available" not in done.stderr, done.stderr
    assert not any((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(("module", "package"), [("PIL", "pillow"), ("sklearn.svm", "'sparsecycle[companion]'")])
def test_a_missing_package_is_called_what_pip_calls_it(module, package, monkeypatch, capsys):
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr("sparsecycle.runs.records.load_runs", missing)
    assert main(["compare", "somewhere"]) == 2
    assert capsys.readouterr().err.endswith(f"pip install {package}\n")


def test_a_home_that_is_set_to_nothing_or_unknown_is_not_the_root(monkeypatch):
    monkeypatch.delenv("HOME")
    unset = expanded("~/runs")
    monkeypatch.setenv("HOME", "")
    assert expanded("~/runs") == unset
    for path in ("~no-such-user/runs", "runs\0"):
        with pytest.raises(InputError, match=r"home folder that is not known|null character"):
            expanded(path)


def test_float16_on_a_cpu_says_that_it_is_slow(tmp_path, monkeypatch, caplog):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsecycle.runs.execute.make_trainer", stop)
    slow = RunConfig(preset="smoke", method="dense", precision="float16", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        train(slow, output_dir=tmp_path, device="cpu", progress=False)
    assert caplog.text.count("float16 is slow on a CPU") == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_loses_no_run(number, tmp_path, monkeypatch, caplog):
    def missing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", missing)
    folder = run_folder(GATED, tmp_path)
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    assert number == errno.ENOSYS or not is_being_written(folder)
    (folder / ".lock").unlink()
    assert train(GATED, output_dir=tmp_path, device="cpu", progress=False).status == "complete"
    assert not is_being_written(folder) and ("no file can be locked" in caplog.text) == (number == errno.ENOLCK)


def test_a_folder_that_cannot_be_flushed_takes_files(tmp_path, monkeypatch):
    real = os.fsync

    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr("os.fsync", flush)
    write_atomically(tmp_path / "file", b"content")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"content"]


def test_weights_are_read_where_no_file_can_be_mapped(made, monkeypatch):
    """Some file systems, such as mergerfs, answer "No such device"."""

    def unmapped(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    for name in ("load_file", "safe_open"):
        monkeypatch.setattr(f"safetensors.torch.{name}", unmapped)
    assert load_model(run_folder(GATED, made), GATED)


def test_links_are_followed_and_backups_count_once(runs, tmp_path):
    """By every command: all find runs in the same way."""
    (folder,) = (runs / "smoke").iterdir()
    far = folder.rename(tmp_path / "far")
    folder.symlink_to(far)
    (runs / "loop").symlink_to(runs)
    for place in ("smoke/.ipynb_checkpoints/copy", ".snapshot/smoke/copy", f"smoke/{folder.name}.bak"):
        shutil.copytree(far, runs / place)
    (runs / "smoke" / "record.json~").write_text("no JSON", encoding="utf-8")
    names = [name for _, name in files_below("record.json", runs)]
    assert names == [f"smoke/{folder.name}", f"smoke/{folder.name}.bak"]
    assert load_runs(runs)["run"].tolist() == names[:1]
    assert main(["verify", str(runs)]) == 0
    assert merge([runs], tmp_path / "all").copied == names[:1]
    assert not any(path.is_symlink() for path in (tmp_path / "all").rglob("*"))


def test_a_diverged_run_is_merged_once(tmp_path):
    config = RunConfig(preset="smoke", method="dense", learning_rate=1e30, **SMALL)
    train(config, output_dir=tmp_path / "a", progress=False)
    assert len(merge([tmp_path / "a"], tmp_path / "b").copied) == 1
    assert len(merge([tmp_path / "a"], tmp_path / "b").same) == 1


def test_a_finished_replay_outlives_the_run_that_it_followed(runs):
    followed = run_folder(GATED, runs)
    config = RunConfig(preset="smoke", method="replay", path_from=followed.name, shuffled=False, **SMALL)
    made = train(config, output_dir=runs, device="cpu", progress=False)
    shutil.rmtree(followed)
    assert train(config, output_dir=runs, device="cpu", progress=False) == made
    shutil.rmtree(run_folder(config, runs))
    with pytest.raises(InputError, match="holds no finished run: make that run first"):
        train(config, output_dir=runs, device="cpu", progress=False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record["metrics"].pop("clean_accuracy"), "metrics lacks clean_accuracy"),
        (lambda record: record["config"].pop("preset"), "config lacks preset"),
        (lambda record: record["provenance"].pop("torch"), "provenance.torch is missing"),
    ],
)
def test_a_record_that_lacks_something_is_refused_by_every_command(runs, change, told, capsys):
    folder = run_folder(GATED, runs)
    alter(folder / "record.json", change)
    for command in ("compare", "measure", "merge", "verify"):
        more = ["--into", str(runs.parent / "all")] if command == "merge" else []
        assert main([command, str(runs), *more]) in (1, 2)
        printed = "".join(capsys.readouterr())
        assert f"is damaged ({told}" in printed and "restore it, or delete the folder and run again" in printed


def test_a_record_has_the_metrics_that_are_read_by_name(made):
    assert tuple(RunRecord.read(run_folder(GATED, made)).metrics) == METRICS


def test_what_is_missing_or_altered_comes_back_as_the_message_says(runs):
    """A finished run is returned, not made again, as long as its folder is there."""
    folder = run_folder(GATED, runs)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert main(["measure", str(runs)]) == 2
    shutil.rmtree(folder)
    train(GATED, output_dir=runs, device="cpu", progress=False)
    assert main(["measure", str(runs), "--device", "cpu"]) == 0
    (folder / "measures.npz").unlink()
    assert main(["verify", str(runs)]) == 1
    (folder / "measures.json").unlink()
    assert main(["measure", str(runs), "--device", "cpu"]) == 0 and main(["verify", str(runs)]) == 0
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="make the run again in another output_dir"):
        load_model(folder, GATED)
