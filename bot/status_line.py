"""A line at the bottom of a terminal on what is heard and what is still unknown, written over.

It is there while ``lowtide run`` runs in a terminal. What else is written there goes above it.
"""

import asyncio
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot import status
from bot.commands import store
from bot.lang import ENGLISH
from rules.metrics import logged
from rules.snapshot import Standing
from streams.bus.connection import connect, in_words
from streams.events import Ms
from streams.feed.status import VenueStatus
from streams.text import printable

EVERY_S = 1.0
_ERASE = "\r\033[K"
_RESET, _DIM = "\033[0m", "\033[2m"


class StatusLine:
    """The last line of ``terminal``."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._text = ""
        self._hidden = False
        """Somebody is in the middle of a line."""

    def show(self, text: str) -> None:
        """This in place of what is there, cut to the width of the terminal."""
        width = shutil.get_terminal_size().columns - 1
        short = text if len(text) <= width else f"{text[: width - 1]}…"
        before, self._text = self._text, f"{_DIM}{short}{_RESET}" if short else ""
        if not self._hidden and self._text != before:
            self._write(_ERASE + self._text)

    def above(self, stream: TextIO) -> TextIO:
        """``stream``, a way to the same terminal, whose lines go above this one."""
        return cast("TextIO", _Above(stream, self))

    def hide(self) -> None:
        """Out of the way of what is written now."""
        if self._text and not self._hidden:
            self._write(_ERASE)
        self._hidden = True

    def again(self) -> None:
        """A line has ended, and this one is there again."""
        self._hidden = False
        self._write(self._text)

    def _write(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()


class _Above:
    """A stream that moves the line out of the way of what is written."""

    def __init__(self, stream: TextIO, line: StatusLine) -> None:
        self._stream = stream
        self._line = line

    def write(self, text: str) -> int:
        self._line.hide()
        written = self._stream.write(text)
        self._stream.flush()
        if text.endswith("\n"):
            self._line.again()
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


async def keep_line(line: StatusLine, redis_url: str) -> None:
    """Show how it goes, until cancelled."""
    redis = connect(redis_url, "status line")
    try:
        while True:
            line.show(await _look(redis))
            await asyncio.sleep(EVERY_S)
    finally:
        line.show("")
        await redis.aclose()


async def _look(redis: Redis) -> str:
    try:
        reported, standing = await status.collect(redis), await store.standing(redis)
    except (RedisError, OSError, TimeoutError) as error:
        return f"Redis: {in_words(error)}"
    streams = cast("dict[str, Any]", reported["streams"] or {})
    venues = msgspec.convert(streams.get("venues", []), list[VenueStatus])
    return printable(in_line(venues, standing), None)


def in_line(venues: Sequence[VenueStatus], standing: Standing | None) -> str:
    """What is heard, what is known of it, and what is open."""
    heard = [venue for venue in venues if any(feed.up for feed in venue.feeds.values())]
    parts = [f"{len(heard)} of {len(venues)} venues heard" if venues else "asking the venues"]
    if silent := [_silent(venue) for venue in venues if venue not in heard]:
        parts.append(", ".join(silent))
    if heard:
        parts.append(f"{sum(venue.instruments for venue in heard):,} contracts")
    if standing is not None and standing.values:
        known = sum(value.value is not None for value in standing.values)
        parts.append(f"{known:,} of {len(standing.values):,} values known{_warming(standing)}")
    if standing is not None:
        parts.append(f"{len(standing.episodes) + len(standing.stale)} open")
        parts.append(f"{datetime.fromtimestamp(standing.seen / 1000, UTC):%H:%M:%S} UTC")
    return " · ".join(parts)


def _silent(venue: VenueStatus) -> str:
    reason = venue.trouble.partition("\n")[0]
    return f"{venue.title}: {reason}" if reason else f"{venue.title} …"


def _warming(standing: Standing) -> str:
    """``, windows of 1h full in 34 min``: the shortest window that is not full yet."""
    waiting: dict[Ms, Ms] = {}
    for value in standing.values:
        window = logged(value.metric).window
        if value.value is None and value.since is not None and window is not None:
            left = value.since + window - standing.seen
            if left > 0:
                waiting[window] = max(left, waiting.get(window, 0))
    if not waiting:
        return ""
    window = min(waiting)
    return f", windows of {ENGLISH.window(window)} full in {ENGLISH.length(waiting[window])}"
