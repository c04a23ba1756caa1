"""The clocks of the streams role, as arguments, so that a recording can bring its own time."""

import asyncio
import time
from typing import Protocol

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


class WallClock:
    """Real time."""

    def now(self) -> Ms:
        """See Clock."""
        return time.monotonic_ns() // 1_000_000

    def seen(self) -> Ms:
        """See Clock."""
        return wall_ms()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)
