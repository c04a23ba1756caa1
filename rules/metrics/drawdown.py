"""How far price and open interest are below their highs since they are watched: ``drawdown_*_pct``.

At most 0. Of the price, of open interest in coins, and of the open interest of all coins, of the
top 10 and of ranks 51 to 100 (by open interest of the coins that are watched), price removed. What
is said is of the time that was watched: the high before that may be higher, never lower, so it is
at least so far below its high of all time. Nothing is said before a day was watched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rules.alerts import HighFacts, Scope
from rules.highs import (
    INTEREST,
    PRICE_HIGH,
    High,
    Index,
    learn_group,
    learn_interest,
    learn_price,
)
from rules.market import Keep, Market, Memo, View
from rules.metric import OF_MARKET, Reading, fall
from rules.metrics.correlation import MIDDLE, TOP, ranked
from rules.returns import LOOK_EVERY, PRICES
from streams.events import Kind, MarketEvent, Ms

_OF_ASSET: frozenset[Scope] = frozenset({"asset"})

UNIT = "% from its high"

GROUPS: Mapping[str, range | None] = {"total": None, "top10": TOP, "51to100": MIDDLE}
"""Groups of coins → their places by open interest; None: all."""


class DrawdownMetric:
    """What the metrics of this family share. They are evaluated by time, since a high is no
    event."""

    __slots__ = ()

    unit: str = UNIT
    window: Ms | None = None
    """It compares no two times of its own choice."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = PRICES

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def distance(self, value: float) -> float:
        return fall(-value)


@dataclass(frozen=True, slots=True)
class PriceDrawdown(DrawdownMetric):
    """``drawdown_price_pct``."""

    name: str
    scopes: frozenset[Scope] = _OF_ASSET
    kinds: frozenset[Kind] = frozenset({Kind.PRICE})

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (PRICE_HIGH,)

    def learn(self, view: View, now: Ms) -> None:
        """The price now."""
        learn_price(view, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        return _reading(view.memo(PRICE_HIGH), now)

    def facts(self, view: View, now: Ms) -> HighFacts | None:
        high = view.memo(PRICE_HIGH)
        return None if high is None else _facts(high, price=high.value)


@dataclass(frozen=True, slots=True)
class InterestDrawdown(DrawdownMetric):
    """``drawdown_oi_net_pct``."""

    name: str
    scopes: frozenset[Scope] = _OF_ASSET
    kinds: frozenset[Kind] = frozenset({Kind.OPEN_INTEREST})

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (INTEREST,)

    def learn(self, view: View, now: Ms) -> None:
        """The open interest now."""
        learn_interest(view, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        index = view.memo(INTEREST)
        return None if index is None else _reading(index.high, now)

    def facts(self, view: View, now: Ms) -> HighFacts | None:
        index = view.memo(INTEREST)
        return None if index is None else _facts(index.high, usd=_held_usd([view]))


@dataclass(frozen=True, slots=True)
class GroupDrawdown(DrawdownMetric):
    """``drawdown_oi_total_net_pct`` and those of groups."""

    name: str
    group: str
    keep: Keep[Index]
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = frozenset({Kind.OPEN_INTEREST})

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (INTEREST, self.keep)

    def learn(self, view: View, now: Ms) -> None:
        """The open interest of its coins now."""
        index = view.keep(self.keep)
        if index.due(now):
            for asset in view.assets.values():
                learn_interest(asset, now)
            learn_group(index, self._coins(view), now)

    def value(self, view: View, now: Ms) -> Reading | None:
        index = view.memo(self.keep)
        return None if index is None else _reading(index.high, now)

    def facts(self, view: View, now: Ms) -> HighFacts | None:
        index = view.memo(self.keep)
        return None if index is None else _facts(index.high, usd=_held_usd(self._coins(view)))

    def _coins(self, view: View) -> Sequence[View]:
        places = GROUPS[self.group]
        return [*view.assets.values()] if places is None else ranked(view.assets, places)


def _reading(high: High | None, now: Ms) -> Reading | None:
    value = None if high is None else high.below_pct(now)
    return None if value is None else Reading(value=value)


def _facts(high: High, price: float | None = None, usd: float | None = None) -> HighFacts:
    return HighFacts(high_at=high.at, since=high.began, price=price, oi_usd=usd)


def _held_usd(assets: Sequence[View]) -> float | None:
    usd = [sum(held.values()) for asset in assets if (held := asset.usd_held())]
    return sum(usd) if usd else None


PRICE = PriceDrawdown("drawdown_price_pct")
INTEREST_NET = InterestDrawdown("drawdown_oi_net_pct")
OF_GROUPS = {
    group: GroupDrawdown(
        f"drawdown_oi_{group}_net_pct", group, Keep(f"interest_index.{group}", Index)
    )
    for group in GROUPS
}
