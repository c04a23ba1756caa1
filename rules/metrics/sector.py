"""What a basket of coins did against the market: ``sector_<name>_24h_pct`` and ``…_7d_pct``.

The move of the basket less that of the basket ``market``, in percentage points (``rules.sectors``).
Of 24 hours each coin's move is that of ``price_24h_pct``, of 7 days that since the last full hour
which is a week old. A basket of which less than 60 % of the coins are known, or fewer than three,
is unknown, and so is the market's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from heapq import nlargest, nsmallest

from rules.alerts import Scope, SectorFacts
from rules.market import Keep, Market, Memo, View
from rules.market_cap import MARKET_CAP
from rules.metric import OF_MARKET, Reading, fall
from rules.metrics.price import price
from rules.returns import LOOK_EVERY
from rules.sectors import LEVELS, WEEK, Basket, BasketMove, basket_move
from streams.durations import DAY, HOUR
from streams.events import Kind, MarketEvent, Ms

UNIT = "% against the market"

MARKET = "market"
"""The basket that others are compared with."""

NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
"""What a basket may be called."""

TOP = 5
"""How many coins facts name."""

_DAY = price("price_24h_pct", DAY)


@dataclass(frozen=True, slots=True)
class SectorMetric:
    """Of one basket over one span."""

    name: str
    sector: str
    span: Ms
    """``DAY`` or ``WEEK``."""
    basket: Basket | None = None
    """None: the configuration does not state it."""
    market: Basket | None = None
    unit: str = UNIT
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = frozenset({Kind.PRICE})
    window: Ms | None = None
    """Its windows are those of ``_DAY`` and ``Levels``."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = DAY

    def over(self, baskets: Mapping[str, Basket]) -> "SectorMetric":
        """The metric with these baskets, by their names."""
        return replace(self, basket=baskets.get(self.sector), market=baskets.get(MARKET))

    @property
    def coins(self) -> frozenset[str]:
        """All that are in its baskets."""
        return frozenset(coin for basket in self._baskets for coin in basket.coins)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (LEVELS, MARKET_CAP) if self._by_cap else (LEVELS,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """The prices at the last full hour, once an hour."""
        for coin in self.coins:
            if (asset := view.assets.get(coin)) is not None:
                asset.keep(LEVELS).learn(asset, now)
        if self._by_cap:
            view.keep(MARKET_CAP).learn(view.assets, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        moves = self._moves(view, now)
        return None if moves is None else Reading(value=moves[0].pct - moves[1].pct)

    def facts(self, view: View, now: Ms) -> SectorFacts | None:
        moves = self._moves(view, now)
        if moves is None or self.basket is None or self.market is None:
            return None
        own, market = moves
        extreme = nsmallest if own.pct < market.pct else nlargest
        named = extreme(TOP, own.by_asset_pct.items(), key=lambda entry: entry[1])
        return SectorFacts(
            sector=self.sector,
            span_ms=self.span,
            pct=own.pct,
            market_pct=market.pct,
            known=own.known,
            coins=len(self.basket.coins),
            market_known=market.known,
            market_coins=len(self.market.coins),
            by_asset_pct=dict(named),
            fixed_at=own.fixed_at,
            by_cap=self.basket.weight == "cap",
        )

    def distance(self, value: float) -> float:
        return fall(-value) if value < 0 else value

    @property
    def _baskets(self) -> list[Basket]:
        return [basket for basket in (self.basket, self.market) if basket is not None]

    @property
    def _by_cap(self) -> bool:
        return any(basket.weight == "cap" for basket in self._baskets)

    def _moves(self, view: View, now: Ms) -> tuple[BasketMove, BasketMove] | None:
        if self.basket is None or self.market is None:
            return None
        then = now - DAY if self.span == DAY else (now - WEEK) // HOUR * HOUR
        ends: dict[str, tuple[float, float]] = {}
        for coin in self.coins:
            asset = view.assets.get(coin)
            after = None if asset is None else asset.price(now)
            if asset is None or after is None:
                continue
            before = _day_ago(asset, after, now) if self.span == DAY else _at(asset, then)
            if before is not None:
                ends[coin] = before, after
        supplies = _supplies(view, now) if self._by_cap else {}
        own, market = (
            basket_move(basket, view.assets, ends, (then, now), supplies)
            for basket in (self.basket, self.market)
        )
        return None if own is None or market is None else (own, market)


def _day_ago(asset: View, after: float, now: Ms) -> float | None:
    change = _DAY.value(asset, now)
    return None if change is None or change.value <= -100 else after / (1 + change.value / 100)


def _at(asset: View, then: Ms) -> float | None:
    levels = asset.memo(LEVELS)
    return None if levels is None else levels.at(then // HOUR)


def _supplies(view: View, now: Ms) -> dict[str, float]:
    """Of the coins of the list that are those which trade here, while it may be believed."""
    cap = view.memo(MARKET_CAP)
    if cap is None or now > cap.state.good_until:
        return {}
    return {coin.asset: coin.circulating for coin in cap.state.coins if coin.own}


def over(span: Ms) -> Callable[[str, str], SectorMetric | None]:
    """The metric of a name over ``span``, given the basket in it; still without the baskets."""

    def parse(name: str, sector: str) -> SectorMetric | None:
        is_one = NAME.fullmatch(sector) is not None and sector != MARKET
        return SectorMetric(name, sector, span) if is_one else None

    return parse
