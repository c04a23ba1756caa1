"""Open interest of one market in coins, as far as it is believed.

One wrong reading would stand at the end of a window now, and at its start when the window has
passed, and venues repeat what is stale. So a reading is listened to when it has been held: what
counts moves only as far as all readings of the last ``HELD`` ms say, the mildest of them, so that a
slide is followed that far behind. Where even that is out of all proportion it must have lasted
longer. Until then a second venue may confirm it (``latest``, ``rules.metrics.open_interest``). What
left in one step and came back to about what it was before was an error, though it was believed, and
what was remembered of it meanwhile is mended. A smaller step is none where the price moves too: in
a crash positions are closed at once, and opened again soon. None is zero: venues send 0 when they
do not know.
"""

from collections.abc import Callable
from itertools import pairwise
from math import inf

import msgspec

from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Ms

MAX_AGE: Ms = 3 * MINUTE
"""Readings further apart do not belong together: three polls of a slow feed (60 s)."""

HELD: Ms = 20_000
"""After so long, by two readings at least, a change is believed without a second venue."""

OUT_OF_PROPORTION = 1.5
"""More than so many times, or less than this part of, what is believed."""

LASTS: Ms = 40 * SECOND
"""After so long, by two readings at least, which is one poll of a slow feed, what seemed out of
proportion is so, as far as all of them say: the feed was away, or the market is gone."""

AGREE = 1.02
"""The first readings of a market are believed once none is so many times another: a level that
began wrong would be a change when it is mended. So much above a level and below it readings may be
at the same time and confirm it."""

STEP = 1.07
"""A level that moves at once by more than so many times has left what it was, if the price stands
still. What is closed bit by bit, as in a slide, moves by less from one reading to the next."""

STEP_BACK_WITHIN: Ms = 15 * MINUTE
"""What left by such a step, in proportion, and is back within so long was an error. Less long than
what is out of all proportion: so much may be opened and closed again within an hour."""

BACK_WITHIN: Ms = HOUR
"""What left out of all proportion and is back within so long was an error: positions that were
closed within a minute are not all opened again within another one."""

BACK = 1.2
"""It is back where neither is more than so many times the other: the market has moved meanwhile.
After a smaller move, where a third of it is left at most."""

SUPPORT: Ms = 120_000
"""What another venue, or the price, did within so long supports what one shows now: two polls of a
slow feed."""

STILL_PRICE = 0.01
"""A price that has moved by less stands still."""

_READINGS = 3

MEMOS = "oi."
"""So begin the names of the series that metrics keep of what was believed."""


class Departure(msgspec.Struct, array_like=True):
    """A move in one step that was believed."""

    since: Ms
    """When the first of its readings came."""
    before: float
    """What was believed before."""
    jumped: Ms
    """When what is believed last moved by a step."""
    reached: float = 0.0
    """The furthest of what was believed since then; 0: unknown, and out of all proportion."""

    @property
    def small(self) -> bool:
        """Whether it is in proportion."""
        return self.reached > 0 and _alike(self.before, self.reached)

    @property
    def within(self) -> Ms:
        """How long it may be an error."""
        return STEP_BACK_WITHIN if self.small else BACK_WITHIN

    def back(self, base: float) -> bool:
        """Whether that is about what it was before."""
        moved = _apart(self.before, self.reached) if self.reached else inf
        return _alike(self.before, base, min(BACK, moved ** (1 / 3)))


Still = Callable[[Ms], bool]
"""Whether the price has not moved for ``SUPPORT``, up to a moment."""


def _unknown(now: Ms) -> bool:
    return False


def stands_still(before: float | None, now: float | None) -> bool:
    """Whether a price has not moved; not where it is unknown."""
    return before is not None and now is not None and abs(now - before) < STILL_PRICE * before


class Interest(msgspec.Struct, array_like=True):
    """What is remembered of one market's open interest."""

    recent: list[tuple[Ms, float]] = []
    """The readings of the last ``LASTS`` ms with their times and the one before, at least three;
    the last one of each second. Without ``odd``."""
    odd: list[tuple[Ms, float]] = []
    """The newest ones, as far as they are out of proportion to ``level``."""
    odd_since: Ms = 0
    """When the first of those came."""
    level: float | None = None
    """What is believed, None before readings agree; after a hole, of before it."""
    doubted_since: Ms | None = None
    """Since when no reading confirmed the level: all are out of proportion, or on both sides of it.
    After ``MAX_AGE`` of that it is unknown."""
    left: Departure | None = None
    """The level has left what it was, and is not back."""
    error: Departure | None = None
    """The level is back with this reading: what was remembered since then was ``before``."""

    @property
    def steady(self) -> float | None:
        """What is believed now; None while that is not known."""
        if not self.recent:
            return None  # after a hole, and nothing in proportion to what was before it
        newest = self.odd[-1] if self.odd else self.recent[-1]
        return self.level if newest[0] - self.recent[0][0] >= HELD else None

    @property
    def left_for(self) -> Ms:
        """How long readings have said that the level left what it was, without those of late that
        are back there and wait to be held. 0 if it has not left."""
        left = self.left
        if left is None:
            return 0
        away = [at for at, base in (*self.recent, *self.odd) if not left.back(base)]
        return away[-1] - left.since if away else 0

    @property
    def latest(self) -> float | None:
        """The middle one of the last three readings, believed or not; None before there are."""
        last = self.recent[-_READINGS:]
        if self.odd:
            last = [*last, *self.odd][-_READINGS:]
        return sorted([base for _, base in last])[1] if len(last) == _READINGS else None

    def late(self, now: Ms) -> bool:
        """Whether it has not been heard for ``LASTS`` longer than from one reading to the next."""
        times = [t for t, _ in (*self.recent, *self.odd)]
        silent = now - times[-1] - LASTS if times else 0
        return silent > 0 and silent > max([b - a for a, b in pairwise(times)], default=0)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later."""
        self.recent = [(min(at, now), base) for at, base in self.recent]
        self.odd = [(min(at, now), base) for at, base in self.odd]
        self.odd_since = min(self.odd_since, now)
        if self.doubted_since is not None:
            self.doubted_since = min(self.doubted_since, now)
        self.left = self.error = None  # nobody knows any more how long ago that was

    def resume(self, base: float, at: Ms) -> None:
        """Go on from what was believed at ``at``, where nothing else is remembered."""
        if self.level is None and not self.recent and not self.odd and base > 0:
            self.recent, self.level = [(at, base)], base

    def take(self, base: float, now: Ms, still: Still = _unknown) -> bool:
        """A reading came; False if it is not to be believed, or not yet."""
        if base <= 0:
            return False
        before, since = self.level, self.odd_since if self.odd else now
        believed = self._take(base, now)
        self._compare(before, since, now, still)
        if self.level is None or self.level != before or (believed and not self._between()):
            self.doubted_since = None
        elif self.doubted_since is None:
            self.doubted_since = now
        elif now - self.doubted_since >= MAX_AGE:
            self.level = self.doubted_since = None
        return believed

    def _compare(self, before: float | None, since: Ms, now: Ms, still: Still) -> None:
        """Whether the level has left what it was ``before``, at ``since``, or is back there."""
        level, left = self.level, self.left
        self.error = None
        if left is not None and now - left.since > left.within:
            left = None
        if before is not None and level is not None and not _alike(before, level, STEP):
            large = not _alike(before, level)
            if large or still(now):
                if left is None or (large and left.small and not left.back(level)):
                    left = Departure(since, before, now, level)
                left.jumped = now
                if left.reached and _apart(left.before, level) > _apart(left.before, left.reached):
                    left.reached = level
            elif left is not None and left.small:
                left = None  # the market moves: it is no error that comes or goes
        recent = left is not None and now - left.jumped <= MAX_AGE
        if left and level and recent and left.back(level):
            left, self.error = None, left
        self.left = left

    def _take(self, base: float, now: Ms) -> bool:
        readings, level = [*self.recent, *self.odd], self.level
        if readings and now - readings[-1][0] > MAX_AGE:
            readings = []
        before = level or (readings[-1][1] if readings else base)
        believed = _alike(before, base)
        if level is not None and believed:
            # what was out of proportion on the other side is not confirmed by this one
            below = base < level
            readings = [r for r in readings if _alike(level, r[1]) or (r[1] < level) is below]
        _note(readings, base, now)
        self.level = self._held(readings, now)
        if self.level is None:
            self.recent, self.odd = readings, []
            return believed
        first = len(readings)
        while first and not _alike(self.level, readings[first - 1][1]):
            first -= 1
        if first < len(readings) and not self.odd:
            self.odd_since = readings[first][0]
        self.recent, self.odd = readings[:first], readings[first:]
        return not self.odd

    def _held(self, readings: list[tuple[Ms, float]], now: Ms) -> float | None:
        """What is believed with these readings: the level, moved as far as all of them say."""
        since = _in_force(readings, now - HELD)
        if since is None:
            return self.level
        if self.level is None:
            since = max(0, min(since, len(readings) - _READINGS))
            bases = sorted([x for _, x in readings[since:]])
            agree = len(bases) >= _READINGS and bases[-1] <= AGREE * bases[0]
            return bases[len(bases) // 2] if agree else None
        held = _moved(self.level, readings[since:])
        if _alike(self.level, held):
            return held
        since = _in_force(readings, now - LASTS)
        return self.level if since is None else _moved(self.level, readings[since:])

    def _between(self) -> bool:
        """Whether the last readings lie on both sides of the level, and far from it."""
        bases = [x for _, x in self.recent]
        return self.level is not None and AGREE * min(bases) < self.level < max(bases) / AGREE


def _apart(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _alike(a: float, b: float, factor: float = OUT_OF_PROPORTION) -> bool:
    return a <= factor * b and b <= factor * a


def _note(readings: list[tuple[Ms, float]], base: float, now: Ms) -> None:
    """Adds a reading, and forgets those that nobody needs any more."""
    if readings and readings[-1][0] // SECOND == now // SECOND:
        readings[-1] = readings[-1][0], base
    else:
        readings.append((now, base))
    first = _in_force(readings, now - LASTS) or 0
    del readings[: max(0, min(first, len(readings) - _READINGS))]


def _in_force(readings: list[tuple[Ms, float]], t: Ms) -> int | None:
    """The place of the reading in force at ``t``; None if all came later."""
    return next((n for n in range(len(readings) - 1, -1, -1) if readings[n][0] <= t), None)


def _moved(level: float, readings: list[tuple[Ms, float]]) -> float:
    """The level, as far as all readings say that it moved."""
    bases = [x for _, x in readings]
    return min(max(level, min(bases)), max(bases))
