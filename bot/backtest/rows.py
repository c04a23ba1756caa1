"""Rows of one venue and asset, and the steps from them to the series of a metric."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.backtest.csvfile import Table
from bot.backtest.series import Chunk, Place, Series, Times, merged, rows_where, steps
from streams.events import Ms

HOUR: Ms = 3_600_000
DAY: Ms = 86_400_000
_NORMAL_DAYS = 14
_READY_DAYS = 5
_USUAL_FOR: Ms = 30 * DAY
"""So long what a venue held when it was last heard counts as usual: longer than any outage or hole
of a file, shorter than a venue that closed should weigh on the others."""

Numbers = NDArray[np.float64]


class Rows(NamedTuple):
    """What one venue said of one asset, in order of time. ``step``: Ms to the next, as a rule."""

    at: Times
    step: NDArray[np.int64]
    numbers: dict[str, Numbers]

    def newest(self, now: Times) -> NDArray[np.intp]:
        """The last row known at each moment, -1 before the first."""
        return np.searchsorted(self.at, now, "right") - 1


def add_where_silent(found: dict[Place, Series], series: dict[Place, Series]) -> None:
    """Adds the rows at moments at which ``found`` is silent: one source speaks at a time.

    A source is silent from one and a half of its steps after its last row, so whether another one
    may speak is known at that moment and does not depend on what comes later.
    """
    for place, other in series.items():
        known = found.get(place)
        if known is None:
            found[place] = other
            continue
        last = np.searchsorted(known.at, other.at, "right") - 1
        silent = (last < 0) | (other.at - known.at[last] > known.step[last] * 3 // 2)
        if silent.any():
            merged(Chunk(0, 0, found), {place: rows_where(other, silent)})


def rows_of(tables: Sequence[Table], rows: list[tuple[Ms, Ms, int, int]]) -> Rows:
    """In order of time; of several rows of one time that with the finest step."""
    best: dict[Ms, tuple[Ms, int, int]] = {}
    for at, step, n, row in rows:
        if at not in best or step < best[at][0]:
            best[at] = (step, n, row)
    order = sorted(best)
    chosen = [best[at] for at in order]
    numbers = {
        name: np.array([tables[n].numbers[name][row] for _, n, row in chosen])
        for name in tables[0].numbers
    }
    return Rows(np.array(order, np.int64), np.array([s for s, _, _ in chosen], np.int64), numbers)


def starts(at: Times, window: Ms) -> NDArray[np.intp]:
    """For each row that at the start of the window which it ends, -1 where there is none.

    One that is older than the start by more than a quarter of the window is none.
    """
    first = np.searchsorted(at, at - window, "right") - 1
    return np.where((first >= 0) & (at - window - at[first] <= window // 4), first, -1)


def both_ends(rows: Rows, at: Times, window: Ms) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Coins before and after, USD before, and the usual coins, at each moment.

    Usual is what the newest row said, also when it is old: a venue that is not heard still holds
    its contracts.
    """
    last = rows.newest(at)
    age = at - rows.at[last]
    fresh = (last >= 0) & (age <= np.maximum(rows.step[last] * 3 // 2, 60_000))
    first = starts(rows.at, window)[last]
    base, usd = rows.numbers["base"], rows.numbers["usd"]
    known = fresh & (first >= 0)
    usual = np.where((last >= 0) & (age <= _USUAL_FOR), base[last], np.nan)
    before, after, held = base[first], base[last], usd[first]
    return (
        np.where(known, before, np.nan),
        np.where(known, after, np.nan),
        np.where(known, held, np.nan),
        usual,
    )


def normally(at: Times, usd: Numbers) -> Numbers:
    """The median of the last 14 days within an hour of this hour of day; NaN before 5 days."""
    normal = np.full(len(at), np.nan)
    for n in range(len(at)):
        now = int(at[n])
        first = int(np.searchsorted(at, now - _NORMAL_DAYS * DAY))
        before: Times = at[first:n]
        apart: Times = (before - now) % DAY
        near = (apart <= HOUR) | (apart >= DAY - HOUR)
        kept: Times = before[near] // DAY
        days: set[int] = {*kept.tolist()}
        if len(days) >= _READY_DAYS:
            normal[n] = np.median(usd[first:n][near])
    return normal


def pct_8h(rows: Rows) -> Numbers:
    return 100 * rows.numbers["rate"] * 8 / rows.numbers["interval_h"]


def series_of(
    at: Times, value: Numbers, step: Times | None = None, floor: Numbers | None = None
) -> Series:
    """``step``: as the source states it; None: as the rows show it."""
    x = value.astype(np.float32)
    least = None if floor is None else floor.astype(np.float32)
    return Series(at, x, x, x, steps(at) if step is None else step, least)


def known_values(
    name: str,
    asset: str,
    at: Times,
    value: Numbers,
    step: Times | None = None,
    floor: Numbers | None = None,
) -> dict[Place, Series]:
    """The rows that have a value, nothing if none has."""
    known = ~np.isnan(value)
    if not known.any():
        return {}
    least = np.full(len(at), np.inf) if floor is None else floor
    stated = None if step is None else step[known]
    return {Place(name, asset): series_of(at[known], value[known], stated, least[known])}


def with_settlements(
    name: str, asset: str, at: Times, pct: Numbers, settled: Times, hours: Numbers
) -> dict[Place, Series]:
    series = series_of(at, pct, (hours * HOUR).astype(np.int64), np.full(len(at), np.inf))
    series.settled = ((at - settled) / 60_000).astype(np.float32)
    series.interval = (60 * hours).astype(np.float32)
    return {Place(name, asset): series}
