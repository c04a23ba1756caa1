"""Coinbase's spot market (Advanced Trade): pairs against USD and USDT.

Facts from docs.cdp.coinbase.com (Advanced Trade) as of November 2026, tried on recorded frames of
April and August 2026. All frames of a connection are numbered in one sequence, whatever they are
about, acknowledgements among them; books have no numbers of their own, so a number that is missing
may be of any of them. A book comes whole and to its end, then changes of it, some of them empty.

A pair against USDC is the one against USD under another name (``alias``), with its book and its
volume: it is left out.
"""

from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote

import msgspec

from streams.events import Instrument, Kind, Ms
from streams.venue import (
    NO_CHANNELS,
    NO_INTEREST,
    NOTHING,
    UNNUMBERED,
    UNREADABLE,
    BookUpdate,
    Channels,
    Decoded,
    ListedContracts,
    Listing,
    Malformed,
    Place,
    Reply,
    Request,
    Running,
    Spec,
    Subscription,
    Unreadable,
)
from streams.venues import wire

SPEC = Spec(
    name="coinbase",
    title="Coinbase",
    spot=True,
    websocket="wss://advanced-trade-ws.coinbase.com",
    rest="https://api.coinbase.com",
    kinds=frozenset((Kind.DEPTH, Kind.PRICE, Kind.VOLUME)),
    open_interest=NO_INTEREST,
    requests_per_second=5.0,  # 10 an address, not confirmed
    connects_per_second=4.0,  # 8 an address
    sends_per_second=4.0,  # 8 an address; the first within 5 s, or it closes the connection
    book="whole",
)

_PRODUCTS = "/api/v3/brokerage/market/products?product_type=SPOT"
_BOOK = "/api/v3/brokerage/market/product_book?product_id="
_CHECKED_REACH = 500
_QUOTES = frozenset(("USD", "USDT"))
_PAIRS_PER_SOCKET = 20
"""A book comes whole: of BTC that is several MB, and what lacks costs all books of its socket."""

_BOOKS, _TICKERS, _LIFE = "level2", "ticker_batch", "heartbeats"
"""Tickers come each 5 s. Without a channel that always speaks quiet connections are closed."""

_SILENCE_S = {Kind.DEPTH: 30.0, Kind.PRICE: 60.0, Kind.VOLUME: 60.0}


class _Product(msgspec.Struct):
    product_id: str
    base_currency_id: str
    quote_currency_id: str
    status: str
    product_type: str
    is_disabled: bool = False
    trading_disabled: bool = False
    cancel_only: bool = False
    auction_mode: bool = False
    view_only: bool = False
    alias: str = ""


class _Volume(msgspec.Struct):
    product_id: str
    approximate_quote_24h_volume: wire.Text = ""
    price: wire.Text = ""


class _Products(msgspec.Struct):
    products: list[msgspec.Raw]


class _Change(msgspec.Struct):
    side: Literal["bid", "offer"]
    price_level: float
    new_quantity: float


class _BookEvent(msgspec.Struct):
    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[_Change] = []


class _Ticker(msgspec.Struct):
    product_id: str
    price: wire.Text = ""
    volume_24_h: wire.Text = ""


class _TickerEvent(msgspec.Struct):
    tickers: list[msgspec.Raw] = []


class _Frame(msgspec.Struct):
    channel: str = ""
    sequence_num: int | None = None
    timestamp: str = ""
    events: msgspec.Raw = msgspec.Raw(b"[]")
    type: str = ""
    message: str = ""


class _Level(msgspec.Struct):
    price: float
    size: float


class _PriceBook(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]
    time: str = ""


class _ProductBook(msgspec.Struct):
    pricebook: _PriceBook


_products = msgspec.json.Decoder(_Products)
_product = msgspec.json.Decoder(_Product)
_volume = msgspec.json.Decoder(_Volume)
_frame = msgspec.json.Decoder(_Frame)
_book_events = msgspec.json.Decoder(list[_BookEvent], strict=False)
_ticker_events = msgspec.json.Decoder(list[_TickerEvent])
_ticker = msgspec.json.Decoder(_Ticker)
_product_book = msgspec.json.Decoder(_ProductBook, strict=False)


def listing_requests() -> list[Request]:
    """All pairs, with their volumes."""
    return [Request(path=_PRODUCTS)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: without a limit the answer is not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Pairs against USD and USDT that trade, each under one name."""
    (products,) = bodies
    unreadable: list[str] = []

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_product, raw)
        shut = row.is_disabled or row.trading_disabled or row.cancel_only or row.auction_mode
        wanted = (
            row.product_type == "SPOT"
            and row.status == "online"
            and row.quote_currency_id in _QUOTES
            and not (shut or row.view_only or row.alias)
        )
        if not wanted:
            return None
        asset, multiplier = wire.underlying(row.base_currency_id)
        return Instrument(
            venue=SPEC.name,
            symbol=row.product_id,
            asset=asset,
            quote=row.quote_currency_id,
            multiplier=multiplier,
            spot=True,
            volume_24h_usd=_ranked_volume(raw, unreadable),
        )

    listed = wire.rows(wire.read(_products, products).products, build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _ranked_volume(raw: msgspec.Raw, unreadable: list[str]) -> float | None:
    """The volume in a row, which only ranks: one that cannot be read costs no pair."""
    volumes = wire.ranking(
        lambda: [raw],
        lambda row: wire.positive(wire.read(_volume, row).approximate_quote_24h_volume),
        unreadable,
        "volumes",
    )
    return volumes[0] if volumes else None


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for every 20 pairs, with their books and tickers."""
    wanted = kinds & SPEC.kinds
    symbols = [instrument.symbol for instrument in instruments]
    if not wanted:
        return []
    return [
        wire.socket(name, "/", _subscribe(batch, wanted), wanted, batch, _SILENCE_S)
        for name, batch in wire.divided("pairs", symbols, _PAIRS_PER_SOCKET, running)
    ]


def _subscribe(symbols: Sequence[str], kinds: frozenset[Kind]) -> tuple[bytes, ...]:
    return (msgspec.json.encode({"type": "subscribe", "channel": _LIFE}), *_ask(symbols, kinds))


def _ask(symbols: Sequence[str], kinds: frozenset[Kind]) -> tuple[bytes, ...]:
    channels = [_BOOKS] if Kind.DEPTH in kinds else []
    channels += [_TICKERS] if kinds - {Kind.DEPTH} else []
    return tuple(_message("subscribe", symbols, channel) for channel in channels)


def _message(what: str, symbols: Sequence[str], channel: str) -> bytes:
    return msgspec.json.encode({"type": what, "product_ids": list(symbols), "channel": channel})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The channels of these pairs again, one by one: a refusal costs all that it was asked with,
    and need not name what it is about. Asking twice does no harm here."""
    return tuple(message for s in symbols for message in _ask([s], subscription.kinds))


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame, with its number among all of the connection."""
    of = wire.read(_frame, frame)
    if of.type == "error":
        return [*_place(of), Reply(ok=False, text=of.message)]
    match of.channel:
        case "l2_data":
            return [*_place(of), *_books(of, listing)]
        case "ticker" | "ticker_batch":
            try:
                return [*_place(of), *_tickers(of, listing, seen)]
            except UNREADABLE:  # its number counts all the same
                return [*_place(of), Unreadable(rows=("tickers",))]
        case "subscriptions":
            return [*_place(of), Reply(ok=True)]
        case "heartbeats" | "candles" | "market_trades" | "status":
            return _place(of)
        case "":
            raise Malformed("neither a channel nor an error")
        case unknown:  # it has a number too, without which one would be missing
            return [*_place(of), Unreadable(rows=(unknown[:40],))]


def _place(of: _Frame) -> list[Decoded]:
    return [] if of.sequence_num is None else [Place(number=of.sequence_num)]


def _at(text: str) -> Ms:
    """A time of up to nine decimals."""
    at = wire.utc(text)
    if at is None:
        raise Malformed(f"not a time: {text!r:.40}")
    return at


def _books(of: _Frame, listing: Listing) -> list[Decoded]:
    at = _at(of.timestamp)
    updates: list[Decoded] = []
    for event in wire.read(_book_events, of.events):
        pair = listing.instruments.get(event.product_id)
        if pair is None:
            continue
        sides: tuple[wire.Levels, wire.Levels] = ([], [])
        for change in event.updates:
            sides[change.side == "offer"].append((change.price_level, change.new_quantity))
        is_snapshot = event.type == "snapshot"
        updates.append(
            BookUpdate(
                symbol=event.product_id,
                at=at,
                snapshot=is_snapshot,
                bids=wire.per_coin_in(sides[0], pair),
                asks=wire.per_coin_in(sides[1], pair),
                last=UNNUMBERED,
                previous=None if is_snapshot else UNNUMBERED,
            )
        )
    return updates


def _tickers(of: _Frame, listing: Listing, seen: Ms) -> list[Decoded]:
    at = _at(of.timestamp)
    rows = [row for event in wire.read(_ticker_events, of.events) for row in event.tickers]

    def facts(row: _Ticker) -> list[Decoded]:
        pair = listing.instruments.get(row.product_id)
        if pair is None:
            return []
        last, coins = wire.positive(row.price), wire.not_negative(row.volume_24_h)
        usd = "" if last is None or coins is None else last * coins
        return wire.present(wire.last_price(pair, at, seen, last), wire.volume(pair, at, seen, usd))

    return wire.facts_of_rows(
        lambda: [wire.read(_ticker, row) for row in rows], lambda: rows, _ticker, facts
    )


polls, decode_poll = wire.no_polls, wire.decode_no_poll
histories, decode_history = wire.no_histories, wire.decode_no_history


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Last prices and volumes of all pairs, and books."""
    books = [
        Request(path=f"{_BOOK}{quote(i.symbol)}&limit={_CHECKED_REACH}", symbol=i.symbol)
        for i in instruments
    ]
    return [Request(path=_PRODUCTS), *books]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    if request.symbol:
        pair, book = listing.instruments.get(request.symbol), wire.read(_product_book, body)
        if pair is None:
            return []
        of = book.pricebook
        bids, asks = ([(x.price, x.size) for x in side] for side in (of.bids, of.asks))
        return [wire.snapshot(pair, _at(of.time), bids, asks, _CHECKED_REACH)]

    def facts(row: _Volume) -> list[Decoded]:
        pair = listing.instruments.get(row.product_id)
        if pair is None:
            return []
        return wire.present(
            wire.last_price(pair, seen, seen, row.price),
            wire.volume(pair, seen, seen, row.approximate_quote_24h_volume),
        )

    rows = wire.read(_products, body).products
    return wire.facts_of_rows(
        lambda: [wire.read(_volume, row) for row in rows], lambda: rows, _volume, facts
    )


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """The book anew: it comes whole after each subscription."""
    return tuple(_message(what, [symbol], _BOOKS) for what in ("unsubscribe", "subscribe"))


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
