"""Telegram HTML as lines of runs of text, to be written in the markup of other services. Pure."""

from collections.abc import Callable, Sequence
from enum import Enum
from html.parser import HTMLParser

import msgspec

from bot.messages.blocks import NO_BREAK
from streams.text import printable

CUT = "…"


class RunStyle(Enum):
    """How a run of text looks."""

    PLAIN = "plain"
    BOLD = "bold"
    ITALIC = "italic"
    CODE = "code"


_STYLES = {
    "b": RunStyle.BOLD,
    "strong": RunStyle.BOLD,
    "i": RunStyle.ITALIC,
    "em": RunStyle.ITALIC,
    "code": RunStyle.CODE,
    "pre": RunStyle.CODE,
}


class TextRun(msgspec.Struct, frozen=True):
    """Text of one style on one line."""

    text: str
    """Without markup, and fit to be shown."""
    style: RunStyle = RunStyle.PLAIN
    unix: int | None = None
    """Of a time: seconds since 1970, which some services show in the reader's own zone."""
    dated: bool = False
    """Of a time: whether its day belongs to it."""


Line = tuple[TextRun, ...]


class _Reader(HTMLParser):
    """Collects the runs of each line. The innermost tag with a style decides; other tags, and what
    a tag leaves open, change nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[list[TextRun]] = [[]]
        self._styles: list[tuple[str, RunStyle]] = []
        self._unix: int | None = None
        self._dated = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _STYLES:
            self._styles.append((tag, _STYLES[tag]))
        if tag == "tg-time":
            values = dict(attrs)
            unix = values.get("unix") or ""
            self._unix = int(unix) if unix.isascii() and unix.isdigit() else None
            self._dated = "d" in (values.get("format") or "").lower()

    def handle_endtag(self, tag: str) -> None:
        if tag == "tg-time":
            self._unix = None
        for number in reversed(range(len(self._styles))):
            if self._styles[number][0] == tag:
                del self._styles[number]
                break

    def handle_data(self, data: str) -> None:
        style = self._styles[-1][1] if self._styles else RunStyle.PLAIN
        for number, text in enumerate(data.split("\n")):
            if number:
                self.lines.append([])
            if text:
                run = TextRun(
                    clean(text), style, self._unix, self._dated and self._unix is not None
                )
                self.lines[-1].append(run)


def lines_of(html: str) -> list[Line]:
    """The lines of Telegram HTML."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return [tuple(line) for line in reader.lines]


def plain_lines(text: str) -> list[Line]:
    """The lines of plain text."""
    return [(TextRun(clean(line)),) if line else () for line in text.split("\n")]


def clean(text: str) -> str:
    """``text`` without signs that a reader does not see or that turn the direction of writing: they
    are escaped. Spaces at which no line may break stay."""
    return NO_BREAK.join(printable(part, None) for part in text.split(NO_BREAK))


def fitted_lines(
    lines: Sequence[Line], write: Callable[[Line], str], size: Callable[[str], int], limit: int
) -> str:
    """``lines`` as ``write`` writes them, of a ``size`` of at most ``limit``.

    Whole lines are left out from the end, but not the first and the last, then the last; a first
    line that is too long itself is cut.
    """
    kept = list(lines)
    while True:
        text = "\n".join(write(line) for line in kept)
        if size(text) <= limit or len(kept) <= 1:
            break
        del kept[-2 if len(kept) > 2 else -1]
    return text if size(text) <= limit else _cut(kept[0], write, size, limit)


def _cut(line: Line, write: Callable[[Line], str], size: Callable[[str], int], limit: int) -> str:
    """As much of ``line`` as fits, with "…" at its end."""
    fits, too_long = 0, sum(len(run.text) for run in line)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if size(write(_shortened(line, middle))) <= limit:
            fits = middle
        else:
            too_long = middle
    return write(_shortened(line, fits))


def _shortened(line: Line, length: int) -> Line:
    """The first ``length`` characters of ``line``, and "…"; of a time that is cut, plain text."""
    runs: list[TextRun] = []
    for run in line:
        text = run.text[:length]
        length -= len(text)
        if text == run.text:
            runs.append(run)
        elif text:
            runs.append(TextRun(text, run.style))
    return (*runs, TextRun(CUT))


def utf16(text: str) -> int:
    """The length of ``text`` in UTF-16 units, which is never less than in characters."""
    return len(text.encode("utf-16-le", "replace")) // 2


def utf8(text: str) -> int:
    """The length of ``text`` in bytes of UTF-8."""
    return len(text.encode("utf-8", "replace"))
