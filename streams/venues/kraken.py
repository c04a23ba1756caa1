"""Kraken Futures perpetuals: linear ones (PF_) and inverse ones (PI_), websocket v1 and REST v3.

Facts from docs.kraken.com and support.kraken.com as of November 2026 and from recorded frames.
Sizes of linear contracts are in coins, those of inverse ones in contracts of 1 USD. One ticker a
second brings funding, open interest, price and volume; liquidations are trades that say so.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec

from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Instrument, Kind, Ms, Position
from streams.venue import (
    NO_CHANNELS,
    NOTHING,
    BookUpdate,
    Channels,
    Decoded,
    HistoryRequest,
    ListedContracts,
    Listing,
    Malformed,
    Reply,
    Request,
    Running,
    Sides,
    Spec,
    Subscription,
)
from streams.venues import wire

_FUNDING_HOURS = 1.0

SPEC = Spec(
    name="kraken",
    title="Kraken",
    websocket="wss://futures.kraken.com",
    rest="https://futures.kraken.com",
    kinds=frozenset(Kind),
    open_interest=Sides(None, "its documentation says neither of one side nor of both"),
    requests_per_second=5.0,
    no_second_source={
        Kind.FUNDING: "by REST it is in USD of a coin, or in coins of a dollar, and no fraction",
        "funding_interval": "it is an hour there, which is said nowhere",
    },
    tells_settlements=False,  # its feed has the rate in force and the next one
    repeats_liquidations=True,  # a subscription begins with the last 100 trades
    book="whole",
    funding_hours=_FUNDING_HOURS,
)

_PATH = "/ws/v1"
_CONTRACTS = "/derivatives/api/v3/instruments"
_TICKERS = "/derivatives/api/v3/tickers"
_ORDERS = "/derivatives/api/v3/orderbook?symbol="
_PAST_INTEREST = "/api/charts/v1/analytics/{}/open-interest?interval=300"
_PAST_STEP, _PAST_PIECE, _PAST_ROWS = 5 * MINUTE, 8 * HOUR, 97
"""Nobody says how many rows an answer has at most."""

_TICKER_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
_TICKER, _TRADES, _BOOKS = "ticker", "trade", "book"
_TICKERS_PER_SOCKET = 100
_BOOKS_PER_SOCKET = 50

_SILENCE_S = {Kind.PRICE: 60.0, Kind.DEPTH: 60.0}
_TYPES = {"PF_": "flexible_futures", "PI_": "futures_inverse"}
_COIN = re.compile("[A-Z0-9]+")
"""Shares are written with a small letter, as in AAPLx."""
_DONE = frozenset(("info", "subscribed", "unsubscribed"))
_IGNORED = frozenset(("heartbeat", "ticker_lite"))


class _Contract(msgspec.Struct):
    symbol: str
    type: str = ""
    base: str = ""
    contractSize: wire.Text = None
    tradeable: bool = False
    tradfi: bool = False
    lastTradingTime: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    maxRelativeFundingRate: wire.Text = None


class _Listed(msgspec.Struct):
    instruments: list[msgspec.Raw]


class _Row(msgspec.Struct):
    symbol: str
    openInterest: wire.Text = None
    markPrice: wire.Text = None
    vol24h: wire.Text = None
    volumeQuote: wire.Text = None
    indexPrice: wire.Text = None
    bid: wire.Text = None
    ask: wire.Text = None


_ServerTime = Annotated[datetime, msgspec.Meta(tz=True)]


class _Rows(msgspec.Struct):
    tickers: list[msgspec.Raw]
    serverTime: _ServerTime | None = None


class _Sides(msgspec.Struct):
    bids: wire.Levels
    asks: wire.Levels


class _Orders(msgspec.Struct):
    orderBook: _Sides
    serverTime: _ServerTime | None = None


class _Series(msgspec.Struct):
    timestamp: list[int]
    data: list[tuple[wire.Text, wire.Text, wire.Text, wire.Text]]


class _Analytics(msgspec.Struct):
    """Open, high, low and close of the 5 minutes that begin at each time."""

    result: _Series


class _Ticker(msgspec.Struct):
    product_id: str
    time: wire.Time
    openInterest: wire.Text = None
    markPrice: wire.Text = None
    index: wire.Text = None
    relative_funding_rate: wire.Text = None
    next_funding_rate_time: wire.Text = None
    volume: wire.Text = None
    volumeQuote: wire.Text = None


class _Trade(msgspec.Struct):
    product_id: str
    side: Literal["buy", "sell"]
    type: str
    time: wire.Time
    qty: wire.Text
    price: wire.Text
    uid: Annotated[str, msgspec.Meta(max_length=64)] = ""


class _Trades(msgspec.Struct):
    trades: list[_Trade]


class _Level(msgspec.Struct):
    price: float
    qty: float


class _Book(msgspec.Struct):
    product_id: str
    timestamp: wire.Time
    seq: int
    bids: list[_Level]
    asks: list[_Level]


class _Change(msgspec.Struct):
    product_id: str
    side: Literal["buy", "sell"]
    seq: int
    price: float
    qty: float
    timestamp: wire.Time | None = None


class _Frame(msgspec.Struct):
    feed: str = ""
    event: str = ""
    message: str = ""


_frame = msgspec.json.Decoder(_Frame)
_ticker = msgspec.json.Decoder(_Ticker)
_trade = msgspec.json.Decoder(_Trade)
_trades = msgspec.json.Decoder(_Trades)
_book = msgspec.json.Decoder(_Book)
_change = msgspec.json.Decoder(_Change)
_listed = msgspec.json.Decoder(_Listed)
_contract = msgspec.json.Decoder(_Contract)
_rows = msgspec.json.Decoder(_Rows)
_row = msgspec.json.Decoder(_Row)
_orders = msgspec.json.Decoder(_Orders)
_analytics = msgspec.json.Decoder(_Analytics)


def listing_requests() -> list[Request]:
    """All contracts, then the tickers of all."""
    return [Request(path=_CONTRACTS), Request(path=_TICKERS, needed=False)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Perpetuals on coins that trade or end; no dated contracts, no stocks, metals and the like.

    Tickers only rank.
    """
    unreadable: list[str] = []
    tickers = {
        row.symbol: row
        for row in wire.ranking(
            lambda: wire.read(_rows, bodies[1]).tickers,
            lambda raw: _readable(wire.read(_row, raw)),
            unreadable,
            "tickers",
        )
    }

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        prefix = row.symbol[:3].upper()  # in 2021 they were written small
        base = row.base or row.symbol[3:].upper().removesuffix("USD")
        wanted = (
            _TYPES.get(prefix) == row.type
            and row.tradeable
            and not row.tradfi
            and _COIN.fullmatch(base)
        )
        return _instrument(row, base, prefix == "PI_", tickers.get(row.symbol)) if wanted else None

    listed = wire.rows(wire.read(_listed, bodies[0]).instruments, build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _readable(row: _Row) -> _Row:
    """The row; raises where what ranks cannot be read."""
    for value in (row.openInterest, row.markPrice, row.vol24h, row.volumeQuote):
        wire.number(value)
    return row


def _instrument(row: _Contract, base: str, inverse: bool, ticker: _Row | None) -> Instrument:
    size, end = wire.positive(row.contractSize), row.lastTradingTime
    if size is None:
        raise Malformed(f"{row.symbol}: a contract of no size")
    asset, multiplier = wire.underlying(base)
    held = traded = None
    if ticker is not None:
        contracts, mark = wire.not_negative(ticker.openInterest), wire.positive(ticker.markPrice)
        if contracts is not None and (inverse or mark is not None):
            held = contracts * size * (1.0 if inverse else mark or 0.0)
        traded = wire.not_negative(ticker.vol24h if inverse else ticker.volumeQuote)
    return Instrument(
        venue=SPEC.name,
        symbol=row.symbol.upper(),
        asset=asset,
        quote="USD",
        multiplier=multiplier,
        contract_size=size,
        inverse=inverse,
        funding_hours=_FUNDING_HOURS,
        funding_cap=wire.cap(row.maxRelativeFundingRate),
        open_interest_usd=SPEC.open_interest.one_side(held),
        volume_24h_usd=traded,
        ends_at=None if end is None else round(end.timestamp() * 1_000),
    )


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for the tickers and trades of 100 contracts, one for 50 books."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    for group, feeds, size in (
        ("market", _TICKER_KINDS | {Kind.LIQUIDATION}, _TICKERS_PER_SOCKET),
        ("book", frozenset((Kind.DEPTH,)), _BOOKS_PER_SOCKET),
    ):
        brings = feeds & kinds
        for name, batch in wire.divided(group, symbols if brings else (), size, running):
            asked = tuple(_ask("subscribe", feed, batch) for feed in _feeds(brings))
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _feeds(kinds: frozenset[Kind]) -> list[str]:
    """The feeds that bring these kinds."""
    feeds = ((_TICKER, _TICKER_KINDS), (_TRADES, {Kind.LIQUIDATION}), (_BOOKS, {Kind.DEPTH}))
    return [feed for feed, brings in feeds if brings & kinds]


def _ask(event: str, feed: str, symbols: Sequence[str]) -> bytes:
    return msgspec.json.encode({"event": event, "feed": feed, "product_ids": list(symbols)})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request a symbol and feed."""
    feeds = _feeds(subscription.kinds)
    return tuple(_ask("subscribe", feed, [symbol]) for symbol in symbols for feed in feeds)


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when it is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    return tuple(_ask(event, _BOOKS, [symbol]) for event in ("unsubscribe", "subscribe"))


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public socket."""
    message = wire.read(_frame, frame)
    if message.event:
        return [Reply(ok=message.event in _DONE, text=message.message)]
    match message.feed:
        case "book":
            return _read_change(frame, listing, seen)
        case "book_snapshot":
            return _read_book(frame, listing)
        case "ticker":
            return _read_ticker(frame, listing, seen)
        case "trade":
            return _trade_facts(wire.read(_trade, frame), listing, seen)
        case "trade_snapshot":
            rows = wire.read(_trades, frame).trades
            return [fact for row in rows for fact in _trade_facts(row, listing, seen)]
        case feed if feed in _IGNORED:
            return []
        case feed:
            raise Malformed(f"unknown feed {feed!r:.40}")


def _read_ticker(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """``relative_funding_rate`` is a fraction for the hour that ends at the next funding time;
    ``funding_rate`` is USD for a coin, or coins for a contract of 1 USD. A time of 0: no funding
    yet."""
    row = wire.read(_ticker, frame)
    of = listing.instruments.get(row.product_id)
    if of is None:
        return []
    at, next_at = row.time, wire.moment(row.next_funding_rate_time)
    rate = None if next_at is None else row.relative_funding_rate
    return wire.present(
        wire.predicted(of, at, seen, rate, _FUNDING_HOURS, next_at),
        _open_interest(of, row, at, seen),
        wire.price(of, at, seen, row.markPrice, row.index),
        wire.volume(of, at, seen, row.volume if of.inverse else row.volumeQuote),
    )


def _open_interest(of: Instrument, row: _Ticker | _Row, at: Ms, seen: Ms) -> Decoded | None:
    held, mark = wire.not_negative(row.openInterest), wire.positive(row.markPrice)
    units = None if held is None else held if of.inverse else held * of.contract_size
    usd = None if units is None or mark is None else units * mark
    return wire.open_interest(SPEC.open_interest, of, at, seen, units, usd, row.markPrice)


def _trade_facts(row: _Trade, listing: Listing, seen: Ms) -> list[Decoded]:
    """``side`` is the taker's, whose order closes the position. Positions that others take over
    (assignment, termination) are no orders."""
    of = listing.instruments.get(row.product_id)
    if of is None or row.type != "liquidation":
        return []
    position = Position.LONG if row.side == "sell" else Position.SHORT
    coins = wire.units_in(of, row.qty, row.price)
    order = wire.liquidation(of, row.time, seen, position, row.price, coins)
    return [] if order is None else [msgspec.structs.replace(order, trade_id=row.uid)]


def _read_book(frame: bytes, listing: Listing) -> list[Decoded]:
    """The whole book."""
    book = wire.read(_book, frame)
    of = listing.instruments.get(book.product_id)
    if of is None:
        return []
    bids, asks = (
        wire.per_coin_in([(it.price, it.qty) for it in side], of) for side in (book.bids, book.asks)
    )
    return [
        BookUpdate(
            symbol=of.symbol,
            at=book.timestamp,
            snapshot=True,
            bids=bids,
            asks=asks,
            first=book.seq,
            last=book.seq,
        )
    ]


def _read_change(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """One level; each change has the number after that of the one before."""
    change = wire.read(_change, frame)
    of = listing.instruments.get(change.product_id)
    if of is None:
        return []
    level = wire.per_coin_in([(change.price, change.qty)], of)
    nothing: wire.Levels = []
    is_bid = change.side == "buy"
    return [
        BookUpdate(
            symbol=of.symbol,
            at=change.timestamp or seen,
            snapshot=False,
            bids=level if is_bid else nothing,
            asks=nothing if is_bid else level,
            first=change.seq,
            last=change.seq,
        )
    ]


polls, decode_poll = wire.no_polls, wire.decode_no_poll


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Open interest, contract by contract. Settled funding is not asked for: of what the feed says
    nothing goes on from it."""
    return [
        HistoryRequest(
            request=Request(
                path=_PAST_INTEREST.format(quote(i.symbol)) + "&since={since_s}&to={until_s}",
                symbol=i.symbol,
            ),
            kind=Kind.OPEN_INTEREST,
            rows=_PAST_ROWS,
            every_s=0.5,
            piece_ms=_PAST_PIECE,
        )
        for i in instruments
    ]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """Open interest at the end of each 5 minutes that are over, counted as in the tickers."""
    of = listing.instruments.get(history.request.symbol)
    series = wire.read(_analytics, body).result
    if len(series.timestamp) != len(series.data):
        raise Malformed(f"{len(series.timestamp)} times of {len(series.data)} values")
    facts: list[Decoded] = []
    for time, (*_, close) in zip(series.timestamp, series.data, strict=True):
        at, held = wire.moment(time * SECOND + _PAST_STEP), wire.not_negative(close)
        if at is None:
            raise Malformed(f"open interest at {time!r:.20}")
        if of is not None and held is not None and at <= seen:
            units = held if of.inverse else held * of.contract_size
            facts += wire.past_interest(SPEC.open_interest, of, at, seen, units, None)
    return facts


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """The tickers of all contracts, and books."""
    return [Request(path=_TICKERS), *wire.of_each(instruments, _ORDERS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    if request.symbol:
        of, orders = listing.instruments.get(request.symbol), wire.read(_orders, body)
        book, at = orders.orderBook, _moment(orders.serverTime, seen)
        return [] if of is None else [wire.snapshot(of, at, book.bids, book.asks, 0)]
    answer = wire.read(_rows, body)
    at = _moment(answer.serverTime, seen)

    def facts(row: _Row) -> list[Decoded]:
        of = listing.instruments.get(row.symbol.upper())
        if of is None:
            return []
        return wire.present(
            _open_interest(of, row, at, seen),
            wire.price(of, at, seen, row.markPrice, row.indexPrice),
            wire.volume(of, at, seen, row.vol24h if of.inverse else row.volumeQuote),
            wire.mid(of, row.bid, row.ask),
        )

    return wire.facts_of_rows(
        lambda: [wire.read(_row, raw) for raw in answer.tickers],
        lambda: answer.tickers,
        _row,
        facts,
    )


def _moment(time: datetime | None, seen: Ms) -> Ms:
    return seen if time is None else wire.moment(time.timestamp() * 1_000) or seen


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
