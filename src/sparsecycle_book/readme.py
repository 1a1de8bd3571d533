"""`python -m sparsecycle_book.readme`: the parts of README.md that come from records, and its figure."""

import re
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sparsecycle.analysis.verdicts import verdict_table
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_runs
from sparsecycle.set_mlp.records import load_set_runs
from sparsecycle_book.display import alternative_text, inline_svg
from sparsecycle_book.figures import effects
from sparsecycle_book.report.answers import compared, question, short_answer
from sparsecycle_book.report.findings import further_findings
from sparsecycle_book.report.tables import presets_table
from sparsecycle_book.set_mlp.report import set_answer

BEGIN, END = "<!-- begin: {part}, made from records by `make readme` -->", "<!-- end -->"
FIGURE = "book/static/answer.svg"
GREY = "#7d8590"  # ink that can be read on white and on black, because a picture in a README knows no theme


def update_readme(root: Path = CHECKOUT) -> None:
    """Write the README's parts between their markers, and its figure."""
    (root / "README.md").write_text(current_readme(root), encoding="utf-8")
    figure = answer_figure(load_runs(root / "data" / "runs"))
    (root / FIGURE).write_text(inline_svg(figure, GREY), encoding="utf-8")


def answer_figure(runs: pd.DataFrame) -> Figure:
    """What each strategy gains over its baseline, as on the first page."""
    return effects(compared(verdict_table(runs)))


def current_readme(root: Path = CHECKOUT) -> str:
    """The README's text with its parts made anew."""
    runs = load_runs(root / "data" / "runs")
    shown = f"![{alternative_text(answer_figure(runs))}]({FIGURE})"
    parts = {
        "answer": "\n\n".join([short_answer(runs, further_findings(runs)), shown, question()]),
        "presets": presets_table(runs),
        "companion": set_answer(load_set_runs(root / "data" / "runs"), brief=True),
    }
    text = (root / "README.md").read_text(encoding="utf-8")
    for part, content in parts.items():
        text = with_part(text, part, content)
    return text


def with_part(text: str, part: str, content: str) -> str:
    """The text with what stands between the markers of a part replaced."""
    begin = BEGIN.format(part=part)
    made = f"{begin}\n\n{content}\n\n{END}"
    return re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    update_readme()
