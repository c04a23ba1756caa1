"""Three venues on 127.0.0.1 for the benches: a process of its own, so that it costs the bench none.

``python -m tests.bench_server`` writes one line of JSON with its base URLs, serves until its
standard input closes, and never asks for anything. Books, tickers and mark prices move at a
realistic pace; with ``--flood`` the books of Binance come as fast as they are read from
``POST /flood`` on, and ``POST /orders?rate=&seconds=&every_ms=`` makes it send liquidations.
"""

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import cycle

import msgspec
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests import bench_market
from tests.bench_market import Market

SLOT_S = 0.02
SLOTS = {
    "depth@500ms": 25,
    "!markPrice@arr@1s": 50,
    "!miniTicker@arr": 50,
    "orderbook": 15,
    "tickers": 25,
    "l2Book": 250,
    "allDexsAssetCtxs": 50,
}
"""How often each kind of topic speaks, in slots; what is not here stays silent."""

FLOOD_LEVELS = 8
"""Levels in a change of a small coin's book: the mean of the recorded ones is 8.2."""

FLOOD_ROUNDS = 40
_FIRST_ROUND = 1_000
_SMALL_USD, _LARGE_USD = 500.0, 20_000_000.0

Frame = Callable[[], bytes]


class Options(argparse.Namespace):
    """How many markets each venue has, and whether it floods."""

    binance: int
    bybit: int
    hyperliquid: int
    flood: bool


class Client:
    """One socket. ``due``: (slots, phase) → what to send then."""

    def __init__(self, server: "Server", socket: ServerConnection, venue: str) -> None:
        self.server = server
        self.socket = socket
        self.venue = venue
        self.topics: set[str] = set()
        self.due: dict[int, dict[int, list[Frame]]] = defaultdict(lambda: defaultdict(list))
        self.flooding: list[Market] = []

    def add(self, topic: str) -> bytes | None:
        """Subscribe; the frame that begins the topic, if it has one."""
        if topic in self.topics:
            return None
        self.topics.add(topic)
        kind, market = self.server.find(self.venue, topic)
        first, frame = self.server.frames(topic, kind, market)
        if kind == "depth@500ms" and self.server.options.flood and market is not None:
            self.flooding.append(market)
        elif frame is not None and kind in SLOTS:
            phase = len(self.topics) * 7 % SLOTS[kind]
            self.due[SLOTS[kind]][phase].append(frame)
        return first

    async def live(self) -> None:
        """Send what is due, slot by slot; never returns."""
        loop, slot = asyncio.get_running_loop(), 0
        began = loop.time()
        while True:
            for slots, phases in self.due.items():
                for frame in phases.get(slot % slots, ()):
                    await self.socket.send(frame(), text=True)
            if self.flooding and len(self.flooding) == self.server.options.binance:
                await self._flood()
            slot += 1
            await asyncio.sleep(began + slot * SLOT_S - loop.time())

    async def _flood(self) -> None:
        """Rounds of one change a symbol, encoded before, with other ids each time."""
        rounds = flood_rounds(self.flooding)
        transport = self.socket.transport
        for number, (mids, template) in enumerate(cycle(rounds), start=_FIRST_ROUND):
            previous = bench_market.FIRST_ID + 40 * number
            frames = template
            for offset in (0, 1, 40):
                old, new = bench_market.FIRST_ID + offset, previous + offset
                frames = frames.replace(b"%d" % old, b"%d" % new)
            transport.write(frames)
            for market, mid in zip(self.flooding, mids, strict=True):
                market.mid, market.update = mid, previous + 40
            await self.socket.drain()
            if not self.server.flood:
                await asyncio.sleep(0.5)  # the usual pace, until the books are live
            elif number % 8 == 0:
                await asyncio.sleep(0)


def flood_rounds(markets: Sequence[Market]) -> list[tuple[list[int], bytes]]:
    """Websocket frames of one change of each market, round by round, back to where they began."""
    rounds: list[tuple[list[int], bytes]] = []
    for market in markets:
        market.mid = market.home
    for place in range(FLOOD_ROUNDS):
        jump = (1, -1, 0, 0)[place % 4]
        frames: list[bytes] = []
        for market in markets:
            market.update = bench_market.FIRST_ID
            payload = bench_market.binance_depth(market, FLOOD_LEVELS, jump)
            assert 126 <= len(payload) < 1 << 16
            frames.append(b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload)
        rounds.append(([market.mid for market in markets], b"".join(frames)))
    return rounds


class Server:
    """The three venues."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.markets = {
            name: bench_market.markets(name, getattr(options, name))
            for name in ("binance", "bybit", "hyperliquid")
        }
        self.by_symbol = {
            (venue, name): market
            for venue, markets in self.markets.items()
            for market in markets
            for name in (market.symbol, market.asset)
        }
        self.clients: set[Client] = set()
        self.ordered: list[asyncio.Task[None]] = []
        self.flood = False

    def find(self, venue: str, topic: str) -> tuple[str, Market | None]:
        """What kind of topic it is, and of which market."""
        match venue:
            case "binance":
                symbol, _, kind = topic.partition("@")
                market = self.by_symbol.get((venue, symbol.upper()))
                return (kind, market) if market else (topic, None)
            case "bybit":
                return topic.split(".")[0], self.by_symbol[venue, topic.rpartition(".")[2]]
            case _:
                kind, _, coin = topic.partition(":")
                return kind, self.by_symbol.get((venue, coin))

    def frames(
        self, topic: str, kind: str, market: Market | None
    ) -> tuple[bytes | None, Frame | None]:
        """The first frame of a topic and the maker of all others."""
        binance, hyperliquid = self.markets["binance"], self.markets["hyperliquid"]
        match kind, market:
            case "depth@500ms", Market():
                return None, lambda: bench_market.binance_depth(market)
            case "!markPrice@arr@1s", _:
                return None, lambda: bench_market.binance_array(
                    topic, bench_market.binance_mark, binance
                )
            case "!miniTicker@arr", _:
                return None, lambda: bench_market.binance_array(
                    topic, bench_market.binance_mini, binance
                )
            case "orderbook", Market():
                whole = bench_market.bybit_book(market, topic, True)
                return whole, lambda: bench_market.bybit_book(market, topic, False)
            case "tickers", Market():
                whole = bench_market.bybit_ticker(market, True)
                return whole, lambda: bench_market.bybit_ticker(market, False)
            case "l2Book", Market():
                return bench_market.hyperliquid_book(market), lambda: bench_market.hyperliquid_book(
                    market
                )
            case "allDexsAssetCtxs", _:
                return None, lambda: bench_market.hyperliquid_contexts(hyperliquid)
            case _:
                return None, None

    async def serve_socket(self, socket: ServerConnection) -> None:
        """Answer what a client asks and send what it asked for."""
        assert socket.request is not None
        venue, _, path = socket.request.path.lstrip("/").partition("/")
        client = Client(self, socket, venue)
        for topic in path.partition("streams=")[2].split("/"):
            if topic:
                client.add(topic)
        self.clients.add(client)
        living = asyncio.create_task(client.live())
        try:
            async for message in socket:
                await self._answer(client, msgspec.json.decode(message))
        except ConnectionClosed:
            pass
        finally:
            self.clients.discard(client)
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)

    async def _answer(self, client: Client, ask: dict[str, object]) -> None:
        match ask:
            case {"method": "SUBSCRIBE", "params": list(topics), "id": number}:
                answer: object = {"result": None, "id": number}
            case {"op": "subscribe", "args": list(topics)}:
                answer = {"success": True, "ret_msg": "", "op": "subscribe"}
            case {"method": "subscribe", "subscription": {"type": kind, **more}}:
                topics = [f"{kind}:{more['coin']}" if "coin" in more else str(kind)]
                answer = {"channel": "subscriptionResponse", "data": ask}
            case {"op": str(op)}:
                topics, answer = [], {"success": True, "ret_msg": "pong", "op": op}
            case _:
                topics, answer = [], {"channel": "pong"}
        await client.socket.send(bench_market.encode(answer), text=True)
        for topic in topics:
            if (first := client.add(topic)) is not None:
                await client.socket.send(first, text=True)

    async def serve_request(self, request: web.Request) -> web.Response:
        """A venue's REST API."""
        venue, path = request.match_info["venue"], request.match_info["path"]
        markets, symbol = self.markets[venue], request.query.get("symbol", "")
        market = self.by_symbol.get((venue, symbol))
        if venue == "bybit":
            body = bench_market.bybit_answer(path, markets)
        elif venue == "hyperliquid":
            body = bench_market.hyperliquid_answer(await request.read(), markets)
        elif path == "/fapi/v1/depth" and market:
            body = bench_market.binance_snapshot(market)
        elif path == "/fapi/v1/openInterest" and market:
            body = bench_market.binance_interest(market)
        else:
            body = bench_market.binance_answer(path, markets)
        return web.Response(body=body, content_type="application/json")

    async def begin_flood(self, request: web.Request) -> web.Response:
        """From now on without pause."""
        self.flood = True
        return web.Response(text="begun")

    async def order(self, request: web.Request) -> web.Response:
        """Begin to send liquidations."""
        rate, seconds = int(request.query["rate"]), float(request.query["seconds"])
        every_s = float(request.query["every_ms"]) / 1000
        client = next(c for c in self.clients if "!forceOrder@arr" in c.topics)
        self.ordered.append(asyncio.create_task(self._send_orders(client, rate, seconds, every_s)))
        return web.Response(text="begun")

    async def _send_orders(self, client: Client, rate: int, seconds: float, every_s: float) -> None:
        """Small orders at ``rate``, and every ``every_s`` one large enough for a message."""
        loop = asyncio.get_running_loop()
        tail = self.markets["binance"][len(bench_market.NAMED) :]
        began, sent, large = loop.time(), 0, 0
        while (passed := loop.time() - began) < seconds:
            while sent < passed * rate:
                usd = _SMALL_USD
                if large < len(tail) and passed >= large * every_s:
                    market, usd, large = tail[large], _LARGE_USD, large + 1
                else:
                    market = tail[sent % len(tail)]
                await client.socket.send(bench_market.binance_order(market, usd), text=True)
                sent += 1
            await asyncio.sleep(0.004)


async def run(options: Options) -> None:
    """Serve until standard input closes."""
    server = Server(options)
    app = web.Application()
    app.router.add_post("/orders", server.order)
    app.router.add_post("/flood", server.begin_flood)
    app.router.add_route("*", "/{venue}{path:/.*}", server.serve_request)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with serve(server.serve_socket, "127.0.0.1", 0, compression=None) as sockets:
        port = next(iter(sockets.sockets)).getsockname()[1]
        rest = runner.addresses[0][1]
        base = {"websocket": f"ws://127.0.0.1:{port}", "rest": f"http://127.0.0.1:{rest}"}
        print(bench_market.encode(base).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for venue in ("binance", "bybit", "hyperliquid"):
        parser.add_argument(f"--{venue}", type=int, default=0, help="how many markets")
    parser.add_argument(
        "--flood", action="store_true", help="be ready to send Binance's books without pause"
    )
    asyncio.run(run(parser.parse_args(namespace=Options())))


if __name__ == "__main__":
    main()
