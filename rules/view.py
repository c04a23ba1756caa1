"""What the rules remember of one asset: its markets, their feeds, and one price for all of them.

Invariants: a line is up only if a FeedState or data said so after the last time it went down;
markets are always walked in one order (venue order, then symbol), so sums never depend on who
spoke first.
"""

from bisect import insort
from collections.abc import Iterator, Sequence

import msgspec

from rules.series import Series
from streams.events import Kind, Ms, OpenInterest, Price

PRICE_MAX_AGE: Ms = 60_000
"""A price older than this is not "now"."""

PRICE_SPACING: Ms = 10_000
"""Least distance of two samples of the asset's price."""


class Line(msgspec.Struct, array_like=True):
    """One kind of feed: ``up`` since ``since`` (or down since then), last data at ``seen``."""

    up: bool
    since: Ms
    seen: Ms | None = None

    def turn(self, up: bool, now: Ms) -> None:
        """A FeedState said up or down; saying it twice changes nothing."""
        if up != self.up:
            self.up, self.since = up, now

    def data(self, now: Ms) -> None:
        """Data came, which proves the line up."""
        if not self.up:
            self.up, self.since = True, now
        self.seen = now


Lines = dict[Kind, Line]


class Keep(msgspec.Struct, frozen=True):
    """A series that a metric wants for every market: see ``Series``. Equal names share it."""

    name: str
    width: int
    keep_ms: Ms
    spacing_ms: Ms = 0


class Market:
    """One instrument. ``lines``: its own feeds; ``venue_lines``: what holds for the whole venue.

    ``oi_base`` (coins) and ``oi_usd`` are the last open interest, None while unknown.
    ``notes`` caches what can be computed from the series; it is never dumped.
    """

    __slots__ = (
        "lines", "notes", "oi_base", "oi_usd", "rank", "series", "spread_bp", "symbol", "venue",
        "venue_lines",
    )  # fmt: skip

    def __init__(
        self, venue: str, symbol: str, rank: int, lines: Lines, venue_lines: Lines
    ) -> None:
        self.venue = venue
        self.symbol = symbol
        self.rank = (rank, venue, symbol)
        self.lines = lines
        self.venue_lines = venue_lines
        self.series: dict[str, Series] = {}
        self.notes: dict[str, tuple[Ms, float | None]] = {}
        self.oi_base: float | None = None
        self.oi_usd: float | None = None
        self.spread_bp: float | None = None

    def line(self, kind: Kind) -> Line | None:
        """The feed of that kind; None: never heard of, so not available here."""
        return self.lines.get(kind) or self.venue_lines.get(kind)

    def up(self, kind: Kind) -> bool:
        """Whether the feed is known to be up."""
        line = self.line(kind)
        return line is not None and line.up

    def live(self, kind: Kind, now: Ms, max_age: Ms) -> bool:
        """Whether the feed is up and its newest data not older than ``max_age``."""
        line = self.line(kind)
        return line is not None and line.up and line.seen is not None and now - line.seen <= max_age

    def data(self, kind: Kind, now: Ms) -> None:
        """Data of that kind came."""
        line = self.lines.get(kind)
        if line is None:
            above = self.venue_lines.get(kind)
            line = Line(above.up, above.since) if above else Line(True, now)
            self.lines[kind] = line
        line.data(now)

    def keep(self, keep: Keep) -> Series:
        """The series of that name, made when first asked for."""
        series = self.series.get(keep.name)
        if series is None:
            series = Series(keep.width, keep.keep_ms, keep.spacing_ms)
            self.series[keep.name] = series
        return series

    def last_heard(self) -> Ms | None:
        """When the last data of any kind came."""
        return max((x.seen for x in self.lines.values() if x.seen is not None), default=None)


class View:
    """One asset over all its venues. ``prices``: one index (else mark) price, quote per coin."""

    __slots__ = ("_markets", "asset", "ordered", "price_spacing", "prices", "source")

    def __init__(self, asset: str, price_keep: Ms) -> None:
        self.asset = asset
        # 360 samples a window at most: an hour at 10 s, a day at 4 min
        self.price_spacing = max(PRICE_SPACING, price_keep // 360)
        self.prices = Series(1, price_keep, self.price_spacing)
        self.source: Market | None = None
        self.ordered: list[Market] = []
        self._markets: dict[tuple[str, str], Market] = {}

    def __iter__(self) -> Iterator[Market]:
        return iter(self.ordered)

    def market(self, venue: str, symbol: str) -> Market | None:
        """The market of that name, if it was heard of."""
        return self._markets.get((venue, symbol))

    def include(self, market: Market) -> None:
        """Adds a market at its place in the order."""
        self._markets[(market.venue, market.symbol)] = market
        insort(self.ordered, market, key=lambda m: m.rank)

    def exclude(self, market: Market) -> None:
        """Forgets a market."""
        del self._markets[(market.venue, market.symbol)]
        self.ordered.remove(market)
        if self.source is market:
            self.source = None

    def take_price(self, market: Market, event: Price, now: Ms) -> None:
        """Samples the price if ``market`` is the first live venue that has one."""
        source = self.source
        if (
            source is not None
            and source is not market
            and source.rank < market.rank
            and source.live(Kind.PRICE, now, PRICE_MAX_AGE)
        ):
            return
        price = event.mark if event.index is None else event.index
        if price > 0:
            self.source = market
            self.prices.append(now, (price,))

    def take_open_interest(self, market: Market, event: OpenInterest) -> None:
        """Remembers the newest open interest: it weighs the venues against each other."""
        market.oi_base, market.oi_usd = event.base, event.usd

    def price(self, now: Ms) -> float | None:
        """The price now, None if the newest one is too old."""
        return self._price(now, PRICE_MAX_AGE)

    def price_at(self, t: Ms) -> float | None:
        """The price at ``t`` in the past, as exact as the samples are spaced."""
        return self._price(t, PRICE_MAX_AGE + self.price_spacing)

    def oi_usd(self, market: Market) -> float | None:
        """A market's open interest in USD; from coins at the last price where not sent."""
        if market.oi_usd is not None:
            return market.oi_usd
        last = self.prices.last
        if market.oi_base is None or last is None:
            return None
        return market.oi_base * last[0]

    def _price(self, t: Ms, max_age: Ms) -> float | None:
        sample = self.prices.at_or_before(t)
        return sample[1][0] if sample and t - sample[0] <= max_age else None


def venues(markets: Sequence[Market]) -> tuple[str, ...]:
    """The venues of these markets, each once, in the order of the markets."""
    return tuple(dict.fromkeys([m.venue for m in markets]))
