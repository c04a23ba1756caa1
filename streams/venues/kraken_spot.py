"""Kraken's spot market (websocket v2): pairs against USD, USDT and USDC.

Facts from docs.kraken.com (spot websocket v2, REST) as of November 2026, tried on recorded frames
of August 2026. A book comes as its best thousand levels a side and changes of these; changes have
no numbers, but each comes with a CRC32 of the best ten levels as it leaves them. That is made of
prices and sizes as they are written, with all their zeros: so it is the text of a number that says
how many decimals there are.

REST names coins in an older way (XBT, XDG; XXBTZUSD for the pair), the socket in that of today.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal
from urllib.parse import quote

import msgspec

from streams.events import SPOT_KINDS, Instrument, Kind, Ms
from streams.venue import (
    NO_CHANNELS,
    NO_INTEREST,
    NOTHING,
    UNNUMBERED,
    BookUpdate,
    Channels,
    Checksum,
    Decoded,
    ListedContracts,
    Listing,
    Malformed,
    Reply,
    Request,
    Running,
    Spec,
    Subscription,
)
from streams.venues import wire

SPEC = Spec(
    name="kraken-spot",
    title="Kraken spot",
    spot=True,
    websocket="wss://ws.kraken.com",
    rest="https://api.kraken.com",
    kinds=SPOT_KINDS,
    open_interest=NO_INTEREST,
    requests_per_second=1.0,
    ping=b'{"method":"ping"}',
    ping_s=30.0,  # it closes a connection on which nothing was sent for a minute
    connects_per_second=0.2,  # 150 within ten minutes
    book="the best 1000",
)

_PAIRS = "/0/public/AssetPairs"
_TICKERS = "/0/public/Ticker"
_ORDERS = "/0/public/Depth?count=500&pair="
_CHECKED_REACH = 500
_QUOTES = frozenset(("USD", "USDT", "USDC"))
_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""What the socket calls coins that REST calls otherwise."""

_REACH = 1000
_PAIRS_PER_SOCKET = 50
_SILENCE_S = {Kind.DEPTH: 30.0, Kind.PRICE: 120.0, Kind.VOLUME: 120.0}
"""Tickers come with trades."""

_CHANNEL = re.compile(rb'"channel"\s*:\s*"(\w+)"')
_IGNORED = frozenset(b"heartbeat instrument level3 ohlc status trade".split())


class _Pair(msgspec.Struct):
    wsname: str = ""  # dark pools have none, and are not at the socket
    status: str = ""


class _Answer(msgspec.Struct):
    result: dict[str, msgspec.Raw]
    error: list[str] = []


class _Day(msgspec.Struct):
    v: list[wire.Text]
    p: list[wire.Text]
    c: list[wire.Text]
    a: list[wire.Text]
    b: list[wire.Text]


class _Level(msgspec.Struct):
    price: Decimal
    qty: Decimal


class _Book(msgspec.Struct):
    symbol: str
    bids: list[_Level] = []
    asks: list[_Level] = []
    checksum: int | None = None
    timestamp: str = ""


class _BookFrame(msgspec.Struct):
    type: Literal["snapshot", "update"]
    data: list[_Book]


class _Ticker(msgspec.Struct):
    symbol: str
    last: wire.Text = ""
    volume: wire.Text = ""
    vwap: wire.Text = ""
    timestamp: str = ""


class _TickerFrame(msgspec.Struct):
    data: list[msgspec.Raw]


class _Reply(msgspec.Struct):
    method: str
    success: bool = True
    error: str = ""
    symbol: str = ""


class _Orders(msgspec.Struct):
    bids: list[tuple[wire.Text, wire.Text, float]]
    asks: list[tuple[wire.Text, wire.Text, float]]


_answer = msgspec.json.Decoder(_Answer)
_pair = msgspec.json.Decoder(_Pair)
_day = msgspec.json.Decoder(_Day)
_book_frame = msgspec.json.Decoder(_BookFrame)
_ticker_frame = msgspec.json.Decoder(_TickerFrame)
_ticker = msgspec.json.Decoder(_Ticker)
_reply = msgspec.json.Decoder(_Reply)
_orders = msgspec.json.Decoder(_Orders)


def listing_requests() -> list[Request]:
    """All pairs, and their volumes."""
    return [Request(path=_PAIRS), Request(path=_TICKERS, needed=False)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def _rows(body: bytes) -> dict[str, msgspec.Raw]:
    answer = wire.read(_answer, body)
    if answer.error:
        raise Malformed(f"Kraken answered {answer.error[0]:.80}")
    return answer.result


def _symbol(wsname: str) -> tuple[str, str]:
    """Base and quote as the socket calls them."""
    base, _, against = wsname.partition("/")
    return _NAMES.get(base, base), _NAMES.get(against, against)


def _usd(row: _Day) -> float | None:
    """Traded in 24 hours: coins times their mean price; both come of today and of 24 hours."""
    if min(len(row.v), len(row.p)) < 2:
        raise Malformed("no volume of 24 hours")
    coins, mean = wire.not_negative(row.v[1]), wire.not_negative(row.p[1])
    return None if coins is None or mean is None else coins * mean


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Pairs that trade. Volumes only rank."""
    unreadable: list[str] = []
    pairs = _rows(bodies[0])
    names = {bytes(raw): name for name, raw in pairs.items()}
    days: dict[bytes, str] = {}

    def tickers() -> list[msgspec.Raw]:
        rows = _rows(bodies[1])
        days.update({bytes(raw): name for name, raw in rows.items()})
        return [*rows.values()]

    def read_volume(raw: msgspec.Raw) -> tuple[str, float | None]:
        return days[bytes(raw)], _usd(wire.read(_day, raw))

    volumes = dict(wire.ranking(tickers, read_volume, unreadable, "volumes"))

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_pair, raw)
        base, against = _symbol(row.wsname)
        if row.status not in ("online", "") or against not in _QUOTES:
            return None
        asset, multiplier = wire.underlying(base)
        return Instrument(
            venue=SPEC.name,
            symbol=f"{base}/{against}",
            asset=asset,
            quote=against,
            multiplier=multiplier,
            spot=True,
            volume_24h_usd=volumes.get(names[bytes(raw)]),
        )

    listed = wire.rows([*pairs.values()], build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for the books and tickers of 50 pairs."""
    wanted = kinds & SPEC.kinds
    symbols = [instrument.symbol for instrument in instruments] if wanted else []
    return [
        wire.socket(name, "/v2", _ask(batch, wanted), wanted, batch, _SILENCE_S)
        for name, batch in wire.divided("pairs", symbols, _PAIRS_PER_SOCKET, running)
    ]


def _ask(symbols: Sequence[str], kinds: frozenset[Kind]) -> tuple[bytes, ...]:
    messages = [_message("subscribe", symbols, depth=_REACH)] if Kind.DEPTH in kinds else []
    messages += [_message("subscribe", symbols)] if kinds - {Kind.DEPTH} else []
    return tuple(messages)


def _message(method: str, symbols: Sequence[str], depth: int | None = None) -> bytes:
    params: dict[str, object] = {"channel": "ticker", "symbol": list(symbols)}
    if depth is not None:
        params |= {"channel": "book", "depth": depth}
    return msgspec.json.encode({"method": method, "params": params})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The channels of these pairs again, one by one."""
    return tuple(message for s in symbols for message in _ask([s], subscription.kinds))


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book comes whole after each subscription."""
    return tuple(_message(m, [symbol], depth=_REACH) for m in ("unsubscribe", "subscribe"))


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the second version of the socket."""
    channel = _CHANNEL.search(frame, 0, 40)
    if channel is None:
        return [_answered(wire.read(_reply, frame))]
    match channel[1]:
        case b"book":
            message = wire.read(_book_frame, frame)
            books = [_update(book, message.type, listing, seen) for book in message.data]
            return wire.present(*books)
        case b"ticker":
            rows = wire.read(_ticker_frame, frame).data
            return wire.facts_of_rows(
                lambda: [wire.read(_ticker, row) for row in rows],
                lambda: rows,
                _ticker,
                lambda row: _ticker_facts(row, listing, seen),
            )
        case known if known in _IGNORED:
            return []
        case unknown:
            raise Malformed(f"unknown channel {unknown!r:.40}")


def _answered(reply: _Reply) -> Reply:
    if reply.success and not reply.error:
        return Reply(ok=True)
    symbols = (reply.symbol,) if reply.symbol else ()
    return Reply(ok=False, text=reply.error, symbols=symbols)


def _at(text: str, seen: Ms) -> Ms:
    """A time of six decimals; ``seen`` where there is none, or that of 1970."""
    return wire.utc(text) or seen


def _update(book: _Book, kind: str, listing: Listing, seen: Ms) -> BookUpdate | None:
    of = listing.instruments.get(book.symbol)
    if of is None:
        return None
    levels = [*book.bids, *book.asks]
    checksum = None
    if book.checksum is not None and levels:
        checksum = Checksum(
            value=book.checksum,
            price_decimals=max(_decimals(level.price) for level in levels),
            size_decimals=max(_decimals(level.qty) for level in levels),
        )
    sides = ([(float(x.price), float(x.qty)) for x in side] for side in (book.bids, book.asks))
    bids, asks = (wire.per_coin_in(side, of) for side in sides)
    return BookUpdate(
        symbol=of.symbol,
        at=_at(book.timestamp, seen),
        snapshot=kind == "snapshot",
        bids=bids,
        asks=asks,
        last=UNNUMBERED,
        previous=None if kind == "snapshot" else UNNUMBERED,
        reach=_REACH,
        rolling=True,
        checksum=checksum if of.multiplier == 1.0 else None,
    )


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):  # no number at all, or infinite
        raise Malformed("a level that is no number")
    return min(max(-exponent, 0), 20)


def _ticker_facts(row: _Ticker, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.symbol)
    if of is None:
        return []
    at, coins = _at(row.timestamp, seen), wire.not_negative(row.volume)
    mean = wire.not_negative(row.vwap)
    usd = "" if coins is None or mean is None else coins * mean
    return wire.present(wire.last_price(of, at, seen, row.last), wire.volume(of, at, seen, usd))


polls, decode_poll = wire.no_polls, wire.decode_no_poll
histories, decode_history = wire.no_histories, wire.decode_no_history


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Last and best prices, volumes and the books of pairs, one by one: REST answers for all pairs
    name them otherwise."""
    return [
        Request(path=f"{path}{quote(i.symbol.replace('/', ''))}", symbol=i.symbol)
        for i in instruments
        for path in (f"{_TICKERS}?pair=", _ORDERS)
    ]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``, in which there is one pair, by whatever name."""
    of, rows = listing.instruments.get(request.symbol), [*_rows(body).values()]
    if of is None or not rows:
        return []
    if not request.path.startswith(_TICKERS):
        book = wire.read(_orders, rows[0])
        bids, asks = (
            [(wire.number(p) or 0.0, wire.number(n) or 0.0) for p, n, _ in side]
            for side in (book.bids, book.asks)
        )
        return [wire.snapshot(of, seen, bids, asks, _CHECKED_REACH)]
    day = wire.read(_day, rows[0])
    if not (day.a and day.b and day.c):
        raise Malformed("a ticker without prices")
    return wire.present(
        wire.last_price(of, seen, seen, day.c[0]),
        wire.volume(of, seen, seen, _usd(day)),
        wire.mid(of, day.b[0], day.a[0]),
    )


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
