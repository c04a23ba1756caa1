"""Order-book depth within a band around mid, in percent of what is normal.

Now: the median of the last minute's samples, so that one pulled quote is not a thin book. Normal:
the median of the minute medians of the last four hours. The same books on both sides; a sample
whose book does not reach the band's edge is no sample.
"""

from dataclasses import dataclass
from typing import NamedTuple

from rules.alerts import DepthFacts
from rules.metric import LEAST_SHARE, Reading, left_out, median
from rules.series import Series
from rules.view import Keep, Market, View, venues
from streams.events import Depth, Kind, MarketEvent, Ms

MINUTE: Ms = 60_000
CURRENT: Ms = MINUTE
NORMAL: Ms = 240 * MINUTE
HALF_HOUR: Ms = 30 * MINUTE
READY_MINUTES = 30
"""Minute medians needed before there is a normal."""

SPACING: Ms = 1_000
LEAST_SAMPLES = 3
LEAST_SPAN: Ms = 10_000
"""A median needs this many samples, over at least this time."""

MAX_AGE: Ms = 30_000
WARM_UP: Ms = MINUTE
"""A book that came back counts again after this time."""

_KINDS = frozenset({Kind.DEPTH})


class _Book(NamedTuple):
    market: Market
    usd: float
    normal_usd: float


@dataclass(frozen=True, slots=True)
class DepthMetric:
    """``depth_<bp>bp_pct_of_normal``: both sides together, 100 = normal."""

    name: str
    bp: int
    samples: Keep
    minutes: Keep
    unit: str = "% of normal"
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    lookback: Ms = NORMAL

    def keeps(self) -> tuple[Keep, ...]:
        return (self.samples, self.minutes)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, Depth):
            return False
        market.spread_bp = event.spread_bp
        for band in event.bands:
            if band.bp == self.bp and band.covered:
                samples = market.keep(self.samples)
                last = samples.last_time
                if last is not None and last // MINUTE != now // MINUTE:
                    self._close_minute(market, samples, last // MINUTE * MINUTE)
                samples.append(now, (band.bid_usd + band.ask_usd, band.bid_usd))
                return True
        return False

    def value(self, view: View, now: Ms) -> Reading | None:
        expected = self._expected(view, now)
        used = self._live(expected, now)
        normal = sum(b.normal_usd for b in used)
        usual = sum(usd for _, usd in expected)
        if normal <= 0 or normal < LEAST_SHARE * usual:
            return None
        usd = sum(b.usd for b in used)
        markets = [b.market for b in used]
        return Reading(
            value=100 * usd / normal,
            venues=venues(markets),
            missing=left_out([m for m, _ in expected], markets),
            floor_musd=(normal - usd) / 1e6,
        )

    def facts(self, view: View, now: Ms) -> DepthFacts | None:
        expected = self._expected(view, now)
        used = self._live(expected, now)
        if not used:
            return None
        usd = sum(b.usd for b in used)
        bid = sum(self._current(b.market, 1, now) or 0.0 for b in used)
        return DepthFacts(
            band_bp=self.bp,
            bid_usd=min(bid, usd),
            ask_usd=max(usd - bid, 0.0),
            normal_usd=sum(b.normal_usd for b in used),
            normal_ms=max(self._observed(b.market) for b in used),
            by_venue_pct=_by_venue(used),
            live=len(used),
            expected=len(expected),
            spread_bp=max(used, key=lambda b: b.usd).market.spread_bp,
        )

    def distance(self, value: float) -> float:
        return abs(100 - value)

    def _expected(self, view: View, now: Ms) -> list[tuple[Market, float]]:
        """The markets that have a normal, with it."""
        found = ((m, self._normal(m, now)) for m in view if self.minutes.name in m.series)
        return [(m, usd) for m, usd in found if usd is not None and usd > 0]

    def _live(self, expected: list[tuple[Market, float]], now: Ms) -> list[_Book]:
        books: list[_Book] = []
        for market, normal in expected:
            line = market.line(Kind.DEPTH)
            if line is None or not line.up or now - line.since < WARM_UP:
                continue
            usd = self._current(market, 0, now)
            if usd is not None:
                books.append(_Book(market, usd, normal))
        return books

    def _current(self, market: Market, column: int, now: Ms) -> float | None:
        samples = market.series[self.samples.name]
        last = samples.last_time
        if last is None or now - last > MAX_AGE:
            return None
        return _settled_median(samples, column, now - CURRENT, now)

    def _observed(self, market: Market) -> Ms:
        """How much of the last four hours the normal is made of, in whole half hours."""
        minutes = market.series[self.minutes.name]
        newest = minutes.last_time or 0
        count = len(minutes.values(0, minutes.window(newest - NORMAL, newest)))
        return min(NORMAL, count * MINUTE // HALF_HOUR * HALF_HOUR)

    def _normal(self, market: Market, now: Ms) -> float | None:
        """Cached until the next minute median: sorting four hours each second would be waste."""
        minutes = market.series[self.minutes.name]
        newest = minutes.last_time or 0
        noted = market.notes.get(self.minutes.name)
        if noted is None or noted[0] != newest:
            some = minutes.values(0, minutes.window(newest - NORMAL, newest))
            noted = (newest, median(some) if len(some) >= READY_MINUTES else None)
            market.notes[self.minutes.name] = noted
        return noted[1] if now - newest <= NORMAL else None

    def _close_minute(self, market: Market, samples: Series, start: Ms) -> None:
        # the window's ends are (after, until], a minute is [start, start + 60 s)
        usd = _settled_median(samples, 0, start - 1, start + MINUTE - 1)
        if usd is not None:
            market.keep(self.minutes).append(start + MINUTE - 1, (usd,))


def depth(name: str, bp: int) -> DepthMetric:
    """The metric of the band ``bp`` basis points wide on each side."""
    return DepthMetric(
        name,
        bp,
        samples=Keep(f"depth.{bp}", 2, 2 * MINUTE, SPACING),
        minutes=Keep(f"depth.{bp}.minutes", 1, NORMAL),
    )


def _settled_median(samples: Series, column: int, after: Ms, until: Ms) -> float | None:
    where = samples.window(after, until)
    if len(where) < LEAST_SAMPLES or samples.span(where) < LEAST_SPAN:
        return None
    return median(samples.values(column, where))


def _by_venue(books: list[_Book]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for market, usd, normal in books:
        sums = totals.get(market.venue, (0.0, 0.0))
        totals[market.venue] = (sums[0] + usd, sums[1] + normal)
    return {venue: 100 * usd / normal for venue, (usd, normal) in totals.items()}
