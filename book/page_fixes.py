"""A Sphinx extension for what pages lack or have too much: scripts, records to link to, names, line breaks."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from sparsecycle.runs.records import find_records


def without_thebe(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Take off the scripts of a service that this book does not use; included twice, they fail."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}".lower()
    ]


def with_named_toggles(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Name the buttons of the sidebar that show sections, for those who hear the page."""
    made = context.get("generate_toctree_html")
    if made:

        def named(*arguments: Any, **options: Any) -> Any:
            found = made(*arguments, **options)  # a BeautifulSoup of the list
            for toggle in found.select("summary"):
                toggle["aria-label"] = "sections of this chapter"
            return found

        context["generate_toctree_html"] = named


def without_false_lists(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Take the role of a list from the bibliography, whose entries are none of a list's."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )


def with_titles_of_runs(app: Sphinx, name: str, source: list[str]) -> None:
    """Name the page of an executed run after the run, and let its command make that run."""
    if name.startswith(("book/runs/", "book/your-runs/")):
        given = json.loads(source[0])["metadata"]["papermill"]["parameters"]
        preset, method, seed = given["preset"], given["method"], given["seed"]
        title, command = f"# One run of {method}: preset {preset}, seed {seed}", "-p preset {} -p method {} -p seed {}"
        as_written, made = command.format("quick", "accuracy_gated", 3), command.format(preset, method, seed)
        source[0] = source[0].replace("# One run", title, 1).replace(as_written, made, 1)


def with_unbroken_percentages(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Keep each number and its "%" on one line."""
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.literal | nodes.literal_block | nodes.raw | nodes.math):
            unbroken = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
            if unbroken != text:
                text.parent.replace(text, nodes.Text(unbroken))


SCRIPTS = {  # of single pages, in the order in which they build on each other
    "book/playground": [f"playground/{script}.js" for script in ("libraries", "charts", "budget", "controllers")],
    "book/executed-runs": ["run_filter.js"],
    "book/set_runs": ["run_filter.js"],
}


def with_own_scripts(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    for script in SCRIPTS.get(name, []):
        app.add_js_file(script)


def with_records(app: Sphinx, exception: Exception | None) -> None:
    """Copy every record to where the list of runs links to."""
    for folder, _, name in find_records():
        target = Path(app.outdir) / "records" / f"{name}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "record.json", target)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", without_thebe, priority=900)
    app.connect("html-page-context", with_named_toggles, priority=900)
    app.connect("html-page-context", without_false_lists, priority=900)
    app.connect("html-page-context", with_own_scripts)
    app.connect("source-read", with_titles_of_runs)
    app.connect("doctree-resolved", with_unbroken_percentages)
    app.connect("build-finished", with_records)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
