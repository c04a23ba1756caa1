"""The clocks of roles, as arguments, so that a recording can bring its own time.

Whether this machine's time of day stepped is noticed here and nowhere else, by the clock that
counts steadily. A small step ahead is followed, a small one back made up for by going at half
speed, so that time does not run backwards by a little; a larger one is followed at once, and
whoever listens is told by how much before any time of after the step is given out.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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


def uptime_ns() -> int:
    """Nanoseconds since this machine started, those that it slept included where it knows them."""
    return time.clock_gettime_ns(_UPTIME)


def boot() -> str:
    """Which start of the machine ``uptime_ns`` counts from, "" where the machine does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


STEP: Ms = 3 * SECOND
"""A smaller step is what NTP does all the time, and no news."""


class WallClock:
    """Real time. ``wall`` and ``steady``: the time of day and a steady clock, in nanoseconds."""

    def __init__(
        self, wall: Callable[[], int] | None = None, steady: Callable[[], int] | None = None
    ) -> None:
        self._read_wall = wall or time.time_ns
        self._read_steady = steady or uptime_ns
        self._steady = self._read_steady()
        self._seen = self._read_wall()
        self._stepped: Callable[[Ms, Ms], None] | None = None

    def now(self) -> Ms:
        """See Clock."""
        return self._read_steady() // _NS

    def seen(self) -> Ms:
        """See Clock."""
        wall, steady = self._read_wall(), self._read_steady()
        passed, self._steady = steady - self._steady, steady
        by = wall - (self._seen + passed)
        if abs(by) <= STEP * _NS:
            self._seen = max(wall, self._seen + passed // 2)
            return self._seen // _NS
        before, self._seen = self._seen + passed, wall
        if self._stepped is not None:
            self._stepped(wall // _NS - before // _NS, wall // _NS)
        return wall // _NS

    def on_step(self, stepped: Callable[[Ms, Ms], None]) -> None:
        """``stepped`` is told by how much the time of day stepped, and what it is now, before
        ``seen`` gives a time of after the step to anybody."""
        self._stepped = stepped

    def line(self) -> Ms:
        """What ``seen`` says when the steady clock says 0: the same until the next step."""
        seen = self.seen()
        return seen - self._steady // _NS

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)


APART: Ms = MINUTE
"""Clocks of two machines that differ by less are those of one: what is told comes late as well."""

_MEASURED: Ms = 12 * SECOND
_REMEMBERED: Ms = 30 * SECOND

UNDECIDED: Ms = 20 * SECOND
"""So long after the start it may be unknown by whose time to go."""


class FollowingClock(WallClock):
    """Real time as another machine has it, which says now and then what time it is there. That is
    this machine's time until the two are known to differ; then it steps."""

    def __init__(
        self, wall: Callable[[], int] | None = None, steady: Callable[[], int] | None = None
    ) -> None:
        self.ahead: Ms = 0
        """How far this machine's clock is ahead of the other one's."""
        self._heard: deque[tuple[Ms, Ms, Ms]] = deque()
        """When it was told, on the steady clock; what time it is there; how far we are ahead."""
        read = wall or time.time_ns
        super().__init__(lambda: read() - self.ahead * _NS, steady)
        self._began = self.now()
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether it is known by whose time to go: what was heard is about ours, or was taken over;
        or nothing that goes on evenly was heard for ``UNDECIDED``, as where nobody is at work."""
        return self._settled or self.now() - self._began >= UNDECIDED

    def hear(self, theirs: Ms) -> Ms:
        """It was ``theirs`` there a moment ago. By how much this clock goes back for it, negative:
        ahead; 0: not at all.

        One that tells a time that does not go on, or goes on faster or slower than ours, is behind
        its own clock, as after an outage.
        """
        now, heard = self.now(), self._heard
        if heard and theirs == heard[-1][1]:
            return 0
        heard.append((now, theirs, self.seen() - theirs))
        self._settled |= abs(heard[-1][2]) < APART
        while now - heard[0][0] > _REMEMBERED:
            heard.popleft()
        apart = [ahead for _, _, ahead in heard]
        least = min(apart)
        if now - heard[0][0] < _MEASURED or max(apart) - least > STEP or abs(least) < APART:
            return 0
        self.ahead += least
        self._settled = True
        heard.clear()
        return least


_NS = 1_000_000
"""Nanoseconds in a millisecond."""

_UPTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's steady clock that goes on while the machine sleeps; others have one that may stand."""
