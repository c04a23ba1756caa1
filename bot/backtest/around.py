"""What was around an episode: its series, its prices, its posts; and what prices did."""

from dataclasses import dataclass

import msgspec
import numpy as np

from bot.backtest.reading import Sources
from bot.backtest.recorded import plain
from bot.backtest.report import HOUR, Loud, Prices, place_of
from bot.backtest.series import Floats, Place, Series, Times
from rules.standing import PRICE
from streams.events import Ms

_FRESH: Ms = 2 * HOUR
_MOST = 500
"""So many points are enough for a line."""


@dataclass(slots=True)
class Line:
    """Points of a line. ``high``: the upper edge where many values became one point."""

    at: Times
    low: Floats
    high: Floats


@dataclass(slots=True)
class Scene:
    """An episode from ``start`` to ``end`` with what surrounds it."""

    loud: Loud
    start: Ms
    end: Ms
    price: Line | None
    values: Line | None


def scene(sources: Sources, loud: Loud) -> Scene:
    """An episode and a day around it."""
    closed = loud.closed_at or loud.opened_at
    start, end = loud.opened_at - 24 * HOUR, min(closed, loud.opened_at + 96 * HOUR) + 24 * HOUR
    found = sources.between(start, end + HOUR).series
    prices = found.get(Place(PRICE, loud.asset))
    known = msgspec.structs.replace(loud, prices=_prices(prices, loud.opened_at))
    return Scene(known, start, end, _line(prices), _line(found.get(place_of(loud))))


def _prices(series: Series | None, at: Ms) -> Prices:
    now = _price(series, at)
    if now is None:
        return Prices()

    def pct(t: Ms) -> float | None:
        other = _price(series, t)
        return None if other is None else 100 * (other - now) / now

    return Prices(
        at=now,
        before_1h_pct=pct(at - HOUR),
        after_1h_pct=pct(at + HOUR),
        after_4h_pct=pct(at + 4 * HOUR),
        after_24h_pct=pct(at + 24 * HOUR),
    )


def _price(series: Series | None, at: Ms) -> float | None:
    """The last price known at a moment, None if it is old."""
    if series is None:
        return None
    row = int(np.searchsorted(series.at, at, "right")) - 1
    if row < 0 or at - int(series.at[row]) > _FRESH or np.isnan(series.value[row]):
        return None
    return plain(float(series.value[row]))


def _line(series: Series | None) -> Line | None:
    if series is None:
        return None
    live = ~np.isnan(series.value)
    at, low, high = series.at[live], series.low[live], series.high[live]
    if not len(at):
        return None
    width = -(-len(at) // _MOST)
    starts = np.arange(0, len(at), width)
    return Line(at[starts], np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts))
