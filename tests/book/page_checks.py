"""What is wrong with a page, in words, and nothing where all is well; for built pages and one broken on purpose."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Page

SIGNS_OF_FAILURE = ("Traceback", "Warning:", "<matplotlib", r"Figure\(", r"\b[nN]a[nN]\b", r"\[IPKernelApp\]")


@cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def tags(soup: BeautifulSoup | Tag, selector: str) -> Iterator[Tag]:
    yield from soup.select(selector)


def dead_links(here: Path) -> list[str]:
    """Of a page's file: links, pictures, scripts and style sheets inside of the book that lead nowhere."""
    found = []
    for tag in tags(parsed(here), "a[href], img[src], script[src], link[href]"):
        target = urlsplit(str(tag.get("href") or tag.get("src")))
        if target.scheme or target.netloc or str(tag.get("rel")) == "['canonical']":
            continue
        file = (here.parent / unquote(target.path)).resolve() if target.path else here
        anchor = unquote(target.fragment)
        if not file.exists():
            found.append(f"there is no {target.path}")
        elif anchor and file.suffix == ".html" and anchor not in _anchors(file):
            found.append(f"{file.name} has no #{anchor}")
    return found


@cache
def _anchors(file: Path) -> frozenset[str]:
    return frozenset(str(tag.get(key)) for key in ("id", "name") for tag in parsed(file).find_all(attrs={key: True}))


def pictures_without_words(soup: BeautifulSoup) -> list[str]:
    """Return the images and drawings of a page or a deck whose words are no sentence with a number in it.

    The picture that a network is shown has nothing to find in it: words are enough.
    """
    silent = []
    for image in tags(soup, ":is(article, .reveal) img"):
        said = str(image.get("alt") or "").strip()
        if not (said if "play-picture" in (image.get("class") or []) else _says_a_finding(said)):
            silent.append(str(image.get("src")))
    for drawing in tags(soup, ":is(article, .reveal) figure.drawn svg"):
        said = str(drawing.get("aria-label"))
        if drawing.get("role") != "img" or not _says_a_finding(said):
            silent.append(f"a drawing that says {said!r}")
    return silent


def _says_a_finding(words: str) -> bool:
    return len(words) > 30 and re.search(r"\d", words) is not None


def failed_outputs(article: Tag) -> list[str]:
    """Outputs of cells with nothing in them, and signs of an error in their text."""
    outputs = list(tags(article, "div.cell_output"))
    shown = "input, button, select, svg, img, script"
    empty = ["an empty output" for one in outputs if not one.get_text(strip=True) and not one.select(shown)]
    text = " ".join(one.get_text() for one in outputs)
    return empty + [sign for sign in SIGNS_OF_FAILURE if re.search(sign, text)]


def sources_outside(soup: BeautifulSoup) -> list[str]:
    """What a page would load from elsewhere."""
    loaded = tags(soup, "script[src], link[rel=stylesheet], img[src], iframe[src]")
    addresses = [str(tag.get("src") or tag.get("href")) for tag in loaded]
    return [address for address in addresses if urlsplit(address).netloc]


def images_not_shown(page: Page) -> list[str]:
    shown: list[str] = page.eval_on_selector_all("img", "all => all.filter(i => !i.naturalWidth).map(i => i.src)")
    return shown


def charts_without_words(page: Page) -> list[str]:
    """Charts of the playground, as its scripts have drawn them, without a role or without words on what they show."""
    charts: list[list[str | None]] = page.eval_on_selector_all(
        ".playground svg", "all => all.map(one => [one.getAttribute('role'), one.getAttribute('aria-label')])"
    )
    return [f"a chart that is {role} and says {said!r}" for role, said in charts if not (role and said)]


# Contrast is nine tenths of what axe takes on a long list, where every line looks alike. So it is measured on three
# elements of each look, which is ink and size of the words, and all grounds below them. All other rules see everything.
AXE = """(options) => {
    const grounds = new Map([[null, '']]);
    const ground = (element) => {
        if (!grounds.has(element)) {
            const { backgroundColor, backgroundImage, opacity } = getComputedStyle(element);
            const own = [backgroundColor, backgroundImage, opacity].filter(
                (value) => !['rgba(0, 0, 0, 0)', 'none', '1'].includes(value));
            grounds.set(element, [ground(element.parentElement), ...own].join(' '));
        }
        return grounds.get(element);
    };
    const seen = new Map();
    for (const element of document.querySelectorAll('body *')) {
        const words = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
        element.removeAttribute('data-look');
        if ((words || element.matches('input, select, textarea')) && element.checkVisibility()) {
            const { color, fontSize, fontWeight } = getComputedStyle(element);
            const look = [color, fontSize, fontWeight, ground(element)].join(' ');
            seen.set(look, (seen.get(look) ?? 0) + 1);
            if (seen.get(look) <= 3) element.dataset.look = '';
        }
    }
    axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-look]' }] });
    return axe.run(document, options);
}"""


def barriers(page: Page, *rules: str) -> list[str]:
    """Serious faults that axe finds for those who see, hear or handle a page in another way; by all rules, or these."""
    options: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}  # preloading would fetch styles anew
    options |= {"runOnly": list(rules)} if rules else {}
    page.evaluate(Axe().axe_script)
    found = page.evaluate(AXE, options)["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:200]}" for fault in serious]


def pixels_too_wide(page: Page) -> int:
    """By how much a page is wider than its window; a reader of a phone would have to push it to and fro."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return max(0, wide)
