"""The whole book as one PDF, from the built pages, and a link to it on the first of them. Run by `make pdf`.

The articles follow each other in the order of the contents, links between them lead to places in the PDF, and its
outline has every heading. What needs a reader's hand, the playground and folded code, is left out, and so are the
lists of single runs, a third of the paper.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import sync_playwright
from pypdf import PdfWriter
from pypdf.generic import NameObject, TextStringObject

import browser
from table_of_contents import entries

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "_build" / "html"
SHEET = ROOT / "_build" / "print.html"
TARGET = BUILT / "cycling-through-sparsity.pdf"
FIRST = BUILT / "book" / "index.html"
LEFT_OUT = ("book/playground", "book/set_runs")
UNPRINTED = "a.headerlink, details.hide, .figure-links, script.play-data, a.viewcode-link, a:has(.viewcode-link)"
STYLE = """
@page { size: A4; margin: 18mm 17mm 20mm; }
html { font-size: 11px; scroll-padding: 0; }
body { display: block; background: white; }
article.bd-article { padding: 0; break-before: page; }
article.bd-article h1 { margin-top: 0; }
h1, h2, h3, h4, figcaption { break-after: avoid; }
figure.drawn, pre, tr { break-inside: avoid; }
pre, .bd-content pre { white-space: pre-wrap; overflow: visible; }
table, .bd-content table.dataframe { font-size: 0.75em; table-layout: auto; }
table td, table th, .bd-content table.dataframe td { white-space: normal !important; overflow-wrap: anywhere; }
.pst-scrollable-table-container, div.cell_output, div.cell_output .text_html { overflow: visible !important; }
.title-page { padding-top: 30vh; text-align: center; }
.title-page p { font-size: 1.4em; }
.title-page p.title { font-size: 3em; }
"""


@cache  # every link asks for them
def pages() -> list[str]:
    """The names of the pages in the PDF, in the order of the contents."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [contents["root"], *(entry["file"] for entry in entries(contents))]
    return [name for name in files if name not in LEFT_OUT]


def place(name: str, anchor: str = "") -> str:
    """What identifies a page, or a place on it, in the PDF."""
    page = name.replace("/", "-")
    return f"{page}--{anchor}" if anchor else page


def sheet(names: list[str]) -> str:
    """One page of HTML with all articles, to lie beside the folder of the book."""
    first = _parsed(names[0])
    head = "".join(
        f'<link rel="stylesheet" href="{_beside(names[0], str(link["href"]))}">'
        for link in first.select('link[rel="stylesheet"]')
    )
    with_mathematics = next(page for page in map(_parsed, names) if page.select_one("span.eqno"))
    for script in with_mathematics.select("script"):
        if "mathjax" in str(script).lower():
            if script.get("src"):
                script["src"] = _beside(names[0], str(script["src"]))  # as deep in the folders as every page
            head += str(script)
    name, _, subject = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["title"].partition(": ")
    title = f'<div class="title-page"><p class="title">{name}</p><p>{subject}</p></div>'
    articles = "".join(map(_article, names))
    return (
        '<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>Cycling Through Sparsity</title>{head}<style>{STYLE}</style></head>"
        f'<body class="bd-content">{title}{articles}</body></html>'
    )


def write_pdf(target: Path) -> None:
    """Print the sheet with a browser.

    Raises:
        SystemExit: no book, or no browser.
    """
    if not FIRST.exists():
        raise SystemExit("there is no built book: make pages")
    engine = browser.found()
    if engine is None:
        raise SystemExit("no browser to print with: python book/browser.py brings one")
    SHEET.write_text(sheet(pages()), encoding="utf-8")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=engine, args=browser.FLAGS)
        page = started.new_page()
        page.set_default_timeout(600_000)
        page.goto(SHEET.as_uri(), wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")
        page.pdf(
            path=target,
            prefer_css_page_size=True,
            print_background=True,
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template='<div style="width: 100%; text-align: center; font-size: 8px" class="pageNumber"></div>',
        )
        headings = page.eval_on_selector_all("h1, h2, h3, h4, h5, h6", "all => all.map(one => one.textContent)")
        started.close()
    _mend(target, [" ".join(heading.split()) for heading in headings])


def _mend(target: Path, headings: list[str]) -> None:
    """Give the file a title, and the entries of its outline their names: Chromium's are doubled where a page begins."""
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of how Chromium counts its objects
    writer = PdfWriter(target, incremental=True)
    writer.add_metadata({"/Title": "Cycling Through Sparsity"})
    entries = list(_entries(writer.root_object["/Outlines"].get_object()))
    for entry, heading in zip(entries, headings, strict=True):
        entry[NameObject("/Title")] = TextStringObject(heading)
    writer.write(target)


def _entries(parent: Any) -> Iterator[Any]:
    """Of an outline, in the order of the book."""
    child = parent.get("/First")
    while child is not None:
        entry = child.get_object()
        yield entry
        yield from _entries(entry)
        child = entry.get("/Next")


def _parsed(name: str) -> BeautifulSoup:
    return BeautifulSoup((BUILT / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def _beside(name: str, address: str) -> str:
    """An address on a page, as the sheet reaches it."""
    if urlsplit(address).scheme:
        return address
    return "html/" + posixpath.normpath(posixpath.join(posixpath.dirname(name), urlsplit(address).path))


def _article(name: str) -> str:
    article = _parsed(name).select_one("article.bd-article")
    if article is None:
        raise SystemExit(f"{name}.html has no article")
    for tag in article.select(UNPRINTED):
        tag.decompose()
    for tag in article.find_all(id=True):
        if not tag.find_parent("svg") and tag.name != "svg":
            tag["id"] = place(name, str(tag["id"]))
    for image in article.select("img[src]"):
        image["src"] = _beside(name, str(image["src"]))
    for link in article.select("a[href]"):
        if not link.find_parent("svg"):
            _lead(link, name)
    article["id"] = place(name)
    return str(article)


def _lead(link: Tag, name: str) -> None:
    """Let a link lead to its place in the PDF; one to what is not in it becomes text."""
    address = urlsplit(str(link["href"]))
    if address.scheme:
        return
    path = unquote(address.path)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)).removesuffix(".html") if path else name
    if target in pages():
        link["href"] = f"#{place(target, unquote(address.fragment))}"
    else:
        link.unwrap()


def with_link(page: str) -> str:
    """The first page, its words on one file a link to the PDF. A build without one has no link that could be dead."""
    return re.sub(r'<span id="one-file">(.*?)</span>', rf'<a id="one-file" href="../{TARGET.name}">\1</a>', page)


if __name__ == "__main__":
    write_pdf(TARGET)
    FIRST.write_text(with_link(FIRST.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {TARGET}")
