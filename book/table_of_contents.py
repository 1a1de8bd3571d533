"""The table of contents for this build: `_toc.yml`, and the reader's own runs where `make book` has made some."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
OWN = ROOT / "book" / "your-runs"


def entries(contents: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every page but the first, each followed by the sections below it."""
    below = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    while below:
        entry, *below = below
        yield entry
        below = [*entry.get("sections", []), *below]


def with_own_runs(contents: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The contents with a section for each executed notebook in `book/your-runs`, before the recorded ones."""
    [listed] = [entry for entry in entries(contents) if entry["file"] == "book/executed-runs"]
    own = [{"file": f"book/your-runs/{name}", "title": f"Yours: {name}, seed 0"} for name in names]
    listed["sections"] = [*own, *listed["sections"]]
    return contents


def main() -> None:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = sorted(path.stem for path in OWN.glob("*.ipynb"))
    target = ROOT / "_build" / "_toc.yml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(yaml.safe_dump(with_own_runs(contents, names), sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
