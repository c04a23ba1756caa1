"""The cause of a move, from the signs of price and of net open interest. Pure.

Price falls and positions are closed: longs unwind. Price rises and positions are closed: shorts
cover. Price falls and positions are opened: new shorts. Price rises and positions are opened: new
longs. Within noise it is unclear, unless something else shows whose positions they are: of closed
ones the side that is liquidated, of opened ones the side that pays for funding.
"""

from math import sqrt

from rules.alerts import Cause
from streams.durations import HOUR
from streams.events import Ms

PRICE_NOISE = 0.3
"""A change of price in an hour, %, that decides nothing; over other windows it grows with the
square root of time, as the moves of a price without a cause do."""

INTEREST_NOISE = 0.5
"""The same of open interest, in % of the coins held at the window's start."""

ONE_SIDE = 2 / 3
"""A share of liquidations from which on they are of one side."""

SHORTS_PAY, LONGS_PAY = -0.01, 0.03
"""Predicted funding, % per 8 h, from which on one side pays for being there: 0.01 is neutral."""


def cause(
    window: Ms,
    price_pct: float,
    interest_pct: float,
    longs: float | None = None,
    funding_pct_8h: float | None = None,
) -> Cause:
    """The cause of what happened within ``window``.

    ``price_pct``, ``interest_pct``: changes in %, the latter of coins. ``longs``: which share of
    what was liquidated was longs, ``funding_pct_8h``: the predicted rate; None: not known, or too
    little to tell.
    """
    scale = sqrt(window / HOUR)
    price = _sign(price_pct, PRICE_NOISE * scale)
    interest = _sign(interest_pct, INTEREST_NOISE * scale)
    if interest < 0:
        forced = 0 if longs is None else -_side(longs)
        if price and forced and price != forced:
            return Cause.UNCLEAR  # a price that falls while shorts are liquidated
        return {-1: Cause.LONG_UNWINDING, 1: Cause.SHORT_COVERING}.get(
            price or forced, Cause.UNCLEAR
        )
    if interest > 0:
        rate = 0.0 if funding_pct_8h is None else funding_pct_8h
        paying = -1 if rate <= SHORTS_PAY else 1 if rate >= LONGS_PAY else 0
        return {-1: Cause.NEW_SHORTS, 1: Cause.NEW_LONGS}.get(price or paying, Cause.UNCLEAR)
    return Cause.UNCLEAR


def _side(longs: float) -> int:
    """1: of longs, -1: of shorts, 0: of both."""
    return 1 if longs >= ONE_SIDE else -1 if longs <= 1 - ONE_SIDE else 0


def _sign(change: float, noise: float) -> int:
    return 0 if abs(change) < noise else 1 if change > 0 else -1
