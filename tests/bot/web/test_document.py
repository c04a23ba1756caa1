"""The page as HTML, read by a parser."""

from html.parser import HTMLParser

from bot.lang import ENGLISH
from bot.web.document import page_document, token_document
from bot.web.page import PageCell, PageColumn, PageTable

NASTY = "\"><script>alert(1)</script><img src=x onerror=alert(2)> & ' </td>"
TABLE = PageTable(
    name="open",
    title=NASTY,
    columns=(PageColumn(NASTY, NASTY), PageColumn("b")),
    rows=((PageCell(NASTY, "critical"), PageCell("2")),),
    notes=(NASTY,),
)


class Parsed(HTMLParser):
    """The tags of a document, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_what_is_foreign_is_text_and_nothing_else() -> None:
    parsed = Parsed(page_document([TABLE], ENGLISH, "en"))
    scripts = [attrs for tag, attrs in parsed.tags if tag == "script"]
    assert scripts == [{"src": "uPlot.iife.min.js"}, {"src": "page.js", "type": "module"}]
    assert not [tag for tag, _ in parsed.tags if tag == "img"]
    assert not [key for _, attrs in parsed.tags for key in attrs if key.startswith("on")]
    assert parsed.text.count(NASTY) == 4  # title, note, head, cell
    [cell] = [attrs for tag, attrs in parsed.tags if tag == "td" and "class" in attrs]
    assert cell == {"class": "critical", "data-label": NASTY}


def test_it_needs_nobody_else_and_has_no_style_or_script_inside() -> None:
    for document in (page_document([TABLE], ENGLISH, "en"),
                     token_document(ENGLISH, "en", wrong=True)):  # fmt: skip
        for tag, attrs in Parsed(document).tags:
            assert tag != "style" and "style" not in attrs
            for name in ("src", "href", "action"):
                assert "/" not in (attrs.get(name) or "")  # beside it


def test_a_table_without_rows_is_not_seen() -> None:
    empty = PageTable(name="open", title="t", columns=(PageColumn("a"),), rows=())
    [table] = [attrs for tag, attrs in Parsed(page_document([empty], ENGLISH, "en")).tags
               if tag == "table"]  # fmt: skip
    assert "hidden" in table


def test_who_sends_a_wrong_token_is_told_so() -> None:
    assert "not the token" in token_document(ENGLISH, "en", wrong=True)
    assert "not the token" not in token_document(ENGLISH, "en", wrong=False)
