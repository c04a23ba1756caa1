"""A move in units of the asset's own usual move: ``price_<duration>_sigma`` and its like.

``sector_<name>_24h_sigma`` is the same of a basket against the market.

How large a move is as a rule is learned from its own last 30 days, at this hour of day: of each
hour the median of the sizes at its minutes (of liquidations, which are mostly none, the mean), and
of those the median over this hour of day and the ones beside it. It is 1.4826 times that, which for
a bell curve is the standard deviation, so a price that jumps now and then does not hide its next
jump. A usual move is never taken for smaller than a floor: the twitch of a coin that stands still
is no event. Before a week of this time of day was watched there is no value.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import msgspec

from rules.alerts import PartFacts, Scope
from rules.market import Keep, Market, Memo, View
from rules.metric import OF_MARKET, Learns, Metric, Reading, median
from rules.metrics.liquidation import liquidation
from rules.metrics.open_interest import open_interest
from rules.metrics.price import price
from rules.metrics.sector import SectorMetric
from rules.metrics.sector import over as sector_over
from rules.sectors import Basket
from rules.windows import Hours
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Kind, MarketEvent, Ms

DAYS = 30
READY_DAYS = 7
HOUR_READY = 30
"""Minutes of which an hour must be made."""

NORMAL = 1.4826
"""Standard deviations of a bell curve in its median absolute deviation."""

PRICE_FLOOR = 0.25
"""Least usual move of a price in an hour, %; over other windows times the root of the hours."""

INTEREST_FLOOR = 0.5
"""The same of open interest."""

LIQUIDATION_FLOOR = 0.1
"""Million USD that are liquidated as a rule at least, whatever the window."""

SECTOR_FLOOR = 0.5
"""Least usual move of a basket against the market in a day, percentage points."""

_OF_ASSET: frozenset[Scope] = frozenset({"asset"})


class UsualSize:
    """How large the moves of one asset are at each hour of day: 720 numbers, and this hour's.

    ``mean``: of an hour the mean counts, not the median.
    """

    __slots__ = ("_hours", "_known", "_known_hour", "_mean", "_minute", "_sizes")

    def __init__(self, mean: bool) -> None:
        self._hours = Hours(DAYS, READY_DAYS)
        self._sizes = array("d")
        self._minute = -1
        self._mean = mean
        self._known: float | None = None
        self._known_hour = -1

    def due(self, now: Ms) -> bool:
        """Whether this minute has no size yet."""
        return now // MINUTE > self._minute

    def take(self, size: float, now: Ms) -> None:
        """The size of the move that ends at ``now``, at most one a minute."""
        hour, minute = self._minute // 60, now // MINUTE
        if self._sizes and minute // 60 != hour:
            if len(self._sizes) >= HOUR_READY:
                usual = sum(self._sizes) / len(self._sizes) if self._mean else median(self._sizes)
                self._hours.put(hour, usual or 0.0)
            self._sizes = array("d")
            self._known_hour = -1
        self._minute = minute
        self._sizes.append(size)

    def usual(self, now: Ms) -> float | None:
        """How large a move is at this hour as a rule; None before enough was watched."""
        if now // HOUR != self._known_hour:
            self._known, self._known_hour = self._hours.normal(now), now // HOUR
        return self._known

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what is usual at each hour stays."""
        self._hours.set_back(now)
        self._sizes, self._minute, self._known_hour = array("d"), -1, -1

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        return [*self._hours.dump(), array("q", [self._minute]).tobytes(), self._sizes.tobytes()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 4 or len(dumped[2]) != 8 or len(dumped[3]) % 8:
            raise ValueError("the dumped sizes are cut short: start without them")
        self._hours.load(dumped[:2])
        (self._minute,) = array("q", dumped[2])
        self._sizes = array("d", dumped[3])
        self._known_hour = -1


@dataclass(frozen=True, slots=True)
class UsualMetric:
    """``price_<duration>_sigma``, ``oi_net_<duration>_sigma``, ``liq_<duration>_x_normal``,
    ``sector_<name>_24h_sigma``."""

    name: str
    base: Metric
    """The move itself, whose size is learned."""
    size: Keep[UsualSize]
    """Where the learned sizes are kept."""
    factor: float
    """The usual size is multiplied by this."""
    floor: float
    """The least usual move, in the base's unit."""
    unit: str
    scopes: frozenset[Scope] = _OF_ASSET

    @property
    def kinds(self) -> frozenset[Kind]:
        return self.base.kinds

    @property
    def window(self) -> Ms | None:
        return self.base.window

    @property
    def look_every(self) -> Ms:
        return self.base.look_every

    @property
    def idle_look(self) -> Ms | None:
        return self.base.idle_look

    def of_baskets(self, baskets: Mapping[str, Basket]) -> "UsualMetric":
        """The metric with these baskets, by their names, if it is of a basket."""
        if not isinstance(self.base, SectorMetric):
            return self
        return replace(self, base=self.base.over(baskets))

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (*self.base.keeps(), self.size)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return self.base.take(market, event, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        usual = self.usual(view, now)
        reading = None if usual is None else self.base.value(view, now)
        if usual is None or reading is None:
            return None
        return msgspec.structs.replace(reading, value=reading.value / usual, longs=None)

    def facts(self, view: View, now: Ms) -> PartFacts | None:
        return self.base.facts(view, now)

    def distance(self, value: float) -> float:
        return abs(value)

    def usual(self, view: View, now: Ms) -> float | None:
        """One usual move, in the unit of the base; None before enough was watched."""
        memo = view.memo(self.size)
        size = None if memo is None else memo.usual(now)
        return None if size is None else max(self.floor, self.factor * size)

    def learn(self, view: View, now: Ms) -> None:
        """Remembers how large the move is now, once a minute, if all of it is known."""
        if isinstance(self.base, Learns):
            self.base.learn(view, now)
        memo = view.keep(self.size)
        if memo.due(now):
            reading = self.base.value(view, now)
            if reading is not None and not reading.lower_bound and not reading.breach_only:
                memo.take(abs(reading.value), now)


def price_sigma(name: str, window: Ms) -> UsualMetric:
    """A change of price in its own usual changes over ``window``."""
    base = price(name.replace("_sigma", "_pct"), window)
    return _usual(name, base, NORMAL, PRICE_FLOOR * sqrt(window / HOUR), "σ")


def interest_sigma(name: str, window: Ms) -> UsualMetric:
    """The same of net open interest."""
    base = open_interest(name.replace("_sigma", "_pct"), window)
    return _usual(name, base, NORMAL, INTEREST_FLOOR * sqrt(window / HOUR), "σ")


def liquidations_x_normal(name: str, window: Ms) -> UsualMetric:
    """Liquidations as a multiple of what is usual."""
    base = liquidation(name.replace("_x_normal", "_musd"), window)
    return _usual(name, base, 1.0, LIQUIDATION_FLOOR, "× normal", mean=True)


def sector_sigma(name: str, sector: str) -> UsualMetric | None:
    """The move of a basket against the market in 24 h in its own usual ones; still without the
    baskets."""
    base = sector_over(DAY)(name.replace("_sigma", "_pct"), sector)
    if base is None:
        return None
    return _usual(name, base, NORMAL, SECTOR_FLOOR, "σ", scopes=OF_MARKET)


def base_of(metric: Metric) -> Metric:
    """What is told in usual moves, or the metric itself."""
    return metric.base if isinstance(metric, UsualMetric) else metric


def _usual(
    name: str,
    base: Metric,
    factor: float,
    floor: float,
    unit: str,
    mean: bool = False,
    scopes: frozenset[Scope] = _OF_ASSET,
) -> UsualMetric:
    return UsualMetric(
        name, base, Keep(f"usual.{name}", partial(UsualSize, mean)), factor, floor, unit, scopes
    )
