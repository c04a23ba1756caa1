"""The liquidations that a venue has brought lately, to be known where it brings them again. Pure.

A subscription may begin with those of before it. What it repeats is what any connection to the
venue has brought: the one before, one of other contracts, one of a process that is gone.
"""

from collections import Counter, deque
from collections.abc import Iterable, Set

import msgspec

from streams.durations import MINUTE
from streams.events import Liquidation, Ms

REPLAY_MS = MINUTE
"""For so long after subscribing, liquidations may be those of before it, sent again."""

KEPT_MS = 2 * REPLAY_MS
"""So long liquidations are remembered: those that may be repeated, through such a time."""


class RecentLiquidations:
    """Those of one venue. Times are of the steady clock."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Ms, Liquidation]] = deque()
        """When each was published, without the time at which it was seen."""
        self._ids: set[tuple[str, str]] = set()
        """The symbols and ids of those that have one."""

    def add(self, event: Liquidation, now: Ms) -> None:
        """It was published."""
        self._recent.append((now, _anytime(event)))
        if event.trade_id:
            self._ids.add((event.symbol, event.trade_id))
        while now - self._recent[0][0] > KEPT_MS:
            _, old = self._recent.popleft()
            self._ids.discard((old.symbol, old.trade_id))

    def resume(self, before: Iterable[tuple[Ms, Liquidation]], now: Ms) -> None:
        """Those of a process before this one, each with its age, the oldest first."""
        for age, event in before:
            self.add(event, now - age)

    def expected(self, now: Ms) -> "Repeats":
        """What a subscription that is asked for ``now`` may repeat."""
        recent = [event for at, event in self._recent if now - at <= KEPT_MS]
        return Repeats(now, Counter(event for event in recent if not event.trade_id), self._ids)


class Repeats:
    """What one subscription may repeat. ``since``: when it was asked for."""

    def __init__(self, since: Ms, unnamed: Counter[Liquidation], ids: Set[tuple[str, str]]) -> None:
        self._since = since
        self._unnamed = unnamed
        self._ids = ids

    def take(self, event: Liquidation, now: Ms, late: Ms) -> bool:
        """Whether ``event`` was told before, or is too old to be news. ``late``: by how much what
        comes of the venue seems late, as it does where our clock is ahead.

        Of those that have no id two alike are two, so each is known once.
        """
        if event.trade_id and (event.symbol, event.trade_id) in self._ids:
            return True
        age = now - self._since
        if age >= REPLAY_MS:
            return False
        key = _anytime(event)
        if self._unnamed[key] > 0:
            self._unnamed[key] -= 1
            return True
        return event.seen - event.at > max(0, late) + age + REPLAY_MS


def _anytime(event: Liquidation) -> Liquidation:
    """The same, whenever it was seen."""
    return msgspec.structs.replace(event, seen=0)
