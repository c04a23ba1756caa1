"""Coinbase on loopback: what its socket and its REST answers do, as documented and recorded.

Every frame of a connection has the next number, whatever it is about.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streams.events import Ms
from tests.streams.protocol_server import ProtocolConnection, ProtocolServer

_STEP_S = 0.25
_MESSAGES_A_SECOND = 8
_WHOLE = [("bid", 99.99, 5.0), ("bid", 98.0, 50.0), ("offer", 100.01, 5.0), ("offer", 102.0, 50.0)]


class CoinbaseServer(ProtocolServer):
    """Its pairs against USD and what it does with them; ``sockets`` has to be set before it talks.

    ``skip``: pairs of which the next frame of the book gets lost, with its number. ``silent``: it
    says nothing. ``unknown``: pairs that it refuses by name. ``quiet``: pairs of which nothing
    changes. ``one_sided``: pairs whose bids are all gone. ``answered``: the last price by REST.
    ``overdone``: what it was asked wrongly or too often.
    """

    def __init__(self, *assets: str) -> None:
        super().__init__()
        self.products = {f"{asset}-USD": product(asset) for asset in assets}
        self.unknown: set[str] = set()
        self.quiet: set[str] = set()
        self.one_sided: set[str] = set()
        self.answered = "100"

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path.endswith("product_book"):
            bids, asks = ([{"price": p, "size": "5"}] for p in ("99.99", "100.01"))
            at = datetime.fromtimestamp(self.now / 1_000, UTC)
            book = {"product_id": request.query["product_id"], "bids": bids, "asks": asks,
                    "time": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"}  # fmt: skip
            return web.json_response({"pricebook": book})
        rows = [row | {"price": self.answered} for row in self.products.values()]
        aliases = [
            row | {"product_id": f"{row['product_id']}C", "quote_currency_id": "USDC",
                   "alias": row["product_id"]}
            for row in rows
        ]  # fmt: skip
        return web.json_response({"products": [*rows, *aliases], "num_products": 2 * len(rows)})

    async def talk(self, connection: ServerConnection) -> None:
        """Serve one connection until it is closed."""
        client = _Client(self, connection)
        while connection.state is State.OPEN:
            if not self.silent:
                await client.step()
            await asyncio.sleep(_STEP_S)


class _Client(ProtocolConnection):
    """One connection."""

    def __init__(self, server: CoinbaseServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self._number = 0
        self._channels: dict[str, list[str]] = {}
        self._opened, self._heard = server.now, list[Ms]()

    async def step(self) -> None:
        """Answer what came, then say what is to be said now."""
        server = self._server
        for message in self._unread():
            self._heard = [at for at in self._heard if server.now - at < 1_000] + [server.now]
            if len(self._heard) > _MESSAGES_A_SECOND:
                server.overdone.append(f"{len(self._heard)} messages within a second")
            await self._hear(json.loads(message))
        if not self._channels and server.now - self._opened > 5_000:
            server.overdone.append("nothing was subscribed within 5 s")
        if server.now >= self._next:
            self._next = server.now + 1_000
            await self._go_on()

    async def _hear(self, asked: dict[str, Any]) -> None:
        server, channel = self._server, asked["channel"]
        symbols: list[str] = asked.get("product_ids", [])
        if refused := [s for s in symbols if s not in server.products or s in server.unknown]:
            await self._say(
                json.dumps({"type": "error", "message": f"{refused[0]} is not valid"}).encode()
            )
            return
        of = self._channels.setdefault(channel, [])
        if asked["type"] == "unsubscribe":
            self._channels[channel] = [s for s in of if s not in symbols]
        else:
            of += [s for s in symbols if s not in of]
            if channel == "level2":  # what it says comes before that it was asked
                for symbol in symbols:
                    await self._book(symbol, "snapshot", _WHOLE)
        await self._tell("subscriptions", [{"subscriptions": self._channels}])

    async def _go_on(self) -> None:
        server = self._server
        if "heartbeats" in self._channels:
            await self._tell("heartbeats", [{"heartbeat_counter": self._number}])
        for symbol in self._channels.get("level2", ()):
            if symbol in server.skip:
                server.skip.discard(symbol)
                self._number += 1
            elif symbol not in server.quiet:
                bids = 0.0 if symbol in server.one_sided else 5.0
                gone = [("bid", 99.9, 0.0), ("bid", 98.0, 0.0)] if not bids else []
                await self._book(symbol, "update", [])  # an empty one, as it sends them
                await self._book(symbol, "update", [("bid", 99.99, bids), *gone,
                                                    ("offer", 100.02, 7.0)])  # fmt: skip
        tickers = [
            ticker(s) for s in self._channels.get("ticker_batch", ()) if s not in server.quiet
        ]
        if tickers:
            await self._tell("ticker_batch", [{"type": "update", "tickers": tickers}])

    async def _book(self, symbol: str, kind: str, changes: list[tuple[str, float, float]]) -> None:
        updates = [
            {"side": side, "event_time": "", "price_level": str(p), "new_quantity": str(n)}
            for side, p, n in changes
        ]
        await self._tell("l2_data", [{"type": kind, "product_id": symbol, "updates": updates}])

    async def _tell(self, channel: str, events: list[Any]) -> None:
        at = datetime.fromtimestamp(self._server.now / 1_000, UTC)
        frame = {"channel": channel, "client_id": "", "sequence_num": self._number,
                 "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}123Z", "events": events}  # fmt: skip
        self._number += 1
        await self._say(json.dumps(frame).encode())


def product(asset: str) -> dict[str, Any]:
    """A row of the listing."""
    return {
        "product_id": f"{asset}-USD", "base_currency_id": asset, "quote_currency_id": "USD",
        "status": "online", "product_type": "SPOT", "alias": "", "price": "100",
        "approximate_quote_24h_volume": "1000000",
    }  # fmt: skip


def ticker(symbol: str) -> dict[str, str]:
    """A row of the tickers: 10,000 coins at 100."""
    return {"type": "ticker", "product_id": symbol, "price": "100", "volume_24_h": "10000"}
