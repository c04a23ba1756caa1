"""Our side of the venues: what ``streams/feed`` does with sockets and clocks, on virtual time.

Sessions, books, adapters, the listing's watchlist, the polls' times and the conflation are the
product's; connecting, asking and waiting are models of ``socket.py``, ``poller.py`` and
``client.py``. Not modelled: the replacement of old sockets, REST budgets, the order of snapshots.
"""

from collections.abc import Callable, Sequence

from streams.bus.conflate import Conflator
from streams.clock import WallClock
from streams.contracts import Contracts
from streams.durations import MINUTE, SECOND
from streams.events import (
    AnyEvent,
    ClockStep,
    Event,
    FeedState,
    Kind,
    Ms,
    OpenInterest,
    Tick,
    fault,
)
from streams.feed.actions import Action, Fetch, Hangup, Relist, Send
from streams.feed.poller import next_due
from streams.feed.selection import Watchlist
from streams.feed.session import Session
from streams.venue import UNREADABLE, Listing, Poll, Request, Subscription, facts
from streams.venues import VENUES
from tests.simulate.agenda import Agenda
from tests.simulate.market import skipped
from tests.simulate.venues import Connection, VenueModel
from tests.simulate.wires import LATENCY, Wires

_LISTING_EVERY: Ms = 60 * MINUTE
_INCOMPLETE_EVERY: Ms = 30 * SECOND
_RELIST_AFTER: Ms = 20 * SECOND
_REPEAT: Ms = MINUTE
_PATIENCE: Ms = 10 * SECOND
_FAILURES_DOWN = 3
"""These are of ``client.py`` and ``poller.py``."""

Publish = Callable[[AnyEvent], None]


class SocketModel:
    """One subscription over all its connections."""

    def __init__(self, client: "ClientModel", plan: Subscription, listing: Listing) -> None:
        self.session = Session(VENUES[client.model.name], plan, listing, lambda: 0.5)
        self._client = client
        self._connection: Connection | None = None

    def connect(self) -> None:
        """Try to open it."""
        client = self._client
        if client.wires.refused(client.model.name):
            self.lose("connection refused")
            return
        connection: Connection

        def send(frame: bytes, _kinds: frozenset[Kind]) -> None:
            client.wires.carry(
                client.model.name, connection, frame, lambda data: self._take(connection, data)
            )

        connection = Connection(self.session.subscription.path, send)
        self._connection = connection
        client.model.open(connection)
        self._do(self.session.opened(client.agenda.now))

    def lose(self, reason: str) -> None:
        """It is gone; the next try comes when the session says."""
        client = self._client
        if self._connection is not None:
            client.model.close(self._connection)
            self._connection = None
        actions, wait = self.session.closed(reason, client.seen())
        client.agenda.put(client.agenda.now + wait, self.connect)
        self._do(actions)

    def cut(self) -> None:
        """The connection breaks, if there is one."""
        if self._connection is not None:
            self.lose("the connection broke")

    def tick(self) -> None:
        """A second has passed."""
        if self._connection is not None:
            self._do(self.session.tick(self._client.agenda.now, self._client.seen()))

    def _take(self, connection: Connection, frame: bytes) -> None:
        client = self._client
        if connection is self._connection:
            self._do(self.session.received(frame, client.agenda.now, client.seen()))

    def _do(self, actions: Sequence[Action]) -> None:
        client, connection = self._client, self._connection
        for action in actions:
            match action:
                case Send(data) if connection is not None:
                    client.agenda.put(
                        client.agenda.now + LATENCY, lambda data=data: self._sent(connection, data)
                    )
                case Hangup(reason):
                    self.lose(reason)
                    return
                case Fetch(request, _):
                    client.fetch(request, self._fetched)
                case Relist():
                    client.ask_relist()
                case Event() | FeedState():
                    client.publish(action)
                case _:
                    pass

    def _sent(self, connection: Connection, data: bytes) -> None:
        if connection is self._connection:
            self._client.model.hear(connection, data)

    def _fetched(self, symbol: str, body: bytes) -> None:
        client = self._client
        self._do(self.session.fetched(symbol, body, client.agenda.now, client.seen()))


class ClientModel:
    """All that comes from one venue."""

    def __init__(
        self,
        model: VenueModel,
        wires: Wires,
        agenda: Agenda,
        clock: WallClock,
        publish: Publish,
        assets: Sequence[str],
    ) -> None:
        self.model = model
        self.wires = wires
        self.agenda = agenda
        self.seen = clock.seen
        self.publish_any = publish
        self.sockets: dict[str, SocketModel] = {}
        self._venue = VENUES[model.name]
        self._assets = assets
        self._contracts = Contracts()
        self._listing = Listing(instruments={}, contracts=self._contracts)
        self._watchlist = Watchlist()
        self._polls: list[Poll] = []
        self._failures: dict[tuple[Kind, str], int] = {}
        self._up: set[tuple[Kind, str]] = set()
        self._asking: set[str] = set()
        self._reading = False
        agenda.put(0, self._read_listing)
        agenda.every(SECOND + 500, SECOND, self._tick)
        agenda.every(_REPEAT, _REPEAT, self._repeat_states)

    def publish(self, event: AnyEvent) -> None:
        """Pass an event on; an open interest of zero is none."""
        if not (isinstance(event, OpenInterest) and event.base == 0):
            self.publish_any(event)

    def fetch(self, request: Request, take: Callable[[str, bytes], None]) -> None:
        """Ask for a snapshot, one at a time of a symbol."""
        symbol = request.symbol
        if symbol in self._asking:
            return
        self._asking.add(symbol)

        def answered(body: bytes | None) -> None:
            self._asking.discard(symbol)
            if body is not None:
                take(symbol, body)

        self._ask(request, answered)

    def ask_relist(self) -> None:
        """Read the listing again soon."""
        if not self._reading:
            self._reading = True
            self.agenda.put(self.agenda.now + _RELIST_AFTER, self._read_listing)

    def cut(self) -> None:
        """All sockets break."""
        for socket in self.sockets.values():
            socket.cut()

    def books(self) -> int:
        """How many entries sessions remember, for the oracle of memory."""
        return len(self._failures) + len(self._up) + len(self._asking)

    def _tick(self) -> None:
        if skipped(self.agenda.now):
            return
        for socket in self.sockets.values():
            socket.tick()

    def _repeat_states(self) -> None:
        for socket in self.sockets.values():
            for state in socket.session.states(self.seen()):
                if state.kind is Kind.LIQUIDATION and socket.session.connected:
                    self.publish(state)

    def _ask(self, request: Request, take: Callable[[bytes | None], None]) -> None:
        """``take`` gets the answer, None if there is none."""
        name, agenda = self.model.name, self.agenda

        def arrived() -> None:
            if self.wires.unanswered(name):
                agenda.put(agenda.now + _PATIENCE, lambda: take(None))
                return
            body = self.model.answer(request)
            agenda.put(agenda.now + LATENCY, lambda: take(body))

        agenda.put(agenda.now + LATENCY, arrived)

    # ── the listing ─────────────────────────────────────────────────────

    def _read_listing(self) -> None:
        requests, bodies = self._venue.listing_requests(), list[bytes]()

        def take(body: bytes | None) -> None:
            if body is None:
                self.agenda.put(self.agenda.now + 2 * SECOND, self._read_listing)
                return
            bodies.append(body)
            if len(bodies) < len(requests):
                self._ask(requests[len(bodies)], take)
                return
            self._reading = False
            self._listed(bodies)

        self._ask(requests[0], take)

    def _listed(self, bodies: Sequence[bytes]) -> None:
        listed = self._venue.instruments(bodies)
        name, now = self.model.name, self.agenda.now
        for code, symbol, over, detail in self._watchlist.take(
            listed.instruments, self._assets, now
        ):
            self.publish(fault(code, self.seen(), venue=name, subject=symbol, over=over,
                               detail=detail))  # fmt: skip
        watched = self._watchlist.watched
        chosen = [*watched.values()]
        self._contracts.relist(chosen)
        self._listing = Listing(instruments=watched, order=listed.order, contracts=self._contracts)
        plans = self._venue.subscriptions(chosen, self._venue.SPEC.kinds) if chosen else []
        for plan in plans:
            if plan.name not in self.sockets:
                self.sockets[plan.name] = socket = SocketModel(self, plan, self._listing)
                socket.connect()
            self.sockets[plan.name].session.listing = self._listing
        polls = self._venue.polls(chosen, self._venue.SPEC.kinds)
        if polls != self._polls:
            self._polls = polls
            for poll in polls:
                self._poll(poll, at_once=poll.at_start)
        wait = _INCOMPLETE_EVERY if self._watchlist.missing or not watched else _LISTING_EVERY
        self._reading = True
        self.agenda.put(now + wait, self._read_listing)

    # ── polls ───────────────────────────────────────────────────────────

    def _poll(self, poll: Poll, *, at_once: bool = False) -> None:
        """Ask when it is time, and so on."""
        if poll not in self._polls:
            return
        seen = self.seen()
        due = next_due(poll, seen)
        if at_once:
            self._ask(poll.request, lambda body: self._polled(poll, body))
        wait = due - seen
        if wait > MINUTE:  # the clock may step meanwhile
            self.agenda.put(self.agenda.now + MINUTE, lambda: self._poll(poll))
        else:
            self.agenda.put(self.agenda.now + wait, lambda: self._poll(poll, at_once=True))

    def _polled(self, poll: Poll, body: bytes | None) -> None:
        feed = poll.kind, poll.request.symbol or "*"
        try:
            if body is None:
                raise ValueError("no answer")
            decoded = self._venue.decode_poll(poll, body, self._listing, self.seen())
        except UNREADABLE as error:
            failures = self._failures[feed] = self._failures.get(feed, 0) + 1
            if failures == _FAILURES_DOWN and feed in self._up:
                self._up.discard(feed)
                self._say(feed, False, str(error))
            return
        self._failures[feed] = 0
        events, _ = facts(decoded, self._contracts)
        if events and feed not in self._up and poll.kind is not Kind.FUNDING:
            self._up.add(feed)
            self._say(feed, True, "")
        for event in events:
            self.publish(event)

    def _say(self, feed: tuple[Kind, str], up: bool, reason: str) -> None:
        kind, symbol = feed
        self.publish(FeedState(venue=self.model.name, symbol=symbol, kind=kind, seen=self.seen(),
                               up=up, reason=reason))  # fmt: skip


class StreamsModel:
    """The streams role: all venues, conflation, a Tick each second. ``write`` gets what goes to
    the stream."""

    def __init__(
        self,
        models: Sequence[VenueModel],
        wires: Wires,
        agenda: Agenda,
        clock: WallClock,
        assets: Sequence[str],
        write: Publish,
    ) -> None:
        self._conflator = Conflator(assets)
        self._agenda = agenda
        self._clock = clock
        self._write = write
        clock.on_step(self._step)
        self.clients = [
            ClientModel(model, wires, agenda, clock, self.publish, assets) for model in models
        ]
        agenda.every(SECOND, SECOND, self._tick)

    def publish(self, event: AnyEvent) -> None:
        """Accept an event."""
        for going in self._conflator.offer(event):
            self._write(going)

    def _step(self, by: Ms, seen: Ms) -> None:
        for event in self._conflator.flush():
            self._write(event)
        self._write(ClockStep(seen=seen, by=by))

    def _tick(self) -> None:
        if skipped(self._agenda.now):
            return
        now = self._clock.seen()
        for event in self._conflator.due(now):
            self._write(event)
        self._write(Tick(seen=now))


__all__ = ["ClientModel", "StreamsModel"]
