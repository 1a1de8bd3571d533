"""A run as one JSON file: what a page of the book, or any other program, reads without a library for parquet."""

import json
from pathlib import Path

from sparsecycle.atomic import write_atomically
from sparsecycle.records import RunRecord, read_epochs


def export_run(folder: str | Path, into: str | Path | None = None) -> Path:
    """Write `run.json`: the record of a finished run, and its periods.

    Args:
        folder: of the run.
        into: the file to write, by default `run.json` in the folder.

    Returns:
        The file, an object of "record" (as in `record.json`) and "epochs" (a list of rows as in `epochs.parquet`, null
        for what was not measured).

    Raises:
        InputError: no finished run in the folder, or a damaged one.
    """
    folder = Path(folder)
    record = RunRecord.read(folder)
    rows = json.loads(read_epochs(folder).to_json(orient="records", double_precision=15))
    content = {"record": record.model_dump(mode="json"), "epochs": rows}
    target = Path(into) if into else folder / "run.json"
    write_atomically(target, json.dumps(content, indent=1).encode())
    return target
