"""Exchanges in a crash: one market, told by each of them in frames as it writes them.

The frames go to the sessions of live use, what these say goes to the rules as they are shipped,
and time is virtual. Every half second the books and prices are told as the market is then; REST
answers come half a second after they were asked for.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import msgspec

from bot.config import load
from rules.alerts import Alert, AlertOrNotice, Level, Notice, Turn
from rules.engine import Engine
from streams.durations import HOUR
from streams.events import AnyEvent, Depth, FeedState, Instrument, Kind, Ms, Tick
from streams.feed.actions import Action, Fetch, Hangup, Send
from streams.feed.session import Session
from streams.venue import NO_CHANNELS, Listing, facts
from streams.venues import VENUES
from tests.streams import frames
from tests.streams.virtual import EPOCH

CONFIG = Path(__file__).parents[3] / "config.toml"
PRICE = 72_000.0
"""USD; here 20 of Hyperliquid's buckets of $10 reach 25 bp, and beyond 80,000 they do not."""

HALF: Ms = 500
"""Time between two moments of the market."""

POLL_EVERY: Ms = 15_000
CONTEXTS_EVERY: Ms = 13_000
"""Hyperliquid's contexts, as measured."""

Side = dict[int, float]


class Quotes(msgspec.Struct, frozen=True):
    """Resting orders: a level in each price step around ``mid`` (in steps).

    ``size``: coins in a level. ``pulled``: levels next to mid that are not there. ``empty``: the
    sides without any.
    """

    mid: int
    size: float
    pulled: int = 0
    empty: frozenset[str] = frozenset()

    def sides(self, count: int, rolling: bool) -> tuple[Side, Side]:
        """Bids and asks, ``count`` levels a side; ``rolling``: so many however many are pulled."""
        first, end = 1 + self.pulled, 1 + count + self.pulled * rolling
        away = range(first, max(first, end))
        bids = {} if "bids" in self.empty else {self.mid - n: self.size for n in away}
        return bids, {} if "asks" in self.empty else {self.mid + n: self.size for n in away}


@cache
def _price_text(step: float, place: int) -> str:
    return str(round(place * step, 8))


def _without(side: Side, other: Side) -> Side:
    return {place: size for place, size in side.items() if place not in other}


class Exchange:
    """One venue: its sessions, and what it has told so far.

    ``depth_musd``: both sides within 25 bp; ``base``: open interest in contracts of ``multiplier``
    coins. ``frozen``: its prices stand still though others move; ``crossed``: its book is;
    ``funding_hours``: the interval now in force. Prices and sizes here are those of a contract.
    """

    name = ""
    quote = "USDT"
    contract_size = 1.0
    depth_musd = 20.0
    base = 50_000.0
    step = 0.3
    count = 1_000
    rolling = False

    def __init__(self, market: "Crash", multiplier: float = 1.0) -> None:
        self.market, self.multiplier = market, multiplier
        self.symbol = f"{1000 if multiplier > 1 else ''}{market.asset}{self.quote}"
        venue = VENUES[self.name]
        known = [
            Instrument(
                venue=self.name, symbol=self.symbol, asset=market.asset, quote="USDT",
                funding_hours=8.0, multiplier=multiplier, contract_size=self.contract_size,
            )
        ]  # fmt: skip
        self.listing = Listing(instruments={self.symbol: known[0]}, order=(self.symbol,))
        self.listing.contracts.relist(known)
        self.sessions = {
            plan.name: Session(venue, plan, self.listing, lambda: 0.0)
            for plan in venue.subscriptions(known, venue.SPEC.kinds)
        }
        self.venue, self.known = venue, known
        self.coming: list[tuple[Ms, Callable[[], Sequence[Action]]]] = []
        self.frozen = False
        self.crossed = False
        self.wick, self.skips = 1.0, 0
        self.funding_hours = 8
        self.step *= market.price * multiplier / PRICE
        self.base *= PRICE / (market.price * multiplier)
        self.first = self.price = market.price * multiplier
        self.quotes = self.look()

    @property
    def book(self) -> Session:
        return self.sessions["book-1"]

    @property
    def talk(self) -> Session:
        """The session of all but books."""
        return next(s for name, s in self.sessions.items() if not name.startswith("book"))

    def look(self) -> Quotes:
        """The market's quotes as they are at this venue."""
        market, price = self.market, self.market.price * self.multiplier
        near = self.first * round(price / self.first, 2)  # so that sizes do not change all the time
        levels = near * 25 / 10_000 / self.step
        size = round(self.depth_musd * market.depth / 2 * 1e6 / levels / near, 6)
        pulled = round(price * market.pulled_bp / 10_000 / self.step)
        return Quotes(round(price / self.step), size, pulled, market.empty)

    def levels(self, side: Side) -> list[tuple[str, float]]:
        step = self.step
        return [(_price_text(step, place), size) for place, size in side.items()]

    def changes(self) -> list[list[tuple[str, float]]] | None:
        """What changed in the book since it was told last, None if nothing did."""
        was, self.quotes = self.quotes, self.look()
        if was == self.quotes:
            return None
        changed: list[list[tuple[str, float]]] = []
        sides = zip(
            was.sides(self.count, self.rolling), self.quotes.sides(self.count, self.rolling),
            strict=True,
        )  # fmt: skip
        for old, new in sides:
            gone = {place: 0.0 for place in old if place not in new}
            # all levels have one size, so the same size leaves what was there as it is
            other = new if was.size != self.quotes.size else _without(new, old)
            changed.append(self.levels(gone | other))
        return changed

    def open(self, session: Session) -> Sequence[Action]:
        return session.opened(self.market.now)

    def hear(self, session: Session, *messages: bytes) -> Iterator[Action]:
        for message in messages:
            yield from session.received(message, self.market.now, self.market.seen)

    def moment(self) -> Iterator[Action]:
        """What this venue tells now."""
        if not self.frozen:  # and no price stands quite still
            price = self.market.price * self.multiplier
            self.price = float(f"{price * (1 + self.market.now // HALF % 7 / 1e5):.8g}")
        messages = [*self.tell_book()]
        if self.skips and messages:
            self.skips, messages = self.skips - 1, []
        yield from self.hear(self.book, *messages)
        price, self.price = self.price, self.price * self.wick
        messages = [*self.tell()]
        self.price, self.wick = price, 1.0 if messages else self.wick
        yield from self.hear(self.talk, *messages)
        for _at, answer in [entry for entry in self.coming if entry[0] <= self.market.now]:
            self.coming = [entry for entry in self.coming if entry[1] is not answer]
            yield from answer()

    def tick(self) -> Iterator[Action]:
        for session in self.sessions.values():
            yield from session.tick(self.market.now, self.market.seen)

    def begin(self) -> Iterator[Action]:
        for session in self.sessions.values():
            yield from self.open(session)

    def cut(self, session: Session, seconds: float) -> Iterator[Action]:
        """The socket breaks, and is there again after so long."""
        states, _ = session.closed("the connection broke", self.market.seen)
        back = self.market.now + round(seconds * 1_000)
        self.coming.append((back, lambda: self.open(session)))
        yield from states

    def liquidate(self, usd: float, long: bool) -> Iterator[Action]:
        """A position of this size, at the market's price."""
        return iter(())

    def tell_book(self) -> Iterator[bytes]:
        raise NotImplementedError

    def tell(self) -> Iterator[bytes]:
        raise NotImplementedError

    def do(self, action: Action) -> None:
        """What a session wants done."""
        if isinstance(action, Hangup):
            raise AssertionError(f"{self.name}: {action.reason}")


class Binance(Exchange):
    """Changes of the whole book, and snapshots of 1000 levels by REST, which reach ``REACH_BP``."""

    name = "binance"
    base = 80_000.0
    REACH_BP = 25.0
    step = round(PRICE * REACH_BP / 1e7, 3)
    count = 2_500
    last = 100
    rest_away = False

    def tell_book(self) -> Iterator[bytes]:
        changed = self.changes() or [[], []]
        self.last += 1
        if self.crossed:
            changed[0].append((_price_text(self.step, self.quotes.mid + 3), 1.0))
        yield frames.change(
            self.symbol, self.last, self.last, *changed, at=self.market.seen,
            previous=self.last - 1,
        )  # fmt: skip

    def tell(self) -> Iterator[bytes]:
        if self.market.now % 1_000 == 0:
            at = self.market.seen
            yield frames.marks(self.symbol, at=at, price=self.price)
            yield frames.minis(self.symbol, at=at)

    def liquidate(self, usd: float, long: bool) -> Iterator[Action]:
        price = self.price
        yield from self.hear(
            self.talk,
            frames.forced(self.symbol, usd / price, self.market.seen, price=price, long=long),
        )

    def poll(self) -> Sequence[Action]:
        poll = self.venue.polls(self.known, frozenset((Kind.OPEN_INTEREST,)))[0]
        body = {"symbol": self.symbol, "openInterest": f"{self.base * self.market.oi:.3f}",
                "time": self.market.seen}  # fmt: skip
        body = msgspec.json.encode(body)
        return self.venue.decode_poll(poll, body, self.listing, self.market.seen)  # type: ignore[return-value]

    def tick(self) -> Iterator[Action]:
        yield from super().tick()
        if self.market.now % POLL_EVERY == 0:
            yield from self.poll()

    def begin(self) -> Iterator[Action]:
        yield from super().begin()
        for kind in (Kind.OPEN_INTEREST,):
            yield FeedState(
                venue=self.name, symbol=self.symbol, kind=kind, seen=self.market.seen, up=True
            )

    def answer(self) -> Sequence[Action]:
        bids, asks = self.quotes.sides(self.count, rolling=False)
        nearest = [self.levels(dict(islice(side.items(), 1_000))) for side in (bids, asks)]
        body = frames.snapshot(self.last, *nearest, at=self.market.seen)
        return self.book.fetched(self.symbol, body, self.market.now, self.market.seen)

    def do(self, action: Action) -> None:
        super().do(action)
        if isinstance(action, Fetch) and not self.rest_away:
            # as of when the venue writes it, which is when it comes here
            self.coming.append((self.market.now + HALF, lambda: self.answer()))


class Bybit(Exchange):
    """The best 1000 levels and their changes, within 40 bp."""

    name = "bybit"
    rolling = True
    last = 0
    fresh = True
    alternates = False
    """Its tickers tell one of two prices at a time."""
    hours_told: int | None = None
    """An interval that is no longer in force, while it still says so."""

    def tell_book(self) -> Iterator[bytes]:
        self.last += 1
        changed = self.changes()
        if self.fresh:
            changed = [self.levels(side) for side in self.quotes.sides(self.count, True)]
        elif changed is None and not self.crossed and self.market.now % 5_000:
            self.last -= 1
            return
        changed = changed or [[], []]
        if self.crossed:
            changed[0].append((_price_text(self.step, self.quotes.mid + 3), 1.0))
        at, fresh, self.fresh = self.market.seen, self.fresh, False
        yield frames.bybit_book(self.symbol, self.last, *changed, delta=not fresh, at=at)

    def tell(self) -> Iterator[bytes]:
        price, base, at = self.price, self.base * self.market.oi, self.market.seen
        if self.alternates and self.market.now % (4 * HALF):
            name = ("markPrice", "indexPrice")[self.market.now // HALF % 2]
            yield frames.ticker_delta(self.symbol, at, **{name: str(price)})
            return
        hours, hours_told = self.funding_hours, self.hours_told or self.funding_hours
        next_at = (at // (hours * HOUR) + 1) * hours * HOUR
        yield frames.ticker(
            self.symbol, at, markPrice=str(price), indexPrice=str(price),
            singleOpenInterest=f"{base:.3f}", singleOpenInterestValue=f"{base * price:.2f}",
            fundingRate=f"{self.market.rate * hours / 8:.10f}",
            fundingIntervalHour=str(hours_told), nextFundingTime=str(next_at),
        )  # fmt: skip

    def liquidate(self, usd: float, long: bool) -> Iterator[Action]:
        size, at = usd / self.price, self.market.seen
        frame = frames.liquidated(self.symbol, size, at=at, price=self.price, long=long)
        yield from self.hear(self.talk, frame)

    def do(self, action: Action) -> None:
        super().do(action)
        if (
            isinstance(action, Send)
            and b'"subscribe"' in action.data
            and b"orderbook" in action.data
        ):
            self.fresh = True


class Hyperliquid(Exchange):
    """Twenty buckets a side each time, and all the rest every 13 s."""

    name = "hyperliquid"
    quote = ""
    depth_musd = 10.0
    base = 30_000.0
    step = 10.0
    count = 20
    rolling = True
    due: Ms = 0

    def tell_book(self) -> Iterator[bytes]:
        self.quotes = self.look()
        bids, asks = map(self.levels, self.quotes.sides(self.count, rolling=True))
        if self.crossed:
            bids = [(asks[1][0], 1.0), *bids[:-1]]
        yield frames.coin_book(self.symbol, bids, asks, at=self.market.seen)

    def tell(self) -> Iterator[bytes]:
        if self.market.now >= self.due:
            self.due = self.market.now + CONTEXTS_EVERY
            yield frames.contexts_at(self.price, interest=round(self.base * self.market.oi, 3))


class Okx(Exchange):
    """The best 400 levels and their changes, within 33 bp; prices each half second, the rest by
    REST; liquidations on a socket of their own."""

    name = "okx"
    quote = "-USDT-SWAP"
    contract_size = frames.CONTRACT
    step = 0.6
    count = 400
    rolling = True
    last = 0
    fresh = True

    def open(self, session: Session) -> Sequence[Action]:
        actions = [*super().open(session)]
        if session is self.talk:
            actions += self.hear(session, frames.okx_opens())
        return actions

    def hear(self, session: Session, *messages: bytes) -> Iterator[Action]:
        for message in messages:
            is_price = b"mark-price" in message or b"index-tickers" in message
            yield from super().hear(self.sessions["price-1"] if is_price else session, message)

    def tell_book(self) -> Iterator[bytes]:
        changed = self.changes()
        if self.fresh:
            changed = [self.levels(side) for side in self.quotes.sides(self.count, True)]
        elif changed is None and not self.crossed and self.market.now % 5_000:
            return
        changed = changed or [[], []]
        if self.crossed:
            changed[0].append((_price_text(self.step, self.quotes.mid + 3), 1.0))
        previous, self.last = None if self.fresh else self.last, self.last + 5
        self.fresh = False
        yield frames.okx_book(self.symbol, self.last, *changed, previous, self.market.seen)

    def tell(self) -> Iterator[bytes]:
        yield frames.okx_price(self.symbol, self.price, self.market.seen)
        yield frames.okx_index(self.symbol, self.price, self.market.seen)

    def liquidate(self, usd: float, long: bool) -> Iterator[Action]:
        size, at = usd / self.price, self.market.seen
        frame = frames.okx_forced(self.symbol, size, at=at, price=self.price, long=long)
        yield from self.hear(self.talk, frame)

    def tick(self) -> Iterator[Action]:
        for session in self.sessions.values():
            yield from super().hear(session, b"pong")
        yield from super().tick()
        at, base, hours = self.market.seen, self.base * self.market.oi, self.funding_hours
        rate = f"{self.market.rate * hours / 8:.10f}"
        rows = {
            Kind.OPEN_INTEREST: frames.okx_interest(self.symbol, base, at),
            Kind.FUNDING: frames.okx_funding(
                self.symbol, at, hours, fundingRate=rate, settFundingRate=rate
            ),
        }
        rows[Kind.OPEN_INTEREST]["oiUsd"] = f"{base * self.price:.2f}"
        for poll in self.venue.polls(self.known, frozenset(rows)):
            if self.market.now % round(poll.every_s * 1_000) == 0:
                settled = frames.okx_settled(self.symbol, at, hours, realizedRate=rate)
                body = frames.okx_answer(settled if poll.request.symbol else [rows[poll.kind]])
                decoded = self.venue.decode_poll(poll, body, self.listing, at)
                yield from facts(decoded, self.listing.contracts)[0]

    def begin(self) -> Iterator[Action]:
        yield from super().begin()
        for kind in (Kind.OPEN_INTEREST, Kind.FUNDING):
            yield FeedState(venue=self.name, symbol="*", kind=kind, seen=self.market.seen, up=True)

    def do(self, action: Action) -> None:
        super().do(action)
        if isinstance(action, Send) and b'"subscribe"' in action.data and b"books" in action.data:
            self.fresh = True


class Gate(Exchange):
    """The best 400 levels and their changes; tickers each half second; liquidations on a socket of
    their own. Nobody knows whether its open interest counts one side: here it counts both."""

    name = "gate"
    quote = "_USDT"
    contract_size = frames.CONTRACT
    base = 100_000.0
    step = 0.6
    count = 400
    rolling = True
    last = 0
    fresh = True

    def open(self, session: Session) -> Sequence[Action]:
        actions = [*super().open(session)]
        if session is self.talk:
            actions += self.hear(session, frames.gate_opens())
        return actions

    def hear(self, session: Session, *messages: bytes) -> Iterator[Action]:
        for message in messages:
            is_ticker = b"futures.tickers" in message
            yield from super().hear(self.sessions["ticker-1"] if is_ticker else session, message)

    def tell_book(self) -> Iterator[bytes]:
        changed = self.changes()
        if self.fresh:
            changed = [self.levels(side) for side in self.quotes.sides(self.count, True)]
        elif changed is None and not self.crossed and self.market.now % 5_000:
            return
        changed = changed or [[], []]
        if self.crossed:
            changed[0].append((_price_text(self.step, self.quotes.mid + 3), 1.0))
        first, self.last = None if self.fresh else self.last + 1, self.last + 5
        self.fresh = False
        yield frames.gate_book(self.symbol, self.last, *changed, first, self.market.seen)

    def tell(self) -> Iterator[bytes]:
        hours, at = self.funding_hours, self.market.seen
        rate = f"{self.market.rate * hours / 8:.10f}"
        coins = self.base * self.market.oi
        yield frames.gate_ticker(self.symbol, self.price, coins, at, hours, funding_rate=rate)

    def liquidate(self, usd: float, long: bool) -> Iterator[Action]:
        size, at = usd / self.price, self.market.seen
        frame = frames.gate_forced(self.symbol, size, at=at, price=self.price, long=long)
        yield from self.hear(self.talk, frame)

    def tick(self) -> Iterator[Action]:
        for session in self.sessions.values():
            yield from super().hear(session, frames.gate_pong(self.market.seen))
        yield from super().tick()

    def do(self, action: Action) -> None:
        super().do(action)
        if isinstance(action, Send) and b'"subscribe"' in action.data and b"obu" in action.data:
            self.fresh = True


KINDS: Mapping[str, type[Exchange]] = {
    kind.name: kind for kind in (Binance, Bybit, Hyperliquid, Okx, Gate)
}


@cache
def _warm(venues: tuple[str, ...]) -> "Crash":
    crash = Crash(*venues)
    crash.calm()
    return crash


def after_calm(*venues: str) -> "Crash":
    """A market that has stood still for an hour, which is played once for all who ask for it."""
    return _warm(venues).copy()


class Crash:
    """One market on some venues, and the shipped rules.

    ``price`` USD; ``oi``, ``depth``: parts of what they were at first; ``burst``: million USD
    liquidated each minute, longs or (``long`` False) shorts, on each venue in turn. ``rate``: of
    funding, a fraction in 8 h. ``multipliers``: coins in a contract, where that is not one.
    """

    def __init__(
        self,
        *venues: str,
        price: float = PRICE,
        asset: str = "BTC",
        multipliers: Mapping[str, float] = {},
    ) -> None:
        self.now: Ms = 0
        self.asset, self.rate = asset, 0.0001
        self.price, self.oi, self.depth, self.burst = price, 1.0, 1.0, 0.0
        self.long = True
        self.pulled_bp = 0.0
        self.empty: frozenset[str] = frozenset()
        settings = load(CONFIG, {})
        names = [venue.name for venue in settings.venues]
        self.engine = Engine(settings.rules, names, settings.composites)
        self.spoken: list[AlertOrNotice] = []
        self.events: list[AnyEvent] = []
        self.prices: list[tuple[Ms, float]] = []
        self.liquidated: list[tuple[Ms, float]] = []
        self.reported: list[tuple[Ms, float]] = []
        self.venues = {name: KINDS[name](self, multipliers.get(name, 1.0)) for name in venues}
        self._turns = 0
        for venue in self.venues.values():
            self.take(venue, venue.begin())

    @property
    def seen(self) -> Ms:
        return EPOCH + self.now

    def take(self, venue: Exchange, actions: Iterator[Action] | Sequence[Action]) -> None:
        """What a session says and wants."""
        for action in actions:
            venue.do(action)
            if isinstance(action, AnyEvent):
                self._feed(action)

    def play(self, seconds: float, every: Ms = HALF, **targets: float) -> None:
        """So many seconds; ``targets``: what the market is at their end, reached in a line."""
        steps = round(seconds * 1_000 / every)
        starts = {name: getattr(self, name) for name in targets}
        for n in range(1, steps + 1):
            self.now += every
            for name, target in targets.items():
                begin = starts[name]
                setattr(self, name, begin + (target - begin) * n / steps)
            # books change size now and then, not in every level all the time
            self.depth = round(self.depth, 2)
            self.prices.append((self.seen, self.price))
            for venue in self.venues.values():
                self.take(venue, venue.moment())
            if self.burst and self.now % 1_000 == 0:
                self._liquidate()
            if self.now % 1_000 == 0:
                for venue in self.venues.values():
                    self.take(venue, venue.tick())
                self._feed(Tick(seen=self.seen))

    def calm(self, minutes: float = 62.0) -> None:
        """As it is, in steps of 5 s, the last minute as in a crash."""
        self.play((minutes - 1) * 60, every=5_000)
        self.play(60)

    def copy(self) -> "Crash":
        """The same market once more, which goes its own way from here."""
        assert not any(venue.coming for venue in self.venues.values())  # they are of this one
        shared = [NO_CHANNELS, *VENUES.values(), *self.events, *self.spoken]  # which nobody changes
        return copy.deepcopy(self, {id(item): item for item in shared})

    def _liquidate(self) -> None:
        able = [v for v in self.venues.values() if v.name != "hyperliquid"]
        venue = able[self._turns % len(able)]
        self._turns += 1
        usd = self.burst * 1e6 / 60
        self.liquidated.append((self.seen, usd))
        if venue.talk.connected:
            self.reported.append((self.seen, usd))
        self.take(venue, venue.liquidate(usd, self.long))

    def _feed(self, event: AnyEvent) -> None:
        self.events.append(event)
        self.spoken += self.engine.feed(event)

    # ── what came of it ─────────────────────────────────────────────────

    @property
    def alerts(self) -> list[Alert]:
        return [item for item in self.spoken if isinstance(item, Alert)]

    @property
    def notices(self) -> list[Notice]:
        return [item for item in self.spoken if isinstance(item, Notice)]

    def of(self, family: str, *turns: Turn) -> list[Alert]:
        return [a for a in self.alerts if a.family == family and (not turns or a.turn in turns)]

    def reached(self, family: str, level: Level) -> Alert:
        """The first alert of ``level`` or above."""
        return next(a for a in self.of(family) if a.turn is not Turn.CLOSE and a.level >= level)

    def when_price(self, percent: float, since: Ms = 0) -> Ms:
        """When the market's price was so many percent away from its first."""
        first = self.prices[0][1]
        sign = 1 if percent > 0 else -1
        return next(
            at for at, price in self.prices
            if sign * (price / first - 1) * 100 > sign * percent
        )  # fmt: skip

    def when_liquidated(self, musd: float) -> Ms:
        """When so many million USD had been liquidated, as far as a venue could report it."""
        total = 0.0
        for at, usd in self.reported:
            total += usd
            if total + 0.01 >= musd * 1e6:  # in whole cents
                return at
        raise AssertionError(f"no {musd} million USD were liquidated")

    def depths(self, venue: str, since: Ms) -> list[Depth]:
        return [
            e for e in self.events if isinstance(e, Depth) and e.venue == venue and e.seen > since
        ]

    def turns(self, venue: str, kind: Kind, since: Ms = 0) -> list[tuple[bool, str]]:
        return [
            (e.up, e.reason) for e in self.events
            if isinstance(e, FeedState) and e.venue == venue and e.kind is kind and e.seen > since
        ]  # fmt: skip
