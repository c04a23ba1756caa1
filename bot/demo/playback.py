"""Playback of a recording over real sockets on loopback: a local server in the venues' place.

What a client asks for is written differently by each venue (``_ASKS``); the rest is the same for
all. A recording names the topic of each frame, so nothing here reads frames.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import structlog
from aiohttp import WSMsgType, web

from streams.events import Ms
from streams.feed.recording import MAX_FRAME, Recorded, is_text, read, replay, socket_channel

PATIENCE_S = 5.0
"""Wall seconds for which playback waits for a client before it cuts the connection."""

_SETTLE_MS = 1000

_log = structlog.get_logger(__name__)


class _Ask(msgspec.Struct, frozen=True):
    """A client's message: topics to add and to drop, and the venue's answer to it."""

    add: tuple[str, ...]
    drop: tuple[str, ...]
    answer: bytes


class _BinanceAsk(msgspec.Struct):
    method: str
    params: tuple[str, ...] = ()
    id: int | str | None = None


class _BybitAsk(msgspec.Struct):
    op: str
    args: tuple[str, ...] = ()
    req_id: str = ""


class _HyperliquidTopic(msgspec.Struct):
    type: str
    coin: str = ""


class _HyperliquidAsk(msgspec.Struct):
    method: str
    subscription: msgspec.Raw = msgspec.Raw(b"null")


def _ask_binance(message: bytes) -> _Ask:
    ask = msgspec.json.decode(message, type=_BinanceAsk)
    drop = ask.method == "UNSUBSCRIBE"
    answer = msgspec.json.encode({"result": None, "id": ask.id})
    return _Ask(() if drop else ask.params, ask.params if drop else (), answer)


def _ask_bybit(message: bytes) -> _Ask:
    ask = msgspec.json.decode(message, type=_BybitAsk)
    answer = msgspec.json.encode(
        {
            "success": True,
            "ret_msg": "pong" if ask.op == "ping" else ask.op,
            "conn_id": "playback",
            "req_id": ask.req_id,
            "op": ask.op,
        }
    )
    drop = ask.op == "unsubscribe"
    return _Ask(() if drop else ask.args, ask.args if drop else (), answer)


def _ask_hyperliquid(message: bytes) -> _Ask:
    ask = msgspec.json.decode(message, type=_HyperliquidAsk)
    if ask.method == "ping":
        return _Ask((), (), b'{"channel":"pong"}')
    wanted = msgspec.json.decode(ask.subscription, type=_HyperliquidTopic)
    topics = (f"{wanted.type}:{wanted.coin}" if wanted.coin else wanted.type,)
    answer = msgspec.json.encode(
        {
            "channel": "subscriptionResponse",
            "data": {"method": ask.method, "subscription": ask.subscription},
        }
    )
    drop = ask.method == "unsubscribe"
    return _Ask(() if drop else topics, topics if drop else (), answer)


_ASKS: dict[str, Callable[[bytes], _Ask]] = {
    "binance": _ask_binance,
    "bybit": _ask_bybit,
    "hyperliquid": _ask_hyperliquid,
}

_WINDOW = frozenset(("startTime", "endTime"))


def _key(venue: str, channel: str) -> str:
    """What identifies a request: the recorded answer serves for any window of time."""
    method, _, rest = channel.removeprefix("http:").partition(" ")
    target, _, body = rest.partition(" ")
    url = urlsplit(target)
    query = sorted(pair for pair in parse_qsl(url.query, True) if pair[0] not in _WINDOW)
    if body:
        fields = msgspec.json.decode(body, type=dict[str, object])
        kept = {name: value for name, value in fields.items() if name not in _WINDOW}
        body = msgspec.json.encode(kept, order="sorted").decode()
    return f"{venue} {method} {url.path}?{urlencode(query)} {body}"


class _Client:
    """One connected socket. ``topics`` maps what it wants to the number of the last frame sent."""

    def __init__(self, request: web.Request, venue: str, path: str) -> None:
        self.socket = web.WebSocketResponse(autoping=False, compress=False)
        self.request = request
        self.venue = venue
        self.channel = socket_channel(path)
        self.topics: dict[str, int] = {"": -1}
        self.lock = asyncio.Lock()
        self.settled = asyncio.Event()
        self.behind = False

    async def send(self, frame: bytes) -> None:
        kind = WSMsgType.TEXT if is_text(frame) else WSMsgType.BINARY
        await self.socket.send_frame(frame, kind)
        self.behind = True

    def cut(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


class Playback:
    """A server on 127.0.0.1 that plays a recording as the venues would send it.

    Before ``start`` it answers requests and accepts sockets, so that a pipeline can connect and
    subscribe; then frames go out in order, ``speed`` times faster than life (None: as fast as the
    clients read). A client that does not read for PATIENCE_S is cut off. ``now`` is the time of
    the story; a pipeline that uses it as its clock finds nothing falsely late, since the playback
    waits every second of story until all clients have received what was sent.
    ``finished`` is set once the last frame was received, or playback has failed: ``close`` raises
    what went wrong.
    """

    def __init__(self, path: Path, *, speed: float | None = None) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.finished = asyncio.Event()
        self._path = path
        self._speed = speed
        self._begun = asyncio.Event()
        self._now: Ms = 0
        self._first: dict[str, Recorded] = {}
        self._newest: dict[str, Recorded] = {}
        self._open: dict[tuple[str, str, str], list[tuple[int, bytes]]] = {}
        self._clients: set[_Client] = set()
        self._sleepers: list[tuple[Ms, int, asyncio.Future[None]]] = []
        self._slept = 0
        self._settled_at: Ms = 0
        self._port = 0

    async def open(self) -> None:
        """Begin to listen. Raises ValueError if the recording can't be read or is empty."""
        await asyncio.to_thread(self._scan)
        self._settled_at = self._now
        app = web.Application(client_max_size=MAX_FRAME)
        app.router.add_route("*", "/{venue}{path:/.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = int(self._runner.addresses[0][1])
        self._task = asyncio.create_task(self._play())

    async def close(self) -> None:
        """Stop and hang up on everybody. Raises what made the playback fail, if it did."""
        self._task.cancel()
        for client in tuple(self._clients):
            client.cut()
        await self._runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def urls(self, venue: str) -> tuple[str, str]:
        """What stands for the venue's websocket and REST base URLs."""
        return f"ws://127.0.0.1:{self._port}/{venue}", f"http://127.0.0.1:{self._port}/{venue}"

    @property
    def topics(self) -> int:
        """How many subscriptions all clients together have."""
        return sum(len(client.topics) for client in self._clients)

    def start(self) -> None:
        """Let the story begin."""
        self._begun.set()

    def now(self) -> Ms:
        """The time of the frame last sent; until then that of the recording's first line."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of story. After the last frame time stands still."""
        waker = asyncio.get_running_loop().create_future()
        self._slept += 1
        heapq.heappush(self._sleepers, (self._now + round(seconds * 1000), self._slept, waker))
        await waker

    def _scan(self) -> None:
        for record in read(self._path):
            self._now = self._now or record.t
            if record.channel.startswith("http:"):
                self._first.setdefault(_key(record.venue, record.channel), record)
        if not self._now:
            raise ValueError(f"{self._path} holds no frames")

    async def _play(self) -> None:
        try:
            await self._begun.wait()
            began, first = asyncio.get_running_loop().time(), self._now
            for number, record in enumerate(replay(self._path)):
                if record.t - self._settled_at >= _SETTLE_MS:
                    await self._settle()
                    self._settled_at = record.t
                await self._wait(began, record.t - first)
                self._advance(record.t)
                if record.channel.startswith("http:"):
                    self._newest[_key(record.venue, record.channel)] = record
                else:
                    await self._deliver(number, record)
            await self._settle()
        finally:
            self.finished.set()

    async def _wait(self, began: float, story_ms: int) -> None:
        wait_s = 0.0
        if self._speed is not None:
            due = began + story_ms / 1000 / self._speed
            wait_s = due - asyncio.get_running_loop().time()
        await asyncio.sleep(wait_s if wait_s > 0.002 else 0)

    def _advance(self, t: Ms) -> None:
        self._now = max(self._now, t)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            waker = heapq.heappop(self._sleepers)[2]
            if not waker.done():
                waker.set_result(None)

    async def _deliver(self, number: int, record: Recorded) -> None:
        topic = (record.venue, record.channel, record.topic)
        if record.opens:
            self._open[topic] = []
        if topic in self._open:
            self._open[topic].append((number, record.frame))
        for client in tuple(self._clients):
            if (client.venue, client.channel) == topic[:2] and record.topic in client.topics:
                await self._send(client, number, record)

    async def _send(self, client: _Client, number: int, record: Recorded) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S), client.lock:
                if client.topics.get(record.topic, number) < number:
                    client.topics[record.topic] = number
                    await client.send(record.frame)
        except TimeoutError:
            self._lose(client)
        except ConnectionError:
            self._clients.discard(client)

    async def _settle(self) -> None:
        """Wait until what was sent has been received: a pong comes after the frames before it."""
        behind = [client for client in self._clients if client.behind]
        for client in behind:
            client.behind = False
            client.settled.clear()
        for client in behind:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await client.socket.ping()
            except TimeoutError:
                self._lose(client)
            except ConnectionError:
                self._clients.discard(client)
        for client in behind:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await client.settled.wait()
            except TimeoutError:
                self._lose(client)

    def _lose(self, client: _Client) -> None:
        _log.warning("slow client cut off", venue=client.venue, channel=client.channel)
        self._clients.discard(client)
        client.cut()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        venue, path = request.match_info["venue"], request.match_info["path"]
        if request.headers.get("Upgrade", "").lower() == "websocket" and venue in _ASKS:
            return await self._serve_socket(_Client(request, venue, path))
        channel = f"http:{request.method} {request.raw_path.removeprefix('/' + venue)}"
        body = await request.read()
        key = _key(venue, f"{channel} {body.decode()}" if body else channel)
        first = self._first.get(key)
        if first is not None and self._begun.is_set() and first.t > self._now:
            first = None
        answer = self._newest.get(key, first)
        if answer is None:
            return web.Response(status=404, text=f"not in the recording: {channel}")
        return web.Response(body=answer.frame, content_type="application/json")

    async def _serve_socket(self, client: _Client) -> web.WebSocketResponse:
        await client.socket.prepare(client.request)
        self._clients.add(client)
        try:
            streams = client.request.query.get("streams", "")
            await self._answer(client, _Ask(tuple(filter(None, streams.split("/"))), (), b""))
            async for message in client.socket:
                if message.type is WSMsgType.PING:
                    await client.socket.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    client.settled.set()
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    data = message.data
                    data = data.encode() if isinstance(data, str) else data
                    await self._answer(client, _ASKS[client.venue](data))
        except (ConnectionError, msgspec.MsgspecError) as error:
            _log.warning("client lost", venue=client.venue, reason=str(error))
        finally:
            self._clients.discard(client)
            client.settled.set()
        return client.socket

    async def _answer(self, client: _Client, ask: _Ask) -> None:
        async with client.lock:
            for topic in ask.drop:
                client.topics.pop(topic, None)
            missed: list[tuple[int, bytes]] = []
            for topic in ask.add:
                if topic in client.topics:
                    continue
                opened = self._open.get((client.venue, client.channel, topic), [])
                missed += opened
                client.topics[topic] = opened[-1][0] if opened else -1
            if ask.answer:
                await client.send(ask.answer)
            for _, frame in missed:
                await client.send(frame)
