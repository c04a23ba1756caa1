"""The contract of a metric: what to remember of events, and what value follows from it now."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from rules.alerts import Facts
from rules.view import Keep, Market, View, venues
from streams.events import Kind, MarketEvent, Ms

LEAST_SHARE = 0.6
"""A value over fewer than all venues counts only if these carry this share of the usual total."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value that can be said, in the metric's unit.

    ``venues``: whose data is in it; ``missing``: venues left out on both sides of the comparison.
    ``floor_musd``: what ``Row.floor_musd`` is compared with, million USD, None if unknown.
    ``lower_bound``: something is left out that can only add to the value, so that it may prove a
    breach but never a recovery. ``settled_at``, ``interval_ms``: for settled funding, the
    settlement of the market with the largest open interest and its interval.
    """

    value: float
    venues: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    floor_musd: float | None = None
    lower_bound: bool = False
    settled_at: Ms | None = None
    interval_ms: Ms | None = None


class Metric(Protocol):
    """A small frozen value; all memory is in the view.

    ``kinds``: the events it listens to. ``window``: length of the comparison whose start is
    "before" (None: no such moment). ``lookback``: how far back it remembers.
    """

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def kinds(self) -> frozenset[Kind]: ...
    @property
    def window(self) -> Ms | None: ...
    @property
    def lookback(self) -> Ms: ...

    def keeps(self) -> tuple[Keep, ...]:
        """The series it fills in ``take``."""
        ...

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        """Remembers an event of its kinds. False if the value cannot have changed by it."""
        ...

    def value(self, view: View, now: Ms) -> Reading | None:
        """The value now. None: cannot say, which is evidence of nothing."""
        ...

    def facts(self, view: View, now: Ms) -> Facts | None:
        """What a message tells beside the value; asked only when there is one to tell."""
        ...

    def distance(self, value: float) -> float:
        """How far a value is from normal: what "25 % worse" is measured by."""
        ...


def left_out(expected: Sequence[Market], used: Sequence[Market]) -> tuple[str, ...]:
    """The venues of ``expected`` of which no market could be used."""
    if len(expected) == len(used):
        return ()
    present = venues(used)
    return tuple(v for v in venues(expected) if v not in present)


def median(values: Sequence[float]) -> float | None:
    """The middle value, or the mean of the two middle ones; None of nothing."""
    if not values:
        return None
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
