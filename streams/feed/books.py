"""The books of one socket: which are in sequence, which are asked for anew, what they say. Pure.

Invariants:
- a depth is said only of a book that is up, and a book goes down before it is asked for anew;
- what is wrong with one book costs that book alone.
"""

from collections.abc import Callable, Mapping

import msgspec

from streams.durations import MINUTE
from streams.events import Depth, Instrument, Ms
from streams.feed.actions import Action, Fetch, Note, Send, Stats
from streams.feed.book import (
    BEYOND,
    LATE_MS,
    NOT_THE_VENUES,
    ONE_SIDED,
    Book,
    Sample,
    Verdict,
    continues,
)
from streams.venue import NO_CHANNELS, BookUpdate, Channels, Request, Subscription, Venue

RESYNC_EVERY_MS = (10_000, 160_000)
"""A book that got no answer is asked for no more often than this: longer and longer."""

_SHARE_MS = 800
"""Where no book is answered each waits at most so long for every book of its socket, so that all
of them together ask for no more than a venue allows (200 of weight 20: 1,500 of 2,400 a minute),
and few are soon there again."""

FOLLOW_MS = (1_000, 5_000)
"""How long after it was asked for, and answered, a book that the price leaves is asked for again:
where mid runs or is not known, and where it only drifts. The second is a fraction of the minute
that the rules take a median of."""

RUNS_BP = 5.0
"""Mid runs if it has moved by half the narrowest band since the last answer."""

WIDEN_EVERY_MS = MINUTE
"""A book of which a snapshot does not reach the narrow bands in the first place."""

NARROW = 1
"""The band, by its place in BANDS_BP, that a snapshot of 1000 levels just reaches on BTC (25 bp).
Snapshots taken as the price moves join up, so that it becomes covered and stays so."""

INVALID_MS = 3_000
"""A book that cannot be read for this long is down; for a moment it is only left out. One that is
wrong in itself (crossed, of impossible numbers) has missed something then, whatever its ids say."""

BEYOND_MS = 30_000
"""A price that ran away from what was told leaves out samples until the next snapshot. Only where
no snapshot came for so long is the book down."""

STALL_MS = MINUTE
"""One book silent for this long, on a socket where others move, is subscribed and asked for. So is
one with an empty side: it may be true of a market that nobody quotes, but not of many."""

_BROKEN = (ArithmeticError, LookupError, TypeError, ValueError)
"""The errors that unexpected numbers may cause."""

Turn = Callable[[str, bool, Ms, str], list[Action]]
"""(symbol, up, seen, reason) → the actions for a book that came up or went down."""


class _State(msgspec.Struct):
    """One book and what is known of its health. Times are of the steady clock."""

    symbol: str
    book: Book
    moved: Ms
    """When its stream last brought something, or was asked for."""
    streaming: bool = False
    """It has brought something since then."""
    up: bool = False
    """Its depth is published."""
    asked: Ms = -(10**12)
    """When a snapshot was last asked for."""
    tries: int = 0
    """How often in vain."""
    again: Ms = 0
    """When it may be asked for next."""
    answered: Ms = -(10**12)
    """When a snapshot was last used."""
    reach: int = 0
    """The largest number of narrow bands that were covered since then."""
    mid: float = 0.0
    """Of the first sample since then; 0: there was none."""
    away: bool = False
    """At some moment since then no narrow band was covered, or mid was unknown."""
    invalid_since: Ms | None = None
    """Since when it cannot be read; None: it can."""
    older: int | None = None
    """The last id of the newest update, if that was ignored as older than what is known."""
    older_since: Ms = 0
    """When the first of the updates came that were ignored so and continue each other."""


class BookSet:
    """The books of one subscription."""

    def __init__(
        self,
        venue: Venue,
        subscription: Subscription,
        stats: Stats,
        turn: Turn,
        channels: Channels = NO_CHANNELS,
    ) -> None:
        """``channels``: those of the connection, whatever they are at the time."""
        self._venue = venue
        self.subscription = subscription
        self._stats = stats
        self._turn = turn
        self._channels = channels
        self._states: dict[str, _State] = {}

    def open(self, now: Ms) -> None:
        """Begin with empty books of all symbols."""
        symbols = self.subscription.symbols
        self._states = {symbol: _State(symbol=symbol, book=Book(), moved=now) for symbol in symbols}

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

    def update(
        self, instruments: Mapping[str, Instrument], update: BookUpdate, now: Ms, seen: Ms
    ) -> list[Action]:
        """A snapshot or a change came."""
        state = self._states.get(update.symbol)
        if state is None:
            return []
        self._stats.lag_ms = seen - update.at
        state.moved, state.streaming = now, True
        try:
            verdict = state.book.update(update)
            if verdict is Verdict.DUPLICATE:
                if not _is_stream(state, update, now):
                    self._stats.duplicates += 1
                    return []
                state.book.reset()
                state.book.update(update)
                verdict = Verdict.GAP
        except _BROKEN as error:
            return [_break(state, error)]
        state.older = None
        if verdict is Verdict.APPLIED:
            return []
        if verdict is Verdict.MERGED:
            return self._answered(instruments, state, now, seen)
        actions: list[Action] = []
        if verdict is Verdict.GAP:
            self._stats.gaps += 1
            _hold_off(state)
            actions += self._down(state, "a change is missing", seen)
        return actions + self._resync(state, now)

    def offer(
        self, instruments: Mapping[str, Instrument], snapshot: BookUpdate, now: Ms, seen: Ms
    ) -> list[Action]:
        """A snapshot that was asked for came."""
        state = self._states.get(snapshot.symbol)
        if state is None:
            return []
        try:
            fits = state.book.offer(snapshot)
        except _BROKEN as error:
            return [_break(state, error)]
        if not fits:  # an answer nevertheless: the next one is likely to
            state.again = state.asked + self._wait(FOLLOW_MS[0], state.tries - 1)
            return self._resync(state, now)
        if state.book.awaits_stream:
            state.again = now + RESYNC_EVERY_MS[0]  # no reason to ask for another one
            return []
        return self._answered(instruments, state, now, seen)

    def tick(self, instruments: Mapping[str, Instrument], now: Ms, seen: Ms) -> list[Action]:
        """A second has passed: what the books say now, and what is to be done about them."""
        actions: list[Action] = []
        for state in self._states.values():
            if now - state.moved > STALL_MS:
                actions += self._revive(state, now, seen)
            else:
                actions += self._say(instruments, state, now, seen)
        return actions

    def _say(
        self, instruments: Mapping[str, Instrument], state: _State, now: Ms, seen: Ms
    ) -> list[Action]:
        """What the book says now, and what is to be done about it."""
        actions: list[Action] = []
        try:
            sample = state.book.sample()
        except _BROKEN as error:
            actions.append(_break(state, error))
            sample = "of impossible numbers"
        if isinstance(sample, str):
            actions += self._invalid(state, sample, now, seen)
        elif (instrument := instruments.get(state.symbol)) is not None:
            actions += self._valid(instrument, state, sample, now, seen)
        return actions

    def _answered(
        self, instruments: Mapping[str, Instrument], state: _State, now: Ms, seen: Ms
    ) -> list[Action]:
        """A snapshot is in the book. It says what it can at once: a second later the price may be
        beyond what is known again. One that the price left while this answer was on its way is
        asked for again with no wait for that."""
        if state.tries > 1:
            self._retry_all(now)
        running, state.away = state.away, False
        state.answered, state.tries, state.reach, state.mid = now, 0, 0, 0.0
        state.again = state.asked + FOLLOW_MS[0]
        if not state.up and state.invalid_since is None:
            return []  # it begins: see tick
        actions = self._say(instruments, state, now, seen)
        return actions + self._widen(state, now) if running else actions

    def _retry_all(self, now: Ms) -> None:
        """Answers come again: nobody else waits for long either."""
        for state in self._states.values():
            if state.tries > 1:
                state.again = min(state.again, max(now, state.asked + RESYNC_EVERY_MS[0]))

    def _valid(
        self, instrument: Instrument, state: _State, sample: Sample, now: Ms, seen: Ms
    ) -> list[Action]:
        actions: list[Action] = []
        if state.invalid_since is not None or not state.up:
            state.invalid_since, state.tries = None, 0
        if not state.up:
            state.up = True
            actions += self._turn(instrument.symbol, True, seen, "")
        actions.append(_depth(instrument, state.book.at, seen, sample))
        self._stats.events += 1
        # Where levels are aggregated (no spread) narrow bands are never covered.
        if sample.spread_bp is not None:
            reach = sum(band.covered for band in sample.bands[: NARROW + 1])
            lost = reach < state.reach
            state.reach = max(state.reach, reach)
            state.away |= lost and not reach
            state.mid = state.mid or sample.mid
            if reach <= NARROW:
                runs = not reach or abs(sample.mid - state.mid) * 10_000 > RUNS_BP * state.mid
                wait = FOLLOW_MS[not runs] if lost else WIDEN_EVERY_MS
                if now - state.asked >= wait:
                    actions += self._widen(state, now)
        return actions

    def _invalid(self, state: _State, reason: str, now: Ms, seen: Ms) -> list[Action]:
        if not state.book.synced:
            # Before its stream begins a book needs no snapshot; if it never does, see _revive.
            state.invalid_since = None
            asked = self._resync(state, now) if state.streaming else []
            return self._down(state, reason, seen) + asked
        if state.invalid_since is None:
            state.invalid_since = now
        lasted = now - state.invalid_since
        if reason == BEYOND:  # true as far as the book goes: nothing is thrown away
            state.away = True
            unanswered = now - max(state.invalid_since, state.answered) >= BEYOND_MS
            actions = self._down(state, reason, seen) if unanswered else []
            return actions + self._resync(state, now)
        if lasted < INVALID_MS and reason != NOT_THE_VENUES:
            return []
        actions = self._down(state, reason, seen)
        if reason == ONE_SIDED:  # so is this
            return actions + (self._resync(state, now) if lasted >= STALL_MS else [])
        self._stats.gaps += 1
        state.invalid_since = None
        state.book.reset()
        _hold_off(state)
        return actions + self._resync(state, now)

    def _revive(self, state: _State, now: Ms, seen: Ms) -> list[Action]:
        """Silent while others move: its subscription may be lost, what is known is out of date."""
        state.moved, state.streaming = now, False
        state.book.reset()
        actions = self._down(state, "silent", seen)
        asked = self._resync(state, now)
        if not any(isinstance(action, Send) for action in asked):
            actions += [Send(m) for m in self._venue.resubscribe([state.symbol], self.subscription)]
        return actions + asked

    def _widen(self, state: _State, now: Ms) -> list[Action]:
        """The price has left what the snapshot told: a fresh one adds to what is known."""
        how = self._venue.resync(state.symbol, self.subscription, self._channels)
        return self._resync(state, now) if isinstance(how, Request) else []

    def _resync(self, state: _State, now: Ms) -> list[Action]:
        if now < state.again:
            return []
        state.asked, state.again = now, now + self._wait(RESYNC_EVERY_MS[0], state.tries)
        state.tries += 1
        state.book.expect_snapshot()
        how = self._venue.resync(state.symbol, self.subscription, self._channels)
        if isinstance(how, Request):
            self._stats.resyncs += 1
            return [Fetch(how, lost=not state.book.synced)]
        self._stats.resyncs += bool(how)
        return [Send(message) for message in how]

    def _wait(self, first: Ms, tries: int) -> Ms:
        """Twice as long each time, up to a limit for each book of so many."""
        shortest, longest = 2 * RESYNC_EVERY_MS[0], RESYNC_EVERY_MS[1]
        most = min(max(shortest, _SHARE_MS * len(self._states)), longest)
        return min(first << min(max(0, tries), 16), most)

    def _down(self, state: _State, reason: str, seen: Ms) -> list[Action]:
        if not state.up:
            return []
        state.up = False
        return self._turn(state.symbol, False, seen, f"book: {reason}")


def _is_stream(state: _State, update: BookUpdate, now: Ms) -> bool:
    """Whether updates that the book takes for older ones have continued each other for so long that
    they are the stream: its ids have begun anew, and the venue's clock is behind what it was."""
    if state.older is None or continues(update) != state.older:
        state.older_since = now
    state.older = update.last
    return now - state.older_since >= LATE_MS


def _break(state: _State, error: Exception) -> Note:
    """Whatever a book cannot bear costs that book alone: it begins anew."""
    state.book.reset()
    _hold_off(state)
    return Note("book failed", f"{state.symbol}: {error!r}"[:200])


def _hold_off(state: _State) -> None:
    """A book that goes wrong again and again is not asked for all the time, answered or not."""
    state.again = max(state.again, state.asked + RESYNC_EVERY_MS[0])


def _depth(instrument: Instrument, at: Ms, seen: Ms, sample: Sample) -> Depth:
    return Depth(
        venue=instrument.venue,
        symbol=instrument.symbol,
        asset=instrument.asset,
        at=at,
        seen=seen,
        spot=instrument.spot,
        mid=sample.mid,
        spread_bp=sample.spread_bp,
        bands=sample.bands,
    )
