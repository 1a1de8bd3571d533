"""A Sphinx extension that puts buttons for Binder and Colab on the lessons, once the project has an address.

Only the lessons begin with a cell that fetches the library where it is missing. The address is `Repository` in
`[project.urls]` of pyproject.toml, of a repository on GitHub, where both services look.
"""

import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).parents[1]
HOST = "https://github.com/"
LESSONS = "course/lesson"


def address(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """Of the project; empty while it has none.

    Raises:
        ValueError: an address that neither service can open.
    """
    urls: dict[str, str] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
    found = urls.get("Repository", "")
    if found and not found.startswith(HOST):
        raise ValueError(f"Repository in [project.urls] is {found!r}, but Binder and Colab need one at {HOST}")
    return found


def launch_options(repository: str) -> dict[str, Any]:
    """Options of the theme for a repository; nothing without one."""
    if not repository:
        return {}
    services = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}
    return {
        "repository_url": repository,
        "repository_branch": "main",
        "path_to_docs": "",
        "launch_buttons": {"notebook_interface": "jupyterlab"} | services,
    }


def add_buttons(app: Sphinx, config: Config) -> None:
    config.html_theme_options |= launch_options(address())


def on_lessons_alone(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if not name.startswith(LESSONS):
        groups = context.get("header_buttons", [])
        context["header_buttons"] = [group for group in groups if group.get("label") != "launch-buttons"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", add_buttons)
    app.connect("html-page-context", on_lessons_alone, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
