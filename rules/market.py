"""Everything the rules remember of the market: feeds, instruments, series. Dumped and loaded whole.

Invariants: memory is bounded, since memos forget by time and instruments silent for a day are
forgotten; what is loaded is exactly what was dumped, in the same order.

What the rules remember of one asset: its markets, their feeds, and what each said last.

Invariants: a line is up only if a FeedState or data said so after the last time it went down;
markets are always walked in one order (venue order, then symbol), so sums never depend on who
spoke first.
"""

from bisect import insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from rules.alerts import ALL
from rules.basis import Basis
from rules.interest import MAX_AGE, MEMOS, SUPPORT, Interest, stands_still
from rules.timeline import VenueClock
from rules.windows import LatestPrices, PriceWindow, Series
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    FeedState,
    Funding,
    Kind,
    Liquidation,
    MarketEvent,
    Ms,
    OpenInterest,
    Position,
    Price,
    Volume,
    exchange_of,
)

CLOCKS_APART: Ms = HOUR
"""A settlement may be so much later than the venue's clock, as far as that is known; a later one is
refused, since it would hide all true ones until then."""

FRESH: Ms = 20 * SECOND
"""A price so much older than another venue's newest one has no say: it may be of before a move."""

_PRICE = Kind.PRICE


class FeedUptime(msgspec.Struct, array_like=True):
    """One kind of feed."""

    up: bool
    since: Ms
    """Since when it has been up or down."""
    seen: Ms | None = None
    """When the last data came; None: none came."""

    def turn(self, up: bool, now: Ms) -> None:
        """A FeedState came; the same one again changes nothing."""
        if up != self.up:
            self.up, self.since = up, now

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.since = min(self.since, now)
        self.seen = None if self.seen is None else min(self.seen, now)

    def data(self, now: Ms) -> None:
        """Data came, which proves that the feed is up."""
        if not self.up:
            self.up, self.since = True, now
        self.seen = now


FeedUptimes = dict[Kind, FeedUptime]


class Memo(Protocol):
    """Something remembered of one market that survives a restart as bytes."""

    def dump(self) -> list[bytes]:
        """All of it; equal for equal memories."""
        ...

    def load(self, dumped: Sequence[bytes]) -> None:
        """Take over what was dumped. ValueError if it does not fit."""
        ...


M = TypeVar("M", bound=Memo)
T = TypeVar("T")
M_co = TypeVar("M_co", bound=Memo, covariant=True)


@runtime_checkable
class Lasting(Protocol):
    """A memo of which a part is still good after the clock was set back; all others are dropped."""

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        ...


@runtime_checkable
class Forgets(Protocol):
    """A memo that holds more for some time than it needs to be kept."""

    def forget(self, now: Ms) -> None:
        """Let go what nobody needs any more; called each hour."""
        ...


@dataclass(frozen=True, slots=True)
class Keep(Generic[M_co]):
    """A memo that a metric wants for every market, and how to make it. Equal names share it."""

    name: str
    make: Callable[[], M_co] = field(compare=False)


LIQUIDATED_FOR: Ms = 6 * HOUR
"""For so long it is remembered what was liquidated, whatever windows rules watch."""

LIQUIDATED_STEP: Ms = 10 * SECOND
"""A sum of it begins at a whole one of these."""

LIQUIDATED = Keep("liquidated", partial(Series, 2, LIQUIDATED_FOR, LIQUIDATED_STEP))
"""Running totals of long and short cents: whole numbers, so that sums are exact."""


class Rate(NamedTuple):
    """A funding rate."""

    at: Ms
    """When it was settled; of an estimate, when it came."""
    rate: float
    """A fraction per ``hours``."""
    hours: float

    @property
    def pct_8h(self) -> float:
        """In percent per 8 h."""
        return 100 * self.rate * 8 / self.hours


class Likeness(msgspec.Struct, array_like=True):
    """Whether a contract has the price of the others of its name, for ``rules.likeness``."""

    differs: bool | None = None
    """It has another price; None: it was never compared."""
    since: Ms = 0
    """Since when ``differs`` is so."""
    same: bool = False
    """It had their price once, for long enough to be the same asset."""
    stranger: bool = False
    """It is another asset, and operators know."""
    price: float | None = None
    """Its own when it last differed; None: it never did."""
    of_others: float | None = None
    """The price of the others then."""

    @property
    def counts(self) -> bool:
        """Whether the contract is added to the others. One that never had their price is not."""
        return not self.stranger and (self.same or not self.differs)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.since = min(self.since, now)


class Compared(msgspec.Struct, array_like=True):
    """What ``rules.drift`` compares of a contract, beside what the rules read."""

    usd_24h: float | None = None
    """Traded notional of the last 24 hours."""
    usual: float | None = None
    """Open interest of late, coins; USD of an inverse contract."""
    usual_at: Ms = 0
    """When it was last looked at for that."""
    dated: dict[Kind, Ms] = {}
    """The time of the venue in what came last, where it sends one."""

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.usual_at = min(self.usual_at, now)


class _Memos:
    """What metrics remember of one thing."""

    __slots__ = ("memos",)

    def __init__(self) -> None:
        self.memos: dict[str, Memo] = {}
        """By the name of their Keep."""

    def keep(self, keep: Keep[M]) -> M:
        """The memo of that name, made when first asked for."""
        memo = self.memos.get(keep.name)
        if memo is None:
            memo = self.memos[keep.name] = keep.make()
        return cast("M", memo)

    def memo(self, keep: Keep[M]) -> M | None:
        """The memo of that name, if there is one."""
        return cast("M | None", self.memos.get(keep.name))

    def set_memos_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: of memos only those that last are still good."""
        for name, memo in [*self.memos.items()]:
            if isinstance(memo, Lasting):
                memo.set_back(now)
            else:
                del self.memos[name]


class Market(_Memos):
    """One instrument. What was last sent is None while it is unknown."""

    __slots__ = (
        "basis", "clock", "compared", "exchange", "gone", "interest", "inverse", "likeness",
        "lines", "oi_base", "oi_usd", "one_side", "predicted", "prices", "quote", "rank", "settled",
        "spot", "spread_bp", "symbol", "throttled", "venue", "venue_lines",
    )  # fmt: skip

    def __init__(
        self,
        venue: str,
        symbol: str,
        rank: int,
        lines: FeedUptimes,
        venue_lines: FeedUptimes,
        price_keep: Ms,
        clock: VenueClock | None = None,
        spot: bool = False,
    ) -> None:
        super().__init__()
        self.spot = spot
        """The coins themselves are traded there."""
        self.venue = venue
        self.exchange = exchange_of(venue)
        """Whose venue it is: two venues of one exchange are one witness."""
        self.symbol = symbol
        self.rank = (rank, venue, symbol)
        """Its place in the order of markets."""
        self.lines = lines
        """The state of its own feeds."""
        self.venue_lines = venue_lines
        """The state of feeds of the venue as a whole."""
        self.clock = clock or VenueClock()
        """That of its venue."""
        self.prices = PriceWindow(price_keep)
        self.quote = ""
        """The currency of its prices; "": unknown."""
        self.basis = Basis()
        """How far its mark price is from its index price."""
        self.interest = Interest()
        """Which readings of its open interest are believed; those of inverse contracts are USD."""
        self.inverse = False
        """Its open interest is counted in USD, so that a price alone does not change it."""
        self.likeness = Likeness()
        self.compared = Compared()
        self.oi_base: float | None = None
        """Coins."""
        self.oi_usd: float | None = None
        """As the venue sent it."""
        self.one_side = True
        """False: both are up to twice what is open (``OpenInterest.one_side``)."""
        self.settled: Rate | None = None
        self.predicted: Rate | None = None
        self.spread_bp: float | None = None
        self.throttled = False
        """At most one of its liquidations a second is reported."""
        self.gone = False
        """It has left its venue's listing and says nothing any more, so it is not missing."""

    @property
    def coins_at_least(self) -> float:
        """Open interest of one side in coins, at least; 0 where none is told."""
        coins = self.oi_base or 0.0
        return coins if self.one_side else coins / 2

    def line(self, kind: Kind) -> FeedUptime | None:
        """The feed of that kind; None: never heard of, so not available here."""
        return self.lines.get(kind) or self.venue_lines.get(kind)

    def up(self, kind: Kind) -> bool:
        """Whether the feed is known to be up."""
        line = self.lines.get(kind) or self.venue_lines.get(kind)
        return line is not None and line.up

    def data(self, kind: Kind, now: Ms) -> FeedUptime:
        """Data of that kind came; the feed it came from, which stays the same."""
        line = self.lines.get(kind)
        if line is None:
            above = self.venue_lines.get(kind)
            line = FeedUptime(above.up, above.since) if above else FeedUptime(True, now)
            self.lines[kind] = line
        line.data(now)
        return line

    def take(self, event: MarketEvent, now: Ms) -> bool:
        """Remember what was sent last. False: it is no news, or cannot be true."""
        if isinstance(event, Price):
            return self._take_price(event, now)
        if isinstance(event, Funding):
            return self._take_funding(event, now)
        if isinstance(event, OpenInterest):
            return self._take_interest(event, now)
        if isinstance(event, Liquidation):
            self.throttled = event.throttled
            cents, long = round(event.usd * 100), event.position is Position.LONG
            self.keep(LIQUIDATED).add(now, (cents if long else 0, 0 if long else cents))
        if isinstance(event, Volume):
            self.compared.usd_24h = event.usd_24h
            self._date(Kind.VOLUME, event)
        return True

    def set_back(self, now: Ms, prices: PriceWindow) -> None:
        """The clock was set back to ``now``: what was measured has no known age. ``prices``: none
        yet."""
        self.prices = prices
        self.basis.set_back(now)
        self.interest.set_back(now)
        self.likeness.set_back(now)
        self.compared.set_back(now)
        self.set_memos_back(now)
        if self.predicted is not None:
            self.predicted = self.predicted._replace(at=min(self.predicted.at, now))

    def begin_anew(self) -> None:
        """What was heard of it until now is another asset's."""
        self.prices, self.basis = self.prices.empty(), Basis()
        self.interest, self.compared = Interest(), Compared()
        self.oi_base = self.oi_usd = self.spread_bp = None
        self.settled = self.predicted = None
        self.memos.clear()

    def last_heard(self) -> Ms | None:
        """When the last data of any kind came."""
        return max((x.seen for x in self.lines.values() if x.seen is not None), default=None)

    def _date(self, kind: Kind, event: MarketEvent) -> None:
        if event.at != event.seen:
            self.compared.dated[kind] = event.at
        else:  # the venue sends no time, or not with this one
            self.compared.dated.pop(kind, None)

    def _take_interest(self, event: OpenInterest, now: Ms) -> bool:
        self._date(Kind.OPEN_INTEREST, event)
        self.one_side = event.one_side
        self.inverse = event.inverse
        held = event.base if event.usd is None or not event.inverse else event.usd
        if self.interest.take(held, now, self._stands_still):
            # it weighs the venues against each other
            self.oi_base, self.oi_usd = event.base, event.usd
        # what is doubted may be confirmed by another venue
        return held > 0

    def _stands_still(self, now: Ms) -> bool:
        return stands_still(self.prices.at(now - SUPPORT), self.prices.now(now))

    def _take_price(self, event: Price, now: Ms) -> bool:
        price = event.last if self.spot else self.basis.price(event.mark, event.index, now)
        if price is None or price <= 0:
            return False
        self._date(_PRICE, event)
        self.quote = event.quote
        self.prices.take(price, now)
        return True

    def _take_funding(self, event: Funding, now: Ms) -> bool:
        if event.hours <= 0:
            return False
        if not event.settled:
            self._date(Kind.FUNDING, event)
            self.predicted = Rate(now, event.rate, event.hours)
            return True
        # every poll tells the last settlement again, and a history may come newest first
        last = self.settled
        if event.at > self.clock.time(now) + CLOCKS_APART or (
            last is not None and event.at < last.at
        ):
            return False
        if last is not None and event.at == last.at and event.hours == last.hours:
            return False  # with another interval it mends what was stored
        self.settled = Rate(event.at, event.rate, event.hours)
        return True


class EventCount:
    """Which event the engine is at. ``number`` goes up with each."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class View(_Memos):
    """One asset over all its venues, or one of its instruments alone (``only``).

    Spot markets are in a view of their own (``spot``), so that nothing that is said of perpetuals
    ever sees them. Its memos are of the asset over all its markets. ``moment``: between two events
    nothing is worked out twice (``once``); None: nobody counts events, so nothing is kept.
    """

    __slots__ = (
        "_known", "_known_at", "_markets", "_moment", "_spot", "asset", "assets", "ordered",
    )  # fmt: skip

    def __init__(
        self,
        asset: str,
        assets: Mapping[str, "View"] | None = None,
        moment: EventCount | None = None,
    ) -> None:
        super().__init__()
        self._moment = moment
        self._known_at = -1
        self._known: dict[object, object] = {}
        self.asset = asset
        """``rules.alerts.ALL``: the whole market."""
        self.assets: Mapping[str, View] = {} if assets is None else assets
        """All assets, in the view of the whole market; empty in others."""
        self.ordered: list[Market] = []
        """Its markets, without those that are another asset of the same name, and those that are
        gone (``everyone``)."""
        self._markets: dict[tuple[str, str], Market] = {}
        self._spot: View | None = None

    @property
    def spot(self) -> "View":
        """The same asset on spot markets."""
        if self._spot is None:
            self._spot = View(self.asset, moment=self._moment)
        return self._spot

    @property
    def all_markets(self) -> list[Market]:
        """Everyone, and everyone on spot markets."""
        return self.everyone if self._spot is None else [*self.everyone, *self._spot.everyone]

    def half_of(self, market: Market) -> "View":
        """This view, or that of spot markets: where ``market`` belongs."""
        return self.spot if market.spot else self

    def __iter__(self) -> Iterator[Market]:
        return iter(self.ordered)

    @property
    def everyone(self) -> list[Market]:
        """All markets of this name, in order."""
        if len(self._markets) == len(self.ordered):
            return self.ordered
        return sorted(self._markets.values(), key=_rank)

    @property
    def ended(self) -> list[Market]:
        """Markets of this asset that are gone: what they reported stays true."""
        if len(self._markets) == len(self.ordered):
            return []
        return [m for m in self.everyone if m.gone and m.likeness.counts]

    def only(self, market: Market) -> "View":
        """The view of one instrument, whether it is the asset or not."""
        view = View(self.asset, moment=self._moment)
        view._markets[(market.venue, market.symbol)] = market
        view.ordered.append(market)
        return view

    def market(self, venue: str, symbol: str) -> Market | None:
        """The market of that name, if it was heard of."""
        return self._markets.get((venue, symbol))

    def include(self, market: Market) -> None:
        """Adds a market at its place in the order."""
        self._markets[(market.venue, market.symbol)] = market
        self.sort(market)

    def sort(self, market: Market) -> None:
        """Puts one of the markets where it belongs, as long as it counts."""
        if market in self.ordered:
            self.ordered.remove(market)
        if market.likeness.counts and not market.gone:
            insort(self.ordered, market, key=_rank)

    def exclude(self, market: Market) -> None:
        """Forgets a market."""
        del self._markets[(market.venue, market.symbol)]
        if market in self.ordered:
            self.ordered.remove(market)

    def once(self, work: Callable[["View", Ms], T], now: Ms) -> T:
        """``work`` of this view and ``now``, done at the first time it is asked for since the last
        event: until the next one neither time nor what is remembered changes."""
        moment = self._moment
        if moment is None:
            return work(self, now)
        if self._known_at != moment.number:
            self._known_at = moment.number
            self._known.clear()
        elif work in self._known:
            return self._known[work]  # pyright: ignore[reportReturnType]  # a cast is a call
        result = self._known[work] = work(self, now)
        return result

    def price(self, now: Ms) -> float | None:
        """The price now, quote per coin: the middle one of the live venues."""
        live = self.once(live_prices, now)
        if len(live) == 1:
            return next(iter(live)).prices.last
        return middle([live[market] for market in speakers([*live])])

    def price_at(self, t: Ms) -> float | None:
        """The newest price not after ``t``, a moment of the past: the middle one of the venues."""
        known = [(m, x) for m in self.ordered if (x := m.prices.at(t)) is not None]
        if len(known) < 2:
            return known[0][1] if known else None
        prices = dict(known)
        return middle([prices[m] for m in largest_of_exchanges(prices)])

    def usd_held(self, price: float | None = None) -> Mapping[Market, float]:
        """The open interest of each market that tells one side of it, in USD: what may be added up.

        All coins at one ``price``, by default the newest: what a venue sent in USD before it
        dropped out of a crash is not weighed against what others sent after it. As it was sent
        where there is no price, and of inverse contracts.
        """
        return self.once(_usd_held, 0) if price is None else _added(_held_at(self, price))

    def usd_at_least(self, price: float | None = None) -> Mapping[Market, float]:
        """What each market holds at least, in the same way: weights, never told.

        Half of what a market tells where nobody knows whether that is one side or both.
        """
        return self.once(_held_now, 0) if price is None else _held_at(self, price)

    @property
    def not_added(self) -> tuple[str, ...]:
        """Venues whose open interest is in no sum: of which nobody knows what they count."""
        return venues([m for m in self.ordered if m.oi_base is not None and not m.one_side])


def _held_now(view: View, now: Ms) -> dict[Market, float]:
    """At the price that came last, whichever venue it is of."""
    newest: Market | None = None
    for market in view.ordered:
        if market.prices.last is not None and (
            newest is None or market.prices.seen > newest.prices.seen
        ):
            newest = market
    return _held_at(view, None if newest is None else newest.prices.last)


def _held_at(view: View, price: float | None) -> dict[Market, float]:
    held: dict[Market, float] = {}
    for market in view.ordered:
        usd = market.oi_usd
        if price is not None and market.oi_base is not None and not market.inverse:
            usd = market.oi_base * price
        if usd is not None:
            held[market] = usd if market.one_side else usd / 2
    return held


def _added(held: Mapping[Market, float]) -> dict[Market, float]:
    return {market: usd for market, usd in held.items() if market.one_side}


def _usd_held(view: View, now: Ms) -> Mapping[Market, float]:
    return _added(view.usd_at_least())


def live_prices(view: View, now: Ms) -> Mapping[Market, float]:
    """The markets whose price is known now and whose feed is up, in order, with that price."""
    live: dict[Market, float] = {}
    for market in view.ordered:
        price = market.prices.now(now)
        if price is not None:
            line = market.lines.get(_PRICE) or market.venue_lines.get(_PRICE)
            if line is not None and line.up:
                live[market] = price
    return live


def largest_of_exchanges(markets: Iterable[Market]) -> list[Market]:
    """One market of each exchange, the one with the most open interest; ``markets`` in order."""
    chosen: dict[str, Market] = {}
    for market in markets:
        other = chosen.get(market.exchange)
        if other is None or (market.oi_base or 0.0) > (other.oi_base or 0.0):
            chosen[market.exchange] = market
    return list(chosen.values())


def speakers(live: Sequence[Market]) -> list[Market]:
    """Whose prices are the asset's, of those that have one: each exchange's largest, if fresh.

    ``live`` in order.
    """
    if len(live) < 2:
        return list(live)
    chosen = largest_of_exchanges(live)
    seen = [m.prices.seen for m in chosen]
    since = max(seen) - FRESH
    return chosen if min(seen) >= since else [m for m in chosen if m.prices.seen >= since]


def middle(values: Sequence[float]) -> float | None:
    """The middle value, of two the one that comes first in ``values``; None of nothing."""
    if len(values) < 3:
        return values[0] if values else None
    ordered, half = sorted(values), len(values) // 2
    if len(values) % 2:
        return ordered[half]
    two = ordered[half - 1 : half + 1]
    return next(x for x in values if x in two)


def _rank(market: Market) -> tuple[int, str, str]:
    return market.rank


def whole(assets: Mapping[str, View], moment: EventCount | None = None) -> View:
    """The view of the whole market."""
    return View(ALL, assets, moment)


def venues(markets: Sequence[Market]) -> tuple[str, ...]:
    """The venues of these markets, each once, in the order of the markets."""
    return tuple(dict.fromkeys([m.venue for m in markets])) if markets else ()


SILENT: Ms = MINUTE
"""A contract is silent that no feed has spoken of for so long: the slowest ones are polled as
often, and a quiet contract may say nothing for half of it."""

FORGET_AFTER: Ms = DAY
"""An instrument without data for this long is delisted, or no longer asked for."""


class MarketDump(msgspec.Struct, array_like=True):
    """One instrument as dumped; its lines are with its venue."""

    venue: str
    symbol: str
    oi_base: float | None
    oi_usd: float | None
    settled: Rate | None
    predicted: Rate | None
    spread_bp: float | None
    prices: list[bytes]
    memos: dict[str, list[bytes]]
    doubted: float | None = None
    interest: Interest = msgspec.field(default_factory=Interest)
    likeness: Likeness = msgspec.field(default_factory=Likeness)
    latest: LatestPrices = msgspec.field(default_factory=LatestPrices)
    one_side: bool = True
    throttled: bool = False
    inverse: bool = False
    compared: Compared = msgspec.field(default_factory=Compared)
    gone: bool = False
    basis: Basis | float | None = None
    """A number in dumps of before ``Basis``, of which none is made."""
    spot: bool = False
    quote: str = ""


class ViewDump(msgspec.Struct, array_like=True):
    """One asset as dumped."""

    asset: str
    markets: list[MarketDump]
    memos: dict[str, list[bytes]] = {}


class VenueMemory(msgspec.Struct, array_like=True):
    """The feeds and the clock of a venue."""

    lines: FeedUptimes = {}
    """Feeds of the venue as a whole."""
    symbols: dict[str, FeedUptimes] = {}
    """Feeds of single instruments."""
    clock: VenueClock = msgspec.field(default_factory=VenueClock)


class MemoryDump(msgspec.Struct, array_like=True):
    """The whole memory as dumped."""

    venues: dict[str, VenueMemory] = {}
    views: list[ViewDump] = []
    market: dict[str, list[bytes]] = {}
    """What metrics remember of the market as a whole."""


class Memory:
    """All views and feeds. ``keeps``: the memos that the metrics in use want, all others go.

    ``moment``: that of its views.
    """

    def __init__(
        self,
        venue_order: Sequence[str],
        price_keep: Ms,
        keeps: Mapping[str, Keep[Memo]],
        moment: EventCount | None = None,
    ) -> None:
        self._moment = moment
        self.views: dict[str, View] = {}
        self.market = whole(self.views, moment)
        """All of them together."""
        self.venues: dict[str, VenueMemory] = {}
        self._order = {venue: rank for rank, venue in enumerate(venue_order)}
        self._price_keep = price_keep
        self._keeps: Mapping[str, Keep[Memo]] = {**keeps, LIQUIDATED.name: LIQUIDATED}

    def keeps(self, keep: Keep[M]) -> bool:
        """Whether a metric in use wants this memo."""
        return keep.name in self._keeps

    def view(self, asset: str) -> View:
        """The view of an asset, made when first asked for."""
        view = self.views.get(asset)
        if view is None:
            view = self.views[asset] = View(asset, moment=self._moment)
        return view

    def meet(self, view: View, venue: str, symbol: str, *, spot: bool = False) -> Market:
        """A market heard of for the first time; what its feeds said before is known already."""
        feeds = self._venue(venue)
        lines = feeds.symbols.setdefault(symbol, {})
        rank = self._order.get(venue, len(self._order))
        market = Market(
            venue, symbol, rank, lines, feeds.lines, self._price_keep, feeds.clock, spot
        )
        view.half_of(market).include(market)
        return market

    def hear(self, state: FeedState, now: Ms) -> None:
        """A feed went up or down; "*" overrules what was said of single symbols before."""
        venue = self._venue(state.venue)
        if state.symbol == "*":
            _turn(venue.lines, state, now)
            for lines in venue.symbols.values():
                if state.kind in lines:
                    lines[state.kind].turn(state.up, now)
        else:
            lines = venue.symbols.setdefault(state.symbol, {})
            above = venue.lines.get(state.kind)
            if above and state.kind not in lines:
                lines[state.kind] = FeedUptime(above.up, above.since)
            _turn(lines, state, now)

    def leave_out_gone(self, unlisted: Collection[tuple[str, str]], now: Ms) -> None:
        """Leaves out what its venue no longer lists (``unlisted``: venue and symbol) and is silent,
        while the venue speaks of others; takes back what is heard or listed again.

        A feed that is silent alone is missing, and so is what a listing lacks together with more
        than half of its venue: the listing may be what is wrong.
        """
        markets = [
            (view.half_of(market), market)
            for view in self.views.values()
            for market in view.all_markets
        ]
        if not unlisted and not any(market.gone for _, market in markets):
            return
        known = Counter([market.venue for _, market in markets])
        absent = Counter([m.venue for _, m in markets if (m.venue, m.symbol) in unlisted])
        speaking = {m.venue for _, m in markets if now - (m.last_heard() or 0) < SILENT}
        for view, market in markets:
            venue, silent = market.venue, now - (market.last_heard() or 0) >= SILENT
            gone = silent and (venue, market.symbol) in unlisted
            if gone and not market.gone:
                gone = venue in speaking and 2 * absent[venue] <= known[venue]
            if gone is not market.gone:
                market.gone = gone
                view.sort(market)

    def forget(self, now: Ms) -> list[tuple[str, Market]]:
        """Drops what was silent for a day, with the asset that it was of."""
        horizon = now - FORGET_AFTER
        gone: list[tuple[str, Market]] = []
        for view in list(self.views.values()):
            for market in list(view.all_markets):
                for memo in market.memos.values():
                    if isinstance(memo, Forgets):
                        memo.forget(now)
                if (market.last_heard() or 0) < horizon:
                    view.half_of(market).exclude(market)
                    self.venues[market.venue].symbols.pop(market.symbol, None)
                    gone.append((view.asset, market))
            if not view.all_markets:
                del self.views[view.asset]
        for venue in self.venues.values():
            for symbol, lines in list(venue.symbols.items()):
                if all(max(line.since, line.seen or 0) < horizon for line in lines.values()):
                    del venue.symbols[symbol]
        return gone

    def clocks(self) -> Iterator[VenueClock]:
        """The clocks of all venues."""
        return (venue.clock for venue in self.venues.values())

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: a hole, of which nobody knows how long it was."""
        self.market.set_memos_back(now)
        for view in self.views.values():
            view.set_memos_back(now)
            for market in view.all_markets:
                market.set_back(now, PriceWindow(self._price_keep))
        for venue in self.venues.values():
            for lines in (venue.lines, *venue.symbols.values()):
                for line in lines.values():
                    line.set_back(now)

    def dump(self) -> MemoryDump:
        """All of it, ready to be encoded; not a copy, so encode before the next event."""
        return MemoryDump(
            self.venues,
            [
                ViewDump(
                    view.asset,
                    [_dump_market(market) for market in view.all_markets],
                    {name: memo.dump() for name, memo in view.memos.items()},
                )
                for view in self.views.values()
            ],
            {name: memo.dump() for name, memo in self.market.memos.items()},
        )

    def load(self, dumped: MemoryDump, assets: Iterable[str], now: Ms, lost: list[str]) -> None:
        """Takes over what was dumped of ``assets`` at ``now``.

        What does not fit is named in ``lost``.
        """
        self.venues = dumped.venues
        self.views.clear()
        self._load_memos(self.market, dumped.market, lost)
        wanted = frozenset(assets)
        for saved in dumped.views:
            if saved.asset in wanted:
                self._load_view(saved, now, lost)

    def _load_view(self, dumped: ViewDump, now: Ms, lost: list[str]) -> None:
        view = self.view(dumped.asset)
        self._load_memos(view, dumped.memos, lost)
        for saved in dumped.markets:
            market = self.meet(view, saved.venue, saved.symbol, spot=saved.spot)
            market.oi_base, market.oi_usd = saved.oi_base, saved.oi_usd
            market.one_side, market.inverse = saved.one_side, saved.inverse
            market.settled, market.predicted = saved.settled, saved.predicted
            market.spread_bp, market.throttled = saved.spread_bp, saved.throttled
            market.interest, market.likeness = saved.interest, saved.likeness
            market.compared, market.gone = saved.compared, saved.gone
            market.quote = saved.quote
            market.basis = saved.basis if isinstance(saved.basis, Basis) else Basis()
            view.half_of(market).sort(market)
            where = f"memory.{saved.venue}/{saved.symbol}"
            if not _fits(market.prices, saved.prices):
                market.prices = PriceWindow(self._price_keep)
                lost.append(f"{where}.prices")
            else:
                market.prices.doubted = saved.doubted
                market.prices.latest = saved.latest
            for name, memo in saved.memos.items():
                keep = self._keeps.get(name)
                if keep and not _fits(market.keep(keep), memo):
                    del market.memos[name]
                    lost.append(f"{where}.{name}")
            _resume_interest(market, now)

    def _load_memos(self, view: View, dumped: Mapping[str, list[bytes]], lost: list[str]) -> None:
        for name, memo in dumped.items():
            keep = self._keeps.get(name)
            if keep and not _fits(view.keep(keep), memo):
                del view.memos[name]
                lost.append(f"memory.{view.asset}.{name}")

    def _venue(self, name: str) -> VenueMemory:
        venue = self.venues.get(name)
        if venue is None:
            venue = self.venues[name] = VenueMemory()
        return venue


def _fits(memo: Memo, dumped: Sequence[bytes]) -> bool:
    try:
        memo.load(dumped)
    except (ValueError, IndexError, OverflowError):
        return False
    return True


def _resume_interest(market: Market, now: Ms) -> None:
    """Of dumps older than ``Interest`` the newest sample of open interest is what was believed."""
    newest: tuple[Ms, float] | None = None
    for name, memo in market.memos.items():
        if not name.startswith(MEMOS) or not isinstance(memo, Series):
            continue
        at, sample = memo.last_time, memo.last
        if at is not None and sample and (newest is None or at > newest[0]):
            newest = at, sample[0]
    if newest is not None and now - newest[0] <= MAX_AGE:
        market.interest.resume(newest[1], newest[0])


def _turn(lines: FeedUptimes, state: FeedState, now: Ms) -> None:
    line = lines.get(state.kind)
    if line is None:
        lines[state.kind] = FeedUptime(state.up, now)
    else:
        line.turn(state.up, now)


def _dump_market(market: Market) -> MarketDump:
    return MarketDump(
        venue=market.venue,
        symbol=market.symbol,
        oi_base=market.oi_base,
        oi_usd=market.oi_usd,
        settled=market.settled,
        predicted=market.predicted,
        spread_bp=market.spread_bp,
        prices=market.prices.dump(),
        memos={name: memo.dump() for name, memo in market.memos.items()},
        doubted=market.prices.doubted,
        interest=market.interest,
        likeness=market.likeness,
        latest=market.prices.latest,
        one_side=market.one_side,
        throttled=market.throttled,
        inverse=market.inverse,
        compared=market.compared,
        gone=market.gone,
        basis=market.basis,
        spot=market.spot,
        quote=market.quote,
    )
