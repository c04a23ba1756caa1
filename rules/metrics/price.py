"""Change of an asset's price over a window, both ends from the same venue.

Each venue has an index of its own, and now and then a coin of the same name is another one; so a
price now is only compared with the same contract's price then. The first live venue in the order
of the configuration that reaches back far enough speaks for the asset.
"""

from dataclasses import dataclass

from rules.alerts import PriceFacts, Scope
from rules.metric import OF_ASSET, Reading, fall, look_every
from rules.view import Keep, Market, Memo, View
from streams.events import Kind, MarketEvent, Ms

_PRICE = Kind.PRICE
_KINDS = frozenset({_PRICE})


@dataclass(frozen=True, slots=True)
class PriceMetric:
    """``price_<duration>_pct``: percent of the price at the window's start."""

    name: str
    window: Ms
    unit: str = "%"
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    idle_look: Ms | None = None

    @property
    def look_every(self) -> Ms:
        return look_every(self.window)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        for market in view.ordered:
            before, after = self._ends(market, now)
            if before is not None and after is not None:
                held = view.held_usd()
                return Reading(
                    value=100 * (after - before) / before,
                    used=(market,),
                    expected=(market,),
                    floor_musd=None if held is None else held / 1e6,
                )
        return None

    def facts(self, view: View, now: Ms) -> PriceFacts | None:
        found = [(market.venue, *self._ends(market, now)) for market in view]
        known = [(v, before, after) for v, before, after in found if before and after]
        if not known:
            return None
        venue, before, after = known[0]
        return PriceFacts(
            window_ms=self.window,
            before=before,
            after=after,
            venue=venue,
            # of two contracts at one venue the first in order speaks
            by_venue_pct={v: 100 * (b - a) / a for v, a, b in reversed(known)},
            oi_usd=view.held_usd(),
        )

    def distance(self, value: float) -> float:
        return fall(-value) if value < 0 else value

    def _ends(self, market: Market, now: Ms) -> tuple[float | None, float | None]:
        prices = market.prices
        after = prices.now(now)
        if after is None or not market.up(_PRICE):
            return None, None
        return prices.at(now - self.window), after


def price(name: str, window: Ms) -> PriceMetric:
    """The metric over ``window``."""
    return PriceMetric(name, window)
