"""The plan of the study as tables: claims and rules for verdicts, read from the code that judges."""

import re
from collections.abc import Callable
from functools import cache

import pandas as pd

from sparsecycle.analysis.verdicts import CLAIMS, control_verdict, gain_verdict, property_verdict
from sparsecycle.config import RunConfig
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.studies import Studies
from sparsecycle_book.figures import MEASURES

RULES: dict[str, Callable[..., str]] = {"C1 and C2": gain_verdict, "C3 to C6": property_verdict, "C8": control_verdict}


@cache
def studies() -> Studies:
    """The declared studies."""
    return Studies.read(CHECKOUT / "workflow" / "studies.yaml")


def claims_table() -> pd.DataFrame:
    """One row a claim: what is claimed, which arms are compared, by which measures."""
    rows = pd.DataFrame(
        {
            "id": claim.id,
            "claim": claim.text,
            "compared": f"{_code(claim.treatment)} {'/' if claim.ratio else '−'} {_code(claim.baseline)}",
            "measured by": MEASURES[claim.measure],
        }
        for claim in CLAIMS
    )
    return rows.groupby(["id", "claim"], sort=False).agg(_listed).reset_index()


def _listed(texts: "pd.Series[str]") -> str:
    return "; ".join(texts.unique())


def _code(arm: str) -> str:
    """An arm with its method in code font: "`dense`, tuned"."""
    return re.sub(r"^\w+", r"`\g<0>`", arm)


def rule_table(claims: str) -> str:
    """Markdown: the conditions for verdicts on these claims, from the docstring of the function that applies them."""
    lines = [line.strip() for line in (RULES[claims].__doc__ or "").splitlines()]
    return "\n".join(line.replace("+-", "±") for line in lines if line.startswith("|"))


def study_table() -> pd.DataFrame:
    """One row a declared study: its name, runs, and what it is for."""
    return pd.DataFrame(
        {"study": f"`{name}`", "runs": len(studies().configurations(name)), "what for": study.about}
        for name, study in studies().studies.items()
    )


def differences_table(presets: tuple[str, ...]) -> pd.DataFrame:
    """Fields of the published rule's configuration in which these presets differ, a column a preset."""
    fields = {f"`{name}`": RunConfig(preset=name, method="accuracy_gated").model_dump() for name in presets}
    table = pd.DataFrame(fields, dtype=object).drop(index="preset")
    differ = table[table.astype(str).nunique(axis="columns") > 1]
    return differ.rename(index="`{}`".format).rename_axis("field").reset_index()
