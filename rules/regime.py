"""The regime of an asset or of the market: calm → thin → cascade → reset → repair → calm. Pure.

What is measured is weighed into conditions that are met, not met or unknown; a regime is left for
another when the conditions of that transition have been met for as long as it asks.

Invariants:
- what is unknown makes no transition: it neither meets a condition nor fails it;
- a transition's time begins anew where its conditions were unknown for more than a tenth of it;
- a cascade begins at once and ends slowly, and each way back has another threshold than the way
  there, so that nothing flaps;
- a reset that came to an end does not begin again of itself: open interest must have been near its
  high, or forced to close, in between.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from rules.alerts import Regime
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

SETTLEMENTS = 3
"""So many in a row say whether funding is negative or positive."""

FORCED_OF = 2
"""So many conditions of forced selling make it that: one alone never does."""

_LEAST_GAP: Ms = MINUTE


class Conditions(NamedTuple):
    """What is so now; None: unknown."""

    forced: bool | None = None
    """Positions are being closed by force."""
    thin: bool | None = None
    """Depth is far below normal."""
    still_thin: bool | None = None
    """It is below normal by so much that what was thin has not ended."""
    repaired: bool | None = None
    """It is near normal."""
    reduced: bool | None = None
    """Open interest is far below its high."""
    rebuilt: bool | None = None
    """It is near its high."""
    positive: bool | None = None
    """Funding is positive again."""


class Timer(msgspec.Struct, array_like=True):
    """For how long the conditions of a transition have been met."""

    since: Ms
    last: Ms
    """When they were last known to be."""


class RegimeState(msgspec.Struct, array_like=True):
    """The regime of one asset, or of the market. Changed by its methods alone."""

    regime: Regime | None = None
    """None: too little was ever known."""
    since: Ms = 0
    """When it began; of the first one, since when it is watched."""
    before: Regime | None = None
    """The one before; None: ``regime`` is the first that was seen."""
    turned_at: Ms = 0
    """When the last transition was made."""
    timers: dict[Regime, Timer] = {}
    """By where the transition leads to."""
    spent: bool = False
    """Open interest has not been near its high since the last reset began."""
    looked_at: Ms = 0
    """When the conditions were last weighed."""
    settled_at: Ms = 0
    """The settlement that was counted last; 0: none was."""
    streak: int = 0
    """So many settlements in a row were positive; below zero, so many were not."""
    run_from: Ms = 0
    """The first settlement of that run, as far as it was counted."""
    extended: bool = True
    """Nothing that was told later is still to be asked for the time before that run."""

    def shown(self, now: Ms) -> Regime | None:
        """The regime for whoever asks at ``now``: all who ask at the moment of a transition are
        answered alike, by what was so before it."""
        return self.before if now == self.turned_at and self.before else self.regime

    def count(self, settled_at: Ms, interval: Ms, positive: bool) -> None:
        """The newest settlement; one that was counted already changes nothing. One that was missed
        ends the run."""
        if settled_at <= self.settled_at:
            return
        unbroken = settled_at - self.settled_at <= 1.5 * interval
        run = self.streak if unbroken and (self.streak > 0) is positive else 0
        if not run:
            self.run_from, self.extended = settled_at, unbroken
        self.settled_at, self.streak = settled_at, run + (1 if positive else -1)

    def extend(self, before: Iterable[tuple[Ms, bool]], interval: Ms) -> None:
        """Settlements that were told later, the newest first, each with whether it was positive:
        the run that goes on may have begun earlier."""
        for at, positive in before:
            if at >= self.run_from:
                continue
            if positive is not (self.streak > 0) or self.run_from - at > 1.5 * interval:
                break
            self.run_from, self.streak = at, self.streak + (1 if positive else -1)
        self.extended = True

    def step(self, conditions: Conditions, now: Ms) -> bool:
        """Weigh ``conditions`` at ``now``. Whether that made a transition."""
        self.looked_at = now
        if conditions.rebuilt:
            self.spent = False
        if self.regime is None:
            if conditions.forced is not None:
                self._turn(Regime.CASCADE if conditions.forced else Regime.CALM, now)
            return False
        target: Regime | None = None
        for edge in TRANSITIONS[self.regime]:
            if self._lasts(edge, edge.met(conditions, self.spent), now) and target is None:
                target = edge.to
        if target is not None:
            self._turn(target, now)
        return target is not None

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: the regime stays, timers begin anew."""
        self.since, self.looked_at = min(self.since, now), min(self.looked_at, now)
        self.turned_at = 0
        self.timers.clear()

    def _lasts(self, edge: "RegimeChange", met: bool | None, now: Ms) -> bool:
        timer = self.timers.get(edge.to)
        if met is None:
            return False
        if not met:
            self.timers.pop(edge.to, None)
            return False
        if timer is None or now - timer.last > max(_LEAST_GAP, edge.lasting // 10):
            timer = self.timers[edge.to] = Timer(now, now)
        timer.last = now
        return now - timer.since >= edge.lasting

    def _turn(self, to: Regime, now: Ms) -> None:
        self.before, self.regime = self.regime, to
        self.since = self.turned_at = now
        self.timers.clear()
        if to is Regime.RESET:
            self.spent = True


class RegimeChange(NamedTuple):
    """A way out of a regime."""

    to: Regime
    met: Callable[[Conditions, bool], bool | None]
    """Of the conditions, and whether a reset is spent."""
    lasting: Ms
    """How long they must be met."""


def every(*conditions: bool | None) -> bool | None:
    """Whether all are met: not as soon as one is not, unknown while one is unknown."""
    return False if False in conditions else None if None in conditions else True


def no(condition: bool | None) -> bool | None:
    """Whether it is not met; unknown stays unknown."""
    return None if condition is None else not condition


def enough_met(count: int, conditions: Sequence[bool | None]) -> bool | None:
    """Whether so many are met, whatever those may be that are unknown; None: that depends."""
    met, unknown = conditions.count(True), conditions.count(None)
    return True if met >= count else None if met + unknown >= count else False


def _forced(conditions: Conditions, _spent: bool) -> bool | None:
    return conditions.forced


def _thin(conditions: Conditions, _spent: bool) -> bool | None:
    return conditions.thin


def _reduced(conditions: Conditions, spent: bool) -> bool | None:
    """Without a cascade: open interest has come down slowly."""
    return every(not spent, conditions.reduced, no(conditions.forced))


def _over_and_reduced(conditions: Conditions, _spent: bool) -> bool | None:
    return every(no(conditions.forced), conditions.reduced)


def _over_and_thin(conditions: Conditions, _spent: bool) -> bool | None:
    return every(no(conditions.forced), conditions.reduced is not True, conditions.still_thin)


def _over(conditions: Conditions, _spent: bool) -> bool | None:
    """What is unknown holds nothing up: forced selling is known to be over."""
    neither = conditions.reduced is not True and conditions.still_thin is not True
    return every(no(conditions.forced), neither)


def _rebuilt_and_thin(conditions: Conditions, _spent: bool) -> bool | None:
    return every(conditions.rebuilt, conditions.still_thin)


def _rebuilt(conditions: Conditions, _spent: bool) -> bool | None:
    return every(conditions.rebuilt, conditions.still_thin is not True)


def _repaired(conditions: Conditions, _spent: bool) -> bool | None:
    return every(conditions.repaired, conditions.positive)


def _thick(conditions: Conditions, _spent: bool) -> bool | None:
    return no(conditions.still_thin)


def _quiet(conditions: Conditions, _spent: bool) -> bool | None:
    return every(no(conditions.still_thin), no(conditions.forced))


_CASCADE = RegimeChange(Regime.CASCADE, _forced, 0)
_THIN = RegimeChange(Regime.THIN, _thin, 30 * MINUTE)
_RESET = RegimeChange(Regime.RESET, _reduced, HOUR)

TRANSITIONS: Mapping[Regime, tuple[RegimeChange, ...]] = {
    Regime.CALM: (_CASCADE, _RESET, _THIN),
    Regime.THIN: (_CASCADE, _RESET, RegimeChange(Regime.CALM, _thick, 30 * MINUTE)),
    Regime.CASCADE: (
        RegimeChange(Regime.RESET, _over_and_reduced, 30 * MINUTE),
        RegimeChange(Regime.THIN, _over_and_thin, 30 * MINUTE),
        RegimeChange(Regime.CALM, _over, 30 * MINUTE),
    ),
    Regime.RESET: (
        _CASCADE,
        RegimeChange(Regime.REPAIR, _repaired, HOUR),
        RegimeChange(Regime.THIN, _rebuilt_and_thin, HOUR),
        RegimeChange(Regime.CALM, _rebuilt, HOUR),
    ),
    Regime.REPAIR: (_CASCADE, _THIN, RegimeChange(Regime.CALM, _quiet, DAY)),
}
"""Regime → the ways out of it; of several that are open the first is taken."""
