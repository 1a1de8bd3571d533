"""Files and parameters from strangers: refused in one sentence, and nothing in them is ever run."""

import hashlib
import io
import pickle
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from conftest import ROOT, alter
from sparsecycle import load_runs, train
from sparsecycle.config import configure, parse_setting
from sparsecycle.errors import InputError
from sparsecycle.runs.checkpoints import Checkpoint, CheckpointWriter, checkpoint_files, load_newest, remove_checkpoints
from sparsecycle.runs.folders import run_folder, run_name
from sparsecycle.runs.merging import merge
from sparsecycle.runs.networks import load_model
from sparsecycle.runs.records import RunRecord, read_correct, read_epochs
from sparsecycle.runs.studies import Studies, TextLoader


class Mark:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def finished(tiny: Any, tmp_path: Path) -> Path:
    train(tiny(), output_dir=tmp_path / "runs", progress=False)
    return run_folder(tiny(), tmp_path / "runs")


@pytest.mark.parametrize(
    "text",
    [
        "epochs=!!python/object/apply:os.system [touch made]",
        "epochs=&a [*a, *a",
        "epochs=2024-13-45",
        f"epochs={'9' * 5000}",
        f"epochs={'[' * 5000}",
    ],
)
def test_settings_are_plain_values(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        configure("smoke", "dense", 0, dict([parse_setting(text)]))
    assert not list(tmp_path.iterdir())


STUDY = "smoke: {about: x, runs: [{presets: [smoke], methods: [dense], seeds: 0}]}\n"


@pytest.mark.parametrize(
    "text",
    [
        "smoke: !!python/object/apply:os.system [touch made]",
        STUDY.replace("seeds: 0", "seeds: 0-99999999999"),
        STUDY.replace("seeds: 0", f"seeds: 0-{'9' * 5000}"),
        STUDY.replace("seeds: 0", "seeds: [-1]"),
        STUDY.replace("[dense]", "[../../x]"),
        STUDY.replace("seeds: 0", "seeds: 0, shell: rm"),
        STUDY.replace("seeds: 0", "seeds: 0, variants: [{output_dir: /tmp}]"),
        STUDY.replace("smoke:", "x; touch made:"),
        STUDY.replace("smoke:", "../../x:"),
        STUDY.replace("seeds: 0", "seeds: 2024-13-45"),
        STUDY.replace("about: x", "about: &a [*a, *a]"),
        "[" * 5000,
        "- a list",
        "{}",
        "",
        "\0",
    ],
)
def test_a_file_of_studies_declares_runs_and_nothing_else(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Studies.read(tmp_path / "studies.yaml").configurations("smoke")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["studies.yaml"]


def test_a_checkpoint_is_never_unpickled(tiny, tmp_path):
    """A pickle under a checkpoint's name, with the right checksum."""
    folder = run_folder(tiny(), tmp_path)
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    torch.save({"mark": Mark(tmp_path / "made")}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Mark(tmp_path / "made"))):
        checksum = hashlib.sha256(content).hexdigest()[:32]
        (folder / f"checkpoint-000000001-{checksum}.safetensors").write_bytes(content)
    assert load_newest(folder) is None
    record = train(tiny(), output_dir=tmp_path, progress=False)
    assert record.status == "complete" and not (tmp_path / "made").exists()


@pytest.fixture
def begun(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Checkpoint]:
    """A run stopped before its end: its folder, and what its last checkpoint held; the folder holds none any more."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sparsecycle.runs.execute._Run.finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        train(tiny(), output_dir=tmp_path, progress=False, checkpoint_minutes=1e-9)
    folder = run_folder(tiny(), tmp_path)
    _, checkpoint = load_newest(folder) or pytest.fail("no checkpoint")
    remove_checkpoints(folder)
    return folder, checkpoint


def save(folder: Path, checkpoint: Checkpoint) -> None:
    with CheckpointWriter(folder) as writer:
        writer.save(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": {}},
        {"trainer": {"step": 10**400}},
        {"trainer": {"step": -1}},
        {"trainer": {"controller": {"keep_ratio": "all"}}},
        {"trainer": {"decisions": [{"step": 1}]}},
        {"history": [{"train_loss": 1.0}]},
        {"history": [{"train_loss": 1.0}] * 10**5},
        {"history": []},
        {"part_seconds": "long"},
        {"unknown": 1},
    ],
)
def test_a_checkpoint_with_another_state_is_refused(begun, tiny, change):
    folder, checkpoint = begun
    trainer = checkpoint.rest["trainer"] | change["trainer"] if change.get("trainer") else change.get("trainer")
    other = change | ({} if trainer is None else {"trainer": trainer})
    save(folder, replace(checkpoint, rest=checkpoint.rest | other))
    with pytest.raises(InputError, match="does not fit this run") as caught:
        train(tiny(), output_dir=folder.parents[1], progress=False)
    assert len(checkpoint_files(folder)) == 1 and "\n" not in str(caught.value)


LOST = ["model.stem.weight", "sums", "momentum.0000", "generator.cpu", "correct.dense", "correct.sparse"]


@pytest.mark.parametrize("lost", LOST)
def test_a_checkpoint_without_one_of_its_tensors_is_refused(begun, tiny, lost):
    folder, checkpoint = begun
    save(folder, replace(checkpoint, tensors={name: x for name, x in checkpoint.tensors.items() if name != lost}))
    with pytest.raises(InputError, match="does not fit this run"):
        train(tiny(), output_dir=folder.parents[1], progress=False)


@pytest.mark.parametrize("rest", ["{}", "[" * 5000, "[]", "1e999"])
def test_safetensors_that_are_no_checkpoint_are_refused_or_skipped(begun, tiny, rest):
    folder, _ = begun
    for metadata in (None, {"rest": rest}):
        content = safetensors.torch.save({"sums": torch.zeros(3)}, metadata=metadata)
        checksum = hashlib.sha256(content).hexdigest()[:32]
        (folder / f"checkpoint-000000001-{checksum}.safetensors").write_bytes(content)
    try:
        assert train(tiny(), output_dir=folder.parents[1], progress=False).status == "complete"
    except InputError as error:
        assert "does not fit this run" in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../../../etc/passwd": "0" * 64}},
        {"metrics": {"last_accuracy": [1e999]}},
        {"identity": 3},
        {"config": []},
        {"extra": True},
        {"schema_version": 10**4000},
    ],
)
def test_a_record_with_other_content_is_refused_or_harmless(finished, change):
    alter(finished / "record.json", lambda record: record.update(change))
    read = read_epochs if "files" in change else RunRecord.read  # names in a record are looked up, never followed
    with pytest.raises(InputError, match="not the file that" if "files" in change else None):
        read(finished)


def test_bits_and_weights_are_never_unpickled(finished, tiny, tmp_path):
    made = tmp_path / "made"
    (finished / "record.json").unlink()
    np.savez(finished / "correct.npz", images=np.int64(1), dense=np.array([[Mark(made)]], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_correct(finished)
    torch.save({"mark": Mark(made)}, finished / "model.safetensors")
    with pytest.raises(InputError, match="does not fit"):
        load_model(finished, tiny())
    assert not made.exists()


def test_bits_that_claim_to_be_huge_are_refused(finished):
    (finished / "record.json").unlink()
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,), }"
    padded = header + b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(finished / "correct.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded)
    with pytest.raises(InputError, match="cannot be read"):
        read_correct(finished)


def test_merging_follows_no_link(finished, tmp_path):
    (tmp_path / "secret").write_text("not for others")
    (finished / "model.safetensors").unlink()
    (finished / "model.safetensors").symlink_to(tmp_path / "secret")
    outcome = merge([finished.parents[1]], tmp_path / "into")
    assert not outcome.copied and list(outcome.left.values()) == ["one of its files is a link"]
    assert not (tmp_path / "into").exists()


def test_merged_records_are_never_overwritten(finished, tiny, tmp_path, caplog):
    source, into = finished.parents[1], tmp_path / "into"
    assert merge([source / "smoke"], into).copied == [finished.name], "its place follows from its configuration"
    assert len(merge([source], into).same) == 1
    (copy,) = into.rglob("record.json")
    assert copy.parent.relative_to(into) == finished.relative_to(source)
    alter(copy, lambda record: record["metrics"].update(last_accuracy=0.999))
    before = copy.read_bytes()
    outcome = merge([source], into)
    assert list(outcome.left) == [run_name(tiny())] and copy.read_bytes() == before
    assert len(load_runs(source, into)) == 1 and "has other numbers" in caplog.text
    shutil.rmtree(copy.parent)
    (copy.parent / "half").mkdir(parents=True)  # a run under way there
    assert "not finished" in str(merge([source], into).left)
    with pytest.raises(InputError, match="lies in"):
        merge([source], source / "below")


def test_a_merge_that_was_killed_is_not_taken_for_a_record(finished, tmp_path):
    source, into = finished.parents[1], tmp_path / "into"
    half = into / "smoke" / f".{finished.name}.1.partial"
    half.mkdir(parents=True)
    shutil.copyfile(finished / "record.json", half / "record.json")
    assert load_runs(into).empty
    assert len(merge([source], into).copied) == 1 and len(load_runs(into)) == 1 and not half.exists()


def test_no_source_unpickles():
    """The words themselves: what is not called cannot be fed."""
    assert issubclass(TextLoader, yaml.SafeLoader)
    yaml_load = r"yaml\.load\((?!.*(?:BaseLoader|TextLoader))"
    words = rf"pickle\.load|(?<!safetensors\.)torch\.load\(|{yaml_load}|allow_pickle=True|shell=True"
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.findall(words, path.read_text(encoding="utf-8")), path.name
