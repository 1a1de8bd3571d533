"""The command line as a user meets it: what it prints, its exit status, and one sentence for each mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.runs.records import RunRecord

SMALL = ["--set", "train_images=40", "--set", "test_images=20", "--set", "batch_size=20", "--set", "epochs=2"]
RUN = ["run", "--preset", "smoke", "--method", "plateau", *SMALL, "--no-progress", "--device", "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    assert main([*RUN, "--output-dir", str(output)]) == 0
    return output


def folder(finished: Path) -> str:
    return str(next((finished / "smoke").iterdir()))


def test_run_says_what_was_trained_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--output-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "smoke plateau seed 0: test accuracy" in printed and f"written: {tmp_path}" in printed


def test_a_finished_run_is_read_not_repeated(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--output-dir", str(finished)]) == 0
    assert "already finished, read from" in capsys.readouterr().out


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    assert main([*RUN, "--output-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "sparsecycle: No space left on device; what was recorded is whole\n"


def test_evaluate_measures_any_budget(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", folder(finished), "--budgets", "1", "0.3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_evaluate_takes_the_shipped_weights(capsys: pytest.CaptureFixture[str]) -> None:
    weights = ROOT / "data" / "checkpoints" / "classroom" / "dense-seed0.safetensors"
    folder = ROOT / "data" / "runs" / "classroom" / "dense-seed0"
    assert main(["evaluate", str(folder), "--weights", str(weights), "--budgets", "1"]) == 0
    recorded = RunRecord.read(folder).metrics["test_accuracy"]
    measured = float(capsys.readouterr().out.splitlines()[1].split()[1])
    assert recorded is not None and abs(measured - recorded) <= 0.003  # see test_shipped_networks_...


def test_evaluate_without_weights_says_where_they_are(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "record.json").write_bytes((Path(folder(finished)) / "record.json").read_bytes())
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "has no model.safetensors: give a file with --weights" in capsys.readouterr().err


def test_verify_recomputes_and_compare_lists(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finished)]) == 0
    assert "all equal" in capsys.readouterr().out
    assert main(["compare", str(finished), "--preset", "smoke"]) == 0
    assert "plateau" in capsys.readouterr().out


def test_verify_of_the_shipped_runs_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    told = capsys.readouterr().out.splitlines()
    files = [path.name for folder in ("runs", "search") for path in (ROOT / "data" / folder).rglob("*.json")]
    recorded = files.count("record.json") + files.count("set.json")
    assert sum("numbers recomputed, all equal" in line for line in told) == recorded + 1
    assert told[-2].startswith("tables of claims, baselines and ablations: ")


def test_verify_of_the_runs_before_the_search_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(ROOT / "data" / "earlier")]) == 0
    assert capsys.readouterr().out.count(": 11 numbers recomputed, all equal") == 9


def test_data_check_reports_the_embedded_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check"]) == 0
    assert "cifar10-mini: 5000 + 1000 images, sums as pinned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--method", "fxed"], "method is 'fxed'"),
        (["run", "--methd", "dense"], "--method"),
        (["run", "--method", "dense", "--sede", "3"], "unrecognized arguments: --sede 3"),
        (["run", "--method", "dense", "--seed", "three"], "invalid int value: 'three'"),
        (["run", "--method", "dense", "--preset", "big"], "preset is 'big'"),
        (["run", "--method", "fixed", "--set", "keep_ratio=0"], "keep_ratio is 0, but must lie in (0, 1]"),
        (["run", "--method", "dense", "--set", "learning_rte=0.1"], "did you mean 'learning_rate'"),
        (["run", "--method", "dense", "--set", "epochs"], "FIELD=VALUE"),
        (["run", "--method", "dense", "--set", "epochs=many"], "epochs is 'many'"),
        (["run", "--method", "dense", "--set", "seed=1"], "overrides cannot set seed"),
        (["run", "--method", "dense", "--data-dir", "/nowhere/images"], "/nowhere/images"),
        (["run", "--method", "dense", "--output-dir", "/proc/nowhere"], "cannot be written"),
        (["run", "--method", "dense", "--device", "tpu"], "device is 'tpu'"),
        (["evaluate", "/nowhere/run"], "holds no record.json"),
        (
            ["evaluate", str(ROOT / "data/runs/quick/dense-seed1")],
            "has no model.safetensors: give a file with --weights",
        ),
        (["compare", "/nowhere/runs"], "does not exist"),
        (["data", "fetch", "imagenet"], "invalid choice: 'imagenet'"),
        (["data", "fetch", "cifar10", "--source", "ftp"], "source is 'ftp'"),
        ([], "COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.err.startswith("sparsecycle: ")


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsecycle.runs.execute.train", interrupted)
    assert main(["run", "--method", "dense"]) == 130
    assert "the same command goes on where this one stopped" in capsys.readouterr().err


def test_help_answers_without_loading_torch() -> None:
    code = "import sys\nfrom sparsecycle.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "evaluate" in done.stdout
