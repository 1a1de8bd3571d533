"""The assumption ledger as Markdown: its rows from YAML, its values from the configuration of the presets."""

from pathlib import Path
from typing import Any

import yaml

from sparsecycle.config import RunConfig
from sparsecycle.controllers import CONTROLLERS

SHOWN_PRESETS = ("quick", "paper")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Rows with choice, fields, known, why, alternatives and ablation (None: not run yet)."""
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return rows


def summary_sentence(path: Path) -> str:
    """How many choices there are, where the values of the paper preset come from, and how many were ablated."""
    rows = read_ledger(path)
    sources = RunConfig(preset="paper", method="plateau").sources()
    tags = [sources[field] for row in rows for field in row["fields"]]
    counts = ", ".join(f"{tags.count(tag)} {tag}" for tag in ("paper", "inferred", "ours"))
    ablated = sum(row["ablation"] is not None for row in rows)
    return (
        f"{len(rows)} choices in {len(tags)} fields of the configuration. At the `paper` preset the values are: "
        f"{counts}. "
        f"Ablations recorded so far: {ablated} of {len(rows)}."
    )


def ledger_markdown(path: Path) -> str:
    """One item a choice, with its values at the `quick` and `paper` presets and their source."""
    return "\n".join(_item(row) for row in read_ledger(path))


def _item(row: dict[str, Any]) -> str:
    lines = [f"- **{row['choice']}**"]
    lines += [f"  - {_values(field)}" for field in row["fields"]]
    lines.append(f"  - *Known:* {_text(row['known'])}")
    lines.append(f"  - *Why ours:* {_text(row['why'])}")
    lines.append(f"  - *Also possible:* {'; '.join(row['alternatives'])}")
    lines.append(f"  - *Ablation:* {_text(row['ablation']) if row['ablation'] else 'not run yet'}")
    return "\n".join(lines)


def _values(field: str) -> str:
    """The field's value at each preset, from the first method that has it, and the source at the paper preset."""
    if field == "method":
        return f"`method`: one of {', '.join(CONTROLLERS)}"
    configs = {preset: _config_with(field, preset) for preset in SHOWN_PRESETS}
    values = {preset: _plain(getattr(config, field)) for preset, config in configs.items()}
    tag = configs["paper"].sources()[field]
    if len(set(values.values())) == 1:
        return f"`{field}` is {values['paper']} (*{tag}*)"
    return f"`{field}` is {values['quick']} at `quick`, {values['paper']} at `paper` (*{tag}* there)"


def _config_with(field: str, preset: str) -> RunConfig:
    if field == "keep_ratio":
        return RunConfig(preset=preset, method="fixed", keep_ratio=0.25)
    configs = [RunConfig(preset=preset, method=method) for method in ("dense", "loss_gated", "plateau")]
    return next((config for config in configs if getattr(config, field) is not None), configs[0])


def _plain(value: Any) -> str:
    return "none" if value is None else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _text(value: str) -> str:
    return " ".join(str(value).split())
