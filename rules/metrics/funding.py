"""Funding per 8 h in percent, weighted by open interest over the venues of one asset.

``r_8h = rate * 8 / hours``; a market without known open interest has no weight and is left out, one
that may count both sides has half of it: what it holds at least.
The settled rate is a fact until the next settlement is due, and does not fall out of the mean
because a feed went down; the running estimate is worth only what the feed behind it is.

Of the past (``past``) the value is the same mean of what the venues told later, at the open
interest of now: of then it is not known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from rules.alerts import FundingFacts, Scope
from rules.market import Keep, Market, Memo, Rate, View, venues
from rules.metric import LEAST_SHARE, OF_ASSET, Reading
from rules.settlements import SETTLEMENTS
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Funding, Kind, MarketEvent, Ms

SETTLED_LATE: Ms = 10 * MINUTE
"""How long after its time a settlement may be missing before the old rate is stale."""

PREDICTED_MAX_AGE: Ms = 15 * MINUTE
"""Estimates may come only when they change (Bybit tickers), so a short silence means little."""

NEUTRAL_PCT = 0.01
"""Percent per 8 h that longs pay when perpetual and index agree: the interest of the formula
F = P + clamp(0.01 % - P, +-0.05 %) that the large venues publish. Zero is not the middle."""

LOOK_EVERY: Ms = 5 * SECOND
"""Estimates change with every move of the price, and settlements come once in hours."""

_FUNDING = Kind.FUNDING
_KINDS = frozenset({_FUNDING})


class _Weighed(NamedTuple):
    market: Market
    weight_usd: float
    rate: Rate


@dataclass(frozen=True, slots=True)
class FundingMetric:
    """``funding_8h_pct`` (settled) or ``funding_predicted_8h_pct`` (running estimates)."""

    name: str
    settled: bool
    look_every: Ms = LOOK_EVERY
    unit: str = "% per 8h"
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    idle_look: Ms | None = None

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (SETTLEMENTS,) if self.settled else ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return isinstance(event, Funding) and event.settled is self.settled

    def value(self, view: View, now: Ms) -> Reading | None:
        known = settled_rate if self.settled else predicted_rate
        return self._value(view, partial(_at, known, now), live=True)

    def tells_past(self, reading: Reading) -> bool:
        """Whether each venue of a reading has told of its past."""
        tellers = [market for market in reading.used if market.memo(SETTLEMENTS)]
        return self.settled and venues(tellers) == reading.venues

    def past(self, view: View) -> Iterator[tuple[Ms, Reading]]:
        """The value at each settlement that was told later, the oldest first."""
        past = {m: memo.rates() for m in view.ordered if (memo := m.memo(SETTLEMENTS)) is not None}
        order = sorted(
            ((rate.at, market, rate) for market, rates in past.items() for rate in rates),
            key=itemgetter(0),
        )
        rates: dict[Market, Rate] = {}
        for at, group in groupby(order, key=itemgetter(0)):
            rates.update((market, rate) for _, market, rate in group)
            in_force = {m: rate for m, rate in rates.items() if at <= _due(rate) + SETTLED_LATE}
            reading = self._value(view, in_force.get, live=False)
            if reading is not None:
                yield at, reading

    def _value(
        self, view: View, known: Callable[[Market], Rate | None], live: bool
    ) -> Reading | None:
        """The mean of the ``known`` rates. ``live``: it is of now, so feeds must be up."""
        telling = venues([m for m in view.ordered if m.settled or m.memo(SETTLEMENTS)])
        expected: list[Market] = []
        rates: list[_Weighed] = []
        usual = up = weight = 0.0
        held = view.usd_at_least()
        for market in view.ordered:
            usd = held.get(market, 0.0)
            line = market.lines.get(_FUNDING) or market.venue_lines.get(_FUNDING)
            if usd <= 0 or line is None:
                continue
            if not self.settled or market.venue in telling:
                expected.append(market)  # Kraken tells no settlement, which is nothing missing
            usual += usd
            if line.up or not live:
                up += usd
            if (rate := known(market)) is not None:
                rates.append(_Weighed(market, usd, rate))
                weight += usd
        if not rates or weight < LEAST_SHARE * usual:
            return None
        if self.settled and not (_settled_together(rates) and up >= LEAST_SHARE * usual):
            return None
        largest = max(rates, key=_by_weight).rate
        return Reading(
            value=_mean(rates),
            used=[r.market for r in rates],
            expected=expected,
            floor_musd=weight / 1e6,
            # venues stamp a settlement within a second of the full hour
            settled_at=round(largest.at / MINUTE) * MINUTE if self.settled else None,
            interval_ms=round(largest.hours * HOUR) if self.settled else None,
        )

    def facts(self, view: View, now: Ms) -> FundingFacts:
        known = settled_rate if self.settled else predicted_rate
        by_venue: dict[str, list[_Weighed]] = {}
        for market, usd in view.usd_at_least().items():
            rate = known(market, now)
            if usd > 0 and rate is not None:
                by_venue.setdefault(market.venue, []).append(_Weighed(market, usd, rate))
        predicted = PREDICTED.value(view, now)
        return FundingFacts(
            settled=self.settled,
            by_venue_pct_8h={venue: _mean(rates) for venue, rates in by_venue.items()},
            hours={
                venue: max(rates, key=_by_weight).rate.hours for venue, rates in by_venue.items()
            },
            predicted_pct_8h=predicted.value if predicted else None,
        )

    def distance(self, value: float) -> float:
        return abs(value - NEUTRAL_PCT)


SETTLED = FundingMetric("funding_8h_pct", settled=True)
PREDICTED = FundingMetric("funding_predicted_8h_pct", settled=False)


def _at(known: Callable[[Market, Ms], Rate | None], now: Ms, market: Market) -> Rate | None:
    return known(market, now)


def settled_rate(market: Market, now: Ms) -> Rate | None:
    """The rate last charged, None if the next charge is overdue."""
    rate = market.settled
    if rate is None or market.clock.time(now) > _due(rate) + SETTLED_LATE:
        return None
    return rate


def predicted_rate(market: Market, now: Ms) -> Rate | None:
    """The running estimate, None if its feed is down or silent for long."""
    rate = market.predicted
    if rate is None or now - rate.at > PREDICTED_MAX_AGE or not market.up(_FUNDING):
        return None
    return rate


def _due(rate: Rate) -> Ms:
    return rate.at + round(rate.hours * HOUR)


def _by_weight(rate: _Weighed) -> float:
    return rate.weight_usd


def _mean(rates: list[_Weighed]) -> float:
    total = sum([r.weight_usd for r in rates])
    return sum([r.weight_usd * r.rate.pct_8h for r in rates]) / total


def _settled_together(rates: list[_Weighed]) -> bool:
    """False while one venue has sent a settlement that another one, due as well, has not sent yet.

    A mean of this round's rate here and the last round's there belongs to no moment.
    """
    newest = max(r.rate.at for r in rates)
    return all(_due(r.rate) > newest + MINUTE for r in rates)
