"""`python -m sparsecycle_book.readme`: the parts of README.md that come from records, and its figure."""

import html
import re
from pathlib import Path

import pandas as pd

from sparsecycle_book.benchmarks.record import BenchmarkRecord, load_benchmarks
from sparsecycle_book.display import alternative_text, write_svg
from sparsecycle_book.figures import paired_effects
from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_runs
from sparsecycle_book.report.answers import answer, how_sure, short_answer
from sparsecycle_book.report.tables import results_table
from sparsecycle.analysis.selection import effects, shown_tier
from sparsecycle.set_mlp.records import load_set_runs
from sparsecycle_book.set_mlp.report import set_answer

BEGIN, END = "<!-- begin: {part}, made from records by `make readme` -->", "<!-- end -->"


def update_readme(root: Path = CHECKOUT) -> None:
    """Write the README's parts between their markers, and its figure for light and for dark pages."""
    runs = load_runs(root / "data" / "runs")
    figure = paired_effects(effects(runs, shown_tier(runs)))
    write_svg(figure, root / "book" / "static" / "effects-light.svg")
    write_svg(figure, root / "book" / "static" / "effects-dark.svg", dark=True)
    path = root / "README.md"
    path.write_text(current_readme(root), encoding="utf-8")


def current_readme(root: Path = CHECKOUT) -> str:
    """The README's text with its parts made anew."""
    text = (root / "README.md").read_text(encoding="utf-8")
    folder = root / "data"
    runs = load_runs(folder / "runs")
    parts = {
        "answer": short_answer(runs),
        "figure": figure_element(runs),
        "sure": how_sure(runs),
        "results": f"{answer(runs)}\n\n{results_table(runs)}",
    }
    for part, content in parts.items():
        text = with_part(text, part, content)
    benchmark: BenchmarkRecord | None = next(iter(load_benchmarks(folder / "benchmarks" / "set")), None)
    return with_part(text, "companion", set_answer(load_set_runs(folder / "runs"), benchmark))


def figure_element(runs: pd.DataFrame) -> str:
    """The figure for light and for dark pages, with the alternative text that the book gives it."""
    alternative = html.escape(alternative_text(paired_effects(effects(runs, shown_tier(runs)))))
    return (
        "<picture>\n"
        '  <source media="(prefers-color-scheme: dark)" srcset="book/static/effects-dark.svg">\n'
        f'  <img src="book/static/effects-light.svg" width="700" alt="{alternative}">\n'
        "</picture>\n\nEvery seed; the star is the paper's single run, at its own scale."
    )


def with_part(text: str, part: str, content: str) -> str:
    """The text with what stands between the markers of a part replaced."""
    begin = BEGIN.format(part=part)
    made = f"{begin}\n\n{content}\n\n{END}"
    return re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    update_readme()
