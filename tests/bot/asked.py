"""A market, alerts and a configuration to ask about, worked out by hand."""

from pathlib import Path
from typing import Any

import msgspec

from bot.commands import answer, denied
from bot.commands.context import (
    Answer,
    Asker,
    Context,
    FeedReport,
    Reports,
    SourceReport,
    VenueReport,
)
from bot.commands.parsing import parse
from bot.config import Settings, load
from bot.delivery.fate import AlertFate, Fate
from bot.delivery.post import ChatReport
from bot.lang import ENGLISH
from bot.lang.words import Words
from bot.messages.blocks import fitted_answer
from bot.messages.voice import Html
from bot.plan.silences import Silence
from rules.alerts import (
    Alert,
    CascadeFacts,
    Cause,
    CorrelationFacts,
    DepthFacts,
    DispersionFacts,
    FundingFacts,
    FundingShareFacts,
    HighFacts,
    Level,
    LevelFacts,
    Link,
    LiquidationDayFacts,
    LiquidationFacts,
    LiveShare,
    MarketCapFacts,
    OpenInterestFacts,
    Regime,
    RegimeCondition,
    RegimeEvidence,
    RegimeFacts,
    SectorFacts,
    SpotDepthFacts,
    StablecoinFacts,
    SupportFacts,
    Turn,
)
from rules.context import SourceFacts
from rules.snapshot import Standing, Value
from streams.events import (
    MarketCap,
    Ms,
    OwnSeries,
    RateOdds,
    Release,
    Stablecoin,
    Supply,
)

NOW: Ms = 1_791_020_520_000  # 3 Oct 2026 09:42 UTC
MIN, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ANN, BOB = 11, 12
"""An operator, and somebody else."""

CONFIG = """
[channel]
chat_id = "@lowtide"
[[chats]]
id = -1001
rules = ["liq_burst"]
[operators]
chat_id = -200
users = [11]
commands = "everyone"
subscribers = 2

[markets]
venues = ["binance", "bybit", "hyperliquid", "coinbase"]
majors = ["BTC", "ETH"]
tail = "next 60 by OI"

[rules.funding_negative]
metric = "funding_8h_pct"
fires = "below"
for = "1 settlement"
majors = { alert = 0.0, critical = -0.03, clear = 0.002 }
tail = { alert = -0.10, clear = -0.02 }
[rules.funding_predicted]
metric = "funding_predicted_8h_pct"
fires = "below"
post = false
majors = { watch = 0.0, clear = 0.003 }
[rules.funding_breadth]
metric = "funding_negative_share_pct"
fires = "above"
all = { alert = 60, clear = 45 }
[rules.oi_drop]
metric = "oi_net_{window}_pct"
fires = "below"
for = "2m"
[rules.oi_drop.windows.15m]
majors = { alert = -3, clear = -1 }
[rules.oi_drop.windows.1h]
majors = { watch = -3, alert = -5, critical = -8, clear = -1.5 }
BTC = { watch = -2.5 }
tail = { alert = -15, clear = -6 }
[rules.surge]
metric = "oi_net_1h_pct"
fires = "above"
when = { price_1h_pct = ">= 2", liq_10m_musd = "> 5" }
cause = ["new longs", "short covering"]
majors = { alert = 5, clear = 2 }
[rules.depth_thin]
metric = "depth_25bp_pct_of_recent"
fires = "below"
majors = { watch = 70, alert = 55, clear = 85 }
[rules.depth_low]
metric = "depth_25bp_pct_of_normal"
fires = "below"
majors = { watch = 60, clear = 75 }
[rules.liq_burst]
metric = "liq_10m_musd"
fires = "above"
majors = { watch = 15, alert = 40, clear = 8 }
[rules.cascade]
within = "1h"
all_of = ["oi_drop:alert", "liq_burst:alert"]
hides = ["oi_drop", "liq_burst"]
[rules.funding_apart]
metric = "funding_dispersion_8h_pct"
fires = "above"
post = false
majors = { watch = 0.01, clear = 0.005 }
[rules.liq_day]
metric = "liq_total_24h_musd"
fires = "above"
post = false
all = { watch = 1000, clear = 600 }
[rules.drawdown]
metric = "drawdown_price_pct"
fires = "below"
post = false
majors = { watch = -20, clear = -15 }
[rules.oi_drawdown]
metric = "drawdown_oi_total_net_pct"
fires = "below"
post = false
all = { watch = -20, clear = -15 }
[rules.correlation]
metric = "correlation_{window}_7d"
fires = "above"
post = false
[rules.correlation.windows.top10]
all = { watch = 0.9, clear = 0.8 }
[rules.correlation.windows.51to100]
all = { watch = 0.8, clear = 0.7 }
[rules.volatility]
metric = "volatility_7d_pct"
fires = "above"
post = false
majors = { watch = 80, clear = 60 }
[rules.spot_share]
metric = "spot_share_pct"
fires = "above"
post = false
majors = { watch = 45, clear = 38 }
[rules.spot_depth]
metric = "spot_depth_25bp_pct_of_recent"
fires = "below"
post = false
majors = { watch = 60, clear = 80 }
[context]
sources = ["coingecko", "defillama", "kalshi", "polymarket", "forexfactory"]
[[context.series]]
name = "IBIT"
file = "flows.csv"
"""


def settings(folder: Path, text: str = CONFIG) -> Settings:
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, {})


def _funding(asset: str, pct: float, **venues: float) -> Value:
    return Value(
        metric="funding_8h_pct", unit="% / 8h", asset=asset, value=pct, price=112_400.0,
        settled_at=NOW - 102 * MIN, interval_ms=8 * HOUR,
        facts=FundingFacts(
            settled=True, by_venue_pct_8h=venues, hours=dict.fromkeys(venues, 8.0),
            predicted_pct_8h=0.0042,
        ),
    )  # fmt: skip


def _oi(asset: str, window: str, ms: Ms, pct: float, missing: tuple[str, ...] = ()) -> Value:
    return Value(
        metric=f"oi_net_{window}_pct", unit="%", asset=asset, value=pct, price=112_400.0,
        missing=missing,
        coverage=LiveShare(live=2, expected=3, held_pct=81.2) if missing else None,
        cause=Cause.LONG_UNWINDING if pct < -1 else Cause.UNCLEAR,
        facts=OpenInterestFacts(
            window_ms=ms, before_base=612_400, after_base=612_400 * (1 + pct / 100),
            net_usd=612_400 * pct / 100 * 113_000, price_usd=-198e6,
            by_venue_pct={"binance": pct - 0.4, "bybit": pct + 0.3},
        ),
    )  # fmt: skip


def _liq(asset: str, long_musd: float, short_musd: float) -> Value:
    total = long_musd + short_musd
    return Value(
        metric="liq_10m_musd", unit="million USD", asset=asset, value=total, price=3_412.0,
        lower_bound=True,
        facts=LiquidationFacts(
            window_ms=10 * MIN, long_usd=long_musd * 1e6, short_usd=short_musd * 1e6,
            orders=int(total * 3), largest_usd=total * 2e5, largest_venue="bybit",
            largest_price=3_412.0, oi_pct=0.5, saturation_pct={"binance": 68.0},
            not_available=("hyperliquid",),
        ),
    )  # fmt: skip


def _nothing(metric: str, asset: str) -> Value:
    return Value(metric=metric, unit="%", asset=asset)


DEPTH = Value(
    metric="depth_25bp_pct_of_recent", unit="% of recent", asset="BTC", value=54.0,
    facts=DepthFacts(
        band_bp=25, bid_usd=94e6, ask_usd=132e6, normal_usd=418e6, normal_ms=4 * HOUR,
        by_venue_pct={"binance": 51.0, "bybit": 66.0}, live=2, expected=3, spread_bp=0.3,
    ),
)  # fmt: skip
SHARE = Value(
    metric="funding_negative_share_pct", unit="%", asset="ALL", value=43.0,
    facts=FundingShareFacts(
        negative=29, live=67, expected=67, lowest_pct_8h={"WLFI": -0.84, "ENA": -0.31}
    ),
)  # fmt: skip

SPOT_DEPTH = Value(
    metric="spot_depth_25bp_pct_of_recent", unit="% of recent, spot", asset="BTC", value=81.0,
    price=112_400.0,
    facts=SpotDepthFacts(
        spot=DepthFacts(
            band_bp=25, bid_usd=31e6, ask_usd=28e6, normal_usd=73e6, normal_ms=4 * HOUR,
            by_venue_pct={"binance-spot": 78.0, "coinbase": 86.0}, live=3, expected=3,
            spread_bp=0.01,
        ),
        perpetual=DepthFacts(
            band_bp=25, bid_usd=94e6, ask_usd=132e6, normal_usd=418e6, normal_ms=4 * HOUR,
            by_venue_pct={"binance": 51.0, "bybit": 66.0}, live=2, expected=3, spread_bp=0.3,
        ),
    ),
)  # fmt: skip
_OF_ASSET = (-0.4, 0.2, 0.0234, 71.2, 71.2, -38.24, -9.0)
_OF_MARKET = (-4.6, -5.1, 0.31, None, None, -38.24, 64.0)
_ASKED = (-5.0, -4.0, 0.3, 60.0, 85.0, -15.0)


def _evidence(
    values: tuple[float | None, ...], asked: tuple[float, ...], met: tuple[bool | None, ...]
) -> tuple[RegimeEvidence, ...]:
    return tuple(
        RegimeEvidence(condition=condition, value=value, threshold=threshold, met=is_met)
        for condition, value, threshold, is_met in zip(
            RegimeCondition, values, asked, met, strict=True
        )
    )


REGIME = RegimeFacts(
    regime=Regime.RESET,
    since=NOW - 2 * HOUR - 5 * MIN,
    before=Regime.CASCADE,
    evidence=_evidence(_OF_ASSET, (*_ASKED, 3.0), (False, False, None, False, False, True, False)),
)
MARKET_REGIME = RegimeFacts(
    regime=Regime.CASCADE,
    since=NOW - 20 * MIN,
    before=None,
    evidence=_evidence(
        _OF_MARKET, (-4.0, *_ASKED[1:], 40.0), (True, True, True, None, None, True, False)
    ),
)
REPAIRED = _evidence(
    (-0.1, 0.3, 0.0, 91.3, 91.3, -22.0, 3.0),
    (*_ASKED, 3.0),
    (False, False, False, False, True, True, True),
)


def sector(name: str, span: int, value: float | None, pct: float = 0.0, known: int = 6) -> Value:
    """What a sector did over a day or a week, as the rules see it."""
    facts = SectorFacts(
        sector=name, span_ms=span, pct=pct, market_pct=pct - (value or 0.0), known=known, coins=7,
        market_known=29 if span == DAY else 27, market_coins=30, by_asset_pct={"ARB": pct},
        fixed_at=NOW - 12 * DAY, by_cap=name == "own",
    )  # fmt: skip
    window = "24h" if span == DAY else "7d"
    return Value(
        metric=f"sector_{name}_{window}_pct", unit="% against the market", asset="ALL",
        value=value, facts=None if value is None else facts,
    )  # fmt: skip


SECTORS = (
    sector("layer2", DAY, -7.41, -12.61),
    sector("layer2", 7 * DAY, -9.0, -20.0, known=5),
    sector("own", DAY, 1.2, -4.0),
    sector("own", 7 * DAY, None),
    sector("gaming", DAY, None),
    sector("gaming", 7 * DAY, None),
)
SUPPORTS = (
    Value(
        metric="support_lost_held", unit="times held", asset="BTC", value=0.0,
        facts=SupportFacts(
            lost=None,
            standing=LevelFacts(
                level=105_000.0, tests=3, held=3, first_at=NOW - 20 * DAY, last_at=NOW - 2 * DAY,
                low=104_810.0, rebounds_pct=(9.1, 4.44, 2.0), regained_pct=24.1,
            ),
            since=NOW - 30 * DAY,
        ),
    ),
    Value(
        metric="support_lost_held", unit="times held", asset="A<B", value=2.0,
        facts=SupportFacts(
            lost=LevelFacts(
                level=0.2, tests=3, held=2, first_at=NOW - 9 * DAY, last_at=NOW - 4 * HOUR,
                low=0.18, rebounds_pct=(12.0, 3.0), regained_pct=31.0, lost_at=NOW - 3 * HOUR,
            ),
            standing=None, since=NOW - 30 * DAY,
        ),
    ),
    Value(metric="support_lost_held", unit="times held", asset="ETH"),
)  # fmt: skip
CALM = msgspec.structs.replace(REGIME, regime=Regime.CALM, since=NOW - 3 * DAY, before=None)
REGIMES = (
    Value(metric="regime_thin", unit="state", asset="BTC", value=0.0, facts=REGIME),
    Value(metric="regime_reset", unit="state", asset="BTC", value=1.0, facts=REGIME),
    Value(metric="regime_thin", unit="state", asset="ETH"),
    Value(metric="regime_thin", unit="state", asset="A<B", value=0.0, facts=CALM),
    Value(metric="regime_total_cascade", unit="state", asset="ALL", value=1.0, facts=MARKET_REGIME),
)

CAP = MarketCapFacts(
    usd=2.9631e12, change_24h_pct=-10.36, coins=250, live_pct=91.3, source="coingecko",
    listed_at=NOW - 20 * MIN,
)  # fmt: skip
TOTAL = (
    Value(metric="market_cap_24h_pct", unit="% in 24 h", asset="ALL", value=-10.36, facts=CAP),
    Value(
        metric="market_cap_trillion_usd", unit="trillion USD", asset="ALL", value=2.9631, facts=CAP
    ),
    Value(
        metric="stablecoin_usdt_pct", unit="% from a dollar", asset="ALL", value=-1.5,
        facts=StablecoinFacts(
            coin="USDT", rate=0.985, by_asset={"BTC": 0.98512, "ETH": 0.98488},
            dollar_venues=("bybit", "coinbase"), coin_venues=("binance", "okx"),
        ),
    ),
)  # fmt: skip
STRUCTURE = (
    Value(
        metric="liq_total_24h_musd",
        unit="M USD a day",
        asset="ALL",
        value=2_012.3,
        lower_bound=True,
        facts=LiquidationDayFacts(
            long_usd=1.61e9,
            short_usd=4.02e8,
            largest_usd=19.1e9,
            largest_at=NOW - 41 * DAY,
            since=NOW - 90 * DAY,
        ),
    ),
    Value(
        metric="funding_dispersion_8h_pct",
        unit="% per 8h apart",
        asset="BTC",
        value=0.0042,
        facts=DispersionFacts(by_venue_pct_8h={"binance": -0.0042, "bybit": 0.0051}),
    ),
    Value(
        metric="drawdown_oi_total_net_pct",
        unit="% from its high",
        asset="ALL",
        value=-38.24,
        facts=HighFacts(high_at=NOW - 46 * DAY, since=NOW - 90 * DAY, oi_usd=135.4e9),
    ),
    Value(metric="drawdown_price_pct", unit="% from its high", asset="BTC", value=-36.2),
    Value(
        metric="correlation_top10_7d",
        unit="ρ",
        asset="ALL",
        value=0.8312,
        facts=CorrelationFacts(top=0.8312, top_coins=10, middle=0.5478, middle_coins=17),
    ),
    Value(metric="correlation_51to100_7d", unit="ρ", asset="ALL"),
    Value(metric="spot_share_pct", unit="% of volume", asset="BTC", value=31.2),
    Value(metric="spot_share_pct", unit="% of volume", asset="ETH", value=24.8),
    SPOT_DEPTH,
    Value(metric="volatility_7d_pct", unit="% a year", asset="BTC", value=52.3, price=112_400.0),
    Value(metric="volatility_7d_pct", unit="% a year", asset="ETH", value=84.1),
    Value(metric="volatility_7d_pct", unit="% a year", asset="SOL"),
)
"""What the market's structure is measured by."""

VALUES = (
    _funding("BTC", -0.0031, binance=-0.0042, bybit=-0.0028, hyperliquid=-0.0016),
    _funding("ETH", 0.0101, binance=0.01, bybit=0.0103),
    _funding("A<B", -0.84, binance=-0.84),
    Value(metric="funding_predicted_8h_pct", unit="% / 8h", asset="BTC", value=0.0042),
    SHARE,
    _oi("BTC", "15m", 15 * MIN, -1.2),
    _oi("BTC", "1h", HOUR, -5.2, missing=("hyperliquid",)),
    _oi("ETH", "1h", HOUR, 0.4),
    msgspec.structs.replace(_nothing("oi_net_15m_pct", "ETH"), present_usd=14.259e9),
    DEPTH,
    SPOT_DEPTH,
    msgspec.structs.replace(_nothing("depth_25bp_pct_of_recent", "ETH"), present_usd=100e6),
    _nothing("depth_25bp_pct_of_normal", "BTC"),
    _liq("BTC", 58.9, 5.3),
    _liq("ETH", 0.0, 0.0),
    msgspec.structs.replace(DEPTH, instrument="bybit/BTCUSDT", value=12.0),
)


WORST = {"extreme": -7.1, "extreme_at": NOW - 10 * MIN}


def turn(number: int, what: Turn, level: Level, value: float, at: Ms, **changes: object) -> Alert:
    """A turn of an episode of oi_drop:1h on BTC that opened 30 minutes ago."""
    opened = NOW - 30 * MIN
    fields: dict[str, object] = {
        "id": f"oi_drop:1h:BTC:{opened}:{number}", "rule": "oi_drop:1h", "family": "oi_drop",
        "metric": "oi_net_1h_pct", "unit": "%", "asset": "BTC", "turn": what, "level": level,
        "value": value, "threshold": {1: -2.5, 2: -5, 3: -8}[level], "fires": "below", "at": at,
        "seen": at, "opened_at": opened, "extreme": value, "extreme_at": at, "post": True,
        "venues": ("binance", "bybit"), "missing": ("hyperliquid",), "price": 112_400.0,
        "cause": Cause.LONG_UNWINDING,
        "facts": _oi("BTC", "1h", HOUR, value).facts,
    }  # fmt: skip
    return Alert(**{**fields, **changes})


EPISODE = (
    turn(1, Turn.OPEN, Level.WATCH, -2.7, NOW - 30 * MIN, post=False),
    turn(2, Turn.UP, Level.ALERT, -5.3, NOW - 20 * MIN),
    turn(3, Turn.WORSE, Level.ALERT, -7.1, NOW - 10 * MIN, hidden_by="cascade"),
)
CASCADE = Alert(
    id=f"cascade:BTC:{NOW - 12 * MIN}:1", rule="cascade", family="cascade", metric="composite",
    unit="composite", asset="BTC", turn=Turn.WORSE, level=Level.CRITICAL, value=2, threshold=2,
    fires="above", at=NOW, seen=NOW, opened_at=NOW - 12 * MIN, extreme=2,
    extreme_at=NOW - 12 * MIN, post=True, price=107_200.0, price_before=112_400.0,
    facts=CascadeFacts(
        within_ms=HOUR, needed=2, no_data=("depth_thin",), earlier=0, record_from=NOW - DAY,
        chain=(
            Link(at=NOW - 20 * MIN, family="oi_drop", rule="oi_drop:1h", metric="oi_net_1h_pct",
                 unit="%", level=Level.ALERT, value=-5.3, extreme=-7.1, opened_at=NOW - 30 * MIN,
                 facts=_oi("BTC", "1h", HOUR, -7.1).facts),
            Link(at=NOW - 12 * MIN, family="liq_burst", rule="liq_burst", metric="liq_10m_musd",
                 unit="million USD", level=Level.ALERT, value=41, extreme=64.2,
                 opened_at=NOW - 12 * MIN, facts=_liq("BTC", 58.9, 5.3).facts, extreme_longs=58.9),
        ),
    ),
)  # fmt: skip
STANDING = Standing(
    seen=NOW - 4_000,
    values=VALUES,
    episodes=(turn(3, Turn.WORSE, Level.ALERT, -5.2, NOW, post=False), CASCADE),
)
THIN = Alert(
    id=f"depth_thin:25bp:BTC:{NOW - 9 * MIN}:1", rule="depth_thin:25bp", family="depth_thin",
    metric=DEPTH.metric, unit=DEPTH.unit, asset="BTC", turn=Turn.OPEN, level=Level.CRITICAL,
    value=20, threshold=35, fires="below", at=NOW - 9 * MIN, seen=NOW - 9 * MIN,
    opened_at=NOW - 9 * MIN, extreme=20, extreme_at=NOW - 9 * MIN, post=True, facts=DEPTH.facts,
)  # fmt: skip
THINNER = msgspec.structs.replace(
    STANDING,
    episodes=(),
    stale=(msgspec.structs.replace(THIN, value=31, extreme=2, extreme_at=NOW - 5 * MIN),),
)
"""The books cannot be judged now; when they last could, the worst was 2 %."""


CONTEXT = (
    SourceFacts(source="coingecko", seen=NOW - 20 * MIN, facts=(
        Supply(asset="BTC", rank=1, circulating=1.99e7, price=112_000.0, high=126_080.0,
               high_at=NOW - 361 * DAY),
        Supply(asset="ETH", rank=2, circulating=1.2e8, price=4_100.0),
        MarketCap(usd=2.9631e12, change_24h_pct=-10.36),
    )),
    SourceFacts(source="defillama", seen=NOW - 4 * MIN, facts=(
        *(Stablecoin(asset=asset, supply=supply, price=price, supply_day_ago=supply / 1.001)
          for asset, supply, price in (
              ("USDT", 184.2e9, 1.0003), ("USDC", 75.6e9, 0.9998), ("USDS", 9.1e9, 0.9996),
              ("DAI", 5.3e9, 0.9999))),
        Stablecoin(asset="USDE", supply=5.2e9),
        Stablecoin(asset="PYUSD", supply=3.9e9, price=0.9994),
        Stablecoin(asset="XUSD<", supply=2.1e8, price=0.2714),
    )),
    SourceFacts(source="forexfactory", seen=NOW - 41 * MIN, facts=(
        Release(at=NOW - DAY, currency="USD", title="Unemployment Rate", forecast="4.3%"),
        Release(at=NOW + 3 * HOUR, currency="USD", title="Non-Farm <Employment> Change",
                forecast="110K", previous="57K"),
        Release(at=NOW + DAY, currency="JPY", title="BOJ Press Conference"),
    )),
    SourceFacts(source="kalshi", seen=NOW - 3 * MIN, facts=(
        RateOdds(meeting_at=NOW + 25 * DAY, cut=0.00985, hold=0.78325, hike=0.2069),
    )),
    SourceFacts(source="series:IBIT", seen=NOW - 10 * MIN, facts=(
        OwnSeries(name="IBIT", unit="M USD", first_at=NOW - 40 * DAY, at=NOW - DAY, value=-122.0,
                  low=-523.2, low_at=NOW - 4 * DAY, high=970.0, high_at=NOW - 30 * DAY,
                  sum_30d=-2334.6),
    )),
    SourceFacts(source="series:US10Y", seen=NOW - HOUR, facts=(
        OwnSeries(name="US10Y", unit="%", first_at=NOW - 40 * DAY, at=NOW - DAY, value=4.31,
                  low=3.97, low_at=NOW - 4 * DAY, high=4.62, high_at=NOW - 30 * DAY,
                  sum_30d=94.6),
    )),
)  # fmt: skip
"""What sources say; of Polymarket nothing."""
SOURCE_REPORTS = (SourceReport(name="polymarket", trouble="it sent a web page instead of data"),)


def watched_since(since: Ms) -> Standing:
    """The same, but all of it is watched since then alone."""
    values = tuple(msgspec.structs.replace(value, since=since) for value in VALUES)
    return msgspec.structs.replace(STANDING, values=values)


REPORTS = Reports(
    running=("streams", "rules", "bot"),
    venues=(
        VenueReport(name="binance", title="Binance", instruments=67,
              feeds={"depth": FeedReport(60, 2), "funding": FeedReport(1, 0),
                     "liquidation": FeedReport(1, 0)}),
        VenueReport(name="bybit", title="Bybit", instruments=64,
              feeds={"depth": FeedReport(0, 64), "funding": FeedReport(0, 0)},
              not_available=["volume"], sides_known=False),
        VenueReport(name="hyperliquid", title="Hyperliquid", trouble="the connection was refused",
              feeds={"funding": FeedReport(0, 0)}, not_available=["liquidation"]),
    ),
    sent=12, uncertain=1, queued=3,
    off={"-1001": "the bot is not in -1001 any more (Forbidden: <kicked>); add it again"},
    troubled=(
        ChatReport(chat="webhook:desk", ready=True, queued=4, critical_ms=3 * MIN,
                   reason="webhook:desk answers 503"),
        ChatReport(chat="@lowtide", ready=False),
    ),
)  # fmt: skip
SILENCES = (
    Silence(family="oi_drop", asset="ETH", until=NOW + 5 * HOUR + 12 * MIN, by="@ann"),
    Silence(family="*", asset="BTC", until=NOW - 1, by="@ann"),
)


def context(settings: Settings, **changes: Any) -> Context:
    """Ann asks in private while all is well."""
    fields: dict[str, object] = {
        "settings": settings, "words": ENGLISH, "now": NOW,
        "asker": Asker(user=ANN, name="@ann", private=True), "standing": STANDING,
        "reports": REPORTS, "silences": SILENCES, "subscribers": 1,
        "fates": {
            alert.id: (AlertFate(Fate.HIDDEN if alert.hidden_by else Fate.POSTED),)
            for alert in changes.get("alerts", ())
        },
    }  # fmt: skip
    return Context(**{**fields, **changes})


def replied(text: str, about: Context, me: str | None = "lowtide_bot") -> Answer | None:
    """What ``text`` is answered with."""
    command = parse(text, me)
    if command is None:
        return None
    refused = denied(command, about)
    return refused[1] if refused else answer(command, about)


def message(answer: Answer, words: Words = ENGLISH) -> Html:
    """As it is sent."""
    return fitted_answer(answer.blocks, words)
