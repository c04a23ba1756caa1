"""Open interest of one market in coins, as far as it is believed.

One wrong reading would stand at the end of a window now, and at its start when the window has
passed, and venues repeat what is stale. So a reading is listened to when it has been held: what
counts moves only as far as all readings of the last ``HELD`` ms say, and a reading out of all
proportion must last longer. Until then a second venue may confirm it (``latest``,
``rules.metrics.open_interest``). None is zero: venues send 0 when they do not know.
"""

import msgspec

from streams.durations import MINUTE, SECOND
from streams.events import Ms

MAX_AGE: Ms = 3 * MINUTE
"""Readings further apart do not belong together: three polls of a slow feed (60 s)."""

HELD: Ms = 20_000
"""After so long, by two readings at least, a change is believed without a second venue."""

OUT_OF_PROPORTION = 1.5
"""More than so many times, or less than this part of, what is believed."""

LASTS: Ms = 40 * SECOND
"""After so long, by two readings at least, which is one poll of a slow feed, what seemed out of
proportion is so: the feed was away, or the market is gone."""

AGREE = 1.02
"""The first readings of a market are believed once none is so many times another: a level that
began wrong would be a change when it is mended. So much above a level and below it readings may be
at the same time and confirm it."""

_READINGS = 3

MEMOS = "oi."
"""So begin the names of the series that metrics keep of what was believed."""


class Interest(msgspec.Struct, array_like=True):
    """What is remembered of one market's open interest."""

    recent: list[tuple[Ms, float]] = []
    """The readings of the last ``HELD`` ms with their times and the one before, at least three; the
    last one of each second."""
    odd: list[tuple[Ms, float]] = []
    """The last of those that must last first, since they are out of proportion."""
    odd_since: Ms = 0
    """When the first of those came."""
    level: float | None = None
    """What is believed, None before readings agree; after a hole, of before it."""
    doubted_since: Ms | None = None
    """Since when no reading confirmed the level: all are out of proportion, or on both sides of it.
    After ``MAX_AGE`` of that it is unknown."""

    @property
    def steady(self) -> float | None:
        """What is believed now; None while that is not known."""
        recent = self.recent
        return self.level if recent and recent[-1][0] - recent[0][0] >= HELD else None

    @property
    def latest(self) -> float | None:
        """The middle one of the last three readings, believed or not; None before there are."""
        last = [*self.recent[-_READINGS:], *self.odd][-_READINGS:]
        if len(last) < _READINGS:
            return None
        (_, a), (_, b), (_, c) = last
        return max(min(a, b), min(max(a, b), c))

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later."""
        self.recent = [(min(at, now), base) for at, base in self.recent]
        self.odd = [(min(at, now), base) for at, base in self.odd]
        self.odd_since = min(self.odd_since, now)
        if self.doubted_since is not None:
            self.doubted_since = min(self.doubted_since, now)

    def resume(self, base: float, at: Ms) -> None:
        """Go on from what was believed at ``at``, where nothing else is remembered."""
        if self.level is None and not self.recent and not self.odd and base > 0:
            self.recent, self.level = [(at, base)], base

    def take(self, base: float, now: Ms) -> bool:
        """A reading came; False if it is not to be believed, or not yet."""
        if base <= 0:
            return False
        believed = self._take(base, now)
        if self.level is None or (believed and not self._between()):
            self.doubted_since = None
        elif self.doubted_since is None:
            self.doubted_since = now
        elif now - self.doubted_since >= MAX_AGE:
            self.level = self.doubted_since = None
        return believed

    def _take(self, base: float, now: Ms) -> bool:
        if self.recent and now - self.recent[-1][0] > MAX_AGE:
            self.recent = []
        if self.level is None:  # nothing is out of proportion to what nobody knows
            before = self.recent[-1][1] if self.recent else base
            self.odd = []
            self._note(base, now)
            return _alike(before, base)
        if _alike(self.level, base):
            self.odd = []
            self._note(base, now)
            return True
        if not self.odd or not _alike(self.odd[-1][1], base):
            self.odd, self.odd_since = [], now
        self.odd = [*self.odd[1 - _READINGS :], (now, base)]
        if now - self.odd_since < LASTS:
            return False
        # it has lasted, so it counts at once, as far as all of these say
        bases = [x for _, x in self.odd]
        self.level = min(max(self.level, min(bases)), max(bases))
        self.recent, self.odd = [(self.odd_since, self.level), *self.odd], []
        return True

    def _note(self, base: float, now: Ms) -> None:
        recent, horizon = self.recent, now - HELD
        if recent and recent[-1][0] // SECOND == now // SECOND:
            recent[-1] = recent[-1][0], base
        else:
            recent.append((now, base))
        # the reading in force when that time began, or the first one
        first = next((n for n in range(len(recent) - 1, 0, -1) if recent[n][0] <= horizon), 0)
        spare = max(0, min(first, len(recent) - _READINGS))
        del recent[:spare]
        if recent[first - spare][0] > horizon:
            return
        if self.level is not None:
            bases = [x for _, x in recent[first - spare :]]
            self.level = min(max(self.level, min(bases)), max(bases))
            return
        bases = sorted([x for _, x in recent])
        if len(bases) >= _READINGS and bases[-1] <= AGREE * bases[0]:
            self.level = bases[len(bases) // 2]

    def _between(self) -> bool:
        """Whether the last readings lie on both sides of the level, and far from it."""
        bases = [x for _, x in self.recent]
        return self.level is not None and AGREE * min(bases) < self.level < max(bases) / AGREE


def _alike(a: float, b: float) -> bool:
    return a <= OUT_OF_PROPORTION * b and b <= OUT_OF_PROPORTION * a
