"""The contract of a metric: what to remember of events, and what value follows from it now."""

from collections.abc import Sequence
from math import log
from typing import Protocol, runtime_checkable

import msgspec

from rules.alerts import PartFacts, Scope
from rules.market import Keep, Market, Memo, View, venues
from streams.durations import MINUTE, SECOND
from streams.events import Kind, MarketEvent, Ms

LEAST_SHARE = 0.6
"""A value over fewer than all venues counts only if these carry this share of the usual total."""

LOOK_EVERY: Ms = SECOND
"""A value is asked for at most this often."""

_THIRD = 100 / 3

_SLOWEST_LOOK: Ms = 5 * SECOND
_LOOKS = 600
"""A value over a window need not be looked at more often than this in one window."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value that can be said, in the metric's unit.

    ``used``: whose data is in it, out of ``expected``. ``floor_musd``: what ``Row.floor_musd`` is
    compared with, million USD, None if unknown. ``lower_bound``: something is left out that can
    only add to the value, so that it may prove a breach but never a recovery. ``breach_only``: so
    much is left out that it says nothing of a level that it does not exceed, as if there were no
    value. ``longs``: of a sum over both sides, the part that was longs, in the same unit; None: no
    such sum.
    ``settled_at``, ``interval_ms``: for settled funding, the settlement of the market with the
    largest open interest and its interval.
    """

    value: float
    used: Sequence[Market] = ()
    expected: Sequence[Market] = ()
    floor_musd: float | None = None
    lower_bound: bool = False
    breach_only: bool = False
    longs: float | None = None
    settled_at: Ms | None = None
    interval_ms: Ms | None = None

    @property
    def venues(self) -> tuple[str, ...]:
        """Whose data is in it."""
        return venues(self.used)

    @property
    def missing(self) -> tuple[str, ...]:
        """Venues left out, on both sides of a comparison: "ex-Bybit"."""
        return left_out(self.expected, self.used)


class Metric(Protocol):
    """A small frozen value; all memory is in the view.

    ``scopes``: what it can be asked of. ``kinds``: the events it listens to. ``window``: length of
    the comparison whose start is "before" (None: no such moment). ``look_every``: how often its
    value is worth asking for. ``idle_look``: how often it is asked for though nothing came (None:
    only after data, and while an episode goes on).
    """

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def scopes(self) -> frozenset[Scope]: ...
    @property
    def kinds(self) -> frozenset[Kind]: ...
    @property
    def window(self) -> Ms | None: ...
    @property
    def look_every(self) -> Ms: ...
    @property
    def idle_look(self) -> Ms | None: ...

    def keeps(self) -> tuple[Keep[Memo], ...]:
        """The memos it fills in ``take``."""
        ...

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        """Remembers an event of its kinds. False if the value cannot have changed by it."""
        ...

    def value(self, view: View, now: Ms) -> Reading | None:
        """The value now. None: cannot say, which is evidence of nothing."""
        ...

    def facts(self, view: View, now: Ms) -> PartFacts | None:
        """What a message tells beside the value; asked only when there is one to tell."""
        ...

    def distance(self, value: float) -> float:
        """How far a value is from normal: what "25 % worse" is measured by."""
        ...


class SuppliedMetric:
    """A metric whose values are supplied, not made of events: recorded, or written in a test.

    It is judged like ``real``, whose name, unit and measure of distance it has. A subclass says
    what the ``value`` is.
    """

    kinds: frozenset[Kind] = frozenset()
    idle_look: Ms | None = None
    look_every: Ms = MINUTE

    def __init__(self, real: Metric) -> None:
        self.name = real.name
        self.unit = real.unit
        self.scopes: frozenset[Scope] = real.scopes
        self.window = real.window
        self.distance = real.distance

    def keeps(self) -> tuple[Keep[Memo], ...]:
        """None: there are no events to remember."""
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        """Never called, since it listens to no kind of event."""
        return False

    def value(self, view: View, now: Ms) -> Reading | None:
        """The supplied value of ``now``. None: there is none."""
        raise NotImplementedError

    def facts(self, view: View, now: Ms) -> PartFacts | None:
        """None: nobody supplied them."""
        return None


@runtime_checkable
class Learns(Protocol):
    """A metric that learns what is usual from its own values."""

    def learn(self, view: View, now: Ms) -> None:
        """It is looked at; asked for values at other times, it learns nothing."""
        ...


@runtime_checkable
class Holds(Protocol):
    """A metric against what is usual, which must not learn from the episode that it shows."""

    def hold(self, view: View, instrument: bool, on: bool, now: Ms) -> None:
        """An episode over ``view`` (of one ``instrument`` or of all) is open, or is over."""
        ...


OF_ASSET: frozenset[Scope] = frozenset({"asset", "instrument"})
OF_MARKET: frozenset[Scope] = frozenset({"market"})


def look_every(window: Ms) -> Ms:
    """How often a value over ``window`` is worth asking for: from 1 s to 5 s."""
    return min(_SLOWEST_LOOK, max(LOOK_EVERY, window // _LOOKS))


def left_out(expected: Sequence[Market], used: Sequence[Market]) -> tuple[str, ...]:
    """The venues of ``expected`` of which no market could be used."""
    if len(expected) == len(used):
        return ()
    present = venues(used)
    return tuple(v for v in venues(expected) if v not in present)


def fall(pct: float) -> float:
    """How far from normal something is of which ``pct`` out of 100 % is gone.

    A share of 100 has an end, but what is left can always become half as much: up to two thirds it
    is ``pct`` itself, beyond that it grows with the logarithm of what is left (with the same slope
    where they meet), so that 2 % left is nearly twice as far as 19 %. Above 99.9 it stands still.
    """
    if pct <= 100 - _THIRD:
        return pct
    return 100 - _THIRD + _THIRD * log(_THIRD / max(100 - pct, 0.1))


def median(values: Sequence[float]) -> float | None:
    """The middle value, or the mean of the two middle ones; None of nothing."""
    if not values:
        return None
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
