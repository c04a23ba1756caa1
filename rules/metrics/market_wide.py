"""The whole market: its open interest, the share of contracts with negative funding, and of falling
coins.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import nlargest, nsmallest
from typing import NamedTuple

from rules.alerts import FundingShareFacts, PriceShareFacts, Scope, TotalOpenInterestFacts
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_MARKET, Reading, fall
from rules.metrics.funding import predicted_rate, settled_rate
from rules.metrics.open_interest import OpenInterestMetric, Telling, open_interest
from rules.metrics.price import PriceMetric, price
from streams.durations import SECOND
from streams.events import Funding, Kind, MarketEvent, Ms

LOOK_EVERY: Ms = 5 * SECOND
TOP = 5
"""How many assets facts name."""

KNOWN_SHARE = 0.95
"""A share of contracts is said where the rates of so many of them are known: it is wrong by at most
what is not. A sum over fewer would be a lower bound; a share over fewer is none, since those whose
rates are not known may all be positive, or all negative."""

LEAST_COINS = 3
"""What fewer coins do is not what the market does."""

_FUNDING = frozenset({Kind.FUNDING})
_OPEN_INTEREST = frozenset({Kind.OPEN_INTEREST})
_PRICE = frozenset({Kind.PRICE})


class _Asset(NamedTuple):
    """An asset's open interest over a window, at the price of the window's start."""

    name: str
    before_usd: float
    after_usd: float
    left_out_usd: float
    """At the window's start, of contracts that are not known at both ends."""
    price_usd: float | None
    """By how much its price alone changed it; None: the price now is unknown."""
    markets: list[Market]


class MarketWideMetric:
    """What metrics of the whole market share. They walk over all instruments, so they are evaluated
    once in some seconds, and by time, since no event is theirs alone."""

    __slots__ = ()

    scopes: frozenset[Scope] = OF_MARKET
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY


@dataclass(frozen=True, slots=True)
class TotalOpenInterest(MarketWideMetric):
    """``oi_total_net_<duration>_pct``: percent of the USD held at the window's start.

    The change in coins of every contract known at both ends, each asset at its price of the
    window's start: positions opened or closed, price removed. An asset without that price is left
    out on both sides, and so is a venue of which nobody knows whether it counts one side or both.
    """

    name: str
    part: OpenInterestMetric
    """The metric of one asset, over the same window."""
    unit: str = "%"
    kinds: frozenset[Kind] = _OPEN_INTEREST

    @property
    def window(self) -> Ms | None:
        return self.part.window

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return self.part.keeps()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return self.part.take(market, event, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        assets = list(self._assets(view, now))
        expected = [m for asset in view.assets.values() for m in asset.usd_held()]
        before = sum([a.before_usd for a in assets])
        after = sum([a.after_usd for a in assets])
        used = [market for asset in assets for market in asset.markets]
        # at the price of the window's start, like the assets that are known
        known = {a.name for a in assets}
        left_out = sum([a.left_out_usd for a in assets])
        for name, asset in view.assets.items():
            if name not in known:
                first = asset.price_at(now - self.part.window)
                left_out += sum(asset.usd_held(first).values())
        if before <= 0 or before < LEAST_SHARE * (before + left_out):
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
            expected=sum(len(asset.usd_held()) for asset in view.assets.values()),
            not_added=tuple(
                dict.fromkeys(v for asset in view.assets.values() for v in asset.not_added)
            ),
        )

    def distance(self, value: float) -> float:
        return fall(-value) if value < 0 else value

    def _assets(self, view: View, now: Ms) -> Iterator[_Asset]:
        for name, asset in view.assets.items():
            holding = [m for m in asset if m.oi_base is not None and m.one_side]
            telling = Telling.by(holding, asset)
            span = self.part.span(telling, now, asset.price_at)
            first = asset.price_at(span.start) if span else None
            if span is None or first is None:
                continue
            before, after, last = span.before, span.after, asset.price(now)
            effect = None if last is None else span.priced * (last - first)
            markets = [e.market for e in span.ends]
            left_out = before * first * self.part.left_out(telling, span)
            yield _Asset(name, before * first, after * first, left_out, effect, markets)


@dataclass(frozen=True, slots=True)
class FundingShare(MarketWideMetric):
    """``funding_negative_share_pct``: percent of the contracts whose funding is negative.

    The rate last charged counts; the running estimate stands in until the first charge is known.
    Never a lower bound: None where less than ``KNOWN_SHARE`` of the contracts' rates are known.
    """

    name: str
    unit: str = "% of contracts"
    kinds: frozenset[Kind] = _FUNDING
    window: Ms | None = None

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return isinstance(event, Funding)

    def value(self, view: View, now: Ms) -> Reading | None:
        expected, rates = _funded(view, now)
        if not rates or len(rates) < KNOWN_SHARE * len(expected):
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


@dataclass(frozen=True, slots=True)
class PriceDownShare(MarketWideMetric):
    """``price_down_share_<duration>_pct``: percent of the assets named that fell by what is stated.

    An asset whose price is not known now, or not at the window's start, counts as not fallen: then
    the share is a lower bound, and with fewer than ``LEAST_SHARE`` of the prices known it decides
    nothing about a level that it does not exceed. An asset that was not heard of yet does not
    count, and fewer than ``LEAST_COINS`` are no market.
    """

    name: str
    moves: PriceMetric
    """The metric of one asset, over the same window."""
    least_fall_pct: Mapping[str, float] = field(default_factory=dict[str, float])
    """The assets that count → how much each must fall, %, without a sign."""
    unit: str = "% of coins"
    kinds: frozenset[Kind] = _PRICE

    @property
    def window(self) -> Ms | None:
        return self.moves.window

    def over(self, least_fall_pct: Mapping[str, float]) -> "PriceDownShare":
        """The metric over these assets."""
        return replace(self, least_fall_pct=least_fall_pct)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def value(self, view: View, now: Ms) -> Reading | None:
        changes = self._changes(view, now)
        live = sum([pct is not None for pct in changes.values()])
        if not live or len(changes) < least_coins(self.least_fall_pct):
            return None
        return Reading(
            value=100 * self._fallen(changes) / len(changes),
            lower_bound=live < len(changes),
            breach_only=live < LEAST_SHARE * len(changes),
        )

    def facts(self, view: View, now: Ms) -> PriceShareFacts | None:
        changes = self._changes(view, now)
        known = {asset: pct for asset, pct in changes.items() if pct is not None}
        if not known:
            return None
        return PriceShareFacts(
            window_ms=self.moves.window,
            fallen=self._fallen(changes),
            live=len(known),
            expected=len(changes),
            by_asset_pct=dict(nsmallest(TOP, known.items(), key=lambda entry: entry[1])),
            least_fall_pct={asset: self.least_fall_pct[asset] for asset in changes},
        )

    def distance(self, value: float) -> float:
        return fall(value)

    def _changes(self, view: View, now: Ms) -> dict[str, float | None]:
        """The change of each asset that counts and has a price feed, None: unknown."""
        changes: dict[str, float | None] = {}
        for name in self.least_fall_pct:
            asset = view.assets.get(name)
            if asset is not None and any(m.line(Kind.PRICE) is not None for m in asset):
                reading = self.moves.value(asset, now)
                changes[name] = None if reading is None else reading.value
        return changes

    def _fallen(self, changes: Mapping[str, float | None]) -> int:
        return sum(
            [pct is not None and pct <= -self.least_fall_pct[a] for a, pct in changes.items()]
        )


def least_coins(named: Collection[str]) -> int:
    """How many of the coins ``named`` must have been heard of: all, if these are fewer."""
    return min(LEAST_COINS, len(named))


def down_share(name: str, window: Ms) -> PriceDownShare:
    """The metric over ``window``, still without the assets that count."""
    return PriceDownShare(name, price(name, window))


NEGATIVE_SHARE = FundingShare("funding_negative_share_pct")


def total(name: str, window: Ms) -> TotalOpenInterest:
    """The metric over ``window``."""
    return TotalOpenInterest(name, open_interest(name, window))


def _funded(view: View, now: Ms) -> tuple[list[Market], list[tuple[str, Market, float]]]:
    """The contracts that have funding, and (asset, contract, % per 8 h) of those with a rate."""
    expected = [(name, m) for name, m in _contracts(view) if m.line(Kind.FUNDING) is not None]
    rates = ((name, m, settled_rate(m, now) or predicted_rate(m, now)) for name, m in expected)
    known = [(name, m, rate.pct_8h) for name, m, rate in rates if rate is not None]
    return [m for _, m in expected], known


def _contracts(view: View) -> Iterable[tuple[str, Market]]:
    return ((name, market) for name, asset in view.assets.items() for market in asset)
