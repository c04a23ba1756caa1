"""Virtual time: what is to happen, in order. Two things of one moment happen as they were put."""

import heapq
from collections.abc import Callable
from itertools import count

from streams.events import Ms

Work = Callable[[], None]


class Agenda:
    """``now``: ms since the beginning, which never steps."""

    def __init__(self) -> None:
        self.now: Ms = 0
        self._due: list[tuple[Ms, int, Work]] = []
        self._number = count()

    def put(self, at: Ms, work: Work) -> None:
        """``work`` is to happen at ``at``, now if that is past."""
        heapq.heappush(self._due, (max(at, self.now), next(self._number), work))

    def every(self, first: Ms, step: Ms, work: Work) -> None:
        """``work`` happens at ``first`` and each ``step`` after it."""

        def again() -> None:
            self.put(self.now + step, again)
            work()

        self.put(first, again)

    def run(self, until: Ms) -> None:
        """All that happens before ``until``."""
        while self._due and self._due[0][0] < until:
            self.now, _, work = heapq.heappop(self._due)
            work()
        self.now = until
