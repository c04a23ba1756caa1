"""Order-book depth within a band around mid, in percent of what is normal.

Now: the median of the last minute's samples, so that one pulled quote is not a thin book. Normal:
for ``_of_recent`` the median of the minute medians of the last four hours, while an episode is open
of those before it; for ``_of_normal`` the median of this hour of day over the last 14 days. The
same books on both sides; a sample whose book does not reach the band's edge is no sample.
"""

from dataclasses import dataclass
from typing import NamedTuple

from rules.alerts import DepthFacts, Scope
from rules.hours import READY_DAYS
from rules.metric import LEAST_SHARE, OF_ASSET, Reading, Warming, fall
from rules.metrics.book import Book
from rules.view import Keep, Market, Memo, View
from streams.events import BANDS_BP, Depth, Kind, MarketEvent, Ms

EVERY_OTHER: Ms = 2_000
"""The median of a minute moves slowly."""

WARM_UP: Ms = 60_000
"""A book that came back counts again after this time."""

_DAY: Ms = 24 * 3_600_000
_DEPTH = Kind.DEPTH
_KINDS = frozenset({_DEPTH})


class _Live(NamedTuple):
    market: Market
    book: Book
    usd: float
    normal_usd: float


@dataclass(frozen=True, slots=True)
class DepthMetric:
    """``depth_<bp>bp_pct_of_recent`` or ``depth_<bp>bp_pct_of_normal`` (``hourly``).

    Both sides together, 100 = normal.
    """

    name: str
    bp: int
    hourly: bool
    unit: str
    book: Keep[Book]
    place: int
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    idle_look: Ms | None = None
    look_every: Ms = EVERY_OTHER

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (self.book,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, Depth):
            return False
        bands, place = event.bands, self.place
        # books list the same bands in the same order, as a rule
        band = bands[place] if place < len(bands) else None
        if band is None or band.bp != self.bp:
            band = next((one for one in bands if one.bp == self.bp), None)
        if band is None or not band.covered:
            return False
        book = market.memos.get(self.book.name)
        if not isinstance(book, Book):
            book = market.keep(self.book)
        if book.taken is not event:
            book.taken = event
            market.spread_bp = event.spread_bp
            book.add(now, band.bid_usd + band.ask_usd, band.bid_usd)
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        # the hottest loop of all, so everything is in one
        usd = normal = usual = 0.0
        expected: list[Market] = []
        used: list[Market] = []
        name, hourly = self.book.name, self.hourly
        for market in view.ordered:
            book = market.memos.get(name)
            if not isinstance(book, Book):
                continue
            normally = book.hourly(now) if hourly else book.recent(now)
            if not normally:
                continue
            expected.append(market)
            usual += normally
            current = book.current(now)
            if current is not None and _warm(market, now):
                used.append(market)
                usd += current
                normal += normally
        if normal <= 0 or normal < LEAST_SHARE * usual:
            return None
        return Reading(
            value=100 * usd / normal,
            used=used,
            expected=expected,
            floor_musd=(normal - usd) / 1e6,
        )

    def facts(self, view: View, now: Ms) -> DepthFacts | None:
        reading = self.value(view, now)
        if reading is None:
            return None
        live = [
            _Live(market, book, book.current(now) or 0.0, self._normal(book, now) or 0.0)
            for market in reading.used
            if (book := market.memo(self.book)) is not None
        ]
        if not live:
            return None
        usd = sum(one.usd for one in live)
        bid = sum(one.book.bids(now) or 0.0 for one in live)
        return DepthFacts(
            band_bp=self.bp,
            bid_usd=min(bid, usd),
            ask_usd=max(usd - bid, 0.0),
            normal_usd=sum(one.normal_usd for one in live),
            normal_ms=max(self._normal_ms(one.book, now) for one in live),
            by_venue_pct=_by_venue(live),
            live=len(live),
            expected=len(reading.expected),
            spread_bp=max(live, key=lambda one: one.usd).market.spread_bp,
            hour=now // 3_600_000 % 24 if self.hourly else None,
        )

    def hold(self, view: View, instrument: bool, on: bool, now: Ms) -> None:
        """An episode of this view is open: its normal stays that of its opening. Or it is over."""
        if self.hourly:
            return  # two weeks do not sink with a crash
        for market in view.ordered:
            book = market.memo(self.book)
            if book is not None:
                book.hold(2 if instrument else 1, on, now)

    def distance(self, value: float) -> float:
        return fall(100 - value) if value < 100 else value - 100

    def warming(self, view: View, now: Ms) -> Warming | None:
        """How many days of this hour the longest watched book has, None once one is ready."""
        books = [book for market in view if (book := market.memo(self.book)) is not None]
        if not self.hourly or any(book.hourly(now) is not None for book in books):
            return None
        days = max((book.hours.days(now) for book in books), default=0)
        return Warming(metric=self.name, asset=view.asset, days=days, needed=READY_DAYS)

    def _normal(self, book: Book, now: Ms) -> float | None:
        return book.hourly(now) if self.hourly else book.recent(now)

    def _normal_ms(self, book: Book, now: Ms) -> Ms:
        return book.hours.days(now) * _DAY if self.hourly else book.recent_ms(now)


def of_recent(name: str, bp: int) -> DepthMetric:
    """The metric of the band ``bp`` basis points wide on each side, against the last hours."""
    return DepthMetric(
        name, bp, hourly=False, unit="% of recent", book=_keep(bp), place=BANDS_BP.index(bp)
    )


def of_normal(name: str, bp: int) -> DepthMetric:
    """The same against this hour of day over the last 14 days."""
    return DepthMetric(
        name, bp, hourly=True, unit="% of normal", book=_keep(bp), place=BANDS_BP.index(bp)
    )


def _keep(bp: int) -> Keep[Book]:
    return Keep(f"depth.{bp}", Book)


def _warm(market: Market, now: Ms) -> bool:
    line = market.lines.get(_DEPTH) or market.venue_lines.get(_DEPTH)
    return line is not None and line.up and now - line.since >= WARM_UP


def _by_venue(live: list[_Live]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for one in live:
        sums = totals.get(one.market.venue, (0.0, 0.0))
        totals[one.market.venue] = (sums[0] + one.usd, sums[1] + one.normal_usd)
    return {venue: 100 * usd / normal for venue, (usd, normal) in totals.items()}
