"""Telegram HTML in blocks: how long it is to a reader, and how it is made to fit. Pure.

A block is one or several whole lines whose tags are all closed again. Only whole blocks are left
out, so that what is left is never broken markup.
"""

import html
import re
from collections.abc import Callable, Sequence

from bot.lang.words import Words
from bot.messages.voice import Html, say

NO_BREAK = "\u00a0"
"""A space at which no line breaks."""

POST_CHARS = 500
"""The most of a post of one alert: Telegram limits longer ones sooner."""

DIGEST_CHARS = 3_500
"""The most of a digest, which leaves room for lines about the post itself."""

MOST_CHARS = 4_096
"""What Telegram takes, counted after the markup is read."""

POPUP_CHARS = 200
"""The most of what is shown over a chat when somebody presses a button."""

_TOGETHER = re.compile(
    r"(?<=[≥≤≈<>]) (?=[\d$−+\u4e00-\u9fff])"  # a sign and its number
    r"|(?<=&[lg]t;) (?=[\d$−+])"
    r"|(?<=\d) (?=(?:[KMBT]? ?USD|bp|min|h|d|s|%|σ)(?![a-zA-Z]))"  # a number and its unit
    r"|(?<=\d) (?=[\u3040-\u30ff\u4e00-\u9fff])"
    r"|(?<=[%h]) (?=/ \d)|(?<=[%h] /) (?=\d)"  # −0.0031% / 8h
)
"""Spaces at which no line may break."""

_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)[^>]*>")


def plain(text: str) -> str:
    """Telegram HTML as plain text."""
    return html.unescape(_TAG.sub("", text))


def unbroken(text: str) -> str:
    """``text``, plain or Telegram HTML, in which no line breaks between what belongs together: a
    sign and its number, a number and its unit. What a reader sees is as long as before."""
    return _TOGETHER.sub(NO_BREAK, text)


def visible(text: str) -> int:
    """How long ``text`` is as Telegram counts it: UTF-16 units, without tags."""
    return len(plain(text).encode("utf-16-le", "replace")) // 2


def blocks(text: str) -> list[str]:
    """The blocks of ``text``; with "\\n" between them they are ``text`` again."""
    whole: list[str] = []
    open_tags = 0
    for line in text.split("\n"):
        if open_tags:
            whole[-1] += f"\n{line}"
        else:
            whole.append(line)
        open_tags += sum(-1 if closing else 1 for closing, _ in _TAG.findall(line))
    return whole


def fitted(
    parts: Sequence[str],
    limit: int,
    keep: int = 1,
    between: str = "\n",
    more: Callable[[int], str] | None = None,
) -> str:
    """As many of ``parts`` as fit into ``limit`` characters: the first and the last ``keep`` stay,
    the others are left out from the end. ``more``: says in their place how many those are."""
    text, end = "", len(parts) - keep
    for left_out in range(max(1, end)):
        note = [more(left_out)] if more is not None and left_out else []
        text = between.join([*parts[: end - left_out], *note, *parts[end:]])
        if visible(text) <= limit:
            break
    return text


def fitted_answer(parts: Sequence[Html], words: Words, limit: int = MOST_CHARS) -> Html:
    """As many of ``parts`` as fit, from the first, with an empty line between them.

    Of a first part that is too long itself as many lines; no tag reaches over a line's end.
    """

    def more(count: int) -> Html:
        return say(words, "ask.more", count=str(count))

    kept = [part for part in parts if part]
    text = fitted(kept, limit, 0, "\n\n", more)
    if visible(text) > limit:
        text = fitted(kept[0].split("\n"), limit, 0, "\n", more)
    return Html(text) if kept and visible(text) <= limit else say(words, "ask.too_much")


def fitted_popup(parts: Sequence[Html]) -> str:
    """As many lines of ``parts`` as fit into what Telegram shows over a chat, as plain text."""
    lines = [line for part in parts for line in plain(part).split("\n") if line]
    text = fitted([html.escape(line) for line in lines], POPUP_CHARS, 0) if lines else ""
    shown = plain(text)
    while len(shown.encode("utf-16-le", "replace")) // 2 > POPUP_CHARS:
        shown = shown[:-2].rstrip("…") + "…"
    return shown


def with_lines(text: str, lines: Sequence[str], single: bool) -> str:
    """``text`` and ``lines`` below it.

    ``single``: it tells of one alert, and gives up facts for them, but not its last line, to stay
    short. A digest has nothing to give up.
    """
    if not lines:
        return text
    limit = POST_CHARS if single and visible(text) <= POST_CHARS else MOST_CHARS
    return fitted([*blocks(text), *lines], limit, keep=len(lines) + 1)
