"""An order book: snapshots and changes in, notional within bands out, with coverage. Pure.

Invariants:
- every resting order from a side's ``edge`` to mid is known; a band that ends beyond it is a lower
  bound and says so (``Band.covered`` False);
- nothing is said of a book that is out of sequence, crossed or one-sided, or whose best price lies
  beyond the edge: a level that was never told may be better.

One side of an order book: sizes in, notional within bands of mid out. Pure.

Every level is in one of two places, and what is said does not depend on which:

- ``_far``, a dict of price → size. It is right for any prices, and costs a look at every level for
  each sample. Small books and rolling ones (a thousand levels at most) have nothing else;
- ``_places``, a list of notionals with a place for every price step near mid, so that a band is
  the sum of a slice and a change is one store. Large books are laid out so while their prices have
  a common step; levels further away stay in ``_far``.

Places are laid out anew when mid moves, and where a better price comes than there is a place for.
Levels too many to keep are forgotten from the far end, and ``edge`` moves in to what is left.
"""

from bisect import bisect_left
from collections.abc import Sequence
from enum import Enum, auto
from heapq import nsmallest
from itertools import compress, islice
from math import ceil, floor
from operator import mul
from zlib import crc32

import msgspec

from streams.durations import SECOND
from streams.events import BANDS_BP, Band, Ms
from streams.venue import BEGINS, BookUpdate, Checksum

KEEP_BP = 2 * BANDS_BP[-1]
"""How far from mid levels have places."""

FEW = 256
"""A side with fewer levels than this is not laid out: looking at all of them is as fast."""

KEEP_FAR = 1_000
"""Levels without a place that are kept when there are twice as many: as many as a snapshot of
Binance has. What is forgotten, the venue has to tell again."""

_PLACES_LIMIT = 100_000
"""A side with more price steps than this near mid is not laid out; BTC has 25,000."""

_LEAST_STEPS = 10_000
"""Steps in a price, at least: two prices a ten-millionth of a step apart are then the same."""

_FINEST = 22
"""Decimals of the finest price step. Powers of ten are exact up to here."""

_IMPOSSIBLE = 1e18
_ON_GRID = 1e-6
"""Rounding error of a price in steps; what is further off lies between two steps."""

_HAIR = 1e-12
"""Rounding error of a price, relative: a price right on a band's edge belongs to the band."""

_LOOSE_SHARE = 20
"""One in so many levels may be missing from a full side for a moment: deletions and what moves up
may come in two messages."""

Levels = Sequence[tuple[float, float]]
"""Prices and sizes."""


class Side:
    """Levels of one side. ``sign`` 1: bids, -1: asks.

    Place ``i`` is the price ``(_base + i) / _scale``; since ``_scale`` has the sign, a higher place
    is always a better price. There are no places while ``_scale`` is 0. Prices are floats nearest
    to a decimal of at most 15 digits, as venues write them, so that the price made of a place is
    the very float that came.
    """

    __slots__ = (
        "_base",
        "_far",
        "_layable",
        "_mid",
        "_pending",
        "_places",
        "_scale",
        "_sign",
        "_top",
        "edge",
        "fault",
        "reach",
    )

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self.clear()

    def clear(self) -> None:
        self._pending: list[Levels] = []
        self.reach = 0  # above 0: the venue tells of its best so many levels only
        self._far: dict[float, float] = {}
        self._drop_places()
        self._layable = True  # not found to be without a common price step
        self.fault = ""  # why nothing can be said of this side, in words
        self.edge = self._end  # from here to mid all is known

    def load(self, levels: Levels, reach: int = 0) -> None:
        """Replace everything. ``reach``: the venue tells of its best so many levels only; 0: of
        all."""
        self.clear()
        self.reach = reach
        self._pending.append(levels)

    def apply(self, changes: Levels) -> None:
        """Set sizes, 0 deletes; deleting an unknown price is normal.

        Only noted here, and worked through when the next question comes.
        """
        self._pending.append(changes)

    def best(self) -> float | None:
        """The price nearest to the other side, None if the side is empty."""
        self._settle()
        places = self._places
        if places:
            inwards = islice(reversed(places), len(places) - 1 - self._top, None)
            self._top = next(compress(range(self._top, -1, -1), inwards), -1)
            if self._top >= 0:
                return self._price(self._top)
        far = self._far
        return max(far, default=None) if self._sign > 0 else min(far, default=None)

    def keep(self, mid: float) -> None:
        """Lay out places around ``mid`` where it pays, and move them along with it."""
        if self._scale:
            if abs(mid - self._mid) > mid * KEEP_BP / 40_000:
                self._lay_out(mid)
        elif self._layable and not self.reach and len(self._far) > FEW:
            self._lay_out(mid)

    def within(self, mid: float, bands_bp: Sequence[int]) -> list[float]:
        """Notional within each band around ``mid``, ``bands_bp`` ascending. ``keep`` comes before.

        Sums of impossible sizes are a ``fault``.
        """
        edges = [mid * (1 - self._sign * bp / 10_000) for bp in bands_bp]
        out = self._within_places(edges) if self._scale else self._within_far(edges)
        if not out[-1] < _IMPOSSIBLE:  # infinite, or no number at all
            self.fault = "of impossible sizes"
        return out

    def roll(self) -> None:
        """Of a full side of ``reach`` levels no more is known.

        A side of fewer levels is the whole side.
        """
        far = self._far
        if not far or len(far) < self.reach - self.reach // _LOOSE_SHARE:
            self.edge = self._end
        else:
            self.edge = min(far) if self._sign > 0 else max(far)

    def knows(self, price: float) -> bool:
        """All levels from ``price`` to mid are known."""
        return self._sign * (price - self.edge) >= -price * _HAIR

    @property
    def whole(self) -> bool:
        """All levels there are on this side are known."""
        return self.edge == self._end

    def replace_within(self, edge: float, levels: Levels) -> None:
        """Replace everything from ``edge`` on towards the other side."""
        sign = self._sign
        kept = [level for level in self.live() if sign * level[0] < sign * edge]
        self.load(kept)
        self._pending.append(levels)

    def live(self) -> list[tuple[float, float]]:
        """All levels kept, as (price, size)."""
        self._settle()
        near = [(self._price(i), usd) for i, usd in enumerate(self._places) if usd]
        return [(price, usd / price) for price, usd in near] + list(self._far.items())

    @property
    def _end(self) -> float:
        return 0.0 if self._sign > 0 else float("inf")

    def _price(self, place: int) -> float:
        return (self._base + place) / self._scale

    def _drop_places(self) -> None:
        self._places: list[float] = []
        self._scale = 0.0  # places per unit of price
        self._base = 0
        self._top = -1  # no level in a higher place
        self._mid = 0.0  # what the places were laid out around

    # ── sums ────────────────────────────────────────────────────────────

    def _within_places(self, edges: Sequence[float]) -> list[float]:
        whole, top, out = 0.0, self._top + 1, list[float]()
        for edge in edges:
            low = max(0, ceil(edge * self._scale - self._base - _ON_GRID))
            whole += sum(self._places[low:top])
            top = min(top, low)
            out.append(whole)
        return out

    def _within_far(self, edges: Sequence[float]) -> list[float]:
        far, sign = self._far, self._sign
        prices = sorted(far, reverse=sign < 0)  # the best is the last
        key = None if sign > 0 else float.__neg__
        whole, top, out = 0.0, len(prices), list[float]()
        for edge in edges:
            low = bisect_left(prices, sign * edge * (1 - sign * _HAIR), hi=top, key=key)
            inside = prices[low:top]
            whole += sum(map(mul, inside, map(far.__getitem__, inside)))
            top = low
            out.append(whole)
        return out

    # ── changes ─────────────────────────────────────────────────────────

    def _settle(self) -> None:
        """Work through the changes noted."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        if self.fault:
            return
        if self._scale:
            elsewhere = self._settle_places(pending)
            if elsewhere:
                self._settle_elsewhere(elsewhere)
        else:
            self._settle_far(pending)
        if len(self._far) > 2 * KEEP_FAR:
            self._forget()

    def _settle_places(self, pending: list[Levels]) -> list[tuple[float, float]]:
        """Changes into their places. Returns those that have none."""
        # the hottest loop of all: floats are compared with floats, and one zero serves all
        places, top, scale, count = self._places, self._top, self._scale, float(len(self._places))
        base, off_grid = self._base - _ON_GRID, 2 * _ON_GRID  # so that rounding never goes below
        elsewhere: list[tuple[float, float]] = []
        for changes in pending:
            for price, size in changes:
                at = price * scale - base
                if 0.0 < at < count:
                    place = floor(at)
                    if at - place < off_grid and size >= 0.0:
                        places[place] = price * size or 0.0
                        if place > top:
                            top = place
                        continue
                elsewhere.append((price, size))
        self._top = top
        return elsewhere

    def _settle_far(self, pending: Sequence[Levels]) -> None:
        far = self._far
        for changes in pending:
            for price, size in changes:
                if 0.0 < price < _IMPOSSIBLE and 0.0 < size < _IMPOSSIBLE:
                    far[price] = size
                elif size == 0.0:
                    far.pop(price, None)
                else:
                    self._refuse(price)
            if self.reach and len(far) > self.reach:
                # what leaves the best may go without a word, and what comes back is told anew
                for price in sorted(far, reverse=self._sign > 0)[self.reach :]:
                    del far[price]

    def _refuse(self, price: float) -> None:
        self.fault = f"of impossible {'sizes' if 0 < price < _IMPOSSIBLE else 'prices'}"

    def _settle_elsewhere(self, changes: Levels) -> None:
        """Levels without a place: too far, or between two steps."""
        self._settle_far((changes,))
        sign, first = self._sign, self._price(0)
        near = [price for price, size in changes if size and sign * price > sign * first]
        if not near:
            return
        best = max(near) if sign > 0 else min(near)
        if sign * best > sign * self._price(len(self._places) - 1):
            self._lay_out(best)  # the price has run away: follow it
        else:
            self._lay_out(self._mid)  # between two steps

    def _lay_out(self, mid: float) -> None:
        """Give the levels near ``mid`` places, in steps that all of them fit."""
        levels = self.live()
        self._drop_places()
        far = mid * (1 - self._sign * KEEP_BP / 10_000)
        near = mid * (1 + self._sign * KEEP_BP / 20_000)
        low, high = min(far, near), max(far, near)
        inside = [price for price, _ in levels if low <= price <= high]
        grid = _grid(inside, mid, _PLACES_LIMIT / (high - low))
        if grid is None:
            self._far, self._layable = dict(levels), False
            return
        self._mid, self._scale = mid, self._sign * grid
        self._base = ceil(far * self._scale)
        self._places = [0.0] * (floor(near * self._scale) - self._base + 1)
        self._far = dict(self._settle_places([levels]))

    def _forget(self) -> None:
        """Keep the nearest of the levels without a place. The others are no longer known."""
        prices = sorted(self._far, reverse=self._sign > 0)[:KEEP_FAR]
        self._far = {price: self._far[price] for price in prices}
        if self.knows(prices[-1]):
            self.edge = prices[-1]


def _grid(prices: Sequence[float], mid: float, most: float) -> float | None:
    """The smallest power of ten that makes whole numbers of all prices, None above ``most``."""
    for exponent in range(_FINEST + 1):
        grid = 10.0**exponent
        if grid > most:
            break
        if mid * grid >= _LEAST_STEPS and all(
            abs(price * grid - round(price * grid)) < _ON_GRID for price in prices
        ):
            return grid
    return None


WAIT_MS: Ms = 10 * SECOND
"""So much of the stream (by the venue's time) is remembered while a snapshot is on its way: no
answer takes longer, and it is newer than its request."""


LATE_MS: Ms = 5 * SECOND
"""What is told twice, or late, is older than the newest change, give or take so much of the venue's
time. A newer one of an old id shows that the ids have begun anew, and nobody said so. So do updates
of old ids that continue each other for so long by our clock, whatever the venue's says."""


class Verdict(Enum):
    """What an update did to the book."""

    APPLIED = auto()
    WAITING = auto()
    """Applied, but the book needs a snapshot before it means anything."""
    MERGED = auto()
    """Applied, and a snapshot that waited for it too: more is known than before."""
    DUPLICATE = auto()
    """Older than what is known; ignored."""
    GAP = auto()
    """A change is missing: everything known was thrown away, a snapshot is needed."""


_APPLIED = Verdict.APPLIED

OUT_OF_SEQUENCE = "out of sequence"
ONE_SIDED = "one-sided"
CROSSED = "crossed"
NOT_THE_VENUES = "not the venue's, by its checksum"
"""A change was missed, whichever it was."""

BEYOND = "beyond what is known"
"""The best known price is worse than the worst one up to which the book is known: there may be
better ones, so neither mid nor any band is known."""


class Sample(msgspec.Struct, frozen=True):
    """A valid book at one moment."""

    mid: float
    """Quote per coin."""
    spread_bp: float | None
    """Basis points; None: the venue aggregates levels."""
    bands: tuple[Band, ...]
    """By half-width, ascending."""


class Book:
    """The book of one symbol."""

    __slots__ = (
        "_asks", "_bids", "_buffer", "_checksum", "_held", "_last", "_step", "at", "synced",
    )  # fmt: skip

    def __init__(self) -> None:
        self._bids = Side(1)
        self._asks = Side(-1)
        self._last: int | None = None
        self._buffer: list[BookUpdate] | None = []
        self._held: BookUpdate | None = None
        self._step = 0.0
        self._checksum: Checksum | None = None  # of what is known now
        self.synced = False
        self.at = 0

    def update(self, update: BookUpdate) -> Verdict:
        """Take a message of the venue's book stream."""
        if update.previous == self._last and self._buffer is None and not update.snapshot:
            self._last, self.at = update.last, update.at  # the usual case, made short
            self._checksum = update.checksum
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
        self._checksum = update.checksum
        if self.synced:  # else there is nothing yet that a change could change
            self._apply(update)
        if self._buffer is not None:
            self._remember(update, self._buffer)
        if self._held is not None and update.last >= self._held.last:
            held, self._held = self._held, None
            if self._merge(held):
                return Verdict.MERGED
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

    @property
    def awaits_stream(self) -> bool:
        """A snapshot is here that is newer than the stream."""
        return self._held is not None

    def reset(self) -> None:
        """Forget everything, as after a lost connection."""
        self._bids.clear()
        self._asks.clear()
        self._last = None
        self._buffer = []
        self._checksum = None
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
            if side.reach:
                side.roll()
        if self._checksum is not None and not self._has(self._checksum):
            return NOT_THE_VENUES
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

    def _has(self, checksum: Checksum) -> bool:
        """Whether the best levels are those that the venue has."""
        crc = 0
        for side, sign in ((self._asks, 1), (self._bids, -1)):
            for price, size in nsmallest(10, side.live(), key=lambda level: sign * level[0]):
                for number, decimals in (
                    (price, checksum.price_decimals), (size, checksum.size_decimals)
                ):  # fmt: skip
                    text = f"{number:.{decimals}f}".replace(".", "").lstrip("0")
                    crc = crc32(text.encode(), crc)
        return crc == checksum.value

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
        if continues(update) == self._last:
            return Verdict.APPLIED  # whatever its own id: a venue may begin to count anew
        if update.previous is None and update.first <= self._last < update.last:
            return Verdict.APPLIED  # it says again what was said, and goes on from there
        old = update.last <= self._last and update.previous != BEGINS
        if old and update.at <= self.at + LATE_MS:
            return Verdict.DUPLICATE
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
        reach = snapshot.reach if snapshot.rolling else 0
        self._bids.load(snapshot.bids, reach)
        self._asks.load(snapshot.asks, reach)
        self._step = snapshot.step
        self._checksum = snapshot.checksum
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
        since = continues(buffer[0]) if buffer else self._last
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


def continues(update: BookUpdate) -> int:
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
