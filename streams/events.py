"""The vocabulary of facts: what a venue said, one fact each, in one set of units.

Invariants of every event:
- times are integer milliseconds since the epoch, UTC; ``at`` is the venue's time, ``seen`` is the
  moment we received the frame, and ``seen`` is the only clock of the rules;
- prices are in quote currency (taken as USD) for **one** coin and sizes are in single coins:
  ``1000PEPEUSDT`` at 0.0123 is published as PEPE at 0.0000123;
- open interest counts one side;
- a fact the venue did not send is an event that is not emitted: there is no zero for "unknown".

An event names its market by ``venue``, ``symbol`` (the venue's own name of the contract) and
``asset`` (the coin, ``BTC``), so that every entry in Redis can be read alone.
"""

from enum import StrEnum

import msgspec

from streams.text import printable

Ms = int
"""Milliseconds since the epoch, UTC."""

BANDS_BP = (10, 25, 50, 100)
"""Half-widths of the depth bands around mid, in basis points. Bands are nested, not rings."""


class Position(StrEnum):
    """The position that was closed by force: never the side of an order."""

    LONG = "long"
    SHORT = "short"


class Kind(StrEnum):
    """What a feed carries. One word for each kind of event that a venue can give."""

    FUNDING = "funding"
    OPEN_INTEREST = "open_interest"
    LIQUIDATION = "liquidation"
    DEPTH = "depth"
    PRICE = "price"
    VOLUME = "volume"


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual contract, as the venue lists it.

    ``multiplier`` is how many coins one unit of the venue's size is (1000PEPEUSDT: 1000); adapters
    multiply sizes and divide prices by it, so nothing behind them needs it. ``funding_hours`` is
    the funding interval that the listing says, None while unknown; ``funding_cap`` the largest rate
    either way as a fraction per interval, None where it does not say. ``open_interest_usd`` and
    ``volume_24h_usd`` are what the listing said when it was read, None where it does not say:
    they only rank instruments. ``ends_at``: when the venue delivers or delists the contract, 0 if
    it is doing so now, None while no end is announced.
    """

    venue: str
    symbol: str
    asset: str
    quote: str
    multiplier: float = 1.0
    funding_hours: float | None = None
    funding_cap: float | None = None
    open_interest_usd: float | None = None
    volume_24h_usd: float | None = None
    ends_at: Ms | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all market events share. ``at``: venue's time; ``seen``: our receive time (Ms)."""

    venue: str
    symbol: str
    asset: str
    at: Ms
    seen: Ms


class Funding(Event, frozen=True, kw_only=True, tag="funding"):
    """A funding rate as a fraction per interval of ``hours`` (0.0001 = 0.01 %).

    ``settled`` False: the running estimate that will be charged at ``next_at``.
    ``settled`` True: the rate charged at ``at``; ``next_at`` is None.
    """

    rate: float
    hours: float
    settled: bool
    next_at: Ms | None = None


class OpenInterest(Event, frozen=True, kw_only=True, tag="open_interest"):
    """Open interest, one side: ``base`` in coins, ``usd`` at the venue's mark price of then.

    ``usd`` is None where the venue sends coins alone and no mark price stands beside them.
    """

    base: float
    usd: float | None = None


class Liquidation(Event, frozen=True, kw_only=True, tag="liquidation"):
    """One liquidation order as reported: ``base`` coins at ``price``, ``usd`` notional.

    Feeds leave orders out (Binance: at most one a symbol and second), so sums are lower bounds.
    """

    position: Position
    price: float
    base: float
    usd: float


class Band(msgspec.Struct, frozen=True, array_like=True):
    """Resting notional in USD from mid to ``bp`` basis points away, on each side.

    ``covered`` False: the book is not known out to the band's edge, so both sums are lower bounds.
    """

    bp: int
    bid_usd: float
    ask_usd: float
    covered: bool


class Depth(Event, frozen=True, kw_only=True, tag="depth"):
    """The order book at one moment. Emitted only for books in sequence, uncrossed and two-sided.

    ``mid`` = (best bid + best ask) / 2. ``spread_bp`` is None where the venue aggregates price
    levels, since best bid and ask are then bucket edges.
    """

    mid: float
    spread_bp: float | None
    bands: tuple[Band, ...]


class Price(Event, frozen=True, kw_only=True, tag="price"):
    """Mark price and index (oracle) price, quote per coin: both, or what is known of them.

    One that the venue left out because it has not changed is filled in before it is published.
    """

    mark: float | None = None
    index: float | None = None


class Volume(Event, frozen=True, kw_only=True, tag="volume"):
    """Traded notional of the last 24 hours in USD.

    No metric reads it yet: it is what the share of spot in all turnover will be made of.
    """

    usd_24h: float


class FeedState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="feed"):
    """A feed came up or went down. A gap is data: a hole is never evidence of anything.

    ``symbol`` "*" means every instrument of the venue. ``reason`` says in words why it is down.
    A kind is up for an instrument when the latest FeedState that names it (or "*") says so.
    """

    venue: str
    symbol: str
    kind: Kind
    seen: Ms
    up: bool
    reason: str = ""


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag="tick"):
    """One second has passed. The rules have no other clock."""

    seen: Ms


class ClockStep(msgspec.Struct, frozen=True, kw_only=True, tag="clock_step"):
    """The clock that stamps ``seen`` stepped by ``by`` here, negative: back.

    ``seen`` is what it says now; without the step it would say ``seen - by``. Between this and the
    event before no more time has passed than that.
    """

    seen: Ms
    by: Ms


class FaultCode(StrEnum):
    """What is wrong with our view of the market, or with this machine: never a market event.

    ``contract_missing``: a watched contract is not in the venue's listing. ``contract_settling``:
    the venue delivers or delists it, so its positions end without anybody deleveraging.
    ``asset_not_listed``: a named asset that no venue lists. ``names_refused``: the listing holds
    names that are not fit to be shown. ``rows_unreadable``: rows, of the listing or of what brings
    many contracts at once, that cannot be read and are left out. ``listing_empty``: the venue lists
    nothing that is wanted. ``venue_unreached``: the venue has not been reached since the start.
    ``venue_lost``: of a venue nothing has been heard for minutes. ``venue_failed``: listening
    to it ended in an error of ours. ``ticker_shared``: coins that differ go by one ticker.
    ``clock_set_back``, ``clock_set_ahead``: this machine's clock went back, or ahead.
    ``clock_hole``: it went back while nobody could measure by how much. ``clock_skewed``: it
    differs from the venues' clocks. ``venue_clock_skewed``: a venue's differs from the others'.
    ``state_lost``: what a role had saved could not be taken over in full.
    ``redis_unsafe``: the server may lose what was saved.
    """

    CONTRACT_MISSING = "contract_missing"
    CONTRACT_SETTLING = "contract_settling"
    ASSET_NOT_LISTED = "asset_not_listed"
    NAMES_REFUSED = "names_refused"
    ROWS_UNREADABLE = "rows_unreadable"
    LISTING_EMPTY = "listing_empty"
    VENUE_UNREACHED = "venue_unreached"
    VENUE_FAILED = "venue_failed"
    VENUE_LOST = "venue_lost"
    TICKER_SHARED = "ticker_shared"
    CLOCK_SET_BACK = "clock_set_back"
    CLOCK_SET_AHEAD = "clock_set_ahead"
    CLOCK_HOLE = "clock_hole"
    CLOCK_SKEWED = "clock_skewed"
    VENUE_CLOCK_SKEWED = "venue_clock_skewed"
    STATE_LOST = "state_lost"
    REDIS_UNSAFE = "redis_unsafe"


MOMENTARY = frozenset(
    {
        FaultCode.CLOCK_SET_BACK,
        FaultCode.CLOCK_SET_AHEAD,
        FaultCode.CLOCK_HOLE,
        FaultCode.STATE_LOST,
        FaultCode.REDIS_UNSAFE,
    }
)
"""Faults that are over as they happen: each one is told, and none of them ends."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fault"):
    """Something that operators should know, and that says nothing about the market.

    ``venue`` "" where it concerns none in particular. ``subject``: the one symbol or asset that it
    is about, "" if none. ``over``: it was so, and no longer is; saying that of what never was does
    no harm. ``detail``: why, in words. A fault is the same while code, venue and subject are, and
    may be said any number of times. Made by ``fault``, which keeps foreign text harmless.
    """

    code: FaultCode
    seen: Ms
    venue: str = ""
    subject: str = ""
    over: bool = False
    detail: str = ""


def fault(
    code: FaultCode,
    seen: Ms,
    *,
    venue: str = "",
    subject: str = "",
    over: bool = False,
    detail: str = "",
) -> Fault:
    """A Fault whose texts are short and printable, whatever a venue put into them."""
    return Fault(
        code=code,
        seen=seen,
        venue=venue,
        subject=printable(subject, 40),
        over=over,
        detail=printable(detail, 160),
    )


def clock_stepped(seen: Ms, by: Ms, *, hole: bool = False) -> Fault:
    """The clock that stamps events stepped by ``by``, to ``seen``. ``hole``: nobody measured it."""
    code = FaultCode.CLOCK_SET_BACK if by < 0 else FaultCode.CLOCK_SET_AHEAD
    return fault(
        FaultCode.CLOCK_HOLE if hole else code, seen, detail=f"by {length_in_words(abs(by))}"
    )


def length_in_words(length: Ms) -> str:
    """``10 s``, ``3 h 20 min``."""
    seconds = round(length / 1000)
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = [f"{hours:,} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0)
    return f"{seconds} s" if seconds < 120 else " ".join(parts)


MarketEvent = Funding | OpenInterest | Liquidation | Depth | Price | Volume
AnyEvent = MarketEvent | FeedState | Fault | ClockStep | Tick

_decoder = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


def encode(event: AnyEvent) -> bytes:
    """The event as JSON, with a ``type`` field that names it. Never fails on finite numbers."""
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event behind ``data``. Raises msgspec.MsgspecError if it is not one."""
    return _decoder.decode(data)


def kind_of(event: MarketEvent) -> Kind:
    """The kind of feed that ``event`` came from."""
    return _KINDS[type(event)]


_KINDS: dict[type[MarketEvent], Kind] = {
    Funding: Kind.FUNDING,
    OpenInterest: Kind.OPEN_INTEREST,
    Liquidation: Kind.LIQUIDATION,
    Depth: Kind.DEPTH,
    Price: Kind.PRICE,
    Volume: Kind.VOLUME,
}
