"""Liquidations of all coins in 24 hours, by side, and the largest day: ``liq_total_24h_musd``.

Each contract has sums by the full hour, so the 24 hours are the hour that goes on and the 23 before
it: never more than a day. What venues report is a lower bound, and so is every sum of it. The
largest day is one of those (UTC) that are over since it is watched, the first one in part.

State: 200 bytes for each contract of which a liquidation was reported, and five numbers.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from rules.alerts import LiquidationDayFacts, Scope
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_MARKET, Reading
from rules.returns import LOOK_EVERY
from rules.windows import Ring
from streams.durations import DAY, HOUR
from streams.events import Kind, Liquidation, MarketEvent, Ms, Position

UNIT = "M USD a day"

LONGS = "liq_total_24h_longs_musd"
"""What of it was longs, in the metric log: the rest was shorts."""

HOURS = 24


class HourlyLiquidations:
    """What was liquidated of one contract by the hour, USD."""

    __slots__ = ("_hour", "_longs", "_shorts", "_sums")

    def __init__(self) -> None:
        self._hour = -1
        self._sums = array("d", [0.0, 0.0])  # of that hour: longs, shorts
        self._longs = Ring(HOURS)
        self._shorts = Ring(HOURS)

    def add(self, usd: float, long: bool, now: Ms) -> None:
        """An order."""
        hour = now // HOUR
        if hour > self._hour:
            self._close()
            self._hour = hour
        self._sums[0 if long else 1] += usd

    def sums(self, hours: range) -> tuple[float, float]:
        """Longs and shorts of these hours, as far as they are among the last 24."""
        longs, shorts = sum(self._longs.among(hours)), sum(self._shorts.among(hours))
        if self._hour in hours:
            longs, shorts = longs + self._sums[0], shorts + self._sums[1]
        return longs, shorts

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        hour = array("q", [self._hour]).tobytes()
        return [hour, self._sums.tobytes(), *self._longs.dump(), *self._shorts.dump()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 6 or len(dumped[0]) != 8 or len(dumped[1]) != 16:
            raise ValueError("the dumped liquidations are cut short: start without them")
        (self._hour,), self._sums = array("q", dumped[0]), array("d", dumped[1])
        self._longs.load(dumped[2:4])
        self._shorts.load(dumped[4:6])

    def _close(self) -> None:
        if self._hour >= 0:
            self._longs.put(self._hour, self._sums[0])
            self._shorts.put(self._hour, self._sums[1])
        self._sums = array("d", [0.0, 0.0])


class LiquidationDays:
    """The largest day so far, of those that are over."""

    __slots__ = ("began", "day", "largest_day", "largest_usd")

    def __init__(self) -> None:
        self.began: Ms = 0
        """Since when days are watched; 0: never."""
        self.day = -1
        """Today, since the epoch."""
        self.largest_day = -1
        """-1: no day is over."""
        self.largest_usd = 0.0

    def end(self, usd: float) -> None:
        """The day is over, and came to so much."""
        if usd > self.largest_usd or self.largest_day < 0:
            self.largest_day, self.largest_usd = self.day, usd

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.began, self.day = min(self.began, now), min(self.day, now // DAY)

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        days = array("q", [self.began, self.day, self.largest_day]).tobytes()
        return [days, array("d", [self.largest_usd]).tobytes()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 2 or len(dumped[0]) != 24 or len(dumped[1]) != 8:
            raise ValueError("the dumped days are cut short: start without them")
        self.began, self.day, self.largest_day = array("q", dumped[0])
        (self.largest_usd,) = array("d", dumped[1])


HOURLY = Keep("liquidations_hourly", HourlyLiquidations)
DAYS = Keep("liquidation_days", LiquidationDays)


@dataclass(frozen=True, slots=True)
class LiquidationDay:
    """The metric."""

    name: str
    unit: str = UNIT
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = frozenset({Kind.LIQUIDATION})
    window: Ms | None = None
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (HOURLY, DAYS)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if isinstance(event, Liquidation):
            market.keep(HOURLY).add(event.usd, event.position is Position.LONG, now)
        return False

    def learn(self, view: View, now: Ms) -> None:
        """At its end, what a day has come to."""
        days, today = view.keep(DAYS), now // DAY
        if not days.began:
            days.began, days.day = now, today
        elif today > days.day:
            first = days.day * HOURS
            days.end(sum(_sums(view, range(first, first + HOURS))))
            days.day = today

    def value(self, view: View, now: Ms) -> Reading | None:
        reporting = [m for m in _markets(view) if m.line(Kind.LIQUIDATION) is not None]
        live = [m for m in reporting if m.up(Kind.LIQUIDATION)]
        if not live:
            return None
        longs, shorts = _last_day(view, now)
        musd = (longs + shorts) / 1e6
        return Reading(
            value=musd,
            used=live,
            expected=reporting,
            floor_musd=musd,
            lower_bound=len(live) < len(reporting),
            breach_only=len(live) < LEAST_SHARE * len(reporting),
            longs=longs / 1e6,
        )

    def facts(self, view: View, now: Ms) -> LiquidationDayFacts | None:
        days = view.memo(DAYS)
        if days is None or not days.began:
            return None
        longs, shorts = _last_day(view, now)
        is_over = days.largest_day >= 0
        return LiquidationDayFacts(
            long_usd=longs,
            short_usd=shorts,
            largest_usd=days.largest_usd if is_over else None,
            largest_at=days.largest_day * DAY if is_over else None,
            since=days.began,
        )

    def distance(self, value: float) -> float:
        return abs(value)


def longs_of_late(view: View, now: Ms) -> float:
    """Longs of all coins in the hour that goes on and the one before it, USD: a lower bound."""
    hour = now // HOUR
    return _sums(view, range(hour - 1, hour + 1))[0]


def _last_day(view: View, now: Ms) -> tuple[float, float]:
    hour = now // HOUR
    return _sums(view, range(hour - HOURS + 1, hour + 1))


def _sums(view: View, hours: range) -> tuple[float, float]:
    longs = shorts = 0.0
    ended = [market for asset in view.assets.values() for market in asset.ended]
    for market in (*_markets(view), *ended):
        memo = market.memo(HOURLY)
        if memo is not None:
            of_market = memo.sums(hours)
            longs, shorts = longs + of_market[0], shorts + of_market[1]
    return longs, shorts


def _markets(view: View) -> list[Market]:
    return [market for asset in view.assets.values() for market in asset.ordered]


OF_ALL = LiquidationDay("liq_total_24h_musd")
