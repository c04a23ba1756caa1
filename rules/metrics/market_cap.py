"""What all coins together are worth: ``market_cap_trillion_usd``, ``market_cap_24h_pct``, and the
round trillions that it goes through: ``market_cap_fell_through``, ``market_cap_rose_through``.

Of the coins that a context source lists, at prices of the venues where they are watched. Nothing is
said while less than 60 % of it is at prices of now, or while the list is too old.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from rules.alerts import CrossingFacts, MarketCapFacts, Scope
from rules.market import Keep, Market, Memo, View
from rules.market_cap import MARKET_CAP, TRILLION, MarketCapMemory
from rules.metric import OF_MARKET, Reading
from rules.returns import LOOK_EVERY, PRICES
from streams.events import Kind, MarketEvent, Ms

USD_UNIT = "trillion USD"
CHANGE_UNIT = "% in 24 h"
ROUNDS_UNIT = "round trillions"


@dataclass(frozen=True, slots=True)
class MarketCapMetric:
    """The metric. ``measure``: its value at a moment, of what is known to be worth something."""

    name: str
    unit: str
    measure: Callable[[MarketCapMemory, Ms], float | None]
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = frozenset({Kind.PRICE})
    window: Ms | None = None
    """It compares no two times of its own choice."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = PRICES

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (MARKET_CAP,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """What the coins are worth now."""
        view.keep(MARKET_CAP).learn(view.assets, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        cap = _known(view, now)
        value = None if cap is None else self.measure(cap, now)
        return None if value is None else Reading(value=value)

    def facts(self, view: View, now: Ms) -> MarketCapFacts | None:
        cap = _known(view, now)
        if cap is None:
            return None
        state = cap.state
        return MarketCapFacts(
            usd=state.usd,
            change_24h_pct=cap.change_24h_pct(now),
            coins=len(state.coins),
            live_pct=100 * state.live_usd / state.usd,
            source=state.source,
            listed_at=state.seen,
        )

    def distance(self, value: float) -> float:
        """A worth that is half is twice as far; a change is as far as it goes."""
        return 1 / value if self.unit == USD_UNIT else abs(value)


@dataclass(frozen=True, slots=True)
class RoundMetric(MarketCapMetric):
    """How many round trillions it has gone through in a day, one way, and is not clearly back
    from."""

    up: bool = False
    """Whether it rose through them."""

    def facts(self, view: View, now: Ms) -> MarketCapFacts | None:
        facts, cap = MarketCapMetric.facts(self, view, now), _known(view, now)
        crossing = None if cap is None else cap.state.rounds.newest(self.up)
        if facts is None or cap is None or crossing is None:
            return facts
        return msgspec.structs.replace(
            facts,
            crossing=CrossingFacts(
                usd=crossing.number * TRILLION,
                up=self.up,
                at=crossing.at,
                since=crossing.since,
                record_from=cap.state.rounds.began,
            ),
        )

    def distance(self, value: float) -> float:
        return abs(value)


def _known(view: View, now: Ms) -> MarketCapMemory | None:
    cap = view.memo(MARKET_CAP)
    return cap if cap is not None and cap.known(now) else None


def _crossed(up: bool) -> Callable[[MarketCapMemory, Ms], float | None]:
    def count(cap: MarketCapMemory, now: Ms) -> float | None:
        rounds = cap.state.rounds
        return float(len(rounds.standing(up, now))) if rounds.known(now) else None

    return count


LEVEL = MarketCapMetric(
    "market_cap_trillion_usd", USD_UNIT, lambda cap, _: cap.state.usd / TRILLION
)
CHANGE = MarketCapMetric(
    "market_cap_24h_pct", CHANGE_UNIT, lambda cap, now: cap.change_24h_pct(now)
)
FELL, ROSE = (
    RoundMetric(f"market_cap_{name}_through", ROUNDS_UNIT, _crossed(up), up=up)
    for name, up in (("fell", False), ("rose", True))
)
