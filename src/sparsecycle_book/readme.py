"""`python -m sparsecycle_book.readme`: the parts of README.md that come from records."""

import re
from pathlib import Path

from sparsecycle.runs.provenance import CHECKOUT
from sparsecycle.runs.records import load_runs
from sparsecycle.set_mlp.records import load_set_runs
from sparsecycle_book.benchmarks.record import BenchmarkRecord, load_benchmarks
from sparsecycle_book.report.answers import question, recorded_sentence, short_answer
from sparsecycle_book.report.tables import results_table
from sparsecycle_book.set_mlp.report import set_answer

BEGIN, END = "<!-- begin: {part}, made from records by `make readme` -->", "<!-- end -->"


def update_readme(root: Path = CHECKOUT) -> None:
    """Write the README's parts between their markers."""
    (root / "README.md").write_text(current_readme(root), encoding="utf-8")


def current_readme(root: Path = CHECKOUT) -> str:
    """The README's text with its parts made anew."""
    runs = load_runs(root / "data" / "runs")
    benchmark: BenchmarkRecord | None = next(iter(load_benchmarks(root / "data" / "benchmarks" / "set")), None)
    parts = {
        "answer": f"{short_answer(runs)}\n\n{question()}",
        "results": f"{recorded_sentence(runs)}\n\n{results_table(runs)}",
        "companion": set_answer(load_set_runs(root / "data" / "runs"), benchmark),
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
