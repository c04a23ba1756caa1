"""The life of one socket. Pure: told what happened and when, it says what to do.

Invariants:
- a feed is said to be up only after its data came, and down before anything else once its socket,
  its sequence or its data is lost;
- rubbish is counted and dropped, never fatal; a broken sequence costs one symbol, never the socket;
- backoff starts anew with the first data, not with the handshake.

``now`` is any clock in milliseconds that never runs backwards; ``seen`` is the time put on events.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from streams.book import Book, Sample, Verdict
from streams.events import Depth, FeedState, Instrument, Kind, MarketEvent, Ms, kind_of
from streams.venue import BookUpdate, Listing, Malformed, Reply, Request, Subscription, Venue

MAX_FRAME_BYTES = 16 * 1024 * 1024
BACKOFF_MS = (1_000, 60_000)
"""First and longest wait before the next try."""

RESYNC_EVERY_MS = 10_000
"""A book is not asked for more often than this."""

WIDEN_EVERY_MS = 60_000
"""How often a book whose narrow bands have left the snapshot's reach is asked for anew."""

CROSSED_MS = 3_000
"""A book crossed for this long has missed something, whatever its ids say."""

STALL_MS = 60_000
"""One book silent for this long, on a socket where others move, is asked for anew."""

HANDSHAKE_SILENCE_MS = 30_000
"""A socket that has brought no data at all for this long after opening is given up."""


class Send(msgspec.Struct, frozen=True):
    """Write this text to the socket."""

    data: bytes


class Fetch(msgspec.Struct, frozen=True):
    """Ask for a book snapshot by REST; the answer goes to ``Session.fetched``."""

    request: Request


class Hangup(msgspec.Struct, frozen=True):
    """Close the socket and connect again; ``reason`` in words."""

    reason: str


class Relist(msgspec.Struct, frozen=True):
    """Read the venue's listing anew: what we decode with is out of date."""


class Note(msgspec.Struct, frozen=True):
    """Something for the log: said once a kind and session, counted always."""

    what: str
    detail: str


Action = MarketEvent | FeedState | Send | Fetch | Hangup | Relist | Note


class Stats(msgspec.Struct):
    """What a socket has lived through since start, for the status page."""

    frames: int = 0
    events: int = 0
    dropped: int = 0
    refused: int = 0
    gaps: int = 0
    duplicates: int = 0
    resyncs: int = 0
    connects: int = 0
    lag_ms: int = 0
    last_data: Ms = 0


class _BookState(msgspec.Struct):
    """One book and what is known of its health."""

    book: Book
    up: bool = False
    moved: Ms = 0
    asked: Ms = -(10**12)
    crossed_since: Ms | None = None


class Session:
    """One socket of one venue, over all its reconnects."""

    def __init__(
        self,
        venue: Venue,
        subscription: Subscription,
        listing: Listing,
        jitter: Callable[[], float],
    ) -> None:
        """``jitter`` gives numbers in [0, 1); it spreads reconnects."""
        self.subscription = subscription
        self.listing = listing
        self.stats = Stats()
        self._venue = venue
        self._jitter = jitter
        self._failures = 0
        self._opened: Ms | None = None
        self._heard: dict[Kind, Ms] = {}
        self._up: set[tuple[Kind, str]] = set()
        self._books: dict[str, _BookState] = {}
        self._pinged: Ms = 0
        self._noted: set[str] = set()
        self._reason = "not connected yet"

    def opened(self, now: Ms) -> list[Action]:
        """The socket is open: subscribe."""
        self.stats.connects += 1
        self._opened = self._pinged = now
        self._heard.clear()
        if Kind.DEPTH in self.subscription.kinds:
            self._books = {s: _BookState(Book(), moved=now) for s in self.subscription.symbols}
        return [Send(message) for message in self.subscription.messages]

    def received(self, frame: bytes, now: Ms, seen: Ms) -> list[Action]:
        """A frame came. Never raises on what a venue may send."""
        self.stats.frames += 1
        try:
            decoded = self._venue.decode(frame, self.listing, seen)
        except (Malformed, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.stats.dropped += 1
            return self._note("frame dropped", f"{error}: {frame[:120]!r}")
        actions: list[Action] = []
        for item in decoded:
            if isinstance(item, BookUpdate):
                actions += self._book_update(item, now, seen)
            elif isinstance(item, Reply):
                actions += self._reply(item)
            else:
                self._fact(item, now, seen, actions)
        return actions

    def fetched(self, symbol: str, body: bytes, now: Ms) -> list[Action]:
        """The answer to a Fetch."""
        state = self._books.get(symbol)
        if state is None:
            return []
        try:
            snapshot = self._venue.decode_snapshot(symbol, body, self.listing)
        except (Malformed, msgspec.MsgspecError) as error:
            self.stats.dropped += 1
            return self._note("snapshot dropped", f"{error}: {body[:120]!r}")
        self.stats.resyncs += 1
        if not state.book.offer(snapshot):
            return self._resync(symbol, state, now)
        return []

    def tick(self, now: Ms, seen: Ms) -> list[Action]:
        """A second has passed: sample the books, ping, look for silence."""
        if self._opened is None:
            return []
        silent = self._silence(now)
        if silent:
            return [Hangup(silent)]
        actions: list[Action] = []
        spec = self._venue.SPEC
        if spec.ping is not None and now - self._pinged >= spec.ping_s * 1000:
            self._pinged = now
            actions.append(Send(spec.ping))
        for symbol, state in self._books.items():
            actions += self._sample(symbol, state, now, seen)
        return actions

    def closed(self, reason: str, seen: Ms) -> tuple[list[Action], Ms]:
        """The socket is gone: what to say of its feeds, and the wait before the next try."""
        self._opened = None
        self._failures += 1
        first, longest = BACKOFF_MS
        wait = min(first * 2 ** min(self._failures - 1, 16), longest)
        self._books.clear()
        return self.down(reason, seen), int(wait * (0.5 + self._jitter() / 2))

    def down(self, reason: str, seen: Ms) -> list[Action]:
        """All feeds that were up go down for ``reason``."""
        self._reason = reason
        actions: list[Action] = [
            self._state(kind, symbol, False, seen, reason) for kind, symbol in sorted(self._up)
        ]
        self._up.clear()
        return actions

    def states(self, seen: Ms) -> list[FeedState]:
        """The state of every feed of this socket, as of now."""
        reason = self._reason
        return [
            self._state(kind, symbol, up, seen, "" if up else reason)
            for kind, symbol in self._feeds()
            for up in ((kind, symbol) in self._up,)
        ]

    @property
    def connected(self) -> bool:
        """The socket is open."""
        return self._opened is not None

    @property
    def ready(self) -> bool:
        """Every feed of this socket is up (books: nine of ten), so that it can take over."""
        feeds = list(self._feeds())
        return len(self._up) >= 0.9 * len(feeds)

    @property
    def reason(self) -> str:
        """Why feeds are down, in words."""
        return self._reason

    def books(self) -> tuple[int, int]:
        """How many books are in sequence, out of how many."""
        return sum(state.up for state in self._books.values()), len(self._books)

    # ── facts and feeds ─────────────────────────────────────────────────

    def _feeds(self) -> Iterator[tuple[Kind, str]]:
        for kind in sorted(self.subscription.kinds):
            for symbol in self.subscription.symbols or ("*",):
                yield kind, symbol

    def _fact(self, event: MarketEvent, now: Ms, seen: Ms, actions: list[Action]) -> None:
        kind = kind_of(event)
        self._heard_of(kind, now, seen)
        self.stats.events += 1
        self.stats.lag_ms = seen - event.at
        symbol = event.symbol if self.subscription.symbols else "*"
        if (kind, symbol) not in self._up:
            actions += self._go_up(kind, symbol, seen)
        actions.append(event)

    def _heard_of(self, kind: Kind, now: Ms, seen: Ms) -> None:
        self._heard[kind] = now
        self._failures = 0
        self.stats.last_data = seen

    def _go_up(self, kind: Kind, symbol: str, seen: Ms) -> list[Action]:
        """This feed is up; so are liquidations on the same socket, for which silence is normal."""
        kinds = {kind}
        if kind is not Kind.DEPTH and Kind.LIQUIDATION in self.subscription.kinds:
            kinds.add(Kind.LIQUIDATION)
        new = sorted((k, symbol) for k in kinds if (k, symbol) not in self._up)
        self._up.update(new)
        return [self._state(k, s, True, seen) for k, s in new]

    def _state(self, kind: Kind, symbol: str, up: bool, seen: Ms, reason: str = "") -> FeedState:
        venue = self._venue.SPEC.name
        return FeedState(venue=venue, symbol=symbol, kind=kind, seen=seen, up=up, reason=reason)

    def _silence(self, now: Ms) -> str | None:
        """In words what has been silent for too long, None if nothing has."""
        assert self._opened is not None  # noqa: S101  # tick() looked
        limits: Mapping[Kind, float] = self.subscription.silence_s
        for kind, limit in limits.items():
            quiet = now - self._heard.get(kind, self._opened)
            allowed = (
                limit * 1000 if kind in self._heard else max(limit * 1000, HANDSHAKE_SILENCE_MS)
            )
            if quiet > allowed:
                return f"no {kind.replace('_', ' ')} data for {quiet // 1000} s"
        return None

    # ── replies ─────────────────────────────────────────────────────────

    def _reply(self, reply: Reply) -> list[Action]:
        actions: list[Action] = []
        if reply.relist:
            actions.append(Relist())
        if reply.ok:
            return actions
        self.stats.refused += 1
        actions += self._note("request refused", reply.text)
        if reply.symbols:
            keep = [s for s in self.subscription.symbols if s not in reply.symbols]
            self.subscription = msgspec.structs.replace(self.subscription, symbols=tuple(keep))
            for symbol in reply.symbols:
                self._books.pop(symbol, None)
            actions += [Send(m) for m in self._venue.resubscribe(keep, self.subscription)]
        return actions

    def _note(self, what: str, detail: str) -> list[Action]:
        if what in self._noted:
            return []
        self._noted.add(what)
        return [Note(what, detail[:200])]

    # ── books ───────────────────────────────────────────────────────────

    def _book_update(self, update: BookUpdate, now: Ms, seen: Ms) -> list[Action]:
        state = self._books.get(update.symbol)
        if state is None:
            return []
        self._heard_of(Kind.DEPTH, now, seen)
        self.stats.lag_ms = seen - update.at
        state.moved = now
        verdict = state.book.update(update)
        if verdict is Verdict.APPLIED:
            return []
        if verdict is Verdict.DUPLICATE:
            self.stats.duplicates += 1
            return []
        actions: list[Action] = []
        if verdict is Verdict.GAP:
            self.stats.gaps += 1
            actions += self._book_down(update.symbol, state, "a change is missing", seen)
        return actions + self._resync(update.symbol, state, now)

    def _resync(self, symbol: str, state: _BookState, now: Ms) -> list[Action]:
        if now - state.asked < RESYNC_EVERY_MS:
            return []
        state.asked = now
        state.book.expect_snapshot()
        how = self._venue.resync(symbol, self.subscription)
        if isinstance(how, Request):
            return [Fetch(how)]
        return [Send(message) for message in how]

    def _book_down(self, symbol: str, state: _BookState, reason: str, seen: Ms) -> list[Action]:
        if not state.up:
            return []
        state.up = False
        self._up.discard((Kind.DEPTH, symbol))
        return [self._state(Kind.DEPTH, symbol, False, seen, f"book {reason}")]

    def _sample(self, symbol: str, state: _BookState, now: Ms, seen: Ms) -> list[Action]:
        if now - state.moved > STALL_MS:
            state.moved = now
            down = self._book_down(symbol, state, "silent", seen)
            return down + self._resync(symbol, state, now)
        sample = state.book.sample()
        if isinstance(sample, str):
            return self._invalid(symbol, state, sample, now, seen)
        state.crossed_since = None
        instrument = self.listing.instruments.get(symbol)
        if instrument is None:
            return []
        actions: list[Action] = []
        if not state.up:
            state.up = True
            actions += self._go_up(Kind.DEPTH, symbol, seen)
        actions.append(_depth(instrument, state.book.at, seen, sample))
        self.stats.events += 1
        if not sample.bands[0].covered and sample.spread_bp is not None:
            actions += self._widen(symbol, state, now)
        return actions

    def _invalid(
        self, symbol: str, state: _BookState, reason: str, now: Ms, seen: Ms
    ) -> list[Action]:
        actions = self._book_down(symbol, state, reason, seen)
        if not state.book.synced:
            return actions + self._resync(symbol, state, now)
        if reason == "crossed":
            state.crossed_since = now if state.crossed_since is None else state.crossed_since
            if now - state.crossed_since >= CROSSED_MS:
                self.stats.gaps += 1
                state.crossed_since = None
                state.book.reset()
                return actions + self._resync(symbol, state, now)
        return actions

    def _widen(self, symbol: str, state: _BookState, now: Ms) -> list[Action]:
        """The price has left what the snapshot told: a fresh one adds to what is known."""
        how = self._venue.resync(symbol, self.subscription)
        if now - state.asked < WIDEN_EVERY_MS or not isinstance(how, Request):
            return []
        return self._resync(symbol, state, now)


def _depth(instrument: Instrument, at: Ms, seen: Ms, sample: Sample) -> Depth:
    return Depth(
        venue=instrument.venue,
        symbol=instrument.symbol,
        asset=instrument.asset,
        at=at,
        seen=seen,
        mid=sample.mid,
        spread_bp=sample.spread_bp,
        bands=sample.bands,
    )
