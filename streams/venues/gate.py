"""Gate linear perpetuals (USDT), API v4.

Facts from gate.com/docs/developers/futures/ws as of November 2026, from probes of others in August
and September 2026 and from recorded frames. Sizes are in contracts of ``quanto_multiplier`` coins,
as text or as numbers, at prices per coin; times are in seconds, but those named ``_ms``, ``t``
and that of a liquidation. One ticker brings funding, open interest, price and volume.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from streams.contracts import Terms
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
    name="gate",
    title="Gate",
    websocket="wss://fx-ws.gateio.ws",
    rest="https://api.gateio.ws",
    kinds=frozenset(Kind),
    open_interest=Sides(None, "an aggregator says both; no word of the venue on `total_size`"),
    requests_per_second=10.0,  # each path has 200 in 10 s
    ping=b'{"time":123456,"channel":"futures.ping"}',
    answers_pings=False,
    book="the best 400",
    all_liquidations=True,
)

_PATH = "/v4/ws/usdt"
_CONTRACTS = "/api/v4/futures/usdt/contracts"
_TICKERS = "/api/v4/futures/usdt/tickers"
_SETTLED = "/api/v4/futures/usdt/funding_rate?limit=2&contract="
_PAST_ROWS = 1000
_PAST_RATES = f"/api/v4/futures/usdt/funding_rate?limit={_PAST_ROWS}&contract="
_PAST_INTEREST = "/api/v4/futures/usdt/contract_stats?interval=5m&from={since_s}"
_PAST_INTEREST_ROWS = 1000  # 2000 are the most; one or two more than are asked for come
_STAT: Ms = 5 * MINUTE
_STAT_WRITTEN: Ms = 3 * MINUTE
"""A row is there, with what was so far, before its 5 minutes are over, and written anew 2.8 minutes
after that (measured by others in September 2026)."""
_ORDERS = "/api/v4/futures/usdt/order_book?limit=100&contract="
_CHECKED_REACH = 100
_TIME = 123456  # as in the venue's own examples: nothing is made of it where nobody logs in

_LIQUIDATIONS = "futures.public_liquidates"
_PRICES = "futures.tickers"
_BOOKS = "futures.obu"
_TICKER_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
_REACH = 400
_BOOKS_PER_SOCKET = 50  # 150 of 50 levels ran without a gap; more were not tried
_TICKERS_PER_SOCKET = 100
_TOPICS_PER_MESSAGE = 50

# A quiet contract has neither ticker nor book for half a minute, a socket of many has.
_SILENCE_S = {Kind.PRICE: 60.0, Kind.DEPTH: 60.0}
_USUAL_FUNDING_HOURS = 8.0
_TRADING = frozenset(("trading", "circuit_breaker"))
_ENDING = frozenset(("delisting", "delisted"))
_SUFFIX = "_USDT"
_TWICE = "Alert sub"
_REFUSED = re.compile(r"unknown currency pair:?\s*(\S+)")
_IGNORED = frozenset(
    ("futures.book_ticker", "futures.candlesticks", "futures.contract_stats", "futures.order_book",
     "futures.order_book_update", "futures.trades")
)  # fmt: skip

_T = TypeVar("_T")


class _Contract(msgspec.Struct):
    name: str
    type: str = ""
    quanto_multiplier: wire.Text = ""
    status: str = ""
    in_delisting: bool = False
    is_pre_market: bool = False
    contract_type: str = ""
    funding_interval: wire.Text = ""


class _Ticker(msgspec.Struct):
    contract: str
    t: wire.Text = ""
    total_size: wire.Text = ""
    mark_price: wire.Text = ""
    index_price: wire.Text = ""
    funding_rate: wire.Text = ""
    funding_interval: wire.Text = ""
    funding_next_apply: wire.Text = ""
    volume_24h_quote: wire.Text = ""
    highest_bid: wire.Text = ""
    lowest_ask: wire.Text = ""


class _Liquidated(msgspec.Struct):
    contract: str
    size: wire.Text
    price: wire.Text
    time: wire.Text = ""
    time_ms: wire.Text = ""


class _Settled(msgspec.Struct):
    t: int
    r: wire.Text


class _Stat(msgspec.Struct):
    time: int
    open_interest: wire.Text = None
    mark_price: wire.Text = None


class _Book(msgspec.Struct):
    s: str
    u: int
    U: int = 0
    full: bool = False
    b: wire.Levels = []
    a: wire.Levels = []


class _Level(msgspec.Struct):
    p: float
    s: float


class _BookAnswer(msgspec.Struct):
    current: float
    bids: list[_Level]
    asks: list[_Level]


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Frame(msgspec.Struct):
    channel: str
    event: str = "update"
    time_ms: wire.Text = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None
    payload: msgspec.Raw = msgspec.Raw(b"[]")


class _System(msgspec.Struct):
    type: str = ""
    msg: str = ""


class _Moment(NamedTuple):
    """When a frame was sent by the venue's clock, None if it does not say, and seen by ours."""

    sent: Ms | None
    seen: Ms


_frame = msgspec.json.Decoder(_Frame)
_book = msgspec.json.Decoder(_Book, strict=False)
_book_answer = msgspec.json.Decoder(_BookAnswer, strict=False)
_system = msgspec.json.Decoder(_System)
_topics = msgspec.json.Decoder(list[str])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_contract = msgspec.json.Decoder(_Contract)
_ticker = msgspec.json.Decoder(_Ticker)
_settlements = msgspec.json.Decoder(list[_Settled])
_settled = msgspec.json.Decoder(_Settled)
_stats = msgspec.json.Decoder(list[_Stat])
_stat = msgspec.json.Decoder(_Stat)


def listing_requests() -> list[Request]:
    """All contracts, then the tickers of all. With a limit there would be fewer."""
    return [Request(path=_CONTRACTS), Request(path=_TICKERS, needed=False)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Contracts on coins that trade or end; no pre-market ones, no stocks, metals and the like.

    Tickers only rank: whose cannot be read has no volume.
    """
    unreadable: list[str] = []
    tickers = {
        row.contract: row
        for row in wire.ranking(
            lambda: wire.read(_raws, bodies[1]),
            lambda raw: _readable(wire.read(_ticker, raw)),
            unreadable,
            "tickers",
        )
    }

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        wanted = (
            row.type == "direct"
            and row.name.endswith(_SUFFIX)
            and (row.status in _TRADING or row.status in _ENDING or not row.status)
            and not row.is_pre_market
            and not row.contract_type
        )
        return _instrument(row, tickers.get(row.name)) if wanted else None

    listed = wire.rows(wire.read(_raws, bodies[0]), build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _readable(row: _Ticker) -> _Ticker:
    """The row; raises where what ranks cannot be read."""
    for value in (row.total_size, row.mark_price, row.volume_24h_quote):
        wire.number(value)
    return row


def _instrument(row: _Contract, ticker: _Ticker | None) -> Instrument:
    coins = wire.positive(row.quanto_multiplier)
    if coins is None:
        raise Malformed(f"{row.name}: a contract of no size")
    asset, multiplier = wire.underlying(row.name.removesuffix(_SUFFIX))
    hours = _hours(row.funding_interval)
    held = None if ticker is None else _held(ticker, coins)[1]
    return Instrument(
        venue=SPEC.name,
        symbol=row.name,
        asset=asset,
        quote="USDT",
        multiplier=multiplier,
        contract_size=coins,
        funding_hours=hours or _USUAL_FUNDING_HOURS,
        funding_assumed=hours is None,
        open_interest_usd=SPEC.open_interest.one_side(held),
        volume_24h_usd=None if ticker is None else wire.not_negative(ticker.volume_24h_quote),
        ends_at=0 if row.in_delisting or row.status in _ENDING else None,
    )


def _hours(seconds: wire.Text) -> float | None:
    stated = wire.positive(seconds)
    return None if stated is None else wire.interval(stated * SECOND / HOUR)


def _held(row: _Ticker, contract_size: float) -> tuple[float | None, float | None]:
    """Open interest in coins and USD, as the venue counts it: ``total_size`` is in contracts."""
    contracts, mark = wire.not_negative(row.total_size), wire.positive(row.mark_price)
    coins = None if contracts is None else contracts * contract_size
    return coins, None if coins is None or mark is None else coins * mark


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for all liquidations, one for 100 tickers, one for 50 books."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    if Kind.LIQUIDATION in kinds and symbols:
        asked = (_ask("subscribe", _LIQUIDATIONS, ["!all"]),)
        brings = frozenset((Kind.LIQUIDATION,))
        sockets.append(wire.socket("market", _PATH, asked, brings, (), _SILENCE_S))
    for group, feed, size in (
        ("ticker", _TICKER_KINDS, _TICKERS_PER_SOCKET),
        ("book", frozenset((Kind.DEPTH,)), _BOOKS_PER_SOCKET),
    ):
        brings = feed & kinds
        for name, batch in wire.divided(group, symbols if brings else (), size, running):
            asked = tuple(
                _subscribe(part_of, brings) for part_of in wire.batches(batch, _TOPICS_PER_MESSAGE)
            )
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _subscribe(symbols: Sequence[str], kinds: frozenset[Kind]) -> bytes:
    if Kind.DEPTH in kinds:
        return _ask("subscribe", _BOOKS, [_book_of(symbol) for symbol in symbols])
    return _ask("subscribe", _PRICES, list(symbols))


def _book_of(symbol: str) -> str:
    return f"ob.{symbol}.{_REACH}"


def _ask(event: str, channel: str, payload: list[str]) -> bytes:
    return msgspec.json.encode(
        {"time": _TIME, "channel": channel, "event": event, "payload": payload}
    )


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request a symbol: a book that is asked for twice is refused alone and keeps coming."""
    return tuple(_subscribe([symbol], subscription.kinds) for symbol in symbols)


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when it is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    return tuple(_ask(event, _BOOKS, [_book_of(symbol)]) for event in ("unsubscribe", "subscribe"))


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Settled funding, symbol by symbol, spread over two minutes after each full hour."""
    if Kind.FUNDING not in kinds:
        return []
    requests = wire.of_each(instruments, _SETTLED)
    return wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=120.0, offset_s=60.0)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public socket."""
    message = wire.read(_frame, frame)
    if message.error is not None or message.event in ("subscribe", "unsubscribe"):
        return [_reply(message)]
    if message.channel in _IGNORED:
        return []
    if message.channel == "futures.pong":
        return [Reply(ok=True)]
    if message.channel == "futures.system":
        notice = wire.read(_system, message.result)
        return [Reply(ok=True, text=notice.msg, closing=notice.type == "upgrade")]
    reader = _READERS.get(message.channel)
    if reader is None:
        raise Malformed(f"unknown channel {message.channel!r:.40}")
    return reader(message.result, listing, _Moment(wire.moment(message.time_ms), seen))


def _reply(frame: _Frame) -> Reply:
    if frame.error is None:
        opened = frame.event == "subscribe" and frame.channel == _LIQUIDATIONS
        return Reply(ok=True, opens=Kind.LIQUIDATION if opened else None)
    error = frame.error
    text = f"{error.code}: {error.message}"
    # A book that is asked for twice keeps coming, and nobody waits for the answer to a ping.
    if error.message.startswith(_TWICE) or frame.event != "subscribe":
        return Reply(ok=True, text=text)
    refused = _REFUSED.findall(error.message) or wire.read(_topics, frame.payload)
    named = [symbol.removeprefix("ob.").removesuffix(f".{_REACH}") for symbol in refused]
    return Reply(ok=False, text=text, symbols=tuple(named) if len(named) == 1 else ())


def _read_book(result: msgspec.Raw, listing: Listing, moment: _Moment) -> list[Decoded]:
    """A snapshot of a quiet book has the times of its last change: 40 s old ones were seen."""
    book = wire.read(_book, result)
    of = listing.instruments.get(book.s.removeprefix("ob.").rpartition(".")[0])
    if of is None:
        return []
    return [
        BookUpdate(
            symbol=of.symbol,
            at=moment.sent or moment.seen,
            snapshot=book.full,
            bids=wire.per_coin_in(book.b, of),
            asks=wire.per_coin_in(book.a, of),
            first=book.u if book.full else book.U,
            last=book.u,
            reach=_REACH,
            rolling=True,
        )
    ]


_Read = Callable[[msgspec.Raw, Listing, _Moment], list[Decoded]]


def _reader(row: type[_T], facts: Callable[[_T, Listing, _Moment], list[Decoded]]) -> _Read:
    """What reads one such row, or a list of them."""
    whole = msgspec.json.Decoder(list[row])
    single = msgspec.json.Decoder(row)

    def read(result: msgspec.Raw, listing: Listing, moment: _Moment) -> list[Decoded]:
        data = bytes(result)
        rows = b"[" + data + b"]" if data.startswith(b"{") else data
        return wire.facts_of_rows(
            lambda: wire.read(whole, rows),
            lambda: wire.read(_raws, rows),
            single,
            lambda row: facts(row, listing, moment),
        )

    return read


def _ticker_facts(row: _Ticker, listing: Listing, moment: _Moment) -> list[Decoded]:
    """``funding_rate`` is the estimate for ``funding_next_apply``, computed anew each minute."""
    of = listing.instruments.get(row.contract)
    if of is None:
        return []
    seen = moment.seen
    at = wire.moment(row.t) or moment.sent or seen
    stated = wire.number(row.funding_interval)
    hours = _hours(row.funding_interval)
    terms = None if hours is None else Terms(symbol=of.symbol, funding_hours=hours)
    due = wire.positive(row.funding_next_apply)
    estimate = wire.predicted(
        of,
        at,
        seen,
        row.funding_rate,
        of.funding_hours if stated is None else hours,
        None if due is None else wire.moment(due * SECOND),
    )
    held = _held(row, of.contract_size)
    return wire.present(
        terms,
        estimate,
        wire.open_interest(SPEC.open_interest, of, at, seen, *held),
        wire.price(of, at, seen, row.mark_price, row.index_price),
        wire.volume(of, at, seen, row.volume_24h_quote),
    )


def _liquidation_facts(row: _Liquidated, listing: Listing, moment: _Moment) -> list[Decoded]:
    """``size`` has the sign of the order that closes the position; by REST it is the other one."""
    of, contracts = listing.instruments.get(row.contract), wire.number(row.size)
    if of is None or not contracts:
        return []
    at = wire.moment(row.time_ms) or wire.moment(row.time)
    if at is None:
        raise Malformed(f"{of.symbol}: a liquidation at no time")
    position = Position.LONG if contracts < 0 else Position.SHORT
    coins = abs(contracts) * of.contract_size
    return wire.present(wire.liquidation(of, at, moment.seen, position, row.price, coins))


_READERS: dict[str, _Read] = {
    _BOOKS: _read_book,
    _PRICES: _reader(_Ticker, _ticker_facts),
    _LIQUIDATIONS: _reader(_Liquidated, _liquidation_facts),
}


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The newest settlement of one symbol, whom the rows do not name; the one before it tells the
    interval."""
    of = listing.instruments.get(poll.request.symbol)
    rows = wire.read(_settlements, body)
    if of is None or not rows:
        return []
    newest = max(rows, key=lambda row: row.t)
    at = wire.moment(newest.t * SECOND)
    if at is None:
        raise Malformed(f"a settlement of {of.symbol} at {newest.t!r:.20}")
    before = [row.t * SECOND for row in rows if row.t < newest.t]
    since = wire.moment(max(before)) if before else None
    terms = None if since is None else Terms(symbol=of.symbol, settled_before=since)
    return wire.present(terms, wire.settled(of, at, seen, newest.r))


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, contract by contract, as far back as one answer goes, and open interest."""
    stats = f"{_PAST_INTEREST}&limit={_PAST_INTEREST_ROWS}&contract="
    return [
        *wire.histories(instruments, Kind.FUNDING, _PAST_RATES, _PAST_ROWS, every_s=0.5),
        *wire.histories(instruments, Kind.OPEN_INTEREST, stats, _PAST_INTEREST_ROWS, every_s=0.5),
    ]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """Settlements, or statistics, of one contract, whom the rows do not name."""
    of = listing.instruments.get(history.request.symbol)

    def settled(row: _Settled) -> list[Decoded]:
        at = wire.moment(row.t * SECOND)
        if at is None:
            raise Malformed(f"a settlement at {row.t!r:.20}")
        return wire.present(of and wire.settled(of, at, seen, row.r))

    def held(row: _Stat) -> list[Decoded]:
        at = wire.moment(row.time * SECOND + _STAT)  # the time is that at which they begin
        if at is None:
            raise Malformed(f"open interest at {row.time!r:.20}")
        contracts, mark = wire.not_negative(row.open_interest), wire.positive(row.mark_price)
        if of is None or contracts is None or at + _STAT_WRITTEN > seen:
            return []
        units = contracts * of.contract_size
        value = None if mark is None else units * mark
        return wire.past_interest(SPEC.open_interest, of, at, seen, units, value)

    def raws() -> list[msgspec.Raw]:
        return wire.read(_raws, body)

    if history.kind is Kind.OPEN_INTEREST:
        return wire.facts_of_rows(lambda: wire.read(_stats, body), raws, _stat, held)
    return wire.facts_of_rows(lambda: wire.read(_settlements, body), raws, _settled, settled)


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """The tickers of all contracts, and books."""
    return [Request(path=_TICKERS), *wire.of_each(instruments, _ORDERS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``. Tickers have no time here."""
    if request.symbol:
        of, book = listing.instruments.get(request.symbol), wire.read(_book_answer, body)
        if of is None:
            return []
        at = wire.moment(book.current * SECOND) or seen
        bids, asks = ([(level.p, level.s) for level in side] for side in (book.bids, book.asks))
        return [wire.snapshot(of, at, bids, asks, _CHECKED_REACH)]
    return _read_check(msgspec.Raw(body), listing, _Moment(None, seen))


def _check_facts(row: _Ticker, listing: Listing, moment: _Moment) -> list[Decoded]:
    of = listing.instruments.get(row.contract)
    mid = of and wire.mid(of, row.highest_bid, row.lowest_ask)
    return [*_ticker_facts(row, listing, moment), *wire.present(mid)]


_read_check = _reader(_Ticker, _check_facts)


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
