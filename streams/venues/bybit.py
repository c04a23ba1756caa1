"""Bybit, API v5: linear perpetuals (USDT and USDC) by the functions of this module, inverse ones by
``INVERSE``, the spot market by ``SPOT``.

Facts from bybit-exchange.github.io/docs/v5 as of November 2026. A subscribe request is all or
nothing: one unknown topic, or one that is already subscribed, refuses the whole request.

They are three venues with one protocol: another path and category, other contracts. Inverse ones
are of 1 USD: so count open interest, liquidations, volumes and books, and what is in USD for linear
ones is in coins (``singleOpenInterestValue``, ``turnover24h``). Of spot, pairs against USDT and
USDC, a ticker comes whole, and a request has ten topics at most.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import quote

import msgspec

from streams.contracts import FUNDING_HOURS, Terms
from streams.durations import HOUR
from streams.events import SPOT_KINDS, Instrument, Kind, Ms, Position
from streams.venue import (
    NO_CHANNELS,
    NO_INTEREST,
    NOTHING,
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
    name="bybit",
    title="Bybit",
    websocket="wss://stream.bybit.com",
    rest="https://api.bybit.com",
    kinds=frozenset(Kind),
    open_interest=Sides(
        2, 'bybit-exchange.github.io/docs/v5/market/open-interest: "the sum of both sides"'
    ),
    requests_per_second=20.0,
    ping=b'{"op":"ping"}',
    sends_per_second=10.0,
    rows="changes",
    book="the best 1000 of the 20 largest, 200 of others",
    all_liquidations=True,
)


class _Category(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between them."""

    name: str
    """In paths."""
    contract_type: str
    quotes: frozenset[str]
    inverse: bool
    spot: bool = False
    topics_per_message: int = 100


_LINEAR = _Category(
    name="linear",
    contract_type="LinearPerpetual",
    quotes=frozenset(("USDT", "USDC")),
    inverse=False,
)
_INVERSE = _Category(
    name="inverse",
    contract_type="InversePerpetual",
    quotes=frozenset(("USD",)),
    inverse=True,
)

_SPOT = _Category(
    name="spot",
    contract_type="",
    quotes=frozenset(("USDT", "USDC")),
    inverse=False,
    spot=True,
    topics_per_message=10,  # docs/v5/ws/connect
)

_CANDLE_ROWS = 1000
_PAST_ROWS = 200
_PAST_PIECE: Ms = 16 * HOUR
"""193 rows of 5 min."""
_DEEP = 1000
_SHALLOW = 200
_DEEP_BOOKS = 20
_SYMBOLS_PER_SOCKET = 200
_ARGS_CHARACTERS = 21_000  # per connection, docs/v5/ws/connect
_ENDING = frozenset(("Delivering", "Closed"))
_NOT_CRYPTO = frozenset(("stock", "xstocks", "commodity", "forex"))

_TICKER_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
_FEEDS = (("tickers", _TICKER_KINDS), ("allLiquidation", frozenset((Kind.LIQUIDATION,))))
# Deltas carry only what changed, and of a ticker only the mark price is sure to.
_SILENCE_S = {Kind.PRICE: 30.0, Kind.DEPTH: 30.0}
_USUAL_FUNDING_HOURS = 8.0
_HOURS_OF_MINUTES = {hours * 60: float(hours) for hours in FUNDING_HOURS}
_TOPIC = re.compile(rb'"topic"\s*:\s*"(\w+)\.')
_REFUSED_TOPIC = re.compile(r"topic:([^\s,]+)")
_IGNORED = frozenset((b"publicTrade", b"kline", b"liquidation"))  # the last was retired in 2025


class _Contract(msgspec.Struct):
    symbol: str
    contractType: str = ""
    status: str = ""
    baseCoin: str = ""
    quoteCoin: str = ""
    fundingInterval: int = 0
    upperFundingRate: wire.Text = ""
    lowerFundingRate: wire.Text = ""
    symbolType: str | None = None
    deliveryTime: wire.Text = ""


class _Ticker(msgspec.Struct):
    symbol: str
    fundingRate: wire.Text = ""
    fundingIntervalHour: wire.Text = ""
    fundingCap: wire.Text = ""
    nextFundingTime: wire.Text = ""
    singleOpenInterest: wire.Text = ""
    singleOpenInterestValue: wire.Text = ""
    openInterest: wire.Text = ""
    openInterestValue: wire.Text = ""
    markPrice: wire.Text = ""
    lastPrice: wire.Text = ""
    indexPrice: wire.Text = None
    turnover24h: wire.Text = ""
    volume24h: wire.Text = ""
    bid1Price: wire.Text = ""
    ask1Price: wire.Text = ""


class _Settled(msgspec.Struct):
    symbol: str
    fundingRate: wire.Text
    fundingRateTimestamp: wire.Time


class _Kept(msgspec.Struct):
    timestamp: wire.Time
    openInterest: wire.Text


class _KeptRows(msgspec.Struct):
    # a field called "list" hides the type where annotations are read late, as in Python 3.14
    rows: list[_Kept] = msgspec.field(name="list")


class _CandleList(msgspec.Struct):
    rows: msgspec.Raw = msgspec.field(name="list")


class _Answer(msgspec.Struct):
    retCode: int
    retMsg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")
    time: wire.Text = ""


class _Rows(msgspec.Struct):
    rows: list[msgspec.Raw] = msgspec.field(name="list")
    nextPageCursor: str = ""


class _Settlements(msgspec.Struct):
    rows: list[_Settled] = msgspec.field(name="list")


class _TickerFrame(msgspec.Struct):
    ts: wire.Time
    data: _Ticker


class _Book(msgspec.Struct):
    s: str
    b: wire.Levels
    a: wire.Levels
    u: int


class _BookAnswer(_Book):
    ts: wire.Time


class _BookFrame(msgspec.Struct):
    topic: str
    type: str
    ts: wire.Time
    data: _Book


class _Row(msgspec.Struct):
    T: wire.Time
    s: str
    S: Literal["Buy", "Sell"]
    v: wire.Text
    p: wire.Text


class _LiquidationFrame(msgspec.Struct):
    data: list[_Row]


class _LiquidationRows(msgspec.Struct):
    data: list[msgspec.Raw]


class _Status(msgspec.Struct):
    op: str
    success: bool = True
    ret_msg: str = ""


class _Asked(msgspec.Struct):
    args: list[str]


_answer = msgspec.json.Decoder(_Answer)
_rows = msgspec.json.Decoder(_Rows)
_contract = msgspec.json.Decoder(_Contract, strict=False)
_ticker = msgspec.json.Decoder(_Ticker)
_settlements = msgspec.json.Decoder(_Settlements, strict=False)
_settled = msgspec.json.Decoder(_Settled, strict=False)
_kept = msgspec.json.Decoder(_KeptRows, strict=False)
_candle_list = msgspec.json.Decoder(_CandleList)
_kept_row = msgspec.json.Decoder(_Kept, strict=False)
_ticker_frame = msgspec.json.Decoder(_TickerFrame, strict=False)
_book_answer = msgspec.json.Decoder(_BookAnswer, strict=False)
_book_frame = msgspec.json.Decoder(_BookFrame, strict=False)
_liquidation_frame = msgspec.json.Decoder(_LiquidationFrame, strict=False)
_liquidation_rows = msgspec.json.Decoder(_LiquidationRows)
_liquidation = msgspec.json.Decoder(_Row, strict=False)
_status = msgspec.json.Decoder(_Status)
_asked = msgspec.json.Decoder(_Asked)


def _read(body: bytes) -> _Answer:
    answer = wire.read(_answer, body)
    if answer.retCode != 0:
        raise Malformed(f"Bybit answered {answer.retCode}: {answer.retMsg:.80}")
    return answer


def _result(body: bytes) -> msgspec.Raw:
    return _read(body).result


def listing_requests() -> list[Request]:
    """Tickers of all contracts, then the contracts, which come in pages."""
    return _listing_requests(_LINEAR)


def _listing_requests(category: _Category) -> list[Request]:
    return [
        Request(path=f"/v5/market/tickers?category={category.name}"),
        Request(path=f"/v5/market/instruments-info?category={category.name}&limit=1000"),
    ]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """The next page of contracts. Cursors arrive percent-encoded and go back as they came."""
    cursor = wire.read(_rows, _result(body)).nextPageCursor
    if not cursor:
        return None
    path = request.path.partition("&cursor=")[0]
    return Request(path=f"{path}&cursor={quote(cursor, safe='%')}")


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Linear perpetuals that trade or end; without dated futures, stocks, commodities, forex.

    Tickers only rank: a contract whose ticker cannot be read has no open interest and no volume.
    """
    return _instruments(bodies, SPEC, _LINEAR)


def _instruments(bodies: Sequence[bytes], spec: Spec, category: _Category) -> ListedContracts:
    unreadable: list[str] = []

    def tickers() -> list[msgspec.Raw]:
        return wire.read(_rows, _result(bodies[0])).rows

    def read_sizes(raw: msgspec.Raw) -> tuple[str, tuple[float | None, float | None]]:
        """A symbol, its open interest and its volume, both in USD."""
        row = wire.read(_ticker, raw)
        counted = _both_sides(row)[0 if category.inverse else 1]
        volume = row.volume24h if category.inverse else row.turnover24h
        return row.symbol, (spec.open_interest.one_side(counted), wire.not_negative(volume))

    sizes = dict(wire.ranking(tickers, read_sizes, unreadable, "tickers"))

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        wanted = (
            row.contractType == category.contract_type
            and (row.status == "Trading" or (row.status in _ENDING and not category.spot))
            and row.quoteCoin in category.quotes
            and row.symbolType not in _NOT_CRYPTO
        )
        if not wanted:
            return None
        instrument = _instrument(row, sizes.get(row.symbol, (None, None)))
        if category.spot:
            instrument = msgspec.structs.replace(
                instrument, spot=True, funding_hours=None, funding_assumed=False, ends_at=None
            )
        return msgspec.structs.replace(instrument, venue=spec.name, inverse=category.inverse)

    raws = [raw for body in bodies[1:] for raw in wire.read(_rows, _result(body)).rows]
    listed = wire.rows(raws, build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _instrument(row: _Contract, sizes: tuple[float | None, float | None]) -> Instrument:
    open_interest_usd, volume_usd = sizes
    asset, multiplier = wire.underlying(row.baseCoin)
    limits = (row.upperFundingRate, row.lowerFundingRate)
    hours = _HOURS_OF_MINUTES.get(row.fundingInterval)
    return Instrument(
        venue=SPEC.name,
        symbol=row.symbol,
        asset=asset,
        quote=row.quoteCoin,
        # nothing says what the index of BTCPERP is in, which is quoted in USDC
        index_in=None if row.symbol.endswith(row.quoteCoin) else "",
        multiplier=multiplier,
        funding_hours=hours or _USUAL_FUNDING_HOURS,
        funding_assumed=hours is None,
        funding_cap=max(filter(None, map(_size, limits)), default=None),
        open_interest_usd=open_interest_usd,
        volume_24h_usd=volume_usd,
        ends_at=0 if row.status in _ENDING else wire.end_of(row.deliveryTime),
    )


def _size(rate: wire.Text) -> float | None:
    value = wire.fraction(rate)
    return None if value is None else abs(value)


def _both_sides(ticker: _Ticker) -> tuple[float | None, float | None]:
    """Open interest of both sides in units and USD: twice the newer fields of one, if there."""
    units = wire.not_negative(ticker.openInterest)
    usd = wire.not_negative(ticker.openInterestValue)
    single = wire.not_negative(ticker.singleOpenInterest)
    single_usd = wire.not_negative(ticker.singleOpenInterestValue)
    return (
        units if single is None else 2 * single,
        usd if single_usd is None else 2 * single_usd,
    )


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """Sockets for tickers with liquidations and sockets for books, within the args budget."""
    return _subscriptions(instruments, kinds, running, _LINEAR)


def _subscriptions(
    instruments: Sequence[Instrument],
    kinds: frozenset[Kind],
    running: Running,
    category: _Category,
) -> list[Subscription]:
    symbols = [instrument.symbol for instrument in instruments]
    feeds = [name for name, brings in _FEEDS if brings & kinds]
    topics = {symbol: [f"{name}.{symbol}" for name in feeds] for symbol in symbols if feeds}
    brings = kinds & (_TICKER_KINDS | {Kind.LIQUIDATION})
    sockets = _sockets("market", topics, brings, running, category)
    if Kind.DEPTH in kinds:
        books = {
            symbol: [f"orderbook.{_DEEP if place < _DEEP_BOOKS else _SHALLOW}.{symbol}"]
            for place, symbol in enumerate(symbols)
        }
        sockets += _sockets("book", books, frozenset((Kind.DEPTH,)), running, category)
    return sockets


def _sockets(
    group: str,
    topics: Mapping[str, list[str]],
    kinds: frozenset[Kind],
    running: Running,
    category: _Category,
) -> list[Subscription]:
    """``topics``: what is asked for of each symbol."""
    sizes = [sum(len(topic.encode()) + 3 for topic in of) for of in topics.values()]
    most = min(_SYMBOLS_PER_SOCKET, _ARGS_CHARACTERS // max(sizes, default=1))  # 3: quotes, comma
    sockets: list[Subscription] = []
    for name, batch in wire.divided(group, [*topics], most, running):
        at_once = category.topics_per_message // len(topics[batch[0]])
        messages = tuple(
            _ask("subscribe", [topic for symbol in symbols for topic in topics[symbol]])
            for symbols in wire.batches(batch, at_once)
        )
        path = f"/v5/public/{category.name}"
        sockets.append(wire.socket(name, path, messages, kinds, batch, _SILENCE_S))
    return sockets


def _ask(op: str, topics: list[str]) -> bytes:
    return msgspec.json.encode({"op": op, "args": topics})


def _topics(subscription: Subscription, symbol: str) -> list[str]:
    asked = (topic for message in subscription.messages for topic in _asked.decode(message).args)
    return [topic for topic in asked if topic.rpartition(".")[2] == symbol]


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request a symbol: those already subscribed are refused alone and keep coming."""
    asked = (_topics(subscription, symbol) for symbol in symbols)
    return tuple(_ask("subscribe", topics) for topics in asked if topics)


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when its topic is subscribed anew."""
    topics = [t for t in _topics(subscription, symbol) if t.startswith("orderbook.")]
    return (_ask("unsubscribe", topics), _ask("subscribe", topics)) if topics else ()


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Settled funding, symbol by symbol, spread over the minute after each full hour."""
    return _polls(instruments, kinds, _LINEAR)


def _polls(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], category: _Category
) -> list[Poll]:
    if Kind.FUNDING not in kinds:
        return []
    path = f"/v5/market/funding/history?category={category.name}&limit=2&symbol="
    requests = wire.of_each(instruments, path)
    return wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=60.0, offset_s=30.0)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public stream."""
    return _decode(frame, listing, seen, SPEC.open_interest)


def _decode(frame: bytes, listing: Listing, seen: Ms, sides: Sides) -> list[Decoded]:
    topic = _TOPIC.search(frame)
    if topic is None:
        return [_reply(frame)]
    if topic[1] in _IGNORED:
        return []
    reader = _READERS.get(topic[1])
    if reader is None:
        raise Malformed(f"unknown topic {topic[1]!r:.40}")
    return reader(frame, listing, seen, sides)


def _reply(frame: bytes) -> Reply:
    status = wire.read(_status, frame)
    # A topic subscribed twice keeps coming: nothing that was asked for is missing.
    if status.success or "already subscribed" in status.ret_msg:
        return Reply(ok=True, text=status.ret_msg)
    refused = {topic.rpartition(".")[2] for topic in _REFUSED_TOPIC.findall(status.ret_msg)}
    return Reply(ok=False, text=status.ret_msg, symbols=tuple(sorted(refused)))


def _read_ticker(frame: bytes, listing: Listing, seen: Ms, sides: Sides) -> list[Decoded]:
    """A delta omits what did not change: what it omits is no event."""
    message = wire.read(_ticker_frame, frame)
    of = listing.instruments.get(message.data.symbol)
    return [] if of is None else _ticker_facts(of, message.data, message.ts, seen, sides)


def _ticker_facts(of: Instrument, ticker: _Ticker, at: Ms, seen: Ms, sides: Sides) -> list[Decoded]:
    if of.spot:
        return wire.present(
            wire.last_price(of, at, seen, ticker.lastPrice),
            wire.volume(of, at, seen, ticker.turnover24h),
        )
    stated_hours = wire.number(ticker.fundingIntervalHour)
    hours, cap = wire.interval(stated_hours), wire.positive(ticker.fundingCap)
    terms = None
    no_index = ticker.indexPrice is not None and wire.positive(ticker.indexPrice) is None
    if hours is not None or cap is not None or no_index:
        terms = Terms(
            symbol=of.symbol, funding_hours=hours, funding_cap=cap, index_unknown=no_index
        )
    if stated_hours is None:
        hours = of.funding_hours
    next_at = wire.moment(ticker.nextFundingTime)
    return wire.present(
        terms,
        wire.predicted(of, at, seen, ticker.fundingRate, hours, next_at),
        wire.open_interest(sides, of, at, seen, *_both_sides(ticker), ticker.markPrice),
        wire.price(of, at, seen, ticker.markPrice, ticker.indexPrice),
        wire.volume(of, at, seen, ticker.volume24h if of.inverse else ticker.turnover24h),
    )


def _read_book(frame: bytes, listing: Listing, seen: Ms, sides: Sides) -> list[Decoded]:
    message = wire.read(_book_frame, frame)
    book = message.data
    of = listing.instruments.get(book.s)
    if of is None:
        return []
    reach = wire.number(message.topic.split(".")[1])
    return [
        BookUpdate(
            symbol=book.s,
            at=message.ts,
            snapshot=message.type == "snapshot" or book.u == 1,
            bids=wire.per_coin_in(book.b, of),
            asks=wire.per_coin_in(book.a, of),
            first=book.u,
            last=book.u,
            reach=int(reach or 0),
            rolling=True,
        )
    ]


def _read_liquidations(frame: bytes, listing: Listing, seen: Ms, sides: Sides) -> list[Decoded]:
    def facts(row: _Row) -> list[Decoded]:
        of = listing.instruments.get(row.s)
        if of is None:
            return []
        # S is the side of the position here, not of an order: Buy is a long liquidated.
        position = Position.LONG if row.S == "Buy" else Position.SHORT
        units = wire.units_in(of, row.v, row.p)
        return wire.present(wire.liquidation(of, row.T, seen, position, row.p, units))

    return wire.facts_of_rows(
        lambda: wire.read(_liquidation_frame, frame).data,
        lambda: wire.read(_liquidation_rows, frame).data,
        _liquidation,
        facts,
    )


_READERS: dict[bytes, Callable[[bytes, Listing, Ms, Sides], list[Decoded]]] = {
    b"tickers": _read_ticker,
    b"orderbook": _read_book,
    b"allLiquidation": _read_liquidations,
}


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The newest settlement of one symbol; the one before tells the interval."""
    rows = wire.read(_settlements, _result(body)).rows
    if not rows:
        return []
    newest = max(rows, key=lambda row: row.fundingRateTimestamp)
    before = [
        row.fundingRateTimestamp
        for row in rows
        if row.symbol == newest.symbol and row.fundingRateTimestamp < newest.fundingRateTimestamp
    ]
    of, since = listing.instruments.get(newest.symbol), max(before, default=None)
    at, rate = newest.fundingRateTimestamp, newest.fundingRate
    if of is None:
        return []
    terms = None if since is None else Terms(symbol=of.symbol, settled_before=since)
    return wire.present(terms, wire.settled(of, at, seen, rate))


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, open interest and index prices, contract by contract, the newest first."""
    return _histories(instruments, _LINEAR)


def _histories(instruments: Sequence[Instrument], category: _Category) -> list[HistoryRequest]:
    rows = f"category={category.name}&limit={_PAST_ROWS}&endTime={{until}}"
    path = f"/v5/market/funding/history?{rows}&symbol="
    rates = wire.histories(instruments, Kind.FUNDING, path, _PAST_ROWS, every_s=0.5)
    piece = f"category={category.name}&limit={_PAST_ROWS}&startTime={{since}}&endTime={{until}}"
    path = f"/v5/market/open-interest?{piece}&intervalTime=5min&symbol="
    interest = wire.histories(instruments, Kind.OPEN_INTEREST, path, _PAST_ROWS, 0.5, _PAST_PIECE)
    rows = f"category={category.name}&interval=5&limit={_CANDLE_ROWS}&end={{until}}"
    path = f"/v5/market/index-price-kline?{rows}&symbol="
    return [*rates, *interest, *wire.histories(instruments, Kind.PRICE, path, _CANDLE_ROWS, 0.5)]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """One page of settlements, of open interest, which counts both sides, or of index prices."""
    return _decode_history(history, body, listing, seen, SPEC.open_interest)


def _decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms, sides: Sides
) -> list[Decoded]:
    of, result = listing.instruments.get(history.request.symbol), _result(body)
    if history.kind is Kind.PRICE:
        return wire.candles(of, wire.read(_candle_list, result).rows)
    if history.kind is Kind.OPEN_INTEREST:

        def kept(row: _Kept) -> list[Decoded]:
            units = wire.not_negative(row.openInterest)
            return wire.past_interest(sides, of, row.timestamp, seen, units, None) if of else []

        return wire.facts_of_rows(
            lambda: wire.read(_kept, result).rows,
            lambda: wire.read(_rows, result).rows,
            _kept_row,
            kept,
        )

    def facts(row: _Settled) -> list[Decoded]:
        if of is None or row.symbol != of.symbol:
            return []
        return wire.present(wire.settled(of, row.fundingRateTimestamp, seen, row.fundingRate))

    return wire.facts_of_rows(
        lambda: wire.read(_settlements, result).rows,
        lambda: wire.read(_rows, result).rows,
        _settled,
        facts,
    )


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """The tickers of all contracts, and books."""
    return _checks(instruments, _LINEAR)


def _checks(instruments: Sequence[Instrument], category: _Category) -> list[Request]:
    path = f"/v5/market/orderbook?category={category.name}&limit={_SHALLOW}&symbol="
    tickers = Request(path=f"/v5/market/tickers?category={category.name}")
    return [tickers, *wire.of_each(instruments, path)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    return _decode_check(request, body, listing, seen, SPEC.open_interest)


def _decode_check(
    request: Request, body: bytes, listing: Listing, seen: Ms, sides: Sides
) -> list[Decoded]:
    answer = _read(body)
    if request.symbol:
        book, of = wire.read(_book_answer, answer.result), listing.instruments.get(request.symbol)
        return [] if of is None else [wire.snapshot(of, book.ts, book.b, book.a, _SHALLOW)]
    at = wire.moment(answer.time) or seen

    def facts(ticker: _Ticker) -> list[Decoded]:
        of = listing.instruments.get(ticker.symbol)
        if of is None:
            return []
        mid = wire.mid(of, ticker.bid1Price, ticker.ask1Price)
        return [*_ticker_facts(of, ticker, at, seen, sides), *wire.present(mid)]

    raws = wire.read(_rows, answer.result).rows
    return wire.facts_of_rows(
        lambda: [wire.read(_ticker, raw) for raw in raws], lambda: raws, _ticker, facts
    )


class _Alike:
    """Another market of this protocol: what is read is read as at linear contracts, by what the
    listing says of the contract or the pair."""

    def __init__(self, spec: Spec, category: _Category) -> None:
        self.SPEC = spec
        self._category = category

    next_listing_request = staticmethod(next_listing_request)
    resubscribe = staticmethod(resubscribe)
    resync = staticmethod(resync)
    decode_poll = staticmethod(decode_poll)
    decode_snapshot = staticmethod(decode_snapshot)

    def listing_requests(self) -> list[Request]:
        return _listing_requests(self._category)

    def instruments(self, bodies: Sequence[bytes]) -> ListedContracts:
        return _instruments(bodies, self.SPEC, self._category)

    def subscriptions(
        self, instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
    ) -> list[Subscription]:
        return _subscriptions(instruments, kinds & self.SPEC.kinds, running, self._category)

    def polls(self, instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
        return _polls(instruments, kinds & self.SPEC.kinds, self._category)

    def decode_history(
        self, history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        return _decode_history(history, body, listing, seen, self.SPEC.open_interest)

    def histories(self, instruments: Sequence[Instrument]) -> list[HistoryRequest]:
        return [] if self._category.spot else _histories(instruments, self._category)

    def decode(self, frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
        return _decode(frame, listing, seen, self.SPEC.open_interest)

    def checks(self, instruments: Sequence[Instrument]) -> list[Request]:
        return _checks(instruments, self._category)

    def decode_check(
        self, request: Request, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        return _decode_check(request, body, listing, seen, self.SPEC.open_interest)


INVERSE = _Alike(
    msgspec.structs.replace(SPEC, name="bybit-inverse", title="Bybit inverse"), _INVERSE
)
SPOT = _Alike(
    msgspec.structs.replace(
        SPEC,
        name="bybit-spot",
        title="Bybit spot",
        spot=True,
        kinds=SPOT_KINDS,
        open_interest=NO_INTEREST,
        rows="whole",
    ),
    _SPOT,
)
