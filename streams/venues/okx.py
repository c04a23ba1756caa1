"""OKX, API v5: linear perpetuals (SWAP in USDT and USDC) by the functions of this module, the spot
market by ``SPOT``.

Facts from okx.com/docs-v5 as of November 2026 and from recorded frames. Sizes are in contracts of
``ctVal`` coins, at prices per coin. Open interest, funding and volumes of all contracts are one
answer each by REST, in the same rows as the channels of single contracts.

Of spot, pairs against USDT and USDC, sizes are in coins, and ``volCcy24h`` of a ticker, which is in
coins for a contract, is in the quote. Pairs against USD are left out: whether their books are those
of pairs against other dollars once more is not known.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar
from urllib.parse import quote

import msgspec

from streams.contracts import Terms
from streams.durations import HOUR, MINUTE
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
    name="okx",
    title="OKX",
    websocket="wss://ws.okx.com:8443",
    rest="https://www.okx.com",
    kinds=frozenset(Kind),
    open_interest=Sides(1, "it counts contracts; its documentation does not say it in words"),
    requests_per_second=5.0,  # each path has 10 or 20 in 2 s
    ping=b"ping",
    answers_pings=False,
    repeats_liquidations=True,
    throttles_liquidations=True,  # "at most one order per contract per second"
    connects_per_second=2.5,  # of 3
    messages_per_hour=150,  # see _PRICES_PER_SOCKET
    rows="apart",
    no_second_source=dict.fromkeys(
        (Kind.OPEN_INTEREST, Kind.FUNDING, Kind.VOLUME),
        "it is polled, and the channel of each contract that has it too is not listened to",
    ),
    book="the best 400",
    all_liquidations=False,
)

_PATH = "/ws/v5/public"
_CONTRACTS = "/api/v5/public/instruments?instType=SWAP"
_FUNDING = "/api/v5/public/funding-rate?instId=ANY"
_INTEREST = "/api/v5/public/open-interest?instType=SWAP"
_TICKERS = "/api/v5/market/tickers?instType=SWAP"
_MARKS = "/api/v5/public/mark-price?instType=SWAP"
_INDEXES = "/api/v5/market/index-tickers?quoteCcy="
_ORDERS = "/api/v5/market/books?sz=400&instId="
_SETTLED = "/api/v5/public/funding-rate-history?limit=2&instId="
_PAST_RATES = "/api/v5/public/funding-rate-history?limit=400&instId="
_PAST_ROWS = 400  # of about three months
_PAST_INTEREST = (
    "/api/v5/rubik/stat/contracts/open-interest-history?period=5m&limit=100"
    "&begin={since}&end={until}&instId="
)
_PAST_PIECE: Ms = 8 * HOUR
"""97 rows."""
_PAST_CANDLES = "/api/v5/market/history-index-candles?bar=5m&limit=100&after={until}&instId="
_POLLS = (  # every, after
    (Kind.OPEN_INTEREST, _INTEREST, 5.0, 0.0),
    (Kind.FUNDING, _FUNDING, 30.0, 1.0),
    (Kind.VOLUME, _TICKERS, 60.0, 2.0),
)

_PAIRS = "/api/v5/public/instruments?instType=SPOT"
_PAIR_TICKERS = "/api/v5/market/tickers?instType=SPOT"
_PAIR_QUOTES = frozenset(("USDT", "USDC"))

_REACH = 400
_BOOKS_PER_SOCKET = 25  # fewer than 30 are recommended
_PRICES_PER_SOCKET = 80
"""Of two topics each. A connection may subscribe and unsubscribe 480 times an hour; whether topics
or messages count is not said, so topics do: 160 at first, and two in each message after."""

_SILENCE_S = {Kind.PRICE: 30.0, Kind.DEPTH: 30.0}  # an unchanged mark price comes every 10 s
_SPOT_SILENCE_S = {Kind.PRICE: 60.0, Kind.VOLUME: 60.0, Kind.DEPTH: 30.0}
_USUAL_FUNDING_HOURS = 8.0
_SERVICE_UPGRADE = "64008"  # the connection is cut a minute later
_LIQUIDATIONS = "liquidation-orders"
_CHANNEL = re.compile(rb'"channel"\s*:\s*"([\w-]+)"')
_REFUSED = re.compile(r"channel:(?:books|mark-price|tickers),instId:([^\s,]+)")
_IGNORED = frozenset(
    b"bbo-tbt books-l2-tbt books5 price-limit trades trades-all".split()
)  # fmt: skip

_T = TypeVar("_T")


class _Contract(msgspec.Struct):
    instId: str
    ctType: str = ""
    ctVal: wire.Text = ""
    ctMult: wire.Text = ""
    ctValCcy: str = ""
    settleCcy: str = ""
    baseCcy: str = ""
    quoteCcy: str = ""
    state: str = ""
    ruleType: str = ""
    instCategory: str = ""
    expTime: wire.Text = ""


class _Funding(msgspec.Struct):
    instId: str
    fundingRate: wire.Text = ""
    fundingTime: wire.Text = ""
    prevFundingTime: wire.Text = ""
    nextFundingTime: wire.Text = ""
    settFundingRate: wire.Text = ""
    settState: str = ""
    maxFundingRate: wire.Text = ""
    minFundingRate: wire.Text = ""
    ts: wire.Text = ""


class _Settled(msgspec.Struct):
    instId: str
    fundingTime: wire.Time
    realizedRate: wire.Text


_Kept = tuple[wire.Time, wire.Text, wire.Text, wire.Text]


class _Interest(msgspec.Struct):
    instId: str
    ts: wire.Time
    oiCcy: wire.Text = ""
    oiUsd: wire.Text = ""


class _Ticker(msgspec.Struct):
    instId: str
    ts: wire.Time
    last: wire.Text = ""
    volCcy24h: wire.Text = ""
    bidPx: wire.Text = ""
    askPx: wire.Text = ""


class _Mark(msgspec.Struct):
    instId: str
    ts: wire.Time
    markPx: wire.Text


class _Index(msgspec.Struct):
    instId: str
    ts: wire.Time
    idxPx: wire.Text


class _Order(msgspec.Struct):
    side: Literal["buy", "sell"]
    posSide: Literal["long", "short", "net"]
    bkPx: wire.Text
    sz: wire.Text
    ts: wire.Time


class _Liquidated(msgspec.Struct):
    instId: str
    details: list[_Order]


class _Level(msgspec.Struct, array_like=True):
    price: float
    contracts: float


class _Book(msgspec.Struct):
    asks: list[_Level]
    bids: list[_Level]
    ts: wire.Time
    seqId: int
    prevSeqId: int


class _BookAnswer(msgspec.Struct):
    asks: list[_Level]
    bids: list[_Level]
    ts: wire.Time


class _Arg(msgspec.Struct):
    channel: str = ""
    instId: str = ""


class _BookFrame(msgspec.Struct):
    arg: _Arg
    action: Literal["snapshot", "update"]
    data: list[_Book]


class _Frame(msgspec.Struct):
    data: msgspec.Raw


class _Answer(msgspec.Struct):
    code: str
    data: msgspec.Raw
    msg: str = ""


class _Status(msgspec.Struct):
    event: str
    code: str = ""
    msg: str = ""
    arg: _Arg = msgspec.field(default_factory=_Arg)


_answer = msgspec.json.Decoder(_Answer)
_frame = msgspec.json.Decoder(_Frame)
_book_frame = msgspec.json.Decoder(_BookFrame, strict=False)
_book_answer = msgspec.json.Decoder(list[_BookAnswer], strict=False)
_status = msgspec.json.Decoder(_Status)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_contract = msgspec.json.Decoder(_Contract)
_settlements = msgspec.json.Decoder(list[_Settled], strict=False)
_settled = msgspec.json.Decoder(_Settled, strict=False)
_kept = msgspec.json.Decoder(list[_Kept], strict=False)
_kept_row = msgspec.json.Decoder(_Kept, strict=False)
_funding = msgspec.json.Decoder(_Funding)
_interest = msgspec.json.Decoder(_Interest, strict=False)


def listing_requests() -> list[Request]:
    """All contracts, then what is said of all of them: funding and open interest."""
    more = [Request(path=path, needed=False) for path in (_FUNDING, _INTEREST)]
    return [Request(path=_CONTRACTS), *more]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def _data(body: bytes) -> msgspec.Raw:
    answer = wire.read(_answer, body)
    if answer.code != "0":
        raise Malformed(f"OKX answered {answer.code}: {answer.msg:.80}")
    return answer.data


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Linear contracts on coins that trade or end; no inverse or pre-market ones, no stocks.

    Whose funding is not said or cannot be read has the usual interval on no word of the venue.
    Open interest only ranks.
    """
    unreadable: list[str] = []

    def said_of_all(number: int, build: Callable[[msgspec.Raw], _T], name: str) -> list[_T]:
        return wire.ranking(
            lambda: wire.read(_raws, _data(bodies[number])), build, unreadable, name
        )

    terms = {row.symbol: row for row in said_of_all(1, _read_terms, "funding intervals")}
    interest = dict(said_of_all(2, _read_interest_usd, "open interest"))

    def build(raw: msgspec.Raw) -> Instrument | None:
        row = wire.read(_contract, raw)
        if not _is_wanted(row):
            return None
        of = terms.get(row.instId, Terms(symbol=row.instId))
        return msgspec.structs.replace(
            _instrument(row),
            funding_hours=of.funding_hours or _USUAL_FUNDING_HOURS,
            funding_assumed=of.funding_hours is None,
            funding_cap=of.funding_cap,
            open_interest_usd=interest.get(row.instId),
        )

    listed = wire.rows(wire.read(_raws, _data(bodies[0])), build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _is_wanted(row: _Contract) -> bool:
    return (
        row.ctType == "linear"
        and row.settleCcy in ("USDT", "USDC")
        and row.state == "live"
        and row.ruleType in ("normal", "")  # "" and no category: before there were others
        and row.instCategory in ("1", "")
    )


def _instrument(row: _Contract) -> Instrument:
    """A contract that is wanted, by its own row."""
    coins, factor = wire.positive(row.ctVal), wire.positive(row.ctMult)
    if coins is None or factor is None:
        raise Malformed(f"{row.instId}: a contract of no size")
    asset, multiplier = wire.underlying(row.ctValCcy)
    return Instrument(
        venue=SPEC.name,
        symbol=row.instId,
        asset=asset,
        quote=row.settleCcy,
        multiplier=multiplier,
        contract_size=coins * factor,
        ends_at=wire.end_of(row.expTime),
    )


def _read_terms(raw: msgspec.Raw) -> Terms:
    return _terms(wire.read(_funding, raw))


def _read_interest_usd(raw: msgspec.Raw) -> tuple[str, float | None]:
    row = wire.read(_interest, raw)
    return row.instId, SPEC.open_interest.one_side(wire.not_negative(row.oiUsd))


def _terms(row: _Funding) -> Terms:
    """The interval is from the settlement before to the one that the rate is for.

    The one after that may be at another interval; it says it only where the one before is left out.
    """
    before, due, after = map(
        wire.moment, (row.prevFundingTime, row.fundingTime, row.nextFundingTime)
    )
    hours = None
    if due is not None and (before is not None or after is not None):
        length = due - before if before is not None else (after or 0) - due
        hours = wire.interval(round(length / MINUTE) * MINUTE / HOUR)
    cap = wire.cap(row.maxFundingRate, row.minFundingRate)
    return Terms(symbol=row.instId, funding_hours=hours, funding_cap=cap)


def _volume(row: _Ticker) -> float | None:
    """In USD: the venue counts contracts and coins."""
    coins, last = wire.not_negative(row.volCcy24h), wire.positive(row.last)
    return None if coins is None or last is None else coins * last


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for all liquidations, one for the prices of 80 contracts, one for 25 books."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    if Kind.LIQUIDATION in kinds and symbols:
        topics = [{"channel": name, "instType": "SWAP"} for name in (_LIQUIDATIONS, "instruments")]
        brings = frozenset((Kind.LIQUIDATION,))
        sockets.append(
            wire.socket("market", _PATH, (_ask("subscribe", topics),), brings, (), _SILENCE_S)
        )
    for kind, group, size in (
        (Kind.PRICE, "price", _PRICES_PER_SOCKET),
        (Kind.DEPTH, "book", _BOOKS_PER_SOCKET),
    ):
        brings = frozenset((kind,)) & kinds
        for name, batch in wire.divided(group, symbols if brings else (), size, running):
            topics = [topic for symbol in batch for topic in _topics(symbol, brings)]
            asked = (_ask("subscribe", topics),)
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _topics(symbol: str, kinds: frozenset[Kind]) -> list[dict[str, str]]:
    """What is asked for of one contract on a socket of these kinds."""
    if Kind.DEPTH in kinds:
        return [{"channel": "books", "instId": symbol}]
    if Kind.PRICE in kinds:
        index = symbol.removesuffix("-SWAP")
        return [
            {"channel": "mark-price", "instId": symbol},
            {"channel": "index-tickers", "instId": index},
        ]
    return []


def _ask(operation: str, topics: list[dict[str, str]]) -> bytes:
    return msgspec.json.encode({"op": operation, "args": topics})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request a symbol; asking twice does no harm here."""
    asked = (_topics(symbol, subscription.kinds) for symbol in symbols)
    return tuple(_ask("subscribe", topics) for topics in asked if topics)


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when its topic is subscribed anew."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    topics = _topics(symbol, subscription.kinds)
    return (_ask("unsubscribe", topics), _ask("subscribe", topics))


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """What one answer brings of all contracts, and after each full hour the last two settlements,
    contract by contract over ten minutes: the interval that ended is between them."""
    of_all = [
        Poll(request=Request(path=path), kind=kind, every_s=every_s, offset_s=offset_s)
        for kind, path, every_s, offset_s in _POLLS
        if kind in kinds and instruments
    ]
    requests = wire.of_each(instruments if Kind.FUNDING in kinds else (), _SETTLED)
    return of_all + wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=600.0, offset_s=60.0)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the public socket."""
    if frame == b"pong":
        return [Reply(ok=True)]
    if frame.startswith(b'{"event"'):
        return [_reply(wire.read(_status, frame))]
    channel = _CHANNEL.search(frame)
    if channel is None:
        raise Malformed("neither a channel nor an answer")
    if channel[1] == b"books":
        return _read_books(frame, listing)
    if channel[1] in _IGNORED:
        return []
    reader = _READERS.get(channel[1])
    if reader is None:
        raise Malformed(f"unknown channel {channel[1]!r:.40}")
    return reader(wire.read(_frame, frame).data, listing, seen)


def _reply(status: _Status) -> Reply:
    if status.event == "notice":
        return Reply(ok=True, text=status.msg, closing=status.code == _SERVICE_UPGRADE)
    if status.event == "error":
        text = f"{status.code}: {status.msg}"
        return Reply(ok=False, text=text, symbols=tuple(_REFUSED.findall(status.msg)))
    opened = status.event == "subscribe" and status.arg.channel == _LIQUIDATIONS
    return Reply(ok=True, opens=Kind.LIQUIDATION if opened else None)


def _read_books(frame: bytes, listing: Listing) -> list[Decoded]:
    """Changes follow by the ids alone: the checksum that comes with them is always 0."""
    message = wire.read(_book_frame, frame)
    of = listing.instruments.get(message.arg.instId)
    if of is None:
        return []
    return [
        BookUpdate(
            symbol=of.symbol,
            at=book.ts,
            snapshot=message.action == "snapshot",
            bids=_per_coin(book.bids, of),
            asks=_per_coin(book.asks, of),
            last=book.seqId,
            previous=book.prevSeqId,
            reach=_REACH,
            rolling=True,
        )
        for book in message.data
    ]


def _per_coin(levels: Sequence[_Level], of: Instrument) -> wire.Levels:
    size = of.contract_size
    return wire.per_coin([(it.price, it.contracts * size) for it in levels], of.multiplier)


_Read = Callable[[msgspec.Raw, Listing, Ms], list[Decoded]]


def _reader(row: type[_T], facts: Callable[[_T, Listing, Ms], list[Decoded]]) -> _Read:
    """What reads a list of such rows, by REST or of a channel."""
    whole = msgspec.json.Decoder(list[row], strict=False)
    single = msgspec.json.Decoder(row, strict=False)

    def read(data: msgspec.Raw, listing: Listing, seen: Ms) -> list[Decoded]:
        return wire.facts_of_rows(
            lambda: wire.read(whole, data),
            lambda: wire.read(_raws, data),
            single,
            lambda row: facts(row, listing, seen),
        )

    return read


def _mark_facts(row: _Mark, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.instId)
    return wire.present(of and wire.price(of, row.ts, seen, row.markPx, None))


def _index_facts(row: _Index, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(f"{row.instId}-SWAP")
    return wire.present(of and wire.price(of, row.ts, seen, None, row.idxPx))


def _interest_facts(row: _Interest, listing: Listing, seen: Ms) -> list[Decoded]:
    """``oi`` counts contracts, ``oiCcy`` the coins in them."""
    of = listing.instruments.get(row.instId)
    coins, usd = wire.not_negative(row.oiCcy), wire.not_negative(row.oiUsd)
    return wire.present(of and wire.open_interest(SPEC.open_interest, of, row.ts, seen, coins, usd))


def _volume_facts(row: _Ticker, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.instId)
    if of is not None and of.spot:
        return wire.present(
            wire.last_price(of, row.ts, seen, row.last),
            wire.volume(of, row.ts, seen, row.volCcy24h),
        )
    return wire.present(of and wire.volume(of, row.ts, seen, _volume(row)))


def _funding_facts(row: _Funding, listing: Listing, seen: Ms) -> list[Decoded]:
    """The last settlement, once it is over, and the estimate of the next one."""
    of = listing.instruments.get(row.instId)
    if of is None:
        return []
    terms, due = _terms(row), wire.moment(row.fundingTime)
    hours, at = terms.funding_hours or of.funding_hours, wire.moment(row.ts) or seen
    settled_at, settled = wire.moment(row.prevFundingTime), None
    if settled_at is not None and row.settState == "settled":
        settled = wire.settled(of, settled_at, seen, row.settFundingRate)
    says_terms = terms.funding_hours is not None or terms.funding_cap is not None
    estimate = due and wire.predicted(of, at, seen, row.fundingRate, hours, due)
    return wire.present(terms if says_terms else None, settled, estimate or None)


def _read_settlements(symbol: str, data: msgspec.Raw, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(symbol)
    rows = [row for row in wire.read(_settlements, data) if row.instId == symbol]
    if of is None or not rows:
        return []
    *before, newest = sorted(rows, key=lambda row: row.fundingTime)
    terms = Terms(symbol=symbol, settled_before=before[-1].fundingTime if before else None)
    return wire.present(terms, wire.settled(of, newest.fundingTime, seen, newest.realizedRate))


def _liquidation_facts(row: _Liquidated, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.instId)
    if of is None:
        return []
    return wire.present(*(_liquidation(of, order, seen) for order in row.details))


def _liquidation(of: Instrument, order: _Order, seen: Ms) -> Decoded | None:
    """``side`` is the side of the order that closes the position, which ``posSide`` names."""
    position = Position.LONG if order.side == "sell" else Position.SHORT
    if order.posSide not in ("net", position):
        raise Malformed(f"{of.symbol}: a {order.posSide} closed by a {order.side}")
    contracts = wire.positive(order.sz)
    coins = None if contracts is None else contracts * of.contract_size
    return wire.liquidation(
        of, order.ts, seen, position, order.bkPx, "" if coins is None else coins
    )


def _read_contracts(data: msgspec.Raw, listing: Listing, seen: Ms) -> list[Decoded]:
    """Changes of contracts, of all of them at first: the listing has to follow."""

    def is_changed(raw: msgspec.Raw) -> str:
        row = wire.read(_contract, raw)
        known = listing.instruments.get(row.instId)
        if known is None:
            return ""
        now = _instrument(row) if _is_wanted(row) else None
        same = now is not None and (now.contract_size, now.ends_at) == (
            known.contract_size,
            known.ends_at,
        )
        return "" if same else row.instId

    rows = wire.ranking(lambda: wire.read(_raws, data), is_changed, [], "")
    changed = next(filter(None, rows), "")
    return [Reply(ok=True, relist=True, text=f"{changed} has changed")] if changed else []


_READERS: dict[bytes, _Read] = {
    b"mark-price": _reader(_Mark, _mark_facts),
    b"index-tickers": _reader(_Index, _index_facts),
    b"liquidation-orders": _reader(_Liquidated, _liquidation_facts),
    b"instruments": _read_contracts,
    b"open-interest": _reader(_Interest, _interest_facts),
    b"funding-rate": _reader(_Funding, _funding_facts),
    b"tickers": _reader(_Ticker, _volume_facts),
}
_POLLED = {
    Kind.OPEN_INTEREST: b"open-interest",
    Kind.FUNDING: b"funding-rate",
    Kind.VOLUME: b"tickers",
}


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """What one answer says of all contracts, or of the last two settlements of one."""
    if poll.request.symbol:
        return _read_settlements(poll.request.symbol, _data(body), listing, seen)
    return _READERS[_POLLED[poll.kind]](_data(body), listing, seen)


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, as far back as one answer goes, open interest and index prices."""
    return [
        *wire.histories(instruments, Kind.FUNDING, _PAST_RATES, _PAST_ROWS, every_s=1.0),
        *wire.histories(instruments, Kind.OPEN_INTEREST, _PAST_INTEREST, 100, 1.0, _PAST_PIECE),
        *(_candle_history(instrument) for instrument in instruments),
    ]


def _candle_history(of: Instrument) -> HistoryRequest:
    path = _PAST_CANDLES + quote(of.symbol.removesuffix("-SWAP"))
    request = Request(path=path, symbol=of.symbol)
    return HistoryRequest(
        request=request,
        kind=Kind.PRICE,
        rows=100,
        every_s=0.3,  # 10 in 2 seconds are allowed
    )


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """What was charged: ``fundingRate`` beside it is the estimate of before. Or open interest: its
    time, contracts, coins and USD. Or index prices."""
    of, data = listing.instruments.get(history.request.symbol), _data(body)
    if history.kind is Kind.PRICE:
        return wire.candles(of, data)
    if history.kind is Kind.OPEN_INTEREST:

        def kept(row: _Kept) -> list[Decoded]:
            at, _, coins, usd = row
            held = wire.not_negative(coins), wire.not_negative(usd)
            return wire.past_interest(SPEC.open_interest, of, at, seen, *held) if of else []

        return wire.facts_of_rows(
            lambda: wire.read(_kept, data), lambda: wire.read(_raws, data), _kept_row, kept
        )

    def settled(row: _Settled) -> list[Decoded]:
        if of is None or row.instId != of.symbol:
            return []
        return wire.present(wire.settled(of, row.fundingTime, seen, row.realizedRate))

    return wire.facts_of_rows(
        lambda: wire.read(_settlements, data), lambda: wire.read(_raws, data), _settled, settled
    )


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """Mark prices, index prices and best prices of all contracts, and books."""
    return [
        Request(path=_MARKS),
        *(Request(path=_INDEXES + quote) for quote in ("USDT", "USDC")),
        Request(path=_TICKERS),
        *wire.of_each(instruments, _ORDERS),
    ]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``."""
    data = _data(body)
    if request.symbol:
        of, books = listing.instruments.get(request.symbol), wire.read(_book_answer, data)
        return [_whole(of, book) for book in books if of is not None]
    if request.path == _TICKERS:
        return _read_best(data, listing, seen)
    return _READERS[b"mark-price" if request.path == _MARKS else b"index-tickers"](
        data, listing, seen
    )


def _whole(of: Instrument, book: _BookAnswer) -> BookUpdate:
    bids, asks = ([(it.price, it.contracts) for it in side] for side in (book.bids, book.asks))
    return wire.snapshot(of, book.ts, bids, asks, _REACH)


def _best_facts(row: _Ticker, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(row.instId)
    return wire.present(of and wire.mid(of, row.bidPx, row.askPx))


_read_best = _reader(_Ticker, _best_facts)


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")


def _pair_facts(row: _Ticker, listing: Listing, seen: Ms) -> list[Decoded]:
    return [*_volume_facts(row, listing, seen), *_best_facts(row, listing, seen)]


_read_pairs = _reader(_Ticker, _pair_facts)
_ticker = msgspec.json.Decoder(_Ticker, strict=False)


def _pair_volume(raw: msgspec.Raw) -> tuple[str, float | None]:
    row = wire.read(_ticker, raw)
    return row.instId, wire.positive(row.volCcy24h)


class _Spot:
    """The spot market: books and answers are those of contracts, tickers come by socket."""

    SPEC = msgspec.structs.replace(
        SPEC,
        name="okx-spot",
        title="OKX spot",
        spot=True,
        kinds=SPOT_KINDS,
        open_interest=NO_INTEREST,
        repeats_liquidations=False,
        throttles_liquidations=False,
        rows="whole",
        no_second_source={},
    )
    next_listing_request = staticmethod(next_listing_request)
    decode = staticmethod(decode)
    decode_snapshot = staticmethod(decode_snapshot)
    polls = staticmethod(wire.no_polls)
    decode_poll = staticmethod(wire.decode_no_poll)
    histories = staticmethod(wire.no_histories)
    decode_history = staticmethod(wire.decode_no_history)

    def listing_requests(self) -> list[Request]:
        """All pairs, and their volumes."""
        return [Request(path=_PAIRS), Request(path=_PAIR_TICKERS, needed=False)]

    def instruments(self, bodies: Sequence[bytes]) -> ListedContracts:
        """Pairs that trade. Volumes only rank."""
        unreadable: list[str] = []
        volumes = dict(
            wire.ranking(
                lambda: wire.read(_raws, _data(bodies[1])), _pair_volume, unreadable, "volumes"
            )
        )

        def build(raw: msgspec.Raw) -> Instrument | None:
            row = wire.read(_contract, raw)
            is_normal = row.ruleType in ("normal", "") and row.instCategory in ("1", "")
            if not (row.quoteCcy in _PAIR_QUOTES and row.state == "live" and is_normal):
                return None
            asset, multiplier = wire.underlying(row.baseCcy)
            return Instrument(
                venue=self.SPEC.name,
                symbol=row.instId,
                asset=asset,
                quote=row.quoteCcy,
                multiplier=multiplier,
                spot=True,
                volume_24h_usd=volumes.get(row.instId),
                ends_at=wire.end_of(row.expTime),
            )

        listed = wire.rows(wire.read(_raws, _data(bodies[0])), build, unreadable)
        return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))

    def subscriptions(
        self, instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
    ) -> list[Subscription]:
        """One socket for the books and tickers of 25 pairs."""
        wanted = kinds & self.SPEC.kinds
        symbols = [instrument.symbol for instrument in instruments] if wanted else []
        sockets: list[Subscription] = []
        for name, batch in wire.divided("pairs", symbols, _BOOKS_PER_SOCKET, running):
            topics = [topic for symbol in batch for topic in _pair_topics(symbol, wanted)]
            asked = (_ask("subscribe", topics),)
            sockets.append(wire.socket(name, _PATH, asked, wanted, batch, _SPOT_SILENCE_S))
        return sockets

    def resubscribe(self, symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
        """One request a pair; asking twice does no harm here."""
        return tuple(_ask("subscribe", _pair_topics(s, subscription.kinds)) for s in symbols)

    def resync(
        self, symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
    ) -> tuple[bytes, ...]:
        """A book starts anew when its topic is subscribed anew."""
        topics = _pair_topics(symbol, frozenset((Kind.DEPTH,)))
        return (_ask("unsubscribe", topics), _ask("subscribe", topics))

    def checks(self, instruments: Sequence[Instrument]) -> list[Request]:
        """Last and best prices and volumes of all pairs, and books."""
        return [Request(path=_PAIR_TICKERS), *wire.of_each(instruments, _ORDERS)]

    def decode_check(
        self, request: Request, body: bytes, listing: Listing, seen: Ms
    ) -> list[Decoded]:
        """The answer to one of ``checks``."""
        if request.symbol:
            return decode_check(request, body, listing, seen)
        return _read_pairs(_data(body), listing, seen)


def _pair_topics(symbol: str, kinds: frozenset[Kind]) -> list[dict[str, str]]:
    channels = ["books"] if Kind.DEPTH in kinds else []
    channels += ["tickers"] if kinds - {Kind.DEPTH} else []
    return [{"channel": channel, "instId": symbol} for channel in channels]


SPOT = _Spot()
