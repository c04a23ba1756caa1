"""The returns of one asset, of which volatility and correlation are made.

A return is the logarithm of the price at a full ten minutes over the price ten minutes before, both
of one contract: the middle one of the exchanges, so that neither a venue that joins nor a wrong
price of one is a return. It is taken ``SETTLES`` after its end, when it is known which prices were
passing spikes. A return over a hole is unknown, which is not zero.

What venues tell later of the index prices of before fills the steps of which no return is known,
of each the first that is told: it is that of one contract, as the index prices of all are alike.

State of an asset: 30 days of steps at 4 bytes, which is 17 KB however many contracts it has.
"""

from array import array
from collections.abc import Mapping, Sequence
from math import log, sqrt
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

MOST_KNOWN = 0.98
"""With fewer of its returns known the past is asked for anew."""

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
    """The returns of an asset. A step is known by its number, that of its end."""

    __slots__ = ("_asked", "_enough", "_enough_at", "_steps", "_until", "known", "step")

    def __init__(self) -> None:
        self.step = -1
        """The newest step that was looked at; -1: none was."""
        self.known = False
        """Whether its return is."""
        self._steps = Ring(STEPS * (24 * DAYS + 1))
        self._asked: dict[int, Squares] = {}  # by days; until the next step
        self._until: Ms | None = None  # of this step; None: not looked at
        self._enough, self._enough_at = (
            False,
            -1,
        )  # whether most of a month is known, and as of when

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
        self.step, self.known = step, value is not None
        self._asked.clear()
        self._until = None
        if value is not None:
            self._steps.put(step, value)

    def fill(self, prices: Mapping[Ms, float], now: Ms) -> None:
        """The returns between prices that were told later, of steps of which none is known.

        The newest step is left to what is live, as long as it was not looked at.
        """
        last = max(self.step, (now - SETTLES) // STEP - 1)
        returns = [
            (at // STEP, log(price / before))
            for at, price in sorted(prices.items())
            if at % STEP == 0 and at <= last * STEP and (before := prices.get(at - STEP))
        ]
        self._steps.fill(returns)
        self.known = self.known or self._steps.at(self.step) is not None
        self._forget_answers()

    def squares(self, days: int) -> Squares:
        """Of so many days and the hour that goes on."""
        squares = self._asked.get(days)
        if squares is None:
            steps = _steps_of(self.hour - 24 * days, self.step)
            known = self._steps.among(steps)
            total = sum([x * x for x in known])
            squares = self._asked[days] = Squares(total, len(known), len(steps))
        return squares

    def move(self, hour: int) -> float | None:
        """The return of an hour that is over; None where one of its six is unknown."""
        if hour >= self.hour:
            return None
        known = self._steps.among(_steps_of(hour, (hour + 1) * STEPS))
        return sum(known) if len(known) == STEPS else None

    def remembered(self) -> Ms | None:
        """Up to when the past is known, without a hole within a week; None: too little is."""
        if self._until is None:
            if not 0 <= self.step - self._enough_at < 24 * STEPS or self._enough_at < 0:
                steps = _steps_of(self.hour - 24 * DAYS, self.step)
                self._enough = len(self._steps.among(steps)) >= MOST_KNOWN * len(steps)
                self._enough_at = self.step
            self._until = self._whole_until()
        return self._until if self._enough else None

    def _whole_until(self) -> Ms:
        steps = _steps_of(self.hour - 24 * CORRELATED_DAYS, self.step)
        if len(self._steps.among(steps)) == len(steps):
            return self._steps.newest * STEP
        while len(steps) > 1:  # where the first unknown one is
            first, second = steps[: len(steps) // 2], steps[len(steps) // 2 :]
            steps = first if len(self._steps.among(first)) < len(first) else second
        return (steps[0] - 1) * STEP

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what was measured of hours that are over stays."""
        over = now // (STEP * STEPS) * STEPS
        self._steps.cut(over)
        self.step, self.known = min(self.step, over), False
        self._forget_answers()

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        return [array("q", [self.step, int(self.known)]).tobytes(), *self._steps.dump()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) not in (3, 8) or len(dumped[0]) != 16:
            raise ValueError("the dumped returns are cut short: start without them")
        self.step, known = array("q", dumped[0])
        self.known = bool(known)
        self._steps = Ring(self._steps.size)
        if len(dumped) == 3:
            self._steps.load(dumped[1:])
        else:
            self._load_hours(dumped[1:])
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._asked.clear()
        self._until, self._enough_at = None, -1

    def _load_hours(self, dumped: Sequence[bytes]) -> None:
        """Of versions that kept sums of hours: returns that have these sums."""
        if len(dumped[0]) % 8:
            raise ValueError("the dumped returns are cut short: start without them")
        squares, counts, moves = Ring(24 * DAYS), Ring(24 * DAYS), Ring(24 * CORRELATED_DAYS)
        for n, ring in enumerate((squares, counts, moves)):
            ring.load(dumped[1 + 2 * n : 3 + 2 * n])
        for hour in range(max(0, squares.newest - squares.size + 1), squares.newest + 1):
            total, count, move = squares.at(hour), counts.at(hour), moves.at(hour)
            if total is None or count is None:
                continue
            mean = 0.0 if move is None else move / STEPS
            apart = sqrt(max(0.0, total / count - mean * mean))
            for n in range(int(count)):
                self._steps.put(hour * STEPS + 1 + n, mean + (apart if n % 2 else -apart))
        for n, value in enumerate(now := array("d", dumped[0])):
            self._steps.put(self.step - len(now) + 1 + n, value)


def _steps_of(hour: int, last: int) -> range:
    """The steps from an hour on up to the last one."""
    return range(hour * STEPS + 1, last + 1)


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
