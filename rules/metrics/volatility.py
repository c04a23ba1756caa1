"""Realised volatility: ``volatility_7d_pct`` and ``volatility_30d_pct``, % a year.

Coin Metrics' definition: ``sqrt(sum of squares / (N - 1)) * sqrt(T)`` of the logarithmic returns of
10 minutes, without their mean, of which a year has T = 52,560. N is 1,008 or 4,320 and those of the
hour that goes on, so that a fall is in it ten minutes later. What lies in a hole is left out of sum
and N; with less than 90 % known, or without the newest return, there is no value: a hole is neither
calm nor a storm.
"""

from dataclasses import dataclass
from math import sqrt

from rules.alerts import Scope, VolatilityFacts
from rules.market import Keep, Market, Memo, View
from rules.metric import Reading
from rules.returns import LATE, LOOK_EVERY, PRICES, RETURNS, SETTLES, STEP, STEPS, Returns, learn
from streams.durations import DAY
from streams.events import Kind, MarketEvent, Ms

A_YEAR = 365 * 24 * STEPS
LEAST_KNOWN = 0.9
UNIT = "% a year"

_OF_ASSET: frozenset[Scope] = frozenset({"asset"})
_KINDS = frozenset({Kind.PRICE})


@dataclass(frozen=True, slots=True)
class VolatilityMetric:
    """Over so many days."""

    name: str
    days: int
    unit: str = UNIT
    scopes: frozenset[Scope] = _OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    """It compares no two times."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = PRICES

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (RETURNS,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """The return of the last ten minutes."""
        learn(view, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        memo = view.memo(RETURNS)
        value = None if memo is None else self._value(memo, now)
        return None if value is None else Reading(value=value)

    def facts(self, view: View, now: Ms) -> VolatilityFacts | None:
        memo = view.memo(RETURNS)
        if memo is None or self._value(memo, now) is None:
            return None
        squares = memo.squares(self.days)
        return VolatilityFacts(
            window_ms=self.days * DAY, returns=squares.known, expected=squares.expected
        )

    def distance(self, value: float) -> float:
        return abs(value)

    def _value(self, memo: Returns, now: Ms) -> float | None:
        if not memo.known or (now - SETTLES) // STEP - memo.step >= LATE:
            return None
        squares = memo.squares(self.days)
        if squares.known < LEAST_KNOWN * squares.expected:
            return None
        return 100 * sqrt(squares.total / (squares.known - 1) * A_YEAR)


WEEK = VolatilityMetric("volatility_7d_pct", 7)
MONTH = VolatilityMetric("volatility_30d_pct", 30)
