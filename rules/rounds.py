"""Round numbers that a value goes through, either way. Pure.

A value near a round number is now above it and now below. So going through is told where the value
had been clearly on the other side (``CLEAR``) since it was told before, and only once it has stayed
through for ``STAYS`` without a hole. It stands for a day, or until the value is clearly back.
"""

from math import ceil, floor

import msgspec

from streams.durations import DAY, MINUTE
from streams.events import Ms

CLEAR = 0.02
"""Clearly on one side of a number: so far from it, as a fraction."""

STAYS: Ms = 10 * MINUTE
HOLE: Ms = 2 * MINUTE
"""After so long without a value nobody knows where it was."""

STANDS: Ms = DAY

_NEAR = 2.0
"""Numbers up to so many times the value, either way, are looked at."""


class Crossing(msgspec.Struct, array_like=True):
    """That it went through a number."""

    number: int
    at: Ms
    """When it did."""
    since: Ms | None
    """When it was last on this side before; None: not since it is watched."""


class _Beyond(msgspec.Struct, array_like=True):
    """Where it is beyond a number on whose other side it had clearly been."""

    at: Ms
    """Since when."""
    before: Ms | None
    """When it had last been there before."""


class _Way(msgspec.Struct, array_like=True):
    """One of both ways."""

    clear: list[int] = []
    """Numbers that it may go through: it has clearly been before them since."""
    beyond: dict[int, _Beyond] = {}
    """Numbers that it is through, for too short a time yet."""
    last: dict[int, Ms] = {}
    """When it was last beyond a number."""
    crossings: list[Crossing] = []
    """Those that stand, the oldest first."""
    newest: Crossing | None = None
    """The newest, whether it stands or not."""


class Rounds(msgspec.Struct, array_like=True):
    """What is known of one value. Numbers are 1, 2, 3 …"""

    began: Ms = 0
    """When the first value was; 0: never."""
    seen: Ms = 0
    """When the newest was."""
    below: _Way = msgspec.field(default_factory=_Way)
    above: _Way = msgspec.field(default_factory=_Way)

    def take(self, value: float, now: Ms) -> None:
        """The value now, positive."""
        self.began = self.began or now
        if now - self.seen > HOLE:
            self.below.beyond.clear()
            self.above.beyond.clear()
        self.seen = now
        for up in (False, True):
            way = self._way(up)
            way.crossings = [
                crossing
                for crossing in way.crossings
                if now - crossing.at < STANDS and not _clearly(value, crossing.number, not up)
            ]
            for number in range(max(1, floor(value / _NEAR)), ceil(value * _NEAR) + 1):
                _look(way, number, up, value, now)

    def standing(self, up: bool, now: Ms) -> list[Crossing]:
        """The numbers that it has gone through in the last day and is not clearly back from."""
        return [crossing for crossing in self._way(up).crossings if now - crossing.at < STANDS]

    def newest(self, up: bool) -> Crossing | None:
        """The last time that it went through a number; None: never."""
        return self._way(up).newest

    def known(self, now: Ms) -> bool:
        """Whether the newest value is one of now."""
        return bool(self.seen) and now - self.seen <= HOLE

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.began, self.seen = min(self.began, now), min(self.seen, now)
        for way in (self.below, self.above):
            way.beyond.clear()
            way.last = {number: min(at, now) for number, at in way.last.items()}
            for crossing in (*way.crossings, *([way.newest] if way.newest else [])):
                crossing.at = min(crossing.at, now)
                crossing.since = None if crossing.since is None else min(crossing.since, now)

    def _way(self, up: bool) -> _Way:
        return self.above if up else self.below


def _look(way: _Way, number: int, up: bool, value: float, now: Ms) -> None:
    if _clearly(value, number, not up) and number not in way.clear:
        way.clear.append(number)
    if not (value > number if up else value < number):
        way.beyond.pop(number, None)
        return
    if number in way.clear:
        beyond = way.beyond.setdefault(number, _Beyond(now, way.last.get(number)))
        if now - beyond.at >= STAYS:
            way.clear.remove(number)
            del way.beyond[number]
            way.newest = Crossing(number, beyond.at, beyond.before)
            way.crossings = [*way.crossings, way.newest]
    way.last[number] = now


def _clearly(value: float, number: int, above: bool) -> bool:
    """Whether it is on that side of a number, and not near it."""
    return value >= number * (1 + CLEAR) if above else value <= number * (1 - CLEAR)
