"""What rules say to bot: alerts with the facts that a message is made of, notices for operators.

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
"""What stands for an asset's name where the scope is the market."""


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
    """Depth within ``band_bp`` of mid now (median of 60 s) and normally.

    ``normal_ms``: how much observed time the normal is made of. ``hour``: the hour of day (UTC)
    that the normal is of, made of that many days; None: it is the median of the last hours.
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
    hour: int | None = None


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


class PriceFacts(msgspec.Struct, frozen=True, kw_only=True, tag="price"):
    """Change of the asset's price over ``window_ms``, both ends from one venue.

    ``before``, ``after``: quote per coin at ``venue``, whose price it is. ``by_venue_pct``: the
    change at every live venue. ``oi_usd``: open interest now, None where unknown.
    """

    window_ms: Ms
    before: float
    after: float
    venue: str
    by_venue_pct: Mapping[str, float]
    oi_usd: float | None = None


class TotalOpenInterestFacts(msgspec.Struct, frozen=True, kw_only=True, tag="total_open_interest"):
    """Net open-interest change of everything over ``window_ms``, same contracts at both ends.

    ``before_usd``: held at the window's start. ``net_usd``: change in coins, each asset at its
    price of the window's start; ``price_usd``: what price alone added, None where unknown.
    ``by_asset_usd``: net change of the assets that moved most. ``live``/``expected``: contracts.
    """

    window_ms: Ms
    before_usd: float
    net_usd: float
    price_usd: float | None
    by_asset_usd: Mapping[str, float]
    live: int
    expected: int


class FundingShareFacts(msgspec.Struct, frozen=True, kw_only=True, tag="funding_share"):
    """How many contracts have negative funding: charged rate, or estimate before the first charge.

    ``live``/``expected``: contracts whose rate is known, out of those that have funding.
    ``lowest_pct_8h``: the assets with the lowest rates, % per 8 h, each by its lowest contract.
    """

    negative: int
    live: int
    expected: int
    lowest_pct_8h: Mapping[str, float]


class PriceShareFacts(msgspec.Struct, frozen=True, kw_only=True, tag="price_share"):
    """How many assets fell within ``window_ms`` by at least what is stated for each.

    ``live``/``expected``: assets whose change is known, out of those that count. While not all are
    known, ``fallen`` is a lower bound. ``by_asset_pct``: the changes of those that fell most.
    ``least_fall_pct``: asset → how far it must fall to count, %, without a sign.
    """

    window_ms: Ms
    fallen: int
    live: int
    expected: int
    by_asset_pct: Mapping[str, float]
    least_fall_pct: Mapping[str, float]


PartFacts = (
    FundingFacts
    | OpenInterestFacts
    | DepthFacts
    | LiquidationFacts
    | PriceFacts
    | TotalOpenInterestFacts
    | FundingShareFacts
    | PriceShareFacts
)
"""The facts of a rule with a metric."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a composite that came true: ``level`` was reached at ``at`` with ``value``.

    ``extreme``: the worst value since, at ``extreme_at``; ``extreme_longs``: where it is a sum over
    both sides, the part that was longs, None: unknown. ``opened_at``: with ``rule`` and the asset
    it names the episode. ``facts``: those of now, None if they cannot be said now.
    """

    at: Ms
    family: str
    rule: str
    metric: str
    unit: str
    level: Level
    value: float
    extreme: float
    opened_at: Ms
    facts: PartFacts | None = None
    extreme_longs: float | None = None
    extreme_at: Ms | None = None


class CascadeFacts(msgspec.Struct, frozen=True, kw_only=True, tag="cascade"):
    """Several conditions within ``within_ms``, ``chain`` in the order in which they came true.

    ``needed`` of them make a cascade. ``no_data``: families that could not be judged. ``earlier``:
    how many there were before in the record that began at ``record_from``, the last at ``last_at``.
    ``also``: what it hides and is no condition of it, each family by its worst window.
    """

    within_ms: Ms
    needed: int
    chain: tuple[Link, ...]
    no_data: tuple[str, ...]
    earlier: int
    record_from: Ms
    last_at: Ms | None = None
    also: tuple[Link, ...] = ()


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
    """Something not seen since ``since``, as far as was observed.

    ``since`` None: never in the record that began at ``record_from``; that is no "all-time".
    ``run``: settlements in the present run, for ``first`` and ``longest``.
    """

    kind: RecordKind
    since: Ms | None
    record_from: Ms
    run: int | None = None


class Cause(StrEnum):
    """What is happening, from the signs of price and net open interest (``rules.cause``)."""

    UNCLEAR = "unclear"
    LONG_UNWINDING = "long unwinding"
    SHORT_COVERING = "short covering"
    NEW_SHORTS = "new shorts"
    NEW_LONGS = "new longs"


CAUSES = tuple(Cause)
"""In the order in which they are numbered in the metric log, which must not change."""


class Opinion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What another metric said at the same moment, for a rule that asks it (``Rule.when``).

    ``value``: in ``unit``, None: it cannot be said. ``asked``: what it is asked for, ``<= -1``.
    ``agrees`` None: the value, or what is known of it, says neither yes nor no. ``lower_bound``:
    there may be more.
    """

    metric: str
    unit: str
    asked: str
    value: float | None = None
    agrees: bool | None = None
    lower_bound: bool = False


class EpisodeKey(NamedTuple):
    """What an episode is called for ever: its rule, what it is about, and when it began."""

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


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="alert"):
    """One turn of one episode.

    ``id`` names the turn for ever, see ``EpisodeKey``. ``family``: the rule's name in
    the configuration, which its windows share.
    ``seen`` is the clock of the event that caused it, ``at`` the venue's time of that event.
    ``value`` is in ``unit`` (the metric's). ``level`` is the level now (for a close: the level it
    had). ``threshold`` is that level's. ``post`` False: recorded, not to be posted (cool-down).
    ``hidden_by``: the composite that tells of it instead; not to be posted either. ``held``:
    openings that the cool-down swallowed since the last post. ``extreme``: the worst value of the
    episode, reached at ``extreme_at``. ``missing``: venues left out because their feed is down
    ("ex-Bybit"). ``price``: quote per coin now; ``price_before``: at the window's start (of a
    composite: when its chain began). ``records``: what is remarkable about the value, at open and
    up. ``opinions``: what the metrics say that the rule asks besides its own. ``alone``: the level
    that the value alone has reached, if it is told at a lower one because they do not agree.
    ``cause``: of open interest, price and composites, None: unknown.
    ``opened_at`` is by the clock of then; ``began``: the same by the clock of ``seen``, None
    where that has not stepped since. ``ahead``: how far the venues' clocks are ahead of that of
    ``seen``, 0 where both may be right.

    A composite has metric and unit "composite"; its value is the number of conditions that hold.
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
    family: str = ""
    scope: Scope = "asset"
    instrument: str = ""
    held: int = 0
    price: float | None = None
    price_before: float | None = None
    venues: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    facts: Facts | None = None
    records: tuple[Record, ...] = ()
    hidden_by: str = ""
    opinions: tuple[Opinion, ...] = ()
    alone: Level | None = None
    began: Ms | None = None
    ahead: Ms = 0
    cause: Cause | None = None

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
    """Feeds of a venue went silent or are back, or a fault: for operators, never a market alert.

    ``kinds``: which feeds; with ``venue`` empty and no kinds it is about the ticks, without which
    the rules have no clock. ``since``: when they went silent, for ``up`` too. ``seen``: the clock.
    With ``fault`` it is about that instead of feeds: ``subjects`` are the symbols or assets it
    concerns, ``up`` says that it is over, ``reason`` why it was so.
    """

    id: str
    venue: str
    kinds: tuple[Kind, ...]
    up: bool
    since: Ms
    seen: Ms
    reason: str = ""
    fault: FaultCode | None = None
    subjects: tuple[str, ...] = ()


Said = Alert | Notice
"""What the rules put on the stream of alerts."""

_decoder = msgspec.json.Decoder(Said)
_encoder = msgspec.json.Encoder()


def encode(turn: Said) -> bytes:
    """What was said as JSON, with a ``type`` field that names it."""
    return _encoder.encode(turn)


def decode(data: bytes) -> Said:
    """What is behind ``data``. Raises msgspec.MsgspecError if it is neither alert nor notice."""
    return _decoder.decode(data)
