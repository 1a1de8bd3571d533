"""JSON files with a schema version, read as a pydantic model or refused in one sentence."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from sparsecycle.errors import InputError, shown

Model = TypeVar("Model", bound=BaseModel)


def read_versioned(path: Path, kind: type[Model], version: int, remedy: str) -> Model | None:
    """The file as `kind`, None where there is no file.

    Raises:
        InputError: damaged, with `remedy` for what to do, or of another schema version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        given = raw.get("schema_version") if isinstance(raw, dict) else None
        if given == version:
            return kind.model_validate(raw)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:  # of text, of JSON, of pydantic
        raise InputError(f"{path} is damaged ({str(error).splitlines()[0]}): {remedy}") from None
    raise InputError(f"{path} has schema version {shown(given)}, but this library reads {version}")
