"""``lowtide verify``: a minute of the venues, held against what they say by a second way."""

import asyncio
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from bot.config import Settings
from bot.config.values import count
from bot.roles.streams import places
from rules.verify import INTERVALS, Agreement, CheckRow, Verification
from streams.clock import Clock, WallClock
from streams.events import Depth, Instrument, Kind, MarketEvent, Ms
from streams.feed.book import Book
from streams.feed.client import VenueClient
from streams.feed.hub import Hub, VenueAddress
from streams.feed.rest import Unavailable
from streams.feed.selection import Markets
from streams.text import printable
from streams.venue import (
    UNREADABLE,
    BookUpdate,
    Candle,
    ChannelNumber,
    Decoded,
    Listing,
    Mid,
    Place,
    Reply,
    Request,
    Terms,
    Unreadable,
)
from streams.venues import VENUES

_ROUND_S = 30
_CONNECTS_IN_S = 30.0
"""A venue that cannot be listened to after so long cannot be reached."""

_ANSWERS_IN_S = 30.0
_TAIL = 20
"""So many coins beside those that are named: more would take minutes to begin."""

_EACH = 3
"""Of so many contracts is asked what has to be asked one by one."""

_LOOK_S = 0.25
_COLUMNS = ("venue", "check", "against", "compared", "worst", "instrument", "verdict")


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    rows: list[CheckRow]
    unreached: dict[str, str]
    """Venue → why it cannot be listened to."""

    @property
    def well(self) -> bool:
        """Nothing drifts, and every venue was reached."""
        return not self.unreached and all(row.verdict is not Agreement.DRIFT for row in self.rows)


async def verify(settings: Settings, names: Collection[str], seconds: int) -> int:
    """Listen, print the table; the exit code. ``names``: venues, none for those configured."""
    unknown = [name for name in names if name not in VENUES]
    if unknown:
        text = f"no venue is called {unknown[0]!r}: choose from {', '.join(VENUES)}"
        print(text, file=sys.stderr)  # noqa: T201
        return 2
    configured = {place.venue.SPEC.name: place for place in places(settings)}
    chosen = [
        configured.get(name) or VenueAddress(venue=VENUES[name], proxies=settings.proxies)
        for name in names or configured
    ]
    titles = ", ".join(place.venue.SPEC.title for place in chosen)
    print(f"Listening to {titles} for {seconds} s.", file=sys.stderr)  # noqa: T201
    markets = msgspec.structs.replace(
        settings.markets, tail=min(settings.markets.tail, _TAIL), macro=False
    )
    outcome = await verified(chosen, markets, seconds, WallClock())
    print(check_table(outcome.rows))  # noqa: T201
    print(f"\n{outcome_in_short(outcome)}")  # noqa: T201
    for venue, reason in outcome.unreached.items():
        text = (
            f"{VENUES[venue].SPEC.title} cannot be reached, so nothing of it is checked: {reason}"
        )
        print(text, file=sys.stderr)  # noqa: T201
    return 0 if outcome.well else 1


async def verified(
    chosen: Sequence[VenueAddress], markets: Markets, seconds: float, clock: Clock
) -> Outcome:
    """Listen to these venues for so long, and judge what was heard in two rounds or more."""
    reasons = {
        place.venue.SPEC.name: {str(k): why for k, why in place.venue.SPEC.no_second_source.items()}
        for place in chosen
    }
    spot = [place.venue.SPEC.name for place in chosen if place.venue.SPEC.spot]
    verification = Verification(reasons, spot)
    hub = Hub(chosen, markets, verification.take, clock)
    listening = asyncio.create_task(hub.run())
    try:
        await _connected(hub, clock)
        reached = [client for client in hub.clients if not _trouble(client)]
        rounds = max(2, round(seconds / _ROUND_S)) if reached else 0
        sources = [_SecondSource(client, verification, clock) for client in reached]
        for _ in range(rounds):
            await clock.sleep(seconds / rounds / 2)
            await asyncio.gather(*(source.ask() for source in sources))
            await clock.sleep(seconds / rounds / 2)
            for client in reached:
                verification.take_gaps(client.venue.SPEC.name, *_gaps(client))
            verification.judge(clock.seen())
        unreached = {
            client.venue.SPEC.name: trouble
            for client in hub.clients
            if (trouble := _trouble(client))
        }
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return Outcome([row for row in verification.rows() if row.venue not in unreached], unreached)


async def _connected(hub: Hub, clock: Clock) -> None:
    """Wait until every venue can be listened to, but not for ever."""
    until = clock.now() + _CONNECTS_IN_S * 1000
    while any(_trouble(client) for client in hub.clients) and clock.now() < until:
        await clock.sleep(_LOOK_S)


def _trouble(client: VenueClient) -> str:
    """Why a venue cannot be listened to, "" if it can."""
    if client.trouble or client.poller is None:
        started = client.trouble not in ("", "starting")
        return client.trouble if started else "it did not answer in time"
    if not client.watched:
        return "it lists nothing of what is to be watched"
    closed = [socket.session for socket in client.sockets if not socket.session.connected]
    return closed[0].reason if closed and len(closed) == len(client.sockets) else ""


def _gaps(client: VenueClient) -> tuple[int, int]:
    """How many gaps there were in its books, and how many of them follow by a sequence."""
    sockets = [s.session for s in client.sockets if Kind.DEPTH in s.session.subscription.kinds]
    follows = [
        session
        for session in sockets
        if (symbols := session.subscription.symbols)
        and client.venue.resync(symbols[0], session.subscription)
    ]
    return sum(s.stats.gaps for s in follows), sum(s.books()[1] for s in follows)


class _SecondSource:
    """What a venue says by a second way, asked in each round; its listing is read anew once."""

    def __init__(self, client: VenueClient, verification: Verification, clock: Clock) -> None:
        self._name = client.venue.SPEC.name
        self._client = client
        self._verification = verification
        self._clock = clock
        self._listing: Listing | None = None

    async def ask(self) -> None:
        """Ask for all of it. Why something does not come is told to the verification."""
        if self._client.poller is None:
            return
        known = self._client.poller.listing.instruments
        try:
            async with asyncio.timeout(_ANSWERS_IN_S):
                if self._listing is None:
                    self._listing = await self._read_listing(known)
                listing = self._listing or Listing(instruments=known)
                self._take_intervals(listing.instruments.values())
                for request in self._client.venue.checks([*known.values()][:_EACH]):
                    await self._ask(request, listing)
        except TimeoutError:
            self._fail(f"it took longer than {_ANSWERS_IN_S:.0f} s to answer")

    async def _read_listing(self, known: Mapping[str, Instrument]) -> Listing | None:
        try:
            listed = self._client.venue.instruments(await self._client.listing_bodies())
        except Unavailable as error:
            self._fail(str(error))
            return None
        except UNREADABLE as error:
            self._fail(f"its listing could not be read: {error}")
            return None
        anew = {i.symbol: i for i in listed.instruments if i.symbol in known}
        changed = {
            symbol: f"{known[symbol].contract_size:g}, not {instrument.contract_size:g}"
            for symbol, instrument in anew.items()
            if known[symbol].contract_size != instrument.contract_size
        }
        self._verification.take_sizes(self._name, len(anew), changed)
        return Listing(instruments=anew, order=listed.order)

    def _take_intervals(self, instruments: Iterable[Instrument]) -> None:
        if INTERVALS in self._client.venue.SPEC.no_second_source:
            return
        for instrument in instruments:
            hours, symbol = instrument.funding_hours, instrument.symbol
            if hours is not None and not instrument.funding_assumed:
                self._verification.take_interval(self._name, symbol, hours, self._clock.seen())

    async def _ask(self, request: Request, listing: Listing) -> None:
        try:
            body = await self._client.rest.ask(request)
            seen = self._clock.seen()
            decoded = self._client.venue.decode_check(request, body, listing, seen)
        except Unavailable as error:
            self._fail(f"{request.path.partition('?')[0]}: {error}")
        except UNREADABLE as error:
            self._fail(f"{request.path.partition('?')[0]} could not be read: {error}")
        else:
            for item in decoded:
                fact = _fact(item, listing.instruments, seen)
                if fact is not None:
                    self._verification.take_second(fact)

    def _fail(self, reason: str) -> None:
        self._verification.fail(self._name, printable(reason))


def _fact(item: Decoded, known: Mapping[str, Instrument], seen: Ms) -> MarketEvent | None:
    """What the second source says, a book as a Depth; None for what is no number."""
    if isinstance(item, Terms | Reply | Unreadable | Place | Candle | ChannelNumber):
        return None
    if not isinstance(item, BookUpdate | Mid):
        return item
    of = known.get(item.symbol)
    if of is None:
        return None
    mid, spread_bp, bands, at = 0.0, None, (), seen
    if isinstance(item, Mid):
        mid = item.price
    else:
        book = Book()
        book.update(item)
        sample = book.sample()
        if isinstance(sample, str):
            return None
        mid, spread_bp, bands, at = sample.mid, sample.spread_bp, sample.bands, item.at
    return Depth(
        venue=of.venue, symbol=of.symbol, asset=of.asset, at=at, seen=seen,
        spot=of.spot, mid=mid, spread_bp=spread_bp, bands=bands,
    )  # fmt: skip


def check_table(rows: Sequence[CheckRow]) -> str:
    """The rows as a table of text."""
    lines = [_COLUMNS] + [
        (
            row.venue or "this machine",
            row.check,
            row.against,
            str(row.compared or ""),
            row.worst,
            row.instrument,
            row.verdict + (f": {row.reason}" if row.reason else ""),
        )
        for row in rows
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(_COLUMNS) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        )
        for line in lines
    )


def outcome_in_short(outcome: Outcome) -> str:
    """What the table comes to, in one line."""
    drifts = [row for row in outcome.rows if row.verdict is Agreement.DRIFT]
    if drifts:
        named = "; ".join(f"{row.venue or 'this machine'}: {row.check}" for row in drifts)
        return f"{count(len(drifts), 'check')} of {len(outcome.rows)} did not hold: {named}"
    missing = sum(row.verdict is Agreement.NOT_AVAILABLE for row in outcome.rows)
    if missing == len(outcome.rows):
        return "Nothing could be compared."
    return f"All that could be compared agrees: {len(outcome.rows) - missing} checks."
