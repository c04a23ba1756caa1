"""An order book: snapshots and changes in, notional within bands out, with coverage. Pure.

Invariants:
- every resting order from a side's ``edge`` to mid is known; a band that ends beyond it is a lower
  bound and says so (``Band.covered`` False);
- nothing is said of a book that is out of sequence, crossed or one-sided, or whose best price lies
  beyond the edge: a level that was never told may be better.
"""

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from streams.events import BANDS_BP, Band, Ms
from streams.levels import Side
from streams.venue import BookUpdate

WAIT_MS: Ms = 10_000
"""So much of the stream (by the venue's time) is remembered while a snapshot is on its way: no
answer takes longer, and it is newer than its request."""


class Verdict(Enum):
    """What an update did to the book."""

    APPLIED = auto()
    WAITING = auto()
    """Applied, but the book needs a snapshot before it means anything."""
    DUPLICATE = auto()
    """Older than what is known; ignored."""
    GAP = auto()
    """A change is missing: everything known was thrown away, a snapshot is needed."""


_APPLIED = Verdict.APPLIED

OUT_OF_SEQUENCE = "out of sequence"
ONE_SIDED = "one-sided"
CROSSED = "crossed"
BEYOND = "beyond what is known"
"""The best price that is known is worse than the worst that was told completely: there may be
better ones, so neither mid nor any band is known."""


class Sample(msgspec.Struct, frozen=True):
    """A valid book at one moment: ``mid`` in quote per coin, ``spread_bp`` None if aggregated."""

    mid: float
    spread_bp: float | None
    bands: tuple[Band, ...]


class Book:
    """The book of one symbol."""

    __slots__ = ("_asks", "_bids", "_buffer", "_held", "_last", "_reach", "_step", "at", "synced")

    def __init__(self) -> None:
        self._bids = Side(1)
        self._asks = Side(-1)
        self._last: int | None = None
        self._buffer: list[BookUpdate] | None = []
        self._held: BookUpdate | None = None
        self._reach = 0
        self._step = 0.0
        self.synced = False
        self.at = 0

    def update(self, update: BookUpdate) -> Verdict:
        """Take a message of the venue's book stream."""
        if update.previous == self._last and self._buffer is None and not update.snapshot:
            self._last, self.at = update.last, update.at  # the usual case, made short
            self._bids.apply(update.bids)
            self._asks.apply(update.asks)
            return _APPLIED
        if update.snapshot:
            self._replace(update)
            return Verdict.APPLIED
        verdict = self._sequence(update)
        if verdict is Verdict.DUPLICATE:
            return verdict
        self._last = update.last
        self.at = update.at
        if self.synced:  # else there is nothing yet that a change could change
            self._apply(update)
        if self._buffer is not None:
            self._remember(update, self._buffer)
        if self._held is not None and update.last >= self._held.last:
            held, self._held = self._held, None
            self._merge(held)
        if verdict is Verdict.GAP or self.synced:
            return verdict
        return Verdict.WAITING

    def expect_snapshot(self) -> None:
        """A snapshot was asked for: remember the changes that it may not have in it."""
        if self._buffer is None:
            self._buffer = []

    def offer(self, snapshot: BookUpdate) -> bool:
        """Take a snapshot that was asked for. False: it is too old to be used, ask again.

        A snapshot newer than the stream waits until the stream has caught up with it.
        """
        if self._last is None or snapshot.last > self._last:
            self._held = snapshot
            return True
        return self._merge(snapshot)

    def reset(self) -> None:
        """Forget everything, as after a lost connection."""
        self._bids.clear()
        self._asks.clear()
        self._last = None
        self._buffer = []
        self._held = None
        self.synced = False

    def sample(self, bands_bp: Sequence[int] = BANDS_BP) -> Sample | str:
        """The book now, or in words why nothing can be said of it."""
        if not self.synced:
            return OUT_OF_SEQUENCE
        sides = self._bids, self._asks
        bid, ask = self._bids.best(), self._asks.best()
        if fault := self._bids.fault or self._asks.fault:
            return fault
        for side in sides:
            if side.rolling:
                side.roll(self._reach)
        if bid is None or ask is None:
            empty = [side for side, best in zip(sides, (bid, ask), strict=True) if best is None]
            return ONE_SIDED if all(side.whole for side in empty) else BEYOND
        if bid >= ask:
            return CROSSED
        if not (self._bids.knows(bid) and self._asks.knows(ask)):
            return BEYOND
        mid = (bid + ask) / 2
        for side in sides:
            side.keep(mid)
        bids, asks = self._bids.within(mid, bands_bp), self._asks.within(mid, bands_bp)
        if fault := self._bids.fault or self._asks.fault:
            return fault
        bands = tuple(
            Band(bp, bid_usd, ask_usd, self._covers(mid, bp))
            for bp, bid_usd, ask_usd in zip(bands_bp, bids, asks, strict=True)
        )
        spread_bp = None if self._step else (ask - bid) / mid * 10_000
        return Sample(mid, spread_bp, bands)

    def levels(self) -> int:
        """How many levels are kept, both sides."""
        return len(self._bids.live()) + len(self._asks.live())

    def _covers(self, mid: float, bp: int) -> bool:
        half = mid * bp / 10_000
        return (
            self._bids.knows(mid - half)
            and self._asks.knows(mid + half)
            and half >= 2 * self._step  # a narrower band is lost in the venue's own buckets
        )

    def _sequence(self, update: BookUpdate) -> Verdict:
        if self._last is None:
            return Verdict.APPLIED
        if update.last <= self._last:
            return Verdict.DUPLICATE
        if _continues(update) == self._last:
            return Verdict.APPLIED
        self.reset()
        return Verdict.GAP

    def _apply(self, update: BookUpdate) -> None:
        self._bids.apply(update.bids)
        self._asks.apply(update.asks)

    def _remember(self, update: BookUpdate, buffer: list[BookUpdate]) -> None:
        buffer.append(update)
        if buffer[len(buffer) // 2].at < update.at - WAIT_MS:
            del buffer[: len(buffer) // 2]

    def _replace(self, snapshot: BookUpdate) -> None:
        self._bids.load(snapshot.bids, snapshot.rolling)
        self._asks.load(snapshot.asks, snapshot.rolling)
        self._reach = snapshot.reach
        self._step = snapshot.step
        self._bids.edge, self._asks.edge = _reach(snapshot)
        self._last = snapshot.last if snapshot.last else None
        self._buffer = None
        self._held = None
        self.synced = True
        self.at = snapshot.at

    def _merge(self, snapshot: BookUpdate) -> bool:
        """Put the snapshot under the changes that came after it.

        Sizes are absolute, so applying a change twice does no harm, and what was known beyond the
        snapshot's reach stays known: coverage only grows.
        """
        buffer = self._buffer or []
        since = _continues(buffer[0]) if buffer else self._last
        if since is None or snapshot.last < since:
            return False
        low, high = _reach(snapshot)
        if not self.synced:  # by the venues' rules the first snapshot is where a book begins
            self._bids.clear()
            self._asks.clear()
        known = (self._bids.edge, self._asks.edge) if self.synced else (low, high)
        self._bids.replace_within(low, snapshot.bids)
        self._asks.replace_within(high, snapshot.asks)
        for update in buffer:
            if update.last > snapshot.last:
                self._apply(update)
        self._bids.edge, self._asks.edge = min(low, known[0]), max(high, known[1])
        self._buffer = None
        self.synced = True
        return True


def _continues(update: BookUpdate) -> int:
    """The id of the change right before this update."""
    return update.first - 1 if update.previous is None else update.previous


def _reach(snapshot: BookUpdate) -> tuple[float, float]:
    """Down and up to which price a snapshot tells everything."""
    low, high = 0.0, float("inf")
    if snapshot.reach and len(snapshot.bids) >= snapshot.reach:
        low = min(price for price, _ in snapshot.bids)
    if snapshot.reach and len(snapshot.asks) >= snapshot.reach:
        high = max(price for price, _ in snapshot.asks)
    return low, high
