"""Blocks of lines → one message that Telegram takes. Pure; whole blocks are left out, or lines."""

from collections.abc import Sequence

from bot.lang.words import Words
from bot.messages.blocks import MOST_CHARS, visible
from bot.messages.voice import Html, say


def fitted(blocks: Sequence[Html], words: Words, most: int = MOST_CHARS) -> Html:
    """As many of ``blocks`` as fit, from the first, with an empty line between them.

    Of a first block that is too long itself as many lines; no tag reaches over a line's end.
    """
    kept = [block for block in blocks if block]
    for shown in range(len(kept), 0, -1):
        text = _joined(kept[:shown], len(kept) - shown, words, "\n\n")
        if visible(text) <= most:
            return text
    lines = [Html(line) for line in kept[0].split("\n")] if kept else []
    for shown in range(len(lines), 0, -1):
        text = _joined(lines[:shown], len(lines) - shown, words, "\n")
        if visible(text) <= most:
            return text
    return say(words, "ask.too_much")


def _joined(parts: Sequence[Html], left_out: int, words: Words, between: str) -> Html:
    more = [say(words, "ask.more", count=str(left_out))] if left_out else []
    return Html(between.join([*parts, *more]))
