"""Prices of before that venues tell later, and which of them are believed.

A price of now that one venue alone shows is held against others and against the next one. One of
before would stand at the start of every window at once, with nothing after it that could show that
it was wrong: told in another unit, of a table that stood still, or of another coin. So it is
believed where another exchange told the same of that minute. Who listens to one exchange alone has
its word, if that goes on in what is live: in a crash, by the price that the same table shows now.
"""

from collections.abc import Sequence

from rules.market import Market
from rules.windows import Ring
from streams.durations import HOUR, MINUTE
from streams.events import FITS, Ms

ALIKE = 1.03
"""Prices are the same if one is at most so many times the other: in a fall those of one minute are
not taken in the same second."""

NEAR = 1.01
LATELY: Ms = 30 * MINUTE
"""A price of so short a time ago needs no witness if it is at most so many times the live one: it
is no move that rings, and what is measured from then on has no hole where the past ends."""

_KEPT: Ms = 2 * HOUR
"""So long what one exchange told waits for another's word."""

_SLOTS = 26 * 60
"""Minutes of a day, which is as far back as windows go, and more."""


class PastPrices:
    """What venues have told of one asset. ``alone``: no other exchange is listened to."""

    __slots__ = ("_alone", "_told")

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._told: list[tuple[Ms, Market, Ring]] = []

    def tell(
        self,
        market: Market,
        prices: Sequence[tuple[Ms, float]],
        now: Ms,
        shown: float | None = None,
    ) -> bool:
        """Fill the windows of ``market``, and of those that waited for its word, with what is
        believed now. ``prices``: of full minutes, the oldest first; ``shown``: what the same table
        shows as the price now. Whether they are this coin's beyond doubt: they go on in what is
        live, or another exchange told the same of late."""
        if not prices:
            return False
        live = market.prices.now(now)
        fits = live is not None and any(
            price is not None and _alike(live, price, FITS) for price in (prices[-1][1], shown)
        )
        if self._alone:
            if fits:
                market.prices.fill(prices)
            return fits
        self.forget(now)
        ring = Ring(_SLOTS)
        ring.fill([(at // MINUTE, price) for at, price in prices])
        believed = set[int]()
        for _, other, waiting in self._told:
            if other.exchange != market.exchange:
                same = _agreed(ring, waiting)
                believed.update(same)
                _fill(other, waiting, same)
        lately = range((now - LATELY) // MINUTE, ring.newest + 1)
        sure = fits or not believed.isdisjoint(lately)
        if live is not None:
            near = (s for s in lately if (x := ring.at(s)) is not None and _alike(x, live, NEAR))
            believed.update(near)
        _fill(market, ring, sorted(believed))
        self._told.append((now, market, ring))
        return sure

    def forget(self, now: Ms) -> None:
        """What has waited for long, or is of a clock that was set back, is believed no more."""
        self._told = [entry for entry in self._told if 0 <= now - entry[0] <= _KEPT]


def _agreed(a: Ring, b: Ring) -> list[int]:
    """The slots of which both say the same."""
    last = min(a.newest, b.newest)
    return [
        slot
        for slot in range(max(last - a.size + 1, 0), last + 1)
        if (x := a.at(slot)) is not None and (y := b.at(slot)) is not None and _alike(x, y)
    ]


def _fill(market: Market, ring: Ring, slots: Sequence[int]) -> None:
    prices = [(slot * MINUTE, price) for slot in slots if (price := ring.at(slot)) is not None]
    market.prices.fill(prices)


def _alike(a: float, b: float, times: float = ALIKE) -> bool:
    return max(a, b) <= times * min(a, b)
