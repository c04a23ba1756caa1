"""The past that a venue still tells, asked for once after a start.

One request at a time, of what everything else leaves of the budget, and never faster than the path
of the request allows: so no feed waits for it. The largest contracts come first. What the rules
remember already is not asked for again. A venue that refuses, or whose answers cannot be read,
costs its own history alone: it is logged once, and tried again after an hour.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from streams.clock import Clock
from streams.contracts import past_rates
from streams.durations import DAY, HOUR
from streams.events import AnyEvent, Funding, FundingHistory, Instrument, Kind, Ms
from streams.feed.rest import Rest, Unavailable
from streams.text import printable
from streams.venue import (
    UNREADABLE,
    Decoded,
    HistoryRequest,
    Listing,
    Malformed,
    Request,
    Unreadable,
    Venue,
)

log = structlog.get_logger()

REACH: Ms = 60 * DAY
"""So far back history is asked for."""

OVERLAP: Ms = DAY
"""Of what is known already so much is asked for again: the longest funding interval, which only
two settlements tell."""

AGAIN_S = 3600.0
"""A history that did not come is asked for again after so long."""

_PAGES_AT_MOST = 32
"""60 days of hourly rows at 50 a page."""

_FAILURES = 3
"""After so many contracts in a row without an answer the venue gives none."""

Known = Callable[[], Awaitable[Mapping[str, Ms]]]
"""``venue/symbol`` → up to when the rules remember its settlements, of the last run."""


class Backfill:
    """Asks one venue for the histories of what is watched, each once."""

    def __init__(
        self,
        venue: Venue,
        rest: Rest,
        publish: Callable[[AnyEvent], None],
        clock: Clock,
        known: Known,
    ) -> None:
        self._venue = venue
        self._rest = rest
        self._publish = publish
        self._clock = clock
        self._known = known
        self._listing = Listing(instruments={})
        self._waiting: list[HistoryRequest] = []
        self._done: set[tuple[Kind, str]] = set()
        self._wake = asyncio.Event()
        self._asking: tuple[Kind, str] | None = None
        self._failures = 0
        self._said = False

    @property
    def waiting(self) -> int:
        """How many histories are still to be asked for."""
        return len(self._waiting)

    def take(self, listing: Listing, instruments: Sequence[Instrument]) -> None:
        """Ask for what is new among these, the largest first."""
        self._listing = listing
        wanted = [i for i in instruments if not i.macro]
        self._waiting = [
            history
            for history in self._venue.histories(wanted)
            if _key(history) not in self._done and _key(history) != self._asking
        ]
        self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            known, refused = await self._known(), list[HistoryRequest]()
            self._failures = 0
            while self._waiting and self._failures < _FAILURES:
                history = self._waiting.pop(0)
                if not await self._ask(history, known):
                    refused.append(history)
            if not refused:
                self._said = False
            else:
                self._waiting += refused
                await self._clock.sleep(AGAIN_S)
                self._wake.set()

    async def _ask(self, history: HistoryRequest, known: Mapping[str, Ms]) -> bool:
        """Whether all of it came."""
        symbol, self._asking = history.request.symbol, _key(history)
        since = self._clock.seen() - REACH
        until = known.get(f"{self._venue.SPEC.name}/{symbol}")
        if until is not None:
            since = max(since, until - OVERLAP)
        try:
            rows = await self._pages(history, since)
        except (Unavailable, *UNREADABLE) as error:
            self._failures += 1
            if not self._said:
                self._said, title = True, self._venue.SPEC.title
                log.warning(f"{title} gives no history: {printable(str(error))}", symbol=symbol)
            return False
        finally:
            self._asking = None
        self._failures = 0
        self._done.add(_key(history))
        self._tell(symbol, [row for row in rows if isinstance(row, Funding)], since)
        return True

    def _tell(self, symbol: str, rows: Sequence[Funding], since: Ms) -> None:
        of, seen = self._listing.instruments.get(symbol), self._clock.seen()
        if of is None:
            return
        word = None if of.funding_assumed else of.funding_hours
        past = [
            row
            for row in past_rates((r for r in rows if r.at <= seen + HOUR), word)
            if row.at >= since
        ]
        if past:
            self._publish(
                FundingHistory(
                    venue=of.venue,
                    symbol=of.symbol,
                    asset=of.asset,
                    at=past[-1].at,
                    seen=seen,
                    rows=tuple(past),
                )
            )

    async def _pages(self, history: HistoryRequest, since: Ms) -> list[Decoded]:
        pages, seen = _Pages(history, since, self._clock.seen()), self._clock.seen
        rows: list[Decoded] = []
        for _ in range(_PAGES_AT_MOST):
            request = pages.request()
            if request is None:
                break
            await self._clock.sleep(max(history.every_s, self._rest.paused_s))
            body = await self._rest.ask(request, spare=True, apart=True)
            page = self._venue.decode_history(history, body, self._listing, seen())
            pages.take(page)
            rows += page
        return rows


def _key(history: HistoryRequest) -> tuple[Kind, str]:
    return history.kind, history.request.symbol


class _Pages:
    """Which page of a history is next."""

    def __init__(self, history: HistoryRequest, since: Ms, now: Ms) -> None:
        self._history = history
        self._since = self._first = since
        self._until = now
        self._number = 1
        self._over = False
        text = history.request.path.encode() + (history.request.body or b"")
        self._forward, self._backward = b"{since}" in text, b"{until}" in text
        self._numbered = b"{page}" in text

    def request(self) -> Request | None:
        """The next one, None if there is none."""
        if self._over:
            return None
        since = self._since
        if self._forward and self._backward:
            since = max(self._first, self._until - self._history.piece_ms)
        path, body = self._history.request.path, self._history.request.body
        for name, value in (("since", since), ("until", self._until), ("page", self._number)):
            path = path.replace(f"{{{name}}}", str(value))
            body = body and body.replace(b"{%b}" % name.encode(), str(value).encode())
        return msgspec.structs.replace(self._history.request, path=path, body=body)

    def take(self, page: Sequence[Decoded]) -> None:
        """The answer to the last one. Malformed where it does not lead on."""
        times = [row.at for row in page if isinstance(row, Funding)]
        count = sum(len(row.rows) if isinstance(row, Unreadable) else 1 for row in page)
        if self._forward and self._backward:
            self._until -= self._history.piece_ms
            self._over = self._until <= self._first or not times
        elif (
            not times
            or 10 * count < 9 * self._history.rows  # some may have no rate
            or not (self._forward or self._backward or self._numbered)
        ):
            self._over = True
        elif self._forward:
            if max(times) < self._since:
                raise Malformed("a page of history ends before it begins")
            self._since = max(times) + 1
        else:
            if self._backward and min(times) > self._until:
                raise Malformed("a page of history begins after it ends")
            self._until, self._number = min(times) - 1, self._number + 1
            self._over = self._until <= self._first
