"""The ledger of the method: choices from YAML, values from the configurations."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sparsecycle.config import RunConfig

GROUPS = ("confirmed", "corrected", "open", "departs")
SHOWN_PRESETS = ("paper", "paper100", "classroom", "quick")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The rows of a ledger.

    Of the method's: group (one of `GROUPS`), choice, fields (of `RunConfig`, may be empty), script (what the author's
    script does, or that it is silent), and ours: what we had guessed (corrected), or what we do (open, departs).
    """
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return rows


def ledger_table(path: Path, group: str) -> pd.DataFrame:
    """The rows of one group, as Markdown: the choice with the values of its fields, the author's script, ours."""
    heads = {"confirmed": "", "corrected": "we had guessed", "open": "what we do", "departs": "what we do"}
    rows = []
    for row in read_ledger(path):
        if row["group"] == group:
            choice = "<br>".join([f"**{row['choice']}**", *(_values(field) for field in row["fields"])])
            shown = {"choice, and its values": choice, "the author's script": one_line(row["script"])}
            if heads[group]:
                shown[heads[group]] = one_line(row["ours"])
            rows.append(shown)
    return pd.DataFrame(rows)


def ledger_sentence(path: Path) -> str:
    """How many choices are confirmed, corrected and open, and in how many we depart from the script."""
    groups = [row["group"] for row in read_ledger(path)]
    confirmed, corrected, left, departs = (groups.count(group) for group in GROUPS)
    return (
        f"Of {len(groups)} choices the author's script confirms {confirmed}, contradicts {corrected}, which are now "
        f"corrected, and leaves {left} open. In {departs} we depart from it on purpose."
    )


def _values(field: str) -> str:
    """The field's value at the `paper` preset, and at others where it differs there."""
    configs = {preset: RunConfig(preset=preset, method="accuracy_gated") for preset in SHOWN_PRESETS}
    values = {preset: _plain(getattr(config, field)) for preset, config in configs.items()}
    others: dict[str, list[str]] = {}
    for preset, value in values.items():
        if value != values["paper"]:
            others.setdefault(value, []).append(f"`{preset}`")
    told = "".join(f", {value} at {' and '.join(names)}" for value, names in others.items())
    return f"`{field}` {values['paper']}{told}"


def _plain(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def one_line(value: str) -> str:
    """Folded YAML text without its line breaks."""
    return " ".join(str(value).split())
