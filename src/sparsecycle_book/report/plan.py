"""The plan of the study as tables: claims and rules for verdicts, read from the code that judges."""

from collections.abc import Callable

import pandas as pd

from sparsecycle.analysis.verdicts import CLAIMS, control_verdict, gain_verdict, property_verdict
from sparsecycle.config import RunConfig
from sparsecycle.runs.studies import Studies
from sparsecycle_book.figures import MEASURES

RULES: dict[str, Callable[..., str]] = {
    "C1 and C2": gain_verdict,
    "C3 to C6": property_verdict,
    "C8": control_verdict,
}


def claims_table() -> pd.DataFrame:
    """One row a claim: what is claimed, which arms are compared, by which measures."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for claim in CLAIMS:
        sign = "/" if claim.ratio else "−"
        row = rows.setdefault(
            (claim.id, claim.text), {"id": claim.id, "claim": claim.text, "compared": "", "measured by": ""}
        )
        for column, text in (
            ("compared", f"{_code(claim.treatment)} {sign} {_code(claim.baseline)}"),
            ("measured by", MEASURES[claim.measure]),
        ):
            if text not in row[column].split("; "):
                row[column] = f"{row[column]}; {text}" if row[column] else text
    return pd.DataFrame(rows.values())


def _code(arm: str) -> str:
    """An arm with its method in code font: "`dense`, tuned"."""
    method, *rest = arm.split(maxsplit=1)
    name = method.rstrip(",")
    return f"`{name}`{method[len(name) :]}" + "".join(f" {one}" for one in rest)


def rule_table(claims: str) -> str:
    """Markdown: the conditions for verdicts on these claims, from the docstring of the function that applies them."""
    lines = [line.strip() for line in (RULES[claims].__doc__ or "").splitlines()]
    table = [line.replace("+-", "±") for line in lines if line.startswith("|")]
    return "\n".join(table)


def study_table(studies: Studies) -> pd.DataFrame:
    """One row a declared study: its name, runs, and what it is for."""
    rows = [
        {"study": f"`{name}`", "runs": len(studies.configurations(name)), "what for": study.about}
        for name, study in studies.studies.items()
    ]
    return pd.DataFrame(rows)


def differences_table(presets: tuple[str, ...]) -> pd.DataFrame:
    """Fields of the published rule's configuration in which these presets differ, a column a preset."""
    configs = [RunConfig(preset=preset, method="accuracy_gated").model_dump() for preset in presets]
    rows = []
    for field in configs[0]:
        values = [config[field] for config in configs]
        if field != "preset" and len(set(map(str, values))) > 1:
            rows.append({"field": f"`{field}`"} | dict(zip((f"`{preset}`" for preset in presets), values, strict=True)))
    return pd.DataFrame(rows)
