"""A run as one JSON file holds what its record and its periods hold."""

import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import ROOT
from sparsecycle.cli import main

RUN = ROOT / "data/runs/classroom/loss_gated-seed1"


def test_an_export_holds_the_record_and_every_period(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.json"
    assert main(["export", str(RUN), "--into", str(target)]) == 0
    assert capsys.readouterr().out == f"written: {target}\n"
    written = json.loads(target.read_text())
    assert written["record"] == json.loads((RUN / "record.json").read_text())
    pd.testing.assert_frame_equal(
        pd.DataFrame(written["epochs"]), pd.read_parquet(RUN / "epochs.parquet"), check_dtype=False, rtol=1e-12
    )


def test_what_is_no_run_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
