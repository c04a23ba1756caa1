"""Whatever one venue does, the others do not notice: several venues on loopback, one of them mad.

Frames, listings, polls, HTTP answers and handshakes of one venue are mutated; what the others say
must be what they say without it. LOWTIDE_FUZZ=200 plays so many seeds (``make fuzz``).
"""

import asyncio
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from streams.events import AnyEvent, Fault, FaultCode, FeedState, Kind, Price, decode, encode
from streams.feed.hub import Hub, VenueAddress
from streams.feed.selection import Markets
from streams.feed.session import Session
from streams.venues import VENUES
from tests.streams import frames
from tests.streams.feed.test_client import LIST, Binance
from tests.streams.feed.test_client_inverse import CoinM, inverse_answer, inverse_talk
from tests.streams.kraken_server import KrakenServer
from tests.streams.venue_server import StandIn, at_work, certified, listening, resting, turns
from tests.streams.virtual import EPOCH, Clock, virtual

NAMES = (
    "binance", "bybit", "hyperliquid", "okx", "bitget", "gate", "deribit", "binance-coinm",
    "bybit-inverse", "aster", "kraken", "htx", "bitfinex", "lighter",
)  # fmt: skip
SEEDS = range(int(os.environ.get("LOWTIDE_FUZZ", len(NAMES))))
"""Each venue is mad once at least."""
MARKETS = Markets(majors=("BTC", "ETH"), large=(), tail=2)
SECONDS = 60
PRICES = {"bitget": 24}
"""Of how many of the last 47 seconds there is a price, where it is not each: it is polled."""
ODD = ("1" + "0" * 400, "NaN", "Infinity", "-1", "1e309", '""', "null", "[]", "{}", '"\\u001b[2J"',
       '"\\ud800"', "0", "1e-400", "true", "[" * 2_000, '"' + "x" * 5_000 + '"')  # fmt: skip

Answer = Callable[[web.Request], web.Response]
Talk = Callable[[ServerConnection], Any]


def bybit_answer(request: web.Request) -> web.Response:
    contracts = [
        {"symbol": f"{asset}USDT", "contractType": "LinearPerpetual", "status": "Trading",
         "baseCoin": asset, "quoteCoin": "USDT", "fundingInterval": 480}
        for asset in ("BTC", "ETH")
    ]  # fmt: skip
    settled = {"symbol": request.query.get("symbol", ""), "fundingRate": "0.0001",
               "fundingRateTimestamp": str(EPOCH - EPOCH % 28_800_000)}  # fmt: skip
    tickers = [{"symbol": contract["symbol"], "turnover24h": "9"} for contract in contracts]
    rows = {"/v5/market/tickers": tickers, "/v5/market/instruments-info": contracts}
    result = {"list": rows.get(request.path, [settled]), "nextPageCursor": ""}
    return web.json_response({"retCode": 0, "result": result})


async def bybit_talk(connection: ServerConnection) -> None:
    update = 0
    while True:
        update += 1
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await connection.send(frames.bybit_book(symbol, update), text=True)
            await connection.send(frames.ticker(symbol), text=True)
        await asyncio.sleep(1)


def hyperliquid_answer(request: web.Request) -> web.Response:
    context = {"openInterest": "5", "markPx": "100"}
    coins = {"universe": [{"name": name} for name in ("BTC", "ETH")]}
    return web.json_response([coins, [context, context]] if request._read_bytes == LIST else [])


async def hyperliquid_talk(connection: ServerConnection) -> None:
    while True:
        for frame in (frames.contexts(2), *map(frames.coin_book, ("BTC", "ETH"))):
            await connection.send(frame, text=True)
        await asyncio.sleep(1)


def okx_answer(request: web.Request) -> web.Response:
    if request.path == "/api/v5/public/funding-rate-history":
        rows = frames.okx_settled(request.query["instId"])
        return web.Response(body=frames.okx_answer(rows))
    row = {
        "/api/v5/public/instruments": frames.okx_contract,
        "/api/v5/public/funding-rate": frames.okx_funding,
        "/api/v5/public/open-interest": frames.okx_interest,
        "/api/v5/market/tickers": frames.okx_ticker,
    }[request.path]
    return web.Response(body=frames.okx_answer([row(f"{a}-USDT-SWAP") for a in ("BTC", "ETH")]))


async def okx_talk(connection: ServerConnection) -> None:
    """The sockets of all liquidations, of prices and of books all bring everything."""
    last = 1
    for symbol in ("BTC-USDT-SWAP", "ETH-USDT-SWAP"):
        await connection.send(frames.okx_book(symbol, last), text=True)
    while True:
        last += 1
        for symbol in ("BTC-USDT-SWAP", "ETH-USDT-SWAP"):
            for frame in (
                frames.okx_opens(),
                frames.okx_book(symbol, last, previous=last - 1),
                frames.okx_price(symbol),
                frames.okx_index(symbol),
            ):
                await connection.send(frame, text=True)
        await asyncio.sleep(1)


def bitget_answer(request: web.Request) -> web.Response:
    symbols = ("BTCUSDT", "ETHUSDT")
    match request.path.rpartition("/")[2]:
        case "contracts":
            rows = [frames.bitget_contract(symbol) for symbol in symbols]
        case "tickers":
            rows = [frames.bitget_ticker(symbol) for symbol in symbols]
        case "current-fund-rate":
            rows = [frames.bitget_funding(symbol) for symbol in symbols]
        case _:
            rows = frames.bitget_settled(request.query["symbol"])
    return web.Response(body=frames.bitget_answer(rows))


async def bitget_talk(connection: ServerConnection) -> None:
    last = 1
    for symbol in ("BTCUSDT", "ETHUSDT"):
        await connection.send(frames.bitget_book(symbol, last), text=True)
    while True:
        last += 1
        await connection.send(frames.bitget_opens(), text=True)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            frame = frames.bitget_book(symbol, last, previous=last - 1)
            await connection.send(frame, text=True)
        await asyncio.sleep(1)


def gate_answer(request: web.Request) -> web.Response:
    symbols = ("BTC_USDT", "ETH_USDT")
    match request.path:
        case "/api/v4/futures/usdt/contracts":
            return web.json_response([frames.gate_contract(s) for s in symbols])
        case "/api/v4/futures/usdt/tickers":
            return web.json_response([frames.gate_row(s) for s in symbols])
        case _:
            return web.Response(body=frames.gate_settled())


async def gate_talk(connection: ServerConnection) -> None:
    """The sockets of all liquidations, of tickers and of books all bring everything."""
    last = 1
    for symbol in ("BTC_USDT", "ETH_USDT"):
        await connection.send(frames.gate_book(symbol, last), text=True)
    while True:
        last += 1
        for symbol in ("BTC_USDT", "ETH_USDT"):
            for frame in (
                frames.gate_opens(),
                frames.gate_book(symbol, last, first=last),
                frames.gate_ticker(symbol),
            ):
                await connection.send(frame, text=True)
        await asyncio.sleep(1)


def deribit_answer(request: web.Request) -> web.Response:
    symbols = ("BTC-PERPETUAL", "ETH_USDC-PERPETUAL")
    match request.path.rpartition("/")[2]:
        case "get_instruments":
            rows = [frames.deribit_contract(s) for s in symbols]
        case "get_book_summary_by_currency":
            rows = [frames.deribit_summary(s) for s in symbols]
        case _:
            return web.Response(body=frames.deribit_settled())
    return web.json_response({"result": rows})


async def deribit_talk(connection: ServerConnection) -> None:
    last = 1
    for symbol in ("BTC-PERPETUAL", "ETH_USDC-PERPETUAL"):
        await connection.send(frames.deribit_book(symbol, last), text=True)
    while True:
        last += 1
        for symbol in ("BTC-PERPETUAL", "ETH_USDC-PERPETUAL"):
            for frame in (
                frames.deribit_opens(),
                frames.deribit_book(symbol, last, previous=last - 1),
                frames.deribit_ticker(symbol),
            ):
                await connection.send(frame, text=True)
        await asyncio.sleep(1)


def kraken_answer(request: web.Request) -> web.Response:
    symbols = ("PI_XBTUSD", "PF_ETHUSD")
    if request.path.endswith("/instruments"):
        return web.json_response({"instruments": [frames.kraken_contract(s) for s in symbols]})
    return web.json_response({"tickers": [frames.kraken_row(s) for s in symbols]})


async def kraken_talk(connection: ServerConnection) -> None:
    last = 1
    for symbol in ("PI_XBTUSD", "PF_ETHUSD"):
        await connection.send(frames.kraken_book(symbol, last), text=True)
    while True:
        last += 1
        for symbol in ("PI_XBTUSD", "PF_ETHUSD"):
            changes = frames.kraken_changes(symbol, last, [(99.9, 8.0)])
            for frame in (*changes, frames.kraken_ticker(symbol)):
                await connection.send(frame, text=True)
        await asyncio.sleep(1)


def htx_answer(request: web.Request) -> web.Response:
    symbols = ("BTC-USDT", "ETH-USDT")
    match request.path.rpartition("/")[2]:
        case "swap_contract_info":
            return web.json_response({"data": [frames.htx_contract(s) for s in symbols]})
        case "open_interest":
            return web.json_response({"code": 200, "data": [frames.htx_held(s) for s in symbols]})
        case _:
            return web.json_response({"ticks": [frames.htx_row(s) for s in symbols]})


async def htx_talk(connection: ServerConnection) -> None:
    assert connection.request is not None
    path, last = connection.request.path, 1
    symbols = ("BTC-USDT", "ETH-USDT")
    while True:
        for symbol in symbols:
            rate = frames.htx_tells("funding_rate", [frames.htx_rate(symbol)])
            event = "snapshot" if last == 1 else "update"
            by_path = {
                "/linear-swap-notification": [frames.htx_opens("liquidation_orders"), rate],
                "/linear-swap-ws": [frames.htx_book(symbol, last, event=event)],
                "/ws_index": [frames.htx_price(symbol, feed) for feed in ("mark_price", "index")],
            }
            for frame in by_path[path]:
                await connection.send(frames.packed(frame), text=False)
        last += 1
        await asyncio.sleep(1)


BITFINEX = ("tBTCF0:USTF0", "tETHF0:USTF0")


def bitfinex_answer(request: web.Request) -> web.Response:
    match request.path.rpartition("/")[2]:
        case "pub:list:pair:futures":
            return web.json_response([[symbol[1:] for symbol in BITFINEX]])
        case "pub:map:currency:sym":
            return web.json_response([[["USTF0", "USDt0"]]])
        case _:
            return web.json_response([frames.bitfinex_row(symbol) for symbol in BITFINEX])


async def bitfinex_talk(connection: ServerConnection) -> None:
    """All that there is on each connection: what one is not for is no harm."""
    books, statuses = dict(enumerate(BITFINEX, 1)), dict(enumerate(BITFINEX, 11))
    opened = [frames.bitfinex_opens(n, symbol, "book") for n, symbol in books.items()]
    opened += [frames.bitfinex_opens(n, symbol) for n, symbol in statuses.items()]
    for frame in (*opened, frames.bitfinex_opens(20)):
        await connection.send(frame, text=True)
    for number in itertools.count(0, 4):
        facts = [(n, frames.bitfinex_levels()) for n in books]
        facts += [(n, frames.bitfinex_status()) for n in statuses]
        for place, (channel, payload) in enumerate(facts):
            frame = frames.bitfinex_tells(channel, number + place, payload)
            await connection.send(frame, text=True)
        await asyncio.sleep(1)


def lighter_answer(request: web.Request) -> web.Response:
    markets = [frames.lighter_market(asset) for asset in ("BTC", "ETH")]
    return web.json_response({"order_book_details": markets})


async def lighter_talk(connection: ServerConnection) -> None:
    for number in itertools.count(100):
        facts = [frames.lighter_stats("1", "2")]
        for symbol in ("1", "2"):
            previous = None if number == 100 else number - 1
            facts.append(frames.lighter_book(symbol, number, previous=previous))
            if number == 100:
                facts.append(frames.lighter_trades(symbol, event="subscribed"))
        for frame in facts:
            await connection.send(frame, text=True)
        await asyncio.sleep(1)


class Aster(Binance):
    """Binance's protocol under other addresses."""

    version = "v3"
    market = books = "/stream"


def mutated(data: bytes, chance: Random) -> bytes:
    """Something that a venue should not send."""
    match chance.randrange(7):
        case 0:
            return data[: chance.randrange(len(data) + 1)]
        case 1:
            at = chance.randrange(len(data) + 1)
            return data[:at] + chance.randbytes(chance.randrange(1, 9)) + data[at:]
        case 2:
            return data + data
        case 3:
            return b"[" * 50_000
        case 4:
            return chance.randbytes(chance.randrange(64))
        case _:
            values = [*re.finditer(rb'(?<=:)("[^"]*"|-?[0-9.]+|\[\]|null)', data)]
            if not values:
                return b"{}"
            value, odd = chance.choice(values), chance.choice(ODD).encode()
            return data[: value.start()] + odd + data[value.end() :]


def mad_answer(answer: Answer, chance: Random) -> Answer:
    def mad(request: web.Request) -> web.Response:
        if chance.random() < 0.4:
            return answer(request)
        if chance.random() < 0.3:
            headers = {"Location": chance.choice(("http://[::1", "/x", "//", "http://a..b/"))}
            headers["Retry-After"] = chance.choice(("1", "²", "-5", "1e3", "soon"))
            return web.Response(
                status=chance.choice((204, 302, 307, 400, 404, 500)), headers=headers
            )
        body = answer(request).body
        assert isinstance(body, bytes)
        return web.Response(body=mutated(body, chance))

    return mad


class Mad:
    """A connection on which some frames come out wrong."""

    def __init__(self, connection: ServerConnection, chance: Random) -> None:
        self._connection = connection
        self._chance = chance
        self.request = connection.request

    async def send(self, frame: bytes, text: bool) -> None:
        if self._chance.random() < 0.3:
            await self._connection.send(mutated(frame, self._chance), text=None)
        elif self._chance.random() < 0.02:
            self._connection.transport.abort()
        else:
            await self._connection.send(frame, text=text)


def mad_talk(talk: Talk, chance: Random) -> Talk:
    async def mad(connection: ServerConnection) -> None:
        await talk(Mad(connection, chance))  # pyright: ignore[reportArgumentType]

    return mad


async def played(mad: str | None, seed: int) -> tuple[list[AnyEvent], list[Any]]:
    """What all venues said within a minute, and the log."""
    chance = Random(seed)
    binance, aster = (of("BTCUSDT", "ETHUSDT") for of in (Binance, Aster))
    coin_m = CoinM("BTCUSD_PERP", "ETHUSD_PERP")
    venues: dict[str, tuple[Answer, Talk]] = {
        "binance": (binance.answer, binance.talk),
        "bybit": (bybit_answer, bybit_talk),
        "hyperliquid": (hyperliquid_answer, hyperliquid_talk),
        "okx": (okx_answer, okx_talk),
        "bitget": (bitget_answer, bitget_talk),
        "gate": (gate_answer, gate_talk),
        "deribit": (deribit_answer, deribit_talk),
        "binance-coinm": (coin_m.answer, coin_m.talk),
        "bybit-inverse": (inverse_answer, inverse_talk),
        "aster": (aster.answer, aster.talk),
        "kraken": (kraken_answer, kraken_talk),
        "htx": (htx_answer, htx_talk),
        "bitfinex": (bitfinex_answer, bitfinex_talk),
        "lighter": (lighter_answer, lighter_talk),
    }
    events: list[AnyEvent] = []
    async with AsyncExitStack() as stack:
        places: list[VenueAddress] = []
        for name, (answer, talk) in venues.items():
            if name == mad:
                answer, talk = mad_answer(answer, chance), mad_talk(talk, chance)
            rest = await stack.enter_async_context(resting(answer))
            server = await stack.enter_async_context(listening(talk))
            if name == mad and chance.random() < 0.3:
                headers = {"Location": "http://[::1"}
                server.refuse = [(302, headers, b""), (chance.choice((101, 200, 404)), {}, b"")]
            places.append(VenueAddress(venue=StandIn(name), websocket=server.url, rest=rest))
        hub = Hub(places, MARKETS, events.append, Clock())
        with capture_logs() as logs:
            async with at_work(hub.run()):
                await asyncio.sleep(SECONDS)
                assert [venue.name for venue in hub.status()] == [*NAMES]
                json.dumps([venue.trouble for venue in hub.status()])
    return events, logs


def of(venue: str, events: list[AnyEvent]) -> tuple[Counter[str], set[str], set[int]]:
    """Turns of feeds; what is said, without times; the seconds of which BTC has a price.

    The facts are those after 12 s: the tail is ranked over all listings, and who cannot be listed
    is waited for 8 s.
    """
    while_up = [e for e in events if getattr(e, "venue", "") == venue and e.seen < EPOCH + 59_000]
    late = [e for e in while_up if e.seen >= EPOCH + 12_000]
    facts = [e for e in late if not isinstance(e, FeedState | Fault)]
    texts = {re.sub(rb'"(at|seen|next_at)":\d+', b"", encode(e)).decode() for e in facts}
    prices = [e for e in facts if isinstance(e, Price) and e.asset == "BTC"]
    seconds = {(e.seen - EPOCH) // 1000 for e in prices}
    # a liquidation feed that is silent is said again and again to be up
    return Counter(set(turns(while_up))), texts, seconds


@pytest.mark.parametrize("seed", SEEDS)
def test_the_others_do_not_notice(seed: int) -> None:
    mad = NAMES[seed % len(NAMES)]

    @virtual
    async def check() -> None:
        sane, _ = await played(None, seed)
        events, logs = await played(mad, seed)
        for venue in NAMES:
            if venue != mad:
                alone, beside = of(venue, sane), of(venue, events)
                assert beside[0] == alone[0] and beside[2] == alone[2]
                assert beside[1] ^ alone[1] == set()
                assert not [turn for turn in of(venue, events)[0] if turn.startswith("-")]
                assert len(of(venue, events)[2]) == PRICES.get(venue, 47)
        for event in events:  # whatever gets through can be written, read and shown
            assert decode(encode(event)) == event
            assert all(
                value.isprintable() for value in vars_of(event).values() if isinstance(value, str)
            )
        assert not [
            e
            for e in events
            if isinstance(e, Fault) and e.code is FaultCode.VENUE_FAILED and not e.over
        ]
        assert not [entry for entry in logs if entry["log_level"] == "error"]

    check()


def vars_of(event: AnyEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def test_an_error_of_ours_at_one_venue_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    received = Session.received

    def broken(session: Session, frame: bytes, now: int, seen: int) -> Any:
        if session._venue.SPEC.name == "bybit":
            raise KeyError("nobody thought of it")
        return received(session, frame, now, seen)

    @virtual
    async def check() -> None:
        sane, _ = await played(None, 0)
        monkeypatch.setattr(Session, "received", broken)
        events, logs = await played(None, 0)
        for venue in ("binance", "hyperliquid"):
            assert of(venue, events) == of(venue, sane)
        faults = {e.code for e in events if isinstance(e, Fault) and not e.over}
        assert faults == {FaultCode.VENUE_FAILED}
        errors = [entry for entry in logs if entry["log_level"] == "error"]
        assert [entry["event"] for entry in errors] == ["listening to Bybit failed"]

    check()


BAD_VENUES = ("certificate", "redirect", "time", "listing")


@pytest.mark.parametrize("bad", BAD_VENUES)
def test_what_ended_the_streams_role_costs_its_venue_alone(bad: str, tmp_path: Path) -> None:
    """A self-signed certificate, a handshake that leads to http://[::1, a "T" of 400 digits, and a
    funding interval of as many in a listing."""
    binance = Binance("BTCUSDT", "ETHUSDT")
    digits = "1" + "0" * 399

    def spoiled(frame: bytes) -> bytes:
        return frame.replace(b'"T":', b'"T":%s,"x":' % digits.encode())

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def talk(connection: ServerConnection) -> None:
        class Spoiling:
            request = connection.request

            async def send(self, frame: bytes, text: bool) -> None:
                await connection.send(spoiled(frame) if bad == "time" else frame, text=text)

        await binance.talk(Spoiling())  # pyright: ignore[reportArgumentType]

    def listing(request: web.Request) -> web.Response:
        response = bybit_answer(request)
        interval = '"fundingInterval": '
        body = (response.text or "").replace(f"{interval}480", f"{interval}{digits}", 1)
        return web.Response(text=body, content_type="application/json")

    @virtual
    async def check() -> None:
        events: list[AnyEvent] = []
        async with AsyncExitStack() as stack:
            rest = await stack.enter_async_context(resting(binance.answer))
            market = await stack.enter_async_context(listening(talk))
            others = await stack.enter_async_context(listening(bybit_talk))
            other_rest = await stack.enter_async_context(
                resting(listing if bad == "listing" else bybit_answer)
            )
            if bad == "certificate":
                server = await asyncio.start_server(never, "127.0.0.1", 0, ssl=certified(tmp_path))
                await stack.enter_async_context(server)
                rest = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            if bad == "redirect":
                market.refuse = [(302, {"Location": "http://[::1"}, b"")]
            places = [
                VenueAddress(venue=StandIn("binance"), websocket=market.url, rest=rest),
                VenueAddress(venue=StandIn("bybit"), websocket=others.url, rest=other_rest),
            ]
            hub = Hub(places, MARKETS, events.append, Clock())
            with capture_logs() as logs:
                async with at_work(hub.run()):
                    await asyncio.sleep(SECONDS)
        healthy = "binance" if bad == "listing" else "bybit"
        downs, _, seconds = of(healthy, events)
        assert len(seconds) == 47
        assert not [turn for turn in downs if turn.startswith("-")]
        if bad == "listing":  # the other contract of the same venue is watched too
            prices = [e for e in events if isinstance(e, Price) and e.venue == "bybit"]
            assert "ETH" in {price.asset for price in prices}
        faults = {e.code for e in events if isinstance(e, Fault) and not e.over}
        assert FaultCode.VENUE_FAILED not in faults
        assert not [entry for entry in logs if entry["log_level"] == "error"]

    check()


def test_a_named_contract_that_never_comes_is_in_the_status_until_it_does() -> None:
    @virtual
    async def check() -> None:
        kraken = KrakenServer("BTC", "ETH", "SOL")
        kraken.unknown = {"PI_XBTUSD", "PF_SOLUSD"}
        async with resting(kraken.answer) as rest, listening(kraken.talk) as server:
            kraken.sockets = server
            place = VenueAddress(venue=VENUES["kraken"], websocket=server.url, rest=rest)
            markets = Markets(majors=("BTC", "ETH"), large=(), tail=5)
            hub = Hub([place], markets, lambda _: None, Clock())
            async with at_work(hub.run()):
                await asyncio.sleep(200)
                (status,) = hub.status()
                (contract,) = status.silent
                assert contract.symbol == "PI_XBTUSD"
                assert {*contract.kinds} == {*Kind}
                assert EPOCH < contract.since <= EPOCH + 120_000
                assert contract.reason
                kraken.unknown.clear()
                for connection in [*server.open]:
                    await connection.close()
                await asyncio.sleep(100)
                assert hub.status()[0].silent == []

    check()


def test_named_assets_that_nobody_lists_are_told_once_with_what_was_meant() -> None:
    @virtual
    async def check() -> None:
        events: list[AnyEvent] = []
        venue = Binance("BTCUSDT", "1000PEPEUSDT")
        names = ("BTC", "BTCUSDT", "1000PEPE", "WIF")
        async with resting(venue.answer) as rest, listening(venue.talk) as server:
            place = VenueAddress(venue=VENUES["binance"], websocket=server.url, rest=rest)
            markets = Markets(majors=names, large=(), tail=0)
            async with at_work(Hub([place], markets, events.append, Clock()).run()):
                venue.pace = 10.0
                await asyncio.sleep(3_700)
                venue.listed.append("WIFUSDT")
                await asyncio.sleep(3_700)
        unlisted = [
            (e.subject, e.detail)
            for e in events
            if isinstance(e, Fault) and e.code is FaultCode.ASSET_NOT_LISTED and not e.over
        ]
        assert unlisted == [
            ("BTCUSDT", "BTCUSDT is a contract: name its asset, BTC"),
            ("1000PEPE", "1000PEPE is 1000 PEPE: name the asset, PEPE"),
            ("WIF", "asked: binance"),
        ]
        over = [e for e in events if isinstance(e, Fault) and e.subject == "WIF" and e.over]
        assert len(over) == 1
        assert any(isinstance(e, FeedState) and e.kind is Kind.DEPTH and e.symbol == "WIFUSDT"
                   for e in events)  # fmt: skip

    check()
