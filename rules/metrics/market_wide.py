"""The whole market: open interest of everything, and how many contracts have negative funding.

Both walk over all instruments, which the engine lets them do once in some seconds only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import NamedTuple

from rules.alerts import FundingShareFacts, Scope, TotalOpenInterestFacts
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_MARKET, Reading, fall
from rules.metrics.funding import predicted_rate, settled_rate
from rules.metrics.open_interest import OpenInterestMetric, open_interest
from streams.durations import SECOND
from streams.events import Funding, Kind, MarketEvent, Ms

LOOK_EVERY: Ms = 5 * SECOND
TOP = 5
"""How many assets facts name."""

_FUNDING = frozenset({Kind.FUNDING})
_OPEN_INTEREST = frozenset({Kind.OPEN_INTEREST})


class _Asset(NamedTuple):
    name: str
    before_usd: float
    after_usd: float
    price_usd: float | None
    markets: list[Market]


@dataclass(frozen=True, slots=True)
class TotalOpenInterest:
    """``oi_total_net_<duration>_pct``: percent of the USD held at the window's start.

    The change in coins of every contract known at both ends, each asset at its price of the
    window's start: positions opened or closed, price removed. An asset without that price is left
    out on both sides.
    """

    name: str
    part: OpenInterestMetric
    unit: str = "%"
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = _OPEN_INTEREST
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY

    @property
    def window(self) -> Ms | None:
        return self.part.window

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return self.part.keeps()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return self.part.take(market, event, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        assets = list(self._assets(view, now))
        expected, usual = _holding(view)
        before = sum([a.before_usd for a in assets])
        after = sum([a.after_usd for a in assets])
        used = [market for asset in assets for market in asset.markets]
        held = sum([view.assets[a.name].oi_usd(m) or 0.0 for a in assets for m in a.markets])
        if before <= 0 or held < LEAST_SHARE * usual:
            return None
        return Reading(
            value=100 * (after - before) / before,
            used=used,
            expected=expected,
            floor_musd=before / 1e6,
        )

    def facts(self, view: View, now: Ms) -> TotalOpenInterestFacts | None:
        assets = list(self._assets(view, now))
        if not assets:
            return None
        moved = nlargest(TOP, assets, key=lambda a: abs(a.after_usd - a.before_usd))
        effects = [a.price_usd for a in assets if a.price_usd is not None]
        return TotalOpenInterestFacts(
            window_ms=self.part.window,
            before_usd=sum(a.before_usd for a in assets),
            net_usd=sum(a.after_usd - a.before_usd for a in assets),
            price_usd=sum(effects) if len(effects) == len(assets) else None,
            by_asset_usd={a.name: a.after_usd - a.before_usd for a in moved},
            live=sum(len(a.markets) for a in assets),
            expected=len(_holding(view)[0]),
        )

    def distance(self, value: float) -> float:
        return fall(-value) if value < 0 else value

    def _assets(self, view: View, now: Ms) -> Iterator[_Asset]:
        for name, asset in view.assets.items():
            span = self.part.span([m for m in asset if m.oi_base is not None], now)
            first = asset.price_at(span.start) if span else None
            if span is None or first is None:
                continue
            before, after, last = span.before, span.after, asset.price(now)
            effect = None if last is None else after * (last - first)
            markets = [e.market for e in span.ends]
            yield _Asset(name, before * first, after * first, effect, markets)


@dataclass(frozen=True, slots=True)
class FundingShare:
    """``funding_negative_share_pct``: percent of the contracts whose funding is negative.

    The rate last charged counts; the running estimate stands in until the first charge is known.
    """

    name: str
    unit: str = "% of contracts"
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = _FUNDING
    window: Ms | None = None
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return isinstance(event, Funding)

    def value(self, view: View, now: Ms) -> Reading | None:
        expected, rates = _funded(view, now)
        if not rates or len(rates) < LEAST_SHARE * len(expected):
            return None
        # the settled rate outlives its feed, but a market that is mostly dark is not judged by it
        if sum([m.up(Kind.FUNDING) for m in expected]) < LEAST_SHARE * len(expected):
            return None
        negative = sum([rate < 0 for _, _, rate in rates])
        return Reading(
            value=100 * negative / len(rates),
            used=[m for _, m, _ in rates],
            expected=expected,
        )

    def facts(self, view: View, now: Ms) -> FundingShareFacts:
        expected, rates = _funded(view, now)
        lowest: dict[str, float] = {}
        for asset, _, rate in rates:
            lowest[asset] = min(rate, lowest.get(asset, rate))
        named = sorted(lowest.items(), key=lambda entry: entry[1])[:TOP]
        return FundingShareFacts(
            negative=sum(rate < 0 for _, _, rate in rates),
            live=len(rates),
            expected=len(expected),
            lowest_pct_8h=dict(named),
        )

    def distance(self, value: float) -> float:
        return fall(value)


NEGATIVE_SHARE = FundingShare("funding_negative_share_pct")


def total(name: str, window: Ms) -> TotalOpenInterest:
    """The metric over ``window``."""
    return TotalOpenInterest(name, open_interest(name, window))


def _holding(view: View) -> tuple[list[Market], float]:
    """The contracts whose open interest is known in USD, and its sum."""
    known = [
        (market, usd)
        for asset in view.assets.values()
        for market in asset
        if (usd := asset.oi_usd(market)) is not None
    ]
    return [market for market, _ in known], sum([usd for _, usd in known])


def _funded(view: View, now: Ms) -> tuple[list[Market], list[tuple[str, Market, float]]]:
    """The contracts that have funding, and (asset, contract, % per 8 h) of those that are known."""
    expected = [(name, m) for name, m in _contracts(view) if m.line(Kind.FUNDING) is not None]
    rates = ((name, m, settled_rate(m, now) or predicted_rate(m, now)) for name, m in expected)
    known = [(name, m, rate.pct_8h) for name, m, rate in rates if rate is not None]
    return [m for _, m in expected], known


def _contracts(view: View) -> Iterable[tuple[str, Market]]:
    return ((name, market) for name, asset in view.assets.items() for market in asset)
