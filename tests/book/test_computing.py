"""Sums over records, by hand."""

import platform

import numpy as np
import pandas as pd

from sparsecycle_book.computing import build_versions, compute_table


def runs(**columns: object) -> pd.DataFrame:
    plain = {"device": "cpu", "cpu": "A", "threads": 2, "torch": "2.13", "git_revision": "r1", "git_clean": True}
    return pd.DataFrame({"wall_seconds": [1800.0, 5400.0], "status": "complete", "resumes": [0, 2]} | plain | columns)


def test_each_study_and_all_of_them():
    gpu = runs(device="G", status=["complete", "diverged"], git_clean=[True, None], git_revision=["r1", "r2"])
    table = compute_table({"one": runs(), "two": gpu}).set_index("study")
    assert list(table.index) == ["one", "two", "all"]
    assert table["runs"].tolist() == [2, 2, 4]
    assert table["hours"].tolist() == [2.0, 2.0, 4.0]
    assert table["diverged"].tolist() == [0, 1, 1]
    assert table["resumed"].tolist() == [1, 1, 2]
    assert table["committed"].tolist() == [2, 1, 3]
    assert table.loc["one", "machine"] == "A" and table.loc["two", "machine"] == "G"
    assert [str(count) for count in table["revisions"]] == ["1", "2", "2"], "counts, without a decimal"


def test_versions_are_those_of_this_environment():
    versions = build_versions()["version"]
    assert versions["Python"] == platform.python_version() and versions["numpy"] == np.__version__
