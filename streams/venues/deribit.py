"""Deribit perpetuals: inverse ones of BTC and ETH, linear ones in USDC. JSON-RPC 2.0, API v2.

Facts from docs.deribit.com as of November 2026, from recorded frames and from a listing of the same
protocol that was recorded in September 2026. Amounts are in USD where a contract is inverse, else
in coins: never in contracts, so ``contract_size`` of its listing is not read. Funding is paid all
the time, at a rate that is written for 8 h.
"""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from streams.contracts import Terms
from streams.durations import DAY, HOUR
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

_SUBSCRIBE, _UNSUBSCRIBE, _TEST = 1, 2, 3
"""The ids of requests: an answer has the id of what was asked, and nothing else tells it."""

_FUNDING_HOURS = 1.0

SPEC = Spec(
    name="deribit",
    title="Deribit",
    websocket="wss://www.deribit.com",
    rest="https://www.deribit.com",
    kinds=frozenset(Kind),
    open_interest=Sides(1, "its documentation: the total amount of outstanding contracts"),
    requests_per_second=10.0,  # of 20
    # without set_heartbeat it asks for no answers; whoever says nothing for 30 s is cut
    ping=b'{"jsonrpc":"2.0","id":3,"method":"public/test","params":{}}',
    answers_pings=False,
    no_second_source={"funding_interval": "it is paid all the time, at a rate for 8 h"},
    sends_per_second=3.0,  # a subscription costs a tenth of the credits of a second
    book="whole",
    funding_hours=_FUNDING_HOURS,
)

_PATH = "/ws/api/v2"
_CONTRACTS = "/api/v2/public/get_instruments?currency=any&kind=future"
_SUMMARIES = "/api/v2/public/get_book_summary_by_currency?kind=future&currency="
_SUMMARY = "/api/v2/public/get_book_summary_by_currency?currency=USDC&kind=future"
_ORDERS = "/api/v2/public/get_order_book?depth=1000&instrument_name="
_CHECKED_REACH = 1000
_SETTLED = (
    "/api/v2/public/get_funding_rate_history?start_timestamp={hour_ago}&end_timestamp={now}"
    "&instrument_name="
)

_PAST_RATES = (
    "/api/v2/public/get_funding_rate_history?start_timestamp={since}&end_timestamp={until}"
    "&instrument_name="
)
_PIECE: Ms = 20 * DAY
"""480 rows; how many an answer has at most is not documented."""

_TRADES = "trades.future.any.100ms"
_TICKER = "ticker.{}.agg2"  # every 2 s
_BOOK = "book.{}.100ms"
_TICKER_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
_PER_SOCKET = 100
"""Contracts. An address may have 32 connections, requests among them, and a message 32 KB."""

_SILENCE_S = {Kind.PRICE: 60.0, Kind.DEPTH: 60.0}
_RATE_HOURS = 8.0
_ENDED = frozenset(("delivered", "archivized"))
_NOT_CHANGES = re.compile(r"book\.[^.]+\.[^.]+\.\d+\.")
_IGNORED = frozenset(
    ("chart", "deribit_price_index", "incremental_ticker", "instrument", "perpetual",
     "platform_state", "quote")
)  # fmt: skip

_CLOSED: dict[tuple[str, str], tuple[Position, ...]] = {
    ("T", "sell"): (Position.LONG,),
    ("T", "buy"): (Position.SHORT,),
    ("M", "sell"): (Position.SHORT,),
    ("M", "buy"): (Position.LONG,),
    ("MT", "sell"): (Position.LONG, Position.SHORT),
    ("MT", "buy"): (Position.SHORT, Position.LONG),
}
"""Whose liquidation a trade is (taker, maker, both) and the taker's direction → what was closed."""


class _Contract(msgspec.Struct):
    instrument_name: str
    base_currency: str = ""
    quote_currency: str = ""
    settlement_period: str = ""
    kind: str = ""
    future_type: str = ""
    instrument_type: str = ""
    underlying_type: str = ""
    is_active: bool = False
    state: str = ""
    expiration_timestamp: wire.Text = None


class _Summary(msgspec.Struct):
    instrument_name: str
    open_interest: wire.Text = None
    mark_price: wire.Text = None
    volume_usd: wire.Text = None
    mid_price: wire.Text = None
    current_funding: wire.Text = None
    creation_timestamp: wire.Text = None


class _Stats(msgspec.Struct):
    volume_usd: wire.Text = None


class _Ticker(msgspec.Struct):
    instrument_name: str
    timestamp: wire.Time
    open_interest: wire.Text = None
    mark_price: wire.Text = None
    index_price: wire.Text = None
    current_funding: wire.Text = None
    stats: _Stats = msgspec.field(default_factory=_Stats)


class _Trade(msgspec.Struct):
    instrument_name: str
    timestamp: wire.Time
    price: wire.Text
    amount: wire.Text
    direction: Literal["buy", "sell"]
    liquidation: Literal["M", "T", "MT"] | None = None


class _Level(msgspec.Struct, array_like=True):
    action: Literal["new", "change", "delete"]
    price: float
    amount: float


class _Book(msgspec.Struct):
    instrument_name: str
    timestamp: wire.Time
    change_id: int
    bids: list[_Level]
    asks: list[_Level]
    prev_change_id: int | None = None
    type: Literal["snapshot", "change"] | None = None


class _Orders(msgspec.Struct):
    timestamp: wire.Time
    bids: wire.Levels
    asks: wire.Levels


class _Settled(msgspec.Struct):
    timestamp: wire.Time
    interest_1h: wire.Text


class _Params(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Frame(msgspec.Struct):
    method: str = ""
    params: _Params = msgspec.field(default_factory=_Params)
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


class _Answer(msgspec.Struct):
    result: msgspec.Raw


_answer = msgspec.json.Decoder(_Answer)
_frame = msgspec.json.Decoder(_Frame)
_book = msgspec.json.Decoder(_Book)
_ticker = msgspec.json.Decoder(_Ticker)
_trade = msgspec.json.Decoder(_Trade)
_trades = msgspec.json.Decoder(list[_Trade])
_settlements = msgspec.json.Decoder(list[_Settled])
_settled = msgspec.json.Decoder(_Settled)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_contract = msgspec.json.Decoder(_Contract)
_summary = msgspec.json.Decoder(_Summary)
_orders = msgspec.json.Decoder(_Orders)
_channels = msgspec.json.Decoder(list[str])


def listing_requests() -> list[Request]:
    """All contracts, then what is open in those in USDC: inverse ones are of two coins alone."""
    return [Request(path=_CONTRACTS), Request(path=_SUMMARY, needed=False)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def _rows(body: bytes) -> list[msgspec.Raw]:
    return wire.read(_raws, wire.read(_answer, body).result)


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Perpetuals on coins that trade or end; no stocks, metals and the like.

    What is open and traded only ranks.
    """
    unreadable: list[str] = []
    summaries = {
        row.instrument_name: row
        for row in wire.ranking(
            lambda: _rows(bodies[1]),
            lambda raw: _readable(wire.read(_summary, raw)),
            unreadable,
            "book summaries",
        )
    }

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        ends_at = 0 if row.state in _ENDED else wire.end_of(row.expiration_timestamp)
        if not _is_wanted(row) or (not row.is_active and ends_at is None):
            return None
        return _instrument(row, ends_at, summaries.get(row.instrument_name))

    listed = wire.rows(_rows(bodies[0]), build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _readable(row: _Summary) -> _Summary:
    """The row; raises where what ranks cannot be read."""
    for value in (row.open_interest, row.mark_price, row.volume_usd):
        wire.number(value)
    return row


def _is_wanted(row: _Contract) -> bool:
    """Before 2022 nothing said of which type a contract is, and before 2026 all were on coins."""
    type_of = row.future_type or row.instrument_type
    return (
        row.kind == "future"
        and row.settlement_period == "perpetual"
        and row.underlying_type in ("crypto", "")
        and (
            (row.quote_currency == "USD" and type_of in ("reversed", ""))
            or (row.quote_currency == "USDC" and type_of == "linear")
        )
    )


def _instrument(row: _Contract, ends_at: Ms | None, summary: _Summary | None) -> Instrument:
    asset, multiplier = wire.underlying(row.base_currency)
    inverse = row.quote_currency == "USD"
    held = traded = None
    if summary is not None and not inverse:
        coins, mark = wire.not_negative(summary.open_interest), wire.positive(summary.mark_price)
        held = None if coins is None or mark is None else coins * mark
        traded = wire.not_negative(summary.volume_usd)
    return Instrument(
        venue=SPEC.name,
        symbol=row.instrument_name,
        asset=asset,
        quote=row.quote_currency,
        multiplier=multiplier,
        inverse=inverse,
        funding_hours=_FUNDING_HOURS,
        open_interest_usd=SPEC.open_interest.one_side(held),
        volume_24h_usd=traded,
        ends_at=ends_at,
    )


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for all trades, liquidations among them; one for 100 tickers, one for 100 books.

    A channel that does not exist is left out of the answer without a word, and nothing comes of it.
    """
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    if Kind.LIQUIDATION in kinds and symbols:
        asked = (_ask(_SUBSCRIBE, [_TRADES]),)
        brings = frozenset((Kind.LIQUIDATION,))
        sockets.append(wire.socket("market", _PATH, asked, brings, (), _SILENCE_S))
    for group, feed in (("ticker", _TICKER_KINDS), ("book", frozenset((Kind.DEPTH,)))):
        brings = feed & kinds
        for name, batch in wire.divided(group, symbols if brings else (), _PER_SOCKET, running):
            asked = (_ask(_SUBSCRIBE, [_channel(symbol, brings) for symbol in batch]),)
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _channel(symbol: str, kinds: frozenset[Kind]) -> str:
    """What a socket of these kinds has of one contract."""
    return (_BOOK if Kind.DEPTH in kinds else _TICKER).format(symbol)


def _ask(request: int, channels: list[str]) -> bytes:
    method = "public/subscribe" if request == _SUBSCRIBE else "public/unsubscribe"
    return msgspec.json.encode(
        {"jsonrpc": "2.0", "id": request, "method": method, "params": {"channels": channels}}
    )


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request a symbol."""
    kinds = subscription.kinds
    return tuple(_ask(_SUBSCRIBE, [_channel(symbol, kinds)]) for symbol in symbols)


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when it is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    book = [_channel(symbol, subscription.kinds)]
    return tuple(_ask(request, book) for request in (_UNSUBSCRIBE, _SUBSCRIBE))


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """What was charged in the last hour, symbol by symbol, over two minutes after it."""
    if Kind.FUNDING not in kinds:
        return []
    requests = wire.of_each(instruments, _SETTLED)
    return wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=120.0, offset_s=60.0)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public socket."""
    message = wire.read(_frame, frame)
    if message.id is not None or message.error is not None:
        return [_reply(message)]
    if message.method == "heartbeat":
        return [Reply(ok=True)]
    channel, data = message.params.channel, message.params.data
    match channel.partition(".")[0]:
        case "ticker":
            return _read_ticker(data, listing, seen)
        case "trades":
            return _read_trades(data, listing, seen)
        case "book":
            return [] if _NOT_CHANGES.match(channel) else _read_book(data, listing)
        case name if name in _IGNORED:
            return []
        case _:
            raise Malformed(f"unknown channel {channel!r:.40}")


def _reply(message: _Frame) -> Reply:
    if message.error is not None:
        text = f"{message.error.code}: {message.error.message}"
        # nobody waits for the end of a book or for the answer to a ping
        return Reply(ok=message.id in (_UNSUBSCRIBE, _TEST), text=text)
    opened = message.id == _SUBSCRIBE and _TRADES in wire.read(_channels, message.result)
    return Reply(ok=True, opens=Kind.LIQUIDATION if opened else None)


def _read_ticker(data: msgspec.Raw, listing: Listing, seen: Ms) -> list[Decoded]:
    """``current_funding`` is paid now, ``funding_8h`` is what was paid in the last 8 h."""
    row = wire.read(_ticker, data)
    of = listing.instruments.get(row.instrument_name)
    if of is None:
        return []
    return [
        *_facts(of, row, row.timestamp, seen),
        *wire.present(
            wire.price(of, row.timestamp, seen, row.mark_price, row.index_price),
            wire.volume(of, row.timestamp, seen, row.stats.volume_usd),
        ),
    ]


def _facts(of: Instrument, row: _Ticker | _Summary, at: Ms, seen: Ms) -> list[Decoded]:
    """Funding and open interest."""
    rate = wire.fraction(row.current_funding)
    held, mark = wire.not_negative(row.open_interest), wire.positive(row.mark_price)
    usd = None if held is None or mark is None else held * mark
    hourly = None if rate is None else rate * _FUNDING_HOURS / _RATE_HOURS
    return wire.present(
        wire.predicted(of, at, seen, hourly, _FUNDING_HOURS, None),
        wire.open_interest(SPEC.open_interest, of, at, seen, held, usd, row.mark_price),
    )


def _read_trades(data: msgspec.Raw, listing: Listing, seen: Ms) -> list[Decoded]:
    """A trade is a liquidation of its taker, of its maker or of both; most are none."""
    if b'"liquidation"' not in bytes(data):
        return []

    def facts(row: _Trade) -> list[Decoded]:
        of = listing.instruments.get(row.instrument_name)
        if of is None or row.liquidation is None:
            return []
        coins = wire.units_in(of, row.amount, row.price)
        return wire.present(
            *(
                wire.liquidation(of, row.timestamp, seen, position, row.price, coins)
                for position in _CLOSED[row.liquidation, row.direction]
            )
        )

    return wire.facts_of_rows(
        lambda: wire.read(_trades, data), lambda: wire.read(_raws, data), _trade, facts
    )


def _read_book(data: msgspec.Raw, listing: Listing) -> list[Decoded]:
    """The whole book, then its changes. A snapshot may have an id before it, or say no type."""
    book = wire.read(_book, data)
    of = listing.instruments.get(book.instrument_name)
    if of is None:
        return []
    snapshot = book.type == "snapshot" or book.prev_change_id is None
    return [
        BookUpdate(
            symbol=of.symbol,
            at=book.timestamp,
            snapshot=snapshot,
            bids=_levels(book.bids, of),
            asks=_levels(book.asks, of),
            last=book.change_id,
            previous=None if snapshot else book.prev_change_id,
        )
    ]


def _levels(levels: Sequence[_Level], of: Instrument) -> wire.Levels:
    return wire.per_coin_in(
        [(it.price, 0.0 if it.action == "delete" else it.amount) for it in levels], of
    )


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """What the newest hour has cost, by one contract, whom the rows do not name.

    ``interest_8h`` beside it is of the last 8 h, so it would count each hour eight times.
    """
    rows = wire.read(_settlements, wire.read(_answer, body).result)
    of = listing.instruments.get(poll.request.symbol)
    if of is None or not rows:
        return []
    newest = max(rows, key=lambda row: row.timestamp)
    terms = Terms(symbol=of.symbol, settled_before=newest.timestamp - HOUR)
    return wire.present(terms, wire.settled(of, newest.timestamp, seen, newest.interest_1h))


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """What each hour has cost, contract by contract, in pieces."""
    return [
        HistoryRequest(
            request=r, kind=Kind.FUNDING, rows=_PIECE // HOUR, every_s=0.5, piece_ms=_PIECE
        )
        for r in wire.of_each(instruments, _PAST_RATES)
    ]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """The hours of one contract, whom the rows do not name; see ``decode_poll``."""
    of, result = listing.instruments.get(history.request.symbol), wire.read(_answer, body).result
    return wire.facts_of_rows(
        lambda: wire.read(_settlements, result),
        lambda: wire.read(_raws, result),
        _settled,
        lambda row: wire.present(of and wire.settled(of, row.timestamp, seen, row.interest_1h)),
    )


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Summaries of all contracts, by what they are settled in, and books."""
    summaries = [Request(path=_SUMMARIES + currency) for currency in ("BTC", "ETH", "USDC")]
    return [*summaries, *wire.of_each(instruments, _ORDERS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``. Of what they bring there is no index price."""
    if request.symbol:
        of = listing.instruments.get(request.symbol)
        book = wire.read(_orders, wire.read(_answer, body).result)
        if of is None:
            return []
        return [wire.snapshot(of, book.timestamp, book.bids, book.asks, _CHECKED_REACH)]

    def facts(row: _Summary) -> list[Decoded]:
        of, at = listing.instruments.get(row.instrument_name), wire.moment(row.creation_timestamp)
        if of is None:
            return []
        return [
            *_facts(of, row, at or seen, seen),
            *wire.present(
                wire.price(of, at or seen, seen, row.mark_price, None),
                wire.volume(of, at or seen, seen, row.volume_usd),
                wire.mid(of, row.mid_price, row.mid_price),
            ),
        ]

    raws = _rows(body)
    return wire.facts_of_rows(
        lambda: [wire.read(_summary, raw) for raw in raws], lambda: raws, _summary, facts
    )


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
