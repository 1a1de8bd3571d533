"""What the playground runs in the browser comes whole from npm, or not at all, and then the book says so."""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import browser_libraries

FILES = {"package/src/one.js": b"export const one = 1;", "package/README.md": b"not needed"}


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with an npm that has one package."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    stored = tmp_path / "stored.tgz"
    stored.write_bytes(buffer.getvalue())
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncp {stored} small-1.0.0.tgz\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    digest = base64.b64encode(hashlib.sha512(buffer.getvalue()).digest()).decode()
    small = {"NAME": "small", "VERSION": "1.0.0", "INTEGRITY": digest, "FILES": r"package/src/\w+\.js"}
    for name, value in (small | {"TARBALLS": tmp_path / "tarballs", "TARGET": tmp_path / "made"}).items():
        monkeypatch.setattr(browser_libraries, name, value)
    return browser_libraries


def made(libraries: Any) -> dict[str, bytes]:
    """The files in the script that was made."""
    text = (libraries.TARGET / "small.js").read_text()
    found = re.search(r'\["small"\] = (\{.*\});', text)
    return {name: gzip.decompress(base64.b64decode(packed)) for name, packed in json.loads(found[1]).items()}


def test_the_files_asked_for_are_in_the_script(libraries):
    libraries.main()
    assert made(libraries) == {"one.js": b"export const one = 1;"}


def test_what_was_brought_is_kept(libraries, monkeypatch):
    libraries.main()
    monkeypatch.setenv("PATH", "/nowhere")
    libraries.main()
    assert list(made(libraries)) == ["one.js"]


def test_a_kept_archive_that_was_damaged_is_brought_again(libraries):
    libraries.main()
    (libraries.TARBALLS / "small-1.0.0.tgz").write_bytes(b"damaged")
    libraries.main()
    assert list(made(libraries)) == ["one.js"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("no npm", "(the npm client"),
        ("npm fails", "npm pack small@1.0.0 failed with status 1: npm error code E404"),
        ("another content", "has another SHA-512 than the pinned one"),
    ],
)
def test_the_book_is_built_without_what_npm_does_not_bring_and_says_why(
    fault, told, libraries, monkeypatch, capsys, tmp_path
):
    if fault == "no npm":
        monkeypatch.setenv("PATH", "/nowhere")
    elif fault == "npm fails":
        (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    else:
        monkeypatch.setattr(libraries, "INTEGRITY", "else")
    libraries.main()
    said = capsys.readouterr().out
    assert "the playground does without small 1.0.0" in said and told in said
    assert made(libraries) == {}
