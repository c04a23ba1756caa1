"""An HTTP proxy and a SOCKS5 proxy on loopback, which know one more name than the world does.

Every name ends at 127.0.0.1, as if the proxy had looked it up: what is asked for under a name that
nobody else knows can only have come through the proxy.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

USER, PASSWORD = "user", "pass w#rd/1"
LOGIN = "user:pass%20w%23rd%2F1"


class Proxy:
    """``reached``: host:port of every connection that was asked for. ``closed``: refuses all."""

    def __init__(self, kind: Literal["http", "socks5"]) -> None:
        self.kind = kind
        self.reached: list[str] = []
        self.closed = False
        self.port = 0

    def url(self, scheme: str = "", login: str = LOGIN) -> str:
        """Where it is, with what it asks for."""
        return f"{scheme or self.kind}://{login}@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            handshake = self._http if self.kind == "http" else self._socks
            if (wanted := await handshake(reader, writer)) is not None:
                await _relay(reader, writer, *wanted)
        writer.close()

    async def _http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes] | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.split("\r\n")
        method, target, _ = line.split(" ", 2)
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if f"proxy-authorization: basic {login.lower()}" not in head.lower() or self.closed:
            writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return None
        if method == "CONNECT":
            self.reached.append(target)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            return int(target.rpartition(":")[2]), b""
        parts = urlsplit(target)
        self.reached.append(parts.netloc)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        kept = [
            header for header in headers if not header.lower().startswith(("proxy-", "connection:"))
        ]
        first = f"{method} {path} HTTP/1.1\r\nConnection: close\r\n" + "\r\n".join(kept)
        return parts.port or 80, first.encode()

    async def _socks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes] | None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        assert 2 in methods, "no password is offered"
        writer.write(b"\x05\x02")
        _, size = await reader.readexactly(2)
        user = await reader.readexactly(size)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        right = (user.decode(), password.decode()) == (USER, PASSWORD) and not self.closed
        writer.write(b"\x01\x00" if right else b"\x01\x01")
        if not right:
            return None
        _, _, _, kind = await reader.readexactly(4)
        if kind != 3:
            raise OSError("an address: the name was looked up before the proxy was asked")
        host = await reader.readexactly((await reader.readexactly(1))[0])
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.reached.append(f"{host.decode()}:{port}")
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        return port, b""


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes
) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    far_writer.write(first)

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                to.write(data)
                await to.drain()

    tasks = [
        asyncio.create_task(copy(reader, far_writer)),
        asyncio.create_task(copy(far_reader, writer)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        far_writer.close()


@asynccontextmanager
async def running(kind: Literal["http", "socks5"]) -> AsyncIterator[Proxy]:
    """A proxy, while inside."""
    proxy = Proxy(kind)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
