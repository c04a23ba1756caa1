"""The events: each is one fact that a venue sent, or all facts of a source, in one set of units.

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

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streams.text import printable

Ms = int
"""Milliseconds since the epoch, UTC."""

BANDS_BP = (10, 25, 50, 100)
"""Half-widths of the depth bands around mid, in basis points. Bands are nested, not rings."""


def exchange_of(venue: str) -> str:
    """Whose venue it is: the exchange has the name that its other venues begin with.

    ``binance`` and ``binance-coinm`` are Binance's: what both say only Binance says.
    """
    return venue.partition("-")[0]


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


SPOT_KINDS = frozenset({Kind.DEPTH, Kind.PRICE, Kind.VOLUME})
"""What a market of the coins themselves can have. The other kinds are of contracts alone."""


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual contract, or one pair of a spot market, as the venue lists it."""

    venue: str
    symbol: str
    """The venue's own name of the contract."""
    asset: str
    """The coin, such as ``BTC``."""
    quote: str
    index_in: str | None = None
    """The currency of its index price, where that is not known to be ``quote``; "": unknown."""
    multiplier: float = 1.0
    """How many coins one unit of the venue's size is (1000PEPEUSDT: 1000). Adapters multiply sizes
    and divide prices by it, so nothing behind them needs it."""
    contract_size: float = 1.0
    """How many such units one contract is, where the venue counts sizes in contracts and quotes
    prices per unit. Adapters multiply sizes by it and leave prices alone. Of an inverse contract
    USD, which adapters divide by the price."""
    inverse: bool = False
    """Margined in its coin: a contract is ``contract_size`` USD, and fewer coins the higher the
    price is."""
    funding_hours: float | None = None
    """The funding interval of the listing; None: unknown."""
    funding_assumed: bool = False
    """No listing has it, because the row cannot be read: only what the venue shows confirms it."""
    funding_cap: float | None = None
    """The largest rate either way, a fraction per interval; None: the listing does not have it."""
    open_interest_usd: float | None = None
    """When the listing was read; it only ranks instruments. None: the listing does not have it."""
    volume_24h_usd: float | None = None
    """The same of the traded notional."""
    macro: bool = False
    """``asset`` is no coin but something else that people trade, such as gold or the S&P 500: only
    its price is of interest, and it is no part of anything that is said of crypto."""
    spot: bool = False
    """The coins themselves are traded, against ``quote``: it is no contract."""
    ends_at: Ms | None = None
    """When the venue delivers or delists the contract: 0 if it is doing so now, None while no end
    is announced."""

    @property
    def priced_in(self) -> str:
        """The currency of its index price, or of its trades; "": unknown."""
        return self.quote if self.index_in is None else self.index_in


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all market events share."""

    venue: str
    symbol: str
    asset: str
    at: Ms
    """The venue's time."""
    seen: Ms
    """Our time of receipt."""
    spot: bool = False
    """It is of a spot market, and no part of anything that is said of perpetuals."""


class Funding(Event, frozen=True, kw_only=True, tag="funding"):
    """A funding rate."""

    rate: float
    """A fraction per interval (0.0001 = 0.01 %); positive: longs pay."""
    hours: float
    """The interval."""
    settled: bool
    """True: charged at ``at``; False: the running estimate, to be charged at ``next_at``."""
    next_at: Ms | None = None
    """None: unknown, or the rate is settled."""


class OpenInterest(Event, frozen=True, kw_only=True, tag="open_interest"):
    """Open interest, one side, or as the venue counts it where that is not known to be one."""

    base: float
    """Coins."""
    usd: float | None = None
    """At the venue's mark price of then; None: the venue sends coins alone, without a mark price
    beside them. Of an inverse contract what the venue counts, whatever the price."""
    inverse: bool = False
    """The contract is inverse: ``usd`` changes only with positions, ``base`` with the price too. It
    is ``usd`` by the mark price of then; 0 before that is known, and then not published."""
    one_side: bool = True
    """False: whether the venue counts one side or both is not known, so coins and USD are up to
    twice what is open. They may be compared with each other, and not added to those of others."""


class Liquidation(Event, frozen=True, kw_only=True, tag="liquidation"):
    """One liquidation order as reported."""

    position: Position
    price: float
    """Quote per coin."""
    base: float
    """Coins."""
    usd: float
    """Notional."""
    throttled: bool = False
    """The venue reports at most one order a contract and second and leaves the others out, so that
    sums are lower bounds."""
    trade_id: str = ""
    """The venue's own, by which it is known where it comes again; "": the venue sends none."""


class Band(msgspec.Struct, frozen=True, array_like=True):
    """Resting orders within a band around mid, on each side."""

    bp: int
    """The band's half-width, basis points."""
    bid_usd: float
    """Notional from mid to the edge of the band."""
    ask_usd: float
    covered: bool
    """False: the book is not known out to the edge, so both sums are lower bounds."""


class Depth(Event, frozen=True, kw_only=True, tag="depth"):
    """The order book at one moment. Emitted only for books in sequence, uncrossed and two-sided."""

    mid: float
    """(Best bid + best ask) / 2, quote per coin."""
    spread_bp: float | None
    """Between the best prices, basis points; None: the venue aggregates levels, so these are edges
    of buckets."""
    bands: tuple[Band, ...]


class Price(Event, frozen=True, kw_only=True, tag="price"):
    """Mark price and index (oracle) price, quote per coin: both, or what is known of them.

    One that the venue left out because it has not changed is filled in before it is published. A
    spot market has neither: it has the price of its last trade.
    """

    mark: float | None = None
    index: float | None = None
    last: float | None = None
    """Of the last trade. Of spot markets alone."""
    quote: str = ""
    """The currency of the index price, or of the last trade; "": unknown. Filled in in the same
    way."""


class Volume(Event, frozen=True, kw_only=True, tag="volume"):
    """Traded notional of the last 24 hours in USD."""

    usd_24h: float


class MacroPrice(Event, frozen=True, kw_only=True, tag="macro_price"):
    """The price of a perpetual on what is no coin: an index, a metal, a currency, a share.

    An event of its own, so that it never meets the prices of coins, whatever the name.
    """

    mark: float
    """Mark price, quote per unit; of an index its points, of USDJPY yen."""
    day_ago: float | None = None
    """The same 24 h before, by the venue; None: the venue does not say it."""
    usd_24h: float
    """Traded notional of 24 hours: of several contracts on one asset it says which one speaks."""


class PastRate(msgspec.Struct, frozen=True, array_like=True):
    """A settlement of before, as the venue tells it later."""

    at: Ms
    """When it was."""
    rate: float
    """A fraction per ``hours``; positive: longs paid."""
    hours: float
    """The interval that it ended."""


class FundingHistory(Event, frozen=True, kw_only=True, tag="funding_history"):
    """Settlements of before, asked for at the start: they fill what is remembered, and are never
    news. ``at`` is that of the newest.

    A settlement that is not among them is unknown. The same may come any number of times.
    """

    rows: tuple[PastRate, ...]
    """The oldest first, each time once."""


class PastInterest(msgspec.Struct, frozen=True, array_like=True):
    """Open interest of before, counted as ``OpenInterest`` counts it."""

    at: Ms
    """When it was so much."""
    held: float
    """Coins; of an inverse contract USD."""
    price: float | None = None
    """The mark price then, quote per coin; None: the venue does not tell it."""


INTEREST_FITS = 1.1
"""Open interest of before goes on in what is open now if its newest value is at most so many times
it, either way."""

ANOTHER_COUNT = 1.6
"""Where its newest value is so many times what is open now, either way, it is counted otherwise,
as both sides for one, whoever says the same. By less it falls between two rows of a table."""


class InterestHistory(Event, frozen=True, kw_only=True, tag="interest_history"):
    """Open interest of the last day, in the same way. ``at`` is that of the newest."""

    rows: tuple[PastInterest, ...]
    """The oldest first, each time once."""
    live: float | None = None
    """What was open of late as this was asked for, counted alike: what is nearest to the newest row
    of the last hour or two. None: of a role before it was told."""


FITS = 1.05
"""Prices of before go on in the one now if their newest, or what the same table shows as the price
now, is at most so many times it, either way."""

ANOTHER_UNIT = 1.25
"""Where their newest is so many times the price now, either way, they are of another coin or in
another unit, whoever says the same. By less a price moves within a candle, of which the past knows
nothing."""


class PriceHistory(Event, frozen=True, kw_only=True, tag="price_history"):
    """Prices of before, evenly apart, in the same way. ``at`` is the time of the last one."""

    every: Ms
    """From one price to the next."""
    prices: tuple[float | None, ...]
    """The index price in force then, quote per coin, the oldest first; None: unknown."""
    shown: float | None = None
    """What the same table showed as the price now, in the candle that was not over and that goes on
    from the newest one; None: it showed none."""


class Supply(msgspec.Struct, frozen=True, array_like=True, tag="supply"):
    """A coin as a list of coins by market capitalisation has it."""

    asset: str
    rank: int
    """1: the largest."""
    circulating: float
    """Coins."""
    price: float
    """USD per coin, of the list itself."""
    high: float | None = None
    """The highest price of all time, USD; None: the list does not say it."""
    high_at: Ms | None = None
    """When that was."""


class MarketCap(msgspec.Struct, frozen=True, array_like=True, tag="market_cap"):
    """The market capitalisation of all coins, as it is published."""

    usd: float
    change_24h_pct: float | None = None
    """None: it is not said."""


class RateOdds(msgspec.Struct, frozen=True, array_like=True, tag="rate_odds"):
    """What a prediction market says of the next rate decision of the US central bank.

    The three are fractions, and their sum is 1: what the legs of the market add up to is divided
    out.
    """

    meeting_at: Ms
    """When the market closes: on the day of the decision, or in the hours after it."""
    cut: float
    hold: float
    hike: float


class Stablecoin(msgspec.Struct, frozen=True, array_like=True, tag="stablecoin"):
    """A coin that is to be worth a dollar."""

    asset: str
    supply: float
    """Coins."""
    price: float | None = None
    """USD per coin; None: unknown."""
    supply_day_ago: float | None = None
    supply_month_ago: float | None = None


class Release(msgspec.Struct, frozen=True, array_like=True, tag="release"):
    """An announcement that a calendar has, of much weight by its own word."""

    at: Ms
    currency: str
    """Whose economy it is of, such as ``USD``."""
    title: str
    forecast: str = ""
    """As the calendar writes it, with its unit; "": there is none."""
    previous: str = ""
    """The same of the figure before."""


class OwnSeries(msgspec.Struct, frozen=True, array_like=True, tag="series"):
    """A series of the operator's own, a number a day or less often."""

    name: str
    unit: str
    first_at: Ms
    """The beginning of what there is of it."""
    at: Ms
    """Of the newest number."""
    value: float
    low: float
    low_at: Ms
    high: float
    high_at: Ms
    sum_30d: float
    """Of the numbers of the 30 days that end with the newest."""


ContextFact = Supply | MarketCap | RateOdds | Stablecoin | Release | OwnSeries


class ContextFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="context"):
    """All that a source beside the venues says now: it takes the place of what it said before, so
    that what was withdrawn, moved or decided is gone."""

    source: str
    """The name of the source."""
    seen: Ms
    """When it was asked."""
    good_for: Ms
    """How long after ``seen`` it may be taken for what is so now."""
    facts: tuple[ContextFact, ...]


NOT_WATCHED = "no longer watched"
"""Why a feed is down that is not wanted any more: nothing is expected of it."""


class FeedState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="feed"):
    """A feed came up or went down. A gap is data: a hole is never evidence of anything.

    A kind is up for an instrument when the latest FeedState that names it (or "*") has ``up``.
    """

    venue: str
    symbol: str
    """"*": every instrument of the venue."""
    kind: Kind
    seen: Ms
    up: bool
    reason: str = ""
    """Why it is down, in words."""
    asset: str = ""
    """That of ``symbol``; "" where that is "*"."""


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag="tick"):
    """One second has passed. The rules have no other clock."""

    seen: Ms


class ClockStep(msgspec.Struct, frozen=True, kw_only=True, tag="clock_step"):
    """The clock that stamps ``seen`` stepped.

    From the event before to this one no more time has passed than to ``seen - by``.
    """

    seen: Ms
    """The time after the step; without it, it would be ``seen - by``."""
    by: Ms
    """Negative: the clock was set back."""


class FaultCode(StrEnum):
    """What is wrong with our view of the market, or with this machine: never a market event."""

    CONTRACT_MISSING = "contract_missing"
    """A watched contract is not in the venue's listing."""
    CONTRACT_SETTLING = "contract_settling"
    """The venue delivers or delists it, so its positions end without anybody deleveraging."""
    ASSET_NOT_LISTED = "asset_not_listed"
    """A named asset that no venue lists."""
    NAMES_REFUSED = "names_refused"
    """The listing has names that are not fit to be shown."""
    ROWS_UNREADABLE = "rows_unreadable"
    """Rows of the listing, or of a frame about many contracts, are unreadable: what they say is
    unknown."""
    LISTING_EMPTY = "listing_empty"
    """The venue lists nothing that is wanted."""
    VENUE_UNREACHED = "venue_unreached"
    """The venue has not been reached since the start."""
    VENUE_FAILED = "venue_failed"
    """Listening to the venue ended in an error of ours."""
    VENUE_LOST = "venue_lost"
    """Nothing has come from the venue for minutes."""
    TICKER_SHARED = "ticker_shared"
    """Different coins have one ticker."""
    CLOCK_SET_BACK = "clock_set_back"
    """This machine's clock went back."""
    CLOCK_SET_AHEAD = "clock_set_ahead"
    CLOCK_HOLE = "clock_hole"
    """It went back while nobody could measure by how much."""
    CLOCK_SKEWED = "clock_skewed"
    """It differs from the venues' clocks."""
    VENUE_CLOCK_SKEWED = "venue_clock_skewed"
    """A venue's clock differs from those of the others."""
    SOURCE_SILENT = "source_silent"
    """A source beside the venues gives nothing that can be used: only what it says is missing."""
    HISTORY_REFUSED = "history_refused"
    """The venue tells nothing of the past of one kind, which is asked for at the start."""
    HISTORY_APART = "history_apart"
    """What it tells of the past of one kind does not go on in what is live."""
    VENUE_DRIFTS = "venue_drifts"
    """What a venue sends does not check out against the other venues, or against itself."""
    STATE_LOST = "state_lost"
    """The saved state of a role could not be taken over in full."""
    REDIS_UNSAFE = "redis_unsafe"
    """The server may lose what is saved."""


MOMENTARY = frozenset(
    {
        FaultCode.CLOCK_SET_BACK,
        FaultCode.CLOCK_SET_AHEAD,
        FaultCode.CLOCK_HOLE,
        FaultCode.STATE_LOST,
        FaultCode.REDIS_UNSAFE,
    }
)
"""Faults that are over as they happen: each is reported, and none of them ends."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fault"):
    """Something that operators should know, and that is nothing about the market.

    A fault is the same one while code, venue and subject are, and may be sent any number of times.
    Made by ``fault``, which keeps foreign text harmless.
    """

    code: FaultCode
    seen: Ms
    venue: str = ""
    """"": it concerns none in particular."""
    subject: str = ""
    """The symbol or asset that it is about, "" if none."""
    over: bool = False
    """It is over; sending this of a fault that never was does no harm."""
    detail: str = ""
    """Why, in words."""


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


MarketEvent = Funding | OpenInterest | Liquidation | Depth | Price | MacroPrice | Volume
History = FundingHistory | InterestHistory | PriceHistory
"""What venues tell later. It fills what is remembered, and is never news."""

AnyEvent = MarketEvent | History | ContextFacts | FeedState | Fault | ClockStep | Tick

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
    return KINDS[type(event)]


KINDS: Mapping[type[MarketEvent], Kind] = {
    Funding: Kind.FUNDING,
    OpenInterest: Kind.OPEN_INTEREST,
    Liquidation: Kind.LIQUIDATION,
    Depth: Kind.DEPTH,
    Price: Kind.PRICE,
    MacroPrice: Kind.PRICE,
    Volume: Kind.VOLUME,
}
