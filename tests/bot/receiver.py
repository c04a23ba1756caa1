"""A receiver of webhooks on loopback."""

from collections import deque
from typing import Any

import msgspec
from aiohttp import web


class Receiver:
    """An async context manager: somebody's HTTP server at ``url``.

    ``got``: headers and body of each request, in order, ``paths`` with which address. ``statuses``:
    what the next requests are answered with, then ``usual``; ``headers`` and ``body``: what answers
    carry. ``hangs_up``: requests are taken and not answered.
    """

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: deque[int] = deque()
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.usual = 204
        self.body = b""
        self.hangs_up = False
        self.url = ""

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies, decoded."""
        return [msgspec.json.decode(body) for _, body in self.got]

    async def __aenter__(self) -> "Receiver":
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        self.paths.append(request.path_qs)
        if self.hangs_up and request.transport is not None:
            request.transport.abort()
        status = self.statuses.popleft() if self.statuses else self.usual
        return web.Response(status=status, headers=self.headers, body=self.body)
