"""Recorded values in the place of live ones: what rules, composites and alerts ask of them."""

from math import isnan, nan

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.backtest.series import Floats, Series, Times
from rules.alerts import PartFacts, Scope
from rules.metric import Metric, Reading
from rules.rule import Rule
from rules.view import Keep, Market, Memo, View
from streams.events import Kind, MarketEvent, Ms


def plain(x: float) -> float:
    """A 32-bit number as it was written: -0.03, not -0.029999999329."""
    return float(f"{x:.7g}")


class Values:
    """The rows of one place; of the present piece of time, and the last one of the pieces before.

    ``last_live``: the last row before this piece that had a value.
    """

    def __init__(self) -> None:
        self.series: Series | None = None
        self.last_live: Ms | None = None
        self.live: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def begin(self, series: Series | None) -> None:
        """Goes on with the next piece."""
        self._end()
        self.series = series
        if series is not None:
            self.live = ~np.isnan(series.value)

    def _end(self) -> None:
        if self.series is not None and self.live.any():
            self.last_live = int(self.series.at[np.flatnonzero(self.live)[-1]])

    def live_before(self, row: int) -> Ms | None:
        """When there was a value before ``row``."""
        series = self.series
        for n in range(row - 1, -1, -1):
            if series is not None and self.live[n]:
                return int(series.at[n])
        return self.last_live

    def row_at(self, now: Ms) -> int | None:
        """The newest row at ``now``, None before the first of this piece."""
        if self.series is None:
            return None
        row = int(np.searchsorted(self.series.at, now, "right")) - 1
        return row if row >= 0 else None


def reading(series: Series, row: int, value: float) -> Reading:
    """What a rule reads at ``row``, with one of its values."""
    at = int(series.at[row])

    def of(column: Floats | None) -> float | None:
        x = nan if column is None else float(column[row])
        return None if isnan(x) else x

    settled, interval, bound = of(series.settled), of(series.interval), of(series.bound)
    return Reading(
        value=plain(value),
        floor_musd=of(series.floor),
        lower_bound=bound == 1,
        settled_at=None if settled is None else at - round(settled) * 60_000,
        interval_ms=None if interval is None else round(interval) * 60_000,
    )


class RecordedMetric:
    """A metric whose values were recorded, as ``rule`` asks for it."""

    kinds: frozenset[Kind] = frozenset()
    idle_look: Ms | None = None
    look_every: Ms = 60_000

    def __init__(self, real: Metric, values: Values, rule: Rule) -> None:
        self.name = real.name
        self.unit = real.unit
        self.scopes: frozenset[Scope] = real.scopes
        self.window = real.window
        self.distance = real.distance
        self.values = values
        self._rule = rule

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def value(self, view: View, now: Ms) -> Reading | None:
        row = self.values.row_at(now)
        series = self.values.series
        if row is None or series is None or not self.values.live[row]:
            return None
        if now - int(series.at[row]) > int(longest_gap(self._rule, series.step[row : row + 1])[0]):
            return None
        return reading(series, row, float(series.value[row]))

    def facts(self, view: View, now: Ms) -> PartFacts | None:
        return None


class PricedView(View):
    """An asset with its recorded price. Of prices before, the report asks the series themselves."""

    def __init__(self, asset: str) -> None:
        super().__init__(asset)
        self.prices = Values()

    def price(self, now: Ms) -> float | None:
        row = self.prices.row_at(now)
        if row is None or self.prices.series is None:
            return None
        x = float(self.prices.series.value[row])
        return None if x != x else plain(x)

    def price_at(self, t: Ms) -> float | None:
        return None


def adapted(rule: Rule, step: Ms) -> Rule:
    """The rule as it can be asked of values that come each ``step``.

    A value each four hours says nothing of what was between: it stands for its step. So durations
    shorter than the step are met by one value, and two values one step apart are no hole.
    """
    if step <= rule.max_gap:
        return rule
    return msgspec.structs.replace(
        rule,
        hold={level: ms for level, ms in rule.hold.items() if ms >= step},
        clear_for=rule.clear_for if rule.clear_for >= step else 0,
        max_gap=step * 3 // 2,
    )


def longest_gap(rule: Rule, step: Times) -> Times:
    """``max_gap`` of the rule adapted to each step: what is longer is a hole."""
    return np.where(step <= rule.max_gap, rule.max_gap, step * 3 // 2)
