"""The contract of an adapter: what a module in ``streams/venues`` must offer.

An adapter is a table (``SPEC``) and pure functions. It knows how its venue writes things down and
nothing else: no sockets, no clocks, no state between calls. The same frame always decodes to the
same answer. Everything that differs between venues is a value described here, so that neither the
session nor the client names a venue.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import msgspec

from streams.contracts import Contracts, Rows, Terms
from streams.durations import MINUTE
from streams.events import Instrument, Kind, MarketEvent, Ms


class Malformed(ValueError):
    """A frame or body that does not follow the venue's protocol. Dropped and counted."""


UNREADABLE = (ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError)
"""What to expect of an adapter that is given rubbish: Malformed and UnicodeError are ValueErrors,
and so is a number of more digits than Python reads; OverflowError and ZeroDivisionError are
ArithmeticErrors."""


class Sides(msgspec.Struct, frozen=True):
    """How a venue counts open interest, and who says so."""

    counted: Literal[1, 2] | None
    """1: a long and its short are one position; 2: they are two; None: nobody knows which."""
    source: str
    """Where that is from."""

    def one_side(self, counted: float | None) -> float | None:
        """One side of what the venue counts, None if it is not known how much of it that is."""
        return None if counted is None or self.counted is None else counted / self.counted


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue is and allows. Every number comes from its documentation or a measurement."""

    name: str
    title: str
    """Its name for people."""
    spot: bool = False
    """The coins themselves are traded there: its instruments are pairs, and it has ``SPOT_KINDS``
    at most."""
    websocket: str
    """Base URL."""
    rest: str
    """Base URL."""
    kinds: frozenset[Kind]
    """What its public feeds bring; a missing kind is *not available* there, which is not zero."""
    open_interest: Sides
    """How it counts open interest in the units and USD that the adapter hands over."""
    weight_per_minute: int | None = None
    """The REST budget; None: the venue has no weights, and each request counts 1 against
    ``requests_per_second``."""
    requests_per_second: float = 10.0
    ping: bytes | None = None
    """The text to send every ``ping_s`` seconds; None: protocol pings only."""
    ping_s: float = 20.0
    answers_pings: bool = True
    """The pings of the websocket protocol are answered. False: only ``ping`` is, so a socket on
    which nothing comes, not even that answer, is dead."""
    repeats_liquidations: bool = False
    """A connection may begin with liquidations of before it."""
    throttles_liquidations: bool = False
    """At most one liquidation order a contract and second is reported."""
    all_liquidations: bool | None = None
    """False: some are left out; True: its documentation says that none is; None: nobody says."""
    funding_hours: float | None = None
    """The interval of all its contracts, always; None: each contract says its own."""
    book: str
    """How far its books reach, in words: of how many levels a side they are at most."""
    connects_per_second: float = 4.0
    """How many sockets may be opened a second, over all subscriptions and reconnects."""
    messages_per_hour: int | None = None
    """How many messages one connection may be sent within an hour, pings left out; None: no limit
    known. A connection that has had as many is closed and opened anew."""
    socket_life_s: float | None = None
    """The venue closes sockets of this age, so a replacement is up before; None: no limit known."""
    sends_per_second: float = 5.0
    """How many messages a second may be written to a socket."""
    tells_settlements: bool = True
    """It says what funding was charged, and not only what will be."""
    rows: Rows = "whole"
    """See ``streams.contracts.Rows``."""
    no_second_source: Mapping[str, str] = {}
    """A kind, or ``funding_interval`` → why the venue does not say it by a second way (``checks``).
    """


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request below the venue's REST base URL."""

    path: str
    body: bytes | None = None
    """None: GET, else POST of this JSON."""
    weight: int = 1
    """What it counts against the venue's budget."""
    symbol: str = ""
    """The instrument that it is about, "" if all."""
    needed: bool = True
    """Of a listing: without its answer there is none. Else b"" stands for an answer that did not
    come."""


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """A repeated request, whose answer ``Venue.decode_poll`` reads."""

    request: Request
    """In path and body the text ``{now}`` stands for the time of the request, in Ms, and
    ``{hour_ago}`` for the time one hour before it."""
    kind: Kind
    """What the answer brings."""
    every_s: float
    offset_s: float = 0.0
    """It is sent so long after each multiple of ``every_s`` (UTC)."""
    at_start: bool = True
    """It is sent once at the start as well."""


class HistoryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue still tells of the past of one contract, asked for once, page by page.

    In path and body of ``request`` these stand for what differs from page to page: ``{since}``
    alone: the answer begins there, so the next page begins behind its newest row; ``{until}``
    alone: it ends there, so the next page ends before its oldest row; both: pieces of ``piece_ms``,
    the newest first; ``{page}``: the number of the page, from 1. Without any there is one page.
    ``{since_s}`` and ``{until_s}`` are the same in seconds, rounded down.
    """

    request: Request
    kind: Kind
    rows: int
    """An answer has at most so many; one with fewer is the last."""
    every_s: float
    """Between two such requests, over all contracts: it keeps to the limit of that path alone."""
    piece_ms: Ms = 0
    """See above."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """One socket: where to connect, what to send once it is open, and what it should bring."""

    name: str
    path: str
    """Appended to the venue's websocket base URL."""
    messages: tuple[bytes, ...]
    """Sent once it is open."""
    kinds: frozenset[Kind]
    symbols: tuple[str, ...]
    """(): every instrument of the venue."""
    silence_s: Mapping[Kind, float]
    """Kind → the longest time without data that is not suspicious. A kind for which silence is
    normal (liquidations) is left out, and judged by the others on the same socket."""


Running = Mapping[str, Sequence[str]]
"""The name of a socket that is kept → the symbols that it brings."""

NOTHING: Running = MappingProxyType({})

BEGINS = 0
"""The id before the first one of a book."""

UNNUMBERED = -1
"""As ``last`` and ``previous``: the venue does not number the changes of a book, so each continues
the one before. A lost one shows otherwise (``Place``, ``Checksum``)."""

NO_INTEREST = Sides(None, "not available: the coins themselves are traded")
"""Of a spot market."""


class Checksum(msgspec.Struct, frozen=True, kw_only=True):
    """CRC32 of the ten best asks, then of the ten best bids, the best first: each price and size as
    the venue writes it, without its point and the zeros in front."""

    value: int
    price_decimals: int
    """How many digits there are behind the point of each price."""
    size_decimals: int


class BookUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot or a change of one order book; prices and sizes per single coin, sizes absolute.

    For venues without ids ``first``, ``last`` and ``previous`` are 0, and every update is a
    snapshot.
    """

    symbol: str
    at: Ms
    """The venue's time. 0: an answer to ``Venue.resync`` that has none."""
    snapshot: bool
    bids: Sequence[tuple[float, float]]
    """(price, size); size 0 removes the level."""
    asks: Sequence[tuple[float, float]]
    first: int = 0
    """The first id of the changes that it spans."""
    last: int = 0
    """The last of these ids."""
    previous: int | None = None
    """The id that it continues from; None: the venue does not send it, then ``first`` must follow
    the ``last`` of the update before, or be no later than that. BEGINS: it continues from none, so
    what was known is void."""
    reach: int = 0
    """Of a snapshot: how many levels a side the venue sent at most; 0: the whole book. A side with
    fewer levels is the whole side."""
    rolling: bool = False
    """The venue sends changes of the best ``reach`` levels only, so coverage always ends at the
    worst level present. Else it sends changes beyond the snapshot as well, and what the snapshot
    covered stays covered."""
    step: float = 0.0
    """Width of the venue's price buckets, quote per coin; 0: levels are exact."""
    checksum: Checksum | None = None
    """What the book is with this update; None: the venue does not say it."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's answer to a message of ours: no fact about the market."""

    ok: bool
    """False: something that we asked for was refused."""
    text: str = ""
    symbols: tuple[str, ...] = ()
    """Those that the answer names; empty: it names none."""
    relist: bool = False
    """The listing that we decode with is out of date."""
    opens: Kind | None = None
    """The feed that is subscribed from now on, of a kind for which silence is normal: of
    ``symbols``, or of all where the socket brings all."""
    answer: str = ""
    """What the venue wants to be told at once: it has asked whether we are there."""
    closing: bool = False
    """The venue is about to close this connection: another is to be open by then."""


class ListedContracts(NamedTuple):
    """What a venue's listing says."""

    instruments: list[Instrument]
    """The perpetuals, or pairs of a spot market, that trade or end."""
    order: tuple[str, ...] = ()
    """All symbols in the venue's own order, "" for one that cannot be read; () if none matters."""
    unreadable: tuple[str, ...] = ()
    """Rows that cannot be read, by their names as far as there are any; each costs itself alone."""
    unknown: tuple[str, ...] = ()
    """Contracts that trade and are left out, since the adapter does not know on what they are."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The number of a frame among all frames of its connection, whatever they are about.

    One that does not follow the one before shows that a frame was lost, and nobody knows of what.
    """

    number: int


class ChannelNumber(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue calls by a number on this connection from now on (``Listing.channels``)."""

    number: int
    name: str
    """The adapter's own word for it; "": nothing any more."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a frame or an answer that cannot be read, each of which costs its contract alone."""

    rows: tuple[str, ...]
    """By the names of their contracts, or how a row begins that names none."""


class Mid(msgspec.Struct, frozen=True, kw_only=True):
    """The mid of a book by its best prices alone, from a frame that names its contract.

    What is joined to a contract by its place is checked against it; it is no fact by itself.
    """

    symbol: str
    price: float
    """Quote per coin."""


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    """The index price of one contract within ``CANDLE`` ms; it may not be over yet."""

    symbol: str
    at: Ms
    """When it begins."""
    open: float
    """The first price within it, quote per coin."""
    close: float
    """The last one."""


CANDLE: Ms = 5 * MINUTE

Decoded = (
    MarketEvent | BookUpdate | Reply | Terms | Unreadable | Mid | Place | Candle | ChannelNumber
)

Channels = Mapping[int, str]
"""The number of a channel of one connection → its name."""

NO_CHANNELS: Channels = MappingProxyType({})

_MOST_CHANNELS = 1_000


def take_channel(channels: dict[int, str], channel: ChannelNumber) -> None:
    """Note what a number stands for; of more than a thousand no more."""
    if not channel.name:
        channels.pop(channel.number, None)
    elif len(channels) < _MOST_CHANNELS:
        channels[channel.number] = channel.name


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What the session knows of a venue while it decodes."""

    instruments: Mapping[str, Instrument]
    """By the venue's symbol, only those that are wanted."""
    order: tuple[str, ...] = ()
    """Symbols in the venue's own order, wanted or not, for feeds that name nothing (Hyperliquid).
    """
    channels: Channels = NO_CHANNELS
    """What the numbers in the frames of this connection stand for (Bitfinex)."""
    contracts: Contracts = msgspec.field(default_factory=Contracts)
    """What other frames have brought about the contracts since; ``decode`` does not read it."""


def facts(decoded: Iterable[Decoded], contracts: Contracts) -> tuple[list[MarketEvent], str]:
    """The events in ``decoded``, completed by what is known of the contracts.

    The text says why the listing must be out of date, "" if nothing shows that.
    """
    events: list[MarketEvent] = []
    doubts = ""
    for item in decoded:
        if isinstance(item, Terms):
            contracts.take(item)
        elif not isinstance(
            item, BookUpdate | Reply | Unreadable | Mid | Place | Candle | ChannelNumber
        ):
            event, doubt = contracts.complete(item)
            doubts = doubts or doubt
            if event is not None:
                events.append(event)
    return events, doubts


class Venue(Protocol):
    """An adapter. Functions raise Malformed (or msgspec.MsgspecError) on what they can't read."""

    SPEC: Spec

    def listing_requests(self) -> list[Request]:
        """What to ask so that ``instruments`` can answer; asked again every hour."""
        ...

    def instruments(self, bodies: Sequence[bytes]) -> ListedContracts:
        """All perpetuals now trading, and what of the listing cannot be read.

        ``bodies`` are the answers to ``listing_requests``, in that order. Malformed where more than
        half the rows of a list cannot be read.
        """
        ...

    def next_listing_request(self, request: Request, body: bytes) -> Request | None:
        """The next page of a paged listing answer, None if this was the last one."""
        ...

    def subscriptions(
        self, instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
    ) -> list[Subscription]:
        """The sockets for these instruments (largest first), each within the venue's limits.

        ``running``: how they are divided now. Who is brought by a socket stays there.
        """
        ...

    def polls(self, instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
        """What must be asked for repeatedly because no socket brings it."""
        ...

    def decode(self, frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
        """A websocket frame as facts. Knowingly ignored frames give [].

        Of a frame that brings many contracts a row that cannot be read costs its contract alone,
        and is in Unreadable; Malformed where that is more than half of the rows.
        """
        ...

    def decode_poll(self, poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
        """The answer to a poll as facts; rows that cannot be read as in ``decode``."""
        ...

    def histories(self, instruments: Sequence[Instrument]) -> list[HistoryRequest]:
        """What of the past the venue still tells, contract by contract, in the order of
        ``instruments``; [] where it tells nothing."""
        ...

    def decode_history(
        self, history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        """One page of a history, as facts that ``decode_poll`` brings, or Candles, in any order.

        The ``hours`` of settlements are those of the listing: their intervals are told by the rows
        beside them (``streams.contracts.past_rates``). Rows that cannot be read as in ``decode``.
        """
        ...

    def checks(self, instruments: Sequence[Instrument]) -> list[Request]:
        """What the venue says by a second way, beside the one that is listened to or polled.

        Numbers of all contracts come with one request where there is such a one; what has to be
        asked contract by contract is asked of ``instruments`` alone. What of its kinds the venue
        does not say so is in ``Spec.no_second_source``.
        """
        ...

    def decode_check(
        self, request: Request, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        """The answer to one of ``checks`` as the facts that ``decode`` and ``decode_poll`` bring.

        A book is a snapshot, or a Mid where only its best prices are said. ``at`` of a fact without
        a time of the venue is ``seen``.
        """
        ...

    def resync(
        self, symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
    ) -> Request | tuple[bytes, ...]:
        """How to get a fresh book of one symbol: a REST request, or messages to send.

        ``subscription`` is the socket that the book is on: it says which topic was asked for;
        ``channels``: those of its connection.
        """
        ...

    def decode_snapshot(self, symbol: str, body: bytes, listing: Listing) -> BookUpdate:
        """The answer to a ``resync`` request as a snapshot."""
        ...

    def resubscribe(self, symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
        """What of ``subscription`` concerns these symbols alone, after a refusal named others."""
        ...
