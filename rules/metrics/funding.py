"""Funding per 8 h in percent, weighted by open interest over the venues of one asset.

``r_8h = rate * 8 / hours``; a market without known open interest has no weight and is left out.
The settled rate is a fact until the next settlement is due, and does not fall out of the mean
because a feed went down; the running estimate is worth only what the feed behind it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rules.alerts import FundingFacts
from rules.metric import LEAST_SHARE, Reading, left_out
from rules.view import Keep, Market, View, venues
from streams.events import Funding, Kind, MarketEvent, Ms

HOUR: Ms = 3_600_000
MINUTE: Ms = 60_000

SETTLED_LATE: Ms = 10 * MINUTE
"""How long after its time a settlement may be missing before the old rate is stale."""

PREDICTED_MAX_AGE: Ms = 15 * MINUTE
"""Estimates may come only when they change (Bybit tickers), so a short silence says little."""

NEUTRAL_PCT = 0.01
"""Percent per 8 h that longs pay when perpetual and index agree: the interest of the formula
F = P + clamp(0.01 % - P, +-0.05 %) that the large venues publish. Zero is not the middle."""

_SETTLED = Keep("funding.settled", 2, 0)
_PREDICTED = Keep("funding.predicted", 2, 0)
_KINDS = frozenset({Kind.FUNDING})


class _Rate(NamedTuple):
    market: Market
    weight_usd: float
    at: Ms
    pct_8h: float
    hours: float

    @property
    def due(self) -> Ms:
        return self.at + round(self.hours * HOUR)


@dataclass(frozen=True, slots=True)
class FundingMetric:
    """``funding_8h_pct`` (settled) or ``funding_predicted_8h_pct`` (running estimates)."""

    name: str
    settled: bool
    unit: str = "% per 8h"
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    lookback: Ms = 0

    def keeps(self) -> tuple[Keep, ...]:
        return (_SETTLED, _PREDICTED) if self.settled else (_PREDICTED,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, Funding) or event.hours <= 0:
            return False
        if not event.settled:
            market.keep(_PREDICTED).append(now, (event.rate, event.hours))
            return not self.settled
        if not self.settled:
            return False
        series = market.keep(_SETTLED)
        last = series.last_time
        # every poll tells the last settlement again, and a history may come newest first
        if event.at > now + MINUTE or (last is not None and event.at <= last):
            return False
        series.append(event.at, (event.rate, event.hours))
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        expected = _weights(view)
        rates = self._rates(expected, now)
        weight = sum(r.weight_usd for r in rates)
        usual = sum(expected.values())
        if not rates or weight < LEAST_SHARE * usual:
            return None
        if self.settled and not (_settled_together(rates) and _enough_up(expected, usual)):
            return None
        used = [r.market for r in rates]
        largest = max(rates, key=lambda r: r.weight_usd)
        return Reading(
            value=_mean(rates),
            venues=venues(used),
            missing=left_out(list(expected), used),
            floor_musd=weight / 1e6,
            # venues stamp a settlement within a second of the full hour
            settled_at=round(largest.at / MINUTE) * MINUTE if self.settled else None,
            interval_ms=round(largest.hours * HOUR) if self.settled else None,
        )

    def facts(self, view: View, now: Ms) -> FundingFacts:
        rates = self._rates(_weights(view), now)
        by_venue: dict[str, list[_Rate]] = {}
        for rate in rates:
            by_venue.setdefault(rate.market.venue, []).append(rate)
        predicted = PREDICTED.value(view, now)
        return FundingFacts(
            settled=self.settled,
            by_venue_pct_8h={venue: _mean(some) for venue, some in by_venue.items()},
            hours={
                venue: max(some, key=lambda r: r.weight_usd).hours
                for venue, some in by_venue.items()
            },
            predicted_pct_8h=predicted.value if predicted else None,
        )

    def distance(self, value: float) -> float:
        return abs(value - NEUTRAL_PCT)

    def _rates(self, weights: Mapping[Market, float], now: Ms) -> list[_Rate]:
        name = _SETTLED.name if self.settled else _PREDICTED.name
        rates: list[_Rate] = []
        for market, weight in weights.items():
            series = market.series.get(name)
            if series is None or (at := series.last_time) is None or (last := series.last) is None:
                continue
            rate, hours = last
            if self.settled:
                fresh = now <= at + round(hours * HOUR) + SETTLED_LATE
            else:
                fresh = market.up(Kind.FUNDING) and now - at <= PREDICTED_MAX_AGE
            if fresh:
                rates.append(_Rate(market, weight, at, 100 * rate * 8 / hours, hours))
        return rates


SETTLED = FundingMetric("funding_8h_pct", settled=True)
PREDICTED = FundingMetric("funding_predicted_8h_pct", settled=False)


def _weights(view: View) -> dict[Market, float]:
    """The markets that have a funding feed and a known open interest, with that in USD."""
    weights: dict[Market, float] = {}
    for market in view:
        usd = view.oi_usd(market)
        if usd is not None and usd > 0 and market.line(Kind.FUNDING) is not None:
            weights[market] = usd
    return weights


def _mean(rates: list[_Rate]) -> float:
    return sum(r.weight_usd * r.pct_8h for r in rates) / sum(r.weight_usd for r in rates)


def _settled_together(rates: list[_Rate]) -> bool:
    """False while one venue has told a settlement that another, due as well, still owes.

    A mean of this round's rate here and the last round's there belongs to no moment.
    """
    newest = max(r.at for r in rates)
    return all(r.due > newest + MINUTE for r in rates)


def _enough_up(expected: Mapping[Market, float], usual: float) -> bool:
    up = sum(usd for market, usd in expected.items() if market.up(Kind.FUNDING))
    return up >= LEAST_SHARE * usual
