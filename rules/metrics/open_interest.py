"""Net change of open interest in coins over a window: positions opened or closed, price removed.

Coins of each market at both ends of the window, the same markets on both sides, both ends taken
at the newest moment that all of them have reached. With one price P0 for the asset at the start,
``net_usd = (coins after - coins before) * P0`` and the rest of the change in USD is only price.
"""

from dataclasses import dataclass
from typing import NamedTuple

from rules.alerts import OpenInterestFacts
from rules.metric import LEAST_SHARE, Reading, left_out
from rules.series import Series
from rules.view import Keep, Market, View, venues
from streams.events import Kind, MarketEvent, Ms, OpenInterest

MAX_AGE: Ms = 180_000
"""A sample older than this at either end is missing: three polls of a slow feed (60 s)."""

SLOTS = 240
"""Most samples kept for one window and market: 15 s apart in an hour, 6 min in a day."""

_KINDS = frozenset({Kind.OPEN_INTEREST})


class _Ends(NamedTuple):
    market: Market
    before: float
    after: float


class _Span(NamedTuple):
    start: Ms
    end: Ms
    ends: list[_Ends]

    @property
    def before(self) -> float:
        return sum([e.before for e in self.ends])

    @property
    def after(self) -> float:
        return sum([e.after for e in self.ends])


@dataclass(frozen=True, slots=True)
class OpenInterestMetric:
    """``oi_net_<duration>_pct``: percent of the coins held at the window's start."""

    name: str
    window: Ms
    samples: Keep
    max_age: Ms
    unit: str = "%"
    kinds: frozenset[Kind] = _KINDS

    @property
    def lookback(self) -> Ms:
        return self.window + self.max_age

    def keeps(self) -> tuple[Keep, ...]:
        return (self.samples,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, OpenInterest):
            return False
        market.keep(self.samples).append(now, (event.base,))
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        expected = _expected(view)
        span = self._span(expected, now)
        if span is None:
            return None
        before, after = span.before, span.after
        usual = sum(m.oi_base or 0.0 for m in expected)
        if before <= 0 or after < LEAST_SHARE * usual:
            return None
        used = [e.market for e in span.ends]
        price = view.price_at(span.start)
        return Reading(
            value=100 * (after - before) / before,
            venues=venues(used),
            missing=left_out(expected, used),
            floor_musd=None if price is None else before * price / 1e6,
        )

    def facts(self, view: View, now: Ms) -> OpenInterestFacts | None:
        span = self._span(_expected(view), now)
        if span is None:
            return None
        first, last = view.price_at(span.start), view.price(now)
        before, after = span.before, span.after
        return OpenInterestFacts(
            window_ms=self.window,
            before_base=before,
            after_base=after,
            net_usd=None if first is None else (after - before) * first,
            price_usd=None if first is None or last is None else after * (last - first),
            by_venue_pct=_by_venue(span.ends),
        )

    def distance(self, value: float) -> float:
        return abs(value)

    def _span(self, markets: list[Market], now: Ms) -> _Span | None:
        """Both ends of the window, aligned at the slowest fresh market's newest sample."""
        fresh: list[tuple[Market, Series]] = []
        end = now
        for market in markets:
            series = market.series.get(self.samples.name)
            newest = series.last_time if series and market.up(Kind.OPEN_INTEREST) else None
            if series and newest is not None and now - newest <= MAX_AGE:
                fresh.append((market, series))
                end = min(end, newest)
        start = end - self.window
        ends: list[_Ends] = []
        for market, series in fresh:
            before, after = self._at(series, start), self._at(series, end)
            if before is not None and after is not None:
                ends.append(_Ends(market, before, after))
        return _Span(start, end, ends) if ends else None

    def _at(self, series: Series, t: Ms) -> float | None:
        sample = series.at_or_before(t)
        return sample[1][0] if sample and t - sample[0] <= self.max_age else None


def open_interest(name: str, window: Ms) -> OpenInterestMetric:
    """The metric over ``window``. Samples lie at most ``window / SLOTS`` apart."""
    spacing = max(1, window // SLOTS)
    max_age = max(MAX_AGE, 3 * spacing)
    keep = Keep(f"oi.{window}", 1, window + max_age, spacing)
    return OpenInterestMetric(name, window, keep, max_age)


def _expected(view: View) -> list[Market]:
    return [m for m in view if m.oi_base is not None]


def _by_venue(ends: list[_Ends]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for market, before, after in ends:
        sums = totals.get(market.venue, (0.0, 0.0))
        totals[market.venue] = (sums[0] + before, sums[1] + after)
    return {v: 100 * (b - a) / a for v, (a, b) in totals.items() if a > 0}
