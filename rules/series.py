"""A window of samples that forgets by event time.

Invariants:
- times never run backwards: a sample older than the newest one is stored at the newest time;
- besides the window, the newest sample before it is kept, so that "the value at the window's
  start" always has an answer once the window is full;
- 8 bytes for the time and 8 for each column; nothing else is held for a sample.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from streams.events import Ms

_SLACK = 16
"""Forgotten samples that may wait at the front of the arrays before they are moved out."""


class Series:
    """Samples of ``width`` numbers over the last ``keep_ms`` (0: only the newest).

    ``spacing_ms``: at most one sample for each slot of that length; the newest in the slot stays.
    """

    __slots__ = ("_columns", "_head", "_keep", "_spacing", "_times")

    def __init__(self, width: int, keep_ms: Ms, spacing_ms: Ms = 0) -> None:
        self._keep = keep_ms
        self._spacing = spacing_ms
        self._head = 0
        self._times = array("q")
        self._columns = tuple(array("d") for _ in range(width))

    def __len__(self) -> int:
        return len(self._times) - self._head

    @property
    def last_time(self) -> Ms | None:
        """The time of the newest sample."""
        times = self._times
        return times[-1] if len(times) > self._head else None

    @property
    def last(self) -> tuple[float, ...] | None:
        """The newest sample."""
        if len(self._times) == self._head:
            return None
        return tuple([column[-1] for column in self._columns])

    @property
    def last_first(self) -> float:
        """The first column of the newest sample. IndexError if there is none."""
        return self._columns[0][-1]

    def append(self, t: Ms, values: Sequence[float]) -> None:
        """Adds a sample at ``t`` and forgets what the window no longer needs."""
        times = self._times
        if len(times) > self._head:
            last = times[-1]
            if t < last:
                t = last
            if self._spacing and t // self._spacing == last // self._spacing:
                times[-1] = t
                for column, value in zip(self._columns, values, strict=True):
                    column[-1] = value
                return
        times.append(t)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._forget(t - self._keep)

    def add(self, t: Ms, amounts: Sequence[float]) -> None:
        """Appends running totals. Whole amounts keep ``sums`` exact up to 2**53, without drift."""
        last = self.last
        if last is None:
            self.append(t, amounts)
        else:
            self.append(t, [a + b for a, b in zip(last, amounts, strict=True)])

    def sums(self, after: Ms) -> tuple[float, ...]:
        """What was added after ``after``, column by column; ``after`` must be in the window."""
        last, before = self.last, self.at_or_before(after)
        if last is None:
            return (0.0,) * len(self._columns)
        if before is None:
            return last
        return tuple([a - b for a, b in zip(last, before[1], strict=True)])

    def pop(self) -> None:
        """Takes the newest sample away. IndexError if there is none."""
        if not len(self):
            raise IndexError("pop from an empty series")
        self._times.pop()
        for column in self._columns:
            column.pop()

    def at_or_before(self, t: Ms) -> tuple[Ms, tuple[float, ...]] | None:
        """The newest sample not after ``t`` with its time; None if the series does not reach."""
        index = bisect_right(self._times, t, self._head) - 1
        if index < self._head:
            return None
        return self._times[index], tuple([column[index] for column in self._columns])

    def first_at(self, t: Ms, max_age: Ms) -> float | None:
        """The first column ``at_or_before`` a time, None if that is older than ``max_age``."""
        times, head = self._times, self._head
        index = bisect_right(times, t, head) - 1
        return self._columns[0][index] if index >= head and t - times[index] <= max_age else None

    def window(self, after: Ms, until: Ms) -> range:
        """Where the samples after ``after`` and not after ``until`` are, until the next change."""
        times, head = self._times, self._head
        start = bisect_right(times, after, head)
        return range(start, bisect_right(times, until, start))

    def times(self, where: range) -> Sequence[Ms]:
        """The times of the samples of a ``window``."""
        return self._times[where.start : where.stop]

    def values(self, column: int, where: range) -> Sequence[float]:
        """One column of the samples of a ``window``."""
        return self._columns[column][where.start : where.stop]

    def span(self, where: range) -> Ms:
        """The time from the first to the last sample of a ``window``, 0 if it is empty."""
        return self._times[where.stop - 1] - self._times[where.start] if where else 0

    def dump(self) -> list[bytes]:
        """The samples, equal for equal samples: times, then each column, as this machine has them.

        The byte order is the machine's own (int64, float64).
        """
        head = self._head
        return [self._times[head:].tobytes(), *(c[head:].tobytes() for c in self._columns)]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over dumped samples instead of its own. ValueError if they do not fit."""
        if len(dumped) != 1 + len(self._columns):
            raise ValueError("the dumped series has another number of columns: start without it")
        if any(len(c) != len(dumped[0]) for c in dumped):
            raise ValueError("the dumped series is cut short: start without it")
        self._head = 0
        self._times = array("q", dumped[0])
        self._columns = tuple(array("d", c) for c in dumped[1:])

    def _forget(self, horizon: Ms) -> None:
        times, head = self._times, self._head
        newest = len(times) - 1
        while head < newest and times[head + 1] <= horizon:
            head += 1
        if head > _SLACK:
            del times[:head]
            for column in self._columns:
                del column[:head]
            head = 0
        self._head = head
