"""How records lie on the disk: every value comes back, damage is told, and collecting loses nothing."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from sparsecycle.cli import main
from sparsecycle.errors import InputError
from sparsecycle.set_mlp.config import METHODS, SetConfig
from sparsecycle.set_mlp.record import SetRecord
from sparsecycle.set_mlp.records import (
    FILE,
    collect,
    find_record,
    find_set_records,
    load_set_runs,
    read_records,
    write_records,
)
from sparsecycle.set_mlp.training import train_set

TINY = {"dataset": "breast_cancer", "hidden": (12, 8), "epochs": 4, "batch_size": 64}


def train(output: Path, method: str = "set_pruned", **more: object) -> SetRecord:
    return train_set(SetConfig(method=method, **TINY | more), output_dir=output, progress=False)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> SetRecord:
    return train(tmp_path_factory.mktemp("runs"))


losses = st.one_of(st.floats(width=32), st.just(math.nan), st.just(math.inf))
scales = st.one_of(st.floats(0, 1e16).map(lambda value: round(value, 4)), st.just(math.nan), st.just(math.inf))


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 6))
def test_every_value_comes_back_also_of_runs_that_diverged(
    tmp_path_factory: pytest.TempPathFactory, record: SetRecord, data: st.DataObject, epochs: int
) -> None:
    def column(values: st.SearchStrategy[float]) -> list[float | int]:
        return data.draw(st.lists(values, min_size=epochs, max_size=epochs))

    history = {name: values[:1] * epochs for name, values in record.history.items()}
    history |= {"epoch": list(range(1, epochs + 1))}
    history |= {name: column(losses) for name in ("train_loss", "test_loss")}
    history["adapted_loss"] = data.draw(st.sampled_from([history["train_loss"], column(losses)]))
    history |= {f"weight_scale_{layer}": column(scales) for layer in (1, 2, 3)}
    history["seconds"] = column(st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000))
    given_one = replace(record, history=history, correct=data.draw(st.lists(st.booleans(), min_size=1, max_size=20)))
    history["test_accuracy"] = [sum(given_one.correct) / len(given_one.correct)] * epochs
    path = tmp_path_factory.mktemp("one") / FILE
    write_records(path, [given_one])
    [found] = read_records(path)
    assert found.history.keys() == history.keys()
    for name, values in history.items():
        np.testing.assert_array_equal(found.history[name], values, strict=True)
    assert replace(found, history={}) == replace(given_one, history={})


def test_runs_are_collected_into_one_file_and_are_still_there(tmp_path: Path) -> None:
    made = {record.name(): record for record in (train(tmp_path, method) for method in METHODS)}
    before = load_set_runs(tmp_path)
    assert collect(tmp_path, tmp_path) == {tmp_path / "set" / "breast_cancer" / FILE: 4}
    assert [path.name for path in (tmp_path / "set" / "breast_cancer").iterdir()] == [FILE]
    assert load_set_runs(tmp_path).equals(before)
    assert {one.name(): one for one in find_set_records(tmp_path)} == made
    assert all(find_record(tmp_path, name) == record for name, record in made.items())
    assert collect(tmp_path, tmp_path) == {}
    more = train(tmp_path, "set", seed=1)
    assert (
        train(tmp_path, "set", seed=0)
        == made["set/breast_cancer/" + next(iter(name.rpartition("/")[2] for name in made if "/set-seed0" in name))]
    ), "a collected run is read, not repeated"
    collect(tmp_path, tmp_path)
    assert len(load_set_runs(tmp_path)) == 5 and find_record(tmp_path, more.name()) == more


def test_collecting_that_was_interrupted_counts_no_run_twice(tmp_path: Path, record: SetRecord) -> None:
    own, together = tmp_path / record.name() / FILE, tmp_path / "set" / "breast_cancer" / FILE
    own.parent.mkdir(parents=True)
    for path in (own, together):
        write_records(path, [record])
    assert len(load_set_runs(tmp_path)) == 1
    collect(tmp_path, tmp_path)
    assert not own.exists() and read_records(together) == [record]


def test_two_runs_of_one_name_are_not_collected(tmp_path: Path, record: SetRecord) -> None:
    into = tmp_path / "into" / "set" / "breast_cancer" / FILE
    into.parent.mkdir(parents=True)
    write_records(into, [replace(record, identity="0" * 64)])
    own = tmp_path / "runs" / record.name() / FILE
    own.parent.mkdir(parents=True)
    write_records(own, [record])
    with pytest.raises(InputError, match="holds another run named set/breast_cancer/set_pruned-seed0"):
        collect(tmp_path / "runs", tmp_path / "into")
    assert read_records(own) == [record] and read_records(into)[0].identity == "0" * 64


def test_the_command_collects(tmp_path: Path, record: SetRecord, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / record.name() / FILE
    own.parent.mkdir(parents=True)
    write_records(own, [record])
    assert main(["set", "collect", str(tmp_path), "--into", str(tmp_path / "all")]) == 0
    assert capsys.readouterr().out.startswith("1 runs moved into ")
    assert len(load_set_runs(tmp_path / "all")) == 1


def test_a_wrong_bit_and_a_cut_file_are_told_in_one_sentence(tmp_path: Path, record: SetRecord) -> None:
    path = tmp_path / FILE
    write_records(path, [record])
    whole = path.read_bytes()
    for place in range(4, len(whole) - 4, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_records(path) == [record], "only what no value depends on may pass"
        except InputError as error:
            assert f"{path} is " in str(error) and "\n" not in str(error)
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"is damaged \(.*\): restore it, or delete it and make its runs again"):
        load_set_runs(tmp_path)


def test_the_committed_records_are_small() -> None:
    files = [path for folder in ("runs", "search") for path in (ROOT / "data" / folder / "set").rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 6e6
    assert {path.name for path in files if path.is_file()} == {FILE}
