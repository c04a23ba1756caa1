"""One subscription over time: its socket, the next after a loss, the replacement before the end.

The session decides; here is only the I/O that it asks for.

While two sockets overlap they bring the same liquidations, in any order. Each is published once,
whichever socket brings it first; two that are equal in everything are two if one socket brings
both.
"""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from streams.clock import Clock
from streams.durations import HOUR
from streams.events import AnyEvent, FeedState, Liquidation, Ms, Position
from streams.feed.actions import Action, Fetch, Hangup, Note, Relist, Send
from streams.feed.errors import RefusedStatus, SayOnce, in_words, refusal
from streams.feed.liquidations import RecentLiquidations
from streams.feed.session import Session
from streams.proxies import Proxies
from streams.venue import Listing, Request, Subscription, Unreadable, Venue

_Key = tuple[str, Ms, Position, float, float]


class Overlap:
    """The liquidations of two sockets: those of the old one that were published, and those of the
    new one that wait. What both have brought is forgotten. Pure."""

    def __init__(self) -> None:
        self._published: Counter[_Key] = Counter()
        self._received: defaultdict[_Key, deque[Liquidation]] = defaultdict(deque)

    def published(self, event: Liquidation) -> None:
        """The old socket brought this, and it was published."""
        key = _key(event)
        if waiting := self._received.get(key):
            waiting.popleft()
            if not waiting:
                del self._received[key]
        else:
            self._published[key] += 1

    def received(self, event: Liquidation) -> None:
        """The new socket brought this, while only the old one publishes."""
        if not self.is_repeat(event):
            self._received[_key(event)].append(event)

    def is_repeat(self, event: Liquidation) -> bool:
        """Whether the old socket has brought what the new one brings now."""
        key = _key(event)
        count = self._published.pop(key, 0)
        if count > 1:
            self._published[key] = count - 1
        return count > 0

    def unpublished(self) -> list[Liquidation]:
        """What only the new socket has brought so far, to be published now."""
        left = [event for waiting in self._received.values() for event in waiting]
        self._received.clear()
        return sorted(left, key=lambda event: event.seen)


def _key(event: Liquidation) -> _Key:
    return event.symbol, event.at, event.position, event.price, event.base


log = structlog.get_logger()

MAX_FRAME_BYTES = 16 * 1024 * 1024
_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0
_UNSENT_AT_MOST = 2_000

_RENEW_AT = 0.96
"""At this share of a socket's life its replacement is opened: 57 minutes before Binance's 24 h."""

_HANDOVER_S = 900.0
"""By then a replacement has nearly all its feeds up, or it is given up."""

_SETTLE_S = 3.0
"""Both listen for this long once all is up: what is still on its way to the old one arrives."""

_ENOUGH = 0.9
"""At the end of the handover so many of the old socket's feeds must be up in the new one."""

_RENEW_AGAIN_S = 300.0
"""The wait after a replacement that failed."""

_AGE_LOOK_S = 10.0
_LOOK_S = 0.2

Publish = Callable[[AnyEvent], None]
"""Passes an event to the rest of Lowtide. Never blocks, never fails."""


class _Connect(connect):
    """A handshake with the address that was asked for and no other: venues do not redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Every answer that is not a websocket's is a failure."""
        return exc


class Lost(Exception):
    """The socket is gone; ``refused.words`` says why."""

    def __init__(self, refused: RefusedStatus) -> None:
        super().__init__(refused.words)
        self.refused = refused


class SocketOwner(Protocol):
    """What a socket needs of the client of its venue."""

    venue: Venue
    clock: Clock
    publish: Publish
    proxies: Proxies
    liquidations: RecentLiquidations
    replacing: asyncio.Lock
    """Held by the one socket that is being replaced: venues limit connections, boxes memory."""

    def url(self, subscription: Subscription) -> str:
        """Where to connect."""
        ...

    async def may_connect(self) -> None:
        """Wait until the venue lets one more socket be opened."""
        ...

    def fetch(self, request: Request, take: Callable[[str, bytes], None], lost: bool) -> None:
        """Ask for a book snapshot; ``take`` gets symbol and body, or nothing happens.

        ``lost``: nothing is known of the book.
        """
        ...

    def ask_relist(self) -> None:
        """Read the venue's listing again soon."""
        ...

    def unreadable(self, rows: Sequence[str]) -> None:
        """These rows of a frame or an answer cannot be read."""
        ...

    def blocked(self, words: str) -> None:
        """The venue refuses this address: log it, once for all its sockets."""
        ...

    def unreached(self, words: str, blocked: bool) -> None:
        """A socket that was never open could not be opened. ``blocked``: refused by country."""
        ...

    def tapped(self, subscription: Subscription, frame: bytes) -> None:
        """A raw frame came, as it is."""
        ...


class Socket:
    """One subscription, for as long as it is wanted. Where another is wanted in its place, as when
    a contract joins or leaves it, the connection is replaced by one that asks for that."""

    def __init__(self, owner: SocketOwner, subscription: Subscription, listing: Listing) -> None:
        self.subscription = subscription
        """What is wanted; what the session brings may still be the one before."""
        self._owner = owner
        self._socket = self._new_socket(listing)
        self._next: _Socket | None = None

    @property
    def session(self) -> Session:
        """The session whose events are published."""
        return self._socket.session

    @property
    def brings(self) -> Sequence[str]:
        """The symbols that it brings or is to bring."""
        sessions = [socket.session for socket in (self._socket, self._next) if socket is not None]
        plans = [*(session.subscription for session in sessions), self.subscription]
        return tuple(dict.fromkeys(symbol for plan in plans for symbol in plan.symbols))

    def want(self, subscription: Subscription, listing: Listing) -> None:
        """The venue's listing has changed, and maybe what is wanted of this socket."""
        self.subscription = subscription
        for socket in (self._socket, self._next):
            if socket is not None:
                socket.session.listing = listing
                for state in socket.session.want(subscription, self._owner.clock.seen()):
                    socket.publish(state)

    async def run(self) -> None:
        """Never returns."""
        self._socket.start()
        life_s = self._owner.venue.SPEC.socket_life_s
        try:
            while True:
                await self._socket.watch(_AGE_LOOK_S)
                age_s = self._socket.age_s()
                old = life_s is not None and age_s > life_s * _RENEW_AT
                if self.session.closing:
                    done = await self._replace()
                elif old or self.session.outdated:
                    if self._owner.replacing.locked():
                        continue
                    async with self._owner.replacing:
                        done = await self._replace()
                else:
                    continue
                if not done:
                    await self._socket.watch(_RENEW_AGAIN_S)
        finally:
            await self._socket.end()

    def _new_socket(self, listing: Listing) -> "_Socket":
        session = Session(
            self._owner.venue, self.subscription, listing, random.random, self._owner.liquidations
        )
        return _Socket(self._owner, session)

    async def _replace(self) -> bool:
        """Open a second socket, wait until it is complete, then publish its events instead.

        False: it did not get there, and the old one goes on.
        """
        old, new = self._socket, self._new_socket(self.session.listing)
        overlap = Overlap()
        old.publish, new.publish = self._publish_and_note(overlap, new.session), _note_only(overlap)
        self._next = new
        new.session.replace(old.session)
        new.start()
        try:
            if await _complete(old, new):
                await old.end()
                self._hand_over(new, overlap)
        finally:
            self._next = None
            await (new if self._socket is old else old).end()
        if self._socket is old:
            old.publish = self._owner.publish
            log.warning("socket could not be replaced yet", **self._names())
        return self._socket is new

    def _hand_over(self, new: "_Socket", overlap: Overlap) -> None:
        old, self._socket = self._socket, new
        seen = self._owner.clock.seen()
        for event in overlap.unpublished():
            self._owner.liquidations.add(event, self._owner.clock.now())
            self._owner.publish(event)
        for state in new.session.take_over(old.session, seen):
            self._owner.publish(state)
        old.session.closed("replaced", seen)
        new.publish = self._publish_unless_repeat(overlap)
        log.info("socket replaced", **self._names())

    def _publish_and_note(self, overlap: Overlap, other: Session) -> Publish:
        """For the old socket, while the new one is already open."""

        def publish(event: AnyEvent) -> None:
            if isinstance(event, Liquidation) and other.connected:
                overlap.published(event)
            self._owner.publish(event)

        return publish

    def _publish_unless_repeat(self, overlap: Overlap) -> Publish:
        """For the new socket, which may bring what the old one has brought."""

        def publish(event: AnyEvent) -> None:
            if not (isinstance(event, Liquidation) and overlap.is_repeat(event)):
                self._owner.publish(event)

        return publish

    def _names(self) -> dict[str, str]:
        return {"venue": self._owner.venue.SPEC.name, "socket": self.subscription.name}


def _note_only(overlap: Overlap) -> Publish:
    """For a socket whose events are not published yet."""

    def note(event: AnyEvent) -> None:
        if isinstance(event, Liquidation):
            overlap.received(event)

    return note


async def _complete(old: "_Socket", new: "_Socket") -> bool:
    """Wait until the new socket has up what the old one has; False: it did not get there."""
    looks = 0
    for _ in range(int(_HANDOVER_S / _LOOK_S)):
        looks = looks + 1 if new.session.coverage(old.session) == 1.0 else 0
        if looks > _SETTLE_S / _LOOK_S:
            return True
        await new.watch(_LOOK_S)
        await old.watch(0)
    return new.session.coverage(old.session) >= _ENOUGH


class _Socket:
    """One session's connection and its reconnects. ``publish`` gets its events."""

    def __init__(self, owner: SocketOwner, session: Session) -> None:
        self.session = session
        self.publish: Publish = owner.publish
        self._owner = owner
        self._task: asyncio.Task[None] | None = None
        self._opened: Ms | None = None
        self._outbox: asyncio.Queue[bytes] | None = None
        self._sent: deque[Ms] = deque()
        """When each message of the last hour was taken for this connection, pings left out."""
        self._once = SayOnce()

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Stop. Doing it twice does no harm."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def watch(self, seconds: float) -> None:
        """Wait so long. Raises the error that ended the socket, which is a fault of ours."""
        assert self._task is not None  # noqa: S101  # start() made it
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        if done:
            await self._task

    def age_s(self) -> float:
        """How long the connection is open, 0 if it is not."""
        return 0.0 if self._opened is None else (self._owner.clock.now() - self._opened) / 1000

    async def _run(self) -> None:
        """Connect, listen, reconnect; never returns."""
        while True:
            try:
                await self._connection()
            except Lost as lost:
                self._opened = self._outbox = None
                actions, wait = self.session.closed(str(lost), self._owner.clock.seen())
                wait = max(wait, int(lost.refused.pause_s * 1000))
                self._do(actions)
                down = any(isinstance(action, FeedState) for action in actions)
                self._report(lost.refused, wait, new=down)
                await asyncio.sleep(wait / 1000)

    def _report(self, lost: RefusedStatus, wait: Ms, new: bool) -> None:
        """Log why the socket is gone. ``new``: feeds were up, so this is no repetition."""
        if new:
            self._once.forget()
        if not self.session.stats.connects:
            self._owner.unreached(lost.words, lost.blocked)
        if not self._once.is_news(lost.words, self._owner.clock.now()):
            return
        if lost.blocked:
            self._owner.blocked(lost.words)
            return
        title, name = self._owner.venue.SPEC.title, self.session.subscription.name
        next_try_s = round(wait / 1000, 1)
        log.warning(f"lost {title}: {lost.words}", socket=name, next_try_s=next_try_s)

    async def _connection(self) -> None:
        """One connection, from handshake to loss, which it raises as Lost."""
        now = self._owner.clock.now
        await self._owner.may_connect()
        answers_pings = self._owner.venue.SPEC.answers_pings
        url = self._owner.url(self.session.subscription)
        try:
            async with _Connect(
                url,
                proxy=self._owner.proxies.of(url),
                max_size=MAX_FRAME_BYTES,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=20 if answers_pings else None,
                ping_timeout=30,
                max_queue=256,
            ) as socket:
                self._opened = now()
                self._outbox = asyncio.Queue(_UNSENT_AT_MOST)
                self._sent.clear()
                self._do(self.session.opened(now()))
                await self._listen(socket, self._outbox)
        except InvalidStatus as error:
            answer = error.response
            words = refusal(answer.status_code, answer.headers, bytes(answer.body))
            raise Lost(words) from error
        except ConnectionClosed as error:
            raise Lost(RefusedStatus(_close_words(error))) from error
        except (OSError, WebSocketException, TimeoutError, ValueError) as error:
            # ValueError: an address that cannot be one, or what came was not HTTP
            raise Lost(RefusedStatus(in_words(error))) from error

    async def _listen(self, socket: ClientConnection, outbox: asyncio.Queue[bytes]) -> None:
        """Read frames, write messages and tick until one of the three ends."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._ticks(), self._read(socket), self._write(socket, outbox))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done:
                    await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> None:
        session, clock, owner = self.session, self._owner.clock, self._owner
        while True:
            frame = await socket.recv(decode=False)
            owner.tapped(session.subscription, frame)
            actions = session.received(frame, clock.now(), clock.seen())
            if actions:
                self._do(actions)

    async def _write(self, socket: ClientConnection, outbox: asyncio.Queue[bytes]) -> None:
        pause = 1 / self._owner.venue.SPEC.sends_per_second
        while True:
            await socket.send(await outbox.get(), text=True)
            await asyncio.sleep(pause)

    async def _ticks(self) -> None:
        clock = self._owner.clock
        while True:
            await clock.sleep(1.0)
            self._do(self.session.tick(clock.now(), clock.seen()))

    def _do(self, actions: Sequence[Action]) -> None:
        """Do what the session asks for. Raises Lost if that is to hang up."""
        for action in actions:
            match action:
                case Send(data):
                    self._send(data)
                case Hangup(reason):
                    raise Lost(RefusedStatus(reason))
                case Fetch(request, lost):
                    self._owner.fetch(request, self._fetched, lost)
                case Relist():
                    self._owner.ask_relist()
                case Unreadable():
                    self._owner.unreadable(action.rows)
                case Note(what, detail):
                    log.warning(what, venue=self._owner.venue.SPEC.name, detail=detail)
                case _:
                    self.publish(action)

    def _send(self, data: bytes) -> None:
        if self._outbox is None:
            return  # the connection is gone: the next one subscribes anew
        if data != self._owner.venue.SPEC.ping:
            self._count()
        try:
            self._outbox.put_nowait(data)
        except asyncio.QueueFull:
            raise Lost(RefusedStatus("more must be asked than the venue lets us send")) from None

    def _count(self) -> None:
        """One more message for this connection. Raises Lost where the venue allows none."""
        most, now = self._owner.venue.SPEC.messages_per_hour, self._owner.clock.now()
        if most is None:
            return
        while self._sent and now - self._sent[0] >= HOUR:
            self._sent.popleft()
        if len(self._sent) >= most:
            raise Lost(RefusedStatus("the venue takes no more requests on it within this hour"))
        self._sent.append(now)

    def _fetched(self, symbol: str, body: bytes) -> None:
        clock = self._owner.clock
        with contextlib.suppress(Lost):  # not our caller's business; the next message meets it too
            self._do(self.session.fetched(symbol, body, clock.now(), clock.seen()))


def _close_words(error: ConnectionClosed) -> str:
    if error.rcvd is not None:
        reason = f" ({error.rcvd.reason[:80]})" if error.rcvd.reason else ""
        return f"it closed the connection with code {error.rcvd.code}{reason}"
    match error.sent and error.sent.code:
        case 1009:
            return f"it sent a frame of more than {MAX_FRAME_BYTES >> 20} MB"
        case 1011:
            return "it no longer answers pings"
        case _:
            return "the connection broke"
