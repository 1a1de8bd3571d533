"""The command line as a user meets it: what it prints, its exit status, and one sentence for each mistake."""

import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from processes import program, python
from sparsecycle.cli import main
from sparsecycle.set_mlp.records import load_set_runs

SMALL = ["--set", "train_images=40", "--set", "test_images=20", "--set", "batch_size=20", "--set", "epochs=2"]
RUN = ["run", "--preset", "smoke", "--method", "accuracy_gated", *SMALL, "--no-progress", "--device", "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    assert main([*RUN, "--output-dir", str(output)]) == 0
    return output


def folder(finished: Path) -> str:
    return str(next((finished / "smoke").iterdir()))


def test_run_says_what_was_trained_and_written_or_read(tmp_path, capsys):
    for told in (f"written: {tmp_path}", "already finished, read from"):
        assert main([*RUN, "--output-dir", str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        assert "smoke accuracy_gated seed 0 (" in printed and told in printed


def test_evaluate_measures_any_budget(finished, capsys):
    assert main(["evaluate", folder(finished), "--budgets", "1", "0.3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_evaluate_without_weights_says_where_they_are(finished, tmp_path, capsys):
    (tmp_path / "record.json").write_bytes((Path(folder(finished)) / "record.json").read_bytes())
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "model.safetensors cannot be read (No such file or directory)" in capsys.readouterr().err
    (tmp_path / "weights.pt").touch()
    assert main(["evaluate", str(tmp_path), "--weights", str(tmp_path / "weights.pt")]) == 2
    assert "give a .safetensors file" in capsys.readouterr().err


def test_verify_recomputes_and_compare_lists(finished, capsys):
    assert main(["verify", str(finished)]) == 0
    assert "all equal" in capsys.readouterr().out
    assert main(["compare", str(finished), "--preset", "smoke"]) == 0
    told = capsys.readouterr().out
    assert "accuracy_gated" in told and "Claims at preset smoke" in told


def test_compare_works_where_no_checkout_is_around(finished, tmp_path, monkeypatch, capsys):
    for module in ("source", "folders"):
        monkeypatch.setattr(f"sparsecycle.runs.{module}.CHECKOUT", tmp_path)
    monkeypatch.setattr("sparsecycle.data.storage.CHECKOUT_DATA", tmp_path / "data")
    assert main(["compare", str(finished)]) == 0
    assert "accuracy_gated" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    for what, commands in {
        "studies come with": ("study", "set study"),
        "recorded runs come with": ("compare", "verify", "set compare"),
        "the embedded images come with": ("run --method dense", "data check"),
    }.items():
        for command in commands:
            assert main(command.split()) == 2
            assert f"{what} a checkout of the project" in capsys.readouterr().err


def test_verify_and_compare_need_no_optional_package(finished):
    code = "import sys\nfor name in ('numba', 'sklearn', 'joblib', 'snakemake', 'sparsecycle_book'): "
    code += "sys.modules[name] = None\nfrom sparsecycle.cli import main\nsys.exit(main(sys.argv[1:]))"
    for command in ("verify", "compare"):
        done = python(code, command, str(finished))
        assert done.returncode == 0, done.stderr
    done = python(code, "set", "run", "--dataset", "digits", "--method", "set")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "is not installed" in done.stderr, done.stderr


def test_a_reader_that_goes_away_is_no_error(finished):
    """As `sparsecycle compare runs | head -1`."""
    command = program("compare", str(finished))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_the_home_folder_can_be_said_for_short(tmp_path, monkeypatch, capsys):
    """A shell leaves `--output-dir=~/runs` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main([*RUN, "--output-dir=~/runs"]) == 0
    assert f"written: {tmp_path}/runs/smoke/" in capsys.readouterr().out
    assert main(["compare", "~/runs", "--no-claims"]) == 0
    assert main(["merge", "~/runs", "--into", "~/all"]) == 0
    assert len(list(tmp_path.glob("all/smoke/*/record.json"))) == 1


def test_the_shipped_runs_are_what_they_were_recorded_as(capsys):
    """Those of the pilot and of the search, too."""
    runs = sum(
        len(list((ROOT / "data" / name).rglob("record.json"))) for name in ("runs", "pilot", "search", "precision")
    )
    runs += len(load_set_runs())
    assert main(["verify"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"runs: {runs}, numbers recomputed: ") and "all equal; taken as recorded: " in told.out
    assert "similarity (CKA)" in told.out and "100%" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--method", "fxed"], "method is 'fxed'"),
        (["run", "--methd", "dense"], "--method"),
        (["run", "--method", "dense", "--sede", "3"], "unrecognized arguments: --sede 3"),
        (["run", "--method", "dense", "--seed", "three"], "invalid int value: 'three'"),
        (["run", "--method", "dense", "--seed", "1_0"], "invalid int value: '1_0'"),
        (["run", "--method", "dense", "--set", "epochs"], "FIELD=VALUE"),
        (["run", "--method", "dense", "--set", "seed=1"], "overrides cannot set seed"),
        (["run", "--method", "dense", "--device", "tpu"], "device is 'tpu'"),
        (["evaluate", "/nowhere/run"], "holds no record.json"),
        (["compare", "/nowhere/runs"], "does not exist"),
        (["data", "fetch", "imagenet"], "unrecognized arguments: imagenet"),
        (["study", "smoke", "--jobs", "0"], "jobs is 0, but must be a whole number above 0"),
        (["study", "smoke", "--jobs", "two"], "invalid int value: 'two'"),
        (["study", "nothing"], "study is 'nothing', but must be one of smoke"),
        (["study", "--file", "/nowhere/studies.yaml"], "file of studies /nowhere/studies.yaml cannot be read"),
        ([], "COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.err.startswith("sparsecycle: ")


def test_help_answers_without_loading_torch():
    code = "import sys\nfrom sparsecycle.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    done = python(code)
    assert done.returncode == 0 and "evaluate" in done.stdout
