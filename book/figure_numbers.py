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

logger = logging.getLogger(__name__)

METHODS = ("dense", "loss_gated", "plateau", "geometric", "fixed", "random")


def listed(*names: str) -> dict[str, str]:
    """Links into the list of runs: to single ones ("quick/dense-seed0"), or to those of a preset ("quick")."""
    links = {}
    for name in names:
        text, place = (name.rpartition("/")[2], name) if "/" in name else (f"runs of {name}", f"runs-{name}")
        page = "set_runs" if name.startswith("set") else "every_run"
        links[text.replace("-varied", ", varied")] = f"book/{page}.html#{place}"
    return links


QUICK = [f"quick/{method}-seed0" for method in METHODS[:4]]
SHIPPED = [f"classroom/{method}-seed0" for method in METHODS[:3]]  # networks in data/checkpoints
SEED_0 = [f"classroom/{method}-seed0{'-keep_ratio=0.25' if method == 'fixed' else ''}" for method in METHODS]
YALE = [f"set/Yale/{method}-seed0" for method in ("dense", "static", "set", "set_pruned")]
# What the figures of a page are drawn from: by their names, or in their order; under "" those that are not named here.
DRAWN_FROM: dict[str, dict[str, dict[str, str]]] = {
    "book/index": {"gain": listed("classroom")},
    "course/lesson1_layer": {"": listed(SHIPPED[0])},
    "course/lesson2_resets": {"": listed(SHIPPED[0])},
    "course/lesson3_curve": {"figure-1": listed("classroom"), "figure-2": listed("classroom/plateau-seed0")},
    "notebooks/ablations": {"": listed("ablation", "ablation-varied")},
    "notebooks/budgets": {"": listed("classroom")},
    "notebooks/controllers": {"recorded": listed(*SEED_0), "losses": listed(*SEED_0)},
    "notebooks/controls": {"": listed("classroom"), "baselines": listed("classroom", "classroom-varied")},
    "notebooks/costs": {"": {"measured": "notebooks/costs.html#benchmark"}, "time": listed("classroom")},
    "notebooks/layer": {"": listed(SHIPPED[0])},
    "notebooks/network": {"": listed(*SHIPPED)},
    "notebooks/results": {"": listed("classroom"), "paths": listed(*SEED_0)},
    "notebooks/robustness": {"": listed("classroom")},
    "notebooks/set_results": {
        "": listed("set"),
        "training": listed(*YALE),
        "neurons": listed(*YALE[1:]),
        "degrees": listed(YALE[3]),
        "features": listed(YALE[2]),
        "scaling": {"measured": "notebooks/set_results.html#set-benchmark"},
    },
} | {f"book/runs/{run.removeprefix('quick/').replace('/', '-')}": {"": listed(run)} for run in [*QUICK, *SHIPPED]}
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
