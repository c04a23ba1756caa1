"""Sample messages: what a rule's alerts say, each turn of them, with made numbers around its own
levels. Pure.

The alerts are made up, the words are not: they go through the renderer of every post.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from statistics import median

import msgspec

from bot.config import Settings
from bot.delivery.sinks.services import Account, apprise_call, request_of
from bot.destination import Service
from bot.lang import LANGUAGES
from bot.meant import nearest
from bot.messages.render import render
from bot.messages.voice import topic
from rules.alerts import (
    ALL,
    Alert,
    CascadeFacts,
    Cause,
    CrossingFacts,
    DepthFacts,
    FundingFacts,
    FundingShareFacts,
    Level,
    LevelFacts,
    Link,
    LiquidationFacts,
    MarketCapFacts,
    OpenInterestFacts,
    PartFacts,
    PriceFacts,
    PriceShareFacts,
    Regime,
    RegimeCondition,
    RegimeEvidence,
    RegimeFacts,
    SectorFacts,
    SpotDepthFacts,
    SpotShareFacts,
    StablecoinFacts,
    SupportFacts,
    TotalOpenInterestFacts,
    Turn,
    VolatilityFacts,
)
from rules.composite import Composite
from rules.market_cap import TRILLION
from rules.metric import Metric
from rules.metrics import metric
from rules.metrics.depth import DepthMetric
from rules.metrics.market_cap import USD_UNIT, MarketCapMetric, RoundMetric
from rules.metrics.regime import RegimeMetric
from rules.metrics.sector import MARKET, SectorMetric
from rules.metrics.spot import SpotDepth, SpotShare
from rules.metrics.stablecoin import StablecoinMetric
from rules.metrics.support import SupportMetric
from rules.metrics.usual import base_of
from rules.rule import Row, Rule
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Kind, Ms
from streams.sources import SOURCES
from streams.venues import VENUES

AT: Ms = 1_791_020_520_000
"""When it happens: 3 October 2026, 09:42 UTC."""

_SETTLED: Ms = 1_791_014_400_000
_LASTED: Ms = 72 * MINUTE
_PRICE = 112_400.0
_HELD = 612_400.0
_NORMAL_USD = 418e6
_FALLS = {"HYPE": 1.6, "SOL": 1.4, "DOGE": 1.3, "ETH": 1.2, "XRP": 1.1, "BTC": 1.05, "BNB": 1.02}
"""Coins that fall, and how many times as far as counts."""
_SHARES = dict(zip(VENUES, (1.08, 0.95, 0.8), strict=False))
"""How far a value is at each of three venues, beside the value of all."""

_ACCOUNT = Account(url="https://example.org/topic", to="U" + "0" * 32)

_FIRST, _SECOND = [*VENUES][:2]
_SILENT = tuple(name for name, of in VENUES.items() if Kind.LIQUIDATION not in of.SPEC.kinds)[:1]
"""A venue that publishes no liquidations."""


def preview(
    settings: Settings,
    name: str | None,
    language: str,
    *,
    html: bool,
    service: Service | None = None,
) -> str:
    """The messages of the rule ``name``, of its windows or of a composite; None: of all. Of
    ``service``: the body of the request that takes each there, or what the command is told.

    Raises ValueError: there is no such rule, with the one that was probably meant.
    """
    rules = [rule for rule in settings.rules if name in (None, rule.name, rule.family)]
    composites = [each for each in settings.composites if name in (None, each.name)]
    if not rules and not composites:
        names = [*(rule.name for rule in settings.rules), *(c.name for c in settings.composites)]
        near = nearest(name or "", names)
        meant = f' (did you mean "{near}"?)' if near else ""
        raise ValueError(f"there is no rule {name}{meant}: lowtide check names them all")
    alerts = [sample_alert(rule, turn) for rule in rules for turn in turns_of(rule)]
    alerts += [sample_cascade(each, settings.rules, turn) for each in composites for turn in Turn]
    return "\n\n".join(_shown(alert, language, html, service) for alert in alerts)


def _shown(alert: Alert, language: str, html: bool, service: Service | None) -> str:
    message = render(alert, LANGUAGES[language])
    sound = "silent" if message.silent else "rings"
    posted = "" if alert.post else ", never posted"
    text = message.html if html else message.plain
    if service is not None:
        content = (
            msgspec.json.encode(apprise_call(message))
            if service is Service.APPRISE
            else request_of(service, message, _ACCOUNT, alert.id).content
        )
        text = msgspec.json.format(content, indent=2).decode()
    return f"=== {alert.rule}, {alert.turn} ({sound}{posted})\n{text}"


def turns_of(rule: Rule) -> list[Turn]:
    """The turns that its alerts can have: with one level it never rises, and a state that one is in
    or not never gets worse."""
    _, row = _watched(rule)
    if topic(rule.metric) == "regime":
        return [Turn.OPEN, Turn.CLOSE]
    return [turn for turn in Turn if turn is not Turn.UP or _first(row) < max(row.levels)]


def sample_alert(rule: Rule, turn: Turn) -> Alert:
    """An alert of ``rule`` a little beyond its levels; at its end, a little within ``clear``."""
    of, asset, row = metric(rule.metric), *_watched(rule)
    level = _first(row) if turn is Turn.OPEN else max(row.levels)
    worst = _beyond(rule, row.levels[max(row.levels)], 1.3)
    value = {
        Turn.OPEN: _beyond(rule, row.levels[level], 1.1),
        Turn.UP: _beyond(rule, row.levels[level], 1.1),
        Turn.WORSE: worst,
        Turn.CLOSE: _within(rule, row),
    }[turn]
    settled = rule.metric == "funding_8h_pct"
    at = _SETTLED if settled else AT
    cause = rule.cause[0] if rule.cause else _cause(of, value)
    before, price = _prices(of, value, cause)
    return Alert(
        id=f"{rule.name}:{asset}:{at}:0",
        rule=rule.name,
        family=rule.family,
        metric=rule.metric,
        unit=of.unit,
        asset=asset,
        scope="market" if asset == ALL else "asset",
        turn=turn,
        level=level,
        value=value,
        threshold=row.levels[level],
        fires=rule.fires,
        at=at,
        seen=at + 80,
        opened_at=at if turn is Turn.OPEN else at - _LASTED,
        extreme=worst if turn is Turn.CLOSE else value,
        extreme_at=at - (16 * MINUTE if turn is Turn.CLOSE else 0),
        post=rule.post,
        price=None if asset == ALL else price,
        price_before=None if asset == ALL else before,
        venues=tuple(_SHARES),
        facts=_facts(of, value, rule),
        cause=cause,
    )


def sample_cascade(composite: Composite, rules: Sequence[Rule], turn: Turn) -> Alert:
    """An alert of ``composite`` all of whose conditions have come true."""
    parts = [
        sample_alert(next(rule for rule in rules if rule.family == family), Turn.WORSE)
        for family, _ in composite.all_of
    ]
    base = next((part for part in parts if part.asset != ALL), parts[0])
    level = max(composite.level, base.level)
    return Alert(
        id=f"{composite.name}:{base.asset}:{AT}:0",
        rule=composite.name,
        family=composite.name,
        metric="composite",
        unit="composite",
        asset=base.asset,
        turn=turn,
        level=level,
        value=0 if turn is Turn.CLOSE else len(parts),
        threshold=composite.enough,
        fires="above",
        at=AT,
        seen=AT + 80,
        opened_at=AT if turn is Turn.OPEN else AT - _LASTED,
        extreme=len(parts),
        extreme_at=AT,
        post=composite.post,
        price=next((part.price for part in parts if topic(part.metric) == "price"), 0.95 * _PRICE),
        price_before=_PRICE,
        venues=tuple(_SHARES),
        facts=CascadeFacts(
            within_ms=composite.within,
            needed=composite.enough,
            chain=tuple(_link(part, n, len(parts)) for n, part in enumerate(parts)),
            no_data=(),
            earlier=2,
            record_from=AT - 215 * DAY,
            last_at=AT - 41 * DAY,
        ),
        cause=Cause.LONG_UNWINDING,
    )


def _link(part: Alert, number: int, count: int) -> Link:
    facts = part.facts if not isinstance(part.facts, CascadeFacts) else None
    longs = part.extreme * 0.92 if isinstance(facts, LiquidationFacts) else None
    at = AT - 12 * MINUTE * (count - 1 - number)
    return Link(
        at=at,
        family=part.family,
        rule=part.rule,
        metric=part.metric,
        unit=part.unit,
        level=part.level,
        value=part.threshold,
        extreme=part.extreme,
        opened_at=at,
        facts=facts,
        extreme_longs=longs,
    )


def _first(row: Row) -> Level:
    """The level at which an alert begins."""
    return Level.ALERT if Level.ALERT in row.levels else min(row.levels)


def _watched(rule: Rule) -> tuple[str, Row]:
    """An asset that the rule is for, BTC if it is, and its levels."""
    for asset in (ALL, "BTC", "ETH", *rule.rows, "WLFI"):
        if (row := rule.row_of(asset)) is not None and (asset != ALL or ALL in rule.rows):
            return asset, row
    raise ValueError(f"the rule {rule.name} is for no asset")


def _beyond(rule: Rule, threshold: float, times: float) -> float:
    """A value on the bad side of ``threshold``."""
    size = abs(threshold) * (times - 1) or 0.02 * times
    value = threshold + (size if rule.fires == "above" else -size)
    return _possible(rule.metric, value)


def _within(rule: Rule, row: Row) -> float:
    size = abs(row.clear) * 0.2 or 0.002
    return _possible(rule.metric, row.clear + (-size if rule.fires == "above" else size))


def _possible(name: str, value: float) -> float:
    of = topic(name)
    if name.startswith("correlation"):
        return min(max(value, -0.99), 0.99)
    if of in ("breadth", "falls"):
        return min(max(value, 0.0), 100.0)
    if name.startswith("spot_share"):
        return min(max(value, 1.0), 99.0)
    return max(value, 1.0) if of in ("depth", "liq") or name.startswith("spot_") else value


def _prices(of: Metric, value: float, cause: Cause | None) -> tuple[float | None, float]:
    """At the beginning of the window and now."""
    if topic(of.name) == "price":
        return _PRICE, _PRICE * (1 + value / 100)
    if topic(of.name) in ("oi", "liq", "usual"):
        return _PRICE, _PRICE * (1 + _move(cause))
    return None, _PRICE


def _move(cause: Cause | None) -> float:
    """What the price does meanwhile, as a part of it."""
    return 0.024 if cause in (Cause.SHORT_COVERING, Cause.NEW_LONGS) else -0.031


def _cause(of: Metric, value: float) -> Cause | None:
    falls = Cause.LONG_UNWINDING if value < 0 else Cause.NEW_LONGS
    return falls if topic(of.name) in ("oi", "price") else None


def _facts(of: Metric, value: float, rule: Rule) -> PartFacts | None:
    """Facts in which ``value`` could be read."""
    base = base_of(of)
    if base is not of:  # its value is in usual moves, of about a percent, or of 4 million USD
        value = 4 * value if topic(base.name) == "liq" else value
    make = _FACTS.get(topic(base.name))
    return make(base, value, rule) if make is not None else None


def _by_venue(value: float) -> Mapping[str, float]:
    return {venue: value * share for venue, share in _SHARES.items()}


def _funding(of: Metric, value: float, _: Rule) -> FundingFacts:
    return FundingFacts(
        settled=topic(of.name) == "funding",
        by_venue_pct_8h=_by_venue(value),
        hours=dict.fromkeys(_SHARES, 8.0),
        predicted_pct_8h=value * 1.2,
    )


def _open_interest(of: Metric, value: float, rule: Rule) -> OpenInterestFacts:
    after = _HELD * (1 + value / 100)
    cause = rule.cause[0] if rule.cause else _cause(of, value)
    return OpenInterestFacts(
        window_ms=of.window or HOUR,
        before_base=_HELD,
        after_base=after,
        net_usd=(after - _HELD) * _PRICE,
        price_usd=_move(cause) * _PRICE * after,
        by_venue_pct=_by_venue(value),
    )


def _depth(of: Metric, value: float, _: Rule) -> DepthFacts:
    there = _NORMAL_USD * value / 100
    hourly = isinstance(of, DepthMetric) and of.hourly
    return DepthFacts(
        band_bp=of.bp if isinstance(of, DepthMetric) else 25,
        bid_usd=there * 0.42,
        ask_usd=there * 0.58,
        normal_usd=_NORMAL_USD,
        normal_ms=14 * DAY if hourly else 4 * HOUR,
        by_venue_pct=_by_venue(value),
        live=3,
        expected=3,
        spread_bp=0.3,
        hour=9 if hourly else None,
    )


def _liquidations(of: Metric, value: float, _: Rule) -> LiquidationFacts:
    return LiquidationFacts(
        window_ms=of.window or 10 * MINUTE,
        long_usd=value * 0.92e6,
        short_usd=value * 0.08e6,
        orders=214,
        largest_usd=value * 0.11e6,
        largest_venue=_SECOND,
        largest_price=_PRICE * 0.97,
        oi_pct=0.52,
        saturation_pct={_FIRST: 68.0},
        not_available=_SILENT,
    )


def _price(of: Metric, value: float, _: Rule) -> PriceFacts:
    return PriceFacts(
        window_ms=of.window or HOUR,
        before=_PRICE,
        after=_PRICE * (1 + value / 100),
        venue=_FIRST,
        by_venue_pct={venue: value * (1 + n / 50) for n, venue in enumerate(_SHARES)},
        oi_usd=32.1e9,
    )


def _total(of: Metric, value: float, _: Rule) -> TotalOpenInterestFacts:
    net = 58.2e9 * value / 100
    return TotalOpenInterestFacts(
        window_ms=of.window or HOUR,
        before_usd=58.2e9,
        net_usd=net,
        price_usd=-1.9e9,
        by_asset_usd={"BTC": net * 0.4, "ETH": net * 0.26, "SOL": net * 0.09},
        live=171,
        expected=174,
    )


def _breadth(_: Metric, value: float, __: Rule) -> FundingShareFacts:
    return FundingShareFacts(
        negative=round(0.67 * value),
        live=67,
        expected=70,
        lowest_pct_8h={"WLFI": -0.84, "ENA": -0.31, "TIA": -0.22},
    )


def _falls(of: Metric, value: float, rule: Rule) -> PriceShareFacts:
    least = rule.least_fall_pct
    fallen = round(value / 100 * len(least))
    falls = {asset: -least[asset] * times for asset, times in _FALLS.items() if asset in least}
    return PriceShareFacts(
        window_ms=of.window or HOUR,
        fallen=fallen,
        live=len(least),
        expected=len(least),
        by_asset_pct=dict(list(falls.items())[: min(5, fallen)]),
        least_fall_pct=least,
    )


def _structure(of: Metric, value: float, rule: Rule) -> PartFacts | None:
    match of:
        case SpotShare():
            return SpotShareFacts(
                spot_usd=value * 0.6e9,
                perpetual_usd=(100 - value) * 0.6e9,
                by_venue_pct=_by_venue(value),
            )
        case RoundMetric():
            return _market_cap(3.04e12 if of.up else 2.96e12, of)
        case MarketCapMetric():
            return _market_cap(value * TRILLION if of.unit == USD_UNIT else 2.96e12)
        case StablecoinMetric():
            rate = 1 + value / 100
            return StablecoinFacts(
                coin=of.coin,
                rate=rate,
                by_asset={"BTC": rate, "ETH": rate + 0.0002, "SOL": rate - 0.0003},
                dollar_venues=tuple(_by_venue(value)),
                coin_venues=tuple(_by_venue(value)),
            )
        case SectorMetric():
            return SectorFacts(
                sector=of.sector,
                span_ms=of.span,
                pct=value - 5.2,
                market_pct=-5.2,
                known=len(rule.baskets[of.sector].coins),
                coins=len(rule.baskets[of.sector].coins),
                market_known=len(rule.baskets[MARKET].coins) - 1,
                market_coins=len(rule.baskets[MARKET].coins),
                by_asset_pct={
                    coin: (value - 5.2) * times
                    for coin, times in zip(
                        rule.baskets[of.sector].coins, (1.4, 1.2, 1.1), strict=False
                    )
                },
                fixed_at=AT - AT % DAY - 9 * DAY,
                by_cap=rule.baskets[of.sector].weight == "cap",
            )
        case SupportMetric():
            return _support(ceil(value))
        case SpotDepth():
            spot = _depth(of.books, value, rule)
            return SpotDepthFacts(spot=spot, perpetual=_depth(of.books, value * 0.8, rule))
        case _:
            return _volatility(of)


def _support(held: int) -> SupportFacts:
    """A level that was lost, and the next one below."""
    first = AT - 12 * DAY
    rebounds = tuple(9.3 / (n + 1) for n in range(held))
    lost = LevelFacts(
        level=115_000.0,
        tests=held + 1,
        held=held,
        first_at=first,
        last_at=AT - HOUR,
        low=111_900.0,
        rebounds_pct=rebounds,
        regained_pct=100 * median(rebounds) / 25 if rebounds else None,
        lost_at=AT - 20 * MINUTE,
    )
    standing = LevelFacts(
        level=110_000.0, tests=2, held=2, first_at=first - 9 * DAY, last_at=first - 7 * DAY,
        low=110_200.0, rebounds_pct=(6.1, 11.4), regained_pct=48.0,
    )  # fmt: skip
    return SupportFacts(lost=lost if held else None, standing=standing, since=AT - 30 * DAY)


def _market_cap(usd: float, of: RoundMetric | None = None) -> MarketCapFacts:
    crossing = None
    if of is not None:
        at, since = AT - 12 * MINUTE, AT - 180 * DAY
        crossing = CrossingFacts(
            usd=3 * TRILLION, up=of.up, at=at, since=since, record_from=since - 90 * DAY
        )
    return MarketCapFacts(
        usd=usd,
        change_24h_pct=None,
        coins=250,
        live_pct=91.0,
        source=next(iter(SOURCES)),
        listed_at=AT - 20 * MINUTE,
        crossing=crossing,
    )


def _volatility(of: Metric) -> VolatilityFacts | None:
    if not of.name.startswith("volatility_"):
        return None
    return VolatilityFacts(window_ms=of.window or 7 * DAY, returns=1_006, expected=1_010)


_THRESHOLDS = (-5.0, -4.0, 0.3, 60.0, 85.0, -15.0, 3.0)
_AT_MOST = (True, True, False, True, False, True, False)
_EVIDENCE: Mapping[Regime, tuple[float, ...]] = {
    Regime.THIN: (-0.3, -0.8, 0.01, 52.0, 52.0, -4.1, 31.0),
    Regime.CASCADE: (-9.2, -6.4, 0.74, 38.0, 38.0, -13.0, 34.0),
    Regime.RESET: (-0.4, 0.6, 0.02, 71.0, 71.0, -22.0, -9.0),
    Regime.REPAIR: (0.5, 0.3, 0.01, 91.0, 91.0, -19.5, 3.0),
    Regime.CALM: (0.2, 0.1, 0.01, 98.0, 98.0, -6.2, 12.0),
}
"""The values of the conditions, in their order."""

_BEFORE = {
    Regime.THIN: Regime.CALM,
    Regime.CASCADE: Regime.THIN,
    Regime.RESET: Regime.CASCADE,
    Regime.REPAIR: Regime.RESET,
}


def _regime(of: Metric, value: float, _: Rule) -> RegimeFacts | None:
    """At its end the next one has begun."""
    if not isinstance(of, RegimeMetric):
        return None
    following = {before: regime for regime, before in _BEFORE.items()}
    regime = of.regime if value > 0.5 else following.get(of.regime, Regime.CALM)
    values = _EVIDENCE[regime]
    if "market" in of.scopes:  # the share of contracts whose funding is negative
        values = (*values[:-1], 62.0 if values[-1] < 0 else 18.0)
    asked = zip(RegimeCondition, values, _THRESHOLDS, _AT_MOST, strict=True)
    return RegimeFacts(
        regime=regime,
        since=AT,
        before=_BEFORE[of.regime] if value > 0.5 else of.regime,
        evidence=tuple(
            RegimeEvidence(
                condition=condition,
                value=x,
                threshold=threshold,
                met=x <= threshold if at_most else x >= threshold,
            )
            for condition, x, threshold, at_most in asked
        ),
    )


_FACTS: Mapping[str, Callable[[Metric, float, Rule], PartFacts | None]] = {
    "funding": _funding,
    "predicted": _funding,
    "oi": _open_interest,
    "depth": _depth,
    "liq": _liquidations,
    "price": _price,
    "total": _total,
    "breadth": _breadth,
    "falls": _falls,
    "structure": _structure,
    "regime": _regime,
}
