"""The books of one socket: which are in sequence, which are asked for anew, what they say. Pure.

Invariants:
- a depth is said only of a book that is up, and a book goes down before it is asked for anew;
- what is wrong with one book costs that book alone.
"""

from collections.abc import Callable, Mapping

import msgspec

from streams.actions import Action, Fetch, Send, Stats
from streams.book import Book, Sample, Verdict
from streams.events import Depth, Instrument, Ms
from streams.venue import BookUpdate, Request, Subscription, Venue

RESYNC_EVERY_MS = (10_000, 160_000)
"""A book is not asked for more often than this; longer and longer while it does not help."""

WIDEN_EVERY_MS = 60_000
"""How often a book whose narrow bands reach beyond what was told is asked for anew."""

NARROW = 1
"""The band, by its place in BANDS_BP, that a snapshot of 1000 levels just reaches on BTC (25 bp).
Snapshots taken as the price moves join up, so that it becomes covered and stays so."""

CROSSED_MS = 3_000
"""A book that is wrong in itself for this long has missed something, whatever its ids say."""

STALL_MS = 60_000
"""One book silent for this long, on a socket where others move, is subscribed and asked for."""

Turn = Callable[[str, bool, Ms, str], list[Action]]
"""(symbol, up, seen, reason) → what to say of a book that came up or went down."""


class _State(msgspec.Struct):
    """One book and what is known of its health.

    ``moved``: when its stream last brought something, or was asked for; ``heard``: it has brought
    something since. ``asked``: when a snapshot was, ``tries`` times in vain.
    """

    book: Book
    moved: Ms
    heard: bool = False
    up: bool = False
    asked: Ms = -(10**12)
    tries: int = 0
    crossed_since: Ms | None = None


class Shelf:
    """The books of one subscription."""

    def __init__(self, venue: Venue, subscription: Subscription, stats: Stats, turn: Turn) -> None:
        self._venue = venue
        self._subscription = subscription
        self._stats = stats
        self._turn = turn
        self._states: dict[str, _State] = {}

    def open(self, now: Ms) -> None:
        """Begin with empty books of all symbols."""
        symbols = self._subscription.symbols
        self._states = {symbol: _State(book=Book(), moved=now) for symbol in symbols}

    def close(self) -> None:
        """Forget all books; the session says that they are down."""
        self._states = {}

    def drop(self, symbol: str) -> None:
        """Forget this book; the session says that it is down."""
        self._states.pop(symbol, None)

    def set_down(self) -> None:
        """All books count as down; the session has said so."""
        for state in self._states.values():
            state.up = False

    def count(self) -> tuple[int, int]:
        """How many books are up, out of how many."""
        return sum(state.up for state in self._states.values()), len(self._states)

    def update(self, update: BookUpdate, now: Ms, seen: Ms) -> list[Action]:
        """A snapshot or a change came."""
        state = self._states.get(update.symbol)
        if state is None:
            return []
        self._stats.lag_ms = seen - update.at
        state.moved, state.heard = now, True
        verdict = state.book.update(update)
        if verdict is Verdict.APPLIED:
            return []
        if verdict is Verdict.DUPLICATE:
            self._stats.duplicates += 1
            return []
        actions: list[Action] = []
        if verdict is Verdict.GAP:
            self._stats.gaps += 1
            actions += self._down(update.symbol, state, "a change is missing", seen)
        return actions + self._resync(update.symbol, state, now)

    def offer(self, snapshot: BookUpdate, now: Ms) -> list[Action]:
        """A snapshot that was asked for came."""
        state = self._states.get(snapshot.symbol)
        if state is None:
            return []
        if not state.book.offer(snapshot):
            return self._resync(snapshot.symbol, state, now)
        state.asked = now  # it may wait for the stream to catch up: no reason to ask again
        return []

    def tick(self, instruments: Mapping[str, Instrument], now: Ms, seen: Ms) -> list[Action]:
        """A second has passed: what the books say now, and what is to be done about them."""
        actions: list[Action] = []
        for symbol, state in self._states.items():
            if now - state.moved > STALL_MS:
                actions += self._revive(symbol, state, now, seen)
                continue
            sample = state.book.sample()
            if isinstance(sample, str):
                actions += self._invalid(symbol, state, sample, now, seen)
            elif (instrument := instruments.get(symbol)) is not None:
                actions += self._valid(instrument, state, sample, now, seen)
        return actions

    def _valid(
        self, instrument: Instrument, state: _State, sample: Sample, now: Ms, seen: Ms
    ) -> list[Action]:
        actions: list[Action] = []
        state.crossed_since, state.tries = None, 0
        if not state.up:
            state.up = True
            actions += self._turn(instrument.symbol, True, seen, "")
        actions.append(_depth(instrument, state.book.at, seen, sample))
        self._stats.events += 1
        # Where levels are aggregated (no spread) narrow bands are never covered.
        lost = not sample.bands[NARROW].covered and sample.spread_bp is not None
        if lost and now - state.asked >= WIDEN_EVERY_MS:
            actions += self._widen(instrument.symbol, state, now)
        return actions

    def _invalid(self, symbol: str, state: _State, reason: str, now: Ms, seen: Ms) -> list[Action]:
        actions = self._down(symbol, state, reason, seen)
        if not state.book.synced:
            # Before its stream begins a book needs no snapshot; if it never does, see _revive.
            return actions + (self._resync(symbol, state, now) if state.heard else [])
        if reason == "one-sided":  # true of a market that nobody quotes
            state.crossed_since = None
            return actions
        state.crossed_since = now if state.crossed_since is None else state.crossed_since
        if now - state.crossed_since >= CROSSED_MS:
            self._stats.gaps += 1
            state.crossed_since = None
            state.book.reset()
            actions += self._resync(symbol, state, now)
        return actions

    def _revive(self, symbol: str, state: _State, now: Ms, seen: Ms) -> list[Action]:
        """Silent while others move: its subscription may be lost, what is known is out of date."""
        state.moved, state.heard = now, False
        state.book.reset()
        actions = self._down(symbol, state, "silent", seen)
        asked = self._resync(symbol, state, now)
        if not any(isinstance(action, Send) for action in asked):
            actions += [Send(m) for m in self._venue.resubscribe([symbol], self._subscription)]
        return actions + asked

    def _widen(self, symbol: str, state: _State, now: Ms) -> list[Action]:
        """The price has left what the snapshot told: a fresh one adds to what is known."""
        how = self._venue.resync(symbol, self._subscription)
        return self._resync(symbol, state, now) if isinstance(how, Request) else []

    def _resync(self, symbol: str, state: _State, now: Ms) -> list[Action]:
        first, longest = RESYNC_EVERY_MS
        if now - state.asked < min(first << max(0, state.tries - 1), longest):
            return []
        state.asked = now
        state.tries = min(state.tries + 1, 16)
        state.book.expect_snapshot()
        how = self._venue.resync(symbol, self._subscription)
        if isinstance(how, Request):
            self._stats.resyncs += 1
            return [Fetch(how)]
        self._stats.resyncs += bool(how)
        return [Send(message) for message in how]

    def _down(self, symbol: str, state: _State, reason: str, seen: Ms) -> list[Action]:
        if not state.up:
            return []
        state.up = False
        return self._turn(symbol, False, seen, f"book: {reason}")


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
