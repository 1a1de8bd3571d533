"""A Sphinx extension that gives the executed notebook of each page to the reader: a file beside the page's source."""

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

FOLDER = "executed"


def executed(app: Sphinx) -> Path:
    """Where the notebooks are put when they were executed."""
    return Path(app.outdir).parent / "jupyter_execute"


def add_download(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if not (executed(app) / f"{name}.ipynb").exists():
        return
    [downloads] = [group for group in context["header_buttons"] if group["label"] == "download-buttons"]
    here = app.builder.get_target_uri(name)
    downloads["buttons"].insert(
        1,
        {
            "type": "link",
            "url": relative_uri(here, f"{FOLDER}/{name}.ipynb"),
            "text": ".ipynb, executed",
            "icon": "fas fa-file-code",
            "tooltip": "Download the notebook with its outputs",
            "label": "download-executed-button",
        },
    )


def copy_notebooks(app: Sphinx, failure: Exception | None) -> None:
    if failure:
        return
    source = executed(app)
    for path in source.rglob("*.ipynb"):
        if path.relative_to(source).with_suffix("").as_posix() in app.env.found_docs:
            target = Path(app.outdir) / FOLDER / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_download, priority=900)
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
