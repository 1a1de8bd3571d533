"""The built book (`make pages` first): every page, link, figure and output as a reader meets them."""

import html
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag

import figure_numbers
import glossary_links
import pdf
from conftest import ROOT
from page_checks import dead_links, failed_outputs, parsed, pictures_without_words, sources_outside, tags
from sparsecycle import load_runs
from sparsecycle.set_mlp.records import load_set_runs
from sparsecycle_book.course.checks import OPEN, RIGHT
from sparsecycle_book.report.answers import short_answer
from table_of_contents import entries

BUILT = ROOT / "_build" / "html"


def contents() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(entry["file"] for entry in entries(toc))]


PAGES = contents()
EXECUTED = [name for name in PAGES if name.startswith("book/runs/")]  # by papermill, when they were recorded
LESSONS = [name for name in PAGES if name.startswith("course/lesson")]
CHAPTERS = [name for name in PAGES if name.startswith(("notebooks/", "book/runs/", "course/lesson"))]


def built(name: str) -> BeautifulSoup:
    return parsed(BUILT / f"{name}.html")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_pictures_have_words_outputs_are_whole_and_nothing_is_fetched(name):
    page = built(name)
    assert dead_links(BUILT / f"{name}.html") == []
    assert pictures_without_words(page) == []
    assert failed_outputs(page.select_one("article")) == []
    assert sources_outside(page) == []


@pytest.mark.parametrize("name", [name.removeprefix("course/") for name in LESSONS])
def test_every_picture_of_a_deck_says_what_it_shows(name):
    deck = parsed(BUILT / "class" / "slides" / f"{name}.html")
    assert deck.select(".reveal figure.drawn svg")
    assert pictures_without_words(deck) == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_show_figures(name):
    assert built(name).select("article figure.drawn svg")


def test_a_page_that_is_broken_on_purpose_is_found_out(tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text("""<article>
        <a href="missing.html">out</a> <a href="#nowhere">down</a> <a href="broken.html#here">here</a> <b id="here"></b>
        <img src="missing.png"> <img src="missing.png" alt="Accuracy against budget, by method">
        <img class="play-picture" src="#" alt="a frog">
        <figure class="drawn"><svg role="img" aria-label="A curve that goes up and down"/></figure>
        <div class="cell_output"> </div> <div class="cell_output">Traceback (most recent call last)</div>
        <script src="https://example.org/out.js"></script>
    </article>""")
    dead = ["there is no missing.html", "broken.html has no #nowhere", *["there is no missing.png"] * 2]
    assert dead_links(broken) == dead
    assert pictures_without_words(parsed(broken)) == [
        "missing.png",
        "missing.png",
        "a drawing that says 'A curve that goes up and down'",
    ]
    article = parsed(broken).select_one("article")
    assert article and failed_outputs(article) == ["an empty output", "Traceback"]
    assert sources_outside(parsed(broken)) == ["https://example.org/out.js"]


@pytest.mark.parametrize("name", [name for name in PAGES if name not in glossary_links.WITHOUT])
def test_each_term_is_linked_where_a_page_uses_it(name):
    """Words of the glossary in running text: each has a link on the page."""
    terms = [term.get_text().rstrip("#¶").strip() for term in tags(built(glossary_links.GLOSSARY), "dl.glossary dt")]
    found = glossary_links.pattern([term for term in terms if term not in glossary_links.BY_HAND])
    linked = {link.get_text().lower() for link in tags(built(name), "a .std-term")}
    unlinked = "a, code, pre, .cell_output, .math, figure, h1, h2, h3, h4, script"
    apart = {id(tag) for tag in tags(built(name), unlinked)}
    for paragraph in tags(built(name), "article p"):
        words = [word for word in paragraph.find_all(string=True) if not any(id(one) in apart for one in word.parents)]
        for use in found.finditer("".join(map(str, words))):
            term = use["term"].lower()
            assert {term, f"{term}s"} & linked, f"{name} uses {term!r} without a link to the glossary"


def test_a_link_to_a_term_says_what_the_term_means():
    links = [link for name in ("book/method", "book/dense") for link in tags(built(name), "a:has(.std-term)")]
    assert len(links) > 5 and all(str(link.get("title", "")).endswith((".", ":")) for link in links)


def test_a_term_that_is_an_everyday_word_too_is_linked_by_hand_somewhere():
    pages = [name for name in PAGES if name not in glossary_links.WITHOUT]
    links = {str(tag["href"]).partition("#term-")[2] for name in pages for tag in tags(built(name), "a:has(.std-term)")}
    assert links >= glossary_links.BY_HAND


def test_mathematics_is_rendered_from_the_book_itself():
    scripts = [str(script.get("src")) for script in tags(built("book/method"), "script[src]")]
    [mathjax] = [source for source in scripts if "mathjax" in source.lower()]
    assert (BUILT / "book" / urlsplit(mathjax).path).resolve().exists()
    assert len(list(tags(built("book/method"), "span.eqno"))) >= 8


def test_the_first_page_gives_the_answer_of_the_records():
    plain = re.sub(r"^- |[*`]", "", short_answer(load_runs()), flags=re.MULTILINE)
    shown = " ".join(built("book/index").get_text().split()).replace("’", "'")
    for sentence in re.split(r"(?<=[.:]) ", " ".join(plain.split())):
        assert html.unescape(sentence).rstrip(".") in shown


def test_no_line_ends_between_a_number_and_its_percent_sign():
    for page in ("book/index", "book/dense"):
        paragraphs = " ".join(one.get_text() for one in tags(built(page), "article :is(p, td, figcaption)"))
        assert re.search(r"\d\N{NO-BREAK SPACE}%", paragraphs) and not re.search(r"\d %", paragraphs)


def test_the_first_page_leads_to_the_pdf_once_it_is_made():
    page = (BUILT / "book/index.html").read_text(encoding="utf-8")
    linked = pdf.with_link(page)
    [link] = tags(BeautifulSoup(linked, "html.parser"), "article a[href$='.pdf']")
    assert (BUILT / "book" / str(link["href"])).resolve() == pdf.TARGET
    assert pdf.with_link(linked) == linked


def test_the_table_of_verdicts_holds_every_claim_and_its_number_leads_to_where_it_is_shown_or_explained():
    for claim in ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"):
        [link] = {str(tag["href"]) for tag in tags(built("book/reviewers"), "th a") if tag.get_text() == claim}
        page, _, anchor = link.rpartition("#")
        target = built(page.removesuffix(".html").removeprefix("../") if "/" in page else f"book/{page[:-5]}").find(
            id=anchor
        )
        assert target
        section = target if target.name == "section" else target.find_parent("section") or target.find_next("section")
        assert isinstance(section, Tag) and claim in section.get_text()


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_a_box_for_each_exercise_and_says_nothing_before_the_reader_has_tried(name):
    """That each solution is right is seen while the page is built: a warning would fail it."""
    article = built(name).select_one("article")
    assert article and len(article.select(".exercise textarea")) == len(article.select(".exercise-solved[hidden]")) == 5
    assert not [told for told in (RIGHT, OPEN, "Not yet.") if told in article.get_text()]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_a_worksheet_with_its_pictures(name):
    sheet = parsed(BUILT / "class" / "worksheets" / f"{name.removeprefix('course/')}.html")
    assert len(sheet.select("h3")) >= 10 and sheet.select("figure.drawn svg") and not sheet.select("script")


def listed(name: str) -> dict[str, str]:
    """The lines of a page's lists of runs, by the run."""
    rows = tags(built(name), "tbody tr:has(th span[id])")
    return {str(row.select("th span[id]")[0]["id"]): " ".join(row.get_text(" ").split()) for row in rows}


def test_every_recorded_run_is_listed_with_its_command():
    lines, runs = listed("book/executed-runs"), load_runs()
    assert set(lines) == set(runs["run"])
    for run in runs.itertuples():
        assert f"--preset {run.preset} --method {run.method} --seed {run.seed}" in lines[str(run.run)]
        assert run.status == "diverged" or f" {run.best_accuracy:.4f} " in lines[str(run.run)]


def test_every_recorded_run_of_the_companion_is_listed_with_its_command():
    lines, runs = listed("book/set_runs"), load_set_runs(ROOT / "data/runs")
    assert set(lines) == (set(runs["run"]) if len(runs) else set())
    for run in runs.itertuples():
        assert f"--dataset {run.dataset} --method {run.method} --seed {run.seed}" in lines[str(run.run)]


def test_a_recorded_run_leads_to_its_page_or_else_to_its_record():
    links = {link.get_text(): str(link["href"]) for link in tags(built("book/executed-runs"), "tbody th a")}
    runs = load_runs().set_index("run")
    assert set(links) == set(runs.index)
    with_page = {run for run, address in links.items() if address.endswith(".html")}
    assert with_page == {name.replace("book/runs/", "quick/") for name in EXECUTED}
    for run, address in links.items():
        target = BUILT / "book" / address
        if run in with_page:
            [title, *_] = [head.get_text() for head in parsed(target).select("article h1")]
            assert title.startswith(f"One run of {runs['method'][run]}: preset quick, seed {runs['seed'][run]}")
            assert f"{runs['best_accuracy'][run]:.4f}" in parsed(target).get_text()
        else:
            assert json.loads(target.read_text(encoding="utf-8"))["identity"] == runs["identity"][run]


@pytest.mark.parametrize("name", PAGES)
def test_figures_are_numbered_and_lead_to_the_code_that_drew_them(name):
    for number, figure in enumerate(tags(built(name), "article figure.drawn"), start=1):
        assert figure["id"] == f"figure-{number}"
        caption = figure.select_one("figcaption")
        assert caption and caption.get_text().startswith(f"Figure {number}. ")
        if name in EXECUTED:
            continue  # before figures said what drew them
        [code] = [str(link["href"]) for link in caption.select("a") if link.get_text() == "code"]
        assert re.search(r"/_modules/sparsecycle_book/.*\.html#\w+", code)


@pytest.mark.parametrize("name", [*figure_numbers.DRAWN_FROM, *EXECUTED])
def test_a_figure_drawn_from_records_leads_to_them(name):
    """And to a place that there is: the test of links looks. Chapters of findings may wait for their runs."""
    figures = list(tags(built(name), "article figure.drawn"))
    assert figures or name.removeprefix("book/") in figure_numbers.FINDINGS
    for figure in figures:
        assert [link for link in tags(figure, ".figure-links a") if link.get_text() != "code"], figure["id"]


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith(("course/", "book/runs/"))])
def test_every_figure_is_referenced_in_the_text(name):
    """Not in lessons, which are slides and a class's notebooks too, where figures have no numbers, nor in runs."""
    drawn = {f"#{figure['id']}" for figure in tags(built(name), "article figure.drawn")}
    assert {str(link["href"]) for link in tags(built(name), "article a.figure-reference")} == drawn


def test_every_numbered_equation_is_referenced():
    numbered = {str(tag["id"]) for name in PAGES for tag in tags(built(name), "article div.math[id^=equation-]")}
    links = {
        urlsplit(str(link["href"])).fragment
        for name in PAGES
        for link in tags(built(name), "article a[href*='#equation-']")
    }
    assert numbered and numbered <= links


def marked(path: Path) -> list[tuple[str, str]]:
    """The cells of a notebook whose outputs are to stay the same, each with what it printed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "NBVAL_CHECK_OUTPUT" in source:
            said = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
            found.append((source, "".join("".join(lines) for lines in said)))
    return found


@pytest.mark.parametrize("name", [name for name in CHAPTERS if name.startswith("notebooks/")])
def test_marked_cells_say_in_the_book_what_they_said_when_they_were_stored(name):
    """As nbval does (`make notebooks`), but without executing each chapter a second time."""
    executed = BUILT.parent / "jupyter_execute" / f"{name}.ipynb"
    assert marked(executed) == marked(ROOT / f"{name}.ipynb")


@pytest.mark.parametrize("name", [name for name in CHAPTERS if not name.startswith("book/")])
def test_the_executed_notebook_of_a_chapter_can_be_downloaded(name):
    [link] = [tag for tag in tags(built(name), "a") if tag.get_text(strip=True) == ".ipynb, executed"]
    file = (BUILT / f"{name}.html").parent / str(link["href"])
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert any(cell.get("outputs") for cell in cells)


def test_every_reconstruction_in_the_ledger_is_on_its_page():
    text = re.sub(r"[“”\"`]", "", " ".join(built("book/ledger").get_text().split())).replace("’", "'")
    rows = yaml.safe_load((ROOT / "book/ledger.yaml").read_text(encoding="utf-8"))
    for row in rows:
        assert re.sub(r"[`*\"]", "", row["choice"]) in text


def test_the_reference_documents_every_public_name():
    from sparsecycle import __all__ as public

    documented = {str(tag.get("id")).rsplit(".", 1)[-1] for tag in tags(built("book/reference"), "dt[id]")}
    assert set(public) <= documented
