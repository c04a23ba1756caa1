"""Recorded frames → messages, as fast as it goes: no sockets, no Redis, no waiting.

The same adapters, sessions, conflation and rules as live; only the frames come from files. What a
session would fetch is taken from the recording when it comes by there.
"""

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from bot.config import Settings
from bot.plan.planner import Chat, Delivery, PlanState, going_on, next_due, plan
from rules.alerts import AlertOrNotice, Notice
from rules.engine import Engine
from streams.bus.conflate import Conflator
from streams.contracts import Contracts
from streams.events import AnyEvent, Event, FeedState, Instrument, MarketEvent, Ms, Tick, kind_of
from streams.feed.actions import Action, Hangup, Relist
from streams.feed.recording import Recorded, replay, request_channel, socket_channel
from streams.feed.selection import Markets, Wants, Watchlist, choose_assets, presentable, wants
from streams.feed.session import Session
from streams.venue import UNREADABLE, Listing, Poll, Subscription, Venue, facts
from streams.venues import VENUES

_STAMP = re.compile(r"\d{13}")


class Count(msgspec.Struct):
    """What came of a replay."""

    frames: int = 0
    dropped: int = 0
    events: int = 0
    first: Ms = 0
    last: Ms = 0


class Replay:
    """The events of any number of recordings together, of ``venues``, in order of receipt."""

    def __init__(self, settings: Settings, venues: Collection[str] = VENUES.keys()) -> None:
        self.count = Count()
        self._chosen = venues
        self._markets = settings.markets
        self._leave_out = {venue.name: venue.leave_out for venue in settings.venues}
        self._conflator = Conflator(self._markets.named)
        self._venues: dict[str, _ReplayedVenue] = {}
        self._ticked: Ms = 0

    def events(self, paths: Sequence[Path]) -> Iterator[AnyEvent]:
        """What these recordings would have brought to the rules, in order.

        Raises OSError or ValueError for a file that cannot be read, holds nothing, or holds frames
        without the listing that explains them.
        """
        for record in heapq.merge(*(_frames(path) for path in paths), key=lambda r: r.t):
            if record.venue not in VENUES or record.venue not in self._chosen:
                continue
            self.count.frames += 1
            self.count.first = self.count.first or record.t
            yield from self._ticks(record.t)
            self.count.last = record.t
            venue = self._venues.get(record.venue)
            if venue is None:
                wanted = wants(self._markets, self._leave_out.get(record.venue, ()))
                venue = self._venues[record.venue] = _ReplayedVenue(
                    VENUES[record.venue], self._markets, wanted
                )
            yield from self._offer(venue.take(record))
            self.count.dropped = sum(venue.dropped for venue in self._venues.values())
        unlisted = [name for name, venue in self._venues.items() if not venue.listed]
        if unlisted:
            raise ValueError(
                f"no listing of {', '.join(unlisted)} in the recording, without which its frames"
                " mean nothing; lowtide record writes it first"
            )

    def _ticks(self, now: Ms) -> Iterator[AnyEvent]:
        """Every second between the last frame and this one passes, as it did live."""
        self._ticked = self._ticked or now
        while now - self._ticked >= 1_000:
            self._ticked += 1_000
            for venue in self._venues.values():
                yield from self._offer(venue.tick(self._ticked))
            for event in self._conflator.due(self._ticked):
                yield self._counted(event)
            yield self._counted(Tick(seen=self._ticked))

    def _offer(self, events: Iterable[AnyEvent]) -> Iterator[AnyEvent]:
        for event in events:
            for going in self._conflator.offer(event):
                yield self._counted(going)

    def _counted(self, event: AnyEvent) -> AnyEvent:
        self.count.events += 1
        return event


def judged(events: Iterable[AnyEvent], settings: Settings) -> Iterator[AlertOrNotice]:
    """The alerts and notices that these events cause, in order."""
    venues = [venue.name for venue in settings.venues]
    engine = Engine(settings.rules, venues, settings.composites)
    for event in events:
        yield from engine.feed(event)


def messages(
    turns: Iterable[AlertOrNotice], chat: Chat, still_open: list[Delivery] | None = None
) -> Iterator[Delivery | Notice]:
    """What the channel and the operators read of these alerts and notices, in order; the edits of
    posts among it. ``still_open`` is given the events that are not over when they end."""
    state = PlanState()
    for seen, group in groupby(turns, key=lambda turn: turn.seen):
        moment = list(group)
        yield from (turn for turn in moment if isinstance(turn, Notice))
        alerts = [turn for turn in moment if not isinstance(turn, Notice)]
        state, deliveries = plan(state, alerts, chat, (), seen)
        yield from deliveries
    while (due := next_due(state)) is not None:
        state, deliveries = plan(state, (), chat, (), due)
        yield from deliveries
    if still_open is not None:
        still_open += going_on(state)


class _ReplayedVenue:
    """One venue of a recording: its listing first, then its sockets and polls."""

    def __init__(self, venue: Venue, markets: Markets, wanted: Wants) -> None:
        self.dropped = 0
        self._venue = venue
        self._markets = markets
        self._is_wanted = wanted
        self._bodies: list[bytes] = []
        self._first = request_channel(venue.listing_requests()[0])
        self._wanted = venue.listing_requests()
        self._listing: Listing | None = None
        self._watchlist = Watchlist()
        self._assets: tuple[str, ...] = ()
        self._polls: dict[str, Poll] = {}
        self._snapshots: dict[str, str] = {}
        self._plans: dict[str, Subscription] = {}
        self._sessions: dict[str, Session] = {}

    @property
    def listed(self) -> bool:
        """Whether the listing has come by."""
        return self._listing is not None

    def take(self, record: Recorded) -> list[AnyEvent]:
        """The events behind one frame."""
        if record.channel.startswith("http:"):
            return self._answer(record)
        if self._listing is None:
            return []
        session = self._sessions.get(record.channel)
        if session is None:
            session = self._open(record, self._listing)
        actions = session.received(record.frame, record.t, record.t)
        self.dropped += session.stats.dropped + any(isinstance(a, Relist) for a in actions)
        session.stats.dropped = 0
        return self._noted(record.channel, session, _events(actions))

    def tick(self, now: Ms) -> list[AnyEvent]:
        """A second has passed."""
        events: list[AnyEvent] = []
        for channel, session in self._sessions.items():
            actions = session.tick(now, now)
            for hangup in [action for action in actions if isinstance(action, Hangup)]:
                actions = session.closed(hangup.reason, now)[0]
                session.opened(now)
                self._forgive(session)
            events += self._noted(channel, session, _events(actions))
        return events

    def _noted(self, channel: str, session: Session, events: list[AnyEvent]) -> list[AnyEvent]:
        """The events, after a note of their kinds: a kind that the recording has is expected."""
        if (plan := self._plans.get(channel)) is None:
            return events
        limits = plan.silence_s
        expected = session.subscription.silence_s
        kinds = {kind_of(event) for event in events if isinstance(event, MarketEvent)}
        new = {kind: limits[kind] for kind in kinds if kind in limits and kind not in expected}
        if new:
            session.subscription = msgspec.structs.replace(
                session.subscription, silence_s={**expected, **new}
            )
        return events

    def _forgive(self, session: Session) -> None:
        """A recording does not answer a reconnect: what is silent now is not waited for."""
        session.subscription = msgspec.structs.replace(session.subscription, silence_s={})

    def _open(self, record: Recorded, listing: Listing) -> Session:
        plan = self._plans.get(record.channel) or Subscription(
            name=record.channel,
            path="",
            messages=(),
            kinds=self._venue.SPEC.kinds,
            symbols=tuple(listing.instruments),
            silence_s={},
        )
        session = Session(self._venue, plan, listing, lambda: 0.0)
        session.opened(record.t)
        self._forgive(session)
        self._sessions[record.channel] = session
        return session

    def _answer(self, record: Recorded) -> list[AnyEvent]:
        channel = _STAMP.sub("{hour_ago}", record.channel)
        if channel == self._first:  # read anew: every hour, and when frames show something else
            self._wanted, self._bodies = self._venue.listing_requests(), []
        if self._wanted and channel == request_channel(self._wanted[0]):
            self._collect(record.frame, record.t)
            return []
        if self._listing is None:
            return []
        if channel in self._snapshots:
            symbol = self._snapshots[channel]
            answered = [
                session.fetched(symbol, record.frame, record.t, record.t)
                for session in self._sessions.values()
            ]
            return [event for actions in answered for event in _events(actions)]
        poll = self._polls.get(channel)
        if poll is None:
            return []
        try:
            decoded = self._venue.decode_poll(poll, record.frame, self._listing, record.t)
        except UNREADABLE:
            self.dropped += 1
            return []
        return [*facts(decoded, self._listing.contracts)[0]]

    def _collect(self, body: bytes, now: Ms) -> None:
        """One answer of a listing, which is listed once no other that it needs is to come.

        Of a later listing that cannot be read the first one stands.
        """
        try:
            request = self._wanted.pop(0)
            self._bodies.append(body)
            following = self._venue.next_listing_request(request, body)
            if following is not None:
                self._wanted.insert(0, following)
            if not any(request.needed for request in self._wanted):
                listed = self._venue.instruments([*self._bodies, *(b"" for _ in self._wanted)])
                self._list(listed.instruments, listed.order, now)
        except UNREADABLE:
            if self._listing is None:
                raise
            self._wanted = []
            self.dropped += 1

    def _list(self, listed: Sequence[Instrument], order: tuple[str, ...], now: Ms) -> None:
        fit = [i for i in listed if presentable(i) and self._is_wanted(i)]
        self._assets = self._assets or choose_assets(fit, self._markets)
        self._watchlist.take(fit, self._assets, now)
        watched = self._watchlist.watched
        instruments = [*watched.values()]
        contracts = self._listing.contracts if self._listing else Contracts()
        contracts.relist(instruments)
        self._listing = Listing(instruments=watched, order=order, contracts=contracts)
        for session in self._sessions.values():
            session.listing = self._listing
        for poll in self._venue.polls(instruments, self._venue.SPEC.kinds):
            self._polls[request_channel(poll.request)] = poll
        for subscription in self._venue.subscriptions(instruments, self._venue.SPEC.kinds):
            self._remember_snapshots(subscription)
            channel = socket_channel(subscription.path)
            self._plans[channel] = _joined(self._plans.get(channel), subscription)

    def _remember_snapshots(self, subscription: Subscription) -> None:
        for symbol in subscription.symbols:
            how = self._venue.resync(symbol, subscription)
            if not isinstance(how, tuple):
                self._snapshots[request_channel(how)] = symbol


def _frames(path: Path) -> Iterator[Recorded]:
    empty = True
    for record in replay(path):
        empty = False
        yield record
    if empty:
        raise ValueError(f"{path} holds no frames")


def _joined(before: Subscription | None, other: Subscription) -> Subscription:
    """Sockets of one path cannot be told apart in a recording: they are heard as one."""
    if before is None:
        return other
    return msgspec.structs.replace(
        before,
        kinds=before.kinds | other.kinds,
        symbols=tuple(dict.fromkeys(before.symbols + other.symbols)),
        silence_s={**before.silence_s, **other.silence_s},
    )


def _events(actions: Iterable[Action]) -> list[AnyEvent]:
    return [action for action in actions if isinstance(action, Event | FeedState)]  # pyright: ignore[reportReturnType]
