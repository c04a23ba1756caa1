"""Hyperliquid perpetuals: those of the main dex, and of the dexes that others build there (HIP-3).

Facts from hyperliquid.gitbook.io and clients of it as of November 2026: books come as snapshots of
20 levels every 5 s, contexts of all coins of all dexes every 13 s in one message that names the
dexes and no coin: they are checked against books and mids, which name theirs. There is no public
feed of liquidations.

On other dexes a contract is named ``dex:coin``, and its deployer chooses name, price source and
collateral, halts it and abandons it. So it is taken only where it is known what it is: a coin that
the main dex lists too, or something in ``_MACRO``. The rest is left out and counted.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from streams.coins import present_name
from streams.contracts import Terms
from streams.durations import HOUR
from streams.events import Instrument, Kind, Ms
from streams.venue import (
    NO_CHANNELS,
    NOTHING,
    UNREADABLE,
    BookUpdate,
    Channels,
    Decoded,
    HistoryRequest,
    ListedContracts,
    Listing,
    Malformed,
    Mid,
    Poll,
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
    name="hyperliquid",
    title="Hyperliquid",
    websocket="wss://api.hyperliquid.xyz",
    rest="https://api.hyperliquid.xyz",
    kinds=frozenset(Kind) - {Kind.LIQUIDATION},
    open_interest=Sides(1, "as everybody publishes it; its documentation has no word on it"),
    weight_per_minute=1200,
    no_second_source={"funding_interval": "it is an hour there, which is said nowhere"},
    ping=b'{"method":"ping"}',
    book="20 buckets of 1 to 10 bp",
    funding_hours=_FUNDING_HOURS,
)

_PATH = "/ws"
# an hour: in a public record of all settlements from May 2023 to October 2026 the largest is 4 %
_FUNDING_CAP = 0.04
_MAIN_DEX = ""
_LEVELS = 20
_SIGNIFICANT_FIGURES = 4
_MAX_SUBSCRIPTIONS = 1000  # an address
_MAX_BOOK_SOCKETS = 7  # 10 connections an address: contexts, mids, and one to replace another
_BOOKS_PER_SOCKET = 100
_POLL_SPACING_S = 1.2  # 20 weight each: 1000 of the 1200 a minute
_PAST_ROWS = 500
_PAST_WEIGHT = 45  # 20, and 1 for each 20 rows

_CONTEXT_KINDS = frozenset((Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE, Kind.VOLUME))
# Contexts every 13 s (measured in September 2026), a book every 5 s.
_SILENCE_S = dict.fromkeys(_CONTEXT_KINDS, 45.0) | {Kind.DEPTH: 30.0}
_CHANNEL = re.compile(rb'"channel"\s*:\s*"(\w+)"')
_REFUSED_COIN = re.compile(r'"coin"\s*:\s*"([^"]+)"')
_KILO = re.compile(r"k(?=[A-Z0-9])(.+)")
_IGNORED = frozenset(b"activeSpotAssetCtx bbo candle trades user userEvents userFills".split())

_COLLATERAL = {0: "USDC", 235: "USDE", 268: "USDT0", 360: "USDH"}
"""The tokens by their number that are meant to be worth a dollar, as prices are then dollars."""

_ORACLE_IN = ""
"""The oracle's price is the middle of spot markets in several currencies, and nothing recorded says
which one it is in: so of what a stablecoin is worth it says nothing."""

_LEAST_DAY_USD = 10_000.0
"""A contract of another dex in which less was traded in 24 hours has a price that nobody made: of
dexes that were abandoned it stays as it was for months (flx, since June 2026)."""

_MACRO = {
    coin: asset
    for asset, coins in {
        "SP500": "xyz:SP500 cash:USA500 flx:USA500",
        "NASDAQ100": "xyz:XYZ100 flx:USA100",
        "NIKKEI225": "xyz:JP225",
        "KOSPI200": "xyz:KR200",
        "VIX": "xyz:VIX",
        "DXY": "xyz:DXY",
        "EURUSD": "xyz:EUR km:EUR",
        "GBPUSD": "xyz:GBP",
        "USDJPY": "xyz:JPY",
        "TLT": "xyz:TLT",
        "GOLD": "xyz:GOLD cash:GOLD flx:GOLD km:GOLD",
        "SILVER": "xyz:SILVER cash:SILVER flx:SILVER km:SILVER",
        "COPPER": "xyz:COPPER flx:COPPER",
        "PLATINUM": "xyz:PLATINUM flx:PLATINUM",
        "PALLADIUM": "xyz:PALLADIUM flx:PALLADIUM",
        "WTI": "xyz:CL cash:WTI flx:OIL",
        "BRENT": "xyz:BRENTOIL",
        "NATGAS": "xyz:NATGAS flx:GAS",
        "MSTR": "xyz:MSTR",
        "COIN": "xyz:COIN flx:COIN",
        "NVDA": "xyz:NVDA cash:NVDA flx:NVDA km:NVDA",
        "TSLA": "xyz:TSLA cash:TSLA flx:TSLA km:TSLA",
    }.items()
    for coin in coins.split()
}
"""What of other dexes is no coin, by the descriptions that ``perpAnnotation`` gives of contracts
and the specifications of the dexes, as of 2026. Indices are in points and not converted; one unit
is an ounce, a barrel, a pound, an MMBtu or a share. Not here is what has another unit under a like
name: km:US500 and the other indices of km are prices of funds, a tenth or less (752 for 7542 in the
recorded frame of May 2026), km:USOIL is a fund, the companies of vntl are valuations in billions.
"""


class _Coin(msgspec.Struct):
    name: str
    isDelisted: bool | None = None


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]


class _BuilderMeta(_Meta):
    """Of a dex that is not the main one."""

    collateralToken: int | None = None


class _Context(msgspec.Struct):
    funding: wire.Text | None = None
    openInterest: wire.Text | None = None
    markPx: wire.Text | None = None
    oraclePx: wire.Text | None = None
    dayNtlVlm: wire.Text | None = None


class _MainContext(_Context):
    """Of a contract of the main dex, by REST."""

    midPx: wire.Text | None = None


class _BuilderContext(_Context):
    """Of a contract of another dex."""

    midPx: wire.Text | None = None
    """null: nobody can trade, as where the deployer halted it."""
    prevDayPx: wire.Text | None = None
    """24 h before."""


class _AllContexts(msgspec.Struct):
    ctxs: list[msgspec.Raw]


class _AllContextsFrame(msgspec.Struct):
    data: _AllContexts


class _OneContext(msgspec.Struct):
    coin: str
    ctx: _Context


class _OneContextFrame(msgspec.Struct):
    data: _OneContext


class _Level(msgspec.Struct):
    px: wire.PriceNumber
    sz: wire.SizeNumber


class _Book(msgspec.Struct):
    coin: str
    time: wire.Time
    levels: tuple[list[_Level], list[_Level]]


class _BookFrame(msgspec.Struct):
    data: _Book


class _Mids(msgspec.Struct):
    mids: dict[str, msgspec.Raw]


class _MidsFrame(msgspec.Struct):
    data: _Mids


class _ErrorFrame(msgspec.Struct):
    data: str


class _Settled(msgspec.Struct):
    coin: str
    fundingRate: wire.Text
    time: wire.Time


_listing = msgspec.json.Decoder(tuple[_Meta, msgspec.Raw])
_coin = msgspec.json.Decoder(_Coin)
_context = msgspec.json.Decoder(_Context)
_main_context = msgspec.json.Decoder(_MainContext)
_book_answer = msgspec.json.Decoder(_Book, strict=False)
_contexts_frame = msgspec.json.Decoder(_AllContextsFrame)
_dex = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_contexts = msgspec.json.Decoder(list[_Context])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_builder_meta = msgspec.json.Decoder(_BuilderMeta)
_builder_context = msgspec.json.Decoder(_BuilderContext)
_context_frame = msgspec.json.Decoder(_OneContextFrame)
_book_frame = msgspec.json.Decoder(_BookFrame, strict=False)
_mids_frame = msgspec.json.Decoder(_MidsFrame)
_mid = msgspec.json.Decoder(wire.Text)
_error_frame = msgspec.json.Decoder(_ErrorFrame)
_settled = msgspec.json.Decoder(list[_Settled], strict=False)
_settlement = msgspec.json.Decoder(_Settled, strict=False)


def listing_requests() -> list[Request]:
    """The coins of the main dex with their contexts, and the names in all dexes."""
    return [
        Request(path="/info", body=b'{"type":"metaAndAssetCtxs"}', weight=20),
        Request(path="/info", body=b'{"type":"allPerpMetas"}', weight=20, needed=False),
    ]


def next_listing_request(request: Request, body: bytes) -> Request | None:
    """None: the answer is not paged."""
    return None


def instruments(bodies: Sequence[bytes]) -> ListedContracts:
    """All coins, delisted ones as ended, and their order: contexts are joined by place.

    Here contexts only rank: a coin whose context cannot be read has no open interest and no volume.
    The order of another dex follows that of the main one; what cannot be read there is ``dex:``.
    """
    meta, ranking = wire.read(_listing, bodies[0])
    unreadable: list[str] = []
    try:
        contexts = wire.read(_rows, ranking)
    except UNREADABLE:
        unreadable.append("contexts")
        sizes = [(None, None)] * len(meta.universe)
    else:
        if len(meta.universe) != len(contexts):
            raise Malformed(f"{len(meta.universe)} coins but {len(contexts)} contexts")
        sizes = wire.rows(contexts, _read_sizes, [], needed=False)
    in_order = iter(sizes)

    def build(raw: msgspec.Raw) -> Instrument:
        of_coin = next(in_order)
        return _instrument(wire.read(_coin, raw), of_coin or (None, None))

    listed = wire.rows(meta.universe, build, unreadable)
    order = tuple("" if instrument is None else instrument.symbol for instrument in listed)
    unreadable += [coin for coin, size in zip(order, sizes, strict=True) if coin and size is None]
    known = [i for i in listed if i is not None]
    others = _OtherDexes([], [], [])
    if len(bodies) > 1 and bodies[1]:
        others = _other_dexes(bodies[1], {i.asset for i in known}, unreadable)
    return ListedContracts(
        known + others.instruments,
        (*order, *others.order),
        tuple(unreadable),
        tuple(others.unknown),
    )


class _OtherDexes(NamedTuple):
    """What the answer on all dexes says besides the main one, as in ListedContracts."""

    instruments: list[Instrument]
    order: list[str]
    unknown: list[str]


def _other_dexes(body: bytes, coins: Collection[str], unreadable: list[str]) -> _OtherDexes:
    """What the other dexes list. ``coins``: the assets of the main dex, as far as it was read.

    A dex is known by the names of its contracts; one that lists none has no name here.
    """
    dexes: list[_Dex] = []
    try:
        metas = wire.read(_rows, body)
        # null stands for the main dex
        dexes += [_read_dex(raw, unreadable) for raw in metas if bytes(raw) != b"null"]
    except UNREADABLE:
        unreadable.append("other dexes")
    others = _OtherDexes([], [], [])
    known = {_asset_of(coin.name)[0] for dex in dexes if not dex.name for coin in dex.coins if coin}
    known.update(coins)
    for dex in dexes:
        for coin in dex.coins if dex.name else ():
            if coin is None or _dex_of(coin.name) != dex.name:
                others.order.append(f"{dex.name}:")
                continue
            others.order.append(coin.name)
            instrument = _builder_instrument(coin, dex.collateral, known)
            if instrument is not None:
                others.instruments.append(instrument)
            elif not coin.isDelisted:
                others.unknown.append(coin.name)
    return others


class _Dex(NamedTuple):
    """A dex as it is listed: its name and its contracts, None for one that cannot be read."""

    name: str
    coins: list[_Coin | None]
    collateral: int | None


def _read_dex(raw: msgspec.Raw, unreadable: list[str]) -> _Dex:
    """One that cannot be read has no name and no contracts."""
    refused: list[str] = []
    try:
        meta = wire.read(_builder_meta, raw)
        coins = wire.rows(meta.universe, lambda row: wire.read(_coin, row), refused)
    except UNREADABLE:
        unreadable.append("a dex")
        return _Dex(_MAIN_DEX, [], None)
    name = next((_dex_of(coin.name) for coin in coins if coin and _dex_of(coin.name)), _MAIN_DEX)
    if name != _MAIN_DEX:  # the main dex's own answer says what cannot be read of it
        unreadable += refused
    return _Dex(name, coins, meta.collateralToken)


def _asset_of(name: str) -> tuple[str, float]:
    """The coin behind a name without its dex, and how many of it one unit is."""
    kilo = _KILO.fullmatch(name)
    return (present_name(kilo[1]), 1000.0) if kilo else (present_name(name), 1.0)


def _dex_of(symbol: str) -> str:
    """The dex in the name of a contract, "" of the main one."""
    dex, separator, _ = symbol.partition(":")
    return dex if separator else _MAIN_DEX


def _builder_instrument(
    coin: _Coin, collateral: int | None, coins: Collection[str]
) -> Instrument | None:
    """The contract of another dex, None if nobody knows what it is, or in which money its price."""
    quote = _COLLATERAL.get(-1 if collateral is None else collateral)
    macro = _MACRO.get(coin.name)
    asset, multiplier = (macro, 1.0) if macro else _asset_of(coin.name.partition(":")[2])
    if quote is None or not (macro or asset in coins):
        return None
    return Instrument(
        venue=SPEC.name,
        symbol=coin.name,
        asset=asset,
        quote=quote,
        index_in=_ORACLE_IN,
        multiplier=multiplier,
        funding_hours=_FUNDING_HOURS,
        funding_cap=_FUNDING_CAP,
        macro=macro is not None,
        ends_at=0 if coin.isDelisted else None,
    )


def _read_sizes(raw: msgspec.Raw) -> tuple[float | None, float | None]:
    """Open interest and volume of a coin, both in USD."""
    context = wire.read(_context, raw)
    units, mark = wire.not_negative(context.openInterest), wire.positive(context.markPx)
    usd = None if units is None or mark is None else units * mark
    return SPEC.open_interest.one_side(usd), wire.not_negative(context.dayNtlVlm)


def _instrument(coin: _Coin, sizes: tuple[float | None, float | None]) -> Instrument:
    open_interest_usd, volume_usd = sizes
    asset, multiplier = _asset_of(coin.name)
    return Instrument(
        venue=SPEC.name,
        symbol=coin.name,
        asset=asset,
        quote="USDC",
        index_in=_ORACLE_IN,
        multiplier=multiplier,
        funding_hours=_FUNDING_HOURS,
        funding_cap=_FUNDING_CAP,
        open_interest_usd=open_interest_usd,
        volume_24h_usd=volume_usd,
        ends_at=0 if coin.isDelisted else None,
    )


def subscriptions(
    instruments: Sequence[Instrument], kinds: frozenset[Kind], running: Running = NOTHING
) -> list[Subscription]:
    """One socket for the contexts of all coins, one for the mids of other dexes, at most seven for
    the books, which are those of the main dex.

    Mids have a socket of their own: one of a dex that is gone may end it.
    """
    sockets: list[Subscription] = []
    dexes = sorted({dex for instrument in instruments if (dex := _dex_of(instrument.symbol))})
    if brings := kinds & _CONTEXT_KINDS:
        messages = (_subscribe_to({"type": "allDexsAssetCtxs"}),)
        sockets.append(wire.socket("contexts", _PATH, messages, brings, (), _SILENCE_S))
        if dexes:
            asked = [{"type": "allMids", "dex": dex} for dex in dexes]
            messages = tuple(_subscribe_to(mids) for mids in asked)
            sockets.append(wire.socket("mids", _PATH, messages, frozenset(), (), {}))
    if Kind.DEPTH in kinds:
        depth = frozenset((Kind.DEPTH,))
        symbols = [i.symbol for i in instruments if _dex_of(i.symbol) == _MAIN_DEX]
        most = (_MAX_SUBSCRIPTIONS - 1 - len(dexes)) * _MAX_BOOK_SOCKETS // (_MAX_BOOK_SOCKETS + 1)
        symbols = symbols[:most]  # those of one socket may be asked for twice
        size = max(_BOOKS_PER_SOCKET, math.ceil(len(symbols) / _MAX_BOOK_SOCKETS))
        for name, batch in wire.divided("book", symbols, size, running):
            messages = _subscribe(batch)
            sockets.append(wire.socket(name, _PATH, messages, depth, batch, _SILENCE_S))
    return sockets


def _subscribe(symbols: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(_subscribe_to(_book_of(symbol)) for symbol in symbols)


def _book_of(symbol: str) -> dict[str, object]:
    return {"type": "l2Book", "coin": symbol, "nSigFigs": _SIGNIFICANT_FIGURES}


def _subscribe_to(subscription: Mapping[str, object]) -> bytes:
    return msgspec.json.encode({"method": "subscribe", "subscription": subscription})


def resubscribe(symbols: Sequence[str], subscription: Subscription) -> tuple[bytes, ...]:
    """The books of these coins again; asking twice is refused without harm."""
    return _subscribe(symbols) if Kind.DEPTH in subscription.kinds else ()


def polls(instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
    """Settled funding, coin by coin, as fast after each full hour as the budget allows."""
    if Kind.FUNDING not in kinds:
        return []
    requests = [_ask_settled(i.symbol) for i in instruments if not i.macro]
    over_s = len(requests) * _POLL_SPACING_S
    return wire.spread(requests, Kind.FUNDING, every_s=3600.0, over_s=over_s, offset_s=20.0)


def _ask_settled(symbol: str, since: bytes = b"{hour_ago}", weight: int = 20) -> Request:
    coin = msgspec.json.encode(symbol)
    body = b'{"type":"fundingHistory","coin":%b,"startTime":%b}' % (coin, since)
    return Request(path="/info", body=body, weight=weight, symbol=symbol)


def decode(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """A frame of the websocket."""
    channel = _CHANNEL.search(frame)
    if channel is None:
        raise Malformed("no channel")
    if channel[1] in _IGNORED:
        return []
    reader = _READERS.get(channel[1])
    if reader is None:
        raise Malformed(f"unknown channel {channel[1]!r:.40}")
    return reader(frame, listing, seen)


def _read_contexts(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The contexts of all dexes; nothing of any while those of the main one are not known."""
    dexes = _contexts_by_dex(frame)
    if _MAIN_DEX not in dexes:
        raise Malformed("no contexts of the main dex")
    orders = _order_by_dex(listing.order)
    decoded = _read_main_dex(dexes.pop(_MAIN_DEX), orders.pop(_MAIN_DEX, []), listing, seen)
    if decoded and isinstance(decoded[0], Reply):
        return decoded
    wanted = {_dex_of(symbol) for symbol in listing.instruments}
    for dex, contexts in dexes.items():
        if dex in wanted or (orders and dex not in orders):
            try:
                decoded += _read_builder_dex(dex, contexts, orders.get(dex, []), listing, seen)
            except UNREADABLE:
                decoded += wire.unreadable_of([f"{dex:.10}:"])
    return decoded


def _read_main_dex(
    contexts: msgspec.Raw, order: Sequence[str], listing: Listing, seen: Ms
) -> list[Decoded]:
    try:
        every = wire.read(_contexts, contexts)
        if len(every) == len(order):
            pairs = zip(order, every, strict=True)
            return [fact for pair in pairs for fact in _facts(*pair, listing, seen)]
    except UNREADABLE:
        pass
    raws, coins = wire.read(_rows, contexts), iter(order)
    if len(raws) != len(order):
        text = f"{len(raws)} contexts for {len(order)} listed coins"
        return [Reply(ok=False, text=text, relist=True)]

    def build(raw: msgspec.Raw) -> list[Decoded]:
        coin = next(coins)
        return _facts(coin, wire.read(_context, raw), listing, seen)

    built = wire.rows(raws, build, [])
    lost = [coin for coin, of_coin in zip(order, built, strict=True) if of_coin is None]
    facts = [fact for of_coin in built for fact in of_coin or ()]
    return [*facts, *wire.unreadable_of(lost)]


def _read_builder_dex(
    dex: str, contexts: msgspec.Raw, order: Sequence[str], listing: Listing, seen: Ms
) -> list[Decoded]:
    """The contexts of another dex. ``order``: its contracts, none if the listing lacks it."""
    raws = wire.read(_rows, contexts)
    if len(raws) != len(order):
        text = f"{len(raws)} contexts of dex {dex:.10} for {len(order)} listed contracts"
        return [Reply(ok=False, text=text, relist=True)]
    symbols = iter(order)

    def build(raw: msgspec.Raw) -> list[Decoded]:
        of = listing.instruments.get(next(symbols))
        return [] if of is None else _builder_facts(of, wire.read(_builder_context, raw), seen)

    built = wire.rows(raws, build, [])
    lost = [symbol for symbol, facts in zip(order, built, strict=True) if facts is None]
    return [*(fact for facts in built for fact in facts or ()), *wire.unreadable_of(lost)]


def _contexts_by_dex(frame: bytes) -> dict[str, msgspec.Raw]:
    """The contexts of each dex, whatever those of the others look like, in any order."""
    dexes: dict[str, msgspec.Raw] = {}
    for raw in wire.read(_contexts_frame, frame).data.ctxs:
        try:
            dex, contexts = wire.read(_dex, raw)
        except UNREADABLE:
            continue
        dexes.setdefault(dex, contexts)
    return dexes


def _order_by_dex(order: Sequence[str]) -> dict[str, list[str]]:
    orders: dict[str, list[str]] = {}
    for symbol in order:
        orders.setdefault(_dex_of(symbol), []).append(symbol)
    return orders


def _read_context(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    data = wire.read(_context_frame, frame).data
    if _dex_of(data.coin):
        return []  # not asked for
    return _facts(data.coin, data.ctx, listing, seen)


def _facts(coin: str, context: _Context, listing: Listing, seen: Ms) -> list[Decoded]:
    of = listing.instruments.get(coin)
    return [] if of is None else [*_of_coin(of, context, seen)]


def _of_coin(of: Instrument, context: _Context, seen: Ms) -> Iterator[Decoded]:
    """Contexts carry no time: the venue's is taken to be ours."""
    units, mark = wire.not_negative(context.openInterest), wire.positive(context.markPx)
    usd = None if units is None or mark is None else units * mark
    next_at = (seen // HOUR + 1) * HOUR
    yield from wire.present(
        # first: it shows whether all of this is of this coin
        wire.price(of, seen, seen, context.markPx, context.oraclePx),
        wire.predicted(of, seen, seen, context.funding, _FUNDING_HOURS, next_at),
        wire.open_interest(SPEC.open_interest, of, seen, seen, units, usd),
        wire.volume(of, seen, seen, context.dayNtlVlm),
    )


def _builder_facts(of: Instrument, context: _BuilderContext, seen: Ms) -> list[Decoded]:
    """Nothing of a contract that is halted or abandoned: its price is of long ago.

    The index is what its deployer says it is, so the mark price alone counts, which the book makes.
    """
    day_usd = wire.not_negative(context.dayNtlVlm) or 0.0
    if wire.positive(context.midPx) is None or day_usd < _LEAST_DAY_USD:
        return []
    if of.macro:
        return wire.present(
            wire.macro_price(of, seen, seen, context.markPx, context.prevDayPx, day_usd)
        )
    context.oraclePx = None
    return [*_of_coin(of, context, seen)]


def _read_mids(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """Mids by name, for what has no book here; of an empty book the venue sends the last trade."""
    decoded: list[Decoded] = []
    for symbol, raw in wire.read(_mids_frame, frame).data.mids.items():
        of = listing.instruments.get(symbol) if _dex_of(symbol) else None
        if of is None:
            continue
        try:
            mid = wire.positive(wire.read(_mid, raw))
        except UNREADABLE:
            decoded += wire.unreadable_of([symbol])
            continue
        if mid is not None:
            decoded.append(Mid(symbol=symbol, price=mid / of.multiplier))
    return decoded


def _read_book(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    return _book_facts(wire.read(_book_frame, frame).data, listing)


def _book_facts(book: _Book, listing: Listing) -> list[Decoded]:
    of = listing.instruments.get(book.coin)
    if of is None:
        return []
    bids, asks = ([(level.px, level.sz) for level in side] for side in book.levels)
    return [
        BookUpdate(
            symbol=book.coin,
            at=book.time,
            snapshot=True,
            bids=wire.per_coin(bids, of.multiplier),
            asks=wire.per_coin(asks, of.multiplier),
            reach=_LEVELS,
            rolling=True,
            step=_bucket(bids, asks) / of.multiplier,
        )
    ]


def _bucket(bids: wire.Levels, asks: wire.Levels) -> float:
    """Width of a price bucket at the best price (the ask: across a power of ten it is wider)."""
    best = asks or bids
    if not best:
        return 0.0
    return 10.0 ** (math.floor(math.log10(best[0][0])) + 1 - _SIGNIFICANT_FIGURES)


def _read_answer(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    return [Reply(ok=True)]


def _read_error(frame: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    text = wire.read(_error_frame, frame).data
    if text.startswith("Already subscribed"):
        return [Reply(ok=True, text=text)]
    return [Reply(ok=False, text=text, symbols=tuple(_REFUSED_COIN.findall(text)))]


_READERS: dict[bytes, Callable[[bytes, Listing, Ms], list[Decoded]]] = {
    b"allDexsAssetCtxs": _read_contexts,
    b"activeAssetCtx": _read_context,
    b"allMids": _read_mids,
    b"l2Book": _read_book,
    b"subscriptionResponse": _read_answer,
    b"pong": _read_answer,
    b"error": _read_error,
}


def decode_poll(poll: Poll, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The newest settlement of one coin."""
    rows = wire.read(_settled, body)
    if not rows:
        return []
    newest = max(rows, key=lambda row: row.time)
    of = listing.instruments.get(newest.coin)
    if of is None:
        return []
    terms = Terms(symbol=of.symbol, settled_before=newest.time - HOUR)  # each hour, everywhere
    return wire.present(terms, wire.settled(of, newest.time, seen, newest.fundingRate))


def histories(instruments: Sequence[Instrument]) -> list[HistoryRequest]:
    """Settled funding, coin by coin, the oldest page first."""
    return [
        HistoryRequest(
            request=_ask_settled(i.symbol, b"{since}", _PAST_WEIGHT),
            kind=Kind.FUNDING,
            rows=_PAST_ROWS,
            every_s=5.0,
        )
        for i in instruments
        if not i.macro
    ]


def decode_history(
    history: HistoryRequest, body: bytes, listing: Listing, seen: Ms
) -> list[Decoded]:
    """One page of settlements."""
    of = listing.instruments.get(history.request.symbol)

    def facts(row: _Settled) -> list[Decoded]:
        if of is None or row.coin != of.symbol:
            return []
        return wire.present(wire.settled(of, row.time, seen, row.fundingRate))

    return wire.facts_of_rows(
        lambda: wire.read(_settled, body), lambda: wire.read(_rows, body), _settlement, facts
    )


def checks(instruments: Sequence[Instrument]) -> list[Request]:
    """The coins of the main dex with their contexts, by name, and books."""
    symbols = [i.symbol for i in instruments if _dex_of(i.symbol) == _MAIN_DEX]
    return [
        Request(path="/info", body=b'{"type":"metaAndAssetCtxs"}', weight=20),
        *(
            Request(path="/info", body=msgspec.json.encode(_book_of(s)), weight=2, symbol=s)
            for s in symbols
        ),
    ]


def decode_check(request: Request, body: bytes, listing: Listing, seen: Ms) -> list[Decoded]:
    """The answer to one of ``checks``. Contexts are joined with the names beside them."""
    if request.symbol:
        return _book_facts(wire.read(_book_answer, body), listing)
    meta, ranking = wire.read(_listing, body)
    contexts, coins = wire.read(_rows, ranking), iter(meta.universe)
    if len(meta.universe) != len(contexts):
        raise Malformed(f"{len(meta.universe)} coins but {len(contexts)} contexts")

    def build(raw: msgspec.Raw) -> list[Decoded]:
        of = listing.instruments.get(wire.read(_coin, next(coins)).name)
        context = wire.read(_main_context, raw)
        if of is None:
            return []
        best = wire.mid(of, context.midPx, context.midPx)
        return [*_of_coin(of, context, seen), *wire.present(best)]

    unreadable: list[str] = []
    built = wire.rows(contexts, build, unreadable)
    return [*(fact for facts in built for fact in facts or ()), *wire.unreadable_of(unreadable)]


def resync(
    symbol: str, subscription: Subscription, channels: Channels = NO_CHANNELS
) -> tuple[bytes, ...]:
    """Nothing to send: every update is a snapshot."""
    return ()


def decode_snapshot(symbol: str, body: bytes, listing: Listing) -> BookUpdate:
    """Never called: ``resync`` asks for no body."""
    raise Malformed(f"no snapshot of {symbol} was asked for by REST")
