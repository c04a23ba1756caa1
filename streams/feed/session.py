"""The life of one socket. Pure: told what happened and when, it says what to do.

Invariants:
- a feed is said to be up only after its data came, and down before anything else once its socket,
  its sequence or its data is lost;
- rubbish is counted and dropped, never fatal; a broken sequence of a book costs one symbol, never
  the socket; one of the connection, of which nobody knows what was lost, costs the socket;
- backoff starts anew with data that keeps coming, not with the handshake.

``now`` is any clock in milliseconds that never runs backwards; ``seen`` is the time put on events.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from streams.contracts import Terms
from streams.durations import MINUTE, SECOND
from streams.events import NOT_WATCHED, FeedState, Kind, Liquidation, MarketEvent, Ms, kind_of
from streams.feed.actions import Action, Hangup, Note, Relist, Send, Stats
from streams.feed.books import BookSet
from streams.feed.liquidations import RecentLiquidations
from streams.feed.suspects import Suspects
from streams.venue import (
    UNREADABLE,
    BookUpdate,
    Candle,
    ChannelNumber,
    Listing,
    Mid,
    Place,
    Reply,
    Subscription,
    Unreadable,
    Venue,
    take_channel,
)

BACKOFF_MS = (SECOND, MINUTE)
"""First and longest wait before the next try."""

STEADY_MS = 10_000
"""Data of a socket this old ends the backoff: one that always breaks at once is no success."""

HANDSHAKE_SILENCE_MS = 30_000
"""A kind that has not come at all for this long after opening is silent."""

MISSING_MS = MINUTE
"""A feed that has not come once for so long since it was wanted is said to be down."""

REPEAT_MS = MINUTE
"""Venues leave out what did not change; a known fact of a live feed is said again so often."""

_CLOSES = "the venue closes the connection when it is asked for"

_PINGS_UNANSWERED = 2.5
"""A socket is dead on which nothing has come for so many pings."""

_CLOSED_AGAIN = 3
"""So many closures in a row, without steady data in between, are not the network's."""

_REPEATED = frozenset((Kind.OPEN_INTEREST, Kind.FUNDING))
_READY_SHARE = 0.9

_COUNTS = tuple(name for name in Stats.__struct_fields__ if name not in ("lag_ms", "last_data"))


class Session:
    """One socket of one venue, over all its reconnects."""

    def __init__(
        self,
        venue: Venue,
        subscription: Subscription,
        listing: Listing,
        jitter: Callable[[], float],
        recent: RecentLiquidations | None = None,
    ) -> None:
        """``jitter`` gives numbers in [0, 1); it spreads reconnects. ``recent``: what all sessions
        of the venue have brought; None: this one is alone."""
        self.subscription = subscription
        """What the connection was asked for."""
        self._channels: dict[int, str] = {}
        """Those of the connection that is open."""
        self.listing = listing
        self.stats = Stats()
        self._next = subscription
        """What the next connection is asked for."""
        self.outdated = False
        """The connection does not bring what is wanted."""
        self._venue = venue
        self._jitter = jitter
        self._failures = 0
        self._opened: Ms | None = None
        self._last_data: dict[Kind, Ms] = {}
        self._up: set[tuple[Kind, str]] = set()
        self._spoken: set[tuple[Kind, str]] = set()
        """The feeds that were up once, or were said to be missing."""
        self._wanted: Ms | None = None
        """When ``missing`` was first asked."""
        self._known: dict[tuple[Kind, str], MarketEvent] = {}
        self._alive: dict[str, Ms] = {}
        self._books = BookSet(venue, subscription, self.stats, self._turn_book, self._channels)
        self._refused: dict[str, str] = {}
        """The symbols of which this connection brings nothing, and why."""
        self._suspects = Suspects()
        self._asked_singly = False
        self._pinged: Ms = 0
        self._latest: Ms = 0
        """The last ``now``."""
        self._heard: Ms = 0
        self._place: int | None = None
        """The number of the newest frame of this connection; None: frames are not numbered."""
        self._recent = recent or RecentLiquidations()
        self._repeats = self._recent.expected(0)
        self._late: Ms = 0
        """How late the last fact was that is told as it is: no liquidation."""
        self.closing = False
        """The venue has said that it closes this connection."""
        self.replaces: Session | None = None
        """The session in whose place this one is to speak; until then both have a connection."""
        self._noted: set[str] = set()
        self._reason = "not connected yet"

    @property
    def listing(self) -> Listing:
        """What is known of the venue, with the channels of this connection."""
        return self._listing

    @listing.setter
    def listing(self, listing: Listing) -> None:
        self._listing = msgspec.structs.replace(listing, channels=self._channels)

    def opened(self, now: Ms) -> list[Action]:
        """The socket is open: subscribe."""
        self.stats.connects += 1
        self._opened = self._pinged = self._heard = self._latest = now
        self._repeats = self._recent.expected(now)
        self.closing = False
        self._place = None
        self._channels.clear()
        self._last_data.clear()
        self._known.clear()
        self._alive.clear()
        self.outdated = False
        if self._next != self.subscription:
            self.subscription = self._books.subscription = self._next
            self._suspects = Suspects(self._suspects.guilty)
        self._refused = dict.fromkeys(self._suspects.guilty, _CLOSES)
        self._asked_singly = False
        self._reason = "no data yet"
        if Kind.DEPTH in self.subscription.kinds:
            self._books.open(now)
        part = self._suspects.opened(now)
        if not part and not self._refused:
            return [Send(message) for message in self.subscription.messages]
        return self._ask(part or [s for s in self.subscription.symbols if s not in self._refused])

    def want(self, subscription: Subscription, seen: Ms) -> list[FeedState]:
        """What the next connection is to be asked for. Feeds that are not of it go down at once."""
        self._next = subscription
        self.outdated |= subscription != self.subscription
        gone = set(self.subscription.symbols).difference(subscription.symbols)
        left_out = [self._leave_out(symbol, NOT_WATCHED, seen) for symbol in sorted(gone)]
        return [state for states in left_out for state in states]

    def ask_again(self, symbols: Iterable[str]) -> None:
        """These are listed again: what the venue refused of them, the next connection asks for."""
        self.outdated |= any(symbol in self._refused for symbol in symbols)

    def received(self, frame: bytes, now: Ms, seen: Ms) -> list[Action]:
        """A frame came. Never raises on what a venue may send."""
        if self._opened is None:
            return []
        self.stats.frames += 1
        self._heard = now
        try:
            decoded = self._venue.decode(frame, self.listing, seen)
        except UNREADABLE as error:
            self.stats.dropped += 1
            return self._note("frame dropped", f"{error}: {frame[:120]!r}")
        actions: list[Action] = []
        misplaced = self.listing.contracts.misplaced(decoded) if self.listing.order else {}
        for item in decoded:
            if isinstance(item, BookUpdate):
                self._note_data(Kind.DEPTH, now)
                if self.listing.order and item.snapshot and item.bids and item.asks:
                    mid = (item.bids[0][0] + item.asks[0][0]) / 2
                    self.listing.contracts.take_mid(item.symbol, mid, seen)
                actions += self._books.update(self.listing.instruments, item, now, seen)
            elif isinstance(item, Reply):
                actions += self._reply(item, seen)
            elif isinstance(item, Terms):
                self.listing.contracts.take(item)
            elif isinstance(item, Mid):
                self.listing.contracts.take_mid(item.symbol, item.price, seen)
            elif isinstance(item, Place):
                before, self._place = self._place, item.number
                if before is not None and item.number != before + 1:
                    self.stats.gaps += 1
                    lost = f"frame {item.number} of the connection came after {before}"
                    return [*self.down(lost, seen), Hangup(lost)]
            elif isinstance(item, ChannelNumber):
                take_channel(self._channels, item)
            elif isinstance(item, Unreadable):
                self.stats.unreadable_rows += len(item.rows)
                actions.append(item)
            elif not isinstance(item, Candle):
                self._take(item, misplaced.get(item.symbol, ""), now, seen, actions)
        return actions

    def fetched(self, symbol: str, body: bytes, now: Ms, seen: Ms) -> list[Action]:
        """The answer to a Fetch. It may come late, even after a reconnect: ids tell."""
        try:
            snapshot = self._venue.decode_snapshot(symbol, body, self.listing)
        except UNREADABLE as error:
            self.stats.dropped += 1
            return self._note("snapshot dropped", f"{error}: {body[:120]!r}")
        return self._books.offer(self.listing.instruments, snapshot, now, seen)

    def tick(self, now: Ms, seen: Ms) -> list[Action]:
        """A second has passed: sample the books, ping, look for silence."""
        if self._opened is None:
            return []
        spec = self._venue.SPEC
        silent = self._silence(now, self._opened)
        if not spec.answers_pings and now - self._heard > _PINGS_UNANSWERED * spec.ping_s * 1000:
            silent = silent or "it no longer answers pings"
        if silent:
            return [Hangup(silent)]
        self._latest = now
        actions: list[Action] = self._ask(self._suspects.tick(now))
        if spec.ping is not None and now - self._pinged >= spec.ping_s * 1000:
            self._pinged = now
            actions.append(Send(spec.ping))
        actions += self._repeat(now, seen)
        return actions + self._books.tick(self.listing.instruments, now, seen)

    def closed(self, reason: str, seen: Ms) -> tuple[list[Action], Ms]:
        """The socket is gone: what to say of its feeds, and the wait before the next try.

        One that the venue accepts and then closes, again and again, asks for something that is no
        longer there: then the listing is read anew, and what it is, is searched for.
        """
        was_open = self._opened is not None
        guilty = self._suspects.closed(self._latest, bool(self._last_data)) if was_open else ""
        self._opened = None
        self._failures += 1
        first, longest = BACKOFF_MS
        wait = min(first * 2 ** min(self._failures - 1, 16), longest)
        actions: list[Action] = [*self.down(reason, seen)]
        if was_open and self._failures >= _CLOSED_AGAIN:
            actions.append(Relist())
            self._suspects.begin(self.subscription.symbols)
        if guilty:
            self.stats.refused += 1
            detail = f"{guilty}: {_CLOSES}"
            actions += self._note("request refused", detail)
        self._books.close()
        return actions, int(wait * (0.5 + self._jitter() / 2))

    def down(self, reason: str, seen: Ms) -> list[FeedState]:
        """All feeds that were up go down for ``reason``."""
        self._reason = reason
        states = [self._state(*feed, False, seen, reason) for feed in sorted(self._up)]
        self._up.clear()
        self._books.set_down()
        return states

    def states(self, seen: Ms) -> list[FeedState]:
        """The state of every feed of this socket, as of now."""
        return [
            self._state(*feed, up=True, seen=seen)
            if feed in self._up
            else self._state(*feed, up=False, seen=seen, reason=self._reason)
            for feed in self._feeds()
        ]

    def missing(self, now: Ms, seen: Ms) -> list[FeedState]:
        """The feeds that have not come once though they have been wanted for a while: down, each
        said once. To be asked now and then while this session speaks, connected or not."""
        if self._wanted is None:
            self._wanted = now
        if now - self._wanted < MISSING_MS:
            return []
        refused = [(kind, s) for kind in sorted(self.subscription.kinds) for s in self._refused]
        feeds = [feed for feed in (*self._feeds(), *refused) if feed not in self._spoken]
        self._spoken.update(feeds)
        return [
            self._state(*feed, False, seen, self._refused.get(feed[1], self._reason))
            for feed in feeds
        ]

    def coverage(self, other: "Session") -> float:
        """Which share of the feeds that are up in ``other`` is up here; 0 while not connected."""
        if self._opened is None:
            return 0.0
        return len(other._up & self._up) / len(other._up) if other._up else 1.0

    def replace(self, other: "Session") -> None:
        """This session is to speak in the place of ``other`` once it is complete."""
        self.replaces = other
        self._suspects = Suspects(other._suspects.guilty)

    def take_over(self, other: "Session", seen: Ms) -> list[FeedState]:
        """This session speaks in the place of ``other`` from now on: what differs, said."""
        lost, won = sorted(other._up - self._up), sorted(self._up - other._up)
        self.replaces = None
        states = [self._state(*feed, False, seen, self._reason) for feed in lost]
        states += [self._state(*feed, True, seen) for feed in won]
        mine, before = self.stats, other.stats
        for name in _COUNTS:
            setattr(mine, name, getattr(mine, name) + getattr(before, name))
        return states

    @property
    def connected(self) -> bool:
        """The socket is open."""
        return self._opened is not None

    @property
    def ready(self) -> bool:
        """Nine of ten feeds of this socket are up; one without feeds is open."""
        return self.connected and len(self._up) >= _READY_SHARE * sum(1 for _ in self._feeds())

    @property
    def reason(self) -> str:
        """Why feeds are down, in words."""
        return self._reason

    def books(self) -> tuple[int, int]:
        """How many books are up, out of how many."""
        return self._books.count()

    # ── facts and feeds ─────────────────────────────────────────────────

    def _feeds(self) -> Iterator[tuple[Kind, str]]:
        for kind in sorted(self.subscription.kinds):
            for symbol in self.subscription.symbols or ("*",):
                if symbol not in self._refused:
                    yield kind, symbol

    def _take(
        self, event: MarketEvent, doubt: str, now: Ms, seen: Ms, actions: list[Action]
    ) -> None:
        """A fact, with what its frame left out. ``doubt``: why it is of another contract, or ""."""
        if isinstance(event, Liquidation):
            if self._venue.SPEC.throttles_liquidations:
                event = msgspec.structs.replace(event, throttled=True)
            if self._is_replay(event, now):  # which may be of long ago, and is no error then
                self.stats.duplicates += 1
                return
            if why := self.listing.contracts.impossible(event):
                self.stats.unreadable_rows += 1
                actions.append(Unreadable(rows=(f"{event.symbol} liquidation",)))
                actions += self._note("liquidation left out", f"{event.symbol}: {why}")
                return
        whole = None
        if not doubt:
            whole, doubt = self.listing.contracts.complete(event)
            if whole is None:  # the venue spoke, though what it said cannot be told yet
                self._note_data(kind_of(event), now)
        if doubt:
            actions += self._reply(Reply(ok=False, text=doubt, relist=True), seen)
        if whole is not None:
            self._fact(whole, now, seen, actions)

    def _fact(self, event: MarketEvent, now: Ms, seen: Ms, actions: list[Action]) -> None:
        kind = kind_of(event)
        self._note_data(kind, now)
        self.stats.events += 1
        self.stats.lag_ms = seen - event.at
        if kind is not Kind.LIQUIDATION:
            self._late = seen - event.at
        self._alive[event.symbol] = now
        if kind in _REPEATED:
            self._known[kind, event.symbol] = event
        symbol = event.symbol if self.subscription.symbols else "*"
        if (kind, symbol) not in self._up:
            actions += self._go_up(kind, symbol, seen)
        actions.append(event)

    def _is_replay(self, event: Liquidation, now: Ms) -> bool:
        """Whether it is of before it was asked for: told already, or too old to be news.

        What is neither is remembered; while another session speaks in the place of this one, by
        that one.
        """
        if not self._venue.SPEC.repeats_liquidations:
            return False
        if self._repeats.take(event, now, self._late):
            return True
        if self.replaces is None:
            self._recent.add(event, now)
        return False

    def _repeat(self, now: Ms, seen: Ms) -> Iterator[Action]:
        """Facts that have not changed for a while, of symbols that something was heard of.

        Only where a frame leaves out what has not changed: elsewhere it would be there.
        """
        if self._venue.SPEC.rows != "changes":
            return
        for feed, event in self._known.items():
            if (
                not 0 <= seen - event.seen < REPEAT_MS
                and now - self._alive[event.symbol] < REPEAT_MS
            ):
                again, _ = self.listing.contracts.complete(
                    msgspec.structs.replace(event, seen=seen)
                )
                if again is not None:
                    self._known[feed] = again
                    yield again

    def _note_data(self, kind: Kind, now: Ms) -> None:
        self._last_data[kind] = now
        self.stats.last_data = now
        if self._failures and self._opened is not None and now - self._opened >= STEADY_MS:
            self._failures = 0

    def _go_up(self, kind: Kind, symbol: str, seen: Ms) -> list[Action]:
        """This feed is up; so are liquidations on the same socket, for which silence is normal."""
        kinds = {kind}
        if kind is not Kind.DEPTH and Kind.LIQUIDATION in self.subscription.kinds:
            kinds.add(Kind.LIQUIDATION)
        new = sorted((k, symbol) for k in kinds if (k, symbol) not in self._up)
        self._up.update(new)
        self._spoken.update(new)
        return [self._state(*feed, True, seen) for feed in new]

    def _turn_book(self, symbol: str, up: bool, seen: Ms, reason: str) -> list[Action]:
        if up:
            return self._go_up(Kind.DEPTH, symbol, seen)
        return [*self._go_down(Kind.DEPTH, symbol, seen, reason)]

    def _go_down(self, kind: Kind, symbol: str, seen: Ms, reason: str) -> list[FeedState]:
        if (kind, symbol) not in self._up:
            return []
        self._up.discard((kind, symbol))
        return [self._state(kind, symbol, False, seen, reason)]

    def _state(self, kind: Kind, symbol: str, up: bool, seen: Ms, reason: str = "") -> FeedState:
        instrument = self.listing.instruments.get(symbol)
        return FeedState(
            venue=self._venue.SPEC.name,
            symbol=symbol,
            kind=kind,
            seen=seen,
            up=up,
            reason=reason,
            asset=instrument.asset if instrument else "",
        )

    def _silence(self, now: Ms, opened: Ms) -> str | None:
        """In words what has been silent for too long, None if nothing has."""
        for kind, limit_s in sorted(self.subscription.silence_s.items()):
            limit = limit_s * 1000
            last = self._last_data.get(kind)
            quiet = now - (opened if last is None else last)
            if quiet > (max(limit, HANDSHAKE_SILENCE_MS) if last is None else limit):
                return f"no {kind.replace('_', ' ')} data for {quiet // 1000} s"
        return None

    # ── replies ─────────────────────────────────────────────────────────

    def _reply(self, reply: Reply, seen: Ms) -> list[Action]:
        if reply.answer:
            return [Send(reply.answer.encode())]
        if reply.relist:
            return [Relist(), *self._note("listing out of date", reply.text)]
        self.closing |= reply.closing
        if reply.ok:
            return self._open(reply.opens, reply.symbols, seen) if reply.opens else []
        self.stats.refused += 1
        actions = self._note("request refused", reply.text)
        refused = [symbol for symbol in reply.symbols if symbol in self.subscription.symbols]
        reason = f"refused: {reply.text[:100]}"
        for symbol in refused:
            actions += self._leave_out(symbol, reason, seen)
        return actions + self._ask_singly()

    def _open(self, kind: Kind, symbols: Sequence[str], seen: Ms) -> list[Action]:
        """A feed is subscribed for which silence is normal."""
        if kind not in self.subscription.kinds:
            return []
        wanted = self.subscription.symbols
        opened = [s for s in symbols if s in wanted] if wanted else ["*"]
        return [action for symbol in opened for action in self._go_up(kind, symbol, seen)]

    def _leave_out(self, symbol: str, reason: str, seen: Ms) -> list[FeedState]:
        """This connection brings nothing of a symbol any more."""
        self._refused[symbol] = reason
        self._books.drop(symbol)
        states: list[FeedState] = []
        for kind in sorted(self.subscription.kinds):
            states += self._go_down(kind, symbol, seen, reason)
        return states

    def _ask(self, symbols: Sequence[str]) -> list[Action]:
        if not symbols:
            return []
        self._repeats = self._recent.expected(self._latest)
        return [Send(message) for message in self._venue.resubscribe(symbols, self.subscription)]

    def _ask_singly(self) -> list[Action]:
        """One refusal may have cost all that was asked with it; asked singly it costs itself."""
        if self._asked_singly:
            return []
        self._asked_singly = True
        return self._ask([s for s in self.subscription.symbols if s not in self._refused])

    def _note(self, what: str, detail: str) -> list[Action]:
        if what in self._noted:
            return []
        self._noted.add(what)
        return [Note(what, detail[:200])]
