"""The built book in a real browser (`make pages` first): from disk and over loopback, without a network."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from pypdf import PdfReader

import browser as chromium
import pdf
from conftest import ROOT
from page_checks import barriers, charts_without_words, images_not_shown, pixels_too_wide
from sparsecycle import load_runs
from sparsecycle_book.simulation import simulate
from test_pages import BUILT, PAGES, built

# Each term, and a page that the search must list.
TERMS = {"keep-ratio": "The method", "cooldown": "The controller", "exercise": "Lesson 1: the layer by hand"}

# One page of each kind: words, tables and claims, figures, mathematics, a board to play with, a lesson, a record.
KINDS = (
    "book/index",
    "book/ledger",
    "book/playground",
    "book/reference",
    "notebooks/layer",
    "book/dense",
    "book/reviewers",
    "course/lesson1_layer",
    "search",
)
DARK = ("book/index", "book/playground", "book/ledger", "notebooks/layer", "course/lesson1_layer")


NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@pytest.fixture(scope="module")
def engine() -> Iterator[Browser]:
    path = chromium.found()
    if path is None:
        assert not os.environ.get("SPARSECYCLE_BROWSER_NEEDED"), "no browser: book/browser.py brings one"
        pytest.skip("no browser on this machine: book/browser.py brings one")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[*chromium.FLAGS, NO_NETWORK])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the book over loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(BUILT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@dataclass
class Watch:
    """What went wrong on a page, in words."""

    faults: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        page.on("response", lambda answer: answer.status < 400 or self.faults.append(f"{answer.status}: {answer.url}"))
        page.on("request", self._asked)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
            self.faults.append(f"asked the network: {request.url}")


@pytest.fixture
def watch() -> Watch:
    return Watch()


def opened(engine: Browser, watch: Watch, url: str, **look: Any) -> Page:
    page = engine.new_context(**look).new_page()
    page.set_default_timeout(90_000)  # for machines that do other things at the same time
    watch.attach(page)
    page.goto(url, wait_until="load")
    return page


def close(page: Page) -> None:
    page.context.close()


def test_the_whole_book_is_printed_as_one_pdf_whose_links_lead_somewhere(engine, tmp_path):
    target = tmp_path / "book.pdf"
    # A process of its own: it starts a browser of its own.
    command = f"import pathlib, pdf; pdf.write_pdf(pathlib.Path({str(target)!r}))"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT / "book", check=True, timeout=600)
    book = PdfReader(target)

    def titles(outline: list[Any]) -> Iterator[str]:
        for item in outline:
            if isinstance(item, list):
                yield from titles(item)
            else:
                yield str(item.title)

    headings = list(titles(book.outline))
    for name in PAGES:
        if name not in pdf.LEFT_OUT:
            title = built(name).select_one("article h1")
            assert title and title.get_text().strip().rstrip("#") in headings
    links = [
        link.get_object()
        for page in book.pages
        for link in page.get("/Annots") or []
        if link.get_object().get("/Subtype") == "/Link"
    ]
    inside = [link for link in links if "/Dest" in link]
    assert len(inside) > 200
    assert {str(link["/Dest"]) for link in inside} <= set(book.named_destinations)
    outside = {urlsplit(link["/A"]["/URI"]).scheme for link in links if "/A" in link}
    assert outside <= {"https", "http"}, "no link leads to a file of this machine"
    first = built("book/index").select_one("article p")
    text = " ".join(book.pages[1].extract_text().split())
    assert " ".join(first.get_text().split())[:40] in text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_from_disk_is_whole_and_fits_a_phone(engine, watch, name):
    page = opened(engine, watch, (BUILT / f"{name}.html").as_uri())
    broken = images_not_shown(page)
    page.set_viewport_size({"width": 390, "height": 800})
    too_wide = pixels_too_wide(page)
    close(page)
    assert watch.faults == []
    assert (broken, too_wide) == ([], 0)


@pytest.mark.parametrize("name", KINDS)
def test_a_page_of_each_kind_is_for_everyone(engine, watch, address, name):
    """Over loopback, as from a server; in the light, and those of other colours in the dark."""
    page = opened(engine, watch, f"{address}/{name}.html")
    found = barriers(page)
    in_the_dark = []
    if name in DARK:
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
        in_the_dark = barriers(page, "color-contrast")
    close(page)
    assert watch.faults == []
    assert (found, in_the_dark) == ([], [])


def test_what_only_a_browser_sees_would_be_seen(engine, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text("""<!DOCTYPE html><html><head><title>Broken</title></head><body><main>
        <img src="missing.png"> <a href="#down" style="color: #ddd; background: #fff">down</a> <input>
        <p style="width: 900px">wide</p> <div class="playground"><svg role="img"></svg></div></main></body></html>""")
    page = engine.new_page(viewport={"width": 390, "height": 800})
    page.goto(broken.as_uri())
    faults = barriers(page)
    assert {fault.split(":")[0] for fault in faults} >= {"color-contrast", "html-has-lang", "image-alt", "label"}
    assert [fault.split(":")[0] for fault in barriers(page, "color-contrast")] == ["color-contrast"]
    assert images_not_shown(page) == [(tmp_path / "missing.png").as_uri()]
    assert pixels_too_wide(page) > 500
    assert charts_without_words(page) == ["a chart that is img and says None"]
    page.close()


@pytest.mark.parametrize("style", ["color: #ddd", "background: #333", "opacity: 0.3"])
def test_one_pale_line_of_a_long_list_would_be_seen(engine, style):
    page = engine.new_page()
    lines = [f"<tr><td>{line}</td></tr>" for line in range(300)]
    lines[200] = f'<tr style="{style}"><td>pale</td></tr>'
    page.set_content(
        f'<html lang="en"><title>List</title><main><h1>List</h1><table>{"".join(lines)}</table></main></html>'
    )
    assert [fault for fault in barriers(page) if "pale" in fault and fault.startswith("color-contrast")]
    page.close()


def test_the_faults_of_a_page_would_be_seen(engine, watch, address):
    page = opened(engine, watch, f"{address}/book/index.html")
    page.evaluate("""() => {
        console.error('broken');
        for (const source of ['missing.png', 'https://example.org/out.js']) {
            const one = document.createElement(source.endsWith('js') ? 'script' : 'img');
            one.src = source;
            document.body.append(one);
        }
        setTimeout(() => { throw new Error('thrown'); });
    }""")
    signs = ("console: broken", "404: ", "asked the network: https://example.org/out.js", "thrown")
    for _ in range(300):
        page.wait_for_timeout(100)
        if all(sign in "\n".join(watch.faults) for sign in signs):
            break
    close(page)
    for sign in signs:
        assert sign in "\n".join(watch.faults)


@pytest.mark.parametrize("term", TERMS)
def test_the_search_finds_it_from_disk(engine, watch, term):
    page = opened(engine, watch, f"{(BUILT / 'search.html').as_uri()}?q={term}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("!document.querySelector('#search-results h2')?.textContent.includes('Searching')")
    titles = page.eval_on_selector_all("#search-results li > a", "all => all.map(a => a.textContent.trim())")
    close(page)
    assert any(TERMS[term] in title for title in titles), titles


def test_the_theme_switch_changes_the_page(engine, watch):
    page = opened(engine, watch, (BUILT / "book/method.html").as_uri(), color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    seen = {page.evaluate(background)}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(page.evaluate(background))
    close(page)
    assert len(seen) == 2, "light and dark"
    assert watch.faults == []


def test_figures_are_legible_in_the_dark(engine, watch):
    page = opened(engine, watch, (BUILT / "notebooks/costs.html").as_uri(), color_scheme="dark")
    ink = page.evaluate("getComputedStyle(document.querySelector('figure.drawn svg')).color")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    close(page)
    light, dark = (sum(map(int, colour[4:-1].split(","))) for colour in (ink, paper))
    assert light > 500 > 200 > dark


@pytest.mark.parametrize("name", ["book/ledger", "book/playground"])
def test_a_dark_page_is_printed_in_dark_ink_on_white(engine, watch, name):
    page = opened(engine, watch, (BUILT / f"{name}.html").as_uri(), color_scheme="dark")
    on_screen = page.evaluate(INK_AND_PAPER)
    page.emulate_media(media="print")
    printed = page.evaluate(INK_AND_PAPER)
    bars = page.eval_on_selector_all(
        ".play-track > span", "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    close(page)
    assert on_screen["ink"] != [0, 0, 0] and on_screen["paper"] != [255, 255, 255]
    assert printed == {"ink": [0, 0, 0], "paper": [255, 255, 255]}
    assert not bars or len(set(bars)) > 1, "bars keep their colours"


@pytest.mark.parametrize("name", ["book/reviewers", "notebooks/set_results"])
def test_no_column_of_a_table_is_cut_on_paper(engine, watch, name):
    page = opened(engine, watch, (BUILT / f"{name}.html").as_uri(), viewport={"width": 710, "height": 1000})  # of A4
    page.emulate_media(media="print")
    wider = page.eval_on_selector_all(
        ".bd-content table",
        "all => all.map(one => one.getBoundingClientRect().right - document.documentElement.clientWidth)",
    )
    close(page)
    assert wider and max(wider) <= 0


# The lightest ink of the words and drawings of a page, and the darkest ground below them.
INK_AND_PAPER = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const sum = (colour) => colour[0] + colour[1] + colour[2];
    const seen = [...document.querySelectorAll('article, article *')]
        .filter(one => one.getClientRects().length && !one.closest('.play-track'));
    const inks = seen.map(one => parts(getComputedStyle(one).color));
    const papers = [document.body, ...seen].map(one => parts(getComputedStyle(one).backgroundColor));
    const opaque = papers.filter(colour => colour[3] !== 0);
    return {
        ink: inks.reduce((a, b) => (sum(a) >= sum(b) ? a : b)).slice(0, 3),
        paper: opaque.reduce((a, b) => (sum(a) <= sum(b) ? a : b)).slice(0, 3),
    };
}"""


def test_on_a_phone_the_sidebar_opens(engine, watch):
    page = opened(
        engine, watch, (BUILT / "book/index.html").as_uri(), viewport={"width": 390, "height": 800}, has_touch=True
    )
    chapter = page.locator("nav.bd-links a", has_text="The controller:").first
    assert not chapter.is_visible()
    page.locator("button.primary-toggle:visible, label.sidebar-toggle:visible, .sidebar-toggle:visible").first.click()
    chapter.wait_for(state="visible")
    close(page)
    assert watch.faults == []


def test_an_exercise_is_done_in_the_page_itself_by_keyboard(engine, watch):
    page = opened(engine, watch, (BUILT / "course/lesson1_layer.html").as_uri())
    box = page.locator(".exercise").nth(3)
    told, solution = box.locator(".exercise-told"), box.locator(".exercise-solved")
    hint = box.locator(".exercise-hint")
    assert hint.inner_text() == "Hint 1 of 3" and box.locator("details").nth(0).is_hidden() and not told.inner_text()
    hint.press("Enter")
    assert hint.inner_text() == "Hint 2 of 3" and box.locator("details p").nth(0).is_visible()
    box.locator("details summary").nth(0).click()  # a hint that was folded away does not come again
    hint.press("Enter")
    assert hint.inner_text() == "Hint 3 of 3" and box.locator("details p").nth(1).is_visible()
    button = box.locator(".exercise-solution")
    assert solution.is_hidden() and button.inner_text() == "Solution"
    button.press("Enter")
    assert solution.is_visible() and button.get_attribute("aria-expanded") == "true"
    answer = solution.inner_text()
    button.press("Enter")
    if without_pyodide():
        close(page)
        pytest.skip("this book was built without Pyodide")
    writing = box.locator("textarea")
    stub = writing.input_value()
    for written, said in ((stub, "Not answered yet."), ("topk = sorted", "Not yet."), (answer, "Right.")):
        writing.fill(written)
        writing.press("Control+Enter")
        told.filter(has_text=f"topk: {said}").wait_for()
    page.reload()
    assert writing.input_value() == answer, "what was written stays"
    box.get_by_role("button", name="Start over").click()
    assert writing.input_value() == stub
    close(page)
    assert watch.faults == []


def test_the_budget_slider_moves_by_keyboard_and_by_mouse(engine, watch):
    page = opened(engine, watch, (BUILT / "book/playground.html").as_uri())
    slider, shown = page.locator('.playground[data-play="budget"] input'), page.locator(".play-control output")
    views = page.locator(".play-view")
    budgets = (slider.get_attribute("data-budgets") or "").split()
    seen = "all => all.findIndex(view => view.offsetParent)"
    assert (shown.inner_text(), views.evaluate_all(seen)) == ("1", 0)
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert (shown.inner_text(), views.evaluate_all(seen)) == (budgets[3], 3)
    assert slider.get_attribute("aria-valuetext") == budgets[3]
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    assert (shown.inner_text(), views.evaluate_all(seen)) == (budgets[-1], len(budgets) - 1)
    assert views.nth(len(budgets) - 1).locator("img").evaluate("i => i.naturalWidth > 0")
    close(page)
    assert watch.faults == []


def test_a_list_of_runs_is_filtered_by_words(engine, watch):
    page = opened(engine, watch, (BUILT / "book/executed-runs.html").as_uri())
    rows, told = page.locator("tbody tr:has(th span[id]):visible"), page.locator(".run-filter output")
    every = rows.count()
    assert told.inner_text() == f"{every} of {every}"
    page.locator(".run-filter input").fill("quick Dense")
    names = page.locator("tbody tr:has(th span[id]):visible th span[id]").evaluate_all("all => all.map(one => one.id)")
    assert sorted(names) == [f"quick/dense-seed{seed}" for seed in range(3)]
    assert told.inner_text() == f"3 of {every}"
    page.locator(".run-filter input").fill("")
    assert rows.count() == every
    page.goto((BUILT / "book/executed-runs.html").as_uri() + "?show=quick#every-run")
    assert rows.count() == sum(name.startswith("quick/") for name in load_runs()["run"])
    close(page)
    assert watch.faults == []


CONTROLLERS = '.playground[data-play="controllers"]'


def without_pyodide() -> bool:
    without = '"pyodide"] = {}' in (BUILT / "libraries/pyodide.js").read_text(encoding="utf-8")[:300]
    assert not (without and os.environ.get("SPARSECYCLE_BROWSER_NEEDED")), "the book was built without Pyodide"
    return without


def test_the_published_rule_runs_in_the_page_itself(engine, watch):
    if without_pyodide():
        pytest.skip("the book was built without Pyodide, because npm or a network was missing")
    page = opened(engine, watch, (BUILT / "book/playground.html").as_uri())
    board = page.locator(CONTROLLERS)
    told = board.locator(".play-told")
    assert "Computed when the book was built" in told.inner_text()
    board.locator("select[name=preset]").focus()
    page.wait_for_selector(f"{CONTROLLERS}[data-python]")
    assert "by the library's own controllers.py" in told.inner_text()
    # By keyboard: knobs that together were not computed before.
    for name, moved in (("tighten", "ArrowRight"), ("gives_way", "ArrowRight")):
        before = told.inner_text()
        board.locator(f"input[name={name}]").press(moved)
        page.wait_for_function("([told, before]) => told.textContent !== before", arg=[told.element_handle(), before])
    data = json.loads(board.locator("script.play-data").inner_text())
    values = {
        name: data["knobs"][name][int(board.locator(f"input[name={name}]").input_value())] for name in data["knobs"]
    }
    gives_way = values.pop("gives_way")
    accuracies = next(iter(data["curves"].values()))
    made = simulate(values, accuracies, data["steps_each"], gives_way=gives_way, noise=True)
    assert told.inner_text().startswith(f"{len(made.steps)} decisions in")
    assert f" {sum(made.resets)} of them resets" in told.inner_text()
    # By mouse: an accuracy of one's own, and the arrow keys on it.
    drawing = board.locator(".play-drawing")
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    assert board.locator("select[name=curve]").input_value() == ""
    page.wait_for_timeout(100)
    drawn = drawing.get_attribute("aria-valuetext") or ""
    page.keyboard.press("ArrowDown")
    lower = drawing.get_attribute("aria-valuetext") or ""
    assert drawn.split(":")[0] == lower.split(":")[0] and drawn != lower
    # The path before the last change stays in sight, until everything is as it was at first.
    ghost = board.locator(".play-keep polyline[opacity='0.35']")
    assert ghost.count() == 1
    board.get_by_role("button", name="Start over").click()
    assert ghost.count() == 0
    assert board.locator("select[name=curve]").input_value() == next(iter(data["curves"]))
    assert board.locator("select[name=preset]").input_value() == next(iter(data["presets"]))
    close(page)
    assert watch.faults == []


def test_without_python_the_board_shows_what_was_computed(engine, watch):
    page = engine.new_context().new_page()
    watch.attach(page)
    empty = '(window.libraries ??= {})["pyodide"] = {};'
    page.route("**/libraries/pyodide.js", lambda route: route.fulfill(body=empty, content_type="text/javascript"))
    page.goto((BUILT / "book/playground.html").as_uri(), wait_until="load")
    board = page.locator(CONTROLLERS)
    told, preset = board.locator(".play-told"), board.locator("select[name=preset]")
    before = told.inner_text()
    preset.select_option(index=1)
    page.wait_for_function("([told, before]) => told.textContent !== before", arg=[told.element_handle(), before])
    assert "Computed when the book was built" in told.inner_text()
    assert charts_without_words(page) == []
    board.locator(".play-drawing").click()
    told.filter(has_text="this book was built without pyodide").wait_for()
    assert board.locator("input[name=tighten]").is_disabled(), "only the presets are computed"
    close(page)
    assert watch.faults == []


@pytest.mark.parametrize("lesson", ["lesson1_layer", "lesson2_resets", "lesson3_noise"])
def test_a_deck_shows_each_slide_whole_from_disk(engine, watch, lesson):
    address = (BUILT / "class" / "slides" / f"{lesson}.html").as_uri()
    page = opened(engine, watch, address, viewport={"width": 1280, "height": 760})
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    assert barriers(page) == []
    total = page.evaluate("Reveal.getTotalSlides()")
    exercises = page.eval_on_selector_all(
        "section h2", "all => all.filter(h => /^Exercise \\d/.test(h.textContent)).length"
    )
    assert total >= 10 and exercises == 5
    for number in range(total):
        assert page.evaluate("Reveal.getSlidePastCount()") == number
        assert page.evaluate("Reveal.getCurrentSlide().scrollHeight") <= 730, f"slide {number + 1} does not fit"
        page.keyboard.press("ArrowRight")
    close(page)
    assert watch.faults == []


def test_the_address_of_the_book_leads_to_its_first_page(engine, address):
    page = engine.new_page()
    page.goto(f"{address}/index.html")
    page.wait_for_url("**/book/index.html")
    assert "Cycling Through Sparsity" in page.title()
    page.close()
