"""HTX linear perpetuals (USDT).

Facts from HTX's documentation as of November 2026, as two client libraries have it since the old
interface for accounts was switched off in July 2026, and from recorded frames of 2020 to 2024.
Every frame is packed with gzip. The venue pings, each 5 s, and is answered by its own number; there
are three addresses, for books, for prices and for what is told of all contracts. Books count in
contracts of ``contract_size`` coins at prices per coin, liquidations in both: ``volume`` is in
contracts, ``amount`` in coins. What its volumes and open interest are worth nobody can check.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from streams.contracts import Terms
from streams.durations import HOUR
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
    name="htx",
    title="HTX",
    websocket="wss://api.hbdm.com",
    rest="https://api.hbdm.com",
    kinds=frozenset(Kind),
    open_interest=Sides(None, "an aggregator says both; no word of the venue on `amount`"),
    requests_per_second=10.0,  # 240 in 3 s, of market data 80 a second
    sends_per_second=20.0,  # 40 subscriptions a second are allowed on a connection
    rows="apart",
    no_second_source={
        Kind.OPEN_INTEREST: "it is polled, and no channel has it",
        Kind.VOLUME: "it is polled, and the channel of each contract is not listened to",
        "funding_interval": "contract_elements alone says it",
    },
    book="the best 150",
)

_ALL, _BOOKS, _PRICES = "/linear-swap-notification", "/linear-swap-ws", "/ws_index"
_CONTRACTS = "/linear-swap-api/v1/swap_contract_info"
_TICKERS = "/v2/linear-swap-ex/market/detail/batch_merged"
_INTEREST = "/v5/market/open_interest"
_RATES = "/linear-swap-api/v1/swap_batch_funding_rate"
_MARKS = "/index/market/history/linear_swap_mark_price_kline?period=1min&size=1&contract_code="
_SETTLED = "/v5/market/funding_rate_history?limit=2&contract_code="
_PAST_ROWS = 100  # 200 are refused
_PAST_RATES = "/v5/market/funding_rate_history?start_time={since}&end_time={until}"
_POLLS = ((Kind.OPEN_INTEREST, _INTEREST, 10.0, 0.0), (Kind.VOLUME, _TICKERS, 60.0, 3.0))

_REACH = 150
_BOOK = f"depth.size_{_REACH}.high_freq"
_MARK, _INDEX = "mark_price.1min", "index.1min"
_LIQUIDATIONS, _FUNDING, _ELEMENTS = "liquidation_orders", "funding_rate", "contract_elements"
_BOOKS_PER_SOCKET = 40
_PRICES_PER_SOCKET = 60
_SILENCE_S = {Kind.PRICE: 60.0, Kind.DEPTH: 30.0, Kind.FUNDING: 300.0}
_USUAL_FUNDING_HOURS = 8.0
_SUFFIX = "-USDT"
_TRADING = frozenset((1, 3, 5, 7, 9))
"""Listed, suspended, in settlement, settled, suspended: at each settlement it is some of them."""
_ENDING = frozenset((0, 6, 8))
"""Delisted, delivering, delivered."""
_MOST_BYTES = 4 * 2**20
"""Of an unpacked frame; the largest that was recorded has 0.2 MB."""
_GZIP = b"\x1f\x8b"

_IGNORED = ("basis.", "bbo", "depth.", "detail", "estimated_rate.", "index.", "kline.",
            "mark_price.", "open_interest", "premium_index.", "trade.detail")  # fmt: skip
_IGNORED_TOPICS = frozenset(("contract_info", "heartbeat"))

_T = TypeVar("_T")


class _Contract(msgspec.Struct):
    contract_code: str
    contract_size: wire.Text = ""
    contract_status: int = 1
    business_type: str = "swap"
    delivery_time: wire.Text = ""
    settlement_period: wire.Text = ""


class _Ticker(msgspec.Struct):
    contract_code: str
    vol: wire.Text = ""
    ts: wire.Text = ""
    bid: list[float] = []
    ask: list[float] = []


class _Interest(msgspec.Struct):
    contract_code: str
    amount: wire.Text = ""
    value: wire.Text = ""


class _Rate(msgspec.Struct):
    contract_code: str
    funding_rate: wire.Text | None = None
    settlement_time: wire.Text = ""
    funding_time: wire.Text = ""


class _Settled(msgspec.Struct):
    contract_code: str
    funding_rate: wire.Text
    funding_time: wire.Time


class _Elements(msgspec.Struct):
    contract_code: str
    settle_period: wire.Text = ""
    funding_rate_cap: wire.Text = ""
    funding_rate_floor: wire.Text = ""


class _Liquidated(msgspec.Struct):
    contract_code: str
    direction: str
    amount: wire.Text
    price: wire.Text
    created_at: wire.Time


class _Book(msgspec.Struct):
    version: int
    event: str
    ts: wire.Time
    bids: wire.Levels = []
    asks: wire.Levels = []


class _Bar(msgspec.Struct):
    close: wire.Text


class _Answer(msgspec.Struct):
    status: str = ""
    code: int = 200
    data: msgspec.Raw = msgspec.Raw(b"[]")
    ticks: msgspec.Raw = msgspec.Raw(b"[]")
    ts: wire.Text = ""


class _Frame(msgspec.Struct, rename={"err_code": "err-code", "err_msg": "err-msg"}):
    ping: int | None = None
    op: str = ""
    ts: msgspec.Raw = msgspec.Raw(b"0")
    ch: str = ""
    tick: msgspec.Raw = msgspec.Raw(b"null")
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")
    id: str = ""
    status: str = ""
    subbed: str = ""
    unsubbed: str = ""
    err_code: int | str = 0
    err_msg: str = ""


_frame = msgspec.json.Decoder(_Frame)
_answer = msgspec.json.Decoder(_Answer)
_text = msgspec.json.Decoder(wire.Text)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_contract = msgspec.json.Decoder(_Contract)
_ticker = msgspec.json.Decoder(_Ticker)
_book = msgspec.json.Decoder(_Book, strict=False)
_bar = msgspec.json.Decoder(_Bar)
_bars = msgspec.json.Decoder(list[_Bar])
_settlements = msgspec.json.Decoder(list[_Settled], strict=False)
_settlement = msgspec.json.Decoder(_Settled, strict=False)


def listing_requests() -> list[Request]:
    """All contracts, then the volumes of all."""
    return [Request(path=_CONTRACTS), Request(path=_TICKERS, needed=False)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Perpetuals in USDT that trade or end; no dated contracts, none that is to be listed.

    Tickers only rank: whose cannot be read has no volume.
    """
    unreadable: list[str] = []
    volumes = {
        row.contract_code: wire.not_negative(row.vol)
        for row in wire.ranking(
            lambda: wire.read(_raws, _read(bodies[1]).ticks),
            lambda raw: _readable(wire.read(_ticker, raw)),
            unreadable,
            "tickers",
        )
    }

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        wanted = row.business_type == "swap" and row.contract_code.endswith(_SUFFIX)
        if not wanted or row.contract_status not in _TRADING | _ENDING:
            return None
        return _instrument(row, volumes.get(row.contract_code))

    listed = wire.rows(wire.read(_raws, _read(bodies[0]).data), build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _readable(row: _Ticker) -> _Ticker:
    wire.number(row.vol)
    return row


def _instrument(row: _Contract, volume: float | None) -> Instrument:
    coins = wire.positive(row.contract_size)
    if coins is None:
        raise Malformed(f"{row.contract_code}: a contract of no size")
    asset, multiplier = wire.underlying(row.contract_code.removesuffix(_SUFFIX))
    hours = wire.interval(wire.positive(row.settlement_period))
    return Instrument(
        venue=SPEC.name,
        symbol=row.contract_code,
        asset=asset,
        quote="USDT",
        multiplier=multiplier,
        contract_size=coins,
        funding_hours=hours or _USUAL_FUNDING_HOURS,
        funding_assumed=hours is None,
        volume_24h_usd=volume,
        ends_at=0 if row.contract_status in _ENDING else wire.moment(row.delivery_time),
    )


def _read(body: bytes) -> _Answer:
    answer = wire.read(_answer, body)
    if answer.status not in ("", "ok") or answer.code != 200:
        raise Malformed(f"HTX answered {answer.status:.20} {answer.code}".replace("  ", " "))
    return answer


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for what is told of all contracts, one for 60 prices, one for 40 books."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    brings = frozenset((Kind.LIQUIDATION, Kind.FUNDING)) & kinds
    if brings and symbols:
        topics = [_LIQUIDATIONS] * (Kind.LIQUIDATION in kinds)
        topics += [_ELEMENTS, _FUNDING] * (Kind.FUNDING in kinds)
        asked = tuple(_ask_all(topic) for topic in topics)
        sockets.append(wire.socket("market", _ALL, asked, brings, (), _SILENCE_S))
    for group, path, kind, size in (
        ("price", _PRICES, Kind.PRICE, _PRICES_PER_SOCKET),
        ("book", _BOOKS, Kind.DEPTH, _BOOKS_PER_SOCKET),
    ):
        brings = frozenset((kind,))
        for name, batch in wire.divided(group, symbols if kind in kinds else (), size, running):
            asked = tuple(message for symbol in batch for message in _ask(symbol, kind))
            sockets.append(wire.socket(name, path, asked, brings, batch, _SILENCE_S))
    return sockets


def _ask_all(topic: str) -> bytes:
    return msgspec.json.encode({"op": "sub", "cid": topic, "topic": f"public.*.{topic}"})


def _ask(symbol: str, kind: Kind, word: str = "sub") -> list[bytes]:
    """``id`` comes back with the answer, so a refusal says whom it is about."""
    topics = (_BOOK,) if kind is Kind.DEPTH else (_MARK, _INDEX)
    more = {"data_type": "incremental"} if kind is Kind.DEPTH else {}
    return [
        msgspec.json.encode({word: f"market.{symbol}.{topic}", **more, "id": symbol})
        for topic in topics
    ]


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The topics of each."""
    return tuple(
        message
        for kind in sorted(subscription.kinds)
        for symbol in symbols
        for message in _ask(symbol, kind)
    )


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when it is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    return (*_ask(symbol, Kind.DEPTH, "unsub"), *_ask(symbol, Kind.DEPTH))


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Open interest and volumes, each of all contracts at once, and settled funding, contract by
    contract, spread over two minutes after each full hour."""
    of_all = [
        Poll(request=Request(path=path), kind=kind, every_s=every_s, offset_s=offset_s)
        for kind, path, every_s, offset_s in _POLLS
        if kind in kinds and instruments
    ]
    settled = wire.of_each(instruments if Kind.FUNDING in kinds else (), _SETTLED)
    return [*of_all, *wire.spread(settled, Kind.FUNDING, 3600.0, over_s=120.0, offset_s=60.0)]


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of any of its sockets, packed or not."""
    message = wire.read(_frame, _unpacked(frame))
    if message.ping is not None:
        return [Reply(ok=True, answer=f'{{"pong":{message.ping}}}')]
    if message.op == "ping":
        moment = wire.moment(wire.read(_text, message.ts))
        if moment is None:
            raise Malformed("a ping of no time")
        return [Reply(ok=True, answer=f'{{"op":"pong","ts":{bytes(message.ts).decode()}}}')]
    if message.ch:
        _, _, named = message.ch.partition("market.")
        symbol, _, feed = named.partition(".")
        return _read_feed(symbol, feed, message, listing, seen)
    if message.op == "notify":
        name = message.topic.rpartition(".")[2]
        if name in _IGNORED_TOPICS:
            return []
        reader = _READERS.get(name)
        if reader is None:
            raise Malformed(f"unknown topic {message.topic!r:.60}")
        return reader(message.data, listing, _at(message, seen), seen)
    return [_reply(message)]


def _unpacked(frame: bytes) -> bytes:
    if not frame.startswith(_GZIP):
        return frame
    packed = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        text = packed.decompress(frame, _MOST_BYTES)
    except zlib.error as error:
        raise Malformed("a frame whose gzip cannot be read") from error
    if packed.unconsumed_tail:
        raise Malformed(f"a frame of more than {_MOST_BYTES >> 20} MB")
    return text


def _at(message: _Frame, seen: Ms) -> Ms:
    return wire.moment(wire.read(_text, message.ts)) or seen


def _reply(frame: _Frame) -> Reply:
    if frame.subbed or frame.unsubbed:
        return Reply(ok=True)
    if frame.op in ("sub", "unsub", "error") and frame.topic:
        ok = frame.err_code in (0, "0", "")
        opened = ok and frame.op == "sub" and frame.topic.endswith(_LIQUIDATIONS)
        text = "" if ok else f"{frame.topic}: {frame.err_code} {frame.err_msg}".strip()
        return Reply(ok=ok, text=text, opens=Kind.LIQUIDATION if opened else None)
    if frame.op == "close":
        return Reply(ok=True, closing=True)
    if frame.status == "error" or frame.op == "error":
        text = f"{frame.err_code}: {frame.err_msg}"
        return Reply(ok=False, text=text, symbols=(frame.id,) if frame.id else ())
    raise Malformed("neither a channel nor an answer")


def _read_feed(
    symbol: str, feed: str, message: _Frame, listing: Listing, seen: Ms
) -> list[Decoded]:
    of = listing.instruments.get(symbol)
    if feed == _BOOK:
        book = wire.read(_book, message.tick)
        return [] if of is None else [_update(of, book)]
    if feed in (_MARK, _INDEX):
        close, at = wire.read(_bar, message.tick).close, _at(message, seen)
        prices = (close, None) if feed == _MARK else (None, close)
        return wire.present(of and wire.price(of, at, seen, *prices))
    if feed.startswith(_IGNORED):
        return []
    raise Malformed(f"unknown channel {message.ch!r:.60}")


def _update(of: Instrument, book: _Book) -> BookUpdate:
    if book.event not in ("snapshot", "update"):
        raise Malformed(f"{of.symbol}: a book that is {book.event!r:.20}")
    return BookUpdate(
        symbol=of.symbol,
        at=book.ts,
        snapshot=book.event == "snapshot",
        bids=wire.per_coin_in(book.bids, of),
        asks=wire.per_coin_in(book.asks, of),
        first=book.version,
        last=book.version,
        reach=_REACH,
        rolling=True,
    )


_Read = Callable[[msgspec.Raw, Listing, Ms, Ms], list[Decoded]]


def _reader(row: type[_T], facts: Callable[[_T, Listing, Ms, Ms], list[Decoded]]) -> _Read:
    """What reads a list of such rows."""
    whole = msgspec.json.Decoder(list[row], strict=False)
    single = msgspec.json.Decoder(row, strict=False)

    def read(data: msgspec.Raw, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
        return wire.facts_of_rows(
            lambda: wire.read(whole, data),
            lambda: wire.read(_raws, data),
            single,
            lambda row: facts(row, listing, at, seen),
        )

    return read


def _funding_facts(row: _Rate, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    """``funding_rate`` is for ``settlement_time``; one that is over is not told as charged, since
    nobody says that it was. ``estimated_rate`` is of the time after it, and null as a rule."""
    return _estimate(row, listing, at, seen, wire.moment(row.settlement_time))


def _estimate(row: _Rate, listing: Listing, at: Ms, seen: Ms, due: Ms | None) -> list[Decoded]:
    of = listing.instruments.get(row.contract_code)
    if of is None or due is None or due <= at:
        return []
    return wire.present(wire.predicted(of, at, seen, row.funding_rate, of.funding_hours, due))


def _rate_facts(row: _Rate, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    """By REST ``funding_time`` is when it will be charged, which on the socket it is not."""
    return _estimate(row, listing, at, seen, wire.moment(row.funding_time))


def _elements_facts(row: _Elements, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.contract_code)
    hours = wire.interval(wire.positive(row.settle_period))
    cap = wire.cap(row.funding_rate_cap, row.funding_rate_floor)
    if of is None or (hours is None and cap is None):
        return []
    return [Terms(symbol=of.symbol, funding_hours=hours, funding_cap=cap)]


def _liquidation_facts(row: _Liquidated, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    """``direction`` is that of the order; ``amount`` is in coins, ``volume`` in contracts."""
    of = listing.instruments.get(row.contract_code)
    if of is None or row.direction == "":
        return []
    if row.direction not in ("buy", "sell"):
        raise Malformed(f"{of.symbol}: a liquidation that is {row.direction!r:.20}")
    position = Position.LONG if row.direction == "sell" else Position.SHORT
    return wire.present(wire.liquidation(of, row.created_at, seen, position, row.price, row.amount))


def _interest_facts(row: _Interest, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.contract_code)
    held = wire.not_negative(row.amount), wire.not_negative(row.value)
    return wire.present(of and wire.open_interest(SPEC.open_interest, of, at, seen, *held))


def _volume_facts(row: _Ticker, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    """``vol`` is in USDT here, and in contracts in the tickers of single contracts."""
    of = listing.instruments.get(row.contract_code)
    return wire.present(of and wire.volume(of, wire.moment(row.ts) or at, seen, row.vol))


def _mid_facts(row: _Ticker, listing: Listing, at: Ms, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.contract_code)
    if of is None or not row.bid or not row.ask:
        return []
    return wire.present(wire.mid(of, row.bid[0], row.ask[0]))


_READERS: dict[str, _Read] = {
    _FUNDING: _reader(_Rate, _funding_facts),
    _ELEMENTS: _reader(_Elements, _elements_facts),
    _LIQUIDATIONS: _reader(_Liquidated, _liquidation_facts),
}
_read_rates = _reader(_Rate, _rate_facts)
_read_interest = _reader(_Interest, _interest_facts)
_read_volumes = _reader(_Ticker, _volume_facts)
_read_mids = _reader(_Ticker, _mid_facts)


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """Open interest, or the tickers, of all contracts, or the newest settlement of one; the one
    before it tells the interval."""
    answer = _read(body)
    at = wire.moment(answer.ts) or seen
    if poll.kind is Kind.FUNDING:
        return _newest(wire.read(_settlements, answer.data), listing, seen)
    if poll.kind is Kind.OPEN_INTEREST:
        return _read_interest(answer.data, listing, at, seen)
    return _read_volumes(answer.ticks, listing, at, seen)


def _newest(rows: Sequence[_Settled], listing: Listing, seen: Ms) -> list[Decoded]:
    newest = max(rows, key=lambda row: row.funding_time, default=None)
    of = newest and listing.instruments.get(newest.contract_code)
    if newest is None or of is None:
        return []
    before = [
        row.funding_time
        for row in rows
        if row.contract_code == of.symbol and row.funding_time < newest.funding_time
    ]
    terms = Terms(symbol=of.symbol, settled_before=max(before)) if before else None
    return wire.present(terms, wire.settled(of, newest.funding_time, seen, newest.funding_rate))


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, contract by contract, in pieces that one answer holds: in which order it has
    more nobody says. Open interest of before is told by the hour, so nothing is made of it."""
    path = f"{_PAST_RATES}&limit={_PAST_ROWS}&contract_code="
    return [
        HistoryRequest(
            request=request,
            kind=Kind.FUNDING,
            rows=_PAST_ROWS,
            every_s=0.5,
            piece_ms=round((_PAST_ROWS - 4) * (i.funding_hours or 1.0) * HOUR),
        )
        for i, request in zip(instruments, wire.of_each(instruments, path), strict=True)
    ]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """One page of settlements."""
    of, data = listing.instruments.get(history.request.symbol), _read(body).data

    def facts(row: _Settled) -> list[Decoded]:
        if of is None or row.contract_code != of.symbol:
            return []
        return wire.present(wire.settled(of, row.funding_time, seen, row.funding_rate))

    return wire.facts_of_rows(
        lambda: wire.read(_settlements, data), lambda: wire.read(_raws, data), _settlement, facts
    )


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Funding and best prices of all contracts, and mark prices."""
    return [Request(path=_RATES), Request(path=_TICKERS), *wire.of_each(instruments, _MARKS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    answer = _read(body)
    at = wire.moment(answer.ts) or seen
    if request.symbol:
        of, bars = listing.instruments.get(request.symbol), wire.read(_bars, answer.data)
        closes = [bar.close for bar in bars[-1:]]
        return [
            fact
            for close in closes
            for fact in wire.present(of and wire.price(of, at, seen, close, None))
        ]
    if request.path == _RATES:
        return _read_rates(answer.data, listing, at, seen)
    return _read_mids(answer.ticks, listing, at, seen)


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
