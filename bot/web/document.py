"""The status page as HTML: its first sight, which needs no script, and what asks for the token.

Pure. What is in it is escaped here; what comes later is put in by ``static/page.js`` as text only.
"""

from collections.abc import Sequence
from html import escape

from bot import __version__
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.web.page import PageCell, PageColumn, PageTable

_CHART = """
<section id="chart" hidden><h2></h2><p class="notes"></p><div class="panels"></div></section>"""


def page_document(tables: Sequence[PageTable], words: Words, language: str) -> str:
    """The whole page."""
    parts = "\n".join(
        _table(table) + (_CHART if table.name == "market" else "") for table in tables
    )
    return _document(
        f"""<header>
<h1>{_phrase(words, "page.title")}</h1>
<p id="state" role="status" data-live="{_phrase(words, "page.live")}"
 data-lost="{_phrase(words, "page.lost")}">{_phrase(words, "page.no_script")}</p>
{_other_languages(language)}
</header>
<main>
{parts}
</main>
<script src="uPlot.iife.min.js"></script>
<script src="page.js" type="module"></script>""",
        words,
        language,
    )


def token_document(words: Words, language: str, *, wrong: bool) -> str:
    """Asks for the token."""
    why = f'<p class="bad">{_phrase(words, "page.token.wrong")}</p>' if wrong else ""
    return _document(
        f"""<main class="token">
<h1>{_phrase(words, "page.title")}</h1>
<p>{_phrase(words, "page.token.why")}</p>{why}
<form method="post" action="token?lang={escape(language)}">
<label>{_phrase(words, "page.token")}
<input type="password" name="token" required autofocus autocomplete="current-password"></label>
<button>{_phrase(words, "page.token.enter")}</button>
</form>
{_other_languages(language)}
</main>""",
        words,
        language,
    )


def _document(body: str, words: Words, language: str) -> str:
    return f"""<!doctype html>
<html lang="{escape(language)}" data-version="{escape(__version__)}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_phrase(words, "page.title")}</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="uPlot.min.css">
<link rel="stylesheet" href="page.css">
</head>
<body>
{body}
</body>
</html>
"""


def _other_languages(language: str) -> str:
    """Links to the same in each other language, by the language's own name."""
    links = [
        f'<a href="?lang={name}" lang="{name}">{_phrase(words, "page.language")}</a>'
        for name, words in LANGUAGES.items()
        if name != language
    ]
    return f"<nav>{' '.join(links)}</nav>"


def _phrase(words: Words, key: str) -> str:
    return escape(words.phrases[key])


def _table(table: PageTable) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    heads = "".join(_head(column) for column in table.columns)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row, table.columns))}</tr>" for row in table.rows)
    hidden = "" if table.rows else " hidden"
    return f"""<section id="{escape(table.name)}">
<h2>{escape(table.title)}</h2>
<div class="notes">{notes}</div>
<table{hidden}>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</section>"""  # fmt: skip


def _head(column: PageColumn) -> str:
    about = f' title="{escape(column.about)}"' if column.about else ""
    return f'<th scope="col"{about}>{escape(column.text)}</th>'


def _cell(cell: PageCell, column: PageColumn) -> str:
    tone = f' class="{cell.tone}"' if cell.tone else ""
    return f'<td{tone} data-label="{escape(column.text)}">{escape(cell.text)}</td>'
