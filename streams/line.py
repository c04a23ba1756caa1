"""One subscription over time: its socket, the next after a loss, the replacement before the end.

The session decides; here is only the I/O that it asks for.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from streams.clock import Clock
from streams.events import AnyEvent, Liquidation, Ms
from streams.rest import in_words, refusal
from streams.session import (
    MAX_FRAME_BYTES,
    Action,
    Fetch,
    Hangup,
    Note,
    Relist,
    Send,
    Session,
)
from streams.venue import Listing, Request, Subscription, Venue

log = structlog.get_logger()

_OPEN_TIMEOUT_S = 10.0
_RENEW_AT = 0.96
"""At this share of a socket's life its replacement is opened: 57 minutes before Binance's 24 h."""

_HANDOVER_S = 120.0
"""A replacement that is not complete by then takes over all the same."""

_LOOK_S = 0.2
_BLOCKED_PAUSE_MS = 600_000
_OVERLAP = 10_000


Publish = Callable[[AnyEvent], None]
"""Says a fact to the rest of Lowtide. Never blocks, never fails."""


class Lost(Exception):
    """The socket is gone; ``str()`` says why in words."""

    def __init__(self, reason: str, blocked: bool = False) -> None:
        super().__init__(reason)
        self.blocked = blocked


class Surroundings(Protocol):
    """What a line needs of the venue it belongs to."""

    venue: Venue
    clock: Clock
    publish: Publish

    def url(self, subscription: Subscription) -> str:
        """Where to connect."""
        ...

    def fetch(self, request: Request, done: Callable[[bytes], None]) -> None:
        """Ask for a book snapshot; ``done`` gets the body, or nothing happens."""
        ...

    def ask_relist(self) -> None:
        """Read the venue's listing again soon."""
        ...

    def tapped(self, subscription: Subscription, frame: bytes) -> None:
        """A raw frame came, as it is."""
        ...


class Line:
    """One subscription, for as long as it is wanted."""

    def __init__(self, around: Surroundings, subscription: Subscription, listing: Listing) -> None:
        self._around = around
        self._subscription = subscription
        self.session = self._new_session(listing)
        self._recent: deque[tuple[object, ...]] | None = None  # liquidations said while two speak

    async def run(self, delay: float) -> None:
        """Never returns. Opens the first socket after ``delay`` seconds."""
        await asyncio.sleep(delay)
        socket = _Socket(self._around, self.session, self._say)
        task = asyncio.create_task(socket.run())
        try:
            while True:
                life = self._around.venue.SPEC.socket_life_s
                await self._until_old(socket, task, life)
                socket, task = await self._replace(socket, task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _new_session(self, listing: Listing) -> Session:
        return Session(self._around.venue, self._subscription, listing, random.random)

    async def _until_old(
        self, socket: "_Socket", task: asyncio.Task[None], life_s: float | None
    ) -> None:
        """Return when the socket should be replaced; raise what ends its task."""
        while True:
            done, _ = await asyncio.wait([task], timeout=10)
            if done:
                await task
            if life_s is not None and socket.age_s() > life_s * _RENEW_AT:
                return

    async def _replace(
        self, old: "_Socket", old_task: asyncio.Task[None]
    ) -> tuple["_Socket", asyncio.Task[None]]:
        """Open a second socket, let it become complete in silence, then let it speak instead."""
        self._recent = deque(maxlen=_OVERLAP)
        missed: deque[AnyEvent] = deque(maxlen=_OVERLAP)
        session = self._new_session(self.session.listing)
        new = _Socket(self._around, session, missed.append)
        task = asyncio.create_task(new.run())
        for _ in range(int(_HANDOVER_S / _LOOK_S)):
            if session.ready or task.done():
                break
            await asyncio.sleep(_LOOK_S)
        old_task.cancel()
        await asyncio.gather(old_task, return_exceptions=True)
        said = set(self._recent)
        for event in missed:
            if isinstance(event, Liquidation) and _same(event) not in said:
                self._around.publish(event)
        self._recent = None
        self.session = session
        new.say = self._say
        for state in session.states(self._around.clock.seen()):
            self._around.publish(state)
        log.info(
            "socket replaced", venue=self._around.venue.SPEC.name, socket=self._subscription.name
        )
        return new, task

    def _say(self, event: AnyEvent) -> None:
        if self._recent is not None and isinstance(event, Liquidation):
            self._recent.append(_same(event))
        self._around.publish(event)


def _same(event: Liquidation) -> tuple[object, ...]:
    """What two copies of one liquidation have in common."""
    return event.symbol, event.at, event.position, event.price, event.base


class _Socket:
    """One session's connection and its reconnects. ``say`` gets its events."""

    def __init__(
        self, around: Surroundings, session: Session, say: Callable[[AnyEvent], None]
    ) -> None:
        self.say = say
        self._around = around
        self._session = session
        self._opened: Ms | None = None
        self._hangup = ""

    def age_s(self) -> float:
        """How long the connection is open, 0 if it is not."""
        return 0.0 if self._opened is None else (self._around.clock.now() - self._opened) / 1000

    async def run(self) -> None:
        """Connect, listen, reconnect; never returns."""
        clock = self._around.clock
        while True:
            try:
                await self._connection()
            except Lost as lost:
                actions, wait = self._session.closed(str(lost), clock.seen())
                self._opened = None
                if lost.blocked:
                    wait = _BLOCKED_PAUSE_MS
                self._tell(actions)
                self._report(str(lost), wait)
                await asyncio.sleep(wait / 1000)

    def _report(self, reason: str, wait: Ms) -> None:
        title, name = self._around.venue.SPEC.title, self._session.subscription.name
        log.warning(
            f"lost {title}: {reason}", socket=name, next_try_s=round(wait / 1000, 1)
        )  # fmt: skip

    async def _connection(self) -> None:
        """One connection, from handshake to loss, which it raises as Lost."""
        clock = self._around.clock
        self._hangup = ""
        try:
            async with connect(
                self._around.url(self._session.subscription),
                max_size=MAX_FRAME_BYTES,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=1,
                ping_interval=20,
                ping_timeout=30,
                max_queue=256,
            ) as socket:
                self._opened = clock.now()
                await self._perform(socket, self._session.opened(clock.now()))
                await self._listen(socket)
        except InvalidStatus as error:
            status = error.response.status_code
            blocked = status in (403, 451)
            words = refusal(status) if blocked else f"it answered HTTP {status}"
            raise Lost(words, blocked) from error
        except ConnectionClosed as error:
            raise Lost(self._hangup or _close_words(error)) from error
        except (OSError, WebSocketException, TimeoutError) as error:
            raise Lost(in_words(error)) from error

    async def _listen(self, socket: ClientConnection) -> None:
        """Read frames and tick until the socket closes."""
        ticking = asyncio.create_task(self._ticks(socket))
        reading = asyncio.create_task(self._read(socket))
        try:
            await asyncio.wait([ticking, reading], return_when=asyncio.FIRST_COMPLETED)
            for task in (ticking, reading):
                if task.done():
                    task.result()
        finally:
            for task in (ticking, reading):
                task.cancel()
            await asyncio.gather(ticking, reading, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> None:
        session, clock, around = self._session, self._around.clock, self._around
        while True:
            frame = await socket.recv(decode=False)
            around.tapped(session.subscription, frame)
            actions = session.received(frame, clock.now(), clock.seen())
            if actions:
                await self._perform(socket, actions)

    async def _ticks(self, socket: ClientConnection) -> None:
        clock = self._around.clock
        while True:
            await clock.sleep(1.0)
            await self._perform(socket, self._session.tick(clock.now(), clock.seen()))

    async def _perform(self, socket: ClientConnection, actions: list[Action]) -> None:
        pause = 1 / self._around.venue.SPEC.sends_per_second
        sent = 0
        for action in actions:
            match action:
                case Send(data):
                    if sent:
                        await asyncio.sleep(pause)
                    await socket.send(data, text=True)
                    sent += 1
                case Hangup(reason):
                    self._hangup = reason
                    await socket.close()
                    raise Lost(reason)
                case _:
                    self._tell([action])

    def _tell(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Fetch(request):
                    self._around.fetch(request, self._fetched(request.symbol))
                case Relist():
                    self._around.ask_relist()
                case Note(what, detail):
                    log.warning(what, venue=self._around.venue.SPEC.name, detail=detail)
                case Send() | Hangup():
                    pass  # no socket to perform them on
                case _:
                    self.say(action)

    def _fetched(self, symbol: str) -> Callable[[bytes], None]:
        def done(body: bytes) -> None:
            self._tell(self._session.fetched(symbol, body, self._around.clock.now()))

        return done


def _close_words(error: ConnectionClosed) -> str:
    frame = error.rcvd
    if frame is None:
        sent = error.sent
        if sent is not None and sent.code == 1009:
            return f"it sent a frame of more than {MAX_FRAME_BYTES >> 20} MB"
        return "the connection broke"
    reason = f" ({frame.reason[:80]})" if frame.reason else ""
    return f"it closed the connection with code {frame.code}{reason}"
