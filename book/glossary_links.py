"""A Sphinx extension that links each glossary term where a page first uses it, and shows its meaning on hovering."""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

GLOSSARY = "book/glossary"
WITHOUT = (GLOSSARY, "book/reference", "book/bibliography")
# Words that are also everyday ones, or mean something else in a claim's name: linked by hand where they are terms.
BY_HAND = frozenset(
    {"claim", "compression", "control", "evolution", "identity", "method", "pair", "record", "run", "scope"}
)
NO_PROSE = (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.caption, nodes.math, nodes.raw)


def pattern(terms: list[str]) -> re.Pattern[str]:
    """Any of the terms as a whole word, in the plural too; with capitals inside (SET) only as it is written."""
    ordered = sorted(terms, key=len, reverse=True)
    words = [re.escape(term) if term[1:] != term[1:].lower() else f"(?i:{re.escape(term)})" for term in ordered]
    return re.compile(rf"(?<![\w-])(?P<term>{'|'.join(words)})s?(?![\w-])")


def note_meanings(app: Sphinx, doctree: nodes.document) -> None:
    """Note the first sentence of each definition."""
    if app.env.docname == GLOSSARY:
        app.env.glossary_meanings = {  # type: ignore[attr-defined]
            identity: re.split(r"(?<=[.:]) ", item.next_node(nodes.definition).astext().replace("\n", " "))[0]
            for item in doctree.findall(nodes.definition_list_item)
            for term in item.findall(nodes.term)
            for identity in term["ids"]
        }


def show_meanings(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each link to a term the term's meaning as its title."""
    meanings = getattr(app.env, "glossary_meanings", {})
    for link in doctree.findall(nodes.reference):
        page, _, anchor = link.get("refuri", "").rpartition("#")
        if page.endswith("glossary.html") and anchor in meanings:
            link["reftitle"] = meanings[anchor]


def link_first_uses(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    objects = app.env.get_domain("std").objects  # type: ignore[attr-defined]
    targets = {name.lower(): place for (kind, name), place in objects.items() if kind == "term"}
    terms = [name for (kind, name) in objects if kind == "term" and name not in BY_HAND]
    if docname in WITHOUT or not terms:
        return
    found, known = pattern(terms), set[str]()
    for node in _prose(doctree, known):
        text, pieces, end = node.astext(), list[nodes.Node](), 0
        for match in found.finditer(text):
            term = match["term"].lower()
            if term in known:
                continue
            known.add(term)
            place, label = targets[term]
            shown = nodes.inline(match[0], match[0], classes=["std", "std-term"])
            link = make_refnode(app.builder, docname, place, label, shown)
            pieces += [nodes.Text(text[end : match.start()]), link]
            end = match.end()
        if pieces:
            node.parent.replace(node, [*pieces, nodes.Text(text[end:])])


def _prose(doctree: nodes.document, known: set[str]) -> Iterator[nodes.Text]:
    """Running text in its order; what is linked as a term on the way becomes known."""
    for node in list(doctree.findall()):
        if isinstance(node, nodes.inline) and "std-term" in node["classes"]:
            known |= {node.astext().lower(), node.astext().lower().removesuffix("s")}
        if isinstance(node, nodes.Text) and _is_prose(node):
            yield node


def _is_prose(node: nodes.Node) -> bool:
    inside, parent = False, node.parent
    while parent is not None:
        if isinstance(parent, NO_PROSE) or "cell_output" in parent.get("classes", []):
            return False
        inside = inside or isinstance(parent, nodes.paragraph)
        parent = parent.parent
    return inside


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", note_meanings)
    app.connect("doctree-resolved", link_first_uses)
    app.connect("doctree-resolved", show_meanings)
    return {"parallel_read_safe": False, "parallel_write_safe": True}  # meanings are noted in one process
