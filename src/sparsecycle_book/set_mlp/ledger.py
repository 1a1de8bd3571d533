"""What is known of 1906.11626 and its authors' code, and what the arms do: rows from YAML, values from `SetConfig`."""

from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle.set_mlp.config import METHODS, SMALL, Arm, SetConfig
from sparsecycle_book.ledger import one_line, read_ledger


def set_ledger_table(path: Path) -> pd.DataFrame:
    """One row a choice, as Markdown: what is known, the values of its fields in both arms, and why.

    Rows of the YAML file: choice, fields (of `SetConfig`, may be empty), known, why.
    """
    return pd.DataFrame(
        {
            "choice": f"**{row['choice']}**",
            "what is known": one_line(row["known"]),
            "authors' arm": _values(row["fields"], "authors"),
            "tuned arm": _values(row["fields"], "tuned"),
            "why": one_line(row["why"]),
        }
        for row in read_ledger(path)
    )


def _values(fields: list[str], arm: Arm) -> str:
    return "<br>".join(_value(field, arm) for field in fields)


def _value(field: str, arm: Arm) -> str:
    """The field's value for the methods that it applies to; by method where they differ."""
    extra: Any = SetConfig.model_fields[field].json_schema_extra
    having = extra["methods"] if extra else METHODS
    configs = {method: SetConfig(dataset="digits", method=method, arm=arm) for method in having}
    values = {method: _plain(getattr(config, field)) for method, config in configs.items()}
    if field == "batch_size" and configs["set"].batch_size is None:
        return f"`batch_size` {configs['set'].batch(2)} or {configs['set'].batch(SMALL)}"
    if len(set(values.values())) == 1:
        return f"`{field}` {next(iter(values.values()))}"
    usual = values["set"]
    others = ", ".join(f"{value} for `{method}`" for method, value in values.items() if value != usual)
    return f"`{field}` {usual}, {others}"


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "chosen", True: "yes", False: "no"}[value]
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
