"""How far a contract's mark price is from its index price, and so its price where the index fails.

Pure. In a crash an index stands still or is no more, while the mark goes on (OKX says of neither
that it is old; Binance sends "0" or ""). The price goes on by the mark then, as far from it as the
index usually was: a switch from one to the other is no move. What the index was last may be what
was wrong with it, so that is the median of some readings, and a distance that no index has is none.
"""

import msgspec

from streams.durations import SECOND
from streams.events import Ms

_EVERY: Ms = 3 * SECOND
_KEPT, _LEAST = 5, 3
"""How many readings are kept, so far apart at least, and how many say what is usual."""

_STILL: Ms = 5 * SECOND
"""An index that has not moved for so long stands still …"""

_AWAY = 0.005
"""… if the mark has moved so far from it, as a fraction, beyond what is usual."""

_MOST = 0.05
"""A mark further from its index, as a fraction, shows that one of them is wrong."""


class Basis(msgspec.Struct, array_like=True):
    """Of one contract."""

    ratios: list[float] = []
    """Mark by index price, the newest last."""
    taken_at: Ms = 0
    """When the last of them was."""
    index: float | None = None
    """As it was told last."""
    moved_at: Ms = 0
    """When that was another one than before."""

    def price(self, mark: float | None, index: float | None, now: Ms) -> float | None:
        """The price by both: the index, or where that fails what it would be by the mark. None:
        there is neither."""
        if index is None or index <= 0:
            return None if mark is None else mark / self.usual
        if index != self.index:
            self.index, self.moved_at = index, now
        if mark is None:
            return index
        if now - self.moved_at < _STILL:
            self._take(mark / index, now)
            return index
        by_mark = mark / self.usual
        away = _AWAY if len(self.ratios) >= _LEAST else _MOST
        return by_mark if abs(by_mark / index - 1) > away else index

    @property
    def usual(self) -> float:
        """Mark by index price; 1 as long as too little was told."""
        middle = len(self.ratios) // 2
        return sorted(self.ratios)[middle] if len(self.ratios) >= _LEAST else 1.0

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.taken_at, self.moved_at = min(self.taken_at, now), min(self.moved_at, now)

    def _take(self, ratio: float, now: Ms) -> None:
        if now - self.taken_at >= _EVERY and abs(ratio - 1) <= _MOST:
            self.ratios = [*self.ratios[1 - _KEPT :], ratio]
            self.taken_at = now
