"""What rules say to bot: alerts, with the facts that a message is made of.

An alert is one turn of an episode. Numbers in facts are in the units of their names; None means
unknown, never zero.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec

from streams.events import Ms


class Level(IntEnum):
    """How bad. Compared by size."""

    WATCH = 1
    ALERT = 2
    CRITICAL = 3


class Turn(StrEnum):
    """What happened to the episode."""

    OPEN = "open"
    UP = "up"
    WORSE = "worse"
    CLOSE = "close"


class FundingFacts(msgspec.Struct, frozen=True, kw_only=True, tag="funding"):
    """Funding per 8 h in percent: OI-weighted value and each venue's own rate.

    ``settled``: the rates were charged, not estimated. ``by_venue_pct_8h``: venue → % per 8 h.
    ``hours``: venue → its interval in hours.
    """

    settled: bool
    by_venue_pct_8h: Mapping[str, float]
    hours: Mapping[str, float]
    predicted_pct_8h: float | None = None


class OpenInterestFacts(msgspec.Struct, frozen=True, kw_only=True, tag="open_interest"):
    """Net open-interest change over ``window_ms``: positions closed, the price effect removed.

    ``before_base``, ``after_base``: coins at both ends, same venues. ``net_usd``: change in coins
    at the price of the window's start; ``price_usd``: the rest of the change in USD, only price.
    ``by_venue_pct``: change in coins by venue.
    """

    window_ms: Ms
    before_base: float
    after_base: float
    net_usd: float | None
    price_usd: float | None
    by_venue_pct: Mapping[str, float]


class DepthFacts(msgspec.Struct, frozen=True, kw_only=True, tag="depth"):
    """Depth within ``band_bp`` of mid now (median of 60 s) and normally (median of ``normal_ms``).

    ``live``/``expected``: how many books could be used, out of how many. A sum over books that do
    not all cover the band leaves the uncovered ones out, on both sides of the comparison.
    """

    band_bp: int
    bid_usd: float
    ask_usd: float
    normal_usd: float
    normal_ms: Ms
    by_venue_pct: Mapping[str, float]
    live: int
    expected: int
    spread_bp: float | None = None


class LiquidationFacts(msgspec.Struct, frozen=True, kw_only=True, tag="liquidation"):
    """Reported liquidations in ``window_ms``: a lower bound.

    ``largest_*``: the largest single order. ``orders``: how many were reported.
    ``saturation_pct``: venue → share of the window's seconds in which a throttled feed was full.
    ``not_available``: venues of this asset that publish no liquidations.
    """

    window_ms: Ms
    long_usd: float
    short_usd: float
    orders: int
    largest_usd: float
    largest_venue: str
    largest_price: float
    oi_pct: float | None
    saturation_pct: Mapping[str, float]
    not_available: tuple[str, ...]


Facts = FundingFacts | OpenInterestFacts | DepthFacts | LiquidationFacts


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of one episode.

    ``id`` names the turn for ever: ``rule:asset:opened_at:n``. ``seen`` is the clock of the event
    that caused it, ``at`` the venue's time of that event. ``value`` is in ``unit`` (the metric's).
    ``level`` is the level now (for a close: the level it had). ``threshold`` is that level's.
    ``post`` False: recorded, not to be posted (cool-down). ``held``: openings that the cool-down
    swallowed since the last post. ``extreme``: the worst value of the episode, reached at
    ``extreme_at``. ``missing``: venues left out because their feed is down ("ex-Bybit").
    ``price``: quote per coin now; ``price_before``: at the window's start.
    """

    id: str
    rule: str
    metric: str
    unit: str
    asset: str
    turn: Turn
    level: Level
    value: float
    threshold: float
    fires: str
    at: Ms
    seen: Ms
    opened_at: Ms
    extreme: float
    extreme_at: Ms
    post: bool
    held: int = 0
    price: float | None = None
    price_before: float | None = None
    venues: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    facts: Facts | None = None


_decoder = msgspec.json.Decoder(Alert)
_encoder = msgspec.json.Encoder()


def encode(alert: Alert) -> bytes:
    """The alert as JSON."""
    return _encoder.encode(alert)


def decode(data: bytes) -> Alert:
    """The alert behind ``data``. Raises msgspec.MsgspecError if it is not one."""
    return _decoder.decode(data)
