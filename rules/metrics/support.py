"""How often a level had held that was lost in the last day: ``support_lost_held``.

0 where none was, or where the price is clearly above it again. The levels, what a test of one is
and when it is lost are those of ``rules.supports``. It is of the prices that are known, so a level
may have held more often, never less.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rules.alerts import LevelFacts, Scope, SupportFacts
from rules.market import Keep, Market, Memo, View
from rules.metric import Reading
from rules.returns import LOOK_EVERY, PRICES
from rules.supports import TEN_MINUTES, Support, Watched
from streams.events import Kind, MarketEvent, Ms

UNIT = "times held"

_OF_ASSET: frozenset[Scope] = frozenset({"asset"})


@dataclass(frozen=True, slots=True)
class SupportMetric:
    """The metric. ``named``: asset → levels beside round ones."""

    name: str
    named: Mapping[str, tuple[float, ...]]
    unit: str = UNIT
    scopes: frozenset[Scope] = _OF_ASSET
    kinds: frozenset[Kind] = frozenset({Kind.PRICE})
    window: Ms | None = None
    """It compares no two times."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = PRICES

    def over(self, named: Mapping[str, tuple[float, ...]]) -> "SupportMetric":
        """The metric with these levels."""
        return replace(self, named=named)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (TEN_MINUTES,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """The price at the last full ten minutes."""
        view.keep(TEN_MINUTES).learn(view, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        watched = self._watched(view, now)
        if watched is None:
            return None
        lost = watched.lost()
        return Reading(value=0.0 if lost is None else float(len(lost.held)))

    def facts(self, view: View, now: Ms) -> SupportFacts | None:
        watched = self._watched(view, now)
        if watched is None:
            return None
        lost, standing = watched.lost(), watched.standing()
        return SupportFacts(
            lost=None if lost is None else _facts(lost),
            standing=None if standing is None else _facts(standing),
            since=watched.since,
        )

    def distance(self, value: float) -> float:
        return value

    def _watched(self, view: View, now: Ms) -> Watched | None:
        memo = view.memo(TEN_MINUTES)
        return None if memo is None else memo.watched(now, self.named.get(view.asset, ()))


def _facts(support: Support) -> LevelFacts:
    return LevelFacts(
        level=support.level,
        tests=len(support.tests),
        held=len(support.held),
        first_at=support.tests[0].at,
        last_at=support.tests[-1].at,
        low=min(test.low for test in support.tests),
        rebounds_pct=support.rebounds_pct,
        regained_pct=support.regained_pct,
        lost_at=support.lost_at,
    )


LOST_HELD = SupportMetric("support_lost_held", {})
