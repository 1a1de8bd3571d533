"""A Sphinx extension that numbers the drawn figures of each page, and links each to its code and its runs.

`show(figure, caption, name="effects")` of the library names a figure; `` {fignum}`effects` `` in the text of the same
page becomes "Figure 3", a link to it.
"""

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinx.util.osutil import relative_uri

from sparsecycle import load_runs
from sparsecycle.analysis.selection import shown_tier

logger = logging.getLogger(__name__)


def runs_of(preset: str) -> dict[str, dict[str, str]]:
    """For all figures of a page that are drawn from the runs of a preset: the list of runs, filtered."""
    return {"": {"runs": f"book/executed-runs.html?show={preset}#every-run"}}


FINDINGS = ("index", "dense", "feedback", "budgets", "robustness", "choices", "paper_scale")
SHOWN = runs_of(shown_tier(load_runs()))
# What figures are drawn from, by page and name; under "" those that are not named here. All others are drawn from what
# their page computes.
DRAWN_FROM: dict[str, dict[str, dict[str, str]]] = {
    "notebooks/costs": {"": {"measured": "notebooks/costs.html#benchmark"}},
    **dict.fromkeys((f"book/{name}" for name in FINDINGS), SHOWN),
    "book/dense": SHOWN | dict.fromkeys(("yours", "your-paths"), runs_of("quick")[""]),
    "book/paper_scale": runs_of("paper"),
    "notebooks/set_results": {
        "": {"runs": "book/set_runs.html#runs-set"},
        "scaling": {"measured": "notebooks/set_results.html#set-benchmark"},
    },
}
RUN_PAGES = "book/runs/"  # of runs of the preset quick, each drawn from its own record
FIGURE = re.compile(
    r'<figure class="drawn"(?P<said>[^>]*)>(?P<drawing>.*?)(?:<figcaption>(?P<caption>.*?)</figcaption>)?</figure>',
    re.DOTALL,
)
REFERENCE = re.compile(r'<a class="figure-reference" data-name="([^"]*)"></a>')


class FigureNumber(SphinxRole):
    """`` {fignum}`name` ``: filled in when the figures of the page have their numbers."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        mark = f'<a class="figure-reference" data-name="{html.escape(self.text)}"></a>'
        return [nodes.raw("", mark, format="html")], []


def _from(app: Sphinx, name: str, address: str) -> str:
    """The address, as the page of that name reaches it."""
    path, _, anchor = address.partition("#")
    return f"{relative_uri(app.builder.get_target_uri(name), path)}#{anchor}"


def number_figures(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    numbers: dict[str, int] = {}
    sources = DRAWN_FROM.get(name, {})
    if name.startswith(RUN_PAGES):
        run = name.removeprefix(RUN_PAGES)
        sources = {"": {run: f"book/executed-runs.html#quick/{run}"}}
    code = app.builder.get_target_uri("_modules/index").removesuffix("index.html")

    def numbered(found: re.Match[str]) -> str:
        said = dict(re.findall(r'data-(\w+)="([^"]*)"', found["said"]))
        number = len(numbers) + 1
        title = said.get("name", f"figure-{number}")
        numbers[title] = number
        links = {}
        if "code" in said:
            module, _, function = said["code"].rpartition(".")
            links["code"] = f"{code}{module.replace('.', '/')}.html#{function}"
        links |= sources.get(title, sources.get("", {}))
        shown = " · ".join(f'<a href="{_from(app, name, address)}">{text}</a>' for text, address in links.items())
        return (
            f'<figure class="drawn" id="figure-{number}">{found["drawing"]}<figcaption>'
            f'<span class="figure-number">Figure {number}.</span> {found["caption"] or ""} '
            f'<span class="figure-links">{shown}</span></figcaption></figure>'
        )

    def referenced(found: re.Match[str]) -> str:
        number = numbers.get(found[1])
        if number is None:
            logger.warning("%s: there is no figure named %r; named are: %s", name, found[1], ", ".join(numbers))
        return f'<a class="figure-reference" href="#figure-{number}">Figure {number}</a>'

    if "body" in context:
        context["body"] = REFERENCE.sub(referenced, FIGURE.sub(numbered, context["body"]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("fignum", FigureNumber())
    app.connect("html-page-context", number_figures, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
