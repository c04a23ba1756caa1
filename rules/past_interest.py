"""Open interest of before that venues tell later, and which of it is believed.

The table of a venue has a row each five minutes. In a crash its newest one is of before it, and far
from what is open now, as a table is that counts otherwise. So what does not go on in what is live
waits until it does, which the next row ends, or until another exchange's has been left behind in
the same way: a crash is everywhere.
"""

from collections.abc import Sequence

from rules.market import Market
from streams.durations import MINUTE
from streams.events import INTEREST_FITS, Ms

Rows = Sequence[tuple[Ms, float]]
"""What was held then, the oldest first."""

KEPT: Ms = 30 * MINUTE
"""So long what does not go on in what is live waits for another exchange's word: until then the
table was asked for again many times."""


class PastInterests:
    """What venues have told of one asset."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: list[tuple[Ms, Market, float, Rows]] = []

    def tell(
        self, market: Market, rows: Rows, left: float | None, now: Ms
    ) -> list[tuple[Market, Rows]]:
        """What is believed now, of ``market`` and of those that waited for its word. ``left``: what
        is open now over what was held at last by the same table; None: unknown, and so near that
        nobody asked."""
        if left is None or _alike(left, 1.0):
            self._told = [entry for entry in self._told if entry[1] is not market]
            return [(market, rows)]
        self._told = [
            entry for entry in self._told if 0 <= now - entry[0] <= KEPT and entry[1] is not market
        ]
        witnesses = [
            (other, waiting)
            for _, other, other_left, waiting in self._told
            if other.exchange != market.exchange and _alike(left, other_left)
        ]
        self._told.append((now, market, left, rows))
        return [(market, rows), *witnesses] if witnesses else []


def _alike(a: float, b: float) -> bool:
    return a <= INTEREST_FITS * b and b <= INTEREST_FITS * a
