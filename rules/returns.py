"""The returns of one asset, of which volatility and correlation are made.

A return is the logarithm of the price at a full ten minutes over the price ten minutes before, both
of one contract: the middle one of the exchanges, so that neither a venue that joins nor a wrong
price of one is a return. It is taken ``SETTLES`` after its end, when it is known which prices were
passing spikes. A return over a hole is unknown, which is not zero.

State of an asset: 30 days of hours at 8 bytes and 7 days at 4, which is 6.5 KB however many
contracts it has.
"""

from array import array
from collections.abc import Sequence
from math import log
from typing import NamedTuple

from rules.market import Keep, View, largest_of_exchanges
from rules.metric import median
from rules.windows import Ring
from streams.durations import MINUTE, SECOND
from streams.events import Ms

STEP: Ms = 10 * MINUTE
STEPS = 6
"""Of them in an hour."""

SETTLES: Ms = 40 * SECOND
"""Two slots of prices on each side tell a spike from a move, and one may be late."""

LOOK_EVERY: Ms = 30 * SECOND
"""Often enough for nobody to take the time between two looks for a hole."""

PRICES: Ms = 2 * STEP
"""So far back prices must be remembered for it."""

DAYS = 30
CORRELATED_DAYS = 7

LATE = 2
"""So many steps after the newest one its return is no longer that of now."""


class Squares(NamedTuple):
    """The squares of the returns of some time."""

    total: float
    known: int
    """How many returns are."""
    expected: int
    """How many there would be without holes."""


class Returns:
    """The returns of an asset, by the hour. A step is known by its number, that of its end."""

    __slots__ = ("_asked", "_counts", "_moves", "_now", "_squares", "known", "step")

    def __init__(self) -> None:
        self.step = -1
        """The newest step that was looked at; -1: none was."""
        self.known = False
        """Whether its return is."""
        self._now = array("d")
        self._squares = Ring(24 * DAYS)
        self._counts = Ring(24 * DAYS)
        self._moves = Ring(24 * CORRELATED_DAYS)
        self._asked: dict[int, Squares] = {}  # by days; until the next step

    @property
    def hour(self) -> int:
        """The hour of the newest step, since the epoch; it goes on until its sixth."""
        return (self.step - 1) // STEPS

    def due(self, now: Ms) -> int | None:
        """The step whose return is to be taken; None: all are."""
        step = (now - SETTLES) // STEP
        return step if step > self.step else None

    def take(self, step: int, value: float | None) -> None:
        """The return of a step, None where it is unknown; steps must not run backwards."""
        hour = (step - 1) // STEPS
        if self.step >= 0 and hour != self.hour:
            self._close()
        self.step, self.known = step, value is not None
        self._asked.clear()
        if value is not None:
            self._now.append(value)

    def squares(self, days: int) -> Squares:
        """Of so many days and the hour that goes on."""
        squares = self._asked.get(days)
        if squares is None:
            hours = range(self.hour - 24 * days, self.hour)
            squares = self._asked[days] = Squares(
                sum(self._squares.among(hours)) + sum([x * x for x in self._now]),
                int(sum(self._counts.among(hours))) + len(self._now),
                len(hours) * STEPS + self.step - self.hour * STEPS,
            )
        return squares

    def move(self, hour: int) -> float | None:
        """The return of a whole hour; None where one of its six is unknown."""
        return self._moves.at(hour)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what was measured of hours that are over stays."""
        hour = now // (STEP * STEPS) - 1
        for ring in (self._squares, self._counts, self._moves):
            ring.cut(hour)
        self.step, self.known = min(self.step, (hour + 1) * STEPS), False
        self._now = array("d")
        self._asked.clear()

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        rings = (self._squares, self._counts, self._moves)
        state = array("q", [self.step, int(self.known)]).tobytes()
        return [state, self._now.tobytes(), *(part for ring in rings for part in ring.dump())]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 8 or len(dumped[0]) != 16 or len(dumped[1]) % 8:
            raise ValueError("the dumped returns are cut short: start without them")
        self.step, known = array("q", dumped[0])
        self.known = bool(known)
        self._now = array("d", dumped[1])
        for n, ring in enumerate((self._squares, self._counts, self._moves)):
            ring.load(dumped[2 + 2 * n : 4 + 2 * n])
        self._asked.clear()

    def _close(self) -> None:
        """The hour of the newest step is over."""
        returns, hour = self._now, self.hour
        if returns:
            self._squares.put(hour, sum([x * x for x in returns]))
            self._counts.put(hour, len(returns))
        if len(returns) == STEPS:
            self._moves.put(hour, sum(returns))
        self._now = array("d")


RETURNS = Keep("returns", Returns)
"""Where they are kept, for all metrics that need them."""


def learn(view: View, now: Ms) -> None:
    """Takes the return of the last ten minutes of an asset, once."""
    memo = view.keep(RETURNS)
    step = memo.due(now)
    if step is not None:
        memo.take(step, return_of(view, step))


def return_of(view: View, step: int) -> float | None:
    """The return of a step that has just settled; None: it is unknown."""
    end = step * STEP
    returns = {
        market: log(after / before)
        for market in view.ordered
        if (after := market.prices.at(end)) is not None
        and (before := market.prices.at(end - STEP)) is not None
    }
    return median([returns[market] for market in largest_of_exchanges(returns)])
