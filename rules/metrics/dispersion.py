"""How far the venues' funding lies apart: ``funding_dispersion_8h_pct``, % per 8 h.

The standard deviation of the running estimates per 8 h over the exchanges of one asset, each
weighed by its open interest, around the mean that ``funding_predicted_8h_pct`` is. Where the longs
of one venue pay and the shorts of another, positions are crowded in one place. It takes two
exchanges, and as much of the open interest as that mean. Nothing is remembered for it.
"""

from dataclasses import dataclass
from math import sqrt

import msgspec

from rules.alerts import DispersionFacts, Scope
from rules.market import Keep, Market, Memo, View
from rules.metric import Reading
from rules.metrics.funding import PREDICTED, predicted_rate
from rules.returns import LOOK_EVERY
from streams.events import Funding, Kind, MarketEvent, Ms

UNIT = "% per 8h apart"


@dataclass(frozen=True, slots=True)
class FundingDispersion:
    """The metric."""

    name: str
    unit: str = UNIT
    scopes: frozenset[Scope] = frozenset({"asset"})
    kinds: frozenset[Kind] = frozenset({Kind.FUNDING})
    window: Ms | None = None
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = None

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return isinstance(event, Funding) and not event.settled

    def value(self, view: View, now: Ms) -> Reading | None:
        exchanges = _exchanges(view, now)
        mean = PREDICTED.value(view, now) if len(exchanges) > 1 else None
        if mean is None:
            return None
        total = sum([usd for usd, _ in exchanges.values()])
        squares = sum([usd * (rate - mean.value) ** 2 for usd, rate in exchanges.values()])
        return msgspec.structs.replace(mean, value=sqrt(squares / total))

    def facts(self, view: View, now: Ms) -> DispersionFacts:
        exchanges = _exchanges(view, now)
        return DispersionFacts(by_venue_pct_8h={name: r for name, (_, r) in exchanges.items()})

    def distance(self, value: float) -> float:
        return abs(value)


def _exchanges(view: View, now: Ms) -> dict[str, tuple[float, float]]:
    """The exchanges whose estimate is known, each with its open interest in USD and its rate, the
    mean of its contracts."""
    sums: dict[str, tuple[float, float]] = {}
    for market, usd in view.usd_at_least().items():
        rate = predicted_rate(market, now)
        if usd > 0 and rate is not None:
            weight, paid = sums.get(market.exchange, (0.0, 0.0))
            sums[market.exchange] = weight + usd, paid + usd * rate.pct_8h
    return {name: (weight, paid / weight) for name, (weight, paid) in sums.items()}


DISPERSION = FundingDispersion("funding_dispersion_8h_pct")
