"""One side of an order book: sizes in, notional within bands of mid out. Pure.

Near mid every price step has its place in a list of notionals, so a band is the sum of a slice and
a change is one store; levels further away wait outside, and those beyond that are forgotten.
"""

from collections.abc import Sequence
from itertools import compress, islice
from math import ceil

from streams.events import BANDS_BP

KEEP_BP = 2 * BANDS_BP[-1]
"""How far from mid levels have places."""

_OUTSIDE_LIMIT = 200
"""Levels outside before the farthest are looked through and forgotten."""

_PLACES_LIMIT = 500_000
"""A side with more price steps than this is no market we know; BTC has 20,000."""

_FINEST = 14
"""Decimals of the finest price step."""

_IMPOSSIBLE = 1e18
_ON_GRID = 1e-6
"""Rounding error of a price in steps; what is further off lies between two steps."""


class Side:
    """Levels of one side: notional by place, one place for every price step near mid.

    ``sign`` 1: bids, -1: asks. Place ``i`` is the price ``(_base + i) / _scale``; since ``_scale``
    has the sign, a higher place is always a better price. Levels too far for a place of their own
    wait in ``_outside``.
    """

    __slots__ = (
        "_base",
        "_bottom",
        "_changed",
        "_full",
        "_mid",
        "_outside",
        "_patience",
        "_places",
        "_scale",
        "_sign",
        "_top",
        "edge",
        "fault",
    )

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._changed: dict[float, float] = {}  # price → size, not yet put in its place
        self.clear()

    def clear(self) -> None:
        self._changed.clear()
        self._outside: dict[float, float] = {}  # price → size
        self._places: list[float] = []
        self._scale = 0.0  # places per unit of price
        self._base = 0
        self._top = -1  # no level in a higher place
        self._bottom = 0  # no level in a lower place
        self._full = False
        self.fault = ""  # why nothing can be said of this side, in words
        self._mid = 0.0  # what the places were laid out around
        self._patience = _OUTSIDE_LIMIT
        self.edge = 0.0 if self._sign > 0 else float("inf")  # from here to mid all is known

    def load(self, levels: Sequence[tuple[float, float]], reach: int = 0) -> None:
        """Replace everything. ``reach``: the most levels the venue sends, 0: it sends all."""
        self.clear()
        self._changed.update(levels)
        self._full = 0 < reach <= len(levels)

    def apply(self, changes: Sequence[tuple[float, float]]) -> None:
        """Set sizes, 0 deletes; deleting an unknown price is normal.

        Only noted here: a price changes many times between two samples, and only its last size
        counts.
        """
        self._changed.update(changes)

    def best(self) -> float | None:
        """The price nearest to the other side, None if the side is empty."""
        self._settle()
        places = self._places
        inwards = islice(reversed(places), len(places) - 1 - self._top, None)
        self._top = next(compress(range(self._top, -1, -1), inwards), -1)
        return self._price(self._top) if self._top >= 0 else None

    def within(self, mid: float, bands_bp: Sequence[int]) -> list[float]:
        """Notional within each band around ``mid``, ``bands_bp`` ascending."""
        whole, top, out = 0.0, self._top + 1, list[float]()
        for bp in bands_bp:
            edge = mid * (1 - self._sign * bp / 10_000) * self._scale - self._base
            low = max(0, ceil(edge - _ON_GRID))
            whole += sum(self._places[low:top])
            top = min(top, low)
            out.append(whole)
        if not whole < _IMPOSSIBLE:  # infinite, or no number at all
            self.fault = "of impossible sizes"
        return out

    def keep(self, mid: float) -> None:
        """Move the places along with ``mid`` before it comes near their end."""
        if abs(mid - self._mid) > mid * KEEP_BP / 40_000:
            self._place(mid)

    def roll(self) -> None:
        """The venue keeps telling about its best levels only: no more than these is known."""
        if not self._full:
            return
        if self._outside:
            self.edge = self._sign * min(self._sign * price for price in self._outside)
            return
        places, bottom = self._places, self._bottom
        while bottom < self._top and not places[bottom]:
            bottom += 1
        self._bottom = bottom
        self.edge = self._price(bottom)

    def replace_within(self, edge: float, levels: Sequence[tuple[float, float]]) -> None:
        """Replace everything from ``edge`` on towards the other side."""
        sign = self._sign
        kept = [level for level in self.live() if sign * level[0] < sign * edge]
        self.load([*kept, *levels])

    def live(self) -> list[tuple[float, float]]:
        """All levels kept, as (price, size)."""
        self._settle()
        near = [(self._price(i), usd) for i, usd in enumerate(self._places) if usd]
        return [(price, usd / price) for price, usd in near] + list(self._outside.items())

    def _price(self, place: int) -> float:
        return (self._base + place) / self._scale

    def _settle(self) -> None:
        if not self._changed:
            return
        if not self._places:
            self._start()
        if min(self._changed.values()) < 0:
            self.fault = "of impossible sizes"
        if self.fault:
            self._changed.clear()
            return
        places, count = self._places, len(self._places)
        scale, base = self._scale, self._base - _ON_GRID  # so that rounding never goes below
        off_grid, between = 2 * _ON_GRID, False
        elsewhere: dict[float, float] = {}
        for price, size in self._changed.items():
            at = price * scale - base
            if 0 < at < count:
                place = int(at)
                if at - place < off_grid:
                    places[place] = price * size or 0.0  # the one zero: no memory for the gone
                    continue
                between = True
            elsewhere[price] = size
        changed, self._changed = self._changed, {}
        if not all(0 < price < _IMPOSSIBLE for price in elsewhere):
            self.fault = "of impossible prices"
            return
        self._reach_out(changed)
        if elsewhere:
            self._settle_elsewhere(elsewhere, between)

    def _reach_out(self, changed: dict[float, float]) -> None:
        """Move ``_top`` and ``_bottom`` out to the best and the worst level that came in."""
        best, worst = (max, min) if self._sign > 0 else (min, max)
        price = best(compress(changed, changed.values()), default=None)
        if price is not None:
            self._top = max(self._top, min(self._at(price), len(self._places) - 1))
        if self._full:
            self._bottom = max(0, min(self._bottom, self._at(worst(changed))))

    def _at(self, price: float) -> int:
        return round(price * self._scale) - self._base

    def _settle_elsewhere(self, changed: dict[float, float], between: bool) -> None:
        """Levels that have no place: too far, or ``between`` two steps."""
        outside = self._outside
        outside.update(changed)
        for price in [price for price, size in changed.items() if not size]:
            del outside[price]
        best = max(changed) if self._sign > 0 else min(changed)
        if between:
            grid = max(_grid([*changed]), 10 * abs(self._scale))  # a price between two steps
            self._lay_out_anew(self._mid, self._sign * grid)
        elif best in outside and self._better(best, self._price(len(self._places) - 1)):
            self._place(best)  # the price has run away: follow it
        elif len(outside) > self._patience:
            self._forget()

    def _better(self, price: float, other: float) -> bool:
        return price > other if self._sign > 0 else price < other

    def _start(self) -> None:
        prices = [price for price, size in self._changed.items() if size] or [*self._changed]
        if not all(0 < price < _IMPOSSIBLE for price in prices):
            self.fault = "of impossible prices"
            return
        self._scale = self._sign * _grid(prices)
        best = max(prices) if self._sign > 0 else min(prices)
        self._lay_out(best)

    def _lay_out(self, mid: float) -> None:
        """Empty places from ``KEEP_BP`` beyond mid on the far side to a little past mid."""
        self._mid = mid
        span = mid * abs(self._scale) * KEEP_BP * 1.5 / 10_000
        if not 0 < span <= _PLACES_LIMIT:  # also refuses what is no number
            self.fault = "in price steps too fine to keep"
            self._places, self._top, self._bottom = [0.0], -1, 0
            return
        far = mid * (1 - self._sign * KEEP_BP / 10_000)
        near = mid * (1 + self._sign * KEEP_BP / 20_000)
        self._base = round(far * self._scale)
        self._places = [0.0] * (round(near * self._scale) - self._base + 1)
        self._top, self._bottom = -1, len(self._places) - 1

    def _place(self, mid: float) -> None:
        """Move the places to where mid is now."""
        self._lay_out_anew(mid, self._scale)
        self._forget()

    def _lay_out_anew(self, mid: float, scale: float) -> None:
        """Give every level kept its place among new places, ``scale`` of them a unit of price."""
        levels = self.live()
        self._outside = {}
        self._scale = scale
        self._lay_out(mid)
        self._changed.update(levels)
        self._settle()

    def _forget(self) -> None:
        """Drop levels half as far again as the places reach. They are no longer known."""
        sign, limit = self._sign, self._price(-len(self._places) // 3)
        kept = {p: q for p, q in self._outside.items() if sign * p >= sign * limit}
        if len(kept) < len(self._outside):
            self.edge = sign * max(sign * self.edge, sign * limit)
        self._outside = kept
        self._patience = max(_OUTSIDE_LIMIT, 2 * len(kept))


def _grid(prices: Sequence[float]) -> float:
    """The smallest power of ten that makes whole numbers of all prices."""
    for exponent in range(_FINEST):
        grid = 10.0**exponent
        if all(abs(price * grid - round(price * grid)) < _ON_GRID for price in prices):
            return grid
    return 10.0**_FINEST
