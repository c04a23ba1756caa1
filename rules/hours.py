"""What is usual at this hour of day: the hourly medians of the last 14 days.

The baseline of hour h is the median over all stored hours whose hour of day (UTC) is h-1, h or
h+1: 42 values at most.
"""

from collections.abc import Sequence
from statistics import median

from rules.ring import Ring
from streams.events import Ms

HOUR: Ms = 3_600_000
DAYS = 14
READY_DAYS = 5
"""Days that must have been observed around an hour before there is a baseline for it."""


class Hours:
    """A ring of 336 hourly values, numbered since the epoch."""

    __slots__ = ("_ring",)

    def __init__(self) -> None:
        self._ring = Ring(DAYS * 24)

    def put(self, hour: int, value: float) -> None:
        """The value of an hour; hours must not run backwards."""
        self._ring.put(hour, value)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what is said of later hours is not of them."""
        self._ring.cut(now // HOUR - 1)

    def days(self, now: Ms) -> int:
        """On how many of the last 14 days this time of day was observed, most of it at least."""
        hour = now // HOUR
        return sum(len(self._around(hour - 24 * day)) >= 2 for day in range(1, DAYS + 1))

    def normal(self, now: Ms) -> float | None:
        """The baseline of the hour of ``now``, None before it is ready."""
        if self.days(now) < READY_DAYS:
            return None
        hour = now // HOUR
        return median([x for day in range(DAYS + 1) for x in self._around(hour - 24 * day)])

    def dump(self) -> list[bytes]:
        """The ring as bytes, in this machine's byte order."""
        return self._ring.dump()

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over a dumped ring. ValueError if it is none."""
        self._ring.load(dumped)

    def _around(self, hour: int) -> list[float]:
        return self._ring.among(range(hour - 1, hour + 2))
