"""Hyperliquid perpetuals of the main dex.

Facts from hyperliquid.gitbook.io and clients of it as of November 2026: books come as snapshots of
20 levels every 5 s, contexts of all coins every 13 s in one message that names no coin: they are
checked against the books, which name theirs. There is no public
feed of liquidations.
"""

import math
import re
from collections.abc import Callable, Sequence

import msgspec

from streams.durations import HOUR
from streams.events import Instrument, Kind, Ms
from streams.venue import (
    UNREADABLE,
    BookUpdate,
    Decoded,
    ListedContracts,
    Listing,
    Malformed,
    Poll,
    Reply,
    Request,
    Spec,
    Subscription,
)
from streams.venues import wire

SPEC = Spec(
    name="hyperliquid",
    title="Hyperliquid",
    websocket="wss://api.hyperliquid.xyz",
    rest="https://api.hyperliquid.xyz",
    kinds=frozenset(Kind) - {Kind.LIQUIDATION},
    weight_per_minute=1200,
    ping=b'{"method":"ping"}',
)

_PATH = "/ws"
_FUNDING_HOURS = 1.0
# an hour: in a public record of all settlements from May 2023 to October 2026 the largest is 4 %
_FUNDING_CAP = 0.04
_MAIN_DEX = ""
_LEVELS = 20
_SIGNIFICANT_FIGURES = 4
_MAX_BOOKS = 999  # 1000 subscriptions an address, one of which carries the contexts
_MAX_BOOK_SOCKETS = 9  # 10 connections an address
_BOOKS_PER_SOCKET = 100
_POLL_SPACING_S = 1.2  # 20 weight each: 1000 of the 1200 a minute

_CONTEXT_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
# Contexts every 13 s (measured in September 2026), a book every 5 s.
_SILENCE_S = dict.fromkeys(_CONTEXT_KINDS, 45.0) | {Kind.DEPTH: 30.0}
_CHANNEL = re.compile(rb'"channel"\s*:\s*"(\w+)"')
_REFUSED_COIN = re.compile(r'"coin"\s*:\s*"([^"]+)"')
_KILO = re.compile(r"k(?=[A-Z0-9])(.+)")
_IGNORED = frozenset(
    b"activeSpotAssetCtx allMids bbo candle trades user userEvents userFills".split()
)


class _Coin(msgspec.Struct):
    name: str
    isDelisted: bool | None = None


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]


class _Context(msgspec.Struct):
    funding: wire.Text | None = None
    openInterest: wire.Text | None = None
    markPx: wire.Text | None = None
    oraclePx: wire.Text | None = None
    dayNtlVlm: wire.Text | None = None


class _AllContexts(msgspec.Struct):
    ctxs: list[msgspec.Raw]


class _AllContextsFrame(msgspec.Struct):
    data: _AllContexts


class _OneContext(msgspec.Struct):
    coin: str
    ctx: _Context


class _OneContextFrame(msgspec.Struct):
    data: _OneContext


class _Level(msgspec.Struct):
    px: wire.PriceNumber
    sz: wire.SizeNumber


class _Book(msgspec.Struct):
    coin: str
    time: wire.Time
    levels: tuple[list[_Level], list[_Level]]


class _BookFrame(msgspec.Struct):
    data: _Book


class _ErrorFrame(msgspec.Struct):
    data: str


class _Settled(msgspec.Struct):
    coin: str
    fundingRate: wire.Text
    time: wire.Time


_listing = msgspec.json.Decoder(tuple[_Meta, msgspec.Raw])
_coin = msgspec.json.Decoder(_Coin)
_context = msgspec.json.Decoder(_Context)
_contexts_frame = msgspec.json.Decoder(_AllContextsFrame)
_dex = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_contexts = msgspec.json.Decoder(list[_Context])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_context_frame = msgspec.json.Decoder(_OneContextFrame)
_book_frame = msgspec.json.Decoder(_BookFrame, strict=False)
_error_frame = msgspec.json.Decoder(_ErrorFrame)
_settled = msgspec.json.Decoder(list[_Settled], strict=False)


def listing_requests() -> list[Request]:
    """The coins of the main dex with their contexts."""
    return [Request(path="/info", body=b'{"type":"metaAndAssetCtxs"}', weight=20)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answer is not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """All coins, delisted ones as ended, and their order: contexts are joined by place.

    Here contexts only rank: a coin whose context cannot be read has no open interest and no volume.
    """
    meta, ranking = wire.read(_listing, bodies[0])
    unreadable: list[str] = []
    try:
        contexts = wire.read(_rows, ranking)
    except UNREADABLE:
        unreadable.append("contexts")
        sizes = [(None, None)] * len(meta.universe)
    else:
        if len(meta.universe) != len(contexts):
            raise Malformed(f"{len(meta.universe)} coins but {len(contexts)} contexts")
        sizes = wire.rows(contexts, _read_sizes, [], needed=False)
    in_order = iter(sizes)

    def build(raw: msgspec.Raw) -> Instrument:
        of_coin = next(in_order)
        return _instrument(wire.read(_coin, raw), of_coin or (None, None))

    listed = wire.rows(meta.universe, build, unreadable)
    order = tuple("" if instrument is None else instrument.symbol for instrument in listed)
    unreadable += [coin for coin, size in zip(order, sizes, strict=True) if coin and size is None]
    return ListedContracts([i for i in listed if i is not None], order, tuple(unreadable))


def _read_sizes(raw: msgspec.Raw) -> tuple[float | None, float | None]:
    """Open interest and volume of a coin, both in USD."""
    context = wire.read(_context, raw)
    units, mark = wire.not_negative(context.openInterest), wire.positive(context.markPx)
    usd = None if units is None or mark is None else units * mark
    return usd, wire.not_negative(context.dayNtlVlm)


def _instrument(coin: _Coin, sizes: tuple[float | None, float | None]) -> Instrument:
    open_interest_usd, volume_usd = sizes
    kilo = _KILO.fullmatch(coin.name)
    return Instrument(
        venue=SPEC.name,
        symbol=coin.name,
        asset=kilo[1] if kilo else coin.name,
        quote="USDC",
        multiplier=1000.0 if kilo else 1.0,
        funding_hours=_FUNDING_HOURS,
        funding_cap=_FUNDING_CAP,
        open_interest_usd=open_interest_usd,
        volume_24h_usd=volume_usd,
        ends_at=0 if coin.isDelisted else None,
    )


def subscriptions(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Subscription]:
    """One socket for the contexts of all coins, at most nine for the books."""
    sockets: list[Subscription] = []
    if brings := kinds & _CONTEXT_KINDS:
        message = {"method": "subscribe", "subscription": {"type": "allDexsAssetCtxs"}}
        messages = (msgspec.json.encode(message),)
        sockets.append(wire.socket("contexts", _PATH, messages, brings, (), _SILENCE_S))
    if Kind.DEPTH in kinds:
        depth = frozenset((Kind.DEPTH,))
        symbols = [instrument.symbol for instrument in instruments[:_MAX_BOOKS]]
        size = max(_BOOKS_PER_SOCKET, math.ceil(len(symbols) / _MAX_BOOK_SOCKETS))
        for part, batch in enumerate(wire.batches(symbols, size), start=1):
            messages = _subscribe(batch)
            sockets.append(wire.socket(f"book-{part}", _PATH, messages, depth, batch, _SILENCE_S))
    return sockets


def _subscribe(symbols: Sequence[str]) -> tuple[bytes, ...]:
    books = (
        {"type": "l2Book", "coin": symbol, "nSigFigs": _SIGNIFICANT_FIGURES} for symbol in symbols
    )
    return tuple(
        msgspec.json.encode({"method": "subscribe", "subscription": book}) for book in books
    )


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The books of these coins again; asking twice is refused without harm."""
    return _subscribe(symbols) if Kind.DEPTH in subscription.kinds else ()


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Settled funding, coin by coin, as fast after each full hour as the budget allows."""
    if Kind.FUNDING not in kinds:
        return []
    requests = [_ask_settled(instrument.symbol) for instrument in instruments]
    over_s = len(requests) * _POLL_SPACING_S
    return wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=over_s, offset_s=20.0)


def _ask_settled(symbol: str) -> Request:
    coin = msgspec.json.encode(symbol)
    body = b'{"type":"fundingHistory","coin":%b,"startTime":{hour_ago}}' % coin
    return Request(path="/info", body=body, weight=20, symbol=symbol)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the websocket."""
    channel = _CHANNEL.search(frame)
    if channel is None:
        raise Malformed("no channel")
    if channel[1] in _IGNORED:
        return []
    reader = _READERS.get(channel[1])
    if reader is None:
        raise Malformed(f"unknown channel {channel[1]!r:.40}")
    return reader(frame, listing, seen)


def _read_contexts(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    contexts, order = _of_main_dex(frame), listing.order
    try:
        every = wire.read(_contexts, contexts)
        if len(every) == len(order):
            pairs = zip(order, every, strict=True)
            return [fact for pair in pairs for fact in _facts(*pair, listing, seen)]
    except UNREADABLE:
        pass
    raws, coins = wire.read(_rows, contexts), iter(order)
    if len(raws) != len(order):
        text = f"{len(raws)} contexts for {len(order)} listed coins"
        return [Reply(ok=False, text=text, relist=True)]

    def build(raw: msgspec.Raw) -> list[Decoded]:
        coin = next(coins)
        return _facts(coin, wire.read(_context, raw), listing, seen)

    built = wire.rows(raws, build, [])
    lost = [coin for coin, of_coin in zip(order, built, strict=True) if of_coin is None]
    facts = [fact for of_coin in built for fact in of_coin or ()]
    return [*facts, *wire.unreadable_of(lost)]


def _of_main_dex(frame: bytes) -> msgspec.Raw:
    """The contexts of the main dex, whatever those of the others look like."""
    for raw in wire.read(_contexts_frame, frame).data.ctxs:
        try:
            dex, contexts = wire.read(_dex, raw)
        except UNREADABLE:
            continue
        if dex == _MAIN_DEX:
            return contexts
    raise Malformed("no contexts of the main dex")


def _read_context(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    data = wire.read(_context_frame, frame).data
    return _facts(data.coin, data.ctx, listing, seen)


def _facts(coin: str, context: _Context, listing: Listing, seen: Ms) -> list[Decoded]:
    """Contexts carry no time: the venue's is taken to be ours."""
    of = listing.instruments.get(coin)
    if of is None:
        return []
    units, mark = wire.not_negative(context.openInterest), wire.positive(context.markPx)
    usd = None if units is None or mark is None else units * mark
    next_at = (seen // HOUR + 1) * HOUR
    return wire.present(
        # first: it shows whether all of this is of this coin
        wire.price(of, seen, seen, context.markPx, context.oraclePx),
        wire.predicted(of, seen, seen, context.funding, _FUNDING_HOURS, next_at),
        wire.open_interest(of, seen, seen, units, usd),
        wire.volume(of, seen, seen, context.dayNtlVlm),
    )


def _read_book(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    book = wire.read(_book_frame, frame).data
    of = listing.instruments.get(book.coin)
    if of is None:
        return []
    bids, asks = ([(level.px, level.sz) for level in side] for side in book.levels)
    return [
        BookUpdate(
            symbol=book.coin,
            at=book.time,
            snapshot=True,
            bids=wire.per_coin(bids, of.multiplier),
            asks=wire.per_coin(asks, of.multiplier),
            reach=_LEVELS,
            rolling=True,
            step=_bucket(bids, asks) / of.multiplier,
        )
    ]


def _bucket(bids: wire.Levels, asks: wire.Levels) -> float:
    """Width of a price bucket at the best price (the ask: across a power of ten it is wider)."""
    best = asks or bids
    if not best:
        return 0.0
    return 10.0 ** (math.floor(math.log10(best[0][0])) + 1 - _SIGNIFICANT_FIGURES)


def _read_answer(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    return [Reply(ok=True)]


def _read_error(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    text = wire.read(_error_frame, frame).data
    if text.startswith("Already subscribed"):
        return [Reply(ok=True, text=text)]
    return [Reply(ok=False, text=text, symbols=tuple(_REFUSED_COIN.findall(text)))]


_READERS: dict[bytes, Callable[[bytes, Listing, Ms], list[Decoded]]] = {
    b"allDexsAssetCtxs": _read_contexts,
    b"activeAssetCtx": _read_context,
    b"l2Book": _read_book,
    b"subscriptionResponse": _read_answer,
    b"pong": _read_answer,
    b"error": _read_error,
}


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The newest settlement of one coin."""
    rows = wire.read(_settled, body)
    if not rows:
        return []
    newest = max(rows, key=lambda row: row.time)
    of = listing.instruments.get(newest.coin)
    return wire.present(of and wire.settled(of, newest.time, seen, newest.fundingRate))


def resync(symbol: str, subscription: Subscription) -> tuple[bytes, ...]:
    """Nothing to send: every update is a snapshot."""
    return ()


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
