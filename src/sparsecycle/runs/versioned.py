"""JSON files with a schema version and a checksum, read as a pydantic model or refused in one sentence.

`checksum` is the SHA-256 of all other values, so that layout and line ends may change and no value can. A file without
one was written before there were any.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from sparsecycle.files import write_atomically
from sparsecycle.errors import InputError, shown

Model = TypeVar("Model", bound=BaseModel)


def write_versioned(path: Path, model: BaseModel, indent: int | None = None) -> None:
    """The model as JSON with its checksum, whole or not at all."""
    content = json.loads(model.model_dump_json())
    content["checksum"] = checksum(content)
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, indent=indent, separators=separators, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


def read_versioned(path: Path, kind: type[Model], version: int, remedy: str) -> Model | None:
    """The file as `kind`, None where there is no file.

    Raises:
        InputError: damaged, with `remedy` for what to do, or of another schema version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        given = raw.get("schema_version") if isinstance(raw, dict) else None
        if given == version:
            if "checksum" in raw and raw.pop("checksum") != checksum(raw):
                raise ValueError("its values are not those that its checksum was made of")
            return kind.model_validate(raw)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # of text, of JSON, of pydantic
        raise InputError(f"{path} is damaged ({str(error).splitlines()[0]}): {remedy}") from None
    raise InputError(f"{path} has schema version {shown(given)}, but this library reads {version}")


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 of the values of a JSON object, whatever its layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
