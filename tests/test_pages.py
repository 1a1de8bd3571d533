"""The built book (`make pages` first): every page, link, figure and output as a reader meets them."""

import html
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag

from conftest import ROOT
from sparsecycle import load_runs
from sparsecycle.report.answers import answer, how_sure, short_answer

BUILT = ROOT / "_build" / "html"


def contents() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    sections = [section for chapter in chapters for section in chapter.get("sections", [])]
    return [toc["root"], *(entry["file"] for entry in [*chapters, *sections])]


PAGES = contents()
CHAPTERS = [name for name in PAGES if name.startswith(("notebooks/", "book/runs/", "course/lesson"))]


@cache
def page(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def built(name: str) -> BeautifulSoup:
    return page(BUILT / f"{name}.html")


def tags(soup: BeautifulSoup | Tag, selector: str) -> Iterator[Tag]:
    yield from soup.select(selector)


@pytest.mark.parametrize("name", PAGES)
def test_every_internal_link_and_source_leads_somewhere(name: str) -> None:
    here = BUILT / f"{name}.html"
    for tag in tags(built(name), "a[href], img[src], script[src], link[href]"):
        target = urlsplit(str(tag.get("href") or tag.get("src")))
        if target.scheme or target.netloc or str(tag.get("rel")) == "['canonical']":
            continue
        file = (here.parent / unquote(target.path)).resolve() if target.path else here
        assert file.exists(), f"{name} links to {target.path}"
        if target.fragment and file.suffix == ".html":
            anchor = unquote(target.fragment)
            found = page(file).find(id=anchor) or page(file).find(attrs={"name": anchor})
            assert found, f"{name} links to #{anchor} in {file.name}"


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_has_alternative_text(name: str) -> None:
    for image in tags(built(name), "article img"):
        assert str(image.get("alt") or "").strip(), f"{name}: {image.get('src')}"
    for drawing in tags(built(name), "article figure.drawn svg"):
        assert drawing.get("role") == "img" and len(str(drawing.get("aria-label"))) > 30


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_show_figures_and_no_empty_or_failed_output(name: str) -> None:
    article = built(name).select_one("article")
    assert article and article.select("figure.drawn svg")
    for output in tags(article, "div.cell_output"):
        assert output.get_text(strip=True) or output.select("svg, img"), f"{name}: empty output"
    text = article.get_text()
    for sign in ("Traceback", "Warning:", "<matplotlib", "Figure(", "NaN nats", "[IPKernelApp]"):
        assert sign not in text, f"{name} shows {sign!r}"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_fetched_from_the_network(name: str) -> None:
    for tag in tags(built(name), "script[src], link[rel=stylesheet], img[src], iframe[src]"):
        address = str(tag.get("src") or tag.get("href"))
        assert not urlsplit(address).netloc, f"{name} loads {address}"


def test_mathematics_is_rendered_from_the_book_itself() -> None:
    scripts = [str(script.get("src")) for script in tags(built("book/method"), "script[src]")]
    [mathjax] = [source for source in scripts if "mathjax" in source.lower()]
    assert (BUILT / "book" / urlsplit(mathjax).path).resolve().exists()
    assert len(list(tags(built("book/method"), "span.eqno"))) >= 8


def test_the_first_page_gives_the_answer_of_the_records() -> None:
    runs = load_runs()
    plain = re.sub(r"^- |[*`]", "", f"{short_answer(runs)}\n{how_sure(runs)}\n{answer(runs)}", flags=re.MULTILINE)
    shown = " ".join(built("book/index").get_text().split())
    for sentence in " ".join(plain.split()).split(". "):
        assert html.unescape(sentence).replace("'", "’").rstrip(".") in shown.replace("'", "’")


def test_results_hold_every_claim_and_its_number_leads_to_a_figure() -> None:
    page = built("notebooks/results")
    for claim in ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"):
        [link] = {str(tag["href"]) for tag in tags(page, "th a") if tag.get_text() == claim}
        assert link == f"#{claim.lower()}"
        target = page.find(id=link[1:])
        assert target
        section = target if target.name == "section" else target.find_parent("section") or target.find_next("section")
        assert isinstance(section, Tag) and claim in section.get_text() and section.select("figure.drawn")


def test_every_recorded_run_is_listed_with_its_command() -> None:
    page = built("book/every_run")
    rows = {row.get_text(" ").split()[0]: row.get_text(" ") for row in tags(page, "tbody tr")}
    runs = load_runs()
    assert set(rows) == set(runs["run"])
    for run in runs.itertuples():
        line = rows[str(run.run)]
        shown = "diverged" if run.status == "diverged" else f"{run.test_accuracy:.4f}".rstrip("0") + "0*\\b"
        assert re.search(shown, line)
        assert f"--preset {run.preset} --method {run.method} --seed {run.seed}" in line


@pytest.mark.parametrize("name", PAGES)
def test_figures_are_numbered_and_lead_to_the_code_that_drew_them(name: str) -> None:
    for number, figure in enumerate(tags(built(name), "article figure.drawn"), start=1):
        assert figure["id"] == f"figure-{number}"
        caption = figure.select_one("figcaption")
        assert caption and caption.get_text().startswith(f"Figure {number}. ")
        if name.startswith("book/runs/"):
            continue  # executed when they were recorded, before figures said what drew them
        [code] = [str(link["href"]) for link in caption.select("a") if link.get_text() == "code"]
        assert re.search(r"/_modules/sparsecycle/.*\.html#\w+", code)


@pytest.mark.parametrize("name", [name for name in CHAPTERS if not name.startswith("book/")])
def test_the_executed_notebook_of_a_chapter_can_be_downloaded(name: str) -> None:
    [link] = [tag for tag in tags(built(name), "a") if tag.get_text(strip=True) == ".ipynb, executed"]
    file = (BUILT / f"{name}.html").parent / str(link["href"])
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert any(cell.get("outputs") for cell in cells)


def test_every_reconstruction_in_the_ledger_is_on_its_page() -> None:
    text = re.sub(r"[“”\"`]", "", " ".join(built("book/ledger").get_text().split())).replace("’", "'")
    rows = yaml.safe_load((ROOT / "book/ledger.yaml").read_text(encoding="utf-8"))
    for row in rows:
        assert re.sub(r"[`*\"]", "", row["choice"]) in text


def test_the_reference_documents_every_public_name() -> None:
    from sparsecycle import __all__ as public

    documented = {str(tag.get("id")).rsplit(".", 1)[-1] for tag in tags(built("book/reference"), "dt[id]")}
    assert set(public) <= documented


def test_the_search_page_lists_the_search_and_no_test_run() -> None:
    text = built("book/constants").get_text()
    search = load_runs(ROOT / "data" / "search")
    for preset, runs in search.groupby("preset"):
        assert f"At the {preset} scale: {len(runs)} runs (" in text
    for accuracy in search["test_accuracy"]:
        assert f"{accuracy:.4f}".rstrip("0") in text
