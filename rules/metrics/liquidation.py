"""Reported liquidations in a sliding window, million USD, both sides together: a lower bound.

Silence is normal here, so a market is live as long as its feed is up. A venue whose feed is down
is left out: then the sum can only be too low, and proves a breach but never a recovery. So a level
that is exceeded is exceeded however few venues are up; of one that is not, too few say nothing.
What a contract reported before it ended stays in the sum.
"""

from dataclasses import dataclass
from functools import cache, partial

from rules.alerts import Liquidated, LiquidationFacts, Scope
from rules.market import LIQUIDATED, LIQUIDATED_FOR, LIQUIDATED_STEP, Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_ASSET, Reading, left_out, look_every
from rules.windows import Series
from streams.durations import MINUTE
from streams.events import Kind, Liquidation, MarketEvent, Ms, Position

UNIT = "M USD"

SLOTS = 3_600
"""Most samples kept for one window and market: 1 s apart in an hour."""

IDLE_LOOK: Ms = 2 * MINUTE
"""Silence is a value here, so it is looked at now and then."""

_LONG, _SHORT, _ORDERS, _SECONDS = range(4)
_SUMS = "liq."
_KINDS = frozenset({Kind.LIQUIDATION})


@dataclass(frozen=True, slots=True)
class LiquidationMetric:
    """``liq_<duration>_musd``."""

    name: str
    window: Ms
    sums: Keep[Series]
    """Running totals of long cents, short cents, orders and seconds with an order: whole numbers,
    so that sums are exact."""
    largest: Keep[Series]
    """Orders (USD, price) with no larger one after them."""
    unit: str = UNIT
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    idle_look: Ms | None = IDLE_LOOK

    @property
    def look_every(self) -> Ms:
        return look_every(self.window)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (self.sums, self.largest)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, Liquidation):
            return False
        sums = market.keep(self.sums)
        last = sums.last_time
        new_second = last is None or last // 1000 != now // 1000
        cents = round(event.usd * 100)
        long = event.position is Position.LONG
        sums.add(now, (cents if long else 0, 0 if long else cents, 1, int(new_second)))
        largest = market.keep(self.largest)
        while (top := largest.last) is not None and top[0] <= event.usd:
            largest.pop()
        largest.append(now, (event.usd, event.price))
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        reporting = _reporting(view)
        live = [m for m in reporting if m.up(Kind.LIQUIDATION)]
        if not live:
            return None
        totals = [self._sums(m, now) for m in (*live, *view.ended)]
        musd = sum(t[_LONG] + t[_SHORT] for t in totals) / 1e8
        return Reading(
            value=musd,
            used=live,
            expected=reporting,
            floor_musd=musd,
            lower_bound=len(live) < len(reporting),
            breach_only=_share(view, live, reporting) < LEAST_SHARE,
            longs=sum(t[_LONG] for t in totals) / 1e8,
        )

    def facts(self, view: View, now: Ms) -> LiquidationFacts:
        reporting = _reporting(view)
        live = [m for m in reporting if m.up(Kind.LIQUIDATION)]
        totals, ended = [self._sums(m, now) for m in live], view.ended
        every = [*totals, *(self._sums(m, now) for m in ended)]
        long, short = (sum(t[side] for t in every) / 100 for side in (_LONG, _SHORT))
        usd, venue, price = self._largest([*live, *ended], now)
        held = view.usd_held()
        of_held = [(m, t) for m, t in zip(live, totals, strict=True) if m.one_side]
        # of what is liquidated where nobody knows what is held it would be more than there is
        known = sum(held.values()) if all(m in held for m, _ in of_held) else None
        closed = sum(t[_LONG] + t[_SHORT] for _, t in of_held) / 100
        return LiquidationFacts(
            window_ms=self.window,
            long_usd=long,
            short_usd=short,
            orders=int(sum(t[_ORDERS] for t in every)),
            largest_usd=usd,
            largest_venue=venue,
            largest_price=price,
            oi_pct=100 * closed / known if known else None,
            oi_not_added=view.not_added,
            saturation_pct=self._saturation(live, totals),
            not_available=left_out(view.ordered, reporting),
        )

    def longs_of_held(self, view: View, now: Ms) -> float | None:
        """Longs that were liquidated, % of the open interest that is held now: a lower bound; None:
        unknown. Both without contracts of which nobody knows which sides they count."""
        held = view.usd_held()
        live = [m for m in _reporting(view) if m.up(Kind.LIQUIDATION) and m.one_side]
        known = sum(held.values())
        if not live or known <= 0 or any(m not in held for m in live):
            return None
        return sum([self._sums(m, now)[_LONG] for m in live]) / known

    def distance(self, value: float) -> float:
        return abs(value)

    def _sums(self, market: Market, now: Ms) -> tuple[float, ...]:
        series = market.memo(self.sums)
        sums = series.sums(now - self.window) if series else (0.0, 0.0, 0.0, 0.0)
        # a window that is watched since a moment ago holds at least what a shorter one has seen
        for name, memo in market.memos.items():
            window = _window_of_sums(name)
            if window is not None and window < self.window and isinstance(memo, Series):
                shorter = memo.sums(now - window)
                sums = tuple(max(pair) for pair in zip(sums, shorter, strict=True))
        return sums

    def _largest(self, markets: list[Market], now: Ms) -> tuple[float, str, float]:
        best = (0.0, "", 0.0)
        for market in markets:
            series = market.memo(self.largest)
            where = series.window(now - self.window, now) if series else range(0)
            if series and where and (usd := series.values(0, where)[0]) > best[0]:
                best = (usd, market.venue, series.values(1, where)[0])
        return best

    def _saturation(
        self, markets: list[Market], totals: list[tuple[float, ...]]
    ) -> dict[str, float]:
        full: dict[str, float] = {}
        for market, sums in zip(markets, totals, strict=True):
            if market.throttled:
                pct = min(100.0, 100 * sums[_SECONDS] / (self.window / 1000))
                full[market.venue] = max(pct, full.get(market.venue, 0.0))
        return full


def liquidation(name: str, window: Ms) -> LiquidationMetric:
    """The metric over ``window``."""
    sums = Keep(f"{_SUMS}{window}", partial(Series, 4, window, window // SLOTS))
    largest = Keep(f"{_SUMS}{window}.largest", partial(Series, 2, window))
    return LiquidationMetric(name, window, sums, largest)


def sides(view: View, window: Ms, now: Ms) -> tuple[float, float]:
    """USD of longs and of shorts that were reported within ``window``, as far as is remembered.

    Of the windows that rules watch the longest one that is no longer. Both are lower bounds.
    """
    long = short = 0.0
    for market in (*(m for m in view if m.up(Kind.LIQUIDATION)), *view.ended):
        known = [(w, memo) for name, memo in market.memos.items()
                 if (w := _window_of_sums(name)) is not None and w <= window]  # fmt: skip
        span, memo = max(known, key=lambda span_and_memo: span_and_memo[0], default=(0, None))
        if isinstance(memo, Series):
            sums = memo.sums(now - span)
            long, short = long + sums[_LONG] / 100, short + sums[_SHORT] / 100
    return long, short


def liquidated(view: View, since: Ms, now: Ms) -> Liquidated | None:
    """What was reported of an asset from ``since`` on, as far as it is remembered: lower bounds,
    since what came in the first ten seconds may have come before. None: no venue reports any.
    """
    reporting = [*_reporting(view), *view.ended]
    if not reporting:
        return None
    since = max(since, now - LIQUIDATED_FOR)
    start = -(-since // LIQUIDATED_STEP) * LIQUIDATED_STEP
    known = [memo for market in reporting if (memo := market.memo(LIQUIDATED)) is not None]
    sums = [memo.sums(start - 1) for memo in known]
    long, short = (sum(of_market[side] for of_market in sums) / 100 for side in (_LONG, _SHORT))
    return Liquidated(over=now - since, long_usd=long, short_usd=short)


@cache
def _window_of_sums(name: str) -> Ms | None:
    """The window of the running totals of that name, None of any other memo."""
    window = name.removeprefix(_SUMS)
    return int(window) if name.startswith(_SUMS) and window.isdecimal() else None


def _reporting(view: View) -> list[Market]:
    return [m for m in view if m.line(Kind.LIQUIDATION) is not None]


def _share(view: View, live: list[Market], reporting: list[Market]) -> float:
    """The share of the reporting markets that is live: by open interest, by count if unknown."""
    if len(live) == len(reporting):
        return 1.0
    held = view.usd_at_least()
    total = sum([held.get(m, 0.0) for m in reporting])
    if total <= 0 or any(m not in held for m in reporting):
        return len(live) / len(reporting)
    return sum([held[m] for m in live]) / total
