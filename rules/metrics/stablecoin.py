"""How far a stablecoin is from a dollar: ``stablecoin_usdt_pct``, ``stablecoin_usdc_pct``, %.

By the prices of the same coins in dollars and in it, the middle of three minutes
(``rules.stablecoins``). Below 0 it is worth less than a dollar.
"""

from dataclasses import dataclass

from rules.alerts import Scope, StablecoinFacts
from rules.market import Keep, Market, Memo, View
from rules.metric import OF_MARKET, Reading
from rules.stablecoins import CALM_FOR, RATES, STABLECOINS, STEP, StablecoinRate, implied
from streams.events import Kind, MarketEvent, Ms

UNIT = "% from a dollar"


@dataclass(frozen=True, slots=True)
class StablecoinMetric:
    """The metric of one coin."""

    name: str
    coin: str
    keep: Keep[StablecoinRate]
    unit: str = UNIT
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = frozenset({Kind.PRICE})
    window: Ms | None = None
    """It compares no two times of its own choice."""
    look_every: Ms = STEP
    idle_look: Ms | None = STEP
    price_keep: Ms = CALM_FOR

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (self.keep,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """What it is worth now."""
        memo = view.keep(self.keep)
        worth = implied(view.assets, self.coin, now) if memo.due(now) else None
        if worth is not None:
            memo.take(worth.rate, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        rate = self._rate(view, now)
        return None if rate is None else Reading(value=100 * (rate - 1))

    def facts(self, view: View, now: Ms) -> StablecoinFacts | None:
        rate = self._rate(view, now)
        if rate is None:
            return None
        worth = implied(view.assets, self.coin, now)
        if worth is None:  # at this moment; it was a while ago
            return StablecoinFacts(coin=self.coin, rate=rate)
        return StablecoinFacts(
            coin=self.coin,
            rate=rate,
            by_asset=worth.by_asset,
            dollar_venues=worth.dollars,
            coin_venues=worth.coins,
        )

    def distance(self, value: float) -> float:
        return abs(value)

    def _rate(self, view: View, now: Ms) -> float | None:
        memo = view.memo(self.keep)
        return None if memo is None else memo.rate(now)


OF_COINS = {
    coin.lower(): StablecoinMetric(f"stablecoin_{coin.lower()}_pct", coin, RATES[coin])
    for coin in STABLECOINS
}
"""By the name of the coin in the name of the metric."""
