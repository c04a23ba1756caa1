"""Bitget perpetuals in USDT (USDT-FUTURES): websocket v3, REST v2.

Facts from bitget.com/api-doc as of November 2026 and from recorded frames. Sizes are in coins, but
those of liquidations in USDT. Prices, open interest and volumes of all contracts are one answer by
REST, funding another; the same by socket would be hundreds of frames a second, for which sockets
were closed. Liquidations are on the websocket of v3 alone, which also has the deeper books.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import msgspec

from streams.contracts import Terms
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
    name="bitget",
    title="Bitget",
    websocket="wss://ws.bitget.com",
    rest="https://api.bitget.com",
    kinds=frozenset(Kind),
    open_interest=Sides(
        None, "its documentation says that it is in coins, and neither of one side nor of both"
    ),
    requests_per_second=15.0,  # each path has 20, all of them together 100
    ping=b"ping",
    answers_pings=False,  # its documentation has the text alone, without which it closes
    repeats_liquidations=True,  # other topics begin with what was before; of this nobody says
    connects_per_second=0.9,  # 300 in 5 min
    messages_per_hour=150,  # see _BOOKS_PER_SOCKET
    socket_life_s=86_400,
    sends_per_second=2.0,
    no_second_source=dict.fromkeys(
        (Kind.PRICE, Kind.OPEN_INTEREST, Kind.FUNDING, Kind.VOLUME),
        "it is polled, and the topic of each contract that has it too is not listened to",
    ),
    book="the best 1000",
    all_liquidations=False,
)

_PATH = "/v3/ws/public"
_OF_ALL = "productType=USDT-FUTURES"
_CONTRACTS = f"/api/v2/mix/market/contracts?{_OF_ALL}"
_TICKERS = f"/api/v2/mix/market/tickers?{_OF_ALL}"
_FUNDING = f"/api/v2/mix/market/current-fund-rate?{_OF_ALL}"
_SETTLED = f"/api/v2/mix/market/history-fund-rate?{_OF_ALL}&pageSize=2&symbol="
_PAST_ROWS = 100
_PAST_RATES = (
    f"/api/v2/mix/market/history-fund-rate?{_OF_ALL}&pageSize={_PAST_ROWS}&pageNo={{page}}&symbol="
)
_ORDERS = f"/api/v2/mix/market/merge-depth?{_OF_ALL}&precision=scale0&limit=max&symbol="
_ORDERS_REACH = 100
_POLLS = (  # every, after
    (Kind.PRICE, _TICKERS, 2.0, 0.0),
    (Kind.OPEN_INTEREST, _TICKERS, 5.0, 0.5),
    (Kind.FUNDING, _FUNDING, 30.0, 1.0),
    (Kind.VOLUME, _TICKERS, 60.0, 1.5),
)

_REACH = 1000
_BOOKS_PER_SOCKET = 40
"""Fewer than 50 topics are recommended. A connection may subscribe 240 times an hour; whether
topics or messages count is not said, so topics do: 40 at first, and one in each message after."""
_TOPICS_PER_MESSAGE = 10  # a message of 25 closes the connection

_SILENCE_S = {Kind.DEPTH: 30.0}
_USUAL_FUNDING_HOURS = 8.0
_INST_TYPE = "usdt-futures"  # another spelling is confirmed, and nothing ever comes
_BOOKS, _LIQUIDATION = "books", "liquidation"
_TOPIC = re.compile(rb'"topic"\s*:\s*"([\w-]+)"')
_IGNORED = frozenset(b"ticker publicTrade kline books1 books5 books50".split())

_T = TypeVar("_T")


class _Contract(msgspec.Struct):
    symbol: str
    baseCoin: str = ""
    quoteCoin: str = ""
    symbolType: str = ""
    symbolStatus: str = ""
    offTime: wire.Text | None = ""
    limitOpenTime: wire.Text | None = ""
    fundInterval: wire.Text | None = ""
    isRwa: str = ""


class _Ticker(msgspec.Struct):
    symbol: str
    ts: wire.Time
    markPrice: wire.Text | None = ""
    indexPrice: wire.Text | None = ""
    holdingAmount: wire.Text | None = ""
    quoteVolume: wire.Text | None = ""
    bidPr: wire.Text | None = ""
    askPr: wire.Text | None = ""


class _Rate(msgspec.Struct):
    symbol: str
    fundingRate: wire.Text | None = ""
    fundingRateInterval: wire.Text | None = ""
    nextUpdate: wire.Text | None = ""
    minFundingRate: wire.Text | None = ""
    maxFundingRate: wire.Text | None = ""


class _Settled(msgspec.Struct):
    symbol: str
    fundingRate: wire.Text
    fundingTime: wire.Time


class _Answer(msgspec.Struct):
    code: str
    data: msgspec.Raw = msgspec.Raw(b"[]")
    msg: str = ""
    requestTime: wire.Text | None = ""


class _Row(msgspec.Struct):
    symbol: str
    side: Literal["buy", "sell"]
    price: wire.Text
    amount: wire.Text
    ts: wire.Time


class _LiquidationFrame(msgspec.Struct):
    data: list[_Row]


class _Rows(msgspec.Struct):
    data: list[msgspec.Raw]


class _Arg(msgspec.Struct):
    topic: str = ""
    symbol: str = ""


class _Book(msgspec.Struct):
    a: wire.Levels
    b: wire.Levels
    ts: wire.Time
    seq: int
    pseq: int


class _BookFrame(msgspec.Struct):
    action: Literal["snapshot", "update"]
    arg: _Arg
    data: list[_Book]


class _Orders(msgspec.Struct):
    asks: wire.Levels
    bids: wire.Levels
    ts: wire.Time


class _Status(msgspec.Struct):
    event: str
    code: int | str = ""
    msg: str = ""
    op: str = ""
    arg: _Arg = msgspec.field(default_factory=_Arg)


_answer = msgspec.json.Decoder(_Answer)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_contract = msgspec.json.Decoder(_Contract)
_ticker = msgspec.json.Decoder(_Ticker, strict=False)
_tickers = msgspec.json.Decoder(list[_Ticker], strict=False)
_rate = msgspec.json.Decoder(_Rate)
_rates = msgspec.json.Decoder(list[_Rate])
_settled = msgspec.json.Decoder(list[_Settled], strict=False)
_settlement_row = msgspec.json.Decoder(_Settled, strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_liquidations = msgspec.json.Decoder(_LiquidationFrame, strict=False)
_rows = msgspec.json.Decoder(_Rows)
_book_frame = msgspec.json.Decoder(_BookFrame, strict=False)
_orders = msgspec.json.Decoder(_Orders, strict=False)
_status = msgspec.json.Decoder(_Status)


def listing_requests() -> list[Request]:
    """All contracts, then what is said of all of them: tickers and funding."""
    more = [Request(path=path, needed=False) for path in (_TICKERS, _FUNDING)]
    return [Request(path=_CONTRACTS), *more]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def _read(body: bytes) -> _Answer:
    answer = wire.read(_answer, body)
    if answer.code != "00000":
        raise Malformed(f"Bitget answered {answer.code}: {answer.msg:.80}")
    return answer


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Contracts on coins that trade or end, without real-world assets (stocks, metals).

    Tickers only rank. The interval is that of the funding answer, else that of the contract's row.
    """
    unreadable: list[str] = []

    def said_of_all(number: int, build: Callable[[msgspec.Raw], _T], name: str) -> list[_T]:
        return wire.ranking(
            lambda: wire.read(_raws, _read(bodies[number]).data), build, unreadable, name
        )

    sizes = dict(said_of_all(1, _read_sizes, "tickers"))
    terms = {row.symbol: row for row in said_of_all(2, _read_terms, "funding intervals")}

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        if not _is_wanted(row):
            return None
        return _instrument(
            row,
            terms.get(row.symbol, Terms(symbol=row.symbol)),
            sizes.get(row.symbol, (None, None)),
        )

    listed = wire.rows(wire.read(_raws, _read(bodies[0]).data), build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _is_wanted(row: _Contract) -> bool:
    return (
        row.symbolType == "perpetual"
        and row.quoteCoin == "USDT"  # demo contracts are in SUSDT
        and row.symbolStatus in ("normal", "restrictedAPI", "limit_open", "off")
        and row.isRwa != "YES"
    )


def _instrument(
    row: _Contract, terms: Terms, sizes: tuple[float | None, float | None]
) -> Instrument:
    """``sizeMultiplier`` of the row is the step of orders: one contract is one unit."""
    open_interest_usd, volume_usd = sizes
    asset, multiplier = wire.underlying(row.baseCoin)
    hours = terms.funding_hours or wire.interval(wire.number(row.fundInterval))
    return Instrument(
        venue=SPEC.name,
        symbol=row.symbol,
        asset=asset,
        quote=row.quoteCoin,
        multiplier=multiplier,
        funding_hours=hours or _USUAL_FUNDING_HOURS,
        funding_assumed=hours is None,
        funding_cap=terms.funding_cap,
        open_interest_usd=open_interest_usd,
        volume_24h_usd=volume_usd,
        ends_at=_ends_at(row),
    )


def _ends_at(row: _Contract) -> Ms | None:
    """From when positions can only be closed, or are: neither is somebody's decision."""
    if row.symbolStatus in ("limit_open", "off"):
        return 0
    ends = map(wire.end_of, (row.limitOpenTime, row.offTime))
    return min((at for at in ends if at is not None), default=None)


def _read_sizes(raw: msgspec.Raw) -> tuple[str, tuple[float | None, float | None]]:
    """A symbol, its open interest and its volume, both in USD."""
    row = wire.read(_ticker, raw)
    usd = SPEC.open_interest.one_side(_interest(row)[1])
    return row.symbol, (usd, wire.not_negative(row.quoteVolume))


def _interest(row: _Ticker) -> tuple[float | None, float | None]:
    """Open interest in units and in USD: ``holdingAmount`` counts coins."""
    units, mark = wire.not_negative(row.holdingAmount), wire.positive(row.markPrice)
    return units, None if units is None or mark is None else units * mark


def _read_terms(raw: msgspec.Raw) -> Terms:
    return _terms(wire.read(_rate, raw))


def _terms(row: _Rate) -> Terms:
    cap = wire.cap(row.maxFundingRate, row.minFundingRate)
    hours = wire.interval(wire.number(row.fundingRateInterval))
    return Terms(symbol=row.symbol, funding_hours=hours, funding_cap=cap)


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for all liquidations, one for every 40 books."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    if Kind.LIQUIDATION in kinds and symbols:
        asked = (_ask("subscribe", [{"instType": _INST_TYPE, "topic": _LIQUIDATION}]),)
        brings = frozenset((Kind.LIQUIDATION,))
        sockets.append(wire.socket("market", _PATH, asked, brings, (), _SILENCE_S))
    if Kind.DEPTH in kinds:
        brings = frozenset((Kind.DEPTH,))
        for name, batch in wire.divided("book", symbols, _BOOKS_PER_SOCKET, running):
            asked = tuple(
                _ask("subscribe", [_book_topic(symbol) for symbol in asked_at_once])
                for asked_at_once in wire.batches(batch, _TOPICS_PER_MESSAGE)
            )
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _book_topic(symbol: str) -> dict[str, str]:
    return {"instType": _INST_TYPE, "topic": _BOOKS, "symbol": symbol}


def _ask(operation: str, topics: list[dict[str, str]]) -> bytes:
    return msgspec.json.encode({"op": operation, "args": topics})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request a book; asking twice does no harm here."""
    if Kind.DEPTH not in subscription.kinds:
        return ()
    return tuple(_ask("subscribe", [_book_topic(symbol)]) for symbol in symbols)


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when its topic is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    topics = [_book_topic(symbol)]
    return (_ask("unsubscribe", topics), _ask("subscribe", topics))


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """What one answer brings of all contracts; settled funding, contract by contract."""
    asked = [
        Poll(request=Request(path=path), kind=kind, every_s=every_s, offset_s=offset_s)
        for kind, path, every_s, offset_s in _POLLS
        if kind in kinds and instruments
    ]
    if Kind.FUNDING in kinds:
        requests = wire.of_each(instruments, _SETTLED)
        asked += wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=60.0, offset_s=30.0)
    return asked


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public socket."""
    if frame == b"pong":
        return [Reply(ok=True)]
    if frame.startswith(b'{"event"'):
        return [_reply(wire.read(_status, frame))]
    topic = _TOPIC.search(frame)
    if topic is None:
        raise Malformed("neither a topic nor an answer")
    if topic[1] == b"books":
        return _read_books(frame, listing)
    if topic[1] == b"liquidation":
        return _read_liquidations(frame, listing, seen)
    if topic[1] in _IGNORED:
        return []
    raise Malformed(f"unknown topic {topic[1]!r:.40}")


def _reply(status: _Status) -> Reply:
    """What is not subscribed need not be unsubscribed: nothing is missing then."""
    if status.event == "error":
        text = f"{status.code}: {status.msg}"
        refused = (status.arg.symbol,) if status.arg.symbol else ()
        is_refusal = status.op != "unsubscribe"
        return Reply(ok=not is_refusal, text=text, symbols=refused if is_refusal else ())
    opened = status.event == "subscribe" and status.arg.topic == _LIQUIDATION
    return Reply(ok=True, opens=Kind.LIQUIDATION if opened else None)


def _read_books(frame: bytes, listing: Listing) -> list[Decoded]:
    """Changes follow by the ids alone: a checksum comes with some of them only."""
    message = wire.read(_book_frame, frame)
    of = listing.instruments.get(message.arg.symbol)
    if of is None:
        return []
    return [
        BookUpdate(
            symbol=of.symbol,
            at=book.ts,
            snapshot=message.action == "snapshot",
            bids=wire.per_coin(book.b, of.multiplier),
            asks=wire.per_coin(book.a, of.multiplier),
            last=book.seq,
            previous=book.pseq,
            reach=_REACH,
            rolling=True,
        )
        for book in message.data
    ]


def _read_liquidations(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    def facts(row: _Row) -> list[Decoded]:
        of = listing.instruments.get(row.symbol)
        price, amount = wire.positive(row.price), wire.positive(row.amount)
        if of is None or price is None or amount is None:
            return []
        # ``side`` is that of the position: buy is a long liquidated. ``amount`` is in USDT.
        position = Position.LONG if row.side == "buy" else Position.SHORT
        return wire.present(wire.liquidation(of, row.ts, seen, position, price, amount / price))

    return wire.facts_of_rows(
        lambda: wire.read(_liquidations, frame).data,
        lambda: wire.read(_rows, frame).data,
        _row,
        facts,
    )


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """What one answer says of all contracts, or the newest settlement of one."""
    answer = _read(body)
    if poll.request.symbol:
        return _settlement(wire.read(_settled, answer.data), listing, seen)
    if poll.kind is Kind.FUNDING:
        at = wire.moment(answer.requestTime) or seen
        return wire.facts_of_rows(
            lambda: wire.read(_rates, answer.data),
            lambda: wire.read(_raws, answer.data),
            _rate,
            lambda row: _funding_facts(row, at, listing, seen),
        )
    facts = _OF_TICKER[poll.kind]
    return wire.facts_of_rows(
        lambda: wire.read(_tickers, answer.data),
        lambda: wire.read(_raws, answer.data),
        _ticker,
        lambda row: wire.present(facts(row, listing.instruments.get(row.symbol), seen)),
    )


def _price(row: _Ticker, of: Instrument | None, seen: Ms) -> Decoded | None:
    return of and wire.price(of, row.ts, seen, row.markPrice, row.indexPrice)


def _open_interest(row: _Ticker, of: Instrument | None, seen: Ms) -> Decoded | None:
    return of and wire.open_interest(SPEC.open_interest, of, row.ts, seen, *_interest(row))


def _volume(row: _Ticker, of: Instrument | None, seen: Ms) -> Decoded | None:
    return of and wire.volume(of, row.ts, seen, row.quoteVolume or "")


_OF_TICKER: dict[Kind, Callable[[_Ticker, Instrument | None, Ms], Decoded | None]] = {
    Kind.PRICE: _price,
    Kind.OPEN_INTEREST: _open_interest,
    Kind.VOLUME: _volume,
}


def _funding_facts(row: _Rate, at: Ms, listing: Listing, seen: Ms) -> list[Decoded]:
    """The estimate of the coming settlement; the answer has no time but its own."""
    of = listing.instruments.get(row.symbol)
    if of is None:
        return []
    terms, due = _terms(row), wire.moment(row.nextUpdate)
    hours = terms.funding_hours or of.funding_hours
    says_terms = terms.funding_hours is not None or terms.funding_cap is not None
    estimate = due and wire.predicted(of, at, seen, row.fundingRate or "", hours, due)
    return wire.present(terms if says_terms else None, estimate or None)


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, contract by contract, the newest page first."""
    return wire.histories(instruments, Kind.FUNDING, _PAST_RATES, _PAST_ROWS, every_s=0.5)


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """One page of settlements."""
    of, answer = listing.instruments.get(history.request.symbol), _read(body)

    def facts(row: _Settled) -> list[Decoded]:
        if of is None or row.symbol != of.symbol:
            return []
        return wire.present(wire.settled(of, row.fundingTime, seen, row.fundingRate))

    return wire.facts_of_rows(
        lambda: wire.read(_settled, answer.data),
        lambda: wire.read(_raws, answer.data),
        _settlement_row,
        facts,
    )


def _settlement(rows: Sequence[_Settled], listing: Listing, seen: Ms) -> list[Decoded]:
    """The newest settlement of one contract; the one before tells the interval."""
    newest = max(rows, key=lambda row: row.fundingTime, default=None)
    of = newest and listing.instruments.get(newest.symbol)
    if newest is None or of is None:
        return []
    before = [
        row.fundingTime
        for row in rows
        if row.symbol == newest.symbol and row.fundingTime < newest.fundingTime
    ]
    terms = Terms(symbol=of.symbol, settled_before=max(before)) if before else None
    return wire.present(terms, wire.settled(of, newest.fundingTime, seen, newest.fundingRate))


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """The best prices of all contracts, and books."""
    return [Request(path=_TICKERS), *wire.of_each(instruments, _ORDERS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    data = _read(body).data
    if request.symbol:
        of, orders = listing.instruments.get(request.symbol), wire.read(_orders, data)
        if of is None:
            return []
        return [wire.snapshot(of, orders.ts, orders.bids, orders.asks, _ORDERS_REACH)]
    return wire.facts_of_rows(
        lambda: wire.read(_tickers, data),
        lambda: wire.read(_raws, data),
        _ticker,
        lambda row: _best(row, listing.instruments.get(row.symbol)),
    )


def _best(row: _Ticker, of: Instrument | None) -> list[Decoded]:
    return wire.present(of and wire.mid(of, row.bidPr, row.askPr))


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
