"""Context sources live: each asked now and then, by itself.

Whatever is wrong with a source costs what it says and nothing else. Operators hear of it once, and
once more when it is over.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog

from streams.clock import Clock
from streams.events import AnyEvent, ContextFacts, FaultCode, Ms, fault
from streams.feed.errors import SayOnce
from streams.feed.rest import MAX_BODY_BYTES, Rest, Unavailable
from streams.proxies import NO_PROXIES, Proxies
from streams.source import ContextSource
from streams.text import printable
from streams.venue import UNREADABLE, Malformed

log = structlog.get_logger()

SAID_AFTER = 3
"""So many failures in a row are said to operators: one alone is no news."""

_REFUSED = "it refuses this address: leave it out of sources, or set another base URL"

_BACKOFF_S = 60.0
"""How long after the first failure it is asked again; each further one doubles it."""


class SourceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A source to ask, where it is (None: where the source itself says), or the file that is read
    in its place, and the proxies that lead there."""

    source: ContextSource
    rest: str | None = None
    file: Path | None = None
    proxies: Proxies = NO_PROXIES


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source."""

    name: str
    title: str
    """Its name for people."""
    trouble: str = ""
    """Why its last answer could not be used, "" if it could."""
    answered_at: Ms = 0
    """When an answer could be used last; 0: none could."""


class SourceClient:
    """One source."""

    def __init__(
        self, place: SourceAddress, publish: Callable[[AnyEvent], None], clock: Clock
    ) -> None:
        spec = place.source.SPEC
        self._source, self._file = place.source, place.file
        self._rest = Rest(
            spec, place.rest or spec.rest, clock.now, clock.sleep, place.proxies, spec.headers
        )
        self._publish, self._clock = publish, clock
        self._once = SayOnce()
        self._failures = 0
        self._blocked = False
        self._trouble = "not asked yet"
        self._answered_at: Ms = 0

    def status(self) -> SourceStatus:
        """How it is doing."""
        spec = self._source.SPEC
        return SourceStatus(
            name=spec.name, title=spec.title, trouble=self._trouble, answered_at=self._answered_at
        )

    async def run(self) -> NoReturn:
        """Ask for ever. Never returns, and never fails."""
        while True:
            try:
                async with self._rest:
                    await self._listen()
            except Exception as error:  # an error of ours; nobody else notices
                words = printable(f"an error in Lowtide: {type(error).__name__}: {error}", 120)
                if self._once.is_news(words, self._clock.now()):
                    log.error(f"asking {self._source.SPEC.title} failed", exc_info=error)
                self._fail(words)
                await self._clock.sleep(self._pause_s())

    async def _listen(self) -> NoReturn:
        while True:
            try:
                await self._ask()
            except UNREADABLE as error:
                self._rest.doubt()
                words = str(error) if isinstance(error, Malformed) else "its answer is not readable"
                self._fail(words)
            except Unavailable as error:
                self._fail(_REFUSED if error.blocked else str(error), error.blocked)
            await self._clock.sleep(self._pause_s())

    async def _ask(self) -> None:
        source, spec = self._source, self._source.SPEC
        bodies = await self._bodies()
        seen = self._clock.seen()
        facts = source.decode(bodies, seen)
        good_for = round(spec.good_for_s * 1000)
        self._publish(
            ContextFacts(source=spec.name, seen=seen, good_for=good_for, facts=tuple(facts))
        )
        self._answered_at, self._trouble = seen, ""
        self._failures, self._blocked = 0, False
        self._once.forget()
        self._publish(fault(FaultCode.SOURCE_SILENT, seen, venue=spec.name, over=True))

    async def _bodies(self) -> Sequence[bytes]:
        if self._file is not None:
            return [await asyncio.to_thread(_read_file, self._file)]
        bodies: list[bytes] = []
        for request in self._source.requests():
            try:
                bodies.append(await self._rest.ask(request))
            except Unavailable:
                if request.needed:
                    raise
                bodies.append(b"")
        return bodies

    def _fail(self, words: str, blocked: bool = False) -> None:
        spec, words = self._source.SPEC, printable(words, 160)
        self._failures += 1
        self._trouble, self._blocked = words, blocked
        if self._once.is_news(words, self._clock.now()):
            log.warning(f"{spec.title} gives nothing: {words}", next_try_s=round(self._pause_s()))
        if blocked or self._failures >= SAID_AFTER:
            seen = self._clock.seen()
            self._publish(fault(FaultCode.SOURCE_SILENT, seen, venue=spec.name, detail=words))

    def _pause_s(self) -> float:
        """How long until it is asked again, a little at random: sources are shared by many."""
        every_s = self._source.SPEC.every_s
        wait_s = every_s
        if self._failures and not self._blocked:
            wait_s = min(_BACKOFF_S * 2 ** (self._failures - 1), every_s)
        return max(wait_s * (0.95 + random.random() / 10), self._rest.paused_s)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(MAX_BODY_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{path.name} cannot be read: {error.strerror}") from error
    if len(body) > MAX_BODY_BYTES:
        raise Unavailable(f"{path.name} has more than {MAX_BODY_BYTES >> 20} MB")
    return body
