"""JSON files with a schema version, written whole or not at all, read as a model or refused in one sentence."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sparsecycle.errors import InputError, sentence, shown
from sparsecycle.files import write_atomically

Model = TypeVar("Model", bound=BaseModel)


def write_versioned(path: Path, model: BaseModel, indent: int | None = None) -> None:
    """Write the model as JSON, whole or not at all."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(json.loads(model.model_dump_json()), indent=indent, separators=separators, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


def read_versioned(path: Path, kind: type[Model], version: int, remedy: str) -> Model | None:
    """Return the file as `kind`, None where there is no file.

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
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from None
    except ValidationError as error:
        raise InputError(f"{path} is damaged ({sentence(error, kind)}): {remedy}") from None
    except (ValueError, RecursionError) as error:  # of text, of JSON
        raise InputError(f"{path} is damaged ({str(error).splitlines()[0]}): {remedy}") from None
    raise InputError(f"{path} has schema version {shown(given)}, but this library reads {version}: {remedy}")
