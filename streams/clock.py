"""The clocks of roles, as arguments, so that a recording can bring its own time.

Whether this machine's clock was set back is noticed here and nowhere else, by the clock that counts
steadily: ``seen`` follows the time of day forwards at once, since a machine that slept has missed
what it missed; a small step back is made up for by going at half speed until the time of day has
caught up, so that time never runs backwards; a larger one is followed at once, and whoever counts
with ``seen`` is to begin anew.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from streams.durations import MINUTE, SECOND
from streams.events import Ms


class Clock(Protocol):
    """``seen`` is the time put on events, ``now`` runs steadily and times sockets."""

    def now(self) -> Ms:
        """Milliseconds of a clock that never runs backwards, from any origin."""
        ...

    def seen(self) -> Ms:
        """Milliseconds since the epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once ``seen`` has advanced by so many seconds."""
        ...


def wall_ms() -> Ms:
    """The time of day, Ms since the epoch, UTC."""
    return time.time_ns() // 1_000_000


STEP: Ms = 3 * SECOND
"""A smaller step back is what NTP does all the time, and no news."""

SLEW_MOST: Ms = MINUTE
"""A larger step back is not made up for by going slowly."""


class ClockStep(NamedTuple):
    """The clock was set back by ``back``; ``slewed``: ``seen`` goes slowly and never backwards."""

    back: Ms
    slewed: bool


class ClockSetBack(Exception):
    """The clock was set back so far that what counts with it begins anew; ``str()`` says so."""


class WallClock:
    """Real time. ``wall`` and ``steady``: the time of day and a steady clock, in nanoseconds."""

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._read_wall = wall
        self._read_steady = steady
        self._steady = steady()
        self._wall = self._seen = wall()
        self._steps: list[ClockStep] = []

    def now(self) -> Ms:
        """See Clock."""
        return self._read_steady() // _NS

    def seen(self) -> Ms:
        """See Clock."""
        wall, steady = self._read_wall(), self._read_steady()
        passed = steady - self._steady
        back = self._wall + passed - wall
        slow = self._seen + passed // 2
        self._wall, self._steady = wall, steady
        slewed = slow - wall <= SLEW_MOST * _NS
        if back > STEP * _NS:
            self._steps.append(ClockStep(back // _NS, slewed))
        self._seen = max(wall, slow) if slewed else wall
        return self._seen // _NS

    def steps(self) -> list[ClockStep]:
        """How the clock was set back since this was last asked."""
        self.seen()
        steps, self._steps = self._steps, []
        return steps

    def not_before(self, seen: Ms) -> None:
        """``seen`` was given out before we began: a small step back since then is made up for."""
        if self._seen < seen * _NS <= self._seen + SLEW_MOST * _NS:
            self._seen = seen * _NS

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)


_NS = 1_000_000
"""Nanoseconds in a millisecond."""
