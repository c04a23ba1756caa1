"""The contract of a metric: what to remember of events, and what value follows from it now."""

from collections.abc import Iterable, Sequence
from math import log
from typing import Protocol, runtime_checkable

import msgspec

from rules.alerts import LiveShare, PartFacts, Scope
from rules.market import Keep, Market, Memo, View, venues
from streams.durations import MINUTE, SECOND
from streams.events import Kind, MarketEvent, Ms

LEAST_SHARE = 0.6
"""A value over some of the venues counts only if they have this share of the usual total."""

LOOK_EVERY: Ms = SECOND
"""The shortest time between two evaluations."""

_THIRD = 100 / 3

_SLOWEST_LOOK: Ms = 5 * SECOND
_LOOKS = 600
"""How often a value is evaluated within its own window, at most."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is known now, in the metric's unit."""

    value: float
    used: Sequence[Market] = ()
    """Whose data is in it."""
    expected: Sequence[Market] = ()
    """Whose data could be in it."""
    floor_musd: float | None = None
    """What ``Row.floor_musd`` is compared with, million USD; None: unknown."""
    lower_bound: bool = False
    """Something is left out that can only add to the value: it may prove a breach, never a
    recovery."""
    breach_only: bool = False
    """So much is left out that it decides nothing about a level that it does not exceed."""
    longs: float | None = None
    """Of a sum over both sides, the part of longs, in the same unit; None: it is no such sum."""
    settled_at: Ms | None = None
    """Of settled funding: the settlement of the market with the largest open interest."""
    interval_ms: Ms | None = None
    """The funding interval of that market."""

    @property
    def venues(self) -> tuple[str, ...]:
        """Whose data is in it."""
        return venues(self.used)

    @property
    def missing(self) -> tuple[str, ...]:
        """Venues left out, on both sides of a comparison: "ex-Bybit"."""
        return left_out(self.expected, self.used)


class Metric(Protocol):
    """A small frozen value; all memory is in the view."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str:
        """That of its values, for people."""
        ...

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it can be evaluated on."""
        ...

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of events that change it."""
        ...

    @property
    def window(self) -> Ms | None:
        """The length of the comparison whose start is "before"; None: it compares no two times."""
        ...

    @property
    def look_every(self) -> Ms:
        """The least time between two evaluations."""
        ...

    @property
    def idle_look(self) -> Ms | None:
        """How often it is evaluated without data; None: only after data, and while an episode is
        open."""
        ...

    def keeps(self) -> tuple[Keep[Memo], ...]:
        """The memos it fills in ``take``."""
        ...

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        """Remember an event of its kinds. False if the value cannot have changed by it."""
        ...

    def value(self, view: View, now: Ms) -> Reading | None:
        """The value now. None: unknown, which is evidence of nothing."""
        ...

    def facts(self, view: View, now: Ms) -> PartFacts | None:
        """What a message shows beside the value; called only for a message."""
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
        """Nothing: there are no events to remember."""
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
        """Learn from the value now; ``value`` alone teaches it nothing."""
        ...


@runtime_checkable
class HasPresent(Protocol):
    """A metric that compares what there is now with what there was."""

    def present_usd(self, view: View, now: Ms) -> float | None:
        """What there is now at least, USD, though it may not be compared yet; None: unknown."""
        ...


@runtime_checkable
class OfSpot(Protocol):
    """A metric of spot markets, or of these beside perpetuals. Of spot markets no other metric is
    given any event."""

    of_spot: bool
    """True."""


@runtime_checkable
class TellsPast(Protocol):
    """A metric that knows its value of before, from what venues told later."""

    def tells_past(self, reading: Reading) -> bool:
        """Whether each venue of a reading has told of its past."""
        ...

    def past(self, view: View) -> Iterable[tuple[Ms, Reading]]:
        """Values of before with their times, the oldest first."""
        ...


@runtime_checkable
class FillsWindow(Protocol):
    """A metric whose window is filled with what venues tell later."""

    def fill(self, market: Market, rows: Sequence[tuple[Ms, float]]) -> None:
        """Remember (time, held), the oldest first, where nothing was seen."""
        ...

    def filled_from(self, market: Market) -> tuple[Ms, Ms] | None:
        """From when to when the window is remembered; None: it is not."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """A metric that is evaluated by time alone, and learns from what is remembered anyway: no event
    of its kinds is given to it."""

    @property
    def price_keep(self) -> Ms:
        """How far back it asks for prices, though it has no window that ends now."""
        ...


@runtime_checkable
class Combines(Protocol):
    """A metric that is made of the values of others, which are watched with it."""

    def parts(self) -> "tuple[Metric, ...]":
        """Those others, of the same scope."""
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
    """The time between evaluations of a value over ``window``: from 1 s to 5 s."""
    return min(_SLOWEST_LOOK, max(LOOK_EVERY, window // _LOOKS))


def live_share(view: View, reading: Reading) -> LiveShare | None:
    """What of the venues whose data could be in a value is in it; None: all of them are."""
    if not reading.missing:
        return None
    used, expected = {*reading.used}, {*reading.expected} | {*reading.used}
    held = {
        market: usd
        for part in view.assets.values() or (view,)
        for market, usd in part.usd_held().items()
        if market in expected
    }
    total = sum(held.values())
    known = total > 0 and len(held) == len(expected)
    return LiveShare(
        live=len(reading.venues),
        expected=len(venues([*reading.expected, *reading.used])),
        held_pct=100 * sum(usd for m, usd in held.items() if m in used) / total if known else None,
    )


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
