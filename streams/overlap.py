"""Two sockets that bring the same liquidations, one after the other or the other way round. Pure.

Each liquidation is said once, whichever socket brings it first; two that are alike in everything
are two if one socket brings both.
"""

from collections import Counter, defaultdict, deque

from streams.events import Liquidation, Ms, Position

_Key = tuple[str, Ms, Position, float, float]


class Overlap:
    """What the old socket has said and the new one has heard; what both have is forgotten."""

    def __init__(self) -> None:
        self._said: Counter[_Key] = Counter()
        self._heard: defaultdict[_Key, deque[Liquidation]] = defaultdict(deque)

    def said(self, event: Liquidation) -> None:
        """The old socket brought this, and it was published."""
        key = _key(event)
        if waiting := self._heard.get(key):
            waiting.popleft()
            if not waiting:
                del self._heard[key]
        else:
            self._said[key] += 1

    def heard(self, event: Liquidation) -> None:
        """The new socket brought this while the old one still speaks."""
        if not self.is_repeat(event):
            self._heard[_key(event)].append(event)

    def is_repeat(self, event: Liquidation) -> bool:
        """Whether the old socket has said what the new one brings now."""
        key = _key(event)
        count = self._said.pop(key, 0)
        if count > 1:
            self._said[key] = count - 1
        return count > 0

    def unsaid(self) -> list[Liquidation]:
        """What only the new socket has brought so far, to be published now."""
        left = [event for waiting in self._heard.values() for event in waiting]
        self._heard.clear()
        return sorted(left, key=lambda event: event.seen)


def _key(event: Liquidation) -> _Key:
    return event.symbol, event.at, event.position, event.price, event.base
