"""What the servers of single venues' protocols share."""

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection

from streams.events import Ms
from tests.streams.venue_server import Sockets
from tests.streams.virtual import EPOCH


class ProtocolServer:
    """What a venue's server does with its contracts; ``sockets`` has to be set before it talks.

    ``skip``: contracts whose next change of the book gets lost. ``silent``: it says nothing.
    ``asked``: by REST. ``overdone``: what it was asked wrongly or too often.
    """

    def __init__(self) -> None:
        self.sockets: Sockets | None = None
        self.skip: set[str] = set()
        self.silent = False
        self.overdone: list[str] = []
        self.asked: list[str] = []
        self._first = asyncio.get_running_loop().time()

    @property
    def now(self) -> Ms:
        return EPOCH + round((asyncio.get_running_loop().time() - self._first) * 1_000)


class ProtocolConnection:
    """One connection to such a server."""

    def __init__(self, server: Any, connection: ServerConnection) -> None:
        self._server, self._connection = server, connection
        self._read = 0
        self._next: Ms = 0

    async def _say(self, frame: bytes) -> None:
        await self._connection.send(frame, text=True)

    def _unread(self) -> list[bytes]:
        """What the client has said since this was asked last."""
        heard = self._server.sockets.heard_from.get(self._connection, [])
        unread, self._read = heard[self._read :], len(heard)
        return unread
