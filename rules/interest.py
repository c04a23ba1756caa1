"""Open interest of one market in coins, as far as it is believed.

One wrong reading would stand at the end of a window now, and at its start when the window has
passed, so the middle one of three readings is what counts: it follows a real change one reading
later. A reading out of all proportion is not listened to before it has lasted, and none is zero:
venues send 0 when they do not know.
"""

import msgspec

from streams.durations import MINUTE, SECOND
from streams.events import Ms

MAX_AGE: Ms = 3 * MINUTE
"""Readings further apart do not belong together: three polls of a slow feed (60 s)."""

OUT_OF_PROPORTION = 1.5
"""More than so many times, or less than this part of, the reading before."""

LASTS: Ms = 40 * SECOND
"""After so long, by two readings at least, which is one poll of a slow feed, what seemed out of
proportion is so: the feed was away, or the market is gone."""

_READINGS = 3


class Interest(msgspec.Struct, array_like=True):
    """``recent``: the last readings with their times.

    ``odd``: those that must last first; the first of them came at ``odd_since``.
    """

    recent: list[tuple[Ms, float]] = []
    odd: list[tuple[Ms, float]] = []
    odd_since: Ms = 0

    @property
    def last(self) -> float | None:
        """The newest reading that is believed by itself."""
        return self.recent[-1][1] if self.recent else None

    @property
    def steady(self) -> float | None:
        """The middle one of the last three readings; None before there are three."""
        if len(self.recent) < _READINGS:
            return None
        (_, a), (_, b), (_, c) = self.recent
        return max(min(a, b), min(max(a, b), c))

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later."""
        self.recent = [(min(at, now), base) for at, base in self.recent]
        self.odd = [(min(at, now), base) for at, base in self.odd]
        self.odd_since = min(self.odd_since, now)

    def take(self, base: float, now: Ms) -> bool:
        """A reading came; False if it is not to be believed, or not yet."""
        if base <= 0:
            return False
        reading = (now, base)
        if self.recent and now - self.recent[-1][0] > MAX_AGE:
            self.recent = self.recent[-1:] if self._odd(base) else []
        if not self._odd(base):
            self.odd = []
            self.recent = [*self.recent[1 - _READINGS :], reading]
            return True
        if not self.odd or not _alike(self.odd[-1][1], base):
            self.odd, self.odd_since = [], now
        self.odd = [*self.odd[1 - _READINGS :], reading]
        if now - self.odd_since < LASTS:
            return False
        # it has lasted, so it counts at once, as far as all of these say
        before = self.recent[-1][1] if self.recent else base
        bases = [x for _, x in self.odd]
        mildest = min(max(before, min(bases)), max(bases))
        self.recent, self.odd = [(now, mildest)] * _READINGS, []
        return True

    def _odd(self, base: float) -> bool:
        return bool(self.recent) and not _alike(self.recent[-1][1], base)


def _alike(a: float, b: float) -> bool:
    return a <= OUT_OF_PROPORTION * b and b <= OUT_OF_PROPORTION * a
