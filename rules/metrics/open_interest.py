"""Net change of open interest in coins over a window: positions opened or closed, price removed.

Coins of each market at both ends of the window, the same markets on both sides, both ends taken
at the newest moment that all of them have reached. Each is the middle one of three readings, so
that no single one is an end (``rules.interest``). With one price P0 for the asset at the start,
``net_usd = (coins after - coins before) * P0`` and the rest of the change in USD is only price.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rules.alerts import OpenInterestFacts, Scope
from rules.interest import MAX_AGE
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_ASSET, Reading, fall, look_every
from rules.windows import Series
from streams.events import Kind, MarketEvent, Ms, OpenInterest

SLOTS = 288
"""Most samples kept for one window and market: 12.5 s apart in an hour, 5 min in a day."""

_KINDS = frozenset({Kind.OPEN_INTEREST})


class Ends(NamedTuple):
    """One market's coins at both ends of a window."""

    market: Market
    before: float
    after: float


class Span(NamedTuple):
    """A window over markets that are known at both of its ends."""

    start: Ms
    end: Ms
    ends: list[Ends]

    @property
    def before(self) -> float:
        """Coins at the start."""
        return sum([e.before for e in self.ends])

    @property
    def after(self) -> float:
        """Coins at the end."""
        return sum([e.after for e in self.ends])


@dataclass(frozen=True, slots=True)
class OpenInterestMetric:
    """``oi_net_<duration>_pct``: percent of the coins held at the window's start."""

    name: str
    window: Ms
    samples: Keep[Series]
    spacing: Ms
    max_age: Ms
    unit: str = "%"
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    idle_look: Ms | None = None

    @property
    def look_every(self) -> Ms:
        return look_every(self.window)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (self.samples,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, OpenInterest):
            return False
        steady = market.interest.steady
        if steady is None:
            return False
        market.keep(self.samples).append(now, (steady,))
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        expected = _expected(view)
        span = self.span(expected, now)
        if span is None:
            return None
        before, after = span.before, span.after
        usual = sum([m.oi_base or 0.0 for m in expected])
        if before <= 0 or after < LEAST_SHARE * usual:
            return None
        price = view.price_at(span.start)
        return Reading(
            value=100 * (after - before) / before,
            used=[e.market for e in span.ends],
            expected=expected,
            floor_musd=None if price is None else before * price / 1e6,
        )

    def facts(self, view: View, now: Ms) -> OpenInterestFacts | None:
        span = self.span(_expected(view), now)
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
        return fall(-value) if value < 0 else value

    def span(self, markets: list[Market], now: Ms) -> Span | None:
        """Both ends of the window, aligned at the slowest fresh market's newest sample."""
        fresh: list[tuple[Market, Series, Ms]] = []
        end = now
        for market in markets:
            series = market.memo(self.samples)
            newest = series.last_time if series is not None else None
            if series is None or newest is None or now - newest > MAX_AGE:
                continue
            if market.up(Kind.OPEN_INTEREST):
                fresh.append((market, series, newest))
                if newest < end:
                    end = newest
        start, max_age = end - self.window, self.max_age
        ends: list[Ends] = []
        for market, series, newest in fresh:
            before = series.first_at(start, max_age)
            # a slot keeps its newest sample only; the one before may be a whole slot from the end
            near = newest - end < self.spacing
            after = series.last_first if near else series.first_at(end, max_age)
            if before is not None and after is not None:
                ends.append(Ends(market, before, after))
        return Span(start, end, ends) if ends else None


def open_interest(name: str, window: Ms) -> OpenInterestMetric:
    """The metric over ``window``. Samples lie at most ``window / SLOTS`` apart."""
    spacing = max(1, window // SLOTS)
    max_age = max(MAX_AGE, 2 * spacing)
    keep = Keep(f"oi.{window}", partial(Series, 1, window + max_age, spacing))
    return OpenInterestMetric(name, window, keep, spacing, max_age)


def _expected(view: View) -> list[Market]:
    return [m for m in view if m.oi_base is not None]


def _by_venue(ends: list[Ends]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for market, before, after in ends:
        sums = totals.get(market.venue, (0.0, 0.0))
        totals[market.venue] = (sums[0] + before, sums[1] + after)
    return {v: 100 * (b - a) / a for v, (a, b) in totals.items() if a > 0}
