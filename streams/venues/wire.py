"""What the adapters share: guarded numbers, and events from them. No venue is named here.

Invariants: a number that leaves this module is finite and per single coin; prices are above 0,
sizes at least 0, rates within (-1, 1), funding intervals those that there are. A number that breaks
one makes no event.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Meta

from streams.coins import present_name
from streams.contracts import FUNDING_HOURS
from streams.events import (
    Funding,
    Instrument,
    Kind,
    Liquidation,
    MacroPrice,
    Ms,
    OpenInterest,
    Position,
    Price,
    Volume,
)
from streams.venue import (
    UNREADABLE,
    BookUpdate,
    Candle,
    Decoded,
    HistoryRequest,
    Listing,
    Malformed,
    Mid,
    Poll,
    Request,
    Running,
    Sides,
    Subscription,
    Unreadable,
)

Time = Annotated[int, Meta(ge=1_000_000_000_000, lt=10_000_000_000_000)]
"""Milliseconds since the epoch: 13 digits. Seconds or microseconds are refused."""

_NEVER: Ms = 4_102_444_800_000
"""2100-01-01. Binance writes 2100-12-25 for a contract without an end."""

LEAST, MOST = 1e-18, 1e18
"""What prices, sizes and notionals are within, so that products and quotients stay finite."""

PriceNumber = Annotated[float, Meta(ge=LEAST, le=MOST)]
SizeNumber = Annotated[float, Meta(ge=0, le=MOST)]
"""The bounds also refuse "inf" and "nan": both are numbers to a JSON string."""

Levels = list[tuple[float, float]]
"""Not bounded here: it would double the cost of the hot path. The book refuses the impossible."""

Text = str | float | None
"""A number as venues write it: a string, "" or null where there is none, sometimes a bare one."""

_PREFIXED = re.compile(r"(10{3,}|1M(?=.{3}))(?![0-9])(.+)")
_SUFFIXED = re.compile(r"(.*[^0-9])(10{3,})")

_T = TypeVar("_T")


def read(decoder: msgspec.json.Decoder[_T], data: bytes | msgspec.Raw) -> _T:
    """``data`` decoded. Raises msgspec.MsgspecError, or Malformed where it nests too deep."""
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise Malformed("JSON nested too deep to be read") from error
    except UnicodeDecodeError as error:
        raise Malformed("JSON that is not UTF-8") from error


_DIGIT = re.compile(rb"[0-9]")
_CODE = re.compile(rb'"contract_code"\s*:\s*"([^"]{1,60})"')  # a symbol beside it is the coin
_NAME = re.compile(
    rb'"(?:symbol|instId|contract|instrument_name|product_id|name|s)"\s*:\s*"([^"]{1,60})"'
)


def rows(
    raws: Sequence[msgspec.Raw],
    build: Callable[[msgspec.Raw], _T | None],
    unreadable: list[str],
    *,
    needed: bool = True,
) -> list[_T | None]:
    """What ``build`` makes of each row, None where it cannot be read.

    The names of those that cannot go to ``unreadable``. Malformed if they are more than half,
    unless the rows are not ``needed``.
    """
    built: list[_T | None] = []
    refused: list[str] = []
    for raw in raws:
        try:
            built.append(build(raw))
        except UNREADABLE:
            refused.append(name_of(raw) or _beginning(raw))
            built.append(None)
    if needed and 2 * len(refused) > len(raws):
        raise Malformed(f"{len(refused)} of {len(raws)} rows cannot be read: {refused[0]}")
    unreadable += refused
    return built


def ranking(
    raws: Callable[[], Sequence[msgspec.Raw]],
    build: Callable[[msgspec.Raw], _T | None],
    unreadable: list[str],
    name: str,
) -> list[_T]:
    """What ``build`` makes of the rows of a list that only ranks contracts.

    What cannot be read costs no contract: a list that is none has no rows, and ``name`` is what
    could not be read.
    """
    try:
        listed = raws()
    except UNREADABLE:
        unreadable.append(name)
        return []
    return [row for row in rows(listed, build, unreadable, needed=False) if row is not None]


def name_of(raw: msgspec.Raw) -> str:
    """The name in a row that cannot be read, as it is written there, "" if there is none."""
    row = bytes(raw)
    name = _CODE.search(row) or _NAME.search(row)
    return name[1].decode("utf-8", "replace") if name else ""


def _beginning(raw: msgspec.Raw) -> str:
    """How a row begins, up to its first digit: the same in each frame."""
    return _DIGIT.split(bytes(raw)[:40], maxsplit=1)[0].decode("utf-8", "replace")


def facts_of_rows(
    whole: Callable[[], Sequence[_T]],
    raws: Callable[[], Sequence[msgspec.Raw]],
    single: msgspec.json.Decoder[_T],
    facts: Callable[[_T], Sequence[Decoded]],
) -> list[Decoded]:
    """What ``facts`` makes of the rows of a frame that brings many contracts.

    ``whole`` decodes them all at once, which is fast. Only where that fails, or ``facts`` does, the
    rows are decoded one by one: one that cannot be read costs itself alone. Malformed if more than
    half of them cannot.
    """
    try:
        return [fact for row in whole() for fact in facts(row)]
    except UNREADABLE:
        unreadable: list[str] = []
        built = rows(raws(), lambda raw: facts(read(single, raw)), unreadable)
    return [*(fact for of_row in built for fact in of_row or ()), *unreadable_of(unreadable)]


def unreadable_of(rows: Sequence[str]) -> list[Decoded]:
    """What says that these rows cannot be read, nothing where there are none."""
    return [Unreadable(rows=tuple(rows))] if rows else []


def number(value: Text | None) -> float | None:
    """The number in ``value``, None for "" and absence. Raises Malformed for other text.

    None as well for what is no quantity of any market: "nan", "inf", above 1e18 either way.
    """
    if value is None or value == "":
        return None
    try:
        parsed = float(value)
    except ValueError as error:
        raise Malformed(f"not a number: {value!r:.40}") from error
    return parsed if abs(parsed) <= MOST else None  # False for nan


def positive(value: Text | None) -> float | None:
    """The number in ``value`` if it is above 0, else None: no price, size or time is 0 or less."""
    parsed = number(value)
    return parsed if parsed is not None and parsed >= LEAST else None


def not_negative(value: Text | None) -> float | None:
    """The number in ``value`` if it is at least 0, else None. Open interest may be 0."""
    parsed = number(value)
    return parsed if parsed is not None and parsed >= 0 else None


def fraction(value: Text | None) -> float | None:
    """A funding rate within (-1, 1), else None: no venue charges a whole position at once."""
    parsed = number(value)
    return parsed if parsed is not None and -1 < parsed < 1 else None


def cap(*limits: Text) -> float | None:
    """How far a funding rate may go either way, from its limits as far as they are known."""
    return max((abs(rate) for rate in map(fraction, limits) if rate), default=None)


def interval(hours: float | None) -> float | None:
    """A funding interval that there is, else None."""
    return float(hours) if hours is not None and hours in FUNDING_HOURS else None


def moment(value: Text | None) -> Ms | None:
    """A time of 13 digits, None for "", 0 and anything else that is not one."""
    parsed = number(value)
    return int(parsed) if parsed is not None and 1e12 <= parsed < 1e13 else None


def utc(text: str) -> Ms | None:
    """A time as ISO 8601 writes it, None for one without Z and for what no event can be of.
    Malformed if it is no time."""
    try:
        at = datetime.fromisoformat(text) if text.endswith("Z") else None
    except ValueError as error:
        raise Malformed(f"not a time: {text!r:.40}") from error
    return None if at is None else moment(at.timestamp() * 1_000)


def end_of(value: Text | None) -> Ms | None:
    """When a contract ends. None for "", "0" and the year 2100, which stands for never."""
    at = moment(value)
    return at if at is not None and at < _NEVER else None


def predicted(
    of: Instrument, at: Ms, seen: Ms, rate: Text | None, hours: float | None, next_at: Ms | None
) -> Funding | None:
    """The running estimate ``rate`` per ``hours``. None without a rate or an interval there is."""
    return _funding(of, at, seen, fraction(rate), hours, next_at)


def settled(of: Instrument, at: Ms, seen: Ms, rate: Text | None) -> Funding | None:
    """The rate charged at ``at``, which is no fact yet without ``Terms`` on the time before it.
    None without a rate, or where no interval is known."""
    return _funding(of, at, seen, fraction(rate), of.funding_hours, settled=True)


def _funding(
    of: Instrument,
    at: Ms,
    seen: Ms,
    rate: float | None,
    hours: float | None,
    next_at: Ms | None = None,
    settled: bool = False,
) -> Funding | None:
    if rate is None or hours is None or hours not in FUNDING_HOURS:
        return None
    return Funding(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        rate=rate,
        hours=hours,
        settled=settled,
        next_at=next_at,
    )


def open_interest(
    sides: Sides,
    of: Instrument,
    at: Ms,
    seen: Ms,
    units: float | None,
    usd: float | None,
    mark: Text = "",
) -> OpenInterest | None:
    """Open interest in the venue's ``units`` and in ``usd``, both as it counts them (``sides``).

    None without units. Of one side, unless it is not known how many are counted. Units of an
    inverse contract are contracts, whose ``usd`` are not asked for and which ``mark`` makes coins.
    """
    if units is None or units < 0:
        return None
    if of.inverse:
        usd, cost = units * of.contract_size, positive(mark)
        units = 0.0 if cost is None else usd / cost
    counted = sides.counted or 1
    return OpenInterest(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        base=units * of.multiplier / counted,
        usd=None if usd is None else usd / counted,
        inverse=of.inverse,
        one_side=sides.counted is not None,
    )


def past_interest(
    sides: Sides, of: Instrument, at: Ms, seen: Ms, units: float | None, value: float | None
) -> list[Decoded]:
    """Open interest of before, and the mark price then, from the ``value`` beside it where that is
    said: USD, of an inverse contract coins."""
    mark: Text = ""
    if units and value:
        mark = units * of.contract_size / value if of.inverse else value / units
    return present(
        open_interest(sides, of, at, seen, units, None, mark),
        price(of, at, seen, mark, None) if mark else None,
    )


class CandleRow(msgspec.Struct, array_like=True):
    """Prices of five minutes as venues write them; what follows is not read."""

    at: Time
    open: Text
    high: Text
    low: Text
    close: Text


_candles = msgspec.json.Decoder(list[CandleRow], strict=False)
_candle_rows = msgspec.json.Decoder(list[msgspec.Raw])
_candle_row = msgspec.json.Decoder(CandleRow, strict=False)


def candles(of: Instrument | None, body: bytes | msgspec.Raw) -> list[Decoded]:
    """A list of candles, in whatever order; one without a price is none."""

    def facts(row: CandleRow) -> list[Decoded]:
        opened, closed = positive(row.open), positive(row.close)
        if of is None or opened is None or closed is None:
            return []
        first, last = opened / of.multiplier, closed / of.multiplier
        return [Candle(symbol=of.symbol, at=row.at, open=first, close=last)]

    return facts_of_rows(
        lambda: read(_candles, body), lambda: read(_candle_rows, body), _candle_row, facts
    )


def price(of: Instrument, at: Ms, seen: Ms, mark: Text | None, index: Text | None) -> Price | None:
    """Mark and index price as the venue writes them, "" or None where the frame leaves one out.

    None without either, and where the mark price is none that there can be.
    """
    per_unit, index_per_unit = positive(mark), positive(index)
    if per_unit is None and (index_per_unit is None or number(mark) is not None):
        return None
    return Price(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        mark=None if per_unit is None else per_unit / of.multiplier,
        index=None if index_per_unit is None else index_per_unit / of.multiplier,
    )


def last_price(of: Instrument, at: Ms, seen: Ms, last: Text | None) -> Price | None:
    """The price of the last trade of a spot market. None where there is no number."""
    per_unit = positive(last)
    if per_unit is None:
        return None
    return Price(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        spot=True,
        last=per_unit / of.multiplier,
    )


def volume(of: Instrument, at: Ms, seen: Ms, usd: Text | None) -> Volume | None:
    """Notional of 24 hours. None where there is no number."""
    value = not_negative(usd)
    if value is None:
        return None
    return Volume(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        spot=of.spot,
        usd_24h=value,
    )


def liquidation(
    of: Instrument, at: Ms, seen: Ms, position: Position, per_unit: Text, units: Text
) -> Liquidation | None:
    """``units`` of the venue liquidated at ``per_unit``. None if either is not above 0."""
    cost, size = positive(per_unit), positive(units)
    if cost is None or size is None:
        return None
    return Liquidation(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        position=position,
        price=cost / of.multiplier,
        base=size * of.multiplier,
        usd=cost * size,
    )


def units_in(of: Instrument, contracts: Text, per_unit: Text) -> Text:
    """How many of its units so many contracts are at a price, "" where that is not known."""
    count, cost = positive(contracts), positive(per_unit)
    if count is None or (of.inverse and cost is None):
        return ""
    return count * of.contract_size / (cost or 1.0) if of.inverse else count * of.contract_size


def macro_price(
    of: Instrument, at: Ms, seen: Ms, mark: Text | None, day_ago: Text | None, usd_24h: float
) -> MacroPrice | None:
    """The price of what is no coin, None without a mark price."""
    price, before = positive(mark), positive(day_ago)
    if price is None:
        return None
    return MacroPrice(
        venue=of.venue,
        symbol=of.symbol,
        asset=of.asset,
        at=at,
        seen=seen,
        mark=price / of.multiplier,
        day_ago=None if before is None else before / of.multiplier,
        usd_24h=usd_24h,
    )


def mid(of: Instrument, bid: Text | None, ask: Text | None) -> Mid | None:
    """The middle of the best prices of a book, None without both, or where they are crossed."""
    low, high = positive(bid), positive(ask)
    if low is None or high is None or low > high:
        return None
    return Mid(symbol=of.symbol, price=(low + high) / 2 / of.multiplier)


def present(*events: Decoded | None) -> list[Decoded]:
    """The events without those that are None, because something in them cannot be read."""
    return [event for event in events if event is not None]


def coin_of(base: str) -> tuple[str, float]:
    """The coin behind a base asset and how many of it one unit is.

    ``1000PEPE`` → PEPE, 1000; ``1MBABYDOGE`` → BABYDOGE, 1e6; ``SHIB1000`` → SHIB, 1000;
    ``1INCH`` → 1INCH, 1. A coin that has another name now has that one: ``MATIC`` → POL, 1.
    """
    if prefixed := _PREFIXED.fullmatch(base):
        count = prefixed[1]
        return present_name(prefixed[2]), 1e6 if count == "1M" else float(count)
    if suffixed := _SUFFIXED.fullmatch(base):
        return present_name(suffixed[1]), float(suffixed[2])
    return present_name(base), 1.0


def underlying(base: str) -> tuple[str, float]:
    """``coin_of`` what a venue calls the base of a contract. Malformed where that is nothing."""
    if not base:
        raise Malformed("a contract on nothing")
    return coin_of(base)


def per_coin(levels: Levels, multiplier: float) -> Levels:
    """Price levels per single coin. The same list where one unit is one coin: the hot path.

    Prices are those that the venue would write for one coin, without the rounding error of the
    division: the same price is always the same float.
    """
    if multiplier == 1.0:
        return levels
    return [(float(f"{price / multiplier:.15g}"), size * multiplier) for price, size in levels]


def per_coin_in(levels: Levels, of: Instrument) -> Levels:
    """Price levels with sizes in contracts, per single coin.

    One at a price of 0 keeps its size: the book refuses it.
    """
    size = of.contract_size
    if of.inverse:
        levels = [(price, contracts * size / (price or 1.0)) for price, contracts in levels]
    elif size != 1.0:
        levels = [(price, contracts * size) for price, contracts in levels]
    return per_coin(levels, of.multiplier)


def snapshot(of: Instrument, at: Ms, bids: Levels, asks: Levels, reach: int) -> BookUpdate:
    """A book that came whole, of at most ``reach`` levels a side."""
    return BookUpdate(
        symbol=of.symbol,
        at=at,
        snapshot=True,
        bids=per_coin_in(bids, of),
        asks=per_coin_in(asks, of),
        reach=reach,
    )


def of_each(instruments: Sequence[Instrument], path: str) -> list[Request]:
    """One request of each contract, whose name ends the path."""
    return [Request(path=path + quote(i.symbol), symbol=i.symbol) for i in instruments]


def histories(
    instruments: Sequence[Instrument],
    kind: Kind,
    path: str,
    rows: int,
    every_s: float,
    piece_ms: Ms = 0,
) -> list[HistoryRequest]:
    """The history of each contract, whose name ends the path."""
    requests = of_each([i for i in instruments if not i.macro], path)
    return [
        HistoryRequest(request=r, kind=kind, rows=rows, every_s=every_s, piece_ms=piece_ms)
        for r in requests
    ]


def no_polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Of a venue whose sockets bring everything."""
    return []


def decode_no_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """Never called: nothing is polled."""
    raise Malformed("nothing is asked for repeatedly")


def no_histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Of a venue that is asked for no history."""
    return []


def decode_no_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """Never called: nothing is asked for."""
    raise Malformed("no history is asked for")


def batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """``items`` in order, ``size`` at a time; the last batch may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def divided(
    name: str, symbols: Sequence[str], most: int, running: Running
) -> Iterator[tuple[str, list[str]]]:
    """The sockets called ``name``-1, -2 and so on, ``most`` symbols each, and what each brings.

    A symbol stays with the socket that brings it; new ones fill what has room, in their order.
    """
    wanted = set(symbols)
    parts: dict[str, list[str]] = {}
    for socket_name, brings in running.items():
        staying = [symbol for symbol in brings if symbol in wanted]
        if staying and socket_name.rpartition("-")[0] == name:
            parts[socket_name] = staying
            wanted.difference_update(staying)
    names = (f"{name}-{part}" for part in itertools.count(1))
    for symbol in symbols:
        if symbol in wanted:
            with_room = (socket for socket, brings in parts.items() if len(brings) < most)
            socket_name = next(with_room, "") or next(n for n in names if n not in parts)
            parts.setdefault(socket_name, []).append(symbol)
    yield from parts.items()


def spread(
    requests: Sequence[Request], kind: Kind, every_s: float, over_s: float, offset_s: float = 0.0
) -> list[Poll]:
    """Polls that ask one after the other, evenly within ``over_s`` after ``offset_s``."""
    return [
        Poll(
            request=request,
            kind=kind,
            every_s=every_s,
            offset_s=offset_s + place * over_s / len(requests),
        )
        for place, request in enumerate(requests)
    ]


def socket(
    name: str,
    path: str,
    messages: tuple[bytes, ...],
    kinds: frozenset[Kind],
    symbols: Sequence[str],
    silence_s: Mapping[Kind, float],
) -> Subscription:
    """One socket; ``silence_s`` is the venue's table, of which it takes the kinds it brings."""
    return Subscription(
        name=name,
        path=path,
        messages=messages,
        kinds=kinds,
        symbols=tuple(symbols),
        silence_s={kind: silence_s[kind] for kind in kinds if kind in silence_s},
    )
