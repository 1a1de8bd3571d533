"""The assumption ledger of the companion study: rows from YAML, values from `SetConfig`, effects from its ablations."""

from pathlib import Path
from typing import Any

import pandas as pd

from sparsecycle.set_mlp.config import METHODS, SetConfig
from sparsecycle_book.ledger import effects_of, item_markdown, not_ablated, read_ledger


def set_ledger_markdown(path: Path, ablations: pd.DataFrame) -> str:
    """One item a choice: its values, and what varying it changed.

    Args:
        ablations: of `set_ablation_table`.
    """
    return "\n".join(
        item_markdown(row, map(_value, row["fields"]), _ablation_lines(row, ablations)) for row in read_ledger(path)
    )


def set_ledger_sentence(path: Path, ablations: pd.DataFrame) -> str:
    """How many choices there are, and how many were varied."""
    rows = read_ledger(path)
    fields = sum(len(row["fields"]) for row in rows)
    ablated = sum(not effects_of(row, ablations).empty for row in rows)
    return (
        f"{len(rows)} choices in {fields} fields of the configuration; {ablated} of them were varied in recorded runs."
    )


def _value(field: str) -> str:
    """The field's value for the methods that it applies to; by method where they differ."""
    having = (SetConfig.model_fields[field].json_schema_extra or {}).get("methods", METHODS)  # type: ignore[union-attr]
    values = {method: getattr(SetConfig(dataset="digits", method=method), field) for method in having}  # type: ignore[union-attr]
    if len(set(values.values())) == 1:
        return f"`{field}` is {_plain(next(iter(values.values())))}"
    return f"`{field}` is " + ", ".join(f"{_plain(value)} for `{method}`" for method, value in values.items())


def _plain(value: Any) -> str:
    if value is None:
        return "2 below 300 training samples, else 32"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _ablation_lines(row: dict[str, Any], ablations: pd.DataFrame) -> list[str]:
    found = effects_of(row, ablations)
    if found.empty:
        return [not_ablated(row)]
    lines = ["*Ablation* (change of the test accuracy in points, mean over datasets):"]
    return lines + [f"`{one['method']}` with `{one['variant']}`: {_effect(one)}" for one in found.to_dict("records")]


def _effect(row: dict[Any, Any]) -> str:
    if not row["datasets"]:
        return "no dataset has both"
    left_out = f", {row['left_out']} left out" if row["left_out"] else ""
    told = _change(row, "", f"{row['datasets']} datasets{left_out}")
    if row["diverged"] + row["diverged_as_it_stands"]:
        told += f"; {row['diverged']} runs diverged, {row['diverged_as_it_stands']} as it stands"
        told += "; " + _change(row, "_stable", f"the {row['stable']} datasets where none did") if row["stable"] else ""
    return told


def _change(row: dict[Any, Any], suffix: str, over: str) -> str:
    change, low, high = (f"{100 * row[name + suffix]:+z.1f}" for name in ("change", "low", "high"))
    return f"{change} ({low} to {high}, {over})"
