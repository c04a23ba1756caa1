"""The past that a venue still tells, asked for once after a start.

One request at a time, of what everything else leaves of the budget, and never faster than the path
of the request allows: so no feed waits for it. The largest contracts come first. What the rules
remember already is not asked for again. Prices are many pages, so they come last, after all
else of the largest contracts and then of the others, and of a coin only until one venue has told
them. A venue that refuses, or whose answers cannot be read,
costs its own history alone: it is logged once, and tried again after an hour. Operators hear of it
where nothing of a kind comes.

Prices and open interest that do not go on in what is live may be those of before a fall that is
younger than the newest row of the table. They are told all the same, since another exchange may say
so too; operators hear that they are in doubt, and they are asked for again each minute, which a new
row ends. Only what is so far away that it is counted otherwise is not told.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog

from streams.clock import Clock
from streams.contracts import past_rates
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    ANOTHER_COUNT,
    ANOTHER_UNIT,
    FITS,
    INTEREST_FITS,
    AnyEvent,
    Fault,
    FaultCode,
    Funding,
    FundingHistory,
    Instrument,
    InterestHistory,
    Kind,
    Ms,
    OpenInterest,
    PastInterest,
    Price,
    PriceHistory,
    fault,
)
from streams.feed.rest import Rest, Unavailable
from streams.text import printable
from streams.venue import (
    CANDLE,
    UNREADABLE,
    Candle,
    Decoded,
    HistoryRequest,
    Listing,
    Malformed,
    Request,
    Unreadable,
    Venue,
)

log = structlog.get_logger()

REACH: Mapping[Kind, Ms] = {
    Kind.FUNDING: 60 * DAY,
    Kind.OPEN_INTEREST: DAY + HOUR,
    Kind.PRICE: 30 * DAY + 2 * HOUR,
}
"""So far back history is asked for."""

OVERLAP: Mapping[Kind, Ms] = {
    Kind.FUNDING: DAY,
    Kind.OPEN_INTEREST: 15 * MINUTE,
    Kind.PRICE: 30 * MINUTE,
}
"""Of what is known already so much is asked for again. Of funding the longest interval, which only
two settlements tell."""

OLD: Ms = 30 * MINUTE
"""A history whose newest value is older is of a table that stands still."""

WAIT_S = 60
"""So long what is told later waits for what is live, to be held against it."""

SPIKE = 1.1
"""A value so far, either way, from both beside it, which are nearer to each other, is none."""

DOUBTED = 1.03
"""A price that is so many times the next one, either way, which came at once, is none."""

ANOTHER, ANOTHER_LATER = 1.2, 3.0
"""Where the prices of a candle are so many times those of the next one, or of the next after a
hole, what was before is of another coin, or in another unit."""

STILL: Ms = HOUR
"""An index price that is the same to the last digit for so long stands still, and is none."""

STEP: Ms = 10 * MINUTE
"""So far apart are prices, since that is what returns are made of …"""

FINE: Ms = DAY + HOUR
"""… and as far apart as candles for so long, since windows are."""

LARGEST = 20
"""So many contracts have their prices before the others have anything."""

SOON_S = 60.0
SOON_AT_MOST = 15
"""What does not go on in what is live is asked for again after so long, so often in a row: three
rows of any table are over by then."""

AGAIN_S = 3600.0
"""A history that did not come is asked for again after so long."""

_PAGES_AT_MOST = 100
"""30 days of candles at 100 a page are 87."""

_COMPARED = frozenset({Kind.OPEN_INTEREST, Kind.PRICE})
"""What is held against what is live."""

_WORDS = {Kind.FUNDING: "funding", Kind.OPEN_INTEREST: "open interest", Kind.PRICE: "prices"}
_FAILURES = 3
"""After so many contracts in a row without an answer the venue gives none of that kind."""

_T = TypeVar("_T")


class _ApartError(Malformed):
    """What does not go on in what is live."""


Known = Callable[[], Awaitable[Mapping[str, Ms]]]
"""``kind:venue/symbol`` → up to when the rules remember its past, of the last run."""


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
        self._failures = Counter[Kind]()
        self._apart: list[HistoryRequest] = []
        """Those that do not go on in what is live, of this round."""
        self._unfit: set[tuple[Kind, str]] = set()
        """Those that once did not, until they do."""
        self._rows: dict[tuple[Kind, str], list[Decoded]] = {}
        """What they told: of what is known nothing is asked for again."""
        self._later: list[HistoryRequest] = []
        """What waits for its hour."""
        self._said: set[Kind] = set()
        self._why: dict[Kind, str] = {}
        self._came: set[Kind] = set()
        """The kinds of which something came; what operators heard before is over then."""

    def take(self, listing: Listing, instruments: Sequence[Instrument]) -> None:
        """Ask for what is new among these, the largest first."""
        self._listing = listing
        wanted = [i for i in instruments if not i.macro]
        rank = {instrument.symbol: place for place, instrument in enumerate(wanted)}
        self._later = []
        histories = self._venue.histories(wanted)
        keys = {_key(history) for history in histories}
        self._unfit &= keys
        self._rows = {key: rows for key, rows in self._rows.items() if key in keys}
        self._waiting = [
            history
            for history in histories
            if _key(history) not in self._done and _key(history) != self._asking
        ]
        self._waiting.sort(
            key=lambda history: (
                rank[history.request.symbol] >= LARGEST,
                history.kind is Kind.PRICE,
                rank[history.request.symbol],
            )
        )
        self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        soon = 0
        alarmed: set[Kind] | None = None
        while True:
            await self._wake.wait()
            self._wake.clear()
            known = await self._known()
            refused, put_off = list[HistoryRequest](), list[HistoryRequest]()
            self._failures.clear()
            self._apart = []
            while self._waiting:
                history = self._waiting.pop(0)
                if history.kind is Kind.PRICE:
                    known = await self._known()  # another venue may have told them
                if self._failures[history.kind] >= _FAILURES:
                    put_off.append(history)
                elif not await self._ask(history, known):
                    refused.append(history)
            self._said &= {history.kind for history in (*refused, *self._apart)}
            for kind in dict.fromkeys(history.kind for history in refused):
                self._report(kind)
            in_doubt = {kind for kind, _ in self._unfit}
            # what operators heard of the run before may be over
            for kind in sorted(_COMPARED if alarmed is None else in_doubt ^ alarmed):
                self._publish(self._fault(kind, kind not in in_doubt, FaultCode.HISTORY_APART))
            alarmed = in_doubt
            soon = soon + 1 if self._apart else 0
            self._later += [*put_off, *refused]
            if 0 < soon <= SOON_AT_MOST:
                self._waiting += self._apart
                await self._clock.sleep(SOON_S)
                self._wake.set()
            elif self._apart or self._later:
                self._waiting += [*self._later, *self._apart]
                self._later = []
                await self._clock.sleep(AGAIN_S)
                self._wake.set()

    async def _ask(self, history: HistoryRequest, known: Mapping[str, Ms]) -> bool:
        """Whether all of it came."""
        symbol, self._asking = history.request.symbol, _key(history)
        since = self._clock.seen() - REACH[history.kind]
        until = known.get(f"{history.kind}:{self._venue.SPEC.name}/{symbol}")
        if until is not None:
            since = max(since, until - OVERLAP[history.kind])
        if history.kind is Kind.PRICE and until is not None and until >= self._clock.seen() - OLD:
            self._asking = None
            self._done.add(_key(history))
            self._unfit.discard(_key(history))
            return True  # nothing is missing
        known_rows, asked = self._rows.pop(_key(history), []), self._clock.seen()
        newest = max((at for row in known_rows if (at := _time(row)) is not None), default=since)
        rows: list[Decoded] = []
        try:
            rows = [*known_rows, *await self._pages(history, max(since, newest))]
            if history.kind is Kind.OPEN_INTEREST:
                await self._tell_interest(symbol, rows)
            elif history.kind is Kind.PRICE:
                await self._tell_prices(symbol, rows, since)
        except (Unavailable, *UNREADABLE) as error:
            self._why[history.kind] = str(error)
            apart = isinstance(error, _ApartError)
            if apart:
                self._apart.append(history)
                self._unfit.add(_key(history))
                self._rows[_key(history)] = [
                    row for row in rows if (at := _time(row)) is not None and at + CANDLE <= asked
                ]
            else:
                self._failures[history.kind] += 1
            if self._failures[history.kind] == _FAILURES:
                self._report(history.kind)
            if history.kind not in self._said:
                self._said.add(history.kind)
                words, title = _WORDS[history.kind], self._venue.SPEC.title
                what = f"{title} gives no history of {words}"
                if apart:
                    what = f"{title}'s history of {words} does not go on in what is live"
                log.warning(f"{what}: {printable(str(error))}", symbol=symbol)
            return apart  # asked for again sooner
        finally:
            self._asking = None
        self._failures[history.kind] = 0
        self._done.add(_key(history))
        self._unfit.discard(_key(history))
        if history.kind not in self._came:
            self._came.add(history.kind)
            self._publish(self._fault(history.kind, over=True))
        if history.kind is Kind.FUNDING:
            self._tell(symbol, [row for row in rows if isinstance(row, Funding)], since)
        return True

    def _report(self, kind: Kind) -> None:
        """Nothing of that kind came so far, if it is so."""
        if kind not in self._came:
            self._publish(self._fault(kind))

    def _fault(
        self, kind: Kind, over: bool = False, code: FaultCode = FaultCode.HISTORY_REFUSED
    ) -> Fault:
        return fault(
            code,
            self._clock.seen(),
            venue=self._venue.SPEC.name,
            subject=kind,
            over=over,
            detail="" if over else self._why[kind],
        )

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

    async def _tell_interest(self, symbol: str, rows: Sequence[Decoded]) -> None:
        """Malformed where it is of long ago; _ApartError where it does not go on in what is
        live."""
        of = self._listing.instruments.get(symbol)
        if of is None:
            return
        past = _interest(rows, self._clock.seen())
        if not past or past[-1].at < self._clock.seen() - OLD:
            raise Malformed("its open interest of the last day is of long ago")
        contracts = self._listing.contracts
        live = await self._live(lambda: contracts.open_interest(symbol))
        if live is None:
            raise Malformed("its open interest of now is not known")
        held = past[-1].held
        low, high = live if not of.inverse else contracts.in_usd(symbol, live)
        if low <= 0:
            raise Malformed("its open interest of now is not known")
        nearest = min(max(held, low), high)
        apart = _ApartError(f"its open interest was {held:.6g} just now, and is {nearest:.6g}")
        if _apart(held, nearest) >= ANOTHER_COUNT:
            raise apart
        self._publish(
            InterestHistory(
                venue=of.venue,
                symbol=of.symbol,
                asset=of.asset,
                at=past[-1].at,
                seen=self._clock.seen(),
                rows=tuple(past),
                live=nearest,
            )
        )
        if _apart(held, nearest) > INTEREST_FITS:
            raise apart

    async def _tell_prices(self, symbol: str, rows: Sequence[Decoded], since: Ms) -> None:
        """Malformed where they are of long ago; _ApartError where they do not go on in what is
        live."""
        of, now = self._listing.instruments.get(symbol), self._clock.seen()
        if of is None:
            return
        candles = [row for row in rows if isinstance(row, Candle)]
        past = _prices(candles, now)
        if not past or max(past) < now - OLD:
            raise Malformed("its prices are of long ago")
        contracts = self._listing.contracts
        live = await self._live(lambda: contracts.price(symbol))
        if live is None:
            raise Malformed("its price of now is not known")
        newest, shown = past[max(past)], _shown(candles, past, now)
        words = f"its price was {newest:.6g} just now, and is {live:.6g}"
        if _apart(newest, live) >= ANOTHER_UNIT:
            raise _ApartError(words)
        for every, first in ((STEP, since), (CANDLE, max(since, now - FINE))):
            last = now // every * every
            times = range(-(-first // every) * every, last + 1, every)
            self._publish(
                PriceHistory(
                    venue=of.venue,
                    symbol=of.symbol,
                    asset=of.asset,
                    at=last,
                    seen=self._clock.seen(),
                    every=every,
                    prices=tuple(past.get(at) for at in times),
                    shown=shown,
                )
            )
        if min(_apart(price, live) for price in (newest, shown or newest)) > FITS:
            raise _ApartError(words)

    async def _live(self, value: Callable[[], _T | None]) -> _T | None:
        """What is live of late, as soon as it has come; None: it does not come."""
        for _ in range(WAIT_S):
            if value() is not None:
                break
            await self._clock.sleep(1.0)
        return value()

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


def _time(row: Decoded) -> Ms | None:
    """Of when a row of a history of prices or open interest is; None: it is unreadable."""
    return row.at if isinstance(row, OpenInterest | Price | Candle) else None


def _interest(rows: Sequence[Decoded], now: Ms) -> list[PastInterest]:
    """Open interest of before, with the price beside it, without what cannot be true; the newest
    of each 5 minutes where a venue tells more."""
    prices = {row.at: row.mark for row in rows if isinstance(row, Price)}
    before = [row for row in rows if isinstance(row, OpenInterest) and row.at <= now]
    newest: dict[Ms, Ms] = {}
    for row in before:
        newest[_step(row.at)] = max(row.at, newest.get(_step(row.at), 0))
    values: dict[Ms, set[float]] = {}
    for row in before:
        if newest[_step(row.at)] == row.at:
            values.setdefault(row.at, set()).add((row.usd if row.inverse else row.base) or 0.0)
    sure = [(at, held.pop()) for at, held in sorted(values.items()) if len(held) == 1]
    held = _without_spikes([(at, value) for at, value in sure if value > 0])
    known = [(at, price) for at, _ in held if (price := prices.get(at)) is not None]
    price = dict(_without_spikes(known))
    return [PastInterest(at, value, price.get(at)) for at, value in held]


def _step(at: Ms) -> Ms:
    """The 5 minutes that a time ends, or is within."""
    return -(-at // CANDLE)


def _prices(candles: Sequence[Candle], now: Ms) -> dict[Ms, float]:
    """The price in force at each end of a candle, by time, without what cannot be true.

    Each of these is told twice: it closes one candle, and the next one opens with it, or with the
    price after it.
    """
    by_time: dict[Ms, set[Candle]] = {}
    for candle in candles:
        if candle.at % CANDLE == 0 and candle.at + CANDLE <= now:
            by_time.setdefault(candle.at, set()).add(candle)
    sure = [alike.pop() for _, alike in sorted(by_time.items()) if len(alike) == 1]
    prices: dict[Ms, float] = {}
    since = still = 0
    for n, candle in enumerate(sure):
        end, after = candle.at + CANDLE, sure[n + 1] if n + 1 < len(sure) else None
        before = sure[n - 1] if n else None
        closed = before.close if before is not None and before.at + CANDLE == candle.at else None
        if not candle.open == candle.close == closed:
            still = candle.at
        elif end - (still + CANDLE) >= STILL:
            for standing in range(still + 2 * CANDLE, end, CANDLE):
                prices.pop(standing, None)
            continue
        if after is None:
            prices[end] = candle.close
        elif _shifted(candle, after, ANOTHER if after.at == end else ANOTHER_LATER):
            since = end
        elif after.at > end or _apart(candle.close, after.open) <= DOUBTED:
            prices[end] = candle.close
    return {at: float(f"{price:.8g}") for at, price in prices.items() if at > since}


def _shown(candles: Sequence[Candle], prices: Mapping[Ms, float], now: Ms) -> float | None:
    """The price now in the candle that is not over, if it goes on from the newest price; None:
    there is no such candle, or it is told twice differently."""
    at = max(prices)
    running = {candle for candle in candles if candle.at == at and at + CANDLE > now}
    if len(running) != 1:
        return None
    (candle,) = running
    return candle.close if _apart(prices[at], candle.open) <= DOUBTED else None


def _shifted(candle: Candle, after: Candle, times: float) -> bool:
    """Whether all prices of one are so many times those of the other."""
    return all(
        _apart(price, later) > times
        for price in (candle.open, candle.close)
        for later in (after.open, after.close)
    )


def _apart(price: float, other: float) -> float:
    return max(price / other, other / price)


def _without_spikes(values: Sequence[tuple[Ms, float]]) -> list[tuple[Ms, float]]:
    return [
        (at, value)
        for n, (at, value) in enumerate(values)
        if not 0 < n < len(values) - 1 or not _is_spike(values[n - 1][1], value, values[n + 1][1])
    ]


def _is_spike(before: float, value: float, after: float) -> bool:
    low, high = min(before, after), max(before, after)
    return high <= SPIKE * low and not low / SPIKE <= value <= high * SPIKE


class _Pages:
    """Which page of a history is next."""

    def __init__(self, history: HistoryRequest, since: Ms, now: Ms) -> None:
        self._history = history
        self._since = self._first = since
        self._until = now
        self._number = 1
        self._over = False
        text = history.request.path.encode() + (history.request.body or b"")
        self._forward, self._backward = b"{since" in text, b"{until" in text
        self._numbered = b"{page}" in text

    def request(self) -> Request | None:
        """The next one, None if there is none."""
        if self._over:
            return None
        since = self._since
        if self._forward and self._backward:
            since = max(self._first, self._until - self._history.piece_ms)
        path, body = self._history.request.path, self._history.request.body
        values = {
            "since": since,
            "since_s": since // SECOND,
            "until": self._until,
            "until_s": self._until // SECOND,
            "page": self._number,
        }
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", str(value))
            body = body and body.replace(b"{%b}" % name.encode(), str(value).encode())
        return msgspec.structs.replace(self._history.request, path=path, body=body)

    def take(self, page: Sequence[Decoded]) -> None:
        """The answer to the last one. Malformed where it does not lead on."""
        times = [row.at for row in page if isinstance(row, Funding | OpenInterest | Candle)]
        count = len(times) + sum(len(row.rows) for row in page if isinstance(row, Unreadable))
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
