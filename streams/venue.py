"""The contract of an adapter: what a module in ``streams/venues`` must offer.

An adapter is a table (``SPEC``) and pure functions. It knows how its venue writes things down and
nothing else: no sockets, no clocks, no state between calls. The same frame always decodes to the
same answer. Everything that differs between venues is a value described here, so that neither the
session nor the consumer names a venue.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from streams.contracts import Contracts, Terms
from streams.events import Instrument, Kind, MarketEvent, Ms


class Malformed(ValueError):
    """A frame or body that is not what the venue's protocol says. Dropped and counted."""


UNREADABLE = (ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError)
"""What to expect of an adapter that is given rubbish: Malformed and UnicodeError are ValueErrors,
and so is a number of more digits than Python reads; OverflowError and ZeroDivisionError are
ArithmeticErrors."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue is and allows. Every number comes from its documentation or a measurement.

    ``kinds``: what its public feeds give; a kind that is missing is *not available* there, which
    is not the same as zero. ``weight_per_minute``: the venue's REST budget (None: no weights, then
    each poll counts 1 against ``requests_per_second``). ``ping``: the text to send every ``ping_s``
    (None: protocol pings only). ``socket_life_s``: the venue cuts sockets of this age, so a
    replacement is up before (None: no limit known). ``sends_per_second``: how fast a socket may be
    written to.
    """

    name: str
    title: str
    websocket: str
    rest: str
    kinds: frozenset[Kind]
    weight_per_minute: int | None = None
    requests_per_second: float = 10.0
    ping: bytes | None = None
    ping_s: float = 20.0
    socket_life_s: float | None = None
    sends_per_second: float = 5.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request below the venue's REST base URL. ``weight`` counts against its budget.

    ``body`` None: GET, else POST of this JSON. ``symbol`` is the instrument it is about, "" if all.
    """

    path: str
    body: bytes | None = None
    weight: int = 1
    symbol: str = ""


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """A request repeated every ``every_s`` seconds, ``offset_s`` after each multiple of it (UTC).

    ``kind`` is what it brings; its body is read by ``Venue.decode_poll``. In path and body the
    text ``{hour_ago}`` stands for the time one hour before the request, in Ms.
    ``at_start``: asked once at start as well, not only when its time comes.
    """

    request: Request
    kind: Kind
    every_s: float
    offset_s: float = 0.0
    at_start: bool = True


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """One socket: where to connect, what to send once it is open, what it should bring.

    ``path`` is appended to the venue's websocket base URL. ``symbols`` () means every instrument
    of the venue. ``silence_s``: longest time without data of a kind that is not suspicious, kind
    by kind; a kind for which silence is normal (liquidations) is left out and judged by the others
    on the same socket.
    """

    name: str
    path: str
    messages: tuple[bytes, ...]
    kinds: frozenset[Kind]
    symbols: tuple[str, ...]
    silence_s: Mapping[Kind, float]


class BookUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot or a change of one order book; prices and sizes per single coin, sizes absolute.

    ``first``/``last``: ids of the changes it spans; ``previous``: id it continues from (None where
    the venue does not say, then ``first`` must be ``last of the update before + 1``). For venues
    without ids all three are 0 and every update is a snapshot.
    ``reach``: for snapshots: how many levels a side the venue sent at most (0: the whole book). A
    side with fewer levels is the whole side. ``rolling``: the venue keeps telling only about the
    best ``reach`` levels, so coverage ends at the worst level present, always; else changes beyond
    the snapshot are told too, and what the snapshot covered stays covered.
    ``step``: width of the venue's price buckets in quote per coin, 0 where levels are exact.
    """

    symbol: str
    at: Ms
    snapshot: bool
    bids: Sequence[tuple[float, float]]
    asks: Sequence[tuple[float, float]]
    first: int = 0
    last: int = 0
    previous: int | None = None
    reach: int = 0
    rolling: bool = False
    step: float = 0.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The venue answering us: not a fact about the market.

    ``ok`` False: something we asked for was refused; ``symbols`` are those that the refusal names
    (empty: it does not say). ``relist``: the listing we decode with is out of date.
    """

    ok: bool
    text: str = ""
    symbols: tuple[str, ...] = ()
    relist: bool = False


class ListedContracts(NamedTuple):
    """What a venue's listing says."""

    instruments: list[Instrument]
    """The perpetuals that trade or end."""
    order: tuple[str, ...] = ()
    """All symbols in the venue's own order, "" for one that cannot be read; () if none matters."""
    unreadable: tuple[str, ...] = ()
    """Rows that cannot be read, by their names as far as there are any; each costs itself alone."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a frame or an answer that cannot be read, each of which costs its contract alone."""

    rows: tuple[str, ...]
    """By the names of their contracts, or how a row begins that names none."""


Decoded = MarketEvent | BookUpdate | Reply | Terms | Unreadable


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What the session knows of a venue while it decodes.

    ``instruments``: by the venue's symbol, only those that are wanted. ``order``: symbols in the
    venue's own order, wanted or not, for feeds that name nothing (Hyperliquid). ``contracts``: what
    the venue has said of them since, in other frames; ``decode`` does not look at it.
    """

    instruments: Mapping[str, Instrument]
    order: tuple[str, ...] = ()
    contracts: Contracts = msgspec.field(default_factory=Contracts)


def facts(decoded: Iterable[Decoded], contracts: Contracts) -> tuple[list[MarketEvent], str]:
    """What of ``decoded`` is a fact, completed by what is known of the contracts.

    The text says why the listing must be out of date, "" if nothing tells so.
    """
    events: list[MarketEvent] = []
    doubts = ""
    for item in decoded:
        if isinstance(item, Terms):
            contracts.take(item)
        elif not isinstance(item, BookUpdate | Reply | Unreadable):
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
        self, instruments: Sequence[Instrument], kinds: frozenset[Kind]
    ) -> list[Subscription]:
        """The sockets for these instruments (largest first), each within the venue's limits."""
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

    def resync(self, symbol: str, subscription: Subscription) -> Request | tuple[bytes, ...]:
        """How to get a fresh book of one symbol: a REST request, or messages to send.

        ``subscription`` is the socket that the book is on: it says which topic was asked for.
        """
        ...

    def decode_snapshot(self, symbol: str, body: bytes, listing: Listing) -> BookUpdate:
        """The answer to a ``resync`` request as a snapshot."""
        ...

    def resubscribe(self, symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
        """What of ``subscription`` concerns these symbols alone, after a refusal named others."""
        ...
