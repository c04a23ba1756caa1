"""Bitfinex on loopback: what its socket and its REST answers do, as documented and recorded."""

import asyncio
import itertools
import json
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streams.events import Ms
from tests.streams import frames
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

CHANNELS = 30
"""So many are allowed on a connection."""

HEARTBEAT: Ms = 15_000
_STEP_S = 0.25


class BitfinexServer(ProtocolServer):
    """Its contracts and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: contracts of whose books the next change gets lost. ``silent``: it says nothing.
    ``refused``: contracts whose channels it refuses. ``quiet``: contracts of which nothing changes.
    ``crossed``: contracts whose books are. ``hours``: funding intervals that are no 8 h.
    ``answered``: how many times what it says of open interest it says of it by REST.
    ``overdone``: what it was asked wrongly.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.contracts = [frames.symbol_of("bitfinex", asset) for asset in assets]
        self.refused: set[str] = set()
        self.quiet: set[str] = set()
        self.crossed: set[str] = set()
        self.hours: dict[str, int] = {}
        self.coins = 10.0
        self.answered = 1.0
        self.forced: list[list[Any]] = []

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        match request.path:
            case "/v2/conf/pub:list:pair:futures":
                return web.json_response([[symbol[1:] for symbol in self.contracts]])
            case "/v2/conf/pub:map:currency:sym":
                return web.json_response([[["USTF0", "USDt0"]]])
            case "/v2/tickers":
                return web.json_response([frames.bitfinex_row(s) for s in self.contracts])
            case "/v2/status/deriv":
                coins, hours = self.coins * self.answered, self.hours
                rows = [
                    [s, *frames.bitfinex_status(self.now, coins, hours.get(s, 8))]
                    for s in self.contracts
                ]
                return web.json_response(rows)
            case path:
                raise AssertionError(path)

    def status(self, symbol: str) -> list[Any]:
        """That of a contract as it is now."""
        return frames.bitfinex_status(self.now, self.coins, self.hours.get(symbol, 8))

    def liquidate(self, *coins: float, symbol: str = "tBTCF0:USTF0", long: bool = True) -> None:
        """To all who have subscribed: each is taken, and then traded."""
        for size in coins:
            amount = size if long else -size
            self.forced += [
                frames.bitfinex_forced(symbol, amount, self.now, match=0, price=None),
                frames.bitfinex_forced(symbol, amount, self.now),
            ]

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is closed."""
        client = _Client(self, connection)
        await connection.send(frames.bitfinex_says("info", version=2), text=True)
        while connection.state is State.OPEN:
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: BitfinexServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._numbers, self._number, self._flags = itertools.count(100), 0, 0
        self._channels: dict[int, tuple[str, str]] = {}  # its number → feed and symbol
        self._news = max(0, len(server.forced) - 1)  # it begins with the last one
        self._told = server.now

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            await self._hear(json.loads(message))
        if server.now < self._next:
            return
        self._next = server.now + 1_000
        for channel, (feed, symbol) in [*self._channels.items()]:
            if feed == "liq":
                news, self._news = server.forced[self._news :], len(server.forced)
                for row in news:
                    await self._tell(channel, [row])
            elif symbol not in server.quiet and symbol in server.contracts:
                await self._go_on(channel, feed, symbol)
        if server.now - self._told >= HEARTBEAT:
            for channel in [*self._channels]:
                await self._tell(channel, "hb")

    async def _tell(self, channel: int, payload: object) -> None:
        self._number += 1
        self._told = self._server.now
        if self._flags != frames.BITFINEX_FLAGS:
            self._server.overdone.append("nobody asked for numbers")
        await self._say(frames.bitfinex_tells(channel, self._number, payload, self._server.now))

    async def _go_on(self, channel: int, feed: str, symbol: str) -> None:
        server = self._server
        if feed == "deriv":
            await self._tell(channel, server.status(symbol))
        elif symbol in server.skip:
            server.skip.discard(symbol)
            self._number += 1
        else:
            price = 101.0 if symbol in server.crossed else 99.9
            (level,) = frames.bitfinex_levels([(price, 8.0)], [])
            await self._tell(channel, level)

    async def _hear(self, asked: dict[str, Any]) -> None:
        server = self._server
        match asked["event"]:
            case "ping":
                await self._say(frames.bitfinex_says("pong", cid=asked["cid"], ts=server.now))
            case "conf":
                self._flags = asked["flags"]
                await self._say(frames.bitfinex_says("conf", status="OK", flags=self._flags))
            case "unsubscribe":
                channel = asked["chanId"]
                if self._channels.pop(channel, None) is None:
                    server.overdone.append(f"{channel} is no channel")
                says = frames.bitfinex_says("unsubscribed", status="OK", chanId=channel)
                await self._say(says)
            case _:
                await self._subscribe(asked)

    async def _subscribe(self, asked: dict[str, Any]) -> None:
        server, feed = self._server, "book"
        symbol = asked.get("symbol", "")
        if asked["channel"] == "status":
            feed, _, symbol = asked["key"].partition(":")
        again = (feed, symbol) in self._channels.values()
        code = {True: (10_301, "subscribe: dup")}.get(again)
        if feed != "liq" and (symbol not in server.contracts or symbol in server.refused):
            code = (10_300, "symbol: invalid")
        elif not again and len(self._channels) >= CHANNELS:
            code = (10_305, "subscribe: limit")
            server.overdone.append("too many channels")
        if code is not None:
            await self._say(
                frames.bitfinex_says(**asked | {"event": "error", "code": code[0], "msg": code[1]})
            )
            return
        channel = next(self._numbers)
        self._channels[channel] = (feed, symbol)
        of = "" if feed == "liq" else symbol
        await self._say(frames.bitfinex_opens(channel, of, asked["channel"]))
        if feed == "book":
            assert (asked["prec"], asked["freq"], asked["len"]) == ("P0", "F0", "250")
            await self._tell(channel, frames.bitfinex_levels())
