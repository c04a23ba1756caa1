"""Binance perpetuals: USDⓈ-M by the functions of this module, COIN-M by ``COIN_M``; and Aster's.

Facts from developers.binance.com (USDⓈ-M and COIN-M futures) as of November 2026: routed websocket
addresses of USDⓈ-M since 2026-04-23 (the old ones still connect and stay silent), and rows of both
(``st`` 2: COIN-M) in the all-market streams of each since 2026-06-30.

The two are two venues with one protocol: another host, other contracts. Those of COIN-M are
inverse: sizes are in contracts of 100 or 10 USD, in open interest, liquidations, volumes and books.

Aster, a decentralised exchange, took the protocol over as it was (asterdex.com, as of August 2026,
tried on single recorded frames alone). What it changed stands in ``_ASTER``.
"""

import re
from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal, TypeVar
from urllib.parse import quote

import msgspec

from streams.contracts import Terms
from streams.durations import HOUR
from streams.events import Instrument, Kind, Ms, Position
from streams.venue import (
    NO_CHANNELS,
    NOTHING,
    UNREADABLE,
    BookUpdate,
    Channels,
    Decoded,
    HistoryRequest,
    ListedContracts,
    Listing,
    Malformed,
    Poll,
    Reply,
    Request,
    Running,
    Sides,
    Spec,
    Subscription,
)
from streams.venues import wire

SPEC = Spec(
    name="binance",
    title="Binance",
    websocket="wss://fstream.binance.com",
    rest="https://fapi.binance.com",
    kinds=frozenset(Kind),
    open_interest=Sides(1, "as everybody publishes it; its documentation has no word on it"),
    weight_per_minute=2400,
    socket_life_s=86_400,
    # forceOrder: "only the largest one liquidation order within 1000ms will be pushed"
    throttles_liquidations=True,
    book="the best 1000 at first, then what changes",
    all_liquidations=False,
)


class _Futures(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between those that speak it."""

    api: str
    """What REST paths begin with."""
    market: str
    """The path of the socket of all markets."""
    books: str
    """The path of sockets of books."""
    quotes: frozenset[str]
    inverse: bool = False
    depth: str = "depth@500ms"
    """The stream of a book."""
    lists_intervals: bool = False
    """Every contract has a row of its funding interval: without one it is not known."""
    keeps_interest: bool = True
    """Statistics of open interest are published, each 5 minutes."""
    polled_a_minute: int
    """How many contracts' open interest is asked for in a minute, beside the largest."""
    candles_every_s: float = 0.3
    """Between two pages of candles, each of 2 against the budget."""
    past_every_s: float = 1.0
    """Between two pages of settled funding, of which 500 are allowed in 5 minutes."""


_USD_M = _Futures(
    api="/fapi/v1",
    market="/market/stream",
    books="/public/stream",
    quotes=frozenset(("USDT", "USDC")),
    polled_a_minute=600,
)
_COIN_M = _Futures(
    api="/dapi/v1",
    market="/stream",
    books="/stream",
    quotes=frozenset(("USD",)),
    inverse=True,
    polled_a_minute=150,
    candles_every_s=0.6,
    past_every_s=2.5,  # its hourly polls are symbol by symbol and take 375 of the 500
)
_ASTER = _Futures(
    api="/fapi/v3",
    market="/stream",
    books="/stream",
    quotes=frozenset(("USDT", "USDC")),
    depth="depth@100ms",
    lists_intervals=True,
    keeps_interest=False,
    polled_a_minute=300,
)

_KEPT = "/futures/data/openInterestHist"
_FAST_POLLS = 10
_PAST_ROWS = 1000
_KEPT_ROWS = 500  # of 5 min, the oldest 30 days old
_KEPT_PIECE: Ms = 40 * HOUR
_CANDLE_ROWS = 499  # of 1500 at most; from 500 on they cost more than twice as much
_BOOKS_PER_SOCKET = 200
_PARAMS_PER_MESSAGE = 50
_CHECKED_REACH = 500
_REACH = 1000  # the most levels a snapshot can have
# fundingInfo lists only symbols whose interval, cap or floor was adjusted.
_DEFAULT_FUNDING_HOURS = 8.0
_IS_COIN_M = 2
_ENDING = frozenset(
    ("PRE_SETTLE", "SETTLING", "PRE_DELIVERING", "DELIVERING", "DELIVERED", "CLOSE")
)

_IGNORED = frozenset(
    b"24hrTicker aggTrade assetIndexUpdate bookTicker compositeIndex continuous_kline contractInfo"
    b" indexPriceUpdate kline trade tradingSession".split()
)
_MARKET_STREAMS = (
    ("!markPrice@arr@1s", frozenset((Kind.FUNDING, Kind.PRICE))),
    ("!miniTicker@arr", frozenset((Kind.VOLUME,))),
    ("!forceOrder@arr", frozenset((Kind.LIQUIDATION,))),
)
_MARKET_KINDS = frozenset[Kind]().union(*(brings for _, brings in _MARKET_STREAMS))
_SILENCE_S = {Kind.FUNDING: 10.0, Kind.PRICE: 10.0, Kind.VOLUME: 30.0, Kind.DEPTH: 10.0}
_HEAD = 120
"""A depth event says what it is within so many bytes, behind the name of its stream."""

_T = TypeVar("_T")
_EVENT_NAME = re.compile(rb'"e"\s*:\s*"(\w+)"')


class _Symbol(msgspec.Struct):
    symbol: str
    contractType: str
    baseAsset: str
    quoteAsset: str
    status: str = ""
    contractStatus: str = ""  # so it is named at COIN-M
    contractSize: wire.Text = ""
    deliveryDate: int = 0
    underlyingType: str = "COIN"


class _ExchangeInfo(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _FundingInfo(msgspec.Struct):
    symbol: str
    fundingIntervalHours: float
    adjustedFundingRateCap: wire.Text = ""
    adjustedFundingRateFloor: wire.Text = ""
    fundingFeeCap: wire.Text = ""  # so they are named at Aster
    fundingFeeFloor: wire.Text = ""


class _DayTicker(msgspec.Struct):
    symbol: str
    quoteVolume: wire.Text = ""
    volume: wire.Text = ""
    closeTime: wire.Text = ""


class _Premium(msgspec.Struct):
    symbol: str
    time: wire.Time
    markPrice: wire.Text = ""
    indexPrice: wire.Text = ""
    lastFundingRate: wire.Text = ""
    nextFundingTime: wire.Text = ""


class _Best(msgspec.Struct):
    symbol: str
    bidPrice: wire.Text = ""
    askPrice: wire.Text = ""


class _Kept(msgspec.Struct):
    timestamp: wire.Time
    sumOpenInterest: wire.Text
    sumOpenInterestValue: wire.Text = ""


_DEPTH_NAMES = {
    "at": "E", "symbol": "s", "first": "U", "last": "u", "previous": "pu", "bids": "b", "asks": "a",
}  # fmt: skip


class _Depth(BookUpdate, frozen=True, kw_only=True, rename=_DEPTH_NAMES):
    """The venue's message is a BookUpdate by other names: nothing is copied on the hot path."""

    symbol: str
    at: wire.Time
    first: int  # pyright: ignore[reportGeneralTypeIssues]  # always sent here, so no default
    last: int  # pyright: ignore[reportGeneralTypeIssues]
    previous: int  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    bids: wire.Levels
    asks: wire.Levels
    snapshot: bool = False


class _Mark(msgspec.Struct):
    E: wire.Time
    s: str
    p: wire.Text
    i: wire.Text = ""
    r: wire.Text = ""
    T: int = 0
    st: int = 1


class _MiniTicker(msgspec.Struct):
    E: wire.Time
    s: str
    q: wire.Text
    v: wire.Text = ""
    st: int = 1


class _Order(msgspec.Struct):
    s: str
    S: Literal["BUY", "SELL"]
    X: str
    ap: wire.Text
    z: wire.Text
    T: wire.Time
    st: int = 1


class _ForceOrder(msgspec.Struct):
    o: _Order


class _WrappedDepth(msgspec.Struct):
    data: _Depth


class _Wrapped(msgspec.Struct):
    data: msgspec.Raw


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Answer(_Error):
    id: int | str | None = None
    error: _Error | None = None


class _OpenInterest(msgspec.Struct):
    symbol: str
    openInterest: wire.SizeNumber
    time: wire.Time


class _Settled(msgspec.Struct):
    symbol: str
    fundingRate: wire.Text
    fundingTime: wire.Time


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    E: wire.Time
    bids: wire.Levels
    asks: wire.Levels


_exchange_info = msgspec.json.Decoder(_ExchangeInfo)
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_symbol = msgspec.json.Decoder(_Symbol)
_funding_info = msgspec.json.Decoder(_FundingInfo, strict=False)
_day_ticker = msgspec.json.Decoder(_DayTicker)
_depth = msgspec.json.Decoder(_Depth, strict=False)
_wrapped_depth = msgspec.json.Decoder(_WrappedDepth, strict=False)
_wrapped = msgspec.json.Decoder(_Wrapped)
_mark = msgspec.json.Decoder(_Mark, strict=False)
_marks = msgspec.json.Decoder(list[_Mark], strict=False)
_mini = msgspec.json.Decoder(_MiniTicker, strict=False)
_minis = msgspec.json.Decoder(list[_MiniTicker], strict=False)
_order = msgspec.json.Decoder(_ForceOrder, strict=False)
_orders = msgspec.json.Decoder(list[_ForceOrder], strict=False)
_answer = msgspec.json.Decoder(_Answer)
_open_interest = msgspec.json.Decoder(_OpenInterest, strict=False)
_settlement = msgspec.json.Decoder(_Settled, strict=False)
_settled = msgspec.json.Decoder(list[_Settled], strict=False)
_kept = msgspec.json.Decoder(list[_Kept], strict=False)
_kept_row = msgspec.json.Decoder(_Kept, strict=False)
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False)


def listing_requests() -> list[Request]:
    """All contracts, the funding intervals that differ from 8 h, and volumes."""
    return _listing_requests(_USD_M)


def _listing_requests(futures: _Futures) -> list[Request]:
    return [
        Request(path=f"{futures.api}/exchangeInfo", weight=1),
        Request(path=f"{futures.api}/fundingInfo", weight=0),
        Request(path=f"{futures.api}/ticker/24hr", weight=40),
    ]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """USDT and USDC perpetuals that trade or end. TRADIFI_PERPETUAL (stocks) is another type.

    Whose row of intervals cannot be read, or may be one that names nobody, has the usual one on no
    word of the venue. Volumes only rank: whose cannot be read has none.
    """
    return _instruments(bodies, SPEC, _USD_M)


def _instruments(bodies: Sequence[bytes], spec: Spec, futures: _Futures) -> ListedContracts:
    contracts, intervals, tickers = bodies
    unreadable: list[str] = []
    adjusted, lost = _read_intervals(intervals, unreadable)
    days = wire.ranking(
        lambda: wire.read(_rows, tickers),
        lambda raw: _read_volume(raw, futures),
        unreadable,
        "volumes",
    )
    volumes = dict(days)

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_symbol, raw)
        status = row.contractStatus or row.status
        wanted = (
            row.contractType == "PERPETUAL"
            and (status == "TRADING" or status in _ENDING)
            and row.quoteAsset in futures.quotes
            and (row.underlyingType == "COIN" or futures is not _ASTER)
        )
        if not wanted:
            return None
        interval = adjusted.get(row.symbol)
        unsaid = futures.lists_intervals or not lost.isdisjoint((row.symbol, ""))
        assumed = interval is None and unsaid
        instrument = _instrument(row, interval, assumed, volumes.get(row.symbol), futures)
        return msgspec.structs.replace(instrument, venue=spec.name)

    listed = wire.rows(wire.read(_exchange_info, contracts).symbols, build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _read_intervals(
    body: bytes, unreadable: list[str]
) -> tuple[dict[str, _FundingInfo], frozenset[str]]:
    """What differs from the usual, by symbol, and whose rows are lost; of "" nobody knows whose."""
    try:
        raws = wire.read(_rows, body)
    except UNREADABLE:
        unreadable.append("funding intervals")
        return {}, frozenset(("",))
    rows = wire.rows(raws, _read_interval, unreadable, needed=False)
    lost = (wire.name_of(raw) for raw, row in zip(raws, rows, strict=True) if row is None)
    return {row.symbol: row for row in rows if row is not None}, frozenset(lost)


def _read_interval(raw: msgspec.Raw) -> _FundingInfo:
    row = wire.read(_funding_info, raw)
    _cap(row)  # what it raises is this row's
    if wire.interval(row.fundingIntervalHours) is None:
        raise Malformed(f"a funding interval of {row.fundingIntervalHours} h")
    return row


def _read_volume(raw: msgspec.Raw, futures: _Futures) -> tuple[str, float | None]:
    """In USD; of inverse contracts in contracts, since their ``baseVolume`` is in coins."""
    row = wire.read(_day_ticker, raw)
    return row.symbol, wire.positive(row.volume if futures.inverse else row.quoteVolume)


def _instrument(
    row: _Symbol,
    adjusted: _FundingInfo | None,
    assumed: bool,
    volume: float | None,
    futures: _Futures,
) -> Instrument:
    asset, multiplier = wire.underlying(row.baseAsset)
    hours = _DEFAULT_FUNDING_HOURS if adjusted is None else adjusted.fundingIntervalHours
    size = wire.positive(row.contractSize) if futures.inverse else 1.0
    if size is None:
        raise Malformed(f"{row.symbol}: a contract of no size")
    status = row.contractStatus or row.status
    return Instrument(
        venue=SPEC.name,
        symbol=row.symbol,
        asset=asset,
        quote=row.quoteAsset,
        multiplier=multiplier,
        contract_size=size,
        inverse=futures.inverse,
        funding_hours=wire.interval(hours),
        funding_assumed=assumed,
        funding_cap=adjusted and _cap(adjusted),
        volume_24h_usd=None if volume is None else volume * size,
        ends_at=0 if status in _ENDING else wire.end_of(row.deliveryDate),
    )


def _cap(adjusted: _FundingInfo) -> float | None:
    return wire.cap(
        adjusted.adjustedFundingRateCap, adjusted.adjustedFundingRateFloor,
        adjusted.fundingFeeCap, adjusted.fundingFeeFloor,
    )  # fmt: skip


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for all that comes for every symbol at once, and one for every 200 books."""
    return _subscriptions(instruments, kinds, running, _USD_M)


def _subscriptions(
    instruments: Sequence[Instrument],
    kinds: frozenset[Kind],
    running: Running,
    futures: _Futures,
) -> list[Subscription]:
    sockets: list[Subscription] = []
    streams = [name for name, brings in _MARKET_STREAMS if brings & kinds]
    if streams:
        path = f"{futures.market}?streams=" + "/".join(streams)
        sockets.append(wire.socket("market", path, (), kinds & _MARKET_KINDS, (), _SILENCE_S))
    if Kind.DEPTH in kinds:
        depth = frozenset((Kind.DEPTH,))
        symbols = [instrument.symbol for instrument in instruments]
        for name, batch in wire.divided("book", symbols, _BOOKS_PER_SOCKET, running):
            messages = _subscribe(batch, futures)
            sockets.append(wire.socket(name, futures.books, messages, depth, batch, _SILENCE_S))
    return sockets


def _subscribe(symbols: Sequence[str], futures: _Futures) -> tuple[bytes, ...]:
    streams = [f"{symbol.lower()}@{futures.depth}" for symbol in symbols]
    return tuple(
        msgspec.json.encode({"method": "SUBSCRIBE", "params": batch, "id": part})
        for part, batch in enumerate(wire.batches(streams, _PARAMS_PER_MESSAGE), start=1)
    )


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The books of these symbols again; asking twice does no harm here."""
    return _resubscribe(symbols, subscription, _USD_M)


def _resubscribe(
    symbols: Sequence[str], subscription: Subscription, futures: _Futures
) -> tuple[bytes, ...]:
    return _subscribe(symbols, futures) if Kind.DEPTH in subscription.kinds else ()


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Open interest symbol by symbol (no stream has it), settled funding of all in one call."""
    return _polls(instruments, kinds, _USD_M)


def _polls(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], futures: _Futures
) -> list[Poll]:
    asked = _interest_polls(instruments, kinds, futures)
    if Kind.FUNDING in kinds and futures.inverse:  # there the symbol is mandatory
        each = wire.of_each(instruments, f"{futures.api}/fundingRate?limit=2&symbol=")
        over_s = max(60.0, 0.8 * len(each))  # USDⓈ-M allows 500 in 5 min
        asked += wire.spread(each, Kind.FUNDING, every_s=3600.0, over_s=over_s, offset_s=20.0)
    elif Kind.FUNDING in kinds:
        settled = [Request(path=f"{futures.api}/fundingRate?limit=1000")]
        asked += wire.spread(settled, Kind.FUNDING, every_s=3600.0, over_s=0.0, offset_s=20.0)
    return asked


def _interest_polls(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], futures: _Futures
) -> list[Poll]:
    if Kind.OPEN_INTEREST not in kinds:
        return []
    each = wire.of_each(instruments, f"{futures.api}/openInterest?symbol=")
    slow = each[_FAST_POLLS:]
    every_s = 60.0 * max(1, ceil(len(slow) / futures.polled_a_minute))
    return [
        *wire.spread(each[:_FAST_POLLS], Kind.OPEN_INTEREST, every_s=15.0, over_s=15.0),
        *wire.spread(slow, Kind.OPEN_INTEREST, every_s=every_s, over_s=every_s),
    ]


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame, bare or in the ``{"stream", "data"}`` wrapper of combined streams."""
    wrapped = frame.startswith(b'{"stream"')
    if frame.find(b'"depthUpdate"', 0, _HEAD) > 0:
        depth = wire.read(_wrapped_depth, frame).data if wrapped else wire.read(_depth, frame)
        return _book(depth, listing)
    name = _EVENT_NAME.search(frame)
    if name is None:
        return [_reply(frame)]
    if name[1] in _IGNORED:
        return []
    names = (match[1] for match in _EVENT_NAME.finditer(frame, name.start()))
    reader = next((_READERS[known] for known in names if known in _READERS), None)
    if reader is None:
        raise Malformed(f"unknown event type {name[1]!r:.40}")
    data = bytes(wire.read(_wrapped, frame).data) if wrapped else frame
    rows = data if data.startswith(b"[") else b"[%b]" % data  # one event may come bare
    return reader(rows, listing, seen)


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
    if of.multiplier == 1.0 and not of.inverse:
        return [depth]
    bids, asks = wire.per_coin_in(depth.bids, of), wire.per_coin_in(depth.asks, of)
    return [msgspec.structs.replace(depth, bids=bids, asks=asks)]


def _is_of_the_other(st: int, of: Instrument) -> bool:
    """Whether a row is COIN-M's, of a contract that is not; COIN-M's of before 2026 have no mark"""
    return st == _IS_COIN_M and not of.inverse


def _read_marks(data: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    def facts(row: _Mark) -> list[Decoded]:
        of = listing.instruments.get(row.s)
        if of is None or _is_of_the_other(row.st, of):
            return []
        next_at = wire.moment(row.T)
        funding = None
        if next_at is not None:  # dated futures have none and an empty or a zero rate
            funding = wire.predicted(of, row.E, seen, row.r, of.funding_hours, next_at)
        return wire.present(funding, wire.price(of, row.E, seen, row.p, row.i))

    return wire.facts_of_rows(
        lambda: wire.read(_marks, data), lambda: wire.read(_rows, data), _mark, facts
    )


def _read_minis(data: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    def facts(row: _MiniTicker) -> list[Decoded]:
        of = listing.instruments.get(row.s)
        if of is None or _is_of_the_other(row.st, of):
            return []
        usd = row.q  # of inverse contracts ``q`` is in coins
        if of.inverse:
            contracts = wire.not_negative(row.v)
            usd = "" if contracts is None else contracts * of.contract_size
        return wire.present(wire.volume(of, row.E, seen, usd))

    return wire.facts_of_rows(
        lambda: wire.read(_minis, data), lambda: wire.read(_rows, data), _mini, facts
    )


def _read_orders(data: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    def facts(row: _ForceOrder) -> list[Decoded]:
        order = row.o
        of = listing.instruments.get(order.s)
        if of is None or _is_of_the_other(order.st, of) or order.X != "FILLED":
            return []
        # S is the side of the order that closes the position; z x ap is what was filled and at
        # what price (l is only the last fill, p only the limit).
        position = Position.LONG if order.S == "SELL" else Position.SHORT
        units = wire.units_in(of, order.z, order.ap)
        return wire.present(wire.liquidation(of, order.T, seen, position, order.ap, units))

    return wire.facts_of_rows(
        lambda: wire.read(_orders, data), lambda: wire.read(_rows, data), _order, facts
    )


_READERS: dict[bytes, Callable[[bytes, Listing, Ms], list[Decoded]]] = {
    b"markPriceUpdate": _read_marks,
    b"24hrMiniTicker": _read_minis,
    b"forceOrder": _read_orders,
}


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """Open interest of one symbol, or the newest settlement of every symbol."""
    return _decode_poll(poll, body, listing, seen, SPEC.open_interest)


def _decode_poll(
    poll: Poll, body: bytes, listing: Listing, seen: Ms, sides: Sides
) -> list[Decoded]:
    if poll.kind is Kind.OPEN_INTEREST:
        answer = wire.read(_open_interest, body)
        of = listing.instruments.get(answer.symbol)
        units = answer.openInterest  # and no mark price beside them, hence no usd
        return wire.present(of and wire.open_interest(sides, of, answer.time, seen, units, None))
    try:
        return _settlements(wire.read(_settled, body), (), listing, seen)
    except UNREADABLE:
        raws = wire.read(_rows, body)
    unreadable: list[str] = []
    settlements = wire.rows(raws, _read_settlement, unreadable)
    lost = [wire.name_of(raw) for raw, row in zip(raws, settlements, strict=True) if row is None]
    readable = [row for row in settlements if row is not None and row.symbol not in lost]
    events = _settlements(readable, lost, listing, seen)
    return [*events, *wire.unreadable_of(unreadable)]


def _read_settlement(raw: msgspec.Raw) -> _Settled:
    row = wire.read(_settlement, raw)
    wire.number(row.fundingRate)
    return row


def _settlements(
    rows: Sequence[_Settled], lost: Sequence[str], listing: Listing, seen: Ms
) -> list[Decoded]:
    """The newest settlement of every symbol, with the interval that the one before it tells.

    The answer is the newest rows of all symbols, so what it has no row of since its oldest time was
    not settled since. ``lost``: symbols of the rows that could not be read; one of "" may be
    anybody's, so that nobody's settlement before the newest one is known.
    """
    whole = "" not in lost
    newest: dict[str, _Settled] = {}
    before: dict[str, Ms] = {}
    for row in sorted(rows, key=lambda row: row.fundingTime):
        if (last := newest.get(row.symbol)) is not None:
            before[row.symbol] = last.fundingTime
        newest[row.symbol] = row
    oldest = min((row.fundingTime for row in rows), default=0)
    events: list[Decoded] = []
    for symbol, row in newest.items():
        of, since = listing.instruments.get(symbol), before.get(symbol)
        if of is None:
            continue
        unsettled_since = oldest if since is None else None
        terms = Terms(symbol=symbol, settled_before=since, unsettled_since=unsettled_since)
        settled = wire.settled(of, row.fundingTime, seen, row.fundingRate)
        events += wire.present(terms if whole else None, settled)
    return events


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, open interest and index prices, contract by contract."""
    return _histories(instruments, _USD_M)


def _histories(instruments: Sequence[Instrument], futures: _Futures) -> list[HistoryRequest]:
    path = f"{futures.api}/fundingRate?limit={_PAST_ROWS}&startTime={{since}}&symbol="
    rates = wire.histories(instruments, Kind.FUNDING, path, _PAST_ROWS, futures.past_every_s)
    kept = instruments if futures.keeps_interest else ()
    candles = [_candle_history(i, futures) for i in kept if not i.macro]
    return [*rates, *(_kept_history(i, futures) for i in kept if not i.macro), *candles]


def _candle_history(of: Instrument, futures: _Futures) -> HistoryRequest:
    pair = quote(of.symbol.partition("_")[0] if futures.inverse else of.symbol)
    asked = f"interval=5m&limit={_CANDLE_ROWS}&startTime={{since}}&pair={pair}"
    path = f"{futures.api}/indexPriceKlines?{asked}"
    return HistoryRequest(
        request=Request(path=path, weight=2, symbol=of.symbol),
        kind=Kind.PRICE,
        rows=_CANDLE_ROWS,
        every_s=futures.candles_every_s,
    )


def _kept_history(of: Instrument, futures: _Futures) -> HistoryRequest:
    request = _kept_request(of, futures, _KEPT_ROWS)
    return HistoryRequest(
        request=msgspec.structs.replace(
            request, path=f"{request.path}&startTime={{since}}&endTime={{until}}"
        ),
        kind=Kind.OPEN_INTEREST,
        rows=_KEPT_ROWS,
        every_s=1.0,  # of 1000 in 5 minutes
        piece_ms=_KEPT_PIECE,
    )


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """One page of settlements, of the statistics of open interest, or of index prices."""
    return _decode_history(history, body, listing, seen, SPEC.open_interest)


def _decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms, sides: Sides
) -> list[Decoded]:
    of = listing.instruments.get(history.request.symbol)
    if history.kind is Kind.PRICE:
        return wire.candles(of, body)
    if history.kind is Kind.OPEN_INTEREST:

        def kept(row: _Kept) -> list[Decoded]:
            units = wire.not_negative(row.sumOpenInterest)
            value = wire.not_negative(row.sumOpenInterestValue)
            return wire.past_interest(sides, of, row.timestamp, seen, units, value) if of else []

        return wire.facts_of_rows(
            lambda: wire.read(_kept, body), lambda: wire.read(_rows, body), _kept_row, kept
        )

    def facts(row: _Settled) -> list[Decoded]:
        if of is None or row.symbol != of.symbol:
            return []
        return wire.present(wire.settled(of, row.fundingTime, seen, row.fundingRate))

    return wire.facts_of_rows(
        lambda: wire.read(_settled, body), lambda: wire.read(_rows, body), _settlement, facts
    )


_Check = Callable[[bytes, Listing, Ms], list[Decoded]]


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Prices with funding, best prices and volumes of all contracts; statistics of open interest
    and books."""
    return _checks(instruments, _USD_M)


def _checks(instruments: Sequence[Instrument], futures: _Futures) -> list[Request]:
    api = futures.api
    kept = [_kept_request(i, futures, 1) for i in instruments] if futures.keeps_interest else []
    return [
        Request(path=f"{api}/premiumIndex", weight=10),
        Request(path=f"{api}/ticker/bookTicker", weight=5),
        Request(path=f"{api}/ticker/24hr", weight=40),
        *kept,
        *(_snapshot_request(i.symbol, futures, _CHECKED_REACH, 10) for i in instruments),
    ]


def _kept_request(of: Instrument, futures: _Futures, rows: int) -> Request:
    whose = f"symbol={quote(of.symbol)}"
    if futures.inverse:
        whose = f"pair={quote(of.symbol.partition('_')[0])}&contractType=PERPETUAL"
    path = f"{_KEPT}?{whose}&period=5m&limit={rows}"
    return Request(path=path, weight=0, symbol=of.symbol)  # it has a limit of its own


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    return _decode_check(request, body, listing, seen, SPEC.open_interest)


def _decode_check(
    request: Request, body: bytes, listing: Listing, seen: Ms, sides: Sides
) -> list[Decoded]:
    if request.path.startswith(_KEPT):
        of = listing.instruments.get(request.symbol)
        return [] if of is None else _kept_facts(of, wire.read(_kept, body), seen, sides)
    if request.symbol:
        book, of = wire.read(_snapshot, body), listing.instruments.get(request.symbol)
        return (
            [] if of is None else [wire.snapshot(of, book.E, book.bids, book.asks, _CHECKED_REACH)]
        )
    reader = next((read for end, read in _CHECKS.items() if request.path.endswith(end)), None)
    if reader is None:
        raise Malformed(f"{request.path:.60} is not asked for")
    return reader(body, listing, seen)


def _kept_facts(of: Instrument, rows: Sequence[_Kept], seen: Ms, sides: Sides) -> list[Decoded]:
    """The newest row. Its value is in USD, but of inverse contracts in coins, and not read."""
    newest = max(rows, key=lambda row: row.timestamp, default=None)
    if newest is None:
        return []
    units = wire.not_negative(newest.sumOpenInterest)
    usd = wire.not_negative(newest.sumOpenInterestValue)
    at = newest.timestamp
    return wire.present(wire.open_interest(sides, of, at, seen, units, usd))


def _check_reader(
    row: type[_T], facts: Callable[[Instrument, _T, Ms], list[Decoded]], symbol: Callable[[_T], str]
) -> _Check:
    whole = msgspec.json.Decoder(list[row], strict=False)
    single = msgspec.json.Decoder(row, strict=False)

    def read(body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
        def of_row(item: _T) -> list[Decoded]:
            of = listing.instruments.get(symbol(item))
            return [] if of is None else facts(of, item, seen)

        return wire.facts_of_rows(
            lambda: wire.read(whole, body), lambda: wire.read(_rows, body), single, of_row
        )

    return read


def _premium_facts(of: Instrument, row: _Premium, seen: Ms) -> list[Decoded]:
    """``lastFundingRate`` is the running estimate, whatever its name says."""
    due, funding = wire.moment(row.nextFundingTime), None
    if due is not None:
        funding = wire.predicted(of, row.time, seen, row.lastFundingRate, of.funding_hours, due)
    return wire.present(funding, wire.price(of, row.time, seen, row.markPrice, row.indexPrice))


def _best_facts(of: Instrument, row: _Best, seen: Ms) -> list[Decoded]:
    return wire.present(wire.mid(of, row.bidPrice, row.askPrice))


def _volume_facts(of: Instrument, row: _DayTicker, seen: Ms) -> list[Decoded]:
    usd = row.quoteVolume
    if of.inverse:
        contracts = wire.not_negative(row.volume)
        usd = "" if contracts is None else contracts * of.contract_size
    return wire.present(wire.volume(of, wire.moment(row.closeTime) or seen, seen, usd))


_CHECKS: dict[str, _Check] = {
    "/premiumIndex": _check_reader(_Premium, _premium_facts, lambda row: row.symbol),
    "/bookTicker": _check_reader(_Best, _best_facts, lambda row: row.symbol),
    "/24hr": _check_reader(_DayTicker, _volume_facts, lambda row: row.symbol),
}


def resync(symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS) -> Request:
    """A REST snapshot of the most levels there are."""
    return _snapshot_request(symbol, _USD_M, _REACH, 20)


def _snapshot_request(symbol: str, futures: _Futures, reach: int, weight: int) -> Request:
    path = f"{futures.api}/depth?symbol={quote(symbol)}&limit={reach}"
    return Request(path=path, weight=weight, symbol=symbol)


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """The answer to ``resync``."""
    answer = wire.read(_snapshot, body)
    of = listing.instruments.get(symbol)
    if of is None:
        raise Malformed(f"a snapshot of {symbol}, which is not listed")
    return BookUpdate(
        symbol=symbol,
        at=answer.E,
        snapshot=True,
        bids=wire.per_coin_in(answer.bids, of),
        asks=wire.per_coin_in(answer.asks, of),
        last=answer.lastUpdateId,
        reach=_REACH,
    )


class _Alike:
    """Another venue of this protocol: what is read is read as at USDⓈ-M, by what the listing says
    of the contract."""

    def __init__(self, spec: Spec, futures: _Futures) -> None:
        self.SPEC = spec
        self._futures = futures

    next_listing_request = staticmethod(next_listing_request)
    decode = staticmethod(decode)
    decode_snapshot = staticmethod(decode_snapshot)

    def listing_requests(self) -> list[Request]:
        return _listing_requests(self._futures)

    def instruments(self, bodies: Sequence[bytes]) -> ListedContracts:
        return _instruments(bodies, self.SPEC, self._futures)

    def subscriptions(
        self, instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
    ) -> list[Subscription]:
        return _subscriptions(instruments, kinds, running, self._futures)

    def resubscribe(self, symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
        return _resubscribe(symbols, subscription, self._futures)

    def polls(self, instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
        return _polls(instruments, kinds, self._futures)

    def decode_poll(self, poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
        return _decode_poll(poll, body, listing, seen, self.SPEC.open_interest)

    def decode_history(
        self, history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        return _decode_history(history, body, listing, seen, self.SPEC.open_interest)

    def histories(self, instruments: Sequence[Instrument]) -> list[HistoryRequest]:
        return _histories(instruments, self._futures)

    def checks(self, instruments: Sequence[Instrument]) -> list[Request]:
        return _checks(instruments, self._futures)

    def decode_check(
        self, request: Request, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        return _decode_check(request, body, listing, seen, self.SPEC.open_interest)

    def resync(
        self, symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
    ) -> Request:
        return _snapshot_request(symbol, self._futures, _REACH, 20)


COIN_M = _Alike(
    msgspec.structs.replace(
        SPEC,
        name="binance-coinm",
        title="Binance COIN-M",
        websocket="wss://dstream.binance.com",
        rest="https://dapi.binance.com",
        open_interest=Sides(1, "it counts contracts; its documentation has no word on sides"),
        weight_per_minute=400,  # of 2400 for both, of which USDⓈ-M uses four fifths
    ),
    _COIN_M,
)
ASTER = _Alike(
    msgspec.structs.replace(
        SPEC,
        name="aster",
        title="Aster",
        websocket="wss://fstream.asterdex.com",
        rest="https://fapi.asterdex.com",
        open_interest=Sides(None, "neither its documentation nor anybody else says it"),
        weight_per_minute=1200,  # 2400 in an example of exchangeInfo; not confirmed
        no_second_source={Kind.OPEN_INTEREST: "it publishes no statistics of it"},
    ),
    _ASTER,
)
