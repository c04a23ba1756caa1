"""Binance's spot market: pairs against USDT and USDC.

Facts from github.com/binance/binance-spot-api-docs as of July 2026 (web-socket-streams.md,
rest-api.md), tried on recorded frames of 2021, 2024 and 2026. Its protocol is that of the
perpetuals, except that a change of a book names the first and the last of its ids and not the one
before, and that the answer to a request for a book has no time.

It says nothing of a symbol that there is none of, and pairs that are rarely traded say nothing for
minutes.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from streams.events import Instrument, Kind, Ms
from streams.venue import (
    NO_CHANNELS,
    NO_INTEREST,
    NOTHING,
    BookUpdate,
    Channels,
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
    name="binance-spot",
    title="Binance spot",
    spot=True,
    websocket="wss://stream.binance.com:9443",
    rest="https://api.binance.com",
    kinds=frozenset((Kind.DEPTH, Kind.PRICE, Kind.VOLUME)),
    open_interest=NO_INTEREST,
    weight_per_minute=6000,
    socket_life_s=86_400,
    connects_per_second=1.0,  # 300 within 5 minutes
    sends_per_second=4.0,  # 5 incoming messages a second, pongs among them
    book="the best 5000 at first, then what changes",
)

_QUOTES = frozenset(("USDT", "USDC"))
_REACH = 5000  # the most levels a snapshot can have: some ±150 bp on BTC
_REACH_WEIGHT = 250
_CHECKED_REACH = 1000
_CHECKED_WEIGHT = 50
_PAIRS_PER_SOCKET = 100  # of 1024 streams, two for each pair
_PARAMS_PER_MESSAGE = 50
_STREAMS = {Kind.DEPTH: "depth", Kind.VOLUME: "miniTicker"}
"""Each second; a book's changes each 100 ms would be ten times the frames for the same samples."""

_SILENCE_S = {Kind.DEPTH: 30.0, Kind.PRICE: 60.0, Kind.VOLUME: 60.0}
_IGNORED = frozenset(b"24hrTicker aggTrade bookTicker kline trade".split())
_EVENT_NAME = re.compile(rb'"e"\s*:\s*"(\w+)"')
_BEST = re.compile(rb'"u"\s*:\s*\d+\s*,\s*"s"\s*:\s*"\w+"\s*,\s*"b"\s*:')
"""A ``bookTicker`` has no name here."""


class _Symbol(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str
    isSpotTradingAllowed: bool = True


class _ExchangeInfo(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _DayTicker(msgspec.Struct):
    symbol: str
    quoteVolume: wire.Text = ""
    lastPrice: wire.Text = ""
    closeTime: wire.Text = ""


class _Best(msgspec.Struct):
    symbol: str
    bidPrice: wire.Text = ""
    askPrice: wire.Text = ""


_DEPTH_NAMES = {"at": "E", "symbol": "s", "first": "U", "last": "u", "bids": "b", "asks": "a"}


class _Depth(BookUpdate, frozen=True, kw_only=True, rename=_DEPTH_NAMES):
    """The venue's message is a BookUpdate by other names: nothing is copied on the hot path."""

    symbol: str
    at: wire.Time
    first: int  # pyright: ignore[reportGeneralTypeIssues]  # always sent here, so no default
    last: int  # pyright: ignore[reportGeneralTypeIssues]
    bids: wire.Levels
    asks: wire.Levels
    snapshot: bool = False


class _MiniTicker(msgspec.Struct):
    E: wire.Time
    s: str
    c: wire.Text = ""
    q: wire.Text = ""


class _WrappedDepth(msgspec.Struct):
    data: _Depth


class _WrappedMini(msgspec.Struct):
    data: _MiniTicker


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Answer(_Error):
    id: int | str | None = None
    error: _Error | None = None


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    bids: wire.Levels
    asks: wire.Levels


_exchange_info = msgspec.json.Decoder(_ExchangeInfo)
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_symbol = msgspec.json.Decoder(_Symbol)
_day_ticker = msgspec.json.Decoder(_DayTicker)
_day_tickers = msgspec.json.Decoder(list[_DayTicker])
_best = msgspec.json.Decoder(_Best)
_bests = msgspec.json.Decoder(list[_Best])
_depth = msgspec.json.Decoder(_Depth, strict=False)
_wrapped_depth = msgspec.json.Decoder(_WrappedDepth, strict=False)
_mini = msgspec.json.Decoder(_MiniTicker, strict=False)
_wrapped_mini = msgspec.json.Decoder(_WrappedMini, strict=False)
_answer = msgspec.json.Decoder(_Answer)
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False)


def listing_requests() -> list[Request]:
    """All pairs, and volumes."""
    return [
        Request(path="/api/v3/exchangeInfo", weight=20),
        Request(path="/api/v3/ticker/24hr", weight=80),
    ]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Pairs against USDT and USDC that trade. Volumes only rank: whose cannot be read has none."""
    pairs, tickers = bodies
    unreadable: list[str] = []
    volumes = dict(
        wire.ranking(lambda: wire.read(_rows, tickers), _read_volume, unreadable, "volumes")
    )

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_symbol, raw)
        wanted = row.status == "TRADING" and row.isSpotTradingAllowed and row.quoteAsset in _QUOTES
        if not wanted:
            return None
        asset, multiplier = wire.underlying(row.baseAsset)
        return Instrument(
            venue=SPEC.name,
            symbol=row.symbol,
            asset=asset,
            quote=row.quoteAsset,
            multiplier=multiplier,
            spot=True,
            volume_24h_usd=volumes.get(row.symbol),
        )

    listed = wire.rows(wire.read(_exchange_info, pairs).symbols, build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _read_volume(raw: msgspec.Raw) -> tuple[str, float | None]:
    row = wire.read(_day_ticker, raw)
    return row.symbol, wire.positive(row.quoteVolume)


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for every 100 pairs, with their books and tickers."""
    wanted = kinds & SPEC.kinds
    symbols = [instrument.symbol for instrument in instruments]
    if not wanted:
        return []
    return [
        wire.socket(name, "/stream", _subscribe(batch, wanted), wanted, batch, _SILENCE_S)
        for name, batch in wire.divided("pairs", symbols, _PAIRS_PER_SOCKET, running)
    ]


def _subscribe(symbols: Sequence[str], kinds: frozenset[Kind]) -> tuple[bytes, ...]:
    asked = [_STREAMS[Kind.DEPTH]] if Kind.DEPTH in kinds else []
    asked += [_STREAMS[Kind.VOLUME]] if kinds - {Kind.DEPTH} else []
    streams = [f"{symbol.lower()}@{stream}" for symbol in symbols for stream in asked]
    return tuple(
        msgspec.json.encode({"method": "SUBSCRIBE", "params": batch, "id": part})
        for part, batch in enumerate(wire.batches(streams, _PARAMS_PER_MESSAGE), start=1)
    )


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The streams of these symbols again; asking twice does no harm here."""
    return _subscribe(symbols, subscription.kinds)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame, bare or in the ``{"stream", "data"}`` wrapper of combined streams."""
    wrapped = frame.startswith(b'{"stream"')
    name = _EVENT_NAME.search(frame)
    if name is None:
        return [] if _BEST.search(frame) else [_reply(frame)]
    match name[1]:
        case b"depthUpdate":
            depth = wire.read(_wrapped_depth, frame).data if wrapped else wire.read(_depth, frame)
            return _book(depth, listing)
        case b"24hrMiniTicker":
            row = wire.read(_wrapped_mini, frame).data if wrapped else wire.read(_mini, frame)
            of = listing.instruments.get(row.s)
            if of is None:
                return []
            return wire.present(
                wire.last_price(of, row.E, seen, row.c), wire.volume(of, row.E, seen, row.q)
            )
        case b"serverShutdown":
            return [Reply(ok=True, closing=True)]
        case known if known in _IGNORED:
            return []
        case unknown:
            raise Malformed(f"unknown event type {unknown!r:.40}")


def _reply(frame: bytes) -> Reply:
    answer = wire.read(_answer, frame)
    error = answer.error or answer
    if error.code:
        return Reply(ok=False, text=f"{error.code}: {error.msg}")
    if answer.id is None:
        raise Malformed("neither an event nor an answer")
    return Reply(ok=True)


def _book(depth: _Depth, listing: Listing) -> list[Decoded]:
    of = listing.instruments.get(depth.symbol)
    if of is None:
        return []
    if of.multiplier == 1.0:
        return [depth]
    bids, asks = wire.per_coin_in(depth.bids, of), wire.per_coin_in(depth.asks, of)
    return [msgspec.structs.replace(depth, bids=bids, asks=asks)]


polls, decode_poll = wire.no_polls, wire.decode_no_poll
histories, decode_history = wire.no_histories, wire.decode_no_history


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Volumes, last and best prices of all pairs, and books."""
    return [
        Request(path="/api/v3/ticker/24hr", weight=80),
        Request(path="/api/v3/ticker/bookTicker", weight=4),
        *(_snapshot_request(i.symbol, _CHECKED_REACH, _CHECKED_WEIGHT) for i in instruments),
    ]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    if request.symbol:
        book, of = wire.read(_snapshot, body), listing.instruments.get(request.symbol)
        return [] if of is None else [wire.snapshot(of, seen, book.bids, book.asks, _CHECKED_REACH)]
    if request.path.endswith("/24hr"):
        return wire.facts_of_rows(
            lambda: wire.read(_day_tickers, body),
            lambda: wire.read(_rows, body),
            _day_ticker,
            lambda row: _day_facts(row, listing, seen),
        )
    if request.path.endswith("/bookTicker"):
        return wire.facts_of_rows(
            lambda: wire.read(_bests, body),
            lambda: wire.read(_rows, body),
            _best,
            lambda row: _best_facts(row, listing),
        )
    raise Malformed(f"{request.path:.60} is not asked for")


def _day_facts(row: _DayTicker, listing: Listing, seen: Ms) -> list[Decoded]:
    of, at = listing.instruments.get(row.symbol), wire.moment(row.closeTime) or seen
    if of is None:
        return []
    return wire.present(
        wire.last_price(of, at, seen, row.lastPrice), wire.volume(of, at, seen, row.quoteVolume)
    )


def _best_facts(row: _Best, listing: Listing) -> list[Decoded]:
    of = listing.instruments.get(row.symbol)
    return wire.present(of and wire.mid(of, row.bidPrice, row.askPrice))


def resync(symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS) -> Request:
    """A REST snapshot of the most levels there are."""
    return _snapshot_request(symbol, _REACH, _REACH_WEIGHT)


def _snapshot_request(symbol: str, reach: int, weight: int) -> Request:
    path = f"/api/v3/depth?symbol={quote(symbol)}&limit={reach}"
    return Request(path=path, weight=weight, symbol=symbol)


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """The answer to ``resync``, which has no time."""
    answer = wire.read(_snapshot, body)
    of = listing.instruments.get(symbol)
    if of is None:
        raise Malformed(f"a snapshot of {symbol}, which is not listed")
    return BookUpdate(
        symbol=symbol,
        at=0,
        snapshot=True,
        bids=wire.per_coin_in(answer.bids, of),
        asks=wire.per_coin_in(answer.asks, of),
        last=answer.lastUpdateId,
        reach=_REACH,
    )
