"""The assumption ledger as Markdown: rows from YAML, values from the presets, effects from the recorded ablations."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sparsecycle.analysis.ablations import varied
from sparsecycle.config import RunConfig
from sparsecycle.controllers import CONTROLLERS
from sparsecycle.analysis.statistics import ADAPTIVE

SHOWN_PRESETS = ("classroom", "ablation", "quick", "paper")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Rows with choice, fields, known, why, alternatives.

    And, where it applies: shown_by, a variant of another row's field that speaks for this row; not_varied, why fields
    of the row were not ablated.
    """
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return rows


def summary_sentence(path: Path, ablations: pd.DataFrame) -> str:
    """How many choices there are, where the values of the paper preset come from, and how many were ablated.

    Args:
        ablations: of `ablation_table`.
    """
    rows = read_ledger(path)
    sources = RunConfig(preset="paper", method="plateau").sources()
    tags = [sources[field] for row in rows for field in row["fields"]]
    counts = ", ".join(f"{tags.count(tag)} {tag}" for tag in ("paper", "inferred", "ours"))
    ablated = sum(not effects_of(row, ablations).empty for row in rows)
    return (
        f"{len(rows)} choices in {len(tags)} fields of the configuration. At the `paper` preset the values are: "
        f"{counts}. "
        f"{ablated} of the {len(rows)} choices were varied in recorded runs; {_fieldless(rows)} are no field of the "
        "configuration."
    )


def ledger_markdown(path: Path, ablations: pd.DataFrame) -> str:
    """One item a choice: its values at the presets, their source at `paper`, and what varying it changed.

    Args:
        ablations: of `ablation_table`.
    """
    return "\n".join(
        item_markdown(row, map(_values, row["fields"]), _ablation_lines(row, ablations)) for row in read_ledger(path)
    )


def item_markdown(row: dict[str, Any], values: Iterable[str], ablation: Iterable[str]) -> str:
    """A row of a ledger as an item with what is known, why ours, and what else is possible.

    Args:
        values: what each of its fields is.
        ablation: what varying it changed, the first line with the word for it.
    """
    first, *others = ablation
    lines = [f"- **{row['choice']}**"]
    lines += [f"  - {value}" for value in values]
    lines.append(f"  - *Known:* {one_line(row['known'])}")
    lines.append(f"  - *Why ours:* {one_line(row['why'])}")
    lines.append(f"  - *Also possible:* {'; '.join(row['alternatives'])}")
    return "\n".join([*lines, f"  - {first}", *(f"    - {line}" for line in others)])


def effects_of(row: dict[str, Any], ablations: pd.DataFrame) -> pd.DataFrame:
    """The rows of an ablation table that speak for a choice: those whose "variant" varies its fields alone."""
    if ablations.empty:
        return ablations
    shown_by = row.get("shown_by", [])
    mine = [
        variant in shown_by or (bool(varied(variant)) and varied(variant).keys() <= set(row["fields"]))
        for variant in ablations["variant"]
    ]
    return ablations[mine]


def one_line(value: str) -> str:
    """Folded YAML text without its line breaks."""
    return " ".join(str(value).split())


def _fieldless(rows: list[dict[str, Any]]) -> int:
    return sum(not row["fields"] and "shown_by" not in row for row in rows)


def _ablation_lines(row: dict[str, Any], ablations: pd.DataFrame) -> list[str]:
    found = effects_of(row, ablations)
    if found.empty:
        return [not_ablated(row)]
    lines = ["*Ablation* (gain over dense in points, and its change against the choice as it stands):"]
    for variant, group in found.groupby("variant", sort=False):
        effects = "; ".join(f"`{one['method']}` {_effect(one)}" for one in group.to_dict("records"))
        lines.append(f"`{variant}`: {effects}")
    return lines


def not_ablated(row: dict[str, Any]) -> str:
    """Why a choice has no ablation."""
    reason = "not run yet" if row["fields"] else "no field of the configuration, so it was not varied"
    return f"*Ablation:* {one_line(row.get('not_varied', reason))}"


def _effect(row: dict[Any, Any]) -> str:
    excluded = f", {row['excluded']} left out" if row["excluded"] else ""
    if not row["seeds"]:
        return "diverged in every seed"
    against = f"`{row['against']}`" if row["against"] else "it stands"
    if row["same_runs"]:
        return f"as {against}, number for number ({row['seeds']} seeds)"
    interval = f"{100 * row['change_low']:+z.1f} to {100 * row['change_high']:+z.1f}, " if row["seeds"] > 1 else ""
    reference = f" from {against}" if row["against"] else ""
    return (
        f"{100 * row['gain']:+z.1f}, changed{reference} by {100 * row['change']:+z.1f} "
        f"({interval}{row['seeds']} seeds{excluded})"
    )


def _values(field: str) -> str:
    """The field's value at each preset, and the source at the paper preset."""
    if field == "method":
        return f"`method`: one of {', '.join(CONTROLLERS)}"
    presets: dict[str, list[str]] = {}
    for preset in SHOWN_PRESETS:
        presets.setdefault(_value(field, preset), []).append(f"`{preset}`")
    tag = RunConfig(preset="paper", method="plateau").sources()[field]
    if len(presets) == 1:
        return f"`{field}` is {next(iter(presets))} (*{tag}*)"
    told = ", ".join(f"{value} at {' and '.join(names)}" for value, names in presets.items())
    return f"`{field}` is {told} (*{tag}* at `paper`)"


def _value(field: str, preset: str) -> str:
    """At a preset; where the strategies differ, the value of each."""
    if field == "keep_ratio":
        return _plain(RunConfig(preset=preset, method="fixed", keep_ratio=0.25).keep_ratio)
    configs = [RunConfig(preset=preset, method=method) for method in ADAPTIVE]
    having = {config.method: _plain(getattr(config, field)) for config in configs if getattr(config, field) is not None}
    if len(set(having.values())) > 1:
        return " and ".join(f"{value} (`{method}`)" for method, value in having.items())
    return next(iter(having.values()), "none")


def _plain(value: Any) -> str:
    return "none" if value is None else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
