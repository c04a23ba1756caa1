"""One venue, live: its listing, its sockets and its polls.

A ``VenueClient`` reads the venue's listing, chooses instruments and keeps a ``Socket`` for each
subscription. It decides nothing about the market: sessions and adapters do. It is supervised by
itself: whatever goes wrong with one venue, the others do not notice.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NoReturn

import msgspec
import structlog

from streams.clock import Clock
from streams.contracts import Contracts
from streams.events import (
    NOT_WATCHED,
    AnyEvent,
    FaultCode,
    FeedState,
    Instrument,
    Kind,
    Ms,
    OpenInterest,
    fault,
)
from streams.feed.backfill import Backfill, Known
from streams.feed.errors import SayOnce
from streams.feed.liquidations import RecentLiquidations
from streams.feed.poller import Poller, SnapshotQueue, TakeSnapshot
from streams.feed.recording import Recorded, request_channel, socket_channel
from streams.feed.rest import Rest, Unavailable
from streams.feed.selection import Wants, Watchlist, presentable
from streams.feed.socket import Publish, Socket
from streams.proxies import NO_PROXIES, Proxies
from streams.text import printable
from streams.venue import (
    UNREADABLE,
    ListedContracts,
    Listing,
    Malformed,
    Request,
    Subscription,
    Venue,
)

log = structlog.get_logger()

LISTING_EVERY_S = 3600.0
CHOOSE_EVERY_S = 86_400.0
_LISTING_BACKOFF_S = (2.0, 300.0)
_RELIST_EVERY_S = 20.0
"""How often sockets may ask for the listing: what they show may be ahead of it for a while."""

_INCOMPLETE_EVERY_S = 30.0
"""How often the listing is read while nothing is watched, or while it lacks what is watched."""

_GONE_EVERY_S = 300.0
"""How often it is read while a contract that was watched is gone for good."""

FAILED_BACKOFF_S = (2.0, 300.0)
"""First and longest wait after an error of ours; without one for the longest, it starts anew."""

_WELL_AFTER_S = 60.0
"""So long without an error of ours, and listening works."""

_UNREACHED_AFTER_S = 30.0
_LOOK_S = 5.0

_READABLE_AFTER_S = 600.0
"""A contract of which no row was unreadable for so long can be read again."""

_ROWS_REMEMBERED = 1_000

_PAGES_AT_MOST = 20
_MISSING_LOOK_S = 15.0
_MISSING = FaultCode.CONTRACT_MISSING
"""How often it is looked whether feeds have never come."""

_FEED_REPEAT_S = 60.0
"""How often a liquidation feed, silent for hours by nature, is said to be still up."""

_REASON_LENGTH = 200


class VenueClient:
    """All that comes from one venue. It is the ``SocketOwner`` of its sockets."""

    def __init__(
        self,
        venue: Venue,
        websocket: str | None,
        rest: str | None,
        publish: Publish,
        clock: Clock,
        tap: Callable[[Recorded], None] | None = None,
        only: Collection[str] | None = None,
        proxies: Proxies = NO_PROXIES,
        wants: Wants | None = None,
        known: Known | None = None,
    ) -> None:
        """``websocket`` and ``rest`` replace the venue's own base URLs where given.

        ``tap`` is called with every raw frame and body as it came. ``only``: no symbols but these.
        ``wants``: contracts that it says no to count as not listed; None: all are wanted.
        ``known``: what is remembered of histories; None: no history is asked for.
        """
        spec = venue.SPEC
        self.venue = venue
        self.clock = clock
        self.proxies = proxies
        self.rest = Rest(spec, rest or spec.rest, clock.now, clock.sleep, proxies)
        self.trouble = "starting"
        """Why the venue cannot be listened to; "": it can."""
        self.liquidations = RecentLiquidations()
        """What all its sockets have brought."""
        self.replacing = asyncio.Lock()
        """See ``SocketOwner``."""
        self.refused_names = 0
        """Instruments that are left out since their names cannot be shown."""
        self.unreadable_rows = 0
        """Rows that cannot be read, of contracts or of what ranks them."""
        self.unknown_contracts = 0
        """Contracts that are left out since nobody knows on what they are."""
        self._sizes: dict[str, tuple[float | None, float | None]] = {}
        """Open interest and volume of each contract in USD, as a listing said them last."""
        self._rows_listed: tuple[str, ...] = ()
        """The unreadable rows of the last listing."""
        self._rows_sent: dict[str, Ms] = {}
        """Unreadable rows of frames and answers → when the last one came, on the steady clock."""
        self.sockets: list[Socket] = []
        self.poller: Poller | None = None
        self._publish = publish
        self._websocket = (websocket or spec.websocket).rstrip("/")
        self._tap = tap
        self._only = only
        self._wants = wants
        self._contracts = Contracts(spec.rows)
        self._relist = asyncio.Event()
        self._snapshots = SnapshotQueue(self.rest, self._asked, clock.now)
        self._backfill = known and Backfill(venue, self.rest, self.publish, clock, known)
        self._once = SayOnce()
        self._failures = SayOnce()
        self._watchlist = Watchlist()
        self._back: set[str] = set()
        """What the last listing has, and the one before it had not."""
        self._running: dict[Socket | Poller, asyncio.Task[None]] = {}
        self._began = clock.now()
        self._reached = False
        """A listing was read, and a socket was open once."""
        self._well = False
        """Operators know that there was no error of ours for a while."""
        self._connects_at: Ms = 0
        """When the next socket may be opened."""
        self._held: set[str] = set()
        """Symbols whose open interest was not zero."""

    @property
    def watched(self) -> Collection[str]:
        """The symbols that are listened to."""
        return self._watchlist.watched.keys()

    def watched_of(self, assets: Collection[str]) -> list[Instrument]:
        """The contracts of these assets that are listened to."""
        return [i for i in self._watchlist.watched.values() if i.asset in assets]

    @property
    def instruments(self) -> int:
        """How many instruments are listened to."""
        return len(self._watchlist.watched)

    async def run(
        self,
        listed: Callable[[str, Sequence[Instrument]], None],
        choose: Callable[[], Awaitable[Sequence[str]]],
    ) -> NoReturn:
        """Never returns. ``listed`` gets each listing; ``choose`` gives the assets to watch.

        An unexpected error is logged with its traceback and takes all feeds down; after a while
        everything begins anew.
        """
        self._began = self.clock.now()
        wait, longest = FAILED_BACKOFF_S
        while True:
            began = self.clock.now()
            try:
                await self._listen(listed, choose)
            except Exception as error:  # noqa: BLE001  # _fail() logs it; nobody else notices
                if self.clock.now() - began >= longest * 1000:
                    wait = FAILED_BACKOFF_S[0]
                pause = wait * (0.75 + random.random() / 2)
                self._fail(error, pause)
                await asyncio.sleep(pause)
                wait = min(wait * 2, longest)

    async def _listen(
        self,
        listed: Callable[[str, Sequence[Instrument]], None],
        choose: Callable[[], Awaitable[Sequence[str]]],
    ) -> NoReturn:
        self.sockets, self.poller, self._running = [], None, {}
        name = self.venue.SPEC.name
        assets: Sequence[str] = ()
        chosen_at: Ms | None = None
        try:
            async with self.rest, asyncio.TaskGroup() as tasks:
                for work in (
                    self._snapshots.run(), self._repeat_states(), self._mind_missing(),
                    self._confirm(),
                ):  # fmt: skip
                    tasks.create_task(work)
                if self._backfill is not None:
                    tasks.create_task(self._backfill.run())
                while True:
                    instruments, order, *_ = await self._listing()
                    now = self.clock.now()
                    listed(name, [*instruments, *self._watchlist.missing_from(instruments)])
                    if chosen_at is None or now - chosen_at >= CHOOSE_EVERY_S * 1000:
                        assets, chosen_at = await choose(), now
                    self._take(instruments, assets)
                    await self._watch(tasks, order)
                    await self._next_listing()
        finally:
            self.silence("Lowtide stopped listening")  # after all tasks have ended

    def _take(self, instruments: Sequence[Instrument], assets: Sequence[str]) -> None:
        """Decide what is watched from now on, and say what operators should know about it."""
        only = self._only
        wanted = instruments if only is None else [i for i in instruments if i.symbol in only]
        faults = self._watchlist.take(wanted, assets, self.clock.now())
        self._back = {s for code, s, over, _ in faults if over and code is _MISSING}
        for code, symbol, over, detail in faults:
            self._say_fault(code, symbol, over=over, detail=detail)

    async def _watch(self, tasks: asyncio.TaskGroup, order: tuple[str, ...]) -> None:
        """Listen to what the watchlist names. Sockets that bring just that are left alone, others
        are replaced without a gap by what is wanted of them now."""
        spec, watched = self.venue.SPEC, self._watchlist.watched
        chosen = [*watched.values()]
        self._contracts.relist(chosen)
        listing = Listing(instruments=watched, order=order, contracts=self._contracts)
        before = {socket.subscription.name: socket for socket in self.sockets}
        running = {name: socket.brings for name, socket in before.items()}
        plan = self.venue.subscriptions(chosen, spec.kinds, running) if chosen else []
        sockets = [
            before.get(subscription.name) or Socket(self, subscription, listing)
            for subscription in plan
        ]
        ended = [socket for socket in self.sockets if socket not in sockets]
        fresh = [socket for socket in sockets if socket not in self.sockets]
        await self._end(ended, NOT_WATCHED)
        self.sockets = sockets
        for socket, subscription in zip(sockets, plan, strict=True):
            socket.want(subscription, listing)
            socket.session.ask_again(self._back)
        for socket in fresh:
            self._running[socket] = tasks.create_task(socket.run())
        await self._poll(tasks, listing, chosen)
        if self._backfill is not None:
            self._backfill.take(listing, chosen)
        self._snapshots.rank = {symbol: place for place, symbol in enumerate(watched)}
        if not chosen:
            if self._once.is_news("nothing", self.clock.now()):
                log.warning(f"{spec.title} lists nothing of what is to be watched")
        elif fresh or ended or any(socket.session.outdated for socket in sockets):
            log.info(f"listening to {spec.title}", instruments=len(chosen), sockets=len(sockets))

    async def _end(self, sockets: Sequence[Socket], reason: str) -> None:
        ending = [self._running.pop(socket) for socket in sockets]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for socket in sockets:
            for state in socket.session.down(reason, self.clock.seen()):
                self.publish(state)

    async def _poll(
        self, tasks: asyncio.TaskGroup, listing: Listing, chosen: Sequence[Instrument]
    ) -> None:
        if self.poller is None:
            self.poller = Poller(
                self.venue,
                self.rest,
                listing,
                chosen,
                self.publish,
                self.clock,
                self._asked,
                self.unreadable,
            )
        elif not self.poller.take(listing, chosen):
            return
        if (running := self._running.pop(self.poller, None)) is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._running[self.poller] = tasks.create_task(self.poller.run())

    def silence(self, reason: str) -> None:
        """Say of all feeds that they are down."""
        for socket in self.sockets:
            for state in socket.session.down(reason, self.clock.seen()):
                self.publish(state)
        if self.poller is not None:
            self.poller.down(reason)

    async def _next_listing(self) -> None:
        """Wait until the listing is to be read again: every hour, or as soon as sockets ask."""
        watchlist = self._watchlist
        every_s = LISTING_EVERY_S
        if watchlist.missing or not watchlist.watched:
            every_s = min(every_s, _INCOMPLETE_EVERY_S)
        elif watchlist.gone:
            every_s = min(every_s, _GONE_EVERY_S)
        await asyncio.sleep(_RELIST_EVERY_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s - _RELIST_EVERY_S):
                await self._relist.wait()
        self._relist.clear()

    async def _listing(self) -> ListedContracts:
        """The venue's listing, however long it takes to get one."""
        wait, longest = _LISTING_BACKOFF_S
        while True:
            try:
                listed = self.venue.instruments(await self.listing_bodies())
            except (Unavailable, *UNREADABLE) as error:
                if not isinstance(error, Unavailable):
                    self.rest.doubt()
                pause = max(wait * (0.75 + random.random() / 2), self.rest.paused_s)
                self._say_trouble(error, pause)
                await asyncio.sleep(pause)
                wait = min(wait * 2, longest)
                continue
            if self.trouble:
                self.trouble = ""
                self._once.forget()
            self._rows_listed = listed.unreadable
            self._say_unreadable()
            self._count_unknown(listed.unknown)
            return listed._replace(instruments=self._ranked(self._presentable(listed.instruments)))

    def _ranked(self, listed: Sequence[Instrument]) -> list[Instrument]:
        """With the sizes that the last listing said, where this one says none: ranks stay."""
        before, ranked = self._sizes, list[Instrument]()
        for instrument in listed:
            sizes = instrument.open_interest_usd, instrument.volume_24h_usd
            if sizes == (None, None) and instrument.symbol in before:
                sizes = before[instrument.symbol]
                instrument = msgspec.structs.replace(
                    instrument, open_interest_usd=sizes[0], volume_24h_usd=sizes[1]
                )
            ranked.append(instrument)
        self._sizes = {i.symbol: (i.open_interest_usd, i.volume_24h_usd) for i in ranked}
        return ranked

    def _presentable(self, listed: Sequence[Instrument]) -> list[Instrument]:
        """Without the instruments whose names nobody could read."""
        refused = [instrument.symbol for instrument in listed if not presentable(instrument)]
        count = f"{len(refused)} of {len(listed)}"
        detail = self._left_out("lists names that are not fit to be shown", refused, count,
                                new=len(refused) != self.refused_names)  # fmt: skip
        self.refused_names = len(refused)
        self._say_fault(FaultCode.NAMES_REFUSED, over=not refused, detail=detail)
        return [
            instrument
            for instrument in listed
            if presentable(instrument) and (self._wants is None or self._wants(instrument))
        ]

    def _count_unknown(self, symbols: Sequence[str]) -> None:
        """Contracts that are left out: no fault, since most are on shares that nobody asked for."""
        if len(symbols) != self.unknown_contracts:
            such = f", such as {printable(symbols[0], 30)}" if symbols else ""
            title = self.venue.SPEC.title
            log.info(f"{title} lists {len(symbols)} contracts on unknown assets{such}")
        self.unknown_contracts = len(symbols)

    def unreadable(self, rows: Sequence[str]) -> None:
        """See ``SocketOwner``."""
        now, known = self.clock.now(), len(self._rows_sent)
        for name in rows:
            if name in self._rows_sent or len(self._rows_sent) < _ROWS_REMEMBERED:
                self._rows_sent[name] = now
        if len(self._rows_sent) > known:
            self._say_unreadable()

    def _say_unreadable(self) -> None:
        """Report what cannot be read, listed or sent: it is unknown of those contracts alone."""
        since = self.clock.now() - _READABLE_AFTER_S * 1000
        self._rows_sent = {name: at for name, at in self._rows_sent.items() if at >= since}
        rows = tuple(dict.fromkeys((*self._rows_listed, *self._rows_sent)))
        detail = self._left_out("sends rows that cannot be read", rows, str(len(rows)),
                                new=len(rows) != self.unreadable_rows)  # fmt: skip
        self.unreadable_rows = len(rows)
        self._say_fault(FaultCode.ROWS_UNREADABLE, over=not rows, detail=detail)

    def _left_out(self, cause: str, symbols: Sequence[str], count: str, *, new: bool) -> str:
        """The detail of a fault that leaves ``symbols`` out, "" for none; logged if ``new``."""
        if not symbols:
            return ""
        detail = f"{count}, such as {printable(symbols[0], 30)}"
        if new:
            log.warning(f"{self.venue.SPEC.title} {cause}: {detail}")
        return detail

    def _say_trouble(self, error: Exception, pause: float) -> None:
        unreadable = "" if isinstance(error, Unavailable) else "its listing could not be read: "
        self.trouble = printable(f"{unreadable}{error}")
        if self._once.is_news(self.trouble, self.clock.now()):
            title = self.venue.SPEC.title
            log.warning(f"cannot reach {title}: {self.trouble}", next_try_s=round(pause))
        self.unreached(self.trouble, isinstance(error, Unavailable) and error.blocked)

    async def listing_bodies(self) -> list[bytes]:
        """The answers that make a listing. Raises Unavailable, or Malformed if they have no end."""
        bodies: list[bytes] = []
        for first in self.venue.listing_requests():
            request: Request | None = first
            while request is not None:
                body = await self._listing_body(request)
                bodies.append(body)
                if len(bodies) > _PAGES_AT_MOST:
                    raise Malformed("its listing has no end")
                request = self.venue.next_listing_request(request, body)
        return bodies

    async def _listing_body(self, request: Request) -> bytes:
        try:
            body = await self.rest.ask(request)
        except Unavailable as error:
            if request.needed:
                raise
            words = f"a part of its listing did not come: {error}"
            if self._once.is_news(words, self.clock.now()):
                log.warning(f"{self.venue.SPEC.title}: {printable(words)}")
            return b""
        self._asked(request, body)
        return body

    async def _repeat_states(self) -> None:
        while True:
            await self.clock.sleep(_FEED_REPEAT_S)
            for socket in self.sockets:
                for state in socket.session.states(self.clock.seen()):
                    if state.kind is Kind.LIQUIDATION and socket.session.connected:
                        self.publish(state)

    async def _mind_missing(self) -> None:
        while True:
            await self.clock.sleep(_MISSING_LOOK_S)
            for socket in self.sockets:
                for state in socket.session.missing(self.clock.now(), self.clock.seen()):
                    self.publish(state)

    # ── what operators should know ──────────────────────────────────────

    def _fail(self, error: Exception, pause: float) -> None:
        """An unexpected error, which ended listening."""
        first = _first_of(error)
        words = printable(f"{type(first).__name__}: {first}", 120)
        self.trouble, self._well = f"an error in Lowtide: {words}", False
        if self._failures.is_news(words, self.clock.now()):
            title = self.venue.SPEC.title
            log.error(f"listening to {title} failed", next_try_s=round(pause), exc_info=error)
        self._say_fault(FaultCode.VENUE_FAILED, detail=words)

    async def _confirm(self) -> None:
        """Say once that the venue is reached, and that listening to it works."""
        began = self.clock.now()
        while not (self._reached and self._well):
            await asyncio.sleep(_LOOK_S)
            sockets = self.sockets
            if not self._reached and not self.trouble:
                self._reached = not sockets or any(
                    socket.session.stats.connects for socket in sockets
                )
                if self._reached:
                    self._say_fault(FaultCode.VENUE_UNREACHED, over=True)
            if not self._well and self.clock.now() - began >= _WELL_AFTER_S * 1000:
                self._well = True
                self._say_fault(FaultCode.VENUE_FAILED, over=True)

    def _say_fault(
        self, code: FaultCode, subject: str = "", *, over: bool = False, detail: str = ""
    ) -> None:
        venue, seen = self.venue.SPEC.name, self.clock.seen()
        self.publish(fault(code, seen, venue=venue, subject=subject, over=over, detail=detail))

    # ── what sockets need ─────────────────────────────────────────────────

    def publish(self, event: AnyEvent) -> None:
        """Publish an event to the rest of Lowtide; see ``SocketOwner``.

        An open interest of zero is not published: a contract in trade has some, and in one that is
        being settled nobody closed anything. The listing shows which it is.
        """
        if isinstance(event, OpenInterest):
            if event.base == 0:
                if event.symbol in self._held:
                    self._held.discard(event.symbol)
                    self.ask_relist()
                return
            self._held.add(event.symbol)
        elif isinstance(event, FeedState) and event.reason:
            event = msgspec.structs.replace(event, reason=printable(event.reason, _REASON_LENGTH))
        self._publish(event)

    def url(self, subscription: Subscription) -> str:
        """See ``SocketOwner``."""
        return self._websocket + subscription.path

    async def may_connect(self) -> None:
        """See ``SocketOwner``. Venues ban those who knock too often, as all do after an outage."""
        now, apart = self.clock.now(), 1000 / self.venue.SPEC.connects_per_second
        at = max(now, self._connects_at)
        self._connects_at = at + round(apart)
        if at > now:
            await asyncio.sleep((at - now) / 1000)

    def fetch(self, request: Request, take: TakeSnapshot, lost: bool) -> None:
        """See ``SocketOwner``."""
        self._snapshots.add(request, take, lost)

    def blocked(self, words: str) -> None:
        """See ``SocketOwner``."""
        if self._once.is_news(words, self.clock.now()):
            log.warning(f"cannot reach {self.venue.SPEC.title}: {words}")

    def unreached(self, words: str, blocked: bool) -> None:
        """See ``SocketOwner``."""
        long = self.clock.now() - self._began >= _UNREACHED_AFTER_S * 1000
        if not self._reached and (blocked or long):
            self._say_fault(FaultCode.VENUE_UNREACHED, detail=words)

    def ask_relist(self) -> None:
        """See ``SocketOwner``."""
        self._relist.set()

    def tapped(self, subscription: Subscription, frame: bytes) -> None:
        """See ``SocketOwner``."""
        if self._tap is not None:
            self._record(socket_channel(subscription.path), frame)

    def _asked(self, request: Request, body: bytes) -> None:
        if self._tap is not None:
            self._record(request_channel(request), body)

    def _record(self, channel: str, frame: bytes) -> None:
        assert self._tap is not None  # noqa: S101  # the callers looked
        name, seen = self.venue.SPEC.name, self.clock.seen()
        self._tap(Recorded(t=seen, venue=name, channel=channel, frame=frame))


def _first_of(error: Exception) -> BaseException:
    """The error that a group of tasks ended with."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = first  # pyright: ignore[reportUnknownVariableType]
        first = group.exceptions[0]
    return first
