"""Lighter perpetuals, settled in USDC.

Facts from apidocs.lighter.xyz as of November 2026, as two client libraries have it, and from
recorded frames of April 2026. All feeds go by the number of a market, which is its symbol here.
Funding is charged each hour, and written in percent of an hour; open interest is in USD on the
socket and in coins by REST. A book comes whole and then in changes, each of which names the number
that it continues from. Liquidations come with the trades of their market, in a list of their own.
"""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from streams.durations import HOUR
from streams.events import Instrument, Kind, Ms, Position
from streams.venue import (
    NO_CHANNELS,
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
    Sides,
    Spec,
    Subscription,
)
from streams.venues import wire

_FUNDING_HOURS = 1.0

SPEC = Spec(
    name="lighter",
    title="Lighter",
    websocket="wss://mainnet.zklighter.elliot.ai",
    rest="https://mainnet.zklighter.elliot.ai",
    kinds=frozenset(Kind),
    open_interest=Sides(None, "two aggregators double it, and no word of the venue says why"),
    requests_per_second=1.0,  # 60 a minute
    ping=b'{"type":"ping"}',
    ping_s=30.0,  # something has to be said every 2 min
    answers_pings=False,  # nothing says that those of the protocol are
    repeats_liquidations=True,  # a subscription began with one of 52 min before
    connects_per_second=1.0,  # 80 a minute
    sends_per_second=0.5,  # 200 messages a minute, over all sockets
    tells_settlements=False,  # each frame has the last one again: the rate of the next is read
    no_second_source={
        Kind.PRICE: "by REST it says the last trade alone",
        Kind.FUNDING: "by REST it says what was charged alone",
        "funding_interval": "it is an hour there, which is said nowhere",
    },
    book="whole",
    funding_hours=_FUNDING_HOURS,
)

_PATH = "/stream"
_MARKETS = "/api/v1/orderBookDetails"
_ORDERS = "/api/v1/orderBookOrders?limit=1&market_id="
_ALL = "market_stats/all"
_STATS_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
_TOPICS = {"trade": ("trade", Kind.LIQUIDATION), "book": ("order_book", Kind.DEPTH)}
"""Sockets by name: the topic of each market, and what it brings."""
_TOPICS_PER_SOCKET = 250
"""500 are allowed; so few sockets share the messages that all of them may send."""
_SILENCE_S = {Kind.PRICE: 30.0, Kind.DEPTH: 60.0}
_ACTIVE, _INACTIVE = "active", "inactive"
_NO_COIN = re.compile(
    r"X(AU|AG|PD|PT|CU)|WTI|BRENT.*|NATGAS|(EUR|GBP|AUD|NZD)USD|USD(JPY|CHF|CAD|KRW|CNH)|EURJPY"
)
"""Metals, oil and currencies. Shares have no mark of their own but their hours of trading."""
_IGNORED = frozenset(("ticker", "height", "candle", "spot_market_stats", "trade", "market_stats"))
_ALREADY = "already subscribed"
_MARKET = re.compile(r"/([0-9]{1,6})\b")


class _Config(msgspec.Struct):
    trading_hours: str | None = None
    hidden: bool | None = None


class _Market(msgspec.Struct):
    symbol: str
    market_id: int
    market_type: str = "perp"
    status: str = ""
    open_interest: wire.Text = None
    last_trade_price: wire.Text = None
    daily_quote_token_volume: wire.Text = None
    market_config: _Config | None = None


class _Listed(msgspec.Struct):
    order_book_details: list[msgspec.Raw]
    code: int = 200


class _Order(msgspec.Struct):
    price: wire.Text


class _Orders(msgspec.Struct):
    asks: list[_Order]
    bids: list[_Order]
    code: int = 200


class _Stats(msgspec.Struct):
    market_id: int
    symbol: str = ""
    mark_price: wire.Text = None
    index_price: wire.Text = None
    open_interest: wire.Text = None
    current_funding_rate: wire.Text = None
    funding_timestamp: wire.Text = None
    daily_quote_token_volume: wire.Text = None


class _Trade(msgspec.Struct):
    market_id: int
    type: str
    size: wire.Text
    price: wire.Text
    is_maker_ask: bool
    timestamp: wire.Time
    trade_id: int = 0


class _Level(msgspec.Struct):
    price: float
    size: float


class _Book(msgspec.Struct):
    nonce: int
    begin_nonce: int
    asks: list[_Level] = []
    bids: list[_Level] = []


class _Error(msgspec.Struct):
    message: str = ""
    code: int | str = 0


class _Frame(msgspec.Struct):
    type: str = ""
    channel: str = ""
    timestamp: wire.Text = None
    market_stats: msgspec.Raw = msgspec.Raw(b"{}")
    order_book: msgspec.Raw = msgspec.Raw(b"null")
    liquidation_trades: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


_frame = msgspec.json.Decoder(_Frame)
_listed = msgspec.json.Decoder(_Listed)
_market = msgspec.json.Decoder(_Market)
_orders = msgspec.json.Decoder(_Orders)
_stats = msgspec.json.Decoder(_Stats)
_all_stats = msgspec.json.Decoder(dict[str, _Stats])
_raw_stats = msgspec.json.Decoder(dict[str, msgspec.Raw])
_trade = msgspec.json.Decoder(_Trade)
_trades = msgspec.json.Decoder(list[_Trade])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_book = msgspec.json.Decoder(_Book, strict=False)


def listing_requests() -> list[Request]:
    """All markets."""
    return [Request(path=_MARKETS)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Perpetuals on coins that trade or end; no pairs, none with hours of trading, no metals, oil
    or currencies."""
    unreadable: list[str] = []

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_market, raw)
        hours = row.market_config is not None and row.market_config.trading_hours
        wanted = row.market_type == "perp" and row.status in (_ACTIVE, _INACTIVE) and not hours
        return _instrument(row) if wanted and not _NO_COIN.fullmatch(row.symbol) else None

    listed = wire.rows(_rows_of(bodies[0]), build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _rows_of(body: bytes) -> list[msgspec.Raw]:
    answer = wire.read(_listed, body)
    if answer.code != 200:
        raise Malformed(f"Lighter answered {answer.code}")
    return answer.order_book_details


def _instrument(row: _Market) -> Instrument:
    asset, multiplier = wire.underlying(row.symbol)
    coins, last = wire.not_negative(row.open_interest), wire.positive(row.last_trade_price)
    held = None if coins is None or last is None else coins * last
    return Instrument(
        venue=SPEC.name,
        symbol=f"{row.market_id}",
        asset=asset,
        quote="USDC",
        multiplier=multiplier,
        funding_hours=_FUNDING_HOURS,
        open_interest_usd=SPEC.open_interest.one_side(held),
        volume_24h_usd=wire.not_negative(row.daily_quote_token_volume),
        ends_at=0 if row.status == _INACTIVE else None,
    )


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for the numbers of all markets, one for the trades of 250, one for 250 books."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    brings = _STATS_KINDS & kinds
    if brings and symbols:
        asked = (_message("subscribe", _ALL),)
        sockets.append(wire.socket("market", _PATH, asked, brings, (), _SILENCE_S))
    for group, (topic, kind) in _TOPICS.items():
        brings = frozenset((kind,)) & kinds
        wanted = symbols if brings else ()
        for name, batch in wire.divided(group, wanted, _TOPICS_PER_SOCKET, running):
            asked = tuple(_message("subscribe", f"{topic}/{symbol}") for symbol in batch)
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _message(what: Literal["subscribe", "unsubscribe"], channel: str) -> bytes:
    return msgspec.json.encode({"type": what, "channel": channel})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request each."""
    return tuple(
        _message("subscribe", f"{topic}/{symbol}")
        for topic, kind in _TOPICS.values()
        if kind in subscription.kinds
        for symbol in symbols
    )


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when it is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    book = f"order_book/{symbol}"
    return (_message("unsubscribe", book), _message("subscribe", book))


polls, decode_poll = wire.no_polls, wire.decode_no_poll
histories, decode_history = wire.no_histories, wire.decode_no_history


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public socket."""
    message = wire.read(_frame, frame)
    if message.error is not None:
        if _ALREADY in message.error.message.lower():
            return [Reply(ok=True)]
        market = _MARKET.search(message.error.message)
        text = f"{message.error.code}: {message.error.message}"
        return [Reply(ok=False, text=text, symbols=(market[1],) if market else ())]
    event, _, feed = message.type.partition("/")
    symbol = message.channel.partition(":")[2]
    match event:
        case "ping":
            return [Reply(ok=True, answer='{"type":"pong"}')]
        case "pong" | "connected" | "unsubscribed":
            return [Reply(ok=True)]
        case "subscribed" | "update":
            pass
        case other:
            raise Malformed(f"unknown type {other!r:.40}")
    opened: list[Decoded] = []
    if event == "subscribed" and feed == "trade":
        opened = [Reply(ok=True, opens=Kind.LIQUIDATION, symbols=(symbol,))]
    if feed == "order_book":
        return _read_book(symbol, message, listing, event == "subscribed", seen)
    if feed == "market_stats":
        return _read_stats(message, listing, seen)
    if feed not in _IGNORED:
        raise Malformed(f"unknown feed {feed!r:.40}")
    if feed != "trade" or bytes(message.liquidation_trades) == b"null":
        return opened
    return [*opened, *_read_liquidations(message.liquidation_trades, listing, seen)]


def _read_book(
    symbol: str, message: _Frame, listing: Listing, is_snapshot: bool, seen: Ms
) -> list[Decoded]:
    """``offset`` beside the numbers has had holes since December 2025."""
    of, book = listing.instruments.get(symbol), wire.read(_book, message.order_book)
    if of is None:
        return []
    bids, asks = ([(x.price, x.size) for x in side] for side in (book.bids, book.asks))
    return [
        BookUpdate(
            symbol=symbol,
            at=wire.moment(message.timestamp) or seen,
            snapshot=is_snapshot,
            bids=wire.per_coin_in(bids, of),
            asks=wire.per_coin_in(asks, of),
            first=book.nonce,
            last=book.nonce,
            previous=None if is_snapshot else book.begin_nonce,
        )
    ]


def _read_stats(message: _Frame, listing: Listing, seen: Ms) -> list[Decoded]:
    at, stats = wire.moment(message.timestamp) or seen, message.market_stats

    def facts(row: _Stats) -> list[Decoded]:
        of = listing.instruments.get(f"{row.market_id}")
        return [] if of is None else _stats_facts(of, row, at, seen)

    if not message.channel.endswith(":all"):
        return facts(wire.read(_stats, stats))
    return wire.facts_of_rows(
        lambda: [*wire.read(_all_stats, stats).values()],
        lambda: [*wire.read(_raw_stats, stats).values()],
        _stats,
        facts,
    )


def _stats_facts(of: Instrument, row: _Stats, at: Ms, seen: Ms) -> list[Decoded]:
    """``current_funding_rate`` is of the next hour, in percent; ``funding_rate`` was charged."""
    percent, charged = wire.number(row.current_funding_rate), wire.moment(row.funding_timestamp)
    next_at = None if charged is None else (round(charged / HOUR) + 1) * HOUR
    rate = None if percent is None or next_at is None or next_at <= at else round(percent / 100, 12)
    usd, mark = wire.not_negative(row.open_interest), wire.positive(row.mark_price)
    units = None if usd is None or mark is None else usd / mark
    return wire.present(
        wire.predicted(of, at, seen, rate, _FUNDING_HOURS, next_at),
        wire.open_interest(SPEC.open_interest, of, at, seen, units, usd),
        wire.price(of, at, seen, row.mark_price, row.index_price),
        wire.volume(of, at, seen, row.daily_quote_token_volume),
    )


def _read_liquidations(rows: msgspec.Raw, listing: Listing, seen: Ms) -> list[Decoded]:
    """``deleverage`` takes a position over without an order; ``market-settlement`` ends a market.

    The order is the taker's: where the maker sold it bought, and a short was liquidated.
    """

    def facts(row: _Trade) -> list[Decoded]:
        of = listing.instruments.get(f"{row.market_id}")
        if of is None or row.type != "liquidation":
            return []
        position = Position.SHORT if row.is_maker_ask else Position.LONG
        order = wire.liquidation(of, row.timestamp, seen, position, row.price, row.size)
        if order is None:
            return []
        return [msgspec.structs.replace(order, trade_id=f"{row.trade_id or ''}")]

    return wire.facts_of_rows(
        lambda: wire.read(_trades, rows), lambda: wire.read(_raws, rows), _trade, facts
    )


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Open interest and volumes of all markets, and best orders."""
    return [Request(path=_MARKETS), *wire.of_each(instruments, _ORDERS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``: by REST open interest is in coins."""
    if request.symbol:
        of, orders = listing.instruments.get(request.symbol), wire.read(_orders, body)
        if of is None or not orders.bids or not orders.asks:
            return []
        return wire.present(wire.mid(of, orders.bids[0].price, orders.asks[0].price))

    def facts(row: _Market) -> list[Decoded]:
        of = listing.instruments.get(f"{row.market_id}")
        if of is None:
            return []
        coins = wire.not_negative(row.open_interest)
        return wire.present(
            wire.open_interest(SPEC.open_interest, of, seen, seen, coins, None),
            wire.volume(of, seen, seen, row.daily_quote_token_volume),
        )

    rows = _rows_of(body)
    return wire.facts_of_rows(
        lambda: [wire.read(_market, row) for row in rows], lambda: rows, _market, facts
    )


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
