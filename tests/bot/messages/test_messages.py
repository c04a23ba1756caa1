"""Every rule and turn against golden texts, and what must hold for any alert.

After a change of words, run it with LOWTIDE_GOLDEN=write and read the diff.
"""

import re
from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.lang import ENGLISH, LANGUAGES, numbers
from bot.lang.numbers import significant_below
from bot.messages.blocks import DIGEST_CHARS, POST_CHARS, unbroken
from bot.messages.notices import config_notice, notice_message
from bot.messages.render import Message, first_line, message_of, own_message, render
from bot.messages.thread import delivery_message, heads_of
from bot.messages.voice import Html, say, topic
from bot.plan.planner import Delivery
from rules import metrics
from rules.alerts import (
    ALL,
    Alert,
    CascadeFacts,
    Cause,
    CorrelationFacts,
    CrossingFacts,
    DepthFacts,
    DispersionFacts,
    Facts,
    FundingFacts,
    FundingShareFacts,
    HighFacts,
    Level,
    LevelFacts,
    Link,
    Liquidated,
    LiquidationDayFacts,
    LiquidationFacts,
    LiveShare,
    MarketCapFacts,
    NearRelease,
    Notice,
    OpenInterestFacts,
    Opinion,
    PriceFacts,
    PriceShareFacts,
    Record,
    RecordKind,
    Regime,
    RegimeCondition,
    ReleaseKind,
    SectorFacts,
    SpotDepthFacts,
    SpotShareFacts,
    StablecoinFacts,
    SupportFacts,
    TotalOpenInterestFacts,
    Turn,
    VolatilityFacts,
)
from rules.stablecoins import STABLECOINS
from streams.bus.skew import clock_words
from streams.events import MOMENTARY, FaultCode, Kind
from streams.sources import SOURCES
from streams.venues import VENUES
from tests.bot import asked
from tests.bot.delivered import samples
from tests.bot.fake_telegram import parsed
from tests.golden import check_text

GOLDEN = Path(__file__).parents[1] / "golden" / "messages_en.txt"
AT = 1_791_020_520_000  # 3 Oct 2026 09:42 UTC
SETTLEMENT = 1_791_014_400_000  # 08:00
MIN, HOUR, DAY = 60_000, 3_600_000, 86_400_000
AUGUST = 1_787_443_200_000  # 23 Aug 2026
MARCH = 1_772_409_600_000  # 2 Mar 2026, the beginning of the record

FUNDING = FundingFacts(
    settled=True,
    by_venue_pct_8h={"binance": -0.0042, "bybit": -0.0028, "hyperliquid": -0.0016},
    hours={"binance": 8, "bybit": 8, "hyperliquid": 1},
    predicted_pct_8h=-0.0051,
)
OI = OpenInterestFacts(
    window_ms=HOUR,
    before_base=612_412,
    after_base=564_633,
    net_usd=-5.37e9,
    price_usd=-1.98e9,
    by_venue_pct={"binance": -9.1, "bybit": -8.4, "hyperliquid": -3.9},
)
NOT_ADDED = {"by_venue_pct": {**OI.by_venue_pct, "gate": -12.4}, "not_added": ("gate",)}
DEPTH = DepthFacts(
    band_bp=25,
    bid_usd=94e6,
    ask_usd=132e6,
    normal_usd=418e6,
    normal_ms=24 * HOUR,
    by_venue_pct={"binance": 50.4, "bybit": 61.2, "hyperliquid": 70},
    live=3,
    expected=3,
    spread_bp=0.31,
)
LIQ = LiquidationFacts(
    window_ms=10 * MIN,
    long_usd=58.9e6,
    short_usd=5.3e6,
    orders=214,
    largest_usd=7.1e6,
    largest_venue="bybit",
    largest_price=3412.4,
    oi_pct=0.52,
    saturation_pct={"binance": 68.2},
    not_available=("hyperliquid",),
)
PRICE = PriceFacts(
    window_ms=HOUR,
    before=112_400.0,
    after=106_555.0,
    venue="binance",
    by_venue_pct={"binance": -5.2, "bybit": -5.31, "hyperliquid": -5.18},
    oi_usd=32.1e9,
)
TOTAL = TotalOpenInterestFacts(
    window_ms=HOUR,
    before_usd=58.2e9,
    net_usd=-3.55e9,
    price_usd=-1.9e9,
    by_asset_usd={"BTC": -1.4e9, "ETH": -9.2e8, "SOL": -3.1e8, "XRP": -2.2e8, "DOGE": 9e6},
    live=171,
    expected=174,
)
SHARE = FundingShareFacts(
    negative=43,
    live=67,
    expected=70,
    lowest_pct_8h={"WLFI": -0.84, "ENA": -0.31, "TIA": -0.22, "APT": -0.19, "SEI": -0.16},
)


FALLS = PriceShareFacts(
    window_ms=HOUR,
    fallen=4,
    live=7,
    expected=7,
    by_asset_pct={"HYPE": -5.2, "SOL": -3.9, "DOGE": -3.8, "BTC": -1.93, "XRP": -1.1},
    least_fall_pct={"BTC": 1.8, "ETH": 3, "SOL": 3, "XRP": 3, "BNB": 3, "DOGE": 3, "HYPE": 3},
)


def link(
    metric: str,
    minutes: int,
    value: float,
    worst: float,
    facts: Facts | None,
    longs: float | None = None,
) -> Link:
    """A condition that came true so many minutes ago; ``longs``: of its worst value."""
    family = {"liq": "liq_burst", "oi_": "oi_drop", "dep": "depth_thin"}.get(
        metric[:3], "vol_spike"
    )
    at = AT - minutes * MIN
    return Link(
        at=at,
        family=family,
        rule=f"{family}:1h",
        metric=metric,
        unit="M USD",
        level=Level.ALERT,
        value=value,
        extreme=worst,
        opened_at=at,
        facts=facts,
        extreme_longs=longs,
    )


CASCADE = CascadeFacts(
    within_ms=HOUR,
    needed=3,
    chain=(
        link("liq_10m_musd", 38, 40.6, 340, LIQ, longs=312),
        link("oi_net_1h_pct", 23, -4.02, -9.4, OI),
        link("depth_25bp_pct_of_normal", 0, 69.2, 52.1, DEPTH),
    ),
    no_data=(),
    earlier=2,
    record_from=MARCH,
    last_at=AUGUST,
)


def alert(**changes: object) -> Alert:
    base = Alert(
        id="oi_drop:BTC:1:0",
        rule="oi_drop",
        family="oi_drop",
        metric="oi_net_1h_pct",
        unit="%",
        asset="BTC",
        turn=Turn.OPEN,
        level=Level.ALERT,
        value=-7.8,
        threshold=-5,
        fires="below",
        at=AT,
        seen=AT + 80,
        opened_at=AT + 80,
        extreme=-7.8,
        extreme_at=AT + 80,
        post=True,
        price=108_916.2,
        price_before=112_400,
        venues=("binance", "bybit", "hyperliquid"),
        facts=OI,
    )
    value = changes.get("value", base.value)
    return msgspec.structs.replace(base, **{"extreme": value, **changes})


KINDS: dict[str, tuple[dict[str, object], dict[Turn, float]]] = {
    "funding": (
        {
            "rule": "funding_negative",
            "metric": "funding_8h_pct",
            "at": SETTLEMENT,
            "seen": SETTLEMENT + 4_000,
            "price": 112_400.0,
            "price_before": None,
            "facts": FUNDING,
        },
        {Turn.OPEN: -0.0031, Turn.UP: -0.0412, Turn.WORSE: -0.0052, Turn.CLOSE: 0.0021},
    ),
    "predicted": (
        {
            "rule": "funding_predicted",
            "metric": "funding_predicted_8h_pct",
            "level": Level.WATCH,
            "price": 112_400.0,
            "price_before": None,
            "facts": msgspec.structs.replace(FUNDING, settled=False),
        },
        {Turn.OPEN: -0.0031, Turn.UP: -0.0412, Turn.WORSE: -0.0052, Turn.CLOSE: 0.0044},
    ),
    "oi": ({}, {Turn.OPEN: -7.8, Turn.UP: -9.6, Turn.WORSE: -9.8, Turn.CLOSE: -0.93}),
    "depth": (
        {"rule": "depth_thin", "metric": "depth_25bp_pct_of_normal", "facts": DEPTH},
        {Turn.OPEN: 54.1, Turn.UP: 34.2, Turn.WORSE: 43.0, Turn.CLOSE: 93.1},
    ),
    "liq": (
        {
            "rule": "liq_burst",
            "metric": "liq_10m_musd",
            "fires": "above",
            "asset": "ETH",
            "price": 3_398.0,
            "price_before": 3_471.5,
            "facts": LIQ,
        },
        {Turn.OPEN: 64.2, Turn.UP: 131.4, Turn.WORSE: 82.0, Turn.CLOSE: 1.24},
    ),
    "price": (
        {
            "rule": "price_drop:1h",
            "family": "price_drop",
            "metric": "price_1h_pct",
            "price": 106_555.0,
            "facts": PRICE,
        },
        {Turn.OPEN: -5.2, Turn.UP: -8.1, Turn.WORSE: -7.4, Turn.CLOSE: -0.6},
    ),
    "total": (
        {
            "rule": "market_oi_drop",
            "metric": "oi_total_net_1h_pct",
            "asset": ALL,
            "scope": "market",
            "price": None,
            "price_before": None,
            "facts": TOTAL,
        },
        {Turn.OPEN: -6.1, Turn.UP: -10.2, Turn.WORSE: -8.0, Turn.CLOSE: -1.2},
    ),
    "breadth": (
        {
            "rule": "market_funding",
            "metric": "funding_negative_share_pct",
            "asset": ALL,
            "scope": "market",
            "fires": "above",
            "price": None,
            "price_before": None,
            "facts": SHARE,
        },
        {Turn.OPEN: 64.2, Turn.UP: 81.0, Turn.WORSE: 78.0, Turn.CLOSE: 31.3},
    ),
    "usual": (
        {
            "rule": "price_unusual",
            "metric": "price_1h_sigma",
            "unit": "σ",
            "price": 106_555.0,
            "facts": PRICE,
            "cause": Cause.LONG_UNWINDING,
        },
        {Turn.OPEN: -5.23, Turn.UP: -8.1, Turn.WORSE: -7.4, Turn.CLOSE: -0.6},
    ),
    "structure": (
        {
            "rule": "volatility",
            "metric": "volatility_7d_pct",
            "unit": "% a year",
            "fires": "above",
            "price": 106_555.0,
            "price_before": None,
            "facts": VolatilityFacts(window_ms=7 * DAY, returns=1_006, expected=1_010),
        },
        {Turn.OPEN: 82.4, Turn.UP: 128.0, Turn.WORSE: 121.3, Turn.CLOSE: 59.2},
    ),
    "regime": (
        {
            "rule": "regime:reset",
            "family": "regime",
            "metric": "regime_reset",
            "unit": "state",
            "fires": "above",
            "level": Level.WATCH,
            "price": 106_555.0,
            "price_before": None,
            "facts": asked.REGIME,
        },
        {Turn.OPEN: 1.0, Turn.UP: 1.0, Turn.WORSE: 1.0, Turn.CLOSE: 0.0},
    ),
    "falls": (
        {
            "rule": "market_fall",
            "metric": "price_down_share_1h_pct",
            "asset": ALL,
            "scope": "market",
            "fires": "above",
            "price": None,
            "price_before": None,
            "facts": FALLS,
        },
        {Turn.OPEN: 57.1, Turn.UP: 85.7, Turn.WORSE: 85.7, Turn.CLOSE: 14.3},
    ),
    "cascade": (
        {
            "rule": "cascade",
            "metric": "composite",
            "unit": "composite",
            "fires": "above",
            "level": Level.CRITICAL,
            "price": 107_200.0,
            "facts": CASCADE,
        },
        {Turn.OPEN: 3, Turn.UP: 3, Turn.WORSE: 3, Turn.CLOSE: 0},
    ),
    "other": (
        {"rule": "vol_spike", "family": "", "metric": "rv_7d_pct", "fires": "above", "facts": None},
        {Turn.OPEN: 81.2, Turn.UP: 96.0, Turn.WORSE: 104.3, Turn.CLOSE: 55.0},
    ),
}


def turned(kind: str, turn: Turn) -> Alert:
    """The sample of one kind and turn; all but openings began 72 minutes before."""
    changes, values = KINDS[kind]
    sample = alert(**changes, turn=turn, value=values[turn])
    if turn is Turn.OPEN:
        return sample
    level = Level.CRITICAL if turn is Turn.UP else sample.level
    worst = values[Turn.UP]
    return msgspec.structs.replace(
        sample,
        level=level,
        opened_at=sample.seen - 72 * MIN,
        extreme=worst,
        extreme_at=sample.seen - 16 * MIN,
    )


def behind(kind: str, by: int) -> Alert:
    """One that got worse, by a clock of ours that is so far behind the venue's."""
    sample = turned(kind, Turn.UP)
    return msgspec.structs.replace(
        sample,
        seen=sample.seen - by,
        opened_at=sample.opened_at - by,
        extreme_at=sample.extreme_at - by,
    )


def changed(kind: str, facts: dict[str, object], **changes: object) -> Alert:
    """An opening with some facts, or facts of its feed, replaced."""
    sample = turned(kind, Turn.OPEN)
    assert sample.facts is not None
    replaced: Facts = msgspec.structs.replace(sample.facts, **facts)
    return msgspec.structs.replace(sample, facts=replaced, **changes)


def recorded(kind: str, *records: Record, **changes: object) -> Alert:
    return msgspec.structs.replace(turned(kind, Turn.OPEN), records=records, **changes)


def since(kind: RecordKind, at: int | None = AUGUST, run: int | None = None) -> Record:
    return Record(kind=kind, since=at, record_from=MARCH, run=run)


def usual() -> dict[str, Alert]:
    of_interest = msgspec.structs.replace(
        turned("oi", Turn.OPEN), metric="oi_net_1h_sigma", unit="σ", value=-4.0, family="oi_usual"
    )
    of_liquidations = msgspec.structs.replace(
        turned("liq", Turn.OPEN), metric="liq_10m_x_normal", unit="× normal", value=12.3
    )
    return {
        "usual, open interest": of_interest,
        "usual, liquidations": of_liquidations,
        "usual, facts unknown": msgspec.structs.replace(of_interest, facts=None),
    }


SPOT_DEPTH = SpotDepthFacts(
    spot=DepthFacts(
        band_bp=25, bid_usd=21e6, ask_usd=17e6, normal_usd=73e6, normal_ms=4 * 3_600_000,
        by_venue_pct={"binance-spot": 48.0, "coinbase": 61.0}, live=3, expected=3, spread_bp=0.01,
    ),
    perpetual=DEPTH,
)  # fmt: skip
HIGH = HighFacts(high_at=AUGUST, since=MARCH, oi_usd=9.4e9)
CAP = MarketCapFacts(
    usd=2.9631e12, change_24h_pct=-10.36, coins=250, live_pct=91.3, source="coingecko",
    listed_at=AT - 20 * MIN,
)  # fmt: skip
SECTOR = SectorFacts(
    sector="layer2", span_ms=DAY, pct=-12.61, market_pct=-5.2, known=6, coins=7, market_known=29,
    market_coins=30, by_asset_pct={"ZK": -19.2, "STRK": -15.0, "ARB": -12.31}, fixed_at=AUGUST,
    by_cap=False,
)  # fmt: skip
SUPPORT = SupportFacts(
    lost=LevelFacts(
        level=80_000.0, tests=5, held=4, first_at=AUGUST, last_at=AT - 3_600_000, low=79_120.0,
        rebounds_pct=(9.94, 4.93, 3.05, 2.4), regained_pct=26.6, lost_at=AT - 20 * MIN,
    ),
    standing=LevelFacts(
        level=75_000.0, tests=1, held=1, first_at=MARCH, last_at=MARCH, low=75_210.0,
        rebounds_pct=(31.0,), regained_pct=112.0,
    ),
    since=MARCH,
)  # fmt: skip
STRUCTURES: tuple[tuple[str, str, str, float, Facts], ...] = (
    ("drawdown_price_pct", "% from its high", "BTC", -36.1,
     HighFacts(high_at=AUGUST, since=MARCH, price=126_100.0)),
    ("drawdown_oi_net_pct", "% from its high", "BTC", -21.3, HIGH),
    ("drawdown_oi_total_net_pct", "% from its high", ALL, -38.2, HIGH),
    ("drawdown_oi_top10_net_pct", "% from its high", ALL, -31.0, HIGH),
    ("drawdown_oi_51to100_net_pct", "% from its high", ALL, -52.0, HIGH),
    ("market_cap_24h_pct", "% in 24 h", ALL, -10.36, CAP),
    ("market_cap_trillion_usd", "trillion USD", ALL, 2.9631, CAP),
    ("market_cap_fell_through", "round trillions", ALL, 1.0,
     msgspec.structs.replace(CAP, crossing=CrossingFacts(
         usd=3e12, up=False, at=AT - 12 * MIN, since=AUGUST, record_from=MARCH))),
    ("market_cap_rose_through", "round trillions", ALL, 2.0,
     msgspec.structs.replace(CAP, usd=3.01e12, crossing=CrossingFacts(
         usd=3e12, up=True, at=AT - 12 * MIN, since=None, record_from=MARCH))),
    ("market_cap_fell_through", "round trillions", ALL, 0.0, CAP),
    ("market_cap_rose_through", "round trillions", ALL, 0.0, CAP),
    ("support_lost_held", "times held", "BTC", 4.0, SUPPORT),
    ("support_lost_held", "times held", "BTC", 0.0, msgspec.structs.replace(SUPPORT, lost=None)),
    ("stablecoin_usdt_pct", "% from a dollar", ALL, -1.5,
     StablecoinFacts(
         coin="USDT", rate=0.985,
         by_asset={"BTC": 0.98512, "ETH": 0.98488, "SOL": 0.9861, "XRP": 0.9849, "DOGE": 0.985,
                   "ADA": 0.985},
         dollar_venues=("kraken", "deribit", "coinbase"), coin_venues=("binance", "okx"),
     )),
    ("stablecoin_usdc_pct", "% from a dollar", ALL, 0.51,
     StablecoinFacts(coin="USDC", rate=1.0051)),
    ("sector_layer2_24h_pct", "% against the market", ALL, -7.41, SECTOR),
    ("sector_own_7d_pct", "% against the market", ALL, -12.6,
     msgspec.structs.replace(SECTOR, sector="own", span_ms=7 * DAY, by_cap=True)),
    ("funding_dispersion_8h_pct", "% per 8h apart", "BTC", 0.0213,
     DispersionFacts(by_venue_pct_8h={"binance": -0.0042, "bybit": 0.0511})),
    ("liq_total_24h_musd", "M USD a day", ALL, 2_012.3,
     LiquidationDayFacts(long_usd=1.61e9, short_usd=4.02e8, largest_usd=19.1e9,
                         largest_at=AUGUST, since=MARCH)),
    ("correlation_top10_7d", "ρ", ALL, 0.9131,
     CorrelationFacts(top=0.9131, top_coins=10, middle=None, middle_coins=0)),
    ("correlation_51to100_7d", "ρ", ALL, 0.8197,
     CorrelationFacts(top=0.9131, top_coins=10, middle=0.8197, middle_coins=17)),
    ("correlation_gap_7d", "ρ", ALL, 0.0934,
     CorrelationFacts(top=0.9131, top_coins=10, middle=0.8197, middle_coins=17)),
    ("spot_share_pct", "% of volume", "BTC", 47.3,
     SpotShareFacts(spot_usd=11.2e9, perpetual_usd=12.5e9,
                    by_venue_pct={"binance": 49.1, "okx": 38.0})),
    ("spot_depth_25bp_pct_of_recent", "% of recent, spot", "BTC", 52.0, SPOT_DEPTH),
    ("spot_depth_100bp_pct_of_recent", "% of recent, spot", "ETH", 52.0,
     SpotDepthFacts(spot=msgspec.structs.replace(SPOT_DEPTH.spot, band_bp=100), perpetual=None)),
)  # fmt: skip
"""Metric, unit, asset, value and facts of what the market's structure is measured by."""


def structures() -> dict[str, Alert]:
    """Each of them as an opening."""
    opening = turned("structure", Turn.OPEN)
    first_day = msgspec.structs.replace(
        opening, metric="liq_total_24h_musd", unit="M USD a day", asset=ALL, scope="market",
        value=1_204.0, extreme=1_204.0, price=None, facts=LiquidationDayFacts(
            long_usd=1.204e9, short_usd=0.0, largest_usd=None, largest_at=None,
            since=AT - 5 * HOUR,
        ),
    )  # fmt: skip
    lost = {"metric": "support_lost_held", "unit": "times held", "price": 78_100.0}
    last = msgspec.structs.replace(SUPPORT, standing=None)
    over = msgspec.structs.replace(SUPPORT, lost=None)
    return {
        "structure, on the first day": first_day,
        "support, the last one": msgspec.structs.replace(
            opening, **lost, value=4.0, extreme=4.0, facts=last
        ),
        "support, over": msgspec.structs.replace(
            turned("structure", Turn.CLOSE), **lost, value=0.0, extreme=4.0, facts=over
        ),
    } | {
        f"structure, {metric}{'' if value else ', none'}": msgspec.structs.replace(
            opening, metric=metric, unit=unit, asset=asset, value=value, extreme=value,
            facts=facts, price=None if asset == ALL else 80_600.0,
            scope="market" if asset == ALL else "asset", fires="below" if value < 0 else "above",
        )
        for metric, unit, asset, value, facts in STRUCTURES
    }  # fmt: skip


def regimes() -> dict[str, Alert]:
    """Each regime as it begins, of an asset and of the market, and an end."""
    opening = turned("regime", Turn.OPEN)
    of_market = {"asset": ALL, "scope": "market", "price": None, "facts": asked.MARKET_REGIME}
    unknown = tuple(
        msgspec.structs.replace(each, value=None, met=None)
        for each in asked.REGIME.evidence
        if each.condition is not RegimeCondition.REDUCED
    )
    repaired = msgspec.structs.replace(asked.REGIME, regime=Regime.REPAIR, before=Regime.RESET)
    return {
        **{
            f"regime, {regime}": msgspec.structs.replace(
                opening,
                metric=f"regime_{regime}",
                facts=msgspec.structs.replace(asked.REGIME, regime=regime, before=Regime.CALM),
            )
            for regime in Regime
            if regime is not Regime.CALM
        },
        "regime, another one follows": msgspec.structs.replace(
            opening,
            metric="regime_repair",
            facts=msgspec.structs.replace(repaired, evidence=asked.REPAIRED),
        ),
        "regime of the market": msgspec.structs.replace(
            opening, metric="regime_total_reset", **of_market
        ),
        "regime, most is not available": changed(
            "regime", {"evidence": (*unknown, asked.REGIME.evidence[5]), "before": None}
        ),
        "regime, another one begins": msgspec.structs.replace(
            turned("regime", Turn.CLOSE), facts=repaired
        ),
        "regime, first in weeks": recorded("regime", since(RecordKind.HIGHEST)),
        "regime, first ever": recorded("regime", since(RecordKind.HIGHEST, None)),
    }


def falls() -> dict[str, Alert]:
    alike = dict.fromkeys(("ETH", "SOL", "XRP"), 3.0)
    return {
        "falls, two coins unknown": changed("falls", {"live": 5}),
        "falls, all alike": changed("falls", {"least_fall_pct": alike}),
        "falls, facts unknown": msgspec.structs.replace(turned("falls", Turn.OPEN), facts=None),
    }


def opinions() -> dict[str, Alert]:
    price = Opinion(metric="price_1h_pct", unit="%", asked="<= -1", value=-0.3, agrees=False)
    sums = Opinion(metric="liq_10m_musd", unit="M USD", asked=">= 5")
    agreed = msgspec.structs.replace(price, value=-2.0, agrees=True)
    kept = msgspec.structs.replace(
        turned("oi", Turn.OPEN), level=Level.WATCH, alone=Level.ALERT, opinions=(price, sums)
    )
    return {
        "oi, not borne out": kept,
        "oi, worse and not borne out": msgspec.structs.replace(kept, turn=Turn.WORSE, value=-9.8),
        "oi, borne out": msgspec.structs.replace(turned("oi", Turn.OPEN), opinions=(agreed,)),
    }


def causes() -> dict[str, Alert]:
    rise = changed("price", {"before": 100_000.0, "after": 104_000.0}, value=4.0, fires="above")
    squeezed = msgspec.structs.replace(
        turned("cascade", Turn.OPEN), cause=Cause.SHORT_COVERING, price=116_000.0
    )
    return (
        {
            f"oi, {cause}": msgspec.structs.replace(turned("oi", Turn.OPEN), cause=cause)
            for cause in (Cause.LONG_UNWINDING, Cause.SHORT_COVERING, Cause.UNCLEAR)
        }
        | {
            "oi, new longs": changed(
                "oi", {"net_usd": 2.1e9, "price_usd": 4e8, "by_venue_pct": {"bybit": 4.1}},
                value=6.2, fires="above", threshold=5, price=118_000.0, cause=Cause.NEW_LONGS,
            ),
            "price, new shorts": msgspec.structs.replace(
                turned("price", Turn.UP), cause=Cause.NEW_SHORTS
            ),
            "price, short covering": msgspec.structs.replace(rise, cause=Cause.SHORT_COVERING),
            "cascade of shorts": squeezed,
            "cascade of shorts, worse": msgspec.structs.replace(squeezed, turn=Turn.WORSE),
            "cascade of shorts, over": msgspec.structs.replace(
                turned("cascade", Turn.CLOSE), cause=Cause.SHORT_COVERING
            ),
        }
        | {
            f"cascade, {cause}": msgspec.structs.replace(turned("cascade", Turn.OPEN), cause=cause)
            for cause in (Cause.LONG_UNWINDING, Cause.NEW_SHORTS, Cause.NEW_LONGS)
        }
    )  # fmt: skip


def records() -> dict[str, Alert]:
    first, longest, lowest, highest = RecordKind
    hourly = msgspec.structs.replace(DEPTH, hour=9, normal_ms=14 * DAY)
    return {
        "funding, first": recorded("funding", since(first)),
        "funding, first ever seen": recorded("funding", since(first, None)),
        "funding, longest and lowest": recorded(
            "funding", since(longest, run=5), since(lowest, MARCH - 200 * DAY), asset="WLFI"
        ),
        "funding above, first and longest": recorded(
            "funding", since(first), since(longest, None, 9), fires="above", value=0.08
        ),
        "oi, largest fall": recorded("oi", since(lowest)),
        "oi above, largest rise": recorded("oi", since(highest), fires="above", value=9.0),
        "depth, thinnest at this hour": recorded("depth", since(lowest, AT - DAY), facts=hourly),
        "depth above, thickest": recorded("depth", since(highest, None), fires="above", value=310),
        "liq, most": recorded("liq", since(highest, None)),
        "price, largest fall": recorded("price", since(lowest, None)),
        "breadth, highest": recorded("breadth", since(highest)),
        "total, largest fall": recorded("total", since(lowest)),
    }


def cascades() -> dict[str, Alert]:
    vol = link("rv_7d_pct", 5, 81.2, 90.5, None)
    short = msgspec.structs.replace(LIQ, long_usd=1e6, short_usd=4e7)
    odd = (
        link("liq_10m_musd", 0, 40.6, 45.0, short, longs=4.0),
        link("price_15m_pct", 0, -3.1, -3.1, PRICE),
        link("funding_8h_pct", 0, -0.031, -0.031, None),
        link("funding_predicted_8h_pct", 0, -0.05, -0.05, None),
        vol,
    )
    return {
        "cascade, all at once, odd parts": changed(
            "cascade",
            {"chain": odd, "no_data": ("depth_thin",), "earlier": 0, "last_at": None},
            price=None,
        ),
        "cascade, one before": changed("cascade", {"earlier": 1}),
        "cascade, the record is young": changed("cascade", {"record_from": AT - DAY}),
        "cascade closed, nothing known": msgspec.structs.replace(
            turned("cascade", Turn.CLOSE), facts=None
        ),
        "no facts, cascade": msgspec.structs.replace(
            turned("cascade", Turn.OPEN), facts=None, price=None
        ),
        "an asset that began before it was told": alert(opened_at=AT - 7 * MIN),
        "price, one venue": changed("price", {"by_venue_pct": {"bybit": -5.2}, "oi_usd": None}),
        "price above": changed("price", {"after": 118_300.0}, fires="above", value=5.25),
        "total, price unknown": changed(
            "total", {"price_usd": None, "by_asset_usd": {}, "net_usd": 2.2e9}, value=4.1
        ),
    }


COINS = ("WLFI", "ENA", "TIA", "APT", "SEI", "SUI", "ARB", "OP")


def delivery(kind: str, assets: tuple[str, ...], turn: Turn = Turn.OPEN, **changes) -> Delivery:
    """An event: the sample of a kind on each asset, milder from one to the next."""
    alerts = []
    for n, asset in enumerate(assets):
        sample = turned(kind, turn)
        value = sample.value * (1 - n / 20)
        extreme = value if turn is Turn.OPEN else sample.extreme
        alerts.append(
            msgspec.structs.replace(sample, asset=asset, value=value, extreme=extreme, id=f"{n}")
        )
    market = len(assets) > 1
    wanted = {"alerts": tuple(alerts), "at": AT, "silent": False, "thread": "t", "market": market}
    return Delivery(**{**wanted, **changes})


def mixed() -> tuple[Alert, ...]:
    levels = (Level.CRITICAL, Level.ALERT, Level.ALERT, Level.WATCH)
    return tuple(
        msgspec.structs.replace(a, level=level, facts=None)
        for a, level in zip(delivery("oi", COINS[:4]).alerts, levels, strict=True)
    )


def single(kind: str, turn: Turn = Turn.OPEN, **changes) -> Delivery:
    return delivery(kind, (turned(kind, turn).asset,), turn, **changes)


def worse(kind: str, turn: Turn = Turn.OPEN, **changes: object) -> Alert:
    """The sample of a kind on BTC, which was worse than it is."""
    sample = turned(kind, Turn.OPEN)
    sample = msgspec.structs.replace(sample, family=sample.rule.partition(":")[0])
    factor = 0.4 if sample.fires == "below" and "depth" in sample.metric else 1.6
    wanted = {"asset": "BTC", "turn": turn, "extreme": sample.value * factor}
    return msgspec.structs.replace(sample, **{"id": f"{kind} of BTC", **wanted, **changes})


def thread(*alerts: Alert, turn: Turn = Turn.OPEN, **changes) -> Delivery:
    """An event that began 38 minutes ago; in it each alert began some minutes after the other."""
    began = tuple(
        msgspec.structs.replace(a, opened_at=AT - (38 - 9 * n) * MIN) for n, a in enumerate(alerts)
    )
    wanted = {"silent": False, "thread": "t", "began": AT - 38 * MIN, "turn": turn}
    market = len({a.asset for a in alerts}) > 1
    return Delivery(**{"alerts": began, "at": AT, "market": market, **wanted, **changes})


def coins(*alerts: Alert) -> tuple[Alert, ...]:
    """The same on other coins."""
    return tuple(
        msgspec.structs.replace(a, asset=coin, id=f"{a.id} of {coin}", level=level)
        for coin, level in (("ETH", Level.CRITICAL), ("SOL", Level.ALERT))
        for a in alerts
    )


CLOSE = Turn.CLOSE
BTC = (worse("price", cause=Cause.LONG_UNWINDING), worse("oi"), worse("liq"), worse("depth"))
ENDED = tuple(
    msgspec.structs.replace(a, turn=CLOSE, seen=AT + HOUR, at=AT + HOUR, price=105_000.0)
    for a in (*BTC, worse("cascade"))
)
TOTAL_FALL = msgspec.structs.replace(turned("total", Turn.OPEN), extreme=-9.1)
SINCE = {HOUR: {"BTC": -2.1, "ETH": 0.5}, DAY: {"BTC": 3.04}}

REMEMBERED = tuple(
    msgspec.structs.replace(
        a, liquidated=Liquidated(over=HOUR, long_usd=287.19e6, short_usd=24.9e6)
    )
    for a in ENDED
)
RECAP = {
    "silent": True,
    "recap": True,
    "ended": AT + HOUR,
    "before": {"BTC": 112_400.0, "ETH": 4_100.0},
    "after": {"BTC": 105_000.0},
}

POSTS = {
    **{
        f"list, {kind}": delivery(kind, COINS)
        for kind in KINDS
        if kind not in ("total", "breadth", "falls", "structure")
    },
    **{
        f"end of an event, {kind}": delivery(kind, COINS[:4], Turn.CLOSE, silent=True)
        for kind in KINDS
        if kind not in ("total", "breadth", "falls", "structure")
    },
    "list, a venue may count both sides": delivery(
        "oi",
        COINS[:2],
        alerts=tuple(changed("oi", NOT_ADDED, asset=asset, id=asset) for asset in COINS[:2]),
    ),
    "list, held": delivery("oi", COINS[:2], held={"oi_drop": 4, "depth_thin": 3}),
    "list of levels, sums unknown": delivery("oi", COINS, alerts=mixed()),
    "list above, oi": delivery(
        "oi",
        (),
        alerts=tuple(
            changed("oi", {"net_usd": 4e8}, asset=a, fires="above", value=12.0, extreme=12.0)
            for a in COINS[:4]
        ),
    ),
    "list above, depth": delivery(
        "depth",
        (),
        alerts=tuple(
            changed("depth", {}, asset=a, fires="above", value=312.0, extreme=312.0)
            for a in COINS[:4]
        ),
    ),
    "list of an odd asset": delivery("price", ("A&B<i>", "B", "C", "D")),
    "list, some are over and some were worse": delivery(
        "price", (), alerts=(*coins(worse("price")), worse("price", CLOSE))
    ),
    "list, now critical": msgspec.structs.replace(delivery("oi", COINS[:3]), turn=Turn.UP),
    "list, much worse": msgspec.structs.replace(delivery("cascade", COINS[:3]), turn=Turn.WORSE),
    "oi in quiet hours, held": single("oi", silent=True, held={"oi_drop": 7}),
    "one coin, one rule, was worse": thread(worse("price")),
    "one coin, a part joins": thread(*BTC[:2]),
    "one coin, all of it": thread(*BTC),
    "one coin, now critical": thread(
        *BTC, worse("cascade", cause=Cause.LONG_UNWINDING), turn=Turn.UP, held={"oi_drop": 2}
    ),
    "one coin, much worse": thread(*BTC, worse("cascade"), turn=Turn.WORSE),
    "one coin, a cascade alone knows": thread(BTC[0], worse("cascade")),
    "one coin, some of it is over": thread(BTC[0], worse("depth"), worse("oi", CLOSE), ENDED[2]),
    "one coin, two windows of a rule": thread(
        worse("oi"), worse("oi", rule="oi_drop:4h", value=-9.0, extreme=-9.0, id="4h")
    ),
    "one coin, funding": thread(worse("funding"), worse("predicted", level=Level.WATCH)),
    "one coin, moves against its own normal": thread(worse("usual"), worse("other")),
    "market, coins": thread(*BTC, *coins(worse("price"), worse("depth"))),
    "market, as a whole": thread(TOTAL_FALL, turned("falls", Turn.OPEN)),
    "market, as a whole and coins": thread(
        TOTAL_FALL, *BTC, worse("cascade"), *coins(worse("price"), worse("liq")), turn=Turn.WORSE
    ),
    "market, funding": thread(turned("breadth", Turn.OPEN), *coins(worse("funding"))),
    "one rule over": thread(ENDED[0], turn=CLOSE),
    "one coin over": thread(*ENDED, turn=CLOSE),
    "one coin over, an hour and a day later": thread(*ENDED, turn=CLOSE, since=SINCE),
    "market over": thread(*ENDED, *coins(ENDED[0], ENDED[3]), turn=CLOSE, since=SINCE),
    "market, composites alone go on": thread(
        *coins(worse("cascade"), worse("cascade")), *ENDED, *coins(ENDED[0])
    ),
    "market over, a window of a day goes on": thread(
        msgspec.structs.replace(TOTAL_FALL, turn=CLOSE), worse("oi"), *coins(ENDED[0]), turn=CLOSE
    ),
}

POSTS |= {
    "recap, one coin": thread(*REMEMBERED, turn=CLOSE, **RECAP),
    "recap, the market": thread(
        msgspec.structs.replace(TOTAL_FALL, turn=CLOSE), *REMEMBERED,
        *coins(REMEMBERED[0], REMEMBERED[3]), turn=CLOSE, **RECAP,
    ),
    "recap, the market as a whole": thread(TOTAL_FALL, turn=CLOSE, **RECAP),
    "recap, little is known": thread(ENDED[0], turn=CLOSE, silent=True, recap=True),
}  # fmt: skip

TAKEN = (
    "local.toml, 9 rules, 31 rule tests passed. Changed: rules.liq_burst.majors.alert 40 → 45, "
    "new rule oi_jump, and 2 more. Restart Lowtide for what changed in redis, web."
)
"""As ``bot.config.reload.change_summary`` writes it."""

WHY = {
    FaultCode.CONTRACT_MISSING: "",
    FaultCode.CONTRACT_SETTLING: "",
    FaultCode.ASSET_NOT_LISTED: "NEIRO is 1000 NEIROETH: name the asset, NEIROETH",
    FaultCode.ROWS_UNREADABLE: "12, such as NEIROUSDT",
    FaultCode.NAMES_REFUSED: "1 of 540, such as NEI\\u200bRO",
    FaultCode.VENUE_UNREACHED: "its name could not be looked up (no network?)",
    FaultCode.VENUE_LOST: "it closed the connection with code 1006 (going <away>)",
    FaultCode.VENUE_FAILED: "KeyError: 'e'",
    FaultCode.TICKER_SHARED: "NEIROUSDT at 0.0012 USD, NEIRO of binance at 0.41",
    FaultCode.HISTORY_REFUSED: "its prices are of long ago",
    FaultCode.HISTORY_APART: "its open interest was 92000 just now, and is 73000",
    FaultCode.SOURCE_SILENT: "it sent a web page instead of data",
    FaultCode.CLOCK_SET_BACK: "by 3 h 20 min; what waits is dated anew",
    FaultCode.CLOCK_SET_AHEAD: "by 10 s",
    FaultCode.CLOCK_HOLE: "by 1,200 h",
    FaultCode.CLOCK_SKEWED: clock_words(9_000, ["binance", "bybit"]),
    FaultCode.VENUE_CLOCK_SKEWED: "40 s behind, unless everything from there arrives so late",
    FaultCode.VENUE_DRIFTS: (
        "age of prices: 12 times what is allowed (median of 60 coins), as BTC 2 min against 10 s"
    ),
    FaultCode.REDIS_UNSAFE: (
        "its maxmemory-policy is allkeys-lru, which drops posts that wait and saved state when"
        " memory is short: set it to noeviction"
    ),
    FaultCode.STATE_LOST: "episodes (2), records (1)",
}
SUBJECT = {
    FaultCode.VENUE_DRIFTS: "age of prices", FaultCode.STATE_LOST: "embedded Redis",
    FaultCode.HISTORY_REFUSED: "price", FaultCode.HISTORY_APART: "open_interest",
}  # fmt: skip

BOOK, OPEN_INTEREST = Kind.DEPTH, Kind.OPEN_INTEREST
NOTICES = {
    "feeds down": Notice(
        id="feed:bybit:1", venue="bybit", kinds=(BOOK, OPEN_INTEREST), up=False, since=AT - MIN,
        seen=AT, reason="no depth data for 60 s",
    ),
    "feeds back": Notice(
        id="feed:bybit:2", venue="bybit", kinds=tuple(Kind), up=True, since=AT - 26 * MIN, seen=AT
    ),
    "half of the feeds back": Notice(
        id="feed:bybit:3", venue="bybit", kinds=(Kind.FUNDING, Kind.LIQUIDATION, Kind.PRICE,
        Kind.VOLUME), up=True, since=AT - MIN, seen=AT,
    ),
    "volume down": Notice(
        id="feed:bybit:4", venue="bybit", kinds=(Kind.VOLUME,), up=False, since=AT - MIN, seen=AT,
        reason="no volume data for 60 s",
    ),
    "books and volume down": Notice(
        id="feed:bybit:5", venue="bybit", kinds=(BOOK, Kind.VOLUME), up=False, since=AT - MIN,
        seen=AT,
    ),
    "feeds of a contract down": Notice(
        id="feed:kraken:6", venue="kraken", kinds=tuple(Kind), up=False, since=AT - MIN, seen=AT,
        reason="no data yet", subjects=("PF_ETHUSD",),
    ),
    "feeds of contracts back": Notice(
        id="feed:kraken:7", venue="kraken", kinds=(BOOK, OPEN_INTEREST), up=True,
        since=AT - 26 * MIN, seen=AT, subjects=("PF_ETHUSD", "PF_SOLUSD"),
    ),
    "no tick": Notice(id="tick:1", venue="", kinds=(), up=False, since=AT - 30_000, seen=AT),
    "ticks again": Notice(id="tick:2", venue="", kinds=(), up=True, since=AT - 40_000, seen=AT),
    "ticks again, an alert open": Notice(
        id="tick:3", venue="", kinds=(), up=True, since=AT - 157_000, seen=AT, open_episodes=1
    ),
    "ticks again, alerts open": Notice(
        id="tick:4", venue="", kinds=(), up=True, since=AT - 3 * 3_600_000, seen=AT,
        open_episodes=7,
    ),
    "an odd venue": Notice(
        id="feed:x:1", venue="x<y", kinds=(BOOK,), up=False, since=AT, seen=AT, reason="a<b"
    ),
    "several contracts missing": Notice(
        id="fault:1", venue="bybit", kinds=(), up=False, since=AT, seen=AT,
        fault=FaultCode.CONTRACT_MISSING, subjects=("BTCUSDT", "ETHUSDT"),
        reason="2 of 3, such as <X>",
    ),
    "many contracts missing": Notice(
        id="fault:2", venue="bybit", kinds=(), up=False, since=AT, seen=AT,
        fault=FaultCode.CONTRACT_MISSING, subjects=tuple(f"COIN{n}" for n in range(400)),
    ),
    "configuration kept": config_notice(False, "config.toml:12: rules.x: unknown <key>", AT),
    "configuration taken": config_notice(True, TAKEN, AT),
}  # fmt: skip
NOTICES |= {
    f"{code}{' over' if over else ''}": Notice(
        id=f"fault:{code}", venue="bybit", kinds=(), up=over, since=AT - 26 * MIN, seen=AT,
        fault=code, subjects=(SUBJECT.get(code, "NEIRO"),),
        reason="" if over else WHY.get(code, ""),
    )
    for code in FaultCode for over in (False, True) if not (over and code in MOMENTARY)
}  # fmt: skip


def metric_of(form: str) -> str:
    """A metric of that form."""
    places = {
        "<duration>": "1h", "<bp>": "25", "<state>": "reset", "<coin>": "usdt", "<name>": "ai",
    }  # fmt: skip
    for place, text in places.items():
        form = form.replace(place, text)
    return form


def test_metrics_read_every_feed_whose_silence_is_said_to_change_totals():
    names = [metric_of(form) for form in metrics.METRICS]
    assert set(Kind).difference(*(metrics.metric(name).kinds for name in names)) == set()


def edges() -> dict[str, Alert]:
    bare: dict[str, object] = {"facts": None, "price": None, "price_before": None}
    single_venue = {"by_venue_pct_8h": {"binance": -0.84}, "hours": {"binance": 4}}
    payrolls = NearRelease(kind=ReleaseKind.NFP, at=AT + 48 * MIN)
    return {
        "liq, of which none are left": changed(
            "liq",
            {"long_usd": 0.0, "short_usd": 0.0, "orders": 0, "largest_usd": 0.0, "oi_pct": 0.0},
            value=0.0,
        ),
        "an announcement within the hour": changed("price", {}, release=payrolls),
        "funding, one venue with another interval, held": changed(
            "funding",
            {**single_venue, "predicted_pct_8h": None},
            asset="WLFI",
            level=Level.CRITICAL,
            value=-0.84,
            price=0.1712,
            held=2,
        ),
        "funding, one venue": changed(
            "funding", {"by_venue_pct_8h": {"bybit": -0.0031}, "hours": {"bybit": 8}}
        ),
        "funding, not caused by a settlement": changed("funding", {}, at=SETTLEMENT + 13 * MIN),
        "funding above": changed(
            "funding",
            {"by_venue_pct_8h": {"binance": 0.11, "bybit": 0.09}, "predicted_pct_8h": 0.1},
            fires="above",
            value=0.1042,
        ),
        "funding low but not negative": changed("funding", {}, value=0.0012),
        "funding closed below zero": msgspec.structs.replace(
            turned("funding", Turn.CLOSE), value=-0.0151, missing=("bybit",)
        ),
        "funding closed after days": msgspec.structs.replace(
            turned("funding", Turn.CLOSE),
            opened_at=SETTLEMENT - 51 * HOUR,
            extreme_at=SETTLEMENT - 48 * HOUR,
        ),
        "oi, a venue missing": changed(
            "oi",
            {"by_venue_pct": {"binance": -9.1, "hyperliquid": -3.9}},
            missing=("bybit",),
            coverage=LiveShare(live=2, expected=3, held_pct=68.4),
            held=1,
        ),
        "oi, price against": changed(
            "oi", {"price_usd": 4.1e8}, price=112_400.0, price_before=111_700.0
        ),
        "oi, no price known": changed(
            "oi", {"net_usd": None, "price_usd": None}, price=None, price_before=None
        ),
        "oi above": changed(
            "oi",
            {"net_usd": 5.4e6, "price_usd": 2e5, "by_venue_pct": {"bybit": 30.2}},
            fires="above",
            value=30.2,
        ),
        "oi, small coin with large numbers": changed(
            "oi",
            {
                "before_base": 4.1066e12,
                "after_base": 3.2e12,
                "net_usd": -11_212_345.0,
                "price_usd": -999_600.0,
                "window_ms": 15 * MIN,
            },
            asset="PEPE",
            value=-22.1,
            price=0.0000123,
            price_before=0.00001342,
        ),
        "depth, a book missing": changed(
            "depth",
            {"live": 2, "expected": 3, "spread_bp": None, "by_venue_pct": {"binance": 50.4}},
            missing=("bybit", "hyperliquid"),
            coverage=LiveShare(live=1, expected=3),
        ),
        "depth, tail": changed(
            "depth",
            {"band_bp": 100, "bid_usd": 41_200.0, "ask_usd": 0.0, "normal_usd": 1.1e6},
            asset="WIF",
            value=3.745,
        ),
        "liq, shorts, one order": changed(
            "liq",
            {
                "long_usd": 0.0,
                "short_usd": 5_210_000.0,
                "orders": 1,
                "oi_pct": None,
                "saturation_pct": {},
                "not_available": (),
                "largest_usd": 5_210_000.0,
            },
            value=5.21,
        ),
        "liq, by a clock 3 h behind the venue's": behind("liq", 3 * HOUR),
        "oi, by a clock 8 h ahead of the venue's": behind("oi", -8 * HOUR),
        "liq, by a clock 9 s behind the venue's": msgspec.structs.replace(
            behind("liq", 9_000), ahead=9_000
        ),
        "liq, from before a step of the clock": msgspec.structs.replace(
            turned("liq", Turn.UP), opened_at=AT + 3 * HOUR, began=AT - 10 * MIN
        ),
        "liq, from before the clock was set back": msgspec.structs.replace(
            turned("liq", Turn.UP), opened_at=AT + 3 * HOUR
        ),
        "liq, closed, from before the clock was set back": msgspec.structs.replace(
            turned("liq", Turn.CLOSE), opened_at=AT + 3 * HOUR
        ),
        "liq, closed in silence": msgspec.structs.replace(turned("liq", Turn.CLOSE), value=0.0),
        "liq, two venues publish none": changed("liq", {"not_available": ("dydx", "hyperliquid")}),
        "oi, a venue may count both sides": changed("oi", NOT_ADDED),
        "oi, of that venue alone": changed(
            "oi",
            {**NOT_ADDED, "by_venue_pct": {"gate": -7.8}, "net_usd": None, "price_usd": None},
        ),
        "price, a venue may count both sides": changed("price", {"oi_not_added": ("gate",)}),
        "total, two venues may count both sides": changed("total", {"not_added": ("gate", "htx")}),
        "liq, a venue may count both sides": changed("liq", {"oi_not_added": ("gate",)}),
        "cascade, a venue may count both sides": changed(
            "cascade",
            {
                "chain": (
                    link("oi_net_1h_pct", 0, -7.8, -7.8, msgspec.structs.replace(OI, **NOT_ADDED)),
                )
            },
        ),
        "up to alert": msgspec.structs.replace(turned("oi", Turn.UP), level=Level.ALERT),
        "funding above, worse": msgspec.structs.replace(
            turned("predicted", Turn.WORSE), fires="above", value=0.062
        ),
        "funding low, worse": msgspec.structs.replace(turned("funding", Turn.WORSE), value=0.0004),
        "oi above, worse": msgspec.structs.replace(
            turned("oi", Turn.WORSE), fires="above", value=12.0
        ),
        "depth above, worse": msgspec.structs.replace(
            turned("depth", Turn.WORSE), fires="above", value=312.0
        ),
        "an asset that needs escaping": alert(asset="A&B<i>", missing=("x<y",)),
        "no facts, funding": alert(
            metric="funding_8h_pct", rule="funding_negative", value=-0.0031, **bare
        ),
        "no facts, oi": alert(**bare),
        "no facts, depth": alert(metric="depth_25bp_pct_of_normal", value=54.0, **bare),
        "no facts, liq": alert(metric="liq_10m_musd", fires="above", value=64.2, **bare),
    }


CASES = {f"{kind} {turn}": turned(kind, turn) for kind in KINDS for turn in Turn} | (
    edges()
    | records()
    | cascades()
    | opinions()
    | causes()
    | falls()
    | usual()
    | structures()
    | regimes()
)


def messages_in(language: str) -> dict[str, Message]:
    """What readers of a channel see, in one language."""
    words = LANGUAGES[language]
    openings = {kind: turned(kind, Turn.OPEN) for kind in KINDS}
    openings["closed"] = turned("depth", Turn.CLOSE)
    return (
        {name: render(sample, words) for name, sample in CASES.items()}
        | {name: delivery_message(post, words) for name, post in POSTS.items()}
        | {f"notice, {name}": notice_message(n, words) for name, n in NOTICES.items()}
        | {f"delivery, {name}": m for name, m in samples(openings, language).items()}
    )


def golden_text(language: str = "en") -> str:
    """All messages; in English, from which the others are translated, also as HTML."""
    words = LANGUAGES[language]
    parts = [
        f"=== alarm, {name} (rings)\n{say(words, key, who='Redis', why='the disk is full')}\n"
        for name, key in (("on", "alarm.on"), ("over", "alarm.over"))
    ]
    for name, message in messages_in(language).items():
        sound = "silent" if message.silent else "rings"
        markup = f"--- html\n{message.html}\n" if language == "en" else ""
        parts.append(f"=== {name} ({sound})\n{message.plain}\n{markup}")
    return "\n".join(parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_golden(language: str):
    check_text(GOLDEN.with_name(f"messages_{language}.txt"), golden_text(language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_every_message_is_sound(name: str, language: str):
    sample = CASES[name]
    message = render(sample, LANGUAGES[language])
    check(sample, message)
    assert parsed(message.html) == message.plain


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", POSTS)
def test_every_post_is_sound(name: str, language: str):
    post = POSTS[name]
    message = delivery_message(post, LANGUAGES[language])
    visible = sound(message)
    assert message.silent == (post.silent or post.turn is Turn.CLOSE)
    assert len(visible) <= (POST_CHARS if not post.market else DIGEST_CHARS)
    for alert in post.alerts:
        assert alert.asset == ALL or alert.asset in visible
    if post.held and language == "en":
        assert visible.endswith(f"+{sum(post.held.values())} not posted")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NOTICES)
def test_a_notice_is_quiet_unless_a_venue_is_lost_and_looks_like_no_alert(name: str, language: str):
    message = notice_message(NOTICES[name], LANGUAGES[language])
    assert message.silent is not name.startswith("venue_lost")
    assert "#" not in sound(message)
    assert message.html.startswith("⚪ <i>") and message.html.endswith("</i>")


def test_a_message_of_our_own_is_of_no_asset_and_can_be_stored():
    text = say(ENGLISH, "alarm.on", who="redis", why="2 < 3 & no more")
    message = own_message("alarm", "alarm", text, AT, level=Level.ALERT, silent=True)
    assert (message.asset, message.rule, message.at) == ("", "alarm", AT)
    assert (message.turn, message.level, message.silent) == (Turn.OPEN, Level.ALERT, True)
    assert "2 &lt; 3 &amp; no more" in message.html
    assert message.plain == parsed(message.html) and "2 < 3 & no more" in message.plain
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message


def test_an_event_of_hundreds_of_coins_fits():
    event = delivery("oi", tuple(f"COIN{n}" for n in range(300)))
    visible = parsed(delivery_message(event, ENGLISH).html)
    assert len(visible) < 4_096
    assert visible.endswith("#OI · 09:42 UTC")
    alerts = (TOTAL_FALL, *delivery("oi", tuple(f"COIN{n}" for n in range(300))).alerts)
    visible = parsed(delivery_message(thread(*alerts), ENGLISH).html)
    assert len(visible) < 4_096
    assert visible.endswith("#market · 09:42 UTC")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_market_of_which_composites_alone_go_on_names_the_coin_of_its_worst_price(language: str):
    words = LANGUAGES[language]
    worst = {"BTC": (-9.9, 83.0), "ETH": (-16.3, 20.0), "SOL": (-24.8, 33.2)}
    over = [
        msgspec.structs.replace(
            turned(kind, Turn.CLOSE), asset=asset, extreme=of, id=f"{asset}{of}"
        )
        for asset, values in worst.items()
        for kind, of in zip(("price", "liq"), values, strict=True)
    ]
    going_on = [
        msgspec.structs.replace(turned("cascade", Turn.OPEN), asset=asset, id=asset)
        for asset in ("SOL", "BTC", "ETH")
    ]
    for order in (going_on, going_on[::-1]):  # whichever composite is the worst in this chat
        event = thread(*order, *over)
        head, *lines = delivery_message(event, words).plain.split("\n")
        assert heads_of(event, words)[0].startswith("🔴"), "a short post is this line"
        assert "SOL" in head and "24.8" in head
        assert not [number for number in ("16.3", "9.9", "83", "33.2", "20") if number in head]
        btc = next(line for line in lines if "BTC" in line)
        assert "83" in btc or "8,300" in btc, "each is in the line of its coin"
    windows = [
        msgspec.structs.replace(
            alert, rule=f"{alert.asset} cascade", family=f"{alert.asset} cascade"
        )
        for alert in going_on
    ]
    head = delivery_message(thread(*windows), words).plain.split("\n")[0]
    assert "SOL" in head and "BTC" not in head, "composites alone: the worst coin, by its name"


def check(sample: Alert, message: Message) -> None:
    visible = sound(message)
    assert message.plain == visible
    assert len(visible) <= POST_CHARS
    assert sample.asset in visible.split("\n")[0] or sample.asset == ALL
    assert message.silent == (sample.turn is Turn.CLOSE or sample.level is Level.WATCH)


def sound(message: Message) -> str:
    """What a reader sees, after a look at what no message may have."""
    visible = parsed(message.html)
    assert not re.search(r"None|\bnan\b|\binf\b|  |[{}]|−0(\.0+)?%", visible)
    assert not re.search(r"-\d", visible.split("\n#")[0]), "a hyphen is no minus sign"
    first = visible.split("\n")[0]
    assert first[0] in "🟡🟠🔴⚪"
    return visible


def test_too_many_facts_are_cut_by_whole_lines():
    many = {f"venue_with_a_long_name_{n}": -float(n) for n in range(30)}
    message = render(changed("oi", {"by_venue_pct": many}), ENGLISH)
    assert "venue_with" not in message.plain
    assert "612,400 → 564,600 BTC" in message.plain
    assert message.plain.endswith("#BTC #OI · 09:42 UTC")


def test_a_post_is_as_long_as_telegram_counts():
    """A sign of two UTF-16 units counts as two, a character that HTML escapes as one."""
    line = Html("x" * 98)
    for sign, stays in (("&amp;", True), ("🔴", False)):
        lines = [line] * 4 + [Html(sign * 97), Html("end")]
        message = message_of(alert(), lines, silent=False)
        assert (sign[0] in message.plain) is stays
        assert message.plain.endswith("\nend")


def test_plain_text_never_loses_or_unescapes_twice():
    message = render(alert(asset="&amp;<b>"), ENGLISH)
    assert message.plain.startswith("🟠 &amp;<b> open interest")
    assert "&amp;amp;&lt;b&gt; open interest" in message.html


numbers_of_any_size = st.floats(-1e15, 1e15) | st.floats(-1, 1) | st.just(0.0)
positive = st.floats(0, 1e15) | st.floats(0, 1)


@given(value=numbers_of_any_size, price=st.none() | positive, turn=st.sampled_from(Turn))
def test_any_number_can_be_told(value: float, price: float | None, turn: Turn):
    for kind in KINDS:
        amount = abs(value) if kind in ("liq", "depth") else value
        sample = msgspec.structs.replace(
            turned(kind, turn), value=amount, extreme=amount, price=price, price_before=price
        )
        visible = parsed(render(sample, ENGLISH).html)
        assert len(visible) <= POST_CHARS
        assert not re.search(r"\de[+-]\d", visible)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.371e9, "$5.37B"),
        (226e6, "$226M"),
        (64.2e6, "$64.2M"),
        (999_600, "$1M"),
        (999_400, "$999K"),
        (512.4, "$512"),
        (1.2e12, "$1.2T"),
        (0, "$0"),
    ],
)
def test_amounts(value: float, text: str):
    assert ENGLISH.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (65.19e6, "$65.1M"),
        (73.1 * 1e6, "$73.1M"),  # one bit less than 73,100,000
        (999_600, "$999K"),
        (15e6, "$15M"),
        (0.3, "$0.3"),
        (0, "$0"),
    ],
)
def test_a_lower_bound_is_never_rounded_up(value: float, text: str):
    assert ENGLISH.usd_at_least(value) == text


@given(st.floats(0.001, 1e13))
def test_what_a_lower_bound_says_is_not_more_than_it_is(value: float):
    assert 0.98 * value <= significant_below(value, 3) <= value * (1 + 1e-9)


@pytest.mark.parametrize(
    ("total", "longs", "text"),
    [
        (73.1, 65.2, "longs liquidated ≥ $65.2M"),
        (9.0, 1.26, "shorts liquidated ≥ $7.74M"),
        (73.1, 73.1, "longs liquidated ≥ $73.1M"),
        (73.1, None, "liquidations ≥ $73.1M"),  # which side is not known
    ],
)
def test_a_side_is_told_with_its_own_sum(total: float, longs: float | None, text: str):
    chain = (link("liq_10m_musd", 0, 40.6, total, LIQ, longs=longs),)
    cascade = alert(
        metric="composite", family="cascade", level=Level.CRITICAL,
        facts=msgspec.structs.replace(CASCADE, chain=chain),
    )  # fmt: skip
    opened = render(cascade, ENGLISH).plain.splitlines()[0]
    over = render(msgspec.structs.replace(cascade, turn=Turn.CLOSE), ENGLISH).plain
    for sentence in (opened, over):
        assert text in sentence
        assert sentence.count("$") == 1


@pytest.mark.parametrize(("millions", "text"), [(0.0, ""), (2.5, ", ≥ $7.5M in all")])
def test_a_window_that_is_empty_has_no_sum(millions: float, text: str):
    event = delivery("liq", COINS[:3])
    alerts = [msgspec.structs.replace(of, value=millions) for of in event.alerts]
    event = msgspec.structs.replace(event, alerts=tuple(alerts))
    head = delivery_message(event, ENGLISH).plain.split("\n")[0]
    assert head.replace("\u00a0", " ") == f"🟠 3 coins: liquidations in 10 min{text}"


def test_two_windows_of_one_kind_say_which_is_which():
    hour = msgspec.structs.replace(LIQ, window_ms=HOUR)
    for longs, what in ((300.0, "longs liquidated"), (None, "liquidations")):
        chain = (
            link("liq_10m_musd", 0, 40.6, 300.0, LIQ, longs=longs),
            link("liq_1h_musd", 0, 40.6, 750.0, hour, longs=longs and 750.0),
        )
        cascade = alert(
            metric="composite", family="twin", level=Level.CRITICAL,
            facts=msgspec.structs.replace(CASCADE, chain=chain),
        )  # fmt: skip
        head = render(cascade, ENGLISH).plain.splitlines()[0]
        assert f"{what} ≥ $300M in 10 min, {what} ≥ $750M in 1h" in head


@pytest.mark.parametrize("usd", [129.96e6, 5.999e6])
def test_every_line_of_liquidations_is_cut_in_the_same_way(usd: float):
    facts = msgspec.structs.replace(
        LIQ, long_usd=usd, short_usd=0.0, orders=1, largest_usd=usd, oi_pct=None
    )
    burst = alert(metric="liq_10m_musd", fires="above", value=usd / 1e6, facts=facts)
    head, sides, largest, *_ = render(burst, ENGLISH).plain.splitlines()
    cut = ENGLISH.usd_at_least(usd)
    assert f"≥ {cut} in 10 min" in head
    assert sides == f"Longs ≥ {cut}, shorts none reported, in 1 order."
    assert largest.startswith(f"Largest order {cut} on ")


def test_an_empty_lower_bound_says_that_none_is_reported():
    burst = alert(metric="liq_10m_musd", fires="above", value=0.0, extreme=129.0, facts=LIQ)
    assert " (worst ≥ $129M at " in first_line(burst, ENGLISH)


def test_the_peak_of_liquidations_keeps_its_lower_bound():
    going_on = alert(metric="liq_10m_musd", fires="above", value=3.0, extreme=312.0, facts=LIQ)
    line = first_line(going_on, ENGLISH)
    assert line.count("$") == line.count("≥ $") == 2
    peak = msgspec.structs.replace(going_on, extreme=3.0)
    assert first_line(peak, ENGLISH).count("$") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (112_400, "$112,400"),
        (3412.4, "$3,412"),
        (34.1, "$34.10"),
        (0.171, "$0.171"),
        (0.0000123, "$0.0000123"),
    ],
)
def test_prices(value: float, text: str):
    assert ENGLISH.price(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (72 * MIN, "1 h 12 min"),
        (16 * HOUR, "16 h"),
        (42 * MIN + 59_999, "42 min"),
        (45_000, "45 s"),
        (51 * HOUR, "2 d 3 h"),
        (0, "0 s"),
    ],
)
def test_lengths(ms: int, text: str):
    assert ENGLISH.length(ms) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0031, "−0.0031"),
        (-0.84, "−0.84"),
        (-0.00004, "−0.00004"),
        (-0.0000000001, "0"),
        (0.01, "0.0100"),
        (0.0, "0"),
    ],
)
def test_rates(value: float, text: str):
    assert numbers.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-7.84, "−7.8"), (0.6, "+0.6"), (-920.4, "−920"), (-0.04, "−0.04"), (-0.001, "0"), (0, "0")],
)
def test_changes(value: float, text: str):
    assert numbers.change(value) == text


def test_every_metric_has_words_of_its_own():
    for form in metrics.METRICS:
        name = metric_of(form)
        assert metrics.metric(name).name == name
        assert topic(name) != "other"


ELSEWHERE = ("ask.", "page.", "test.", "macro.", "format.", "list.", "rule.", "composite.",
             "sector.", "term.", "week.", "weekly.", "summary.", "note.", "button.", "press.",
             "release.")  # fmt: skip
"""Phrases of what is no message of this page."""


def test_no_phrase_is_left_over():
    used = golden_text()
    forms = ENGLISH.phrases | {
        f"{key} {n}": text for key, of in ENGLISH.plurals.items() for n, text in enumerate(of)
    }
    for key, text in forms.items():
        if key.startswith(ELSEWHERE):
            continue
        fixed = max(re.split(r"<[^>]+>|\{[^}]+\}", text), key=len)
        assert fixed in used or key == "level.1", key


OTHERS = [name for name in LANGUAGES if name != "en"]
NAMES = {word for of in (*VENUES.values(), *SOURCES.values()) for word in of.SPEC.title.split()} - {
    "spot"
}
UNITS = {"UTC", "bp", "OI", "NFP"}
FOREIGN = {
    "a<b", "x<y", "A&B<i>", "「config.toml:12: rules.x: unknown <key>」", "<X>", "「going <away>」",
    "KeyError: 'e'", "NEI\\u200bRO", "local.toml", "rules.liq_burst.majors.alert", "oi_jump",
    "redis, web", "NEIROETH", "NEIROUSDT", "allkeys-lru", "maxmemory-policy", "noeviction",
    "timedatectl set-ntp true", "NTP", "「發佈訊息」",
}  # fmt: skip
"""What comes from elsewhere and is passed on as it is: odd names, and the words of others."""


def latin(text: str) -> set[str]:
    """The words in Latin letters, without those of what comes from elsewhere."""
    for foreign in FOREIGN:
        text = text.replace(foreign, "")
    return set(re.findall(r"[A-Za-z][A-Za-z_]+", re.sub(r"@\w+|#ABi", "", text)))


@pytest.mark.parametrize("language", OTHERS)
def test_no_english_is_left_in_another_language(language: str):
    coins = set().union(*(latin(alert.asset) for post in POSTS.values() for alert in post.alerts))
    coins |= latin(" ".join([*TOTAL.by_asset_usd, *SHARE.lowest_pct_8h, *FALLS.by_asset_pct]))
    coins |= latin(" ".join([*SECTOR.by_asset_pct, "own"]))
    coins |= latin(" ".join([subject for n in NOTICES.values() for subject in n.subjects]))
    coins |= latin(" ".join(sample.asset for sample in CASES.values()))
    venues = set().union(
        *(
            {*getattr(sample.facts, field, ())}
            for sample in CASES.values()
            for field in ("by_venue_pct", "not_available", "not_added")
        )
    )
    coins |= {*STABLECOINS}
    rules = {sample.rule.partition(":")[0] for sample in CASES.values()} | {"depth_thin"}
    known = (
        NAMES | UNITS | coins | rules | venues | {"Lowtide", "Telegram", "Redis", "General", "USD"}
    )
    for name, message in messages_in(language).items():
        assert latin(message.plain) <= known, name
    for key in ("alarm.on", "alarm.over"):
        assert latin(say(LANGUAGES[language], key, who="Redis", why="")) <= known


MONEY = {
    "en": r"\$(?P<n>[\d,.]+)(?P<unit>[KMBT]?)",
    "zh-TW": r"(?P<n>[\d,.]+)\s?(?P<unit>[萬億兆]?)\s?美元",
    "ja": r"(?P<all>(?:[\d,]+[万億兆])*(?:[\d,.]+)?)ドル(?!換算)",
}
"""Money as each language has it, written anew here, to read back what is written there."""

SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12,
         "萬": 10**4, "万": 10**4, "億": 10**8, "兆": 10**12}  # fmt: skip


def money(text: str, language: str) -> list[Decimal]:
    """Every amount in ``text``, in USD."""
    amounts: list[Decimal] = []
    for match in re.finditer(MONEY[language], text):
        parts = [(match["n"], match["unit"])] if language != "ja" else re.findall(
            r"([\d,.]+)([万億兆]?)", match["all"]
        )  # fmt: skip
        amounts.append(sum(Decimal(n.replace(",", "").rstrip(".")) * SIZES[u] for n, u in parts))
    return sorted(amounts)


@pytest.mark.parametrize("language", OTHERS)
def test_every_number_is_the_same_in_all_languages(language: str):
    amounts, translated = 0, messages_in(language)
    for name, message in messages_in("en").items():
        english, other = message.plain, translated[name].plain
        numbers_there = [Counter(money(english, "en")), Counter(money(other, language))]
        amounts += numbers_there[0].total()
        for number in (r"[+−]?[\d,.]*\d%", r"[+−]?[\d.]+σ", r"\d\d:\d\d"):
            for counted, text in zip(numbers_there, (english, other), strict=True):
                counted.update(re.findall(number, text))
        # a longer language may have no room for the last facts
        lines = english.count("\n"), other.count("\n")
        fewer, more = numbers_there if lines[0] <= lines[1] else numbers_there[::-1]
        assert not fewer - more, name
        assert lines[0] != lines[1] or fewer == more, name
    assert amounts > 400


@pytest.mark.parametrize("language", LANGUAGES)
@given(value=st.floats(0.001, 1e14))
def test_an_amount_is_the_value_to_three_digits(language: str, value: float):
    exact = Decimal(value)
    digits = Decimal(1).scaleb(exact.adjusted() - 2)
    [text] = money(LANGUAGES[language].usd(value), language)
    assert text == (exact / digits).quantize(Decimal(1), ROUND_HALF_EVEN) * digits
    [least] = money(LANGUAGES[language].usd_at_least(value), language)
    assert least <= exact * (1 + Decimal("1e-9"))


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (312e6, ("$312M", "3.12\N{NO-BREAK SPACE}億美元", "3億1,200万ドル")),
        (61.5e9, ("$61.5B", "615\N{NO-BREAK SPACE}億美元", "615億ドル")),
        (64.2e6, ("$64.2M", "6,420\N{NO-BREAK SPACE}萬美元", "6,420万ドル")),
        (90_400, ("$90.4K", "9.04\N{NO-BREAK SPACE}萬美元", "9万400ドル")),
        (999.9e6, ("$1B", "10\N{NO-BREAK SPACE}億美元", "10億ドル")),
        (99_990_000, ("$100M", "1\N{NO-BREAK SPACE}億美元", "1億ドル")),
        (9_999, ("$10K", "1\N{NO-BREAK SPACE}萬美元", "1万ドル")),
        (512.4, ("$512", "512\N{NO-BREAK SPACE}美元", "512ドル")),
        (1.23e12, ("$1.23T", "1.23\N{NO-BREAK SPACE}兆美元", "1兆2,300億ドル")),
        (0, ("$0", "0\N{NO-BREAK SPACE}美元", "0ドル")),
    ],
)
def test_an_amount_in_the_units_of_the_reader(value: float, texts: tuple[str, ...]):
    assert tuple(LANGUAGES[name].usd(value) for name in ("en", "zh-TW", "ja")) == texts


_GOLDENS = sorted(GOLDEN.parent.glob("messages_*.txt"))
_UNITS = {"min", "h", "d", "s", "bp", "USD", "%", "/"}
_SIGNS = {"≥", "≤", "≈", "<", ">", "−", "+", "/"}


@pytest.mark.parametrize("path", _GOLDENS, ids=lambda path: path.stem)
def test_no_line_breaks_between_a_sign_its_number_and_its_unit(path: Path):
    """In the messages of every rule and turn, by the words that a line can break between."""
    assert len(_GOLDENS) == len(LANGUAGES)
    text = path.read_text(encoding="utf-8").replace("\u00a0", " ")
    joined = unbroken(text)
    assert joined.replace("\u00a0", " ") == text and joined != text
    assert unbroken(joined) == joined
    for line in joined.split("\n"):
        words = line.split(" ")
        for before, after in pairwise(words):
            between = f"{before}␣{after} in {line}"
            assert not (before in _SIGNS and after[:1].isdigit()), between
            assert not (before[-1:] in _SIGNS - {"/", ">"} and after[:1] in "0123456789$"), between
            assert not (before[-1:].isdigit() and after.rstrip(".,;:)") in _UNITS), between
            cjk = "\u3040" <= after[:1] <= "\u9fff"
            assert not (before[-1:].isdigit() and cjk), between


def test_markup_stays_as_it_is_where_lines_do_not_break():
    text = '<b>≥ $5M</b> at <tg-time unix="1791014400" format="t">09:42 UTC</tg-time>, &lt; 3 min'
    assert unbroken(text) == text.replace("≥ ", "≥\u00a0").replace("; 3 m", ";\u00a03\u00a0m")
