"""Bitfinex perpetuals (``tBTCF0:USTF0``), in USDT.

Facts from docs.bitfinex.com as of November 2026 and from recorded frames of 2019 to 2021. A frame
is an array that names its channel by a number, which the answer to the subscription told; fields
are known by their place, and null where there is nothing. All frames of a connection are numbered
together, since that is asked for (``_FLAGS``), so a lost one shows; books have no numbers. A
contract is one coin. Liquidations are of all contracts, and of margin positions on pairs as well.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from streams.durations import HOUR
from streams.events import Instrument, Kind, Ms, OpenInterest, Position, Price
from streams.venue import (
    NO_CHANNELS,
    NOTHING,
    UNNUMBERED,
    UNREADABLE,
    BookUpdate,
    ChannelNumber,
    Channels,
    Decoded,
    HistoryRequest,
    ListedContracts,
    Listing,
    Malformed,
    Place,
    Poll,
    Reply,
    Request,
    Running,
    Sides,
    Spec,
    Subscription,
    Unreadable,
)
from streams.venues import wire

_FUNDING_HOURS = 8.0

SPEC = Spec(
    name="bitfinex",
    title="Bitfinex",
    websocket="wss://api-pub.bitfinex.com",
    rest="https://api-pub.bitfinex.com",
    kinds=frozenset(Kind),
    open_interest=Sides(None, "its documentation says neither of one side nor of both"),
    requests_per_second=1.0,  # 10 to 90 a minute, by the path
    ping=b'{"event":"ping","cid":1}',
    ping_s=15.0,
    answers_pings=False,  # nothing says that those of the protocol are
    repeats_liquidations=True,  # a subscription began with one of 12 h before
    connects_per_second=0.3,  # 20 a minute
    tells_settlements=False,  # nothing says of which time its "current" funding is
    no_second_source={
        Kind.VOLUME: "it is polled, and the channel of each contract is not listened to",
        "funding_interval": "it is 8 h there, which no frame says",
    },
    book="the best 250",
    all_liquidations=False,  # what it keeps for itself is not told
    funding_hours=_FUNDING_HOURS,
)

_PATH = "/ws/2"
_PAIRS, _NAMES = "/v2/conf/pub:list:pair:futures", "/v2/conf/pub:map:currency:sym"
_TICKERS, _STATUSES = "/v2/tickers?symbols=ALL", "/v2/status/deriv?keys=ALL"
_PAST_STATUSES = "/hist?start={since}&end={until}&limit=5000"
_PAST_ROWS, _PAST_PIECE = 5000, 26 * HOUR
"""There is about one a minute."""
_FLAGS = 32_768 | 65_536
"""A time and a number at the end of every array. Not 131,072, its checksum of books: with numbers
nothing gets lost unseen, and it is of texts that JavaScript would write."""
_CONF = msgspec.json.encode({"event": "conf", "flags": _FLAGS})
_REACH = 250
_CHANNELS_PER_SOCKET = 30
_STATUS_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE))
_LIQUIDATIONS = "liq:global"
_SILENCE_S = {Kind.PRICE: 120.0, Kind.DEPTH: 60.0}

_CONTRACT = re.compile(r"([A-Z0-9]+)F0:USTF0")
_NO_COIN = re.compile(
    r".*[0-9]IX|.*OIL|X(AU|AG|PD|PT)|EUR|GBP|JPY|TRY|CHF|AUD|CAD|CNH|BTCDOM|[BE]VIV"
)
"""Share indices, oil, metals, currencies, dominance and volatility."""
_LENGTH = re.compile("[0-9]{1,4}")
_SUBSCRIBED_ALREADY = 10_301
_RECONNECT, _MAINTENANCE_OVER = 20_051, 20_061


class _Event(msgspec.Struct):
    event: str
    channel: str = ""
    chanId: int = 0
    symbol: str = ""
    key: str = ""
    prec: str = ""
    len: int | str = 0
    status: str = ""
    code: int = 0
    msg: str = ""


class _Frame(msgspec.Struct, array_like=True):
    """``[channel, payload, number, time]``, or ``[channel, word, payload, number, time]``."""

    channel: int
    payload: msgspec.Raw
    third: msgspec.Raw = msgspec.Raw(b"null")
    fourth: msgspec.Raw = msgspec.Raw(b"null")
    fifth: msgspec.Raw = msgspec.Raw(b"null")


class _Status(msgspec.Struct, array_like=True):
    """Until 2019 it ended with ``current``; what is added is added at the end."""

    at: wire.Time
    x1: Any = None
    last: wire.Text = None
    spot: wire.Text = None
    x4: Any = None
    insurance: Any = None
    x6: Any = None
    next_at: wire.Text = None
    accrued: wire.Text = None
    step: Any = None
    x10: Any = None
    current: Any = None
    x12: Any = None
    x13: Any = None
    mark: wire.Text = None
    x15: Any = None
    x16: Any = None
    open_interest: wire.Text = None


class _Liquidated(msgspec.Struct, array_like=True):
    word: str
    position: int
    at: wire.Text
    x3: Any
    symbol: str
    amount: wire.Text
    base_price: Any
    x7: Any
    is_match: int
    is_market_sold: Any = None
    x10: Any = None
    price: wire.Text = None


class _Ticker(msgspec.Struct, array_like=True):
    symbol: str
    bid: wire.Text = None
    bid_size: Any = None
    ask: wire.Text = None
    ask_size: Any = None
    change: Any = None
    relative: Any = None
    last: wire.Text = None
    volume: wire.Text = None


_Level = tuple[float, int, float]

_event = msgspec.json.Decoder(_Event)
_frame = msgspec.json.Decoder(_Frame)
_text = msgspec.json.Decoder(wire.Text)
_number = msgspec.json.Decoder(int | None)
_status = msgspec.json.Decoder(_Status)
_statuses = msgspec.json.Decoder(list[_Status])
_level = msgspec.json.Decoder(_Level)
_levels = msgspec.json.Decoder(list[_Level])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_liquidated = msgspec.json.Decoder(_Liquidated)
_liquidations = msgspec.json.Decoder(list[_Liquidated])
_ticker = msgspec.json.Decoder(_Ticker)
_tickers = msgspec.json.Decoder(list[_Ticker])
_row = msgspec.json.Decoder(list[Any])
_rows = msgspec.json.Decoder(list[list[Any]])
_pairs = msgspec.json.Decoder(tuple[list[msgspec.Raw]])
_pair = msgspec.json.Decoder(str)
_names = msgspec.json.Decoder(tuple[list[tuple[str, str]]])


def listing_requests() -> list[Request]:
    """All contracts, what their coins are called elsewhere, and the tickers of all."""
    return [Request(path=_PAIRS), Request(path=_NAMES), Request(path=_TICKERS, needed=False)]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answers are not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """Perpetuals on coins in USDT: none in coins or euros, none on what is no coin, no tests.

    Whose end is near nobody is told: it is no longer listed. Tickers only rank.
    """
    unreadable: list[str] = []
    names = dict(wire.read(_names, bodies[1])[0])  # a coin of another name is another coin
    volumes = {
        row.symbol: _usd(row)
        for row in wire.ranking(
            lambda: wire.read(_raws, bodies[2]),
            lambda raw: _readable(wire.read(_ticker, raw)),
            unreadable,
            "tickers",
        )
    }

    def build(raw: msgspec.Raw) -> Instrument | None:
        pair = wire.read(_pair, raw)
        contract = _CONTRACT.fullmatch(pair)
        if contract is None or _NO_COIN.fullmatch(contract[1]):
            return None
        asset, multiplier = wire.underlying(names.get(contract[1], contract[1]))
        return Instrument(
            venue=SPEC.name,
            symbol=f"t{pair}",
            asset=asset,
            quote="USDT",
            multiplier=multiplier,
            funding_hours=_FUNDING_HOURS,
            volume_24h_usd=volumes.get(f"t{pair}"),
        )

    listed = wire.rows(wire.read(_pairs, bodies[0])[0], build, unreadable)
    return ListedContracts([i for i in listed if i is not None], (), tuple(unreadable))


def _readable(row: _Ticker) -> _Ticker:
    _usd(row)
    return row


def _usd(row: _Ticker) -> float | None:
    """Its volume is in coins."""
    coins, last = wire.not_negative(row.volume), wire.positive(row.last)
    return None if coins is None or last is None else coins * last


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for the liquidations of all, one for 30 contracts, one for 30 books: the venue
    allows 30 channels."""
    sockets: list[Subscription] = []
    symbols = [instrument.symbol for instrument in instruments]
    brings = frozenset((Kind.LIQUIDATION,)) & kinds
    if brings and symbols:
        asked = (_CONF, _ask_status(_LIQUIDATIONS))
        sockets.append(wire.socket("liquidations", _PATH, asked, brings, (), _SILENCE_S))
    for group, feeds in (("status", _STATUS_KINDS), ("book", frozenset((Kind.DEPTH,)))):
        brings = feeds & kinds
        wanted = symbols if brings else ()
        for name, batch in wire.divided(group, wanted, _CHANNELS_PER_SOCKET, running):
            asked = (_CONF, *(_ask(symbol, brings) for symbol in batch))
            sockets.append(wire.socket(name, _PATH, asked, brings, batch, _SILENCE_S))
    return sockets


def _ask_status(key: str) -> bytes:
    return msgspec.json.encode({"event": "subscribe", "channel": "status", "key": key})


def _ask(symbol: str, kinds: frozenset[Kind]) -> bytes:
    if Kind.DEPTH not in kinds:
        return _ask_status(f"deriv:{symbol}")
    book = {"prec": "P0", "freq": "F0", "len": f"{_REACH}"}
    return msgspec.json.encode({"event": "subscribe", "channel": "book", "symbol": symbol, **book})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """One request each; a channel that is there already is refused as such, which is no harm."""
    return (_CONF, *(_ask(symbol, subscription.kinds) for symbol in symbols))


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """A book starts anew when it is subscribed anew, once its channel is given up."""
    if symbol not in subscription.symbols or Kind.DEPTH not in subscription.kinds:
        return ()
    given_up = tuple(
        msgspec.json.encode({"event": "unsubscribe", "chanId": number})
        for number, name in channels.items()
        if name.startswith(f"book:{symbol}:")
    )
    return (*given_up, _ask(symbol, subscription.kinds))


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """The volumes of all contracts at once."""
    wanted = Kind.VOLUME in kinds and instruments
    return [Poll(request=Request(path=_TICKERS), kind=Kind.VOLUME, every_s=60.0)] if wanted else []


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """An event, or what a channel brings behind its number among all frames.

    A status that cannot be read costs itself; a change of a book that cannot be read is a lost one,
    so its number is not told either.
    """
    if frame.lstrip()[:1] == b"{":
        return _read_event(wire.read(_event, frame))
    message = wire.read(_frame, frame)
    payload = bytes(message.payload)
    place, time = message.third, message.fourth
    if payload[:1] == b'"' and payload != b'"hb"':  # a checksum or a trade
        place, time = message.fourth, message.fifth
    number = wire.read(_number, place)
    places: list[Decoded] = [] if number is None else [Place(number=number)]
    if payload[:1] == b'"':
        return places
    name = listing.channels.get(message.channel, "")
    feed, _, of = name.partition(":")
    at = wire.moment(wire.read(_text, time)) or seen
    if feed == "book":
        return [*places, *_read_book(of, payload, listing, at)]
    try:
        if feed == "deriv":
            return [*places, *_status_facts(of, wire.read(_status, payload), listing, seen)]
        if feed == "liq":
            return [*places, *_read_liquidations(payload, listing, seen)]
    except UNREADABLE:
        return [*places, Unreadable(rows=(name,))]
    return places if name else [*places, Unreadable(rows=("a channel of no name",))]


def _read_event(event: _Event) -> list[Decoded]:
    match event.event:
        case "subscribed":
            name = event.key or event.channel
            if event.channel == "book" and event.prec == "P0":
                name = f"book:{event.symbol}:{_reach(event.len)}"
            opens = Kind.LIQUIDATION if name == _LIQUIDATIONS else None
            return [ChannelNumber(number=event.chanId, name=name), Reply(ok=True, opens=opens)]
        case "unsubscribed":
            return [ChannelNumber(number=event.chanId, name=""), Reply(ok=True)]
        case "error" if event.code == _SUBSCRIBED_ALREADY:
            return [Reply(ok=True)]
        case "error":
            symbol = event.symbol or event.key.partition(":")[2]
            symbols = (symbol,) if symbol else ()
            return [Reply(ok=False, text=f"{event.code}: {event.msg}", symbols=symbols)]
        case "conf":
            return [Reply(ok=event.status == "OK", text=f"conf: {event.status}")]
        case "info":
            over = event.code in (_RECONNECT, _MAINTENANCE_OVER)
            return [Reply(ok=True, closing=over)]
        case "pong":
            return [Reply(ok=True)]
        case other:
            raise Malformed(f"unknown event {other!r:.40}")


def _reach(length: int | str) -> int:
    """How many levels a side were asked for."""
    if not _LENGTH.fullmatch(f"{length}"):
        raise Malformed(f"a book of {length!r:.20} levels")
    return int(length)


def _read_book(name: str, payload: bytes, listing: Listing, at: Ms) -> list[Decoded]:
    """``count`` 0 deletes, and ``amount`` says of which side: above 0 of bids, below it of asks."""
    symbol, _, reach = name.rpartition(":")
    of = listing.instruments.get(symbol)
    is_snapshot = payload[1:].lstrip()[:1] in (b"[", b"]")
    levels = wire.read(_levels, payload) if is_snapshot else [wire.read(_level, payload)]
    if of is None:
        return []
    sides: tuple[wire.Levels, wire.Levels] = ([], [])
    for price, count, amount in levels:
        if amount == 0:
            raise Malformed(f"{symbol}: a level of neither side")
        sides[amount < 0].append((price, abs(amount) if count else 0.0))
    return [
        BookUpdate(
            symbol=symbol,
            at=at,
            snapshot=is_snapshot,
            bids=wire.per_coin_in(sides[0], of),
            asks=wire.per_coin_in(sides[1], of),
            last=UNNUMBERED,
            previous=None if is_snapshot else UNNUMBERED,
            reach=int(reach),
            rolling=True,
        )
    ]


def _status_facts(symbol: str, row: _Status, listing: Listing, seen: Ms) -> list[Decoded]:
    """``accrued`` is the rate of the next settlement as it has come together so far, ``current``
    one of before. ``last`` is the price of trades."""
    of = listing.instruments.get(symbol)
    if of is None:
        return []
    at, next_at = row.at, wire.moment(row.next_at)
    coins, mark = wire.not_negative(row.open_interest), wire.positive(row.mark)
    usd = None if coins is None or mark is None else coins * mark
    rate = None if next_at is None else row.accrued
    return wire.present(
        wire.predicted(of, at, seen, rate, of.funding_hours, next_at),
        wire.open_interest(SPEC.open_interest, of, at, seen, coins, usd),
        wire.price(of, at, seen, row.mark, row.spot),
    )


def _read_liquidations(payload: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    return wire.facts_of_rows(
        lambda: wire.read(_liquidations, payload),
        lambda: wire.read(_raws, payload),
        _liquidated,
        lambda row: _liquidation_facts(row, listing, seen),
    )


def _liquidation_facts(row: _Liquidated, listing: Listing, seen: Ms) -> list[Decoded]:
    """What was sold or bought at the market, at its price.

    Each position is told twice: as it is taken (``is_match`` 0, of its whole size, at no price or
    that of its opening), and as it is traded. Told is what was traded, so what the venue keeps for
    itself is not. ``amount`` is that of the position: above 0 a long.
    """
    of = listing.instruments.get(row.symbol)
    at, amount = wire.moment(row.at), wire.number(row.amount)
    if of is None or at is None or not amount or row.is_match != 1 or row.word != "pos":
        return []
    position = Position.LONG if amount > 0 else Position.SHORT
    return wire.present(wire.liquidation(of, at, seen, position, row.price, abs(amount)))


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The tickers of all contracts, pairs and currencies."""

    def facts(row: _Ticker) -> list[Decoded]:
        of = listing.instruments.get(row.symbol)
        return wire.present(of and wire.volume(of, seen, seen, _usd(row)))

    return _of_tickers(body, facts)


def _of_tickers(body: bytes, facts: Callable[[_Ticker], Sequence[Decoded]]) -> list[Decoded]:
    return wire.facts_of_rows(
        lambda: wire.read(_tickers, body), lambda: wire.read(_raws, body), _ticker, facts
    )


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Open interest, contract by contract, from the statuses of before."""
    return [
        HistoryRequest(
            request=Request(
                path=f"/v2/status/deriv/{quote(i.symbol, safe=':')}{_PAST_STATUSES}",
                symbol=i.symbol,
            ),
            kind=Kind.OPEN_INTEREST,
            rows=_PAST_ROWS,
            every_s=3.0,
            piece_ms=_PAST_PIECE,
        )
        for i in instruments
    ]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """Statuses of one contract, whom the rows do not name, as on the socket."""

    def held(row: _Status) -> list[Decoded]:
        facts = _status_facts(history.request.symbol, row, listing, seen)
        return [fact for fact in facts if isinstance(fact, OpenInterest | Price)]

    return wire.facts_of_rows(
        lambda: wire.read(_statuses, body), lambda: wire.read(_raws, body), _status, held
    )


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """The statuses and the best prices of all contracts."""
    return [Request(path=_STATUSES), Request(path=_TICKERS)]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``: by REST a status has its contract in front."""
    if request.path == _TICKERS:

        def mids(row: _Ticker) -> list[Decoded]:
            of = listing.instruments.get(row.symbol)
            return wire.present(of and wire.mid(of, row.bid, row.ask))

        return _of_tickers(body, mids)

    def facts(row: list[Any]) -> list[Decoded]:
        if not row or not isinstance(row[0], str):
            raise Malformed("a status of nothing")
        if row[0] not in listing.instruments:
            return []
        return _status_facts(row[0], msgspec.convert(row[1:], _Status), listing, seen)

    return wire.facts_of_rows(
        lambda: wire.read(_rows, body), lambda: wire.read(_raws, body), _row, facts
    )


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
