"""What rules pass to bot: alerts with the facts for their messages, and notices for operators.

An alert is one turn of an episode. Numbers in facts are in the units of their names; None means
unknown, never zero.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple

import msgspec

from streams.events import FaultCode, Kind, Ms

Scope = Literal["instrument", "asset", "market"]
"""Over what a value is: one contract, one asset over all its venues, or everything watched."""

ALL = "ALL"
"""In place of an asset's name where the scope is the market."""


class Level(IntEnum):
    """How bad it is; larger is worse."""

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
    """Funding per 8 h in percent: weighted by open interest, and of each venue."""

    settled: bool
    """The rates were charged, not estimated."""
    by_venue_pct_8h: Mapping[str, float]
    """Venue → % per 8 h."""
    hours: Mapping[str, float]
    """Venue → its funding interval in hours."""
    predicted_pct_8h: float | None = None
    """The estimate of the next settlement, weighted in the same way; None: unknown."""


class OpenInterestFacts(msgspec.Struct, frozen=True, kw_only=True, tag="open_interest"):
    """Net change of open interest over ``window_ms``: positions closed, the effect of the price
    removed."""

    window_ms: Ms
    before_base: float
    """Coins at the window's start, on the venues known at both ends."""
    after_base: float
    """Coins now, on the same venues."""
    net_usd: float | None
    """The change in coins at the price of the window's start."""
    price_usd: float | None
    """The rest of the change in USD, which is the price's alone."""
    by_venue_pct: Mapping[str, float]
    """Venue → change of its coins, %."""
    not_added: tuple[str, ...] = ()
    """Those of them that are in no sum, since nobody knows whether they count one side or both. Of
    these alone there is no sum, and the value is theirs: coins as they count them, no USD."""


class DepthFacts(msgspec.Struct, frozen=True, kw_only=True, tag="depth"):
    """Depth within ``band_bp`` of mid now (median of 60 s), and its normal.

    A sum over books that do not all cover the band leaves the uncovered ones out, on both sides of
    the comparison.
    """

    band_bp: int
    """Half-width of the band, basis points."""
    bid_usd: float
    ask_usd: float
    normal_usd: float
    """Both sides together."""
    normal_ms: Ms
    """How much observed time the normal is made of."""
    by_venue_pct: Mapping[str, float]
    """Venue → depth in percent of its own normal."""
    live: int
    """How many books could be used."""
    expected: int
    """How many books there are."""
    spread_bp: float | None = None
    """Between the best bid and the best ask, basis points."""
    hour: int | None = None
    """The hour of day (UTC) of the normal, which is then made of that hour of many days; None: the
    normal is the median of the last hours."""


class LiquidationFacts(msgspec.Struct, frozen=True, kw_only=True, tag="liquidation"):
    """Reported liquidations in ``window_ms``: a lower bound."""

    window_ms: Ms
    long_usd: float
    short_usd: float
    orders: int
    """How many were reported."""
    largest_usd: float
    """The largest single order."""
    largest_venue: str
    largest_price: float
    """Quote per coin."""
    oi_pct: float | None
    """Of the open interest that is held now, both without ``oi_not_added``; None: unknown."""
    saturation_pct: Mapping[str, float]
    """Venue → share of the window's seconds in which a throttled feed was full, %."""
    not_available: tuple[str, ...]
    """Venues of this asset that publish no liquidations."""
    oi_not_added: tuple[str, ...] = ()
    """Venues of which nobody knows whether their open interest counts one side or both."""


class PriceFacts(msgspec.Struct, frozen=True, kw_only=True, tag="price"):
    """Change of the asset's price over ``window_ms``, both ends from one venue."""

    window_ms: Ms
    before: float
    """Quote per coin at ``venue``."""
    after: float
    venue: str
    """The venue whose change is the asset's."""
    by_venue_pct: Mapping[str, float]
    """Venue → change of its price, of every live venue."""
    oi_usd: float | None = None
    """Open interest now; None: unknown."""
    oi_not_added: tuple[str, ...] = ()
    """Venues left out of it: nobody knows whether theirs counts one side or both."""


class TotalOpenInterestFacts(msgspec.Struct, frozen=True, kw_only=True, tag="total_open_interest"):
    """Net change of the market's open interest over ``window_ms``, same contracts at both ends."""

    window_ms: Ms
    before_usd: float
    """Held at the window's start."""
    net_usd: float
    """The change in coins, each asset at its price of the window's start."""
    price_usd: float | None
    """What the price alone added; None: unknown."""
    by_asset_usd: Mapping[str, float]
    """Asset → net change, of the assets that moved most."""
    live: int
    """Contracts that are known at both ends."""
    expected: int
    """Contracts whose open interest is known."""
    not_added: tuple[str, ...] = ()
    """Venues left out: nobody knows whether their open interest counts one side or both."""


class FundingShareFacts(msgspec.Struct, frozen=True, kw_only=True, tag="funding_share"):
    """How many contracts have negative funding: by the charged rate, or the estimate before the
    first charge."""

    negative: int
    live: int
    """Contracts whose rate is known."""
    expected: int
    """Contracts that have funding."""
    lowest_pct_8h: Mapping[str, float]
    """Asset → % per 8 h of its lowest contract, of the lowest assets."""


class PriceShareFacts(msgspec.Struct, frozen=True, kw_only=True, tag="price_share"):
    """How many assets fell within ``window_ms`` by at least what is stated for each."""

    window_ms: Ms
    fallen: int
    """A lower bound while not all changes are known."""
    live: int
    """Assets whose change is known."""
    expected: int
    """Assets that count."""
    by_asset_pct: Mapping[str, float]
    """Asset → change, %, of those that fell most."""
    least_fall_pct: Mapping[str, float]
    """Asset → how far it must fall to count, %, without a sign."""


class VolatilityFacts(msgspec.Struct, frozen=True, kw_only=True, tag="volatility"):
    """Of what realised volatility over ``window_ms`` is made."""

    window_ms: Ms
    returns: int
    """How many returns of 10 minutes are known."""
    expected: int
    """How many there would be without holes."""


class CorrelationFacts(msgspec.Struct, frozen=True, kw_only=True, tag="correlation"):
    """Mean correlations of hourly returns over 7 days."""

    top: float | None
    """Of the 10 coins with the most open interest; None: unknown."""
    top_coins: int
    """How many of them count."""
    middle: float | None
    """Of ranks 51 to 100; None: unknown."""
    middle_coins: int


class HighFacts(msgspec.Struct, frozen=True, kw_only=True, tag="high"):
    """The high that a value is below, since it is watched; the one before may be higher."""

    high_at: Ms
    """When it was."""
    since: Ms
    """Since when it is watched."""
    price: float | None = None
    """Of a price, the high, quote per coin; None: it is no price."""
    oi_usd: float | None = None
    """Of open interest, what is held now; None: unknown, or it is none."""


class CrossingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """That it went through a round number."""

    usd: float
    """The number."""
    up: bool
    at: Ms
    """When it did."""
    since: Ms | None
    """When it was last on this side before; None: not since ``record_from``."""
    record_from: Ms
    """Since when it is watched."""


class MarketCapFacts(msgspec.Struct, frozen=True, kw_only=True, tag="market_cap"):
    """What the coins of a source's list are worth together."""

    usd: float
    change_24h_pct: float | None
    """Of the same coins at the supplies of now; None: it is not known what they were worth."""
    coins: int
    live_pct: float
    """The part of ``usd`` that is at prices of now; the rest is at the list's."""
    source: str
    """Who lists them."""
    listed_at: Ms
    """When that was asked for."""
    crossing: CrossingFacts | None = None
    """Of the metric that counts them, the newest one its way; None: there was none."""


class StablecoinFacts(msgspec.Struct, frozen=True, kw_only=True, tag="stablecoin"):
    """What a stablecoin is worth, by the prices of the same coins in dollars and in it."""

    coin: str
    rate: float
    """USD each, the middle of some minutes."""
    by_asset: Mapping[str, float] = {}
    """Coin → what it says of now; empty: at this moment nobody says."""
    dollar_venues: tuple[str, ...] = ()
    """Exchanges with prices in dollars."""
    coin_venues: tuple[str, ...] = ()
    """Exchanges with prices in the stablecoin."""


class SectorFacts(msgspec.Struct, frozen=True, kw_only=True, tag="sector"):
    """What a basket of coins did beside the market's."""

    sector: str
    """Its name in the configuration."""
    span_ms: Ms
    """Over how long."""
    pct: float
    """Its own move; the value is this less ``market_pct``."""
    market_pct: float
    known: int
    """How many of its ``coins`` that is of; the others are not known at both ends."""
    coins: int
    market_known: int
    """The same of the market's basket."""
    market_coins: int
    by_asset_pct: Mapping[str, float]
    """The coins that moved farthest to the side of the value."""
    fixed_at: Ms
    """Since when it has its weights."""
    by_cap: bool
    """Whether these are by capitalisation; else they are equal."""


class LevelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A level that a price came down to, as in ``rules.supports.Support``."""

    level: float
    tests: int
    held: int
    """Of the tests."""
    first_at: Ms
    """When the first test was."""
    last_at: Ms
    """When the last was."""
    low: float
    """The lowest price since the first."""
    rebounds_pct: tuple[float, ...]
    """How far the price rose from it after each test that it held, the oldest first."""
    regained_pct: float | None
    """The middle one in % of the fall before the first test; None: it never held."""
    lost_at: Ms | None = None
    """When it was lost; None: it was not."""


class SupportFacts(msgspec.Struct, frozen=True, kw_only=True, tag="support"):
    """The levels below a price."""

    lost: LevelFacts | None
    """The one that was lost in the last day; None: none was, or it is retaken."""
    standing: LevelFacts | None
    """The highest one that was tested and is not lost; None: there is none."""
    since: Ms
    """Since when prices are known."""


class DispersionFacts(msgspec.Struct, frozen=True, kw_only=True, tag="dispersion"):
    """The venues' running estimates of funding."""

    by_venue_pct_8h: Mapping[str, float]
    """Exchange → % per 8 h."""


class LiquidationDayFacts(msgspec.Struct, frozen=True, kw_only=True, tag="liquidation_day"):
    """Reported liquidations of all coins in 24 h, and the largest day: lower bounds."""

    long_usd: float
    short_usd: float
    largest_usd: float | None
    """Of the largest day (UTC) that is over, since they are watched; None: none is over."""
    largest_at: Ms | None
    """When that day began."""
    since: Ms
    """Since when they are watched."""


class SpotShareFacts(msgspec.Struct, frozen=True, kw_only=True, tag="spot_share"):
    """Traded in 24 hours at the exchanges that have spot markets and perpetuals of the asset."""

    spot_usd: float
    perpetual_usd: float
    by_venue_pct: Mapping[str, float]
    """Exchange → spot in percent of both."""


class SpotDepthFacts(msgspec.Struct, frozen=True, kw_only=True, tag="spot_depth"):
    """Depth of spot markets, and of perpetuals beside it, within the same band."""

    spot: DepthFacts
    perpetual: DepthFacts | None
    """None: unknown."""


class Liquidated(msgspec.Struct, frozen=True, kw_only=True):
    """What was reported as liquidated on one asset up to the time of an alert: lower bounds."""

    over: Ms
    """For how long before."""
    long_usd: float
    short_usd: float

    @property
    def usd(self) -> float:
        """Both sides together."""
        return self.long_usd + self.short_usd


class Regime(StrEnum):
    """What state the leverage of an asset or of the market is in (``rules.regime``)."""

    CALM = "calm"
    THIN = "thin"
    """Depth is far below normal."""
    CASCADE = "cascade"
    """Positions are being closed by force."""
    RESET = "reset"
    """Open interest is far below its high, and nothing is being forced."""
    REPAIR = "repair"
    """After a reset depth is near normal and funding positive again."""


class RegimeCondition(StrEnum):
    """A condition that is part of the evidence of a regime; of the market some are measured by
    something else than of an asset (``rules.metrics.regime``)."""

    INTEREST_FALLS = "interest_falls"
    """Net change of open interest in 1 h, %."""
    PRICE_FALLS = "price_falls"
    """Change of the price in 1 h, %; of the market weighted by open interest."""
    LONGS_CLOSED = "longs_closed"
    """Longs reported as liquidated in 1 h, % of open interest; of the market in the hour that goes
    on and the one before it."""
    THIN = "thin"
    """Depth, % of normal at this hour of day."""
    REPAIRED = "repaired"
    """The same."""
    REDUCED = "reduced"
    """Open interest below its high, %."""
    POSITIVE = "positive"
    """Settlements in a row at which funding was positive, below zero at which it was not; of the
    market the share of contracts whose funding is negative, %."""


class RegimeEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One condition, as it is now."""

    condition: RegimeCondition
    value: float | None
    """In the unit of the condition; None: not available."""
    threshold: float
    """The value at which the condition is met."""
    met: bool | None
    """None: unknown, for want of the value or because the value is a lower bound."""


class RegimeFacts(msgspec.Struct, frozen=True, kw_only=True, tag="regime"):
    """The regime now, and what it is judged by."""

    regime: Regime
    since: Ms
    """When it began; if there is none ``before``, since when it is watched."""
    before: Regime | None
    """The one before; None: this is the first that was seen."""
    evidence: tuple[RegimeEvidence, ...]


PartFacts = (
    FundingFacts
    | OpenInterestFacts
    | DepthFacts
    | LiquidationFacts
    | PriceFacts
    | TotalOpenInterestFacts
    | FundingShareFacts
    | PriceShareFacts
    | VolatilityFacts
    | CorrelationFacts
    | HighFacts
    | MarketCapFacts
    | StablecoinFacts
    | SectorFacts
    | SupportFacts
    | DispersionFacts
    | LiquidationDayFacts
    | SpotShareFacts
    | SpotDepthFacts
    | RegimeFacts
)
"""The facts of a rule with a metric."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a composite that was met."""

    at: Ms
    """When ``level`` was reached."""
    family: str
    rule: str
    metric: str
    unit: str
    level: Level
    """The highest level up to the turn of this alert."""
    value: float
    """The value at ``at``, in ``unit``."""
    extreme: float
    """The worst value since."""
    opened_at: Ms
    """When the episode began: with ``rule`` and the asset the key of the episode."""
    facts: PartFacts | None = None
    """Those of now; None: they cannot be given now."""
    extreme_longs: float | None = None
    """Of an extreme that is a sum over both sides, the part of longs; None: unknown."""
    extreme_at: Ms | None = None
    """When ``extreme`` was reached."""


class CascadeFacts(msgspec.Struct, frozen=True, kw_only=True, tag="cascade"):
    """Several conditions met within ``within_ms``."""

    within_ms: Ms
    needed: int
    """How many conditions made it fire."""
    chain: tuple[Link, ...]
    """The conditions in the order in which they were met."""
    no_data: tuple[str, ...]
    """Families that could not be judged."""
    earlier: int
    """How many composites of this name and asset there were before, since ``record_from``."""
    record_from: Ms
    last_at: Ms | None = None
    """When the last of these fired."""
    also: tuple[Link, ...] = ()
    """What it hides and is no condition of it, each family by its worst window."""


Facts = PartFacts | CascadeFacts


class RecordKind(StrEnum):
    """What is remarkable about a value.

    ``first``: the first settlement of this sign after others; ``longest``: the run of settlements
    of this sign; ``lowest``, ``highest``: the value.
    """

    FIRST = "first"
    LONGEST = "longest"
    LOWEST = "lowest"
    HIGHEST = "highest"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A value or run that was not seen since ``since``, as far as was observed."""

    kind: RecordKind
    since: Ms | None
    """None: never in the record that began at ``record_from``, which is no "all-time"."""
    record_from: Ms
    run: int | None = None
    """Settlements in the present run, for ``first`` and ``longest``."""


class Cause(StrEnum):
    """What is happening, from the signs of price and net open interest (``rules.cause``)."""

    UNCLEAR = "unclear"
    LONG_UNWINDING = "long unwinding"
    SHORT_COVERING = "short covering"
    NEW_SHORTS = "new shorts"
    NEW_LONGS = "new longs"


CAUSES = tuple(Cause)
"""In the order in which they are numbered in the metric log, which must not change."""


class ReleaseKind(StrEnum):
    """An announcement that moves every market."""

    NFP = "nfp"
    """The jobs of the USA."""
    CPI = "cpi"
    """Their inflation."""
    FOMC = "fomc"
    """The Fed's decision on rates."""


class NearRelease(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement, by a calendar."""

    kind: ReleaseKind
    at: Ms
    """When it is."""


class Opinion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value of another metric at the same moment, for a rule that asks it (``Rule.when``)."""

    metric: str
    unit: str
    asked: str
    """What it must be, such as ``<= -1``."""
    value: float | None = None
    """In ``unit``; None: unknown."""
    agrees: bool | None = None
    """None: the value, or what is known of it, decides neither way."""
    lower_bound: bool = False
    """The value may be larger."""


class EpisodeKey(NamedTuple):
    """The name of an episode: its rule, its subject, and when it began."""

    rule: str
    subject: str
    """The asset, or the instrument (``venue/symbol``) where the scope is one."""
    opened_at: Ms

    def __str__(self) -> str:
        """``oi_drop:1h:BTC:1790006400000``: in ids, where it is stored, and after ``/why``."""
        return f"{self.rule}:{self.subject}:{self.opened_at}"

    def turn(self, number: int) -> str:
        """The id of one of its turns."""
        return f"{self}:{number}"

    @classmethod
    def parse(cls, text: str) -> "EpisodeKey | None":
        """The episode of that text or of that turn's id; None if it is neither."""
        head, *last = text.rsplit(":", 2)
        times = [word for word in last if word.isascii() and word.isdigit() and len(word) <= 15]
        if len(last) < 2 or last[-1] not in times:
            return None
        name = head if len(times) == 2 else f"{head}:{last[0]}"
        rule, colon, subject = name.rpartition(":")
        return cls(rule, subject, int(times[0])) if colon else None


class LiveShare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of what could be in a value is in it: "9 of 11 exchanges, 93 %"."""

    live: int
    """Venues whose data is in it."""
    expected: int
    """Venues whose data could be in it."""
    held_pct: float | None = None
    """The share of the open interest, as each venue told it last, that is held at those that are in
    it; None: unknown at one of them, or nobody knows which sides it counts."""


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="alert"):
    """One turn of one episode.

    A composite has metric and unit "composite"; its value is the number of conditions that hold.
    """

    id: str
    """The name of the turn, see ``EpisodeKey``."""
    rule: str
    metric: str
    unit: str
    """That of ``value``, ``threshold`` and ``extreme``."""
    asset: str
    turn: Turn
    level: Level
    """The level now; of a close, the level that the episode had."""
    value: float
    threshold: float
    """That of ``level``."""
    fires: str
    """On which side of the threshold: ``above`` or ``below``."""
    at: Ms
    """The venue's time of the event that caused it."""
    seen: Ms
    """Our clock at that event."""
    opened_at: Ms
    """When the episode began, by our clock of then."""
    extreme: float
    """The worst value of the episode."""
    extreme_at: Ms
    post: bool
    """False: it is recorded and not posted (cool-down, or a rule that never posts)."""
    family: str = ""
    """The rule's name in the configuration, which its windows share."""
    scope: Scope = "asset"
    instrument: str = ""
    """``venue/symbol``; "" unless the scope is an instrument."""
    held: int = 0
    """Openings that the cool-down held back since the last post."""
    price: float | None = None
    """Quote per coin now."""
    price_before: float | None = None
    """At the window's start; of a composite, when its chain began."""
    venues: tuple[str, ...] = ()
    """Those whose data made the value."""
    missing: tuple[str, ...] = ()
    """Venues left out because their feed is down ("ex-Bybit")."""
    coverage: LiveShare | None = None
    """What is left without them; None: none is missing."""
    facts: Facts | None = None
    records: tuple[Record, ...] = ()
    """What is remarkable about the value, at open and up."""
    hidden_by: str = ""
    """The composite that shows it instead, so that it is not posted; "": none."""
    opinions: tuple[Opinion, ...] = ()
    """The values of the metrics that the rule asks besides its own."""
    alone: Level | None = None
    """The level that the value alone has reached, where other metrics kept the level lower."""
    release: NearRelease | None = None
    """The announcement within an hour of which the episode began, or it is told; None: no calendar
    has one."""
    began: Ms | None = None
    """``opened_at`` by the clock of ``seen``; None: that clock has not stepped since."""
    ahead: Ms = 0
    """How far the venues' clocks are ahead of that of ``seen``; 0: both may be right."""
    cause: Cause | None = None
    """Of open interest, price and composites; None: unknown."""
    liquidated: Liquidated | None = None
    """Of an end, since the window of its beginning began; None: unknown."""

    @property
    def episode(self) -> EpisodeKey:
        """The episode that it is a turn of."""
        return EpisodeKey(self.rule, self.instrument or self.asset, self.opened_at)

    @property
    def age(self) -> Ms:
        """How long the episode had gone on, whatever steps the clock made; negative if it began
        before the clock was set back by nobody knows how much."""
        return self.seen - (self.opened_at if self.began is None else self.began)


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="notice"):
    """Feeds of a venue went silent or are back, or a fault: for operators, never a market alert."""

    id: str
    venue: str
    """"" with no ``kinds`` and no ``fault``: it is about the ticks, without which the rules have no
    clock."""
    kinds: tuple[Kind, ...]
    """The kinds of feeds; of a fault, none."""
    up: bool
    """The feeds are back, or the fault is over."""
    since: Ms
    """When they went silent, or the fault began; also where ``up``."""
    seen: Ms
    """Our clock."""
    reason: str = ""
    """Why, in words; "": unknown."""
    fault: FaultCode | None = None
    """None: the notice is about feeds."""
    subjects: tuple[str, ...] = ()
    """The symbols or assets that a fault concerns; of feeds, the symbols that are silent or back
    while others are not: (): all of the venue."""
    open_episodes: int = 0
    """That ticks are back: how many episodes were open all the while."""


AlertOrNotice = Alert | Notice
"""What the rules put on the stream of alerts."""

_decoder = msgspec.json.Decoder(AlertOrNotice)
_encoder = msgspec.json.Encoder()


def encode(turn: AlertOrNotice) -> bytes:
    """``turn`` as JSON, with a ``type`` field that names its class."""
    return _encoder.encode(turn)


def decode(data: bytes) -> AlertOrNotice:
    """The alert or notice in ``data``. Raises msgspec.MsgspecError if it is neither."""
    return _decoder.decode(data)
