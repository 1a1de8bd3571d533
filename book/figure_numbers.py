"""A Sphinx extension that numbers the drawn figures of each page, and links them to code and runs.

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

logger = logging.getLogger(__name__)

RUNS = "book/every_run.html#runs-"
# Of pages whose figures are drawn from recorded runs: which of them.
RECORDED = {
    "book/index": "classroom",
    "book/playground": "classroom",
    "course/lesson3_curve": "classroom",
    "notebooks/ablations": "ablation",
    "notebooks/controllers": "classroom",
    "notebooks/results": "classroom",
    "notebooks/robustness": "classroom",
    "notebooks/set_results": "set",
}
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
    code = app.builder.get_target_uri("_modules/index").removesuffix("index.html")

    def numbered(found: re.Match[str]) -> str:
        said = dict(re.findall(r'data-(\w+)="([^"]*)"', found["said"]))
        numbers[said.get("name", f"figure-{len(numbers) + 1}")] = number = len(numbers) + 1
        links = []
        if "code" in said:
            module, _, function = said["code"].rpartition(".")
            links.append(("code", f"{code}{module.replace('.', '/')}.html#{function}"))
        if name in RECORDED:
            links.append(("runs", RUNS + RECORDED[name]))
        listed = " · ".join(f'<a href="{_from(app, name, address)}">{text}</a>' for text, address in links)
        return (
            f'<figure class="drawn" id="figure-{number}">{found["drawing"]}<figcaption>'
            f'<span class="figure-number">Figure {number}.</span> {found["caption"] or ""} '
            f'<span class="figure-links">{listed}</span></figcaption></figure>'
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
