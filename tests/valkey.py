"""A real Valkey for tests, a way to it that breaks on demand, and short waits."""

import asyncio
import contextlib
import os
import random
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from pathlib import Path

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection

from streams.bus import connection, embedded, lease

_START_S = 60.0
"""A server that does not answer by then never will; on a busy machine it takes seconds."""


class Server:
    """One Valkey process in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        max_memory: str = "256mb",
        before: Callable[[], None] | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        command = embedded._command(folder, self.socket, max_memory)
        self.process = subprocess.Popen([*command, *options], preexec_fn=before)
        self.wait()

    def wait(self) -> None:
        """Return as soon as it answers. Fails once it has ended, or has not answered for long."""
        deadline = time.monotonic() + _START_S
        with BlockingRedis.from_url(self.url) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(NoConnection):
                    if client.ping():
                        return
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = self.process.wait(0.01)
                    raise AssertionError(f"Valkey ended with code {code}")
        raise AssertionError("Valkey does not answer")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """One server for all tests that need no other."""
    with tempfile.TemporaryDirectory(prefix="lowtide-test-") as folder:
        server = Server(Path(folder), "--appendonly", "no")
        yield server
        server.stop()


@pytest.fixture
async def redis(valkey: Server) -> AsyncIterator[Redis]:
    """A client of an empty server."""
    client = connection.connect(valkey.url, "test")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are waited out for milliseconds, leases are short."""
    monkeypatch.setattr(connection, "_BACKOFF_S", (0.002, 0.02))
    monkeypatch.setattr(lease, "_LIFE_MS", 300)
    monkeypatch.setattr(lease, "_RENEW_S", 0.05)
    monkeypatch.setattr(lease, "_LOOK_S", 0.05)


class Do(Enum):
    """What the proxy does with one piece of a client's requests."""

    PASS = "pass on"
    DROP = "hang up without passing on"
    LOSE = "pass on, hang up without the answer"
    DELAY = "pass on after 10 ms"
    HANG = "swallow, and say nothing"


class Proxy:
    """Between a client and a server, and not to be relied on.

    ``plan`` says what happens to the next pieces of requests; when it is empty, all pass. ``down``
    True: nobody can connect, and who is connected is cut off.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self.plan: deque[Do] = deque()
        self.down = False
        self._server = server
        self._socket = folder / f"proxy-{os.urandom(4).hex()}.sock"
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = f"unix://{self._socket}"

    async def __aenter__(self) -> "Proxy":
        self._listening = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    def fail(self) -> None:
        self.down = True
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_unix_connection(self._server)
        self._writers |= {writer, up_writer}
        muted = asyncio.Event()
        answers = asyncio.create_task(self._answers(up_reader, writer, muted))
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 20):
                do = self.plan.popleft() if self.plan else Do.PASS
                if do is Do.DROP:
                    break
                if do is Do.HANG:
                    continue
                if do is Do.DELAY:
                    await asyncio.sleep(0.01)
                if do is Do.LOSE:
                    muted.set()
                up_writer.write(piece)
                await up_writer.drain()
                if do is Do.LOSE:
                    await asyncio.sleep(0.005)  # it is done by then
                    break
        answers.cancel()
        for each in (writer, up_writer):
            each.transport.abort()
            self._writers.discard(each)

    async def _answers(
        self, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, muted: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await up_reader.read(1 << 20):
                if not muted.is_set():
                    writer.write(piece)
                    await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def proxy(valkey: Server, tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy before the common server."""
    with tempfile.TemporaryDirectory(prefix="lt-") as folder:
        async with Proxy(valkey.socket, Path(folder)) as opened:
            yield opened


@pytest.fixture
async def shaky(proxy: Proxy, redis: Redis) -> AsyncIterator[Redis]:
    """A client that speaks through the proxy. ``redis`` empties the server first."""
    client = connection.connect(proxy.url, "shaky")
    yield client
    await client.aclose()


def troubles(seed: int, length: int, share: float = 0.4) -> list[Do]:
    """A plan for the proxy with so many pieces and this share of faults."""
    dice = random.Random(seed)
    faults = (Do.DROP, Do.LOSE, Do.DELAY)
    return [dice.choice(faults) if dice.random() < share else Do.PASS for _ in range(length)]
